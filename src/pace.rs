//! Pace: how many events a second one source may bring, where its block says so.
//!
//! Invariant: however long it goes on, no more come than the rate allows, and on top of that what one
//! second allows, or one delivery if that is larger. What comes too early is not kept and not lost: its
//! door holds it, or its sender is told to come back, as by a channel that is full. (`governor`, which
//! counts the requests of a token, refuses for ever what is more at once than a second allows.)

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::claim::lock;

/// What a second allows at once.
const AHEAD: Duration = Duration::from_secs(1);

/// The pace of one source.
#[derive(Debug)]
pub struct Pace {
    per_second: NonZeroU32,
    /// When everything that came would have come at this pace.
    until: Mutex<Instant>,
}

impl Pace {
    /// So many events a second, from `now` on.
    pub fn new(per_second: NonZeroU32, now: Instant) -> Pace {
        Pace {
            per_second,
            until: Mutex::new(now),
        }
    }

    /// How many come a second at most.
    pub fn per_second(&self) -> NonZeroU32 {
        self.per_second
    }

    /// True if `events` may come now, all of them; then they count. More than a second allows may come
    /// where nothing is owed from before, so that no delivery has to be cut.
    pub fn admits(&self, events: usize, now: Instant) -> bool {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let takes = AHEAD.saturating_mul(events) / self.per_second.get();
        let mut until = lock(&self.until);
        let owes = *until > now;
        // What nobody made use of is not saved up.
        let ends = now.max(*until) + takes;
        if owes && ends > now + AHEAD {
            return false;
        }
        *until = ends;
        true
    }
}
