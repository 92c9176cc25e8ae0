//! The one thread that writes: everything that waits becomes one commit, one sync, many answers.
//!
//! Invariant: nobody is told "kept" before the batch is on disk and the ledger is written. Under load
//! groups grow by themselves, because the next one gathers while this one is being synced.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use super::apply::Committed;
use super::batch::{BATCH_BYTES_MAX, Batch};
use super::bodies::Hash;
use super::error::StoreError;
use super::job::Job;
use super::ledger::{Entry, FORMAT_VERSION, Ledger};
use super::online::Online;
use super::options::{Mishap, Options, Point};
use super::plan::{Ground, Plan, Planned};
use super::recovery::Illness;
use super::room::Room;
use super::shared::{Counters, Shared};
use super::stop::{self, Stop};
use super::summary::Summary;
use super::taken::Taken;
use super::tree::Way;

/// Most events that one commit joins from several batches.
pub const GROUP_EVENTS_MAX: usize = 512;

/// The committing thread's own things.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Ledger,
    pub(super) options: Options,
    pub(super) room: Room,
    pub(super) online: Online,
    pub(super) illness: Option<Illness>,
    left_over: Option<Job>,
    pub(super) killed: bool,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, ledger: Ledger, options: Options) -> Committer {
        let room = Room::new(&shared.folder, &options);
        room.fill_ballast();
        Committer {
            shared,
            ledger,
            room,
            online: Online::new(options.shrink),
            options,
            illness: None,
            left_over: None,
            killed: false,
        }
    }

    /// Works until the store is dropped.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while !self.killed {
            match self.next(jobs) {
                Ok(Some(first)) => self.serve(first, jobs),
                Ok(None) => self.recover(),
                Err(_) => break,
            }
            if self.is_well() {
                self.catch_up();
            }
            if self.is_well() {
                self.shrink();
            }
        }
        self.stop();
    }

    /// Lets the tree go, and notes that all of it is as it should be.
    fn stop(mut self) {
        if !self.killed {
            self.online.drop_copy();
        }
        self.online.finish();
        let shared = &self.shared;
        let is_well = self.is_well() && shared.engine.finish().is_ok();
        let whole = shared.engine.close_whole() && is_well && self.ledger.sync().is_ok();
        if !whole {
            return;
        }
        let stop = Stop {
            verified: shared.is_verified(),
        };
        if let Err(why) = stop::leave(&shared.folder, stop) {
            tracing::debug!(%why, "the next start takes this for an unclean stop");
        }
    }

    /// The next batch; `None` when there is something else to do.
    fn next(&mut self, jobs: &Receiver<Job>) -> Result<Option<Job>, RecvTimeoutError> {
        if let Some(job) = self.left_over.take() {
            return Ok(Some(job));
        }
        let Some(patience) = self.patience() else {
            return jobs
                .recv()
                .map(Some)
                .map_err(|_| RecvTimeoutError::Disconnected);
        };
        match jobs.recv_timeout(patience) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(gone) => Err(gone),
        }
    }

    /// How long the next batch may take; `None` is for as long as it takes.
    fn patience(&self) -> Option<Duration> {
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        if let Some(illness) = &self.illness {
            return Some(left(illness.retry_at));
        }
        let ledger = self.ledger.sync_at();
        let due = ledger.into_iter().chain(self.settle_at()).map(left);
        self.online.patience().into_iter().chain(due).min()
    }

    /// When the tree is to take over what is in the log.
    fn settle_at(&self) -> Option<Instant> {
        let (bytes, since) = self.shared.engine.unsettled()?;
        let settling = &self.options.settling;
        match bytes < settling.bytes {
            true => Some(since + settling.after),
            false => Some(since),
        }
    }

    fn is_well(&self) -> bool {
        self.illness.is_none() && !self.killed
    }

    /// What was left undone so that nobody had to wait for it.
    fn catch_up(&mut self) {
        let mut done = self.ledger.sync_when_due();
        if self.settle_at().is_some_and(|at| at <= Instant::now()) {
            done = done.and_then(|()| self.settle());
        }
        if let Err(why) = done {
            self.fail(Vec::new(), why);
        }
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.meet(Point::BeforeSettling)?;
        self.shared.engine.settle()?;
        self.meet(Point::AfterSettling)
    }

    fn serve(&mut self, first: Job, jobs: &Receiver<Job>) {
        if let Some(illness) = &self.illness {
            let error = illness.error.clone();
            Counters::add(&self.shared.counters.refused, 1);
            return first.refuse(error);
        }
        let mut group = self.gather(first, jobs);
        let mut answers = Vec::new();
        while let Err((index, why)) = self.commit(&group, &mut answers) {
            answers.clear();
            match index {
                // One batch cannot be: the others are planned again without it.
                Some(index) => {
                    Counters::add(&self.shared.counters.refused, 1);
                    self.refuse(group.remove(index), why);
                }
                None => return self.fail(group, why),
            }
        }
        if self.killed {
            return;
        }
        for (job, answer) in group.into_iter().zip(answers) {
            let brought = job.brought();
            job.kept(answer);
            self.forget(&brought);
        }
    }

    fn refuse(&self, job: Job, why: StoreError) {
        let brought = job.brought();
        job.refuse(why);
        self.forget(&brought);
    }

    /// A body that a batch brought and no row needs (a duplicate, a refusal) goes.
    fn forget(&self, brought: &[Hash]) {
        if let Err(why) = self.shared.remove_unused(brought) {
            tracing::warn!(%why, "a body that no row needs stays");
        }
    }

    /// Everything that waits, up to what one write may hold.
    fn gather(&mut self, first: Job, jobs: &Receiver<Job>) -> Vec<Job> {
        let (mut events, mut weight) = (first.batch.events, first.batch.weight);
        let mut group = vec![first];
        loop {
            let job = match jobs.try_recv() {
                Ok(job) => job,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return group,
            };
            events += job.batch.events;
            weight += job.batch.weight;
            if events > GROUP_EVENTS_MAX || weight > BATCH_BYTES_MAX {
                self.left_over = Some(job);
                return group;
            }
            group.push(job);
        }
    }

    /// Plans and writes the group. An error with an index is that batch's own.
    fn commit(
        &mut self,
        group: &[Job],
        answers: &mut Vec<Committed>,
    ) -> Result<(), (Option<usize>, StoreError)> {
        if group.is_empty() {
            return Ok(());
        }
        self.options.failpoints.count();
        let shared = Arc::clone(&self.shared);
        let (summary, heads) = (shared.summary(), shared.heads());
        let now = self.options.clock.now();
        let mut plan = Plan::new(Ground {
            engine: &shared.engine,
            bodies: &shared.bodies,
            heads: &heads,
            summary: &summary,
        });
        for (index, job) in group.iter().enumerate() {
            let own = |why| (Some(index), why);
            job.in_turn().map_err(own)?;
            self.admit(&job.batch, &summary).map_err(own)?;
            answers.push(plan.batch(&job.batch, now).map_err(own)?);
        }
        let planned = plan.finish().map_err(|why| (None, why))?;
        let events = group.iter().map(|job| job.batch.events as u64).sum();
        self.write(planned, events).map_err(|why| (None, why))
    }

    /// Events only come in while there is room for them; everything else may be finished.
    fn admit(&mut self, batch: &Batch, summary: &Summary) -> Result<(), StoreError> {
        if batch.events == 0 {
            return Ok(());
        }
        self.room.for_events(summary.body_bytes)
    }

    fn write(&mut self, planned: Planned, events: u64) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        // Held from the first change to the last, so that a backup begins and ends at a commit.
        let mut tee = shared.tee();
        let mut survey = shared.survey();
        let followed = survey
            .as_mut()
            .is_none_or(|survey| survey.follow(&shared.engine, &planned.changes).is_ok());
        if !followed {
            *survey = None;
        }
        let began = Instant::now();
        let written = self.write_durably(&planned);
        let way = written.inspect_err(|why| {
            *survey = None;
            if let Some(tee) = tee.as_mut() {
                tee.failed = Some(why.to_string());
            }
        })?;
        let waited = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let counters = &shared.counters;
        Counters::add(&counters.sync_microseconds, waited);
        Counters::add(&counters.commits, 1);
        Counters::add(&counters.events, events);
        if let Some(tee) = tee.as_mut() {
            tee.note(planned.summary.sequence, &planned.changes);
        }
        self.online.follow(&planned.changes);
        let marks = Taken::marks(&planned.changes);
        shared.engine.show(way, planned.changes)?;
        shared.taken.follow(&marks);
        shared.publish(planned.summary, planned.heads);
        drop((survey, tee));
        self.remove_unused(&planned.unused);
        Ok(())
    }

    fn write_durably(&mut self, planned: &Planned) -> Result<Way, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.meet(Point::BeforeApply)?;
        let sequence = planned.summary.sequence;
        let way = shared.engine.write(sequence, &planned.changes)?;
        self.meet(Point::BeforeSync)?;
        shared.engine.sync_written(way)?;
        self.meet(Point::AfterSync)?;
        self.ledger.note(&entry_of(&planned.summary))?;
        self.meet(Point::BeforeAnswer)?;
        Ok(way)
    }

    fn remove_unused(&self, unused: &[[u8; 32]]) {
        for hash in unused {
            if let Err(why) = self.shared.bodies.remove(hash) {
                tracing::warn!(%why, "a body that is not needed any more stays");
            }
        }
    }

    pub(super) fn meet(&mut self, point: Point) -> Result<(), StoreError> {
        match self.options.failpoints.at(point) {
            None => Ok(()),
            Some(Mishap::Full) => Err(StoreError::Full {
                why: "a test says so".to_owned(),
            }),
            Some(Mishap::Fails) => Err(StoreError::Failed {
                why: "a test says so".to_owned(),
            }),
            Some(Mishap::Kill) => {
                self.killed = true;
                Err(StoreError::Closed)
            }
        }
    }
}

/// What the ledger says about a store that is at `summary`.
pub(super) fn entry_of(summary: &Summary) -> Entry {
    Entry {
        format: FORMAT_VERSION,
        store_id: summary.store_id,
        sequence: summary.sequence,
        live: summary.live(),
    }
}
