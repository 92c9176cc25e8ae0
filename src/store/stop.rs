//! The note of a clean stop: what the engine's files were when the last process let them go.
//!
//! Invariant: the note is believed only about the very bytes that it describes (names, lengths and
//! CRC32C of all files), so one that is stale, or was copied here, does nothing. It is taken away
//! durably before the engine opens the files, and left as the last thing of a clean stop. It
//! spares a copy and the reading of every row, never the look at ledger, summary and heads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::codec::{CodecError, Reader, Writer};
use super::error::StoreError;
use super::folder::{Folder, files_of, remove_file, sync_folder, sync_tree, write_whole};
use super::untouched::UNTOUCHED_BYTES_MAX;

const MAGIC: [u8; 8] = *b"viglstop";
const CRC_BYTES: usize = 4;
/// Largest note that is read; the engine has three files or four.
const NOTE_BYTES_MAX: u64 = 64 << 10;
/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

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

fn checksum(path: &Path) -> std::io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut length, mut crc) = (0, 0);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((length, crc));
        }
        length += count as u64;
        crc = crc32c::crc32c_append(crc, &buffer[..count]);
    }
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
