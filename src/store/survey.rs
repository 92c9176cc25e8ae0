//! A survey: reads everything that is kept while the store is at work, and can still tell whether
//! anything is missing.
//!
//! Invariant: what was read so far is kept in step with every commit that changes a row behind it,
//! so that at the end the sum of the rows must be the summary, however much was written meanwhile.

use std::ops::ControlFlow;

use super::Store;
use super::engine::{Changes, Engine, Pair};
use super::error::StoreError;
use super::keys::{self, Key};
use super::progress::Sentences;
use super::record::{self, Content};
use super::shared::Shared;
use super::summary::Summary;
use super::verify::count_differences;

/// Rows that are read at a time; commits wait for as long as that takes.
const STEP_ROWS: usize = 100;
/// Times that a survey begins again because the store was opened again meanwhile.
const BEGINNINGS_MAX: usize = 5;

/// How far a survey has come.
#[derive(Debug)]
pub(super) struct Survey {
    /// Every row below this has been read.
    upto: Key,
    seen: Summary,
}

impl Survey {
    pub(super) fn new() -> Survey {
        Survey {
            upto: Vec::new(),
            seen: Summary::new([0; 16]),
        }
    }

    /// Counts and digest of the rows that were read.
    pub(super) fn seen(&self) -> &Summary {
        &self.seen
    }

    /// The next rows; none at the end.
    pub(super) fn step(&mut self, engine: &Engine) -> Result<Vec<Pair>, StoreError> {
        let pairs = engine.next(&[], &mut self.upto, STEP_ROWS)?;
        for (key, bytes) in &pairs {
            self.seen.replace(kind(key), None, Some(bytes));
        }
        Ok(pairs)
    }

    /// A commit is about to make these changes.
    pub(super) fn follow(&mut self, engine: &Engine, changes: &Changes) -> Result<(), StoreError> {
        for (key, new) in changes.range(..self.upto.clone()) {
            let old = engine.get(key)?;
            self.seen.replace(kind(key), old.as_deref(), new.as_deref());
        }
        Ok(())
    }
}

fn kind(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or_default()
}

impl Store {
    /// Reads everything that is kept, bodies too, while the store is at work. After every few rows
    /// `pace` is told how many bytes were read, may take its time, and may break off. Answers what
    /// is wrong, in words, empty if nothing is; `None` if it was broken off.
    ///
    /// # Errors
    /// [`StoreError::Failed`] and [`StoreError::Full`] while the disk is in trouble: try again.
    pub fn verify(
        &self,
        mut pace: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let shared = &*self.0.shared;
        for _ in 0..BEGINNINGS_MAX {
            *shared.survey() = Some(Survey::new());
            let surveyed = survey(shared, &mut pace);
            shared.survey().take();
            match surveyed {
                Ok(Surveyed::Disturbed) => {}
                Ok(Surveyed::BrokenOff) => return Ok(None),
                Ok(Surveyed::Whole(found)) => {
                    shared.set_verified(found.is_empty());
                    return Ok(Some(found));
                }
                // The engine gave up on a page: that is an answer.
                Err(why @ StoreError::Damaged { .. }) => {
                    shared.set_verified(false);
                    return Ok(Some(vec![why.to_string()]));
                }
                Err(why) => return Err(why),
            }
        }
        Err(StoreError::Failed {
            why: "it was opened again too often to be verified".to_owned(),
        })
    }
}

enum Surveyed {
    Whole(Vec<String>),
    /// The store was opened again, and what was counted counts no more.
    Disturbed,
    BrokenOff,
}

fn survey(
    shared: &Shared,
    pace: &mut impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Surveyed, StoreError> {
    let mut found = Sentences::default();
    loop {
        // Under the lock no commit is under way, so that rows and summary are of one moment.
        let mut slot = shared.survey();
        let Some(survey) = slot.as_mut() else {
            return Ok(Surveyed::Disturbed);
        };
        let pairs = survey.step(&shared.engine)?;
        if pairs.is_empty() {
            let missing = count_differences(&survey.seen, &shared.summary());
            missing.into_iter().for_each(|why| found.add(why));
            return Ok(Surveyed::Whole(found.into_vec()));
        }
        drop(slot);
        let read = pairs
            .iter()
            .map(|pair| read_whole(shared, pair, &mut found));
        if pace(read.sum()).is_break() {
            return Ok(Surveyed::BrokenOff);
        }
    }
}

/// Reads one row with its body; answers how many bytes that were.
fn read_whole(shared: &Shared, (key, bytes): &Pair, found: &mut Sentences) -> u64 {
    let row = record::decode(key, bytes);
    let beside = row
        .as_ref()
        .ok()
        .and_then(|row| row.stored.beside().copied());
    let read = row.and_then(|row| match row.stored.content {
        Content::Removed => Err(StoreError::damaged(keys::words(key), "it holds nothing")),
        _ => shared.content(row).map(drop),
    });
    let is_there = || matches!(shared.engine.get(key), Ok(now) if now.as_ref() == Some(bytes));
    if let Err(why) = read
        && is_there()
    {
        found.add(why.to_string());
    }
    bytes.len() as u64 + beside.map_or(0, |beside| beside.length)
}
