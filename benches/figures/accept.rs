//! Durable acceptance: producers that are each told that their event is on disk before they send
//! the next.
//!
//! Rounds are interleaved, and each ratio is taken within one turn, because a shared disk is twice
//! as fast in one minute as in the next.

use std::time::Duration;

use super::Plan;
use super::brokers::{Brokers, Place};
use super::house::House;
use super::load::{self, EVENT_BYTES, PRODUCERS, Round};
use super::peer::{processor_time, resident_mebibytes};
use super::report::{Figure, Report, Table, count};
use super::statistics::median;

/// What vigie must do for each event that RabbitMQ confirms, all on one channel.
const RABBIT_RATIO_MIN: f64 = 2.0;
/// … for each that the fastest peer has on disk.
const FASTEST_RATIO_MIN: f64 = 1.0;
/// … for each that can be on disk at all.
const LIMIT_RATIO_MIN: f64 = 0.6;

/// One way to accept events, with its rounds.
struct Way {
    place: Place,
    rounds: Vec<Round>,
    /// Processor time of the server for one event, in microseconds.
    processor: Vec<f64>,
    /// Memory of the server after its last round, in MiB.
    resident: f64,
}

impl Way {
    fn new(place: Place) -> Way {
        Way {
            place,
            rounds: Vec::new(),
            processor: Vec::new(),
            resident: 0.0,
        }
    }

    async fn round(&mut self, event: &[u8], work: (usize, Duration)) {
        let used = || self.place.pid.map_or(Duration::ZERO, processor_time);
        let before = used();
        let round = self.place.round(event, work).await;
        let used = used().saturating_sub(before);
        self.processor
            .push(used.as_secs_f64() * 1e6 / round.events as f64);
        self.resident = self.place.pid.map_or(0.0, resident_mebibytes);
        self.rounds.push(round);
    }

    fn of(&self, what: impl Fn(&Round) -> f64) -> f64 {
        median(&self.rounds.iter().map(what).collect::<Vec<_>>())
    }

    fn rate(&self) -> f64 {
        self.of(|round| round.rate)
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
    let runtime = super::runtime();
    let house = House::new();
    house.file("channels/alert.toml", "");
    let server = house.serve();
    let brokers = Brokers::start(&runtime);
    for (name, why) in brokers.missing() {
        report.missing("events durable before their sender is told", name, why);
    }
    let turns = plan.pick(5, 3);
    for (producers, seconds) in [(PRODUCERS, plan.pick(4.0, 0.7)), (1, plan.pick(2.0, 0.5))] {
        let places = brokers.places(&server).into_iter();
        let places = places.filter(|place| !place.is_double(producers));
        let mut ways: Vec<Way> = places.map(Way::new).collect();
        for _ in 0..turns {
            runtime.block_on(turn(&mut ways, (producers, seconds)));
        }
        tell(report, &ways, producers);
    }
}

/// One round of each.
async fn turn(ways: &mut [Way], (producers, seconds): (usize, f64)) {
    let event = load::event();
    for way in ways {
        way.round(&event, (producers, Duration::from_secs_f64(seconds)))
            .await;
    }
}

fn tell(report: &mut Report, ways: &[Way], producers: usize) {
    let Some(ours) = ways.iter().find(|way| way.place.is_ours()) else {
        return;
    };
    let who = match producers {
        1 => "1 producer".to_owned(),
        _ => format!("{producers} producers"),
    };
    let peers = || {
        ways.iter()
            .filter(|way| way.place.pid.is_some() && !way.place.is_ours())
    };
    let durable = peers().filter(|way| way.place.is_durable);
    let fastest = durable.max_by(|one, other| one.rate().total_cmp(&other.rate()));
    let fastest = fastest.map(|way| way.place.name.clone());
    for way in ways.iter().filter(|way| !way.place.is_ours()) {
        let is_fastest = Some(&way.place.name) == fastest.as_ref();
        // The aims are for many producers: with one there is nothing to put together.
        let aim = (producers > 1)
            .then(|| aim(&way.place, is_fastest))
            .flatten();
        let mark = if is_fastest {
            ", the fastest durable peer"
        } else {
            ""
        };
        report.add(Figure {
            what: format!("events durable before 202, {who}, {EVENT_BYTES} bytes"),
            ours: format!("{}/s", count(ours.rate())),
            peer: format!("{}{mark}: {}/s", way.place.name, count(way.rate())),
            ratio: format!("{:.2}×", ours.ratio(way)),
            factor: Some(ours.ratio(way)),
            aim: aim.map_or_else(String::new, |aim| format!("≥ {aim}×")),
            met: aim.map(|aim| ours.ratio(way) >= aim),
        });
    }
    report.tables.push(detail(ways, &who));
}

/// What vigie must reach beside a place.
fn aim(place: &Place, is_fastest: bool) -> Option<f64> {
    match place {
        place if place.is_limit() => Some(LIMIT_RATIO_MIN),
        place if place.is_one_channel() => Some(RABBIT_RATIO_MIN),
        _ => is_fastest.then_some(FASTEST_RATIO_MIN),
    }
}

fn detail(ways: &[Way], who: &str) -> Table {
    let some = |number: f64, unit: &str| match number > 0.0 {
        true => format!("{number:.0} {unit}"),
        false => String::new(),
    };
    let row = |way: &Way| {
        let rates: Vec<String> = way.rounds.iter().map(|round| count(round.rate)).collect();
        vec![
            way.place.name.clone(),
            count(way.rate()),
            format!("{:.1} ms", way.of(|round| round.p50)),
            format!("{:.1} ms", way.of(|round| round.p99)),
            some(median(&way.processor), "µs"),
            some(way.resident, "MiB"),
            rates.join(" · "),
        ]
    };
    Table {
        title: format!("**Durable acceptance, {who}, medians of the rounds**"),
        columns: vec![
            "way",
            "events/s",
            "p50",
            "p99",
            "server's processor per event",
            "server's memory after",
            "each round",
        ],
        rows: ways.iter().map(row).collect(),
    }
}
