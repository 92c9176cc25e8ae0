//! Elements of BER (X.690) as SNMP uses it (RFC 3417 §8): read without copying, and written.
//!
//! Reading is snmp-parser's own reader one element at a time, and not its whole messages, because
//! those refuse a trap for one odd value in it. Lengths are definite, tags are one byte.

use snmp_parser::asn1_rs::{Any, FromBer};

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub const OCTETS: u8 = 0x04;
/// NULL.
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;

/// Largest tag number that fits beside its class in one byte.
const SHORT_TAG_MAX: u32 = 30;
/// Longest integer that is read, in bytes: 64 bits and a sign.
const INTEGER_BYTES_MAX: usize = 9;

/// What cannot be read: which part, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It ends too early, or has no length, or a tag that SNMP does not have.
    #[error("the {0} is cut off or broken")]
    Cut(&'static str),
    /// Another element stands in its place.
    #[error("an element 0x{1:02x} stands where the {0} should be")]
    Other(&'static str, u8),
    /// A number beyond 64 bits.
    #[error("the {0} is no number of at most 64 bits")]
    Number(&'static str),
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Class, form and number in one byte, as on the wire.
    pub tag: u8,
    /// Its content.
    pub data: &'a [u8],
}

/// Elements one after another.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// What was not read yet.
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// The next element, which messages call `part`.
    ///
    /// # Errors
    /// [`Broken::Cut`].
    pub fn any(&mut self, part: &'static str) -> Result<Element<'a>, Broken> {
        let (rest, any) = Any::from_ber(self.rest).map_err(|_| Broken::Cut(part))?;
        let header = &any.header;
        let number = header.tag().0;
        if !header.length().is_definite() || number > SHORT_TAG_MAX {
            return Err(Broken::Cut(part));
        }
        // The mask says that it fits.
        let number = (number & 0x1f) as u8;
        let tag = (header.class() as u8) << 6 | u8::from(header.constructed()) << 5 | number;
        self.rest = rest;
        Ok(Element {
            tag,
            data: any.data,
        })
    }

    /// The content of the next element, which must have this tag.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn expect(&mut self, tag: u8, part: &'static str) -> Result<&'a [u8], Broken> {
        match self.any(part)? {
            element if element.tag == tag => Ok(element.data),
            other => Err(Broken::Other(part, other.tag)),
        }
    }

    /// The next element, which must be an integer.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn integer(&mut self, part: &'static str) -> Result<i64, Broken> {
        let data = self.expect(INTEGER, part)?;
        signed(data).ok_or(Broken::Number(part))
    }
}

/// A two's complement number of 1 to 9 bytes.
pub fn signed(data: &[u8]) -> Option<i64> {
    let is_short = (1..=INTEGER_BYTES_MAX).contains(&data.len());
    let first = *data.first().filter(|_| is_short)?;
    let start = if first >= 0x80 { -1 } else { 0 };
    let number = data
        .iter()
        .fold(start, |number: i128, byte| number << 8 | i128::from(*byte));
    i64::try_from(number).ok()
}

/// A number that has no sign, of 1 to 9 bytes; agents often leave out the zero byte before a
/// first byte over 0x7f, so that is not taken for a sign.
pub fn unsigned(data: &[u8]) -> Option<u64> {
    let is_short = (1..=INTEGER_BYTES_MAX).contains(&data.len());
    let number = data
        .iter()
        .fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
    u64::try_from(number).ok().filter(|_| is_short)
}

/// An object identifier in numbers with dots between them; `None` if it is empty, cut off, or has
/// a part beyond 128 bits.
pub fn oid(data: &[u8]) -> Option<String> {
    use std::fmt::Write as _;
    if data.last().is_none_or(|last| last & 0x80 != 0) {
        return None;
    }
    let mut text = String::with_capacity(data.len() * 3);
    let mut arc: u128 = 0;
    for byte in data {
        if arc > u128::MAX >> 7 {
            return None;
        }
        arc = arc << 7 | u128::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        // Writing to text cannot fail. The first number is two in one (X.690 §8.19.4).
        let _ = match text.is_empty() {
            true => write!(
                text,
                "{}.{}",
                (arc / 40).min(2),
                arc - (arc / 40).min(2) * 40
            ),
            false => write!(text, ".{arc}"),
        };
        arc = 0;
    }
    Some(text)
}

/// An element of these contents, one behind the other.
pub fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|content| content.len()).sum();
    let mut bytes = Vec::with_capacity(length + 5);
    bytes.push(tag);
    let digits = length.to_be_bytes();
    let skipped = digits.iter().take_while(|digit| **digit == 0).count();
    match length {
        0..=0x7f => bytes.extend(&digits[digits.len() - 1..]),
        _ => {
            // At most eight digits.
            bytes.push(0x80 | (digits.len() - skipped) as u8);
            bytes.extend(&digits[skipped..]);
        }
    }
    contents.iter().for_each(|content| bytes.extend(*content));
    bytes
}

/// A number that is not negative, as an element: an INTEGER, or another kind by its tag.
pub fn number(tag: u8, number: u32) -> Vec<u8> {
    let digits = i64::from(number).to_be_bytes();
    // A first digit over 0x7f would be read as a sign.
    let skipped = (0..digits.len() - 1)
        .take_while(|at| digits[*at] == 0 && digits[at + 1] < 0x80)
        .count();
    element(tag, &[&digits[skipped..]])
}
