//! A leaf's bytes out of their transfer encoding, and text out of those bytes.
//!
//! Nothing here fails: what cannot be decoded is given back as it stood.

use bytes::Bytes;
use mail_parser::decoders::{
    base64::base64_decode, charsets::map::charset_decoder,
    quoted_printable::quoted_printable_decode,
};

use super::header::next_line;
use crate::encoding;

/// Text out of bytes: as declared if that is known and true, else as
/// [`encoding::decode_guess`] thinks best.
pub fn text(bytes: &[u8], charset: Option<&str>) -> String {
    let charset = charset.map(str::trim).filter(|name| !name.is_empty());
    // encodings given up for their dangers are one U+FFFD there, which helps nobody
    let rare = |name: &str| {
        let decoded = charset_decoder(name.as_bytes()).map(|decode| decode(bytes));
        decoded.filter(|text| text != "\u{fffd}")
    };
    charset
        .and_then(|name| encoding::decode_declared(bytes, name).or_else(|| rare(name)))
        .unwrap_or_else(|| encoding::decode_guess(bytes))
}

/// The bytes that `encoding` (a Content-Transfer-Encoding in lower case) stands for, the same ones
/// if it changes nothing; `None` if they are not in that encoding.
pub fn transfer(bytes: &Bytes, encoding: &str) -> Option<Bytes> {
    let decoded = match encoding {
        "base64" => base64_decode(bytes).or_else(|| base64_lenient(bytes)),
        "quoted-printable" => {
            quoted_printable_decode(bytes).or_else(|| Some(quoted_lenient(bytes)))
        }
        "x-uuencode" | "uuencode" | "x-uue" | "uue" => uudecode(bytes),
        _ => return Some(bytes.clone()),
    };
    decoded.map(Bytes::from)
}

/// True if `encoding` changes the bytes at all.
pub fn is_transfer(encoding: &str) -> bool {
    !matches!(encoding, "" | "7bit" | "8bit" | "binary")
}

/// Replaces `mark` with two hexadecimal digits behind it by that byte; a mark without stays.
pub fn hex_escapes(bytes: &[u8], mark: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let value = match after {
            [high, low, ..] if *first == mark => hex(*high).zip(hex(*low)),
            _ => None,
        };
        out.push(value.map_or(*first, |(high, low)| high * 16 + low));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Base64 with foreign characters in it, such as the footer that a mailing list adds: these are
/// skipped, and what stands behind the padding is left out.
fn base64_lenient(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let end = bytes.iter().position(|byte| *byte == b'=');
    let digits = &bytes[..end.unwrap_or(bytes.len())];
    let digits: Vec<u8> = digits.iter().filter(is_digit).copied().collect();
    let is_whole = !digits.is_empty() && digits.len() % 4 != 1;
    is_whole.then(|| base64_decode(&digits)).flatten()
}

fn quoted_lenient(bytes: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let end = line.trim_ascii_end();
        match end.strip_suffix(b"=") {
            Some(soft) if line.ends_with(b"\n") => joined.extend_from_slice(soft),
            _ => joined.extend_from_slice(line),
        }
    }
    hex_escapes(&joined, b'=')
}

/// The first file of a uuencoded text (POSIX `uuencode`).
fn uudecode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = bytes;
    let mut is_inside = false;
    while let Some((line, after)) = next_line(rest) {
        rest = after;
        match line {
            b"end" if is_inside => return Some(out),
            [b'b', b'e', b'g', b'i', b'n', b' ', ..] => is_inside = true,
            [length, groups @ ..] if is_inside => uudecode_line(*length, groups, &mut out),
            _ => {}
        }
    }
    is_inside.then_some(out)
}

fn uudecode_line(length: u8, groups: &[u8], out: &mut Vec<u8>) {
    let six = |digit: Option<&u8>| u32::from(digit.map_or(0, |digit| digit.wrapping_sub(32) & 63));
    let until = out.len() + usize::from(length.wrapping_sub(32) & 63);
    for group in groups.chunks(4) {
        let word = (0..4).fold(0, |word, place| word << 6 | six(group.get(place)));
        let bytes = word.to_be_bytes();
        let room = until.saturating_sub(out.len()).min(3);
        out.extend_from_slice(&bytes[1..1 + room]);
    }
}
