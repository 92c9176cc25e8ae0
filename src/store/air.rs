//! How much of the engine's file is air, and when that is worth a copy of what is left.
//!
//! The engine puts new rows into the places of old ones and never gives the disk back, so a store
//! that held a million events once is as large when all of them are done.
//!
//! Invariant: nobody looks before something was committed, nor more often than after each pause, so
//! that a store at rest costs nothing and one at work next to nothing.

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::error::StoreError;
use super::keys::KINDS;
use super::options::Shrink;
use super::summary::Summary;

/// A file this many times as large as its rows is mostly air.
pub const AIR_FACTOR: u64 = 4;
/// Most bytes of rows that are copied while the store is at work.
pub const COMPACTED_BYTES_MAX: u64 = 128 << 20;
/// Rows of each kind that are weighed.
const WEIGHED_ROWS: usize = 50;
/// The longest pause after compactions that were given up; each is twice the one before.
pub const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The file is as large as it should be, or too much of it is rows.
    Nothing,
    /// Mostly air, but little of it, and much to do.
    Later,
    /// Mostly air.
    Air,
}

/// When to look.
#[derive(Debug)]
pub(super) struct Air {
    settings: Shrink,
    look_at: Option<Instant>,
    not_before: Instant,
    /// Commits since the last look.
    commits: u64,
    /// What the rows weighed at the last look.
    rows: u64,
    /// What they weighed before the last compaction, and the bytes of the file after it.
    last: Option<(u64, u64)>,
    pause: Duration,
}

impl Air {
    /// A store that was left mostly air is looked at, too.
    pub(super) fn new(settings: Shrink) -> Air {
        let now = Instant::now();
        Air {
            look_at: Some(now + settings.look_after),
            not_before: now,
            commits: 0,
            rows: 0,
            last: None,
            pause: settings.pause,
            settings,
        }
    }

    /// Something was committed.
    pub(super) fn committed(&mut self) {
        self.commits += 1;
        if self.look_at.is_none() {
            self.look_again();
        }
    }

    fn look_again(&mut self) {
        let after = Instant::now() + self.settings.look_after;
        self.look_at = Some(after.max(self.not_before));
    }

    /// When the next look is due, if one is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks at a file of `bytes`; `rows` weighs what should be in it, roughly.
    pub(super) fn look(
        &mut self,
        bytes: u64,
        rows: impl FnOnce() -> Result<u64, StoreError>,
    ) -> Result<Found, StoreError> {
        let commits = std::mem::take(&mut self.commits);
        self.look_at = None;
        if bytes < self.settings.bytes_min {
            return Ok(Found::Nothing);
        }
        self.rows = rows()?;
        if self.rows > COMPACTED_BYTES_MAX || self.rows.saturating_mul(AIR_FACTOR) > bytes {
            return Ok(Found::Nothing);
        }
        // The engine works in pieces of its file: what it needs for these rows was seen.
        let needed = |(rows, after)| self.rows >= rows / 2 && bytes < 2 * after;
        if self.last.is_some_and(needed) {
            return Ok(Found::Nothing);
        }
        if bytes < self.settings.bytes_min + commits * self.settings.bytes_per_commit {
            self.look_again();
            return Ok(Found::Later);
        }
        Ok(Found::Air)
    }

    /// A compaction came to its end, and the file has these `bytes`.
    pub(super) fn compacted(&mut self, bytes: u64) {
        self.last = Some((self.rows, bytes));
        self.pause = self.settings.pause;
        self.not_before = Instant::now() + self.pause;
        self.look_again();
    }

    /// A compaction was given up; true if the one before was not.
    pub(super) fn gave_up(&mut self) -> bool {
        let is_first = self.pause == self.settings.pause;
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.look_again();
        is_first
    }
}

/// Bytes of all rows, by the first ones of each kind.
pub(super) fn weigh(engine: &Engine, summary: &Summary) -> Result<u64, StoreError> {
    let mut all = 0;
    for (kind, _) in KINDS {
        let count = summary.count(kind);
        if count == 0 {
            continue;
        }
        let some = engine.scan(&[kind], &[], WEIGHED_ROWS)?;
        let bytes: usize = some.iter().map(|(key, row)| key.len() + row.len()).sum();
        all += bytes as u64 * count / some.len().max(1) as u64;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Air, Found};
    use crate::store::options::Shrink;

    fn look(air: &mut Air, mebibytes: u64, rows: u64) -> Found {
        air.look(mebibytes << 20, || Ok(rows << 20)).unwrap()
    }

    #[test]
    fn a_little_air_waits_for_a_quiet_time_and_much_does_not() {
        let mut air = Air::new(Shrink::default());
        assert_eq!(look(&mut air, 1, 0), Found::Nothing);
        assert_eq!(look(&mut air, 20, 4), Found::Air);
        assert_eq!(look(&mut air, 20, 6), Found::Nothing);
        assert_eq!(look(&mut air, 2_000, 400), Found::Nothing, "too many rows");
        assert_eq!(air.due(), None, "nobody looks before a commit");
        (0..1_000).for_each(|_| air.committed());
        assert_eq!(look(&mut air, 20, 0), Found::Later);
        assert!(air.due().is_some(), "the last look is in a quiet time");
        assert_eq!(look(&mut air, 20, 0), Found::Air);
        (0..1_000).for_each(|_| air.committed());
        assert_eq!(look(&mut air, 300, 20), Found::Air);
    }

    #[test]
    fn what_was_just_compacted_is_left_alone_and_one_that_failed_is_told_once() {
        let mut air = Air::new(Shrink::default());
        assert_eq!(look(&mut air, 100, 4), Found::Air);
        assert!(air.gave_up() && !air.gave_up());
        air.compacted(16 << 20);
        assert!(air.gave_up());
        assert_eq!(look(&mut air, 20, 4), Found::Nothing);
        assert_eq!(look(&mut air, 32, 4), Found::Air);
        assert_eq!(look(&mut air, 20, 1), Found::Air, "most of its rows went");
    }
}
