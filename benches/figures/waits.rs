//! Runs that wait: how soon they wake, what they hold while they do, and what they cost everybody
//! else. Each in the real server, with events through its door.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vigie::standin::{Reply, Server};

use super::Plan;
use super::house::{House, PATIENCE, Running, processor_time, resident_mebibytes};
use super::load::{self, Connection};
use super::path::replay_of_thousand;
use super::report::{Figure, Report, Table, count};
use super::statistics::{median, milliseconds, quantile};

/// A run that waits for its own number, and then tells it.
const WAITER: &str = r#"
fn filter(event) { event.n >= 0 }
watch("signal", #{ n: event.n, status: "OK" }, "30d");
http::put("TARGET/woken", #{ json: event.n });
"#;
const TAKER: &str = r#"receive("jobs", #{ n: event.n }, "1h");"#;
const RESIDENT_MEBIBYTES_MAX: f64 = 400.0;
const REPLAY_MICROSECONDS_MAX: f64 = 2_000.0;
/// How many times as much anything may cost while most runs wait.
const FLAT_MAX: f64 = 1.3;
/// How long a server is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// Events per second that the waits do not want.
const OTHERS_PER_SECOND: usize = 1_000;

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = super::runtime();
    let (mut rows, mut costs) = (Vec::new(), Vec::new());
    let sizes: &[usize] = plan.pick(&[1_000, 10_000, 100_000], &[1_000, 10_000]);
    for waiting in sizes {
        let (row, cost) = runtime.block_on(asleep(plan, report, *waiting));
        rows.push(row);
        costs.push((*waiting, cost));
    }
    flat(report, &costs);
    report.tables.push(Table {
        title: "**Runs that wait** (each for fields of its own on one channel)".to_owned(),
        columns: vec![
            "runs",
            "laid down",
            "memory",
            "event to action, p50",
            "p99",
            "processor per event that nobody wants",
            "ready after a start",
            "first wake-up after it",
        ],
        rows,
    });
    runtime.block_on(receives(plan, report));
    replay(plan, report);
}

async fn target() -> Server {
    let ok = |_: &vigie::standin::Seen| Reply::json(200, &serde_json::json!({}));
    Server::start(ok).await.unwrap()
}

/// What waiting runs cost others: milliseconds from an event to the action of the run that it
/// wakes, and microseconds of the processor for an event that nobody wants.
type Cost = (f64, f64);

/// Ten or a hundred times as many runs that wait should cost the same.
fn flat(report: &mut Report, costs: &[(usize, Cost)]) {
    let [(few, least), .., (many, greatest)] = costs else {
        return;
    };
    let (few, many) = (count(*few as f64), count(*many as f64));
    let pairs = [
        (
            "from an event to the action of the run that it wakes, p50",
            least.0,
            greatest.0,
            "ms",
        ),
        (
            "processor time of an event that no run wants",
            least.1,
            greatest.1,
            "µs",
        ),
    ];
    for (what, few_cost, many_cost, unit) in pairs {
        let ratio = many_cost / few_cost;
        report.add(Figure {
            what: format!("{what}, {many} runs wait"),
            ours: format!("{many_cost:.1} {unit}"),
            peer: format!("{few} runs wait: {few_cost:.1} {unit}"),
            ratio: format!("{ratio:.2}×"),
            factor: Some(1.0 / ratio),
            aim: format!("≤ {FLAT_MAX}×"),
            met: Some(ratio <= FLAT_MAX),
        });
    }
}

/// One row: so many runs that wait.
async fn asleep(plan: &Plan, report: &mut Report, waiting: usize) -> (Vec<String>, Cost) {
    let target = target().await;
    let house = House::new();
    house.file("channels/alert.toml", "");
    house.file("channels/signal.toml", "");
    let script = WAITER.replace("TARGET", &target.url());
    house.file("flows/alert/waiter.rhai", &script);
    let server = house.serve();
    let began = Instant::now();
    fill(server.address, "alert", 0..waiting).await;
    all_wait(&server, "waiter", waiting).await;
    let laid_down = waiting as f64 / began.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let resident = resident_mebibytes(server.pid());
    let wakes = plan.pick(300, 50);
    let times = wake(&server, &target, 0..wakes).await;
    let per_event = others(plan, &server).await;
    server.stop();
    let server = house.serve();
    let ready = milliseconds(server.ready_after);
    let first = wake(&server, &target, wakes..wakes + 1).await;
    let runs = count(waiting as f64);
    if waiting == 100_000 {
        report.add(Figure {
            what: format!("resident memory with {runs} runs that wait"),
            ours: format!("{resident:.0} MiB"),
            aim: "≤ 400 MiB".to_owned(),
            met: Some(resident <= RESIDENT_MEBIBYTES_MAX),
            ..Figure::default()
        });
    }
    let row = vec![
        runs,
        format!("{}/s", count(laid_down)),
        format!("{resident:.0} MiB"),
        format!("{:.1} ms", median(&times)),
        format!("{:.1} ms", quantile(&times, 0.99)),
        format!("{per_event:.0} µs"),
        format!("{ready:.0} ms"),
        format!("{:.0} ms", first[0]),
    ];
    (row, (median(&times), per_event))
}

/// Pushes events `{ n }`.
async fn fill(address: SocketAddr, channel: &str, numbers: std::ops::Range<usize>) {
    let event = |n| format!(r#"{{"n":{n},"status":"PROBLEM"}}"#);
    load::fill(address, (channel, numbers), event).await;
}

/// Waits until the last runs wait; those before them do too, but for a few.
async fn all_wait(server: &Running, flow: &str, runs: usize) {
    let until = Instant::now() + 3 * PATIENCE;
    for number in (runs.saturating_sub(200) + 1)..=runs {
        while !waits(server, &format!("alert%2F{number}%2F{flow}")) {
            assert!(Instant::now() < until, "run {number} does not wait");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn waits(server: &Running, run: &str) -> bool {
    let url = format!("{}/api/v1/runs/{run}", server.url());
    let Ok(mut answer) = ureq::get(&url).call() else {
        return false;
    };
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    json["waits_for"].is_string()
}

/// Wakes one run after the other; milliseconds from sending the event to the run's action.
async fn wake(server: &Running, target: &Server, numbers: std::ops::Range<usize>) -> Vec<f64> {
    let mut connection = Connection::open(server.address).await;
    let mut times = Vec::new();
    for n in numbers {
        let event = format!(r#"{{"n":{n},"status":"OK"}}"#);
        let request = load::request(server.address, "signal", event.as_bytes());
        let began = Instant::now();
        connection.send(&request).await;
        target.wait_for(n + 1).await;
        times.push(milliseconds(began.elapsed()));
    }
    times
}

/// Events on the channel of the waits that none of them wants; processor time of each, in
/// microseconds.
async fn others(plan: &Plan, server: &Running) -> f64 {
    let seconds = plan.pick(10, 3);
    let mut connection = Connection::open(server.address).await;
    let request = load::request(
        server.address,
        "signal",
        br#"{"n":-1,"status":"OK","detail":"nobody wants this"}"#,
    );
    let before = processor_time(server.pid());
    let began = Instant::now();
    let pause = Duration::from_secs(1) / OTHERS_PER_SECOND as u32;
    let mut sent = 0_u32;
    while began.elapsed() < Duration::from_secs(seconds) {
        connection.send(&request).await;
        sent += 1;
        tokio::time::sleep_until((began + pause * sent).into()).await;
    }
    // Until nothing of it is left to do.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let used = processor_time(server.pid()) - before;
    eprintln!(
        "  {:.0} events/s that nobody wants",
        f64::from(sent) / seconds as f64
    );
    used.as_secs_f64() * 1e6 / f64::from(sent)
}

/// Runs that want to take an event from a channel full of others.
async fn receives(plan: &Plan, report: &mut Report) {
    let (old, takers) = (plan.pick(100_000, 20_000), plan.pick(1_000, 200));
    let house = House::new();
    house.file("channels/alert.toml", "");
    house.file("channels/jobs.toml", "");
    house.file("flows/alert/taker.rhai", TAKER);
    let server = house.serve();
    fill(server.address, "jobs", 1_000_000..1_000_000 + old).await;
    let began = Instant::now();
    fill(server.address, "alert", 0..takers).await;
    all_wait(&server, "taker", takers).await;
    let took = milliseconds(began.elapsed());
    report.add(Figure {
        what: format!(
            "{} runs that look for their event among {} old ones, until all wait",
            count(takers as f64),
            count(old as f64)
        ),
        ours: format!("{took:.0} ms"),
        ..Figure::default()
    });
}

fn replay(plan: &Plan, report: &mut Report) {
    let microseconds = replay_of_thousand(plan);
    report.add(Figure {
        what: "a step that replays 1,000 commands".to_owned(),
        ours: format!("{:.2} ms", microseconds / 1e3),
        aim: "≤ 2 ms".to_owned(),
        met: Some(microseconds <= REPLAY_MICROSECONDS_MAX),
        ..Figure::default()
    });
}
