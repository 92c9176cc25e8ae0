//! Judge: whether an event that has the fields which a run waits for is the one; its closure says so.
//!
//! Invariant: a closure never leaves its script. To ask it, the script is run again as far as the
//! wait, on a thinking thread, and then its closure with the event.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::Input;
use crate::event::{Event, Value};
use crate::replay::{Judged, Replay};
use crate::run::{Conductor, Interrupted};
use crate::wait::Wait;
use crate::wake::Cause;

/// How long a run may think up to its condition and about it.
const JUDGING_SECONDS_MAX: Duration = Duration::from_secs(10);

impl Conductor {
    /// Why the event wakes the run, if the run's own condition has nothing against it.
    pub(crate) async fn cause(
        &self,
        wait: &Arc<Wait>,
        index: usize,
        event: &Arc<Event>,
    ) -> Option<Cause> {
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
        let locals = self.locals(&wait.run, &events, Arc::default());
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
