//! One varbind's value out of the way snmptrapd writes it.
//!
//! snmptrapd writes a string with any byte beyond printable ASCII as hexadecimal; that is undone
//! where the bytes are text, and the writing is kept beside it, because a string that really held
//! such digits looks the same.

use super::oid::Oid;
use super::{TrapValue, UPTIME_OID};
use crate::encoding;
use crate::event::Value;

/// How many bytes snmptrapd writes on one line of hexadecimal.
const DUMP_LINE_BYTES: usize = 16;

/// The types that Net-SNMP writes before a value unless told to be quick, and our words for them.
const TYPES: &[(&str, &str)] = &[
    ("STRING", "text"),
    ("Hex-STRING", "hex-string"),
    ("INTEGER", "integer"),
    ("INTEGER64", "integer"),
    ("UInteger32", "gauge"),
    ("Gauge32", "gauge"),
    ("Unsigned32", "gauge"),
    ("Counter32", "counter"),
    ("Counter64", "counter"),
    ("Timeticks", "timeticks"),
    ("OID", "oid"),
    ("IpAddress", "ipaddress"),
    ("Network Address", "hex-string"),
    ("BITS", "hex-string"),
    ("NULL", "null"),
    ("Opaque", "opaque"),
    ("Float", "float"),
];

/// A value as it stands in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What stands there, without quotes, escapes undone.
    pub text: String,
    /// The type word before it, if there is one.
    pub kind: Option<&'static str>,
    is_quoted: bool,
    /// The bytes, if it is written as hexadecimal with its characters beside it.
    dump: Option<Vec<u8>>,
}

impl Reading {
    /// A value that stood in quotes.
    pub fn quoted(text: String) -> Reading {
        let dump = plain_dump(&text);
        Reading {
            text,
            kind: None,
            is_quoted: true,
            dump,
        }
    }

    /// A quoted dump with characters beside the digits.
    pub fn dump(text: &str, bytes: Vec<u8>) -> Reading {
        Reading {
            text: text.to_owned(),
            kind: None,
            is_quoted: true,
            dump: Some(bytes),
        }
    }

    /// A value that stood without quotes.
    pub fn bare(text: String) -> Reading {
        Reading {
            text,
            kind: None,
            is_quoted: false,
            dump: None,
        }
    }
}

/// The type word at the start of `text`, if a colon follows it.
pub fn type_word(text: &str) -> Option<&'static str> {
    let is_here = |word: &&str| {
        let rest = text.strip_prefix(*word);
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    TYPES.iter().map(|(word, _)| *word).find(is_here)
}

/// True if every quoted value that is not empty is written in hexadecimal, as `-Ox` does; then
/// even plain ASCII is meant when its digits stand there.
pub fn are_all_hexadecimal<'a>(mut readings: impl Iterator<Item = &'a Reading>) -> bool {
    readings.all(|reading| !reading.is_quoted || reading.text.is_empty() || reading.dump.is_some())
}

/// The value that a reading stands for.
pub fn decode(reading: Reading, oid: &Oid, has_hex_only: bool) -> TrapValue {
    let kind = reading
        .kind
        .and_then(|word| TYPES.iter().find(|(known, _)| *known == word))
        .map(|(_, kind)| *kind);
    let is_hex = matches!(kind, Some("hex-string" | "opaque"));
    match (reading.dump, is_hex) {
        (Some(bytes), _) if has_hex_only || !is_shown_plainly(&bytes) => {
            hexadecimal(bytes, reading.text)
        }
        (_, true) => match digits(&reading.text) {
            Some(bytes) => hexadecimal(bytes, reading.text),
            None => TrapValue::new("text", Value::Text(reading.text)),
        },
        _ if reading.is_quoted => TrapValue::new("text", Value::Text(reading.text)),
        _ => bare(reading.text, kind, oid),
    }
}

/// Hundredths of a second out of `d:h:mm:ss.cc`, `(4242) 0:00:42.42` or `4242`.
pub fn timeticks(text: &str) -> Option<i64> {
    if let Some(inside) = text.strip_prefix('(') {
        return inside.split_once(')')?.0.parse().ok();
    }
    let (clock, hundredths) = match text.split_once('.') {
        Some((clock, hundredths)) => (clock, hundredths.parse::<i64>().ok()?),
        None => return text.parse().ok().filter(|ticks: &i64| *ticks >= 0),
    };
    let parts: Option<Vec<i64>> = clock.split(':').map(|part| part.parse().ok()).collect();
    let [days, hours, minutes, seconds] = parts?.try_into().ok()?;
    let hours = days.checked_mul(24)?.checked_add(hours)?;
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    let seconds = minutes.checked_mul(60)?.checked_add(seconds)?;
    seconds.checked_mul(100)?.checked_add(hundredths)
}

/// A dump in quotes with the characters beside each line, as `-OT` writes it: the bytes, and what
/// follows the closing quote. `None` if it is not exactly that.
pub fn dump(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut rest = text;
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        while let Some((byte, after)) =
            pair(rest).filter(|_| bytes.len() - before < DUMP_LINE_BYTES)
        {
            bytes.push(byte);
            rest = after;
        }
        let count = bytes.len() - before;
        let shown = rest.strip_prefix("  [").filter(|_| count > 0)?;
        rest = shown.get(count..)?.strip_prefix(']')?;
        if let Some(after) = rest.strip_prefix('"') {
            return Some((bytes, after));
        }
        rest = rest.strip_prefix('\n')?;
    }
}

/// `C3 BC 6E `: two capital digits and a blank, again and again, a line end now and then.
fn plain_dump(text: &str) -> Option<Vec<u8>> {
    let mut rest = text;
    let mut bytes = Vec::new();
    while let Some((byte, after)) = pair(rest) {
        bytes.push(byte);
        rest = after.strip_prefix('\n').unwrap_or(after);
    }
    (rest.is_empty() && !bytes.is_empty()).then_some(bytes)
}

fn pair(text: &str) -> Option<(u8, &str)> {
    let digits = text.get(..2)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'A'..=b'F');
    let after = text.get(2..)?.strip_prefix(' ')?;
    let byte = u8::from_str_radix(digits, 16).ok()?;
    digits.bytes().all(is_digit).then_some((byte, after))
}

/// Hexadecimal without quotes, as it stands behind `Hex-STRING:`; other things may follow it.
fn digits(text: &str) -> Option<Vec<u8>> {
    let read = |word: &str| match word.len() {
        2 => u8::from_str_radix(word, 16).ok(),
        _ => None,
    };
    text.split_ascii_whitespace().map(read).collect()
}

fn hexadecimal(bytes: Vec<u8>, raw: String) -> TrapValue {
    let is_shown = |char: char| !char.is_control() || matches!(char, '\t' | '\r' | '\n');
    let value = match String::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_shown) => Value::Text(text),
        Ok(text) => Value::from(text.into_bytes()),
        Err(error) => Value::from(error.into_bytes()),
    };
    TrapValue {
        kind: "hex-string",
        value,
        raw: Some(raw),
    }
}

/// True if snmptrapd would have written these bytes as they are.
fn is_shown_plainly(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t'..=b'\r'))
}

fn bare(text: String, kind: Option<&'static str>, oid: &Oid) -> TrapValue {
    let is_uptime = oid.number == UPTIME_OID;
    let kind = kind.unwrap_or_else(|| match is_uptime {
        true => "timeticks",
        false => guess(&text),
    });
    let value = match kind {
        "null" => Some(Value::Null),
        "timeticks" => timeticks(&text).map(Value::Int),
        "oid" => Oid::read(&text).map(|oid| Value::Text(oid.number)),
        "integer" | "gauge" | "counter" => Some(whole(&text)),
        "float" => text
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Value::Float),
        _ => None,
    };
    match value {
        Some(value) => TrapValue::new(kind, value),
        None => TrapValue::new(
            if kind == "ipaddress" { kind } else { "text" },
            Value::Text(text),
        ),
    }
}

/// `-42`, `4294967295`, and the number of `up(1)`; beyond 64 bits it stays text.
fn whole(text: &str) -> Value {
    let inside = text
        .strip_suffix(')')
        .and_then(|text| text.rsplit_once('('))
        .map(|(_, number)| number);
    let first = text.split_ascii_whitespace().next().unwrap_or(text);
    let number = inside.unwrap_or(first).parse();
    number.map_or_else(|_| Value::Text(text.to_owned()), Value::Int)
}

fn guess(text: &str) -> &'static str {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_decimal = digits.starts_with(|char: char| char.is_ascii_digit());
    if text == "NULL" {
        "null"
    } else if is_number {
        "integer"
    } else if text.parse::<std::net::Ipv4Addr>().is_ok() {
        "ipaddress"
    } else if text.contains(':') && timeticks(text).is_some() {
        "timeticks"
    } else if is_decimal && text.parse::<f64>().is_ok() {
        "float"
    } else if is_oid(text) {
        "oid"
    } else {
        "text"
    }
}

fn is_oid(text: &str) -> bool {
    let has_blank = text.contains(|char: char| char.is_whitespace());
    !has_blank && super::oid::is_plainly_oid(text)
}

/// Text out of what a handler read, which is ASCII unless somebody's locale says otherwise.
pub fn text(bytes: &[u8]) -> String {
    encoding::decode_guess(bytes)
}
