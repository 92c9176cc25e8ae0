//! What a poll remembers: the keys of the items that it has seen, newest last.
//!
//! Items with key fields are known as long as they are among the last [`KEYS_MAX`] keys; without
//! fields an item is known as long as each answer has it, so that a state that comes back is news.

use std::collections::HashSet;

use super::answer::{Item, Key};

/// Most items that are known; older ones are forgotten first.
pub const KEYS_MAX: usize = 10_000;
/// Stands in front of the keys, so that another way to keep them can be told apart.
const FORM: u8 = b'1';

/// What was seen.
#[derive(Clone, Default)]
pub(super) struct Seen {
    /// `None` before the first answer.
    keys: Option<Vec<Key>>,
}

impl Seen {
    /// From a memory; what cannot be read counts as never asked.
    pub(super) fn recall(memory: Option<&[u8]>) -> Seen {
        let keys = memory.and_then(|memory| memory.strip_prefix(&[FORM]));
        Seen {
            keys: keys.map(|keys| keys.as_chunks::<16>().0.to_vec()),
        }
    }

    /// True before the first answer.
    pub(super) fn is_blank(&self) -> bool {
        self.keys.is_none()
    }

    /// What will have been seen when the new ones of `items` are added: the known items move to the
    /// end; the rest stays in front, or goes if `only_current`.
    pub(super) fn meet(&self, items: &[Item], only_current: bool) -> Seen {
        let current: HashSet<Key> = items.iter().map(|item| item.key).collect();
        let known = self.keys.as_deref().unwrap_or_default();
        let (met, mut kept): (Vec<Key>, Vec<Key>) =
            known.iter().partition(|key| current.contains(*key));
        if only_current {
            kept.clear();
        }
        kept.extend(met);
        Seen { keys: Some(kept) }
    }

    /// The items that are not known, each once.
    pub(super) fn fresh(&self, mut items: Vec<Item>) -> Vec<Item> {
        let known = self.keys.as_deref().unwrap_or_default();
        let mut known: HashSet<Key> = known.iter().copied().collect();
        items.retain(|item| known.insert(item.key));
        items
    }

    /// These are known from now on.
    pub(super) fn add(&mut self, items: &[Item]) {
        let keys = self.keys.get_or_insert_default();
        keys.extend(items.iter().map(|item| item.key));
        let beyond = keys.len().saturating_sub(KEYS_MAX);
        keys.drain(..beyond);
    }

    /// True if not the same items are known; their order is no difference.
    pub(super) fn differs(&self, other: &Seen) -> bool {
        let set = |seen: &Seen| {
            let keys = seen.keys.as_ref()?;
            Some(keys.iter().copied().collect::<HashSet<Key>>())
        };
        set(self) != set(other)
    }

    /// As it is kept.
    pub(super) fn memory(&self) -> Vec<u8> {
        let keys = self.keys.as_deref().unwrap_or_default();
        [&[FORM], keys.as_flattened()].concat()
    }
}
