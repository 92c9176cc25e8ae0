//! Mistakes as people see them: a sentence, the place with a caret, and what to do about it.
//!
//! Each boundary has its own error type; this file holds what they share: exit codes (sysexits,
//! so that an MTA and a service manager understand them) and the picture.

use std::fmt;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// What the process tells its caller when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Ok = 0,
    /// A check or a flow case failed; also every failure of the sendevt persona but a usage error.
    Failed = 1,
    /// The sendevt persona's usage error, as its users know it from argparse.
    SendevtUsage = 2,
    /// The command line is wrong.
    Usage = 64,
    /// The server or the store cannot be had: not running, or held by another process.
    Unavailable = 69,
    /// A bug of ours.
    Bug = 70,
    /// Try again later; an MTA keeps the mail and comes back.
    TryAgain = 75,
    /// The configuration is wrong.
    Configuration = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Where in the user's file a mistake stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user would name it.
    pub file: PathBuf,
    /// The file's text, for the picture.
    pub text: String,
    /// The bytes of `text` that are wrong; an empty span points between two.
    pub span: std::ops::Range<usize>,
}

impl Place {
    /// The place of the token at a line and a column, both counted from 1, columns in characters
    /// (as Rhai counts). Underlines the word that begins there.
    pub fn at(file: PathBuf, text: String, line: usize, column: usize) -> Place {
        let start_of_line: usize = text
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum();
        let rest = text.get(start_of_line..).unwrap_or("");
        let start = start_of_line
            + rest
                .chars()
                .take(column.saturating_sub(1))
                .map(char::len_utf8)
                .sum::<usize>();
        let start = whole_word(&text, start.min(text.len()));
        let word = |char: &char| char.is_alphanumeric() || *char == '_' || *char == ':';
        let length: usize = text[start..]
            .chars()
            .take_while(word)
            .map(char::len_utf8)
            .sum();
        let one = text[start..]
            .chars()
            .next()
            .filter(|char| *char != '\n')
            .map_or(0, char::len_utf8);
        Place {
            file,
            span: start..start + length.max(one),
            text,
        }
    }

    /// `file:line:column`, counted from 1 in characters.
    pub fn short(&self) -> String {
        let before = self.text.get(..self.span.start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("{}:{line}:{column}", self.file.display())
    }
}

/// The beginning of `redmine::open` for a place at its `open`.
fn whole_word(text: &str, start: usize) -> usize {
    let before = &text[..start];
    if !before.ends_with("::") {
        return start;
    }
    let part = |char: char| char.is_alphanumeric() || matches!(char, '_' | ':');
    before.trim_end_matches(part).len()
}

/// One mistake, with everything a person needs to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A lowercase sentence that names the thing.
    pub message: String,
    /// Where it stands, if it stands in a file.
    pub place: Option<Place>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake without a place.
    pub fn new(message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            message: message.into(),
            place: None,
            help: None,
        }
    }

    /// The same, standing at `place`.
    #[must_use]
    pub fn at(mut self, place: Place) -> Diagnostic {
        self.place = Some(place);
        self
    }

    /// The same, with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// The picture: `error: sentence`, ` --> file:line:column`, the line with a caret, the help.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let file = self
            .place
            .as_ref()
            .map(|place| place.file.display().to_string());
        let mut group = match (&self.place, &file) {
            (Some(place), Some(file)) => title.element(
                Snippet::source(place.text.as_str())
                    .path(file.as_str())
                    .annotation(AnnotationKind::Primary.span(place.span.clone())),
            ),
            _ => Group::with_title(title),
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        write!(out, "{}", Renderer::plain().render(&[group]))
    }
}

/// The name among `known` that `wrong` was probably meant to be.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let score = |name: &&str| (strsim::damerau_levenshtein(wrong, name), name.len());
    let best = known.into_iter().min_by_key(score)?;
    let distance = strsim::damerau_levenshtein(wrong, best);
    (distance <= 1 + wrong.chars().count() / 4).then_some(best)
}
