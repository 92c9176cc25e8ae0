//! `events` of a batch: many events as one thing, outside Rhai's size counts.
//!
//! A batch may hold more events than an array may have elements, so it is a type of our own that
//! can be counted, indexed and iterated.

use std::sync::Arc;

use rhai::{Dynamic, Engine};

use super::convert::to_dynamic;
use crate::event::Event;

/// The events of a batch, oldest first.
#[derive(Clone)]
pub struct Events(pub Arc<Vec<Event>>);

/// Adds the type: `events.len`, `events[0]`, `for event in events`, `events.meta(0)`.
pub fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Events>("events")
        .register_get("len", |events: &mut Events| events.0.len() as i64)
        .register_fn("len", |events: &mut Events| events.0.len() as i64)
        .register_fn("meta", |events: &mut Events, index: i64| {
            at(events, index).map_or(Dynamic::UNIT, |event| to_dynamic(&event.meta_value()))
        })
        .register_indexer_get(|events: &mut Events, index: i64| {
            at(events, index).map_or(Dynamic::UNIT, |event| to_dynamic(&event.body))
        })
        .register_iterator::<Events>();
}

fn at(events: &Events, index: i64) -> Option<&Event> {
    let index = usize::try_from(index).ok()?;
    events.0.get(index)
}

impl IntoIterator for Events {
    type Item = Dynamic;
    type IntoIter = EventsIterator;

    fn into_iter(self) -> EventsIterator {
        EventsIterator {
            events: self,
            next: 0,
        }
    }
}

/// Walks through a batch.
pub struct EventsIterator {
    events: Events,
    next: usize,
}

impl Iterator for EventsIterator {
    type Item = Dynamic;

    fn next(&mut self) -> Option<Dynamic> {
        let event = self.events.0.get(self.next)?;
        self.next += 1;
        Some(to_dynamic(&event.body))
    }
}
