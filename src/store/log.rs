//! The write-ahead log: commits that are on disk and that the tree does not have yet.
//!
//! The engine makes a commit durable with two writes, each waited for, and a dozen wake-ups of its
//! threads, however small it is. Here it is one write and one sync of a file that does not grow; the
//! tree takes many commits at once, a little later. The file stands among the engine's, so that
//! whoever copies, exchanges or compares those does it to both.
//!
//! Invariant: a record counts only if it is whole and its commit is the next one, after the tree's
//! last or that of the record before. Older ones, which an earlier turn of the file left behind the
//! end, are no news, and a hole is damage. Rows stand in it byte for byte as they stand in the tree,
//! so repair finds them in the raw file too.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::batch::BATCH_BYTES_MAX;
use super::codec::{CodecError, Reader, Writer};
use super::engine::Changes;
use super::error::StoreError;
use super::folder::{Folder, sync_folder, write_whole};
use super::options::SETTLED_BYTES;

/// Bytes of the file, written once: overwriting costs the file system nothing but the data.
pub const LOG_BYTES: usize = 512 << 10;
/// Commits with more bytes than this go to the tree at once, where they cost little more.
pub const LOGGED_BYTES_MAX: usize = 128 << 10;
/// The tree takes what was there before the last commit, and that one, in one write.
const _: () = assert!(SETTLED_BYTES + LOGGED_BYTES_MAX <= BATCH_BYTES_MAX);
/// The file holds them with what stands around each row.
const _: () = assert!(2 * BATCH_BYTES_MAX <= LOG_BYTES);

const MAGIC: [u8; 8] = *b"vigielog";
/// Magic, length of what follows, its CRC32C.
const HEAD_BYTES: usize = 16;
/// Bytes of a row's lengths, roughly.
const FRAME_BYTES: usize = 8;
const REMOVED: u8 = 0;
const KEPT: u8 = 1;

/// The open file.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    /// Where the next record goes.
    end: u64,
}

impl Log {
    /// The log among the engine's files, made if there is none.
    pub(super) fn open(folder: &Folder) -> Result<Log, StoreError> {
        let path = folder.log();
        // A look that fails is no sign that there is none.
        let is_there = path.try_exists();
        if !is_there.map_err(|why| StoreError::io(&path, &why))? {
            write_whole(&path, &vec![0; LOG_BYTES])?;
            sync_folder(&folder.tree())?;
        }
        let file = OpenOptions::new().write(true).open(&path);
        let file = file.map_err(|why| StoreError::io(&path, &why))?;
        Ok(Log { file, path, end: 0 })
    }

    /// The changes of every commit after number `last`, in order.
    pub(super) fn read(&self, last: u64) -> Result<Vec<Changes>, StoreError> {
        let bytes = fs::read(&self.path).map_err(|why| StoreError::io(&self.path, &why))?;
        let mut rest = bytes.as_slice();
        let mut found = Vec::new();
        let wrong = |why: CodecError| StoreError::damaged(self.name(), why.to_string());
        while let Some((sequence, changes)) = next(&mut rest).map_err(wrong)? {
            let ends = last + found.len() as u64;
            if sequence > ends + 1 {
                return Err(self.hole(sequence, ends));
            }
            if sequence == ends + 1 {
                found.push(changes);
            }
        }
        Ok(found)
    }

    fn hole(&self, sequence: u64, ends: u64) -> StoreError {
        let why = format!("it goes on with commit {sequence}, and the database ends at {ends}");
        StoreError::damaged(self.name(), why)
    }

    fn name(&self) -> String {
        format!("the log {}", self.path.display())
    }

    /// Writes a commit behind the others; not durable before [`Log::sync`].
    pub(super) fn append(&mut self, sequence: u64, changes: &Changes) -> Result<(), StoreError> {
        let record = encode(sequence, changes);
        self.file
            .write_all_at(&record, self.end)
            .map_err(|why| StoreError::io(&self.path, &why))?;
        self.end += record.len() as u64;
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|why| StoreError::io(&self.path, &why))
    }

    /// The tree has everything, durably: the next record goes to the beginning again.
    pub(super) fn rewind(&mut self) {
        self.end = 0;
    }

    /// Leaves no record, for whoever opens these files next.
    pub(super) fn clear(&mut self) -> Result<(), StoreError> {
        self.rewind();
        let cleared = self.file.write_all_at(&[0; HEAD_BYTES], 0);
        cleared.map_err(|why| StoreError::io(&self.path, &why))?;
        self.sync()
    }
}

/// Bytes of the rows and their keys.
pub(super) fn weight(changes: &Changes) -> usize {
    let row =
        |(key, row): (&Vec<u8>, &Option<Vec<u8>>)| key.len() + row.as_ref().map_or(0, Vec::len);
    changes.iter().map(row).sum()
}

fn encode(sequence: u64, changes: &Changes) -> Vec<u8> {
    let mut out = Writer::with_room(HEAD_BYTES + weight(changes) + changes.len() * FRAME_BYTES);
    out.raw(&MAGIC).raw(&[0; HEAD_BYTES - MAGIC.len()]);
    out.number(sequence).number(changes.len() as u64);
    for (key, row) in changes {
        match row {
            Some(row) => out.byte(KEPT).bytes(key).bytes(row),
            None => out.byte(REMOVED).bytes(key),
        };
    }
    let mut record = out.into_bytes();
    let content = &record[HEAD_BYTES..];
    let (length, crc) = (content.len() as u32, crc32c::crc32c(content));
    record[8..12].copy_from_slice(&length.to_le_bytes());
    record[12..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    record
}

/// The record at the beginning of `bytes`, which then begin behind it; `None` if there is no whole one.
fn next(bytes: &mut &[u8]) -> Result<Option<(u64, Changes)>, CodecError> {
    let Some((content, rest)) = content(bytes) else {
        return Ok(None);
    };
    *bytes = rest;
    decode(content).map(Some)
}

/// The content of the record at the beginning of `bytes`, and what stands behind it.
fn content(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let length = u32::from_le_bytes(*head[8..].first_chunk()?) as usize;
    let crc = u32::from_le_bytes(*head[12..].first_chunk()?);
    let (content, rest) = rest.split_at_checked(length)?;
    let is_whole = head[..8] == MAGIC && crc == crc32c::crc32c(content);
    is_whole.then_some((content, rest))
}

fn decode(content: &[u8]) -> Result<(u64, Changes), CodecError> {
    let mut input = Reader::new(content);
    let sequence = input.number()?;
    let mut changes = Changes::new();
    for _ in 0..input.number()? {
        let kind = input.byte()?;
        let key = input.bytes()?.to_vec();
        let row = match kind {
            KEPT => Some(input.bytes()?.to_vec()),
            REMOVED => None,
            _ => return Err(CodecError::Wrong("a row is neither kept nor removed")),
        };
        changes.insert(key, row);
    }
    input.end()?;
    Ok((sequence, changes))
}
