//! A row: one kept thing with everything needed to trust it, and to find it again without a tree.
//!
//! Invariant: the CRC32C covers key, sequence and content, so a row that was flipped, cut or put
//! under another key is never taken for good. A row names itself: a backup is a list of rows, and
//! repair finds rows in the raw file when the tree above them is gone.

use super::codec::{CodecError, Reader, Writer};
use super::error::StoreError;
use super::keys::words;

/// The first bytes of every row.
pub(super) const MAGIC: [u8; 3] = [0xD6, 0x9A, 0x01];
/// Bytes of the checksum at a row's end.
const CRC_BYTES: usize = 4;
/// At most so many bytes of a row are neither key nor head nor content.
const FRAME_BYTES: usize = 48;

/// Content that lies in a file of its own: part of the file named by `hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beside {
    /// SHA-256 of the whole file, which is its name.
    pub(super) hash: [u8; 32],
    /// Where the content begins in it.
    pub(super) offset: u64,
    /// How long the content is.
    pub(super) length: u64,
    /// CRC32C of the content.
    pub(super) crc: u32,
}

/// What a row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The bytes themselves.
    Inline(Vec<u8>),
    /// Where the bytes are.
    Beside(Beside),
    /// Nothing: the row was removed. Only in backups.
    Removed,
}

/// Something to be kept: a short head that can always be read without its file, and the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// For an event: when it was received and the key of its message id; empty for the rest.
    pub(super) head: Vec<u8>,
    /// The content.
    pub(super) content: Content,
}

impl Stored {
    /// Content without a head.
    pub(super) fn inline(bytes: Vec<u8>) -> Stored {
        Stored {
            head: Vec::new(),
            content: Content::Inline(bytes),
        }
    }

    /// The bytes that will lie in the tree, roughly.
    pub(super) fn weight(&self) -> usize {
        let content = match &self.content {
            Content::Inline(bytes) => bytes.len(),
            Content::Beside(_) => 48,
            Content::Removed => 0,
        };
        self.head.len() + content
    }

    pub(super) fn beside(&self) -> Option<&Beside> {
        match &self.content {
            Content::Beside(beside) => Some(beside),
            _ => None,
        }
    }
}

/// A row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The commit that wrote it.
    pub(super) sequence: u64,
    /// Where it lies.
    pub(super) key: Vec<u8>,
    /// What it holds.
    pub(super) stored: Stored,
}

/// The bytes of a row.
pub(super) fn encode(sequence: u64, key: &[u8], stored: &Stored) -> Vec<u8> {
    let mut out = Writer::with_room(key.len() + stored.weight() + FRAME_BYTES);
    out.raw(&MAGIC).number(sequence).bytes(key);
    out.bytes(&stored.head);
    match &stored.content {
        Content::Inline(bytes) => out.byte(0).bytes(bytes),
        Content::Beside(beside) => out
            .byte(1)
            .raw(&beside.hash)
            .number(beside.offset)
            .number(beside.length)
            .raw(&beside.crc.to_le_bytes()),
        Content::Removed => out.byte(2),
    };
    let mut bytes = out.into_bytes();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// The row at the beginning of `bytes`, and how many bytes it has.
pub(super) fn decode_prefix(bytes: &[u8]) -> Result<(Row, usize), CodecError> {
    let mut input = Reader::new(bytes);
    if input.raw(MAGIC.len())? != MAGIC {
        return Err(CodecError::Wrong("it does not begin as a row does"));
    }
    let sequence = input.number()?;
    let key = input.bytes()?;
    let head = input.bytes()?;
    let content = match input.byte()? {
        0 => Content::Inline(input.bytes()?.to_vec()),
        1 => Content::Beside(beside(&mut input)?),
        2 => Content::Removed,
        _ => return Err(CodecError::Wrong("an unknown kind of content")),
    };
    let covered = bytes.len() - input.rest().len();
    if input.raw(CRC_BYTES)? != crc32c::crc32c(&bytes[..covered]).to_le_bytes() {
        return Err(CodecError::Wrong("its checksum does not match"));
    }
    let row = Row {
        sequence,
        key: key.to_vec(),
        stored: Stored {
            head: head.to_vec(),
            content,
        },
    };
    Ok((row, covered + CRC_BYTES))
}

fn beside(input: &mut Reader<'_>) -> Result<Beside, CodecError> {
    Ok(Beside {
        hash: *input.raw(32)?.first_chunk().ok_or(CodecError::Short)?,
        offset: input.number()?,
        length: input.number()?,
        crc: u32::from_le_bytes(*input.raw(4)?.first_chunk().ok_or(CodecError::Short)?),
    })
}

/// The row that stands under `key`.
pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Row, StoreError> {
    let damaged = |why: String| StoreError::damaged(words(key), why);
    let (row, length) = decode_prefix(bytes).map_err(|why| damaged(why.to_string()))?;
    if length != bytes.len() {
        return Err(damaged("it goes on after its end".to_owned()));
    }
    if row.key != key {
        return Err(damaged(format!("{} stands in its place", words(&row.key))));
    }
    Ok(row)
}

/// What a row adds to the digest of the store. A sum of these over all rows changes whenever a row
/// is lost, altered, or an older one comes back in its place; it is no defence against intent.
pub(super) fn digest(row: &[u8]) -> u64 {
    let crc = row
        .last_chunk::<CRC_BYTES>()
        .map_or(0, |crc| u32::from_le_bytes(*crc));
    let mixed = (u64::from(crc) | (row.len() as u64) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}
