//! Counting what is there against what must be there.
//!
//! Invariant: if [`count_all`] is content, every row is there, in the state of the last commit: the
//! digest in the summary is a sum over all of them.

use std::collections::HashMap;

use super::engine::{Engine, Pair};
use super::error::StoreError;
use super::keys::{self, KINDS, split_number, words};
use super::plan::Heads;
use super::progress::{Progress, Watch};
use super::record;
use super::summary::{Head, Summary};
use crate::event::EventId;

/// Rows read at a time.
pub(super) const CHUNK_ROWS: usize = 1_000;
/// Missing events that are named one by one.
const NAMED_MAX: usize = 5;

/// Hands every row of the tree to `look`, in order.
pub(super) fn each_row(engine: &Engine, look: impl FnMut(Pair)) -> Result<(), StoreError> {
    each_of(engine, &[], look)
}

/// Hands every row of `prefix` to `look`, in order.
pub(super) fn each_of(
    engine: &Engine,
    prefix: &[u8],
    mut look: impl FnMut(Pair),
) -> Result<(), StoreError> {
    let mut from = prefix.to_vec();
    loop {
        let pairs = engine.next(prefix, &mut from, CHUNK_ROWS)?;
        if pairs.is_empty() {
            return Ok(());
        }
        pairs.into_iter().for_each(&mut look);
    }
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Tally {
    summary: Summary,
    /// The number that each channel's next event should have, in a scan.
    expected: HashMap<String, u64>,
    below: HashMap<String, u64>,
    missing: Vec<String>,
    missing_count: u64,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            summary: Summary::new([0; 16]),
            expected: HashMap::new(),
            below: HashMap::new(),
            missing: Vec::new(),
            missing_count: 0,
        }
    }

    /// Counts one row; `heads` say which numbers a channel must have.
    pub(super) fn count(&mut self, pair: &Pair, heads: &Heads) {
        let (key, bytes) = pair;
        let kind = key.first().copied().unwrap_or_default();
        self.summary.replace(kind, None, Some(bytes));
        if kind == keys::EVENT
            && let Some((id, _)) = split_number(key)
        {
            self.event(&id, heads.get(&id.channel).unwrap_or(&Head::EMPTY));
        }
    }

    fn event(&mut self, id: &EventId, head: &Head) {
        if id.number < head.floor {
            *self.below.entry(id.channel.clone()).or_default() += 1;
            return;
        }
        let expected = *self.expected.get(&id.channel).unwrap_or(&head.floor);
        self.hole(&id.channel, expected, id.number);
        self.expected.insert(id.channel.clone(), id.number + 1);
    }

    fn hole(&mut self, channel: &str, from: u64, to: u64) {
        if from >= to {
            return;
        }
        self.missing_count += to - from;
        if self.missing.len() < NAMED_MAX {
            self.missing.push(match to - from {
                1 => format!("event {channel}/{from}"),
                _ => format!("events {channel}/{from} to {}", to - 1),
            });
        }
    }

    /// What differs from `summary` and `heads`, in words; empty if nothing does.
    pub(super) fn differences(mut self, summary: &Summary, heads: &Heads) -> Vec<String> {
        let mut found = Vec::new();
        for (channel, head) in heads {
            let expected = *self.expected.get(channel).unwrap_or(&head.floor);
            self.hole(channel, expected, head.next);
            let below = self.below.get(channel).copied().unwrap_or(0);
            if below != head.stragglers {
                let text = "events of channel {} that runs still hold: {} found, {} expected";
                let text = text.replacen("{}", channel, 1);
                let text = text.replacen("{}", &below.to_string(), 1);
                found.push(text.replacen("{}", &head.stragglers.to_string(), 1));
            }
        }
        if self.missing_count > 0 {
            let names = self.missing.join(", ");
            found.push(format!(
                "{} events are missing: {names}",
                self.missing_count
            ));
        }
        let counted = count_differences(&self.summary, summary);
        // What is missing by name is missing in the sum as well.
        if found.is_empty() || self.summary.counts != summary.counts {
            found.extend(counted);
        }
        found
    }
}

/// How the rows that are there (`seen`) differ from those that should be, in words.
pub(super) fn count_differences(seen: &Summary, summary: &Summary) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (_, word)) in KINDS.iter().enumerate() {
        let (here, there) = (seen.counts[index], summary.counts[index]);
        if here != there {
            found.push(format!(
                "{here} {word} are there, and there should be {there}"
            ));
        }
    }
    if found.is_empty() && seen.digest != summary.digest {
        found.push("a row is not in the state that the last commit left".to_owned());
    }
    found
}

/// Counts every row and holds it against the summary and the heads.
pub(super) fn count_all(
    engine: &Engine,
    summary: &Summary,
    heads: &Heads,
) -> Result<(), StoreError> {
    count_watched(engine, (summary, heads), &mut |_| {})
}

/// The same, telling how far it has come.
pub(super) fn count_watched(
    engine: &Engine,
    (summary, heads): (&Summary, &Heads),
    watch: &mut Watch,
) -> Result<(), StoreError> {
    let mut tally = Tally::new();
    let (mut done, of) = (0, summary.rows() + 1);
    each_row(engine, |pair| {
        tally.count(&pair, heads);
        done += 1;
        Progress::rows("counting rows", done, of, watch);
    })?;
    let differences = tally.differences(summary, heads);
    if differences.is_empty() {
        return Ok(());
    }
    Err(StoreError::damaged("the database", differences.join("; ")))
}

/// The quick look for a large store: the heads add up, and each channel's two ends are there.
pub(super) fn look_at_ends(
    engine: &Engine,
    summary: &Summary,
    heads: &Heads,
) -> Result<(), StoreError> {
    let kept: u64 = heads.values().map(Head::kept).sum();
    let counted = summary.count(keys::EVENT);
    if kept != counted || heads.len() as u64 != summary.count(keys::HEAD) {
        let why = format!("its channels hold {kept} events, and there should be {counted}");
        return Err(StoreError::damaged("the database", why));
    }
    for (channel, head) in heads.iter().filter(|(_, head)| head.floor < head.next) {
        for number in [head.floor, head.next - 1] {
            let key = keys::numbered(keys::EVENT, channel, number);
            let bytes = engine.get(&key)?;
            let bytes = bytes.ok_or_else(|| StoreError::damaged(words(&key), "it is missing"))?;
            record::decode(&key, &bytes)?;
        }
    }
    Ok(())
}
