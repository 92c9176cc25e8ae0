//! `debounce`: acts once it has been quiet, with the last event.
//!
//! Invariant: of each key at most one event is held, the newest; those before it are suppressed.

use super::add_suppressed;
use super::keys::Keys;
use super::stage::{Group, Item, Looked, Seen, Stage, Verdict};
use crate::store::codec::{CodecError, Reader, Writer};

/// What is not quiet yet.
#[derive(Debug)]
pub(super) struct Debounce {
    quiet: i64,
    longest: i64,
    keys: Keys<Entry>,
}

#[derive(Debug)]
struct Entry {
    opened_at: i64,
    last_at: i64,
    suppressed: u64,
    /// `None` if its run was there already after a crash.
    item: Option<Item>,
}

impl Entry {
    fn group(self) -> Group {
        let suppressed = self.suppressed;
        let told = |mut item: Item| {
            add_suppressed(&mut item.told, suppressed);
            item
        };
        self.item.map(told).into_iter().collect()
    }
}

impl Debounce {
    /// After `quiet` milliseconds without an event, at the latest `longest` after the first.
    pub(super) fn new(quiet: i64, longest: i64) -> Debounce {
        Debounce {
            quiet,
            longest,
            keys: Keys::default(),
        }
    }

    fn put(&mut self, key: &str, entry: Entry) -> Option<Group> {
        let due = (entry.last_at + self.quiet).min(entry.opened_at + self.longest);
        let (_, evicted) = self.keys.put(key, due, entry)?;
        Some(evicted.group())
    }
}

impl Stage for Debounce {
    fn look(&mut self, seen: &mut Seen<'_>) -> Looked {
        let mut entry = self.keys.take(seen.key).unwrap_or(Entry {
            opened_at: seen.at,
            last_at: seen.at,
            suppressed: 0,
            item: None,
        });
        entry.last_at = seen.at;
        let item = Item {
            number: seen.number,
            told: std::mem::take(seen.told),
        };
        let before = entry.item.replace(item);
        if let Some(before) = &before {
            entry.suppressed += super::lost(&before.told);
        }
        Looked {
            verdict: Verdict::Hold,
            superseded: before.map(|item| item.number),
            released: self.put(seen.key, entry).into_iter().collect(),
        }
    }

    fn due(&self) -> Option<i64> {
        self.keys.first_over()
    }

    fn ring(&mut self) -> Group {
        self.keys
            .pop()
            .map_or_else(Group::new, |(_, entry)| entry.group())
    }

    fn held(&self) -> Vec<u64> {
        let number = |(_, entry): (_, &Entry)| entry.item.as_ref().map(|item| item.number);
        self.keys.iter().filter_map(number).collect()
    }

    fn remove(&mut self, number: u64) -> bool {
        let is_it = |item: &mut Item| item.number == number;
        self.keys
            .iter_mut()
            .any(|entry| entry.item.take_if(is_it).is_some())
    }

    fn drain(&mut self) -> Vec<Item> {
        std::iter::from_fn(|| self.keys.pop())
            .flat_map(|(_, entry)| entry.group())
            .collect()
    }

    fn forgotten(&self) -> u64 {
        self.keys.forgotten
    }

    fn write(&self, out: &mut Writer) -> Result<(), CodecError> {
        out.number(self.keys.len() as u64);
        for (key, entry) in self.keys.iter() {
            out.text(key)
                .signed(entry.opened_at)
                .signed(entry.last_at)
                .number(entry.suppressed)
                .byte(entry.item.is_some().into());
            if let Some(item) = &entry.item {
                item.write(out)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, input: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..input.number()? {
            let key = input.text()?;
            let (opened_at, last_at) = (input.signed()?, input.signed()?);
            let suppressed = input.number()?;
            let item = (input.byte()? == 1)
                .then(|| Item::read(input))
                .transpose()?;
            let entry = Entry {
                opened_at,
                last_at,
                suppressed,
                item,
            };
            self.put(key, entry);
        }
        Ok(())
    }
}
