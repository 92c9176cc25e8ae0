//! Regular expressions for scripts: bounded in size, compiled once, linear in the text.
//!
//! A pattern may come from an event, so its size is limited before it is compiled; the engine
//! behind it never backtracks, so no text makes it slow.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4 * 1024;
/// Largest compiled pattern, in bytes.
pub const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of groups in a pattern.
pub const NEST_MAX: u32 = 50;
/// How many compiled patterns each thread keeps.
const KEPT_MAX: usize = 64;

thread_local! {
    static KEPT: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

/// The compiled `pattern` (Rust's `regex` syntax).
///
/// # Errors
/// A sentence, if the pattern is wrong or too large.
pub fn compiled(pattern: &str) -> Result<Regex, String> {
    if let Some(found) = KEPT.with_borrow(|kept| kept.get(pattern).cloned()) {
        return Ok(found);
    }
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "the pattern is longer than {PATTERN_BYTES_MAX} bytes"
        ));
    }
    let regex = RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build()
        .map_err(|error| format!("`{pattern}` is no pattern: {}", last_line(&error)))?;
    KEPT.with_borrow_mut(|kept| {
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), regex.clone());
    });
    Ok(regex)
}

/// Drops the compiled patterns that this thread keeps.
pub(crate) fn forget() {
    KEPT.with_borrow_mut(HashMap::clear);
}

/// The regular expression that a glob stands for: `*` any characters, `?` one, `[a-z]` one of
/// these, `[!a-z]` one of the others, `\` takes the next one as it is. The whole text must match.
///
/// # Errors
/// As [`compiled`].
pub fn glob(pattern: &str) -> Result<Regex, String> {
    let mut out = String::from("(?s)^");
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        match char {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '\\' => out.push_str(&escaped(chars.next().unwrap_or('\\'))),
            '[' => match class(chars.as_str()) {
                Some((class, rest)) => {
                    out.push_str(&class);
                    chars = rest.chars();
                }
                None => out.push_str(r"\["),
            },
            other => out.push_str(&escaped(other)),
        }
    }
    out.push('$');
    compiled(&out)
}

fn escaped(char: char) -> String {
    regex::escape(char.encode_utf8(&mut [0; 4]))
}

/// The class behind `[`, and what follows its `]`; a `]` that comes first belongs to it.
fn class(text: &str) -> Option<(String, &str)> {
    let (negation, inside) = match text.strip_prefix(['!', '^']) {
        Some(inside) => ("^", inside),
        None => ("", text),
    };
    let first = inside.chars().next()?;
    let end = first.len_utf8() + inside[first.len_utf8()..].find(']')?;
    let escape = |char: char| match char {
        '-' => "-".to_owned(),
        other => escaped(other),
    };
    let members: String = inside[..end].chars().map(escape).collect();
    Some((format!("[{negation}{members}]"), &inside[end + 1..]))
}

/// The sentence at the end of the library's picture of a mistake.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or("");
    last.trim_start_matches("error: ").to_owned()
}
