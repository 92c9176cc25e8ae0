//! The embedded engine, and what it does not do by itself: really sync, and fail without a panic.
//!
//! Invariant: what [`Engine::write`] said is done is on disk. The engine's own flush is not (on
//! Linux it never calls fsync), so its one file is synced here through a second handle. Nothing but
//! this file and `error.rs` names the engine.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::folder::{Folder, sync_folder};
use super::keys::{Key, after};

/// Bytes of pages that the engine keeps in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// A page over a quarter of this would go to a file that the engine never syncs; a leaf holds
/// about 17 rows of at most 8 KiB, so a quarter of 1 MiB leaves room.
const SEGMENT_BYTES: usize = 1 << 20;
/// Bytes rewritten at a time by [`redirty`].
const CHUNK_BYTES: usize = 1 << 20;

/// How long the threads of a dropped handle may hold the engine's lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// How often it is seen whether a tree that is let go is still read.
const READ_PAUSE: Duration = Duration::from_millis(1);

/// A row's key and bytes.
pub(super) type Pair = (Key, Vec<u8>);
/// What a commit does to the tree: the new bytes of each key, or its removal.
pub(super) type Changes = std::collections::BTreeMap<Key, Option<Vec<u8>>>;

#[derive(Debug)]
struct Open {
    tree: sled::Db,
    file: File,
}

/// The open tree; reads and writes go through here. Empty while it is being reopened. Each look holds
/// the tree that it began with, so another one may take its place meanwhile.
#[derive(Debug)]
pub(super) struct Engine {
    folder: Folder,
    open: RwLock<Option<Arc<Open>>>,
}

/// A tree that another one has replaced; it closes with this and the last look at it.
#[derive(Debug)]
pub(super) struct Replaced(Option<Arc<Open>>);

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

    fn put(&self, open: Option<Arc<Open>>) -> Option<Arc<Open>> {
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

    fn with<T>(&self, work: impl FnOnce(&Open) -> Result<T, StoreError>) -> Result<T, StoreError> {
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
        self.with(|open| {
            let found = open.tree.get(key).map_err(|why| StoreError::engine(&why))?;
            Ok(found.map(|bytes| bytes.to_vec()))
        })
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
        self.with(|open| open.tree.range(from..end).take(limit).map(pair).collect())
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

    /// Puts all changes into the tree at once; not durable before [`Engine::sync`].
    pub(super) fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, bytes) in changes {
            match bytes {
                Some(bytes) => batch.insert(key.as_slice(), bytes.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.with(|open| {
            open.tree
                .apply_batch(batch)
                .map_err(|why| StoreError::engine(&why))
        })
    }

    /// Makes everything applied so far durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.with(|open| {
            open.tree.flush().map_err(|why| StoreError::engine(&why))?;
            open.file
                .sync_data()
                .map_err(|why| StoreError::io(&self.folder.tree_file(), &why))
        })
    }
}

/// A handle that failed may panic while it says good-bye; there is nothing left to save.
fn let_go(open: Option<Arc<Open>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
}

fn pair(found: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Pair, StoreError> {
    let (key, bytes) = found.map_err(|why| StoreError::engine(&why))?;
    Ok((key.to_vec(), bytes.to_vec()))
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

fn open_tree(folder: &Folder) -> Result<Open, StoreError> {
    let path = folder.tree();
    let file_path = folder.tree_file();
    let work = move || {
        let tree = open_patiently(&path)?;
        sync_folder(&path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&file_path)
            .map_err(|why| StoreError::io(&file_path, &why))?;
        file.sync_all()
            .map_err(|why| StoreError::io(&file_path, &why))?;
        Ok(Open { tree, file })
    };
    let thread = std::thread::Builder::new().name("store-open".to_owned());
    let thread = thread
        .spawn(move || guarded(work))
        .map_err(|why| StoreError::io(&folder.tree(), &why))?;
    thread.join().unwrap_or(Err(StoreError::Closed))
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
