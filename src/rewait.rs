//! What is done at a start about runs that wait: they are found in the store and wait on.
//!
//! Invariant: flows do not look at an event that a run which waited before the start may still
//! take; a run that lay down just before the end is shown everything that it may have missed; no
//! event is offered to anybody before all who were shown the one before it are there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::channel::Channel;
use crate::claim::lock;
use crate::event::RunId;
use crate::run::Conductor;
use crate::stop::told;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::{Batch, StoreError};
use crate::wait::{Form, Wait};
use crate::waits::{ALL, Entered, Mark, NOTHING_MISSED};
use crate::wake::Cause;

/// Waits that are read at a time.
const PAGE_WAITS: usize = 1_000;
/// Runs that are shown at a time what they may have missed.
const SETTLED_AT_ONCE_MAX: usize = 16;
/// Where marks are kept.
const MARK: &str = "offered/";

/// What a start finds.
#[derive(Debug, Default)]
pub struct Found {
    /// Every run that waits.
    pub runs: HashSet<RunId>,
    /// What makes further events the same trouble as a run that waits.
    pub troubles: Vec<(String, RunId)>,
    /// What is done once all runs that wait are known.
    rest: Rest,
}

/// What a start still has to do when flows are attended to.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Runs that may have missed something.
    late: Vec<Wait>,
    /// Channels whose events are held back until then.
    held_back: Vec<Arc<Channel>>,
}

impl Conductor {
    /// Reads what runs wait for. To be called before any flow looks at anything.
    ///
    /// # Errors
    /// What the store cannot read.
    pub fn find_waits(self: &Arc<Self>) -> Result<Found, StoreError> {
        let waits = self.kept_waits()?;
        let marks = self.kept_marks(&waits)?;
        let highest = waits.iter().map(|wait| wait.laid);
        let highest = highest.chain(marks.values().map(|mark| mark.laid)).max();
        self.waits.go_on_after(highest.unwrap_or(0));
        let mut found = Found::default();
        let returns = self.waits.returns();
        for (name, mark) in &marks {
            if let Some(channel) = self.channels.get(name) {
                channel.hold_back(mark.next);
                // Its usher comes when all who were shown what came before are in.
                self.waits.open(name, || mark.next);
                found.rest.held_back.push(channel);
            }
        }
        for wait in waits {
            found.runs.insert(wait.run.clone());
            let trouble = wait.trouble.clone();
            found
                .troubles
                .extend(trouble.map(|trouble| (trouble, wait.run.clone())));
            let was_shown = |want: &crate::want::Want| {
                let mark = marks.get(&want.channel);
                mark.is_some_and(|mark| wait.laid < mark.laid)
            };
            let is_settled = marks.get(ALL).is_some_and(|mark| wait.laid < mark.laid);
            let all_shown = is_settled && wait.wants.iter().all(was_shown);
            let shown = vec![NOTHING_MISSED; wait.wants.len()];
            let wait = Arc::new(wait);
            if !all_shown || self.waits.enter(&wait, &shown, returns) != Entered::Waits {
                self.waits.settle_again(&wait);
                found.rest.late.push(Wait::clone(&wait));
            }
        }
        Ok(found)
    }

    fn kept_waits(&self) -> Result<Vec<Wait>, StoreError> {
        let mut waits: Vec<Wait> = Vec::new();
        loop {
            let after = waits.last().map(|wait| wait.run.clone());
            let page = self.store.waits(after.as_ref(), PAGE_WAITS)?;
            let is_last = page.len() < PAGE_WAITS;
            for (run, record) in page {
                let what = format!("what {run} waits for");
                let wait = Wait::decode(run, &record);
                waits.push(wait.map_err(|why| damaged(&what, &why))?);
            }
            if is_last {
                return Ok(waits);
            }
        }
    }

    /// Marks of channels at which somebody waits. Without one, events that came after a `receive`
    /// lay down are held back for it.
    fn kept_marks(&self, waits: &[Wait]) -> Result<BTreeMap<String, Mark>, StoreError> {
        let mut marks: BTreeMap<String, Mark> = BTreeMap::new();
        let wanted = waits.iter().flat_map(|wait| &wait.wants);
        let names: BTreeSet<&str> = wanted.map(|want| want.channel.as_str()).collect();
        for name in names.into_iter().chain([ALL]) {
            if let Some(bytes) = self.store.mark(&format!("{MARK}{name}"))? {
                let mark = read_mark(&bytes).map_err(|why| damaged(name, &why))?;
                marks.insert(name.to_owned(), mark);
            }
        }
        lock(&self.kept_marks).clone_from(&marks);
        let takes = waits.iter().filter(|wait| wait.form == Form::Receive);
        for want in takes.flat_map(|wait| &wait.wants) {
            let floor = self.store.channel_counts(&want.channel).floor;
            let from = want.from.max(floor).max(1);
            let held = Mark {
                next: from,
                laid: 0,
            };
            let mark = marks.entry(want.channel.clone()).or_insert(held);
            if mark.laid == 0 {
                mark.next = mark.next.min(from);
            }
        }
        Ok(marks)
    }

    /// Shows runs what they may have missed, and then rings timers until the server stops.
    pub(crate) async fn attend_waits(self: Arc<Self>, rest: Rest) {
        let (mut takers, others): (Vec<Wait>, Vec<Wait>) = rest
            .late
            .into_iter()
            .partition(|wait| wait.form == Form::Receive);
        // Of several that want the same event the longest-waiting gets it.
        takers.sort_by(|one, other| (one.since, &one.run).cmp(&(other.since, &other.run)));
        for wait in takers {
            self.settle_left(wait).await;
        }
        for channel in rest.held_back {
            tokio::spawn(Arc::clone(&self).usher(channel));
        }
        let settled = stream::iter(others).map(|wait| self.settle_left(wait));
        settled
            .buffer_unordered(SETTLED_AT_ONCE_MAX)
            .collect::<()>()
            .await;
        // An event that came before a deadline wins, also when both passed while nobody was there.
        for channel in self.channels.all() {
            let mut offered = channel.watch();
            let tail = channel.tail();
            let mut stop = self.stop.clone();
            tokio::select! {
                _ = offered.wait_for(|offered| *offered >= tail) => {}
                () = told(&mut stop) => return,
            }
        }
        let stop = self.stop.clone();
        self.ring(stop).await;
    }

    /// A run that lay down just before the end may have been cancelled just then.
    async fn settle_left(self: &Arc<Self>, wait: Wait) {
        let journal = self.journal(&wait.run).ok().flatten();
        let cancelled =
            journal.is_some_and(|journal| journal.cancel().is_some() && !journal.knows_of_cancel());
        if !cancelled {
            return self.settle_before(wait).await;
        }
        let told = Cause::Failure(Conductor::cancelled(wait.word()));
        if let Err(why) = self.wake(&wait, told).await {
            tracing::error!(run = %wait.run, "is woken after the next start: {why}");
        }
        self.waits.settled(&wait);
    }

    /// Writes down how far events were shown, where that changed since the last call.
    ///
    /// # Errors
    /// What the store does not keep.
    pub async fn keep_marks(&self) -> Result<(), StoreError> {
        let now = self.waits.marks();
        let before = lock(&self.kept_marks).clone();
        if now == before {
            return Ok(());
        }
        let mut batch = Batch::new();
        for (channel, mark) in now
            .iter()
            .filter(|(name, mark)| before.get(*name) != Some(mark))
        {
            let mut out = Writer::new();
            out.number(mark.next).number(mark.laid);
            batch.set_mark(&format!("{MARK}{channel}"), Some(out.into_bytes()))?;
        }
        for channel in before.keys().filter(|name| !now.contains_key(*name)) {
            batch.set_mark(&format!("{MARK}{channel}"), None)?;
        }
        self.store.commit(batch).await?;
        *lock(&self.kept_marks) = now;
        Ok(())
    }
}

impl Found {
    /// What is still to be done.
    pub(crate) fn rest(&mut self) -> Rest {
        std::mem::take(&mut self.rest)
    }
}

fn read_mark(bytes: &[u8]) -> Result<Mark, CodecError> {
    let mut input = Reader::new(bytes);
    Ok(Mark {
        next: input.number()?,
        laid: input.number()?,
    })
}

fn damaged(what: &str, why: &CodecError) -> StoreError {
    StoreError::Damaged {
        what: what.to_owned(),
        why: why.to_string(),
    }
}
