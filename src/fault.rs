//! What went wrong inside a script, with the place in the user's file.

use rhai::{EvalAltResult, Position};

use crate::bundle::Bundle;
use crate::error::{Diagnostic, Place};
use crate::event::Value;
use crate::script::convert::from_dynamic;

/// An error that a script did not catch, or a limit that it ran into.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptError {
    /// A sentence.
    pub message: String,
    /// What was thrown, if it was a value: for a failed action `#{verb, kind, status, message}`.
    pub thrown: Value,
    /// Where it stands.
    pub place: Option<Place>,
}

impl ScriptError {
    /// An error without a place.
    pub fn sentence(message: impl Into<String>) -> ScriptError {
        ScriptError {
            message: message.into(),
            thrown: Value::Null,
            place: None,
        }
    }

    /// From Rhai's error, at the innermost place that it tells.
    pub(crate) fn from_rhai(bundle: &Bundle, error: &EvalAltResult) -> ScriptError {
        let (inner, source, position) = innermost(error);
        let thrown = match inner {
            EvalAltResult::ErrorRuntime(value, _) => from_dynamic(value).unwrap_or_default(),
            _ => Value::Null,
        };
        let message = message_of(inner, &thrown);
        ScriptError {
            message,
            thrown,
            place: bundle.place(source.as_deref(), position),
        }
    }

    /// The word whose failure this is: `redmine::open`, if an action failed.
    pub fn verb(&self) -> Option<&str> {
        self.thrown.get("verb").and_then(Value::as_text)
    }

    /// The picture for people.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic {
            message: self.message.clone(),
            place: self.place.clone(),
            help: None,
        }
    }
}

fn innermost(error: &EvalAltResult) -> (&EvalAltResult, Option<String>, Position) {
    let mut error = error;
    let mut source = None;
    let mut position = error.position();
    loop {
        let inner = match error {
            EvalAltResult::ErrorInFunctionCall(_, from, inner, _) => {
                source = (!from.is_empty()).then(|| from.clone()).or(source);
                inner
            }
            EvalAltResult::ErrorInModule(_, inner, _) => inner,
            _ => return (error, source, position),
        };
        error = inner;
        if !error.position().is_none() {
            position = error.position();
        }
    }
}

fn message_of(error: &EvalAltResult, thrown: &Value) -> String {
    if let Some(message) = thrown.get("message").and_then(Value::as_text) {
        let verb = thrown.get("verb").and_then(Value::as_text);
        let refused = thrown.get("kind").and_then(Value::as_text) == Some("refused");
        return match (verb, refused) {
            (Some(verb), true) => format!("`{verb}` was refused: {message}"),
            (Some(verb), false) => format!("`{verb}` failed: {message}"),
            (None, _) => message.to_owned(),
        };
    }
    match (error, thrown) {
        (EvalAltResult::ErrorRuntime(..), Value::Text(text)) => text.clone(),
        (EvalAltResult::ErrorRuntime(..), other) => format!("the script threw {other}"),
        (error, _) => {
            let mut bare = error.to_string();
            if let Some(at) = bare.rfind(" (line ") {
                bare.truncate(at);
            }
            bare
        }
    }
}
