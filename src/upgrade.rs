//! Upgrade: which runs of a flow could go on with another version of its script, and moving those
//! that can.
//!
//! Invariants: a run is moved only as it was when it was tried; one that was woken meanwhile goes on with
//! the version that it has. Without a wish to move nothing is written.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::amend::{Refused, Written};
use crate::bundle::Script;
use crate::event::{EventId, RunId};
use crate::journal::{EndState, Entry, Journal};
use crate::run::{Conductor, Interrupted};
use crate::state::State;
use crate::store::{Batch, StoreError};
use crate::trial::Trial;

/// Runs that one page of an upgrade looks at.
pub const UPGRADE_PAGE_RUNS_MAX: usize = 500;
/// Runs that are tried and moved at a time.
const TRIED_AT_ONCE_MAX: usize = 16;

/// What a person wants.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// `channel/name` of the flow.
    pub flow: String,
    /// The script to move to; the flow as it is now if none is given.
    pub script: Option<Written>,
    /// True if nothing is to be moved.
    pub dry_run: bool,
    /// Where to go on; from the beginning if none is given.
    pub after: Option<Place>,
}

/// How far an upgrade has looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which of the two lists.
    pub state: Suspended,
    /// The last run that was looked at; the beginning of the list if none is given.
    pub run: Option<RunId>,
}

/// Why a run stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspended {
    /// Its script and its journal disagree.
    Blocked,
    /// It waits for something.
    Waiting,
}

/// A run with what came of it.
#[derive(Debug)]
pub struct Tried {
    /// Which run.
    pub run: RunId,
    /// Why it stands still.
    pub state: Suspended,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a run.
#[derive(Debug)]
pub enum Verdict {
    /// It would ask for the same things.
    Safe,
    /// It was safe, and goes on with the version from here on.
    Moved,
    /// It has this version already.
    Same,
    /// It was woken meanwhile, and goes on with the version that it has.
    Woken,
    /// It would ask for something else, or fail.
    Unsafe(Trial),
    /// Its journal, its events or its version cannot be read.
    Unreadable(String),
}

/// A page of runs, in the order in which they are kept.
#[derive(Debug)]
pub struct Page {
    /// The version that they were tried with.
    pub version: String,
    /// What came of each.
    pub runs: Vec<Tried>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Place>,
}

/// A run that stands still, with what it waits for, as it is kept.
type Candidate = (RunId, Option<Vec<u8>>);

impl Suspended {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Suspended::Blocked => "blocked",
            Suspended::Waiting => "waiting",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Suspended> {
        let all = [Suspended::Blocked, Suspended::Waiting];
        all.into_iter().find(|state| state.word() == word)
    }
}

impl State {
    /// Tries one page of the runs of a flow, the blocked before the waiting, and moves the safe ones
    /// unless it is a dry run.
    ///
    /// # Errors
    /// There is no such flow, the script does not compile, the store cannot be read.
    pub async fn upgrade(&self, wish: Upgrade) -> Result<Page, Refused> {
        let flow = self.attendance.flow(&wish.flow);
        let flow = flow.ok_or_else(|| Refused::Gone(wish.flow.clone()))?;
        let script = match wish.script {
            Some(written) => self.compile(written, flow.settings.batch.is_some()).await?,
            None => Arc::clone(&flow.script),
        };
        if !wish.dry_run {
            self.conductor.keep_version(&script).await?;
        }
        let place = wish.after.unwrap_or(Place {
            state: Suspended::Blocked,
            run: None,
        });
        let state = place.state;
        let (found, next) = self.conductor.candidates(&wish.flow, place)?;
        let tried =
            stream::iter(found).map(|one| self.try_one(&script, (state, one), wish.dry_run));
        Ok(Page {
            version: script.version.clone(),
            runs: tried.buffered(TRIED_AT_ONCE_MAX).collect().await,
            next,
        })
    }

    async fn try_one(
        &self,
        script: &Arc<Script>,
        (state, (run, waits_for)): (Suspended, Candidate),
        dry_run: bool,
    ) -> Tried {
        let tried = self.conductor.try_run(script, &run).await;
        let verdict = match tried {
            Ok(Verdict::Safe) if !dry_run => self.move_one(script, &run, waits_for).await,
            tried => tried,
        };
        let verdict = verdict.unwrap_or_else(|why| Verdict::Unreadable(why.to_string()));
        Tried {
            run,
            state,
            verdict,
        }
    }

    async fn move_one(
        &self,
        script: &Script,
        run: &RunId,
        waits_for: Option<Vec<u8>>,
    ) -> Result<Verdict, Interrupted> {
        let mut journal = Journal::addition_to(run.clone());
        let now = self.conductor.clock.now();
        journal.add(Entry::Moved(now, script.version.clone()));
        let unreadable = |why| Interrupted::Unreadable(format!("the move of {run}: {why}"));
        let record = journal.take_pending().map_err(unreadable)?;
        match waits_for {
            Some(waits_for) => self.conductor.move_waiting(run, waits_for, record).await,
            None => {
                let moved = self.conductor.move_blocked(run, record).await?;
                self.resume(run);
                Ok(moved)
            }
        }
    }
}

impl Conductor {
    /// A page of a flow's runs that stand still, and where the next one begins.
    fn candidates(
        &self,
        flow: &str,
        place: Place,
    ) -> Result<(Vec<Candidate>, Option<Place>), StoreError> {
        let channel = flow.split('/').next().unwrap_or(flow).to_owned();
        // Runs are kept by channel: the list begins before the channel's first event.
        let first = RunId::new(
            &EventId {
                channel: channel.clone(),
                number: 0,
            },
            "",
        );
        let after = place.run.unwrap_or(first);
        let limit = UPGRADE_PAGE_RUNS_MAX;
        let mut found: Vec<Candidate> = match place.state {
            Suspended::Waiting => {
                let waits = self.store.waits(Some(&after), limit)?;
                waits
                    .into_iter()
                    .map(|(run, wait)| (run, Some(wait)))
                    .collect()
            }
            Suspended::Blocked => {
                let blocked = self.store.blocked_after(Some(&after), limit)?;
                blocked.into_iter().map(|run| (run, None)).collect()
            }
        };
        let last = found.last().map(|(run, _)| run.clone());
        let more = last.filter(|last| found.len() == limit && last.event().channel == channel);
        let next = match (more, place.state) {
            (Some(run), state) => Some(Place {
                state,
                run: Some(run),
            }),
            (None, Suspended::Blocked) => Some(Place {
                state: Suspended::Waiting,
                run: None,
            }),
            (None, Suspended::Waiting) => None,
        };
        found.retain(|(run, _)| run.flow_path() == flow);
        Ok((found, next))
    }

    async fn try_run(&self, script: &Arc<Script>, run: &RunId) -> Result<Verdict, Interrupted> {
        let (journal, events) = self.recollect(run)?;
        let is_pinned = journal.version() == Some(script.version.as_str());
        if is_pinned && journal.end().is_none() {
            return Ok(Verdict::Same);
        }
        Ok(match self.try_out(script, journal, events).await? {
            Trial::Safe => Verdict::Safe,
            trial => Verdict::Unsafe(trial),
        })
    }

    /// Moves a run that waits, if it still waits for what it waited for when it was tried.
    async fn move_waiting(
        &self,
        run: &RunId,
        waits_for: Vec<u8>,
        record: Vec<u8>,
    ) -> Result<Verdict, Interrupted> {
        let mut batch = Batch::new();
        batch.if_waits(run, waits_for);
        batch.note(run, record);
        match self.store.commit(batch).await {
            Ok(_) => Ok(Verdict::Moved),
            Err(StoreError::Lost { .. }) => Ok(Verdict::Woken),
            Err(why) => Err(why.into()),
        }
    }

    /// Moves a run that is blocked, which makes it live again.
    async fn move_blocked(&self, run: &RunId, record: Vec<u8>) -> Result<Verdict, Interrupted> {
        let Some(_held) = self.claims.claim(run) else {
            return Ok(Verdict::Woken);
        };
        let end = self.store.end_of(run)?;
        if end.is_none_or(|(end, _)| end != EndState::Blocked) {
            return Ok(Verdict::Woken);
        }
        let mut batch = Batch::new();
        batch.append(run, record);
        self.store.commit(batch).await?;
        Ok(Verdict::Moved)
    }
}
