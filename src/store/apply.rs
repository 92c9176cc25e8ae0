//! What each word of a batch does to the rows: events and the rest; runs stand in `runs.rs`.
//!
//! Invariant: a number is given to an event here and nowhere else, in commit order, without gaps.

use std::time::Duration;

use jiff::Timestamp;

use super::batch::{Batch, Op, Push};
use super::codec::{Reader, Writer};
use super::error::StoreError;
use super::eventcodec;
use super::keys::{self, Key};
use super::plan::Plan;
use super::record::{Row, Stored};
use crate::event::EventId;

/// Events whose message ids are looked at for each event that comes in with one; more than one,
/// so that old ids go faster than new ones come.
const SWEPT_PER_PUSH: usize = 4;

/// What became of one pushed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The event's id, or that of the event that was there already.
    pub id: EventId,
    /// True if the channel had it already and nothing was kept.
    pub duplicate: bool,
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// One for each pushed event, in the order of the batch.
    pub pushed: Vec<Pushed>,
    /// How many events, runs and dead letters retention removed.
    pub removed: u64,
    /// True if retention stopped at its bound and may find more.
    pub more: bool,
    /// The number of the commit that kept the batch; batches that waited together share one.
    pub sequence: u64,
}

impl Plan<'_> {
    /// Works the whole batch into the plan.
    pub(super) fn batch(&mut self, batch: &Batch, now: Timestamp) -> Result<Committed, StoreError> {
        let mut done = Committed {
            sequence: self.summary.sequence,
            ..Committed::default()
        };
        for op in &batch.ops {
            self.op(op, now, &mut done)?;
        }
        Ok(done)
    }

    fn op(&mut self, op: &Op, now: Timestamp, done: &mut Committed) -> Result<(), StoreError> {
        match op {
            Op::Push(push) => done.pushed.push(self.push(push, now)?),
            Op::Append(run, stored) => self.append(run, stored, now)?,
            Op::Finish(run, end, at) => self.finish_run(run, *end, *at)?,
            Op::DeadLetter(run, at, stored) => self.dead_letter(run, *at, stored)?,
            Op::Forgive(run) => {
                self.forgive(run)?;
            }
            Op::Take(event, by) => self.take(event, by)?,
            Op::PutBack(event, by, to) => self.put_back(event, by, to.as_deref())?,
            Op::Note(run, stored) => self.note(run, stored)?,
            Op::Wait(run, stored) => self.put(keys::run(keys::WAIT, run), stored)?,
            Op::Wake(run) => self.wake(run)?,
            Op::IfWaits(run, record) => self.if_waits(run, record)?,
            Op::Restart(run) => self.restart(run)?,
            Op::Put(key, stored) => self.put(key.clone(), stored)?,
            Op::Remove(key) => {
                self.remove(key.clone())?;
            }
            Op::Audit(stored) => self.audit(stored),
            Op::RetainEvents(channel, moment, limit) => {
                self.retain_events(channel, *moment, *limit, done)?;
            }
            Op::RetainRuns(moment, limit) => self.retain_runs(*moment, *limit, done)?,
        }
        Ok(())
    }

    fn push(&mut self, push: &Push, now: Timestamp) -> Result<Pushed, StoreError> {
        if let Some(id) = self.known(push)? {
            return Ok(Pushed {
                id,
                duplicate: true,
            });
        }
        let mut head = self.head(&push.channel);
        let id = EventId {
            channel: push.channel.clone(),
            number: head.next,
        };
        head.next += 1;
        self.set_head(&push.channel, head);
        self.put_new(keys::event(&id), &push.stored);
        if let (Some(key), Some(window)) = (&push.message, push.window) {
            let mut out = Writer::new();
            out.number(id.number).time(push.received_at);
            self.put_inline(key.clone(), out.into_bytes())?;
            self.sweep(&push.channel, horizon(push.received_at.min(now), window))?;
        }
        Ok(Pushed {
            id,
            duplicate: false,
        })
    }

    /// The event that `push` is another copy of.
    fn known(&self, push: &Push) -> Result<Option<EventId>, StoreError> {
        let (Some(key), Some(window)) = (&push.message, push.window) else {
            return Ok(None);
        };
        let Some(bytes) = self.inline(key)? else {
            return Ok(None);
        };
        let (number, at) = message(key, &bytes)?;
        let fresh = at >= horizon(push.received_at, window);
        Ok(fresh.then(|| EventId {
            channel: push.channel.clone(),
            number,
        }))
    }

    /// Drops message ids received before `horizon`, some at a time, the oldest events first.
    fn sweep(&mut self, channel: &str, horizon: Timestamp) -> Result<(), StoreError> {
        let mut head = self.head(channel);
        head.swept = head.swept.max(head.floor);
        for _ in 0..SWEPT_PER_PUSH {
            let key = keys::numbered(keys::EVENT, channel, head.swept);
            let Some(row) = self.row(&key)? else { break };
            if received_at(&row)? >= horizon {
                break;
            }
            self.drop_message(channel, head.swept, &row)?;
            head.swept += 1;
        }
        self.set_head(channel, head);
        Ok(())
    }

    /// Forgets the message id of an event, unless a newer event has taken it over.
    fn drop_message(&mut self, channel: &str, number: u64, event: &Row) -> Result<(), StoreError> {
        let Some(hash) = event_head(event)?.message else {
            return Ok(());
        };
        let mut key = keys::under(keys::MESSAGE, channel);
        key.extend_from_slice(hash);
        let Some(bytes) = self.inline(&key)? else {
            return Ok(());
        };
        if message(&key, &bytes)?.0 == number {
            self.remove(key)?;
        }
        Ok(())
    }

    fn audit(&mut self, stored: &Stored) {
        let key = keys::counted(keys::AUDIT, self.summary.next_audit);
        self.summary.next_audit += 1;
        self.put_new(key, stored);
    }

    /// Removes an event with all that hangs on it; the head's floor is the caller's.
    pub(super) fn remove_event(&mut self, id: &EventId) -> Result<(), StoreError> {
        let key = keys::event(id);
        if let Some(row) = self.row(&key)? {
            self.drop_message(&id.channel, id.number, &row)?;
        }
        self.remove(key)?;
        self.free(id)
    }
}

fn horizon(at: Timestamp, window: Duration) -> Timestamp {
    at.checked_sub(window).unwrap_or(Timestamp::MIN)
}

/// What the row of an event says without its body.
fn event_head(row: &Row) -> Result<eventcodec::Head<'_>, StoreError> {
    eventcodec::head(&row.stored.head)
        .map_err(|why| StoreError::damaged(keys::words(&row.key), why.to_string()))
}

/// When the event in `row` was received, to the millisecond.
pub(super) fn received_at(row: &Row) -> Result<Timestamp, StoreError> {
    event_head(row).map(|head| head.received_at)
}

fn message(key: &Key, bytes: &[u8]) -> Result<(u64, Timestamp), StoreError> {
    let mut input = Reader::new(bytes);
    let read = input
        .number()
        .and_then(|number| Ok((number, input.time()?)));
    read.map_err(|why| StoreError::damaged(keys::words(key), why.to_string()))
}
