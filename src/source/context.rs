//! What a door has while it stands open: channels to push into, a memory, the time, the word to stop.
//!
//! Invariant: a push that answers is on disk, and a memory that goes with events is kept in the same
//! batch as they are, so that after a crash both are there or neither.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::action::http;
use crate::clock::Clock;
use crate::event::{EventId, Incoming};
use crate::store::Line;

/// Most bytes that one source can remember.
pub const MEMORY_BYTES_MAX: usize = 1024 * 1024;

/// Most pieces that are remembered at once.
pub const PIECES_MAX: usize = 250;

/// Why events, or a memory, were not kept. Nothing of what was handed over is kept then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// The channel is full, or the store is out of room or away: the same may go well later.
    #[error("{0}")]
    Later(String),
    /// It is larger than can ever be kept.
    #[error("{0}")]
    Never(String),
}

/// What a door hands over, to be kept together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    /// For the channel that this name means; `None` is the channel in whose file the source stands.
    pub channel: Option<String>,
    /// The events, in order; at most [`super::json::EVENTS_MAX`].
    pub events: Vec<Incoming>,
    /// What the source remembers from now on.
    pub memory: Option<Vec<u8>>,
    /// What it remembers in pieces from now on.
    pub pieces: Vec<Piece>,
    /// Where it stands if it is handed over before the answer to the one ahead of it: it is kept
    /// only if that one is.
    pub line: Option<Line>,
}

impl Delivery {
    /// True if there is nothing in it to keep.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.memory.is_none() && self.pieces.is_empty()
    }
}

/// A piece of what a source remembers, by its own name; `None` is none any more. For sources that
/// know much and learn a little of it at a time.
pub type Piece = (String, Option<Vec<u8>>);

/// What comes of handing a [`Delivery`] over: it has its place behind those before it, and its
/// answer will come. The delivery is looked at until then only.
pub type Handing<'d, 'a> = Pin<Box<dyn Future<Output = Result<Keeping<'a>, NotKept>> + Send + 'd>>;

/// The answer to a [`Delivery`].
pub type Keeping<'a> = Pin<Box<dyn Future<Output = Result<Vec<EventId>, NotKept>> + Send + 'a>>;

/// What the server is for one source.
pub trait Keeper: Send + Sync {
    /// Takes a delivery; its answer comes when it is on disk. What is handed over one after the other
    /// is kept in this order. The events stay with whoever hands them over, for the case that they
    /// are not kept; what is noted on them may be noted again.
    fn hand_over<'d, 'a: 'd>(&'a self, delivery: &'d mut Delivery) -> Handing<'d, 'a>;
    /// What the source remembers.
    fn memory(&self) -> Result<Option<Vec<u8>>, NotKept>;
    /// What the source remembers in pieces.
    fn pieces(&self) -> Result<Vec<(String, Vec<u8>)>, NotKept>;
    /// The HTTP client as the settings are now.
    fn http(&self) -> http::Client;
    /// The time.
    fn clock(&self) -> &Clock;
    /// The door stands.
    fn up(&self);
    /// Something went wrong that the door itself goes on after.
    fn trouble(&self, why: &str);
    /// So many were turned away.
    fn refused(&self, why: &'static str, count: u64, whose: &str);
    /// Events were about something whose name is not known.
    fn unknown(&self, events: u64);
}

/// What a door has while it stands open; copies are for the tasks that it spawns.
#[derive(Clone)]
pub struct Context {
    keeper: Arc<dyn Keeper>,
    stop: watch::Receiver<bool>,
}

impl Context {
    /// For the server that keeps, until `stop` says true.
    pub fn new(keeper: Arc<dyn Keeper>, stop: watch::Receiver<bool>) -> Context {
        Context { keeper, stop }
    }

    /// Hands a delivery over; the answer to it comes when it is on disk. The next one may be handed
    /// over meanwhile, if both stand in one line; `underway` does that.
    ///
    /// # Errors
    /// [`NotKept`], also for what can be told at once: a full channel, an event that is too large.
    pub async fn hand_over(&self, delivery: &mut Delivery) -> Result<Keeping<'_>, NotKept> {
        self.keeper.hand_over(delivery).await
    }

    async fn keep(&self, mut delivery: Delivery) -> Result<Vec<EventId>, NotKept> {
        self.hand_over(&mut delivery).await?.await
    }

    /// Puts events into the source's channel, all or none; answers when they are on disk.
    ///
    /// # Errors
    /// [`NotKept`].
    pub async fn push(&self, events: Vec<Incoming>) -> Result<Vec<EventId>, NotKept> {
        let delivery = Delivery {
            events,
            ..Delivery::default()
        };
        self.keep(delivery).await
    }

    /// The same for the channel that a sender means by `asked`; if there is none, `unrouted`.
    ///
    /// # Errors
    /// [`NotKept`].
    pub async fn push_to(
        &self,
        asked: &str,
        events: Vec<Incoming>,
    ) -> Result<Vec<EventId>, NotKept> {
        let delivery = Delivery {
            channel: Some(asked.to_owned()),
            events,
            ..Delivery::default()
        };
        self.keep(delivery).await
    }

    /// Puts events into the source's channel and remembers `memory` instead of what it remembered,
    /// in one batch: a source that decides by its memory what is new hands in everything once.
    ///
    /// # Errors
    /// [`NotKept`]; also for a memory over [`MEMORY_BYTES_MAX`].
    pub async fn push_and_remember(
        &self,
        events: Vec<Incoming>,
        memory: Vec<u8>,
    ) -> Result<Vec<EventId>, NotKept> {
        if memory.len() > MEMORY_BYTES_MAX {
            let long = format!("a source cannot remember more than {MEMORY_BYTES_MAX} bytes");
            return Err(NotKept::Never(long));
        }
        let delivery = Delivery {
            events,
            memory: Some(memory),
            ..Delivery::default()
        };
        self.keep(delivery).await
    }

    /// Remembers pieces beside the others; answers when they are on disk. At most
    /// [`PIECES_MAX`] at a time.
    ///
    /// # Errors
    /// [`NotKept`].
    pub async fn remember(&self, pieces: Vec<Piece>) -> Result<(), NotKept> {
        let delivery = Delivery {
            pieces,
            ..Delivery::default()
        };
        self.keep(delivery).await.map(drop)
    }

    /// All pieces that the source remembers.
    ///
    /// # Errors
    /// What the store cannot read.
    pub fn pieces(&self) -> Result<Vec<(String, Vec<u8>)>, NotKept> {
        self.keeper.pieces()
    }

    /// What the source remembers; it outlives restarts, and changes of the block but to `name`.
    ///
    /// # Errors
    /// What the store cannot read.
    pub fn memory(&self) -> Result<Option<Vec<u8>>, NotKept> {
        self.keeper.memory()
    }

    /// The HTTP client as the settings are now, bound to the address policy.
    pub fn http(&self) -> http::Client {
        self.keeper.http()
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        self.keeper.clock()
    }

    /// Everything that the door needs on this host is there.
    pub fn up(&self) {
        self.keeper.up();
    }

    /// Something went wrong that the door goes on after by itself; shown, logged and counted.
    pub fn trouble(&self, why: &str) {
        self.keeper.trouble(why);
    }

    /// Turned away what `whose` had sent, for a reason of one or two words out of few; counted in
    /// metrics and `list sources`, logged now and then. It is no trouble of the door.
    pub fn refused(&self, why: &'static str, count: u64, whose: &str) {
        self.keeper.refused(why, count, whose);
    }

    /// So many events were about something whose name is not known; counted.
    pub fn unknown(&self, events: u64) {
        if events > 0 {
            self.keeper.unknown(events);
        }
    }

    /// Waits until the door is to close.
    pub async fn stopped(&self) {
        // An error means that nobody is left who could say stop.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    /// True once the door is to close.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits for `time`; false if the door is to close before it is over.
    pub async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.stopped() => false,
        }
    }
}
