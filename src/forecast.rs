//! Forecast: what the storm control of a flow makes of a case's event, in virtual time.
//!
//! Invariant: only a case that speaks of it (`earlier`, `suppressed`, `held`) asks the storm control; any
//! other is about the run that begins once it let the event through.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::cases::Case;
use crate::duration::Lasting;
use crate::engine::Engine;
use crate::event::{Event, EventId, Meta, Value};
use crate::exact::Exact;
use crate::flow::Flow;
use crate::storm::{Arrival, Decision, Storm};

/// An event that came before the case's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// How long before it: `"2m"`.
    pub before: Lasting,
    /// Its body.
    pub event: Exact,
}

/// What comes of the case's event.
pub(crate) enum Forecast {
    /// It is suppressed, as the case says.
    Suppressed,
    /// A run begins for these events at this time.
    Acts(Vec<Event>, Timestamp),
}

/// What the storm control of `flow` makes of the case's `events`.
///
/// # Errors
/// What is otherwise than the case says.
pub(crate) fn of(
    (engine, flow): (&Engine, &Flow),
    case: &Case,
    events: Vec<Event>,
) -> Result<Forecast, String> {
    let now = events[0].meta.received_at;
    if case.earlier.is_empty() && case.suppressed.is_none() && case.held.is_none() {
        return Ok(Forecast::Acts(events, now));
    }
    let settings = flow.settings.storm.as_ref();
    let settings =
        settings.ok_or("the flow has no [storm] that could suppress or hold an event")?;
    let all = with_earlier(flow, case, events)?;
    let mut front = Front {
        storm: Storm::new(settings, 1),
        own: all.last_key_value().map_or(0, |(number, _)| *number),
        all,
        decided: None,
    };
    let thinking = Duration::from_secs(flow.settings.run_seconds_max);
    for event in front.all.values().cloned().collect::<Vec<_>>() {
        let passes = engine.filter(&flow.script, &event, thinking);
        let passes =
            passes.map_err(|error| format!("the filter raised: {}", error.diagnostic()))?;
        front.meet(&event, passes);
    }
    front.come(case, now)
}

/// The case's own events behind the earlier ones, by number.
fn with_earlier(
    flow: &Flow,
    case: &Case,
    events: Vec<Event>,
) -> Result<BTreeMap<u64, Event>, String> {
    let now = events[0].meta.received_at;
    let count = case.earlier.len() as u64;
    let mut earlier: Vec<&Earlier> = case.earlier.iter().collect();
    earlier.sort_by_key(|one| std::cmp::Reverse(one.before));
    let mut all = BTreeMap::new();
    for (number, one) in (1..).zip(earlier) {
        let at = now
            .checked_sub(one.before.0)
            .map_err(|why| why.to_string())?;
        let id = EventId {
            channel: flow.channel.clone(),
            number,
        };
        all.insert(
            number,
            Event {
                id,
                body: one.event.0.clone(),
                meta: Meta::new("case", at),
            },
        );
    }
    for (number, mut event) in (count + 1..).zip(events) {
        event.id.number = number;
        all.insert(number, event);
    }
    Ok(all)
}

/// A storm with the events that come into it.
struct Front {
    storm: Storm,
    all: BTreeMap<u64, Event>,
    /// The case's own event, or the last of them.
    own: u64,
    decided: Option<Decision>,
}

impl Front {
    fn meet(&mut self, event: &Event, passes: bool) {
        let arrival = Arrival {
            number: event.id.number,
            at: event.meta.received_at.as_millisecond(),
            body: passes.then_some(&event.body),
        };
        let all = &self.all;
        let decisions = self.storm.meet(arrival, &mut |number| body(all, number));
        self.note(decisions);
    }

    /// What was decided on the case's own event.
    fn note(&mut self, decisions: Vec<Decision>) {
        let own = self.own;
        let is_own = |decision: &Decision| match decision {
            Decision::Act(act) => act.numbers.contains(&own),
            Decision::Suppress(one) => one.number == own,
        };
        self.decided = self
            .decided
            .take()
            .or_else(|| decisions.into_iter().find(is_own));
    }

    /// Time passes until it is decided.
    fn come(mut self, case: &Case, now: Timestamp) -> Result<Forecast, String> {
        let holder = self.storm.holder(self.own).map(|kind| kind.word());
        if let Some(held) = &case.held
            && holder != Some(held.as_str())
        {
            let really = holder.map_or("by nothing".to_owned(), |kind| format!("by {kind}"));
            return Err(format!("it should be held by {held}, and is held {really}"));
        }
        let mut at = now;
        while let Some(due) = self.storm.due().filter(|_| self.decided.is_none()) {
            at = Timestamp::from_millisecond(due).unwrap_or(at).max(now);
            let all = &self.all;
            let decisions = self.storm.ring(due, &mut |number| body(all, number));
            self.note(decisions);
        }
        match (self.decided, &case.suppressed) {
            (Some(Decision::Suppress(one)), Some(by)) if one.by.word() == by => {
                Ok(Forecast::Suppressed)
            }
            (Some(Decision::Suppress(one)), _) => Err(format!(
                "it was suppressed by {}, key {}",
                one.by.word(),
                one.key
            )),
            (_, Some(by)) => Err(format!("it should be suppressed by {by}")),
            (Some(Decision::Act(act)), None) => {
                let of = |number: &u64| self.all.get(number).cloned();
                let mut events: Vec<Event> = act.numbers.iter().filter_map(of).collect();
                if let Some(first) = events.first_mut() {
                    first.meta.extra.extend(act.told);
                }
                Ok(Forecast::Acts(events, at))
            }
            (None, None) => Err("it neither acts nor is suppressed".to_owned()),
        }
    }
}

fn body(all: &BTreeMap<u64, Event>, number: u64) -> Value {
    all.get(&number)
        .map_or(Value::Null, |event| event.body.clone())
}
