//! The only place that asks for the time, so that a test can own it.
//!
//! Wall time is for showing, stamping and deadlines that survive a restart; waiting inside one
//! process uses tokio's monotonic clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Where the time comes from: the system, or a test's hand.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock(None)
    }

    /// A clock that stands at `start` until [`Clock::set`] moves it.
    pub fn virtual_at(start: Timestamp) -> Clock {
        Clock(Some(Arc::new(AtomicI64::new(start.as_millisecond()))))
    }

    /// Now, to the millisecond.
    pub fn now(&self) -> Timestamp {
        let millisecond = match &self.0 {
            Some(shared) => shared.load(Ordering::SeqCst),
            None => Timestamp::now().as_millisecond(),
        };
        Timestamp::from_millisecond(millisecond).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Moves a virtual clock; the system's clock is left alone.
    pub fn set(&self, now: Timestamp) {
        if let Some(shared) = &self.0 {
            shared.store(now.as_millisecond(), Ordering::SeqCst);
        }
    }
}

/// Milliseconds since 1970 by the system's clock, later than any that this process got here before:
/// for names that sort as they were given.
pub fn next_millisecond() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = Timestamp::now().as_millisecond();
    let next = |last: i64| Some(now.max(last + 1));
    let last = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    last.map_or(now, |last| now.max(last + 1))
}
