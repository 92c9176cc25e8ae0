//! The row of a run: where its journal begins and ends, and how it ended itself.
//!
//! Invariant: the row says which journal records there must be, so that a missing one is an error
//! and never a shorter journal.

use jiff::Timestamp;

use super::codec::{CodecError, Reader, Writer};
use super::error::StoreError;
use super::keys::{self, Key};
use crate::event::RunId;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The script came to its end.
    Done,
    /// Given up.
    Failed,
    /// Waits for a person: its journal and its script disagree. It is not live, and not over.
    Blocked,
    /// Stopped by a person.
    Cancelled,
}

impl End {
    /// The word for it: `done`, `failed`, `blocked`, `cancelled`.
    pub fn word(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Failed => "failed",
            End::Blocked => "blocked",
            End::Cancelled => "cancelled",
        }
    }
}

/// The row of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunRow {
    pub(super) order: u64,
    pub(super) entries: u32,
    /// Where the journal begins, since it began anew.
    pub(super) first: u32,
    /// Records below this are removed already.
    pub(super) dropped: u32,
    pub(super) began_at: Timestamp,
    pub(super) end: Option<(End, Timestamp)>,
}

impl RunRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.number(self.order)
            .number(u64::from(self.entries))
            .number(u64::from(self.first))
            .number(u64::from(self.dropped))
            .time(self.began_at);
        match self.end {
            None => out.byte(0),
            Some((end, at)) => out.byte(1 + end as u8).time(at),
        };
        out.into_bytes()
    }

    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<RunRow, StoreError> {
        RunRow::read(bytes).map_err(|why| StoreError::damaged(keys::words(key), why.to_string()))
    }

    fn read(bytes: &[u8]) -> Result<RunRow, CodecError> {
        let mut input = Reader::new(bytes);
        let order = input.number()?;
        let too_long = |_| CodecError::Wrong("its journal is too long");
        let mut count = || u32::try_from(input.number()?).map_err(too_long);
        let (entries, first, dropped) = (count()?, count()?, count()?);
        let began_at = input.time()?;
        let end = match input.byte()? {
            0 => None,
            1 => Some(End::Done),
            2 => Some(End::Failed),
            3 => Some(End::Blocked),
            4 => Some(End::Cancelled),
            _ => return Err(CodecError::Wrong("it ended in an unknown way")),
        };
        let end = end.map(|end| Ok((end, input.time()?))).transpose()?;
        input.end()?;
        Ok(RunRow {
            order,
            entries,
            first,
            dropped,
            began_at,
            end,
        })
    }

    /// Where the run stands in the index of its state.
    pub(super) fn place(&self, run: &RunId) -> Key {
        match self.end {
            None => keys::run(keys::LIVE, run),
            Some((End::Blocked, _)) => keys::run(keys::BLOCKED, run),
            Some((_, at)) => keys::timed(keys::ENDED, at, run),
        }
    }
}
