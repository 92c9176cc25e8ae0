//! Dispatch: one flow looks at the events of its channel, in order, and begins a run for each that
//! its filter lets through.
//!
//! Invariant: looking ahead is bounded, so a flow that falls behind leaves its events in the
//! channel, where `depth_max` counts them and a sender is told.

mod begin;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use begin::Together;

use crate::blackbox::STRIKES_MAX;
use crate::channel::Channel;
use crate::claim::{Progress, lock};
use crate::engine::ENGINE_FLAGS;
use crate::event::{Event, RunId};
use crate::fault::ScriptError;
use crate::flow::Flow;
use crate::journal::{Journal, Start};
use crate::mind::Mind;
use crate::run::{Conductor, Interrupted};
use crate::storm::Told;
use crate::weather::Weather;

/// Events that are read and filtered at a time.
pub const LOOK_EVENTS_MAX: usize = 64;
/// How long a flow whose store failed waits before it goes on.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// One flow at its channel.
pub struct Dispatcher {
    /// What all runs share.
    pub conductor: Arc<Conductor>,
    /// The channel.
    pub channel: Arc<Channel>,
    /// The flow as it is now; `None` ends the dispatcher.
    pub flow: watch::Receiver<Option<Arc<Flow>>>,
    /// How far it has come.
    pub progress: Arc<Mutex<Progress>>,
    /// Its storm control.
    pub weather: Arc<Weather>,
    /// Changes when the server stops.
    pub stop: watch::Receiver<bool>,
    /// What the last process left.
    pub left: Left,
    /// Runs that were woken, or that a person wants tried again.
    pub woken: mpsc::UnboundedReceiver<RunId>,
    /// Held by every run at work; all are done when all are dropped.
    pub working: mpsc::Sender<()>,
    /// True while an operator holds the flow.
    pub paused: watch::Receiver<bool>,
}

/// What a process left of one flow.
#[derive(Debug, Default)]
pub struct Left {
    /// Runs that were at work.
    pub runs: Vec<RunId>,
    /// Runs that wait, by what makes further events the same trouble.
    pub troubles: Vec<(String, RunId)>,
}

/// What there is to do next.
enum Turn {
    /// Events to look at.
    Look(Arc<Flow>),
    /// A run to take up.
    Woken(Arc<Flow>, RunId),
    /// The storm control has something to do.
    Due(Arc<Flow>),
}

/// An event with what the filter said about it.
pub(crate) type Judged = (Event, Result<bool, ScriptError>);

impl Dispatcher {
    /// Works until the flow is taken away or the server stops.
    pub async fn attend(mut self) {
        let Some(flow) = self.flow.borrow().clone() else {
            return;
        };
        let left = std::mem::take(&mut self.left);
        let mut mind = Mind::new(&flow, self.channel.tail(), left.troubles);
        for run in left.runs {
            if let Err(why) = self.take_up(&mut mind, &flow, run.clone()).await {
                tracing::error!(%run, "cannot go on: {why}");
            }
        }
        while let Some(turn) = self.next_turn().await {
            let (flow, done) = match turn {
                Turn::Look(flow) => {
                    mind.adapt(&flow);
                    let done = self.look(&mut mind, &flow).await;
                    (flow, done)
                }
                Turn::Due(flow) => {
                    mind.adapt(&flow);
                    let done = self.abate(&mut mind, &flow).await;
                    (flow, done)
                }
                Turn::Woken(flow, run) => {
                    let done = self.go_on(&mut mind, &flow, run.clone()).await;
                    if let Err(why) = done {
                        self.conductor.interrupted(&run, &why);
                    }
                    (flow, Ok(()))
                }
            };
            if let Err(why) = done {
                tracing::error!(flow = %flow.path(), "cannot go on: {why}");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    /// Waits until there is something to do; `None` is the end.
    async fn next_turn(&mut self) -> Option<Turn> {
        let mut offered = self.channel.watch();
        loop {
            if *self.stop.borrow() {
                return None;
            }
            let flow = self.flow.borrow_and_update().clone()?;
            if let Ok(run) = self.woken.try_recv() {
                return Some(Turn::Woken(flow, run));
            }
            let held = self.channel.is_paused() || *self.paused.borrow_and_update();
            let next = lock(&self.progress).next.max(self.channel.skip());
            let due = (!held).then(|| self.until_due(&flow, next)).flatten();
            if due.is_some_and(|due| due.is_zero()) {
                return Some(Turn::Due(flow));
            }
            if *offered.borrow_and_update() > next && !held {
                return Some(Turn::Look(flow));
            }
            tokio::select! {
                changed = offered.changed() => changed.ok()?,
                changed = self.flow.changed() => changed.ok()?,
                changed = self.paused.changed() => changed.ok()?,
                changed = self.stop.changed() => changed.ok()?,
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
                run = self.woken.recv() => return Some(Turn::Woken(flow, run?)),
            }
        }
    }

    /// Looks at the next events.
    async fn look(&mut self, mind: &mut Mind, flow: &Arc<Flow>) -> Result<(), Interrupted> {
        let next = lock(&self.progress).next.max(self.channel.skip());
        mind.cautious &= next < mind.restart_end;
        let count = mind
            .batch_size(flow)
            .map_or(LOOK_EVENTS_MAX, |size| size.min(LOOK_EVENTS_MAX));
        let events = self.read(next, count)?;
        let judged = self.judge(mind, flow, events).await?;
        match &flow.settings.batch {
            None if self.weather.is_stormy() => self.face(mind, flow, judged).await?,
            None => {
                for (event, verdict) in judged {
                    self.begin_one(mind, flow, event, verdict).await?;
                }
            }
            Some(_) => self.begin_batch(mind, flow, judged).await?,
        }
        Ok(())
    }

    /// The next events that the flow may look at and that nobody took; what is passed over counts
    /// as looked at.
    pub(crate) fn read(&self, next: u64, count: usize) -> Result<Vec<Event>, Interrupted> {
        // Read before the events: one that comes meanwhile is not passed over.
        let end = self.channel.offered();
        let store = &self.conductor.store;
        let mut events = store.events(&self.channel.name, next, count)?;
        events.retain(|event| event.id.number < end);
        if events.is_empty() {
            // Below the retention: nothing is left up to the end.
            lock(&self.progress).pass(end.saturating_sub(1), false);
        }
        let mut is_first = true;
        events.retain(|event| {
            let is_taken = self.conductor.is_taken(event);
            is_first &= is_taken;
            if is_first {
                // One behind an event that is still to be looked at is passed with what comes after it.
                lock(&self.progress).pass(event.id.number, false);
            }
            !is_taken
        });
        Ok(events)
    }

    /// Asks the filter about each event, on a thinking thread.
    pub(crate) async fn judge(
        &self,
        mind: &Mind,
        flow: &Arc<Flow>,
        events: Vec<Event>,
    ) -> Result<Vec<Judged>, Interrupted> {
        let (answer, judged) = oneshot::channel();
        let thinking = Duration::from_secs(flow.settings.run_seconds_max);
        let blackbox = self.conductor.blackbox.clone();
        let flow = Arc::clone(flow);
        let doomed = mind.doomed.clone();
        self.conductor.thinkers.submit(move |engine, thread| {
            let judge = |event: Event| {
                if doomed.contains(&event.id.number) {
                    let why = "the process died twice while this flow was thinking about it";
                    return (event, Err(ScriptError::sentence(why)));
                }
                blackbox.enter(thread, &RunId::new(&event.id, &flow.name), 0);
                let verdict = engine.filter(&flow.script, &event, thinking);
                (event, verdict)
            };
            let judged = events.into_iter().map(judge).collect();
            blackbox.leave(thread);
            let _ = answer.send(judged);
        });
        judged.await.map_err(|_| Interrupted::Engine)
    }

    async fn begin_one(
        &mut self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        event: Event,
        verdict: Result<bool, ScriptError>,
    ) -> Result<(), Interrupted> {
        let number = event.id.number;
        let run = RunId::new(&event.id, &flow.name);
        if self.had(mind, &run)? {
            lock(&self.progress).pass(number, false);
            return Ok(());
        }
        match verdict {
            Ok(false) => {
                self.weather.count(|counts| counts.filtered += 1);
                lock(&self.progress).pass(number, false);
            }
            Ok(true) => {
                if !self.note(mind, flow, &event).await? {
                    let permit = mind.permit().await;
                    let alone = Together::told(vec![event], Told::new());
                    self.begin(mind, flow, alone, permit)?;
                }
                self.weather.count(|counts| {
                    counts.came += 1;
                    counts.acted += 1;
                });
            }
            Err(error) => {
                self.refuse(flow, &event, &error).await?;
                lock(&self.progress).pass(number, false);
            }
        }
        Ok(())
    }

    /// True if the event of `run` is in a run whose beginning is on disk. Events are asked about in
    /// order, so the run of a batch is met at its first event, before all others.
    pub(crate) fn had(&self, mind: &mut Mind, run: &RunId) -> Result<bool, Interrupted> {
        let number = run.event().number;
        if number >= mind.restart_end {
            return Ok(false);
        }
        let journal = self.conductor.journal(run)?;
        if let Some(start) = journal.as_ref().and_then(Journal::start) {
            mind.had.extend(&start.events);
        }
        Ok(mind.had.remove(&number))
    }

    pub(crate) fn start(&self, flow: &Flow, events: &[u64], trouble: Option<String>) -> Start {
        Start {
            at: self.conductor.clock.now(),
            flow: flow.path(),
            version: flow.script.version.clone(),
            engine_flags: ENGINE_FLAGS,
            events: events.to_vec(),
            trouble,
            told: Told::new(),
        }
    }

    /// Brings back a run that the last process left.
    async fn take_up(
        &self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        run: RunId,
    ) -> Result<(), Interrupted> {
        let journal = self.conductor.journal(&run)?;
        if let Some(journal) = journal.filter(|journal| journal.start().is_none()) {
            // Struck before its beginning was on disk: the cursor has not passed its event.
            mind.cautious = true;
            if journal.strikes_at(0) >= STRIKES_MAX {
                mind.doomed.insert(run.event().number);
            }
            self.conductor.blackbox.set_aside(run);
            return Ok(());
        }
        self.go_on(mind, flow, run).await
    }

    /// Has a run go on that is on disk.
    async fn go_on(
        &self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        run: RunId,
    ) -> Result<(), Interrupted> {
        let permit = mind.permit().await;
        let flow = Arc::clone(flow);
        let mut work = self.conductor.recall(flow, run, &self.progress).await?;
        work.seat.hold(permit);
        self.launch(mind, work);
        Ok(())
    }
}
