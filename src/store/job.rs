//! A batch on its way to the committer, with who waits for the answer.
//!
//! Invariant: each is answered once, after everything that it held was let go.

use std::sync::mpsc::SyncSender;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::apply::Committed;
use super::batch::Batch;
use super::bodies::{Hash, Pin};
use super::error::StoreError;
use super::line::Place;

/// Who waits for the answer.
pub(super) enum Answer {
    Async(oneshot::Sender<Result<Committed, StoreError>>),
    Blocking(SyncSender<Result<Committed, StoreError>>),
}

impl Answer {
    fn give(self, answer: Result<Committed, StoreError>) {
        // Whoever asked may have gone; the batch stays kept.
        match self {
            Answer::Async(sender) => drop(sender.send(answer)),
            Answer::Blocking(sender) => drop(sender.try_send(answer)),
        }
    }
}

/// A batch on its way.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) pins: Vec<Pin>,
    pub(super) answer: Answer,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Job {
    /// The bodies that it brought.
    pub(super) fn brought(&self) -> Vec<Hash> {
        self.pins.iter().map(Pin::hash).collect()
    }

    /// Nothing, unless something before it in its line was refused.
    pub(super) fn in_turn(&self) -> Result<(), StoreError> {
        match self.batch.place.as_ref().is_some_and(Place::is_behind) {
            true => Err(StoreError::Behind),
            false => Ok(()),
        }
    }

    pub(super) fn kept(self, answer: Committed) {
        drop((self.pins, self.permit));
        self.answer.give(Ok(answer));
    }

    /// Nothing of it is kept, nor of what stands behind it in its line.
    pub(super) fn refuse(self, why: StoreError) {
        if let Some(place) = &self.batch.place {
            place.refuse();
        }
        drop((self.pins, self.permit));
        self.answer.give(Err(why));
    }
}
