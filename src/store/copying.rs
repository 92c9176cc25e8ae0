//! A database in the making: the rows of another one, a few at a time, in step with what is
//! committed there meanwhile.
//!
//! Invariant: every row up to the last that went over is here as the last commit left it there. What
//! is here has no value before all of it was read again and agrees with the summary.

use super::batch::BATCH_BYTES_MAX;
use super::engine::{Changes, Engine, Replaced};
use super::error::StoreError;
use super::folder::{Folder, make_folder, remove_folder, sync_tree};
use super::keys::{Key, after};
use super::summary::Summary;
use super::survey::Survey;
use super::verify::count_differences;

/// Rows that go over at a time; in a store at work commits wait for as long as that takes.
const STEP_ROWS: usize = 100;
/// Bytes that go over before they are synced, so that no sync has much to do.
const SYNC_BYTES: usize = 4 << 20;

/// A copy on its way.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) folder: Folder,
    to: Engine,
    /// Every row below this went over.
    upto: Key,
    unsynced: usize,
    /// How many rows went over, …
    pub(super) rows: u64,
    /// … and their bytes.
    pub(super) bytes: u64,
    /// Reads again what went over.
    survey: Option<Survey>,
}

impl Copying {
    /// Without any row yet. What lay in `folder` before is removed.
    pub(super) fn begin(folder: Folder) -> Result<Copying, StoreError> {
        remove_folder(&folder.0)?;
        make_folder(&folder.0)?;
        make_folder(&folder.tree())?;
        let copying = Copying {
            to: Engine::open(&folder)?,
            folder,
            upto: Key::new(),
            unsynced: 0,
            rows: 0,
            bytes: 0,
            survey: None,
        };
        copying.folder.forget_large()?;
        Ok(copying)
    }

    /// Takes the next rows of `from` over; false if there were none.
    pub(super) fn step(&mut self, from: &Engine) -> Result<bool, StoreError> {
        let pairs = from.next(&[], &mut self.upto, STEP_ROWS)?;
        if pairs.is_empty() {
            // From here on every change is followed.
            self.upto = after(&[]);
            return Ok(false);
        }
        self.rows += pairs.len() as u64;
        let (mut some, mut weight) = (Changes::new(), 0);
        for (key, bytes) in pairs {
            weight += key.len() + bytes.len();
            some.insert(key, Some(bytes));
            if weight >= BATCH_BYTES_MAX / 2 {
                self.write(&some, weight)?;
                (some, weight) = (Changes::new(), 0);
            }
        }
        self.write(&some, weight)?;
        Ok(true)
    }

    fn write(&mut self, some: &Changes, weight: usize) -> Result<(), StoreError> {
        self.to.apply(some)?;
        self.bytes += weight as u64;
        self.unsynced += weight;
        if self.unsynced >= SYNC_BYTES {
            self.to.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// A commit has made these changes.
    pub(super) fn follow(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if let Some(survey) = &mut self.survey {
            survey.follow(&self.to, changes)?;
        }
        let behind = changes.range(..self.upto.clone());
        let behind: Changes = behind
            .map(|(key, bytes)| (key.clone(), bytes.clone()))
            .collect();
        self.to.apply(&behind)
    }

    /// Opens what went over anew, so that what is read from now on is what is on disk.
    pub(super) fn open_again(&mut self) -> Result<(), StoreError> {
        self.to.sync()?;
        self.to.close_whole();
        self.to.reopen()?;
        self.survey = Some(Survey::new());
        self.folder.forget_large()
    }

    /// Reads the next rows again; false if there were none.
    pub(super) fn read_again(&mut self) -> Result<bool, StoreError> {
        match &mut self.survey {
            Some(survey) => Ok(!survey.step(&self.to)?.is_empty()),
            None => Ok(false),
        }
    }

    /// Makes all of it durable, if everything that was read again is what `summary` knows of.
    pub(super) fn seal(&mut self, summary: &Summary) -> Result<(), StoreError> {
        let seen = self.survey.as_ref().map(Survey::seen);
        let differences = seen.map(|seen| count_differences(seen, summary));
        let differences = differences.unwrap_or_else(|| vec!["nobody has read it".to_owned()]);
        if !differences.is_empty() {
            return Err(StoreError::damaged("the copy", differences.join("; ")));
        }
        self.to.sync()?;
        sync_tree(&self.folder)
    }

    /// What went over is the tree of `engine` from now on.
    pub(super) fn put_in(&self, engine: &Engine) -> Option<Replaced> {
        engine.replace(&self.to)
    }

    /// Lets it go with all of it on disk.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.to.sync()?;
        self.to.close_whole();
        sync_tree(&self.folder)
    }

    /// Lets it go, and removes it.
    pub(super) fn remove(self) -> Result<(), StoreError> {
        self.to.close();
        remove_folder(&self.folder.0)
    }
}
