//! From frames to the events that a flow gets: decoded, called by name, chosen.
//!
//! Invariant: names are learnt before anything is chosen, so that they are known whatever is not
//! wanted; what cannot be read is kept if its kind is wanted.

use std::sync::{Arc, Mutex, PoisonError};

use super::again::Recent;
use super::decode::{Decoded, decode, kind_of};
use super::frame::Frame;
use super::keys::Wish;
use super::names::{self, Names};
use crate::clock::Clock;
use crate::event::{Incoming, Meta, Value};
use crate::source::context::Piece;

/// Events that tell the state of a host or a service.
const STATES: &[&str] = &["host", "host_status", "service", "service_status"];

/// The names that a source knows, shared with the scripts that ask for them.
pub(super) type Shared = Arc<Mutex<Names>>;

/// What all conversations of one source share.
#[derive(Clone)]
pub(super) struct House {
    pub(super) wish: Arc<Wish>,
    pub(super) names: Shared,
}

impl House {
    /// For one conversation, with whom is at `address`.
    pub(super) fn reader(&self, address: String, clock: Clock) -> Reader {
        Reader {
            house: self.clone(),
            address,
            clock,
            recent: Recent::default(),
            unknown: 0,
        }
    }
}

/// Reads the frames of one conversation.
pub(super) struct Reader {
    house: House,
    address: String,
    clock: Clock,
    recent: Recent,
    /// Events about something that has no name, since it was last asked.
    unknown: u64,
}

impl Reader {
    /// Who is at the other end.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Counts again from 0.
    pub(super) fn take_unknown(&mut self) -> u64 {
        std::mem::take(&mut self.unknown)
    }

    /// The events among `frames`, and what was learnt from them.
    pub(super) fn read(&mut self, frames: &[Frame]) -> (Vec<Incoming>, Vec<Piece>) {
        let mut events = Vec::new();
        let mut news = Vec::new();
        for frame in frames {
            events.extend(self.event(frame, &mut news));
        }
        (events, news)
    }

    fn event(&mut self, frame: &Frame, news: &mut Vec<Piece>) -> Option<Incoming> {
        let kind = kind_of(frame.label);
        let rules = &self.house.wish.rules;
        let is_wanted = rules.wants(frame.label.category, kind);
        let is_state = STATES.contains(&kind) && rules.needs_states();
        if !is_wanted && !is_state && !names::is_definition(kind) {
            return None;
        }
        let mut decoded = decode(frame);
        let state = self.name(&mut decoded, news);
        let is_read = decoded.error.is_none();
        let rules = &self.house.wish.rules;
        let passes = !is_read || rules.accept(kind, &decoded.fields, state);
        (is_wanted && passes).then(|| self.incoming(frame, decoded))
    }

    /// Learns names and puts them beside ids; the state of what the event is about, if it is known.
    fn name(&mut self, decoded: &mut Decoded, news: &mut Vec<Piece>) -> Option<i64> {
        if decoded.error.is_some() {
            return None;
        }
        let rules = &self.house.wish.rules;
        let names = self.house.names.lock();
        let mut names = names.unwrap_or_else(PoisonError::into_inner);
        news.extend(names.learn(decoded.kind, &decoded.fields));
        if !names.join(decoded.kind, &mut decoded.fields) {
            self.unknown += 1;
        }
        if rules.renames_business(&decoded.fields) {
            names.rename_business(&mut decoded.fields);
        }
        if STATES.contains(&decoded.kind) && rules.needs_states() {
            names.hear_state(&decoded.fields);
        }
        names.state(&decoded.fields)
    }

    fn incoming(&mut self, frame: &Frame, decoded: Decoded) -> Incoming {
        let mut meta = Meta::new("bbdo", self.clock.now());
        meta.peer.clone_from(&self.address);
        let payload = &frame.payload;
        meta.message_id = self.recent.message_id(&decoded.fields, payload);
        let error = decoded.error.map(Value::Text);
        let error = error.map(|why| ("decode_error".to_owned(), why));
        meta.extra.extend(error);
        let source = Value::Int(frame.label.source.into());
        meta.extra.insert("source_id".to_owned(), source);
        Incoming {
            body: Value::Map(decoded.fields),
            meta,
        }
    }
}
