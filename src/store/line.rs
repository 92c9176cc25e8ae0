//! A line: batches that are handed over before the one ahead of them was answered.
//!
//! Invariant: what stands in a line is kept in its order. Once one batch of it was refused, the
//! committer keeps none that comes after it, however well that might have gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One line; clones are the same one. It serves until a batch in it was refused.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<AtomicBool>);

impl Line {
    /// Nobody stands in it yet.
    pub fn new() -> Line {
        Line::default()
    }

    /// True once a batch in it was refused.
    pub fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
