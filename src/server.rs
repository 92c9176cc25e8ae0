//! The server: starts everything in order, watches it, drains and stops.
//!
//! Invariants: nothing listens before the store, the flows and the runs that were left are there;
//! a new version of the house is taken up whole or not at all; stopping loses nothing, because
//! whatever is cut goes on after the next start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::action::Services;
use crate::api;
use crate::attendance::Attendance;
use crate::backlog::Backlog;
use crate::blackbox::{BlackBox, Struck};
use crate::channel::Channels;
use crate::claim::Claims;
use crate::clock::Clock;
use crate::config::House;
use crate::connect::services;
use crate::doors;
use crate::engine::Engine;
use crate::error::{Diagnostic, Exit};
use crate::event::RunId;
use crate::host;
use crate::intake::Intake;
use crate::journal::{Entry, Journal};
use crate::listener::{self, Listener};
use crate::metrics::Metrics;
use crate::patrol;
use crate::run::Conductor;
use crate::state::{CannotStart, State, load};
use crate::store::{Batch, Options, Store, StoreError};
use crate::thinkers::Thinkers;
use crate::versions::Versions;
use crate::waits::Waits;

/// How long callers wait at most for what is in the spool at start.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(1);
/// How long runs may take to come to a place where they can stop.
pub const DRAIN_SECONDS_MAX: Duration = Duration::from_secs(30);

/// A server that runs.
pub struct Server {
    /// Where it can be reached.
    pub address: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    worked: mpsc::Receiver<()>,
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
        let opened = open(&house, thinkers, services, stopping.clone()).await?;
        let (conductor, struck, woken) = opened;
        let conductor = Arc::new(conductor);
        // The address is taken before runs begin to act: of two servers only one does anything.
        let listener = Listener::bind(&house.settings.http, tls).await;
        let listener = listener.map_err(|mistake| CannotStart::one(mistake, Exit::Unavailable))?;
        let address = listener.address().unwrap_or(house.settings.http.listen);
        note_strikes(&conductor, struck).await?;
        let (working, worked) = mpsc::channel(1);
        let attendance = Arc::new(Attendance::new(Arc::clone(&conductor), working.clone()));
        doors::recall(&conductor, &house.sources);
        let going_on = attendance.take_over(&house.flows, woken).await?;
        let (from, listening) = ((settings, house), listener.changer());
        let state = Arc::new(State::new(conductor, attendance, from, listening));
        let mut intake = Intake::new(state.house().settings.spool_folder());
        // What the last process had taken in and not yet removed is met before anything newer.
        let first = intake.look(&state.conductor.channels);
        let _ = tokio::time::timeout(FIRST_LOOK_MAX, first).await;
        state.doors.attend(&state.house().sources).await;
        let mut tasks = begin_tasks(&state, listener, intake, &stopping);
        tasks.extend(going_on);
        patrol::begin(&state, working, stopping);
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
        self.state.doors.ended().await;
        if tokio::time::timeout(DRAIN_SECONDS_MAX, self.state.attendance.ended())
            .await
            .is_err()
        {
            tracing::warn!("some flows did not stop in time; they go on after the next start");
        }
        let State { conductor, .. } = &*self.state;
        self.state.attendance.release();
        if tokio::time::timeout(DRAIN_SECONDS_MAX, self.worked.recv())
            .await
            .is_err()
        {
            tracing::warn!("some actions did not end in time; they go on after the next start");
        }
        if let Err(why) = self.state.attendance.keep_cursors().await {
            tracing::warn!("cursors were not kept, some events will be looked at again: {why}");
        }
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        tracing::info!(events = conductor.store.counts().events, "stopped");
    }
}

/// A conductor, the runs that thought when the last process died, and those that are woken.
type Opened = (Conductor, Vec<Struck>, mpsc::UnboundedReceiver<RunId>);

async fn open(
    house: &House,
    thinkers: Thinkers,
    services: Services,
    stop: watch::Receiver<bool>,
) -> Result<Opened, CannotStart> {
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
    let (woken, woken_receiver) = mpsc::unbounded_channel();
    let waits = Arc::new(Waits::default());
    let conductor = Conductor {
        channels: Channels::open(store.clone(), Arc::clone(&waits), &house.channels)?,
        store,
        thinkers,
        services: RwLock::new(Arc::new(services)),
        secrets: RwLock::new(Arc::new(house.secrets.clone())),
        clock: Clock::system(),
        blackbox,
        metrics: Metrics::default(),
        claims: Claims::default(),
        versions: Versions::default(),
        waits,
        backlog: Backlog::default(),
        woken,
        alarms: Notify::new(),
        kept_marks: Mutex::default(),
        stop,
    };
    Ok((conductor, struck, woken_receiver))
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
