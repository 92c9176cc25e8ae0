//! Looks at the server by its management API and shows what happens, as it happens.
//!
//! Invariant: a run is followed by its journal, which is on disk, so what was shown once stays true
//! when the server dies.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value as Json;

use super::screen::Screen;
use super::{Deadline, outcome};
use crate::cli::client::{Client, segment};

/// One reaction: what an event made a flow do, and what came of it.
pub(super) struct Reaction {
    pub(super) event: String,
    pub(super) door: String,
    pub(super) flow: String,
    pub(super) action: String,
    pub(super) outcome: String,
    /// From the sender's call to the outcome on disk, in milliseconds.
    pub(super) milliseconds: i64,
}

impl Reaction {
    pub(super) fn cells(&self) -> Vec<String> {
        vec![
            self.event.clone(),
            self.door.clone(),
            self.flow.clone(),
            self.action.clone(),
            self.outcome.clone(),
            self.milliseconds.to_string(),
        ]
    }
}

/// What is known of an event.
struct Known {
    door: String,
    received_at: Timestamp,
}

/// A pair of eyes on a server.
pub(super) struct Watch<'a> {
    screen: &'a Screen,
    deadline: &'a Deadline,
    client: Client,
    events: BTreeMap<String, Known>,
    /// Journal entries that were shown, by run.
    shown: BTreeMap<String, usize>,
    /// What is to be shown after this look: when, event, flow, text.
    lines: Vec<(Timestamp, String, String, String)>,
    ended: BTreeSet<String>,
    pub(super) reactions: Vec<Reaction>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        screen: &'a Screen,
        deadline: &'a Deadline,
        url: &str,
    ) -> Result<Watch<'a>, String> {
        Ok(Watch {
            screen,
            deadline,
            client: Client::at(url)?,
            events: BTreeMap::new(),
            shown: BTreeMap::new(),
            lines: Vec::new(),
            ended: BTreeSet::new(),
            reactions: Vec::new(),
        })
    }

    /// The server has another address now.
    pub(super) fn look_at(&mut self, url: &str) -> Result<(), String> {
        self.client = Client::at(url)?;
        Ok(())
    }

    /// Follows runs (`alert/1/open_ticket`) to their ends.
    ///
    /// # Errors
    /// A sentence: a run failed, or does not end.
    pub(super) fn follow(&mut self, runs: &[&str]) -> Result<(), String> {
        let deadline = self.deadline;
        deadline.wait_for(&format!("the end of {}", runs.join(", ")), || {
            self.look(runs)?;
            let all = runs.iter().all(|run| self.ended.contains(*run));
            Ok(all.then_some(()))
        })
    }

    /// Shows what is new in runs.
    ///
    /// # Errors
    /// A sentence: a run failed.
    pub(super) fn look(&mut self, runs: &[&str]) -> Result<(), String> {
        let mut seen = Ok(());
        for run in runs {
            if seen.is_err() || self.ended.contains(*run) {
                continue;
            }
            // Not there yet is not an error.
            if let Ok(story) = self.client.look_up(&format!("runs/{}", segment(run))) {
                seen = self.take(run, &story);
            }
        }
        self.lines.sort_by_key(|(at, ..)| *at);
        for (at, event, flow, text) in self.lines.drain(..) {
            self.screen.happened(at, (&event, &flow), &text);
        }
        seen
    }

    fn note(&mut self, at: Timestamp, (event, flow): (&str, &str), text: String) {
        self.lines
            .push((at, event.to_owned(), flow.to_owned(), text));
    }

    /// How many events a channel keeps.
    pub(super) fn kept(&self, channel: &str) -> Option<u64> {
        let listing = self.client.look_up("channels").ok()?;
        let rows = listing["channels"].as_array()?;
        let row = rows.iter().find(|row| row["name"] == channel)?;
        row["kept"].as_u64()
    }

    fn take(&mut self, run: &str, story: &Json) -> Result<(), String> {
        let (event, flow) = run.rsplit_once('/').unwrap_or((run, ""));
        let Some(received_at) = self.received(event) else {
            return Ok(());
        };
        let journal = story["journal"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let before = self
            .shown
            .insert(run.to_owned(), journal.len())
            .unwrap_or(0);
        for (index, entry) in journal.iter().enumerate().skip(before) {
            let at = moment(&entry["at"]).unwrap_or(received_at);
            if let Some(text) = line(entry, journal) {
                self.note(at, (event, flow), text);
            }
            if entry["what"] == "outcome" {
                self.reactions
                    .extend(self.reaction((event, flow), &journal[..=index]));
            }
        }
        match story["state"].as_str() {
            Some("live") | None => {}
            Some("done") => drop(self.ended.insert(run.to_owned())),
            Some(state) => {
                let why = story["message"].as_str().unwrap_or("");
                return Err(format!("the run {run} is {state}: {why}"));
            }
        }
        Ok(())
    }

    /// When the event was received; it is to be shown the first time.
    fn received(&mut self, event: &str) -> Option<Timestamp> {
        if let Some(known) = self.events.get(event) {
            return Some(known.received_at);
        }
        let story = self
            .client
            .look_up(&format!("events/{}", segment(event)))
            .ok()?;
        let received_at = moment(&story["meta"]["received_at"])?;
        let source = story["meta"]["source"].as_str().unwrap_or("");
        let by = match story["meta"]["peer"].as_str() {
            Some("spool") => format!("{source}, spool"),
            _ => source.to_owned(),
        };
        self.note(received_at, (event, ""), format!("in by {by}; on disk"));
        let known = Known {
            door: by,
            received_at,
        };
        self.events.insert(event.to_owned(), known);
        Some(received_at)
    }

    fn reaction(&self, (event, flow): (&str, &str), journal: &[Json]) -> Option<Reaction> {
        let entry = journal.last()?;
        let known = self.events.get(event)?;
        let word = outcome::word(asked(entry, journal)?).to_owned();
        let took = moment(&entry["at"])?.duration_since(known.received_at);
        Some(Reaction {
            event: event.to_owned(),
            door: known.door.clone(),
            flow: flow.to_owned(),
            outcome: said(&word, entry),
            action: word,
            milliseconds: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
        })
    }
}

/// What is worth a line: commands, outcomes, notes, console lines and ends.
fn line(entry: &Json, journal: &[Json]) -> Option<String> {
    Some(match entry["what"].as_str()? {
        "command" => outcome::command(entry["asked"].as_str()?),
        "outcome" => {
            let sign = if entry["good"] == true { "→" } else { "✗" };
            let word = asked(entry, journal).map_or("", outcome::word);
            format!("{sign} {}", said(word, entry))
        }
        "note" => format!("note: {}", entry["text"].as_str()?),
        "console" => format!("prints: {}", entry["text"].as_str()?),
        "end" => entry["state"].as_str()?.to_owned(),
        _ => return None,
    })
}

/// The command that an outcome is of.
fn asked<'a>(outcome: &Json, journal: &'a [Json]) -> Option<&'a str> {
    let is_it = |entry: &&Json| entry["what"] == "command" && entry["number"] == outcome["of"];
    journal.iter().find(is_it)?["asked"].as_str()
}

fn said(word: &str, entry: &Json) -> String {
    match entry["good"] == true {
        true => outcome::good(word, &entry["value"]),
        false => outcome::bad(&entry["value"]),
    }
}

fn moment(value: &Json) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}
