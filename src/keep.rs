//! Keep: what a run puts on disk, together or not at all.
//!
//! Invariant: a journal entry and what it changes elsewhere (emitted events, the flow's state) are
//! in the same batch.

use std::time::Duration;

use crate::claim::lock;
use crate::config::UNROUTED;
use crate::event::RunId;
use crate::locals::Effects;
use crate::run::{Conductor, Work};
use crate::store::codec::encode_value;
use crate::store::{Batch, StoreError};
use crate::tries::TriesRecord;

/// The first wait for a store that cannot keep anything now; doubled up to [`STORE_PAUSE_MAX`].
const STORE_PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest.
const STORE_PAUSE_MAX: Duration = Duration::from_secs(5);

impl Conductor {
    /// Puts on disk what the journal holds beyond it, together with what goes with it.
    ///
    /// # Errors
    /// What the store does not keep; the run is as it was on disk then.
    pub(crate) async fn flush(&self, work: &mut Work) -> Result<(), StoreError> {
        work.seat.take_notes(&mut work.journal, self.clock.now());
        if !work.journal.has_pending() {
            return Ok(());
        }
        let batch = self.pending(work)?;
        self.commit(work, batch).await
    }

    /// What is to be put on disk, as a batch.
    ///
    /// # Errors
    /// Something that cannot be kept: nested too deep, too large.
    pub(crate) fn pending(&self, work: &mut Work) -> Result<Batch, StoreError> {
        let mut batch = Batch::new();
        let record = work
            .journal
            .take_pending()
            .map_err(|why| StoreError::TooLarge {
                what: format!("the journal of {}", work.journal.run),
                limit: why.to_string(),
            })?;
        if !record.is_empty() {
            batch.append(&work.journal.run, record);
        }
        let effects = std::mem::take(&mut *lock(&work.seat.effects));
        self.add_effects(&mut batch, &work.flow.path(), effects)?;
        Ok(batch)
    }

    fn add_effects(
        &self,
        batch: &mut Batch,
        flow: &str,
        effects: Effects,
    ) -> Result<(), StoreError> {
        for (asked, event) in effects.emitted {
            let channel = self.channels.find(&asked);
            let name = channel.map_or(UNROUTED.to_owned(), |channel| channel.name.clone());
            batch.push(&name, &event, None)?;
        }
        for (key, value) in effects.state {
            let bytes = value.map(|value| encode_value(&value)).transpose();
            let bytes = bytes.map_err(|why| StoreError::TooLarge {
                what: key.clone(),
                limit: why.to_string(),
            })?;
            batch.set_state(flow, &key, bytes)?;
        }
        Ok(())
    }

    /// The same, with what is known about the tries of a command.
    ///
    /// # Errors
    /// As [`Conductor::flush`].
    pub(crate) async fn keep_tries(
        &self,
        work: &mut Work,
        tries: &mut TriesRecord,
    ) -> Result<(), StoreError> {
        work.seat.take_notes(&mut work.journal, self.clock.now());
        let mut batch = self.pending(work)?;
        batch.set_attempts(&work.journal.run, Some(tries.encode()));
        self.commit(work, batch).await?;
        tries.kept = true;
        Ok(())
    }

    /// Has a run's batch kept, however long the store cannot: a full disk stops runs, it does not
    /// lose them.
    ///
    /// # Errors
    /// The store is closed or damaged, or the server stops; the batch was not kept then.
    pub(crate) async fn commit(&self, work: &mut Work, batch: Batch) -> Result<(), StoreError> {
        let run = work.journal.run.clone();
        let record = work.journal.last_record();
        let was_kept = || {
            let kept = self.store.journal(&run)?;
            Ok(!record.is_empty() && kept.iter().rev().any(|kept| kept == record))
        };
        self.commit_patiently(&run, batch, was_kept).await?;
        work.seat.settle();
        Ok(())
    }

    /// The same for any batch about a run; `was_kept` is asked after a failed disk, when nobody
    /// knows whether the batch was kept.
    ///
    /// # Errors
    /// As [`Conductor::commit`], and [`StoreError::Lost`] at once.
    pub(crate) async fn commit_patiently(
        &self,
        run: &RunId,
        batch: Batch,
        was_kept: impl Fn() -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut pause = STORE_PAUSE_FIRST;
        loop {
            let why = match self.store.commit(batch.clone()).await {
                Ok(committed) => {
                    self.channels.announce(&committed.pushed);
                    return Ok(());
                }
                Err(why) => why,
            };
            let passing = matches!(why, StoreError::Full { .. } | StoreError::Failed { .. });
            if !passing || *self.stop.borrow() {
                return Err(why);
            }
            tracing::warn!(%run, "waits for the store: {why}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STORE_PAUSE_MAX);
            if was_kept()? {
                self.channels.catch_up();
                return Ok(());
            }
        }
    }
}
