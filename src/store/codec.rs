//! Values and records as bytes and back: tagged, compact, the same on every machine.
//!
//! Invariant: decoding gives exactly what was encoded (an integer stays an integer, bytes stay
//! bytes), and no input, however broken, does more than fail. Encoded bytes do not change within
//! one format version, so equal values have equal bytes and equal hashes.
//!
//! In the body of an event, long bytes or text that stand there twice (a mail's attachment does) are
//! written once; what is read shares the bytes of the record.

mod reader;
mod writer;

use crate::event::{VALUE_DEPTH_MAX, Value};
pub use reader::Reader;
pub use writer::Writer;

/// Version of the encoding, the first byte of every encoded value that stands alone.
pub const CODEC_VERSION: u8 = 1;
/// Deepest nesting that is written or read: twice what a body may have, so that a flow may wrap it.
pub const DEPTH_MAX: usize = 2 * VALUE_DEPTH_MAX;

/// Bytes or text from this length on are written once in a record that shares.
pub const SHARED_BYTES_MIN: usize = 4 * 1024;

/// Bytes that are no record, or a value that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end in the middle of something.
    #[error("the record ends too early")]
    Short,
    /// A tag, version or number that means nothing.
    #[error("{0}")]
    Wrong(&'static str),
    /// Lists and maps stand in one another deeper than [`DEPTH_MAX`].
    #[error("the value is nested deeper than {DEPTH_MAX}")]
    Deep,
}

fn is_long(bytes: &[u8]) -> bool {
    bytes.len() >= SHARED_BYTES_MIN
}

/// A value alone, with the version in front.
///
/// # Errors
/// [`CodecError::Deep`].
pub fn encode_value(value: &Value) -> Result<Vec<u8>, CodecError> {
    let mut out = Writer::new();
    out.byte(CODEC_VERSION).value(value)?;
    Ok(out.into_bytes())
}

/// The value that [`encode_value`] wrote.
///
/// # Errors
/// Any [`CodecError`].
pub fn decode_value(bytes: &[u8]) -> Result<Value, CodecError> {
    let mut input = Reader::new(bytes);
    check_version(&mut input)?;
    let value = input.value()?;
    input.end()?;
    Ok(value)
}

/// Reads the version in front of a record and refuses one that this program does not know.
///
/// # Errors
/// [`CodecError::Wrong`].
pub fn check_version(input: &mut Reader<'_>) -> Result<(), CodecError> {
    match input.byte()? {
        CODEC_VERSION => Ok(()),
        _ => Err(CodecError::Wrong("an unknown version of the encoding")),
    }
}
