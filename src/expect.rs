//! What a case expects a flow to ask for, in order, and what it gives in return.
//!
//! Invariant: the first thing that is otherwise stops the run, and is told with its number.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::actor::{Act, Actor, Local};
use crate::duration::Lasting;
use crate::event::Value;
use crate::exact::Exact;
use crate::gate::Question;
use crate::replay::show;

/// A command that a case expects, and what comes of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// `redmine::open`; also `now`, `uuid`, `random` or `state::get` where its answer matters.
    pub word: String,
    /// When it must be asked for, counted from the event: `"10m"`.
    pub at: Option<Lasting>,
    /// All arguments exactly.
    pub arguments: Option<Vec<Exact>>,
    /// Or fields that the map argument must have among others.
    pub contains: Option<BTreeMap<String, Exact>>,
    /// The value it gives.
    pub gives: Option<Exact>,
    /// Or how it fails: what `catch` sees; `verb` and `kind` are filled in.
    pub fails: Option<BTreeMap<String, Exact>>,
    /// How long it takes in virtual time; nothing if it is not said.
    pub takes: Option<Lasting>,
}

/// Answers from a case, and remembers the first thing that is otherwise.
#[derive(Debug)]
pub struct Expected {
    asks: VecDeque<Ask>,
    /// What `broker` words give, by name.
    names: BTreeMap<String, Exact>,
    asked: usize,
    began: Timestamp,
    /// When each was asked for, counted from the event.
    pub times: Vec<Duration>,
    /// The first thing that was otherwise.
    pub wrong: Option<String>,
}

impl Expected {
    /// These, in this order, by a run that began at `began`.
    pub fn new(asks: &[Ask], began: Timestamp) -> Expected {
        Expected {
            asks: asks.iter().cloned().collect(),
            names: BTreeMap::new(),
            asked: 0,
            began,
            times: Vec::new(),
            wrong: None,
        }
    }

    /// The same, with what `broker` words give.
    #[must_use]
    pub fn knowing(self, names: &BTreeMap<String, Exact>) -> Expected {
        let names = names.clone();
        Expected { names, ..self }
    }

    /// What a word gives that the case does not ask for by itself.
    fn usual(&self, question: &Question) -> Local {
        let name = question.word.strip_prefix("broker::");
        let known = name.and_then(|name| self.names.get(name));
        known.map_or(Local::Virtual, |Exact(value)| Local::Value(value.clone()))
    }

    /// What is wrong once the run has come to its end.
    pub fn left_over(&self) -> Option<String> {
        let ask = self.asks.front()?;
        let number = self.asked;
        Some(format!("command {number} was not asked for: {}", ask.word))
    }

    fn take(&mut self, question: &Question, now: Timestamp) -> Result<Ask, String> {
        let number = self.asked;
        let asked = show(question);
        let ask = self.asks.pop_front();
        let ask = ask.ok_or_else(|| format!("command {number} was not expected: {asked}"))?;
        self.asked += 1;
        let otherwise = |what| format!("command {number} is otherwise: {what}\n  asked: {asked}");
        difference(&ask, question).map_or(Ok(()), |what| Err(otherwise(what)))?;
        let elapsed = Duration::try_from(now.duration_since(self.began)).unwrap_or_default();
        match ask.at {
            Some(at) if at.0 != elapsed => Err(otherwise(format!(
                "it was asked for after {}, not after {}",
                Lasting(elapsed).spelled(),
                at.spelled()
            ))),
            _ => {
                self.times.push(elapsed);
                Ok(ask)
            }
        }
    }
}

impl Actor for Expected {
    fn local(&mut self, question: &Question, now: Timestamp) -> Local {
        if question.word == "emit" || self.wrong.is_some() {
            return Local::Act;
        }
        match self.asks.front() {
            Some(ask) if ask.word != question.word => return self.usual(question),
            None => return self.usual(question),
            Some(ask) if ask.fails.is_some() => return Local::Act,
            Some(_) => {}
        }
        match self.take(question, now) {
            Ok(ask) => Local::Value(ask.gives.unwrap_or_default().0),
            Err(wrong) => {
                self.wrong = Some(wrong);
                Local::Act
            }
        }
    }

    fn act(&mut self, question: &Question, now: Timestamp) -> Option<Act> {
        if self.wrong.is_some() {
            return None;
        }
        let taken = self.take(question, now);
        let ask = taken.map_err(|wrong| self.wrong = Some(wrong)).ok()?;
        Some(Act {
            takes: ask.takes.map_or(Duration::ZERO, |takes| takes.0),
            result: match ask.fails {
                Some(fields) => Err(failure(&ask.word, fields)),
                None => Ok(ask.gives.unwrap_or_default().0),
            },
        })
    }
}

fn failure(word: &str, fields: BTreeMap<String, Exact>) -> Value {
    let mut error: BTreeMap<String, Value> = fields
        .into_iter()
        .map(|(name, value)| (name, value.0))
        .collect();
    let mut fill = |name: &str, text: &str| {
        error
            .entry(name.to_owned())
            .or_insert_with(|| Value::from(text));
    };
    fill("verb", word);
    fill("kind", "refused");
    Value::Map(error)
}

fn difference(ask: &Ask, question: &Question) -> Option<String> {
    if ask.word != question.word {
        return Some(format!("{} was expected", ask.word));
    }
    if let Some(arguments) = &ask.arguments {
        let expected = Question {
            word: ask.word.clone(),
            arguments: arguments.iter().map(|exact| exact.0.clone()).collect(),
        };
        if !expected.is_same(question) {
            return Some(format!("expected {}", show(&expected)));
        }
    }
    let map = question.arguments.iter().find_map(Value::as_map);
    for (name, Exact(value)) in ask.contains.iter().flatten() {
        let found = map.and_then(|map| map.get(name));
        if found != Some(value) {
            let found = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
            return Some(format!("`{name}` is {found}, not {value}"));
        }
    }
    None
}
