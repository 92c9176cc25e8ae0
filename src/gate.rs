//! The seam between a script that thinks and a server that acts.
//!
//! A script asks by calling a host word; whoever stands behind the gate answers from the journal,
//! computes something local at once, or has the script stopped until an outcome is there.
//! `run` stands behind it in the server, `cases` in a test.

use std::any::Any;

use crate::event::Value;
use crate::logging::LogLine;
use crate::store::codec::encode_value;

/// What a script asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The word as a script writes it: `redmine::open`, `now`.
    pub word: String,
    /// Its arguments, in order.
    pub arguments: Vec<Value>,
}

impl Question {
    /// The same question to the letter, the times of a wait included.
    pub fn is_same(&self, other: &Question) -> bool {
        let encoded = |question: &Question| {
            let arguments = question.arguments.iter();
            arguments.map(encode_value).collect::<Vec<_>>()
        };
        // Bytes, because a float that is no number does not equal itself.
        self.word == other.word
            && (self.arguments == other.arguments || encoded(self) == encoded(other))
    }
}

/// How a closure looks among the arguments of a question: it cannot leave its script.
pub const CONDITION: &str = "|event| …";

/// What the gate says to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Here it is; the script goes on.
    Value(Value),
    /// It did not succeed; an error that the script may catch. The value is what `catch` sees.
    Error(Value),
    /// Ask the closure that belongs to this question about a value: the one that was handed over
    /// last, or that of the handle with this place in a list. The gate gets its verdict.
    Judge(usize, Value),
    /// Not known yet: the script is stopped and will be run again from the top.
    Stop,
    /// The word may not be used here at all.
    NotHere,
}

/// Answers a script's questions during one step.
pub trait Gate: Any + Send {
    /// Answers one question.
    fn ask(&mut self, question: Question) -> Answer;

    /// Takes what a closure said that [`Answer::Judge`] asked for: true, false, or what it raised.
    fn judged(&mut self, _verdict: Result<bool, Value>) {}

    /// Takes a line for the log; false where none may be written.
    fn log(&mut self, _line: &LogLine) -> bool {
        false
    }

    /// Takes a line that the script printed.
    fn print(&mut self, line: &str);
}

/// A word that goes through the gate, with its documentation.
#[derive(Debug, Clone, Copy)]
pub struct HostWord {
    /// The module, empty for plain words.
    pub module: &'static str,
    /// The name within the module.
    pub name: &'static str,
    /// Names and kinds of the arguments for documentation.
    pub arguments: &'static [crate::action::Argument],
    /// One sentence.
    pub about: &'static str,
    /// A line of Rhai that shows it.
    pub example: &'static str,
}

impl HostWord {
    /// `module::name`, or just the name.
    pub fn full_name(&self) -> String {
        match self.module {
            "" => self.name.to_owned(),
            module => format!("{module}::{}", self.name),
        }
    }

    /// The fewest arguments it takes.
    pub fn arguments_min(&self) -> usize {
        self.arguments
            .iter()
            .filter(|argument| !argument.optional)
            .count()
    }

    /// How it is called: `open(fields)`, optional arguments in brackets.
    pub fn signature(&self) -> String {
        let show = |argument: &crate::action::Argument| match argument.optional {
            true => format!("[{}]", argument.name),
            false => argument.name.to_owned(),
        };
        let arguments: Vec<String> = self.arguments.iter().map(show).collect();
        format!("{}({})", self.full_name(), arguments.join(", "))
    }
}
