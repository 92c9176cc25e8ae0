//! Reading what a script handed to a verb: options by name, with types, and no typo unnoticed.
//!
//! Invariant: every complaint names the option and what was found, never a secret's text.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Failure;
use crate::duration::Lasting;
use crate::error::did_you_mean;
use crate::event::Value;

/// The map that a verb takes, checked against the names that the verb knows.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    map: Option<&'a BTreeMap<String, Value>>,
}

/// What is read: a value or a refusal that names the option.
type Read<T> = Result<T, Failure>;

impl<'a> Options<'a> {
    /// The options in `value`; nothing at all counts as an empty map.
    ///
    /// # Errors
    /// Refuses anything but a map, and a name that is not in `known` (with "did you mean").
    pub fn new(value: &'a Value, known: &[&str]) -> Read<Options<'a>> {
        let options = Options::open(value)?;
        for name in options.names() {
            if !known.contains(&name) {
                return Err(unknown(name, known));
            }
        }
        Ok(options)
    }

    /// The same for a verb that passes further names on to the target.
    ///
    /// # Errors
    /// Refuses anything but a map.
    pub fn open(value: &'a Value) -> Read<Options<'a>> {
        match value {
            Value::Null => Ok(Options { map: None }),
            Value::Map(map) => Ok(Options { map: Some(map) }),
            other => Err(wrong("the options", "a map", other)),
        }
    }

    /// All names that were given, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map
            .into_iter()
            .flat_map(|map| map.keys().map(String::as_str))
    }

    /// The value under `name`; an explicit nothing counts as left out.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.map?
            .get(name)
            .filter(|value| !matches!(value, Value::Null))
    }

    /// Text; a character, a number and a boolean are written out.
    ///
    /// # Errors
    /// Refuses lists, maps and bytes.
    pub fn text(&self, name: &str) -> Read<Option<String>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        match value {
            Value::List(_) | Value::Map(_) | Value::Bytes(_) => Err(wrong(name, "text", value)),
            plain => Ok(Some(plain.to_plain())),
        }
    }

    /// Text that must be there and must not be blank.
    ///
    /// # Errors
    /// As [`Options::text`]; also if it is missing or blank.
    pub fn required_text(&self, name: &str) -> Read<String> {
        match self.text(name)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(Failure::refused(format!("`{name}` is missing or blank"))),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// Refuses anything else.
    pub fn integer(&self, name: &str) -> Read<Option<i64>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Int(number)) => Ok(Some(*number)),
            Some(other) => Err(wrong(name, "an integer", other)),
        }
    }

    /// Yes or no.
    ///
    /// # Errors
    /// Refuses anything else.
    pub fn flag(&self, name: &str) -> Read<Option<bool>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(yes)) => Ok(Some(*yes)),
            Some(other) => Err(wrong(name, "true or false", other)),
        }
    }

    /// A map.
    ///
    /// # Errors
    /// Refuses anything else.
    pub fn map(&self, name: &str) -> Read<Option<&'a BTreeMap<String, Value>>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Map(map)) => Ok(Some(map)),
            Some(other) => Err(wrong(name, "a map", other)),
        }
    }

    /// A list; a single value that is no list counts as a list of one.
    pub fn list(&self, name: &str) -> Vec<&'a Value> {
        match self.value(name) {
            None => Vec::new(),
            Some(Value::List(items)) => items.iter().collect(),
            Some(one) => vec![one],
        }
    }

    /// A list of texts; a single text counts as a list of one.
    ///
    /// # Errors
    /// Refuses items that are no text.
    pub fn texts(&self, name: &str) -> Read<Vec<&'a str>> {
        let text = |value: &'a Value| {
            value
                .as_text()
                .ok_or_else(|| wrong(name, "text or a list of texts", value))
        };
        self.list(name).into_iter().map(text).collect()
    }

    /// A duration as text with a unit, such as `"90s"`.
    ///
    /// # Errors
    /// Refuses what is no duration, naming it.
    pub fn duration(&self, name: &str) -> Read<Option<Duration>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Text(text)) => text
                .parse()
                .map(|Lasting(duration)| Some(duration))
                .map_err(|why: String| Failure::refused(format!("`{name}`: {why}"))),
            Some(other) => Err(wrong(name, "text like \"30s\"", other)),
        }
    }

    /// A moment: seconds since 1970, or RFC 3339 text.
    ///
    /// # Errors
    /// Refuses anything else.
    pub fn moment(&self, name: &str) -> Read<Option<Timestamp>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let moment = match value {
            Value::Int(seconds) => Timestamp::from_second(*seconds).ok(),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        let wanted = "seconds since 1970 or text like \"2026-11-20T16:00:00Z\"";
        moment.map(Some).ok_or_else(|| wrong(name, wanted, value))
    }
}

/// A refusal: `name` should have been something else.
pub fn wrong(name: &str, wanted: &str, found: &Value) -> Failure {
    let name = match name.contains(' ') {
        true => name.to_owned(),
        false => format!("`{name}`"),
    };
    Failure::refused(format!("{name} must be {wanted}, not {}", found.kind()))
}

fn unknown(name: &str, known: &[&str]) -> Failure {
    let help = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    Failure::refused(format!("there is no option `{name}`; {help}"))
}

/// At most `characters` of `text`; what is cut off is shown by `…` as the last of them.
pub fn shorten(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    kept + "…"
}
