//! An open tree: the engine's, with the log of what it does not have yet.
//!
//! Invariant: what [`Tree::sync`] or [`Tree::sync_written`] said is done is on disk. The engine's own
//! flush is not (on Linux it never calls fsync), so its one file is synced here through a second
//! handle. Nothing but this file and `error.rs` names the engine.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::engine::{Changes, Pair};
use super::error::StoreError;
use super::folder::{Folder, sync_folder};
use super::held::{Held, merge};
use super::keys::{self, Key};
use super::log::{LOGGED_BYTES_MAX, Log, weight};
use super::record;

/// Bytes of pages that the engine keeps in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// A page over a quarter of this would go to a file that the engine never syncs; a leaf holds
/// about 17 rows of at most 8 KiB, so a quarter of 1 MiB leaves room.
const SEGMENT_BYTES: usize = 1 << 20;

/// How long the threads of a dropped handle may hold the engine's lock.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(3);
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Where a commit went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Into the log; readers see it once it is held.
    Log,
    /// Into the tree.
    Tree,
}

/// The tree, its file, and what is not in it yet.
#[derive(Debug)]
pub(super) struct Tree {
    engine: sled::Db,
    file: File,
    path: PathBuf,
    log: Mutex<Log>,
    held: RwLock<Held>,
}

impl Tree {
    /// Opens the files in `folder`; the tree takes over what only the log has. Panics if the engine
    /// does.
    pub(super) fn open(folder: &Folder) -> Result<Tree, StoreError> {
        let path = folder.tree_file();
        let engine = open_patiently(&folder.tree())?;
        sync_folder(&folder.tree())?;
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|why| StoreError::io(&path, &why))?;
        file.sync_all().map_err(|why| StoreError::io(&path, &why))?;
        let tree = Tree {
            engine,
            file,
            path,
            log: Mutex::new(Log::open(folder)?),
            held: RwLock::default(),
        };
        tree.replay()?;
        Ok(tree)
    }

    /// The commits of the log one after the other, as they were.
    fn replay(&self) -> Result<(), StoreError> {
        // A summary that cannot be read is told by whoever needs it.
        let Some(last) = self.last_commit()? else {
            return Ok(());
        };
        let commits = self.log().read(last)?;
        for changes in &commits {
            self.apply(changes)?;
        }
        match commits.is_empty() {
            true => Ok(()),
            false => self.sync(),
        }
    }

    fn last_commit(&self) -> Result<Option<u64>, StoreError> {
        let summary = self.get(&[keys::SUMMARY])?;
        let row = summary.and_then(|bytes| record::decode(&[keys::SUMMARY], &bytes).ok());
        Ok(row.map(|row| row.sequence))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes under `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(held) = self.held().get(key) {
            return Ok(held);
        }
        let found = self.engine.get(key);
        let found = found.map_err(|why| StoreError::engine(&why))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    /// At most `limit` pairs with keys in `range`, in order.
    pub(super) fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        let held = self.held().range(range.clone(), limit);
        merge(held, self.engine.range(range).map(pair), limit)
    }

    /// Writes a commit; not durable before [`Tree::sync_written`].
    pub(super) fn write(&self, sequence: u64, changes: &Changes) -> Result<Way, StoreError> {
        if weight(changes) <= LOGGED_BYTES_MAX {
            self.log().append(sequence, changes)?;
            return Ok(Way::Log);
        }
        self.settle()?;
        self.apply(changes)?;
        Ok(Way::Tree)
    }

    /// Makes a commit durable that was written this way.
    pub(super) fn sync_written(&self, way: Way) -> Result<(), StoreError> {
        match way {
            Way::Log => self.log().sync(),
            Way::Tree => self.sync(),
        }
    }

    /// Shows readers a commit that is in the log.
    pub(super) fn hold(&self, changes: Changes) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.add(changes);
    }

    /// Bytes of the commits that the tree does not have yet, and since when; `None` if it has all.
    pub(super) fn unsettled(&self) -> Option<(usize, Instant)> {
        self.held().unsettled()
    }

    /// The tree takes everything, at once, and the log begins again.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        if self.unsettled().is_none() {
            return Ok(());
        }
        self.apply(self.held().rows())?;
        self.sync()?;
        self.log().rewind();
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Held::default();
        Ok(())
    }

    /// As [`Tree::settle`], for good: nothing is in the log any more.
    pub(super) fn finish(&self) -> Result<(), StoreError> {
        self.settle()?;
        self.log().clear()
    }

    /// Puts all changes into the tree at once, past the log, when nothing is held; not durable before
    /// [`Tree::sync`].
    pub(super) fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, bytes) in changes {
            match bytes {
                Some(bytes) => batch.insert(key.as_slice(), bytes.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        let applied = self.engine.apply_batch(batch);
        applied.map_err(|why| StoreError::engine(&why))
    }

    /// Makes everything durable that was applied so far.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let flushed = self.engine.flush();
        flushed.map_err(|why| StoreError::engine(&why))?;
        let synced = self.file.sync_data();
        synced.map_err(|why| StoreError::io(&self.path, &why))
    }
}

fn pair(found: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Pair, StoreError> {
    let (key, bytes) = found.map_err(|why| StoreError::engine(&why))?;
    Ok((key.to_vec(), bytes.to_vec()))
}

/// The folder's own lock says that nobody else is here; if the engine's lock is taken all the same,
/// its threads of a handle just dropped hold it for a moment more.
fn open_patiently(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .mode(sled::Mode::HighThroughput)
        .flush_every_ms(None);
    let began = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(why))
                if why.to_string().contains("acquire lock") && began.elapsed() < LOCK_PATIENCE =>
            {
                std::thread::sleep(LOCK_PAUSE);
            }
            other => return other.map_err(|why| opening(&why)),
        }
    }
}

/// While opening, whatever the engine dislikes about its files is damage.
fn opening(why: &sled::Error) -> StoreError {
    match StoreError::engine(why) {
        StoreError::Failed { why } => StoreError::damaged("the database", why),
        other => other,
    }
}
