//! Repair: everything that can still be read goes into a fresh database; the rest, and the old
//! database whole, into the quarantine.
//!
//! Invariant: nothing is destroyed. Rows name themselves, so they are found in the raw file even
//! when the engine cannot open it; the newest of each key wins, and indexes are made anew.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::committer::entry_of;
use super::engine::{Changes, Engine};
use super::error::StoreError;
use super::folder::{Folder, copy_tree, make_folder, remove_folder, sync_folder};
use super::keys;
use super::ledger::Ledger;
use super::open::{fill, load};
use super::rebuild::{Rebuilt, rebuild};
use super::record::{self, Content, MAGIC};
use super::verify;
use crate::hex;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairSummary {
    /// How the rows were found: through the engine, or in its raw file.
    pub way: String,
    /// Rows in the repaired store.
    pub rows: u64,
    /// Rows that were moved to the quarantine, in words.
    pub quarantined: Vec<String>,
    /// What else had to be changed, in words.
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
    let folder = Folder(folder.to_owned());
    let _lock = folder.hold()?;
    let entry = match super::open::read_ledger(&folder) {
        Err(why @ StoreError::Format { .. }) => return Err(why),
        other => other.ok().map(|(_, entry)| entry),
    };
    let quarantine = quarantine(&folder)?;
    let (way, rows) = gather(&folder, &quarantine, entry.is_some())?;
    let mut rebuilt = rebuild(&folder, rows)?;
    if let Some(entry) = entry {
        rebuilt.summary.store_id = entry.store_id;
        rebuilt.summary.sequence = rebuilt.summary.sequence.max(entry.sequence) + 1;
    }
    write_quarantine(&quarantine, &rebuilt)?;
    replace(&folder, &quarantine, &rebuilt)?;
    Ok(RepairSummary {
        way,
        rows: rebuilt.summary.rows(),
        quarantined: rebuilt
            .damaged
            .iter()
            .map(|(what, _)| what.clone())
            .collect(),
        changed: rebuilt.changed,
        quarantine,
    })
}

/// A new folder for what is put aside now.
fn quarantine(folder: &Folder) -> Result<PathBuf, StoreError> {
    let root = folder.quarantine();
    make_folder(&root)?;
    let count = fs::read_dir(&root)
        .map_err(|why| StoreError::io(&root, &why))?
        .count();
    let path = root.join((count + 1).to_string());
    make_folder(&path)?;
    Ok(path)
}

/// All rows that can be found, from the least to the most trusted way.
fn gather(
    folder: &Folder,
    quarantine: &Path,
    ledger: bool,
) -> Result<(String, Changes), StoreError> {
    // On a copy, because even opening changes the files.
    let copy = folder.workshop();
    for (way, snapshots) in [("as it is", true), ("without its snapshots", false)] {
        copy_tree(folder, &copy, snapshots)?;
        if let Some(rows) = read_tree(folder, &copy, ledger) {
            return Ok((format!("the database, {way}"), rows));
        }
    }
    let (mut rows, _) = read_any(&copy);
    let raw = folder.tree_file();
    for candidate in [raw, quarantine.join("tree").join("db")] {
        if let Ok(bytes) = fs::read(&candidate) {
            salvage(&bytes, &mut rows);
        }
    }
    Ok(("the raw file of the database, row by row".to_owned(), rows))
}

/// The rows of a tree that holds all it should; rows may be damaged, none may be missing.
fn read_tree(folder: &Folder, copy: &Folder, ledger: bool) -> Option<Changes> {
    let engine = Engine::open(copy).ok()?;
    let mut rows = Changes::new();
    let read = verify::each_row(&engine, |(key, bytes)| {
        rows.insert(key, Some(bytes));
    });
    let whole = || {
        let summary = super::open::read_summary(&engine).ok()??;
        let entry = match ledger {
            true => super::open::read_ledger(folder).ok()?.1,
            false => entry_of(&summary),
        };
        let (summary, _) = load(&engine, &entry).ok()?;
        (summary.rows() + 1 == rows.len() as u64).then_some(())
    };
    let whole = read.is_ok().then(whole).flatten();
    engine.close();
    whole.map(|()| rows)
}

/// Whatever rows a tree still gives.
fn read_any(copy: &Folder) -> (Changes, bool) {
    let mut rows = Changes::new();
    let Ok(engine) = Engine::open(copy) else {
        return (rows, false);
    };
    let read = verify::each_row(&engine, |(key, bytes)| {
        rows.insert(key, Some(bytes));
    });
    engine.close();
    (rows, read.is_ok())
}

/// Finds rows in raw bytes by their first bytes and their checksum.
fn salvage(bytes: &[u8], rows: &mut Changes) {
    let mut at = 0;
    while at + MAGIC.len() <= bytes.len() {
        if bytes[at..at + MAGIC.len()] != MAGIC {
            at += 1;
            continue;
        }
        let Ok((row, length)) = record::decode_prefix(&bytes[at..]) else {
            at += 1;
            continue;
        };
        if row.stored.content != Content::Removed && !is_newer(rows, &row.key, row.sequence) {
            rows.insert(row.key, Some(bytes[at..at + length].to_vec()));
        }
        at += length;
    }
}

/// True if a good row under `key` is newer than `sequence`.
fn is_newer(rows: &Changes, key: &[u8], sequence: u64) -> bool {
    let known = rows.get(key).and_then(Option::as_ref);
    let known = known.and_then(|bytes| record::decode(key, bytes).ok());
    known.is_some_and(|row| row.sequence > sequence)
}

fn write_quarantine(quarantine: &Path, rebuilt: &Rebuilt) -> Result<(), StoreError> {
    if rebuilt.damaged.is_empty() {
        return Ok(());
    }
    let path = quarantine.join("rows");
    let written = fs::File::create(&path).and_then(|mut file| {
        for (what, bytes) in &rebuilt.damaged {
            writeln!(file, "{what}\t{}", hex::encode(bytes))?;
        }
        file.sync_all()
    });
    written.map_err(|why| StoreError::io(&path, &why))
}

/// Writes the new database beside the old one and puts it in its place.
fn replace(folder: &Folder, quarantine: &Path, rebuilt: &Rebuilt) -> Result<(), StoreError> {
    let fresh = folder.workshop();
    remove_folder(&fresh.0)?;
    make_folder(&fresh.0)?;
    make_folder(&fresh.tree())?;
    let engine = Engine::open(&fresh)?;
    for chunk in chunks(&rebuilt.rows) {
        engine.apply(&chunk)?;
    }
    let written = fill(&fresh, &engine, &rebuilt.summary);
    engine.close();
    written?;
    let move_to = |from: &Path, to: &Path| match fs::rename(from, to) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(from, &why)),
        _ => Ok(()),
    };
    move_to(&folder.tree(), &quarantine.join("tree"))?;
    move_to(&folder.ledger(), &quarantine.join("ledger"))?;
    move_to(&fresh.tree(), &folder.tree())?;
    Ledger::create(&folder.ledger(), &entry_of(&rebuilt.summary))?;
    sync_folder(quarantine)?;
    sync_folder(&folder.0)?;
    remove_folder(&fresh.0)
}

fn chunks(rows: &Changes) -> impl Iterator<Item = Changes> {
    const ROWS_AT_ONCE: usize = 200;
    let mut rows = rows.iter().filter(|(key, _)| key[0] != keys::SUMMARY);
    std::iter::from_fn(move || {
        let chunk: Changes = rows
            .by_ref()
            .take(ROWS_AT_ONCE)
            .map(|(key, bytes)| (key.clone(), bytes.clone()))
            .collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}
