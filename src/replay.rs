//! Replay: the gate that answers a script from its run's journal, and notes what is new.
//!
//! Invariant: what the journal says is never guessed around. A script that asks something else than
//! it asked before has diverged, and its run is blocked with both texts.

use crate::clock::Clock;
use crate::divergence::same;
use crate::event::Value;
use crate::gate::{Answer, Gate, Question};
use crate::journal::{COMMANDS_MAX, Command, Entry, Journal, Outcome};
use crate::logging::LogLine;

pub use crate::divergence::{Divergence, show};

/// Answers what needs nobody outside: `now`, `uuid`, `state::get`, `emit` …
pub trait Locals: Send {
    /// The answer, or `None` if the word is not a local one.
    fn answer(&mut self, question: &Question) -> Option<Result<Value, String>>;

    /// Takes a line that was not written before.
    fn log(&mut self, _line: &LogLine) {}
}

/// What a step came to ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Asked {
    /// Nothing beyond what the journal answers.
    #[default]
    Nothing,
    /// The command at this index has no outcome yet.
    Command(usize),
    /// Something else than before.
    Diverged(Divergence),
    /// More than [`COMMANDS_MAX`] commands.
    TooMuch,
}

/// A journal that answers a script.
pub struct Replay {
    /// The journal, with what was added during the step.
    pub journal: Journal,
    /// What the step came to ask.
    pub asked: Asked,
    cursor: usize,
    clock: Clock,
    locals: Box<dyn Locals>,
    judging: Option<Judging>,
    /// Another time of a wait is another question too.
    is_exact: bool,
}

/// An event that a closure of the script is to be asked about, when the script comes to its wait.
struct Judging {
    command: usize,
    /// Which handle, and what its closure sees.
    asked: Option<(usize, Value)>,
    verdict: Judged,
}

/// What came of judging.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// The closure said yes or no, or raised this.
    Said(Result<bool, Value>),
    /// The script did not come to its wait.
    NotAsked,
}

impl Replay {
    /// Replays `journal` from its beginning.
    pub fn new(journal: Journal, clock: Clock, locals: Box<dyn Locals>) -> Replay {
        Replay {
            journal,
            asked: Asked::Nothing,
            cursor: 0,
            clock,
            locals,
            judging: None,
            is_exact: false,
        }
    }

    /// The same, with another time of a wait taken for another question: to tell whether two versions
    /// of a script do the same, not whether one may go on in the other's place.
    #[must_use]
    pub fn exactly(mut self) -> Replay {
        self.is_exact = true;
        self
    }

    /// The same, to have the closure of the wait at `command` asked: that of the handle with this
    /// place, about this value.
    #[must_use]
    pub fn judging(mut self, command: usize, asked: (usize, Value)) -> Replay {
        self.judging = Some(Judging {
            command,
            asked: Some(asked),
            verdict: Judged::NotAsked,
        });
        self
    }

    /// How many commands the script has come past.
    pub fn position(&self) -> usize {
        self.cursor
    }

    /// What came of judging.
    pub fn verdict(self) -> Judged {
        self.judging
            .map_or(Judged::NotAsked, |judging| judging.verdict)
    }

    /// What is to be asked of the closure of the command at `at`; once.
    fn question_for_closure(&mut self, at: usize) -> Option<Answer> {
        let judging = self.judging.as_mut()?;
        if judging.command != at {
            return None;
        }
        let (which, value) = judging.asked.take()?;
        Some(Answer::Judge(which, value))
    }

    /// True of what the script says beyond what it was answered before: the rest it said already.
    fn is_news(&self) -> bool {
        let beyond = self.cursor == self.journal.command_count();
        beyond && self.asked == Asked::Nothing && !self.is_judging()
    }

    /// True while a closure thinks about an event.
    fn is_judging(&self) -> bool {
        self.judging
            .as_ref()
            .is_some_and(|judging| judging.asked.is_none())
    }

    /// To be called after the step, saying whether the script has come to its end: entries left over
    /// are a divergence too.
    pub fn finish_if(&mut self, ended: bool) {
        if ended
            && self.asked == Asked::Nothing
            && let Some(command) = self.journal.command(self.cursor)
        {
            let divergence = Divergence::ends_before(self.cursor, &command.question);
            self.asked = Asked::Diverged(divergence);
        }
    }

    fn recorded(&mut self, question: &Question) -> Answer {
        let at = self.cursor;
        let Some(command) = self.journal.command(at) else {
            return Answer::Stop;
        };
        let is_same = match self.is_exact {
            true => command.question.is_same(question),
            false => same(&command.question, question),
        };
        if !is_same {
            let divergence = Divergence::between(at, &command.question, question);
            self.asked = Asked::Diverged(divergence);
            return Answer::Stop;
        }
        let known = command.answer.clone().map(Ok);
        let known = known.or_else(|| {
            self.journal
                .outcome(at)
                .map(|outcome| outcome.result.clone())
        });
        match known {
            Some(result) => {
                self.cursor += 1;
                result.map_or_else(Answer::Error, Answer::Value)
            }
            None => self.still_open(at, question),
        }
    }

    /// What to do about a command without an outcome.
    fn still_open(&mut self, at: usize, question: &Question) -> Answer {
        if let Some(judged) = self.question_for_closure(at) {
            return judged;
        }
        // A failure of a local word that is open once more, because a person retried the run.
        if let Some(result) = self.local(question) {
            return self.local_outcome(at, result);
        }
        self.asked = Asked::Command(at);
        Answer::Stop
    }

    fn local(&mut self, question: &Question) -> Option<Result<Value, Value>> {
        if question.word == "carried" {
            let continued = self.journal.continued();
            let state = continued.map(|continued| continued.state.clone());
            return Some(Ok(state.unwrap_or_default()));
        }
        let complaint = |why: String| {
            Value::from([
                ("message", Value::from(why)),
                ("verb", Value::from(question.word.as_str())),
            ])
        };
        let answer = self.locals.answer(question)?;
        Some(answer.map_err(complaint))
    }

    fn local_outcome(&mut self, at: usize, result: Result<Value, Value>) -> Answer {
        self.cursor = at + 1;
        self.journal.add(Entry::Outcome(Outcome {
            at: self.clock.now(),
            of: at as u64,
            attempts: 0,
            result: result.clone(),
        }));
        result.map_or_else(Answer::Error, Answer::Value)
    }

    fn new_command(&mut self, question: Question) -> Answer {
        let (at, index) = (self.clock.now(), self.cursor);
        let local = self.local(&question);
        let answer = local.clone().and_then(Result::ok);
        self.journal.add(Entry::Command(Command {
            at,
            question,
            answer,
        }));
        match local {
            None => {
                self.asked = Asked::Command(index);
                Answer::Stop
            }
            Some(Ok(value)) => {
                self.cursor += 1;
                Answer::Value(value)
            }
            // What a script is told is written down, a complaint too: it may catch it and go on.
            Some(Err(why)) => self.local_outcome(index, Err(why)),
        }
    }
}

impl Gate for Replay {
    fn ask(&mut self, question: Question) -> Answer {
        if self.asked != Asked::Nothing {
            return Answer::Stop;
        }
        if self.is_judging() {
            let why = format!("`{}` cannot be used in a condition", question.word);
            return Answer::Error(Value::from(why));
        }
        if self.cursor < self.journal.command_count() {
            return self.recorded(&question);
        }
        if self.cursor >= COMMANDS_MAX {
            self.asked = Asked::TooMuch;
            return Answer::Stop;
        }
        self.new_command(question)
    }

    fn judged(&mut self, verdict: Result<bool, Value>) {
        if let Some(judging) = &mut self.judging {
            judging.verdict = Judged::Said(verdict);
        }
    }

    fn print(&mut self, line: &str) {
        if self.is_news() {
            self.journal.add(Entry::Console(line.to_owned()));
        }
    }

    fn log(&mut self, line: &LogLine) -> bool {
        if self.is_news() {
            self.journal.add(Entry::Console(line.to_string()));
            self.locals.log(line);
        }
        true
    }
}
