//! The conductor: claim → step → journal → perform → journal → … → ack.
//!
//! Invariants: all branching on success or failure stands here; nothing that may not be repeated is
//! performed before the wish for it is on disk; a finished action is never performed again.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::action::{self, Failure, Repeat, Services, Verb};
use crate::attempt::{Next, Tries};
use crate::blackbox::{BlackBox, STRIKES_MAX};
use crate::bundle::Script;
use crate::channel::Channels;
use crate::claim::{Claims, Notes, Seat};
use crate::clock::Clock;
use crate::engine::{Input, StepEnd};
use crate::event::{Event, Value};
use crate::flow::{Flow, InDoubt};
use crate::journal::{End, EndState, Entry, Journal};
use crate::locals::RunLocals;
use crate::metrics::Metrics;
use crate::replay::{Asked, Replay};
use crate::secret::Secret;
use crate::store::{Store, StoreError};
use crate::thinkers::Thinkers;
use crate::tries::TriesRecord;
use crate::versions::Versions;

/// Everything that runs share.
pub struct Conductor {
    /// What is kept.
    pub store: Store,
    /// Where events wait.
    pub channels: Channels,
    /// Where scripts think.
    pub thinkers: Thinkers,
    /// Connections of actions; replaced on reload.
    pub services: RwLock<Arc<Services>>,
    /// What `secret("name")` stands for; replaced on reload.
    pub secrets: RwLock<Arc<BTreeMap<String, Secret>>>,
    /// The time.
    pub clock: Clock,
    /// Who is thinking.
    pub blackbox: BlackBox,
    /// Counted things.
    pub metrics: Metrics,
    /// Which runs are at work.
    pub claims: Claims,
    /// Scripts of versions that runs are pinned to.
    pub versions: Versions,
    /// Changes when the server stops: runs then end between two commands and go on after a restart.
    pub stop: watch::Receiver<bool>,
}

/// A run that somebody holds a claim on.
pub struct Work {
    /// Its flow, as it is now.
    pub flow: Arc<Flow>,
    /// The version of the script that it is pinned to.
    pub script: Arc<Script>,
    /// What it did so far.
    pub journal: Journal,
    /// The events that began it.
    pub events: Arc<Vec<Event>>,
    /// Further events for it, and its place in line.
    pub seat: Seat,
}

/// Why a run could not go on for now: the store failed, or the process is ending. The run is
/// as it was, and goes on when the server has come back.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The store did not keep something.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thinking thread panicked.
    #[error("the engine panicked")]
    Engine,
    /// The journal or the version of a run cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Somebody else holds the claim on it.
    #[error("it is at work already")]
    AtWork,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl Conductor {
    /// Takes a run as far as it goes: to its end.
    ///
    /// # Errors
    /// [`Interrupted`]: the run stays live and is taken up again later.
    pub async fn drive(&self, mut work: Work) -> Result<EndState, Interrupted> {
        let known = work.journal.command_count();
        if work.journal.strikes_at(known as u64) >= STRIKES_MAX {
            let message = "the process died twice while this script was thinking".to_owned();
            return self.end(work, EndState::Failed, message, Value::Null).await;
        }
        loop {
            if *self.stop.borrow() {
                // What came of the last action is not to be asked again.
                self.flush(&mut work).await?;
                return Err(Interrupted::Stopping);
            }
            let (end, asked) = self.think(&mut work).await?;
            match (end, asked) {
                (_, Asked::Diverged(divergence)) => {
                    let message = divergence.to_string();
                    return self
                        .end(work, EndState::Blocked, message, Value::Null)
                        .await;
                }
                (_, Asked::TooMuch) => {
                    let message = "the journal has 20,000 commands; use `continue_as`".to_owned();
                    return self.end(work, EndState::Failed, message, Value::Null).await;
                }
                (_, Asked::Command(index)) => self.act(&mut work, index, index < known).await?,
                (StepEnd::Failed(error), _) => {
                    let message = error.diagnostic().to_string();
                    return self
                        .end(work, EndState::Failed, message, error.thrown)
                        .await;
                }
                (StepEnd::Done(value), _) => {
                    return self.end(work, EndState::Done, String::new(), value).await;
                }
                (StepEnd::Stopped, Asked::Nothing) => return Err(Interrupted::Engine),
            }
        }
    }

    /// One step on a thinking thread.
    async fn think(&self, work: &mut Work) -> Result<(StepEnd, Asked), Interrupted> {
        let (answer, thought) = oneshot::channel();
        let journal = std::mem::replace(&mut work.journal, Journal::nowhere());
        let effects = Arc::clone(&work.seat.effects);
        let locals = RunLocals {
            flow: work.flow.path(),
            run: journal.run.to_string(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            effects,
        };
        let (run, position) = (journal.run.clone(), journal.command_count() as u64);
        let replay = Replay::new(journal, self.clock.clone(), Box::new(locals));
        let (script, events) = (Arc::clone(&work.script), Arc::clone(&work.events));
        let thinking = Duration::from_secs(work.flow.settings.run_seconds_max);
        let blackbox = self.blackbox.clone();
        self.thinkers.submit(move |engine, thread| {
            blackbox.enter(thread, &run, position);
            let input = Input { events, thinking };
            let (end, replay) = engine.step(&script, input, replay);
            blackbox.leave(thread);
            if let Some(mut replay) = replay {
                replay.finish_if(matches!(end, StepEnd::Done(_)));
                let _ = answer.send((end, replay));
            }
        });
        let (end, replay) = thought.await.map_err(|_| Interrupted::Engine)?;
        self.metrics.steps.inc();
        work.journal = replay.journal;
        Ok((end, replay.asked))
    }

    /// Has the command at `index` done and notes what came of it. `recovered` says that the command
    /// was asked for before this process took up the run.
    async fn act(&self, work: &mut Work, index: usize, recovered: bool) -> Result<(), Interrupted> {
        let Some(command) = work.journal.command(index) else {
            return Err(Interrupted::Engine);
        };
        let question = command.question.clone();
        let Some((_, verb)) = action::find(&question.word) else {
            let failure =
                Failure::refused(format!("this version of vigie has no `{}`", question.word));
            self.note_outcome(work, index, 0, Err(failure));
            return Ok(());
        };
        // What may be repeated needs no wish on disk, but what it was made of does: another time,
        // another chance would make it another thing.
        if verb.repeat != Repeat::Safe || work.journal.has_pending_answers() {
            self.flush(work).await?;
        }
        let mut tries = match recovered {
            true => TriesRecord::load(&self.store, &work.journal.run, index, self.clock.now())?,
            false => TriesRecord::begin(index, self.clock.now()),
        };
        if let Some(wait) = tries.wait_left(self.clock.now()) {
            self.wait(work, wait).await?;
        }
        let mut result = self.attempt_until_known(work, verb, &mut tries).await?;
        if let Err(failure) = &mut result {
            failure.in_doubt |= tries.in_doubt;
        }
        self.note_outcome(work, index, tries.count, result);
        Ok(())
    }

    async fn attempt_until_known(
        &self,
        work: &mut Work,
        verb: &'static Verb,
        tries: &mut TriesRecord,
    ) -> Result<Result<Value, Failure>, Interrupted> {
        loop {
            if let Some(failure) = self.doubt(work, verb, tries) {
                return Ok(Err(failure));
            }
            if let Some(wait) = tries.settle(verb.repeat, &work.flow.settings) {
                self.wait(work, wait).await?;
            }
            if verb.repeat != Repeat::Safe && tries.kept {
                tries.performing = true;
                self.keep_tries(work, tries).await?;
            }
            tries.count += 1;
            let failure = match self.perform(work, tries).await {
                Ok(value) => return Ok(Ok(value)),
                Err(failure) => failure,
            };
            self.metrics.failures.inc();
            match tries.failed(&failure, &work.flow.settings, self.clock.now()) {
                Next::GiveUp => return Ok(Err(failure)),
                Next::After(wait) => {
                    self.keep_tries(work, tries).await?;
                    self.wait(work, wait).await?;
                }
            }
        }
    }

    /// What the flow wants when nobody can tell whether a thing was done: `Some` ends it.
    fn doubt(&self, work: &mut Work, verb: &Verb, tries: &mut TriesRecord) -> Option<Failure> {
        if !tries.in_doubt || verb.repeat != Repeat::InDoubt {
            return None;
        }
        let told = std::mem::replace(&mut tries.told, true);
        let now = self.clock.now();
        match work.flow.settings.in_doubt {
            InDoubt::DeadLetter => {
                let message = "it may have been done already, and the flow leaves that to a person";
                Some(Failure::refused(message).in_doubt())
            }
            InDoubt::Repeat if told => None,
            InDoubt::Repeat => {
                let note = format!(
                    "command {}: it may have been done already; repeated with the same key",
                    tries.command
                );
                work.journal.add(Entry::Note(now, note));
                None
            }
        }
    }

    /// Lets time pass; further events for the run are noted meanwhile.
    async fn wait(&self, work: &mut Work, wait: Duration) -> Result<(), Interrupted> {
        let until = tokio::time::Instant::now() + wait;
        let mut stop = self.stop.clone();
        loop {
            let notes = Arc::clone(&work.seat.notes);
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                () = Notes::arrived(&notes) => self.flush(work).await?,
                () = told(&mut stop) => return Err(Interrupted::Stopping),
            }
        }
    }

    async fn end(
        &self,
        mut work: Work,
        state: EndState,
        message: String,
        value: Value,
    ) -> Result<EndState, Interrupted> {
        let at = self.clock.now();
        work.seat.close_notes(&mut work.journal, at);
        let run = work.journal.run.clone();
        match state {
            EndState::Done => tracing::debug!(%run, "done"),
            _ => tracing::error!(%run, state = state.word(), "{message}"),
        }
        work.journal.add(Entry::End(End {
            at,
            state,
            message: message.clone(),
            value,
        }));
        let mut batch = self.pending(&mut work)?;
        batch.finish(&run, state, at);
        if state == EndState::Failed {
            batch.dead_letter(&run, at, message.into_bytes());
        }
        self.commit(&mut work, batch).await?;
        self.metrics.ended(state);
        Ok(state)
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Tries so far as the rule sees them.
impl From<&TriesRecord> for Tries {
    fn from(record: &TriesRecord) -> Tries {
        Tries {
            count: record.count,
            counted: record.counted,
            since_first: record.since_first,
        }
    }
}
