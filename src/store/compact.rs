//! Compaction: the engine's file does not shrink by itself, so now and then, with nobody at work,
//! its rows are written into a fresh one.
//!
//! Invariant: the rows go over unchanged, and the fresh database must satisfy the old ledger and
//! the old summary, digest and all, before it takes the old one's place in one step. Cut off at
//! any point, there is the one or the other, whole.

use std::path::Path;

use super::copying::Copying;
use super::engine::Engine;
use super::error::StoreError;
use super::folder::{Folder, files_of, remove_folder, sync_tree};
use super::ledger::Entry;
use super::open::{load, open};
use super::progress::{Progress, Watch};
use super::stop::{self, Stop};
use super::verify::count_watched;

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactSummary {
    /// Rows that went over: all of them.
    pub rows: u64,
    /// Bytes of the database before.
    pub bytes_before: u64,
    /// Bytes of the database now.
    pub bytes_after: u64,
}

/// Writes the database in `folder`, which nobody may have open, into a fresh file, telling `watch`
/// how far it has come. Needs room for another one of the size that is left.
///
/// # Errors
/// [`StoreError::Held`], [`StoreError::Format`]; [`StoreError::Damaged`] if anything is: it must
/// be repaired first; [`StoreError::Full`]. The store is as it was then.
pub fn compact(
    folder: &Path,
    watch: &mut dyn FnMut(Progress),
) -> Result<CompactSummary, StoreError> {
    let folder = Folder(folder.to_owned());
    if folder.is_new() {
        let what = format!("the store {}", folder.0.display());
        return Err(StoreError::damaged(what, "there is none"));
    }
    let _lock = folder.hold()?;
    let bytes_before = tree_bytes(&folder);
    let fresh = folder.compacting();
    let (rows, stop) = match write_anew(&folder, &fresh, watch) {
        Ok(written) => written,
        Err(why) => {
            remove_folder(&fresh.0)?;
            return Err(why);
        }
    };
    watch(Progress::step("putting it in its place"));
    folder.exchange(&fresh)?;
    watch(Progress::step("removing the old files"));
    remove_folder(&fresh.0)?;
    if let Err(why) = stop::leave(&folder, stop) {
        tracing::debug!(%why, "the next start takes this for an unclean stop");
    }
    Ok(CompactSummary {
        rows,
        bytes_before,
        bytes_after: tree_bytes(&folder),
    })
}

/// Bytes of the engine's files.
pub(super) fn tree_bytes(folder: &Folder) -> u64 {
    let files = files_of(&folder.tree()).into_values();
    files
        .map(|path| path.metadata().map_or(0, |file| file.len()))
        .sum()
}

/// A database at `fresh` with the same rows, on disk and verified; answers how many, and what the
/// note of this stop says: bodies were not read, so it is what the last one said.
fn write_anew(
    folder: &Folder,
    fresh: &Folder,
    watch: &mut Watch,
) -> Result<(u64, Stop), StoreError> {
    watch(Progress::step("opening the database"));
    let old = open(folder)?;
    let of = old.summary.rows() + 1;
    let copied = copy_rows(&old.engine, fresh, of, watch);
    old.engine.close_whole();
    copied?;
    // A row that was missing before is missing in the copy too.
    verify_anew(fresh, &old.ledger.read()?, watch)?;
    let verified = old.verified;
    Ok((of, Stop { verified }))
}

fn copy_rows(from: &Engine, fresh: &Folder, of: u64, watch: &mut Watch) -> Result<(), StoreError> {
    let mut copying = Copying::begin(fresh.clone())?;
    while copying.step(from)? {
        Progress::rows("copying rows", copying.rows, of, watch);
    }
    copying.close()
}

/// Opens what was written and holds all of it against the ledger and its own summary.
fn verify_anew(fresh: &Folder, entry: &Entry, watch: &mut Watch) -> Result<(), StoreError> {
    let engine = Engine::open(fresh)?;
    let verified = load(&engine, entry)
        .and_then(|(summary, heads)| count_watched(&engine, (&summary, &heads), watch));
    engine.close_whole();
    verified?;
    sync_tree(fresh)
}
