//! Begin: a run for events that a flow lets through, and its turn.
//!
//! Invariant: the events of a run are open until its beginning is on disk: the cursor does not pass them.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Dispatcher;
use crate::claim::{Seat, lock};
use crate::event::{Event, RunId, Value};
use crate::flow::Flow;
use crate::journal::{Journal, Start};
use crate::mind::{Mind, Tenant, trouble};
use crate::run::{Interrupted, Work};
use crate::storm::Told;

/// The events of a run to be, with what it is told.
pub(crate) struct Together {
    events: Vec<Event>,
    told: Told,
}

impl Together {
    /// The run finds it in the `meta` of its first event.
    pub(crate) fn told(mut events: Vec<Event>, told: Told) -> Together {
        if let Some(first) = events.first_mut() {
            first.meta.extra.extend(told.clone());
        }
        Together { events, told }
    }
}

impl Dispatcher {
    /// Begins a run, unless somebody has.
    pub(crate) fn begin(
        &self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        Together { events, told }: Together,
        ahead: OwnedSemaphorePermit,
    ) -> Result<(), Interrupted> {
        let Some(first) = events.first() else {
            return Ok(());
        };
        let numbers: Vec<u64> = events.iter().map(|event| event.id.number).collect();
        let trouble = trouble(flow, first);
        let run = RunId::new(&first.id, &flow.name);
        let start = Start {
            told,
            ..self.start(flow, &numbers, trouble)
        };
        let journal = Journal::begin(run, start);
        if first.id.number < mind.restart_end && self.had(mind, &journal.run)? {
            let mut progress = lock(&self.progress);
            numbers
                .iter()
                .for_each(|number| progress.pass(*number, false));
            return Ok(());
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

    /// Lets a run go: when its turn has come and a permit is free.
    pub(super) fn launch(&self, mind: &mut Mind, mut work: Work) {
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
        let tenant = Tenant::of(&work);
        if let Some(trouble) = &trouble {
            lock(&mind.troubles).insert(trouble.clone(), tenant.clone());
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
            // It takes nobody's place meanwhile.
            conductor.rest(&mut work).await;
            let Ok(permit) = at_once.acquire_owned().await else {
                return;
            };
            work.seat.hold(permit);
            let has_ended = conductor.carry(work).await;
            if let Some(trouble) = trouble.filter(|_| has_ended) {
                let mut troubles = lock(&troubles);
                if troubles.get(&trouble) == Some(&tenant) {
                    troubles.remove(&trouble);
                }
            }
        });
    }
}
