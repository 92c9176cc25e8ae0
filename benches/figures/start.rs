//! How soon each server is ready, and its memory at rest and at work.

use std::time::Duration;

use super::Plan;
use super::brokers::{Brokers, Place};
use super::hooks::{Hook, burst};
use super::house::House;
use super::load::{self, PRODUCERS};
use super::peer::resident_mebibytes;
use super::peers::{nodered, rulebook};
use super::report::{Figure, Report, Table};
use super::sink::Sink;
use super::statistics::{median, milliseconds};

const READY_MILLISECONDS_MAX: f64 = 300.0;
const RESIDENT_MEBIBYTES_MAX: f64 = 40.0;
const WHAT: &str = "from the start of the process to its first answer";
/// How long a server that is ready is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// One server, each value as it was in each round.
#[derive(Default)]
struct Row {
    name: String,
    ready: Vec<f64>,
    idle: Vec<f64>,
    loaded: Vec<f64>,
}

/// The rows, in the order in which they first came.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn of(&mut self, name: &str) -> &mut Row {
        let place = self.0.iter().position(|row| row.name == name);
        let place = place.unwrap_or_else(|| {
            self.0.push(Row {
                name: name.to_owned(),
                ..Row::default()
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = super::runtime();
    let mut rows = Rows::default();
    let time = plan.pick(Duration::from_secs(2), Duration::from_secs(1));
    for turn in 0..plan.pick(3, 1) {
        let place = &mut Report::default();
        let report = if turn == 0 { &mut *report } else { place };
        brokers(&runtime, &mut rows, (&mut *report, time));
        runtime.block_on(reactors(&mut rows, (report, time)));
    }
    tell(report, &rows.0);
}

/// Those that take events: an empty house, and each broker.
fn brokers(
    runtime: &tokio::runtime::Runtime,
    rows: &mut Rows,
    (report, time): (&mut Report, Duration),
) {
    let house = House::new();
    house.file("channels/alert.toml", "");
    let server = house.serve();
    let brokers = Brokers::start(runtime);
    for (name, why) in brokers.missing() {
        report.missing(WHAT, name, why);
    }
    let mut places = vec![(Place::of(&server), server.ready_after)];
    places.extend(brokers.ready());
    std::thread::sleep(SETTLE);
    for (place, ready_after) in places {
        let row = rows.of(&place.name);
        row.ready.push(milliseconds(ready_after));
        let resident = || place.pid.map_or(0.0, resident_mebibytes);
        row.idle.push(resident());
        runtime.block_on(place.round(&load::event(), (PRODUCERS, time)));
        row.loaded.push(resident());
    }
}

/// Those that react.
async fn reactors(rows: &mut Rows, (report, time): (&mut Report, Duration)) {
    let sink = Sink::start().await;
    let house = Hook::house(&sink);
    let server = house.serve();
    let mut hook = Hook::vigie(&server);
    hook.name = "vigie with a flow that posts".to_owned();
    reactor(rows, (hook, server.ready_after), (&sink, time)).await;
    server.stop();
    let started = [
        ("Node-RED", nodered::start(&sink.url())),
        ("ansible-rulebook", rulebook::start(&sink.url())),
    ];
    for (name, peer) in &started {
        let peer = match peer {
            Ok(peer) => peer,
            Err(why) => {
                report.missing(WHAT, name, why);
                continue;
            }
        };
        let hook = match *name {
            "Node-RED" => Hook::nodered(peer),
            _ => Hook::rulebook(peer),
        };
        reactor(rows, (hook, peer.ready_after), (&sink, time)).await;
    }
}

async fn reactor(
    rows: &mut Rows,
    (hook, ready_after): (Hook, Duration),
    (sink, time): (&Sink, Duration),
) {
    tokio::time::sleep(SETTLE).await;
    let row = rows.of(&hook.name);
    row.ready.push(milliseconds(ready_after));
    row.idle.push(resident_mebibytes(hook.pid));
    row.loaded.push(burst(&hook, sink, time).await.resident);
}

fn tell(report: &mut Report, rows: &[Row]) {
    let Some((ours, peers)) = rows.split_first() else {
        return;
    };
    let [ready, idle] = [&ours.ready, &ours.idle].map(|values| median(values));
    report.add(Figure {
        what: format!("{WHAT}, an empty house"),
        ours: format!("{ready:.0} ms"),
        aim: format!("≤ {READY_MILLISECONDS_MAX} ms"),
        met: Some(ready <= READY_MILLISECONDS_MAX),
        ..Figure::default()
    });
    report.add(Figure {
        what: "resident memory at rest, an empty house".to_owned(),
        ours: format!("{idle:.0} MiB"),
        aim: format!("≤ {RESIDENT_MEBIBYTES_MAX} MiB"),
        met: Some(idle <= RESIDENT_MEBIBYTES_MAX),
        ..Figure::default()
    });
    for peer in peers.iter().filter(|row| !row.name.starts_with("vigie")) {
        beside(report, ours, peer);
    }
    let values = |values: &[f64], unit: &str| format!("{:.0} {unit}", median(values));
    let row = |row: &Row| {
        vec![
            row.name.clone(),
            values(&row.ready, "ms"),
            values(&row.idle, "MiB"),
            values(&row.loaded, "MiB"),
        ]
    };
    report.tables.push(Table {
        title:
            "**Start and memory** (all processes of a server; memory that they share counts once)"
                .to_owned(),
        columns: vec!["server", "ready after", "at rest", "after a burst"],
        rows: rows.iter().map(row).collect(),
    });
}

fn beside(report: &mut Report, ours: &Row, peer: &Row) {
    let pairs = [
        (
            "time until ready",
            &ours.ready,
            &peer.ready,
            ("ms", "as long"),
        ),
        ("memory at rest", &ours.idle, &peer.idle, ("MiB", "as much")),
    ];
    for (what, own, theirs, (unit, than)) in pairs {
        let (own, theirs) = (median(own), median(theirs));
        report.add(Figure {
            what: what.to_owned(),
            ours: format!("{own:.0} {unit}"),
            peer: format!("{}: {theirs:.0} {unit}", peer.name),
            ratio: format!("{:.2}× {than}", own / theirs),
            factor: Some(theirs / own),
            ..Figure::default()
        });
    }
}
