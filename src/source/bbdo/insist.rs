//! What was not kept is handed in again, one piece after the other, however long that takes.

use std::time::Duration;

use super::peer::BATCH_EVENTS_MAX;
use crate::event::{Incoming, Value};
use crate::source::Context;
use crate::source::context::{Delivery, NotKept, Piece};

/// A pause before what was not kept is handed in again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Hands in what came from one Broker.
pub(super) struct Insisting<'a> {
    pub(super) context: &'a Context,
    /// Where it came from, for complaints.
    pub(super) address: &'a str,
}

impl Insisting<'_> {
    /// Keeps all of it: what was learnt before the events that are called by it. False if the door is
    /// to close before that is done.
    pub(super) async fn keep(&self, delivery: Delivery) -> bool {
        self.keep_pieces(delivery.pieces).await && self.keep_events(delivery.events).await
    }

    async fn keep_pieces(&self, pieces: Vec<Piece>) -> bool {
        if pieces.is_empty() {
            return true;
        }
        while let Err(why) = self.context.remember(pieces.clone()).await {
            self.trouble(&why.to_string());
            if !self.context.pause(AGAIN_AFTER).await {
                return false;
            }
        }
        true
    }

    async fn keep_events(&self, mut events: Vec<Incoming>) -> bool {
        let mut size = BATCH_EVENTS_MAX;
        while !events.is_empty() {
            let some = events[..size.min(events.len())].to_vec();
            let count = some.len();
            match self.context.push(some).await {
                Ok(_) => {
                    drop(events.drain(..count));
                    size = (size * 2).min(BATCH_EVENTS_MAX);
                }
                // There may be room for a part of them.
                Err(_) if count > 1 => size = count / 2,
                Err(NotKept::Never(why)) => {
                    self.trouble(&why);
                    events[0] = without_text(&events[0], &why);
                }
                Err(NotKept::Later(why)) => {
                    self.trouble(&why);
                    if !self.context.pause(AGAIN_AFTER).await {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn trouble(&self, why: &str) {
        self.context.trouble(&format!("{}: {why}", self.address));
    }
}

/// An event that is larger than can ever be kept, without what makes it so.
fn without_text(event: &Incoming, why: &str) -> Incoming {
    let small = |value: &Value| matches!(value, Value::Int(_) | Value::Bool(_) | Value::Float(_));
    let fields = event.body.as_map().into_iter().flatten();
    let fields = fields.filter(|(name, value)| small(value) || *name == "kind");
    let mut meta = event.meta.clone();
    let error = Value::Text(why.to_owned());
    meta.extra.insert("decode_error".to_owned(), error);
    Incoming {
        body: Value::Map(
            fields
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        ),
        meta,
    }
}
