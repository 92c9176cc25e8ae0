//! The store: the only place that knows the embedded engine. Everything that must survive goes
//! through one committer; reads see what is kept and say so when it is not what was written.
//!
//! Invariant: what was acknowledged is on disk, and what is missing or damaged is an error, never
//! an empty answer.

mod air;
mod apply;
mod backup;
mod batch;
mod bodies;
mod check;
pub mod codec;
mod committer;
mod compact;
mod copying;
mod engine;
mod error;
mod eventcodec;
mod folder;
mod held;
mod history;
mod job;
mod keys;
mod ledger;
mod line;
mod log;
mod newest;
mod online;
mod open;
mod options;
mod plan;
mod progress;
mod quarantine;
mod reads;
mod rebuild;
mod record;
mod recovery;
mod repair;
mod restore;
mod room;
mod run_row;
mod runs;
mod salvage;
mod shared;
mod site;
mod stop;
mod summary;
mod survey;
mod taken;
mod tree;
mod untouched;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

pub use air::{AIR_FACTOR, COMPACTED_BYTES_MAX, PAUSE_MAX};
pub use apply::{Committed, Pushed};
pub use backup::BackupSummary;
pub use batch::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Batch, INLINE_BYTES_MAX, KEY_BYTES_MAX};
pub use check::{CheckSummary, check, check_watched};
pub use committer::GROUP_EVENTS_MAX;
pub use compact::{CompactSummary, compact};
pub use error::StoreError;
pub use history::{Dead, RunInfo, Timer};
pub use ledger::{FORMAT_VERSION, LEDGER_LAG_MAX};
pub use line::Line;
pub use log::{LOG_BYTES, LOGGED_BYTES_MAX};
pub use online::HELD_MAX;
pub use open::VERIFY_AT_OPEN_MAX;
pub use options::{
    AIR_BYTES_MIN, AIR_BYTES_PER_COMMIT, BALLAST_BYTES, COMPACTION_PAUSE, Failpoints, LOOK_AFTER,
    LOW_WATER_BYTES, Mishap, Options, Point, SETTLE_AFTER, SETTLED_BYTES, Settling, Shrink,
};
pub use progress::{PROBLEMS_NAMED_MAX, Progress};
pub use reads::{ChannelCounts, Counts};
pub use repair::{RepairSummary, repair, repair_watched};
pub use restore::restore;
pub use run_row::End;
pub use runs::Cursor;
pub use shared::Counters;
pub use taken::taker;
pub use untouched::UNTOUCHED_BYTES_MAX;

use batch::Op;
use bodies::Pin;
use committer::Committer;
use folder::{Folder, Lock};
use job::{Answer, Job};
use shared::Shared;

/// Most batches that wait for the committer; further callers wait for a place.
pub const QUEUE_BATCHES_MAX: usize = 1_024;
/// Most events that one commit of retention looks at.
pub const RETAIN_STEP: usize = 256;
/// How often a blocking caller looks for a place in the queue.
const QUEUE_LOOK: Duration = Duration::from_millis(1);

/// An open store. Clones are the same store; it closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    places: Arc<Semaphore>,
    committer: Option<JoinHandle<()>>,
    _lock: Lock,
}

/// A batch that was handed over. It is kept whether anybody waits for the answer or not.
#[derive(Debug)]
pub struct Promise(Option<oneshot::Receiver<Result<Committed, StoreError>>>);

impl Promise {
    /// Waits until the batch is on disk.
    ///
    /// # Errors
    /// As [`Store::commit`]; [`StoreError::Behind`] in a line.
    pub async fn kept(self) -> Result<Committed, StoreError> {
        match self.0 {
            Some(answer) => answer.await.unwrap_or(Err(StoreError::Closed)),
            None => Ok(Committed::default()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(committer) = self.committer.take() {
            // A panic there has been answered already: everybody who waited saw it close.
            let _ = committer.join();
        }
    }
}

impl Store {
    /// Opens the store in `folder`, or makes an empty one. Blocks for the disk.
    ///
    /// # Errors
    /// [`StoreError::Held`] if another process owns it, [`StoreError::Format`] if another version
    /// wrote it, [`StoreError::Damaged`] if anything that was kept is missing.
    pub fn open(folder: &Path, options: Options) -> Result<Store, StoreError> {
        let folder = Folder(folder.to_owned());
        let lock = folder.hold()?;
        let opened = open::open(&folder)?;
        let known = (opened.summary, opened.heads);
        let shared = Arc::new(Shared::new(folder, opened.engine, known));
        shared.set_verified(opened.verified);
        shared.bodies.remove_drafts()?;
        let committer = Committer::new(Arc::clone(&shared), opened.ledger, options);
        let (jobs, waiting) = channel();
        let thread = start("store", move || committer.run(&waiting))?;
        sweep_orphans(&shared)?;
        Ok(Store(Arc::new(Inner {
            shared,
            jobs: Some(jobs),
            places: Arc::new(Semaphore::new(QUEUE_BATCHES_MAX)),
            committer: Some(thread),
            _lock: lock,
        })))
    }

    /// Keeps everything in `batch`, or nothing of it; when this answers `Ok`, it is on disk.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]: nothing was kept. [`StoreError::Full`]: nothing was, unless the disk
    /// filled up at the very last; [`StoreError::Failed`] and [`StoreError::Closed`]: whether it was
    /// kept is not known.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.hand_over(batch).await?.kept().await
    }

    /// As [`Store::commit`], in two parts: this answers when the batch has its place before the
    /// committer, so that those of one caller are kept in the order in which they were handed over.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], and what its files on disk fail at.
    pub async fn hand_over(&self, mut batch: Batch) -> Result<Promise, StoreError> {
        batch.seal()?;
        if batch.is_empty() {
            return Ok(Promise(None));
        }
        let places = Arc::clone(&self.0.places);
        let permit = places
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let (batch, pins) = self.keep_files(batch).await?;
        let (sender, answer) = oneshot::channel();
        self.send(batch, pins, Answer::Async(sender), permit)?;
        Ok(Promise(Some(answer)))
    }

    async fn keep_files(&self, batch: Batch) -> Result<(Batch, Vec<Pin>), StoreError> {
        if batch.files.is_empty() {
            return Ok((batch, Vec::new()));
        }
        let shared = Arc::clone(&self.0.shared);
        let work = move || keep_files(&shared, batch);
        let kept = tokio::task::spawn_blocking(work).await;
        kept.unwrap_or(Err(StoreError::Closed))
    }

    /// As [`Store::commit`], for callers outside the asynchronous world. Blocks for the disk.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_blocking(&self, mut batch: Batch) -> Result<Committed, StoreError> {
        batch.seal()?;
        if batch.is_empty() {
            return Ok(Committed::default());
        }
        let permit = self.wait_for_place()?;
        let (batch, pins) = keep_files(&self.0.shared, batch)?;
        let (sender, answer) = sync_channel(1);
        self.send(batch, pins, Answer::Blocking(sender), permit)?;
        answer.recv().unwrap_or(Err(StoreError::Closed))
    }

    fn wait_for_place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        loop {
            match Arc::clone(&self.0.places).try_acquire_owned() {
                Ok(permit) => return Ok(permit),
                Err(TryAcquireError::Closed) => return Err(StoreError::Closed),
                Err(TryAcquireError::NoPermits) => std::thread::sleep(QUEUE_LOOK),
            }
        }
    }

    fn send(
        &self,
        batch: Batch,
        pins: Vec<Pin>,
        answer: Answer,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), StoreError> {
        let job = Job {
            batch,
            pins,
            answer,
            permit,
        };
        let jobs = self.0.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_| StoreError::Closed)
    }

    /// Removes events of `channel` received before `older_than`, at most `limit`: those that no
    /// flow has still to look at and no live or blocked run or dead letter needs. An event that is
    /// still needed goes as soon as it is not. Answers how many went.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn retain_events(
        &self,
        channel: &str,
        older_than: Timestamp,
        limit: usize,
    ) -> Result<u64, StoreError> {
        if !self.is_past(channel, older_than)? {
            return Ok(0);
        }
        self.retain(limit, |step| {
            Op::RetainEvents(channel.to_owned(), older_than, step)
        })
        .await
    }

    /// Removes runs that ended and dead letters that were given up before `older_than`, about
    /// `limit` of each. Answers how many went.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn retain_runs(
        &self,
        older_than: Timestamp,
        limit: usize,
    ) -> Result<u64, StoreError> {
        if !self.has_ended(older_than)? {
            return Ok(0);
        }
        self.retain(limit, |step| Op::RetainRuns(older_than, step))
            .await
    }

    async fn retain(&self, limit: usize, op: impl Fn(usize) -> Op) -> Result<u64, StoreError> {
        let mut removed = 0;
        let mut left = limit;
        while left > 0 {
            let step = left.min(RETAIN_STEP);
            let mut batch = Batch::new();
            batch.add(op(step));
            let done = self.commit(batch).await?;
            removed += done.removed;
            left -= step;
            if !done.more {
                break;
            }
        }
        Ok(removed)
    }

    /// True if every row is known to be there: counted when the store was opened, or by
    /// [`Store::verify`] since the last stop that was not clean.
    pub fn is_verified(&self) -> bool {
        self.0.shared.is_verified()
    }

    /// What the store has done since it was opened.
    pub fn counters(&self) -> &Counters {
        &self.0.shared.counters
    }
}

fn keep_files(shared: &Shared, mut batch: Batch) -> Result<(Batch, Vec<Pin>), StoreError> {
    let files = std::mem::take(&mut batch.files);
    let pins = files
        .into_iter()
        .map(|(hash, bytes)| shared.bodies.keep(hash, &bytes))
        .collect::<Result<_, _>>()?;
    Ok((batch, pins))
}

/// Removes, on a thread of its own, body files that a crash left without a row.
fn sweep_orphans(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let shared = Arc::clone(shared);
    start("store-sweep", move || {
        let swept = shared
            .bodies
            .list()
            .and_then(|all| shared.remove_unused(&all));
        if let Err(why) = swept {
            tracing::debug!(%why, "bodies without a row were not swept");
        }
    })
    .map(drop)
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|why| StoreError::Failed {
            why: format!("no thread could be started: {why}"),
        })
}
