//! What a batch does to runs, dead letters and what is older than its retention.
//!
//! Invariant: a run is in exactly one of live, blocked and ended; an event below its channel's
//! floor is kept exactly as long as a live or blocked run or a dead letter needs it.

use jiff::Timestamp;

use super::apply::{Committed, received_at};
use super::codec::{Reader, Writer};
use super::error::StoreError;
use super::keys::{self, Key};
use super::plan::Plan;
use super::record::{Content, Stored};
use super::run_row::{End, RunRow};
use crate::event::{EventId, RunId};

/// Journal records removed with one run in one commit; a longer journal takes several.
const ENTRIES_PER_STEP: u32 = 1_000;
/// Records from before a journal began anew that go with each further record.
const DROPPED_PER_APPEND: u32 = 16;

impl Plan<'_> {
    fn run_row(&self, run: &RunId) -> Result<Option<RunRow>, StoreError> {
        let key = keys::run(keys::RUN, run);
        let bytes = self.inline(&key)?;
        bytes.map(|bytes| RunRow::decode(&key, &bytes)).transpose()
    }

    fn begin(&mut self, run: &RunId, now: Timestamp) -> Result<RunRow, StoreError> {
        let order = self.summary.next_order;
        self.summary.next_order += 1;
        let name = Stored::inline(run.as_str().as_bytes().to_vec());
        self.put_new(keys::counted(keys::ORDER, order), &name);
        let row = RunRow {
            order,
            entries: 0,
            first: 0,
            dropped: 0,
            began_at: now,
            end: None,
        };
        self.put_inline(row.place(run), Vec::new())?;
        Ok(row)
    }

    fn set_run(&mut self, run: &RunId, row: &RunRow) -> Result<(), StoreError> {
        self.put_inline(keys::run(keys::RUN, run), row.encode())
    }

    fn move_run(&mut self, run: &RunId, from: Key, row: &RunRow) -> Result<(), StoreError> {
        let to = row.place(run);
        if from != to {
            self.remove(from)?;
            self.put_inline(to, Vec::new())?;
        }
        Ok(())
    }

    pub(super) fn append(
        &mut self,
        run: &RunId,
        stored: &Stored,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut row = match self.run_row(run)? {
            Some(row) => row,
            None => self.begin(run, now)?,
        };
        let from = row.place(run);
        row.end = None;
        self.move_run(run, from, &row)?;
        self.add_record(run, row, stored)
    }

    fn add_record(
        &mut self,
        run: &RunId,
        mut row: RunRow,
        stored: &Stored,
    ) -> Result<(), StoreError> {
        self.put_new(keys::journal(run, row.entries), stored);
        row.entries += 1;
        let until = row.first.min(row.dropped + DROPPED_PER_APPEND);
        for entry in row.dropped..until {
            self.remove(keys::journal(run, entry))?;
        }
        row.dropped = until;
        self.set_run(run, &row)
    }

    /// Adds a record to the journal of a run that is live.
    pub(super) fn note(&mut self, run: &RunId, stored: &Stored) -> Result<(), StoreError> {
        match self.run_row(run)? {
            Some(row) if row.end.is_none() => self.add_record(run, row, stored),
            _ => Err(StoreError::lost(format!("run {run}"))),
        }
    }

    pub(super) fn wake(&mut self, run: &RunId) -> Result<(), StoreError> {
        match self.remove(keys::run(keys::WAIT, run))? {
            true => Ok(()),
            false => Err(StoreError::lost(format!("run {run}"))),
        }
    }

    pub(super) fn if_waits(&self, run: &RunId, record: &[u8]) -> Result<(), StoreError> {
        let row = self.row(&keys::run(keys::WAIT, run))?;
        let is_it = row.is_some_and(|row| match &row.stored.content {
            Content::Inline(bytes) => bytes == record,
            Content::Beside(beside) => {
                beside.length == record.len() as u64 && beside.crc == crc32c::crc32c(record)
            }
            Content::Removed => false,
        });
        match is_it {
            true => Ok(()),
            false => Err(StoreError::lost(format!("run {run}"))),
        }
    }

    pub(super) fn restart(&mut self, run: &RunId) -> Result<(), StoreError> {
        let Some(mut row) = self.run_row(run)? else {
            return Ok(());
        };
        row.first = row.entries;
        self.set_run(run, &row)
    }

    pub(super) fn finish_run(
        &mut self,
        run: &RunId,
        end: End,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut row = match self.run_row(run)? {
            Some(row) => row,
            None => self.begin(run, at)?,
        };
        let from = row.place(run);
        row.end = Some((end, at));
        self.move_run(run, from, &row)?;
        self.set_run(run, &row)?;
        self.remove(keys::run(keys::ATTEMPTS, run))?;
        self.remove(keys::run(keys::WAIT, run))?;
        self.release(&run.event())
    }

    pub(super) fn dead_letter(
        &mut self,
        run: &RunId,
        at: Timestamp,
        stored: &Stored,
    ) -> Result<(), StoreError> {
        self.remove_dead(run)?;
        let mut out = Writer::new();
        out.time(at);
        self.put_inline(keys::run(keys::DEAD_OF, run), out.into_bytes())?;
        self.put(keys::timed(keys::DEAD, at, run), stored)
    }

    pub(super) fn forgive(&mut self, run: &RunId) -> Result<bool, StoreError> {
        let was = self.remove_dead(run)?;
        self.release(&run.event())?;
        Ok(was)
    }

    fn remove_dead(&mut self, run: &RunId) -> Result<bool, StoreError> {
        let key = keys::run(keys::DEAD_OF, run);
        let Some(bytes) = self.inline(&key)? else {
            return Ok(false);
        };
        let at = Reader::new(&bytes)
            .time()
            .map_err(|why| StoreError::damaged(keys::words(&key), why.to_string()))?;
        self.remove(keys::timed(keys::DEAD, at, run))?;
        self.remove(key)
    }

    /// True while a live or blocked run or a dead letter needs the event.
    fn is_needed(&self, event: &EventId) -> Result<bool, StoreError> {
        for kind in [keys::LIVE, keys::BLOCKED, keys::DEAD_OF] {
            let prefix = keys::numbered(kind, &event.channel, event.number);
            if !self.scan(&prefix, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes an event below the floor if nobody needs it any more.
    fn release(&mut self, event: &EventId) -> Result<(), StoreError> {
        let below = event.number < self.head(&event.channel).floor;
        if !below || !self.has(&keys::event(event))? || self.is_needed(event)? {
            return Ok(());
        }
        self.remove_event(event)?;
        let mut head = self.head(&event.channel);
        head.stragglers = head.stragglers.saturating_sub(1);
        self.set_head(&event.channel, head);
        Ok(())
    }

    /// The first event of `channel` that some flow has not looked at yet.
    fn wanted_from(&self, channel: &str) -> Result<u64, StoreError> {
        let mut wanted = self.head(channel).next;
        for (key, bytes) in self.scan(
            &keys::plain(keys::CURSOR, &format!("{channel}/")),
            usize::MAX,
        )? {
            let row = super::record::decode(&key, &bytes)?;
            wanted = wanted.min(cursor(&key, &row.stored)?.next);
        }
        Ok(wanted)
    }

    pub(super) fn retain_events(
        &mut self,
        channel: &str,
        moment: Timestamp,
        limit: usize,
        done: &mut Committed,
    ) -> Result<(), StoreError> {
        self.retain_stragglers(channel, moment, limit, done)?;
        let end = self.wanted_from(channel)?;
        for _ in 0..limit {
            let id = EventId {
                channel: channel.to_owned(),
                number: self.head(channel).floor,
            };
            if id.number >= end || !self.is_older(&id, moment)? {
                return Ok(());
            }
            self.pass(&id, done)?;
        }
        done.more = true;
        Ok(())
    }

    /// Events below the floor go when their last run ends; this is for those that a repair left
    /// there without one.
    fn retain_stragglers(
        &mut self,
        channel: &str,
        moment: Timestamp,
        limit: usize,
        done: &mut Committed,
    ) -> Result<(), StoreError> {
        let head = self.head(channel);
        let most = usize::try_from(head.stragglers).unwrap_or(limit).min(limit);
        for (key, _) in self.scan(&keys::under(keys::EVENT, channel), most)? {
            let Some((id, _)) = keys::split_number(&key) else {
                continue;
            };
            let below = id.number < head.floor;
            if below && self.is_older(&id, moment)? && !self.is_needed(&id)? {
                self.release(&id)?;
                done.removed += 1;
            }
        }
        Ok(())
    }

    fn is_older(&self, id: &EventId, moment: Timestamp) -> Result<bool, StoreError> {
        let key = keys::event(id);
        let row = self.row(&key)?;
        let row = row.ok_or_else(|| StoreError::damaged(keys::words(&key), "it is missing"))?;
        Ok(received_at(&row)? < moment)
    }

    /// Raises the floor over one event: it goes, or becomes a straggler.
    fn pass(&mut self, id: &EventId, done: &mut Committed) -> Result<(), StoreError> {
        let needed = self.is_needed(id)?;
        if !needed {
            self.remove_event(id)?;
            done.removed += 1;
        }
        let mut head = self.head(&id.channel);
        head.floor += 1;
        head.stragglers += u64::from(needed);
        self.set_head(&id.channel, head);
        Ok(())
    }

    pub(super) fn retain_runs(
        &mut self,
        moment: Timestamp,
        limit: usize,
        done: &mut Committed,
    ) -> Result<(), StoreError> {
        let before = done.removed;
        for kind in [keys::DEAD, keys::ENDED] {
            for (key, _) in self.scan(&[kind], limit)? {
                let Some((at, run)) = keys::split_timed(&key) else {
                    return Err(StoreError::damaged(keys::words(&key), "its key is no key"));
                };
                if at >= moment {
                    break;
                }
                let whole = match kind {
                    keys::DEAD => self.forgive(&run)?,
                    _ => self.remove_run(&run, key)?,
                };
                done.removed += u64::from(whole);
                done.more |= !whole;
            }
        }
        done.more |= done.removed - before >= limit as u64;
        Ok(())
    }

    /// Removes an ended run; false if its journal is so long that it takes another go. The end of
    /// the journal goes first, so that what is left is a shorter journal and not one with a hole.
    fn remove_run(&mut self, run: &RunId, ended: Key) -> Result<bool, StoreError> {
        let Some(mut row) = self.run_row(run)? else {
            return self.remove(ended);
        };
        let left = row
            .entries
            .saturating_sub(ENTRIES_PER_STEP)
            .max(row.dropped);
        for entry in left..row.entries {
            self.remove(keys::journal(run, entry))?;
        }
        row.entries = left;
        if left > row.dropped {
            self.set_run(run, &row)?;
            return Ok(false);
        }
        self.remove(keys::counted(keys::ORDER, row.order))?;
        self.remove(keys::run(keys::RUN, run))?;
        self.remove(ended)
    }
}

/// Where a flow stands in its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The event the flow began with.
    pub from: u64,
    /// The event it looks at next.
    pub next: u64,
}

pub(super) fn cursor(key: &[u8], stored: &Stored) -> Result<Cursor, StoreError> {
    let wrong = |why: &str| StoreError::damaged(keys::words(key), why);
    let super::record::Content::Inline(bytes) = &stored.content else {
        return Err(wrong("it is not where it should be"));
    };
    let mut input = Reader::new(bytes);
    let read = input.number().and_then(|from| Ok((from, input.number()?)));
    let (from, next) = read.map_err(|why| wrong(&why.to_string()))?;
    Ok(Cursor { from, next })
}
