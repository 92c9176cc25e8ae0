//! What the store knows about itself: the summary row, and one head per channel.
//!
//! Invariant: both are written in the same batch as the rows that they count, so a database that
//! lost a row and kept its summary contradicts itself.

use super::codec::{CodecError, Reader, Writer};
use super::keys::{KINDS, index_of};
use super::{keys, record};

/// Counts, counters and the digest of every row but the summary itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// Chosen at random when the store was made.
    pub(super) store_id: [u8; 16],
    /// The number of the last commit.
    pub(super) sequence: u64,
    /// The place that the next run takes in the order of beginnings.
    pub(super) next_order: u64,
    /// The number of the next audit line.
    pub(super) next_audit: u64,
    /// Bytes of all body files.
    pub(super) body_bytes: u64,
    /// Sum of [`record::digest`] over all other rows.
    pub(super) digest: u64,
    /// Rows of each kind, in the order of [`KINDS`].
    pub(super) counts: [u64; KINDS.len()],
}

impl Summary {
    /// Of an empty store.
    pub(super) fn new(store_id: [u8; 16]) -> Summary {
        Summary {
            store_id,
            sequence: 0,
            next_order: 1,
            next_audit: 1,
            body_bytes: 0,
            digest: 0,
            counts: [0; KINDS.len()],
        }
    }

    /// How many rows of `kind` there are.
    pub(super) fn count(&self, kind: u8) -> u64 {
        index_of(kind).map_or(0, |index| self.counts[index])
    }

    /// Events and runs kept: the number that the ledger holds against the database.
    pub(super) fn live(&self) -> u64 {
        self.count(keys::EVENT) + self.count(keys::RUN)
    }

    /// Rows of all kinds.
    pub(super) fn rows(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Notes that `old` gave way to `new` under a key of `kind`.
    pub(super) fn replace(&mut self, kind: u8, old: Option<&[u8]>, new: Option<&[u8]>) {
        let Some(index) = index_of(kind) else { return };
        if let Some(old) = old {
            self.counts[index] = self.counts[index].saturating_sub(1);
            self.digest = self.digest.wrapping_sub(record::digest(old));
        }
        if let Some(new) = new {
            self.counts[index] += 1;
            self.digest = self.digest.wrapping_add(record::digest(new));
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&self.store_id)
            .number(self.sequence)
            .number(self.next_order)
            .number(self.next_audit)
            .number(self.body_bytes)
            .raw(&self.digest.to_le_bytes())
            .number(self.counts.len() as u64);
        self.counts.iter().for_each(|count| {
            out.number(*count);
        });
        out.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Summary, CodecError> {
        let mut input = Reader::new(bytes);
        let mut summary = Summary::new(*input.raw(16)?.first_chunk().ok_or(CodecError::Short)?);
        summary.sequence = input.number()?;
        summary.next_order = input.number()?;
        summary.next_audit = input.number()?;
        summary.body_bytes = input.number()?;
        summary.digest = u64::from_le_bytes(*input.raw(8)?.first_chunk().ok_or(CodecError::Short)?);
        if input.number()? != KINDS.len() as u64 {
            return Err(CodecError::Wrong("it counts other kinds of rows"));
        }
        for count in &mut summary.counts {
            *count = input.number()?;
        }
        input.end()?;
        Ok(summary)
    }
}

/// Where a channel stands.
///
/// Invariant: every number from `floor` up to `next` is kept; below `floor` exactly `stragglers`
/// events are, each held by a run or a dead letter that still needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) floor: u64,
    pub(super) next: u64,
    pub(super) stragglers: u64,
    /// Events that carry a taken mark.
    pub(super) taken: u64,
    /// Message ids of events below this number were looked at and dropped when too old.
    pub(super) swept: u64,
}

impl Head {
    /// Of a channel that has had no event.
    pub(super) const EMPTY: Head = Head {
        floor: 1,
        next: 1,
        stragglers: 0,
        taken: 0,
        swept: 1,
    };

    /// Events kept.
    pub(super) fn kept(&self) -> u64 {
        self.next - self.floor + self.stragglers
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.number(self.floor)
            .number(self.next)
            .number(self.stragglers)
            .number(self.taken)
            .number(self.swept);
        out.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Head, CodecError> {
        let mut input = Reader::new(bytes);
        let head = Head {
            floor: input.number()?,
            next: input.number()?,
            stragglers: input.number()?,
            taken: input.number()?,
            swept: input.number()?,
        };
        input.end()?;
        if head.floor > head.next {
            return Err(CodecError::Wrong("its floor is above its end"));
        }
        Ok(head)
    }
}
