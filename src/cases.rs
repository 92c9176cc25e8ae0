//! Cases: a flow's own tests. An event in, the ordered commands that the flow must ask for, and the
//! outcomes that it is given; nothing is performed and no socket is opened.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::document::{self, value_of};
use crate::engine::{Engine, Input, StepEnd};
use crate::error::Diagnostic;
use crate::event::{Event, EventId, Incoming, Meta, Value};
use crate::flow::Flow;
use crate::gate::{Answer, Gate, Question};
use crate::replay::show;
use crate::source::{mail, snmp};

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
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A fact, such as "a recovery closes the ticket".
    pub name: String,
    /// The event's body.
    pub event: Option<toml::Value>,
    /// Or a mail as it would come in.
    pub mail: Option<String>,
    /// Or a trap as snmptrapd hands it over.
    pub trap: Option<String>,
    /// Or several bodies, for a flow with `[batch]`.
    pub events: Option<Vec<toml::Value>>,
    /// What `meta` holds beyond the usual.
    #[serde(default)]
    pub meta: BTreeMap<String, toml::Value>,
    /// What `now()` says and when the event was received; RFC 3339.
    pub now: Option<String>,
    /// What the flow keeps already, for `state::get`.
    #[serde(default)]
    pub state: BTreeMap<String, toml::Value>,
    /// The commands it must ask for, in order.
    #[serde(default)]
    pub asks: Vec<Ask>,
    /// True if the filter must say no.
    #[serde(default)]
    pub filtered: bool,
    /// If the run must fail: words that its message must hold.
    pub fails: Option<String>,
    /// Lines that it must print, if they matter.
    pub prints: Option<Vec<String>>,
}

/// A command that a case expects, and what comes of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// `redmine::open`
    pub word: String,
    /// All arguments exactly.
    pub arguments: Option<Vec<toml::Value>>,
    /// Or fields that the map argument must have among others.
    pub contains: Option<BTreeMap<String, toml::Value>>,
    /// The value it gives.
    pub gives: Option<toml::Value>,
    /// Or how it fails: what `catch` sees; `verb` is filled in.
    pub fails: Option<BTreeMap<String, toml::Value>>,
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
    let file: CaseFile = document::read(path, path)?;
    if file.case.len() > CASES_MAX {
        return Err(Diagnostic::new(format!(
            "{} has more than {CASES_MAX} cases",
            path.display()
        )));
    }
    Ok(file.case)
}

/// Runs one case. Must be called on a thread with a large stack.
pub fn judge(engine: &Engine, flow: &Flow, case: &Case) -> Verdict {
    let wrong = judge_inside(engine, flow, case).err();
    Verdict {
        name: case.name.clone(),
        wrong,
    }
}

fn judge_inside(engine: &Engine, flow: &Flow, case: &Case) -> Result<(), String> {
    let now = case.now.as_deref().unwrap_or("2026-01-01T00:00:00Z");
    let now: Timestamp = now
        .parse()
        .map_err(|_| format!("`now` = \"{now}\" is no RFC 3339 time"))?;
    let events = events(flow, case, now)?;
    let thinking = Duration::from_secs(flow.settings.run_seconds_max);
    for event in &events {
        let passed = engine.filter(&flow.script, &event.body, thinking);
        match passed.map_err(|error| format!("the filter raised: {}", error.diagnostic()))? {
            true if case.filtered => return Err("the filter let the event through".to_owned()),
            false if !case.filtered => return Err("the filter said no".to_owned()),
            _ => {}
        }
    }
    if case.filtered {
        return Ok(());
    }
    let gate = CaseGate::new(case, now);
    let input = Input {
        events: events.into(),
        thinking,
    };
    let (end, gate) = engine.step(&flow.script, input, gate);
    gate.ok_or("the engine lost the gate")?.verdict(case, end)
}

fn events(flow: &Flow, case: &Case, now: Timestamp) -> Result<Vec<Event>, String> {
    let meta = |source: &str| {
        let mut meta = Meta::new(source, now);
        meta.extra = case
            .meta
            .iter()
            .map(|(name, value)| (name.clone(), value_of(value)))
            .collect();
        meta
    };
    let plain = |value: &toml::Value| Incoming {
        body: value_of(value),
        meta: meta("case"),
    };
    let incoming: Vec<Incoming> = match (&case.event, &case.mail, &case.trap, &case.events) {
        (Some(event), None, None, None) => vec![plain(event)],
        (None, Some(text), None, None) => vec![mail::decode(text.as_bytes(), meta("mail"))],
        (None, None, Some(text), None) => vec![snmp::decode(text.as_bytes(), meta("snmp"))],
        (None, None, None, Some(bodies)) => bodies.iter().map(plain).collect(),
        _ => return Err("a case has one of `event`, `mail`, `trap` and `events`".to_owned()),
    };
    let id = |number: usize| EventId {
        channel: flow.channel.clone(),
        number: number as u64 + 1,
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

/// Answers from the case, and remembers the first thing that is otherwise.
struct CaseGate {
    now: Timestamp,
    state: BTreeMap<String, Value>,
    expected: VecDeque<Ask>,
    asked: usize,
    wrong: Option<String>,
    printed: Vec<String>,
}

impl CaseGate {
    fn new(case: &Case, now: Timestamp) -> CaseGate {
        let state = case
            .state
            .iter()
            .map(|(key, value)| (key.clone(), value_of(value)))
            .collect();
        let expected = case.asks.iter().cloned().collect();
        CaseGate {
            now,
            state,
            expected,
            asked: 0,
            wrong: None,
            printed: Vec::new(),
        }
    }

    fn local(&mut self, question: &Question) -> Option<Value> {
        let argument = |index: usize| question.arguments.get(index).cloned().unwrap_or_default();
        let key = argument(0).to_plain();
        Some(match question.word.as_str() {
            "now" => Value::Int(self.now.as_second()),
            "uuid" => Value::from("00000000-0000-4000-8000-000000000000"),
            "random" if question.arguments.is_empty() => Value::Float(0.5),
            "random" => Value::Int(0),
            "state::get" => self.state.get(&key).cloned().unwrap_or_default(),
            "state::set" => self
                .state
                .insert(key, argument(1))
                .map_or(Value::Null, |_| Value::Null),
            "state::delete" => self.state.remove(&key).map_or(Value::Null, |_| Value::Null),
            _ => return None,
        })
    }

    fn differs(&mut self, sentence: String) -> Answer {
        self.wrong = Some(sentence);
        Answer::Stop
    }

    fn verdict(self, case: &Case, end: StepEnd) -> Result<(), String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        match (end, &case.fails) {
            (StepEnd::Failed(error), Some(words)) if error.message.contains(words.as_str()) => {}
            (StepEnd::Failed(error), _) => {
                return Err(format!("it failed: {}", error.diagnostic()));
            }
            (_, Some(words)) => return Err(format!("it should have failed with \"{words}\"")),
            _ => {}
        }
        if let Some(ask) = self.expected.front() {
            return Err(format!(
                "command {} was not asked for: {}",
                self.asked, ask.word
            ));
        }
        match &case.prints {
            Some(lines) if *lines != self.printed => {
                Err(format!("it printed {:?}, not {lines:?}", self.printed))
            }
            _ => Ok(()),
        }
    }
}

impl Gate for CaseGate {
    fn ask(&mut self, question: Question) -> Answer {
        if self.wrong.is_some() {
            return Answer::Stop;
        }
        if let Some(value) = self.local(&question) {
            return Answer::Value(value);
        }
        let number = self.asked;
        let Some(ask) = self.expected.pop_front() else {
            return self.differs(format!(
                "command {number} was not expected: {}",
                show(&question)
            ));
        };
        self.asked += 1;
        if let Some(difference) = difference(&ask, &question) {
            return self.differs(format!(
                "command {number} is otherwise: {difference}\n  asked: {}",
                show(&question)
            ));
        }
        match ask.fails {
            Some(fields) => {
                let mut error: BTreeMap<String, Value> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value_of(value)))
                    .collect();
                error
                    .entry("verb".to_owned())
                    .or_insert(Value::Text(question.word));
                error
                    .entry("kind".to_owned())
                    .or_insert(Value::from("refused"));
                Answer::Error(Value::Map(error))
            }
            None => Answer::Value(ask.gives.as_ref().map(value_of).unwrap_or_default()),
        }
    }

    fn print(&mut self, line: &str) {
        self.printed.push(line.to_owned());
    }
}

fn difference(ask: &Ask, question: &Question) -> Option<String> {
    if ask.word != question.word {
        return Some(format!("{} was expected", ask.word));
    }
    if let Some(arguments) = &ask.arguments {
        let expected: Vec<Value> = arguments.iter().map(value_of).collect();
        if expected != question.arguments {
            let expected = Question {
                word: ask.word.clone(),
                arguments: expected,
            };
            return Some(format!("expected {}", show(&expected)));
        }
    }
    let map = question.arguments.iter().find_map(Value::as_map);
    for (name, value) in ask.contains.iter().flatten() {
        let found = map.and_then(|map| map.get(name));
        if found != Some(&value_of(value)) {
            let found = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
            return Some(format!("`{name}` is {found}, not {}", value_of(value)));
        }
    }
    None
}
