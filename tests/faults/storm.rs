//! A storm from a thousand hosts: everything that was accepted is kept and acted on, and a channel
//! that matters more is not put behind it.
//!
//! Rounds: 4,000 events, 100,000 long. How long the other channel's events take is printed; what is
//! asserted cannot fail because a machine is slow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::standin::{Reply, Seen, Server};

use super::{Ends, rounds};
use crate::house::{House, Running, wait_for};

const HOSTS: usize = 1_000;
/// How long a storm may take on a busy machine.
const STORM_PATIENCE: Duration = Duration::from_secs(900);
/// Events in one request.
const PARCEL: usize = 100;
const SENDERS: usize = 4;

/// Sends `events` of the storm, a parcel at a time, each again until it is accepted.
fn blow(server: &Running, events: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(PARCEL, Ordering::SeqCst);
                    if first >= events {
                        return;
                    }
                    let of = |n: usize| json!({ "n": n, "hostname": format!("host{}", n % HOSTS) });
                    let parcel: Json = (first..events.min(first + PARCEL)).map(of).collect();
                    send(server, &parcel.to_string());
                }
            });
        }
    });
}

fn send(server: &Running, parcel: &str) {
    wait_for("room for a parcel", || {
        let json = [("content-type", "application/json")];
        let path = "/api/v1/channels/storm/events";
        let answered = server.ask(path, &json, Some(parcel.as_bytes()));
        assert!([202, 503].contains(&answered.status), "{answered:?}");
        (answered.status == 202).then_some(())
    });
}

/// How long each event of the channel that matters took until its target was told.
fn matter(server: &Running, told: &Mutex<Vec<(u64, Instant)>>, over: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let (n, began) = (times.len() as u64, Instant::now());
        server.push("pager", &json!({ "n": n }));
        let told = || {
            let told = told.lock().unwrap();
            told.iter().find(|(of, _)| *of == n).map(|(_, at)| *at)
        };
        times.push(wait_for("the page", told).duration_since(began));
    }
    times.sort();
    times
}

fn waiting(server: &Running, channel: &str) -> u64 {
    let channels = server.get("channels");
    let rows = channels["channels"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == channel).unwrap();
    row["waiting"].as_u64().unwrap()
}

#[test]
fn a_storm_loses_nothing_and_does_not_stand_before_what_matters_more() {
    let events = rounds(4_000, 100_000);
    let outside = Runtime::new().unwrap();
    let told: Arc<Mutex<Vec<(u64, Instant)>>> = Arc::default();
    let own = Arc::clone(&told);
    let answer = move |seen: &Seen| {
        let n = seen.json()["n"].as_u64().unwrap();
        own.lock().unwrap().push((n, Instant::now()));
        Reply::json(200, &json!({}))
    };
    let pager = outside.block_on(Server::start(answer)).unwrap();
    let house = House::new().settings("[file]\nfolder = \"out\"");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house.channel("storm", "").channel("pager", "");
    let note = "fn filter(event) { event.n % 10 == 0 }\nfile::append(\"storm\", `${event.n}`);";
    house.flow("storm/note", note);
    house.file("flows/storm/note.toml", "order_by = \"hostname\"");
    let page = "http::put(\"TARGET\", #{ json: #{ n: event.n } });";
    house.flow("pager/page", &page.replace("TARGET", &pager.url()));
    let server = house.serve();

    // The whole storm waits; a page is not put behind it.
    assert!(server.verb(&["pause", "storm/note"]).status.success());
    let over = AtomicBool::new(false);
    let (quiet, times) = std::thread::scope(|scope| {
        let quiet = scope.spawn(|| matter(&server, &told, &over));
        let ends = Ends(&over);
        let began = Instant::now();
        blow(&server, events);
        println!("{events} events accepted in {:?}", began.elapsed());
        drop(ends);
        let quiet = quiet.join().unwrap();
        assert_eq!(waiting(&server, "storm"), events as u64);
        over.store(false, Ordering::SeqCst);
        told.lock().unwrap().clear();
        assert!(server.verb(&["resume", "storm/note"]).status.success());
        let times = scope.spawn(|| matter(&server, &told, &over));
        let ends = Ends(&over);
        wait_for("the first page", || {
            (!told.lock().unwrap().is_empty()).then_some(())
        });
        assert!(
            waiting(&server, "storm") > 0,
            "the page came after the whole storm"
        );
        let limit = Instant::now() + STORM_PATIENCE;
        while waiting(&server, "storm") > 0 {
            assert!(Instant::now() < limit, "the storm is not over");
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(ends);
        (quiet, times.join().unwrap())
    });
    for (when, times) in [
        ("while it came in", quiet),
        ("while it was worked off", times),
    ] {
        let p99 = times[(times.len() * 99 / 100).min(times.len() - 1)];
        println!(
            "{when}: {} pages, median {:?}, p99 {p99:?}",
            times.len(),
            times[times.len() / 2]
        );
    }
    // what does not wait any more has been begun, and ends
    let noted = || {
        let lines = crate::house::lines(&house.path("out/storm"));
        let mut noted: Vec<usize> = lines.iter().map(|line| line.parse().unwrap()).collect();
        noted.sort_unstable();
        noted
    };
    let wanted: Vec<usize> = (0..events).filter(|n| n % 10 == 0).collect();
    wait_for("the last run", || {
        (noted().len() >= wanted.len()).then_some(())
    });
    assert_eq!(noted(), wanted, "each once");
    assert_eq!(server.stop(), Some(0));
}
