//! What operators do to a running server. Each leaves an audit line, on disk before the deed.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;

use crate::access::Person;
use crate::action::{self, Repeat};
use crate::api::{gone, store_failed};
use crate::event::{RunId, Value};
use crate::journal::{EndState, Entry, Journal};
use crate::source::http::Refusal;
use crate::state::State;
use crate::store::{Batch, StoreError};
use crate::tries::TriesRecord;

/// How long a cancelled run may tidy up after its script was told.
pub const TIDY_UP_MAX: Duration = Duration::from_secs(600);

impl State {
    /// Writes down who did what.
    ///
    /// # Errors
    /// When the store does not keep it; then it is not done.
    pub async fn note(&self, person: &Person, deed: &str) -> Result<(), Refusal> {
        let mut batch = Batch::new();
        batch.audit(self.audit_line(person, deed));
        self.conductor
            .store
            .commit(batch)
            .await
            .map(drop)
            .map_err(|why| store_failed(&why))
    }

    pub(crate) fn audit_line(&self, person: &Person, deed: &str) -> Vec<u8> {
        let at = self.conductor.clock.now();
        tracing::info!(person = %person.name, "{deed}");
        format!("{at} {} {deed}", person.name).into_bytes()
    }

    /// Has a dead letter tried again, with the flow as it is now: what was done is not done again,
    /// the failure that ended it is open once more.
    ///
    /// # Errors
    /// There is no such dead letter; the store did not keep the wish.
    pub async fn retry(&self, id: &RunId, person: &Person) -> Result<(), Refusal> {
        let failed = |why: &dyn std::fmt::Display| store_failed(why);
        let journal = self.conductor.journal(id).map_err(|why| failed(&why))?;
        let mut journal = journal.ok_or_else(|| gone(id.as_str()))?;
        if journal
            .end()
            .is_none_or(|end| end.state != EndState::Failed)
        {
            let message = format!("{id} is not a dead letter");
            return Err(Refusal::new(StatusCode::CONFLICT, "not_dead", message));
        }
        let path = id.flow_path();
        let now = self
            .attendance
            .flow(&path)
            .map(|flow| flow.script.version.clone());
        let version = now
            .or_else(|| journal.version().map(str::to_owned))
            .unwrap_or_default();
        let tries = tries_again(&journal, self.conductor.clock.now());
        journal.add(Entry::Retried(self.conductor.clock.now(), version));
        let record = journal.take_pending().map_err(|why| failed(&why))?;
        let mut batch = Batch::new();
        batch.append(id, record);
        batch.forgive(id);
        if let Some(tries) = tries {
            batch.set_attempts(id, Some(tries.encode()));
        }
        batch.audit(self.audit_line(person, &format!("retry {id}")));
        self.conductor
            .store
            .commit(batch)
            .await
            .map_err(|why| failed(&why))?;
        self.attendance.take_up(id.clone());
        Ok(())
    }

    /// Has a run cancelled: its script sees an error at what it asks for next or waits for, once, and
    /// may then tidy up for [`TIDY_UP_MAX`].
    ///
    /// # Errors
    /// There is no such run, or it has ended; the store did not keep the wish.
    pub async fn cancel(&self, id: &RunId, person: &Person) -> Result<(), Refusal> {
        self.has_run(id)?;
        let now = self.conductor.clock.now();
        let until = now.checked_add(TIDY_UP_MAX).unwrap_or(now);
        let mut batch = Batch::new();
        batch.audit(self.audit_line(person, &format!("cancel {id}")));
        let kept = self.conductor.cancel_run(id, until, batch).await;
        kept.map_err(|why| ended_or_failed(id, &why))
    }

    /// Ends a run at once, without asking its script. What it is having done just then may be done
    /// all the same.
    ///
    /// # Errors
    /// There is no such run, or it has ended; the store did not keep its end.
    pub async fn kill(&self, id: &RunId, person: &Person) -> Result<(), Refusal> {
        self.has_run(id)?;
        self.note(person, &format!("kill {id}")).await?;
        let killed = self.conductor.kill_run(id).await;
        killed.map_err(|why| ended_or_failed(id, &why))
    }

    fn has_run(&self, id: &RunId) -> Result<(), Refusal> {
        let info = self.conductor.store.run(id);
        match info.map_err(|why| store_failed(&why))? {
            None => Err(gone(id.as_str())),
            Some(info) if info.end.is_some() => Err(ended(id)),
            Some(_) => Ok(()),
        }
    }

    /// Holds a flow or a channel, or lets it go on; survives restarts.
    ///
    /// # Errors
    /// The store did not keep the wish.
    pub async fn pause(
        &self,
        kind: &str,
        name: &str,
        paused: bool,
        person: &Person,
    ) -> Result<(), Refusal> {
        let mut batch = Batch::new();
        if paused {
            batch.pause(name)
        } else {
            batch.resume(name)
        }
        let verb = if paused { "pause" } else { "resume" };
        batch.audit(self.audit_line(person, &format!("{verb} {name}")));
        self.conductor
            .store
            .commit(batch)
            .await
            .map_err(|why| store_failed(&why))?;
        match kind {
            "flows" => drop(self.attendance.set_paused(name, paused)),
            _ => {
                if let Some(channel) = self.conductor.channels.get(name) {
                    channel.set_paused(paused);
                }
            }
        }
        Ok(())
    }
}

/// The tries of the command whose failure is open once more, if a command failed.
fn tries_again(journal: &Journal, now: Timestamp) -> Option<TriesRecord> {
    let last = journal.command_count().checked_sub(1)?;
    let failure = journal.outcome(last)?.result.as_ref().err()?;
    let word = &journal.command(last)?.question.word;
    let can_ask = action::find(word).is_some_and(|(_, verb)| verb.repeat == Repeat::LookUp);
    let in_doubt = can_ask && failure.get("in_doubt") == Some(&Value::Bool(true));
    Some(TriesRecord::again(last, in_doubt, now))
}

fn ended(id: &RunId) -> Refusal {
    let message = format!("{id} has ended already");
    Refusal::new(StatusCode::CONFLICT, "ended", message)
}

fn ended_or_failed(id: &RunId, why: &StoreError) -> Refusal {
    match why {
        StoreError::Lost { .. } => ended(id),
        why => store_failed(why),
    }
}
