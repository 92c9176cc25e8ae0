//! All runs that wait, found by the fields that they wait for.
//!
//! Invariants: a wait is won once, by whoever removes it here; an event is offered to a channel's
//! waits in order, and a wait that comes in has been shown everything that was offered before. What
//! an event costs does not depend on how many waits do not fit it.

mod guests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::claim::lock;
use crate::event::{Event, RunId};
use crate::wait::Wait;
use crate::want::{values, values_in};

pub use guests::RECEIVERS_MAX;

/// In place of a number: there is no event that a wait could have missed.
pub const NOTHING_MISSED: u64 = u64::MAX;
/// The mark that stands for all channels; none has such a name.
pub const ALL: &str = "*";

/// Waits of a running server.
#[derive(Debug, Default)]
pub struct Waits(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    by_run: HashMap<RunId, Arc<Wait>>,
    rooms: HashMap<String, Room>,
    /// Runs that are to be cancelled as soon as they wait.
    cancelled: HashSet<RunId>,
    /// Runs that lie down: on disk they wait already, or are about to.
    settling: BTreeMap<u64, RunId>,
    /// The last run that lay down was the so manieth.
    laid: u64,
    /// Callers that wait, each under the name of a run that there never is.
    guests: HashMap<RunId, guests::Guest>,
    /// The last caller was the so manieth.
    guest: u64,
    /// How many events were put back.
    returns: u64,
}

/// The waits at one channel.
#[derive(Debug)]
struct Room {
    /// The number of the event that is offered next.
    next: u64,
    /// What events below this brought about is on disk.
    durable: u64,
    count: usize,
    /// For each set of field names the waits by the values that they want there. One set, not one
    /// for each value: thousands of waits that want different things would each pay for their own.
    shapes: BTreeMap<Vec<String>, BTreeSet<Wanted>>,
}

/// The values that are wanted, and by whom.
type Wanted = (Arc<[u8]>, Place);

/// The longest-waiting first; then the run, and which of its wants.
type Place = (Timestamp, RunId, usize);

/// How far a channel had been shown to its waits, as it is kept for the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Events below this were shown …
    pub next: u64,
    /// … to every run that lay down with a lower number.
    pub laid: u64,
}

/// What became of a wait that wanted in.
#[derive(Debug, PartialEq, Eq)]
pub enum Entered {
    /// It waits.
    Waits,
    /// Events came meanwhile that it has not been shown.
    Behind,
    /// Its run is to be cancelled.
    Cancelled,
}

impl Waits {
    /// How many runs wait.
    pub fn count(&self) -> usize {
        lock(&self.0).by_run.len()
    }

    /// At most `limit` of the runs that wait by id, those after `after` if given.
    pub fn list(&self, after: Option<&RunId>, limit: usize) -> Vec<Arc<Wait>> {
        let inside = lock(&self.0);
        let later = |wait: &&Arc<Wait>| {
            let is_later = after.is_none_or(|after| wait.run > *after);
            is_later && !inside.guests.contains_key(&wait.run)
        };
        let mut waits: Vec<&Arc<Wait>> = inside.by_run.values().filter(later).collect();
        waits.sort_unstable_by(|one, other| one.run.cmp(&other.run));
        waits.into_iter().take(limit).cloned().collect()
    }

    /// What `run` waits for, if it waits.
    pub fn of(&self, run: &RunId) -> Option<Arc<Wait>> {
        lock(&self.0).by_run.get(run).cloned()
    }

    /// Opens the channel for waits at the event `next`, unless it is open; says where it stands.
    pub fn open(&self, channel: &str, next: impl FnOnce() -> u64) -> u64 {
        let mut inside = lock(&self.0);
        if let Some(room) = inside.rooms.get(channel) {
            return room.next;
        }
        let next = next();
        let room = Room {
            next,
            durable: next,
            count: 0,
            shapes: BTreeMap::new(),
        };
        inside.rooms.insert(channel.to_owned(), room);
        next
    }

    /// Where the channel stands: the event that is offered next; `None` where nobody waits.
    pub fn next(&self, channel: &str) -> Option<u64> {
        lock(&self.0).rooms.get(channel).map(|room| room.next)
    }

    /// Runs `then` if nobody waits at the channel, before anybody can begin to.
    pub fn if_nobody(&self, channel: &str, then: impl FnOnce()) {
        let inside = lock(&self.0);
        if !inside.rooms.contains_key(channel) {
            then();
        }
    }

    /// The run of `wait` begins to lie down, and gets its number. To be called before it is on disk.
    pub fn settle(&self, wait: &mut Wait) {
        let mut inside = lock(&self.0);
        inside.laid += 1;
        wait.laid = inside.laid;
        inside.settling.insert(wait.laid, wait.run.clone());
    }

    /// The run of `wait` lies down again, with the number that is on disk.
    pub fn settle_again(&self, wait: &Wait) {
        let mut inside = lock(&self.0);
        inside.laid = inside.laid.max(wait.laid);
        inside.settling.insert(wait.laid, wait.run.clone());
    }

    /// Numbers go on after `laid`.
    pub fn go_on_after(&self, laid: u64) {
        let mut inside = lock(&self.0);
        inside.laid = inside.laid.max(laid);
    }

    /// The run of `wait` does not wait after all, or was woken while it lay down.
    pub fn settled(&self, wait: &Wait) {
        lock(&self.0).settled(wait);
    }

    /// True while the run lies down.
    pub fn is_settling(&self, run: &RunId) -> bool {
        lock(&self.0).settling.values().any(|one| one == run)
    }

    /// Where the channels stand, to be kept for the next start.
    pub fn marks(&self) -> BTreeMap<String, Mark> {
        let inside = lock(&self.0);
        let first = inside.settling.keys().next();
        let laid = first.copied().unwrap_or(inside.laid + 1);
        let mark = |(channel, room): (&String, &Room)| {
            let next = room.durable;
            (channel.clone(), Mark { next, laid })
        };
        let all = (ALL.to_owned(), Mark { next: 0, laid });
        inside.rooms.iter().map(mark).chain([all]).collect()
    }

    /// Everything that events below `next` brought about is on disk.
    pub fn kept(&self, channel: &str, next: u64) {
        if let Some(room) = lock(&self.0).rooms.get_mut(channel) {
            room.durable = room.durable.max(next);
        }
    }

    /// Takes in a wait that has been shown every event of its channels below `shown`, one number
    /// for each of its wants, and none of which was put back since there were `returns` of them.
    pub fn enter(&self, wait: &Arc<Wait>, shown: &[u64], returns: u64) -> Entered {
        let mut inside = lock(&self.0);
        if inside.cancelled.remove(&wait.run) {
            return Entered::Cancelled;
        }
        if inside.returns != returns {
            return Entered::Behind;
        }
        let is_shown = |(want, shown): (&crate::want::Want, &u64)| {
            let room = inside.rooms.get(&want.channel);
            room.map_or(*shown == NOTHING_MISSED, |room| room.next <= *shown)
        };
        if !wait.wants.iter().zip(shown).all(is_shown) {
            return Entered::Behind;
        }
        for (index, want) in wait.wants.iter().enumerate() {
            if let Some(room) = inside.rooms.get_mut(&want.channel) {
                room.add(wait, index);
            }
        }
        inside.by_run.insert(wait.run.clone(), Arc::clone(wait));
        inside.settled(wait);
        Entered::Waits
    }

    /// Offers the channel's next event: the waits that it fits, the longest-waiting first, each
    /// with the index of its want.
    pub fn offer(&self, event: &Event) -> Vec<(Arc<Wait>, usize)> {
        let mut inside = lock(&self.0);
        let Some(room) = inside.rooms.get_mut(&event.id.channel) else {
            return Vec::new();
        };
        room.next = room.next.max(event.id.number + 1);
        let places = room.fitting(event);
        let found = |(_, run, want): Place| {
            let wait = inside.by_run.get(&run)?;
            Some((Arc::clone(wait), want))
        };
        places.into_iter().filter_map(found).collect()
    }

    /// Nothing is left to be offered below `next`.
    pub fn pass(&self, channel: &str, next: u64) {
        if let Some(room) = lock(&self.0).rooms.get_mut(channel) {
            room.next = room.next.max(next);
        }
    }

    /// Removes the wait of `run` for its command number `command`; whoever gets it wakes the run,
    /// and nobody else does.
    pub fn win(&self, run: &RunId, command: usize) -> Option<Arc<Wait>> {
        let mut inside = lock(&self.0);
        inside
            .by_run
            .get(run)
            .filter(|wait| wait.command == command)?;
        inside.remove(run)
    }

    /// Removes the wait of a run that is to be cancelled; if it does not wait now, it will be told
    /// so when it wants to.
    pub fn cancel(&self, run: &RunId) -> Option<Arc<Wait>> {
        let mut inside = lock(&self.0);
        let wait = inside.remove(run);
        if wait.is_none() {
            inside.cancelled.insert(run.clone());
        }
        wait
    }

    /// The run knows that it is cancelled, and may wait again.
    pub fn knows_of_cancel(&self, run: &RunId) {
        lock(&self.0).cancelled.remove(run);
    }

    /// The run has ended: nothing about it is kept here.
    pub fn forget(&self, run: &RunId) -> Option<Arc<Wait>> {
        let mut inside = lock(&self.0);
        inside.cancelled.remove(run);
        inside.remove(run)
    }

    /// A person ended the run: its wait is removed, and does not come in any more if the run was only
    /// just lying down.
    pub fn take_out(&self, run: &RunId) -> Option<Arc<Wait>> {
        let mut inside = lock(&self.0);
        match inside.settling.values().any(|one| one == run) {
            true => drop(inside.cancelled.insert(run.clone())),
            false => drop(inside.cancelled.remove(run)),
        }
        inside.remove(run)
    }

    /// Closes the channel if nobody waits there, and then runs `then` with where it stood.
    pub fn close_if_empty(&self, channel: &str, then: impl FnOnce(u64)) -> bool {
        let mut inside = lock(&self.0);
        let empty = inside
            .rooms
            .get(channel)
            .filter(|room| room.count == 0)
            .map(|room| room.next);
        if let Some(next) = empty {
            inside.rooms.remove(channel);
            then(next);
        }
        empty.is_some()
    }
}

impl Inside {
    fn settled(&mut self, wait: &Wait) {
        self.settling.remove(&wait.laid);
    }

    fn remove(&mut self, run: &RunId) -> Option<Arc<Wait>> {
        let wait = self.by_run.remove(run)?;
        for (index, want) in wait.wants.iter().enumerate() {
            if let Some(room) = self.rooms.get_mut(&want.channel) {
                room.remove(&wait, index);
            }
        }
        Some(wait)
    }
}

impl Room {
    fn add(&mut self, wait: &Wait, index: usize) {
        let (names, wanted) = wanted(wait, index);
        let places = self.shapes.entry(names).or_default();
        self.count += usize::from(places.insert((wanted, place(wait, index))));
    }

    fn remove(&mut self, wait: &Wait, index: usize) {
        let (names, wanted) = wanted(wait, index);
        let Some(places) = self.shapes.get_mut(&names) else {
            return;
        };
        self.count -= usize::from(places.remove(&(wanted, place(wait, index))));
        if places.is_empty() {
            self.shapes.remove(&names);
        }
    }

    fn fitting(&self, event: &Event) -> Vec<Place> {
        let mut fitting = Vec::new();
        for (names, places) in &self.shapes {
            let values: Arc<[u8]> = values_in(&event.body, names.iter()).into();
            // Nobody waits since then, so which run does not matter.
            let longest = (Timestamp::MIN, RunId::new(&event.id, ""), 0);
            let from = places.range((Arc::clone(&values), longest)..);
            let same = from.take_while(|(wanted, _)| *wanted == values);
            fitting.extend(same.map(|(_, place)| place.clone()));
        }
        fitting.sort_unstable();
        fitting
    }
}

/// The names of the fields that a wait looks at, and the values that it wants there.
fn wanted(wait: &Wait, index: usize) -> (Vec<String>, Arc<[u8]>) {
    let fields = &wait.wants[index].fields;
    let names = fields.keys().cloned().collect();
    (names, values(fields.values()).into())
}

fn place(wait: &Wait, index: usize) -> Place {
    (wait.since, wait.run.clone(), index)
}
