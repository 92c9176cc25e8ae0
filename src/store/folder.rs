//! The store's folder: what lies where, who holds it, and how a file becomes durable.
//!
//! Invariant: a file appears under its name only when it is whole and on disk, and one process at
//! most holds the lock. The lock is the kernel's (flock), so it ends with its owner.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::error::StoreError;

/// Paths inside the store's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// The engine's own folder.
    pub(super) fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    /// The engine's one big file, which we sync ourselves.
    pub(super) fn tree_file(&self) -> PathBuf {
        self.tree().join("db")
    }

    /// What is on disk and not in the engine's file yet; it goes where that goes.
    pub(super) fn log(&self) -> PathBuf {
        self.tree().join("log")
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    pub(super) fn bodies(&self) -> PathBuf {
        self.0.join("bodies")
    }

    pub(super) fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// What repair could not keep.
    pub(super) fn quarantine(&self) -> PathBuf {
        self.0.join("quarantine")
    }

    /// Where a check or a repair works on a copy.
    pub(super) fn workshop(&self) -> Folder {
        Folder(self.0.join("repairing"))
    }

    /// The engine's files as they were before it opened them.
    pub(super) fn untouched(&self) -> Folder {
        Folder(self.0.join("opening"))
    }

    /// Where a compaction writes the database anew.
    pub(super) fn compacting(&self) -> Folder {
        Folder(self.0.join("compacting"))
    }

    /// Takes away the place for values that are too large for the engine's one file. It would look for
    /// it under the name that its folder had when it was opened; no value is that large, and if one
    /// were, this makes it an error.
    pub(super) fn forget_large(&self) -> Result<(), StoreError> {
        remove_folder(&self.tree().join("blobs"))
    }

    /// Stands among copied files of the engine once all are there, and goes where they go: since
    /// which start of the system that is so.
    pub(super) fn copied_since(&self) -> PathBuf {
        self.tree().join("whole")
    }

    /// The note of a clean stop.
    pub(super) fn stopped(&self) -> PathBuf {
        self.0.join("stopped")
    }

    /// Where the engine's folder stands for a moment if the disk cannot exchange two names at once.
    fn parked(&self) -> PathBuf {
        self.0.join("parked")
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Stands there while a store is being made; what lies beside it is not a store yet.
    fn unfinished(&self) -> PathBuf {
        self.0.join("unfinished")
    }

    /// Makes the folder if it is missing, and takes the lock.
    pub(super) fn hold(&self) -> Result<Lock, StoreError> {
        make_folder(&self.0)?;
        let path = self.lock();
        let io = |why| StoreError::io(&path, &why);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.held(&mut file)),
            Err(TryLockError::Error(why)) => return Err(io(why)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .or_else(|why| self.pass_if_full(why))
            .map_err(io)?;
        Ok(Lock(file))
    }

    /// On a full disk the lock holds without a name in it.
    fn pass_if_full(&self, why: std::io::Error) -> std::io::Result<()> {
        match StoreError::io(&self.0, &why) {
            StoreError::Full { .. } => Ok(()),
            _ => Err(why),
        }
    }

    fn held(&self, file: &mut File) -> StoreError {
        let mut text = String::new();
        let pid = match file.read_to_string(&mut text) {
            Ok(_) => text.trim().parse().unwrap_or(0),
            Err(_) => 0,
        };
        StoreError::Held {
            folder: self.0.clone(),
            pid,
            ours: std::process::id(),
        }
    }

    /// True if there is nothing here that was ever a whole store.
    pub(super) fn is_new(&self) -> bool {
        self.unfinished().exists() || !(self.ledger().exists() || self.tree().exists())
    }

    /// The engine's folder of `other` takes the place of this one's, and the other way round: at
    /// once, or, where the disk cannot do that, in steps that [`Folder::settle`] can take back.
    pub(super) fn exchange(&self, other: &Folder) -> Result<(), StoreError> {
        let (ours, theirs) = (self.tree(), other.tree());
        let io = |why: std::io::Error| StoreError::io(&ours, &why);
        match renameat_with(CWD, &ours, CWD, &theirs, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => fs::rename(&theirs, &ours).map_err(io)?,
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let parked = self.parked();
                fs::rename(&ours, &parked)
                    .and_then(|()| fs::rename(&theirs, &ours))
                    .and_then(|()| fs::rename(&parked, &theirs))
                    .map_err(io)?;
            }
            Err(why) => return Err(io(why.into())),
        }
        sync_folder(&other.0)?;
        sync_folder(&self.0)
    }

    /// Clears up after a process that was killed in the middle of an exchange. What was parked is
    /// the engine's folder if nothing else stands in its place, and is put aside otherwise.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let parked = self.parked();
        if !parked.exists() {
            return Ok(());
        }
        let back = match self.tree().exists() {
            false => self.tree(),
            true => self.new_quarantine()?.join("tree"),
        };
        fs::rename(&parked, &back).map_err(|why| StoreError::io(&parked, &why))?;
        sync_folder(&self.0)
    }

    /// A new folder for what is put aside now.
    pub(super) fn new_quarantine(&self) -> Result<PathBuf, StoreError> {
        let root = self.quarantine();
        make_folder(&root)?;
        let count = fs::read_dir(&root)
            .map_err(|why| StoreError::io(&root, &why))?
            .count();
        let path = root.join((count + 1).to_string());
        make_folder(&path)?;
        Ok(path)
    }

    /// Clears what an unfinished creation left and says that one is under way.
    pub(super) fn begin_making(&self) -> Result<(), StoreError> {
        write_whole(&self.unfinished(), b"this store is being made\n")?;
        for folder in [self.tree(), self.bodies()] {
            remove_folder(&folder)?;
        }
        remove_file(&self.ledger())?;
        make_folder(&self.tree())?;
        make_folder(&self.bodies())
    }

    /// Says that the store is whole.
    pub(super) fn end_making(&self) -> Result<(), StoreError> {
        sync_folder(&self.tree())?;
        remove_file(&self.unfinished())?;
        sync_folder(&self.0)
    }
}

/// Holds the store's folder for this process until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing is not enough: a program that is just being started still has a copy of the handle
    /// between its fork and its exec, and would hold the lock for that moment.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Makes `folder` and its parents, and makes its name durable.
pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|why| StoreError::io(folder, &why))?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Makes the names inside `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|why| StoreError::io(folder, &why))
}

/// Writes a file beside `path`, syncs it, and gives it its name; the folder is left to the caller
/// to sync.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_via(&path.with_extension("draft"), path, bytes)
}

/// The same by way of `draft`, which must be on the same file system and the caller's alone.
pub(super) fn write_via(draft: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = File::create(draft)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(draft, path));
    written.map_err(|why| {
        // The draft has no value; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(draft);
        StoreError::io(path, &why)
    })
}

/// Removes a file; one that is missing already is fine.
pub(super) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(path, &why)),
        _ => Ok(()),
    }
}

/// Removes a folder with all it holds; one that is missing already is fine.
pub(super) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(path, &why)),
        _ => Ok(()),
    }
}

/// Copies the engine's files into `copy`, replacing what was there; the snapshots if wanted.
pub(super) fn copy_tree(folder: &Folder, copy: &Folder, snapshots: bool) -> Result<(), StoreError> {
    remove_folder(&copy.0)?;
    make_folder(&copy.0)?;
    make_folder(&copy.tree())?;
    for (name, path) in files_of(&folder.tree()) {
        if snapshots || !name.starts_with("snap.") {
            let to = copy.tree().join(&name);
            fs::copy(&path, &to).map_err(|why| StoreError::io(&to, &why))?;
        }
    }
    Ok(())
}

/// The plain files in `folder` by name, in order; none if there is no such folder.
pub(super) fn files_of(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.path())
        })
        .collect()
}

/// Makes the engine's files in `folder` durable, with their names.
pub(super) fn sync_tree(folder: &Folder) -> Result<(), StoreError> {
    for path in files_of(&folder.tree()).into_values() {
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|why| StoreError::io(&path, &why))?;
    }
    sync_folder(&folder.tree())?;
    sync_folder(&folder.0)
}
