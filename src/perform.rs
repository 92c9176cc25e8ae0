//! Perform: one try of one action, with its key and its secrets, bounded in time.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::action::{self, Call, Failure};
use crate::event::Value;
use crate::journal::{Entry, Outcome};
use crate::run::{Conductor, Work};
use crate::tries::TriesRecord;
use crate::vault;

/// Longest time that one try of one action may take, whatever the target does.
pub const ACTION_SECONDS_MAX: Duration = Duration::from_secs(600);

impl Conductor {
    /// One try of the command that `tries` is about.
    ///
    /// # Errors
    /// Why it did not succeed.
    pub(crate) async fn perform(&self, work: &Work, tries: &TriesRecord) -> Result<Value, Failure> {
        let command = work.journal.command(tries.command);
        let Some(question) = command.map(|command| &command.question) else {
            return Err(Failure::refused("the journal lost a command"));
        };
        let Some((action, verb)) = action::find(&question.word) else {
            return Err(Failure::refused("the verb is gone"));
        };
        let secrets = Arc::clone(&self.secrets.read().unwrap_or_else(PoisonError::into_inner));
        let arguments = vault::open(&question.arguments, &secrets)?;
        let services = Arc::clone(&self.services.read().unwrap_or_else(PoisonError::into_inner));
        let key = work.journal.key(tries.command);
        let mut held = vault::held(&question.arguments, &secrets);
        let call = Call {
            verb: verb.name,
            arguments: &arguments,
            key: &key,
            in_doubt: tries.in_doubt,
            services: &services,
            hidden: &held,
        };
        let started = Instant::now();
        let performed = tokio::time::timeout(ACTION_SECONDS_MAX, action.perform(call)).await;
        self.metrics.performed(started.elapsed());
        let performed = performed
            .unwrap_or_else(|_| Err(Failure::away("it took longer than 10 minutes").in_doubt()));
        held.extend(services.secrets());
        match performed {
            Ok(mut value) => {
                vault::cover_value(&held, &mut value);
                Ok(value)
            }
            Err(mut failure) => {
                vault::cover(&held, &mut failure.message);
                Err(failure)
            }
        }
    }

    /// Notes what came of a command; it is on disk with the next flush.
    pub(crate) fn note_outcome(
        &self,
        work: &mut Work,
        index: usize,
        attempts: u32,
        result: Result<Value, Failure>,
    ) {
        let word = work
            .journal
            .command(index)
            .map_or("", |command| command.question.word.as_str());
        let result = result.map_err(|failure| failure_value(word, failure));
        self.note_result(work, index, attempts, result);
    }

    /// The same with what the script's `catch` sees.
    pub(crate) fn note_result(
        &self,
        work: &mut Work,
        index: usize,
        attempts: u32,
        result: Result<Value, Value>,
    ) {
        let outcome = Outcome {
            at: self.clock.now(),
            of: index as u64,
            attempts,
            result,
        };
        work.journal.add(Entry::Outcome(outcome));
    }
}

/// A failure as a script's `catch` sees it.
pub(crate) fn failure_value(word: &str, failure: Failure) -> Value {
    let doubt = failure.in_doubt.then_some(("in_doubt", Value::Bool(true)));
    let told = [
        ("verb", Value::from(word)),
        ("kind", Value::from(failure.kind.word())),
        ("status", failure.status.map(i64::from).into()),
        ("message", Value::from(failure.message)),
    ];
    let named = |(name, value): (&str, Value)| (name.to_owned(), value);
    Value::Map(told.into_iter().chain(doubt).map(named).collect())
}
