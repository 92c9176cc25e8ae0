//! Reading events, flows and small things: plain functions that see what is durable, and verify it.
//!
//! Invariant: a hole or a damaged row is an error that names the thing. Lists stop before the
//! first damaged one, and only fail when it is the first, so that a reader can get past it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Store;
use super::apply::received_at;
use super::engine::Pair;
use super::error::StoreError;
use super::eventcodec;
use super::keys::{self, split_counted, split_number, split_timed, words};
use super::newest::newest;
use super::record::{self, Content, Row};
use super::runs::{Cursor, cursor};
use super::shared::Shared;
use crate::event::{Event, EventId};

/// What a channel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelCounts {
    /// Events kept, finished ones too.
    pub kept: u64,
    /// Of these, how many were taken off the channel.
    pub taken: u64,
    /// The oldest number that retention has not passed.
    pub floor: u64,
    /// The newest number; 0 if there never was an event.
    pub tail: u64,
}

/// What the whole store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Events of all channels.
    pub events: u64,
    /// Runs of every state.
    pub runs: u64,
    /// Runs that are live.
    pub live: u64,
    /// Runs that are blocked.
    pub blocked: u64,
    /// Dead letters.
    pub dead: u64,
    /// Timers.
    pub timers: u64,
    /// Bytes of bodies beside the database.
    pub body_bytes: u64,
    /// The number of the last commit.
    pub sequence: u64,
}

impl Shared {
    fn row(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let bytes = self.engine.get(key)?;
        bytes.map(|bytes| record::decode(key, &bytes)).transpose()
    }

    /// The content of a row, from wherever it lies.
    pub(super) fn content(&self, row: Row) -> Result<Vec<u8>, StoreError> {
        match row.stored.content {
            Content::Inline(bytes) => Ok(bytes),
            Content::Beside(beside) => self.bodies.read(&beside, &words(&row.key)),
            Content::Removed => Err(StoreError::damaged(words(&row.key), "it holds nothing")),
        }
    }

    pub(super) fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.row(key)?.map(|row| self.content(row)).transpose()
    }

    pub(super) fn decode_event(&self, key: &[u8], bytes: &[u8]) -> Result<Event, StoreError> {
        let damaged = |why: String| StoreError::damaged(words(key), why);
        let mut row = record::decode(key, bytes)?;
        let (id, _) = split_number(key).ok_or_else(|| damaged("its key is no key".to_owned()))?;
        let head = std::mem::take(&mut row.stored.head);
        let content = self.content(row)?.into();
        eventcodec::decode(id, &head, &content).map_err(|why| damaged(why.to_string()))
    }
}

/// Everything up to the first error; the error itself if nothing came before it.
pub(super) fn until_damage<T>(
    all: impl Iterator<Item = Result<T, StoreError>>,
) -> Result<Vec<T>, StoreError> {
    let mut good = Vec::new();
    for one in all {
        match one {
            Ok(one) => good.push(one),
            Err(why) if good.is_empty() => return Err(why),
            Err(_) => break,
        }
    }
    Ok(good)
}

pub(super) fn no_key(key: &[u8]) -> StoreError {
    StoreError::damaged(words(key), "its key is no key")
}

pub(super) fn missing(key: &[u8]) -> StoreError {
    StoreError::damaged(words(key), "it is missing")
}

impl Store {
    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(super) fn scan(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.shared().engine.scan(prefix, from, limit)
    }

    /// The event `id`; `None` if it never was, or is not kept any more.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it should be there and cannot be read.
    pub fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let head = self.shared().head(&id.channel);
        if id.number >= head.next {
            return Ok(None);
        }
        let key = keys::event(id);
        match self.shared().engine.get(&key)? {
            Some(bytes) => self.shared().decode_event(&key, &bytes).map(Some),
            // Retention may just have passed it: the floor is looked at again.
            None if id.number >= self.shared().head(&id.channel).floor => Err(missing(&key)),
            None => Ok(None),
        }
    }

    /// At most `limit` events of `channel` from the number `from` on, oldest first; those below
    /// the floor that are still held by a run come too.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the first of them cannot be read or is missing.
    pub fn events(&self, channel: &str, from: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let head = self.shared().head(channel);
        let prefix = keys::under(keys::EVENT, channel);
        let pairs = self.scan(&prefix, &keys::numbered(keys::EVENT, channel, from), limit)?;
        let mut expected = from.max(head.floor);
        let mut all: Vec<Result<Event, StoreError>> = Vec::new();
        for (key, bytes) in pairs {
            let Some((id, _)) = split_number(&key) else {
                return Err(no_key(&key));
            };
            if id.number >= head.next {
                break;
            }
            let hole = id.number > expected;
            if hole && expected >= self.shared().head(channel).floor {
                all.push(Err(missing(&keys::numbered(
                    keys::EVENT,
                    channel,
                    expected,
                ))));
                return until_damage(all.into_iter());
            }
            expected = expected.max(id.number + 1);
            all.push(self.shared().decode_event(&key, &bytes));
        }
        if all.len() < limit && expected < head.next {
            let end = keys::numbered(keys::EVENT, channel, expected);
            if expected >= self.shared().head(channel).floor {
                all.push(Err(missing(&end)));
            }
        }
        until_damage(all.into_iter())
    }

    /// The number of the first event of `channel` that was not kept before the event `begin`; in
    /// another channel, one that was kept in the same commit counts as later.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn first_since(&self, begin: &EventId, channel: &str) -> Result<u64, StoreError> {
        if begin.channel == channel {
            return Ok(begin.number + 1);
        }
        let head = self.shared().head(channel);
        let Some(begun) = self.shared().row(&keys::event(begin))? else {
            return Ok(head.floor);
        };
        // Numbers are given in the order of commits, so halving finds the place.
        let (mut low, mut high) = (head.floor, head.next);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self
                .shared()
                .row(&keys::numbered(keys::EVENT, channel, middle))?;
            match row.is_some_and(|row| row.sequence >= begun.sequence) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// True if retention may find an event of `channel` received before `moment`; then it is worth a
    /// commit.
    pub(super) fn is_past(&self, channel: &str, moment: Timestamp) -> Result<bool, StoreError> {
        let head = self.shared().head(channel);
        if head.stragglers > 0 || head.floor >= head.next {
            return Ok(head.stragglers > 0);
        }
        let key = keys::numbered(keys::EVENT, channel, head.floor);
        match self.shared().row(&key)? {
            Some(row) => Ok(received_at(&row)? < moment),
            None => Ok(true),
        }
    }

    /// True if a run ended or a dead letter was given up before `moment`.
    pub(super) fn has_ended(&self, moment: Timestamp) -> Result<bool, StoreError> {
        for kind in [keys::DEAD, keys::ENDED] {
            let first = self.scan(&[kind], &[], 1)?;
            let past = |key: &[u8]| split_timed(key).is_none_or(|(at, _)| at < moment);
            if first.first().is_some_and(|(key, _)| past(key)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The number of the newest event of `channel`; 0 if there never was one.
    pub fn tail(&self, channel: &str) -> u64 {
        self.shared().head(channel).next - 1
    }

    /// The names of all channels that ever had an event.
    pub fn channels(&self) -> Vec<String> {
        let mut names: Vec<String> = self.shared().heads().into_keys().collect();
        names.sort();
        names
    }

    /// What `channel` holds.
    pub fn channel_counts(&self, channel: &str) -> ChannelCounts {
        let head = self.shared().head(channel);
        ChannelCounts {
            kept: head.kept(),
            taken: head.taken,
            floor: head.floor,
            tail: head.next - 1,
        }
    }

    /// What the whole store holds.
    pub fn counts(&self) -> Counts {
        let summary = self.shared().summary();
        Counts {
            events: summary.count(keys::EVENT),
            runs: summary.count(keys::RUN),
            live: summary.count(keys::LIVE),
            blocked: summary.count(keys::BLOCKED),
            dead: summary.count(keys::DEAD),
            timers: summary.count(keys::TIMER),
            body_bytes: summary.body_bytes,
            sequence: summary.sequence,
        }
    }

    /// Where `flow` (`channel/flow`) stands; `None` if it never looked at anything.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn cursor(&self, flow: &str) -> Result<Option<Cursor>, StoreError> {
        let key = keys::plain(keys::CURSOR, flow);
        let row = self.shared().row(&key)?;
        row.map(|row| cursor(&key, &row.stored)).transpose()
    }

    /// Where all flows stand, by `channel/flow`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn cursors(&self) -> Result<BTreeMap<String, Cursor>, StoreError> {
        let pairs = self.scan(&[keys::CURSOR], &[], usize::MAX)?;
        let read = |(key, bytes): Pair| {
            let row = record::decode(&key, &bytes)?;
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            Ok((name, cursor(&key, &row.stored)?))
        };
        pairs.into_iter().map(read).collect()
    }

    /// The source that was kept under `hash`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn version(&self, hash: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared().bytes(&keys::plain(keys::VERSION, hash))
    }

    /// What `flow` keeps under `name`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn state(&self, flow: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared().bytes(&keys::state(flow, name))
    }

    /// What the server remembers under `name`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared().bytes(&keys::plain(keys::MARK, name))
    }

    /// All that the server remembers under names that begin with `prefix`: the rest of each name,
    /// and what stands there.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn marks(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let prefix = keys::plain(keys::MARK, prefix);
        let pairs = self.scan(&prefix, &[], usize::MAX)?;
        let mark = |(key, bytes): Pair| {
            let content = self.shared().content(record::decode(&key, &bytes)?)?;
            let name = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            Ok((name, content))
        };
        pairs.into_iter().map(mark).collect()
    }

    /// The flows and channels that are paused.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn paused(&self) -> Result<Vec<String>, StoreError> {
        let pairs = self.scan(&[keys::PAUSE], &[], usize::MAX)?;
        let name = |(key, bytes): Pair| {
            record::decode(&key, &bytes)?;
            Ok(String::from_utf8_lossy(&key[1..]).into_owned())
        };
        pairs.into_iter().map(name).collect()
    }

    /// At most `limit` audit lines with their numbers, newest first, those before `before` if given.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the first of them cannot be read.
    pub fn audit(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let engine = &self.shared().engine;
        let pairs = newest(engine, keys::AUDIT, before, limit)?;
        until_damage(pairs.into_iter().map(|(key, bytes)| {
            let number = split_counted(&key).ok_or_else(|| no_key(&key))?;
            Ok((
                number,
                self.shared().content(record::decode(&key, &bytes)?)?,
            ))
        }))
    }
}
