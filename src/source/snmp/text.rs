//! The text that snmptrapd writes to a trap handler, read without ever splitting inside quotes.
//!
//! A string on the wire may hold newlines, and snmptrapd passes them on; whoever goes line by line
//! takes such a string's second line for another varbind. Nothing between quotes is read as one.

use super::oid::{self, Oid};
use super::value::{self, Reading};
use super::{Peer, Trap, Varbind};

/// Longest text, in bytes, that is read as a trap; the largest UDP datagram fits unless it is
/// mostly written as hexadecimal.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most varbinds that one trap may have.
pub const VARBINDS_MAX: usize = 1_000;

/// Why a text is no trap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrapError {
    /// It is too long.
    #[error("the trap text is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// It has too many varbinds.
    #[error("the trap has more than {VARBINDS_MAX} varbinds")]
    TooMany,
    /// Not one varbind stands in it.
    #[error("the text has no varbind, so it is no trap of snmptrapd")]
    NoVarbind,
    /// It ends within quotes.
    #[error("the text ends inside a quoted string")]
    OpenQuote,
}

/// Reads a handler's standard input: a host line, a transport line, then `OID value` or
/// `OID = value` or `OID = TYPE: value` for each varbind (snmptrapd.conf(5), `traphandle`;
/// snmpcmd(1), `-O`). The first two lines may be missing.
///
/// # Errors
/// [`TrapError`].
pub fn read(text: &str) -> Result<Trap, TrapError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(TrapError::TooLong);
    }
    let (peer, rest) = head(text);
    let mut cursor = Cursor { rest };
    let mut readings = Vec::new();
    while let Some((oid, reading)) = cursor.varbind()? {
        if readings.len() == VARBINDS_MAX {
            return Err(TrapError::TooMany);
        }
        readings.push((oid, reading));
    }
    if readings.is_empty() {
        return Err(TrapError::NoVarbind);
    }
    let has_hex_only = value::are_all_hexadecimal(readings.iter().map(|(_, reading)| reading));
    let varbinds = readings
        .into_iter()
        .map(|(oid, reading)| Varbind {
            value: value::decode(reading, &oid, has_hex_only),
            oid,
        })
        .collect();
    Ok(Trap::from_varbinds(peer, varbinds))
}

/// Takes the host line and the transport line off the front.
fn head(text: &str) -> (Peer, &str) {
    let mut peer = Peer::default();
    let (first, rest) = split_line(text);
    if starts_varbind(first) {
        return (peer, text);
    }
    first.trim().clone_into(&mut peer.host);
    let (second, rest) = match split_line(rest) {
        (second, _) if starts_varbind(second) => ("", rest),
        lines => lines,
    };
    peer.read_transport(second.trim());
    (peer, rest)
}

fn split_line(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (line.strip_suffix('\r').unwrap_or(line), rest)
}

/// True if a varbind begins here, judged without trusting that one must.
fn starts_varbind(line: &str) -> bool {
    let token = oid_token(line);
    let has_value = line[token.len()..].starts_with([' ', '\t']);
    has_value && (oid::is_plainly_oid(token) || oid::is_instance(token))
}

/// The identifier at the start of `text`; an index in quotes belongs to it, blanks and all.
fn oid_token(text: &str) -> &str {
    let mut is_quoted = false;
    let end = text.find(|char: char| {
        is_quoted ^= char == '"';
        char == '\n' || (!is_quoted && char.is_ascii_whitespace())
    });
    &text[..end.unwrap_or(text.len())]
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn varbind(&mut self) -> Result<Option<(Oid, Reading)>, TrapError> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.rest.is_empty() {
                return Ok(None);
            }
            let token = oid_token(self.rest);
            let oid = Oid::read(token);
            self.rest = &self.rest[token.len()..];
            match oid {
                Some(oid) => return self.value().map(|reading| Some((oid, reading))),
                // a line that is no varbind: on to the next
                None => self.rest = split_line(self.rest).1,
            }
        }
    }

    fn value(&mut self) -> Result<Reading, TrapError> {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        let has_equals = self.rest.strip_prefix("= ");
        self.rest = has_equals.unwrap_or(self.rest);
        let kind = value::type_word(self.rest).filter(|_| has_equals.is_some());
        if let Some(kind) = kind {
            self.rest = self.rest[kind.len() + 1..].trim_start_matches([' ', '\t']);
        }
        let mut reading = match self.rest.strip_prefix('"') {
            Some(inside) => self.quoted(inside)?,
            None => self.bare(),
        };
        reading.kind = kind;
        Ok(reading)
    }

    /// A quoted string, from behind its opening quote. `\"` and `\\` are escapes, line ends are
    /// part of it; a hexadecimal dump with its characters beside it (`-OT`) is taken by its
    /// shape, since these characters are not escaped.
    fn quoted(&mut self, inside: &'a str) -> Result<Reading, TrapError> {
        if let Some((bytes, rest)) = value::dump(inside) {
            let length = inside.len() - rest.len();
            self.rest = split_line(rest).1;
            return Ok(Reading::dump(&inside[..length - 1], bytes));
        }
        let mut text = String::new();
        let mut chars = inside.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    // only a line end may follow, so nothing else is looked at
                    self.rest = split_line(&inside[at + 1..]).1;
                    return Ok(Reading::quoted(text));
                }
                '\\' if inside[at + 1..].starts_with(['"', '\\']) => {
                    text.extend(chars.next().map(|(_, char)| char));
                }
                _ => text.push(char),
            }
        }
        Err(TrapError::OpenQuote)
    }

    /// A value without quotes: to the end of its line, and on over lines that begin no varbind,
    /// as long hexadecimal values and texts with a display hint are written.
    fn bare(&mut self) -> Reading {
        let mut end = 0;
        loop {
            let (line, after) = split_line(&self.rest[end..]);
            let next = self.rest.len() - after.len();
            if after.is_empty() || line.is_empty() || starts_line(after) {
                let text = self.rest[..next].trim_ascii_end().to_owned();
                self.rest = &self.rest[next..];
                return Reading::bare(text);
            }
            end = next;
        }
    }
}

fn starts_line(text: &str) -> bool {
    let (line, _) = split_line(text);
    line.is_empty() || starts_varbind(line)
}
