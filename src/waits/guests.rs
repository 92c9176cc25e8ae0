//! Callers among the runs that wait: each has its place in the same line, under the name of a run
//! that there never is.
//!
//! Invariant: nothing about a caller is on disk; what is put on disk is that it took an event.

use tokio::sync::mpsc::UnboundedSender;

use super::Waits;
use crate::claim::lock;
use crate::event::{EventId, RunId};
use crate::receive::Handed;

/// Callers that wait at the same time.
pub const RECEIVERS_MAX: usize = 1_000;

/// Where a caller holds its hands, and as whom it takes.
pub(crate) type Guest = (UnboundedSender<Handed>, String);

impl Waits {
    /// Gives a caller a name in the line. `None` if there are [`RECEIVERS_MAX`] already.
    pub(crate) fn welcome(&self, channel: &str, guest: Guest) -> Option<RunId> {
        let mut inside = lock(&self.0);
        if inside.guests.len() >= RECEIVERS_MAX {
            return None;
        }
        inside.guest += 1;
        // Events are numbered from 1.
        let nowhere = EventId {
            channel: channel.to_owned(),
            number: 0,
        };
        let run = RunId::new(&nowhere, &format!("receive~{}", inside.guest));
        inside.guests.insert(run.clone(), guest);
        Some(run)
    }

    /// The caller, if `run` is one.
    pub(crate) fn guest(&self, run: &RunId) -> Option<Guest> {
        lock(&self.0).guests.get(run).cloned()
    }

    /// The caller is there no more.
    pub(crate) fn leave(&self, run: &RunId) {
        let mut inside = lock(&self.0);
        inside.guests.remove(run);
        inside.remove(run);
    }

    /// How many waits look at the channel, of runs and of callers.
    pub fn count_at(&self, channel: &str) -> usize {
        lock(&self.0)
            .rooms
            .get(channel)
            .map_or(0, |room| room.count)
    }

    /// How many events were put back so far.
    pub(crate) fn returns(&self) -> u64 {
        lock(&self.0).returns
    }

    /// An event is free again: whoever is coming in looks again at what is past.
    pub(crate) fn note_return(&self) {
        lock(&self.0).returns += 1;
    }
}
