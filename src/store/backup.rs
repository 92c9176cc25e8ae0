//! A backup from the running store: a scan that takes its time, and whatever was committed
//! meanwhile appended, so that what is restored is the state of one commit.
//!
//! Invariant: a backup has its name only when it is whole, on disk, and ends with its counts. Each
//! row carries its checksum, each body its SHA-256.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Store;
use super::codec::Writer;
use super::error::StoreError;
use super::folder::{remove_file, sync_folder};
use super::shared::{Shared, Tee};
use super::verify::each_row;

/// The first bytes of a backup, once unpacked.
pub(super) const BACKUP_MAGIC: [u8; 16] = *b"vigie backup 001";
pub(super) const TAG_ROW: u8 = 1;
pub(super) const TAG_BODY: u8 = 2;
pub(super) const TAG_END: u8 = 3;

/// What a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupSummary {
    /// Rows, those that were overtaken by a later one too.
    pub rows: u64,
    /// Body files.
    pub bodies: u64,
    /// The commit whose state it is.
    pub sequence: u64,
}

impl BackupSummary {
    /// The end of a backup, after its tag.
    pub(super) fn encode(&self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..8].copy_from_slice(&self.rows.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.bodies.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Ends what a backup began in the shared things, however the backup ends.
struct Hold<'a>(&'a Shared);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.tee().take();
        let waiting = self.0.bodies.release();
        if let Err(why) = self.0.remove_unused(&waiting) {
            tracing::warn!(%why, "a body that is not needed any more stays");
        }
    }
}

impl Store {
    /// Writes a backup to `file` while the store goes on working. Blocks for the disk; needs as
    /// much room beside `file` as is committed meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if anything kept cannot be read: a backup is whole or is not.
    /// [`StoreError::Failed`] if another one is under way.
    pub fn backup(&self, file: &Path) -> Result<BackupSummary, StoreError> {
        let draft = file.with_extension("draft");
        let tail = file.with_extension("tail");
        let written = self.write_backup(&draft, &tail);
        remove_file(&tail)?;
        let summary = match written {
            Ok(summary) => summary,
            Err(why) => {
                remove_file(&draft)?;
                return Err(why);
            }
        };
        std::fs::rename(&draft, file).map_err(|why| StoreError::io(file, &why))?;
        match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder)?,
            _ => sync_folder(Path::new("."))?,
        }
        Ok(summary)
    }

    fn write_backup(&self, draft: &Path, tail: &Path) -> Result<BackupSummary, StoreError> {
        let shared = &*self.0.shared;
        let io = |why| StoreError::io(draft, &why);
        let out = File::create(draft).map_err(io)?;
        let mut out = GzEncoder::new(BufWriter::new(out), Compression::fast());
        out.write_all(&BACKUP_MAGIC).map_err(io)?;
        begin_tee(shared, tail)?;
        let hold = Hold(shared);
        let mut summary = BackupSummary::default();
        let mut failed = None;
        each_row(&shared.engine, |(_, bytes)| {
            summary.rows += 1;
            failed = failed.take().or(write_row(&mut out, &bytes).err());
        })?;
        if let Some(why) = failed {
            return Err(io(why));
        }
        summary.sequence = self.append_tail(&mut out, tail, &mut summary.rows)?;
        for hash in shared.bodies.list()? {
            // One without a row may have been damaged by a crash, and is not needed.
            let Ok(bytes) = shared.bodies.read_whole(&hash) else {
                continue;
            };
            summary.bodies += 1;
            let mut head = Writer::new();
            head.byte(TAG_BODY).raw(&hash);
            head.raw(&(bytes.len() as u64).to_le_bytes());
            out.write_all(&head.into_bytes()).map_err(io)?;
            out.write_all(&bytes).map_err(io)?;
        }
        drop(hold);
        out.write_all(&[TAG_END]).map_err(io)?;
        out.write_all(&summary.encode()).map_err(io)?;
        let file = out.finish().map_err(io)?;
        let file = file.into_inner().map_err(|why| io(why.into_error()))?;
        file.sync_all().map_err(io)?;
        Ok(summary)
    }

    /// Ends the tee between two commits and appends what it collected; answers the last commit.
    fn append_tail(
        &self,
        out: &mut impl Write,
        tail: &Path,
        rows: &mut u64,
    ) -> Result<u64, StoreError> {
        let shared = &*self.0.shared;
        let io = |why| StoreError::io(tail, &why);
        let mut slot = shared.tee();
        let tee = slot.take();
        let sequence = shared.summary().sequence;
        drop(slot);
        let Some(mut tee) = tee else {
            return Err(StoreError::Closed);
        };
        if let Some(why) = tee.failed {
            return Err(StoreError::Failed { why });
        }
        tee.out.flush().map_err(io)?;
        let mut file = tee.out.into_inner().map_err(|why| io(why.into_error()))?;
        file.rewind().map_err(io)?;
        let mut input = BufReader::new(file);
        for _ in 0..tee.rows {
            let mut length = [0; 4];
            input.read_exact(&mut length).map_err(io)?;
            let mut row = vec![0; u32::from_le_bytes(length) as usize];
            input.read_exact(&mut row).map_err(io)?;
            write_row(out, &row).map_err(io)?;
        }
        *rows += tee.rows;
        Ok(sequence)
    }
}

fn begin_tee(shared: &Shared, tail: &Path) -> Result<(), StoreError> {
    let mut slot = shared.tee();
    if slot.is_some() {
        let why = "another backup is under way".to_owned();
        return Err(StoreError::Failed { why });
    }
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(tail)
        .map_err(|why| StoreError::io(tail, &why))?;
    shared.bodies.hold();
    *slot = Some(Tee {
        out: BufWriter::new(file),
        rows: 0,
        failed: None,
    });
    Ok(())
}

fn write_row(out: &mut impl Write, row: &[u8]) -> std::io::Result<()> {
    out.write_all(&[TAG_ROW])?;
    out.write_all(&(row.len() as u32).to_le_bytes())?;
    out.write_all(row)
}
