//! A server at rest with a hundred flows, and how soon it is ready with a store full of history.

use std::time::Duration;

use jiff::Timestamp;
use vigie::event::{EventId, Incoming, Meta, RunId, Value};
use vigie::gate::Question;
use vigie::journal::{Command, End, EndState, Entry, Journal, Outcome, Start};
use vigie::store::{Batch, Options, Store};

use super::Plan;
use super::house::{House, file_bytes, resident_mebibytes};
use super::load;
use super::report::{Figure, Report, count};
use super::statistics::{median, milliseconds};

const CHANNELS: usize = 20;
const FLOWS: usize = 100;
const FINISHED_EVENTS: u64 = 100_000;
/// Events with their finished runs in one batch: it must stay under 256 KiB.
const EVENTS_PER_BATCH: u64 = 200;

const RESIDENT_MEBIBYTES_MAX: f64 = 40.0;
const READY_MILLISECONDS_MAX: f64 = 300.0;
/// How long a server that is ready is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// A flow of the usual size.
pub(crate) const FLOW: &str = include_str!("flow.rhai");

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let house = house();
    let empty = house.serve();
    std::thread::sleep(SETTLE);
    let resident_empty = resident_mebibytes(empty.pid());
    empty.stop();
    let events = plan.pick(FINISHED_EVENTS, 10_000);
    fill(&house, events);
    let starts = starts(&house, plan.pick(8, 4));
    let stored = format!("{} finished events", count(events as f64));
    report.add(Figure {
        what: format!("resident memory at rest, {FLOWS} flows, {stored}"),
        ours: format!(
            "{:.1} MiB ({resident_empty:.1} MiB with an empty store; {:.1} MiB once all was read in the background after a kill)",
            starts.resident, starts.resident_read
        ),
        aim: "≤ 40 MiB".to_owned(),
        met: Some(starts.resident.max(resident_empty) <= RESIDENT_MEBIBYTES_MAX),
        ..Figure::default()
    });
    let from = "from the start of the process to 200 on `/readyz`";
    for (after, ready) in [
        ("a stop in order", &starts.clean),
        ("a kill", &starts.killed),
    ] {
        let longest = ready.iter().copied().fold(0.0, f64::max);
        report.add(Figure {
            what: format!("{from} after {after}, {FLOWS} flows, {stored}"),
            ours: format!(
                "{:.0} ms (longest of {}: {longest:.0} ms)",
                median(ready),
                ready.len()
            ),
            aim: "≤ 300 ms".to_owned(),
            met: Some(median(ready) <= READY_MILLISECONDS_MAX),
            ..Figure::default()
        });
    }
    let database = file_bytes(&house.path("data/tree/db")) as f64 / 1e6;
    eprintln!(
        "  the database is {database:.0} MB; starts took {:.0?} ms after stops, {:.0?} ms after kills",
        starts.clean, starts.killed
    );
}

struct Starts {
    /// Milliseconds until ready after a stop in order, and after a kill.
    clean: Vec<f64>,
    killed: Vec<f64>,
    /// Mebibytes at rest after a stop in order, and once everything was read after a kill.
    resident: f64,
    resident_read: f64,
}

/// Starts the server again and again, by turns after a stop in order and after a kill.
fn starts(house: &House, count: usize) -> Starts {
    let mut starts = Starts {
        clean: Vec::new(),
        killed: Vec::new(),
        resident: 0.0,
        resident_read: 0.0,
    };
    for start in 1..=count {
        let server = house.serve();
        let ready = milliseconds(server.ready_after);
        match start % 2 {
            1 => starts.clean.push(ready),
            _ => starts.killed.push(ready),
        }
        if start == 1 {
            std::thread::sleep(SETTLE);
            starts.resident = resident_mebibytes(server.pid());
        }
        if start == count {
            server.wait_until_verified();
            std::thread::sleep(SETTLE);
            starts.resident_read = resident_mebibytes(server.pid());
        }
        if start % 2 == 0 {
            server.stop();
        }
    }
    starts
}

fn house() -> House {
    let house = House::new();
    for channel in 0..CHANNELS {
        house.file(&format!("channels/channel{channel}.toml"), "");
    }
    for flow in 0..FLOWS {
        let path = format!("flows/channel{}/flow{flow}.rhai", flow % CHANNELS);
        house.file(&path, &FLOW.replace("FLOW", &flow.to_string()));
    }
    house
}

/// Puts finished history into the first channel: each event with one run that is done, and every
/// flow's cursor behind it.
fn fill(house: &House, events: u64) {
    let store = Store::open(&house.path("data"), Options::default()).unwrap();
    for first in (1..=events).step_by(EVENTS_PER_BATCH as usize) {
        let mut batch = Batch::new();
        for number in first..(first + EVENTS_PER_BATCH).min(events + 1) {
            finished(&mut batch, number);
        }
        store.commit_blocking(batch).unwrap();
    }
    let mut cursors = Batch::new();
    for flow in (0..FLOWS).step_by(CHANNELS) {
        cursors.move_cursor(&format!("channel0/flow{flow}"), 1, events + 1);
    }
    store.commit_blocking(cursors).unwrap();
    assert_eq!(store.counts().events, events);
}

fn finished(batch: &mut Batch, number: u64) {
    let now = Timestamp::now();
    let json = serde_json::from_slice(&load::event()).unwrap();
    let incoming = Incoming {
        body: Value::from_json(json),
        meta: Meta::new("http", now),
    };
    batch.push("channel0", &incoming, None).unwrap();
    let id = EventId {
        channel: "channel0".to_owned(),
        number,
    };
    let run = RunId::new(&id, "flow0");
    let mut journal = Journal::begin(run.clone(), start(now, number));
    let url = Value::from("http://127.0.0.1/hosts/web01");
    journal.add(Entry::Command(Command {
        at: now,
        question: Question {
            word: "http::get".to_owned(),
            arguments: vec![url],
        },
        answer: None,
    }));
    let result = Ok(Value::from([
        ("status", Value::Int(200)),
        ("body", Value::from("{}")),
    ]));
    journal.add(Entry::Outcome(Outcome {
        at: now,
        of: 0,
        attempts: 1,
        result,
    }));
    let (message, value) = (String::new(), Value::Null);
    journal.add(Entry::End(End {
        at: now,
        state: EndState::Done,
        message,
        value,
    }));
    batch.append(&run, journal.take_pending().unwrap());
    batch.finish(&run, EndState::Done, now);
}

/// The beginning of a run of the event `number`.
pub(crate) fn start(at: Timestamp, number: u64) -> Start {
    Start {
        at,
        flow: "channel0/flow0".to_owned(),
        version: "0".repeat(64),
        engine_flags: vigie::engine::ENGINE_FLAGS,
        events: vec![number],
        trouble: None,
        told: Default::default(),
    }
}
