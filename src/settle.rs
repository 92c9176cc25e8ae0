//! Settle: a run that lies down is shown what it missed, and then waits.
//!
//! Invariant: between the last event that it is shown here and the first that the usher shows it
//! there is no gap; what flows may have looked at is not taken from them.

use std::ops::Range;
use std::sync::Arc;

use crate::backlog::{SHOWN_EVENTS_MAX, page};
use crate::event::{Event, EventId};
use crate::run::Conductor;
use crate::store::StoreError;
use crate::wait::{Form, Wait};
use crate::waits::{Entered, NOTHING_MISSED};
use crate::wake::Cause;
use crate::want::Want;

impl Conductor {
    /// Takes in a run that was laid down: shows it what it missed, then has it wait. To be called
    /// when nobody holds the run any more.
    pub(crate) async fn settle(self: &Arc<Self>, wait: Wait) {
        self.settle_with(wait, false).await;
    }

    /// The same for a run that lay down before the start, while flows are held back: it may take
    /// what came before now.
    pub(crate) async fn settle_before(self: &Arc<Self>, wait: Wait) {
        self.settle_with(wait, true).await;
    }

    async fn settle_with(self: &Arc<Self>, wait: Wait, held_back: bool) {
        let wait = Arc::new(wait);
        let first = || wait.wants.iter().map(|want| want.from).collect();
        let (mut shown, mut returns): (Vec<u64>, u64) = (first(), self.waits.returns());
        while !*self.stop.borrow() {
            if returns != self.waits.returns() {
                // Something that was not to be had before is free again.
                (shown, returns) = (first(), self.waits.returns());
            }
            match self.show_past(&wait, &mut shown, held_back).await {
                Ok(true) => return self.waits.settled(&wait),
                Ok(false) => {}
                Err(why) => {
                    tracing::error!(run = %wait.run, "cannot be shown what it waits for: {why}");
                    if !self.pause_after(&why).await {
                        return;
                    }
                    continue;
                }
            }
            match self.waits.enter(&wait, &shown, returns) {
                Entered::Waits => return self.entered(&wait),
                Entered::Behind => {}
                Entered::Cancelled => {
                    let told = Cause::Failure(Conductor::cancelled(wait.word()));
                    return self.wake_or_tell(&wait, told).await;
                }
            }
        }
    }

    /// A run that was killed while it lay down does not wait.
    fn entered(&self, wait: &Wait) {
        if !self.still_waits(wait) {
            self.waits.win(&wait.run, wait.command);
        }
        self.alarms.notify_one();
    }

    async fn wake_or_tell(&self, wait: &Wait, cause: Cause) {
        if let Err(why) = self.wake(wait, cause).await {
            tracing::error!(run = %wait.run, "is woken after the next start: {why}");
        }
        self.waits.settled(wait);
    }

    /// Shows the run events that were offered before it came; true if one woke it.
    async fn show_past(
        self: &Arc<Self>,
        wait: &Arc<Wait>,
        shown: &mut [u64],
        held_back: bool,
    ) -> Result<bool, StoreError> {
        for (index, want) in wait.wants.iter().enumerate() {
            let Some(channel) = self.channels.get(&want.channel) else {
                // A channel that is gone has nothing to show.
                shown[index] = NOTHING_MISSED;
                continue;
            };
            let next = self.open(&channel);
            if wait.form == Form::Receive && channel.has_flows() {
                // What flows may have looked at is theirs.
                let theirs = if held_back { channel.offered() } else { next };
                shown[index] = shown[index].max(theirs);
            }
            while let Some(event) = self.next_past(wait, index, shown[index]..next).await? {
                shown[index] = event.id.number + 1;
                if self.show(wait, index, event).await? {
                    return Ok(true);
                }
            }
            shown[index] = shown[index].max(next);
        }
        Ok(false)
    }

    async fn show(&self, wait: &Arc<Wait>, index: usize, event: Event) -> Result<bool, StoreError> {
        let event = Arc::new(event);
        match self.cause(wait, index, &event).await {
            Some(cause) => self.wake(wait, cause).await,
            None => Ok(false),
        }
    }

    /// The first event in `among` that has the fields, and that may be taken if the run takes it.
    pub(crate) async fn next_past(
        &self,
        wait: &Wait,
        index: usize,
        among: Range<u64>,
    ) -> Result<Option<Event>, StoreError> {
        let (want, takes) = (&wait.wants[index], wait.form == Form::Receive);
        let mut from = among.start.max(self.first_to_show(want, takes));
        if takes && want.fields.is_empty() {
            return self.next_free(wait, index, from..among.end);
        }
        if among.end.saturating_sub(from) <= SHOWN_EVENTS_MAX as u64 {
            return self.next_nearby(wait, index, from..among.end);
        }
        while self
            .backlog
            .catch_up(&self.store, (want, takes), (from, among.end))?
        {
            tokio::task::yield_now().await;
        }
        while let Some(number) = self.backlog.first(want, takes, from..among.end) {
            let id = EventId {
                channel: want.channel.clone(),
                number,
            };
            match self.store.event(&id)? {
                Some(event) if self.may_have(wait, index, &event) => return Ok(Some(event)),
                Some(event) if !takes || !self.is_taken(&event) => {}
                _ => self.backlog.forget(want, takes, number),
            }
            from = number + 1;
        }
        Ok(None)
    }

    /// What does not wait any more, though it is kept, is not taken where there are no flows.
    fn first_to_show(&self, want: &Want, takes: bool) -> u64 {
        let kept = self.store.channel_counts(&want.channel).floor;
        let channel = self.channels.get(&want.channel);
        let queue = channel.filter(|channel| takes && !channel.has_flows());
        queue.map_or(kept, |channel| channel.first_waiting())
    }

    /// The same for whoever takes any event: those that were taken are not even read.
    fn next_free(
        &self,
        wait: &Wait,
        index: usize,
        mut among: Range<u64>,
    ) -> Result<Option<Event>, StoreError> {
        let channel = &wait.wants[index].channel;
        loop {
            let number = self.store.next_free(channel, among.start)?;
            if number >= among.end {
                return Ok(None);
            }
            let (events, end) = page(&self.store, channel, number..number + 1)?;
            let may_have = |event: &Event| self.may_have(wait, index, event);
            if let Some(event) = events.into_iter().find(may_have) {
                return Ok(Some(event));
            }
            among.start = end;
        }
    }

    /// The same for a few events: they are simply read.
    fn next_nearby(
        &self,
        wait: &Wait,
        index: usize,
        mut among: Range<u64>,
    ) -> Result<Option<Event>, StoreError> {
        while !among.is_empty() {
            let (events, end) = page(&self.store, &wait.wants[index].channel, among.clone())?;
            let may_have = |event: &Event| self.may_have(wait, index, event);
            if let Some(event) = events.into_iter().find(may_have) {
                return Ok(Some(event));
            }
            among.start = end;
        }
        Ok(None)
    }

    fn may_have(&self, wait: &Wait, index: usize, event: &Event) -> bool {
        let is_free = || match self.channels.get(&event.id.channel) {
            Some(channel) => self.is_free(&channel, event),
            None => false,
        };
        wait.wants[index].fits(event) && (wait.form != Form::Receive || is_free())
    }
}
