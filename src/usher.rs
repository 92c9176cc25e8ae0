//! The usher: shows each event of a channel to the runs that wait there, before flows may look.
//!
//! Invariants: events are shown in order; an event that a `receive` took is on disk as taken before
//! any flow of the channel may look at it; a run that begins to wait is first shown what it missed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::oneshot;

use crate::channel::Channel;
use crate::engine::Input;
use crate::event::{Event, Value};
use crate::replay::{Judged, Replay};
use crate::run::{Conductor, Interrupted};
use crate::store::StoreError;
use crate::wait::{Form, Wait};
use crate::waits::{Entered, NOTHING_MISSED};
use crate::wake::Cause;

/// How long a run may think up to its condition and about it.
const JUDGING_SECONDS_MAX: Duration = Duration::from_secs(10);
/// How long to wait after the store failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Events that are shown at a time.
const SHOWN_EVENTS_MAX: usize = 64;
/// Runs that are woken at a time for events of one channel.
const WOKEN_AT_ONCE_MAX: usize = 256;

impl Conductor {
    /// Takes in a run that was laid down: shows it what it missed, then has it wait. To be called
    /// when nobody holds the run any more.
    pub(crate) async fn settle(self: &Arc<Self>, wait: Wait) {
        let wait = Arc::new(wait);
        let mut shown: Vec<u64> = wait.wants.iter().map(|want| want.from).collect();
        while !*self.stop.borrow() {
            match self.show_past(&wait, &mut shown).await {
                Ok(true) => return self.waits.settled(&wait),
                Ok(false) => {}
                Err(why) => {
                    tracing::error!(run = %wait.run, "cannot be shown what it waits for: {why}");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    continue;
                }
            }
            match self.waits.enter(&wait, &shown) {
                Entered::Waits => return self.alarms.notify_one(),
                Entered::Behind => {}
                Entered::Cancelled => {
                    let told = Cause::Failure(Conductor::cancelled("any"));
                    return self.wake_or_tell(&wait, told).await;
                }
            }
        }
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
    ) -> Result<bool, StoreError> {
        for (index, want) in wait.wants.iter().enumerate() {
            let Some(channel) = self.channels.get(&want.channel) else {
                // A channel that is gone has nothing to show.
                shown[index] = NOTHING_MISSED;
                continue;
            };
            let next = self.open(&channel);
            while shown[index] < next {
                let events = self.readable(&channel, shown[index])?;
                let last = events.last().map_or(next, |event| event.id.number + 1);
                // What comes after that is offered like to everybody else.
                let last = last.min(next);
                for event in events {
                    if event.id.number < next && self.show(wait, index, event).await? {
                        return Ok(true);
                    }
                }
                shown[index] = last;
            }
        }
        Ok(false)
    }

    /// The next events, past one that cannot be read.
    fn readable(&self, channel: &Channel, from: u64) -> Result<Vec<Event>, StoreError> {
        let read = |from| self.store.events(&channel.name, from, SHOWN_EVENTS_MAX);
        match read(from) {
            Err(why @ StoreError::Damaged { .. }) => {
                tracing::error!(channel = channel.name, from, "is passed over: {why}");
                read(from + 1).or(Ok(Vec::new()))
            }
            read => read,
        }
    }

    async fn show(&self, wait: &Arc<Wait>, index: usize, event: Event) -> Result<bool, StoreError> {
        if !wait.wants[index].fits(&event) {
            return Ok(false);
        }
        let event = Arc::new(event);
        match self.cause(wait, index, &event).await {
            Some(cause) => self.wake(wait, cause).await,
            None => Ok(false),
        }
    }

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
    async fn usher(self: Arc<Self>, channel: Arc<Channel>) {
        let mut arrivals = channel.arrivals();
        let mut stop = self.stop.clone();
        while let Some(next) = self.waits.next(&channel.name) {
            let tail = *arrivals.borrow_and_update();
            if next < tail {
                if let Err(why) = self.offer(&channel, next, tail).await {
                    tracing::error!(channel = channel.name, "cannot show events: {why}");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
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
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Offers the next events; when it is done, flows may look at them.
    async fn offer(
        self: &Arc<Self>,
        channel: &Channel,
        next: u64,
        tail: u64,
    ) -> Result<(), StoreError> {
        let events = self.readable(channel, next)?;
        let end = events.last().map_or(tail, |event| event.id.number + 1);
        let mut wakes = Vec::new();
        for event in events {
            self.offer_one(event, &mut wakes).await;
        }
        let woken = stream::iter(wakes).map(|(wait, cause)| self.wake_again(wait, cause));
        woken
            .buffer_unordered(WOKEN_AT_ONCE_MAX)
            .collect::<()>()
            .await;
        self.waits.pass(&channel.name, end);
        self.waits.kept(&channel.name, end);
        channel.set_offered(end);
        Ok(())
    }

    async fn offer_one(&self, event: Event, wakes: &mut Vec<(Arc<Wait>, Cause)>) {
        let event = Arc::new(event);
        let mut taken = self.is_taken(&event);
        for (wait, index) in self.waits.offer(&event) {
            let takes = wait.form == Form::Receive;
            if (takes && taken) || !wait.wants[index].fits(&event) {
                continue;
            }
            let Some(cause) = self.cause(&wait, index, &event).await else {
                continue;
            };
            if let Some(wait) = self.waits.win(&wait.run, wait.command) {
                taken |= takes;
                wakes.push((wait, cause));
            }
        }
    }

    pub(crate) fn is_taken(&self, event: &Event) -> bool {
        let any = self.store.channel_counts(&event.id.channel).taken > 0;
        any && self.store.taken_by(&event.id).is_ok_and(|by| by.is_some())
    }

    /// Wakes a run; if the event was somebody else's after all, the run waits again.
    async fn wake_again(self: &Arc<Self>, wait: Arc<Wait>, cause: Cause) {
        match self.wake(&wait, cause).await {
            Ok(true) => {}
            Ok(false) => {
                let (conductor, wait) = (Arc::clone(self), Wait::clone(&wait));
                self.waits.settle_again(&wait);
                // The run itself may be over: a person ended it just then.
                if self.store.wait(&wait.run).is_ok_and(|kept| kept.is_none()) {
                    return self.waits.settled(&wait);
                }
                tokio::spawn(async move { conductor.settle(wait).await });
            }
            Err(why) => tracing::error!(run = %wait.run, "is woken after the next start: {why}"),
        }
    }

    /// Why the event wakes the run, if the run's own condition has nothing against it.
    async fn cause(&self, wait: &Arc<Wait>, index: usize, event: &Arc<Event>) -> Option<Cause> {
        if !wait.wants[index].condition {
            return Some(Cause::Event(index, Arc::clone(event)));
        }
        match self.judge(wait, index, event).await {
            Ok(Ok(true)) => Some(Cause::Event(index, Arc::clone(event))),
            Ok(Ok(false)) => None,
            Ok(Err(error)) => Some(Cause::Failure(error)),
            Err(why) => Some(Cause::Failure(Conductor::wait_failure(
                "condition",
                why.to_string(),
            ))),
        }
    }

    /// Asks the closure that the run handed over: the script is run again as far as the wait, and
    /// then its closure with the event.
    async fn judge(
        &self,
        wait: &Wait,
        index: usize,
        event: &Event,
    ) -> Result<Result<bool, Value>, Interrupted> {
        let want = &wait.wants[index];
        let asked = (want.which, wait.seen_by_condition(want, event));
        let (script, journal, events) = self.remember(&wait.run).await?;
        let locals = self.locals(&wait.run, Arc::default());
        let replay = Replay::new(journal, self.clock.clone(), Box::new(locals));
        let replay = replay.judging(wait.command, asked);
        let (answer, judged) = oneshot::channel();
        let (blackbox, run) = (self.blackbox.clone(), wait.run.clone());
        let position = wait.command as u64 + 1;
        let thinking = JUDGING_SECONDS_MAX;
        self.thinkers.submit(move |engine, thread| {
            blackbox.enter(thread, &run, position);
            let (_, replay) = engine.step(&script, Input { events, thinking }, replay);
            blackbox.leave(thread);
            let _ = answer.send(replay.map_or(Judged::NotAsked, |replay| replay.verdict()));
        });
        match judged.await.map_err(|_| Interrupted::Engine)? {
            Judged::Said(verdict) => Ok(verdict),
            Judged::NotAsked => Err(Interrupted::Unreadable(format!(
                "{} did not come to its condition again",
                wait.run
            ))),
        }
    }
}
