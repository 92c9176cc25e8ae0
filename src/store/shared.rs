//! What the committer and the readers share: the tree, the bodies, and what is durable so far.
//!
//! Invariant: heads and summary here say what is on disk and acknowledged, never what is only on
//! its way; the committer alone changes them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::bodies::Bodies;
use super::engine::{Changes, Engine};
use super::error::StoreError;
use super::folder::Folder;
use super::keys;
use super::plan::Heads;
use super::record::{self, Content, Stored};
use super::summary::{Head, Summary};
use super::survey::Survey;
use super::taken::Taken;

/// What the store has done since it was opened; for whoever watches it.
#[derive(Debug, Default)]
pub struct Counters {
    /// Commits that are on disk.
    pub commits: AtomicU64,
    /// Events that came in with them.
    pub events: AtomicU64,
    /// Microseconds spent writing and waiting for the disk.
    pub sync_microseconds: AtomicU64,
    /// Batches that were refused or failed.
    pub refused: AtomicU64,
    /// Times the store was opened again after the disk had failed or was full.
    pub recoveries: AtomicU64,
    /// Times the engine's file was written anew because it was mostly air.
    pub compactions: AtomicU64,
    /// Bytes of disk that this gave back.
    pub bytes_given_back: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

/// Where a backup collects what is committed while it runs.
#[derive(Debug)]
pub(super) struct Tee {
    pub(super) out: BufWriter<File>,
    pub(super) rows: u64,
    /// Set when writing to it failed; the backup fails, the commit does not.
    pub(super) failed: Option<String>,
}

/// What the committer and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: Folder,
    pub(super) engine: Engine,
    pub(super) bodies: Bodies,
    pub(super) counters: Counters,
    pub(super) tee: Mutex<Option<Tee>>,
    pub(super) taken: Taken,
    survey: Mutex<Option<Survey>>,
    verified: AtomicBool,
    heads: RwLock<Heads>,
    summary: RwLock<Summary>,
}

impl Shared {
    pub(super) fn new(folder: Folder, engine: Engine, known: (Summary, Heads)) -> Shared {
        Shared {
            bodies: Bodies::new(folder.bodies()),
            folder,
            engine,
            counters: Counters::default(),
            tee: Mutex::new(None),
            taken: Taken::default(),
            survey: Mutex::new(None),
            verified: AtomicBool::new(false),
            heads: RwLock::new(known.1),
            summary: RwLock::new(known.0),
        }
    }

    pub(super) fn head(&self, channel: &str) -> Head {
        let heads = self.heads.read().unwrap_or_else(PoisonError::into_inner);
        heads.get(channel).copied().unwrap_or(Head::EMPTY)
    }

    pub(super) fn heads(&self) -> Heads {
        self.heads
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn summary(&self) -> Summary {
        self.summary
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes what is durable now.
    pub(super) fn publish(
        &self,
        summary: Summary,
        heads: impl IntoIterator<Item = (String, Head)>,
    ) {
        *self.summary.write().unwrap_or_else(PoisonError::into_inner) = summary;
        self.heads
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(heads);
    }

    pub(super) fn tee(&self) -> MutexGuard<'_, Option<Tee>> {
        self.tee.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The survey under way. The committer holds it from the first change of a commit until that is
    /// published.
    pub(super) fn survey(&self) -> MutexGuard<'_, Option<Survey>> {
        self.survey.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_verified(&self) -> bool {
        self.verified.load(Ordering::Acquire)
    }

    pub(super) fn set_verified(&self, verified: bool) {
        self.verified.store(verified, Ordering::Release);
    }

    /// Removes body files that no row refers to.
    pub(super) fn remove_unused(&self, unused: &[[u8; 32]]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for hash in unused {
            let is_kept = || Ok(self.engine.get(&keys::body(hash))?.is_some());
            removed += u64::from(self.bodies.remove_unless(hash, is_kept)?);
        }
        Ok(removed)
    }
}

impl Tee {
    /// Notes a commit.
    pub(super) fn note(&mut self, sequence: u64, changes: &Changes) {
        let removed = Stored {
            head: Vec::new(),
            content: Content::Removed,
        };
        for (key, bytes) in changes {
            let gone = || record::encode(sequence, key, &removed);
            let row = bytes.clone().unwrap_or_else(gone);
            self.rows += 1;
            let length = (row.len() as u32).to_le_bytes();
            let written = self
                .out
                .write_all(&length)
                .and_then(|()| self.out.write_all(&row));
            if let Err(why) = written {
                self.failed = Some(why.to_string());
            }
        }
    }
}
