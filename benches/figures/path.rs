//! Where the time of an event goes: decode, commit, filter, step, perform, each alone in this process,
//! and all of it through the real server.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use vigie::action::{self, Call, Services};
use vigie::bundle::{Bundle, Script};
use vigie::clock::Clock;
use vigie::engine::{Engine, Input, StepEnd};
use vigie::event::{Event, EventId, Incoming, Meta, RunId, Value};
use vigie::gate::Question;
use vigie::host;
use vigie::journal::{Command, Entry, Journal, Outcome};
use vigie::replay::{Locals, Replay};
use vigie::source::json;
use vigie::standin::{Reply, Server};
use vigie::store::{Batch, Options, Store};
use vigie::thinkers::Thinkers;

use super::Plan;
use super::house::{House, processor_time, scratch};
use super::idle::{FLOW, start};
use super::load::{self, Connection, PRODUCERS};
use super::report::{Figure, Report, Table, count};
use super::statistics::{median, milliseconds, quantile, time_each};

const THINKING: Duration = Duration::from_secs(10);
/// Commands in the journal that is replayed.
const COMMANDS: usize = 1_000;

const LONG_FLOW: &str = r#"
let sum = 0;
while sum < 1000 { sum += http::get("http://127.0.0.1/step", #{ query: #{ n: sum } }).step; }
sum
"#;

/// Rows of the table: what, how long, a note.
type Rows = Vec<Vec<String>>;

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = super::runtime();
    let mut rows = Rows::new();
    decode(plan, &mut rows);
    commit_alone(plan, &mut rows);
    runtime.block_on(commit_together(plan, &mut rows));
    think(plan, &mut rows);
    runtime.block_on(perform(plan, &mut rows));
    runtime.block_on(whole(plan, report, &mut rows));
    report.tables.push(Table {
        title: "**Where the time goes, one event of 500 bytes**".to_owned(),
        columns: vec!["hop", "µs per event, p50", "note"],
        rows,
    });
}

fn row(rows: &mut Rows, hop: &str, microseconds: f64, note: &str) {
    eprintln!("  {hop}: {microseconds:.1} µs {note}");
    rows.push(vec![
        hop.to_owned(),
        format!("{microseconds:.1}"),
        note.to_owned(),
    ]);
}

fn meta() -> Meta {
    Meta::new("http", Timestamp::now())
}

fn incoming() -> Incoming {
    json::decode(&load::event(), meta()).unwrap().remove(0)
}

fn decode(plan: &Plan, rows: &mut Rows) {
    let bytes = load::event();
    let times = time_each(plan.pick(20_000, 2_000), || {
        std::hint::black_box(json::decode(&bytes, meta()).unwrap());
    });
    row(rows, "decode", median(&times), "`source::json::decode`");
}

fn push(event: &Incoming) -> Batch {
    let mut batch = Batch::new();
    batch
        .push("alert", event, Some(Duration::from_secs(600)))
        .unwrap();
    batch
}

fn commit_alone(plan: &Plan, rows: &mut Rows) {
    let folder = scratch();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    let event = incoming();
    let times = time_each(plan.pick(1_000, 100), || {
        store.commit_blocking(push(&event)).unwrap();
    });
    let note = format!(
        "p99 {:.0} µs; with the synced write of the ledger",
        quantile(&times, 0.99)
    );
    row(rows, "commit, nobody else waiting", median(&times), &note);
    row(
        rows,
        "… two fdatasync of a small file, for comparison",
        two_syncs(folder.path()),
        "",
    );
}

/// Microseconds of a write and `fdatasync` of each of two files.
pub(crate) fn two_syncs(folder: &Path) -> f64 {
    use std::os::unix::fs::FileExt as _;
    let files = ["a", "b"].map(|name| std::fs::File::create(folder.join(name)).unwrap());
    let mut place = 0;
    let times = time_each(300, || {
        place += 4096;
        for file in &files {
            file.write_all_at(&[7; 600], place).unwrap();
            file.sync_data().unwrap();
        }
    });
    median(&times)
}

async fn commit_together(plan: &Plan, rows: &mut Rows) {
    let folder = scratch();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    let time = plan.pick(Duration::from_secs(4), Duration::from_secs(1));
    let began = Instant::now();
    let producer = |_| {
        let (store, event) = (store.clone(), incoming());
        tokio::spawn(async move {
            let mut events = 0;
            while began.elapsed() < time {
                store.commit(push(&event)).await.unwrap();
                events += 1;
            }
            events
        })
    };
    let producers: Vec<_> = (0..PRODUCERS).map(producer).collect();
    let mut events = 0;
    for producer in producers {
        events += producer.await.unwrap();
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(events);
    let commits = store
        .counters()
        .commits
        .load(std::sync::atomic::Ordering::Relaxed);
    let note = format!(
        "{} events/s, {:.0} events a commit",
        count(1e6 / each),
        f64::from(events) / commits as f64
    );
    row(rows, &format!("commit, {PRODUCERS} waiting"), each, &note);
}

/// No word is answered at once.
struct NoLocals;

impl Locals for NoLocals {
    fn answer(&mut self, _: &Question) -> Option<Result<Value, String>> {
        None
    }
}

fn think(plan: &Plan, rows: &mut Rows) {
    let thinkers = Thinkers::start(Engine::new(host::words())).unwrap();
    let times = plan.pick(5_000, 500);
    let thought = thinkers
        .call(move |engine| Thoughts::of(engine, times))
        .unwrap();
    row(
        rows,
        "compile",
        thought.compile,
        "once per version, never per event",
    );
    row(rows, "filter", thought.filter, "a line of script");
    row(
        rows,
        "step, to its question",
        thought.first,
        "25 lines, a function, a loop, maps and text",
    );
    row(
        rows,
        "step, from the top to its end",
        thought.second,
        "the same with the outcome handed back",
    );
    let each = thought.long / COMMANDS as f64;
    let note = format!("{each:.2} µs per command");
    row(
        rows,
        &format!("step, replay of {COMMANDS} commands"),
        thought.long,
        &note,
    );
    row(
        rows,
        "journal as bytes",
        thought.journal,
        "beginning, command, outcome",
    );
}

/// Medians in microseconds.
struct Thoughts {
    compile: f64,
    filter: f64,
    first: f64,
    second: f64,
    long: f64,
    journal: f64,
}

impl Thoughts {
    fn of(engine: &Engine, times: usize) -> Thoughts {
        let bundle = || Bundle::of("flows/channel0/flow0.rhai", FLOW);
        let script = engine.compile(bundle()).unwrap();
        let event = event();
        let begun = Journal::begin(run(), start(Timestamp::now(), 1));
        let asked = step(engine, &script, begun.clone());
        let mut answered = asked.clone();
        answered.add(outcome(0, [("status", Value::Int(200))].into()));
        let long_script = engine
            .compile(Bundle::of("flows/channel0/long.rhai", LONG_FLOW))
            .unwrap();
        let long = long_journal();
        Thoughts {
            compile: median(&time_each(times / 10, || {
                drop(engine.compile(bundle()).unwrap())
            })),
            filter: median(&time_each(times, || {
                assert!(engine.filter(&script, &event, THINKING).unwrap());
            })),
            first: median(&timed(times, &begun, |journal| {
                step(engine, &script, journal)
            })),
            second: median(&timed(times, &answered, |journal| {
                step(engine, &script, journal)
            })),
            long: median(&timed(times / 50, &long, |journal| {
                step(engine, &long_script, journal)
            })),
            journal: median(&timed(times, &answered, |mut journal| {
                std::hint::black_box(journal.take_pending().unwrap());
                journal
            })),
        }
    }
}

/// As `time_each`, without the time of copying the journal.
fn timed(count: usize, journal: &Journal, call: impl Fn(Journal) -> Journal) -> Vec<f64> {
    let once = |_| {
        let journal = journal.clone();
        let began = Instant::now();
        let journal = call(journal);
        let took = began.elapsed().as_secs_f64() * 1e6;
        drop(journal);
        took
    };
    (0..count).map(once).collect()
}

/// Microseconds of a step that is handed a thousand old outcomes.
pub(crate) fn replay_of_thousand(plan: &Plan) -> f64 {
    let times = plan.pick(200, 40);
    let thinkers = Thinkers::start(Engine::new(host::words())).unwrap();
    let job = move |engine: &Engine| {
        let script = Bundle::of("flows/channel0/long.rhai", LONG_FLOW);
        let script = engine.compile(script).unwrap();
        let journal = long_journal();
        median(&timed(times, &journal, |journal| {
            step(engine, &script, journal)
        }))
    };
    thinkers.call(job).unwrap()
}

fn event() -> Event {
    let incoming = incoming();
    Event {
        id: EventId {
            channel: "channel0".to_owned(),
            number: 1,
        },
        body: incoming.body,
        meta: incoming.meta,
    }
}

fn run() -> RunId {
    RunId::new(&event().id, "flow0")
}

fn step(engine: &Engine, script: &Script, journal: Journal) -> Journal {
    let replay = Replay::new(journal, Clock::system(), Box::new(NoLocals));
    let input = Input {
        events: vec![event()].into(),
        thinking: THINKING,
    };
    let (end, replay) = engine.step(script, input, replay);
    assert!(!matches!(end, StepEnd::Failed(_)), "{end:?}");
    replay.unwrap().journal
}

fn outcome(of: u64, value: Value) -> Entry {
    Entry::Outcome(Outcome {
        at: Timestamp::now(),
        of,
        attempts: 1,
        result: Ok(value),
    })
}

fn long_journal() -> Journal {
    let mut journal = Journal::begin(run(), start(Timestamp::now(), 1));
    for number in 0..COMMANDS {
        let query = Value::from([("n", Value::Int(number as i64))]);
        let arguments = vec![
            Value::from("http://127.0.0.1/step"),
            Value::from([("query", query)]),
        ];
        let question = Question {
            word: "http::get".to_owned(),
            arguments,
        };
        journal.add(Entry::Command(Command {
            at: Timestamp::now(),
            question,
            answer: None,
        }));
        journal.add(outcome(
            number as u64,
            Value::from([("step", Value::Int(1))]),
        ));
    }
    journal
}

async fn stand_in() -> Server {
    let body = serde_json::json!({ "found": true });
    Server::start(move |_| Reply::json(200, &body))
        .await
        .unwrap()
}

async fn perform(plan: &Plan, rows: &mut Rows) {
    let target = stand_in().await;
    let services = Services::default();
    let (action, verb) = action::find("http::get").unwrap();
    let arguments = [Value::from(format!("{}/hosts/web01", target.url()))];
    let mut times = Vec::new();
    for _ in 0..plan.pick(2_000, 200) {
        let call = Call {
            verb: verb.name,
            arguments: &arguments,
            key: "figures",
            in_doubt: false,
            services: &services,
            hidden: &[],
        };
        let began = Instant::now();
        action.perform(call).await.unwrap();
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    row(
        rows,
        "perform",
        median(&times),
        "`http::get` to a server in the same process, which also takes its time",
    );
}

/// All of it, through the real server.
async fn whole(plan: &Plan, report: &mut Report, rows: &mut Rows) {
    let target = stand_in().await;
    let house = House::new();
    house.file("channels/alert.toml", "");
    house.file(
        "flows/alert/flow0.rhai",
        &FLOW.replace("TARGET", &target.url()),
    );
    let server = house.serve();
    let request = load::request(server.address, "alert", &load::event());
    let mut connection = Connection::open(server.address).await;
    let (mut kept, mut reached) = (Vec::new(), Vec::new());
    let alone = plan.pick(500, 50);
    for number in 1..=alone {
        let began = Instant::now();
        connection.send(&request).await;
        kept.push(began.elapsed().as_secs_f64() * 1e6);
        target.wait_for(number).await;
        reached.push(began.elapsed().as_secs_f64() * 1e6);
    }
    row(
        rows,
        "server: sent to 202, one at a time",
        median(&kept),
        "",
    );
    let note = format!("p99 {:.0} µs", quantile(&reached, 0.99));
    row(
        rows,
        "server: sent to the action's request, one at a time",
        median(&reached),
        &note,
    );
    let before = processor_time(server.pid());
    let began = Instant::now();
    let time = plan.pick(Duration::from_secs(4), Duration::from_secs(1));
    let round = load::http_round(server.address, &request, (PRODUCERS, time)).await;
    target.wait_for(alone + round.events).await;
    let took = began.elapsed();
    let used = processor_time(server.pid()) - before;
    let each = used.as_secs_f64() * 1e6 / round.events as f64;
    row(
        rows,
        "server: processor time for event, run and action",
        each,
        "64 producers",
    );
    report.add(Figure {
        what: "events through the whole path: accepted, a run of 25 lines, one request to a server here".to_owned(),
        ours: format!(
            "{}/s ({} taken in {:.1} s, the last one done after {:.1} s)",
            count(round.events as f64 / took.as_secs_f64()),
            count(round.events as f64),
            milliseconds(time) / 1e3,
            took.as_secs_f64()
        ),
        ..Figure::default()
    });
}
