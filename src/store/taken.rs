//! Events that were taken off their channel: by whom, and as ranges of numbers, so that the next
//! free one is found and free ones are counted without reading a row for each.
//!
//! Invariants: an event is in the hands of one taker at most, and a receipt stands for one event of
//! its channel. Ranges are read from the rows when they are first asked for, and then follow every
//! commit before it is answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::batch::{Batch, Op};
use super::codec::{Reader, Writer};
use super::engine::{Changes, Engine};
use super::error::StoreError;
use super::keys::{self, Key};
use super::plan::Plan;
use super::{Store, reads};
use crate::event::EventId;

/// What stands in a taker's name before its receipt.
const RECEIPT: &str = " #";
/// Rows that are read at a time.
const PAGE_ROWS: usize = 10_000;

/// What every taker of a store has.
#[derive(Debug, Default)]
pub(super) struct Taken(Mutex<HashMap<String, Ranges>>);

/// Numbers of taken events of one channel.
#[derive(Debug, Default)]
struct Ranges {
    /// Where each begins, and the number after its last.
    ends: BTreeMap<u64, u64>,
    /// Of those from here on …
    from: u64,
    /// … this many were taken.
    count: u64,
}

impl Taken {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Ranges>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of a commit [`Taken::follow`] wants to know.
    pub(super) fn marks(changes: &Changes) -> Changes {
        let marks = changes.range(vec![keys::TAKEN]..vec![keys::TAKEN + 1]);
        marks.map(|(key, row)| (key.clone(), row.clone())).collect()
    }

    /// Notes what a commit changed, once readers see it.
    pub(super) fn follow(&self, marks: &Changes) {
        for (key, row) in marks {
            let Some((id, _)) = keys::split_number(key) else {
                continue;
            };
            if let Some(ranges) = self.all().get_mut(&id.channel) {
                match row {
                    Some(_) => ranges.insert(id.number),
                    None => ranges.remove(id.number),
                }
            }
        }
    }

    /// Everything is read again when it is next asked for.
    pub(super) fn forget(&self) {
        self.all().clear();
    }

    fn ask<T>(
        &self,
        engine: &Engine,
        channel: &str,
        ask: impl FnOnce(&mut Ranges) -> T,
    ) -> Result<T, StoreError> {
        let mut all = self.all();
        if let Some(ranges) = all.get_mut(channel) {
            return Ok(ask(ranges));
        }
        let mut ranges = Ranges::read(engine, channel)?;
        let answer = ask(&mut ranges);
        all.insert(channel.to_owned(), ranges);
        Ok(answer)
    }
}

impl Ranges {
    fn read(engine: &Engine, channel: &str) -> Result<Ranges, StoreError> {
        let prefix = keys::under(keys::TAKEN, channel);
        let mut ranges = Ranges::default();
        let mut from = prefix.clone();
        loop {
            let page = engine.scan(&prefix, &from, PAGE_ROWS)?;
            for (key, _) in &page {
                let (id, _) = keys::split_number(key).ok_or_else(|| reads::no_key(key))?;
                ranges.insert(id.number);
                from = keys::numbered(keys::TAKEN, channel, id.number + 1);
            }
            if page.len() < PAGE_ROWS {
                return Ok(ranges);
            }
        }
    }

    /// The range that holds `number`.
    fn holding(&self, number: u64) -> Option<(u64, u64)> {
        let (start, end) = self.ends.range(..=number).next_back()?;
        (*end > number).then_some((*start, *end))
    }

    fn insert(&mut self, number: u64) {
        if self.holding(number).is_some() {
            return;
        }
        self.count += u64::from(number >= self.from);
        let end = self.ends.remove(&(number + 1)).unwrap_or(number + 1);
        let before = number.checked_sub(1).and_then(|last| self.holding(last));
        let start = before.map_or(number, |(start, _)| start);
        self.ends.insert(start, end);
    }

    fn remove(&mut self, number: u64) {
        let Some((start, end)) = self.holding(number) else {
            return;
        };
        self.count -= u64::from(number >= self.from);
        self.ends.remove(&start);
        if start < number {
            self.ends.insert(start, number);
        }
        if number + 1 < end {
            self.ends.insert(number + 1, end);
        }
    }

    /// The first number from `number` on that was not taken.
    fn free(&self, number: u64) -> u64 {
        self.holding(number).map_or(number, |(_, end)| end)
    }

    /// How many from `number` on were taken. What was asked last is remembered: the first event
    /// that waits moves in small steps.
    fn count(&mut self, number: u64) -> u64 {
        match number >= self.from {
            true => self.count -= self.within(self.from, number),
            false => self.count += self.within(number, self.from),
        }
        self.from = number;
        self.count
    }

    fn within(&self, low: u64, high: u64) -> u64 {
        let first = self.holding(low).map_or(low, |(start, _)| start);
        let ranges = self.ends.range(first..high.max(first));
        let inside = ranges.map(|(start, end)| (*end).min(high) - (*start).max(low));
        inside.sum()
    }
}

impl Batch {
    /// `event` left its channel into the hands of `by`: a run's id, or [`taker`]'s. If somebody else
    /// has it, if it is gone, or if another event was taken with the same receipt, the batch is
    /// refused as [`StoreError::Lost`].
    pub fn take(&mut self, event: &EventId, by: &str) {
        self.add(Op::Take(event.clone(), by.to_owned()));
    }

    /// `event`, which `by` has, is free again, or in the hands of `to`. If `by` does not have it,
    /// the batch is refused as [`StoreError::Lost`].
    pub fn put_back(&mut self, event: &EventId, by: &str, to: Option<&str>) {
        let to = to.map(str::to_owned);
        self.add(Op::PutBack(event.clone(), by.to_owned(), to));
    }
}

/// The name of a taker who shows `receipt` when it asks again.
pub fn taker(name: &str, receipt: &str) -> String {
    format!("{name}{RECEIPT}{receipt}")
}

/// Where it is noted which event was taken with the receipt of `by`.
fn receipt(channel: &str, by: &str) -> Option<Key> {
    let (_, receipt) = by.rsplit_once(RECEIPT)?;
    let name = format!("received/{channel}/{receipt}");
    Some(keys::plain(keys::MARK, &name))
}

impl Plan<'_> {
    fn holder(&self, event: &EventId) -> Result<Option<String>, StoreError> {
        let bytes = self.inline(&mark(event))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(super) fn take(&mut self, event: &EventId, by: &str) -> Result<(), StoreError> {
        let lost = || StoreError::lost(format!("event {event}"));
        if !self.has(&keys::event(event))? {
            return Err(lost());
        }
        match self.holder(event)? {
            Some(holder) if holder == by => return Ok(()),
            Some(_) => return Err(lost()),
            None => {}
        }
        if let Some(receipt) = receipt(&event.channel, by) {
            if self.has(&receipt)? {
                return Err(lost());
            }
            let mut out = Writer::new();
            out.number(event.number);
            self.put_inline(receipt, out.into_bytes())?;
        }
        let mut head = self.head(&event.channel);
        head.taken += 1;
        self.set_head(&event.channel, head);
        self.put_inline(mark(event), by.as_bytes().to_vec())
    }

    pub(super) fn put_back(
        &mut self,
        event: &EventId,
        by: &str,
        to: Option<&str>,
    ) -> Result<(), StoreError> {
        if self.holder(event)?.as_deref() != Some(by) {
            return Err(StoreError::lost(format!("event {event}")));
        }
        self.free(event)?;
        to.map_or(Ok(()), |to| self.take(event, to))
    }

    /// Nobody has the event any more.
    pub(super) fn free(&mut self, event: &EventId) -> Result<(), StoreError> {
        // A damaged mark shows no receipt, and goes all the same.
        let by = self.holder(event).ok().flatten();
        if let Some(receipt) = by.and_then(|by| receipt(&event.channel, &by)) {
            self.remove(receipt)?;
        }
        if self.remove(mark(event))? {
            let mut head = self.head(&event.channel);
            head.taken = head.taken.saturating_sub(1);
            self.set_head(&event.channel, head);
        }
        Ok(())
    }
}

fn mark(event: &EventId) -> Key {
    keys::numbered(keys::TAKEN, &event.channel, event.number)
}

impl Store {
    /// Who took `event` off its channel.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn taken_by(&self, event: &EventId) -> Result<Option<String>, StoreError> {
        let bytes = self.shared().bytes(&mark(event))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The event of `channel` that `by` took with its receipt.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn received(&self, channel: &str, by: &str) -> Result<Option<EventId>, StoreError> {
        let Some(key) = receipt(channel, by) else {
            return Ok(None);
        };
        let Some(bytes) = self.shared().bytes(&key)? else {
            return Ok(None);
        };
        let number = Reader::new(&bytes).number();
        let number = number.map_err(|why| StoreError::damaged(keys::words(&key), why.to_string()));
        Ok(Some(EventId {
            channel: channel.to_owned(),
            number: number?,
        }))
    }

    /// The first number of `channel` from `number` on that nobody took; there may be no such event
    /// yet.
    ///
    /// # Errors
    /// What the store cannot read now.
    pub fn next_free(&self, channel: &str, number: u64) -> Result<u64, StoreError> {
        let shared = self.shared();
        if shared.head(channel).taken == 0 {
            return Ok(number);
        }
        let free = |ranges: &mut Ranges| ranges.free(number);
        shared.taken.ask(&shared.engine, channel, free)
    }

    /// How many events of `channel` from `number` on were taken.
    ///
    /// # Errors
    /// What the store cannot read now.
    pub fn taken_from(&self, channel: &str, number: u64) -> Result<u64, StoreError> {
        let shared = self.shared();
        if shared.head(channel).taken == 0 {
            return Ok(0);
        }
        let count = |ranges: &mut Ranges| ranges.count(number);
        shared.taken.ask(&shared.engine, channel, count)
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_know_what_a_set_of_numbers_knows() {
        let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
        // Every step is drawn from the one before it, so that each run of the test is the same.
        let mut drawn: u64 = 7;
        for _ in 0..20_000 {
            drawn = drawn
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (number, from) = ((drawn >> 33) % 60, (drawn >> 45) % 64);
            match drawn >> 62 {
                0 => {
                    ranges.remove(number);
                    set.remove(&number);
                }
                _ => {
                    ranges.insert(number);
                    set.insert(number);
                }
            }
            let free = (from..).find(|number| !set.contains(number));
            assert_eq!(Some(ranges.free(from)), free);
            assert_eq!(ranges.count(from), set.range(from..).count() as u64);
        }
    }
}
