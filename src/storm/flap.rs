//! `flap`: while something changes to and fro nothing acts.
//!
//! Invariants: the event with which it begins acts and is told so; from then on only the newest event
//! is held, and acts when it is over, so that the last state is never missed.

use std::collections::VecDeque;

use super::keys::Keys;
use super::stage::{Group, Item, Looked, Seen, Stage, Verdict};
use super::{FLAPPING, Told, add_suppressed, lost};
use crate::event::Value;
use crate::store::codec::{CodecError, Reader, Writer};

/// What is steady and what flaps.
#[derive(Debug)]
pub(super) struct Flap {
    changes: usize,
    within: i64,
    calm: i64,
    steady: Keys<Entry>,
    flapping: Keys<Entry>,
}

#[derive(Debug)]
struct Entry {
    value: String,
    last_at: i64,
    changed_at: i64,
    /// The times of the newest changes.
    changes: VecDeque<i64>,
    phase: Phase,
    suppressed: u64,
    item: Option<Item>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Steady,
    Flapping,
    /// It is over, and nobody was told yet.
    Over,
}

impl Entry {
    fn new(seen: &Seen<'_>) -> Entry {
        Entry {
            value: seen.value.to_owned(),
            last_at: seen.at,
            changed_at: seen.at,
            changes: VecDeque::new(),
            phase: Phase::Steady,
            suppressed: 0,
            item: None,
        }
    }

    /// What is held goes, and is told that it is over.
    fn group(&mut self) -> Group {
        let Some(mut item) = self.item.take() else {
            return Group::new();
        };
        tell(&mut item.told, "ended");
        add_suppressed(&mut item.told, self.suppressed);
        self.suppressed = 0;
        vec![item]
    }

    fn hold(&mut self, seen: &mut Seen<'_>) -> Option<u64> {
        let item = Item {
            number: seen.number,
            told: std::mem::take(seen.told),
        };
        let before = self.item.replace(item)?;
        self.suppressed += lost(&before.told);
        Some(before.number)
    }
}

fn tell(told: &mut Told, what: &str) {
    told.insert(FLAPPING.to_owned(), Value::from(what));
}

impl Flap {
    /// It flaps with `changes` in `within` milliseconds, until there was none for `calm`.
    pub(super) fn new(changes: usize, within: i64, calm: i64) -> Flap {
        Flap {
            changes,
            within,
            calm,
            steady: Keys::default(),
            flapping: Keys::default(),
        }
    }

    fn put(&mut self, key: &str, entry: Entry) -> Option<Group> {
        if entry.phase != Phase::Flapping {
            self.steady.put(key, entry.last_at + self.within, entry);
            return None;
        }
        let over = entry.changed_at + self.calm;
        let (_, mut evicted) = self.flapping.put(key, over, entry)?;
        Some(evicted.group()).filter(|group| !group.is_empty())
    }

    /// Counts a change, if the event is one.
    fn count(&self, entry: &mut Entry, seen: &Seen<'_>) {
        entry.last_at = seen.at;
        if entry.value == seen.value {
            return;
        }
        entry.value = seen.value.to_owned();
        entry.changed_at = seen.at;
        entry.changes.push_back(seen.at);
        let extra = entry.changes.len().saturating_sub(self.changes);
        entry.changes.drain(..extra);
    }

    fn is_flapping(&self, entry: &Entry, at: i64) -> bool {
        let fresh = |changed: &&i64| **changed + self.within > at;
        entry.changes.iter().filter(fresh).count() >= self.changes
    }
}

impl Stage for Flap {
    fn look(&mut self, seen: &mut Seen<'_>) -> Looked {
        self.steady.sweep(seen.at);
        let known = self.flapping.take(seen.key);
        let known = known.or_else(|| self.steady.take(seen.key));
        let mut entry = known.unwrap_or_else(|| Entry::new(seen));
        self.count(&mut entry, seen);
        if entry.phase == Phase::Flapping {
            let superseded = entry.hold(seen);
            return Looked {
                verdict: Verdict::Hold,
                superseded,
                released: self.put(seen.key, entry).into_iter().collect(),
            };
        }
        if entry.phase == Phase::Over {
            tell(seen.told, "ended");
            entry.phase = Phase::Steady;
        }
        if self.is_flapping(&entry, seen.at) {
            tell(seen.told, "began");
            entry.phase = Phase::Flapping;
        }
        Looked {
            verdict: Verdict::Pass,
            superseded: None,
            released: self.put(seen.key, entry).into_iter().collect(),
        }
    }

    fn due(&self) -> Option<i64> {
        self.flapping.first_over()
    }

    fn ring(&mut self) -> Group {
        let due = self.flapping.first_over().unwrap_or_default();
        let Some((key, mut entry)) = self.flapping.pop() else {
            return Group::new();
        };
        let group = entry.group();
        entry.phase = match group.is_empty() {
            true => Phase::Over,
            false => Phase::Steady,
        };
        entry.changes.clear();
        entry.last_at = due;
        self.put(&key, entry);
        group
    }

    fn held(&self) -> Vec<u64> {
        let number = |(_, entry): (_, &Entry)| entry.item.as_ref().map(|item| item.number);
        self.flapping.iter().filter_map(number).collect()
    }

    fn remove(&mut self, number: u64) -> bool {
        let is_it = |item: &mut Item| item.number == number;
        self.flapping
            .iter_mut()
            .any(|entry| entry.item.take_if(is_it).is_some())
    }

    fn drain(&mut self) -> Vec<Item> {
        std::iter::from_fn(|| self.flapping.pop())
            .flat_map(|(_, mut entry)| entry.group())
            .collect()
    }

    fn forgotten(&self) -> u64 {
        self.steady.forgotten + self.flapping.forgotten
    }

    fn write(&self, out: &mut Writer) -> Result<(), CodecError> {
        out.number((self.steady.len() + self.flapping.len()) as u64);
        for (key, entry) in self.steady.iter().chain(self.flapping.iter()) {
            out.text(key)
                .text(&entry.value)
                .signed(entry.last_at)
                .signed(entry.changed_at)
                .byte(entry.phase as u8)
                .number(entry.suppressed);
            out.number(entry.changes.len() as u64);
            for at in &entry.changes {
                out.signed(*at);
            }
            out.byte(entry.item.is_some().into());
            if let Some(item) = &entry.item {
                item.write(out)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, input: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..input.number()? {
            let (key, value) = (input.text()?, input.text()?.to_owned());
            let (last_at, changed_at) = (input.signed()?, input.signed()?);
            let phase = match input.byte()? {
                0 => Phase::Steady,
                1 => Phase::Flapping,
                2 => Phase::Over,
                _ => return Err(CodecError::Wrong("an unknown phase of flapping")),
            };
            let suppressed = input.number()?;
            let count = input.number()?;
            let changes: Result<_, CodecError> = (0..count).map(|_| input.signed()).collect();
            let item = (input.byte()? == 1)
                .then(|| Item::read(input))
                .transpose()?;
            let entry = Entry {
                value,
                last_at,
                changed_at,
                changes: changes?,
                phase,
                suppressed,
                item,
            };
            self.put(key, entry);
        }
        Ok(())
    }
}
