//! The embedded engine, which may be let go, opened again and replaced while it is read.
//!
//! Invariant: whatever the engine panics at is an error here, never a panic.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::folder::Folder;
use super::keys::{Key, after};
use super::tree::{LOCK_PATIENCE, LOCK_PAUSE, Tree, Way};

/// Bytes rewritten at a time by [`redirty`].
const CHUNK_BYTES: usize = 1 << 20;

/// How often it is seen whether a tree that is let go is still read.
const READ_PAUSE: Duration = Duration::from_millis(1);

/// A row's key and bytes.
pub(super) type Pair = (Key, Vec<u8>);
/// What a commit does to the tree: the new bytes of each key, or its removal.
pub(super) type Changes = std::collections::BTreeMap<Key, Option<Vec<u8>>>;

/// The open tree; reads and writes go through here. Empty while it is being reopened. Each look holds
/// the tree that it began with, so another one may take its place meanwhile.
#[derive(Debug)]
pub(super) struct Engine {
    folder: Folder,
    open: RwLock<Option<Arc<Tree>>>,
}

/// A tree that another one has replaced; it closes with this and the last look at it.
#[derive(Debug)]
pub(super) struct Replaced(Option<Arc<Tree>>);

impl Drop for Replaced {
    fn drop(&mut self) {
        let_go(self.0.take());
    }
}

impl Engine {
    /// Opens the tree on a thread of its own, because a damaged file makes the engine panic.
    pub(super) fn open(folder: &Folder) -> Result<Engine, StoreError> {
        let engine = Engine {
            folder: folder.clone(),
            open: RwLock::new(None),
        };
        engine.reopen()?;
        Ok(engine)
    }

    /// Opens again after [`Engine::close`].
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let open = open_tree(&self.folder)?;
        self.put(Some(Arc::new(open)));
        Ok(())
    }

    fn put(&self, open: Option<Arc<Tree>>) -> Option<Arc<Tree>> {
        let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut slot, open)
    }

    /// Lets the tree go. Readers that are still inside finish first, if that does not take too long.
    pub(super) fn close(&self) {
        let open = self.put(None);
        let began = Instant::now();
        let is_read = || {
            open.as_ref()
                .is_some_and(|open| Arc::strong_count(open) > 1)
        };
        while is_read() && began.elapsed() < LOCK_PATIENCE {
            std::thread::sleep(READ_PAUSE);
        }
        let_go(open);
    }

    /// The tree of `fresh`, whose files have taken the place of this one's, is the tree from now on.
    /// Who looks at the old one goes on with it; `None` if `fresh` is not open, and nothing changed.
    ///
    /// The engine uses names of files only while it opens them, so both trees stay what they are.
    pub(super) fn replace(&self, fresh: &Engine) -> Option<Replaced> {
        let open = fresh.put(None)?;
        Some(Replaced(self.put(Some(open))))
    }

    /// Lets the tree go, and waits for the engine's own threads to let go of the files too; false
    /// if they still hold them after a while.
    pub(super) fn close_whole(&self) -> bool {
        self.close();
        let Ok(file) = File::open(self.folder.tree_file()) else {
            return false;
        };
        let began = Instant::now();
        // The engine locks its file for as long as any of its threads has it.
        while file.try_lock().is_err() {
            if began.elapsed() > LOCK_PATIENCE {
                return false;
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        true
    }

    fn with<T>(&self, work: impl FnOnce(&Tree) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let open = self
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let open = open.ok_or_else(|| StoreError::Failed {
            why: "it is being opened again after a failure of the disk".to_owned(),
        })?;
        // A tree that was replaced meanwhile closes in here.
        guarded(move || work(&open))
    }

    /// The bytes under `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|tree| tree.get(key))
    }

    /// At most `limit` pairs from `from` on, up to the end of `prefix`, in order.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let from = from.max(prefix).to_vec();
        let end = after(prefix);
        if from >= end {
            return Ok(Vec::new());
        }
        self.with(|tree| tree.scan(from..end, limit))
    }

    /// As [`Engine::scan`], and moves `from` behind the last of them, where the next call goes on.
    pub(super) fn next(
        &self,
        prefix: &[u8],
        from: &mut Key,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let pairs = self.scan(prefix, from, limit)?;
        if let Some((last, _)) = pairs.last() {
            from.clone_from(last);
            from.push(0);
        }
        Ok(pairs)
    }

    /// Writes commit number `sequence`; not durable before [`Engine::sync_written`].
    pub(super) fn write(&self, sequence: u64, changes: &Changes) -> Result<Way, StoreError> {
        self.with(|tree| tree.write(sequence, changes))
    }

    /// Makes a commit durable that was written this way.
    pub(super) fn sync_written(&self, way: Way) -> Result<(), StoreError> {
        self.with(|tree| tree.sync_written(way))
    }

    /// Shows readers a durable commit that was written this way.
    pub(super) fn show(&self, way: Way, changes: Changes) -> Result<(), StoreError> {
        match way {
            Way::Log => self.with(|tree| {
                tree.hold(changes);
                Ok(())
            }),
            Way::Tree => Ok(()),
        }
    }

    /// Bytes of the commits that the tree does not have yet, and since when; `None` if it has all.
    pub(super) fn unsettled(&self) -> Option<(usize, Instant)> {
        self.with(|tree| Ok(tree.unsettled())).ok().flatten()
    }

    /// The tree takes over everything that is only in the log, durably.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        self.with(Tree::settle)
    }

    /// As [`Engine::settle`], before a clean stop: the log is empty then.
    pub(super) fn finish(&self) -> Result<(), StoreError> {
        self.with(Tree::finish)
    }

    /// Puts all changes into the tree at once, past the log; not durable before [`Engine::sync`].
    pub(super) fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        self.with(|tree| tree.apply(changes))
    }

    /// Makes everything durable that was applied so far.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.with(Tree::sync)
    }
}

/// A handle that failed may panic while it says good-bye; there is nothing left to save.
fn let_go(open: Option<Arc<Tree>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
}

/// Runs `work` and turns a panic of the engine into damage that can be told.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(StoreError::damaged(
            "the database",
            format!("the engine gave up on it: {why}"),
        ))
    })
}

/// On a thread of its own, because a damaged file makes the engine panic.
fn open_tree(folder: &Folder) -> Result<Tree, StoreError> {
    let work = {
        let folder = folder.clone();
        move || Tree::open(&folder)
    };
    let thread = std::thread::Builder::new().name("store-open".to_owned());
    let thread = thread
        .spawn(move || guarded(work))
        .map_err(|why| StoreError::io(&folder.tree(), &why))?;
    thread.join().unwrap_or(Err(StoreError::Closed))
}

/// Writes a file over with its own bytes and syncs it. After a failed sync the system may take
/// pages for clean that never reached the disk; this makes them dirty again.
pub(super) fn redirty(path: &Path) -> Result<(), StoreError> {
    let io = |why| StoreError::io(path, &why);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(io)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        let count = file.read_at(&mut buffer, at).map_err(io)?;
        if count == 0 {
            return file.sync_all().map_err(io);
        }
        file.write_all_at(&buffer[..count], at).map_err(io)?;
        at += count as u64;
    }
}
