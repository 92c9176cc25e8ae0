//! A varbind's value as the wire types it (RFC 2578 §7.1), in the words that snmptrapd's text gets.
//!
//! A string is text if it is printable UTF-8; else it stays bytes, with the hexadecimal that
//! snmptrapd would have written beside it, so that one flow reads both.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::TrapValue;
use super::ber::{self, Element, INTEGER, NULL, OCTETS, OID};
use crate::event::Value;

const IP_ADDRESS: u8 = 0x40;
const COUNTER_32: u8 = 0x41;
const GAUGE_32: u8 = 0x42;
const TIME_TICKS: u8 = 0x43;
const OPAQUE: u8 = 0x44;
const NSAP_ADDRESS: u8 = 0x45;
const COUNTER_64: u8 = 0x46;
const UNSIGNED_32: u8 = 0x47;
const NO_SUCH_OBJECT: u8 = 0x80;
const END_OF_MIB_VIEW: u8 = 0x82;
/// How many bytes snmptrapd writes on one line of hexadecimal.
const DUMP_LINE_BYTES: usize = 16;

/// The value of an element; `None` if its type is unknown or its content is not of that type.
pub fn value(element: Element<'_>) -> Option<TrapValue> {
    let data = element.data;
    let counted = |kind| Some(TrapValue::new(kind, whole(ber::unsigned(data)?)));
    match element.tag {
        INTEGER => Some(TrapValue::new("integer", Value::Int(ber::signed(data)?))),
        OCTETS => Some(string(data)),
        NULL | NO_SUCH_OBJECT..=END_OF_MIB_VIEW => Some(TrapValue::new("null", Value::Null)),
        OID => Some(TrapValue::new("oid", Value::Text(ber::oid(data)?))),
        IP_ADDRESS => Some(TrapValue::new("ipaddress", address(data)?)),
        COUNTER_32 | COUNTER_64 => counted("counter"),
        GAUGE_32 | UNSIGNED_32 => counted("gauge"),
        TIME_TICKS => counted("timeticks"),
        NSAP_ADDRESS => Some(bytes("hex-string", data)),
        OPAQUE => Some(opaque(data)),
        _ => None,
    }
}

/// A number; beyond 63 bits it is text.
pub fn whole(number: u64) -> Value {
    i64::try_from(number).map_or_else(|_| Value::Text(number.to_string()), Value::Int)
}

/// Bytes that are no text.
pub fn bytes(kind: &'static str, data: &[u8]) -> TrapValue {
    TrapValue {
        kind,
        value: Value::from(data.to_vec()),
        raw: Some(dump(data)),
    }
}

fn string(data: &[u8]) -> TrapValue {
    let is_shown = |char: char| !char.is_control() || matches!(char, '\t'..='\r');
    match std::str::from_utf8(data) {
        Ok(text) if text.chars().all(is_shown) => TrapValue::new("text", text.into()),
        _ => bytes("hex-string", data),
    }
}

/// Two capital digits and a blank for each byte, a line end after every sixteen.
fn dump(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len() * 3 + data.len() / DUMP_LINE_BYTES);
    for (line, bytes) in data.chunks(DUMP_LINE_BYTES).enumerate() {
        text.push_str(if line == 0 { "" } else { "\n" });
        for byte in bytes {
            // Writing to text cannot fail.
            let _ = write!(text, "{byte:02X} ");
        }
    }
    text
}

fn address(data: &[u8]) -> Option<Value> {
    let version_4 = <[u8; 4]>::try_from(data).map(|bytes| Ipv4Addr::from(bytes).to_string());
    let version_6 = <[u8; 16]>::try_from(data).map(|bytes| Ipv6Addr::from(bytes).to_string());
    version_4.or(version_6).ok().map(Value::Text)
}

/// Numbers that Net-SNMP and others wrap (draft-perkins-opaque-01): a tag of two bytes, a length.
fn opaque(data: &[u8]) -> TrapValue {
    let wrapped = match data {
        [0x9f, kind, length, number @ ..] if usize::from(*length) == number.len() => {
            number_in(*kind, number)
        }
        _ => None,
    };
    wrapped.unwrap_or_else(|| bytes("opaque", data))
}

fn number_in(kind: u8, data: &[u8]) -> Option<TrapValue> {
    let (kind, value) = match kind {
        0x76 => ("counter", whole(ber::unsigned(data)?)),
        0x78 => {
            let number = f32::from_be_bytes(data.try_into().ok()?);
            ("float", Value::Float(f64::from(number)))
        }
        0x79 => {
            let number = f64::from_be_bytes(data.try_into().ok()?);
            ("float", Value::Float(number))
        }
        0x7a => ("integer", Value::Int(ber::signed(data)?)),
        0x7b => ("gauge", whole(ber::unsigned(data)?)),
        _ => return None,
    };
    let is_number = !matches!(value, Value::Float(number) if !number.is_finite());
    is_number.then(|| TrapValue::new(kind, value))
}
