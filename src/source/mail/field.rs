//! Structured headers: a value and its parameters, as in `text/plain; charset="utf-8"`.
//!
//! Parameters that RFC 2231 spreads over several segments are joined as bytes before they are
//! decoded, because senders cut between the bytes of one character.

use std::collections::BTreeMap;

use super::body;

/// Most parameters of one header that are read.
const PARAMETERS_MAX: usize = 200;

/// A header like `Content-Type` taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    /// What stands before the first semicolon, in lower case.
    pub value: String,
    parameters: BTreeMap<String, String>,
}

impl Field {
    /// The parameter `name` (given in lower case).
    pub fn get(&self, name: &str) -> Option<String> {
        self.parameters.get(name).cloned()
    }

    /// The same parameters under another value.
    #[must_use]
    pub fn renamed(&self, value: &str) -> Field {
        Field {
            value: value.to_owned(),
            parameters: self.parameters.clone(),
        }
    }
}

/// Takes `text` apart. Quotes that are never closed reach to the end, blanks in a value without
/// quotes are taken as meant, the first of repeated parameters stands.
pub fn parse(text: &str) -> Field {
    let (value, mut rest) = until_semicolon(text);
    let mut plain = BTreeMap::new();
    let mut segments: BTreeMap<String, BTreeMap<u32, (bool, String)>> = BTreeMap::new();
    for _ in 0..PARAMETERS_MAX {
        let Some(after) = rest else { break };
        let (parameter, next) = until_semicolon(after);
        rest = next;
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), unquote(value.trim()));
        match name.split_once('*') {
            None => drop(plain.entry(name).or_insert(value)),
            Some((name, tail)) => {
                let number = tail.trim_end_matches('*').parse().unwrap_or(0);
                let parts = segments.entry(name.to_owned()).or_default();
                parts
                    .entry(number)
                    .or_insert((tail_is_encoded(tail), value));
            }
        }
    }
    for (name, parts) in segments {
        plain.insert(name, join(parts));
    }
    Field {
        value: value.trim().to_ascii_lowercase(),
        parameters: plain,
    }
}

/// `name*=` and `name*0*=` are encoded, `name*0=` is not.
fn tail_is_encoded(tail: &str) -> bool {
    tail.is_empty() || tail.ends_with('*')
}

fn until_semicolon(text: &str) -> (&str, Option<&str>) {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ';' if !is_quoted => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"') else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => out.extend(chars.next()),
            _ => out.push(char),
        }
    }
    out
}

/// RFC 2231 §3 and §4: the first segment begins with `charset'language'` if it is encoded.
fn join(parts: BTreeMap<u32, (bool, String)>) -> String {
    let mut charset = None;
    let mut bytes = Vec::new();
    for (index, (is_encoded, text)) in parts.into_values().enumerate() {
        let mut text = text.as_str();
        let marks: Vec<&str> = text.splitn(3, '\'').collect();
        if let (0, true, [name, _, rest]) = (index, is_encoded, marks.as_slice()) {
            charset = Some((*name).to_owned()).filter(|name| !name.is_empty());
            text = rest;
        }
        match is_encoded {
            true => bytes.extend(body::hex_escapes(text.as_bytes(), b'%')),
            false => bytes.extend_from_slice(text.as_bytes()),
        }
    }
    body::text(&bytes, charset.as_deref())
}
