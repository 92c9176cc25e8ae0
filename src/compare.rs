//! Compare: what a new version of a flow would have done with an event that a real run has dealt
//! with already.
//!
//! As long as the new script asks what the run's journal holds, it is answered from there, to the
//! letter and the millisecond; an unchanged script differs in nothing by construction. Where it
//! asks something else, virtual time begins: what is asked again later is answered with what came
//! of it in the real run, waits look at the recorded events. Invariant: what nobody recorded is
//! said to be so; it is taken as `()`, and where the script fails over that the comparison ends.
//! Left out, and for whoever shows a comparison to say: storm control, and in filters the names of
//! `broker::`, which only the server knows.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::action;
use crate::bundle::Script;
use crate::difference::{Change, changes, changes_so_far};
use crate::engine::{ENGINE_FLAGS, Engine, StepEnd};
use crate::event::{Event, RunId};
use crate::gate::Question;
use crate::journal::{Command, Entry, Journal, Start};
use crate::recorded::Recorded;
use crate::rehearsal::{Ended, Rehearsal, Stage};
use crate::replay::Asked;
use crate::world::World;

/// Local words that take effect outside the script; they are compared like actions.
const EFFECTS: &[&str] = &["emit", "state::set", "state::delete"];

/// What a filter may ask that only the server knows.
const NAMES: &str = "broker::";

/// A run's journal, and the events that began it.
pub type RealRun = (Journal, Arc<Vec<Event>>);

/// An event and what became of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The event.
    pub event: Event,
    /// The run, if there was one.
    pub run: Option<RealRun>,
}

/// Where versions are compared. Everything here must be used on a thread with a large stack.
#[derive(Clone, Copy)]
pub struct Comparison<'a> {
    /// Thinks.
    pub engine: &'a Engine,
    /// The flow's name, without its channel.
    pub flow: &'a str,
    /// The version that the server has now: its filter speaks for events without a run.
    pub old: &'a Script,
    /// The new one.
    pub new: &'a Script,
    /// What came into channels.
    pub world: &'a World,
    /// How long one step may think.
    pub thinking: Duration,
}

/// What is otherwise for one event.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Difference {
    /// What the filter said and says now, if that is something else.
    pub filter: Option<(String, String)>,
    /// Actions, events emitted, state kept.
    pub changes: Vec<Change>,
    /// How the run ended and would end now, if that is something else.
    pub end: Option<(String, String)>,
    /// What else a person must know to judge this.
    pub notes: Vec<String>,
}

impl Difference {
    /// True if nothing is otherwise.
    pub fn is_empty(&self) -> bool {
        self.filter.is_none() && self.changes.is_empty() && self.end.is_none()
    }
}

/// What came of looking.
#[derive(Debug)]
pub enum Compared {
    /// This is otherwise.
    To(Difference),
    /// First somebody must say what came into this channel.
    Needs(String),
}

impl Comparison<'_> {
    /// What would be otherwise for one event.
    pub fn of(&self, case: &Case) -> Compared {
        let (before, after) = self.filters(case);
        let mut difference = Difference::default();
        if before != after {
            difference.filter = Some((before.clone(), after.clone()));
            if self.asks_names() {
                let note = format!("the names of {NAMES} are not known here");
                difference.notes.push(note);
            }
        }
        match (before == MATCHED, after == MATCHED, &case.run) {
            (true, true, Some(run)) => self.both(run, difference),
            (true, false, Some(_)) if self.new.bundle().is_batch => {
                difference
                    .notes
                    .push("it would not be in its batch".to_owned());
                Compared::To(difference)
            }
            (true, false, Some((journal, _))) => {
                difference.changes = changes(&effects(&commands(journal)), &[]);
                Compared::To(difference)
            }
            (false, true, _) if self.new.bundle().is_batch => {
                difference
                    .notes
                    .push("it would be one of a batch".to_owned());
                Compared::To(difference)
            }
            (false, true, _) => self.fresh(&case.event, difference),
            _ => Compared::To(difference),
        }
    }

    /// What the filter said, and what the new one says. Where names are asked for and both versions say
    /// the same without them, the new one is taken to say what was said with them.
    fn filters(&self, case: &Case) -> (String, String) {
        let after = self.filter(self.new, &case.event);
        let Some((journal, _)) = &case.run else {
            return (self.filter(self.old, &case.event), after);
        };
        let before = filter_of(journal);
        match self.asks_names() && self.filter(self.old, &case.event) == after {
            true => (before.clone(), before),
            false => (before, after),
        }
    }

    fn asks_names(&self) -> bool {
        self.old.bundle().says(NAMES) || self.new.bundle().says(NAMES)
    }

    fn filter(&self, script: &Script, event: &Event) -> String {
        match self.engine.filter(script, event, self.thinking) {
            Ok(true) => MATCHED.to_owned(),
            Ok(false) => "did not match".to_owned(),
            Err(error) => format!("{RAISED}: {}", error.message),
        }
    }

    /// A run that there never was.
    fn fresh(&self, event: &Event, difference: Difference) -> Compared {
        let at = event.meta.received_at;
        let start = Start {
            at,
            flow: format!("{}/{}", event.id.channel, self.flow),
            version: self.new.version.clone(),
            engine_flags: ENGINE_FLAGS,
            events: vec![event.id.number],
            trouble: None,
            told: Default::default(),
        };
        let journal = Journal::begin(RunId::new(&event.id, self.flow), start);
        let recorded = Recorded::from(&Journal::addition_to(journal.run.clone()), 0);
        let events = Arc::new(vec![event.clone()]);
        let mut run = Rehearsal::new(self.stage(), (journal, events), at, recorded);
        let ended = run.go();
        self.differ(None, (&run, ended), difference)
    }

    /// The new version against the run that there was.
    fn both(&self, run: &RealRun, difference: Difference) -> Compared {
        let (journal, events) = run;
        let known = journal.command_count();
        let begin = |journal: Journal, now: Timestamp, recorded: Recorded| {
            Rehearsal::new(self.stage(), (journal, Arc::clone(events)), now, recorded)
        };
        let recorded = Recorded::from(journal, known);
        let mut same = begin(journal.clone(), last_time(journal), recorded);
        let at = match same.think() {
            Some((_, Asked::Diverged(divergence))) => divergence.at,
            Some((_, Asked::Command(index))) if index < known => {
                // As far as the run has come itself.
                return Compared::To(difference);
            }
            // What it did not come to is not asked any more.
            Some((StepEnd::Failed(_), Asked::Nothing)) => same.reached,
            _ => known,
        };
        let cut = up_to(journal, at);
        let now = last_time(&cut);
        let mut run = begin(cut, now, Recorded::from(journal, at));
        let ended = run.go();
        self.differ(Some(journal), (&run, ended), difference)
    }

    fn differ(
        &self,
        before: Option<&Journal>,
        (run, ended): (&Rehearsal<'_, Recorded>, Ended),
        mut difference: Difference,
    ) -> Compared {
        let mut after = run.before.clone();
        after.extend(commands(&run.journal));
        let old = before
            .map(|journal| effects(&commands(journal)))
            .unwrap_or_default();
        let new = effects(&after);
        let (assumed, unknown) = run.actor(|recorded| {
            let assumed = std::mem::take(&mut recorded.assumed);
            (assumed, recorded.unknown.take())
        });
        let ends = match ended {
            Ended::Unknown(channel) => return Compared::Needs(channel),
            Ended::Done(_) => Some("done".to_owned()),
            Ended::Waits(_) => Some("live".to_owned()),
            Ended::Failed(error) if assumed.is_empty() => {
                Some(format!("failed: {}", error.message))
            }
            Ended::Failed(error) => {
                let why = error.message;
                difference
                    .notes
                    .push(format!("compared as far as here, because then: {why}"));
                None
            }
            Ended::Stopped => {
                let what = unknown.unwrap_or_default();
                difference.notes.push(format!(
                    "compared as far as here: what comes of {what} is not known yet"
                ));
                None
            }
            Ended::Diverged(divergence) => {
                difference.notes.push(divergence.to_string());
                None
            }
        };
        difference.changes = match &ends {
            Some(_) => changes(&old, &new),
            None => changes_so_far(&old, &new),
        };
        if let (Some(before), Some(after)) = (before.and_then(end_of), ends)
            && before.split(':').next() != after.split(':').next()
        {
            difference.end = Some((before, after));
        }
        let told = |what: String| format!("nothing is recorded for {what}; taken as ()");
        difference.notes.extend(assumed.into_iter().map(told));
        Compared::To(difference)
    }

    fn stage(&self) -> Stage<'_> {
        Stage {
            engine: self.engine,
            script: self.new,
            world: self.world,
            thinking: self.thinking,
        }
    }
}

/// What a comparison of these versions does not show, as sentences; `storm` are the kinds of storm control
/// that the flow has.
pub fn left_out(storm: &[&str], versions: [&Script; 2]) -> Vec<String> {
    let storm = (!storm.is_empty()).then(|| {
        let kinds = storm.join(", ");
        format!(
            "[storm] ({kinds}) is left out: every event that a filter lets through is taken to act"
        )
    });
    let asks = versions.iter().any(|script| script.bundle().says(NAMES));
    let names = asks.then(|| {
        format!("only the server knows the names of {NAMES}: filters are asked without them")
    });
    storm.into_iter().chain(names).collect()
}

const MATCHED: &str = "matched";
const RAISED: &str = "raised";

/// What the filter said, as a run shows it.
fn filter_of(journal: &Journal) -> String {
    let raised = journal.end().and_then(|end| {
        let why = end.message.strip_prefix("the filter raised: ")?;
        let line = why.lines().next().unwrap_or_default();
        Some(line.strip_prefix("error: ").unwrap_or(line))
    });
    raised.map_or_else(|| MATCHED.to_owned(), |why| format!("{RAISED}: {why}"))
}

/// How a run ended, if its script had a say in it.
fn end_of(journal: &Journal) -> Option<String> {
    let Some(end) = journal.end() else {
        return Some("live".to_owned());
    };
    let line = end.message.lines().next().unwrap_or_default();
    match end.state.word() {
        "done" => Some("done".to_owned()),
        "failed" => Some(format!(
            "failed: {}",
            line.strip_prefix("error: ").unwrap_or(line)
        )),
        _ => None,
    }
}

fn commands(journal: &Journal) -> Vec<Command> {
    let count = journal.command_count();
    (0..count)
        .filter_map(|index| journal.command(index).cloned())
        .collect()
}

/// What takes effect outside the script.
fn effects(commands: &[Command]) -> Vec<Question> {
    let counts = |word: &str| EFFECTS.contains(&word) || action::find(word).is_some();
    let questions = commands.iter().map(|command| &command.question);
    questions
        .filter(|question| counts(&question.word))
        .cloned()
        .collect()
}

/// The journal as it was before the command at `end` was asked for.
fn up_to(journal: &Journal, end: usize) -> Journal {
    let mut cut = Journal::addition_to(journal.run.clone());
    let mut commands = 0;
    for entry in journal.entries() {
        commands += usize::from(matches!(entry, Entry::Command(_)));
        if commands > end {
            break;
        }
        if !matches!(entry, Entry::End(_)) {
            cut.add(entry.clone());
        }
    }
    cut
}

/// The moment of the newest entry that has one.
fn last_time(journal: &Journal) -> Timestamp {
    let time = |entry: &Entry| match entry {
        Entry::Start(start) => Some(start.at),
        Entry::Command(command) => Some(command.at),
        Entry::Outcome(outcome) => Some(outcome.at),
        Entry::Continued(continued) => Some(continued.at),
        _ => None,
    };
    let newest = journal.entries().iter().rev().find_map(time);
    newest.unwrap_or(Timestamp::UNIX_EPOCH)
}
