//! What a dispatcher keeps in mind between events: turns, permits, and which runs are for which
//! trouble.
//!
//! Invariant: a run that waits keeps its trouble and nothing else; it holds no turn and no permit.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::claim::{Notes, Turns, lock};
use crate::dispatch::Dispatcher;
use crate::event::{Event, EventId, RunId, Value};
use crate::flow::Flow;
use crate::journal::{Entry, Journal};
use crate::run::{Interrupted, Work};
use crate::store::{Batch, StoreError};

/// Runs of one flow that are begun and not ended: at work, waiting for their turn or for a permit.
pub const RUNS_AHEAD_MAX: usize = 1_000;

/// What the dispatcher keeps in mind between events.
pub(crate) struct Mind {
    pub(crate) turns: Turns,
    ahead: Arc<Semaphore>,
    pub(crate) at_once: Arc<Semaphore>,
    at_once_max: usize,
    /// Live runs by what makes further events the same trouble.
    pub(crate) troubles: Arc<Mutex<HashMap<String, Tenant>>>,
    /// Below this, an event may have had its run before the last process died.
    pub(crate) restart_end: u64,
    /// Events whose filter killed the process once too often.
    pub(crate) doomed: BTreeSet<u64>,
    /// Events of runs that began before the last process died.
    pub(crate) had: BTreeSet<u64>,
    /// A batch killed the process before it was on disk: its events come one by one now, so that
    /// only the one that does it is given up.
    pub(crate) cautious: bool,
}

/// The run that has a trouble.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    run: RunId,
    /// Where notes are left while it is at work.
    notes: Option<Arc<Notes>>,
}

impl Tenant {
    /// The run at work.
    pub(crate) fn of(work: &Work) -> Tenant {
        Tenant {
            run: work.journal.run.clone(),
            notes: Some(Arc::clone(&work.seat.notes)),
        }
    }
}

impl PartialEq for Tenant {
    fn eq(&self, other: &Tenant) -> bool {
        self.run == other.run
    }
}

impl Mind {
    /// Nothing yet but the troubles of runs that wait.
    pub(crate) fn new(flow: &Flow, restart_end: u64, waiting: Vec<(String, RunId)>) -> Mind {
        let at_once_max = flow.settings.runs_at_once_max;
        let tenant = |(trouble, run)| (trouble, Tenant { run, notes: None });
        Mind {
            turns: Turns::default(),
            ahead: Arc::new(Semaphore::new(RUNS_AHEAD_MAX)),
            at_once: Arc::new(Semaphore::new(at_once_max)),
            at_once_max,
            troubles: Arc::new(Mutex::new(waiting.into_iter().map(tenant).collect())),
            restart_end,
            doomed: BTreeSet::new(),
            had: BTreeSet::new(),
            cautious: false,
        }
    }

    /// Takes up a changed `runs_at_once_max`; runs that hold the old permits end as they are.
    pub(crate) fn adapt(&mut self, flow: &Flow) {
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
}

impl Dispatcher {
    /// Notes the event on a live run for the same trouble, if there is one.
    pub(crate) async fn note(
        &self,
        mind: &Mind,
        flow: &Flow,
        event: &Event,
    ) -> Result<bool, Interrupted> {
        let number = event.id.number;
        let tenant =
            trouble(flow, event).and_then(|trouble| lock(&mind.troubles).get(&trouble).cloned());
        let Some(tenant) = tenant else {
            return Ok(false);
        };
        let text = same_trouble(&event.id);
        if let Some(notes) = &tenant.notes
            && notes.leave(number, text.clone())
        {
            lock(&self.progress).pass(number, true);
            return Ok(true);
        }
        if number < mind.restart_end && self.was_noted(&tenant.run, &text)? {
            lock(&self.progress).pass(number, false);
            return Ok(true);
        }
        // It waits, or has just ended: the store knows.
        let mut noted = self.note_in_store(&tenant.run, &text).await?;
        if !noted && let Some(heir) = self.conductor.heir(&tenant.run)? {
            noted = self.note_in_store(&heir, &text).await?;
        }
        if noted {
            lock(&self.progress).pass(number, false);
        }
        Ok(noted)
    }

    /// False if the run is not live.
    async fn note_in_store(&self, run: &RunId, text: &str) -> Result<bool, Interrupted> {
        let mut journal = Journal::addition_to(run.clone());
        journal.add(Entry::Note(self.conductor.clock.now(), text.to_owned()));
        let record = journal
            .take_pending()
            .map_err(|why| Interrupted::Unreadable(why.to_string()))?;
        let mut batch = Batch::new();
        batch.note(run, record);
        match self.conductor.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(StoreError::Lost { .. }) => Ok(false),
            Err(why) => Err(why.into()),
        }
    }

    /// True if the last process noted it already, and died before its cursor was written.
    fn was_noted(&self, run: &RunId, text: &str) -> Result<bool, Interrupted> {
        let is_it = |entry: &Entry| matches!(entry, Entry::Note(_, noted) if noted == text);
        let journal = self.conductor.journal(run)?;
        Ok(journal.is_some_and(|journal| journal.entries().iter().any(is_it)))
    }
}

/// How a further event is noted on a run.
pub(crate) fn same_trouble(event: &EventId) -> String {
    format!("event {event} is for the same trouble")
}

/// What makes an event the same trouble as another, by the flow's `one_run_per`.
pub(crate) fn trouble(flow: &Flow, event: &Event) -> Option<String> {
    let fields = &flow.settings.one_run_per;
    let part = |field: &String| {
        event
            .body
            .get(field)
            .map_or_else(|| "null".to_owned(), Value::to_string)
    };
    (!fields.is_empty()).then(|| fields.iter().map(part).collect::<Vec<_>>().join("\u{1f}"))
}
