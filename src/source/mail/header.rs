//! Header lines of a mail: found in bytes, unfolded, decoded to text.
//!
//! Headers end at the first empty line, or at the first line that is no header, which then begins
//! the body: a broken mail loses nothing.

use super::word;
use crate::encoding;

/// Most header lines of one part that are read; the others stay in `raw` alone.
pub const HEADERS_MAX: usize = 1_000;

/// One header: its name as the sender spelt it and its readable value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name in its original case.
    pub name: String,
    /// The value on one line, encoded words decoded.
    pub value: String,
}

/// The headers of a mail or of one of its parts, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Header>);

impl Headers {
    /// The first value of `name`, ignoring case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let same = |header: &&Header| header.name.eq_ignore_ascii_case(name);
        self.0.iter().find(same).map(|header| header.value.as_str())
    }
}

/// What splitting a part gives.
#[derive(Debug)]
pub struct Split<'a> {
    /// Its headers.
    pub headers: Headers,
    /// Its body, exactly.
    pub body: &'a [u8],
    /// True if there were more than [`HEADERS_MAX`] headers.
    pub is_cut: bool,
}

/// Splits a part into its headers and its body.
pub fn split(bytes: &[u8]) -> Split<'_> {
    let mut raw: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let mut rest = bytes;
    let mut count = 0usize;
    while let Some((line, after)) = next_line(rest) {
        if line.is_empty() {
            rest = after;
            break;
        }
        if matches!(line[0], b' ' | b'\t') && count > 0 {
            fold(&mut raw, line, count);
        } else if let Some((name, value)) = name_and_value(line) {
            count += 1;
            if count <= HEADERS_MAX {
                raw.push((name, value.trim_ascii().to_vec()));
            }
        } else {
            break;
        }
        rest = after;
    }
    Split {
        headers: decode(&raw),
        body: rest,
        is_cut: count > HEADERS_MAX,
    }
}

/// True if `line` begins as a header does.
pub fn is_header(line: &[u8]) -> bool {
    name_and_value(line).is_some()
}

/// The line at the start of `bytes` without its line end, and what follows it.
pub fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, rest) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &bytes[bytes.len()..]),
    };
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest))
}

fn fold(raw: &mut [(&[u8], Vec<u8>)], line: &[u8], count: usize) {
    let is_kept = count <= HEADERS_MAX;
    if let Some((_, value)) = raw.last_mut().filter(|_| is_kept) {
        value.push(b' ');
        value.extend_from_slice(line.trim_ascii());
    }
}

/// RFC 5322 §2.2 for the name, §4.5 for the blanks that old mailers put before the colon.
fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|byte| matches!(byte, 33..=126));
    is_name.then(|| (name, &line[colon + 1..]))
}

/// Bytes beyond ASCII are UTF-8, else what the part declares for its body, else a guess.
fn decode(raw: &[(&[u8], Vec<u8>)]) -> Headers {
    let is_type = |name: &[u8]| name.eq_ignore_ascii_case(b"content-type");
    let declared = raw
        .iter()
        .find(|(name, _)| is_type(name))
        .and_then(|(_, value)| super::field::parse(&String::from_utf8_lossy(value)).get("charset"));
    let text = |value: &[u8]| {
        let declared = declared.as_deref().filter(|_| !value.is_ascii());
        declared
            .filter(|_| std::str::from_utf8(value).is_err())
            .and_then(|label| encoding::decode_declared(value, label))
            .unwrap_or_else(|| encoding::decode_guess(value))
    };
    let header = |(name, value): &(&[u8], Vec<u8>)| Header {
        name: String::from_utf8_lossy(name).into_owned(),
        value: word::decode(&text(value)),
    };
    Headers(raw.iter().map(header).collect())
}
