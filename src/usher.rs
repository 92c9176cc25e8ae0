//! The usher: shows each event of a channel to the runs that wait there, before flows may look.
//!
//! Invariants: events are shown in order; an event that a `receive` took is on disk as taken before
//! any flow of the channel may look at it; a run that begins to wait is first shown what it missed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::backlog::page;
use crate::channel::Channel;
use crate::event::Event;
use crate::run::Conductor;
use crate::stop::told;
use crate::store::StoreError;
use crate::wait::{Form, Wait};
use crate::wake::Cause;

/// Runs that are woken at a time for events of one channel.
const WOKEN_AT_ONCE_MAX: usize = 256;
/// How long to wait after the store failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A run that is to be woken, and why.
type Wakes = Vec<(Arc<Wait>, Cause)>;

impl Conductor {
    /// Opens a channel for waits, with an usher.
    pub(crate) fn open(self: &Arc<Self>, channel: &Arc<Channel>) -> u64 {
        let mut is_new = false;
        let next = self.waits.open(&channel.name, || {
            is_new = true;
            channel.offered()
        });
        if is_new {
            tokio::spawn(Arc::clone(self).usher(Arc::clone(channel)));
        }
        next
    }

    /// Works until nobody waits at the channel any more.
    pub(crate) async fn usher(self: Arc<Self>, channel: Arc<Channel>) {
        let mut arrivals = channel.arrivals();
        let mut stop = self.stop.clone();
        while let Some(next) = self.waits.next(&channel.name) {
            let tail = *arrivals.borrow_and_update();
            if next < tail {
                if let Err(why) = self.offer(&channel, next, tail).await {
                    tracing::error!(channel = channel.name, "cannot show events now: {why}");
                    if !self.pause_after(&why).await {
                        return;
                    }
                }
                continue;
            }
            channel.set_offered(next);
            let close = |_| channel.set_offered(channel.tail());
            if self.waits.close_if_empty(&channel.name, close) {
                return;
            }
            tokio::select! {
                changed = arrivals.changed() => if changed.is_err() { return },
                () = told(&mut stop) => return,
            }
        }
    }

    /// Lets some time pass after the store failed; false if there is no use in trying again.
    pub(crate) async fn pause_after(&self, why: &StoreError) -> bool {
        if *why == StoreError::Closed {
            return false;
        }
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(PAUSE_AFTER_FAILURE) => true,
            () = told(&mut stop) => false,
        }
    }

    /// Offers the next events; when it is done, flows may look at them.
    async fn offer(
        self: &Arc<Self>,
        channel: &Channel,
        next: u64,
        tail: u64,
    ) -> Result<(), StoreError> {
        let (events, end) = page(&self.store, &channel.name, next..tail)?;
        self.offer_all(channel, events).await;
        self.waits.pass(&channel.name, end);
        self.waits.kept(&channel.name, end);
        channel.set_offered(end);
        Ok(())
    }

    /// Shows events to those who wait, until each is somebody's or nobody wants it.
    pub(crate) async fn offer_all(self: &Arc<Self>, channel: &Channel, mut events: Vec<Event>) {
        while !events.is_empty() {
            let mut wakes = Wakes::new();
            for event in events {
                self.offer_one(channel, event, &mut wakes).await;
            }
            events = self.wake_all(wakes).await;
        }
    }

    async fn offer_one(&self, channel: &Channel, event: Event, wakes: &mut Wakes) {
        let event = Arc::new(event);
        let mut free = None;
        for (wait, index) in self.waits.offer(&event) {
            if !wait.wants[index].fits(&event) {
                continue;
            }
            let takes = wait.form == Form::Receive;
            if takes && !*free.get_or_insert_with(|| self.is_free(channel, &event)) {
                continue;
            }
            let Some(cause) = self.cause(&wait, index, &event).await else {
                continue;
            };
            if let Some(wait) = self.waits.win(&wait.run, wait.command) {
                if takes && matches!(cause, Cause::Event(..)) {
                    free = Some(false);
                }
                wakes.push((wait, cause));
            }
        }
    }

    /// Wakes runs; gives back events that were to be taken and were not after all, because the run
    /// is gone.
    async fn wake_all(self: &Arc<Self>, wakes: Wakes) -> Vec<Event> {
        let woken = stream::iter(wakes).map(|(wait, cause)| self.wake_again(wait, cause));
        let left: Vec<Option<Event>> = woken.buffer_unordered(WOKEN_AT_ONCE_MAX).collect().await;
        let mut left: Vec<Event> = left.into_iter().flatten().collect();
        left.sort_by_key(|event| event.id.number);
        left
    }

    /// Wakes a run; if the event was somebody else's after all, the run waits again.
    async fn wake_again(self: &Arc<Self>, wait: Arc<Wait>, cause: Cause) -> Option<Event> {
        let event = match &cause {
            Cause::Event(_, event) if wait.form == Form::Receive => Some(Arc::clone(event)),
            _ => None,
        };
        if let Some(event) = event.as_ref().filter(|_| wait.is_guest()) {
            let left = self.hand_over(&wait, Arc::clone(event)).await;
            return left.map(|event| Event::clone(&event));
        }
        match self.wake(&wait, cause).await {
            Ok(true) => return None,
            Ok(false) if self.still_waits(&wait) => {
                let (conductor, wait) = (Arc::clone(self), Wait::clone(&wait));
                self.waits.settle_again(&wait);
                tokio::spawn(async move { conductor.settle(wait).await });
            }
            Ok(false) => {}
            Err(why) => tracing::error!(run = %wait.run, "is woken after the next start: {why}"),
        }
        event
            .filter(|event| !self.is_taken(event))
            .map(Arc::unwrap_or_clone)
    }

    /// False if the run was ended meanwhile.
    pub(crate) fn still_waits(&self, wait: &Wait) -> bool {
        self.store
            .wait(&wait.run)
            .map_or(true, |wait| wait.is_some())
    }

    /// True if somebody took the event off its channel.
    pub(crate) fn is_taken(&self, event: &Event) -> bool {
        let any = self.store.channel_counts(&event.id.channel).taken > 0;
        any && self.store.taken_by(&event.id).is_ok_and(|by| by.is_some())
    }

    /// True if the event may be taken: nobody has it, and no flow began a run for it.
    pub(crate) fn is_free(&self, channel: &Channel, event: &Event) -> bool {
        let has_runs = || {
            self.store
                .runs_of(&event.id)
                .map_or(true, |runs| !runs.is_empty())
        };
        let is_the_flows = channel.has_flows() && has_runs();
        !is_the_flows && !self.is_taken(event)
    }
}
