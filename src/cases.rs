//! Cases: a flow's own tests. An event in, the ordered commands that the flow must ask for, and the
//! outcomes that it is given, in virtual time; nothing is performed and no socket is opened.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::broker::{self, Answers};
use crate::document;
use crate::duration::Lasting;
use crate::engine::{ENGINE_FLAGS, Engine};
use crate::error::Diagnostic;
use crate::event::{Event, EventId, Incoming, Meta, RunId, Value};
use crate::exact::Exact;
pub use crate::expect::Ask;
use crate::expect::Expected;
use crate::flow::Flow;
pub use crate::forecast::Earlier;
use crate::forecast::{self, Forecast};
use crate::journal::{Journal, Start};
use crate::rehearsal::{Ended, Rehearsal, Stage};
use crate::source::{mail, snmp};
use crate::world::{Arrival, World};

/// Cases that one file may have.
pub const CASES_MAX: usize = 1_000;

/// `flows/<channel>/<name>.cases.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(default)]
    case: Vec<Case>,
}

/// One case.
///
/// A flow that waits gets what it waits for from `[[case.later]]` and `[[case.waiting]]`; time
/// passes by itself, and what nothing ends is over when its own time is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A fact, such as "a recovery closes the ticket".
    pub name: String,
    /// The event's body.
    pub event: Option<Exact>,
    /// Or a mail as it would come in.
    pub mail: Option<String>,
    /// Or a trap as snmptrapd hands it over.
    pub trap: Option<String>,
    /// Or several bodies, for a flow with `[batch]`.
    pub events: Option<Vec<Exact>>,
    /// What `meta` holds beyond the usual, or instead of it: `id`, `source`, `peer`, `message_id`.
    #[serde(default)]
    pub meta: BTreeMap<String, Exact>,
    /// What `now()` says and when the event was received; RFC 3339.
    pub now: Option<String>,
    /// What the flow keeps already, for `state::get`.
    #[serde(default)]
    pub state: BTreeMap<String, Exact>,
    /// What `carried()` gives, for a run that began anew by `continue_as`.
    pub carried: Option<Exact>,
    /// What the `broker` words give: `host_name = "web01"`.
    #[serde(default)]
    pub broker: BTreeMap<String, Exact>,
    /// Events that wait in other channels already.
    #[serde(default)]
    pub waiting: Vec<Waiting>,
    /// Events that come later.
    #[serde(default)]
    pub later: Vec<Later>,
    /// Events that the storm control met before.
    #[serde(default)]
    pub earlier: Vec<Earlier>,
    /// The kind of storm control that must suppress it: `throttle`.
    pub suppressed: Option<String>,
    /// The kind of storm control that must hold it; what is asked comes after that.
    pub held: Option<String>,
    /// The commands it must ask for, in order.
    #[serde(default)]
    pub asks: Vec<Ask>,
    /// True if the filter must say no.
    #[serde(default)]
    pub filtered: bool,
    /// If the run must fail: words that its message must hold.
    pub fails: Option<String>,
    /// If it must still wait after all that: words of what it waits for, such as `watch alert`.
    pub waits: Option<String>,
    /// Where time ends, counted from the event; what waits longer still waits. For ever if it is not
    /// said.
    pub until: Option<Lasting>,
    /// Lines that it must print, if they matter.
    pub prints: Option<Vec<String>>,
}

/// An event that waits in a channel when the run begins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// The channel.
    pub channel: String,
    /// Its body.
    pub event: Exact,
}

/// An event that comes later.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Later {
    /// When, counted from the event that began the run: `"12m"`.
    pub after: Lasting,
    /// The channel; the flow's own if it is not said.
    pub channel: Option<String>,
    /// Its body.
    pub event: Exact,
}

/// How one case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The case's name.
    pub name: String,
    /// What was otherwise than expected; `None` if all was as expected.
    pub wrong: Option<String>,
}

/// Reads a file of cases; a missing file has none.
///
/// # Errors
/// What is wrong in it, with its place.
pub fn read(path: &Path) -> Result<Vec<Case>, Diagnostic> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    parse(&document::text(path, path)?, path)
}

/// Reads cases from `text`; `shown` is how messages name it.
///
/// # Errors
/// What is wrong in it, with its place.
pub fn parse(text: &str, shown: &Path) -> Result<Vec<Case>, Diagnostic> {
    let file: CaseFile = document::parse(text, shown)?;
    if file.case.len() > CASES_MAX {
        return Err(Diagnostic::new(format!(
            "{} has more than {CASES_MAX} cases",
            shown.display()
        )));
    }
    Ok(file.case)
}

/// What a filter is told of names.
fn names(case: &Case) -> Box<Answers> {
    let names = case.broker.clone();
    Box::new(move |question| {
        let missing = broker::missing(&question.word)?;
        let name = question.word.rsplit("::").next().unwrap_or_default();
        Some(Ok(names
            .get(name)
            .map_or(missing, |Exact(value)| value.clone())))
    })
}

/// Where cases are tried: the engine, the flow, and the house's channels without events.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// Thinks.
    pub engine: &'a Engine,
    /// Whose cases they are.
    pub flow: &'a Flow,
    /// The channels that there are.
    pub channels: &'a World,
}

impl Bench<'_> {
    /// Runs one case. Must be called on a thread with a large stack.
    pub fn judge(&self, case: &Case) -> Verdict {
        Verdict {
            name: case.name.clone(),
            wrong: self.times(case).err(),
        }
    }

    /// When each of the case's commands was asked for, counted from the event. Must be called on a
    /// thread with a large stack.
    ///
    /// # Errors
    /// What was otherwise than expected.
    pub fn times(&self, case: &Case) -> Result<Vec<Duration>, String> {
        let now = case.now.as_deref().unwrap_or("2026-01-01T00:00:00Z");
        let now: Timestamp = now
            .parse()
            .map_err(|_| format!("`now` = \"{now}\" is no RFC 3339 time"))?;
        let events = events(self.flow, case, now)?;
        let thinking = Duration::from_secs(self.flow.settings.run_seconds_max);
        for event in &events {
            let names = names(case);
            let passed = self
                .engine
                .filter_with(&self.flow.script, &event.body, thinking, names);
            match passed.map_err(|error| format!("the filter raised: {}", error.diagnostic()))? {
                true if case.filtered => return Err("the filter let the event through".to_owned()),
                false if !case.filtered => return Err("the filter said no".to_owned()),
                _ => {}
            }
        }
        if case.filtered {
            return Ok(Vec::new());
        }
        let (events, begins) = match forecast::of((self.engine, self.flow), case, events)? {
            Forecast::Suppressed => return Ok(Vec::new()),
            Forecast::Acts(events, begins) => (events, begins),
        };
        let world = self.world(case, &events)?;
        let stage = Stage {
            engine: self.engine,
            script: &self.flow.script,
            world: &world,
            thinking,
        };
        let journal = self.journal(case, &events);
        let expected = Expected::new(&case.asks, now).knowing(&case.broker);
        let own = |(key, value): (&String, &Exact)| (key.clone(), value.0.clone());
        let run = Rehearsal::new(stage, (journal, Arc::new(events)), begins, expected);
        let mut run = run.state(case.state.iter().map(own).collect());
        let ended = run.go();
        verdict(case, ended, &run)?;
        Ok(run.actor(|expected| std::mem::take(&mut expected.times)))
    }

    fn journal(&self, case: &Case, events: &[Event]) -> Journal {
        let first = &events[0];
        let at = first.meta.received_at;
        let start = Start {
            at,
            flow: self.flow.path(),
            version: self.flow.script.version.clone(),
            engine_flags: ENGINE_FLAGS,
            events: events.iter().map(|event| event.id.number).collect(),
            trouble: None,
            told: Default::default(),
        };
        let run = RunId::new(&first.id, &self.flow.name);
        match &case.carried {
            Some(Exact(state)) => Journal::begin(run, start).begin_anew(at, state.clone()),
            None => Journal::begin(run, start),
        }
    }

    /// What comes into channels, by the case.
    fn world(&self, case: &Case, events: &[Event]) -> Result<World, String> {
        let mut world = self.channels.clone();
        let begun = events[0].meta.received_at;
        let named = |asked: &str| {
            let name = world.find(asked).map(str::to_owned);
            name.ok_or_else(|| format!("an event is for `{asked}`, but there is no such channel"))
        };
        let mut arrivals: BTreeMap<String, Vec<Arrival>> = world
            .names()
            .map(|name| (name.to_owned(), Vec::new()))
            .collect();
        let mut add = |(channel, at, body): (String, Timestamp, &Exact), first: u64| {
            let arrivals = arrivals.entry(channel.clone()).or_default();
            let number = first + arrivals.len() as u64;
            arrivals.push(Arrival {
                at,
                event: Arc::new(Event {
                    id: EventId { channel, number },
                    body: body.0.clone(),
                    meta: Meta::new("case", at),
                }),
                taken: None,
            });
        };
        for event in &case.waiting {
            let channel = named(&event.channel)?;
            if channel == self.flow.channel {
                return Err("events that wait in the flow's own channel are its own".to_owned());
            }
            let before = begun.checked_sub(Duration::from_secs(1));
            add((channel, before.unwrap_or(begun), &event.event), 1);
        }
        let mut later: Vec<&Later> = case.later.iter().collect();
        later.sort_by_key(|later| later.after);
        let last = events.last().map_or(0, |event| event.id.number);
        for event in later {
            let channel = named(event.channel.as_deref().unwrap_or(&self.flow.channel))?;
            let at = begun
                .checked_add(event.after.0)
                .map_err(|why| why.to_string())?;
            let first = if channel == self.flow.channel {
                last + 1
            } else {
                1
            };
            add((channel, at, &event.event), first);
        }
        let until = case.until.map(|until| begun.checked_add(until.0));
        world.until = until.transpose().map_err(|why| why.to_string())?;
        for (channel, arrivals) in arrivals {
            world.fill(&channel, arrivals);
        }
        Ok(world)
    }
}

fn events(flow: &Flow, case: &Case, now: Timestamp) -> Result<Vec<Event>, String> {
    let meta = |source: &str| meta(case, source, now);
    let plain = |body: &Exact| Incoming {
        body: body.0.clone(),
        meta: meta("case"),
    };
    let incoming: Vec<Incoming> = match (&case.event, &case.mail, &case.trap, &case.events) {
        (Some(event), None, None, None) => vec![plain(event)],
        (None, Some(text), None, None) => vec![mail::decode(text.as_bytes(), meta("mail"))],
        (None, None, Some(text), None) => vec![snmp::decode(text.as_bytes(), meta("snmp"))],
        (None, None, None, Some(bodies)) => bodies.iter().map(plain).collect(),
        _ => return Err("a case has one of `event`, `mail`, `trap` and `events`".to_owned()),
    };
    if incoming.is_empty() {
        return Err("`events` has none".to_owned());
    }
    let first = match case.meta.get("id").and_then(|id| id.0.as_text()) {
        None => 1,
        Some(id) => id.parse::<EventId>()?.number,
    };
    let id = |number: usize| EventId {
        channel: flow.channel.clone(),
        number: first + number as u64,
    };
    let numbered = incoming.into_iter().enumerate();
    Ok(numbered
        .map(|(number, event)| Event {
            id: id(number),
            body: event.body,
            meta: event.meta,
        })
        .collect())
}

/// What the case says of the event's door.
fn meta(case: &Case, source: &str, now: Timestamp) -> Meta {
    let mut meta = Meta::new(source, now);
    for (name, Exact(value)) in &case.meta {
        match (name.as_str(), value) {
            ("id", _) => {}
            ("source", Value::Text(text)) => meta.source.clone_from(text),
            ("peer", Value::Text(text)) => meta.peer.clone_from(text),
            ("message_id", Value::Text(text)) => meta.message_id = Some(text.clone()),
            _ => drop(meta.extra.insert(name.clone(), value.clone())),
        }
    }
    meta
}

fn verdict(case: &Case, ended: Ended, run: &Rehearsal<Expected>) -> Result<(), String> {
    if let Some(wrong) = run.actor(|expected| expected.wrong.take()) {
        return Err(wrong);
    }
    match (ended, &case.fails, &case.waits) {
        (Ended::Failed(error), Some(words), _) if error.message.contains(words.as_str()) => {}
        (Ended::Failed(error), ..) => return Err(format!("it failed: {}", error.diagnostic())),
        (_, Some(words), _) => return Err(format!("it should have failed with \"{words}\"")),
        (Ended::Waits(wait), _, Some(words)) if wait.describe().contains(words.as_str()) => {}
        (Ended::Waits(wait), ..) => {
            let waits = wait.describe();
            return Err(format!("it waits for what does not come: {waits}"));
        }
        (Ended::Diverged(divergence), ..) => return Err(divergence.to_string()),
        (Ended::Unknown(channel), ..) => return Err(format!("there is no channel `{channel}`")),
        (Ended::Stopped, ..) => return Err("it was stopped".to_owned()),
        (Ended::Done(_), _, Some(words)) => return Err(format!("it should wait for \"{words}\"")),
        (Ended::Done(_), ..) => {}
    }
    if let Some(left) = run.actor(|expected| expected.left_over()) {
        return Err(left);
    }
    let printed = run.printed();
    match &case.prints {
        Some(lines) if *lines != printed => Err(format!("it printed {printed:?}, not {lines:?}")),
        _ => Ok(()),
    }
}
