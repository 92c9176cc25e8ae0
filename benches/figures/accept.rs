//! Durable acceptance: 64 producers, each told that its event is on disk before it sends the next.
//!
//! Rounds are interleaved, and each ratio is taken within one turn, because a shared disk is twice
//! as fast in one minute as in the next.

use std::time::Duration;

use super::Plan;
use super::house::{House, Running, processor_time, resident_mebibytes};
use super::load::{self, EVENT_BYTES, PRODUCERS, Round};
use super::rabbit::{self, Rabbit};
use super::raw;
use super::report::{Figure, Report, Table, count};
use super::statistics::median;

/// What vigie must do for each event that RabbitMQ confirms.
const RATIO_MIN: f64 = 1.5;

/// One way to accept events, with its rounds.
struct Way {
    name: String,
    rounds: Vec<Round>,
    /// Processor time of the server for one event, in microseconds.
    processor: Vec<f64>,
    /// Memory of the server after its last round, in MiB.
    resident: f64,
}

impl Way {
    fn new(name: impl Into<String>) -> Way {
        Way {
            name: name.into(),
            rounds: Vec::new(),
            processor: Vec::new(),
            resident: 0.0,
        }
    }

    fn add(&mut self, round: Round, used: Duration) {
        self.processor
            .push(used.as_secs_f64() * 1e6 / round.events as f64);
        self.rounds.push(round);
    }

    fn of(&self, what: impl Fn(&Round) -> f64) -> f64 {
        median(&self.rounds.iter().map(what).collect::<Vec<_>>())
    }

    /// The median of this way's rate to the other's, turn by turn.
    fn ratio(&self, other: &Way) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(
            &pairs
                .map(|(ours, theirs)| ours.rate / theirs.rate)
                .collect::<Vec<_>>(),
        )
    }
}

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let house = House::new();
    house.file("channels/alert.toml", "");
    let server = house.serve();
    let rabbit = Rabbit::start(&runtime);
    let turn = Turn {
        runtime: &runtime,
        server: &server,
        rabbit: rabbit.as_ref().ok(),
        time: plan.pick(Duration::from_secs(4), Duration::from_secs(1)),
    };
    let mut ways = [
        Way::new("one file, grouped fdatasync (the limit)"),
        Way::new("vigie over HTTP, 64 connections kept"),
        Way::new("RabbitMQ, one connection, one channel"),
        Way::new("RabbitMQ, 64 connections"),
    ];
    for _ in 0..plan.pick(5, 2) {
        turn.take(&mut ways);
    }
    tell(report, &ways, rabbit.as_ref().err());
}

/// What every turn needs.
struct Turn<'a> {
    runtime: &'a tokio::runtime::Runtime,
    server: &'a Running,
    rabbit: Option<&'a Rabbit>,
    time: Duration,
}

impl Turn<'_> {
    /// One round of each.
    fn take(&self, [raw, ours, channel, connections]: &mut [Way; 4]) {
        let event = load::event();
        raw.add(raw::round(&event, self.time), Duration::ZERO);
        let request = load::request(self.server.address, "alert", &event);
        self.round(ours, self.server.pid(), async {
            load::http_round(self.server.address, &request, self.time).await
        });
        let Some(rabbit) = self.rabbit else { return };
        for (way, count) in [(channel, 1), (connections, PRODUCERS)] {
            self.round(
                way,
                rabbit.pid(),
                rabbit::round(rabbit.port, count, (&event, self.time)),
            );
        }
    }

    fn round(&self, way: &mut Way, pid: u32, round: impl Future<Output = Round>) {
        let before = processor_time(pid);
        let round = self.runtime.block_on(round);
        way.add(round, processor_time(pid) - before);
        way.resident = resident_mebibytes(pid);
    }
}

fn tell(report: &mut Report, ways: &[Way; 4], missing: Option<&String>) {
    let [raw, ours, channel, connections] = ways;
    let rate = |way: &Way| format!("{}/s", count(way.of(|round| round.rate)));
    let what =
        format!("events durable before 202, {PRODUCERS} producers over HTTP, {EVENT_BYTES} bytes");
    if let Some(why) = missing {
        let figure = Figure {
            what: what.clone(),
            ours: rate(ours),
            peer: why.clone(),
            ..Figure::default()
        };
        report.add(figure);
    }
    let against = |peer: &Way, aim: Option<f64>| Figure {
        what: what.clone(),
        ours: rate(ours),
        peer: format!("{}: {}", peer.name, rate(peer)),
        ratio: format!("{:.2}×", ours.ratio(peer)),
        aim: aim.map_or_else(String::new, |aim| format!("≥ {aim}×")),
        met: aim.map(|aim| ours.ratio(peer) >= aim),
    };
    if missing.is_none() {
        report.add(against(channel, Some(RATIO_MIN)));
        report.add(against(connections, None));
    }
    report.add(against(raw, None));
    report.tables.push(detail(ways));
}

fn detail(ways: &[Way]) -> Table {
    let row = |way: &Way| {
        let processor = median(&way.processor);
        let rates: Vec<String> = way.rounds.iter().map(|round| count(round.rate)).collect();
        vec![
            way.name.clone(),
            count(way.of(|round| round.rate)),
            format!("{:.1} ms", way.of(|round| round.p50)),
            format!("{:.1} ms", way.of(|round| round.p99)),
            if processor > 0.0 {
                format!("{processor:.0} µs")
            } else {
                String::new()
            },
            if way.resident > 0.0 {
                format!("{:.0} MiB", way.resident)
            } else {
                String::new()
            },
            rates.join(" · "),
        ]
    };
    Table {
        title: format!(
            "**Durable acceptance, medians of the rounds** ({})",
            Rabbit::version()
        ),
        columns: vec![
            "way",
            "events/s",
            "p50",
            "p99",
            "server's processor per event",
            "server's memory after",
            "each round",
        ],
        rows: ways
            .iter()
            .filter(|way| !way.rounds.is_empty())
            .map(row)
            .collect(),
    }
}
