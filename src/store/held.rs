//! Rows of commits that are in the log and not in the tree yet, where readers find them first.
//!
//! Invariant: the tree gets these rows before they go from here, so whoever looks here first and then
//! there misses none. Each row is as of a moment since the look began; a scan is no snapshot.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use super::engine::{Changes, Pair};
use super::error::StoreError;
use super::keys::Key;
use super::log::weight;

/// The newest bytes of each key, or that it is gone.
#[derive(Debug, Default)]
pub(super) struct Held {
    rows: Changes,
    bytes: usize,
    since: Option<Instant>,
}

impl Held {
    /// Adds a commit.
    pub(super) fn add(&mut self, changes: Changes) {
        self.bytes += weight(&changes);
        self.rows.extend(changes);
        self.since.get_or_insert_with(Instant::now);
    }

    /// All of it: few enough for one write of the engine.
    pub(super) fn rows(&self) -> &Changes {
        &self.rows
    }

    /// Bytes of all commits in it, and when the first came; `None` if there is none.
    pub(super) fn unsettled(&self) -> Option<(usize, Instant)> {
        Some((self.bytes, self.since?))
    }

    /// What it says about `key`, if anything.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.rows.get(key).cloned()
    }

    /// What it says about the keys in `range`: as much as `limit` rows can need.
    pub(super) fn range(&self, range: Range<Key>, limit: usize) -> Changes {
        let mut left = limit;
        let mut some = BTreeMap::new();
        for (key, row) in self.rows.range(range) {
            if left == 0 {
                break;
            }
            left -= usize::from(row.is_some());
            some.insert(key.clone(), row.clone());
        }
        some
    }
}

/// The rows of the tree with those of `held` in their places, at most `limit`.
pub(super) fn merge(
    held: Changes,
    tree: impl Iterator<Item = Result<Pair, StoreError>>,
    limit: usize,
) -> Result<Vec<Pair>, StoreError> {
    let mut held = held.into_iter().peekable();
    let mut merged = Vec::new();
    let mut tree = tree.peekable();
    while merged.len() < limit {
        let order = match (held.peek(), tree.peek()) {
            (None, None) => break,
            (Some((ours, _)), Some(Ok((theirs, _)))) => ours.cmp(theirs),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        if order == Ordering::Equal {
            tree.next();
        }
        match order {
            Ordering::Greater => merged.extend(tree.next().transpose()?),
            _ => merged.extend(held.next().and_then(|(key, row)| Some((key, row?)))),
        }
    }
    Ok(merged)
}
