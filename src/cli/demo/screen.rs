//! What the demo shows: headings, times, events, actions. Colours only for a terminal whose user
//! has not asked for none (no-color.org).

use std::io::IsTerminal;
use std::time::Duration;

use jiff::Timestamp;

use crate::cli::report;

/// Pause before a scene on a terminal.
const READING_PAUSE: Duration = Duration::from_millis(700);

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// Standard output, with the moment that times count from.
pub(super) struct Screen {
    has_colours: bool,
    has_reader: bool,
    began: Timestamp,
}

impl Screen {
    pub(super) fn new() -> Screen {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = std::io::stdout().is_terminal();
        Screen {
            has_colours: is_terminal && !is_set("NO_COLOR") && !is_dumb,
            has_reader: is_terminal,
            began: Timestamp::now(),
        }
    }

    /// A line of prose.
    pub(super) fn say(&self, text: &str) {
        report::exact(text);
    }

    /// The beginning of a scene; a person gets a moment to read the one before.
    pub(super) fn scene(&self, text: &str) {
        if self.has_reader {
            std::thread::sleep(READING_PAUSE);
        }
        report::exact("");
        report::exact(&self.paint(BOLD, text));
    }

    /// What somebody outside does now.
    pub(super) fn call(&self, text: &str) {
        let line = format!("{}  {text}", self.time(Timestamp::now()));
        report::exact(&self.paint(CYAN, &line));
    }

    /// Something about the server itself.
    pub(super) fn server(&self, text: &str) {
        let line = format!("{}  {text}", self.time(Timestamp::now()));
        report::exact(&self.paint(YELLOW, &line));
    }

    /// Something that happened to an event, or within a run (`open_ticket`).
    pub(super) fn happened(&self, at: Timestamp, who: (&str, &str), text: &str) {
        let (event, flow) = who;
        let text = match text.chars().next() {
            Some('→') => self.paint(GREEN, text),
            Some('✗') => self.paint(RED, text),
            _ => text.to_owned(),
        };
        report::exact(&format!(
            "{}  {event:<12}  {}  {text}",
            self.paint(DIM, &self.time(at)),
            self.paint(BOLD, &format!("{flow:<16}")),
        ));
    }

    /// A promise, kept or broken.
    pub(super) fn promise(&self, is_kept: bool, text: &str) {
        let (sign, colour) = if is_kept {
            ("✓", GREEN)
        } else {
            ("✗", RED)
        };
        report::exact(&format!("  {} {text}", self.paint(colour, sign)));
    }

    /// Seconds since the demo began.
    fn time(&self, at: Timestamp) -> String {
        let seconds = at.duration_since(self.began).as_secs_f64().max(0.0);
        format!("{seconds:>6.2} s")
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.has_colours {
            true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}
