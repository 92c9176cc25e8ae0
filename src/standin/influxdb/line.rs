//! Line protocol as InfluxDB 1.6 reads it, with its complaints word by word.
//!
//! Knows nothing of how we write lines, so it can prove that wrong.

use std::collections::BTreeMap;

/// Longest measurement with tags, in bytes.
const KEY_BYTES_MAX: usize = 65_535;
/// Times further from 1970 are refused, in nanoseconds.
const TIME_MAX: i64 = i64::MAX - 1;

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// `1.5`
    Float(f64),
    /// `1i`
    Integer(i64),
    /// `"text"`
    Text(String),
    /// `true`
    Boolean(bool),
}

impl Field {
    /// What InfluxDB calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Field::Float(_) => "float",
            Field::Integer(_) => "integer",
            Field::Text(_) => "string",
            Field::Boolean(_) => "boolean",
        }
    }
}

/// A point that can be read.
pub(super) struct Found {
    pub(super) measurement: String,
    pub(super) tags: Vec<(String, String)>,
    pub(super) fields: BTreeMap<String, Field>,
    /// Nanoseconds since 1970.
    pub(super) time: i64,
}

/// Lines without empty ones and comments. A newline inside a quoted field ends none, and a quote
/// that is never closed takes everything behind it along.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = line_end(rest.as_bytes());
        let line = rest[..end].trim_start();
        rest = rest.get(end + 1..).unwrap_or("");
        if !line.is_empty() && !line.starts_with('#') {
            lines.push(line);
        }
    }
    lines
}

fn line_end(bytes: &[u8]) -> usize {
    let (mut at, mut quoted, mut in_fields) = (0, false, false);
    let (mut equals, mut commas) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if at + 2 < bytes.len() => at += 1,
            b' ' => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The place of the first of `ends` at or behind `from` that no backslash stands before.
fn unescaped(bytes: &[u8], from: usize, ends: &[u8]) -> usize {
    let mut at = from;
    while at < bytes.len() {
        if ends.contains(&bytes[at]) && (at == 0 || bytes[at - 1] != b'\\') {
            return at;
        }
        at += 1;
    }
    at
}

/// The same among fields, where a backslash takes the next character along whatever it is.
fn unpaired(bytes: &[u8], from: usize, ends: &[u8]) -> usize {
    let mut at = from;
    while at < bytes.len() && !ends.contains(&bytes[at]) {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// Reads a line; times are multiplied by `factor` to be nanoseconds.
pub(super) fn parse(line: &str, factor: i64) -> Result<Found, String> {
    let bytes = line.as_bytes();
    let mut at = unescaped(bytes, 0, b", ");
    if at == 0 {
        return Err("missing measurement".to_owned());
    }
    let measurement = line[..at].replace("\\,", ",").replace("\\ ", " ");
    let tags = tags(line, &mut at)?;
    if at > KEY_BYTES_MAX {
        return Err(format!("max key length exceeded: {at} > {KEY_BYTES_MAX}"));
    }
    let (fields, behind) = fields(line[at..].trim_start())?;
    Ok(Found {
        measurement,
        tags,
        fields,
        time: time(behind.trim(), behind, factor)?,
    })
}

fn tags(line: &str, at: &mut usize) -> Result<Vec<(String, String)>, String> {
    let bytes = line.as_bytes();
    let mut tags: Vec<(String, String)> = Vec::new();
    while bytes.get(*at) == Some(&b',') {
        let key = *at + 1;
        if matches!(bytes.get(key), None | Some(b' ' | b',' | b'=')) {
            return Err("missing tag key".to_owned());
        }
        let equals = unescaped(bytes, key, b"=, ");
        let value = equals + 1;
        let is_empty = matches!(bytes.get(value), None | Some(b' ' | b','));
        if bytes.get(equals) != Some(&b'=') || is_empty {
            return Err("missing tag value".to_owned());
        }
        *at = unescaped(bytes, value, b"=, ");
        if bytes.get(*at) == Some(&b'=') {
            return Err("invalid tag format".to_owned());
        }
        let pair = (plain(&line[key..equals]), plain(&line[value..*at]));
        if tags.iter().any(|(known, _)| *known == pair.0) {
            return Err("duplicate tags".to_owned());
        }
        tags.push(pair);
    }
    match bytes.get(*at) {
        Some(_) => Ok(tags),
        None => Err("missing fields".to_owned()),
    }
}

fn plain(name: &str) -> String {
    name.replace("\\,", ",")
        .replace("\\=", "=")
        .replace("\\ ", " ")
}

/// The fields, and what stands behind them.
fn fields(text: &str) -> Result<(BTreeMap<String, Field>, &str), String> {
    let bytes = text.as_bytes();
    let mut found = BTreeMap::new();
    let mut at = 0;
    loop {
        let equals = unpaired(bytes, at, b"=, ");
        if text[at..].is_empty() {
            return Err("missing fields".to_owned());
        }
        if bytes.get(equals) != Some(&b'=') {
            return Err("invalid field format".to_owned());
        }
        if equals == at {
            return Err("missing field key".to_owned());
        }
        let end = value_end(bytes, equals + 1)?;
        let value = value(&text[equals + 1..end])?;
        let key = plain(&text[at..equals]).replace("\\\"", "\"");
        found.insert(key, value);
        match bytes.get(end) {
            Some(b',') => at = end + 1,
            _ => return Ok((found, &text[end..])),
        }
    }
}

fn value_end(bytes: &[u8], from: usize) -> Result<usize, String> {
    if bytes.get(from) != Some(&b'"') {
        let ends = |byte: &u8| matches!(byte, b',' | b' ');
        let length = bytes[from..].iter().position(ends);
        return Ok(length.map_or(bytes.len(), |length| from + length));
    }
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => return Ok(at + 1),
            _ => {}
        }
        at += 1;
    }
    Err("unbalanced quotes".to_owned())
}

fn value(text: &str) -> Result<Field, String> {
    match text.as_bytes().first() {
        None => Err("missing field value".to_owned()),
        Some(b'"') => {
            let inner = text.get(1..text.len() - 1).unwrap_or("");
            Ok(Field::Text(
                inner.replace("\\\"", "\"").replace("\\\\", "\\"),
            ))
        }
        Some(b'0'..=b'9' | b'-' | b'.' | b'N' | b'n') => number(text),
        Some(_) => match text {
            "t" | "T" | "true" | "True" | "TRUE" => Ok(Field::Boolean(true)),
            "f" | "F" | "false" | "False" | "FALSE" => Ok(Field::Boolean(false)),
            _ => Err("invalid boolean".to_owned()),
        },
    }
}

fn number(text: &str) -> Result<Field, String> {
    let digits = text.strip_suffix('i').unwrap_or(text);
    let is_digit = |char: char| matches!(char, '0'..='9' | '.' | '-' | '+' | 'e' | 'E');
    if !digits.chars().all(is_digit) {
        return Err("invalid number".to_owned());
    }
    if digits.len() < text.len() {
        return match digits.parse() {
            Ok(number) => Ok(Field::Integer(number)),
            Err(_) => Err(format!(
                "unable to parse integer {digits}: strconv.ParseInt: parsing \"{digits}\": value out of range"
            )),
        };
    }
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Field::Float(number)),
        Ok(_) => Err("invalid float".to_owned()),
        Err(_) => Err("invalid number".to_owned()),
    }
}

/// A line without a time gets one that nobody else has.
fn time(text: &str, behind: &str, factor: i64) -> Result<i64, String> {
    if behind.trim_start().is_empty() {
        return Ok(now());
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // a carriage return is no space to InfluxDB
    if !is_number || behind.ends_with('\r') {
        return Err("bad timestamp".to_owned());
    }
    let time = text
        .parse::<i64>()
        .ok()
        .and_then(|time| time.checked_mul(factor));
    match time.filter(|time| (-TIME_MAX..=TIME_MAX).contains(time)) {
        Some(time) => Ok(time),
        None => Err(format!("time outside range -{TIME_MAX} - {TIME_MAX}")),
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
