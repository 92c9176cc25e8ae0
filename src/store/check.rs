//! `check --store`: reads everything in a store that nobody has open, and says what is wrong.
//!
//! Invariant: changes nothing. The engine cuts off what it dislikes as soon as it opens a file, so
//! it gets a copy. Beyond counting, every reference is followed: runs to journals,
//! indexes to runs, rows to bodies and back.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::bodies::{Bodies, Hash};
use super::engine::{Engine, Pair};
use super::error::StoreError;
use super::eventcodec;
use super::folder::{Folder, copy_tree, remove_folder};
use super::keys::{self, split_number, split_run, split_timed, split_timer, words};
use super::open::{load, read_ledger};
use super::plan::{Heads, count};
use super::record::{self, Content, Row};
use super::run_row::RunRow;
use super::verify::{Tally, each_row};
use crate::event::{EventId, RunId};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckSummary {
    /// What is wrong, each in a sentence; empty if nothing is.
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
    let folder = Folder(folder.to_owned());
    if folder.is_new() {
        let what = format!("the store {}", folder.0.display());
        return Err(StoreError::damaged(what, "there is none"));
    }
    let _lock = folder.hold()?;
    let mut checker = Checker::new(&folder);
    let whole = checker.whole(&folder);
    remove_folder(&folder.workshop().0)?;
    match whole {
        Err(why @ StoreError::Format { .. }) => return Err(why),
        Err(why) => checker.found.problems.push(why.to_string()),
        Ok(()) => {}
    }
    Ok(checker.found)
}

struct Checker {
    found: CheckSummary,
    bodies: Bodies,
    runs: HashMap<RunId, RunRow>,
    journals: HashMap<RunId, u32>,
    events: HashSet<EventId>,
    places: HashSet<Vec<u8>>,
    dead: HashSet<RunId>,
    references: HashMap<Hash, u64>,
    counted: HashMap<Hash, u64>,
}

impl Checker {
    fn new(folder: &Folder) -> Checker {
        Checker {
            found: CheckSummary::default(),
            bodies: Bodies::new(folder.bodies()),
            runs: HashMap::new(),
            journals: HashMap::new(),
            events: HashSet::new(),
            places: HashSet::new(),
            dead: HashSet::new(),
            references: HashMap::new(),
            counted: HashMap::new(),
        }
    }

    fn wrong(&mut self, what: impl std::fmt::Display, why: &str) {
        self.found.problems.push(format!("{what}: {why}"));
    }

    fn whole(&mut self, folder: &Folder) -> Result<(), StoreError> {
        let (_, entry) = read_ledger(folder)?;
        let copy = folder.workshop();
        copy_tree(folder, &copy, true)?;
        let engine = Engine::open(&copy)?;
        let (summary, heads) = load(&engine, &entry)?;
        let mut tally = Tally::new();
        each_row(&engine, |pair| {
            tally.count(&pair, &heads);
            self.row(&pair);
        })?;
        self.found
            .problems
            .extend(tally.differences(&summary, &heads));
        self.follow(&heads);
        let indexes: Vec<Vec<u8>> = self.places.iter().cloned().collect();
        indexes.iter().for_each(|key| self.index(key));
        self.files()?;
        engine.close();
        Ok(())
    }

    fn row(&mut self, (key, bytes): &Pair) {
        self.found.rows += 1;
        let row = match record::decode(key, bytes) {
            Ok(row) => row,
            Err(why) => return self.found.problems.push(why.to_string()),
        };
        let content = match self.content(&row) {
            Ok(content) => content,
            Err(why) => return self.found.problems.push(why.to_string()),
        };
        if let Err(why) = self.note(&row, &content) {
            self.found.problems.push(why.to_string());
        }
    }

    fn content(&mut self, row: &Row) -> Result<Vec<u8>, StoreError> {
        match &row.stored.content {
            Content::Inline(bytes) => Ok(bytes.clone()),
            Content::Beside(beside) => {
                *self.references.entry(beside.hash).or_default() += 1;
                self.bodies.read(beside, &words(&row.key))
            }
            Content::Removed => Err(StoreError::damaged(words(&row.key), "it holds nothing")),
        }
    }

    fn note(&mut self, row: &Row, content: &[u8]) -> Result<(), StoreError> {
        let key = &row.key;
        let no_key = || StoreError::damaged(words(key), "its key is no key");
        match key.first().copied().unwrap_or_default() {
            keys::EVENT => {
                let (id, _) = split_number(key).ok_or_else(no_key)?;
                eventcodec::decode(id.clone(), &row.stored.head, content)
                    .map_err(|why| StoreError::damaged(words(key), why.to_string()))?;
                self.events.insert(id);
            }
            keys::RUN => {
                let run = split_run(key).ok_or_else(no_key)?;
                self.runs.insert(run, RunRow::decode(key, content)?);
            }
            keys::JOURNAL => {
                let run = key[..key.len().saturating_sub(5)].to_vec();
                let run = split_run(&run).ok_or_else(no_key)?;
                *self.journals.entry(run).or_default() += 1;
            }
            keys::LIVE
            | keys::BLOCKED
            | keys::ENDED
            | keys::TIMER
            | keys::WAIT
            | keys::TAKEN
            | keys::DEAD => {
                self.places.insert(key.clone());
            }
            keys::DEAD_OF => {
                self.dead.insert(split_run(key).ok_or_else(no_key)?);
            }
            keys::BODY => {
                let hash = key.last_chunk::<32>().ok_or_else(no_key)?;
                self.counted.insert(*hash, count(content));
            }
            _ => {}
        }
        Ok(())
    }

    /// Runs against their journals and the index of their state; what they need against the events.
    fn follow(&mut self, heads: &Heads) {
        for (run, row) in self.runs.clone() {
            let records = self.journals.remove(&run).unwrap_or(0);
            let expected = row.entries - row.dropped.min(row.entries);
            if records != expected {
                let why = format!("its journal has {records} records of {expected}");
                self.wrong(format!("run {run}"), &why);
            }
            let place = row.place(&run);
            if !self.places.contains(&place) {
                self.wrong(words(&place), "it is missing");
            }
            let event = run.event();
            let began = heads
                .get(&event.channel)
                .is_some_and(|head| event.number < head.next);
            let over = row.end.is_some();
            if began && !over && !self.events.contains(&event) {
                self.wrong(format!("run {run}"), "it is live and its event is missing");
            }
        }
        for run in self.journals.clone().into_keys() {
            self.wrong(format!("the journal of run {run}"), "there is no such run");
        }
    }

    /// An index row against what it points to.
    fn index(&mut self, key: &[u8]) {
        let kind = key.first().copied().unwrap_or_default();
        let run = match kind {
            keys::TAKEN => {
                let event = split_number(key).map(|(event, _)| event);
                if !event.is_some_and(|event| self.events.contains(&event)) {
                    self.wrong(words(key), "there is no such event");
                }
                return;
            }
            keys::TIMER => split_timer(key).map(|(_, run, _)| run),
            keys::ENDED | keys::DEAD => split_timed(key).map(|(_, run)| run),
            _ => split_run(key),
        };
        let Some(run) = run else {
            return self.wrong(words(key), "its key is no key");
        };
        if kind == keys::DEAD {
            if !self.dead.contains(&run) {
                self.wrong(words(key), "its reference is missing");
            }
            return;
        }
        let row = self.runs.get(&run);
        let right = match kind {
            keys::TIMER | keys::WAIT => row.is_some_and(|row| row.end.is_none()),
            _ => row.is_some_and(|row| row.place(&run) == key),
        };
        if !right {
            return self.wrong(words(key), "there is no such run in that state");
        }
        if kind == keys::TIMER && !self.places.contains(&keys::run(keys::WAIT, &run)) {
            self.wrong(words(key), "the run does not wait");
        }
    }

    /// Body files against the rows that refer to them.
    fn files(&mut self) -> Result<(), StoreError> {
        let files = self.bodies.list()?;
        self.found.bodies = files.len() as u64;
        for hash in &files {
            if let Err(why) = self.bodies.read_whole(hash) {
                self.found.problems.push(why.to_string());
            }
        }
        // Files without a row are no problem: a crash leaves them, and the next start sweeps them.
        let (real, counted) = (&self.references, &self.counted);
        let wrong = real.len().max(counted.len())
            != real
                .iter()
                .filter(|(hash, count)| counted.get(*hash) == Some(*count))
                .count();
        if wrong {
            self.wrong("the body references", "they do not match the rows");
        }
        Ok(())
    }
}
