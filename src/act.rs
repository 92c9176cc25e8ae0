//! Act: has one command of a run done, tried again as long as its flow wants, and writes down what
//! came of it.
//!
//! Invariant: what may not be repeated is performed only after the wish for it is on disk.

use std::sync::Arc;
use std::time::Duration;

use crate::action::{self, Failure, Repeat, Verb};
use crate::attempt::{Next, Tries};
use crate::claim::Notes;
use crate::event::Value;
use crate::flow::InDoubt;
use crate::gate::Question;
use crate::journal::Entry;
use crate::run::{Conductor, Interrupted, Work};
use crate::stop::told;
use crate::store::Batch;
use crate::tries::TriesRecord;
use crate::wait::{self, Wait};

/// What became of a command.
pub(crate) enum Acted {
    /// Its outcome is in the journal.
    Known,
    /// It waits.
    Waits(Wait),
    /// The journal began anew.
    Anew,
    /// The run was cancelled and has had its time.
    Enough,
}

/// How a pause ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It was long enough.
    Enough,
    /// The run was cancelled meanwhile.
    Cancelled,
}

impl Conductor {
    /// Has the command at `index` done and notes what came of it. `recovered` says that the command
    /// was asked for before this process took up the run.
    pub(crate) async fn act(
        &self,
        work: &mut Work,
        index: usize,
        recovered: bool,
    ) -> Result<Acted, Interrupted> {
        let Some(command) = work.journal.command(index) else {
            return Err(Interrupted::Engine);
        };
        let question = command.question.clone();
        if let Some(acted) = self.cancel(work, index, &question.word) {
            return Ok(acted);
        }
        if wait::is_wait(&question.word) {
            let wait = self.lay_down(work, index).await?;
            return Ok(wait.map_or(Acted::Known, Acted::Waits));
        }
        if question.word == wait::CONTINUE {
            return self.begin_anew(work, index, question).await;
        }
        let Some((_, verb)) = action::find(&question.word) else {
            let failure =
                Failure::refused(format!("this version of vigie has no `{}`", question.word));
            self.note_outcome(work, index, 0, Err(failure));
            return Ok(Acted::Known);
        };
        // What may be repeated needs no wish on disk, but what it was made of does: another time,
        // another chance would make it another thing.
        if verb.repeat != Repeat::Safe || work.journal.has_pending_answers() {
            self.flush(work).await?;
        }
        let mut tries = match recovered {
            true => TriesRecord::load(&self.store, &work.journal.run, index, self.clock.now())?,
            false => TriesRecord::begin(index, self.clock.now()),
        };
        let left = tries.wait_left(self.clock.now()).unwrap_or_default();
        let result = match self.wait(work, left).await? {
            Waited::Enough => self.attempt_until_known(work, verb, &mut tries).await?,
            Waited::Cancelled => None,
        };
        match result {
            Some(mut result) => {
                if let Err(failure) = &mut result {
                    failure.in_doubt |= tries.in_doubt;
                }
                self.note_outcome(work, index, tries.count, result);
            }
            None => {
                let cancelled = Conductor::cancelled(&question.word);
                self.waits.knows_of_cancel(&work.journal.run);
                self.note_result(work, index, tries.count, Err(cancelled));
            }
        }
        Ok(Acted::Known)
    }

    /// The run's journal begins anew, with what the script wants to carry over.
    async fn begin_anew(
        &self,
        work: &mut Work,
        index: usize,
        question: Question,
    ) -> Result<Acted, Interrupted> {
        if work.journal.cancel().is_some() {
            let failure = Failure::refused("a cancelled run cannot begin anew");
            self.note_outcome(work, index, 0, Err(failure));
            return Ok(Acted::Known);
        }
        // What the script emitted and kept is on disk before the journal that says so is left.
        self.flush(work).await?;
        let state = question.arguments.into_iter().next().unwrap_or_default();
        work.journal = work.journal.begin_anew(self.clock.now(), state);
        let mut batch = Batch::new();
        batch.restart(&work.journal.run);
        batch.set_attempts(&work.journal.run, None);
        batch.join(self.pending(work)?);
        self.commit(work, batch).await?;
        Ok(Acted::Anew)
    }

    /// `None` if the run was cancelled before anything came of it.
    async fn attempt_until_known(
        &self,
        work: &mut Work,
        verb: &'static Verb,
        tries: &mut TriesRecord,
    ) -> Result<Option<Result<Value, Failure>>, Interrupted> {
        loop {
            if let Some(failure) = self.doubt(work, verb, tries) {
                return Ok(Some(Err(failure)));
            }
            if let Some(wait) = tries.settle(verb.repeat, &work.flow.settings)
                && self.wait(work, wait).await? == Waited::Cancelled
            {
                return Ok(None);
            }
            // That it is repeated is on disk before it is: the next crash must not forget this one.
            if verb.repeat != Repeat::Safe && (tries.kept || tries.in_doubt) {
                tries.performing = true;
                self.keep_tries(work, tries).await?;
            }
            tries.count += 1;
            let performed = tokio::select! {
                performed = self.perform(work, tries) => performed,
                () = work.seat.killed() => return Err(Interrupted::Killed),
            };
            let failure = match performed {
                Ok(value) => return Ok(Some(Ok(value))),
                Err(failure) => failure,
            };
            self.metrics.failures.inc();
            match tries.failed(&failure, &work.flow.settings, self.clock.now()) {
                Next::GiveUp => return Ok(Some(Err(failure))),
                Next::After(wait) => {
                    self.keep_tries(work, tries).await?;
                    if self.wait(work, wait).await? == Waited::Cancelled {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// What the flow wants when nobody can tell whether a thing was done: `Some` ends it.
    fn doubt(&self, work: &mut Work, verb: &Verb, tries: &mut TriesRecord) -> Option<Failure> {
        if !tries.in_doubt || verb.repeat != Repeat::InDoubt {
            return None;
        }
        let told = std::mem::replace(&mut tries.told, true);
        let now = self.clock.now();
        match work.flow.settings.in_doubt {
            InDoubt::DeadLetter => {
                let message = "it may have been done already, and the flow leaves that to a person";
                Some(Failure::refused(message).in_doubt())
            }
            InDoubt::Repeat if told => None,
            InDoubt::Repeat => {
                let note = format!(
                    "command {}: it may have been done already; repeated with the same key",
                    tries.command
                );
                work.journal.add(Entry::Note(now, note));
                None
            }
        }
    }

    /// Tells the script once that it is cancelled, in place of what it asked for; and ends its run when
    /// its time to tidy up is over.
    fn cancel(&self, work: &mut Work, index: usize, word: &str) -> Option<Acted> {
        let until = work.tidy_up_until()?;
        if work.journal.knows_of_cancel() {
            return (self.clock.now() > until).then_some(Acted::Enough);
        }
        self.note_result(work, index, 0, Err(Conductor::cancelled(word)));
        self.waits.knows_of_cancel(&work.journal.run);
        Some(Acted::Known)
    }

    /// Lets time pass; further events for the run are noted meanwhile.
    pub(crate) async fn wait(
        &self,
        work: &mut Work,
        wait: Duration,
    ) -> Result<Waited, Interrupted> {
        if wait.is_zero() {
            return Ok(Waited::Enough);
        }
        let knows = work.journal.knows_of_cancel();
        let until = tokio::time::Instant::now() + wait;
        let mut stop = self.stop.clone();
        loop {
            let notes = Arc::clone(&work.seat.notes);
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(Waited::Enough),
                () = Notes::arrived(&notes) => self.flush(work).await?,
                () = told(&mut stop) => return Err(Interrupted::Stopping),
                () = work.seat.halted() => return Err(Interrupted::Halted),
                () = work.seat.killed() => return Err(Interrupted::Killed),
                () = work.seat.cancelled(), if !knows => return Ok(Waited::Cancelled),
            }
        }
    }
}

/// Tries so far as the rule sees them.
impl From<&TriesRecord> for Tries {
    fn from(record: &TriesRecord) -> Tries {
        Tries {
            count: record.count,
            counted: record.counted,
            since_first: record.since_first,
        }
    }
}
