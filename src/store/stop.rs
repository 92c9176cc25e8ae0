//! The note of a clean stop: what the engine's files were when the last process let them go.
//!
//! Invariant: the note is believed only about the very bytes that it describes (names, lengths and
//! CRC32C of all files), so one that is stale, or was copied here, does nothing. It is taken away
//! durably before the engine opens the files, and left as the last thing of a clean stop. It
//! spares a copy and the reading of every row, never the look at ledger, summary and heads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::ScopedJoinHandle;

use super::codec::{CodecError, Reader, Writer};
use super::error::StoreError;
use super::folder::{Folder, files_of, remove_file, sync_folder, sync_tree, write_whole};
use super::untouched::UNTOUCHED_BYTES_MAX;

const MAGIC: [u8; 8] = *b"viglstop";
const CRC_BYTES: usize = 4;
/// Largest note that is read; the engine has three files or four.
const NOTE_BYTES_MAX: u64 = 64 << 10;
/// Bytes that are read at a time; few, so that they stay in the processor's cache.
const CHUNK_BYTES: usize = 256 << 10;
/// Threads that read one file.
const THREADS: u64 = 4;

/// What was known when the store was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    /// Every row had been read and found right since the last stop that was not clean.
    pub(super) verified: bool,
}

/// Each file's length and CRC32C, by name.
type Files = BTreeMap<String, (u64, u32)>;

/// Leaves the note. The engine must have let go of its files. Without one if they are so large
/// that the next start would not compare them.
pub(super) fn leave(folder: &Folder, stop: Stop) -> Result<(), StoreError> {
    let Some(files) = look(folder)? else {
        return Ok(());
    };
    sync_tree(folder)?;
    write_whole(&folder.stopped(), &encode(stop, &files))?;
    sync_folder(&folder.0)
}

/// Takes the note away; what it says, if the files are what it describes.
pub(super) fn take(folder: &Folder) -> Option<Stop> {
    let path = folder.stopped();
    let note = read_note(&path)?;
    let taken = remove_file(&path).and_then(|()| sync_folder(&folder.0));
    if let Err(why) = taken {
        tracing::debug!(%why, "the note of the last stop cannot be taken away");
        return None;
    }
    let (stop, files) = decode(&note).ok()?;
    let found = look(folder).ok().flatten()?;
    (found == files).then_some(stop)
}

fn read_note(path: &Path) -> Option<Vec<u8>> {
    let size = fs::metadata(path).ok()?.len();
    if size > NOTE_BYTES_MAX {
        return Some(Vec::new());
    }
    fs::read(path).ok()
}

/// The files as they are now; `None` if they are too large to be read at every start.
fn look(folder: &Folder) -> Result<Option<Files>, StoreError> {
    let mut found = Files::new();
    let mut left = UNTOUCHED_BYTES_MAX;
    for (name, path) in files_of(&folder.tree()) {
        let size = fs::metadata(&path).map_or(0, |file| file.len());
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return Ok(None),
        }
        let sum = checksum(&path).map_err(|why| StoreError::io(&path, &why))?;
        found.insert(name, sum);
    }
    Ok(Some(found))
}

/// Length and CRC32C of a file, read by several threads, because callers wait for it at start.
fn checksum(path: &Path) -> std::io::Result<(u64, u32)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let part = length.div_ceil(THREADS).max(CHUNK_BYTES as u64);
    let parts = std::thread::scope(|scope| {
        let file = &file;
        let starts = (0..length).step_by(usize::try_from(part).unwrap_or(usize::MAX));
        let threads: Vec<_> = starts
            .map(|start| (start, length.min(start + part)))
            .map(|(start, end)| scope.spawn(move || sum_part(file, start, end)))
            .collect();
        let join = |thread: ScopedJoinHandle<'_, _>| {
            let gone = |_| Err(std::io::Error::other("a thread that reads it ended"));
            thread.join().unwrap_or_else(gone)
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    let crc = parts.into_iter().fold(0, |crc, (length, part)| {
        crc32c::crc32c_combine(crc, part, length)
    });
    Ok((length, crc))
}

/// Length and CRC32C of the bytes from `start` to `end`.
fn sum_part(file: &File, start: u64, end: u64) -> std::io::Result<(usize, u32)> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut at, mut crc) = (start, 0);
    while at < end {
        let most = CHUNK_BYTES.min(usize::try_from(end - at).unwrap_or(CHUNK_BYTES));
        file.read_exact_at(&mut buffer[..most], at)?;
        crc = crc32c::crc32c_append(crc, &buffer[..most]);
        at += most as u64;
    }
    Ok((usize::try_from(end - start).unwrap_or(usize::MAX), crc))
}

fn encode(stop: Stop, files: &Files) -> Vec<u8> {
    let mut out = Writer::new();
    out.raw(&MAGIC).byte(u8::from(stop.verified));
    out.number(files.len() as u64);
    for (name, (length, crc)) in files {
        out.bytes(name.as_bytes()).number(*length);
        out.raw(&crc.to_le_bytes());
    }
    let mut bytes = out.into_bytes();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<(Stop, Files), CodecError> {
    let (content, crc) = bytes
        .split_last_chunk::<CRC_BYTES>()
        .ok_or(CodecError::Short)?;
    if crc32c::crc32c(content).to_le_bytes() != *crc {
        return Err(CodecError::Wrong("its checksum does not match"));
    }
    let mut input = Reader::new(content);
    if input.raw(MAGIC.len())? != MAGIC {
        return Err(CodecError::Wrong("it is no note of a stop"));
    }
    let verified = input.byte()? == 1;
    let mut files = Files::new();
    for _ in 0..input.number()? {
        let name = String::from_utf8_lossy(input.bytes()?).into_owned();
        let length = input.number()?;
        let crc = input.raw(4)?.first_chunk().ok_or(CodecError::Short)?;
        files.insert(name, (length, u32::from_le_bytes(*crc)));
    }
    input.end()?;
    Ok((Stop { verified }, files))
}
