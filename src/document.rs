//! TOML that people write, read into typed settings: unknown keys are errors with a suggestion, and
//! every mistake has its line and caret.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Diagnostic, Place, did_you_mean};
use crate::event::Value;

/// Largest settings file, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the file `path`; `shown` is how messages name it.
///
/// # Errors
/// Missing or unreadable files, and everything that [`parse`] finds.
pub fn read<T: DeserializeOwned>(path: &Path, shown: &Path) -> Result<T, Diagnostic> {
    parse(&text(path, shown)?, shown)
}

/// The text of a file that people write.
///
/// # Errors
/// Missing, unreadable, not UTF-8, larger than [`DOCUMENT_BYTES_MAX`].
pub fn text(path: &Path, shown: &Path) -> Result<String, Diagnostic> {
    let cannot = |why: &dyn std::fmt::Display| {
        Diagnostic::new(format!("cannot read {}: {why}", shown.display()))
    };
    let size = std::fs::metadata(path).map_err(|why| cannot(&why))?.len();
    if size > DOCUMENT_BYTES_MAX {
        return Err(cannot(&format!(
            "it is larger than {DOCUMENT_BYTES_MAX} bytes"
        )));
    }
    std::fs::read_to_string(path).map_err(|why| cannot(&why))
}

/// Reads settings from `text`.
///
/// # Errors
/// What is not TOML, has a key that nobody knows or a value of the wrong kind.
pub fn parse<T: DeserializeOwned>(text: &str, shown: &Path) -> Result<T, Diagnostic> {
    toml::from_str(text).map_err(|error| mistake(&error, text, shown))
}

/// A piece of TOML as an event's data; times are text.
pub fn value_of(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::Int(*number),
        toml::Value::Float(number) => Value::Float(*number),
        toml::Value::Boolean(yes) => Value::Bool(*yes),
        toml::Value::Datetime(time) => Value::Text(time.to_string()),
        toml::Value::Array(items) => Value::List(items.iter().map(value_of).collect()),
        toml::Value::Table(table) => Value::Map(
            table
                .iter()
                .map(|(name, value)| (name.clone(), value_of(value)))
                .collect(),
        ),
    }
}

/// What the TOML library found wrong in `text`, with its place and a suggestion.
pub(crate) fn mistake(error: &toml::de::Error, text: &str, shown: &Path) -> Diagnostic {
    let message = error
        .message()
        .lines()
        .next()
        .unwrap_or("this is not TOML")
        .to_owned();
    let help = suggestion(&message);
    let mut diagnostic = Diagnostic::new(message);
    diagnostic.help = help;
    match error.span() {
        Some(span) => diagnostic.at(Place {
            file: shown.to_owned(),
            text: text.to_owned(),
            span,
        }),
        None => diagnostic.at(Place {
            file: shown.to_owned(),
            text: text.to_owned(),
            span: 0..0,
        }),
    }
}

/// serde names the unknown field first and the known ones after it, each in back-ticks.
fn suggestion(message: &str) -> Option<String> {
    if !message.starts_with("unknown") {
        return None;
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (wrong, known) = quoted.split_first()?;
    did_you_mean(wrong, known.iter().copied()).map(|right| format!("did you mean `{right}`?"))
}
