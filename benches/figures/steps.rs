//! Flows of five durable steps, each one request: beside others that keep every step on disk before
//! the next one, and beside the disk itself, all in turns.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Plan;
use super::house::{House, PATIENCE, Running, scratch};
use super::load::{self, Connection, PRODUCERS};
use super::path::two_syncs;
use super::peer::{Peer, processor_time, resident_mebibytes};
use super::peers::{dbos, restate};
use super::report::{Figure, Report, Table, count};
use super::sink::Sink;
use super::statistics::{median, milliseconds};

const WHAT: &str = "runs of five durable steps, each one POST to a server here";
/// Five things done one after the other, none of which may be repeated: each is on disk first.
const FIVE: &str = r#"
for step in 0..5 { http::post(`TARGET/step/${5 * event.n + step}`, #{ json: step }); }
"#;
const STEPS: usize = 5;
/// Runs before those that count, so that nobody meets the work for the first time.
const WARM_RUNS: usize = 100;

/// What one round came to.
#[derive(Debug, Clone)]
struct Round {
    /// Runs a second, from the first one handed over to the last step of all.
    rate: f64,
    /// Runs of which some step did not come in time.
    unfinished: usize,
    /// Steps that came again.
    again: usize,
    /// Milliseconds of the processor for each run.
    processor: f64,
    /// Memory afterwards, in MiB.
    resident: f64,
}

/// One who keeps steps, with its rounds.
struct Way {
    name: String,
    /// All of its first processes.
    pids: Vec<u32>,
    address: SocketAddr,
    /// Where a run is handed over.
    path: &'static str,
    rounds: Vec<Round>,
}

impl Way {
    fn vigie(server: &Running) -> Way {
        Way {
            name: "vigie".to_owned(),
            pids: vec![server.pid()],
            address: server.address,
            path: "/api/v1/channels/alert/events",
            rounds: Vec::new(),
        }
    }

    fn peer(peer: &Peer, path: &'static str, beside: Option<&Peer>) -> Way {
        let beside = beside.into_iter().flat_map(Peer::pids);
        Way {
            name: peer.name.clone(),
            pids: peer.pids().into_iter().chain(beside).collect(),
            address: peer.address,
            path,
            rounds: Vec::new(),
        }
    }

    fn rate(&self) -> f64 {
        let rates: Vec<f64> = self.rounds.iter().map(|round| round.rate).collect();
        median(&rates)
    }

    fn unfinished(&self) -> usize {
        self.rounds.iter().map(|round| round.unfinished).sum()
    }

    fn processor(&self) -> Duration {
        self.pids.iter().copied().map(processor_time).sum()
    }
}

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = super::runtime();
    let sink = runtime.block_on(Sink::start());
    let house = house(&sink);
    let server = house.serve();
    let mut ways = vec![Way::vigie(&server)];
    let dbos = dbos::start(&sink.url(), &runtime);
    match &dbos {
        Ok(both) => ways.push(Way::peer(&both.peer, dbos::PATH, Some(&both.database))),
        Err(why) => report.missing(WHAT, "DBOS", why),
    }
    let restate = restate::start(&sink.url());
    match &restate {
        Ok(peer) => ways.push(Way::peer(peer, restate::PATH, None)),
        Err(why) => report.missing(WHAT, "Restate", why),
    }
    for way in &ways {
        runtime.block_on(round(way, &sink, WARM_RUNS));
    }
    let (folder, mut syncs) = (scratch(), Vec::new());
    for _ in 0..plan.pick(3, 1) {
        for way in &mut ways {
            let round = runtime.block_on(round(way, &sink, plan.pick(2_000, 300)));
            way.rounds.push(round);
        }
        syncs.push(2e6 / two_syncs(folder.path()));
    }
    tell(report, &ways, median(&syncs));
}

fn house(sink: &Sink) -> House {
    let house = House::new();
    house.file("channels/alert.toml", "");
    let script = FIVE.replace("TARGET", &sink.url());
    house.file("flows/alert/five.rhai", &script);
    house.file("flows/alert/five.toml", "runs_at_once_max = 256\n");
    house
}

/// So many runs, handed over one by one by all producers at once, until the last of them is done.
async fn round(way: &Way, sink: &Sink, runs: usize) -> Round {
    sink.clear();
    let before = way.processor();
    let began = Instant::now();
    // Who takes too few of them, or none, has runs that are not finished.
    let _ = tokio::time::timeout(PATIENCE, hand_over(way, runs)).await;
    sink.settle(STEPS * runs).await;
    let (_, again, last) = sink.so_far();
    let is_done = |run: &usize| (0..STEPS).all(|step| sink.when(STEPS * run + step).is_some());
    let done = (0..runs).filter(is_done).count();
    let took = last.map_or(PATIENCE, |last| last - began);
    let used = way.processor() - before;
    Round {
        rate: done as f64 / took.as_secs_f64(),
        unfinished: runs - done,
        again,
        processor: milliseconds(used) / done.max(1) as f64,
        resident: way.pids.iter().copied().map(resident_mebibytes).sum(),
    }
}

async fn hand_over(way: &Way, runs: usize) {
    let mut producers = JoinSet::new();
    for first in 0..PRODUCERS {
        let (address, path) = (way.address, way.path);
        producers.spawn(async move {
            let mut connection = Connection::open(address).await;
            for run in (first..runs).step_by(PRODUCERS) {
                let event = format!(r#"{{"n":{run}}}"#);
                let request = load::post(address, path, event.as_bytes());
                connection.send(&request).await;
            }
        });
    }
    while producers.join_next().await.is_some() {}
}

fn tell(report: &mut Report, ways: &[Way], syncs: f64) {
    let Some((ours, peers)) = ways.split_first() else {
        return;
    };
    let shown = |way: &Way| {
        let rate = way.rate();
        let all = format!("{}/s, {} steps/s", count(rate), count(5.0 * rate));
        match way.unfinished() {
            0 => all,
            some => format!("{all}, {some} not finished"),
        }
    };
    for peer in peers {
        // Who did not do the work is no measure.
        let is_fair = ours.unfinished() + peer.unfinished() == 0;
        let ratio = is_fair.then(|| ours.rate() / peer.rate());
        report.add(Figure {
            what: WHAT.to_owned(),
            ours: shown(ours),
            peer: format!("{}: {}", peer.name, shown(peer)),
            ratio: ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}×")),
            factor: ratio,
            ..Figure::default()
        });
    }
    report.add(Figure {
        what: WHAT.to_owned(),
        ours: shown(ours),
        peer: format!("one fdatasync after the other: {}/s", count(syncs)),
        ratio: format!(
            "{:.1} durable steps per fdatasync",
            5.0 * ours.rate() / syncs
        ),
        ..Figure::default()
    });
    report.tables.push(detail(ways));
}

fn detail(ways: &[Way]) -> Table {
    let row = |way: &Way| {
        let each = |of: fn(&Round) -> f64| way.rounds.iter().map(of).collect::<Vec<f64>>();
        let rates: Vec<String> = each(|round| round.rate).into_iter().map(count).collect();
        let again: usize = way.rounds.iter().map(|round| round.again).sum();
        let resident = each(|round| round.resident);
        vec![
            way.name.clone(),
            rates.join(" · "),
            way.unfinished().to_string(),
            again.to_string(),
            format!("{:.1} ms", median(&each(|round| round.processor))),
            format!("{:.0} MiB", resident.into_iter().fold(0.0, f64::max)),
        ]
    };
    Table {
        title: format!(
            "**Five durable steps** (runs handed over one by one, {PRODUCERS} at once; vigie with 256 runs at once; \
             the service beside Restate and the database under DBOS are counted in)"
        ),
        columns: vec![
            "who",
            "runs/s, each round",
            "not finished",
            "steps that came twice",
            "processor per run",
            "most memory",
        ],
        rows: ways.iter().map(row).collect(),
    }
}
