//! How far a long work over the whole store has come, and what it found on the way.
//!
//! Invariant: however much is wrong, what is told has a bound; what is over it is counted.

use super::verify::CHUNK_ROWS;

/// Problems that are named one by one; further ones are counted.
pub const PROBLEMS_NAMED_MAX: usize = 1_000;

/// How far a check, a repair or a compaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, such as `reading rows`.
    pub doing: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do; 0 if that is not known.
    pub of: u64,
}

impl Progress {
    /// A step without parts.
    pub(super) fn step(doing: &'static str) -> Progress {
        Progress {
            doing,
            done: 0,
            of: 0,
        }
    }

    /// Tells of one more row, now and then.
    pub(super) fn rows(doing: &'static str, done: u64, of: u64, watch: &mut Watch) {
        if done.is_multiple_of(CHUNK_ROWS as u64) {
            watch(Progress { doing, done, of });
        }
    }
}

/// Who is told.
pub(super) type Watch<'a> = dyn FnMut(Progress) + 'a;

/// Sentences up to a bound.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    named: Vec<String>,
    more: u64,
}

impl Sentences {
    pub(super) fn add(&mut self, sentence: impl Into<String>) {
        match self.named.len() < PROBLEMS_NAMED_MAX {
            true => self.named.push(sentence.into()),
            false => self.more += 1,
        }
    }

    pub(super) fn into_vec(mut self) -> Vec<String> {
        if self.more > 0 {
            self.named.push(format!("and {} more", self.more));
        }
        self.named
    }
}
