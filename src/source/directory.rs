//! What a source knows about things that its events name by number.

use crate::event::Value;

/// Tells names; asked by scripts on any thread, so it must not wait.
pub trait Directory: Send + Sync {
    /// The answer to a word about something with these ids.
    fn look_up(&self, word: &str, ids: &[i64]) -> Found;
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What is told.
    pub value: Value,
    /// False if what was asked about is not known, so that this is only what is said then.
    pub is_known: bool,
}

impl Found {
    /// It is known.
    pub fn known(value: Value) -> Found {
        Found {
            value,
            is_known: true,
        }
    }

    /// It is not known.
    pub fn nothing(value: Value) -> Found {
        Found {
            value,
            is_known: false,
        }
    }
}
