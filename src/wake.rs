//! Wake: a run goes to sleep with what it waits for on disk, and is told on disk why it wakes.
//!
//! Invariants: a run that sleeps has a wait in the store, and with it an event to come or a timer;
//! the wait goes in the same batch that brings its outcome, so it is woken once; an event that is
//! taken is taken in that batch too.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::Failure;
use crate::error::did_you_mean;
use crate::event::{Event, EventId, Value};
use crate::journal::{CANCELLED, Entry, Journal, Outcome, Seen};
use crate::perform::failure_value;
use crate::run::{Conductor, Interrupted, Work};
use crate::store::{Batch, StoreError};
use crate::wait::{Form, Wait};
use crate::want::Want;

/// Why a run is woken.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// An event fits the want with this index.
    Event(usize, Arc<Event>),
    /// The time is over.
    Time,
    /// Something that the script sees as an error.
    Failure(Value),
}

impl Conductor {
    /// Lays a run down: its journal, what it waits for and its timer in one batch. `None` if the
    /// wait makes no sense; the outcome says why then.
    ///
    /// # Errors
    /// What the store does not keep.
    pub(crate) async fn lay_down(
        &self,
        work: &mut Work,
        index: usize,
    ) -> Result<Option<Wait>, Interrupted> {
        let mut wait = match self.wait_of(work, index)? {
            Ok(wait) => wait,
            Err(why) => {
                self.note_outcome(work, index, 0, Err(Failure::refused(why)));
                return Ok(None);
            }
        };
        work.seat.take_notes(&mut work.journal, self.clock.now());
        let mut batch = self.pending(work)?;
        // Only now: a run whose journal cannot be kept does not lie down.
        self.waits.settle(&mut wait);
        let record = wait.encode().map_err(|why| StoreError::TooLarge {
            what: format!("what {} waits for", wait.run),
            limit: why.to_string(),
        })?;
        batch.put_wait(&wait.run, record);
        if let Some(alarm) = wait.alarm {
            batch.put_timer(alarm.due, &wait.run, wait.command as u32);
        }
        self.commit(work, batch).await?;
        // From here on the store takes further notes; what arrived meanwhile goes there too.
        work.seat.close_notes(&mut work.journal, self.clock.now());
        self.flush(work).await?;
        Ok(Some(wait))
    }

    /// What the command at `index` waits for, with its channels found and the first event that counts.
    fn wait_of(&self, work: &Work, index: usize) -> Result<Result<Wait, String>, Interrupted> {
        let journal = &work.journal;
        let Some(command) = journal.command(index) else {
            return Err(Interrupted::Engine);
        };
        let mut wait = match Wait::of(&journal.run, index, command.at, &command.question) {
            Ok(wait) => wait,
            Err(why) => return Ok(Err(why)),
        };
        wait.trouble = journal.start().and_then(|start| start.trouble.clone());
        for want in &mut wait.wants {
            let Some(channel) = self.channels.find(&want.channel) else {
                return Ok(Err(self.no_channel(&want.channel)));
            };
            want.channel.clone_from(&channel.name);
            want.from = match wait.form {
                // What flows have been offered is theirs.
                Form::Receive if channel.has_flows() => channel.offered(),
                Form::Receive => 0,
                _ => self.first_unseen(journal, want)?,
            };
        }
        // Tidying up has an end, also for one who only waits.
        if let Some(until) = work.tidy_up_until().filter(|_| journal.knows_of_cancel()) {
            wait.end_by(until);
        }
        Ok(Ok(wait))
    }

    fn no_channel(&self, asked: &str) -> String {
        let all = self.channels.all();
        let names = all.iter().map(|channel| channel.name.as_str());
        let hint = did_you_mean(asked, names);
        let hint = hint.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
        format!("there is no channel `{asked}`{hint}")
    }

    /// The first event of the want's channel that came after the one that began the run, and that
    /// the run has not seen for the same fields.
    fn first_unseen(&self, journal: &Journal, want: &Want) -> Result<u64, StoreError> {
        let after = journal.seen_after(want);
        let begun = match journal.start().and_then(|start| start.events.first()) {
            Some(number) => EventId {
                channel: journal.run.event().channel,
                number: *number,
            },
            None => journal.run.event(),
        };
        Ok(after.max(self.store.first_since(&begun, &want.channel)?))
    }

    /// Writes down why the run wakes, and has it taken up. False if the event was somebody else's
    /// already: the run sleeps on.
    ///
    /// # Errors
    /// The store is closed or damaged; the run is woken after the next start.
    pub(crate) async fn wake(&self, wait: &Wait, cause: Cause) -> Result<bool, StoreError> {
        self.wake_with(wait, cause, Batch::new()).await
    }

    /// The same, with what else is to be kept in the same batch.
    ///
    /// # Errors
    /// As [`Conductor::wake`].
    pub(crate) async fn wake_with(
        &self,
        wait: &Wait,
        cause: Cause,
        mut batch: Batch,
    ) -> Result<bool, StoreError> {
        let mut journal = Journal::addition_to(wait.run.clone());
        let now = self.clock.now();
        let result = match &cause {
            Cause::Event(index, event) => {
                let want = &wait.wants[*index];
                if wait.form == Form::Receive {
                    batch.take(&event.id, wait.run.as_str());
                }
                journal.add(Entry::Seen(Seen {
                    at: now,
                    of: wait.command as u64,
                    which: want.which as u64,
                    event: event.id.clone(),
                }));
                Ok(wait.woken_by(want, event))
            }
            Cause::Time => Ok(wait.timed_out()),
            Cause::Failure(value) => Err(value.clone()),
        };
        journal.add(Entry::Outcome(Outcome {
            at: now,
            of: wait.command as u64,
            attempts: 0,
            result,
        }));
        let record = journal.take_pending().map_err(|why| StoreError::TooLarge {
            what: format!("what {} waited for", wait.run),
            limit: why.to_string(),
        })?;
        batch.append(&wait.run, record);
        batch.wake(&wait.run);
        if let Some(alarm) = wait.alarm {
            batch.remove_timer(alarm.due, &wait.run, wait.command as u32);
        }
        let woken = || Ok(self.store.wait(&wait.run)?.is_none());
        match self.commit_patiently(&wait.run, batch, woken).await {
            Ok(()) => {
                self.rouse(&wait.run);
                Ok(true)
            }
            Err(StoreError::Lost { .. }) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// What a script sees of a cancellation.
    pub(crate) fn cancelled(word: &str) -> Value {
        let message = "the run was cancelled; it may still tidy up";
        let pairs = BTreeMap::from([
            ("verb".to_owned(), Value::from(word)),
            ("kind".to_owned(), Value::from(CANCELLED)),
            ("message".to_owned(), Value::from(message)),
        ]);
        Value::Map(pairs)
    }

    /// What a script sees of a wait that failed.
    pub(crate) fn wait_failure(word: &str, why: String) -> Value {
        failure_value(word, Failure::refused(why))
    }
}
