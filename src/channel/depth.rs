//! How many events of a channel wait, and whether there is room for more.
//!
//! Invariant: an event waits until every flow has looked at it, or, where there are no flows, until
//! somebody takes it or its retention is over; one that was taken or dropped waits for nobody. What the
//! storm control of a flow holds waits too, and is never dropped.

use std::sync::atomic::Ordering;

use super::{Channel, PushError};
use crate::config::OnFull;

impl Channel {
    /// How many events wait for a flow, or for somebody to take them.
    pub fn depth(&self) -> u64 {
        self.queued() + self.held.load(Ordering::SeqCst)
    }

    /// How many of them no flow has looked at.
    fn queued(&self) -> u64 {
        let (first, tail) = (self.first_waiting(), self.tail());
        // What cannot be counted now counts: rather full too early than never.
        let taken = self.store.taken_from(&self.name, first).unwrap_or(0);
        tail.saturating_sub(first).saturating_sub(taken)
    }

    /// No event below this waits; one from here on does unless it was taken.
    pub fn first_waiting(&self) -> u64 {
        let kept = self.store.channel_counts(&self.name).floor;
        let looked_at = self.floor.load(Ordering::SeqCst);
        looked_at.max(kept).max(self.skip.load(Ordering::SeqCst))
    }

    /// Room for `count` more, kept until the reservation is dropped.
    pub(super) fn reserve(&self, count: u64) -> Result<Reservation<'_>, PushError> {
        let settings = self.settings();
        let coming = self.coming.fetch_add(count, Ordering::SeqCst);
        let reservation = Reservation {
            channel: self,
            count,
        };
        let beyond = (self.depth() + coming + count).saturating_sub(settings.depth_max);
        if beyond == 0 {
            return Ok(reservation);
        }
        match settings.on_full {
            OnFull::DropOldest if count <= settings.depth_max => {
                self.drop_oldest(beyond.min(self.queued() + coming + count));
                Ok(reservation)
            }
            _ => Err(PushError::Full {
                channel: self.name.clone(),
                depth_max: settings.depth_max,
            }),
        }
    }

    fn drop_oldest(&self, count: u64) {
        let mut next = self.first_waiting();
        for _ in 0..count {
            next = self.store.next_free(&self.name, next).unwrap_or(next) + 1;
        }
        self.skip.fetch_max(next, Ordering::SeqCst);
        self.dropped.fetch_add(count, Ordering::SeqCst);
    }
}

pub(super) struct Reservation<'a> {
    channel: &'a Channel,
    count: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.channel.coming.fetch_sub(self.count, Ordering::SeqCst);
    }
}
