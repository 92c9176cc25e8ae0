//! Recorded: the actor that answers a new version of a flow with what came of things in the real run.

use std::time::Duration;

use jiff::Timestamp;

use crate::actor::{Act, Actor, Local};
use crate::broker;
use crate::event::Value;
use crate::gate::Question;
use crate::journal::{Command, Journal, Outcome};
use crate::replay::show;

/// A recorded `now()` is given again if virtual time is that near.
const SAME_MOMENT: Duration = Duration::from_secs(2);

/// What came of the things that the real run asked for, beyond what was replayed.
#[derive(Debug)]
pub(crate) struct Recorded {
    rest: Vec<Known>,
    /// What was asked without a record of what comes of it.
    pub(crate) assumed: Vec<String>,
    /// Something under way: what comes of it is not recorded yet.
    pub(crate) unknown: Option<String>,
}

#[derive(Debug, Clone)]
struct Known {
    command: Command,
    outcome: Option<Outcome>,
    /// Given for other arguments already; it is still there for its own.
    lent: bool,
}

impl Recorded {
    /// What the journal holds from the command at `first` on.
    pub(crate) fn from(journal: &Journal, first: usize) -> Recorded {
        let known = |index: usize| {
            Some(Known {
                command: journal.command(index)?.clone(),
                outcome: journal.outcome(index).cloned(),
                lent: false,
            })
        };
        Recorded {
            rest: (first..journal.command_count()).filter_map(known).collect(),
            assumed: Vec::new(),
            unknown: None,
        }
    }

    /// The same thing asked.
    fn same(&mut self, question: &Question) -> Option<Known> {
        let same = |known: &Known| known.command.question.is_same(question);
        let found = self.rest.iter().position(same)?;
        Some(self.rest.remove(found))
    }

    /// The same word with other arguments.
    fn alike(&mut self, question: &Question) -> Option<Known> {
        let alike =
            |known: &&mut Known| !known.lent && known.command.question.word == question.word;
        let found = self.rest.iter_mut().find(alike)?;
        found.lent = true;
        Some(found.clone())
    }
}

impl Actor for Recorded {
    fn local(&mut self, question: &Question, now: Timestamp) -> Local {
        let answer = match question.word.as_str() {
            "now" | "uuid" | "random" | "state::get" => self.same(question),
            word if broker::missing(word).is_some() => self.same(question),
            _ => return Local::Virtual,
        };
        let value = answer.and_then(|known| known.command.answer);
        match (question.word.as_str(), value) {
            ("now", Some(Value::Int(then))) => {
                let apart = (now.as_second() - then).unsigned_abs();
                match apart <= SAME_MOMENT.as_secs() {
                    true => Local::Value(Value::Int(then)),
                    false => Local::Virtual,
                }
            }
            (_, Some(value)) => Local::Value(value),
            (word, None) if word == "state::get" || broker::missing(word).is_some() => {
                self.assumed.push(show(question));
                Local::Virtual
            }
            _ => Local::Virtual,
        }
    }

    fn act(&mut self, question: &Question, _now: Timestamp) -> Option<Act> {
        let known = self.same(question).or_else(|| self.alike(question));
        let Some(known) = known else {
            self.assumed.push(show(question));
            return Some(Act {
                result: Ok(Value::Null),
                takes: Duration::ZERO,
            });
        };
        let Some(outcome) = known.outcome else {
            self.unknown = Some(show(question));
            return None;
        };
        let took = outcome.at.duration_since(known.command.at);
        Some(Act {
            result: outcome.result,
            takes: Duration::try_from(took).unwrap_or_default(),
        })
    }
}
