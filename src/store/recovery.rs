//! A store whose disk was full or failed: let go, and opened again as soon as that works.
//!
//! Invariant: everybody who waits is told; what the files show when they are open again counts,
//! whether it was acknowledged or not, and is made durable before anything new is.

use std::time::{Duration, Instant};

use super::committer::{Committer, entry_of};
use super::engine::redirty;
use super::error::StoreError;
use super::folder::sync_folder;
use super::job::Job;
use super::ledger::Ledger;
use super::open;
use super::shared::Counters;

/// The first pause before the store is opened again after a failure; doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// The handle is dead until it has been opened again.
pub(super) struct Illness {
    pub(super) error: StoreError,
    pause: Duration,
    pub(super) retry_at: Instant,
}

impl Committer {
    /// The handle is dead: tell everybody who waits, let it go, and make room if that is the matter.
    pub(super) fn fail(&mut self, group: Vec<Job>, why: StoreError) {
        if self.killed {
            return;
        }
        tracing::error!(%why, "the store is opened again");
        Counters::add(&self.shared.counters.refused, group.len() as u64);
        self.shared.engine.close();
        self.online.drop_copy();
        if matches!(why, StoreError::Full { .. }) {
            self.room.drop_ballast();
        }
        for job in group {
            job.refuse(why.clone());
        }
        self.illness = Some(Illness {
            error: why,
            pause: RETRY_FIRST,
            retry_at: Instant::now() + RETRY_FIRST,
        });
    }

    /// Opens it again when the time has come.
    pub(super) fn recover(&mut self) {
        let Some(mut illness) = self.illness.take() else {
            return;
        };
        match self.reopen() {
            Ok(()) => {
                Counters::add(&self.shared.counters.recoveries, 1);
                // What the engine made of its files has not been read.
                self.shared.set_verified(false);
                self.online.clear_left_over(&self.shared.folder);
                self.room.forget();
                tracing::info!("the store is open again");
            }
            Err(why) => {
                tracing::warn!(%why, "the store cannot be opened again yet");
                self.shared.engine.close();
                if matches!(why, StoreError::Full { .. }) {
                    self.room.drop_ballast();
                }
                illness.error = why;
                illness.pause = (illness.pause * 2).min(RETRY_LONGEST);
                illness.retry_at = Instant::now() + illness.pause;
                self.illness = Some(illness);
            }
        }
    }

    /// Opens the tree again and makes sure of everything that it shows, whether acknowledged or not.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let shared = &self.shared;
        // Until this is published rows and summary may be of different commits.
        let mut survey = shared.survey();
        *survey = None;
        // Whatever was said: pages that failed to be written may pass for written, and what they
        // hold may have been acknowledged, out of the log.
        redirty(&shared.folder.tree_file())?;
        shared.engine.reopen()?;
        // An exchange of two databases may have failed before its names were on disk.
        sync_folder(&shared.folder.0)?;
        self.ledger = Ledger::open(&shared.folder.ledger())?;
        let (summary, heads) = open::load(&shared.engine, &self.ledger.read()?)?;
        shared.engine.sync()?;
        self.ledger.write(&entry_of(&summary))?;
        shared.taken.forget();
        shared.publish(summary, heads);
        drop(survey);
        Ok(())
    }
}
