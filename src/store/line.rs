//! A line: batches that are handed over before the one ahead of them was answered.
//!
//! Invariant: what stands in a line is kept in its order. Once one batch of it was refused, the
//! committer keeps none that comes after it, however well that might have gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One line; clones are the same one. It serves until a batch in it was refused.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    next: AtomicU64,
    /// The first that was refused; none has the last number there is.
    refused: AtomicU64,
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers {
            next: AtomicU64::new(0),
            refused: AtomicU64::new(u64::MAX),
        }
    }
}

impl Line {
    /// Nobody stands in it yet.
    pub fn new() -> Line {
        Line::default()
    }

    /// True once a batch in it was refused.
    pub fn is_cut(&self) -> bool {
        self.0.refused.load(Ordering::SeqCst) != u64::MAX
    }

    /// The place behind those that stand in it.
    pub(super) fn place(self) -> Place {
        let number = self.0.next.fetch_add(1, Ordering::SeqCst);
        Place { line: self, number }
    }
}

/// Where a batch stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    line: Line,
    number: u64,
}

impl Place {
    /// It was refused, and with it all that stand behind it.
    pub(super) fn refuse(&self) {
        self.line.0.refused.fetch_min(self.number, Ordering::SeqCst);
    }

    /// True if something before it was refused.
    pub(super) fn is_behind(&self) -> bool {
        self.line.0.refused.load(Ordering::SeqCst) < self.number
    }
}
