//! What a kind remembers of each key, and until when: bounded, the key that is over first goes first.
//!
//! Invariant: the order in which keys are over is kept beside them, so that what is due is found
//! without a search.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::KEYS_MAX;
use crate::event::Value;
use crate::hex;

/// A key longer than this is cut, and told apart by its hash.
const KEY_TEXT_BYTES_MAX: usize = 200;
/// What is shown of such a key.
const KEY_CHARS_SHOWN: usize = 60;

/// Things by key.
#[derive(Debug)]
pub(super) struct Keys<T> {
    entries: HashMap<Arc<str>, (i64, T)>,
    order: BTreeSet<(i64, Arc<str>)>,
    /// Keys that went because there were too many.
    pub(super) forgotten: u64,
}

impl<T> Default for Keys<T> {
    fn default() -> Keys<T> {
        Keys {
            entries: HashMap::new(),
            order: BTreeSet::new(),
            forgotten: 0,
        }
    }
}

impl<T> Keys<T> {
    /// Takes what is known of `key`.
    pub(super) fn take(&mut self, key: &str) -> Option<T> {
        let (key, (over, entry)) = self.entries.remove_entry(key)?;
        self.order.remove(&(over, key));
        Some(entry)
    }

    /// Remembers something of `key`, which is over at `over`; gives back what had to go for it.
    pub(super) fn put(&mut self, key: &str, over: i64, entry: T) -> Option<(Arc<str>, T)> {
        let key: Arc<str> = key.into();
        if let Some((before, _)) = self.entries.insert(Arc::clone(&key), (over, entry)) {
            self.order.remove(&(before, Arc::clone(&key)));
        }
        self.order.insert((over, key));
        if self.entries.len() <= KEYS_MAX {
            return None;
        }
        self.forgotten += 1;
        self.pop()
    }

    /// When the first key is over.
    pub(super) fn first_over(&self) -> Option<i64> {
        self.order.first().map(|(over, _)| *over)
    }

    /// Takes the key that is over first.
    pub(super) fn pop(&mut self) -> Option<(Arc<str>, T)> {
        let (_, key) = self.order.pop_first()?;
        let (_, entry) = self.entries.remove(&key)?;
        Some((key, entry))
    }

    /// Forgets what is over at `at`.
    pub(super) fn sweep(&mut self, at: i64) {
        while self.first_over().is_some_and(|over| over <= at) {
            self.pop();
        }
    }

    /// All, in the order in which they are over.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        let entry = |(_, key): &(i64, Arc<str>)| self.entries.get_key_value(key);
        self.order
            .iter()
            .filter_map(entry)
            .map(|(key, (_, entry))| (&**key, entry))
    }

    /// All, to be changed without changing when they are over.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.values_mut().map(|(_, entry)| entry)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The values of `fields` in `body`, as a person reads them; what is missing is `null`.
pub(super) fn key(fields: &[String], body: &Value) -> String {
    let part = |field: &String| {
        body.get(field)
            .map_or_else(|| "null".to_owned(), Value::to_string)
    };
    cut(fields.iter().map(part).collect::<Vec<_>>().join(", "))
}

/// The value of one field as plain text; what is missing is empty.
pub(super) fn plain(field: &str, body: &Value) -> String {
    cut(body.get(field).map_or_else(String::new, Value::to_plain))
}

fn cut(text: String) -> String {
    if text.len() <= KEY_TEXT_BYTES_MAX {
        return text;
    }
    let shown: String = text.chars().take(KEY_CHARS_SHOWN).collect();
    let hash = hex::encode(&Sha256::digest(text.as_bytes()));
    format!("{shown}… {}", &hash[..32])
}
