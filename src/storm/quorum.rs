//! `quorum`: acts when enough different ones say so, and is silent for as long after it.
//!
//! Invariant: of each key only the newest `least` different voices are remembered; whether there are
//! enough depends on no others.

use super::keys::Keys;
use super::stage::{Looked, Seen, Stage, Verdict};
use super::{QUORUM, add_suppressed, lost};
use crate::event::Value;
use crate::store::codec::{CodecError, Reader, Writer};

/// Who said what.
#[derive(Debug)]
pub(super) struct Quorum {
    least: usize,
    within: i64,
    keys: Keys<Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Voices and when each spoke last, the newest at the end.
    voices: Vec<(String, i64)>,
    /// When it acted last.
    acted_at: Option<i64>,
    suppressed: u64,
}

impl Quorum {
    /// `least` different voices in `within` milliseconds.
    pub(super) fn new(least: usize, within: i64) -> Quorum {
        Quorum {
            least,
            within,
            keys: Keys::default(),
        }
    }

    fn put(&mut self, key: &str, entry: Entry) {
        let last = entry.voices.last().map_or(0, |(_, at)| *at);
        self.keys.put(key, last + self.within, entry);
    }
}

impl Stage for Quorum {
    fn look(&mut self, seen: &mut Seen<'_>) -> Looked {
        self.keys.sweep(seen.at);
        let mut entry = self.keys.take(seen.key).unwrap_or_default();
        entry.voices.retain(|(voice, at)| {
            let is_old = at + self.within <= seen.at;
            voice != seen.value && !is_old
        });
        entry.voices.push((seen.value.to_owned(), seen.at));
        let extra = entry.voices.len().saturating_sub(self.least);
        entry.voices.drain(..extra);
        let is_silent = entry
            .acted_at
            .is_some_and(|acted| seen.at < acted + self.within);
        let verdict = match !is_silent && entry.voices.len() >= self.least {
            true => {
                let voices = entry.voices.iter().map(|(voice, _)| Value::from(&**voice));
                seen.told
                    .insert(QUORUM.to_owned(), Value::List(voices.collect()));
                add_suppressed(seen.told, entry.suppressed);
                entry.acted_at = Some(seen.at);
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
            out.text(key).number(entry.suppressed);
            out.byte(entry.acted_at.is_some().into());
            out.signed(entry.acted_at.unwrap_or_default());
            out.number(entry.voices.len() as u64);
            for (voice, at) in &entry.voices {
                out.text(voice).signed(*at);
            }
        }
        Ok(())
    }

    fn read(&mut self, input: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..input.number()? {
            let (key, suppressed) = (input.text()?, input.number()?);
            let (has_acted, acted_at) = (input.byte()? == 1, input.signed()?);
            let count = input.number()?;
            let mut voice = || Ok((input.text()?.to_owned(), input.signed()?));
            let voices: Result<_, CodecError> = (0..count).map(|_| voice()).collect();
            let entry = Entry {
                voices: voices?,
                acted_at: has_acted.then_some(acted_at),
                suppressed,
            };
            self.put(key, entry);
        }
        Ok(())
    }
}
