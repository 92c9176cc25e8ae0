//! What is due when: wakes runs whose time has come.
//!
//! Invariants: timers lie in the store in the order in which they are due, so that waiting costs no
//! memory; those that came due while the server was away ring at once, a bounded number at a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::watch;

use crate::run::Conductor;
use crate::stop::told;
use crate::store::{Batch, StoreError, Timer};
use crate::wake::Cause;

/// Timers that ring at a time.
const RUNG_AT_ONCE_MAX: usize = 256;
/// The clock is looked at again this often: it may be set, and the machine may sleep.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(30);
/// How long a timer waits whose run is only just lying down.
const SETTLING_PAUSE: Duration = Duration::from_millis(20);
/// How long to wait after the store failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Conductor {
    /// Rings timers until the server stops.
    pub(crate) async fn ring(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let pause = self.ring_due().await.unwrap_or_else(|why| {
                tracing::error!("timers cannot ring now: {why}");
                PAUSE_AFTER_FAILURE
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.alarms.notified() => {}
                () = told(&mut stop) => return,
            }
        }
    }

    /// Rings what is due, and says how long there is nothing to do.
    async fn ring_due(&self) -> Result<Duration, StoreError> {
        let due = self.store.due(self.clock.now(), RUNG_AT_ONCE_MAX)?;
        if due.is_empty() {
            let Some(next) = self.store.next_due()? else {
                return Ok(LOOK_AGAIN_EVERY);
            };
            let left = next.duration_since(self.clock.now());
            let left = Duration::try_from(left).unwrap_or_default();
            return Ok(left.min(LOOK_AGAIN_EVERY));
        }
        let rung = stream::iter(due).map(|timer| self.ring_one(timer));
        let rung: Vec<Result<bool, StoreError>> =
            rung.buffer_unordered(RUNG_AT_ONCE_MAX).collect().await;
        let mut any = false;
        for one in rung {
            any |= one?;
        }
        Ok(if any { Duration::ZERO } else { SETTLING_PAUSE })
    }

    /// False if the timer has to ring again later.
    async fn ring_one(&self, timer: Timer) -> Result<bool, StoreError> {
        let command = timer.seq as usize;
        if let Some(wait) = self.waits.win(&timer.run, command) {
            return self.wake(&wait, Cause::Time).await;
        }
        if self.waits.is_settling(&timer.run) {
            return Ok(false);
        }
        let mut batch = Batch::new();
        batch.remove_timer(timer.due, &timer.run, timer.seq);
        self.store.commit(batch).await.map(|_| true)
    }
}
