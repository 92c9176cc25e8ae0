//! Writes fields, values and records as bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;

use super::{CodecError, DEPTH_MAX, is_long};
use crate::event::{SecretPart, Value};

/// Writes fields one after another.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    out: Vec<u8>,
    /// Where the long ones lie that were written so far; `None` writes each one anew.
    long: Option<Vec<Range<usize>>>,
}

impl Writer {
    /// An empty record.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An empty record with room for so many bytes, where they are known roughly.
    pub fn with_room(bytes: usize) -> Writer {
        Writer {
            out: Vec::with_capacity(bytes),
            long: None,
        }
    }

    /// From here on what is long is written once. Only for records that are never compared with
    /// older ones: a journal's arguments are, by their hash.
    pub fn share(&mut self) -> &mut Self {
        self.long.get_or_insert_default();
        self
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        self.out.push(byte);
        self
    }

    /// A whole number without sign, seven bits a byte, the smallest first.
    pub fn number(&mut self, mut number: u64) -> &mut Self {
        while number >= 0x80 {
            self.out.push((number as u8) | 0x80);
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
        self.out.extend_from_slice(bytes);
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

    /// How many bytes were written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
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
            Value::Text(text) => self.long((6, text.as_bytes()), 11),
            Value::Bytes(bytes) => self.long((7, bytes), 12),
            Value::List(items) => {
                self.byte(8).number(items.len() as u64);
                return items
                    .iter()
                    .try_for_each(|item| self.value_at(item, depth + 1));
            }
            Value::Map(map) => return self.byte(9).map_at(map, depth + 1),
            Value::Secret(parts) => {
                self.byte(10).number(parts.len() as u64);
                parts.iter().for_each(|part| self.secret_part(part));
                self
            }
        };
        Ok(())
    }

    /// Under its tag, or as the place among the long ones of an equal one, under the tag `again`.
    fn long(&mut self, (tag, bytes): (u8, &[u8]), again: u8) -> &mut Self {
        let Some(long) = self.long.as_mut().filter(|_| is_long(bytes)) else {
            return self.byte(tag).bytes(bytes);
        };
        let equal = |range: &Range<usize>| self.out[range.clone()] == *bytes;
        if let Some(place) = long.iter().position(equal) {
            return self.byte(again).number(place as u64);
        }
        self.byte(tag).bytes(bytes);
        let range = self.out.len() - bytes.len()..self.out.len();
        self.long.get_or_insert_default().push(range);
        self
    }

    /// A secret is written by its name; the secret itself never comes near the store.
    fn secret_part(&mut self, part: &SecretPart) {
        match part {
            SecretPart::Text(text) => self.byte(0).text(text),
            SecretPart::Name(name) => self.byte(1).text(name),
        };
    }
}
