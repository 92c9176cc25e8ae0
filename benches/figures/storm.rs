//! A storm from a thousand hosts in one channel, and how long an event of another channel that
//! matters more takes meanwhile, from when it is due to its reaction.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Plan;
use super::hooks::{Hook, steady};
use super::load::{Connection, request};
use super::report::{Figure, Report, count};
use super::sink::Sink;
use super::statistics::quantile;

const HOSTS: usize = 1_000;
/// Events in one request.
const PARCEL: usize = 100;
const SENDERS: usize = 4;
/// Events a second of the channel that matters.
const PAGES_PER_SECOND: usize = 50;
/// How long one of them may take, 99 of 100, in milliseconds.
const P99_MAX: f64 = 250.0;
/// One event of ten is noted, those of a host one after the other.
const FLOW: &str =
    "fn filter(event) { event.n % 10 == 0 }\nfile::append(\"storm\", `${event.n}`);\n";

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = runtime.block_on(Sink::start());
    let house = Hook::house(&sink);
    let address = house.address;
    let settings = format!("[http]\nlisten = \"{address}\"\n[file]\nfolder = \"out\"\n");
    house.file("settings.toml", &settings);
    std::fs::create_dir_all(house.path("out")).unwrap();
    house.file("channels/storm.toml", "");
    house.file("flows/storm/note.rhai", FLOW);
    house.file("flows/storm/note.toml", "order_by = \"hostname\"\n");
    let server = house.serve();
    let hook = Hook::vigie(&server);
    let (events, seconds) = plan.pick((100_000, 10), (10_000, 2));
    // A page is due for a while after the last event too.
    let pages = (PAGES_PER_SECOND, seconds + 2);
    let storm = blow(address, events, Duration::from_secs(seconds as u64));
    let both = async { tokio::join!(steady(&hook, &sink, pages), storm) };
    let ((times, lost), took) = runtime.block_on(both);
    assert!(house.path("out/storm").exists(), "nothing was noted");
    let p99 = quantile(&times, 0.99);
    report.add(Figure {
        what: format!(
            "a storm of {} events in {seconds} s from {} hosts: an event of another channel, 99 of 100",
            count(events as f64),
            count(HOSTS as f64)
        ),
        ours: format!(
            "{p99:.0} ms (half of {}: {:.0} ms; {lost} lost); the storm accepted in {:.1} s, {}/s",
            times.len(),
            quantile(&times, 0.5),
            took.as_secs_f64(),
            count(events as f64 / took.as_secs_f64())
        ),
        aim: format!("≤ {P99_MAX} ms, 0 lost"),
        met: Some(p99 <= P99_MAX && lost == 0),
        ..Figure::default()
    });
}

/// Sends the storm evenly within `time`, or as fast as it is accepted; how long that took.
async fn blow(address: SocketAddr, events: usize, time: Duration) -> Duration {
    let began = Instant::now();
    let sender = |sender: usize| {
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await;
            for first in (sender * PARCEL..events).step_by(SENDERS * PARCEL) {
                let due = began + time.mul_f64(first as f64 / events as f64);
                tokio::time::sleep_until(due.into()).await;
                connection.send(&parcel(address, first)).await;
            }
        })
    };
    let senders: Vec<_> = (0..SENDERS).map(sender).collect();
    for sender in senders {
        sender.await.unwrap();
    }
    began.elapsed()
}

fn parcel(address: SocketAddr, first: usize) -> Vec<u8> {
    let event = |n: usize| format!("{{\"n\":{n},\"hostname\":\"host{}\"}}", n % HOSTS);
    let events: Vec<String> = (first..first + PARCEL).map(event).collect();
    request(
        address,
        "storm",
        format!("[{}]", events.join(",")).as_bytes(),
    )
}
