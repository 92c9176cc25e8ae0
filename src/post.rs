//! The post of one source: what the server does for it, and what it says about it.
//!
//! Invariant: events and the memory that goes with them are one batch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::action::http;
use crate::channel::{Coming, PushError};
use crate::claim::lock;
use crate::clock::Clock;
use crate::event::{EventId, Value};
use crate::metrics::{OfSource, TurnedAway, in_channel};
use crate::pace::Pace;
use crate::run::Conductor;
use crate::source::Plan;
use crate::source::context::{Delivery, Handing, Keeper, Keeping, NotKept};
use crate::store::{Batch, Pushed, StoreError};

/// One source as the running server knows it.
pub(crate) struct Post {
    conductor: Arc<Conductor>,
    plan: Plan,
    pace: Option<Pace>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Standing,
    /// True once the door stood; it counts for readiness even if it has to be opened again.
    was_up: bool,
    events: u64,
    last_event: Option<(EventId, Timestamp)>,
    last_error: Option<(String, Timestamp)>,
    /// What was turned away, by reason.
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Standing {
    #[default]
    Opening,
    Up,
    /// Up, but the last thing that it tried went wrong.
    Failing,
    /// Closed by itself; it is opened again after a wait.
    Waiting,
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Standing::Opening => "opening",
            Standing::Up => "up",
            Standing::Failing => "failing",
            Standing::Waiting => "waiting",
        }
    }
}

impl Post {
    pub(crate) fn new(conductor: Arc<Conductor>, plan: Plan) -> Post {
        let most = plan.events_per_second_max;
        Post {
            conductor,
            pace: most.map(|most| Pace::new(most, Instant::now())),
            plan,
            state: Mutex::default(),
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// True once the door stood.
    pub(crate) fn was_up(&self) -> bool {
        lock(&self.state).was_up
    }

    /// The door is being opened, for the first time or again.
    pub(crate) fn opening(&self) {
        self.stand(Standing::Opening);
    }

    /// The door is closed and stays so.
    pub(crate) fn gone(&self) {
        self.conductor.metrics.sources_up.remove(&self.label());
    }

    /// The door closed by itself and will be opened again after `wait`.
    pub(crate) fn closed(&self, why: &str, wait: Duration) {
        self.failed(why);
        self.stand(Standing::Waiting);
        let seconds = wait.as_secs_f64();
        tracing::error!(
            source = self.plan.id(),
            kind = self.plan.kind,
            "the source closed: {why}; it is opened again in {seconds:.1} s"
        );
    }

    /// A row of the listing.
    pub(crate) fn line(&self) -> Json {
        let state = lock(&self.state);
        json!({
            "name": self.plan.id(), "kind": self.plan.kind, "channel": self.plan.channel,
            "place": self.plan.door.place(), "state": state.now.word(), "events": state.events,
            "last_event": state.last_event.as_ref().map(|(id, _)| id.to_string()),
            "last_event_at": state.last_event.as_ref().map(|(_, at)| at.to_string()),
            "last_error": state.last_error.as_ref().map(|(why, _)| why),
            "last_error_at": state.last_error.as_ref().map(|(_, at)| at.to_string()),
            "refused": state.refused.values().sum::<u64>(), "refused_for": state.refused,
        })
    }

    fn stand(&self, now: Standing) {
        let mut state = lock(&self.state);
        state.now = now;
        state.was_up |= now == Standing::Up;
        let up = i64::from(matches!(now, Standing::Up | Standing::Failing));
        let metrics = &self.conductor.metrics;
        metrics.sources_up.get_or_create(&self.label()).set(up);
    }

    /// Notes a failure; true if it is another than the last one.
    fn failed(&self, why: &str) -> bool {
        let metrics = &self.conductor.metrics;
        metrics.source_failures.get_or_create(&self.label()).inc();
        let at = self.conductor.clock.now();
        let before = lock(&self.state).last_error.replace((why.to_owned(), at));
        before.is_none_or(|(before, _)| before != why)
    }

    fn label(&self) -> OfSource {
        label(&self.plan)
    }

    /// # Errors
    /// The source brings more than it may: the same may come a moment later.
    fn hold_to_pace(&self, events: usize) -> Result<(), NotKept> {
        let Some(pace) = &self.pace else {
            return Ok(());
        };
        match events == 0 || pace.admits(events, Instant::now()) {
            true => Ok(()),
            false => Err(NotKept::Later(format!(
                "source `{}` brings more than {} events a second",
                self.plan.id(),
                pace.per_second()
            ))),
        }
    }

    async fn coming(&self, delivery: &mut Delivery) -> Result<Coming, PushError> {
        let mut batch = Batch::new();
        if let Some(line) = &delivery.line {
            batch.stand_in(line.clone());
        }
        if let Some(memory) = &delivery.memory {
            batch.set_mark(&self.plan.memory_name(), Some(memory.clone()))?;
        }
        for (name, piece) in &delivery.pieces {
            let name = format!("{}{name}", self.plan.pieces_name());
            batch.set_mark(&name, piece.clone())?;
        }
        if delivery.events.is_empty() {
            return Ok(self.conductor.store.hand_over(batch).await?.into());
        }
        for event in &mut delivery.events {
            let name = Value::from(self.plan.name.as_str());
            event.meta.extra.insert("source_name".to_owned(), name);
        }
        let channel = delivery.channel.as_deref().unwrap_or(&self.plan.channel);
        let channels = &self.conductor.channels;
        channels
            .hand_over(channel, &mut delivery.events, batch)
            .await
    }

    fn kept(&self, pushed: Vec<Pushed>) -> Vec<EventId> {
        let metrics = &self.conductor.metrics;
        for one in &pushed {
            let label = in_channel(&one.id.channel);
            let counted = if one.duplicate {
                &metrics.duplicates
            } else {
                &metrics.events
            };
            counted.get_or_create(&label).inc();
        }
        let mut state = lock(&self.state);
        let fresh = pushed.iter().filter(|one| !one.duplicate);
        if let Some(last) = fresh.clone().next_back() {
            state.last_event = Some((last.id.clone(), self.conductor.clock.now()));
        }
        state.events += fresh.count() as u64;
        pushed.into_iter().map(|one| one.id).collect()
    }
}

impl Keeper for Post {
    fn hand_over<'d, 'a: 'd>(&'a self, delivery: &'d mut Delivery) -> Handing<'d, 'a> {
        Box::pin(async move {
            self.hold_to_pace(delivery.events.len())?;
            let coming = self.coming(delivery).await.map_err(not_kept)?;
            let keeping: Keeping<'a> = Box::pin(async move {
                let pushed = self.conductor.channels.kept(coming).await;
                Ok(self.kept(pushed.map_err(not_kept)?))
            });
            Ok(keeping)
        })
    }

    fn memory(&self) -> Result<Option<Vec<u8>>, NotKept> {
        let memory = self.conductor.store.mark(&self.plan.memory_name());
        memory.map_err(|why| NotKept::Later(why.to_string()))
    }

    fn pieces(&self) -> Result<Vec<(String, Vec<u8>)>, NotKept> {
        let pieces = self.conductor.store.marks(&self.plan.pieces_name());
        pieces.map_err(|why| NotKept::Later(why.to_string()))
    }

    fn http(&self) -> http::Client {
        let services = self.conductor.services.read();
        services
            .unwrap_or_else(PoisonError::into_inner)
            .http
            .clone()
    }

    fn clock(&self) -> &Clock {
        &self.conductor.clock
    }

    fn up(&self) {
        self.stand(Standing::Up);
    }

    fn unknown(&self, events: u64) {
        let unknown = &self.conductor.metrics.source_unknown;
        unknown.get_or_create(&label(&self.plan)).inc_by(events);
    }

    fn trouble(&self, why: &str) {
        let is_news = self.failed(why);
        self.stand(Standing::Failing);
        let source = self.plan.id();
        match is_news {
            true => tracing::warn!(source, "{why}"),
            false => tracing::debug!(source, "{why}"),
        }
    }

    fn refused(&self, why: &'static str, count: u64, whose: &str) {
        let source = self.plan.id();
        let label = TurnedAway {
            source: source.clone(),
            reason: why.to_owned(),
        };
        let counter = &self.conductor.metrics.source_refused;
        counter.get_or_create(&label).inc_by(count);
        let (before, now) = {
            let mut state = lock(&self.state);
            let all = state.refused.entry(why).or_default();
            *all += count;
            (*all - count, *all)
        };
        // Anybody can send anything: at 1, 2, 4, 8 … it is said aloud.
        match before.checked_ilog2() == now.checked_ilog2() {
            true => tracing::debug!(source, whose, "turned away: {why}"),
            false => tracing::warn!(source, whose, "turned away: {why} ({now} so far)"),
        }
    }
}

fn label(plan: &Plan) -> OfSource {
    OfSource {
        source: plan.id(),
        kind: plan.kind.to_owned(),
    }
}

/// A script asked for something that a source does not know.
pub(crate) fn missed(conductor: &Conductor, plan: &Plan) {
    let unknown = &conductor.metrics.source_unknown;
    unknown.get_or_create(&label(plan)).inc();
}

fn not_kept(why: PushError) -> NotKept {
    match &why {
        PushError::Store(StoreError::TooLarge { .. }) => NotKept::Never(why.to_string()),
        PushError::Store(_) | PushError::Full { .. } => NotKept::Later(why.to_string()),
    }
}
