//! Tries of a command as the store keeps them, so that a back-off survives a restart.
//!
//! Invariant: a record with `performing` was written before the try it speaks of began, so after a
//! crash nobody can tell whether that try reached the target.

use std::time::Duration;

use jiff::Timestamp;

use crate::action::{Failure, FailureKind, Repeat};
use crate::attempt::{self, Next, Tries};
use crate::event::RunId;
use crate::flow::FlowSettings;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::{Store, StoreError};

/// What is known about the tries of one command.
#[derive(Debug, Clone, PartialEq)]
pub struct TriesRecord {
    /// Which command, counted from 0.
    pub command: usize,
    /// All tries.
    pub count: u32,
    /// Tries that failed for another reason than an absent target.
    pub counted: u32,
    /// When the first began.
    pub first_at: Timestamp,
    /// When the next may begin.
    pub next_at: Timestamp,
    /// A try may have reached the target without our knowing.
    pub in_doubt: bool,
    /// A try was under way when this was written.
    pub performing: bool,
    /// Time since the first, as the rule needs it.
    pub since_first: Duration,
    /// Why the last one failed.
    pub error: String,
    /// The journal says already that it is in doubt; not kept.
    pub told: bool,
    /// The store has a record of this command: the next try must be told to it first.
    pub kept: bool,
}

impl TriesRecord {
    /// No try yet.
    pub fn begin(command: usize, now: Timestamp) -> TriesRecord {
        TriesRecord {
            command,
            count: 0,
            counted: 0,
            first_at: now,
            next_at: now,
            in_doubt: false,
            performing: false,
            since_first: Duration::ZERO,
            error: String::new(),
            told: false,
            kept: false,
        }
    }

    /// A person has the command tried again: from the beginning, and whatever was in doubt is
    /// theirs to decide; but a target that can be asked is asked first.
    pub fn again(command: usize, in_doubt: bool, now: Timestamp) -> TriesRecord {
        TriesRecord {
            in_doubt,
            ..TriesRecord::begin(command, now)
        }
    }

    /// What an earlier process left. A command without a record was on its way when it died.
    ///
    /// # Errors
    /// What the store cannot read.
    pub fn load(
        store: &Store,
        run: &RunId,
        command: usize,
        now: Timestamp,
    ) -> Result<TriesRecord, StoreError> {
        let damaged = |why: CodecError| StoreError::Damaged {
            what: format!("the tries of {run}"),
            why: why.to_string(),
        };
        let kept = store.attempts(run)?;
        let kept = kept
            .map(|bytes| TriesRecord::decode(&bytes))
            .transpose()
            .map_err(damaged)?;
        let mut record = match kept {
            Some(record) if record.command == command => record,
            _ => TriesRecord {
                performing: true,
                ..TriesRecord::begin(command, now)
            },
        };
        record.in_doubt |= record.performing;
        record.performing = false;
        Ok(record)
    }

    /// How long the next try still has to wait, if at all. Never longer than anybody may have wished
    /// for: a clock that was set back since makes the moment a distant one.
    pub fn wait_left(&self, now: Timestamp) -> Option<Duration> {
        let left = Duration::try_from(self.next_at.duration_since(now)).ok();
        let left = left.filter(|left| !left.is_zero());
        left.map(|left| left.min(attempt::RETRY_AFTER_MAX))
    }

    /// How long to let the target finish what it may still be doing for a try that was cut off,
    /// before it is asked whether that was done. Once for each doubt.
    pub fn settle(&mut self, repeat: Repeat, settings: &FlowSettings) -> Option<Duration> {
        let look = self.in_doubt && repeat == Repeat::LookUp;
        let told = self.told;
        self.told |= look;
        (look && !told).then_some(settings.in_doubt_wait.0)
    }

    /// Notes a failed try and says what to do.
    pub fn failed(&mut self, failure: &Failure, settings: &FlowSettings, now: Timestamp) -> Next {
        self.performing = false;
        self.in_doubt |= failure.in_doubt;
        self.told &= !failure.in_doubt;
        self.counted += u32::from(failure.kind == FailureKind::Other);
        self.error.clone_from(&failure.message);
        self.since_first =
            Duration::try_from(now.duration_since(self.first_at)).unwrap_or_default();
        let next = attempt::next(failure, Tries::from(&*self), settings, rand::random());
        if let Next::After(wait) = next {
            self.next_at = now.checked_add(wait).unwrap_or(now);
        }
        next
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.number(self.command as u64)
            .number(self.count.into())
            .number(self.counted.into())
            .time(self.first_at)
            .time(self.next_at)
            .byte(self.in_doubt.into())
            .byte(self.performing.into())
            .text(&self.error);
        out.into_bytes()
    }

    /// From bytes.
    ///
    /// # Errors
    /// Bytes that are no record.
    pub fn decode(bytes: &[u8]) -> Result<TriesRecord, CodecError> {
        let mut input = Reader::new(bytes);
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(TriesRecord {
            command: usize::try_from(input.number()?).unwrap_or(usize::MAX),
            count: small(input.number()?),
            counted: small(input.number()?),
            first_at: input.time()?,
            next_at: input.time()?,
            in_doubt: input.byte()? == 1,
            performing: input.byte()? == 1,
            since_first: Duration::ZERO,
            error: input.text()?.to_owned(),
            told: false,
            kept: true,
        })
    }
}
