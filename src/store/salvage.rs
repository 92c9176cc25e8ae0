//! Rows out of the raw file of a database that the engine cannot open any more.
//!
//! Invariant: rows name themselves and carry a checksum, so they are found wherever they lie; of
//! several states of one key the newest wins. They go into a scratch database, where they are in
//! order and take no memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::batch::{BATCH_BYTES_MAX, INLINE_BYTES_MAX};
use super::engine::{Changes, Engine};
use super::error::StoreError;
use super::keys::Key;
use super::progress::{Progress, Watch};
use super::record::{self, Content, MAGIC, Row};
use super::verify::each_row;

/// Bytes of the raw file that are looked at at a time.
const WINDOW_BYTES: usize = 1 << 20;
/// No row is longer.
const ROW_BYTES_MAX: usize = 2 * INLINE_BYTES_MAX;

/// Collects rows in a scratch database.
pub(super) struct Salvage {
    engine: Engine,
    /// What is on its way there.
    changes: Changes,
    weight: usize,
}

impl Salvage {
    /// Into the empty database `engine`.
    pub(super) fn new(engine: Engine) -> Salvage {
        Salvage {
            engine,
            changes: Changes::new(),
            weight: 0,
        }
    }

    /// Everything that was found.
    pub(super) fn finish(mut self) -> Result<Engine, StoreError> {
        self.write()?;
        Ok(self.engine)
    }

    /// Whatever rows `tree` still gives, damaged ones too.
    pub(super) fn tree(&mut self, tree: &Engine) -> Result<(), StoreError> {
        let mut kept = Ok(());
        // That it breaks off somewhere is why we are here.
        let _ = each_row(tree, |(key, bytes)| {
            if kept.is_ok() {
                kept = self.keep(key, bytes);
            }
        });
        kept
    }

    /// Every whole row in the bytes of `path`; none if there is no such file.
    pub(super) fn file(&mut self, path: &Path, watch: &mut Watch) -> Result<(), StoreError> {
        let Ok(file) = File::open(path) else {
            return Ok(());
        };
        let length = file.metadata().map_or(0, |file| file.len());
        let mut window = Vec::new();
        let mut at = 0;
        while at < length {
            watch(Progress {
                doing: "looking for rows in the raw file, byte",
                done: at,
                of: length,
            });
            let fresh = WINDOW_BYTES.min(usize::try_from(length - at).unwrap_or(WINDOW_BYTES));
            let old = window.len();
            window.resize(old + fresh, 0);
            // What the disk does not give is passed over.
            if file.read_exact_at(&mut window[old..], at).is_err() {
                window[old..].fill(0);
            }
            at += fresh as u64;
            let used = self.window(&window, at == length)?;
            window.drain(..used);
        }
        Ok(())
    }

    /// Rows in `window`; answers how much of it is done with.
    fn window(&mut self, window: &[u8], is_last: bool) -> Result<usize, StoreError> {
        let end = match is_last {
            true => window.len(),
            false => window.len().saturating_sub(ROW_BYTES_MAX),
        };
        let mut at = 0;
        while at < end {
            match row_at(&window[at..]) {
                Some((row, length)) => {
                    let bytes = window[at..at + length].to_vec();
                    self.keep_newest(row, bytes)?;
                    at += length;
                }
                None => at += 1,
            }
        }
        Ok(at)
    }

    fn keep_newest(&mut self, row: Row, bytes: Vec<u8>) -> Result<(), StoreError> {
        let is_newer = match self.bytes(&row.key)? {
            Some(known) => {
                record::decode(&row.key, &known).is_ok_and(|known| known.sequence > row.sequence)
            }
            None => false,
        };
        if row.stored.content == Content::Removed || is_newer {
            return Ok(());
        }
        self.keep(row.key, bytes)
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.changes.get(key) {
            Some(planned) => Ok(planned.clone()),
            None => self.engine.get(key),
        }
    }

    fn keep(&mut self, key: Key, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.weight += bytes.len();
        self.changes.insert(key, Some(bytes));
        match self.weight < BATCH_BYTES_MAX {
            true => Ok(()),
            false => self.write(),
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.engine.apply(&self.changes)?;
        self.changes.clear();
        self.weight = 0;
        Ok(())
    }
}

fn row_at(bytes: &[u8]) -> Option<(Row, usize)> {
    match bytes.starts_with(&MAGIC) {
        true => record::decode_prefix(bytes).ok(),
        false => None,
    }
}
