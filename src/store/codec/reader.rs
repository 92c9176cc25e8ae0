//! Reads what [`super::Writer`] wrote; no input, however broken, does more than fail.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::{CodecError, DEPTH_MAX, is_long};
use crate::event::{SecretPart, Value};

/// Reads fields in the order in which they were written.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Where long ones are written once: the whole record, and those that were read so far.
    shared: Option<(&'a Bytes, Vec<&'a [u8]>)>,
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            rest: bytes,
            shared: None,
        }
    }

    /// From here on what follows was written after [`super::Writer::share`]. `record` is what this reader
    /// reads; long bytes share its memory.
    pub fn share(&mut self, record: &'a Bytes) -> &mut Self {
        self.shared = Some((record, Vec::new()));
        self
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails if something is left: a record must be used up.
    ///
    /// # Errors
    /// [`CodecError::Wrong`].
    pub fn end(&self) -> Result<(), CodecError> {
        if self.rest.is_empty() {
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
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(CodecError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Text.
    ///
    /// # Errors
    /// [`CodecError::Short`], or [`CodecError::Wrong`] if it is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        utf8(self.bytes()?)
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
            6 => Value::Text(utf8(self.long()?)?.to_owned()),
            7 => self.long().map(|bytes| self.keep(bytes))?,
            8 => Value::List(self.list_at(depth + 1)?),
            9 => Value::Map(self.map_at(depth + 1)?),
            10 => Value::Secret(self.secret()?),
            11 => Value::Text(utf8(self.again()?)?.to_owned()),
            12 => self.again().map(|bytes| self.keep(bytes))?,
            _ => return Err(CodecError::Wrong("an unknown tag")),
        })
    }

    fn long(&mut self) -> Result<&'a [u8], CodecError> {
        let bytes = self.bytes()?;
        if let Some((_, long)) = self.shared.as_mut().filter(|_| is_long(bytes)) {
            long.push(bytes);
        }
        Ok(bytes)
    }

    /// One of the long ones once more.
    fn again(&mut self) -> Result<&'a [u8], CodecError> {
        let place = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let known = self.shared.as_ref().and_then(|(_, long)| long.get(place));
        known
            .copied()
            .ok_or(CodecError::Wrong("it refers to what was not written"))
    }

    fn keep(&self, bytes: &'a [u8]) -> Value {
        match &self.shared {
            Some((record, _)) if is_long(bytes) => record.slice_ref(bytes).into(),
            _ => bytes.to_vec().into(),
        }
    }

    fn secret(&mut self) -> Result<Vec<SecretPart>, CodecError> {
        let count = self.number()?;
        (0..count).map(|_| self.secret_part()).collect()
    }

    fn secret_part(&mut self) -> Result<SecretPart, CodecError> {
        Ok(match self.byte()? {
            0 => SecretPart::Text(self.text()?.to_owned()),
            1 => SecretPart::Name(self.text()?.to_owned()),
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

fn utf8(bytes: &[u8]) -> Result<&str, CodecError> {
    std::str::from_utf8(bytes).map_err(|_| CodecError::Wrong("text is not UTF-8"))
}
