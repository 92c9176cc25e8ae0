//! `check --store`: reads everything in a store that nobody has open, and says what is wrong.
//!
//! Invariant: changes nothing. The engine cuts off what it dislikes as soon as it opens a file, so
//! it gets a copy. Beyond counting, every reference is followed: runs to journals, indexes to
//! runs, rows to bodies and back; each is looked up where it should be, so that a store of any
//! size is checked with the memory of [`CHUNK_ROWS`] rows.

use std::path::Path;

use bytes::Bytes;

use super::bodies::{Bodies, Hash};
use super::engine::{Engine, Pair};
use super::error::StoreError;
use super::eventcodec;
use super::folder::{Folder, copy_tree, remove_folder};
use super::keys::{self, Key, split_number, split_run, split_timed, split_timer, words};
use super::open::{load, read_ledger};
use super::plan::{Heads, count};
use super::progress::{Progress, Sentences, Watch};
use super::record::{self, Content, Row};
use super::run_row::RunRow;
use super::verify::{CHUNK_ROWS, Tally, each_row};
use crate::event::{EventId, RunId};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckSummary {
    /// What is wrong, each in a sentence, up to [`super::PROBLEMS_NAMED_MAX`]; empty if nothing is.
    pub problems: Vec<String>,
    /// Rows that were read.
    pub rows: u64,
    /// Body files that were read.
    pub bodies: u64,
}

/// Checks the store in `folder` from end to end.
///
/// # Errors
/// [`StoreError::Held`] while a server has it open, [`StoreError::Format`] for another version.
/// Whatever is wrong with the store itself is in the answer.
pub fn check(folder: &Path) -> Result<CheckSummary, StoreError> {
    check_watched(folder, &mut |_| {})
}

/// As [`check`], telling `watch` how far it has come.
///
/// # Errors
/// As [`check`].
pub fn check_watched(
    folder: &Path,
    watch: &mut dyn FnMut(Progress),
) -> Result<CheckSummary, StoreError> {
    let folder = Folder(folder.to_owned());
    if folder.is_new() {
        let what = format!("the store {}", folder.0.display());
        return Err(StoreError::damaged(what, "there is none"));
    }
    let _lock = folder.hold()?;
    folder.settle()?;
    let mut found = Found::default();
    let whole = check_copy(&folder, &mut found, watch);
    remove_folder(&folder.workshop().0)?;
    match whole {
        Err(why @ StoreError::Format { .. }) => return Err(why),
        Err(why) => found.problems.add(why.to_string()),
        Ok(()) => {}
    }
    Ok(CheckSummary {
        problems: found.problems.into_vec(),
        rows: found.rows,
        bodies: found.bodies,
    })
}

#[derive(Default)]
struct Found {
    problems: Sentences,
    rows: u64,
    bodies: u64,
}

fn check_copy(folder: &Folder, found: &mut Found, watch: &mut Watch) -> Result<(), StoreError> {
    let (_, entry) = read_ledger(folder)?;
    watch(Progress::step("copying the database"));
    let copy = folder.workshop();
    copy_tree(folder, &copy, true)?;
    let engine = Engine::open(&copy)?;
    let (summary, heads) = load(&engine, &entry)?;
    let bodies = Bodies::new(folder.bodies());
    let mut checker = Checker {
        engine: &engine,
        bodies: &bodies,
        heads: &heads,
        found,
        references: References::default(),
        counted: References::default(),
        journal: None,
    };
    let mut tally = Tally::new();
    // All but the summary are counted in it.
    let of = summary.rows() + 1;
    each_row(&engine, |pair| {
        tally.count(&pair, &heads);
        checker.row(&pair);
        Progress::rows("reading rows", checker.found.rows, of, watch);
    })?;
    let differences = tally.differences(&summary, &heads);
    differences.into_iter().for_each(|why| checker.tell(why));
    let checked = checker.files(watch);
    engine.close();
    checked
}

/// How often which body is referred to, as a sum: names are SHA-256 and so as good as random, and
/// two sums are equal only if every body is referred to equally often.
#[derive(Default, PartialEq)]
struct References {
    times: u64,
    sum: u128,
}

impl References {
    fn add(&mut self, hash: &Hash, times: u64) {
        let half = hash
            .first_chunk()
            .map_or(0, |half| u128::from_le_bytes(*half));
        self.times = self.times.wrapping_add(times);
        self.sum = self.sum.wrapping_add(half.wrapping_mul(u128::from(times)));
    }
}

struct Checker<'a> {
    engine: &'a Engine,
    bodies: &'a Bodies,
    heads: &'a Heads,
    found: &'a mut Found,
    references: References,
    counted: References,
    /// The run whose journal was met last.
    journal: Option<Key>,
}

impl Checker<'_> {
    fn tell(&mut self, problem: impl Into<String>) {
        self.found.problems.add(problem);
    }

    fn wrong(&mut self, what: impl std::fmt::Display, why: &str) {
        self.tell(format!("{what}: {why}"));
    }

    fn row(&mut self, (key, bytes): &Pair) {
        self.found.rows += 1;
        let checked = record::decode(key, bytes).and_then(|row| {
            let content = self.content(&row)?;
            self.follow(&row, &content.into())
        });
        if let Err(why) = checked {
            self.tell(why.to_string());
        }
    }

    fn content(&mut self, row: &Row) -> Result<Vec<u8>, StoreError> {
        match &row.stored.content {
            Content::Inline(bytes) => Ok(bytes.clone()),
            Content::Beside(beside) => {
                self.references.add(&beside.hash, 1);
                self.bodies.read(beside, &words(&row.key))
            }
            Content::Removed => Err(StoreError::damaged(words(&row.key), "it holds nothing")),
        }
    }

    /// What the row refers to must be there.
    fn follow(&mut self, row: &Row, content: &Bytes) -> Result<(), StoreError> {
        let key = &row.key;
        let no_key = || StoreError::damaged(words(key), "its key is no key");
        match key.first().copied().unwrap_or_default() {
            keys::EVENT => {
                let (id, _) = split_number(key).ok_or_else(no_key)?;
                eventcodec::decode(id, &row.stored.head, content)
                    .map_err(|why| StoreError::damaged(words(key), why.to_string()))?;
            }
            keys::RUN => {
                let run = split_run(key).ok_or_else(no_key)?;
                self.run(&run, &RunRow::decode(key, content)?)?;
            }
            keys::JOURNAL => {
                let run = key[..key.len().saturating_sub(5)].to_vec();
                self.journal(run)?;
            }
            keys::TAKEN => {
                let (event, _) = split_number(key).ok_or_else(no_key)?;
                if !self.has_event(&event)? {
                    self.wrong(words(key), "there is no such event");
                }
            }
            keys::DEAD => {
                let (_, run) = split_timed(key).ok_or_else(no_key)?;
                if !self.has(&keys::run(keys::DEAD_OF, &run))? {
                    self.wrong(words(key), "its reference is missing");
                }
            }
            kind @ (keys::LIVE | keys::BLOCKED | keys::ENDED | keys::TIMER | keys::WAIT) => {
                let run = match kind {
                    keys::TIMER => split_timer(key).map(|(_, run, _)| run),
                    keys::ENDED => split_timed(key).map(|(_, run)| run),
                    _ => split_run(key),
                };
                self.place(key, &run.ok_or_else(no_key)?)?;
            }
            keys::DEAD_OF => {
                split_run(key).ok_or_else(no_key)?;
            }
            keys::BODY => {
                let hash = key.last_chunk::<32>().ok_or_else(no_key)?;
                self.counted.add(hash, count(content));
            }
            _ => {}
        }
        Ok(())
    }

    fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.engine.get(key)?.is_some())
    }

    fn has_event(&self, event: &EventId) -> Result<bool, StoreError> {
        self.has(&keys::event(event))
    }

    /// A run against its journal, the index of its state, and its event.
    fn run(&mut self, run: &RunId, row: &RunRow) -> Result<(), StoreError> {
        let records = self.records(run)?;
        let expected = row.entries.saturating_sub(row.dropped);
        if records != u64::from(expected) {
            let why = format!("its journal has {records} records of {expected}");
            self.wrong(format!("run {run}"), &why);
        }
        let place = row.place(run);
        if !self.has(&place)? {
            self.wrong(words(&place), "it is missing");
        }
        let event = run.event();
        let head = self.heads.get(&event.channel);
        let began = head.is_some_and(|head| event.number < head.next);
        if began && row.end.is_none() && !self.has_event(&event)? {
            self.wrong(format!("run {run}"), "it is live and its event is missing");
        }
        Ok(())
    }

    /// Records in the journal of `run`.
    fn records(&self, run: &RunId) -> Result<u64, StoreError> {
        let prefix = keys::journals(run);
        let (mut from, mut records) = (prefix.clone(), 0);
        loop {
            let pairs = self.engine.next(&prefix, &mut from, CHUNK_ROWS)?;
            records += pairs.len() as u64;
            if pairs.len() < CHUNK_ROWS {
                return Ok(records);
            }
        }
    }

    /// A journal without its run is told once.
    fn journal(&mut self, of: Key) -> Result<(), StoreError> {
        if self.journal.as_ref() == Some(&of) {
            return Ok(());
        }
        let no_key = || StoreError::damaged(words(&of), "its key is no key");
        let run = split_run(&of).ok_or_else(no_key)?;
        if !self.has(&keys::run(keys::RUN, &run))? {
            self.wrong(format!("the journal of run {run}"), "there is no such run");
        }
        self.journal = Some(of);
        Ok(())
    }

    /// An index row against the run that it points to.
    fn place(&mut self, key: &Key, run: &RunId) -> Result<(), StoreError> {
        let row = self.run_row(run)?;
        let right = match key.first() {
            Some(&(keys::TIMER | keys::WAIT)) => row.is_some_and(|row| row.end.is_none()),
            _ => row.is_some_and(|row| row.place(run) == *key),
        };
        let is_timer = key.first() == Some(&keys::TIMER);
        if !right {
            self.wrong(words(key), "there is no such run in that state");
        } else if is_timer && !self.has(&keys::run(keys::WAIT, run))? {
            self.wrong(words(key), "the run does not wait");
        }
        Ok(())
    }

    /// The row of `run`; a damaged one is told where it stands, and is none here.
    fn run_row(&self, run: &RunId) -> Result<Option<RunRow>, StoreError> {
        let key = keys::run(keys::RUN, run);
        let bytes = self.engine.get(&key)?;
        let row = bytes.and_then(|bytes| record::decode(&key, &bytes).ok());
        Ok(row.and_then(|row| match row.stored.content {
            Content::Inline(bytes) => RunRow::decode(&key, &bytes).ok(),
            _ => None,
        }))
    }

    /// Body files against the rows that refer to them.
    fn files(&mut self, watch: &mut Watch) -> Result<(), StoreError> {
        let bodies = self.bodies;
        bodies.each(|hash| {
            self.found.bodies += 1;
            if let Err(why) = bodies.read_whole(hash) {
                self.tell(why.to_string());
            }
            watch(Progress {
                doing: "reading bodies",
                done: self.found.bodies,
                of: 0,
            });
        })?;
        // Files without a row are no problem: a crash leaves them, and the next start sweeps them.
        if self.references != self.counted {
            self.wrong("the body references", "they do not match the rows");
        }
        Ok(())
    }
}
