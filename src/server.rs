//! The server: starts everything in order, watches it, drains and stops.
//!
//! Invariants: nothing listens before the store, the flows and the runs that were left are there;
//! a new version of the house is taken up whole or not at all; stopping loses nothing, because
//! whatever is cut goes on after the next start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::action::Services;
use crate::api;
use crate::attendance::Attendance;
use crate::blackbox::{BlackBox, Struck};
use crate::channel::Channels;
use crate::claim::Claims;
use crate::clock::Clock;
use crate::config::House;
use crate::connect::services;
use crate::engine::Engine;
use crate::error::{Diagnostic, Exit};
use crate::event::RunId;
use crate::host;
use crate::intake::Intake;
use crate::journal::{Entry, Journal};
use crate::listener::{self, Listener};
use crate::metrics::Metrics;
use crate::run::Conductor;
use crate::source::http::{Behind, Door};
use crate::store::{Batch, Options, Store, StoreError};
use crate::thinkers::Thinkers;
use crate::versions::Versions;

/// How often cursors are written; after a crash at most this much is looked at again.
const KEEP_EVERY: Duration = Duration::from_millis(200);
/// How often what is older than its retention is removed.
const RETAIN_EVERY: Duration = Duration::from_secs(60);
/// Events or runs that are removed from one channel at a time.
const RETAIN_MAX: usize = 10_000;
/// How long callers wait at most for what is in the spool at start.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(1);
/// How long runs may take to come to a place where they can stop.
pub const DRAIN_SECONDS_MAX: Duration = Duration::from_secs(30);

/// Why the server does not start.
#[derive(Debug)]
pub struct CannotStart {
    /// Everything that is wrong.
    pub mistakes: Vec<Diagnostic>,
    /// What the process says.
    pub exit: Exit,
}

impl CannotStart {
    fn one(mistake: Diagnostic, exit: Exit) -> CannotStart {
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

/// A server that runs.
pub struct Server {
    /// Where it can be reached.
    pub address: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    worked: mpsc::Receiver<()>,
}

/// What the doors and the management API share.
pub struct State {
    /// Runs, channels and the store.
    pub conductor: Arc<Conductor>,
    /// Flows at their channels.
    pub attendance: Attendance,
    /// The settings file that was named, for reloading.
    pub settings: Option<PathBuf>,
    /// The house as it is now.
    pub house: RwLock<Arc<House>>,
    /// Doors and who may come in.
    pub door: Arc<Door>,
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

impl Server {
    /// Starts a server for the house that `settings` names.
    ///
    /// # Errors
    /// Everything that is wrong with the house; a store that cannot be had; an address that is
    /// taken. Nothing is left running then.
    pub async fn start(settings: Option<PathBuf>) -> Result<Server, CannotStart> {
        let no_threads = |why| {
            CannotStart::one(
                Diagnostic::new(format!("cannot start threads: {why}")),
                Exit::Bug,
            )
        };
        let thinkers = Thinkers::start(Engine::new(host::words())).map_err(no_threads)?;
        let house = load(settings.clone(), thinkers.clone()).await?;
        let services = services(&house)?;
        let tls = listener::tls(&house.settings.http).map_err(|mistake| vec![mistake])?;
        let (stop, stopping) = watch::channel(false);
        let (conductor, struck) = open(&house, thinkers, services, stopping.clone()).await?;
        let conductor = Arc::new(conductor);
        // The address is taken before runs begin to act: of two servers only one does anything.
        let listener = Listener::bind(&house.settings.http, tls).await;
        let listener = listener.map_err(|mistake| CannotStart::one(mistake, Exit::Unavailable))?;
        let address = listener.address().unwrap_or(house.settings.http.listen);
        note_strikes(&conductor, struck).await?;
        let (working, worked) = mpsc::channel(1);
        let attendance = Attendance::new(Arc::clone(&conductor), working);
        let left = conductor.store.live_runs()?;
        attendance.attend(&house.flows, left).await?;
        let state = Arc::new(State::new(conductor, attendance, settings, house));
        let mut intake = Intake::new(state.house().settings.spool_folder());
        // What the last process had taken in and not yet removed is met before anything newer.
        let first = intake.look(&state.conductor.channels);
        let _ = tokio::time::timeout(FIRST_LOOK_MAX, first).await;
        let tasks = begin_tasks(&state, listener, intake, &stopping);
        tracing::info!(%address, "ready");
        Ok(Server {
            address,
            state,
            stop,
            tasks,
            worked,
        })
    }

    /// What the doors and the management API share.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Stops: no more callers, runs come to a place where they can stop, everything is flushed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(DRAIN_SECONDS_MAX, self.state.attendance.ended())
            .await
            .is_err()
        {
            tracing::warn!("some flows did not stop in time; they go on after the next start");
        }
        let State { conductor, .. } = &*self.state;
        if let Err(why) = self.state.attendance.keep_cursors().await {
            tracing::warn!("cursors were not kept, some events will be looked at again: {why}");
        }
        self.state.attendance.release();
        if tokio::time::timeout(DRAIN_SECONDS_MAX, self.worked.recv())
            .await
            .is_err()
        {
            tracing::warn!("some actions did not end in time; they go on after the next start");
        }
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        tracing::info!(events = conductor.store.counts().events, "stopped");
    }
}

impl State {
    fn new(
        conductor: Arc<Conductor>,
        attendance: Attendance,
        settings: Option<PathBuf>,
        house: House,
    ) -> State {
        let behind: Arc<dyn Behind> = Arc::clone(&conductor) as Arc<dyn Behind>;
        let door = Arc::new(Door {
            behind,
            access: RwLock::new(Arc::new(Access::new(&house.settings.token))),
            body_bytes_max: house.settings.http.body_bytes_max,
        });
        State {
            conductor,
            attendance,
            settings,
            house: RwLock::new(Arc::new(house)),
            door,
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
        let store_failed = |why: StoreError| vec![Diagnostic::new(why.to_string())];
        self.conductor
            .channels
            .reload(&house.channels)
            .map_err(store_failed)?;
        self.attendance
            .attend(&house.flows, Vec::new())
            .await
            .map_err(store_failed)?;
        put(&self.conductor.services, Arc::new(services));
        put(&self.conductor.secrets, Arc::new(house.secrets.clone()));
        put(
            &self.door.access,
            Arc::new(Access::new(&house.settings.token)),
        );
        put(&self.house, Arc::new(house));
        tracing::info!("took up the changed house");
        Ok(())
    }

    async fn keep(self: Arc<State>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(KEEP_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(why) = self.attendance.keep_cursors().await {
                tracing::warn!("cursors were not kept: {why}");
            }
        }
    }

    async fn retain(self: Arc<State>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RETAIN_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(why) = self.retain_once().await {
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

async fn load(settings: Option<PathBuf>, thinkers: Thinkers) -> Result<House, CannotStart> {
    let loading = tokio::task::spawn_blocking(move || House::load(settings.as_deref(), &thinkers));
    let loaded = loading
        .await
        .map_err(|why| CannotStart::one(Diagnostic::new(why.to_string()), Exit::Bug))?;
    loaded.map_err(|mistakes| CannotStart {
        mistakes,
        exit: Exit::Configuration,
    })
}

async fn open(
    house: &House,
    thinkers: Thinkers,
    services: Services,
    stop: watch::Receiver<bool>,
) -> Result<(Conductor, Vec<Struck>), CannotStart> {
    let folder = house.settings.data.clone();
    let options = Options {
        disk_max: house.settings.store.disk_max,
        ..Options::default()
    };
    let path = folder.clone();
    let opening = tokio::task::spawn_blocking(move || Store::open(&path, options));
    let store = opening
        .await
        .map_err(|why| CannotStart::one(Diagnostic::new(why.to_string()), Exit::Bug))??;
    let cannot = |why| {
        CannotStart::one(
            Diagnostic::new(format!("cannot open the black box: {why}")),
            Exit::Unavailable,
        )
    };
    let (blackbox, struck) = BlackBox::open(&folder.join("blackbox")).map_err(cannot)?;
    let conductor = Conductor {
        channels: Channels::open(store.clone(), &house.channels)?,
        store,
        thinkers,
        services: RwLock::new(Arc::new(services)),
        secrets: RwLock::new(Arc::new(house.secrets.clone())),
        clock: Clock::system(),
        blackbox,
        metrics: Metrics::default(),
        claims: Claims::default(),
        versions: Versions::default(),
        stop,
    };
    Ok((conductor, struck))
}

/// A run that was thinking when the process died has one strike. One that was not on disk yet gets
/// its journal by it, and with that its place among the runs that are taken up.
async fn note_strikes(conductor: &Conductor, struck: Vec<Struck>) -> Result<(), StoreError> {
    for Struck { run, position } in struck {
        if is_over(conductor, &run) {
            continue;
        }
        tracing::warn!(%run, position, "the process died while this run was thinking");
        let mut journal = Journal::addition_to(run.clone());
        journal.add(Entry::Strike(conductor.clock.now(), position));
        let mut batch = Batch::new();
        if let Ok(record) = journal.take_pending() {
            batch.append(&run, record);
        }
        conductor.store.commit(batch).await?;
    }
    Ok(())
}

fn is_over(conductor: &Conductor, run: &RunId) -> bool {
    let ended = conductor.store.end_of(run).ok().flatten().is_some();
    let gone = conductor.store.event(&run.event()).ok().flatten().is_none();
    ended || gone
}

fn begin_tasks(
    state: &Arc<State>,
    listener: Listener,
    intake: Intake,
    stop: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let router = api::router(Arc::clone(state));
    vec![
        tokio::spawn(listener.serve(router, stop.clone())),
        tokio::spawn(Arc::clone(state).keep(stop.clone())),
        tokio::spawn(Arc::clone(state).retain(stop.clone())),
        tokio::spawn(intake.run(Arc::clone(&state.conductor), stop.clone())),
    ]
}
