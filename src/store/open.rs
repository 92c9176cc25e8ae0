//! Opening a store: whole, or loudly not at all.
//!
//! Invariant: a database that lost something acknowledged never opens as a smaller one. The ledger
//! says how far it must have come, the summary how much it must hold.

use super::committer::entry_of;
use super::engine::Engine;
use super::error::StoreError;
use super::folder::{Folder, remove_folder};
use super::keys;
use super::ledger::{Entry, FORMAT_VERSION, Ledger};
use super::plan::Heads;
use super::record::{self, Content, Stored};
use super::stop::{self, Stop};
use super::summary::{Head, Summary};
use super::untouched::Untouched;
use super::verify;

/// Up to this many rows everything is counted and compared before the store opens; beyond it the
/// heads are, and the rest is for `verify` in the background.
pub const VERIFY_AT_OPEN_MAX: u64 = 20_000;

/// Everything that an open store consists of.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) ledger: Ledger,
    pub(super) summary: Summary,
    pub(super) heads: Heads,
    /// True if every row is known to be there: it was counted just now, or before the clean stop
    /// that left these very bytes.
    pub(super) verified: bool,
}

/// Opens what is in `folder`, which the caller holds, or makes an empty store.
pub(super) fn open(folder: &Folder) -> Result<Opened, StoreError> {
    folder.settle()?;
    Untouched::settle(folder)?;
    // What a check, a repair or a compaction that was cut off left is of no use.
    remove_folder(&folder.workshop().0)?;
    remove_folder(&folder.compacting().0)?;
    if folder.is_new() {
        make(folder)?;
    }
    let (ledger, entry) = read_ledger(folder)?;
    if !folder.tree_file().exists() {
        let why = format!(
            "it is missing, and the ledger knows of {} kept things",
            entry.live
        );
        return Err(StoreError::damaged("the database", why));
    }
    let stop = stop::take(folder);
    // Files that are what a clean stop left are read by the engine as they were written; it cuts
    // off nothing, and so they need no copy.
    let untouched = match stop {
        Some(_) => Untouched::spare(folder),
        None => Untouched::keep(folder),
    };
    let opened = open_whole(folder, ledger, &entry, stop);
    match opened {
        Ok(_) => untouched.forget(),
        Err(_) => untouched.bring_back(folder),
    }
    opened
}

fn open_whole(
    folder: &Folder,
    mut ledger: Ledger,
    entry: &Entry,
    stop: Option<Stop>,
) -> Result<Opened, StoreError> {
    let engine = Engine::open(folder)?;
    let (summary, heads) = load(&engine, entry)?;
    let counted = summary.rows() <= VERIFY_AT_OPEN_MAX;
    if counted {
        verify::count_all(&engine, &summary, &heads)?;
    } else {
        verify::look_at_ends(&engine, &summary, &heads)?;
    }
    if summary.sequence > entry.sequence || stop.is_none() {
        // The last commits were cut off before the ledger was synced, or before it knew; now they count.
        engine.sync()?;
        ledger.write(&entry_of(&summary))?;
    }
    Ok(Opened {
        engine,
        ledger,
        summary,
        heads,
        verified: counted || stop.is_some_and(|stop| stop.verified),
    })
}

/// The ledger and what it says, if this program can read that.
pub(super) fn read_ledger(folder: &Folder) -> Result<(Ledger, Entry), StoreError> {
    let path = folder.ledger();
    if !path.exists() {
        let what = format!("the ledger {}", path.display());
        return Err(StoreError::damaged(
            what,
            "it is missing, and there is a database",
        ));
    }
    let ledger = Ledger::open(&path)?;
    let entry = ledger.read()?;
    if entry.format != FORMAT_VERSION {
        return Err(StoreError::Format {
            folder: folder.0.clone(),
            found: entry.format,
            ours: FORMAT_VERSION,
        });
    }
    Ok((ledger, entry))
}

/// Makes an empty store.
fn make(folder: &Folder) -> Result<(), StoreError> {
    folder.begin_making()?;
    let engine = Engine::open(folder)?;
    let made = fill(folder, &engine, &Summary::new(rand::random()));
    engine.close();
    made
}

/// Writes the summary and the ledger of a store whose other rows are there.
pub(super) fn fill(folder: &Folder, engine: &Engine, summary: &Summary) -> Result<(), StoreError> {
    let key = vec![keys::SUMMARY];
    let stored = Stored::inline(summary.encode());
    let row = record::encode(summary.sequence, &key, &stored);
    engine.apply(&[(key, Some(row))].into_iter().collect())?;
    engine.sync()?;
    Ledger::create(&folder.ledger(), &entry_of(summary))?;
    folder.end_making()
}

/// Reads the summary and the heads and holds them against the ledger.
pub(super) fn load(engine: &Engine, ledger: &Entry) -> Result<(Summary, Heads), StoreError> {
    let summary = read_summary(engine)?.ok_or_else(|| {
        StoreError::damaged(
            "the database",
            format!(
                "it is empty, and the ledger knows of {} kept things after {} commits",
                ledger.live, ledger.sequence
            ),
        )
    })?;
    if summary.store_id != ledger.store_id {
        let why = "it belongs to another store than the ledger beside it";
        return Err(StoreError::damaged("the database", why));
    }
    if summary.sequence < ledger.sequence {
        return Err(StoreError::damaged(
            "the database",
            format!(
                "its last {} commits are missing: it ends at {}, and the ledger knows of {}",
                ledger.sequence - summary.sequence,
                summary.sequence,
                ledger.sequence
            ),
        ));
    }
    if summary.sequence == ledger.sequence && summary.live() != ledger.live {
        let why = format!(
            "it says {} kept things, and the ledger {}",
            summary.live(),
            ledger.live
        );
        return Err(StoreError::damaged("the database", why));
    }
    let heads = read_heads(engine)?;
    Ok((summary, heads))
}

pub(super) fn read_summary(engine: &Engine) -> Result<Option<Summary>, StoreError> {
    let key = [keys::SUMMARY];
    let Some(bytes) = engine.get(&key)? else {
        return Ok(None);
    };
    let row = record::decode(&key, &bytes)?;
    let Content::Inline(bytes) = row.stored.content else {
        return Err(StoreError::damaged(keys::words(&key), "it is not inline"));
    };
    Summary::decode(&bytes)
        .map(Some)
        .map_err(|why| StoreError::damaged(keys::words(&key), why.to_string()))
}

fn read_heads(engine: &Engine) -> Result<Heads, StoreError> {
    let pairs = engine.scan(&[keys::HEAD], &[], usize::MAX)?;
    pairs
        .into_iter()
        .map(|(key, bytes)| {
            let row = record::decode(&key, &bytes)?;
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            let head = match &row.stored.content {
                Content::Inline(bytes) => Head::decode(bytes).map_err(|why| why.to_string()),
                _ => Err("it is not inline".to_owned()),
            };
            let head = head.map_err(|why| StoreError::damaged(keys::words(&key), why))?;
            Ok((name, head))
        })
        .collect()
}
