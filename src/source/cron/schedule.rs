//! A cron schedule in a time zone: when it comes next, and what of it is due.
//!
//! Five fields (minute hour day month weekday), six with seconds first. In the hour that a zone skips
//! in spring a fixed time comes at its end; in the one that it repeats in autumn it comes once, and
//! `*` or steps come in both.

use std::fmt;
use std::iter;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Deserialize;

/// A moment that is at most this late was not missed: the server may have been restarted or busy.
pub const LATE_MAX: Duration = Duration::from_secs(60);
/// Most missed moments that `missed = "all"` makes up for, the newest.
pub const MISSED_MAX: usize = 1_000;

/// What becomes of moments that passed while nobody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Nothing, if it is later than [`LATE_MAX`].
    Skip,
    /// The newest is made up for.
    #[default]
    Once,
    /// All are made up for, oldest first, at most [`MISSED_MAX`].
    All,
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    cron: croner::Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// A sentence about what is wrong with it; also if it never comes.
    pub fn new(text: &str, zone: TimeZone) -> Result<Schedule, String> {
        let cron = text
            .parse()
            .map_err(|why: croner::errors::CronError| format!("`{text}` is no schedule: {why}"))?;
        let schedule = Schedule {
            text: text.to_owned(),
            cron,
            zone,
        };
        match schedule.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(format!("the schedule `{text}` never comes")),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone's name.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// A moment as the zone's clocks show it, with its offset.
    pub fn local(&self, moment: Timestamp) -> String {
        let zoned = moment.to_zoned(self.zone.clone());
        zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// The first moment after `after`; `None` if there is none any more.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp())
    }

    /// The moments after `last` up to `now` that are to be handed in, oldest first.
    pub fn due(&self, last: Timestamp, now: Timestamp, missed: Missed) -> Vec<Timestamp> {
        let most = match missed {
            Missed::All => MISSED_MAX,
            Missed::Once | Missed::Skip => 1,
        };
        let mut due = self.latest(last, now, most);
        if missed == Missed::Skip {
            let is_late = |moment: &Timestamp| {
                now.duration_since(*moment).as_secs() > LATE_MAX.as_secs() as i64
            };
            due.retain(|moment| !is_late(moment));
        }
        due.reverse();
        due
    }

    /// At most `most` moments after `last` up to `now`, newest first.
    fn latest(&self, last: Timestamp, now: Timestamp, most: usize) -> Vec<Timestamp> {
        // The library would give the fraction back as if it belonged to the schedule.
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let before = |moment: &Zoned, inclusive| {
            let found = self.cron.find_previous_occurrence(moment, inclusive);
            found.ok()
        };
        let newest = before(&whole.to_zoned(self.zone.clone()), true);
        iter::successors(newest, |moment| before(moment, false))
            .map(|moment| moment.timestamp())
            .take_while(|moment| *moment > last)
            .take(most)
            .collect()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.text, self.zone_name())
    }
}
