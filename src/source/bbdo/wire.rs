//! Whether bytes are a whole protobuf message, by the wire format alone.
//!
//! Only the deframer asks: an event of exactly full packets has no last packet that would say so.

use prost::bytes::Buf;

/// True if the fields in `bytes` end exactly where `bytes` end.
pub fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        if field(&mut rest).is_none() {
            return false;
        }
    }
    true
}

/// Passes over one field.
fn field(rest: &mut &[u8]) -> Option<()> {
    let key = number(rest)?;
    let length = match key & 7 {
        0 => return number(rest).map(|_| ()),
        1 => 8,
        2 => number(rest)?,
        5 => 4,
        _ => return None,
    };
    let length = usize::try_from(length).ok()?;
    (key >> 3 != 0 && length <= rest.len()).then(|| rest.advance(length))
}

/// A number of at most ten bytes, seven bits each.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, others) = rest.split_first()?;
        *rest = others;
        number |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
