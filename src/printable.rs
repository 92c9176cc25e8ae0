//! Text from outside as a terminal or a log may show it.
//!
//! Invariant: nothing that comes out moves a cursor, changes a title or turns text around, and what
//! is to be one record of a log cannot look like two.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What stands before every further line of one record.
const CONTINUED: &str = "\n  | ";

/// True for characters that do something instead of showing something: controls of ASCII and Latin-1,
/// separators of lines, and marks of direction, which make text look like another.
fn acts(char: char) -> bool {
    let turns =
        matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let separates = matches!(char, '\u{2028}' | '\u{2029}');
    turns || separates || (char.is_control() && !matches!(char, '\n' | '\t'))
}

/// The text with such characters written out, as in `\u001b`, which JSON reads as what it was; lines
/// and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match acts(char) {
            // Writing to a string does not fail.
            true => drop(write!(shown, "\\u{:04x}", u32::from(char))),
            false => shown.push(char),
        }
    }
    Cow::Owned(shown)
}

/// A record of a log: its further lines are set off, so that none of them can be taken for a record.
/// A `coloured` record keeps the colours that it begins its parts with.
pub fn record(text: &str, coloured: bool) -> String {
    let whole = text.strip_suffix('\n').unwrap_or(text);
    let mut shown = match coloured {
        true => keep_colours(whole),
        false => printable(whole).into_owned(),
    };
    shown = shown.replace('\n', CONTINUED);
    shown.push('\n');
    shown
}

/// Colours are `ESC [ numbers m`; every other escape sequence is written out.
fn keep_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut shown = printable(parts.next().unwrap_or("")).into_owned();
    for part in parts {
        let end = part.find(|char: char| !matches!(char, '[' | ';' | '0'..='9'));
        let is_colour =
            part.starts_with('[') && end.is_some_and(|end| part[end..].starts_with('m'));
        shown.push_str(if is_colour { "\u{1b}" } else { "\\u001b" });
        shown.push_str(&printable(part));
    }
    shown
}
