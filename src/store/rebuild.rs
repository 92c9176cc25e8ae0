//! A whole store out of the rows that could be saved: indexes, heads, references and the summary
//! are worked out anew from events, runs, journals and dead letters.
//!
//! Invariant: what comes out passes `check`. A run whose journal has a hole is blocked, because
//! going on from there could do things twice; a person looks at it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::bodies::{Bodies, Hash};
use super::codec::Writer;
use super::engine::Changes;
use super::error::StoreError;
use super::folder::Folder;
use super::keys::{
    self, Key, split_counted, split_number, split_run, split_timed, split_timer, words,
};
use super::record::{self, Content, Row, Stored};
use super::room::body_bytes;
use super::run_row::End;
use super::run_row::RunRow;
use super::summary::{Head, Summary};
use crate::event::RunId;

/// What [`rebuild`] made.
pub(super) struct Rebuilt {
    /// Every row but the summary.
    pub(super) rows: Changes,
    pub(super) summary: Summary,
    /// Rows that could not be kept: what, and their bytes.
    pub(super) damaged: Vec<(String, Vec<u8>)>,
    /// What had to be changed, in words.
    pub(super) changed: Vec<String>,
}

/// Rows that are made anew from others.
const DERIVED: [u8; 8] = [
    keys::SUMMARY,
    keys::HEAD,
    keys::ORDER,
    keys::LIVE,
    keys::BLOCKED,
    keys::ENDED,
    keys::DEAD_OF,
    keys::BODY,
];

struct Builder {
    kept: BTreeMap<Key, Row>,
    heads: HashMap<String, Head>,
    sequence: u64,
    store_id: [u8; 16],
    damaged: Vec<(String, Vec<u8>)>,
    changed: Vec<String>,
}

/// Makes a whole store out of `rows`.
pub(super) fn rebuild(folder: &Folder, rows: Changes) -> Result<Rebuilt, StoreError> {
    let bodies = Bodies::new(folder.bodies());
    let mut builder = Builder {
        kept: BTreeMap::new(),
        heads: HashMap::new(),
        sequence: 0,
        store_id: rand::random(),
        damaged: Vec::new(),
        changed: Vec::new(),
    };
    for (key, bytes) in rows {
        if let Some(bytes) = bytes {
            builder.sort(&bodies, key, bytes);
        }
    }
    builder.loose_marks();
    builder.heads();
    builder.runs()?;
    builder.dead();
    builder.loose_timers();
    builder.finish(body_bytes(&bodies)?)
}

impl Builder {
    /// Keeps a row, drops one that is made anew, or puts a damaged one aside.
    fn sort(&mut self, bodies: &Bodies, key: Key, bytes: Vec<u8>) {
        let kind = key.first().copied().unwrap_or_default();
        let derived = DERIVED.contains(&kind);
        let read = record::decode(&key, &bytes).and_then(|row| match row.stored.beside() {
            Some(beside) => bodies.read(beside, &words(&key)).map(|_| row),
            None => Ok(row),
        });
        match read {
            Ok(row) if derived => self.learn(kind, &row),
            Ok(row) => {
                self.sequence = self.sequence.max(row.sequence);
                self.kept.insert(key, row);
            }
            Err(_) if derived => {}
            Err(why) => self.damaged.push((why.to_string(), bytes)),
        }
    }

    /// What the old summary and heads still tell.
    fn learn(&mut self, kind: u8, row: &Row) {
        let Content::Inline(bytes) = &row.stored.content else {
            return;
        };
        self.sequence = self.sequence.max(row.sequence);
        if kind == keys::SUMMARY
            && let Ok(summary) = Summary::decode(bytes)
        {
            self.store_id = summary.store_id;
        }
        if kind == keys::HEAD
            && let Ok(head) = Head::decode(bytes)
        {
            let name = String::from_utf8_lossy(&row.key[1..]).into_owned();
            self.heads.insert(name, head);
        }
    }

    fn put(&mut self, key: Key, bytes: Vec<u8>) {
        let row = Row {
            sequence: self.sequence + 1,
            key: key.clone(),
            stored: Stored::inline(bytes),
        };
        self.kept.insert(key, row);
    }

    fn of_kind(&self, kind: u8) -> Vec<Key> {
        let all = self.kept.range(vec![kind]..keys::after(&[kind]));
        all.map(|(key, _)| key.clone()).collect()
    }

    /// Heads from the events that are there: a hole lifts the floor above it.
    fn heads(&mut self) {
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for name in self.heads.keys() {
            numbers.entry(name.clone()).or_default();
        }
        for key in self.of_kind(keys::EVENT) {
            if let Some((id, _)) = split_number(&key) {
                numbers.entry(id.channel).or_default().push(id.number);
            }
        }
        for (channel, numbers) in numbers {
            let old = self.heads.get(&channel).copied().unwrap_or(Head::EMPTY);
            let next = numbers
                .last()
                .map_or(old.next, |last| old.next.max(last + 1));
            let mut floor = next;
            for number in numbers.iter().rev() {
                if *number + 1 != floor || *number < old.floor {
                    break;
                }
                floor = *number;
            }
            let stragglers = numbers.iter().filter(|number| **number < floor).count() as u64;
            if floor != old.floor {
                let text = format!("channel {channel}: its events are whole only from {floor} on");
                self.changed.push(text);
            }
            let taken = keys::under(keys::TAKEN, &channel);
            let taken = self.kept.range(taken.clone()..keys::after(&taken)).count() as u64;
            let head = Head {
                floor,
                next,
                stragglers,
                taken,
                swept: floor,
            };
            self.put(keys::plain(keys::HEAD, &channel), head.encode());
            self.heads.insert(channel, head);
        }
    }

    /// Runs with their order, their state's index, and journals without holes.
    fn runs(&mut self) -> Result<(), StoreError> {
        let mut rows: Vec<(RunId, RunRow)> = Vec::new();
        for key in self.of_kind(keys::RUN) {
            let Some((run, Content::Inline(bytes))) =
                split_run(&key).zip(self.kept.get(&key).map(|row| row.stored.content.clone()))
            else {
                continue;
            };
            rows.push((run, RunRow::decode(&key, &bytes)?));
        }
        let known: HashSet<RunId> = rows.iter().map(|(run, _)| run.clone()).collect();
        for key in self.of_kind(keys::JOURNAL) {
            let run = split_run(&key[..key.len().saturating_sub(5)]);
            if !run.is_some_and(|run| known.contains(&run)) {
                self.put_aside(&key, "its run is missing");
            }
        }
        rows.sort_by_key(|(_, row)| row.order);
        for (order, (run, mut row)) in (1_u64..).zip(rows) {
            row.order = order;
            self.whole_journal(&run, &mut row);
            let name = run.as_str().as_bytes().to_vec();
            self.put(keys::counted(keys::ORDER, order), name);
            self.put(row.place(&run), Vec::new());
            self.put(keys::run(keys::RUN, &run), row.encode());
        }
        Ok(())
    }

    fn whole_journal(&mut self, run: &RunId, row: &mut RunRow) {
        let has = |entry: &u32| self.kept.contains_key(&keys::journal(run, *entry));
        let whole = (row.dropped..row.entries).take_while(has).count() as u32;
        let prefix = keys::journals(run);
        let there: Vec<Key> = self
            .kept
            .range(prefix.clone()..keys::after(&prefix))
            .map(|(key, _)| key.clone())
            .collect();
        for key in there.iter().skip(whole as usize) {
            self.put_aside(key, "an entry before it is missing");
        }
        let whole_to = row.dropped + whole;
        if whole_to < row.entries && row.end.is_none() {
            row.end = Some((End::Blocked, row.began_at));
            let text = format!("run {run}: blocked, its journal is whole only up to {whole}");
            self.changed.push(text);
        }
        row.entries = whole_to;
    }

    fn put_aside(&mut self, key: &Key, why: &str) {
        if let Some(row) = self.kept.remove(key) {
            let bytes = record::encode(row.sequence, key, &row.stored);
            self.damaged.push((format!("{}: {why}", words(key)), bytes));
        }
    }

    /// References of dead letters; the newest of a run counts.
    fn dead(&mut self) {
        for key in self.of_kind(keys::DEAD) {
            let Some((at, run)) = split_timed(&key) else {
                continue;
            };
            let reference = keys::run(keys::DEAD_OF, &run);
            if let Some(old) = self.kept.get(&reference)
                && let Content::Inline(bytes) = &old.stored.content
                && let Ok(before) = super::codec::Reader::new(bytes).time()
            {
                self.kept.remove(&keys::timed(keys::DEAD, before, &run));
            }
            let mut out = Writer::new();
            out.time(at);
            self.put(reference, out.into_bytes());
        }
    }

    /// Taken marks of events that are not there.
    fn loose_marks(&mut self) {
        for key in self.of_kind(keys::TAKEN) {
            let mut event = key.clone();
            event[0] = keys::EVENT;
            if !self.kept.contains_key(&event) {
                self.put_aside(&key, "there is no such event");
            }
        }
    }

    /// Timers and waits of runs that are not live.
    fn loose_timers(&mut self) {
        let timers = self.of_kind(keys::TIMER).into_iter();
        for key in timers.chain(self.of_kind(keys::WAIT)) {
            let run = match key.first() {
                Some(&keys::TIMER) => split_timer(&key).map(|(_, run, _)| run),
                _ => split_run(&key),
            };
            let has = |kind| {
                let row = run.as_ref().map(|run| keys::run(kind, run));
                row.is_some_and(|row| self.kept.contains_key(&row))
            };
            if !has(keys::LIVE) {
                self.put_aside(&key, "its run is not live");
            } else if !has(keys::WAIT) {
                self.put_aside(&key, "its run does not wait");
            }
        }
    }

    fn finish(mut self, body_bytes: u64) -> Result<Rebuilt, StoreError> {
        let mut references: HashMap<Hash, u64> = HashMap::new();
        for beside in self.kept.values().filter_map(|row| row.stored.beside()) {
            *references.entry(beside.hash).or_default() += 1;
        }
        for (hash, count) in references {
            let mut out = Writer::new();
            out.number(count);
            self.put(keys::body(&hash), out.into_bytes());
        }
        let last = |kind: u8| self.of_kind(kind).last().and_then(|key| split_counted(key));
        let mut summary = Summary::new(self.store_id);
        summary.next_order = last(keys::ORDER).unwrap_or(0) + 1;
        summary.next_audit = last(keys::AUDIT).unwrap_or(0) + 1;
        summary.body_bytes = body_bytes;
        summary.sequence = self.sequence + 1;
        let mut rows = Changes::new();
        for (key, row) in self.kept {
            let bytes = record::encode(row.sequence, &key, &row.stored);
            summary.replace(key[0], None, Some(&bytes));
            rows.insert(key, Some(bytes));
        }
        Ok(Rebuilt {
            rows,
            summary,
            damaged: self.damaged,
            changed: self.changed,
        })
    }
}
