//! Compaction of a store at work: a copy that grows between the commits and takes the database's
//! place when it is whole, so that the disk is given back without a stop.
//!
//! Invariant: until the exchange every commit is on disk in the old database, and no commit is under
//! way from the moment when the copy is on disk with all of them until it stands in the old one's
//! place. So whichever of the two is opened after a crash, it holds everything acknowledged. Commits
//! wait for one step at a time; if one takes too long, or fails, the copy is dropped and nothing has
//! changed.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::air::{self, AIR_FACTOR, Air, COMPACTED_BYTES_MAX, Found};
use super::committer::Committer;
use super::compact::tree_bytes;
use super::copying::Copying;
use super::engine::{Changes, Replaced};
use super::error::StoreError;
use super::folder::{Folder, remove_folder};
use super::options::{Point, Shrink};
use super::shared::Counters;
use super::start;

/// Longest time for which commits wait for one step of a compaction; one that needs longer is given
/// up after it.
pub const HELD_MAX: Duration = Duration::from_secs(1);
/// Bytes that a database without rows has, roughly.
const EMPTY_BYTES: u64 = 4 << 20;

/// What the committer has for it.
#[derive(Debug)]
pub(super) struct Online {
    pub(super) air: Air,
    work: Option<Work>,
    /// Removes what was replaced.
    removal: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Work {
    copying: Copying,
    stage: Stage,
    bytes_before: u64,
    began: Instant,
    /// The longest step so far.
    held: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Copying,
    Reading,
    /// It failed while it was put in its place: one of both databases stands there.
    Unsure,
    /// It stands in its place.
    Done,
}

impl Online {
    pub(super) fn new(settings: Shrink) -> Online {
        Online {
            air: Air::new(settings),
            work: None,
            removal: None,
        }
    }

    /// How long the committer may wait for the next batch; `None` is for as long as it takes.
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.work.is_some() {
            return Some(Duration::ZERO);
        }
        let due = self.air.due()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// A commit that is on disk has made these changes.
    pub(super) fn follow(&mut self, changes: &Changes) {
        self.air.committed();
        let Some(mut work) = self.work.take() else {
            return;
        };
        match work.copying.follow(changes) {
            Ok(()) => self.work = Some(work),
            Err(why) => self.give_up(work, &why),
        }
    }

    fn give_up(&mut self, work: Work, why: &StoreError) {
        self.gave_up(why);
        if let Err(why) = work.copying.remove() {
            tracing::debug!(%why, "half a copy of the store stays until the next one");
        }
    }

    /// Tells of the first one of several in a row.
    fn gave_up(&mut self, why: &StoreError) {
        match self.air.gave_up() {
            true => tracing::warn!(%why, "the store's file is mostly air and stays so for now"),
            false => tracing::debug!(%why, "the store's file stays mostly air"),
        }
    }

    /// Drops a copy that is under way: it is not wanted any more.
    pub(super) fn drop_copy(&mut self) {
        if let Some(work) = self.work.take()
            && let Err(why) = work.copying.remove()
        {
            tracing::debug!(%why, "half a copy of the store stays until the next start");
        }
    }

    /// Removes what an exchange that failed left, now that the other one is open and its place is on
    /// disk.
    pub(super) fn clear_left_over(&mut self, folder: &Folder) {
        self.finish();
        if let Err(why) = remove_folder(&folder.compacting().0) {
            tracing::warn!(%why, "a database that is not needed stays until the next start");
        }
    }

    /// Waits until what was replaced is gone.
    pub(super) fn finish(&mut self) {
        if let Some(removal) = self.removal.take() {
            // A panic there leaves a folder that the next start removes.
            let _ = removal.join();
        }
    }

    /// Removes on a thread of its own what was replaced, because that takes long if it is large.
    fn clear_away(&mut self, old: Replaced, folder: Folder) {
        let removal = start("store-removal", move || {
            drop(old);
            if let Err(why) = remove_folder(&folder.0) {
                tracing::warn!(%why, "the database that was replaced stays until the next start");
            }
        });
        match removal {
            Ok(removal) => self.removal = Some(removal),
            Err(why) => tracing::warn!(%why, "the database that was replaced stays"),
        }
    }

    fn is_removing(&self) -> bool {
        let removal = self.removal.as_ref();
        removal.is_some_and(|removal| !removal.is_finished())
    }
}

impl Committer {
    /// Does the next step of a compaction, or looks whether one is due.
    pub(super) fn shrink(&mut self) {
        let now = Instant::now();
        let Some(mut work) = self.online.work.take() else {
            let due = self.online.air.due().is_some_and(|due| due <= now);
            if due && !self.online.is_removing() {
                self.look_for_air();
            }
            return;
        };
        let advanced = self.advance(&mut work);
        work.held = work.held.max(now.elapsed());
        match advanced {
            _ if self.killed => {}
            Err(why) if work.stage == Stage::Unsure => self.look_which(work, why),
            Err(why) => self.online.give_up(work, &why),
            Ok(()) if work.stage == Stage::Done => self.tell(&work),
            Ok(()) if work.held > HELD_MAX => {
                let why = format!("commits would wait for more than {HELD_MAX:?}");
                self.online.give_up(work, &StoreError::Failed { why });
            }
            Ok(()) => self.online.work = Some(work),
        }
    }

    fn look_for_air(&mut self) {
        let shared = &self.shared;
        let bytes_before = tree_bytes(&shared.folder);
        let weigh = || air::weigh(&shared.engine, &shared.summary());
        let found = self.online.air.look(bytes_before, weigh);
        match found {
            Ok(Found::Air) => {}
            Ok(Found::Later | Found::Nothing) => return,
            Err(why) => return tracing::debug!(%why, "the rows cannot be weighed"),
        }
        let began = Instant::now();
        let copying = self.begin_copy(bytes_before);
        if self.killed {
            return;
        }
        match copying {
            Ok(copying) => {
                self.online.work = Some(Work {
                    copying,
                    stage: Stage::Copying,
                    bytes_before,
                    began,
                    held: began.elapsed(),
                });
            }
            Err(why) => self.online.gave_up(&why),
        }
    }

    fn begin_copy(&mut self, bytes: u64) -> Result<Copying, StoreError> {
        let needed = bytes / AIR_FACTOR + EMPTY_BYTES;
        if !self.room.has_twice(needed) {
            let why = format!("a copy of its rows may need {} MiB", needed >> 20);
            return Err(StoreError::Full { why });
        }
        let fresh = self.shared.folder.compacting();
        let begun = Copying::begin(fresh.clone());
        let begun = begun.and_then(|copying| self.meet(Point::CopyBegun).map(|()| copying));
        if begun.is_err() && !self.killed {
            remove_folder(&fresh.0)?;
        }
        begun
    }

    /// One step; commits wait meanwhile.
    fn advance(&mut self, work: &mut Work) -> Result<(), StoreError> {
        match work.stage {
            Stage::Copying => {
                if work.copying.step(&self.shared.engine)? {
                    self.meet(Point::RowsCopied)?;
                    return bounded(work);
                }
                work.copying.open_again()?;
                work.stage = Stage::Reading;
            }
            Stage::Reading if work.copying.read_again()? => {}
            Stage::Reading => self.put_in_place(work)?,
            Stage::Unsure | Stage::Done => {}
        }
        Ok(())
    }

    /// The copy is whole: it takes the database's place, on disk and in memory.
    fn put_in_place(&mut self, work: &mut Work) -> Result<(), StoreError> {
        work.copying.seal(&self.shared.summary())?;
        self.meet(Point::BeforeExchange)?;
        work.stage = Stage::Unsure;
        self.shared.folder.exchange(&work.copying.folder)?;
        self.meet(Point::AfterExchange)?;
        let old = work.copying.put_in(&self.shared.engine);
        let old = old.ok_or(StoreError::Closed)?;
        work.stage = Stage::Done;
        self.meet(Point::BeforeRemoval)?;
        self.online.clear_away(old, work.copying.folder.clone());
        Ok(())
    }

    /// Both are let go, and the one that stands there is opened: either is whole. The other one stays
    /// until this one's place is known to be on disk.
    fn look_which(&mut self, work: Work, why: StoreError) {
        self.online.gave_up(&why);
        drop(work);
        if let Err(why) = self.shared.folder.settle() {
            tracing::error!(%why, "what an exchange of two databases left cannot be cleared up");
        }
        self.fail(Vec::new(), why);
    }

    fn tell(&mut self, work: &Work) {
        let bytes_after = tree_bytes(&self.shared.folder);
        let counters = &self.shared.counters;
        let given_back = work.bytes_before.saturating_sub(bytes_after);
        Counters::add(&counters.bytes_given_back, given_back);
        Counters::add(&counters.compactions, 1);
        self.online.air.compacted(bytes_after);
        self.room.forget();
        tracing::info!(
            rows = work.copying.rows,
            bytes_before = work.bytes_before,
            bytes_after,
            milliseconds = work.began.elapsed().as_millis(),
            held_milliseconds = work.held.as_millis(),
            "the store's file was mostly air and is written anew"
        );
    }
}

/// The rows are still few enough.
fn bounded(work: &Work) -> Result<(), StoreError> {
    let bytes = work.copying.bytes;
    if bytes <= COMPACTED_BYTES_MAX && bytes <= work.bytes_before / 2 {
        return Ok(());
    }
    let why = format!(
        "its rows are more than they seemed: over {} MiB",
        bytes >> 20
    );
    Err(StoreError::Failed { why })
}
