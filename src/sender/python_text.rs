//! Text as CPython sees and writes it: surrogateescape, JSON strings, literals of bytes.
//!
//! A sender on a host that moved from kompira_sendevt must put the same bytes on the wire, lone
//! surrogates included; Rust's text cannot hold those, hence these writers.

use std::fmt::Write as _;

/// One character of a command line argument.
#[derive(Clone, Copy)]
enum Unit {
    Char(char),
    /// A byte that was not UTF-8: `U+DC00` plus the byte (PEP 383).
    Lone(u8),
}

fn units(bytes: &[u8]) -> impl Iterator<Item = Unit> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(Unit::Char);
        valid.chain(chunk.invalid().iter().copied().map(Unit::Lone))
    })
}

/// Writes a JSON string in which everything beyond printable ASCII is escaped, as
/// `json.dumps` does by default (seen in recordings kv_invalid_utf8, user_nonlocal).
pub fn json_ascii(bytes: &[u8], into: &mut String) {
    into.push('"');
    for unit in units(bytes) {
        match unit {
            Unit::Char(char) if (' '..='~').contains(&char) => json_char(char, into),
            Unit::Char(char) if json_short(char).is_some() => json_char(char, into),
            Unit::Char(char) => {
                for half in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(into, "\\u{half:04x}");
                }
            }
            Unit::Lone(byte) => lone(byte, into),
        }
    }
    into.push('"');
}

/// Writes a JSON string that keeps what is not ASCII (`ensure_ascii=False`).
pub fn json_unicode(bytes: &[u8], into: &mut String) {
    into.push('"');
    for unit in units(bytes) {
        match unit {
            Unit::Char(char) => json_char(char, into),
            Unit::Lone(byte) => lone(byte, into),
        }
    }
    into.push('"');
}

fn lone(byte: u8, into: &mut String) {
    let _ = write!(into, "\\udc{byte:02x}");
}

fn json_short(char: char) -> Option<&'static str> {
    match char {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        '\n' => Some("\\n"),
        '\r' => Some("\\r"),
        '\t' => Some("\\t"),
        '\u{8}' => Some("\\b"),
        '\u{c}' => Some("\\f"),
        _ => None,
    }
}

fn json_char(char: char, into: &mut String) {
    match json_short(char) {
        Some(short) => into.push_str(short),
        None if char < ' ' => {
            let _ = write!(into, "\\u{:04x}", u32::from(char));
        }
        None => into.push(char),
    }
}

/// The literal that Python prints for bytes: `b'..'`, or `b".."` if only `'` stands inside.
pub fn bytes_literal(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    let mut text = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' if char::from(byte) == quote => {
                text.push('\\');
                text.push(quote);
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push(quote);
    text
}
