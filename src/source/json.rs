//! JSON bodies: an object is one event, an array is one event per element, all or none.
//!
//! Python senders put bytes that are no UTF-8 as lone surrogates (`"\udcff"`) into their JSON;
//! such a body is taken, shown with U+FFFD, and its exact bytes are kept beside it.

use std::ops::Range;

use super::keep_raw;
use crate::event::{Incoming, Meta, VALUE_DEPTH_MAX, Value};

/// Most events that one body may carry.
pub const EVENTS_MAX: usize = 1_000;
/// Most values (members and elements, at every depth together) that one body may hold.
pub const VALUES_MAX: usize = 500_000;

const SURROGATE_NOTE: &str =
    "lone surrogates are shown as U+FFFD; `meta.raw` holds the exact bytes";

/// Why a body is refused; the HTTP door answers 400 with the sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON at all.
    #[error("the body is no JSON: {0}")]
    Broken(String),
    /// Lists and maps stand too deep inside one another.
    #[error("the body is nested more than {VALUE_DEPTH_MAX} deep")]
    TooDeep,
    /// It holds too many values.
    #[error("the body holds more than {VALUES_MAX} values")]
    TooManyValues,
    /// Its top-level array is too long.
    #[error("the body holds more than {EVENTS_MAX} events")]
    TooManyEvents,
}

/// The events in a JSON body. A byte order mark is skipped, the last of repeated keys wins, whole
/// numbers beyond 64 bits stay text.
///
/// # Errors
/// [`JsonError`]; nothing of the body is an event then.
pub fn decode(bytes: &[u8], meta: Meta) -> Result<Vec<Incoming>, JsonError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let scan = Scan::of(bytes)?;
    let event = |(index, body): (usize, Value)| {
        let range = scan.elements.get(index).cloned();
        let meta = meta.clone();
        with_raw(Incoming { body, meta }, &scan, bytes, range)
    };
    match parse(bytes, &scan)? {
        Value::List(items) if items.len() > EVENTS_MAX => Err(JsonError::TooManyEvents),
        Value::List(items) => Ok(items.into_iter().enumerate().map(event).collect()),
        body => {
            let whole = Some(0..bytes.len());
            Ok(vec![with_raw(Incoming { body, meta }, &scan, bytes, whole)])
        }
    }
}

/// Like [`decode`], but an array too is one event.
///
/// # Errors
/// As [`decode`].
pub fn decode_as_one(bytes: &[u8], meta: Meta) -> Result<Incoming, JsonError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let scan = Scan::of(bytes)?;
    let body = parse(bytes, &scan)?;
    let whole = Some(0..bytes.len());
    Ok(with_raw(Incoming { body, meta }, &scan, bytes, whole))
}

/// Like [`decode`], but a body that is refused there becomes one event that holds its bytes, with
/// the reason in `meta.decode_error`.
pub fn decode_or_keep(bytes: &[u8], meta: Meta) -> Vec<Incoming> {
    decode(bytes, meta.clone()).unwrap_or_else(|error| {
        let body = Value::Null;
        vec![keep_raw(Incoming { body, meta }, bytes, error.to_string())]
    })
}

/// The one value in a JSON text, an array staying a list; for scripts and for other decoders.
///
/// # Errors
/// [`JsonError`].
pub fn decode_value(bytes: &[u8]) -> Result<Value, JsonError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    parse(bytes, &Scan::of(bytes)?)
}

fn parse(bytes: &[u8], scan: &Scan) -> Result<Value, JsonError> {
    let broken = |error: serde_json::Error| JsonError::Broken(error.to_string());
    if scan.lone_surrogates.is_empty() {
        return serde_json::from_slice(bytes)
            .map(Value::from_json)
            .map_err(broken);
    }
    let mut mended = bytes.to_vec();
    for place in &scan.lone_surrogates {
        mended[*place..*place + ESCAPE_BYTES].copy_from_slice(b"\\ufffd");
    }
    serde_json::from_slice(&mended)
        .map(Value::from_json)
        .map_err(broken)
}

fn with_raw(
    mut event: Incoming,
    scan: &Scan,
    bytes: &[u8],
    range: Option<Range<usize>>,
) -> Incoming {
    let range = range.unwrap_or(0..0);
    let place = scan.lone_surrogates.partition_point(|at| *at < range.start);
    let is_hit = scan
        .lone_surrogates
        .get(place)
        .is_some_and(|at| *at < range.end);
    if is_hit {
        let raw = bytes[range].trim_ascii().to_vec();
        let extra = &mut event.meta.extra;
        extra.insert("raw".to_owned(), Value::from(raw));
        extra.insert("decode_note".to_owned(), SURROGATE_NOTE.into());
    }
    event
}

/// How long `\uXXXX` is.
const ESCAPE_BYTES: usize = 6;

/// What one pass over the text tells before anything is built: nothing here trusts the text to
/// be JSON.
#[derive(Default)]
struct Scan {
    /// Where escapes of lone surrogates begin, in order.
    lone_surrogates: Vec<usize>,
    /// The elements of a top-level array (or members of an object, which nobody asks for).
    elements: Vec<Range<usize>>,
    depth: usize,
    values: usize,
    element_start: usize,
}

impl Scan {
    fn of(bytes: &[u8]) -> Result<Scan, JsonError> {
        let mut scan = Scan::default();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at = match byte {
                b'"' => scan.string(bytes, at + 1),
                _ => {
                    scan.mark(*byte, at)?;
                    at + 1
                }
            };
        }
        Ok(scan)
    }

    fn mark(&mut self, byte: u8, at: usize) -> Result<(), JsonError> {
        match byte {
            b'[' | b'{' => {
                self.depth += 1;
                self.values += 1;
                if self.depth == 1 {
                    self.element_start = at + 1;
                }
            }
            b']' | b'}' => {
                self.element(at);
                self.depth = self.depth.saturating_sub(1);
            }
            b',' => {
                self.element(at);
                self.values += 1;
            }
            _ => {}
        }
        match (self.depth > VALUE_DEPTH_MAX, self.values > VALUES_MAX) {
            (true, _) => Err(JsonError::TooDeep),
            (_, true) => Err(JsonError::TooManyValues),
            _ => Ok(()),
        }
    }

    fn element(&mut self, at: usize) {
        if self.depth == 1 && self.elements.len() <= EVENTS_MAX {
            self.elements.push(self.element_start..at);
            self.element_start = at + 1;
        }
    }

    /// Goes over a string from behind its opening quote; gives the place behind its closing one.
    fn string(&mut self, bytes: &[u8], start: usize) -> usize {
        let mut at = start;
        while let Some(place) = special(bytes, at) {
            if bytes[place] == b'"' {
                return place + 1;
            }
            at = place
                + match escaped_unit(bytes, place) {
                    Some(0xd800..=0xdbff) if is_low(bytes, place) => 2 * ESCAPE_BYTES,
                    Some(0xd800..=0xdfff) => {
                        self.lone_surrogates.push(place);
                        ESCAPE_BYTES
                    }
                    _ => 2,
                };
        }
        bytes.len()
    }
}

/// The next byte inside a string that is not just a part of it.
fn special(bytes: &[u8], from: usize) -> Option<usize> {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\');
    let found = bytes.get(from..)?.iter().position(is_special)?;
    Some(from + found)
}

fn is_low(bytes: &[u8], high: usize) -> bool {
    matches!(
        escaped_unit(bytes, high + ESCAPE_BYTES),
        Some(0xdc00..=0xdfff)
    )
}

fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
    let text = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(text, 16).ok()
}
