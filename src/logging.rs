//! `log::…`: lines for the server's log and the run's console, at a level of 0 to 3 as a Broker's
//! scripts have them.
//!
//! Invariant: a line is one line, whatever an event holds: nobody writes a false one by a line break
//! or hides one by an escape sequence. A replay writes nothing again.

use std::fmt::{self, Write};

use crate::action::Argument;
use crate::event::Value;
use crate::gate::HostWord;

/// The module of the words.
pub const MODULE: &str = "log";
/// The most talkative level.
pub const LEVEL_MAX: u8 = 3;
/// Bytes of one line; what is beyond is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

const ARGUMENTS: &[Argument] = &[
    Argument::required("level", "0 to 3"),
    Argument::required("text", "any value"),
];

const fn word(name: &'static str, about: &'static str, example: &'static str) -> HostWord {
    HostWord {
        module: MODULE,
        name,
        arguments: ARGUMENTS,
        about,
        example,
    }
}

/// All of them.
#[rustfmt::skip]
pub const WORDS: &[HostWord] = &[
    word("error", "a line for the run's console, and for the server's log unless its level is above the flow's log_level", r#"log::error(1, "no ticket for " + event.host_name);"#),
    word("warning", "the same as a warning", r#"log::warning(2, "the target is slow");"#),
    word("info", "the same for information", r#"log::info(3, event);"#),
];

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something went wrong.
    Error,
    /// Something may go wrong.
    Warning,
    /// Nothing is wrong.
    Info,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How serious.
    pub severity: Severity,
    /// How much one wants to know to see it.
    pub level: u8,
    /// What is said, on one line.
    pub text: String,
}

impl LogLine {
    /// What a script hands over: the word, a level and a text.
    ///
    /// # Errors
    /// A level that is none.
    pub fn read(word: &str, arguments: &[Value]) -> Result<LogLine, String> {
        let severity = match word {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        };
        let [level, said] = arguments else {
            return Err("it takes a level and a text".to_owned());
        };
        let text = match said {
            Value::Text(text) => one_line(text),
            other => one_line(&other.to_string()),
        };
        let level = match level {
            Value::Int(level) => u8::try_from(*level).ok(),
            _ => None,
        };
        let level = level.filter(|level| *level <= LEVEL_MAX);
        let level = level.ok_or("a level is a number from 0 to 3")?;
        Ok(LogLine {
            severity,
            level,
            text,
        })
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
            Severity::Info => "INFO",
        };
        write!(out, "{severity}: {}", self.text)
    }
}

/// Text with what a terminal or a reader of logs would obey written out, and no longer than a line.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for char in text.chars() {
        if line.len() >= LOG_LINE_BYTES_MAX {
            line.push('…');
            break;
        }
        match is_obeyed(char) {
            true => {
                // Writing into text cannot fail.
                let _ = write!(line, "{}", char.escape_default());
            }
            false => line.push(char),
        }
    }
    line
}

/// Control characters, and those that break a line or turn its direction.
fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
