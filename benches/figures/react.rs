//! From a webhook over a small script to a request: how many a second, and how long one takes.

use std::time::Duration;

use super::Plan;
use super::hooks::{Burst, Hook, burst, steady};
use super::peers::{nodered, rulebook};
use super::report::{Figure, Report, Table, count};
use super::sink::Sink;
use super::statistics::{median, quantile};

/// How many times Node-RED's rate vigie must have, while it keeps everything.
const RATIO_MIN: f64 = 10.0;
/// Events a second of the steady work.
const STEADY_PER_SECOND: usize = 100;
const WHAT: &str = "webhook in, small script, POST out";

/// One who reacts, with its rounds.
struct Way {
    hook: Hook,
    bursts: Vec<Burst>,
    /// Milliseconds of each reaction in steady work.
    times: Vec<f64>,
    lost: usize,
}

impl Way {
    fn new(hook: Hook) -> Way {
        Way {
            hook,
            bursts: Vec::new(),
            times: Vec::new(),
            lost: 0,
        }
    }

    fn rate(&self) -> f64 {
        median(
            &self
                .bursts
                .iter()
                .map(|burst| burst.rate)
                .collect::<Vec<_>>(),
        )
    }

    fn total(&self, what: impl Fn(&Burst) -> usize) -> usize {
        self.bursts.iter().map(what).sum()
    }

    fn lost_of_bursts(&self) -> usize {
        self.total(|burst| burst.accepted) - self.total(|burst| burst.came)
    }
}

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = super::runtime();
    let sink = runtime.block_on(Sink::start());
    let house = Hook::house(&sink);
    let server = house.serve();
    let mut ways = vec![Way::new(Hook::vigie(&server))];
    let (red, rules) = (nodered::start(&sink.url()), rulebook::start(&sink.url()));
    match &red {
        Ok(peer) => ways.push(Way::new(Hook::nodered(peer))),
        Err(why) => report.missing(WHAT, "Node-RED", why),
    }
    match &rules {
        Ok(peer) => ways.push(Way::new(Hook::rulebook(peer))),
        Err(why) => report.missing(WHAT, "ansible-rulebook", why),
    }
    for turn in 0..plan.pick(3, 1) {
        for way in ways
            .iter_mut()
            .filter(|way| turn == 0 || !way.hook.is_slow())
        {
            runtime.block_on(round(plan, way, &sink));
        }
    }
    tell(report, &ways);
}

/// One burst and some steady work.
async fn round(plan: &Plan, way: &mut Way, sink: &Sink) {
    let time = plan.pick(Duration::from_secs(3), Duration::from_secs(1));
    way.bursts.push(burst(&way.hook, sink, time).await);
    if !way.hook.is_slow() {
        let work = (STEADY_PER_SECOND, plan.pick(8, 3));
        let (times, lost) = steady(&way.hook, sink, work).await;
        way.times.extend(times);
        way.lost += lost;
    }
}

fn tell(report: &mut Report, ways: &[Way]) {
    let Some((ours, peers)) = ways.split_first() else {
        return;
    };
    for peer in peers {
        let ratio = ours.rate() / peer.rate();
        let is_aim = !peer.hook.is_slow();
        report.add(Figure {
            what: format!("{WHAT}: sustained, vigie with everything on disk"),
            ours: format!("{}/s, {} lost", count(ours.rate()), ours.lost_of_bursts()),
            peer: format!(
                "{}: {}/s, {} lost",
                peer.hook.name,
                rate(peer.rate()),
                peer.lost_of_bursts()
            ),
            ratio: format!("{ratio:.1}×"),
            factor: Some(ratio),
            aim: if is_aim {
                format!("≥ {RATIO_MIN}×, 0 lost")
            } else {
                String::new()
            },
            met: is_aim.then_some(ratio >= RATIO_MIN && ours.lost_of_bursts() == 0),
        });
        latency(report, ours, peer);
    }
    report.tables.push(detail(ways));
}

fn rate(rate: f64) -> String {
    match rate < 100.0 {
        true => format!("{rate:.1}"),
        false => count(rate),
    }
}

fn latency(report: &mut Report, ours: &Way, peer: &Way) {
    if peer.times.is_empty() {
        return;
    }
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (own, theirs) = (quantile(&ours.times, share), quantile(&peer.times, share));
        report.add(Figure {
            what: format!(
                "{WHAT}: from its moment to the request, {name} at {STEADY_PER_SECOND}/s"
            ),
            ours: format!("{own:.1} ms"),
            peer: format!("{}: {theirs:.1} ms", peer.hook.name),
            ratio: format!("{:.2}× as long", own / theirs),
            factor: Some(theirs / own),
            ..Figure::default()
        });
    }
}

fn detail(ways: &[Way]) -> Table {
    let row = |way: &Way| {
        let shown = |share| match way.times.is_empty() {
            true => "too slow for it".to_owned(),
            false => format!("{:.1} ms", quantile(&way.times, share)),
        };
        let rates: Vec<String> = way.bursts.iter().map(|burst| rate(burst.rate)).collect();
        let resident = way
            .bursts
            .iter()
            .map(|burst| burst.resident)
            .fold(0.0, f64::max);
        vec![
            way.hook.name.clone(),
            rates.join(" · "),
            count(way.total(|burst| burst.accepted) as f64),
            way.lost_of_bursts().to_string(),
            way.total(|burst| burst.again).to_string(),
            shown(0.5),
            shown(0.99),
            way.lost.to_string(),
            format!("{resident:.0} MiB"),
        ]
    };
    Table {
        title: format!(
            "**{WHAT}** (64 producers at once; then {STEADY_PER_SECOND}/s; vigie with 256 runs at once)"
        ),
        columns: vec![
            "who",
            "reactions/s, each round",
            "accepted",
            "lost",
            "twice",
            "p50 in steady work",
            "p99",
            "lost in it",
            "most memory",
        ],
        rows: ways.iter().map(row).collect(),
    }
}
