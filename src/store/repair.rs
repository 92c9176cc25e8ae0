//! Repair: everything that can still be read goes into a fresh database; the rest, and the old
//! database whole, into the quarantine.
//!
//! Invariant: nothing is destroyed, and a repair that is cut off at any point leaves the old
//! database or the repaired one, never neither. Rows go from one database into the other some at a
//! time; beside the old files there must be room for two more of that size.

use std::path::{Path, PathBuf};

use super::bodies::Bodies;
use super::committer::entry_of;
use super::engine::Engine;
use super::error::StoreError;
use super::folder::{
    Folder, copy_tree, make_folder, remove_file, remove_folder, sync_folder, sync_tree,
};
use super::ledger::{Entry, Ledger};
use super::open::{fill, load, read_ledger, read_summary};
use super::plan::Heads;
use super::progress::{Progress, Watch};
use super::quarantine::Quarantine;
use super::rebuild::{rebuild, unknown};
use super::salvage::Salvage;
use super::site::Site;
use super::summary::Summary;
use super::verify;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairSummary {
    /// How the rows were found: through the engine, or in its raw file.
    pub way: String,
    /// Rows in the repaired store.
    pub rows: u64,
    /// Rows that were moved to the quarantine, in words, up to [`super::PROBLEMS_NAMED_MAX`].
    pub quarantined: Vec<String>,
    /// What else had to be changed, in words, up to as many.
    pub changed: Vec<String>,
    /// Where the old database and the damaged rows are.
    pub quarantine: PathBuf,
}

/// Repairs the store in `folder`, which nobody may have open. Things that had been removed may
/// come back if the raw file had to be read; better twice than lost.
///
/// # Errors
/// [`StoreError::Held`], [`StoreError::Format`], or what the disk says.
pub fn repair(folder: &Path) -> Result<RepairSummary, StoreError> {
    repair_watched(folder, &mut |_| {})
}

/// As [`repair`], telling `watch` how far it has come.
///
/// # Errors
/// As [`repair`].
pub fn repair_watched(
    folder: &Path,
    watch: &mut dyn FnMut(Progress),
) -> Result<RepairSummary, StoreError> {
    let folder = Folder(folder.to_owned());
    let _lock = folder.hold()?;
    folder.settle()?;
    let entry = match read_ledger(&folder) {
        Err(why @ StoreError::Format { .. }) => return Err(why),
        other => other.ok().map(|(_, entry)| entry),
    };
    let workshop = folder.workshop();
    remove_folder(&workshop.0)?;
    make_folder(&workshop.0)?;
    watch(Progress::step("copying the database"));
    let (way, source) = gather(&folder, entry.as_ref(), watch)?;
    let mut quarantine = Quarantine::begin(&folder)?;
    let fresh = bench(&folder, "fresh")?;
    let (summary, changed) = fill_anew(&folder, &fresh, |site| {
        if let Some(entry) = &entry {
            site.summary.sequence = entry.sequence;
        }
        let changed = rebuild(&source, site, &mut quarantine, watch)?;
        if let Some(entry) = &entry {
            site.summary.store_id = entry.store_id;
        }
        Ok(changed)
    })?;
    source.close();
    let path = quarantine.folder.0.clone();
    let quarantined = quarantine.finish()?;
    watch(Progress::step("putting it in its place"));
    exchange(&folder, &fresh, &path)?;
    watch(Progress::step("writing the ledger"));
    Ledger::create(&folder.ledger(), &entry_of(&summary))?;
    sync_folder(&folder.0)?;
    remove_folder(&workshop.0)?;
    Ok(RepairSummary {
        way,
        rows: summary.rows(),
        quarantined,
        changed,
        quarantine: path,
    })
}

/// An empty place in the workshop.
fn bench(folder: &Folder, name: &str) -> Result<Folder, StoreError> {
    let bench = Folder(folder.workshop().0.join(name));
    make_folder(&bench.0)?;
    make_folder(&bench.tree())?;
    Ok(bench)
}

/// All rows that can be found, in order, from the most to the least trusted way.
fn gather(
    folder: &Folder,
    ledger: Option<&Entry>,
    watch: &mut Watch,
) -> Result<(String, Engine), StoreError> {
    // On a copy, because even opening changes the files.
    let copy = bench(folder, "copy")?;
    for (way, snapshots) in [("as it is", true), ("without its snapshots", false)] {
        copy_tree(folder, &copy, snapshots)?;
        let Ok(engine) = Engine::open(&copy) else {
            continue;
        };
        if is_whole(&engine, ledger, watch) {
            return Ok((format!("the database, {way}"), engine));
        }
        engine.close();
    }
    let mut salvage = Salvage::new(Engine::open(&bench(folder, "salvaged")?)?);
    // A log that does not fit is no reason to leave the tree unread.
    remove_file(&copy.log())?;
    if let Ok(engine) = Engine::open(&copy) {
        salvage.tree(&engine)?;
        engine.close();
    }
    salvage.file(&folder.tree_file(), watch)?;
    salvage.file(&folder.log(), watch)?;
    let way = "the raw files of the database, row by row".to_owned();
    Ok((way, salvage.finish()?))
}

/// True if the tree holds all it should; rows may be damaged, none may be missing.
fn is_whole(engine: &Engine, ledger: Option<&Entry>, watch: &mut Watch) -> bool {
    let mut rows = 0;
    let read = verify::each_row(engine, |_| {
        rows += 1;
        Progress::rows("counting rows", rows, 0, watch);
    });
    if read.is_err() {
        return false;
    }
    let Ok(Some(summary)) = read_summary(engine) else {
        return false;
    };
    let entry = ledger.copied().unwrap_or_else(|| entry_of(&summary));
    load(engine, &entry).is_ok_and(|(summary, _)| summary.rows() + 1 == rows)
}

/// Makes a database at `fresh` of what `build` puts there, whole and on disk.
fn fill_anew<T>(
    folder: &Folder,
    fresh: &Folder,
    build: impl FnOnce(&mut Site) -> Result<T, StoreError>,
) -> Result<(Summary, T), StoreError> {
    let engine = Engine::open(fresh)?;
    let bodies = Bodies::new(folder.bodies());
    let mut site = Site {
        engine: &engine,
        bodies: &bodies,
        heads: Heads::new(),
        summary: unknown(),
    };
    let built = build(&mut site)?;
    let summary = site.summary;
    fill(fresh, &engine, &summary)?;
    engine.close_whole();
    sync_tree(fresh)?;
    Ok((summary, built))
}

/// Puts the new database in the place of the old one, which goes into the quarantine. The new one
/// is a commit ahead of the ledger, as after a crash, until that is written too.
fn exchange(folder: &Folder, fresh: &Folder, quarantine: &Path) -> Result<(), StoreError> {
    let old = Folder(quarantine.to_owned());
    if folder.ledger().exists() {
        let io = |why| StoreError::io(&old.ledger(), &why);
        std::fs::copy(folder.ledger(), old.ledger()).map_err(io)?;
    }
    std::fs::rename(fresh.tree(), old.tree()).map_err(|why| StoreError::io(&fresh.tree(), &why))?;
    folder.exchange(&old)?;
    remove_file(&folder.stopped())
}
