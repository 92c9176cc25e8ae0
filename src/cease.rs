//! Cease: a person ends a run, or has it told that it is cancelled, whoever has it at the moment.
//!
//! Invariant: an order reaches the run wherever it is: at work, on its way to bed, asleep, or being
//! woken. Nothing of an ended run is left that waits, neither its wait nor its timer.

use jiff::Timestamp;

use crate::event::{RunId, Value};
use crate::journal::{End, EndState, Entry, Journal};
use crate::run::{Conductor, Interrupted};
use crate::store::{Batch, StoreError};
use crate::wait::{Alarm, Wait};
use crate::wake::Cause;

impl Conductor {
    /// Has a run cancelled; it may tidy up until `until`. `batch` is kept together with the wish.
    ///
    /// # Errors
    /// [`StoreError::Lost`] if it has ended; what the store did not keep.
    pub async fn cancel_run(
        &self,
        run: &RunId,
        until: Timestamp,
        mut batch: Batch,
    ) -> Result<(), StoreError> {
        batch.note(run, record(run, Entry::Cancel(self.clock.now(), until))?);
        if self.waits.of(run).is_some()
            && let Some(wait) = self.waits.cancel(run)
        {
            // The wish and the wake-up together: a run that sleeps on would never see the wish.
            return self.tell(&wait, batch).await;
        }
        self.store.commit(batch).await?;
        self.claims.order(run, |order| order.cancel = Some(until));
        match self.waits.cancel(run) {
            Some(wait) => self.tell(&wait, Batch::new()).await,
            None => Ok(()),
        }
    }

    /// Wakes a run to tell it that it is cancelled.
    async fn tell(&self, wait: &Wait, batch: Batch) -> Result<(), StoreError> {
        let told = Cause::Failure(Conductor::cancelled(wait.word()));
        match self.wake_with(wait, told, batch).await? {
            true => Ok(()),
            false => Err(StoreError::Lost {
                what: format!("run {}", wait.run),
            }),
        }
    }

    /// Ends a run without asking its script.
    ///
    /// # Errors
    /// [`StoreError::Lost`] if it has ended; what the store did not keep.
    pub async fn kill_run(&self, run: &RunId) -> Result<(), StoreError> {
        loop {
            if let Some(_claim) = self.claims.claim(run) {
                return self.end_at_once(run).await;
            }
            // Whoever has it looks at its orders again after letting go of it. If that was just
            // now, it is in nobody's hands and is ended here.
            if self.claims.order(run, |order| order.kill = true) {
                return Ok(());
            }
        }
    }

    /// Ends a run that nobody else has in hands, with all that it waits for.
    ///
    /// # Errors
    /// As [`Conductor::kill_run`].
    pub(crate) async fn end_at_once(&self, run: &RunId) -> Result<(), StoreError> {
        let at = self.clock.now();
        let end = Entry::End(End {
            at,
            state: EndState::Cancelled,
            message: Interrupted::Killed.to_string(),
            value: Value::Null,
        });
        let mut batch = Batch::new();
        batch.note(run, record(run, end)?);
        batch.finish(run, EndState::Cancelled, at);
        if let Some((alarm, command)) = self.alarm_of(run)? {
            batch.remove_timer(alarm.due, run, command as u32);
        }
        self.store.commit(batch).await?;
        // Only now: whoever wakes it meanwhile finds that it has ended.
        self.waits.forget(run);
        self.metrics.ended(EndState::Cancelled);
        Ok(())
    }

    /// When the run's wait is over, and of which command it is.
    fn alarm_of(&self, run: &RunId) -> Result<Option<(Alarm, usize)>, StoreError> {
        let Some(bytes) = self.store.wait(run)? else {
            return Ok(None);
        };
        let damaged = |why: crate::store::codec::CodecError| StoreError::Damaged {
            what: format!("what {run} waits for"),
            why: why.to_string(),
        };
        let wait = Wait::decode(run.clone(), &bytes).map_err(damaged)?;
        Ok(wait.alarm.map(|alarm| (alarm, wait.command)))
    }
}

fn record(run: &RunId, entry: Entry) -> Result<Vec<u8>, StoreError> {
    let mut journal = Journal::addition_to(run.clone());
    journal.add(entry);
    journal.take_pending().map_err(|why| StoreError::TooLarge {
        what: format!("the journal of {run}"),
        limit: why.to_string(),
    })
}
