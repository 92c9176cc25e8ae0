//! A plan: what one commit will change, worked out before any of it is written.
//!
//! Invariant: a plan sees the tree as it will be after its own earlier changes, and keeps the
//! summary, the heads and the body references in step with every row. A plan that is thrown away
//! leaves no trace.

use std::collections::{BTreeMap, HashMap};

use super::bodies::{Bodies, Hash};
use super::codec::{Reader, Writer};
use super::engine::{Changes, Engine, Pair};
use super::error::StoreError;
use super::keys::{self, Key};
use super::record::{self, Row, Stored};
use super::summary::{Head, Summary};

/// Heads of all channels by name.
pub(super) type Heads = HashMap<String, Head>;

/// What a plan is built on.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) engine: &'a Engine,
    pub(super) bodies: &'a Bodies,
    pub(super) heads: &'a Heads,
    pub(super) summary: &'a Summary,
}

/// Changes in the making.
pub(super) struct Plan<'a> {
    ground: Ground<'a>,
    pub(super) summary: Summary,
    heads: BTreeMap<String, Head>,
    changes: Changes,
    references: BTreeMap<Hash, i64>,
}

/// A finished plan, ready to be written.
pub(super) struct Planned {
    pub(super) changes: Changes,
    pub(super) summary: Summary,
    pub(super) heads: BTreeMap<String, Head>,
    /// Body files that nothing refers to after this commit.
    pub(super) unused: Vec<Hash>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(ground: Ground<'a>) -> Plan<'a> {
        let mut summary = ground.summary.clone();
        summary.sequence += 1;
        Plan {
            ground,
            summary,
            heads: BTreeMap::new(),
            changes: Changes::new(),
            references: BTreeMap::new(),
        }
    }

    pub(super) fn head(&self, channel: &str) -> Head {
        let planned = self.heads.get(channel);
        let head = planned.or_else(|| self.ground.heads.get(channel));
        head.copied().unwrap_or(Head::EMPTY)
    }

    pub(super) fn set_head(&mut self, channel: &str, head: Head) {
        self.heads.insert(channel.to_owned(), head);
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.changes.get(key) {
            Some(planned) => Ok(planned.clone()),
            None => self.ground.engine.get(key),
        }
    }

    pub(super) fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.bytes(key)?.is_some())
    }

    /// The row under `key`, verified.
    pub(super) fn row(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let bytes = self.bytes(key)?;
        bytes.map(|bytes| record::decode(key, &bytes)).transpose()
    }

    /// The inline bytes under `key`; nothing that is planned with is ever kept beside the tree.
    pub(super) fn inline(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.row(key)?.and_then(|row| match row.stored.content {
            record::Content::Inline(bytes) => Some(bytes),
            _ => None,
        }))
    }

    /// At most `limit` pairs that begin with `prefix`, in order.
    pub(super) fn scan(&self, prefix: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let planned = || self.changes.range(prefix.to_vec()..keys::after(prefix));
        let most = limit.saturating_add(planned().count());
        let mut found: Changes = self
            .ground
            .engine
            .scan(prefix, prefix, most)?
            .into_iter()
            .map(|(key, bytes)| (key, Some(bytes)))
            .collect();
        found.extend(planned().map(|(key, bytes)| (key.clone(), bytes.clone())));
        let kept = found
            .into_iter()
            .filter_map(|(key, bytes)| Some((key, bytes?)));
        Ok(kept.take(limit).collect())
    }

    /// Keeps `stored` under `key`, in place of what is there.
    pub(super) fn put(&mut self, key: Key, stored: &Stored) -> Result<(), StoreError> {
        let old = self.bytes(&key)?;
        self.change(key, old.as_deref(), Some(stored));
        Ok(())
    }

    /// Keeps `stored` under `key`, which was never used before; spares the look.
    pub(super) fn put_new(&mut self, key: Key, stored: &Stored) {
        self.change(key, None, Some(stored));
    }

    pub(super) fn put_inline(&mut self, key: Key, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.put(key, &Stored::inline(bytes))
    }

    /// Removes what is under `key`; false if nothing is.
    pub(super) fn remove(&mut self, key: Key) -> Result<bool, StoreError> {
        let old = self.bytes(&key)?;
        if old.is_some() {
            self.change(key, old.as_deref(), None);
        }
        Ok(old.is_some())
    }

    fn change(&mut self, key: Key, old: Option<&[u8]>, new: Option<&Stored>) {
        // A damaged old row gives no reference back; its file becomes an orphan that is swept.
        let old_row = old.and_then(|bytes| record::decode(&key, bytes).ok());
        if let Some(beside) = old_row.as_ref().and_then(|row| row.stored.beside()) {
            *self.references.entry(beside.hash).or_default() -= 1;
        }
        if let Some(beside) = new.and_then(Stored::beside) {
            *self.references.entry(beside.hash).or_default() += 1;
        }
        let bytes = new.map(|stored| record::encode(self.summary.sequence, &key, stored));
        let kind = key.first().copied().unwrap_or_default();
        self.summary.replace(kind, old, bytes.as_deref());
        self.changes.insert(key, bytes);
    }

    /// Writes heads, references and the summary, and closes the plan.
    pub(super) fn finish(mut self) -> Result<Planned, StoreError> {
        for (channel, head) in self.heads.clone() {
            self.put_inline(keys::plain(keys::HEAD, &channel), head.encode())?;
        }
        let mut unused = Vec::new();
        for (hash, delta) in std::mem::take(&mut self.references) {
            if delta != 0 && self.refer(&hash, delta)? == 0 {
                unused.push(hash);
            }
        }
        let summary = Stored::inline(self.summary.encode());
        let row = record::encode(self.summary.sequence, &[keys::SUMMARY], &summary);
        self.changes.insert(vec![keys::SUMMARY], Some(row));
        Ok(Planned {
            changes: self.changes,
            summary: self.summary,
            heads: self.heads,
            unused,
        })
    }

    fn refer(&mut self, hash: &Hash, delta: i64) -> Result<u64, StoreError> {
        let key = keys::body(hash);
        let old = self.inline(&key)?.map_or(0, |bytes| count(&bytes));
        let new = old.saturating_add_signed(delta);
        let size = self.ground.bodies.size(hash);
        if new == 0 {
            self.remove(key)?;
            self.summary.body_bytes = self.summary.body_bytes.saturating_sub(size);
            return Ok(0);
        }
        if old == 0 {
            self.summary.body_bytes += size;
        }
        let mut out = Writer::new();
        out.number(new);
        self.put_inline(key, out.into_bytes())?;
        Ok(new)
    }
}

/// The count in a body reference.
pub(super) fn count(bytes: &[u8]) -> u64 {
    Reader::new(bytes).number().unwrap_or(0)
}
