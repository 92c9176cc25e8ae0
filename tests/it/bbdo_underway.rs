//! Events of a Broker on their way to the disk: the next ones are taken meanwhile, and whatever goes
//! wrong with some of them, all are kept once, in order, and acknowledged after that.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use vigie::action::http::Client;
use vigie::clock::Clock;
use vigie::event::{Event, EventId, Incoming, Value};
use vigie::source::bbdo::frame::{Frame, Label};
use vigie::source::bbdo::session::UNACKNOWLEDGED_MAX;
use vigie::source::block::Page;
use vigie::source::context::{Delivery, Handing, Keeper, Keeping, NotKept};
use vigie::source::{Context, Plan, plan};
use vigie::store::{Batch, Failpoints, Mishap, Options, Point, Store, StoreError};

use crate::bbdo::{ALL, Broker, greeting, packets, status};
use crate::house::wait_for;
use crate::peers::free_port;
use crate::store::options;

const WAIT_MAX: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_millis(200);
/// Hosts are told of now and then, each before its first status.
const STATUSES_PER_HOST: u64 = 30;

/// A door for Brokers that stands open, and the keeper behind it.
struct Standing {
    port: u16,
    stop: watch::Sender<bool>,
    ended: tokio::task::JoinHandle<()>,
    outside: Runtime,
}

impl Standing {
    fn open(keeper: Arc<dyn Keeper>) -> Standing {
        let port = free_port();
        let plan = door(port);
        let (stop, stopping) = watch::channel(false);
        let context = Context::new(keeper, stopping);
        let outside = Runtime::new().unwrap();
        let ended = outside.spawn(async move {
            plan.door.recall(context.pieces().unwrap());
            plan.door.run(&context).await.unwrap();
        });
        Standing {
            port,
            stop,
            ended,
            outside,
        }
    }

    /// Tells the door to close, and waits until it did.
    fn close(self) {
        self.stop.send_replace(true);
        let ended = async { tokio::time::timeout(WAIT_MAX, self.ended).await };
        self.outside.block_on(ended).unwrap().unwrap();
    }
}

fn door(port: u16) -> Plan {
    let statuses = ALL.replace(
        "accepted_elements = [\"*\"]",
        "accepted_elements = [\"host_status\", \"service_status\"]",
    );
    let text = format!("[[source]]\nkind = \"bbdo\"\nlisten = \"127.0.0.1:{port}\"\n{statuses}");
    let tables: toml::Table = text.parse().unwrap();
    let table = tables["source"].as_array().unwrap()[0].as_table().unwrap();
    let page = Page {
        channel: "centreon",
        text: &text,
        shown: Path::new("centreon.toml"),
        base: Path::new(""),
    };
    plan::read(page, std::slice::from_ref(table))
        .unwrap()
        .remove(0)
}

fn checked_at(event: &Incoming) -> u64 {
    match event.body.get("last_check") {
        Some(Value::Int(time)) => *time as u64,
        _ => panic!("{event:?}"),
    }
}

fn time_of(event: &Event) -> i64 {
    match event.body.get("last_check") {
        Some(Value::Int(time)) => *time,
        _ => panic!("{event:?}"),
    }
}

/// Keeps nothing, and answers a delivery when the test says so.
struct Holding {
    clock: Clock,
    /// What was handed over, each with the times of its events.
    handed: watch::Sender<Vec<Vec<u64>>>,
    /// The places of those that may be answered.
    let_go: watch::Sender<BTreeSet<usize>>,
}

impl Holding {
    fn new() -> Arc<Holding> {
        Arc::new(Holding {
            clock: Clock::system(),
            handed: watch::Sender::new(Vec::new()),
            let_go: watch::Sender::new(BTreeSet::new()),
        })
    }

    fn events(&self) -> Vec<u64> {
        self.handed.borrow().concat()
    }

    fn has_events(&self, count: u64) {
        let has = || (self.events().len() as u64 >= count).then_some(());
        wait_for(&format!("{count} events handed over"), has);
        assert_eq!(self.events(), (1..=count).collect::<Vec<u64>>());
    }

    fn let_go(&self, places: impl IntoIterator<Item = usize>) {
        self.let_go.send_modify(|open| open.extend(places));
    }
}

/// What no test here asks of a keeper.
macro_rules! quiet {
    () => {
        fn memory(&self) -> Result<Option<Vec<u8>>, NotKept> {
            Ok(None)
        }

        fn http(&self) -> Client {
            Client::default()
        }

        fn clock(&self) -> &Clock {
            &self.clock
        }

        fn up(&self) {}

        fn unknown(&self, _: u64) {}

        fn refused(&self, _: &'static str, _: u64, _: &str) {}
    };
}

impl Keeper for Holding {
    fn hand_over<'d, 'a: 'd>(&'a self, delivery: &'d mut Delivery) -> Handing<'d, 'a> {
        let times = delivery.events.iter().map(checked_at).collect();
        let place = self.handed.borrow().len();
        self.handed.send_modify(|handed| handed.push(times));
        let mut let_go = self.let_go.subscribe();
        Box::pin(async move {
            let keeping: Keeping<'a> = Box::pin(async move {
                let open = let_go.wait_for(|open| open.contains(&place)).await;
                drop(open.unwrap());
                Ok(Vec::<EventId>::new())
            });
            Ok(keeping)
        })
    }

    fn pieces(&self) -> Result<Vec<(String, Vec<u8>)>, NotKept> {
        Ok(Vec::new())
    }

    fn trouble(&self, why: &str) {
        panic!("{why}");
    }

    quiet!();
}

/// A Broker that says all of it, and a second handle on its socket to look at.
fn speaking(port: u16, frames: Vec<Frame>) -> (Broker, TcpStream, JoinHandle<()>) {
    let socket = wait_for("the door", || TcpStream::connect(("127.0.0.1", port)).ok());
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let (probe, mut mouth) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
    let broker = Broker::greet_over(socket, &greeting("A301.c1"));
    let bytes = packets(&frames);
    // The door may be full, or close before it heard everything.
    let speaking = std::thread::spawn(move || drop(std::io::Write::write_all(&mut mouth, &bytes)));
    (broker, probe, speaking)
}

/// Nothing comes, for as long as anything wrong would take to come.
fn hears_nothing(probe: &TcpStream) {
    probe.set_read_timeout(Some(QUIET)).unwrap();
    let early = probe.peek(&mut [0]).map_err(|why| why.kind());
    probe.set_read_timeout(Some(WAIT_MAX)).unwrap();
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
}

#[test]
fn events_are_taken_while_others_are_being_committed_and_acknowledged_in_order() {
    let keeper = Holding::new();
    let standing = Standing::open(Arc::clone(&keeper) as Arc<dyn Keeper>);
    let all = UNACKNOWLEDGED_MAX + 1_000;
    let (mut broker, probe, speaking) = speaking(standing.port, (1..=all).map(status).collect());
    // As many as may be are on their way before the first of them is on disk, and no more.
    keeper.has_events(UNACKNOWLEDGED_MAX);
    let deliveries = keeper.handed.borrow().len();
    assert!(deliveries >= 20, "{deliveries} at the same time");
    // Those that come later are on disk first: that is no reason to count them.
    keeper.let_go(1..deliveries);
    hears_nothing(&probe);
    keeper.has_events(UNACKNOWLEDGED_MAX);
    keeper.let_go([0]);
    broker.is_acknowledged(UNACKNOWLEDGED_MAX as usize);
    keeper.has_events(all);
    hears_nothing(&probe);
    keeper.let_go(deliveries..deliveries + 1_000);
    broker.is_acknowledged(all as usize);
    speaking.join().unwrap();
    standing.close();
}

#[test]
fn a_door_that_closes_and_a_broker_that_stops_wait_for_what_is_underway() {
    let keeper = Holding::new();
    let standing = Standing::open(Arc::clone(&keeper) as Arc<dyn Keeper>);
    let stop = Frame {
        label: Label::new(2, 9),
        payload: Vec::new(),
    };
    let mut said: Vec<Frame> = (1..=350).map(status).collect();
    said.push(stop);
    let (mut broker, probe, speaking) = speaking(standing.port, said);
    keeper.has_events(350);
    hears_nothing(&probe);
    keeper.let_go(0..1_000);
    broker.is_acknowledged(350);
    speaking.join().unwrap();
    keeper.let_go.send_replace(BTreeSet::new());
    broker.send(&packets(&(351..=500).map(status).collect::<Vec<Frame>>()));
    keeper.has_events(500);
    standing.stop.send_replace(true);
    hears_nothing(&probe);
    keeper.let_go(0..1_000);
    broker.is_acknowledged(500);
    standing.close();
}

/// Keeps in a real store, as the server does.
struct Storing {
    clock: Clock,
    store: Store,
    troubles: Mutex<Vec<String>>,
}

fn later(why: StoreError) -> NotKept {
    NotKept::Later(why.to_string())
}

impl Keeper for Storing {
    fn hand_over<'d, 'a: 'd>(&'a self, delivery: &'d mut Delivery) -> Handing<'d, 'a> {
        let mut batch = Batch::new();
        for (name, piece) in &delivery.pieces {
            let name = format!("pieces/{name}");
            batch.set_mark(&name, piece.clone()).unwrap();
        }
        for event in &delivery.events {
            batch.push("centreon", event, Some(WAIT_MAX * 10)).unwrap();
        }
        if let Some(line) = &delivery.line {
            batch.stand_in(line.clone());
        }
        Box::pin(async move {
            let promise = self.store.hand_over(batch).await.map_err(later)?;
            let keeping: Keeping<'a> = Box::pin(async move {
                promise.kept().await.map_err(later)?;
                Ok(Vec::<EventId>::new())
            });
            Ok(keeping)
        })
    }

    fn pieces(&self) -> Result<Vec<(String, Vec<u8>)>, NotKept> {
        let pieces = self.store.marks("pieces/").map_err(later)?;
        let short = |(name, piece): (String, Vec<u8>)| {
            let name = name.strip_prefix("pieces/").unwrap_or(&name);
            (name.to_owned(), piece)
        };
        Ok(pieces.into_iter().map(short).collect())
    }

    fn trouble(&self, why: &str) {
        self.troubles.lock().unwrap().push(why.to_owned());
    }

    quiet!();
}

fn varint(mut number: u64, payload: &mut Vec<u8>) {
    while number >= 0x80 {
        payload.push(0x80 | (number & 0x7F) as u8);
        number >>= 7;
    }
    payload.push(number as u8);
}

fn host(id: u64) -> Frame {
    let name = format!("host{id}");
    let mut payload = vec![0x08];
    varint(id, &mut payload);
    payload.extend([0x28, 1, 0xDA, 0x03, name.len() as u8]);
    payload.extend(name.as_bytes());
    Frame {
        label: Label::new(1, 30),
        payload,
    }
}

fn host_status(time: u64) -> Frame {
    let mut payload = vec![0x08];
    varint(host_of(time), &mut payload);
    payload.extend([0x20, 1, 0x28, 1, 0x98, 1]);
    varint(time, &mut payload);
    Frame {
        label: Label::new(1, 32),
        payload,
    }
}

fn host_of(time: u64) -> u64 {
    1 + time / STATUSES_PER_HOST
}

/// What a plant says: each host before its statuses.
fn plant(statuses: u64) -> Vec<Frame> {
    let one = |time: u64| {
        let is_first = time == 1 || time.is_multiple_of(STATUSES_PER_HOST);
        let about = is_first.then(|| host(host_of(time)));
        about.into_iter().chain([host_status(time)])
    };
    (1..=statuses).flat_map(one).collect()
}

/// A store that meets a mishap, and what a Broker has to say to it.
struct Trial {
    folder: TempDir,
    said: Vec<Frame>,
    acknowledged: usize,
}

impl Trial {
    fn new(statuses: u64) -> Trial {
        Trial {
            folder: tempfile::tempdir().unwrap(),
            said: plant(statuses),
            acknowledged: 0,
        }
    }

    /// One life of the server; true if something went wrong in it as planned.
    fn live(&mut self, mishap: Option<(u64, Point, Mishap)>) -> bool {
        let failpoints = Failpoints::new();
        let options = Options {
            failpoints: failpoints.clone(),
            ..options()
        };
        let keeper = Arc::new(Storing {
            clock: Clock::system(),
            store: Store::open(self.folder.path(), options).unwrap(),
            troubles: Mutex::default(),
        });
        if let Some((nth, point, mishap)) = mishap {
            failpoints.arm(nth, point, mishap);
        }
        let standing = Standing::open(Arc::clone(&keeper) as Arc<dyn Keeper>);
        let rest = self.said[self.acknowledged..].to_vec();
        let (mut broker, _, speaking) = speaking(standing.port, rest.clone());
        let is_fatal = matches!(mishap, Some((_, _, Mishap::Kill)));
        if is_fatal {
            let stop = standing.stop.clone();
            let failpoints = failpoints.clone();
            std::thread::spawn(move || {
                while failpoints.is_armed() && !stop.is_closed() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                stop.send_replace(true);
            });
        }
        broker.hear_until(rest.len());
        self.acknowledged += broker.acknowledged();
        if !is_fatal {
            assert_eq!(broker.acknowledged(), rest.len());
        }
        drop(broker);
        standing.close();
        speaking.join().unwrap();
        !failpoints.is_armed()
    }

    /// Each status is there once, in order, and called by its name; the names are kept too.
    fn is_whole(&self, statuses: u64, what: &str) {
        let store = Store::open(self.folder.path(), options()).unwrap();
        let events = store.events("centreon", 1, usize::MAX).unwrap();
        let first = |time: i64| events.iter().position(|event| time_of(event) == time);
        for time in 1..=statuses as i64 {
            assert_eq!(
                first(time),
                Some(time as usize - 1),
                "{what}: status {time}"
            );
        }
        assert_eq!(events.len() as u64, statuses, "{what}");
        for (event, time) in events.iter().zip(1..) {
            let name = Value::from(format!("host{}", host_of(time)).as_str());
            assert_eq!(event.body.get("host_name"), Some(&name), "{what}");
        }
        let known = store.marks("pieces/h/").unwrap().len() as u64;
        assert_eq!(known, host_of(statuses), "{what}");
    }
}

const POINTS: [Point; 4] = [
    Point::BeforeApply,
    Point::BeforeSync,
    Point::AfterSync,
    Point::BeforeAnswer,
];

#[test]
fn nothing_is_lost_or_double_when_killed_at_any_commit() {
    const STATUSES: u64 = 600;
    for point in POINTS {
        let mut deaths = 0;
        for nth in 1..=4 {
            let what = format!("commit {nth} {point:?}");
            let mut trial = Trial::new(STATUSES);
            deaths += u32::from(trial.live(Some((nth, point, Mishap::Kill))));
            trial.live(None);
            trial.is_whole(STATUSES, &what);
        }
        assert!(deaths >= 2, "{point:?}: only {deaths} deaths");
    }
}

#[test]
fn what_a_failing_commit_did_not_keep_comes_before_what_was_behind_it() {
    const STATUSES: u64 = 600;
    for (nth, point, mishap) in [
        (1, Point::BeforeApply, Mishap::Full),
        (2, Point::BeforeSync, Mishap::Fails),
        (2, Point::BeforeAnswer, Mishap::Fails),
    ] {
        let what = format!("commit {nth} {point:?} {mishap:?}");
        let mut trial = Trial::new(STATUSES);
        assert!(trial.live(Some((nth, point, mishap))), "{what}");
        trial.is_whole(STATUSES, &what);
    }
}
