//! Rehearsal: a run in virtual time. Nothing is performed, nothing is waited for; somebody else says
//! what comes of each action, and a [`World`] which events come.
//!
//! Invariant: what a script is told follows the rules of the server. The same journal, the same
//! replay and the same waits are used, only the time and the outcomes are made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::action::Failure;
use crate::actor::{Actor, Shared, VirtualLocals};
use crate::bundle::Script;
use crate::claim::lock;
use crate::clock::Clock;
use crate::engine::{Engine, Input, StepEnd};
use crate::error::did_you_mean;
use crate::event::{Event, EventId, Value};
use crate::fault::ScriptError;
use crate::journal::{Command, Entry, Journal, Outcome, Seen};
use crate::perform::failure_value;
use crate::replay::{Asked, Divergence, Judged, Replay};
use crate::wait::{self, Form, Wait};
use crate::world::World;

/// Steps that one rehearsal may take; each replays all before it.
pub const REHEARSED_STEPS_MAX: usize = 2_000;

/// Where a rehearsal came to.
#[derive(Debug)]
pub enum Ended {
    /// The script's end.
    Done(Value),
    /// A failure.
    Failed(ScriptError),
    /// A wait that nothing ends in this world.
    Waits(Wait),
    /// A wait for a channel of which nobody has looked what it holds.
    Unknown(String),
    /// The actor stopped it.
    Stopped,
    /// The script asked something else than its journal holds.
    Diverged(Divergence),
}

/// What a rehearsal begins with.
pub struct Stage<'a> {
    /// Thinks.
    pub engine: &'a Engine,
    /// The script.
    pub script: &'a Script,
    /// What comes into channels.
    pub world: &'a World,
    /// How long one step may think.
    pub thinking: Duration,
}

/// A run in virtual time. Must be used on a thread with a large stack.
pub struct Rehearsal<'a, A> {
    stage: Stage<'a>,
    events: Arc<Vec<Event>>,
    clock: Clock,
    shared: Arc<Mutex<Shared<A>>>,
    taken: BTreeSet<EventId>,
    /// How many commands the last step was answered.
    pub reached: usize,
    /// What the run did so far, since it began or began anew.
    pub journal: Journal,
    /// Everything it asked for before it began anew.
    pub before: Vec<Command>,
    /// Every line that it printed before it began anew.
    printed: Vec<String>,
}

impl<'a, A: Actor> Rehearsal<'a, A> {
    /// A run that goes on from `journal` at `now`; `events` began it.
    pub fn new(
        stage: Stage<'a>,
        (journal, events): (Journal, Arc<Vec<Event>>),
        now: Timestamp,
        actor: A,
    ) -> Rehearsal<'a, A> {
        let state = BTreeMap::new();
        Rehearsal {
            stage,
            events,
            clock: Clock::virtual_at(now),
            shared: Arc::new(Mutex::new(Shared { actor, state })),
            taken: BTreeSet::new(),
            reached: 0,
            journal,
            before: Vec::new(),
            printed: Vec::new(),
        }
    }

    /// The same, with what the flow keeps already.
    #[must_use]
    pub fn state(self, state: BTreeMap<String, Value>) -> Rehearsal<'a, A> {
        lock(&self.shared).state = state;
        self
    }

    /// Looks at the actor, or changes it.
    pub fn actor<R>(&self, look: impl FnOnce(&mut A) -> R) -> R {
        look(&mut lock(&self.shared).actor)
    }

    /// What the script printed.
    pub fn printed(&self) -> Vec<String> {
        let newest = self.journal.console().into_iter().map(str::to_owned);
        self.printed.iter().cloned().chain(newest).collect()
    }

    /// Goes as far as it can.
    pub fn go(&mut self) -> Ended {
        for _ in 0..REHEARSED_STEPS_MAX {
            let Some((end, asked)) = self.think() else {
                return Ended::Failed(ScriptError::sentence("the engine lost the gate"));
            };
            let stopped = match (end, asked) {
                (_, Asked::Diverged(divergence)) => Some(Ended::Diverged(divergence)),
                (_, Asked::Command(index)) => self.answer(index),
                (StepEnd::Failed(error), _) => Some(Ended::Failed(error)),
                (StepEnd::Done(value), _) => Some(Ended::Done(value)),
                (StepEnd::Stopped, _) => Some(too_much()),
            };
            if let Some(ended) = stopped {
                return ended;
            }
        }
        too_much()
    }

    /// One step.
    pub fn think(&mut self) -> Option<(StepEnd, Asked)> {
        let journal = std::mem::replace(&mut self.journal, Journal::nowhere());
        let replay = Replay::new(journal, self.clock.clone(), Box::new(self.locals())).exactly();
        let (end, replay) = self.step(replay);
        let mut replay = replay?;
        replay.finish_if(matches!(end, StepEnd::Done(_)));
        self.reached = replay.position();
        self.journal = replay.journal;
        Some((end, replay.asked))
    }

    fn step(&self, replay: Replay) -> (StepEnd, Option<Replay>) {
        let input = Input {
            events: Arc::clone(&self.events),
            thinking: self.stage.thinking,
        };
        self.stage.engine.step(self.stage.script, input, replay)
    }

    fn locals(&self) -> VirtualLocals<A> {
        VirtualLocals {
            clock: self.clock.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// `Some` if it goes no further.
    fn answer(&mut self, index: usize) -> Option<Ended> {
        let command = self.journal.command(index)?.clone();
        if wait::is_wait(&command.question.word) {
            return self.wait(index, &command);
        }
        if command.question.word == wait::CONTINUE {
            let state = command.question.arguments.first().cloned();
            self.begin_anew(state.unwrap_or_default());
            return None;
        }
        let act = self.actor(|actor| actor.act(&command.question, command.at));
        let Some(act) = act else {
            return Some(Ended::Stopped);
        };
        let done = self.clock.now().checked_add(act.takes);
        self.clock.set(done.unwrap_or(Timestamp::MAX));
        self.outcome(index, act.result);
        None
    }

    fn begin_anew(&mut self, state: Value) {
        self.printed = self.printed();
        let count = self.journal.command_count();
        let commands = (0..count).filter_map(|index| self.journal.command(index));
        self.before.extend(commands.cloned());
        self.journal = self.journal.begin_anew(self.clock.now(), state);
    }

    fn outcome(&mut self, index: usize, result: Result<Value, Value>) {
        self.journal.add(Entry::Outcome(Outcome {
            at: self.clock.now(),
            of: index as u64,
            attempts: 0,
            result,
        }));
    }

    fn wait(&mut self, index: usize, command: &Command) -> Option<Ended> {
        let asked = Wait::of(&self.journal.run, index, command.at, &command.question);
        let found = asked.and_then(|wait| self.placed(wait));
        let wait = match found {
            Ok(wait) => wait,
            Err(why) => {
                let failure = failure_value(&command.question.word, Failure::refused(why));
                self.outcome(index, Err(failure));
                return None;
            }
        };
        let mut channels = wait.wants.iter().map(|want| &want.channel);
        if let Some(unknown) = channels.find(|channel| !self.stage.world.is_known(channel)) {
            return Some(Ended::Unknown(unknown.clone()));
        }
        match self.first_of(&wait) {
            Some(woken) => self.woken(&wait, woken),
            None => return self.time_is_over(wait),
        }
        None
    }

    /// The wait with its channels found, and from which event on they count.
    fn placed(&self, mut wait: Wait) -> Result<Wait, String> {
        let world = self.stage.world;
        for want in &mut wait.wants {
            let name = world.find(&want.channel).ok_or_else(|| {
                let hint = did_you_mean(&want.channel, world.names());
                let hint = hint.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
                format!("there is no channel `{}`{hint}", want.channel)
            })?;
            want.channel = name.to_owned();
            let Some(begun) = self.events.first() else {
                continue;
            };
            let from = world.from(wait.form, name, (begun, self.clock.now()));
            want.from = match wait.form {
                Form::Receive => from,
                _ => from.max(self.journal.seen_after(want)),
            };
        }
        Ok(wait)
    }

    /// What wakes the run before its time is over. An event that comes at the very moment at which
    /// the time is over comes too late.
    fn first_of(&self, wait: &Wait) -> Option<Woken> {
        let now = self.clock.now();
        let in_time = |at: Timestamp| at <= now || wait.alarm.is_none_or(|alarm| at < alarm.due);
        for (which, arrival) in self.stage.world.shown(wait, (now, &self.taken)) {
            if !in_time(arrival.at) {
                return None;
            }
            let verdict = match wait.wants[which].condition {
                true => self.judge(wait, which, &arrival.event),
                false => Ok(true),
            };
            let event = Arc::clone(&arrival.event);
            let at = arrival.at.max(now);
            match verdict {
                Ok(false) => {}
                Ok(true) => {
                    return Some(Woken {
                        at,
                        which,
                        told: Ok(event),
                    });
                }
                Err(error) => {
                    return Some(Woken {
                        at,
                        which,
                        told: Err(error),
                    });
                }
            }
        }
        None
    }

    /// Has the script's own closure asked, as the server does.
    fn judge(&self, wait: &Wait, which: usize, event: &Event) -> Result<bool, Value> {
        let want = &wait.wants[which];
        let seen = wait.seen_by_condition(want, event);
        let locals = Box::new(self.locals());
        let replay = Replay::new(self.journal.clone(), self.clock.clone(), locals);
        let (_, replay) = self.step(replay.judging(wait.command, (want.which, seen)));
        match replay.map_or(Judged::NotAsked, Replay::verdict) {
            Judged::Said(verdict) => verdict,
            Judged::NotAsked => {
                let why = "the script did not come to its condition again";
                Err(failure_value("condition", Failure::refused(why)))
            }
        }
    }

    fn woken(&mut self, wait: &Wait, woken: Woken) {
        self.clock.set(woken.at);
        let want = &wait.wants[woken.which];
        let result = woken.told.map(|event| {
            if wait.form == Form::Receive {
                self.taken.insert(event.id.clone());
            }
            self.journal.add(Entry::Seen(Seen {
                at: woken.at,
                of: wait.command as u64,
                which: want.which as u64,
                event: event.id.clone(),
            }));
            wait.woken_by(want, &event)
        });
        self.outcome(wait.command, result);
    }

    fn time_is_over(&mut self, wait: Wait) -> Option<Ended> {
        let known = |due: &Timestamp| self.stage.world.until.is_none_or(|until| *due <= until);
        let Some(due) = wait.alarm.map(|alarm| alarm.due).filter(known) else {
            return Some(Ended::Waits(wait));
        };
        self.clock.set(due.max(self.clock.now()));
        self.outcome(wait.command, Ok(wait.timed_out()));
        None
    }
}

/// What ends a wait.
struct Woken {
    at: Timestamp,
    which: usize,
    told: Result<Arc<Event>, Value>,
}

fn too_much() -> Ended {
    Ended::Failed(ScriptError::sentence(format!(
        "a rehearsed run takes at most {REHEARSED_STEPS_MAX} steps"
    )))
}
