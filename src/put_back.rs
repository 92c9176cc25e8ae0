//! Put back: an event that a caller took is free again.
//!
//! Invariants: what is put back is in one place only. Where there are no flows it has its own place
//! in the line again; where there are, they have passed it, so it comes to them as a new event.

use std::sync::Arc;

use crate::event::{Event, EventId, Incoming, Value};
use crate::run::Conductor;
use crate::store::{Batch, StoreError};

/// Who has an event that flows see again under another number.
const PASSED_ON: &str = "put back, as a new event for the flows";

impl Conductor {
    /// Has an event free again that `by` took; gives the id under which it waits now. `batch` is kept
    /// together with that.
    ///
    /// # Errors
    /// [`StoreError::Lost`] if `by` does not have it; what the store does not keep.
    pub async fn put_back(
        self: &Arc<Self>,
        event: &Event,
        by: &str,
        mut batch: Batch,
    ) -> Result<EventId, StoreError> {
        let channel = self.channels.get(&event.id.channel);
        let has_flows = channel.is_some_and(|channel| channel.has_flows());
        if has_flows {
            return self.pass_on(event, by, batch).await;
        }
        batch.put_back(&event.id, by, None);
        self.store.commit(batch).await?;
        self.show_again(event).await;
        Ok(event.id.clone())
    }

    async fn pass_on(
        &self,
        event: &Event,
        by: &str,
        mut batch: Batch,
    ) -> Result<EventId, StoreError> {
        let (body, mut meta) = (event.body.clone(), event.meta.clone());
        let id = Value::Text(event.id.to_string());
        meta.extra.insert("put_back".to_owned(), id);
        batch.push(&event.id.channel, &Incoming { body, meta }, None)?;
        batch.put_back(&event.id, by, Some(PASSED_ON));
        let committed = self.store.commit(batch).await?;
        self.channels.announce(&committed.pushed);
        let pushed = committed.pushed.into_iter().next();
        Ok(pushed.map_or_else(|| event.id.clone(), |pushed| pushed.id))
    }

    /// Shows an event that is free again to those who wait; whoever is only just coming in looks again.
    async fn show_again(self: &Arc<Self>, event: &Event) {
        self.backlog.forget_taken(&event.id.channel);
        self.waits.note_return();
        let channel = self.channels.get(&event.id.channel);
        if let Some(channel) = channel.filter(|_| !self.is_taken(event)) {
            self.offer_all(&channel, vec![event.clone()]).await;
        }
    }

    /// Puts back what was taken for a caller that had gone before the answer was on its way.
    pub(crate) async fn return_unheard(self: Arc<Self>, event: &Event, by: &str) {
        tracing::warn!(event = %event.id, by, "the caller has gone: the event is put back");
        loop {
            match self.put_back(event, by, Batch::new()).await {
                Ok(_) => return,
                Err(StoreError::Lost { .. }) => {
                    // A try whose answer got lost has done it.
                    self.channels.catch_up();
                    return self.show_again(event).await;
                }
                Err(why) => {
                    tracing::error!(event = %event.id, "cannot be put back now: {why}");
                    if !self.pause_after(&why).await {
                        return;
                    }
                }
            }
        }
    }

    /// Has an event free again that nobody but `by` has seen yet.
    pub(crate) async fn free_patiently(&self, event: &Event, by: &str) {
        loop {
            let mut batch = Batch::new();
            batch.put_back(&event.id, by, None);
            match self.store.commit(batch).await {
                Ok(_) | Err(StoreError::Lost { .. }) => return,
                Err(why) => {
                    tracing::error!(event = %event.id, "cannot be put back now: {why}");
                    if !self.pause_after(&why).await {
                        return;
                    }
                }
            }
        }
    }
}
