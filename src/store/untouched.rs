//! The engine's files as they were before it opened them: it cuts off what it dislikes, and with
//! it what repair could still read.
//!
//! Invariant: a store that is refused is, byte for byte, what it was before anybody tried to open
//! it. (A hard link would not do, because the engine writes in place. On a file system that shares
//! blocks until they are written, the copy costs nothing: that is how the system copies there.)

use std::fs;

use super::error::StoreError;
use super::folder::{Folder, copy_tree, remove_file, remove_folder, sync_tree};

/// Databases up to this size are copied before the engine opens them after an unclean stop, and
/// compared with the note of a clean one; with larger ones either would keep the server from
/// starting for too long.
pub const UNTOUCHED_BYTES_MAX: u64 = 256 << 20;

/// Tells one start of the system from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A copy that is there until the store is open. Made without syncing, because only this process
/// needs it, until it takes the place of what the engine spoiled.
pub(super) struct Untouched {
    copy: Folder,
    made: bool,
}

impl Untouched {
    /// Without a copy if the files are too large, or if there is no room for one.
    pub(super) fn keep(folder: &Folder) -> Untouched {
        let size = fs::metadata(folder.tree_file()).map_or(0, |file| file.len());
        let copy = folder.untouched();
        let made = size <= UNTOUCHED_BYTES_MAX && copy_tree(folder, &copy, true).is_ok();
        if made && let Ok(boot) = fs::read(BOOT_ID) {
            // Without it a copy is made again if this process is killed while it opens the store.
            let _ = fs::write(copy.copied_since(), boot);
        }
        Untouched { copy, made }
    }

    /// Puts back what a process copied that was killed while it opened the store. Only since the
    /// system was started: the copy was not synced.
    pub(super) fn settle(folder: &Folder) -> Result<(), StoreError> {
        let copy = folder.untouched();
        let made = fs::read(copy.copied_since()).ok();
        if made.is_some() && made == fs::read(BOOT_ID).ok() {
            sync_tree(&copy)?;
            folder.exchange(&copy)?;
        }
        remove_file(&folder.copied_since())
    }

    /// Without a copy, because none is needed.
    pub(super) fn spare(folder: &Folder) -> Untouched {
        Untouched {
            copy: folder.untouched(),
            made: false,
        }
    }

    /// Removes the copy, or what a process that was killed while it opened the store left of one.
    pub(super) fn forget(&self) {
        let marked = remove_file(&self.copy.copied_since());
        if let Err(why) = marked.and_then(|()| remove_folder(&self.copy.0)) {
            tracing::warn!(%why, "a copy that is not needed any more stays");
        }
    }

    /// Puts the copy in the place of what the engine opened. Its threads may still write into the
    /// files that they had; those are renamed with their folder and then go.
    pub(super) fn bring_back(&self, folder: &Folder) {
        if !self.made {
            return;
        }
        match self.exchange(folder) {
            Ok(()) => self.forget(),
            Err(why) => {
                tracing::error!(copy = %self.copy.0.display(), "what was there before stays aside: {why}");
            }
        }
    }

    fn exchange(&self, folder: &Folder) -> Result<(), StoreError> {
        sync_tree(&self.copy)?;
        folder.exchange(&self.copy)?;
        remove_file(&folder.copied_since())
    }
}
