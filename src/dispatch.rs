//! Dispatch: one flow looks at the events of its channel, in order, and begins a run for each that
//! its filter lets through.
//!
//! Invariant: looking ahead is bounded, so a flow that falls behind leaves its events in the
//! channel, where `depth_max` counts them and a sender is told.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::blackbox::STRIKES_MAX;
use crate::channel::Channel;
use crate::claim::{Notes, Progress, Seat, Turns, lock};
use crate::engine::ENGINE_FLAGS;
use crate::event::{Event, RunId, Value};
use crate::fault::ScriptError;
use crate::flow::Flow;
use crate::journal::{Journal, Start};
use crate::run::{Conductor, Interrupted, Work};

/// Events that are read and filtered at a time.
pub const LOOK_EVENTS_MAX: usize = 64;
/// Runs of one flow that are begun and not ended: at work, waiting for their turn or for a permit.
pub const RUNS_AHEAD_MAX: usize = 1_000;
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
    /// Changes when the server stops.
    pub stop: watch::Receiver<bool>,
    /// Runs that the last process left.
    pub left: Vec<RunId>,
    /// Held by every run at work; all are done when all are dropped.
    pub working: mpsc::Sender<()>,
    /// True while an operator holds the flow.
    pub paused: watch::Receiver<bool>,
}

/// An event with what the filter said about it.
pub(crate) type Judged = (Event, Result<bool, ScriptError>);

/// What the dispatcher keeps in mind between events.
pub(crate) struct Mind {
    turns: Turns,
    ahead: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
    at_once_max: usize,
    troubles: Arc<Mutex<HashMap<String, Arc<Notes>>>>,
    /// Below this, an event may have had its run before the last process died.
    pub(crate) restart_end: u64,
    /// Events whose filter killed the process once too often.
    doomed: BTreeSet<u64>,
    /// Events of runs that began before the last process died.
    had: BTreeSet<u64>,
    /// A batch killed the process before it was on disk: its events come one by one now, so that
    /// only the one that does it is given up.
    pub(crate) cautious: bool,
}

impl Dispatcher {
    /// Works until the flow is taken away or the server stops.
    pub async fn attend(mut self) {
        let Some(flow) = self.flow.borrow().clone() else {
            return;
        };
        let mut mind = Mind {
            turns: Turns::default(),
            ahead: Arc::new(Semaphore::new(RUNS_AHEAD_MAX)),
            at_once: Arc::new(Semaphore::new(flow.settings.runs_at_once_max)),
            at_once_max: flow.settings.runs_at_once_max,
            troubles: Arc::default(),
            restart_end: self.channel.tail(),
            doomed: BTreeSet::new(),
            had: BTreeSet::new(),
            cautious: false,
        };
        for run in std::mem::take(&mut self.left) {
            if let Err(why) = self.take_up(&mut mind, &flow, run.clone()).await {
                tracing::error!(%run, "cannot go on: {why}");
            }
        }
        while let Some(flow) = self.next_look().await {
            mind.adapt(&flow);
            if let Err(why) = self.look(&mut mind, &flow).await {
                tracing::error!(flow = %flow.path(), "cannot go on: {why}");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    /// Waits until there is something to look at; `None` is the end.
    async fn next_look(&mut self) -> Option<Arc<Flow>> {
        let mut tail = self.channel.watch();
        loop {
            if *self.stop.borrow() {
                return None;
            }
            let flow = self.flow.borrow_and_update().clone()?;
            let held = self.channel.is_paused() || *self.paused.borrow_and_update();
            let next = lock(&self.progress).next.max(self.channel.skip());
            if *tail.borrow_and_update() > next && !held {
                return Some(flow);
            }
            tokio::select! {
                changed = tail.changed() => changed.ok()?,
                changed = self.flow.changed() => changed.ok()?,
                changed = self.paused.changed() => changed.ok()?,
                changed = self.stop.changed() => changed.ok()?,
            }
        }
    }

    /// Looks at the next events.
    async fn look(&mut self, mind: &mut Mind, flow: &Arc<Flow>) -> Result<(), Interrupted> {
        let next = lock(&self.progress).next.max(self.channel.skip());
        mind.cautious &= next < mind.restart_end;
        // Read before the events: one that comes meanwhile is not passed over.
        let tail = self.channel.tail();
        let count = mind
            .batch_size(flow)
            .map_or(LOOK_EVENTS_MAX, |size| size.min(LOOK_EVENTS_MAX));
        let events = self
            .conductor
            .store
            .events(&self.channel.name, next, count)?;
        if events.is_empty() {
            // Taken by somebody, or below the retention: nothing is left up to the tail.
            lock(&self.progress).pass(tail.saturating_sub(1), false);
            return Ok(());
        }
        let judged = self.judge(mind, flow, events).await?;
        match &flow.settings.batch {
            None => {
                for (event, verdict) in judged {
                    self.begin_one(mind, flow, event, verdict).await?;
                }
            }
            Some(_) => self.begin_batch(mind, flow, judged).await?,
        }
        Ok(())
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
                let verdict = engine.filter(&flow.script, &event.body, thinking);
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
            Ok(false) => lock(&self.progress).pass(number, false),
            Ok(true) if mind.note(flow, &event) => lock(&self.progress).pass(number, true),
            Ok(true) => {
                let permit = mind.permit().await;
                self.begin(mind, flow, vec![event], permit)?;
            }
            Err(error) => {
                let journal = Journal::begin(run, self.start(flow, &[number], None));
                self.conductor.refuse(journal, &error).await?;
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
        }
    }

    pub(crate) fn begin(
        &self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        events: Vec<Event>,
        ahead: OwnedSemaphorePermit,
    ) -> Result<(), Interrupted> {
        let Some(first) = events.first() else {
            return Ok(());
        };
        let numbers: Vec<u64> = events.iter().map(|event| event.id.number).collect();
        let trouble = trouble(flow, first);
        let run = RunId::new(&first.id, &flow.name);
        let mut journal = Journal::begin(run, self.start(flow, &numbers, trouble));
        if first.id.number < mind.restart_end {
            // A strike may be on disk before the beginning is.
            let info = self.conductor.store.run(&journal.run).ok().flatten();
            journal.follow(info.map_or(0, |info| info.records as usize));
        }
        {
            let mut progress = lock(&self.progress);
            numbers
                .iter()
                .for_each(|number| progress.pass(*number, true));
        }
        let Some(claim) = self.conductor.claims.claim(&journal.run) else {
            // Begun by whoever attended to this flow before it was taken away and came back.
            return Ok(());
        };
        if first.id.number < mind.restart_end && self.had(mind, &journal.run)? {
            return Ok(());
        }
        let mut seat = Seat::new(&self.progress, numbers, claim);
        seat.hold(ahead);
        let work = Work {
            flow: Arc::clone(flow),
            script: Arc::clone(&flow.script),
            journal,
            events: Arc::new(events),
            seat,
        };
        self.launch(mind, work);
        Ok(())
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
            return Ok(());
        }
        let permit = mind.permit().await;
        let mut work = self
            .conductor
            .recall(Arc::clone(flow), run, &self.progress)
            .await?;
        work.seat.hold(permit);
        self.launch(mind, work);
        Ok(())
    }

    /// Lets a run go: when its turn has come and a permit is free.
    fn launch(&self, mind: &mut Mind, mut work: Work) {
        let value = work.flow.settings.order_by.as_ref().map(|field| {
            work.events
                .first()
                .and_then(|event| event.body.get(field))
                .map_or(String::new(), Value::to_plain)
        });
        let (before, turn) = match value.map(|value| mind.turns.take(value)) {
            Some((before, turn)) => (before, Some(turn)),
            None => (None, None),
        };
        work.seat = work.seat.with_turn(turn);
        let trouble = work.journal.start().and_then(|start| start.trouble.clone());
        if let Some(trouble) = &trouble {
            lock(&mind.troubles).insert(trouble.clone(), Arc::clone(&work.seat.notes));
        }
        let (troubles, at_once) = (Arc::clone(&mind.troubles), Arc::clone(&mind.at_once));
        let conductor = Arc::clone(&self.conductor);
        let working = self.working.clone();
        tokio::spawn(async move {
            let _working = working;
            if let Some(before) = before {
                // An error means that the run before has ended, which is what was waited for.
                let _ = before.await;
            }
            let Ok(permit) = at_once.acquire_owned().await else {
                return;
            };
            work.seat.hold(permit);
            let notes = Arc::clone(&work.seat.notes);
            let run = work.journal.run.clone();
            if let Err(why) = conductor.drive(work).await {
                conductor.interrupted(&run, &why);
            }
            if let Some(trouble) = trouble {
                let mut troubles = lock(&troubles);
                if troubles
                    .get(&trouble)
                    .is_some_and(|current| Arc::ptr_eq(current, &notes))
                {
                    troubles.remove(&trouble);
                }
            }
        });
    }
}

impl Mind {
    /// Takes up a changed `runs_at_once_max`; runs that hold the old permits end as they are.
    fn adapt(&mut self, flow: &Flow) {
        if flow.settings.runs_at_once_max != self.at_once_max {
            self.at_once_max = flow.settings.runs_at_once_max;
            self.at_once = Arc::new(Semaphore::new(self.at_once_max));
        }
    }

    pub(crate) async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            // The semaphore is never closed; asking again is only there for the types.
            if let Ok(permit) = Arc::clone(&self.ahead).acquire_owned().await {
                return permit;
            }
        }
    }

    /// Notes the event on a live run for the same trouble, if there is one.
    fn note(&self, flow: &Flow, event: &Event) -> bool {
        let Some(trouble) = trouble(flow, event) else {
            return false;
        };
        let notes = lock(&self.troubles).get(&trouble).cloned();
        notes.is_some_and(|notes| {
            notes.leave(
                event.id.number,
                format!("event {} is for the same trouble", event.id),
            )
        })
    }
}

/// What makes an event the same trouble as another, by the flow's `one_run_per`.
fn trouble(flow: &Flow, event: &Event) -> Option<String> {
    let fields = &flow.settings.one_run_per;
    let part = |field: &String| {
        event
            .body
            .get(field)
            .map_or_else(|| "null".to_owned(), Value::to_string)
    };
    (!fields.is_empty()).then(|| fields.iter().map(part).collect::<Vec<_>>().join("\u{1f}"))
}
