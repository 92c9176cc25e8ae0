//! Claims: how far a flow has looked into its channel, and what a run holds while it is at work.
//!
//! Invariant: the kept cursor never passes an event whose run is not on disk yet, so whatever dies,
//! an event is looked at again rather than not at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};

use crate::event::RunId;
use crate::journal::{Entry, Journal};
use crate::locals::Effects;
use crate::run::Interrupted;

/// Further events that one run may have waiting to be noted.
const NOTES_MAX: usize = 10_000;

/// How far a flow has come in its channel.
#[derive(Debug, Default)]
pub struct Progress {
    /// The first event that the flow has not looked at.
    pub next: u64,
    /// Events that it looked at, whose runs are not on disk yet.
    open: BTreeSet<u64>,
}

impl Progress {
    /// A flow that goes on at `next`.
    pub fn at(next: u64) -> Arc<Mutex<Progress>> {
        Arc::new(Mutex::new(Progress {
            next,
            open: BTreeSet::new(),
        }))
    }

    /// The event was looked at; `open` if its run has still to reach the disk.
    pub fn pass(&mut self, number: u64, open: bool) {
        self.next = self.next.max(number + 1);
        if open {
            self.open.insert(number);
        }
    }

    /// The events' runs are on disk.
    pub fn settle(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.open.remove(number);
        }
    }

    /// True if its run has still to reach the disk.
    pub fn is_open(&self, number: u64) -> bool {
        self.open.contains(&number)
    }

    /// All whose runs have still to reach the disk.
    pub fn open(&self) -> impl Iterator<Item = u64> {
        self.open.iter().copied()
    }

    /// Everything below this is done with: the cursor that may be kept.
    pub fn low(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }
}

/// Locks, also when somebody panicked while holding it: what is inside is counters and lists.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Further events for a live run (`one_run_per`), on their way into its journal.
#[derive(Debug, Default)]
pub struct Notes {
    inside: Mutex<NotesInside>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct NotesInside {
    closed: bool,
    waiting: Vec<(u64, String)>,
}

impl Notes {
    /// Leaves a note about the event `number`; false if the run has ended meanwhile.
    pub fn leave(&self, number: u64, text: String) -> bool {
        let mut inside = lock(&self.inside);
        if inside.closed || inside.waiting.len() >= NOTES_MAX {
            return false;
        }
        inside.waiting.push((number, text));
        drop(inside);
        self.arrived.notify_one();
        true
    }

    /// Waits for a note.
    pub async fn arrived(notes: &Notes) {
        notes.arrived.notified().await;
    }
}

/// What a person wants of a run at work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    /// It is to be cancelled, and may tidy up until then.
    pub cancel: Option<Timestamp>,
    /// It is to end at once.
    pub kill: bool,
    /// It is to be let go of between two commands, live as it is.
    pub halt: bool,
}

/// Which runs are at work in this process: a run has one owner at most.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<HashMap<RunId, watch::Sender<Order>>>>);

impl Claims {
    /// Takes the run, or `None` if somebody has it.
    pub fn claim(&self, run: &RunId) -> Option<Claim> {
        let mut claims = lock(&self.0);
        if claims.contains_key(run) {
            return None;
        }
        let (sender, orders) = watch::channel(Order::default());
        claims.insert(run.clone(), sender);
        let claims = self.clone();
        let run = run.clone();
        Some(Claim {
            claims,
            run,
            orders,
        })
    }

    /// Waits until nobody has the run.
    pub async fn released(&self, run: &RunId) {
        let held = lock(&self.0).get(run).map(watch::Sender::subscribe);
        let Some(mut orders) = held else { return };
        // The sender goes with the claim.
        while orders.changed().await.is_ok() {}
    }

    /// Tells whoever has the run; false if nobody has.
    pub fn order(&self, run: &RunId, change: impl FnOnce(&mut Order)) -> bool {
        let claims = lock(&self.0);
        claims
            .get(run)
            .map(|orders| orders.send_modify(change))
            .is_some()
    }
}

/// A run in somebody's hands; let go when it is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    run: RunId,
    orders: watch::Receiver<Order>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.claims.0).remove(&self.run);
    }
}

/// What a run holds while it is at work; dropped when it ends.
#[derive(Debug)]
pub struct Seat {
    /// What its steps want written with the journal.
    pub effects: Arc<Mutex<Effects>>,
    /// Further events for it.
    pub notes: Arc<Notes>,
    progress: Arc<Mutex<Progress>>,
    unsettled: Vec<u64>,
    claim: Claim,
    /// Lets the next run with the same `order_by` value begin when it is dropped.
    _turn: Option<oneshot::Sender<()>>,
    /// One of the flow's `runs_at_once_max`, and one of those looked at ahead.
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Seat {
    /// A seat for a run of the events `numbers`.
    pub fn new(progress: &Arc<Mutex<Progress>>, numbers: Vec<u64>, claim: Claim) -> Seat {
        Seat {
            effects: Arc::default(),
            notes: Arc::default(),
            progress: Arc::clone(progress),
            unsettled: numbers,
            claim,
            _turn: None,
            _permits: Vec::new(),
        }
    }

    /// The same, holding its turn in the order.
    #[must_use]
    pub fn with_turn(mut self, turn: Option<oneshot::Sender<()>>) -> Seat {
        self._turn = turn;
        self
    }

    /// What a person wants of the run; also after it was let go.
    pub fn orders(&self) -> watch::Receiver<Order> {
        self.claim.orders.clone()
    }

    /// Until when the run may tidy up, if it is to be cancelled.
    pub fn cancelled_until(&self) -> Option<Timestamp> {
        self.claim.orders.borrow().cancel
    }

    /// Waits until the run is to be cancelled.
    pub async fn cancelled(&self) {
        self.ordered(|order| order.cancel.is_some()).await;
    }

    /// Waits until the run is to end at once.
    pub async fn killed(&self) {
        self.ordered(|order| order.kill).await;
    }

    /// Waits until the run is to be let go of.
    pub async fn halted(&self) {
        self.ordered(|order| order.halt).await;
    }

    /// True if the run is to be let go of.
    pub fn is_halted(&self) -> bool {
        self.claim.orders.borrow().halt
    }

    async fn ordered(&self, wanted: impl Fn(&Order) -> bool) {
        let mut orders = self.claim.orders.clone();
        if orders.wait_for(wanted).await.is_err() {
            // Nobody can order anything any more.
            std::future::pending::<()>().await;
        }
    }

    /// # Errors
    /// The run is to end at once.
    pub fn unless_killed(&self) -> Result<(), Interrupted> {
        match self.claim.orders.borrow().kill {
            true => Err(Interrupted::Killed),
            false => Ok(()),
        }
    }

    /// The same, holding a permit more.
    pub fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self._permits.push(permit);
    }

    /// Moves what arrived into the journal; it is settled with the next flush.
    pub fn take_notes(&mut self, journal: &mut Journal, at: Timestamp) {
        let waiting = std::mem::take(&mut lock(&self.notes.inside).waiting);
        for (number, text) in waiting {
            journal.add(Entry::Note(at, text));
            self.unsettled.push(number);
        }
    }

    /// The same, and nothing more is taken after it.
    pub fn close_notes(&mut self, journal: &mut Journal, at: Timestamp) {
        lock(&self.notes.inside).closed = true;
        self.take_notes(journal, at);
    }

    /// What was flushed is on disk.
    pub fn settle(&mut self) {
        if !self.unsettled.is_empty() {
            lock(&self.progress).settle(&self.unsettled);
            self.unsettled.clear();
        }
    }
}

/// Who is next among runs with the same `order_by` value.
#[derive(Debug, Default)]
pub struct Turns {
    last: HashMap<String, oneshot::Receiver<()>>,
}

impl Turns {
    /// Takes the place after the last run with this value: what to wait for, and what to hold.
    pub fn take(&mut self, value: String) -> (Option<oneshot::Receiver<()>>, oneshot::Sender<()>) {
        if self.last.len() >= 1024 && self.last.len().is_power_of_two() {
            self.last
                .retain(|_, turn| turn.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        }
        let (turn, next) = oneshot::channel();
        (self.last.insert(value, next), turn)
    }
}
