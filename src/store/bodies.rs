//! Large contents as files of our own, named by their SHA-256, shared by everything equal.
//!
//! Invariant: a file is whole and durable before a row refers to it, and is removed only after the
//! commit that drops the last reference. A pin keeps a file for a batch that is still on its way.
//! (The engine would write large values without syncing them, so it never gets one.)

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use super::folder::{make_folder, remove_file, remove_folder, sync_folder, write_via};
use super::record::Beside;
use crate::hex;

/// The name of a body file.
pub(super) type Hash = [u8; 32];

/// SHA-256 of `bytes`.
pub(super) fn hash_of(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

#[derive(Debug, Default)]
struct Table {
    pins: HashMap<Hash, usize>,
    /// How many backups are under way; while any is, nothing is removed.
    holds: usize,
    /// What is to be removed when the last backup is done.
    waiting: Vec<Hash>,
}

/// The folder of body files.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    folder: PathBuf,
    table: Arc<Mutex<Table>>,
    /// Names drafts apart.
    drafted: Arc<AtomicU64>,
}

/// Keeps one body file from being removed until dropped.
#[derive(Debug)]
pub(super) struct Pin {
    hash: Hash,
    table: Arc<Mutex<Table>>,
}

impl Pin {
    /// The file that it keeps.
    pub(super) fn hash(&self) -> Hash {
        self.hash
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        let left = table.pins.get(&self.hash).map_or(0, |count| count - 1);
        if left == 0 {
            table.pins.remove(&self.hash);
        } else {
            table.pins.insert(self.hash, left);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bodies {
    pub(super) fn new(folder: PathBuf) -> Bodies {
        Bodies {
            folder,
            table: Arc::default(),
            drafted: Arc::default(),
        }
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let name = hex::encode(hash);
        self.folder.join(&name[..2]).join(name)
    }

    /// Makes `bytes` durable under their hash and pins them. Blocks for the disk.
    pub(super) fn keep(&self, hash: Hash, bytes: &[u8]) -> Result<Pin, StoreError> {
        *lock(&self.table).pins.entry(hash).or_insert(0) += 1;
        let pin = Pin {
            hash,
            table: Arc::clone(&self.table),
        };
        let path = self.path(&hash);
        let folder = path.parent().unwrap_or(&self.folder);
        make_folder(folder)?;
        // A file of that name may be damaged, and then it must not be shared.
        let same = fs::read(&path).is_ok_and(|there| there == bytes);
        if !same {
            let count = self.drafted.fetch_add(1, Ordering::Relaxed);
            write_via(&self.drafts().join(count.to_string()), &path, bytes)?;
        }
        sync_folder(folder)?;
        Ok(pin)
    }

    /// The content that `beside` points to; `what` names it in the error.
    pub(super) fn read(&self, beside: &Beside, what: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.path(&beside.hash);
        let damaged = |why: String| {
            let why = format!("its body {} {why}", path.display());
            StoreError::damaged(what, why)
        };
        let length = usize::try_from(beside.length).unwrap_or(usize::MAX);
        let file = File::open(&path).map_err(|why| damaged(why.to_string()))?;
        let size = file.metadata().map_or(0, |data| data.len());
        if beside.offset.saturating_add(beside.length) > size {
            return Err(damaged(format!("ends after {size} bytes")));
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, beside.offset)
            .map_err(|why| damaged(why.to_string()))?;
        if crc32c::crc32c(&bytes) != beside.crc {
            return Err(damaged("fails its checksum".to_owned()));
        }
        Ok(bytes)
    }

    /// The whole file, if it is what its name says.
    pub(super) fn read_whole(&self, hash: &Hash) -> Result<Vec<u8>, StoreError> {
        let path = self.path(hash);
        let what = || format!("the body {}", path.display());
        let bytes = fs::read(&path).map_err(|why| StoreError::damaged(what(), why.to_string()))?;
        if hash_of(&bytes) != *hash {
            return Err(StoreError::damaged(
                what(),
                "its content does not match its name",
            ));
        }
        Ok(bytes)
    }

    /// How long the file is; 0 if it is missing.
    pub(super) fn size(&self, hash: &Hash) -> u64 {
        fs::metadata(self.path(hash)).map_or(0, |data| data.len())
    }

    /// Removes a file that no row refers to any more, now or after the backup under way.
    pub(super) fn remove(&self, hash: &Hash) -> Result<(), StoreError> {
        let mut table = lock(&self.table);
        if table.holds > 0 {
            table.waiting.push(*hash);
            return Ok(());
        }
        if table.pins.contains_key(hash) {
            return Ok(());
        }
        remove_file(&self.path(hash))
    }

    /// From here on nothing is removed, until as many calls of [`Bodies::release`].
    pub(super) fn hold(&self) {
        lock(&self.table).holds += 1;
    }

    /// Ends a hold; gives what is to be checked and removed now.
    pub(super) fn release(&self) -> Vec<Hash> {
        let mut table = lock(&self.table);
        table.holds = table.holds.saturating_sub(1);
        if table.holds > 0 {
            return Vec::new();
        }
        std::mem::take(&mut table.waiting)
    }

    /// Removes `hash` unless it is pinned or `is_kept` says that a row refers to it. Asked under
    /// the lock, so that a batch on its way cannot slip in between.
    pub(super) fn remove_unless(
        &self,
        hash: &Hash,
        is_kept: impl FnOnce() -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let table = lock(&self.table);
        if table.holds > 0 || table.pins.contains_key(hash) || is_kept()? {
            return Ok(false);
        }
        remove_file(&self.path(hash))?;
        Ok(true)
    }

    /// The names of all body files.
    pub(super) fn list(&self) -> Result<Vec<Hash>, StoreError> {
        let mut found = Vec::new();
        self.each(|hash| found.push(*hash))?;
        Ok(found)
    }

    /// Shows each body file's name to `look`; there may be more than memory should hold.
    pub(super) fn each(&self, mut look: impl FnMut(&Hash)) -> Result<(), StoreError> {
        for folder in entries(&self.folder)? {
            if !folder.is_dir() {
                continue;
            }
            entries(&folder)?
                .iter()
                .filter_map(|path| hex::decode(path.file_name().and_then(|name| name.to_str())?))
                .for_each(|hash| look(&hash));
        }
        Ok(())
    }

    /// Removes drafts that a crash left behind. Only before the first batch.
    pub(super) fn remove_drafts(&self) -> Result<(), StoreError> {
        remove_folder(&self.drafts())?;
        make_folder(&self.drafts())
    }

    fn drafts(&self) -> PathBuf {
        self.folder.join("drafts")
    }
}

fn entries(folder: &PathBuf) -> Result<Vec<PathBuf>, StoreError> {
    let io = |why| StoreError::io(folder, &why);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        found.push(entry.map_err(io)?.path());
    }
    Ok(found)
}
