//! `dedup` and `throttle`: so many events of a key act in a window, the rest is suppressed and counted.
//!
//! Invariant: the window of a key begins with an event that acted; whoever acts next is told how many
//! were suppressed before it. `dedup` is a `throttle` with one.

use super::keys::Keys;
use super::stage::{Looked, Seen, Stage, Verdict};
use super::{add_suppressed, lost};
use crate::store::codec::{CodecError, Reader, Writer};

/// How long a key is remembered beyond its window that has still to tell how many were suppressed:
/// one day.
const TELL_MILLIS: i64 = 86_400_000;

/// Windows by key.
#[derive(Debug)]
pub(super) struct Window {
    most: u64,
    within: i64,
    keys: Keys<Entry>,
}

#[derive(Debug)]
struct Entry {
    began_at: i64,
    passed: u64,
    suppressed: u64,
}

impl Window {
    /// `most` events of a key in `within` milliseconds.
    pub(super) fn new(most: u64, within: i64) -> Window {
        Window {
            most,
            within,
            keys: Keys::default(),
        }
    }

    fn put(&mut self, key: &str, entry: Entry) {
        let tells = if entry.suppressed > 0 { TELL_MILLIS } else { 0 };
        let over = entry.began_at + self.within + tells;
        self.keys.put(key, over, entry);
    }
}

impl Stage for Window {
    fn look(&mut self, seen: &mut Seen<'_>) -> Looked {
        self.keys.sweep(seen.at);
        let known = self.keys.take(seen.key);
        let mut entry = known.unwrap_or(Entry {
            began_at: seen.at,
            passed: 0,
            suppressed: 0,
        });
        if seen.at >= entry.began_at + self.within {
            entry.began_at = seen.at;
            entry.passed = 0;
        }
        let verdict = match entry.passed < self.most {
            true => {
                entry.passed += 1;
                add_suppressed(seen.told, entry.suppressed);
                entry.suppressed = 0;
                Verdict::Pass
            }
            false => {
                entry.suppressed += lost(seen.told);
                Verdict::Suppress
            }
        };
        self.put(seen.key, entry);
        verdict.into()
    }

    fn forgotten(&self) -> u64 {
        self.keys.forgotten
    }

    fn write(&self, out: &mut Writer) -> Result<(), CodecError> {
        out.number(self.keys.len() as u64);
        for (key, entry) in self.keys.iter() {
            out.text(key)
                .signed(entry.began_at)
                .number(entry.passed)
                .number(entry.suppressed);
        }
        Ok(())
    }

    fn read(&mut self, input: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..input.number()? {
            let key = input.text()?;
            let entry = Entry {
                began_at: input.signed()?,
                passed: input.number()?,
                suppressed: input.number()?,
            };
            self.put(key, entry);
        }
        Ok(())
    }
}
