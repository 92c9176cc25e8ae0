//! What the doors, the management API and the server's own tasks share: runs, flows, the house.
//!
//! Invariant: a new version of the house is taken up whole or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::access::Access;
use crate::attendance::Attendance;
use crate::channel::Channels;
use crate::clock::Clock;
use crate::config::House;
use crate::connect::services;
use crate::doors::Doors;
use crate::error::{Diagnostic, Exit};
use crate::listener::Change;
use crate::metrics::Metrics;
use crate::run::Conductor;
use crate::source::http::{Behind, Door};
use crate::stop::told;
use crate::store::StoreError;
use crate::thinkers::Thinkers;

/// How often cursors are written; after a crash at most this much is looked at again.
const KEEP_EVERY: Duration = Duration::from_millis(200);
/// How often what is older than its retention is removed; a round that finds nothing writes nothing.
const RETAIN_EVERY: Duration = Duration::from_secs(10);
/// Events or runs that are removed from one channel in one round: more than a channel can take in
/// meanwhile, and a round that nobody waits for.
const RETAIN_MAX: usize = 1_000_000;

/// Why the server does not start.
#[derive(Debug)]
pub struct CannotStart {
    /// Everything that is wrong.
    pub mistakes: Vec<Diagnostic>,
    /// What the process says.
    pub exit: Exit,
}

impl CannotStart {
    /// For one reason.
    pub(crate) fn one(mistake: Diagnostic, exit: Exit) -> CannotStart {
        CannotStart {
            mistakes: vec![mistake],
            exit,
        }
    }
}

impl From<Vec<Diagnostic>> for CannotStart {
    fn from(mistakes: Vec<Diagnostic>) -> CannotStart {
        CannotStart {
            mistakes,
            exit: Exit::Configuration,
        }
    }
}

impl From<StoreError> for CannotStart {
    fn from(error: StoreError) -> CannotStart {
        CannotStart::one(Diagnostic::new(error.to_string()), error.exit())
    }
}

/// What the doors and the management API share.
pub struct State {
    /// Runs, channels and the store.
    pub conductor: Arc<Conductor>,
    /// Flows at their channels.
    pub attendance: Arc<Attendance>,
    /// The doors that channels open by themselves.
    pub doors: Doors,
    /// The settings file that was named, for reloading.
    pub settings: Option<PathBuf>,
    /// The house as it is now.
    pub house: RwLock<Arc<House>>,
    /// Doors and who may come in.
    pub door: Arc<Door>,
    /// How many things are wrong in the store, once that was found.
    pub damage: OnceLock<usize>,
    /// Where the listener hears of another address or certificate.
    pub(crate) listening: mpsc::Sender<Change>,
}

impl Behind for Conductor {
    fn channels(&self) -> &Channels {
        &self.channels
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}

impl State {
    /// A server's shared state, with doors that let nobody in yet but who the settings name.
    pub(crate) fn new(
        conductor: Arc<Conductor>,
        attendance: Arc<Attendance>,
        (settings, house): (Option<PathBuf>, House),
        listening: mpsc::Sender<Change>,
    ) -> State {
        let behind: Arc<dyn Behind> = Arc::clone(&conductor) as Arc<dyn Behind>;
        let door = Arc::new(Door {
            behind,
            access: RwLock::new(Arc::new(Access::new(&house.settings.token))),
            body_bytes_max: AtomicUsize::new(house.settings.http.body_bytes_max),
        });
        State {
            doors: Doors::new(Arc::clone(&conductor)),
            conductor,
            attendance,
            settings,
            house: RwLock::new(Arc::new(house)),
            door,
            damage: OnceLock::new(),
            listening,
        }
    }

    /// The house as it is now.
    pub fn house(&self) -> Arc<House> {
        Arc::clone(&self.house.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up a changed house. With any mistake in it the old one stays.
    ///
    /// # Errors
    /// Every mistake.
    pub async fn reload(&self) -> Result<(), Vec<Diagnostic>> {
        let thinkers = self.conductor.thinkers.clone();
        let house = load(self.settings.clone(), thinkers)
            .await
            .map_err(|cannot| cannot.mistakes)?;
        let services = services(&house)?;
        let before = self.house();
        let change = Change::prepare(&before.settings.http, &house.settings.http)
            .await
            .map_err(|mistake| vec![mistake])?;
        let store_failed = |why: StoreError| vec![Diagnostic::new(why.to_string())];
        self.conductor
            .channels
            .reload(&house.channels)
            .map_err(store_failed)?;
        self.attendance
            .attend(&house.flows, BTreeMap::new())
            .await
            .map_err(store_failed)?;
        put(&self.conductor.services, Arc::new(services));
        put(&self.conductor.secrets, Arc::new(house.secrets.clone()));
        self.doors.attend(&house.sources).await;
        put(
            &self.door.access,
            Arc::new(Access::new(&house.settings.token)),
        );
        let bytes_max = house.settings.http.body_bytes_max;
        self.door.body_bytes_max.store(bytes_max, Ordering::Relaxed);
        // Fails only when the server is stopping.
        let _ = self.listening.send(change).await;
        for key in before.settings.changed_for_the_next_start(&house.settings) {
            tracing::warn!("{key} was changed: it is taken up at the next start");
        }
        put(&self.house, Arc::new(house));
        tracing::info!("took up the changed house");
        Ok(())
    }

    /// Writes the flows' cursors now and then, until the server stops.
    pub(crate) async fn keep(self: Arc<State>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(KEEP_EVERY) => {}
                () = told(&mut stop) => return,
            }
            if let Err(why) = self.attendance.keep_cursors().await {
                tracing::warn!("cursors were not kept: {why}");
            }
            if let Err(why) = self.conductor.keep_marks().await {
                tracing::warn!("what was shown to waiting runs was not written down: {why}");
            }
        }
    }

    /// Removes what is past its retention now and then, until the server stops.
    pub(crate) async fn retain(self: Arc<State>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RETAIN_EVERY) => {}
                () = told(&mut stop) => return,
            }
            let retained = tokio::select! {
                retained = self.retain_once() => retained,
                () = told(&mut stop) => return,
            };
            if let Err(why) = retained {
                tracing::warn!("could not remove what is past its retention: {why}");
            }
        }
    }

    /// Removes what is older than its retention; gives how many things went.
    ///
    /// # Errors
    /// What the store could not do.
    pub async fn retain_once(&self) -> Result<u64, StoreError> {
        let now = self.conductor.clock.now();
        let before = |age: Duration| now.checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
        let mut removed = 0;
        for channel in self.conductor.channels.all() {
            let moment = before(channel.settings().retention.0);
            removed += self
                .conductor
                .store
                .retain_events(&channel.name, moment, RETAIN_MAX)
                .await?;
        }
        let moment = before(self.house().settings.run.retention.0);
        removed += self.conductor.store.retain_runs(moment, RETAIN_MAX).await?;
        Ok(removed)
    }
}

fn put<T>(slot: &RwLock<T>, value: T) {
    *slot.write().unwrap_or_else(PoisonError::into_inner) = value;
}

/// The house that `settings` names.
///
/// # Errors
/// Every mistake in it.
pub(crate) async fn load(
    settings: Option<PathBuf>,
    thinkers: Thinkers,
) -> Result<House, CannotStart> {
    let loading = tokio::task::spawn_blocking(move || House::load(settings.as_deref(), &thinkers));
    let loaded = loading
        .await
        .map_err(|why| CannotStart::one(Diagnostic::new(why.to_string()), Exit::Bug))?;
    loaded.map_err(|mistakes| CannotStart {
        mistakes,
        exit: Exit::Configuration,
    })
}
