//! Text out of bytes whose encoding nobody, or nobody truthful, has declared.
//!
//! Never fails and never drops a character silently: what no encoding explains becomes U+FFFD.
//! Readers here are as often French as Japanese, so a guess must not turn "Problème" into kanji.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    EUC_JP, Encoding, ISO_2022_JP, REPLACEMENT, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252,
};

/// How many bytes, counted from the first that is not ASCII, a guess looks at.
pub const GUESS_BYTES_MAX: usize = 64 * 1024;

/// How many bytes beyond ASCII it takes before a rarer single-byte encoding is believed over a
/// declaration of UTF-8.
const GUESS_BYTES_MIN: usize = 4;

/// How many wide characters it takes before UTF-8 is believed over a declared encoding in which
/// the same bytes happen to mean something.
const WIDE_CHARS_MIN: usize = 3;

/// Longest run of bytes beyond ASCII inside a word of a Western language, as in "größer".
const WESTERN_RUN_BYTES_MAX: usize = 2;

/// Names that Japanese mailers use and the WHATWG list does not know.
const ALIASES: &[(&str, &Encoding)] = &[
    ("cp932", SHIFT_JIS),
    ("ms932", SHIFT_JIS),
    ("windows-932", SHIFT_JIS),
    ("cp943c", SHIFT_JIS),
    ("shift_jisx0213", SHIFT_JIS),
    ("cp50220", ISO_2022_JP),
    ("cp50221", ISO_2022_JP),
    ("iso-2022-jp-1", ISO_2022_JP),
    ("iso-2022-jp-2", ISO_2022_JP),
    ("iso-2022-jp-ms", ISO_2022_JP),
    ("x-windows-iso2022jp", ISO_2022_JP),
    ("eucjp", EUC_JP),
    ("euc-jp-ms", EUC_JP),
    ("eucjp-ms", EUC_JP),
    ("cp51932", EUC_JP),
    ("utf-8-mac", UTF_8),
];

/// The encoding that `label` names, if it is one that can be decoded.
pub fn by_label(label: &str) -> Option<&'static Encoding> {
    let label = label.trim().trim_matches(['"', '\'']);
    let alias = || {
        let found = ALIASES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(label));
        found.map(|(_, encoding)| *encoding)
    };
    Encoding::for_label(label.as_bytes())
        .or_else(alias)
        .filter(|encoding| *encoding != REPLACEMENT)
}

/// Decodes bytes that came without a declaration: UTF-8 if they are, else the best guess.
pub fn decode_guess(bytes: &[u8]) -> String {
    if let Some(text) = by_mark(bytes) {
        return text;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !(text.is_ascii() && has_escape(bytes)) => text.to_owned(),
        Ok(text) => escaped(bytes).unwrap_or_else(|| text.to_owned()),
        Err(_) => guess(bytes).decode_without_bom_handling(bytes).0.into(),
    }
}

/// Decodes bytes that are declared to be in the encoding `label`; `None` if that name means
/// nothing. A declaration that the bytes prove false is overruled.
pub fn decode_declared(bytes: &[u8], label: &str) -> Option<String> {
    let encoding = by_label(label)?;
    let text = if encoding == UTF_8 {
        declared_utf8(bytes)
    } else if encoding == ISO_2022_JP {
        declared_other(&without_idle_escapes(bytes), encoding)
    } else if encoding == UTF_16LE || encoding == UTF_16BE {
        declared_utf16(bytes, label, encoding)
    } else if encoding == WINDOWS_1252 {
        declared_western(bytes, label)
    } else {
        declared_other(bytes, encoding)
    };
    Some(text)
}

fn declared_utf8(bytes: &[u8]) -> String {
    if std::str::from_utf8(bytes).is_ok() {
        return decode_guess(bytes);
    }
    let better = (!is_mostly_utf8(bytes)).then(|| guess(bytes));
    let is_sound = |encoding: &&'static Encoding| {
        let count = bytes.iter().filter(|byte| !byte.is_ascii()).count();
        !encoding.is_single_byte() || *encoding == WINDOWS_1252 || count >= GUESS_BYTES_MIN
    };
    let better = better.filter(is_sound);
    let better = better.and_then(|encoding| strict(encoding, bytes));
    better.unwrap_or_else(|| {
        String::from_utf8_lossy(bytes)
            .trim_start_matches('\u{feff}')
            .to_owned()
    })
}

/// RFC 2781: without a mark big endian comes first, but the zeros of ASCII tell the truth.
fn declared_utf16(bytes: &[u8], label: &str, encoding: &'static Encoding) -> String {
    if let Some(text) = by_mark(bytes) {
        return text;
    }
    let zeros = |start: usize| {
        let places = bytes.iter().skip(start).step_by(2);
        places.filter(|byte| **byte == 0).count()
    };
    let exact = label.to_ascii_lowercase().ends_with("le") || encoding == UTF_16BE;
    let order = match exact {
        true => encoding,
        false if zeros(1) > zeros(0) => UTF_16LE,
        false => UTF_16BE,
    };
    order.decode_without_bom_handling(bytes).0.into()
}

/// Every byte means something in these, so nothing would ever prove them false; but UTF-8 does
/// not come about by chance, and neither do the escapes of ISO-2022-JP.
fn declared_western(bytes: &[u8], label: &str) -> String {
    let is_ascii_label = label.to_ascii_lowercase().contains("ascii");
    if is_ascii_label || bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
        return decode_guess(bytes);
    }
    let (text, _) = WINDOWS_1252.decode_without_bom_handling(bytes);
    text.into()
}

fn declared_other(bytes: &[u8], encoding: &'static Encoding) -> String {
    let utf8 = || std::str::from_utf8(bytes).ok().map(str::to_owned);
    if is_surely_utf8(bytes, encoding) {
        return decode_guess(bytes);
    }
    strict(encoding, bytes)
        .or_else(utf8)
        .or_else(|| strict(guess(bytes), bytes))
        .unwrap_or_else(|| encoding.decode_without_bom_handling(bytes).0.into())
}

/// Shift_JIS and the single-byte encodings begin their characters with bytes that in UTF-8 stand
/// only inside of one, so text of theirs is never valid UTF-8; of the others it may be, if short.
fn is_surely_utf8(bytes: &[u8], encoding: &'static Encoding) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let wide = text.chars().filter(|char| *char >= '\u{800}').count();
    match encoding.is_single_byte() || encoding == SHIFT_JIS {
        true => !text.is_ascii(),
        false => wide >= WIDE_CHARS_MIN,
    }
}

/// ASCII with escapes, if these are the escapes of ISO-2022-JP and not those of a terminal.
fn escaped(bytes: &[u8]) -> Option<String> {
    let bytes = without_idle_escapes(bytes);
    let is_japanese = guess(&bytes) == ISO_2022_JP;
    is_japanese.then(|| ISO_2022_JP.decode_without_bom_handling(&bytes).0.into())
}

/// Drops each escape that another one follows at once, as where two encoded words were joined:
/// the WHATWG decoder takes such a pair for an attack.
fn without_idle_escapes(bytes: &[u8]) -> Vec<u8> {
    const ESCAPE_BYTES: usize = 3;
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let is_idle = *first == 0x1b && rest.get(ESCAPE_BYTES) == Some(&0x1b);
        if !is_idle {
            out.push(*first);
        }
        rest = if is_idle {
            &rest[ESCAPE_BYTES..]
        } else {
            after
        };
    }
    out
}

fn strict(encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(Into::into)
}

fn by_mark(bytes: &[u8]) -> Option<String> {
    let (encoding, length) = Encoding::for_bom(bytes)?;
    if encoding != UTF_8 && !bytes.len().is_multiple_of(2) {
        return None;
    }
    strict(encoding, &bytes[length..])
}

fn has_escape(bytes: &[u8]) -> bool {
    bytes.contains(&0x1b)
}

/// True if most of what is beyond ASCII is UTF-8, a character cut off at the end included.
fn is_mostly_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk
            .valid()
            .chars()
            .filter(|char| !char.is_ascii())
            .count();
        match chunk.invalid() {
            [] => {}
            [_] => bad += 1,
            _ => good += 1,
        }
    }
    good > bad
}

/// Two guesses, one that expects Japanese and one that expects nothing. Where they differ the
/// Japanese one is taken, because it alone knows short words, unless the bytes stand in words
/// as Western letters do.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let start = bytes
        .iter()
        .position(|byte| !byte.is_ascii() || *byte == 0x1b)
        .unwrap_or(0)
        .saturating_sub(2);
    let end = bytes.len().min(start.saturating_add(GUESS_BYTES_MAX));
    let sample = &bytes[start..end];
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(sample, end == bytes.len());
    let japanese = detector.guess(Some(b"jp"), Utf8Detection::Allow);
    let plain = detector.guess(None, Utf8Detection::Allow);
    match plain.is_single_byte() && looks_western(sample) {
        true => plain,
        false => japanese,
    }
}

/// True if every run of bytes beyond ASCII is short, made of letters, and touches a Latin letter.
fn looks_western(bytes: &[u8]) -> bool {
    let is_letter = |place: Option<usize>| {
        let byte = place.and_then(|place| bytes.get(place));
        byte.is_some_and(u8::is_ascii_alphabetic)
    };
    let mut start = 0;
    while let Some(found) = bytes[start..].iter().position(|byte| !byte.is_ascii()) {
        let from = start + found;
        let run = bytes[from..].iter().take_while(|byte| !byte.is_ascii());
        let length = run.clone().count();
        let touches = is_letter(from.checked_sub(1)) || is_letter(Some(from + length));
        if length > WESTERN_RUN_BYTES_MAX || !touches || run.clone().any(|byte| *byte < 0xc0) {
            return false;
        }
        start = from + length;
    }
    true
}
