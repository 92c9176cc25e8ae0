//! Stage: what each kind of storm control is to the storm.
//!
//! Invariant: a stage has no clock and no store. It knows keys, times and numbers of events; the same
//! events at the same times bring it to the same state.

use super::Told;
use crate::store::codec::{CodecError, Reader, Writer};

/// An event as a stage sees it.
pub(super) struct Seen<'a> {
    /// Its number in the channel.
    pub(super) number: u64,
    /// The storm's time, in milliseconds.
    pub(super) at: i64,
    /// The values of the stage's `by`.
    pub(super) key: &'a str,
    /// The value of the stage's `field` or `distinct`.
    pub(super) value: &'a str,
    /// What its run will be told.
    pub(super) told: &'a mut Told,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Hold,
    Suppress,
}

/// An event that is held.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) number: u64,
    pub(super) told: Told,
}

/// Events that go on together.
pub(super) type Group = Vec<Item>;

/// What came of looking at an event.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) verdict: Verdict,
    /// An event that was held and is suppressed now.
    pub(super) superseded: Option<u64>,
    /// Events that were held and go on now.
    pub(super) released: Vec<Group>,
}

impl From<Verdict> for Looked {
    fn from(verdict: Verdict) -> Looked {
        Looked {
            verdict,
            superseded: None,
            released: Vec::new(),
        }
    }
}

/// One kind, as a flow has it.
pub(super) trait Stage: Send {
    /// An event comes.
    fn look(&mut self, seen: &mut Seen<'_>) -> Looked;

    // A kind that decides at once holds nothing: what follows is for those that do not.

    /// When the first of what is held is due.
    fn due(&self) -> Option<i64> {
        None
    }

    /// What is due first goes on.
    fn ring(&mut self) -> Group {
        Group::new()
    }

    /// The numbers of all events that are held.
    fn held(&self) -> Vec<u64> {
        Vec::new()
    }

    /// The event has acted elsewhere; true if it was held.
    fn remove(&mut self, _number: u64) -> bool {
        false
    }

    /// Gives everything back that is held.
    fn drain(&mut self) -> Vec<Item> {
        Vec::new()
    }

    /// Keys that went because there were too many.
    fn forgotten(&self) -> u64;

    /// Everything that is known.
    fn write(&self, out: &mut Writer) -> Result<(), CodecError>;

    /// Takes up what [`Stage::write`] wrote, under the settings as they are now.
    fn read(&mut self, input: &mut Reader<'_>) -> Result<(), CodecError>;
}

impl Item {
    pub(super) fn write(&self, out: &mut Writer) -> Result<(), CodecError> {
        out.number(self.number).map(&self.told).map(drop)
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Item, CodecError> {
        Ok(Item {
            number: input.number()?,
            told: input.map()?,
        })
    }
}
