//! Fork: a new run that takes over what another one did up to a command, and goes on by itself.
//!
//! Invariants: the fork begins and the run that it replaces ends in one batch, so that whatever dies,
//! one of the two is live and never both; a script that asks something else than was done is
//! refused before anything is written.

use std::sync::Arc;
use std::time::Duration;

use crate::access::Person;
use crate::amend::{Refused, Written};
use crate::bundle::Script;
use crate::claim::Claim;
use crate::copy::Cut;
use crate::event::{Event, RunId, Value};
use crate::journal::{End, EndState, Entry, Journal};
use crate::run::{Conductor, Interrupted};
use crate::state::State;
use crate::store::Batch;
use crate::trial::Trial;
use crate::wait::Wait;

/// How long a run at work may take to come to a place where it can be let go of.
pub const HALT_SECONDS_MAX: Duration = Duration::from_secs(30);

/// What is to be forked.
#[derive(Debug, Clone)]
pub struct Fork {
    /// Which run.
    pub run: RunId,
    /// Commands below this are taken over with their outcomes.
    pub at: usize,
    /// The script to go on with; that of the run if none is given.
    pub script: Option<Arc<Script>>,
}

/// A fork that is ready to be written.
struct Ready {
    journal: Journal,
    script: Arc<Script>,
}

impl State {
    /// Begins a fork of `run` at the command `at`, with its own script or another one. The run itself
    /// ends as cancelled, unless it has ended before.
    ///
    /// # Errors
    /// Why there is no fork; then everything is as it was.
    pub async fn fork(
        &self,
        (run, at): (&RunId, usize),
        written: Option<Written>,
        person: &Person,
    ) -> Result<RunId, Refused> {
        if self.conductor.store.run(run)?.is_none() {
            return Err(Refused::Gone(run.to_string()));
        }
        let script = match written {
            Some(written) => Some(self.compile_for(run, written).await?),
            None => None,
        };
        let run = run.clone();
        let wish = Fork { run, at, script };
        let audit = |fork: &RunId| {
            let deed = format!("fork {} at {at} as {fork}", wish.run);
            self.audit_line(person, &deed)
        };
        let forked = self.conductor.fork(&wish, audit).await;
        match &forked {
            Ok(fork) => self.attendance.take_up(fork.clone()),
            // It may have been halted, or woken while it was held.
            Err(_) => self.resume(&wish.run),
        }
        forked
    }

    async fn compile_for(&self, run: &RunId, written: Written) -> Result<Arc<Script>, Refused> {
        let (journal, _) = self.conductor.recollect(run)?;
        let version = journal.version().unwrap_or_default();
        let pinned = self.conductor.bundle(version)?;
        self.compile(written, pinned.is_batch).await
    }
}

impl Conductor {
    /// Writes down a fork, which is then to be taken up. `audit` gives the line about it.
    ///
    /// # Errors
    /// Why there is no fork. The run may have been halted; it is to be taken up again then.
    pub async fn fork(
        &self,
        wish: &Fork,
        audit: impl Fn(&RunId) -> Vec<u8>,
    ) -> Result<RunId, Refused> {
        let _held = self.hold(&wish.run).await?;
        let (journal, events) = self.recollect(&wish.run)?;
        let script = match &wish.script {
            Some(script) => Arc::clone(script),
            None => self.script(journal.version().unwrap_or_default()).await?,
        };
        let fork = self.next_copy(&wish.run)?;
        let in_use = || Refused::Not(format!("{fork} is being made already; try again"));
        let _fork_held = self.claims.claim(&fork).ok_or_else(in_use)?;
        let copy = journal.forked(&Cut {
            run: fork.clone(),
            commands: wish.at,
            version: script.version.clone(),
            at: self.clock.now(),
        });
        let ready = Ready {
            journal: copy.map_err(Refused::Not)?,
            script,
        };
        self.is_passable(&ready, events).await?;
        self.keep_version(&ready.script).await?;
        self.begin_fork(ready, &wish.run, audit(&fork)).await?;
        self.waits.take_out(&wish.run);
        Ok(fork)
    }

    /// Takes a run from whoever has it, when it comes to a place between two commands.
    async fn hold(&self, run: &RunId) -> Result<Claim, Refused> {
        let holding = async {
            loop {
                if let Some(claim) = self.claims.claim(run) {
                    return claim;
                }
                self.claims.order(run, |order| order.halt = true);
                self.claims.released(run).await;
            }
        };
        let held = tokio::time::timeout(HALT_SECONDS_MAX, holding).await;
        held.map_err(|_| {
            self.claims.order(run, |order| order.halt = false);
            Refused::Not(format!(
                "{run} is having something done just now; try again"
            ))
        })
    }

    /// The first copy of a run that there is not yet.
    fn next_copy(&self, run: &RunId) -> Result<RunId, Interrupted> {
        let copies = self.store.runs_of(&run.event())?;
        let of_flow = copies.iter().filter(|info| info.run.flow() == run.flow());
        let highest = of_flow.map(|info| info.run.copy_number()).max();
        Ok(run.copy(highest.unwrap_or(1).saturating_add(1)))
    }

    async fn is_passable(&self, ready: &Ready, events: Arc<Vec<Event>>) -> Result<(), Refused> {
        let journal = ready.journal.clone();
        match self.try_out(&ready.script, journal, events).await? {
            Trial::Safe => Ok(()),
            Trial::Diverges(divergence) => Err(Refused::Not(divergence.to_string())),
            Trial::Fails(at, message) => Err(Refused::Not(format!(
                "the script fails before it asks for command {at} again: {message}"
            ))),
        }
    }

    /// The fork's beginning and the end of the run that it replaces, in one batch.
    async fn begin_fork(
        &self,
        mut ready: Ready,
        replaced: &RunId,
        audit: Vec<u8>,
    ) -> Result<(), Refused> {
        let fork = ready.journal.run.clone();
        let unreadable = |why| Interrupted::Unreadable(format!("{fork} cannot be kept: {why}"));
        let record = ready.journal.take_pending().map_err(unreadable)?;
        let mut batch = Batch::new();
        batch.append(&fork, record);
        self.end_replaced(&mut batch, replaced, &fork)?;
        batch.audit(audit);
        self.store.commit(batch).await?;
        Ok(())
    }

    /// Ends a run that is live or blocked; one that has ended stays as it is.
    fn end_replaced(
        &self,
        batch: &mut Batch,
        run: &RunId,
        fork: &RunId,
    ) -> Result<(), Interrupted> {
        let info = self.store.run(run)?;
        let end = info.and_then(|info| info.end).map(|(end, _)| end);
        if end.is_some_and(|end| end != EndState::Blocked) {
            return Ok(());
        }
        let at = self.clock.now();
        let message = format!("{fork} goes on in its place");
        let mut journal = Journal::addition_to(run.clone());
        journal.add(Entry::Note(at, format!("a person forked it: {message}")));
        journal.add(Entry::End(End {
            at,
            state: EndState::Cancelled,
            message,
            value: Value::Null,
        }));
        let unreadable = |why| Interrupted::Unreadable(format!("the end of {run}: {why}"));
        let record = journal.take_pending().map_err(unreadable)?;
        match end {
            None => batch.note(run, record),
            Some(_) => batch.append(run, record),
        }
        batch.finish(run, EndState::Cancelled, at);
        let wait = self.store.wait(run)?;
        let wait = wait.and_then(|record| Wait::decode(run.clone(), &record).ok());
        if let Some((wait, alarm)) = wait.as_ref().and_then(|wait| Some((wait, wait.alarm?))) {
            batch.remove_timer(alarm.due, run, wait.command as u32);
        }
        self.metrics.ended(EndState::Cancelled);
        Ok(())
    }
}
