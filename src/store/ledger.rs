//! The ledger: a small file of our own that says how far the database must have come.
//!
//! Invariant: written after each commit and before it is acknowledged, always into that of two slots
//! which was not synced last, so that a torn write leaves the other one. A database behind its ledger
//! has lost something that was acknowledged. A process that dies leaves what was written; if the whole
//! machine does, the ledger may be [`LEDGER_LAG_MAX`] behind, which is the least that the database must
//! have come. What was acknowledged since then is on disk all the same, because the database is synced
//! for itself.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::folder::{sync_folder, write_whole};

/// Version of everything in a store's folder.
pub const FORMAT_VERSION: u32 = 2;
/// Longest time from a commit until the ledger that knows of it is synced. Each sync costs as much
/// as that of the commit itself.
pub const LEDGER_LAG_MAX: Duration = Duration::from_millis(100);
const MAGIC: [u8; 8] = *b"vigieldg";
const SLOT_BYTES: usize = 64;
/// Slots stand in different blocks, so that one torn block never takes both.
const SLOT_STEP: u64 = 4096;
const CRC_AT: usize = SLOT_BYTES - 4;

/// What one slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) format: u32,
    pub(super) store_id: [u8; 16],
    pub(super) sequence: u64,
    pub(super) live: u64,
}

impl Entry {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(&MAGIC);
        slot[8..12].copy_from_slice(&self.format.to_le_bytes());
        slot[12..28].copy_from_slice(&self.store_id);
        slot[28..36].copy_from_slice(&self.sequence.to_le_bytes());
        slot[36..44].copy_from_slice(&self.live.to_le_bytes());
        let crc = crc32c::crc32c(&slot[..CRC_AT]);
        slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Entry> {
        let crc = u32::from_le_bytes(*slot[CRC_AT..].first_chunk()?);
        if slot[..8] != MAGIC || crc != crc32c::crc32c(&slot[..CRC_AT]) {
            return None;
        }
        Some(Entry {
            format: u32::from_le_bytes(*slot[8..].first_chunk()?),
            store_id: *slot[12..].first_chunk()?,
            sequence: u64::from_le_bytes(*slot[28..].first_chunk()?),
            live: u64::from_le_bytes(*slot[36..].first_chunk()?),
        })
    }
}

/// The open ledger file.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    path: PathBuf,
    /// Where the slot begins that is written until the next sync.
    slot: u64,
    /// When it must be synced; nothing was written since the last time if there is none.
    sync_at: Option<Instant>,
}

impl Ledger {
    /// Writes a new ledger that says `entry`, replacing what was there.
    pub(super) fn create(path: &Path, entry: &Entry) -> Result<Ledger, StoreError> {
        let mut bytes = vec![0; 2 * SLOT_STEP as usize];
        for start in [0, SLOT_STEP as usize] {
            bytes[start..start + SLOT_BYTES].copy_from_slice(&entry.encode());
        }
        write_whole(path, &bytes)?;
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        Ledger::open(path)
    }

    pub(super) fn open(path: &Path) -> Result<Ledger, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|why| StoreError::io(path, &why))?;
        let mut ledger = Ledger {
            file,
            path: path.to_owned(),
            slot: 0,
            sync_at: None,
        };
        if let Some((newest, _)) = ledger.newest() {
            ledger.slot = SLOT_STEP - newest;
        }
        Ok(ledger)
    }

    /// The newest entry that can be read.
    pub(super) fn read(&self) -> Result<Entry, StoreError> {
        let newest = self.newest().map(|(_, entry)| entry);
        newest.ok_or_else(|| {
            StoreError::damaged(
                format!("the ledger {}", self.path.display()),
                "neither of its two slots can be read",
            )
        })
    }

    /// The slot with the newest entry, and what it says.
    fn newest(&self) -> Option<(u64, Entry)> {
        let read = |at| {
            let mut slot = [0; SLOT_BYTES];
            self.file.read_exact_at(&mut slot, at).ok()?;
            Some((at, Entry::decode(&slot)?))
        };
        let slots = [0, SLOT_STEP].into_iter().filter_map(read);
        slots.max_by_key(|(_, entry)| entry.sequence)
    }

    /// Says `entry`; synced by the next [`Ledger::sync_when_due`] after a while.
    pub(super) fn note(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.file
            .write_all_at(&entry.encode(), self.slot)
            .map_err(|why| StoreError::io(&self.path, &why))?;
        self.sync_at
            .get_or_insert_with(|| Instant::now() + LEDGER_LAG_MAX);
        Ok(())
    }

    /// Says `entry`, durably.
    pub(super) fn write(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.note(entry)?;
        self.sync()
    }

    /// When [`Ledger::sync_when_due`] has something to do.
    pub(super) fn sync_at(&self) -> Option<Instant> {
        self.sync_at
    }

    /// Makes what was noted durable, if that has waited long enough.
    pub(super) fn sync_when_due(&mut self) -> Result<(), StoreError> {
        match self.sync_at {
            Some(at) if at <= Instant::now() => self.sync(),
            _ => Ok(()),
        }
    }

    /// Makes what was noted durable.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.sync_at.is_none() {
            return Ok(());
        }
        self.file
            .sync_data()
            .map_err(|why| StoreError::io(&self.path, &why))?;
        self.sync_at = None;
        self.slot = SLOT_STEP - self.slot;
        Ok(())
    }
}
