//! Values and records as bytes and back: tagged, compact, the same on every machine.
//!
//! Invariant: decoding gives exactly what was encoded (an integer stays an integer, bytes stay
//! bytes), and no input, however broken, does more than fail. Encoded bytes do not change within
//! one format version, so equal values have equal bytes and equal hashes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::event::{VALUE_DEPTH_MAX, Value};

/// Version of the encoding, the first byte of every encoded value that stands alone.
pub const CODEC_VERSION: u8 = 1;
/// Deepest nesting that is written or read: twice what a body may have, so that a flow may wrap it.
pub const DEPTH_MAX: usize = 2 * VALUE_DEPTH_MAX;

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

/// Writes fields one after another.
#[derive(Debug, Default, Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty record.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    /// A whole number without sign, seven bits a byte, the smallest first.
    pub fn number(&mut self, mut number: u64) -> &mut Self {
        while number >= 0x80 {
            self.0.push((number as u8) | 0x80);
            number >>= 7;
        }
        self.byte(number as u8)
    }

    /// A whole number with sign; small ones of either sign are short.
    pub fn signed(&mut self, number: i64) -> &mut Self {
        self.number(((number << 1) ^ (number >> 63)) as u64)
    }

    /// Bytes with their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).raw(bytes)
    }

    /// Bytes without their length; the reader knows it.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Text with its length.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// A moment, to the nanosecond.
    pub fn time(&mut self, time: Timestamp) -> &mut Self {
        self.signed(time.as_second())
            .signed(i64::from(time.subsec_nanosecond()))
    }

    /// Text or nothing.
    pub fn text_or_none(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.byte(0),
            Some(text) => self.byte(1).text(text),
        }
    }

    /// A value.
    ///
    /// # Errors
    /// [`CodecError::Deep`] beyond [`DEPTH_MAX`].
    pub fn value(&mut self, value: &Value) -> Result<&mut Self, CodecError> {
        self.value_at(value, 0)?;
        Ok(self)
    }

    /// A map of values, sorted by name.
    ///
    /// # Errors
    /// As [`Writer::value`].
    pub fn map(&mut self, map: &BTreeMap<String, Value>) -> Result<&mut Self, CodecError> {
        self.map_at(map, 0)?;
        Ok(self)
    }

    fn map_at(&mut self, map: &BTreeMap<String, Value>, depth: usize) -> Result<(), CodecError> {
        self.number(map.len() as u64);
        map.iter()
            .try_for_each(|(name, value)| self.text(name).value_at(value, depth))
    }

    fn value_at(&mut self, value: &Value, depth: usize) -> Result<(), CodecError> {
        if depth > DEPTH_MAX {
            return Err(CodecError::Deep);
        }
        match value {
            Value::Null => self.byte(0),
            Value::Bool(false) => self.byte(1),
            Value::Bool(true) => self.byte(2),
            Value::Int(number) => self.byte(3).signed(*number),
            Value::Float(number) => self.byte(4).raw(&number.to_bits().to_le_bytes()),
            Value::Char(char) => self.byte(5).number(u64::from(u32::from(*char))),
            Value::Text(text) => self.byte(6).text(text),
            Value::Bytes(bytes) => self.byte(7).bytes(bytes),
            Value::List(items) => {
                self.byte(8).number(items.len() as u64);
                return items
                    .iter()
                    .try_for_each(|item| self.value_at(item, depth + 1));
            }
            Value::Map(map) => return self.byte(9).map_at(map, depth + 1),
        };
        Ok(())
    }
}

/// Reads fields in the order in which they were written.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Fails if something is left: a record must be used up.
    ///
    /// # Errors
    /// [`CodecError::Wrong`].
    pub fn end(&self) -> Result<(), CodecError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(CodecError::Wrong("the record goes on after its end"))
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// [`CodecError::Short`].
    pub fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.raw(1)?[0])
    }

    /// A whole number without sign.
    ///
    /// # Errors
    /// [`CodecError::Short`], or [`CodecError::Wrong`] beyond 64 bits.
    pub fn number(&mut self) -> Result<u64, CodecError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::Wrong("a number has more than 64 bits"))
    }

    /// A whole number with sign.
    ///
    /// # Errors
    /// As [`Reader::number`].
    pub fn signed(&mut self) -> Result<i64, CodecError> {
        let number = self.number()?;
        Ok(((number >> 1) as i64) ^ -((number & 1) as i64))
    }

    /// Bytes with their length.
    ///
    /// # Errors
    /// [`CodecError::Short`].
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.number()?;
        self.raw(usize::try_from(length).map_err(|_| CodecError::Short)?)
    }

    /// `length` bytes.
    ///
    /// # Errors
    /// [`CodecError::Short`].
    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CodecError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Text.
    ///
    /// # Errors
    /// [`CodecError::Short`], or [`CodecError::Wrong`] if it is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| CodecError::Wrong("text is not UTF-8"))
    }

    /// A moment.
    ///
    /// # Errors
    /// As [`Reader::number`]; also a moment beyond the calendar.
    pub fn time(&mut self) -> Result<Timestamp, CodecError> {
        let second = self.signed()?;
        let nanosecond = i32::try_from(self.signed()?).unwrap_or(i32::MAX);
        Timestamp::new(second, nanosecond).map_err(|_| CodecError::Wrong("a time is no time"))
    }

    /// Text or nothing.
    ///
    /// # Errors
    /// As [`Reader::text`].
    pub fn text_or_none(&mut self) -> Result<Option<&'a str>, CodecError> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.text().map(Some),
            _ => Err(CodecError::Wrong("an unknown tag")),
        }
    }

    /// A value.
    ///
    /// # Errors
    /// Any [`CodecError`].
    pub fn value(&mut self) -> Result<Value, CodecError> {
        self.value_at(0)
    }

    /// A map of values.
    ///
    /// # Errors
    /// Any [`CodecError`].
    pub fn map(&mut self) -> Result<BTreeMap<String, Value>, CodecError> {
        self.map_at(0)
    }

    fn map_at(&mut self, depth: usize) -> Result<BTreeMap<String, Value>, CodecError> {
        let count = self.number()?;
        (0..count)
            .map(|_| Ok((self.text()?.to_owned(), self.value_at(depth)?)))
            .collect()
    }

    fn list_at(&mut self, depth: usize) -> Result<Vec<Value>, CodecError> {
        let count = self.number()?;
        (0..count).map(|_| self.value_at(depth)).collect()
    }

    fn value_at(&mut self, depth: usize) -> Result<Value, CodecError> {
        if depth > DEPTH_MAX {
            return Err(CodecError::Deep);
        }
        Ok(match self.byte()? {
            0 => Value::Null,
            1 => Value::Bool(false),
            2 => Value::Bool(true),
            3 => Value::Int(self.signed()?),
            4 => Value::Float(self.float()?),
            5 => Value::Char(self.char()?),
            6 => Value::Text(self.text()?.to_owned()),
            7 => Value::Bytes(self.bytes()?.to_vec()),
            8 => Value::List(self.list_at(depth + 1)?),
            9 => Value::Map(self.map_at(depth + 1)?),
            _ => return Err(CodecError::Wrong("an unknown tag")),
        })
    }

    fn float(&mut self) -> Result<f64, CodecError> {
        let bytes = self.raw(8)?.try_into().map_err(|_| CodecError::Short)?;
        Ok(f64::from_bits(u64::from_le_bytes(bytes)))
    }

    fn char(&mut self) -> Result<char, CodecError> {
        let number = u32::try_from(self.number()?).unwrap_or(u32::MAX);
        char::from_u32(number).ok_or(CodecError::Wrong("a character is no character"))
    }
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
