//! A channel in which more and more events wait: what a further one costs, what they hold, how soon
//! a server that was killed is ready again, and what is left of them on disk once they are done.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Plan;
use super::house::{House, Running, disk_bytes, get};
use super::load::{self, PRODUCERS};
use super::peer::resident_mebibytes;
use super::report::{Figure, Report, Table, count};
use super::statistics::{median, milliseconds};

/// How far the rate may fall from the least depth to the greatest.
const FALL_MAX: f64 = 0.3;
/// How many times the disk of an empty store may be held after everything is done.
const DISK_RATIO_MAX: f64 = 2.0;
const READY_MILLISECONDS_MAX: f64 = 2_000.0;
/// Rounds of pushing at each depth, and how long each is: few enough events not to change it much.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(200);
/// How long a server is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);
/// Longest wait until everything is done.
const DRAINING_MAX: Duration = Duration::from_secs(180);
/// A flow that takes everything and does nothing.
const FLOW: &str = "events.len()";
const FLOW_SETTINGS: &str = "[batch]\nsize_max = 1000\nage_max = \"1s\"\n";
const DEPTH: &str = "vigie_channel_depth{channel=\"deep\"}";

/// What was found at one depth.
struct Row {
    depth: usize,
    filled: f64,
    pushed: f64,
    resident: f64,
    disk: f64,
    ready: f64,
}

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = super::runtime();
    let house = House::new();
    house.file("channels/deep.toml", "depth_max = 5_000_000\n");
    let mut server = house.serve();
    let empty = disk(&house);
    let depths: &[usize] = plan.pick(
        &[1_000, 10_000, 100_000, 1_000_000],
        &[1_000, 10_000, 100_000],
    );
    let mut rows = Vec::new();
    for depth in depths {
        let mut row = runtime.block_on(at(&house, &server, *depth));
        server.kill();
        server = house.serve();
        row.ready = milliseconds(server.ready_after);
        rows.push(row);
    }
    server.stop();
    tell(report, &rows);
    drained(plan, report, (&house, empty));
}

/// Megabytes of the store, but for its ballast, which is 64 MiB whatever happens.
fn disk(house: &House) -> f64 {
    let bytes =
        |inside: &str| disk_bytes(&house.path(Path::new("data").join(inside).to_str().unwrap()));
    (bytes("tree") + bytes("bodies")) as f64 / 1e6
}

/// Fills the channel up to `depth`, and looks.
async fn at(house: &House, server: &Running, depth: usize) -> Row {
    let waiting = server.metric(DEPTH);
    let began = Instant::now();
    let event = String::from_utf8(load::event()).unwrap();
    load::fill(server.address, ("deep", waiting..depth), |_| event.clone()).await;
    let filled = depth.saturating_sub(waiting) as f64 / began.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let (resident, disk) = (resident_mebibytes(server.pid()), disk(house));
    let request = load::request(server.address, "deep", event.as_bytes());
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let round = load::http_round(server.address, &request, (PRODUCERS, ROUND)).await;
        rates.push(round.rate);
    }
    Row {
        depth,
        filled,
        pushed: median(&rates),
        resident,
        disk,
        ready: 0.0,
    }
}

fn tell(report: &mut Report, rows: &[Row]) {
    if let [least, .., greatest] = rows {
        let ratio = greatest.pushed / least.pushed;
        let depth = count(greatest.depth as f64);
        report.add(Figure {
            what: format!(
                "events durable before 202 into a channel in which {depth} wait, {PRODUCERS} producers"
            ),
            ours: format!("{}/s", count(greatest.pushed)),
            peer: format!("while {} wait: {}/s", count(least.depth as f64), count(least.pushed)),
            ratio: format!("{ratio:.2}×"),
            factor: Some(ratio),
            aim: format!("≥ {:.1}×", 1.0 - FALL_MAX),
            met: Some(ratio >= 1.0 - FALL_MAX),
        });
        report.add(Figure {
            what: format!(
                "from the start of the process to 200 on `/readyz` after a kill, {depth} wait"
            ),
            ours: format!("{:.0} ms", greatest.ready),
            aim: format!("≤ {READY_MILLISECONDS_MAX} ms"),
            met: Some(greatest.ready <= READY_MILLISECONDS_MAX),
            ..Figure::default()
        });
    }
    let row = |row: &Row| {
        vec![
            count(row.depth as f64),
            format!("{}/s", count(row.filled)),
            format!("{}/s", count(row.pushed)),
            format!("{:.0} MiB", row.resident),
            format!("{:.0} MB", row.disk),
            format!("{:.0} ms", row.ready),
        ]
    };
    report.tables.push(Table {
        title: "**Events that wait**, 500 bytes each".to_owned(),
        columns: vec![
            "before",
            "filled, 1,000 a request",
            "64 producers, one a request",
            "memory",
            "disk",
            "ready after a kill",
        ],
        rows: rows.iter().map(row).collect(),
    });
}

/// Everything is taken by a flow, and neither events nor runs are kept for longer.
fn drained(plan: &Plan, report: &mut Report, (house, empty): (&House, f64)) {
    house.file(
        "channels/deep.toml",
        "depth_max = 5_000_000\nretention = \"1s\"\n",
    );
    let settings = std::fs::read_to_string(house.path("settings.toml")).unwrap();
    let settings = settings + "[run]\nretention = \"1s\"\n";
    house.file("settings.toml", &settings);
    house.file("flows/deep/drain.rhai", FLOW);
    house.file("flows/deep/drain.toml", FLOW_SETTINGS);
    let server = house.serve();
    let (waiting, before) = (server.metric(DEPTH), disk(house));
    let began = Instant::now();
    while depth(&server) > 0 && began.elapsed() < DRAINING_MAX {
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = depth(&server);
    let rate = (waiting - left.min(waiting)) as f64 / began.elapsed().as_secs_f64();
    let resident = resident_mebibytes(server.pid());
    report.add(Figure {
        what: format!(
            "{} waiting events taken by a flow in batches of 1,000",
            count(waiting as f64)
        ),
        ours: format!(
            "{}/s, {left} left, {resident:.0} MiB of memory",
            count(rate)
        ),
        ..Figure::default()
    });
    let pause = plan.pick(60, 30);
    std::thread::sleep(Duration::from_secs(pause));
    let after = disk(house);
    let ratio = after / empty;
    report.add(Figure {
        what: format!(
            "disk {pause} s after {} events were done that are kept for 1 s, as their runs are",
            count(waiting as f64)
        ),
        ours: format!("{after:.1} MB ({before:.1} MB before)"),
        peer: format!("an empty store: {empty:.1} MB"),
        ratio: format!("{ratio:.1}×"),
        factor: Some(empty / after),
        aim: format!("≤ {DISK_RATIO_MAX}×"),
        met: Some(ratio <= DISK_RATIO_MAX),
    });
}

/// Events that wait; more than none while nobody answers.
fn depth(server: &Running) -> usize {
    match get(server.address, "/readyz").is_empty() {
        true => usize::MAX,
        false => server.metric(DEPTH),
    }
}
