//! A batch: things to be kept together or not at all, in the words of the house.
//!
//! Invariant: everything is encoded here, by the caller; the committer only places it. A batch
//! that is too large for one atomic write is refused before any of it is kept.

use std::time::Duration;

use jiff::Timestamp;

use super::bodies::{Hash, hash_of};
use super::codec::Writer;
use super::error::StoreError;
use super::eventcodec;
use super::keys::{self, Key};
use super::line::{Line, Place};
use super::record::{Beside, Content, Stored};
use super::run_row::End;
use crate::event::{EventId, Incoming, RunId, is_name};

/// Largest record that is kept in the tree; a larger one becomes a file of its own.
pub const INLINE_BYTES_MAX: usize = 8 * 1024;
/// Most events in one batch.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Most bytes of one write to the tree. Beyond it the engine was seen to lose what it had synced.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Longest text key (of a flow's state, a mark …), in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// In a batch that is too large, records over this share one file.
const PACKED_BYTES_MIN: usize = 64;
/// What a head may add to it.
const HEAD_BYTES: usize = eventcodec::HEAD_BYTES_MAX;
/// What a row costs beyond its content, roughly.
const ROW_BYTES: usize = 48;

#[derive(Debug, Clone)]
pub(super) struct Push {
    pub(super) channel: String,
    pub(super) message: Option<Key>,
    pub(super) received_at: Timestamp,
    pub(super) window: Option<Duration>,
    pub(super) stored: Stored,
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Push(Push),
    Append(RunId, Stored),
    Finish(RunId, End, Timestamp),
    DeadLetter(RunId, Timestamp, Stored),
    Forgive(RunId),
    Take(EventId, String),
    PutBack(EventId, String, Option<String>),
    Note(RunId, Stored),
    Wait(RunId, Stored),
    Wake(RunId),
    IfWaits(RunId, Vec<u8>),
    Restart(RunId),
    Put(Key, Stored),
    Remove(Key),
    Audit(Stored),
    RetainEvents(String, Timestamp, usize),
    RetainRuns(Timestamp, usize),
}

/// Collects what is to be kept together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(super) ops: Vec<Op>,
    pub(super) files: Vec<(Hash, Vec<u8>)>,
    pub(super) weight: usize,
    pub(super) events: usize,
    pub(super) place: Option<Place>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Everything of `other` too, after what is in it.
    pub fn join(&mut self, other: Batch) {
        self.ops.extend(other.ops);
        self.files.extend(other.files);
        self.weight += other.weight;
        self.events += other.events;
    }

    /// It stands in `line` behind those that do already, and is handed over behind them. It is kept
    /// only if they are; otherwise it is refused as [`StoreError::Behind`].
    pub fn stand_in(&mut self, line: Line) {
        self.place = Some(line.place());
    }

    /// True if nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// An event for `channel`. With a `window`, one with the same source and message id that was
    /// received less than that long before takes its place, and nothing is kept.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a value nested too deep or a name that is none.
    pub fn push(
        &mut self,
        channel: &str,
        event: &Incoming,
        window: Option<Duration>,
    ) -> Result<(), StoreError> {
        if !is_name(channel) {
            return Err(too_large(
                "the channel's name",
                "letters, digits, _ and -, up to 128",
            ));
        }
        let meta = &event.meta;
        let message = meta
            .message_id
            .as_ref()
            .filter(|_| window.is_some())
            .map(|id| keys::message(channel, &meta.source, id));
        let (head, content) = eventcodec::encode(event, message.as_deref())
            .map_err(|why| too_large("the event", &why.to_string()))?;
        let mut stored = self.stored(content);
        stored.head = head;
        self.events += 1;
        self.add(Op::Push(Push {
            channel: channel.to_owned(),
            message,
            received_at: meta.received_at,
            window,
            stored,
        }));
        Ok(())
    }

    /// Entries for the journal of `run`, together as one record. The first begins the run; one for
    /// a run that has ended makes it live again.
    pub fn append(&mut self, run: &RunId, record: Vec<u8>) {
        let stored = self.stored(record);
        self.add(Op::Append(run.clone(), stored));
    }

    /// The end of `run`, at `at`. Its attempts are forgotten with it.
    pub fn finish(&mut self, run: &RunId, end: End, at: Timestamp) {
        self.add(Op::Finish(run.clone(), end, at));
    }

    /// A run that was given up at `at`; the record says why. A run has one dead letter: a second
    /// takes its place.
    pub fn dead_letter(&mut self, run: &RunId, at: Timestamp, record: Vec<u8>) {
        let stored = self.stored(record);
        self.add(Op::DeadLetter(run.clone(), at, stored));
    }

    /// The dead letter of `run` is one no more, because it is tried again or of no interest.
    pub fn forgive(&mut self, run: &RunId) {
        self.add(Op::Forgive(run.clone()));
    }

    /// Something worth telling for the journal of `run`, which must be live: otherwise the batch is
    /// refused as [`StoreError::Lost`].
    pub fn note(&mut self, run: &RunId, record: Vec<u8>) {
        let stored = self.stored(record);
        self.add(Op::Note(run.clone(), stored));
    }

    /// What `run` waits for, in place of what was. It is gone when the run is woken or ends.
    pub fn put_wait(&mut self, run: &RunId, record: Vec<u8>) {
        let stored = self.stored(record);
        self.add(Op::Wait(run.clone(), stored));
    }

    /// `run` waits no more. If it did not wait, the batch is refused as [`StoreError::Lost`]: a run
    /// is woken once for each wait.
    pub fn wake(&mut self, run: &RunId) {
        self.add(Op::Wake(run.clone()));
    }

    /// Nothing, if `run` waits for exactly what `record` says; otherwise the batch is refused as
    /// [`StoreError::Lost`].
    pub fn if_waits(&mut self, run: &RunId, record: Vec<u8>) {
        self.add(Op::IfWaits(run.clone(), record));
    }

    /// The journal of `run` begins anew with the next record; what came before is removed little by
    /// little.
    pub fn restart(&mut self, run: &RunId) {
        self.add(Op::Restart(run.clone()));
    }

    /// `flow` (`channel/flow`) began with the event `from` and looks next at the event `next`.
    pub fn move_cursor(&mut self, flow: &str, from: u64, next: u64) {
        let mut out = Writer::new();
        out.number(from).number(next);
        self.put(keys::plain(keys::CURSOR, flow), out.into_bytes());
    }

    /// `flow` is gone: it holds no events back any more.
    pub fn drop_cursor(&mut self, flow: &str) {
        self.add(Op::Remove(keys::plain(keys::CURSOR, flow)));
    }

    /// What is known about the attempts of `run`, in place of what was; `None` forgets it.
    pub fn set_attempts(&mut self, run: &RunId, record: Option<Vec<u8>>) {
        let key = keys::run(keys::ATTEMPTS, run);
        match record {
            Some(record) => self.put(key, record),
            None => self.add(Op::Remove(key)),
        }
    }

    /// Something of `run` is due at `due`; `seq` tells several apart.
    pub fn put_timer(&mut self, due: Timestamp, run: &RunId, seq: u32) {
        self.put(keys::timer(due, run, seq), Vec::new());
    }

    /// The timer is over or not wanted any more.
    pub fn remove_timer(&mut self, due: Timestamp, run: &RunId, seq: u32) {
        self.add(Op::Remove(keys::timer(due, run, seq)));
    }

    /// A flow's source with all that it imports, under its hash.
    pub fn put_version(&mut self, hash: &str, source: Vec<u8>) {
        self.put(keys::plain(keys::VERSION, hash), source);
    }

    /// A value that `flow` keeps between runs; `None` removes it.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a name over [`KEY_BYTES_MAX`] bytes.
    pub fn set_state(
        &mut self,
        flow: &str,
        name: &str,
        value: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        self.put_or_remove(keys::state(flow, name), value)
    }

    /// A small thing that the server remembers under `name`; `None` removes it.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a name over [`KEY_BYTES_MAX`] bytes.
    pub fn set_mark(&mut self, name: &str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.put_or_remove(keys::plain(keys::MARK, name), value)
    }

    /// A flow (`channel/flow`) or a channel is paused.
    pub fn pause(&mut self, name: &str) {
        self.put(keys::plain(keys::PAUSE, name), Vec::new());
    }

    /// … and goes on.
    pub fn resume(&mut self, name: &str) {
        self.add(Op::Remove(keys::plain(keys::PAUSE, name)));
    }

    /// A line for the audit: who did what.
    pub fn audit(&mut self, record: Vec<u8>) {
        let stored = self.stored(record);
        self.add(Op::Audit(stored));
    }

    pub(super) fn add(&mut self, op: Op) {
        self.weight += ROW_BYTES + stored_of(&op).map_or(0, Stored::weight);
        self.ops.push(op);
    }

    fn put(&mut self, key: Key, bytes: Vec<u8>) {
        let stored = self.stored(bytes);
        self.add(Op::Put(key, stored));
    }

    fn put_or_remove(&mut self, key: Key, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        if key.len() > KEY_BYTES_MAX {
            let limit = format!("{KEY_BYTES_MAX} bytes");
            return Err(too_large("the name of a kept value", &limit));
        }
        match value {
            Some(bytes) => self.put(key, bytes),
            None => self.add(Op::Remove(key)),
        }
        Ok(())
    }

    fn stored(&mut self, bytes: Vec<u8>) -> Stored {
        if bytes.len() + HEAD_BYTES <= INLINE_BYTES_MAX {
            return Stored::inline(bytes);
        }
        let hash = hash_of(&bytes);
        let content = Content::Beside(Beside {
            hash,
            offset: 0,
            length: bytes.len() as u64,
            crc: crc32c::crc32c(&bytes),
        });
        self.files.push((hash, bytes));
        Stored {
            head: Vec::new(),
            content,
        }
    }

    /// Makes the batch small enough for one atomic write: records move into one shared file.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] if that is not enough.
    pub(super) fn seal(&mut self) -> Result<(), StoreError> {
        if self.weight > BATCH_BYTES_MAX {
            self.pack();
        }
        if self.events > BATCH_EVENTS_MAX || self.weight > BATCH_BYTES_MAX {
            let limit = format!("{BATCH_EVENTS_MAX} events and {BATCH_BYTES_MAX} bytes at once");
            return Err(too_large("the batch", &limit));
        }
        Ok(())
    }

    fn pack(&mut self) {
        let mut pack = Vec::new();
        for stored in self.ops.iter_mut().filter_map(stored_of_mut) {
            pack_one(stored, &mut pack);
        }
        let hash = hash_of(&pack);
        for stored in self.ops.iter_mut().filter_map(stored_of_mut) {
            if let Content::Beside(beside) = &mut stored.content
                && beside.hash == [0; 32]
            {
                beside.hash = hash;
            }
        }
        self.files.push((hash, pack));
        let weight = |op: &Op| ROW_BYTES + stored_of(op).map_or(0, Stored::weight);
        self.weight = self.ops.iter().map(weight).sum();
    }
}

fn pack_one(stored: &mut Stored, pack: &mut Vec<u8>) {
    let Content::Inline(bytes) = &stored.content else {
        return;
    };
    if bytes.len() < PACKED_BYTES_MIN {
        return;
    }
    let beside = Beside {
        hash: [0; 32],
        offset: pack.len() as u64,
        length: bytes.len() as u64,
        crc: crc32c::crc32c(bytes),
    };
    pack.extend_from_slice(bytes);
    stored.content = Content::Beside(beside);
}

fn stored_of(op: &Op) -> Option<&Stored> {
    match op {
        Op::Push(push) => Some(&push.stored),
        Op::Append(_, stored)
        | Op::Note(_, stored)
        | Op::Wait(_, stored)
        | Op::DeadLetter(_, _, stored)
        | Op::Put(_, stored)
        | Op::Audit(stored) => Some(stored),
        _ => None,
    }
}

fn stored_of_mut(op: &mut Op) -> Option<&mut Stored> {
    match op {
        Op::Push(push) => Some(&mut push.stored),
        Op::Append(_, stored)
        | Op::Note(_, stored)
        | Op::Wait(_, stored)
        | Op::DeadLetter(_, _, stored)
        | Op::Put(_, stored)
        | Op::Audit(stored) => Some(stored),
        _ => None,
    }
}

fn too_large(what: &str, limit: &str) -> StoreError {
    StoreError::TooLarge {
        what: what.to_owned(),
        limit: limit.to_owned(),
    }
}
