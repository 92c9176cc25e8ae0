//! `digest`: one run for all events of a while.
//!
//! Invariants: an event is in one digest; a digest goes when its time is over or when it is full; too
//! many events in all let the one go first that is due first.

use super::HELD_EVENTS_MAX;
use super::keys::Keys;
use super::stage::{Group, Item, Looked, Seen, Stage, Verdict};
use crate::store::codec::{CodecError, Reader, Writer};

/// What is gathered.
#[derive(Debug)]
pub(super) struct Digest {
    every: i64,
    most: usize,
    held: usize,
    keys: Keys<Entry>,
}

#[derive(Debug)]
struct Entry {
    opened_at: i64,
    items: Group,
}

impl Digest {
    /// `every` milliseconds from the first event on, or `most` events.
    pub(super) fn new(every: i64, most: usize) -> Digest {
        Digest {
            every,
            most,
            held: 0,
            keys: Keys::default(),
        }
    }

    fn put(&mut self, key: &str, entry: Entry) -> Option<Group> {
        self.held += entry.items.len();
        let due = entry.opened_at + self.every;
        let evicted = self.keys.put(key, due, entry);
        let evicted = evicted.or_else(|| {
            let is_full = self.held > HELD_EVENTS_MAX;
            is_full.then(|| self.keys.pop()).flatten()
        });
        let (_, entry) = evicted?;
        self.held -= entry.items.len();
        Some(entry.items)
    }
}

impl Stage for Digest {
    fn look(&mut self, seen: &mut Seen<'_>) -> Looked {
        let known = self.keys.take(seen.key);
        self.held -= known.as_ref().map_or(0, |entry| entry.items.len());
        let mut entry = known.unwrap_or(Entry {
            opened_at: seen.at,
            items: Group::new(),
        });
        entry.items.push(Item {
            number: seen.number,
            told: std::mem::take(seen.told),
        });
        let released = match entry.items.len() >= self.most {
            true => Some(entry.items),
            false => self.put(seen.key, entry),
        };
        Looked {
            verdict: Verdict::Hold,
            superseded: None,
            released: released.into_iter().collect(),
        }
    }

    fn due(&self) -> Option<i64> {
        self.keys.first_over()
    }

    fn ring(&mut self) -> Group {
        let items = self.keys.pop().map(|(_, entry)| entry.items);
        let items = items.unwrap_or_default();
        self.held -= items.len();
        items
    }

    fn held(&self) -> Vec<u64> {
        let items = self.keys.iter().flat_map(|(_, entry)| &entry.items);
        items.map(|item| item.number).collect()
    }

    fn remove(&mut self, number: u64) -> bool {
        for entry in self.keys.iter_mut() {
            let place = entry.items.iter().position(|item| item.number == number);
            if let Some(place) = place {
                entry.items.remove(place);
                self.held -= 1;
                return true;
            }
        }
        false
    }

    fn drain(&mut self) -> Vec<Item> {
        self.held = 0;
        std::iter::from_fn(|| self.keys.pop())
            .flat_map(|(_, entry)| entry.items)
            .collect()
    }

    fn forgotten(&self) -> u64 {
        self.keys.forgotten
    }

    fn write(&self, out: &mut Writer) -> Result<(), CodecError> {
        out.number(self.keys.len() as u64);
        for (key, entry) in self.keys.iter() {
            out.text(key).signed(entry.opened_at);
            out.number(entry.items.len() as u64);
            entry.items.iter().try_for_each(|item| item.write(out))?;
        }
        Ok(())
    }

    fn read(&mut self, input: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..input.number()? {
            let key = input.text()?;
            let opened_at = input.signed()?;
            let count = input.number()?;
            let items: Result<Group, CodecError> = (0..count).map(|_| Item::read(input)).collect();
            let entry = Entry {
                opened_at,
                items: items?,
            };
            self.put(key, entry);
        }
        Ok(())
    }
}
