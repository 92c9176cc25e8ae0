//! Reading runs: their journals and ends, dead letters, attempts and timers.
//!
//! Invariant: as in `reads.rs`; a journal with a hole is an error, never a shorter journal.

use std::ops::Range;

use jiff::Timestamp;

use super::Store;
use super::codec::Reader;
use super::engine::Pair;
use super::error::StoreError;
use super::keys::{self, split_run, split_timed, split_timer, words};
use super::newest::newest;
use super::reads::{missing, no_key, until_damage};
use super::record;
use super::run_row::End;
use super::run_row::RunRow;
use crate::event::{EventId, RunId};

/// What is known about a run without reading its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Which run.
    pub run: RunId,
    /// When its first record was kept.
    pub began_at: Timestamp,
    /// How many journal records it has.
    pub records: u32,
    /// How and when it ended; `None` while it is live.
    pub end: Option<(End, Timestamp)>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// The run that was given up.
    pub run: RunId,
    /// When, to the millisecond.
    pub at: Timestamp,
    /// What was kept with it.
    pub record: Vec<u8>,
}

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// When, to the millisecond.
    pub due: Timestamp,
    /// For which run.
    pub run: RunId,
    /// Which of its timers.
    pub seq: u32,
}

impl Store {
    /// The journal of `run`: its records in the order in which they were appended.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if any of them is missing or cannot be read.
    pub fn journal(&self, run: &RunId) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut row = self.run_row(run)?;
        loop {
            let Some(known) = row else {
                return Ok(Vec::new());
            };
            let records = self.records(run, known.first..known.entries);
            // A journal that just began anew drops what came before.
            row = self.run_row(run)?;
            let still = |row: &RunRow| row.first == known.first;
            if records.is_ok() || row.as_ref().is_some_and(still) {
                return records;
            }
        }
    }

    fn records(&self, run: &RunId, entries: Range<u32>) -> Result<Vec<Vec<u8>>, StoreError> {
        let record = |entry| {
            let key = keys::journal(run, entry);
            self.shared().bytes(&key)?.ok_or_else(|| missing(&key))
        };
        entries.map(record).collect()
    }

    fn run_row(&self, run: &RunId) -> Result<Option<RunRow>, StoreError> {
        let key = keys::run(keys::RUN, run);
        let bytes = self.shared().bytes(&key)?;
        bytes.map(|bytes| RunRow::decode(&key, &bytes)).transpose()
    }

    /// What is known about `run`; `None` if it never began or is not kept any more.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn run(&self, run: &RunId) -> Result<Option<RunInfo>, StoreError> {
        let info = |row: RunRow| RunInfo {
            run: run.clone(),
            began_at: row.began_at,
            records: row.entries - row.first.min(row.entries),
            end: row.end,
        };
        Ok(self.run_row(run)?.map(info))
    }

    /// How and when `run` ended; `None` while it is live, or if there is no such run.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn end_of(&self, run: &RunId) -> Result<Option<(End, Timestamp)>, StoreError> {
        Ok(self.run_row(run)?.and_then(|row| row.end))
    }

    /// All runs that are live, by channel, event and flow.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn live_runs(&self) -> Result<Vec<RunId>, StoreError> {
        self.run_names(keys::LIVE, &[], usize::MAX)
    }

    /// At most `limit` of the runs that are live.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn some_live_runs(&self, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.run_names(keys::LIVE, &[], limit)
    }

    /// At most `limit` of the runs that ended at `since` or later, the first first.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn runs_ended_since(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        let from = keys::time(keys::ENDED, since);
        let pairs = self.scan(&[keys::ENDED], &from, limit)?;
        let name = |(key, _): Pair| {
            let (_, run) = split_timed(&key).ok_or_else(|| no_key(&key))?;
            Ok(run)
        };
        pairs.into_iter().map(name).collect()
    }

    /// All runs that are blocked.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn blocked_runs(&self) -> Result<Vec<RunId>, StoreError> {
        self.run_names(keys::BLOCKED, &[], usize::MAX)
    }

    /// At most `limit` runs that are blocked, by channel, event and flow; those after `after` if
    /// given, which need not be one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn blocked_after(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        self.run_names(keys::BLOCKED, &just_after(keys::BLOCKED, after), limit)
    }

    fn run_names(&self, kind: u8, from: &[u8], limit: usize) -> Result<Vec<RunId>, StoreError> {
        let pairs = self.scan(&[kind], from, limit)?;
        let name = |(key, bytes): Pair| {
            record::decode(&key, &bytes)?;
            split_run(&key).ok_or_else(|| no_key(&key))
        };
        pairs.into_iter().map(name).collect()
    }

    /// At most `limit` runs of any state, newest first, those that began before `after` if given.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the first of them cannot be read.
    pub fn runs(&self, after: Option<&RunId>, limit: usize) -> Result<Vec<RunInfo>, StoreError> {
        let before = match after {
            None => None,
            Some(run) => match self.run_row(run)? {
                Some(row) => Some(row.order),
                None => return Ok(Vec::new()),
            },
        };
        let engine = &self.shared().engine;
        let pairs = newest(engine, keys::ORDER, before, limit)?;
        let info = |(key, bytes): Pair| {
            let name = self.shared().content(record::decode(&key, &bytes)?)?;
            let run: RunId = String::from_utf8_lossy(&name)
                .parse()
                .map_err(|_| no_key(&key))?;
            self.run(&run)?
                .ok_or_else(|| missing(&keys::run(keys::RUN, &run)))
        };
        until_damage(pairs.into_iter().map(info))
    }

    /// All runs that `event` began, by flow.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn runs_of(&self, event: &EventId) -> Result<Vec<RunInfo>, StoreError> {
        let prefix = keys::numbered(keys::RUN, &event.channel, event.number);
        let pairs = self.scan(&prefix, &[], usize::MAX)?;
        let info = |(key, _): Pair| {
            let run = split_run(&key).ok_or_else(|| no_key(&key))?;
            self.run(&run)?.ok_or_else(|| missing(&key))
        };
        pairs.into_iter().map(info).collect()
    }

    /// At most `limit` dead letters, oldest first, those after `after` if given.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the first of them cannot be read.
    pub fn dead(&self, after: Option<&Dead>, limit: usize) -> Result<Vec<Dead>, StoreError> {
        let from = after.map_or_else(Vec::new, |dead| {
            let mut key = keys::timed(keys::DEAD, dead.at, &dead.run);
            key.push(0);
            key
        });
        let pairs = self.scan(&[keys::DEAD], &from, limit)?;
        until_damage(
            pairs
                .into_iter()
                .map(|(key, bytes)| self.read_dead(&key, &bytes)),
        )
    }

    /// The dead letter of `run`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn dead_letter_of(&self, run: &RunId) -> Result<Option<Dead>, StoreError> {
        let key = keys::run(keys::DEAD_OF, run);
        let Some(bytes) = self.shared().bytes(&key)? else {
            return Ok(None);
        };
        let at = Reader::new(&bytes)
            .time()
            .map_err(|why| StoreError::damaged(words(&key), why.to_string()))?;
        let key = keys::timed(keys::DEAD, at, run);
        let bytes = self
            .shared()
            .engine
            .get(&key)?
            .ok_or_else(|| missing(&key))?;
        self.read_dead(&key, &bytes).map(Some)
    }

    fn read_dead(&self, key: &[u8], bytes: &[u8]) -> Result<Dead, StoreError> {
        let (at, run) = split_timed(key).ok_or_else(|| no_key(key))?;
        let record = self.shared().content(record::decode(key, bytes)?)?;
        Ok(Dead { run, at, record })
    }

    /// What is known about the attempts of `run`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn attempts(&self, run: &RunId) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared().bytes(&keys::run(keys::ATTEMPTS, run))
    }

    /// At most `limit` runs that wait, with what each waits for; those after `after` if given.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn waits(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        let from = just_after(keys::WAIT, after);
        let pairs = self.scan(&[keys::WAIT], &from, limit)?;
        let wait = |(key, bytes): Pair| {
            let run = split_run(&key).ok_or_else(|| no_key(&key))?;
            let record = self.shared().content(record::decode(&key, &bytes)?)?;
            Ok((run, record))
        };
        pairs.into_iter().map(wait).collect()
    }

    /// What `run` waits for, if it waits.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn wait(&self, run: &RunId) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared().bytes(&keys::run(keys::WAIT, run))
    }

    /// At most `limit` timers that are due at `now`, the longest due first.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Timer>, StoreError> {
        let timers = self.scan(&[keys::TIMER], &[], limit)?;
        let timers = timers.into_iter().map(read_timer);
        let due = |timer: &Result<Timer, StoreError>| match timer {
            Ok(timer) => timer.due <= now,
            Err(_) => true,
        };
        timers.take_while(due).collect()
    }

    /// When the next timer is due.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let first = self.scan(&[keys::TIMER], &[], 1)?.pop();
        Ok(first.map(read_timer).transpose()?.map(|timer| timer.due))
    }
}

fn just_after(kind: u8, run: Option<&RunId>) -> Vec<u8> {
    let key = |run| {
        let mut key = keys::run(kind, run);
        key.push(0);
        key
    };
    run.map_or_else(Vec::new, key)
}

fn read_timer((key, bytes): Pair) -> Result<Timer, StoreError> {
    record::decode(&key, &bytes)?;
    let (due, run, seq) = split_timer(&key).ok_or_else(|| no_key(&key))?;
    Ok(Timer { due, run, seq })
}
