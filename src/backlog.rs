//! The backlog: events that a channel holds already, found by the fields that a run asks for.
//!
//! A run that lies down may look for one event among very many old ones, and thousands of runs may
//! do the same. So each old event is read once for each set of field names that is asked for, not
//! once for each run. Invariant: this is a hint and never the truth. What it points to is read and
//! compared again, so that equal hashes, taken and removed events do no harm.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;
use std::sync::Mutex;

use crate::claim::lock;
use crate::event::Event;
use crate::store::{Store, StoreError};
use crate::want::{Want, values, values_in};

/// Events that all shelves together remember; beyond it they begin anew.
pub const BACKLOG_EVENTS_MAX: usize = 500_000;
/// Events that are shown at a time.
pub const SHOWN_EVENTS_MAX: usize = 64;

/// What old events of all channels are remembered by.
#[derive(Debug, Default)]
pub struct Backlog(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    shelves: HashMap<Label, Shelf>,
    events: usize,
}

/// A channel, whether whoever asks takes the event, and the names of the fields.
type Label = (String, bool, Vec<String>);

/// The events of one channel, by the values that they have in some fields.
#[derive(Debug)]
struct Shelf {
    /// Every event from here on …
    first: u64,
    /// … to here was put on it.
    next: u64,
    /// Hashes of the values with the numbers of the events.
    places: BTreeSet<(u64, u64)>,
}

impl Backlog {
    /// Reads one page of what is missing for `want` between `from` and `next`; false if nothing is.
    ///
    /// # Errors
    /// What the store cannot read now.
    pub fn catch_up(
        &self,
        store: &Store,
        (want, takes): (&Want, bool),
        (from, next): (u64, u64),
    ) -> Result<bool, StoreError> {
        let mut inside = lock(&self.0);
        if inside.events > BACKLOG_EVENTS_MAX {
            *inside = Inside::default();
        }
        let shelf = inside.shelf(label(want, takes), from);
        if shelf.next >= next {
            return Ok(false);
        }
        let before = shelf.places.len();
        let (events, end) = page(store, &want.channel, shelf.next..next)?;
        for event in events {
            let values = hash(&values_in(&event.body, want.fields.keys()));
            shelf.places.insert((values, event.id.number));
        }
        shelf.next = end;
        let added = shelf.places.len() - before;
        inside.events += added;
        Ok(true)
    }

    /// The first event in `among` that may have the fields.
    pub fn first(&self, want: &Want, takes: bool, among: Range<u64>) -> Option<u64> {
        let inside = lock(&self.0);
        let shelf = inside.shelves.get(&label(want, takes))?;
        let values = hash(&values(want.fields.values()));
        let mut places = shelf.places.range((values, among.start)..);
        let (_, number) = places.next().filter(|(found, _)| *found == values)?;
        among.contains(number).then_some(*number)
    }

    /// Forgets an event that was taken or is not kept any more.
    pub fn forget(&self, want: &Want, takes: bool, number: u64) {
        let mut inside = lock(&self.0);
        let Some(shelf) = inside.shelves.get_mut(&label(want, takes)) else {
            return;
        };
        let values = hash(&values(want.fields.values()));
        if shelf.places.remove(&(values, number)) {
            inside.events -= 1;
        }
    }

    /// Begins anew with what may be taken from a channel: an event is free again.
    pub fn forget_taken(&self, channel: &str) {
        let mut inside = lock(&self.0);
        let anew = |label: &Label| label.0 == channel && label.1;
        let gone = inside.shelves.extract_if(|label, _| anew(label));
        let events: usize = gone.map(|(_, shelf)| shelf.places.len()).sum();
        inside.events -= events;
    }
}

impl Inside {
    /// The shelf, beginning at `from` or before.
    fn shelf(&mut self, label: Label, from: u64) -> &mut Shelf {
        let empty = || Shelf {
            first: from,
            next: from,
            places: BTreeSet::new(),
        };
        let shelf = self.shelves.entry(label).or_insert_with(empty);
        if from < shelf.first {
            self.events -= shelf.places.len();
            *shelf = empty();
        }
        shelf
    }
}

/// The next events of a channel, and the number up to which there are no others. One that cannot be
/// read is passed over.
///
/// # Errors
/// What the store cannot read now, and may be able to read later.
pub fn page(
    store: &Store,
    channel: &str,
    among: Range<u64>,
) -> Result<(Vec<Event>, u64), StoreError> {
    match store.events(channel, among.start, SHOWN_EVENTS_MAX) {
        Ok(mut events) => {
            events.retain(|event| event.id.number < among.end);
            let end = events.last().map_or(among.end, |last| last.id.number + 1);
            Ok((events, end))
        }
        Err(why @ StoreError::Damaged { .. }) => {
            tracing::error!(channel, "an event cannot be shown to runs that wait: {why}");
            Ok((Vec::new(), among.start + 1))
        }
        Err(why) => Err(why),
    }
}

fn label(want: &Want, takes: bool) -> Label {
    let names = want.fields.keys().cloned().collect();
    (want.channel.clone(), takes, names)
}

fn hash(values: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(values);
    hasher.finish()
}
