//! The COMPRESSION layer beneath BBDO: chunks of a length, the plain length, and a zlib stream.
//!
//! A chunk holds any slice of the stream beneath, so that packets know nothing of it.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// Longest chunk, packed or plain, in bytes. A Broker packs what it writes at once.
pub const CHUNK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A length stands in this many bytes.
const LENGTH_BYTES: usize = 4;

/// Why a packed stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A length that no chunk has.
    #[error("a compressed chunk says that it is {0} bytes long")]
    Length(usize),
    /// Not what zlib reads, or not as long as it says.
    #[error("a compressed chunk cannot be unpacked")]
    Chunk,
}

/// Unpacks chunks.
#[derive(Debug, Default)]
pub struct Unpacker {
    bytes: Vec<u8>,
}

impl Unpacker {
    /// Takes bytes in as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next chunk unpacked; `None` until more bytes come.
    ///
    /// # Errors
    /// [`Broken`], after which the peer is to be dropped: what it sends next has no beginning.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let Some(length) = length(&self.bytes) else {
            return Ok(None);
        };
        if !(LENGTH_BYTES + 1..=CHUNK_BYTES_MAX).contains(&length) {
            return Err(Broken::Length(length));
        }
        let end = LENGTH_BYTES + length;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let plain = unpack(&self.bytes[LENGTH_BYTES..end])?;
        self.bytes.drain(..end);
        Ok(Some(plain))
    }
}

fn unpack(chunk: &[u8]) -> Result<Vec<u8>, Broken> {
    let plain_length = length(chunk).unwrap_or(0);
    if !(1..=CHUNK_BYTES_MAX).contains(&plain_length) {
        return Err(Broken::Length(plain_length));
    }
    let mut plain = Vec::new();
    // One more than it says, so that too much shows.
    let limit = plain_length as u64 + 1;
    let read = ZlibDecoder::new(&chunk[LENGTH_BYTES..])
        .take(limit)
        .read_to_end(&mut plain);
    match read {
        Ok(count) if count == plain_length => Ok(plain),
        _ => Err(Broken::Chunk),
    }
}

fn length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk::<LENGTH_BYTES>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

/// One chunk of `plain`, which must not be empty nor longer than [`CHUNK_BYTES_MAX`].
pub fn pack(plain: &[u8]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing into memory cannot fail.
    let packed = encoder.write_all(plain).and_then(|()| encoder.finish());
    let packed = packed.unwrap_or_default();
    let mut chunk = length(LENGTH_BYTES + packed.len()).to_vec();
    chunk.extend(length(plain.len()));
    chunk.extend(packed);
    chunk
}
