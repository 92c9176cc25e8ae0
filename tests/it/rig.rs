//! A conductor in this process over a store that is killed at a chosen moment, again and again, with
//! targets that outlive every crash.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, watch};
use vigie::action::redmine::{self, Named};
use vigie::action::{Services, pagerduty};
use vigie::attendance::Attendance;
use vigie::backlog::Backlog;
use vigie::blackbox::BlackBox;
use vigie::channel::Channels;
use vigie::claim::Claims;
use vigie::clock::Clock;
use vigie::config::ChannelSettings;
use vigie::engine::Engine;
use vigie::event::{Incoming, Meta, RunId, Value};
use vigie::flow::{self, Flow};
use vigie::host;
use vigie::journal::Journal;
use vigie::metrics::Metrics;
use vigie::run::Conductor;
use vigie::standin::redmine::KEY;
use vigie::standin::{PagerDuty, Redmine, Reply, Seen, Server};
use vigie::store::{Failpoints, Mishap, Options, Point, Store};
use vigie::thinkers::Thinkers;
use vigie::versions::Versions;
use vigie::waits::Waits;

use crate::house::{PATIENCE, wait_for};

/// Channels that every rig has.
const CHANNELS: &[&str] = &[
    "ack", "alert", "audit", "jobs", "mixed", "never", "signal", "unrouted",
];
/// The moments of a commit.
pub const POINTS: [Point; 4] = [
    Point::BeforeApply,
    Point::BeforeSync,
    Point::AfterSync,
    Point::BeforeAnswer,
];

/// Targets that outlive every crash, and a folder.
pub struct Rig {
    /// Where the targets live.
    pub outside: Runtime,
    target: Server,
    /// A Redmine.
    pub tickets: Redmine,
    /// A PagerDuty.
    pub pager: PagerDuty,
    /// The time, if it is the test's.
    pub clock: Clock,
    folder: TempDir,
    thinkers: Thinkers,
}

/// One life of the process.
pub struct Life {
    /// Dies with it.
    pub inside: Runtime,
    /// What runs share.
    pub conductor: Arc<Conductor>,
    /// Flows at their channels.
    pub attendance: Arc<Attendance>,
    failpoints: Failpoints,
    doomed: AtomicBool,
    roused: Mutex<Option<mpsc::UnboundedReceiver<RunId>>>,
    stop: watch::Sender<bool>,
}

impl Rig {
    /// With the system's clock.
    pub fn new() -> Rig {
        Rig::at(Clock::system())
    }

    /// With this clock.
    pub fn at(clock: Clock) -> Rig {
        let outside = Runtime::new().unwrap();
        let answer = |_: &Seen| Reply::json(200, &serde_json::json!({ "ok": true }));
        let target = outside.block_on(Server::start(answer)).unwrap();
        let tickets = outside.block_on(Redmine::start()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pager = outside.block_on(PagerDuty::start()).unwrap();
        std::fs::write(folder.path().join("key"), KEY).unwrap();
        std::fs::write(folder.path().join("routing"), "0123456789abcdef".repeat(2)).unwrap();
        let thinkers = Thinkers::start(Engine::new(host::words())).unwrap();
        Rig {
            outside,
            target,
            tickets,
            pager,
            clock,
            folder,
            thinkers,
        }
    }

    /// A flow at `alert`, or at another channel: `mixed/see`.
    pub fn flow(&self, name: &str, script: &str, toml: &str) {
        let script = script.replace("TARGET", &self.target.url());
        let name = match name.contains('/') {
            true => name.to_owned(),
            false => format!("alert/{name}"),
        };
        let file = |extension| self.folder.path().join(format!("flows/{name}.{extension}"));
        std::fs::create_dir_all(file("rhai").parent().unwrap()).unwrap();
        std::fs::write(file("rhai"), script).unwrap();
        std::fs::write(file("toml"), toml).unwrap();
    }

    /// Where the target listens.
    pub fn url(&self) -> String {
        self.target.url()
    }

    /// Where its store lies.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn flows(&self) -> BTreeMap<String, Arc<Flow>> {
        let root = self.folder.path().join("flows");
        let entries = |folder: std::path::PathBuf| {
            let entries = std::fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().path())
        };
        let scripts = entries(root.clone()).flat_map(entries);
        let scripts = scripts.filter(|file| file.extension().is_some_and(|found| found == "rhai"));
        let load = |file: std::path::PathBuf| {
            let inside = file.strip_prefix(&root).unwrap().with_extension("");
            let path = inside.to_str().unwrap().to_owned();
            let (root, key) = (root.clone(), path.clone());
            let job = move |engine: &Engine| flow::load(engine, &root, Path::new("flows"), &path);
            (key, Arc::new(self.thinkers.call(job).unwrap().unwrap()))
        };
        scripts.map(load).collect()
    }

    fn services(&self) -> Services {
        let settings = redmine::Settings {
            endpoint: self.tickets.url(),
            key_file: Some("key".into()),
            // By number: by name it is known only once an issue shows it.
            marker_field: Some(Named("1".to_owned())),
            project: Some(Named("test".to_owned())),
            ..redmine::Settings::default()
        };
        let redmine = redmine::Service::prepare(settings, self.folder.path()).unwrap();
        let settings = pagerduty::Settings {
            endpoint: self.pager.url(),
            routing_key_file: Some("routing".into()),
            ..pagerduty::Settings::default()
        };
        let pagerduty = pagerduty::Service::prepare(settings, self.folder.path()).unwrap();
        Services {
            redmine: Some(redmine),
            pagerduty: Some(pagerduty),
            ..Services::default()
        }
    }

    /// Begins a life whose `nth` commit is its last, if one is given.
    pub fn live(&self, fatal: Option<(u64, Point)>) -> Life {
        let failpoints = Failpoints::new();
        let options = Options {
            ballast_bytes: 0,
            low_water_bytes: 0,
            failpoints: failpoints.clone(),
            clock: self.clock.clone(),
            ..Options::default()
        };
        // A script of the last life may still be thinking, with the store in its hands.
        let store = wait_for("the store of the last life", || {
            Store::open(&self.store(), options.clone()).ok()
        });
        let settings = |name: &&str| ((*name).to_owned(), ChannelSettings::default());
        let waits = Arc::new(Waits::default());
        let settings = CHANNELS.iter().map(settings).collect();
        let channels = Channels::open(store.clone(), Arc::clone(&waits), &settings).unwrap();
        let (woken, roused) = mpsc::unbounded_channel();
        let (blackbox, _) = BlackBox::open(&self.folder.path().join("blackbox")).unwrap();
        let (stop, stopping) = watch::channel(false);
        let conductor = Arc::new(Conductor {
            channels,
            thinkers: self.thinkers.clone(),
            services: RwLock::new(Arc::new(self.services())),
            secrets: RwLock::default(),
            clock: self.clock.clone(),
            blackbox,
            metrics: Metrics::default(),
            claims: Claims::default(),
            versions: Versions::default(),
            waits,
            backlog: Backlog::default(),
            woken,
            alarms: Notify::new(),
            kept_marks: Mutex::default(),
            stop: stopping,
            store,
        });
        let inside = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (working, _) = mpsc::channel(1);
        let attendance = Arc::new(Attendance::new(Arc::clone(&conductor), working));
        let life = Life {
            inside,
            conductor,
            attendance,
            failpoints,
            doomed: AtomicBool::new(false),
            roused: Mutex::new(Some(roused)),
            stop,
        };
        if let Some((nth, point)) = fatal {
            life.doom(nth, point);
        }
        life
    }

    /// What the target saw on a path, by key.
    pub fn seen(&self, path: &str) -> BTreeMap<String, Vec<Seen>> {
        let mut by_key: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for seen in self
            .target
            .requests()
            .into_iter()
            .filter(|seen| seen.path == path)
        {
            let key = seen.header("idempotency-key").unwrap().to_owned();
            by_key.entry(key).or_default().push(seen);
        }
        by_key
    }
}

impl Life {
    /// Attends to the flows; an error is the crash.
    pub fn attend(&self, rig: &Rig) -> bool {
        let flows = rig.flows();
        let roused = self.roused.lock().unwrap().take().unwrap();
        self.inside
            .block_on(self.attendance.take_over(&flows, roused))
            .is_ok()
    }

    /// Pushes events `{n}`; how many were acknowledged.
    pub fn push(&self, numbers: Range<i64>) -> i64 {
        let mut acknowledged = 0;
        for n in numbers {
            let body = Value::from([
                ("n", Value::Int(n)),
                ("host", Value::from(format!("h{}", n % 2))),
            ]);
            acknowledged += i64::from(self.tell("alert", body));
        }
        acknowledged
    }

    /// Pushes one event; true if it was acknowledged.
    pub fn tell(&self, channel: &str, body: Value) -> bool {
        let event = Incoming {
            body,
            meta: Meta::new("test", self.conductor.clock.now()),
        };
        let pushed = self.conductor.channels.push(channel, vec![event]);
        self.inside.block_on(pushed).is_ok()
    }

    /// Lets the `nth` commit from now on be its last.
    pub fn doom(&self, nth: u64, point: Point) {
        self.failpoints.arm(nth, point, Mishap::Kill);
        self.doomed.store(true, Ordering::SeqCst);
    }

    /// Lets the disk fail at the `nth` commit from now on.
    pub fn hurt(&self, nth: u64, point: Point) {
        self.failpoints.arm(nth, point, Mishap::Fails);
    }

    /// True if its last commit has been.
    pub fn is_dead(&self) -> bool {
        self.doomed.load(Ordering::SeqCst) && !self.failpoints.is_armed()
    }

    /// The journal of a run.
    pub fn run(&self, id: &str) -> Option<Journal> {
        let run: RunId = id.parse().unwrap();
        self.conductor.journal(&run).unwrap()
    }

    /// Waits until all events of `alert` have a finished run of every flow, or until death.
    pub fn drain(&self, is_over: impl Fn(&Life) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        loop {
            if is_over(self) {
                return true;
            }
            if self.is_dead() {
                return false;
            }
            assert!(
                Instant::now() < until,
                "nothing goes on: {:?}",
                self.conductor.store.live_runs()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// True if all runs of a flow for the first events of `alert` have ended.
    pub fn all_ended(&self, flow: &str, events: i64) -> bool {
        (1..=events).all(|n| self.ended(&format!("alert/{n}/{flow}")))
    }

    /// True if the run has.
    pub fn ended(&self, run: &str) -> bool {
        let run: RunId = run.parse().unwrap();
        self.conductor
            .store
            .end_of(&run)
            .is_ok_and(|end| end.is_some())
    }

    /// What a server does five times a second.
    pub fn keep_cursors(&self) {
        let _ = self.inside.block_on(self.attendance.keep_cursors());
        let _ = self.inside.block_on(self.conductor.keep_marks());
    }

    /// Ends without a goodbye.
    pub fn end(self) {
        self.stop.send_replace(true);
        self.inside.shutdown_timeout(Duration::from_secs(10));
    }
}
