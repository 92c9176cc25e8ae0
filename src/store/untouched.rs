//! The engine's files as they were before it opened them: it cuts off what it dislikes, and with
//! it what repair could still read.
//!
//! Invariant: a store that is refused is, byte for byte, what it was before anybody tried to open
//! it. (A hard link would not do, because the engine writes in place. On a file system that shares
//! blocks until they are written, the copy costs nothing: that is how the system copies there.)

use super::error::StoreError;
use super::folder::{Folder, copy_tree, remove_folder, sync_tree};

/// Databases up to this size are copied before the engine opens them after an unclean stop, and
/// compared with the note of a clean one; with larger ones either would keep the server from
/// starting for too long.
pub const UNTOUCHED_BYTES_MAX: u64 = 256 << 20;

/// A copy that is there until the store is open. Made without syncing, because only this process
/// needs it, until it takes the place of what the engine spoiled.
pub(super) struct Untouched {
    copy: Folder,
    made: bool,
}

impl Untouched {
    /// Without a copy if the files are too large, or if there is no room for one.
    pub(super) fn keep(folder: &Folder) -> Untouched {
        let size = std::fs::metadata(folder.tree_file()).map_or(0, |file| file.len());
        let copy = folder.untouched();
        let made = size <= UNTOUCHED_BYTES_MAX && copy_tree(folder, &copy, true).is_ok();
        Untouched { copy, made }
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
        if let Err(why) = remove_folder(&self.copy.0) {
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
        folder.exchange(&self.copy)
    }
}
