//! The conductor: claim → step → journal → perform → journal → … → ack.
//!
//! Invariants: all branching on how a run goes stands here, that on one command in `act`; nothing that may not be repeated is
//! performed before the wish for it is on disk; a finished action is never performed again; a run
//! that waits is on disk and in nobody's hands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::act::Acted;
use crate::action::Services;
use crate::backlog::Backlog;
use crate::blackbox::{BlackBox, STRIKES_MAX, STRUCK_REST};
use crate::broker::Origin;
use crate::bundle::Script;
use crate::channel::Channels;
use crate::claim::{Claims, Seat};
use crate::clock::Clock;
use crate::engine::{Input, StepEnd};
use crate::event::{Event, RunId, Value};
use crate::flow::Flow;
use crate::journal::{End, EndState, Entry, JOURNAL_BYTES_MAX, Journal};
use crate::locals::{Effects, RunLocals};
use crate::metrics::Metrics;
use crate::replay::{Asked, Replay};
use crate::secret::Secret;
use crate::store::{Store, StoreError};
use crate::thinkers::Thinkers;
use crate::versions::Versions;
use crate::wait::Wait;
use crate::waits::{Mark, Waits};

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
    /// Runs that wait.
    pub waits: Arc<Waits>,
    /// What old events are found by.
    pub backlog: Backlog,
    /// Where runs go that have been woken.
    pub woken: mpsc::UnboundedSender<RunId>,
    /// Told when a run lies down that may be due before all others.
    pub alarms: Notify,
    /// Marks of waits as they are on disk.
    pub kept_marks: Mutex<BTreeMap<String, Mark>>,
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

impl Work {
    /// Until when a cancelled run may tidy up.
    pub(crate) fn tidy_up_until(&self) -> Option<Timestamp> {
        let kept = self.journal.cancel().map(|(_, until)| until);
        kept.or_else(|| self.seat.cancelled_until())
    }
}

/// Where a run came to.
enum Stage {
    Wait(Wait),
    End(EndState, String, Value),
}

/// How far a run got.
#[derive(Debug)]
pub enum Reached {
    /// Its end.
    End(EndState),
    /// A wait, which is on disk.
    Wait(Wait),
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
    /// A person killed it.
    #[error("killed by a person")]
    Killed,
    /// Somebody wants to have it as it is.
    #[error("it was halted")]
    Halted,
}

impl Conductor {
    /// Takes a run as far as it goes, and lets go of it: at its end or where it waits. True if it
    /// has ended.
    pub async fn carry(self: &Arc<Self>, work: Work) -> bool {
        let run = work.journal.run.clone();
        let orders = work.seat.orders();
        match self.drive(work).await {
            Ok(Reached::End(_)) => {
                self.waits.forget(&run);
                return true;
            }
            // Nobody holds it any more, so nothing more is ordered: what was is what counts.
            Ok(Reached::Wait(wait)) if orders.borrow().kill => {
                self.waits.settled(&wait);
                match self.end_at_once(&run).await {
                    Ok(()) => return true,
                    Err(why) => self.interrupted(&run, &why.into()),
                }
            }
            Ok(Reached::Wait(wait)) => self.settle(wait).await,
            Err(why) => self.interrupted(&run, &why),
        }
        false
    }

    /// Takes a run as far as it goes: to its end, or to where it waits.
    ///
    /// # Errors
    /// [`Interrupted`]: the run stays live and is taken up again later.
    pub async fn drive(&self, mut work: Work) -> Result<Reached, Interrupted> {
        let known = work.journal.command_count();
        if work.journal.strikes_at(known as u64) >= STRIKES_MAX {
            let message = "the process died twice while this script was thinking".to_owned();
            return self.end(work, EndState::Failed, message, Value::Null).await;
        }
        match self.go_on(&mut work, known).await {
            Ok(Stage::Wait(wait)) => Ok(Reached::Wait(wait)),
            Ok(Stage::End(state, message, value)) => {
                let state = match work.journal.knows_of_cancel() {
                    true if state != EndState::Blocked => EndState::Cancelled,
                    _ => state,
                };
                self.end(work, state, message, value).await
            }
            Err(Interrupted::Killed) => {
                let message = Interrupted::Killed.to_string();
                self.end(work, EndState::Cancelled, message, Value::Null)
                    .await
            }
            Err(Interrupted::Halted) => {
                // From here on further events are noted in the store.
                work.seat.close_notes(&mut work.journal, self.clock.now());
                self.flush(&mut work).await?;
                Err(Interrupted::Halted)
            }
            Err(why) => Err(why),
        }
    }

    /// Steps and acts in turn.
    async fn go_on(&self, work: &mut Work, mut known: usize) -> Result<Stage, Interrupted> {
        loop {
            if *self.stop.borrow() {
                // What came of the last action is not to be asked again.
                self.flush(work).await?;
                return Err(Interrupted::Stopping);
            }
            if work.seat.is_halted() {
                return Err(Interrupted::Halted);
            }
            if work.journal.is_too_large() {
                let most = JOURNAL_BYTES_MAX >> 20;
                let message = format!("the journal has more than {most} MiB; use `continue_as`");
                return Ok(Stage::End(EndState::Failed, message, Value::Null));
            }
            let (end, asked) = self.think(work).await?;
            work.seat.unless_killed()?;
            match (end, asked) {
                (_, Asked::Diverged(divergence)) => {
                    let message = divergence.to_string();
                    return Ok(Stage::End(EndState::Blocked, message, Value::Null));
                }
                (_, Asked::TooMuch) => {
                    let message = "the journal has 20,000 commands; use `continue_as`".to_owned();
                    return Ok(Stage::End(EndState::Failed, message, Value::Null));
                }
                (_, Asked::Command(index)) => match self.act(work, index, index < known).await? {
                    Acted::Known => {}
                    Acted::Waits(wait) => return Ok(Stage::Wait(wait)),
                    Acted::Anew => known = 0,
                    Acted::Enough => {
                        let message = "cancelled, and its time to tidy up is over".to_owned();
                        return Ok(Stage::End(EndState::Cancelled, message, Value::Null));
                    }
                },
                (StepEnd::Failed(error), _) => {
                    let message = error.diagnostic().to_string();
                    return Ok(Stage::End(EndState::Failed, message, error.thrown));
                }
                (StepEnd::Done(value), _) => {
                    return Ok(Stage::End(EndState::Done, String::new(), value));
                }
                (StepEnd::Stopped, Asked::Nothing) => return Err(Interrupted::Engine),
            }
        }
    }

    /// Lets a run that was struck rest, so that nobody is struck twice by bad luck alone, and what
    /// kills the process leaves time to all others. What ends the rest early is met again by [`drive`](Self::drive).
    pub(crate) async fn rest(&self, work: &mut Work) {
        let journal = &work.journal;
        let known = journal.command_count() as u64;
        if journal.strikes_at(known) > 0 || self.blackbox.was_set_aside(&journal.run) {
            let _ = self.wait(work, STRUCK_REST).await;
        }
    }

    /// One step on a thinking thread.
    async fn think(&self, work: &mut Work) -> Result<(StepEnd, Asked), Interrupted> {
        let (answer, thought) = oneshot::channel();
        let journal = std::mem::replace(&mut work.journal, Journal::nowhere());
        let effects = Arc::clone(&work.seat.effects);
        let locals = RunLocals {
            log_level: work.flow.settings.log_level,
            ..self.locals(&journal.run, &work.events, effects)
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
        let before = usize::try_from(position).unwrap_or(usize::MAX);
        work.journal.note_length(self.clock.now(), before);
        Ok((end, replay.asked))
    }

    /// Answers what needs nobody outside.
    pub(crate) fn locals(
        &self,
        run: &RunId,
        events: &[Event],
        effects: Arc<Mutex<Effects>>,
    ) -> RunLocals {
        RunLocals {
            flow: run.flow_path(),
            run: run.to_string(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            effects,
            brokers: Arc::clone(&self.thinkers.engine.brokers),
            origin: Origin::of(events),
            log_level: 0,
        }
    }

    async fn end(
        &self,
        mut work: Work,
        state: EndState,
        message: String,
        value: Value,
    ) -> Result<Reached, Interrupted> {
        let at = self.clock.now();
        work.seat.close_notes(&mut work.journal, at);
        let run = work.journal.run.clone();
        match state {
            EndState::Done => tracing::debug!(%run, "done"),
            EndState::Cancelled if message.is_empty() => tracing::info!(%run, "cancelled"),
            EndState::Cancelled => tracing::info!(%run, "{message}"),
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
        Ok(Reached::End(state))
    }
}
