//! How many events of a channel wait, and whether there is room for more.
//!
//! Invariant: an event waits until every flow has looked at it, or, where there are no flows, until
//! somebody takes it or its retention is over; one that was taken or dropped waits for nobody. What the
//! storm control of a flow holds waits too, and is never dropped. What was dropped stays so after a restart; a
//! crash may bring back what was dropped in the moment before it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Channel, PushError};
use crate::config::OnFull;
use crate::store::codec::{CodecError, Reader};
use crate::store::{Batch, Store, StoreError};

/// In front of a channel's name: what it dropped.
const DROPPED: &str = "dropped/";

/// Below which event everything was dropped, and how many events that were in all.
pub(super) fn lost(store: &Store, name: &str) -> Result<(u64, u64), StoreError> {
    let [skip, dropped] = numbers(store, &format!("{DROPPED}{name}"))?;
    Ok((skip, dropped))
}

/// Where the flows of a channel had come when the last of them left; what they looked at waits for
/// nobody.
pub(crate) const LOOKED_AT: &str = "looked/";

/// Where they had come.
pub(super) fn looked_at(store: &Store, name: &str) -> Result<u64, StoreError> {
    let [next] = numbers(store, &format!("{LOOKED_AT}{name}"))?;
    Ok(next)
}

/// The numbers of a mark that a channel left, eight bytes each; nothing but zeros if there is none.
///
/// # Errors
/// What the store cannot read, and a mark of another length.
fn numbers<const N: usize>(store: &Store, mark: &str) -> Result<[u64; N], StoreError> {
    let mut numbers = [0; N];
    let Some(bytes) = store.mark(mark)? else {
        return Ok(numbers);
    };
    let mut input = Reader::new(&bytes);
    let read = numbers.iter_mut().try_for_each(|number| {
        let bytes = input.raw(8)?.first_chunk().ok_or(CodecError::Short)?;
        *number = u64::from_be_bytes(*bytes);
        Ok(())
    });
    match read.and_then(|()| input.end()) {
        Ok(()) => Ok(numbers),
        Err(why) => Err(StoreError::Damaged {
            what: format!("the mark {mark}"),
            why: why.to_string(),
        }),
    }
}

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
    pub(super) fn reserve(self: &Arc<Self>, count: u64) -> Result<Reservation, PushError> {
        let settings = self.settings();
        let coming = self.coming.fetch_add(count, Ordering::SeqCst);
        let reservation = Reservation {
            channel: Arc::clone(self),
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

    /// Puts what was dropped since the last time into a batch, if there is any; gives the count to be
    /// handed to [`Channel::dropped_is_kept`] once the batch is on disk.
    ///
    /// # Errors
    /// A name that is too long, which none is.
    pub(crate) fn keep_dropped(&self, batch: &mut Batch) -> Result<Option<u64>, StoreError> {
        let dropped = self.dropped();
        if dropped == self.told_dropped.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let mark = [self.skip().to_be_bytes(), dropped.to_be_bytes()].concat();
        batch.set_mark(&format!("{DROPPED}{}", self.name), Some(mark))?;
        Ok(Some(dropped))
    }

    /// So many are told on disk.
    pub(crate) fn dropped_is_kept(&self, dropped: u64) {
        self.told_dropped.store(dropped, Ordering::SeqCst);
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

#[derive(Debug)]
pub(super) struct Reservation {
    channel: Arc<Channel>,
    count: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.channel.coming.fetch_sub(self.count, Ordering::SeqCst);
    }
}
