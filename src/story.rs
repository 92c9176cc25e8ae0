//! The story of an event and of a run, as an operator reads it: which flows looked, what they
//! decided, what was asked for and what came of it.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::event::{Event, EventId, RunId, Value};
use crate::host;
use crate::journal::{COMMANDS_WARN, EndState, Entry, Journal};
use crate::replay::show;
use crate::run::{Conductor, Interrupted};
use crate::state::State;
use crate::store::{Dead, RunInfo, Store, StoreError};
use crate::tries::TriesRecord;
use crate::wait::Wait;
use crate::weather::Fate;

/// Runs that one page looks at, at most, for those in the wanted state.
pub const SCANNED_RUNS_MAX: usize = 10_000;
/// Of these, how many are read at once.
const SCANNED_AT_ONCE: usize = 1_000;

/// Every host word, for listings.
pub fn actions() -> Vec<Json> {
    let row = |word: &crate::gate::HostWord| {
        json!({
            "word": word.full_name(), "call": word.signature(),
            "about": word.about, "example": word.example,
        })
    };
    host::words().iter().map(row).collect()
}

/// An event with everything that happened because of it; `None` if it is not kept. Waits for the disk
/// and for scripts that think: not for async callers.
///
/// # Errors
/// What the store cannot read.
pub fn of_event(state: &State, id: &EventId) -> Result<Option<Json>, Interrupted> {
    let store = &state.conductor.store;
    let Some(event) = store.event(id)? else {
        return Ok(None);
    };
    let mut flows = Vec::new();
    let mut seen = Vec::new();
    for info in store.runs_of(id)? {
        if let Some(journal) = state.conductor.journal(&info.run)? {
            seen.push(info.run.flow().to_owned());
            flows.push(json!({ "flow": info.run.flow(), "verdict": "matched", "run": of_run(&state.conductor, &journal) }));
        }
    }
    for line in state.attendance.lines() {
        if line.flow.channel == id.channel && !seen.contains(&line.flow.name) {
            let waits = line.next <= id.number;
            let fate = line.weather.fate(store, id.number)?;
            let verdict = match fate {
                _ if waits => "waits",
                Some(Fate::Held(_)) => "is held by its storm control",
                Some(Fate::Suppressed(_)) => "was suppressed by its storm control",
                None => verdict(state, &line.flow, &event),
            };
            flows.push(json!({ "flow": line.flow.name, "verdict": verdict }));
        }
    }
    Ok(Some(json!({
        "id": id.to_string(), "body": event.body.to_json(),
        "meta": event.meta_value().to_json(), "flows": flows,
        "taken_by": store.taken_by(id)?,
    })))
}

/// What the filter says about an event for which there is no run.
fn verdict(state: &State, flow: &crate::flow::Flow, event: &Event) -> &'static str {
    let thinking = std::time::Duration::from_secs(flow.settings.run_seconds_max);
    let script = std::sync::Arc::clone(&flow.script);
    let event = event.clone();
    let judged = state
        .conductor
        .thinkers
        .call(move |engine| engine.filter(&script, &event, thinking));
    match judged {
        Some(Ok(true)) => "matched in a batch or before this flow began",
        Some(Ok(false)) => "did not match",
        Some(Err(_)) | None => "the filter raised",
    }
}

/// A run with its journal in order.
pub fn of_run(conductor: &Conductor, journal: &Journal) -> Json {
    let mut steps = Vec::new();
    let mut command = 0;
    for entry in journal.entries() {
        if let Entry::Command(_) = entry {
            command += 1;
        }
        steps.push(line(entry, command));
    }
    let end = journal.end();
    let tries = tries(conductor, journal);
    json!({
        "run": journal.run.as_str(),
        "state": end.map_or("live", |end| end.state.word()),
        "message": end.map_or("", |end| end.message.as_str()),
        "version": journal.version(),
        "long": journal.command_count() >= COMMANDS_WARN,
        "tries": tries,
        "waits_for": conductor.waits.of(&journal.run).map(|wait| wait.describe()),
        "journal": steps,
        "console": journal.console(),
    })
}

/// What is known about the command that is being tried.
fn tries(conductor: &Conductor, journal: &Journal) -> Option<Json> {
    let bytes = conductor.store.attempts(&journal.run).ok().flatten()?;
    let tries = TriesRecord::decode(&bytes).ok()?;
    Some(json!({
        "command": tries.command, "count": tries.count,
        "next_at": tries.next_at.to_string(), "error": tries.error,
    }))
}

fn line(entry: &Entry, command: usize) -> Json {
    match entry {
        Entry::Start(start) => json!({
            "what": "start", "at": start.at.to_string(), "flow": start.flow, "events": start.events,
            "told": Value::Map(start.told.clone()).to_json(),
        }),
        Entry::Command(asked) => json!({
            "what": "command", "number": command - 1, "at": asked.at.to_string(),
            "asked": show(&asked.question), "answer": asked.answer.as_ref().map(Value::to_json),
        }),
        Entry::Outcome(outcome) => {
            let (good, value) = match &outcome.result {
                Ok(value) => (true, value),
                Err(value) => (false, value),
            };
            json!({
                "what": "outcome", "of": outcome.of, "at": outcome.at.to_string(),
                "attempts": outcome.attempts, "good": good, "value": value.to_json(),
            })
        }
        Entry::Console(text) => json!({ "what": "console", "text": text }),
        Entry::Note(at, text) => json!({ "what": "note", "at": at.to_string(), "text": text }),
        Entry::Strike(at, _) => json!({
            "what": "note", "at": at.to_string(), "text": "the process died while the script was thinking",
        }),
        Entry::Retried(at, version) => {
            json!({ "what": "retried", "at": at.to_string(), "version": version })
        }
        Entry::Moved(at, version) => {
            json!({ "what": "moved", "at": at.to_string(), "version": version })
        }
        Entry::Forked(forked) => json!({
            "what": "forked", "at": forked.at.to_string(),
            "from": forked.from.as_str(), "commands": forked.commands,
        }),
        Entry::Seen(seen) => json!({
            "what": "seen", "at": seen.at.to_string(), "of": seen.of,
            "event": seen.event.to_string(),
        }),
        Entry::Continued(continued) => json!({
            "what": "continued", "at": continued.at.to_string(),
            "commands": continued.commands, "state": continued.state.to_json(),
        }),
        Entry::Cancel(at, until) => json!({
            "what": "note", "at": at.to_string(),
            "text": format!("a person cancelled the run; it may tidy up until {until}"),
        }),
        Entry::End(end) => json!({
            "what": "end", "at": end.at.to_string(), "state": end.state.word(),
            "message": end.message, "value": end.value.to_json(),
        }),
    }
}

/// The part of a listing that is wanted.
#[derive(Debug, Clone)]
pub struct Page {
    /// Rows at most.
    pub limit: usize,
    /// The run behind which it begins.
    pub after: Option<RunId>,
    /// For runs: `live`, `done`, `failed`, `blocked`, `cancelled`; all without one.
    pub state: Option<String>,
}

/// Rows, and the run to go on after if there may be more.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// In order.
    pub rows: Vec<Json>,
    /// A page may have few rows, or none, and yet not be the last: looking for a rare state ends
    /// after [`SCANNED_RUNS_MAX`].
    pub next: Option<RunId>,
}

/// Runs, newest first; nothing if the run to begin behind is not known.
///
/// # Errors
/// What the store cannot read.
pub fn runs(store: &Store, page: &Page) -> Result<Option<Listed>, StoreError> {
    if let Some(run) = &page.after
        && store.run(run)?.is_none()
    {
        return Ok(None);
    }
    let wanted = page.state.as_deref();
    let at_once = wanted.map_or(page.limit + 1, |_| SCANNED_AT_ONCE);
    let mut rows = Vec::new();
    let mut last = page.after.clone();
    for scanned in (0..).step_by(at_once) {
        let some = store.runs(last.as_ref(), at_once)?;
        if some.is_empty() {
            break;
        }
        for info in some {
            if rows.len() == page.limit || scanned >= SCANNED_RUNS_MAX {
                return Ok(Some(Listed { rows, next: last }));
            }
            if fits(info.end.map(|(end, _)| end), wanted) {
                rows.push(row(&info));
            }
            last = Some(info.run);
        }
    }
    Ok(Some(Listed { rows, next: None }))
}

/// Dead letters, oldest first; nothing if there is none of the run to begin behind: one that was
/// tried again meanwhile is no place to go on from.
///
/// # Errors
/// What the store cannot read.
pub fn dead(store: &Store, page: &Page) -> Result<Option<Listed>, StoreError> {
    let after = match &page.after {
        None => None,
        Some(run) => match store.dead_letter_of(run)? {
            None => return Ok(None),
            letter => letter,
        },
    };
    let letters = store.dead(after.as_ref(), page.limit)?;
    let last = letters.last().filter(|_| letters.len() == page.limit);
    let next = last.map(|letter| letter.run.clone());
    let row = |letter: &Dead| {
        let why = String::from_utf8_lossy(&letter.record);
        json!({ "run": letter.run.as_str(), "at": letter.at.to_string(), "why": why })
    };
    let rows = letters.iter().map(row).collect();
    Ok(Some(Listed { rows, next }))
}

/// Runs that wait, by id, with what each waits for.
pub fn waiting(conductor: &Conductor, page: &Page) -> Listed {
    let row = |wait: &Arc<Wait>| {
        json!({
            "run": wait.run.as_str(), "state": "waiting",
            "since": wait.since.to_string(), "waits_for": wait.describe(),
        })
    };
    let waits = conductor.waits.list(page.after.as_ref(), page.limit);
    let last = waits.last().filter(|_| waits.len() == page.limit);
    Listed {
        next: last.map(|wait| wait.run.clone()),
        rows: waits.iter().map(row).collect(),
    }
}

fn row(info: &RunInfo) -> Json {
    json!({
        "run": info.run.as_str(),
        "began_at": info.began_at.to_string(),
        "state": info.end.map_or("live", |(end, _)| end.word()),
        "ended_at": info.end.map(|(_, at)| at.to_string()),
    })
}

/// The word in a query for a state: those of the store, and `live`.
fn fits(end: Option<EndState>, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| end.map_or("live", EndState::word) == wanted)
}
