//! How a store is opened: limits that an operator may set, and what a test may reach into.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// Bytes of the ballast file, freed when the disk is full so that the store can be opened again.
pub const BALLAST_BYTES: u64 = 64 << 20;
/// Below this much free space pushes are refused; what is under way can still be finished.
pub const LOW_WATER_BYTES: u64 = 128 << 20;

/// So many bytes of commits are in the log at least when the tree takes them over: many commits cost
/// it little more than one, and commits wait for it.
pub const SETTLED_BYTES: usize = 128 << 10;
/// How long a commit is in the log only, at most.
pub const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// How long after a commit the engine's file is looked at, once for all commits in between.
pub const LOOK_AFTER: Duration = Duration::from_secs(5);
/// How long after a compaction at work the next one may begin.
pub const COMPACTION_PAUSE: Duration = Duration::from_secs(15);
/// The least bytes of a file of air that are given back: twice those of an empty store.
pub const AIR_BYTES_MIN: u64 = 2 << 20;
/// So many more must there be for each commit since the last look: the busier the store, the more air
/// is worth a copy that its commits wait for.
pub const AIR_BYTES_PER_COMMIT: u64 = 32 << 10;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes that the store may use on disk; `None` is as much as there is. Pushes are refused
    /// beyond it.
    pub disk_max: Option<u64>,
    /// Bytes of the ballast file; 0 for none.
    pub ballast_bytes: u64,
    /// Bytes of free space below which pushes are refused.
    pub low_water_bytes: u64,
    /// When the engine's tree takes over what is in the log.
    pub settling: Settling,
    /// When the engine's file is written anew.
    pub shrink: Shrink,
    /// Where the time comes from.
    pub clock: Clock,
    /// For crash tests; does nothing unless armed.
    pub failpoints: Failpoints,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            disk_max: None,
            ballast_bytes: BALLAST_BYTES,
            low_water_bytes: LOW_WATER_BYTES,
            settling: Settling::default(),
            shrink: Shrink::default(),
            clock: Clock::system(),
            failpoints: Failpoints::default(),
        }
    }
}

/// When the tree takes over what is only in the log: whatever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settling {
    /// Bytes of the commits there; more than [`SETTLED_BYTES`] is for tests.
    pub bytes: usize,
    /// Time since the first of them.
    pub after: Duration,
}

impl Default for Settling {
    fn default() -> Settling {
        Settling {
            bytes: SETTLED_BYTES,
            after: SETTLE_AFTER,
        }
    }
}

/// When a store at work looks at the engine's file, and from which size on it is written anew if it
/// is mostly air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shrink {
    /// How long after a commit it looks.
    pub look_after: Duration,
    /// How long after a compaction the next one may begin.
    pub pause: Duration,
    /// The least bytes of the file in a quiet time.
    pub bytes_min: u64,
    /// How many more for each commit since the last look.
    pub bytes_per_commit: u64,
}

impl Default for Shrink {
    fn default() -> Shrink {
        Shrink {
            look_after: LOOK_AFTER,
            pause: COMPACTION_PAUSE,
            bytes_min: AIR_BYTES_MIN,
            bytes_per_commit: AIR_BYTES_PER_COMMIT,
        }
    }
}

/// A moment in a commit, or in a compaction at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Nothing has been written.
    BeforeApply,
    /// The batch is written, not on disk.
    BeforeSync,
    /// The batch is on disk, the ledger does not know.
    AfterSync,
    /// The ledger knows, nobody has been told.
    BeforeAnswer,
    /// Batches that were answered are in the log and not in the tree.
    BeforeSettling,
    /// They are in both.
    AfterSettling,
    /// An empty database lies beside the one at work.
    CopyBegun,
    /// Some rows went over.
    RowsCopied,
    /// The copy is whole and on disk.
    BeforeExchange,
    /// The copy stands in the old one's place, which is still at work.
    AfterExchange,
    /// The copy is at work, and the old one lies beside it.
    BeforeRemoval,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The disk is full.
    Full,
    /// The disk fails.
    Fails,
    /// The process is killed: nothing more is written and nobody is answered.
    Kill,
}

type Watcher = dyn Fn(Point) + Send + Sync;

#[derive(Default)]
struct Armed {
    commits: AtomicU64,
    plan: Mutex<Option<(u64, Point, Mishap)>>,
    watcher: Mutex<Option<Arc<Watcher>>>,
}

impl std::fmt::Debug for Armed {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        write!(out, "{:?}", *plan)
    }
}

/// Makes one commit go wrong. Clones share what is armed.
#[derive(Debug, Clone, Default)]
pub struct Failpoints(Option<Arc<Armed>>);

impl Failpoints {
    /// Failpoints that can be armed.
    pub fn new() -> Failpoints {
        Failpoints(Some(Arc::default()))
    }

    /// Calls `watcher` at every point, on the thread that commits.
    pub fn watch(&self, watcher: impl Fn(Point) + Send + Sync + 'static) {
        let Some(armed) = &self.0 else { return };
        let mut slot = armed.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Arc::new(watcher));
    }

    /// Lets the `nth` commit from now on (1 is the next) meet `mishap` at `point`, once. With 0 it is
    /// whatever meets the point next.
    pub fn arm(&self, nth: u64, point: Point, mishap: Mishap) {
        let Some(armed) = &self.0 else { return };
        armed.commits.store(0, Ordering::SeqCst);
        *armed.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some((nth, point, mishap));
    }

    /// True until what was armed has happened.
    pub fn is_armed(&self) -> bool {
        let plan = self.0.as_ref().map(|armed| armed.plan.lock());
        plan.is_some_and(|plan| plan.unwrap_or_else(PoisonError::into_inner).is_some())
    }

    /// A commit begins.
    pub(super) fn count(&self) {
        if let Some(armed) = &self.0 {
            armed.commits.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What happens at `point`, if anything; it happens once.
    pub(super) fn at(&self, point: Point) -> Option<Mishap> {
        let armed = self.0.as_ref()?;
        let watched = armed.watcher.lock();
        let watcher = watched.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(watcher) = watcher {
            watcher(point);
        }
        let mut plan = armed.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let (nth, at, mishap) = (*plan)?;
        if at != point || armed.commits.load(Ordering::SeqCst) < nth {
            return None;
        }
        *plan = None;
        Some(mishap)
    }
}
