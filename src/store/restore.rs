//! A backup back into an empty folder.
//!
//! Invariant: the folder is a store only after everything was read, counted and synced; a broken
//! backup leaves no half of one.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use super::backup::{BACKUP_MAGIC, BackupSummary, TAG_BODY, TAG_END, TAG_ROW};
use super::bodies::{Bodies, hash_of};
use super::committer::entry_of;
use super::engine::{Changes, Engine};
use super::error::StoreError;
use super::folder::Folder;
use super::open::{fill, load, read_summary};
use super::record::{Content, decode_prefix};
use super::verify;
use super::{BATCH_BYTES_MAX, INLINE_BYTES_MAX};

/// Largest body that a backup may hold; no door takes as much.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// What may stand in a folder that a store is restored into: the lock, and the spool, which holds
/// events that no store has yet.
const MAY_STAND: [&str; 2] = ["lock", "spool"];

/// Makes a store in the empty `folder` from the backup `file`.
///
/// # Errors
/// [`StoreError::Damaged`] if the backup is not whole, or if anything is in `folder` already but
/// a spool and what an unfinished restore left.
pub fn restore(file: &Path, folder: &Path) -> Result<BackupSummary, StoreError> {
    let folder = Folder(folder.to_owned());
    if let Some(other) = folder.is_new().then(|| stranger(&folder.0)).flatten() {
        let what = format!("the folder {}", folder.0.display());
        let why = format!("it is not empty: there is `{other}` in it");
        return Err(StoreError::damaged(what, why));
    }
    let _lock = folder.hold()?;
    if !folder.is_new() {
        let what = format!("the folder {}", folder.0.display());
        return Err(StoreError::damaged(what, "there is a store in it already"));
    }
    let input = File::open(file).map_err(|why| StoreError::io(file, &why))?;
    folder.begin_making()?;
    let bodies = Bodies::new(folder.bodies());
    bodies.remove_drafts()?;
    let mut restorer = Restorer {
        file,
        input: GzDecoder::new(BufReader::new(input)),
        engine: Engine::open(&folder)?,
        bodies,
        changes: Changes::new(),
        weight: 0,
        found: BackupSummary::default(),
    };
    restorer.all()?;
    restorer.finish(&folder)
}

/// Something in the folder that is none of ours.
fn stranger(folder: &Path) -> Option<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if names.iter().any(|name| name == "unfinished") {
        return None;
    }
    names.retain(|name| !MAY_STAND.contains(&name.as_str()));
    names.pop()
}

struct Restorer<'a> {
    file: &'a Path,
    input: GzDecoder<BufReader<File>>,
    engine: Engine,
    bodies: Bodies,
    changes: Changes,
    weight: usize,
    found: BackupSummary,
}

impl Restorer<'_> {
    fn damaged(&self, why: impl Into<String>) -> StoreError {
        StoreError::damaged(format!("the backup {}", self.file.display()), why)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(why) => Err(self.damaged(format!("it cannot be read to its end: {why}"))),
        }
    }

    fn take_bytes(&mut self, length: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(length).read_to_end(&mut bytes);
        if !read.is_ok_and(|count| count as u64 == length) {
            return Err(self.damaged("it ends too early"));
        }
        Ok(bytes)
    }

    fn all(&mut self) -> Result<(), StoreError> {
        if self.take::<16>()? != BACKUP_MAGIC {
            return Err(self.damaged("it is no backup of a store of this format"));
        }
        loop {
            match self.take::<1>()? {
                [TAG_ROW] => self.row()?,
                [TAG_BODY] => self.body()?,
                [TAG_END] => return self.end(),
                _ => return Err(self.damaged("it holds something unknown")),
            }
        }
    }

    fn row(&mut self) -> Result<(), StoreError> {
        let length = u32::from_le_bytes(self.take()?);
        if length as usize > 2 * INLINE_BYTES_MAX {
            return Err(self.damaged("a row is too long"));
        }
        let bytes = self.take_bytes(u64::from(length))?;
        let (row, _) = decode_prefix(&bytes)
            .map_err(|why| self.damaged(format!("row {}: {why}", self.found.rows + 1)))?;
        self.found.rows += 1;
        self.weight += bytes.len();
        let kept = (row.stored.content != Content::Removed).then_some(bytes);
        self.changes.insert(row.key, kept);
        if self.weight >= BATCH_BYTES_MAX {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.engine.apply(&self.changes)?;
        self.changes.clear();
        self.weight = 0;
        Ok(())
    }

    fn body(&mut self) -> Result<(), StoreError> {
        let hash = self.take::<32>()?;
        let length = u64::from_le_bytes(self.take()?);
        if length > BODY_BYTES_MAX {
            return Err(self.damaged("a body is too long"));
        }
        let bytes = self.take_bytes(length)?;
        if hash_of(&bytes) != hash {
            return Err(self.damaged("a body does not match its name"));
        }
        self.found.bodies += 1;
        self.bodies.keep(hash, &bytes).map(drop)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let said = self.take::<28>()?;
        let sequence = u64::from_le_bytes(*said[16..].first_chunk().unwrap_or(&[0; 8]));
        self.found.sequence = sequence;
        if said != self.found.encode() {
            return Err(self.damaged("it does not hold as much as its end says"));
        }
        // Only the very end tells whether the packed file as a whole is right.
        match self.input.read(&mut [0]) {
            Ok(0) => self.write(),
            Ok(_) => Err(self.damaged("it goes on after its end")),
            Err(why) => Err(self.damaged(why.to_string())),
        }
    }

    /// Counts what was restored, and makes it a store.
    fn finish(self, folder: &Folder) -> Result<BackupSummary, StoreError> {
        let summary = read_summary(&self.engine)?;
        let summary = summary.ok_or_else(|| self.damaged("it has no summary"))?;
        if summary.sequence != self.found.sequence {
            return Err(self.damaged("its summary is of another commit than its end"));
        }
        let (summary, heads) = load(&self.engine, &entry_of(&summary))?;
        verify::count_all(&self.engine, &summary, &heads)?;
        fill(folder, &self.engine, &summary)?;
        self.engine.close();
        Ok(self.found)
    }
}
