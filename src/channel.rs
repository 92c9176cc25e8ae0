//! Channel: a named durable queue of events.
//!
//! Invariants: `push` answers only after the events are on disk; events are numbered from 1 without
//! gaps in the order in which they became durable; an event for a channel that does not exist goes
//! to `unrouted`, where it can be seen.

mod depth;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

pub(crate) use self::depth::LOOKED_AT;
use self::depth::Reservation;
use crate::claim::lock;
use crate::config::{ChannelSettings, UNROUTED};
use crate::event::{Incoming, Value};
use crate::store::{Batch, Promise, Pushed, Store, StoreError};
use crate::waits::Waits;

/// One channel, as the running server knows it.
#[derive(Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    store: Store,
    settings: RwLock<Arc<ChannelSettings>>,
    /// The number that the next event will get.
    tail: watch::Sender<u64>,
    /// Runs that wait were shown everything below this; changes wake the flows.
    offered: watch::Sender<u64>,
    has_flows: AtomicBool,
    /// The first event that some flow still has to look at.
    floor: AtomicU64,
    /// Flows skip events below this: a full channel dropped them.
    skip: AtomicU64,
    /// Events below the floor that the storm control of a flow holds.
    held: AtomicU64,
    /// Events that are on their way to the disk.
    coming: AtomicU64,
    dropped: AtomicU64,
    /// So many of them are told on disk.
    told_dropped: AtomicU64,
    paused: AtomicBool,
}

/// Events on their way to the disk; they have their place there, and their room in the channel.
#[derive(Debug)]
pub struct Coming {
    room: Option<Reservation>,
    promise: Promise,
}

impl From<Promise> for Coming {
    /// What comes without events.
    fn from(promise: Promise) -> Coming {
        let room = None;
        Coming { room, promise }
    }
}

/// Why a channel did not take events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// It holds as many as it may; come back later.
    #[error("channel `{channel}` is full: {depth_max} events are waiting")]
    Full {
        /// Which.
        channel: String,
        /// Its limit.
        depth_max: u64,
    },
    /// The store did not take them.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Channel {
    fn new(name: &str, settings: ChannelSettings, store: &Store) -> Result<Channel, StoreError> {
        let tail = store.tail(name) + 1;
        let (skip, dropped) = depth::lost(store, name)?;
        Ok(Channel {
            name: name.to_owned(),
            store: store.clone(),
            settings: RwLock::new(Arc::new(settings)),
            tail: watch::Sender::new(tail),
            offered: watch::Sender::new(tail),
            has_flows: AtomicBool::new(false),
            floor: AtomicU64::new(depth::looked_at(store, name)?),
            skip: AtomicU64::new(skip),
            held: AtomicU64::new(0),
            coming: AtomicU64::new(0),
            dropped: AtomicU64::new(dropped),
            told_dropped: AtomicU64::new(dropped),
            paused: AtomicBool::new(false),
        })
    }

    /// Its settings as they are now.
    pub fn settings(&self) -> Arc<ChannelSettings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_settings(&self, settings: ChannelSettings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The number that the next event will get.
    pub fn tail(&self) -> u64 {
        *self.tail.borrow()
    }

    /// Tells whoever holds it when the tail moves.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.tail.subscribe()
    }

    /// Flows may look at events below this: runs that wait were shown them first.
    pub fn offered(&self) -> u64 {
        *self.offered.borrow()
    }

    /// Tells whoever holds it when flows may look further.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.offered.subscribe()
    }

    /// Flows may look at everything below `next`.
    pub fn set_offered(&self, next: u64) {
        self.offered.send_if_modified(|offered| {
            let further = next > *offered;
            *offered = next.max(*offered);
            further
        });
    }

    /// Flows may look at nothing from `next` on until runs that waited before the start were shown
    /// it. Only before any flow looks.
    pub fn hold_back(&self, next: u64) {
        self.offered.send_replace(next);
    }

    /// True if a flow reacts to its events.
    pub fn has_flows(&self) -> bool {
        self.has_flows.load(Ordering::SeqCst)
    }

    /// Notes whether a flow reacts to its events.
    pub fn set_has_flows(&self, has_flows: bool) {
        self.has_flows.store(has_flows, Ordering::SeqCst);
    }

    /// The slowest flow has come this far.
    pub fn set_floor(&self, floor: u64) {
        self.floor.store(floor, Ordering::SeqCst);
    }

    /// So many events are held that were looked at.
    pub fn set_held(&self, held: u64) {
        self.held.store(held, Ordering::SeqCst);
    }

    /// Flows go on from here at the earliest.
    pub fn skip(&self) -> u64 {
        self.skip.load(Ordering::SeqCst)
    }

    /// Events that a full channel let go, in this process and before.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::SeqCst)
    }

    /// True while its flows begin no runs.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Stops or lets go on.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        // Whoever waits for events looks again.
        self.offered.send_modify(|_| {});
    }
}

/// All channels of a running server.
#[derive(Debug)]
pub struct Channels {
    store: Store,
    waits: Arc<Waits>,
    by_name: RwLock<BTreeMap<String, Arc<Channel>>>,
    /// Those that left the folder: one that comes back is the same to whoever holds it.
    gone: Mutex<BTreeMap<String, Arc<Channel>>>,
}

impl Channels {
    /// The channels of a house, standing where the store left them.
    ///
    /// # Errors
    /// What the store cannot read.
    pub fn open(
        store: Store,
        waits: Arc<Waits>,
        settings: &BTreeMap<String, ChannelSettings>,
    ) -> Result<Channels, StoreError> {
        let channels = Channels {
            store,
            waits,
            by_name: RwLock::default(),
            gone: Mutex::default(),
        };
        channels.reload(settings)?;
        Ok(channels)
    }

    /// Takes up changed settings and new channels; a channel that is gone from the folder keeps its
    /// events but can no longer be found.
    ///
    /// # Errors
    /// What the store cannot read.
    pub fn reload(&self, settings: &BTreeMap<String, ChannelSettings>) -> Result<(), StoreError> {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let mut gone = lock(&self.gone);
        by_name.retain(|name, channel| {
            let stays = settings.contains_key(name);
            if !stays {
                gone.insert(name.clone(), Arc::clone(channel));
            }
            stays
        });
        let paused = self.store.paused()?;
        for (name, settings) in settings {
            if let Some(channel) = by_name.get(name) {
                channel.set_settings(settings.clone());
                continue;
            }
            if let Some(channel) = gone.remove(name) {
                channel.set_settings(settings.clone());
                by_name.insert(name.clone(), channel);
                continue;
            }
            let channel = Channel::new(name, settings.clone(), &self.store)?;
            channel.set_paused(paused.contains(name));
            by_name.insert(name.clone(), Arc::new(channel));
        }
        Ok(())
    }

    /// The channel with exactly this name.
    pub fn get(&self, name: &str) -> Option<Arc<Channel>> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// All, sorted by name.
    pub fn all(&self) -> Vec<Arc<Channel>> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// The channel that a sender means by `asked`: an exact alias, an exact name, the last part of
    /// a path, that part ignoring case if only one fits; otherwise none.
    pub fn find(&self, asked: &str) -> Option<Arc<Channel>> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let has_alias =
            |channel: &&Arc<Channel>| channel.settings().alias.iter().any(|alias| alias == asked);
        if let Some(channel) = by_name
            .values()
            .find(has_alias)
            .or_else(|| by_name.get(asked))
        {
            return Some(Arc::clone(channel));
        }
        let last = asked.rsplit('/').next().unwrap_or(asked);
        if let Some(channel) = by_name.get(last) {
            return Some(Arc::clone(channel));
        }
        let lower = last.to_lowercase();
        let mut alike = by_name
            .values()
            .filter(|channel| channel.name.to_lowercase() == lower);
        alike.next().filter(|_| alike.next().is_none()).cloned()
    }

    /// Puts events into the channel that `asked` means, all or none, and answers when they are on
    /// disk. What nobody asked for goes to `unrouted` with the name in `meta.asked_channel`.
    ///
    /// # Errors
    /// The channel is full, or the store did not take them; nothing is kept then.
    pub async fn push(
        &self,
        asked: &str,
        mut events: Vec<Incoming>,
    ) -> Result<Vec<Pushed>, PushError> {
        let coming = self.hand_over(asked, &mut events, Batch::new()).await?;
        self.kept(coming).await
    }

    /// The same in one batch with what `batch` holds already, and in two parts: this answers when
    /// the batch has its place before the committer, [`Channels::kept`] when it is on disk.
    ///
    /// # Errors
    /// As [`Channels::push`]; nothing of the batch is kept then.
    pub async fn hand_over(
        &self,
        asked: &str,
        events: &mut [Incoming],
        mut batch: Batch,
    ) -> Result<Coming, PushError> {
        let channel = match self.find(asked) {
            Some(channel) => channel,
            None => {
                for event in events.iter_mut() {
                    event
                        .meta
                        .extra
                        .insert("asked_channel".to_owned(), Value::from(asked));
                }
                self.unrouted()?
            }
        };
        let room = channel.reserve(events.len() as u64)?;
        let window = channel.settings().dedup_window.0;
        for event in events.iter() {
            batch.push(&channel.name, event, Some(window))?;
        }
        let promise = self.store.hand_over(batch).await?;
        Ok(Coming {
            room: Some(room),
            promise,
        })
    }

    /// Waits until what was handed over is on disk, and wakes the flows for it.
    ///
    /// # Errors
    /// What the store did not take; nothing is kept then.
    pub async fn kept(&self, coming: Coming) -> Result<Vec<Pushed>, PushError> {
        let committed = coming.promise.kept().await?;
        self.announce(&committed.pushed);
        drop(coming.room);
        Ok(committed.pushed)
    }

    /// Wakes the flows for events that a commit put into channels.
    pub fn announce(&self, pushed: &[Pushed]) {
        for event in pushed.iter().filter(|event| !event.duplicate) {
            if let Some(channel) = self.get(&event.id.channel) {
                self.move_tail(&channel, event.id.number + 1);
            }
        }
    }

    /// Wakes the flows for events of commits whose answer got lost.
    pub fn catch_up(&self) {
        for channel in self.all() {
            self.move_tail(&channel, self.store.tail(&channel.name) + 1);
        }
    }

    fn move_tail(&self, channel: &Channel, next: u64) {
        channel.tail.send_if_modified(|tail| {
            let newer = next > *tail;
            *tail = next.max(*tail);
            newer
        });
        // Where somebody waits, the usher says when flows may look.
        let may_look = || channel.set_offered(channel.tail());
        self.waits.if_nobody(&channel.name, may_look);
    }

    fn unrouted(&self) -> Result<Arc<Channel>, PushError> {
        let missing = || StoreError::Damaged {
            what: UNROUTED.to_owned(),
            why: "it is gone".to_owned(),
        };
        self.get(UNROUTED).ok_or_else(|| missing().into())
    }
}
