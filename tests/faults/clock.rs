//! A clock that jumps backwards and forwards under the running server: nothing is lost or done twice,
//! a schedule's moment comes once, and what waits for a target does not wait for the clock.
//!
//! Rounds: once through the jumps, 5 times long. The clock is faketime's, read from a file at every call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use vigie::attempt::RETRY_AFTER_MAX;
use vigie::standin::{Mischief, Reply, Seen, Server};
use vigie::tries::TriesRecord;

use super::rounds;
use crate::house::{House, PATIENCE, Running, wait_for};
use crate::peers::{need, run};
use crate::sources::events;

const HOUR: i64 = 3_600;
const MONTH: i64 = 30 * 24 * HOUR;
/// Seconds from the true time; each is a jump from the one before.
const JUMPS: [i64; 10] = [HOUR, -HOUR, 0, -3, 0, MONTH, -MONTH, 600, -2 * HOUR, 0];

/// The library that gives a program its own time.
fn library() -> String {
    need("faults");
    let files = run(Command::new("dpkg-query").args(["-L", "libfaketime"]));
    let library = files
        .lines()
        .find(|line| line.ends_with("libfaketimeMT.so.1"));
    library.expect("libfaketimeMT.so.1").to_owned()
}

/// A house whose clock stands in a file, and a target.
struct Clockwork {
    _outside: tokio::runtime::Runtime,
    target: Server,
    house: House,
    file: PathBuf,
}

impl Clockwork {
    fn new() -> Clockwork {
        let outside = tokio::runtime::Runtime::new().unwrap();
        let answer = |_: &Seen| Reply::json(200, &json!({}));
        let target = outside.block_on(Server::start(answer)).unwrap();
        let house = House::new();
        let file = house.path("clock");
        std::fs::write(&file, "+0").unwrap();
        let house = house
            .environment("LD_PRELOAD", &library())
            .environment("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
            .environment("FAKETIME_NO_CACHE", "1")
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let door = "[[source]]\nkind = \"cron\"\nschedule = \"* * * * * *\"\nmissed = \"once\"";
        let bare = format!("dedup_window = \"0s\"\n{door}");
        for (channel, toml) in [("alert", ""), ("look", ""), ("slow", "")] {
            house.channel(channel, toml);
        }
        house.channel("tick", door).channel("bare", &bare);
        let tell = format!(
            "http::put(\"{}\", #{{ json: #{{ n: event.n }} }});",
            target.url()
        );
        house.flow("alert/tell", &tell);
        house.flow("alert/nap", "sleep(\"1ms\");");
        house.flow("slow/sleep", "sleep(\"30m\");");
        Clockwork {
            _outside: outside,
            target,
            house,
            file,
        }
    }

    /// The clock jumps; a reader finds the old time or the new one, never half a file.
    fn jump(&self, server: &Running, seconds: i64) {
        let fresh = self.house.path("clock.fresh");
        std::fs::write(&fresh, format!("{seconds:+}")).unwrap();
        std::fs::rename(&fresh, &self.file).unwrap();
        let error = server_time(server) - (Timestamp::now().as_second() + seconds);
        let patience = i64::try_from(PATIENCE.as_secs()).unwrap();
        assert!(error.abs() < patience, "the clock did not jump: {error}");
    }

    /// How often the target was asked for event `n`.
    fn saw(&self, n: u64) -> usize {
        let requests = self.target.requests();
        requests.iter().filter(|seen| seen.json()["n"] == n).count()
    }

    /// Event `n` waits for its target while the clock jumps; event `n + 1` comes after it.
    fn live_through(&self, server: &Running, seconds: i64, n: u64) {
        let busy = Reply::empty(503).with("retry-after", "1");
        self.target.fail_next(1, Mischief::Answer(busy));
        let before = server.push("alert", &json!({ "n": n }));
        wait_for("the first try", || (self.saw(n) > 0).then_some(()));
        // what waits follows the clock on the wall: set back by a month, it would wait a month longer
        server.ended(&format!("{before}/nap"));
        self.jump(server, seconds);
        let after = server.push("alert", &json!({ "n": n + 1 }));
        for id in [before, after] {
            for flow in ["tell", "nap"] {
                let run = server.ended(&format!("{id}/{flow}"));
                assert_eq!(run["state"], "done", "{seconds}: {run}");
            }
        }
        assert_eq!((self.saw(n), self.saw(n + 1)), (2, 1), "{seconds}");
    }
}

/// Seconds since 1970 that the server gives an event now.
fn server_time(server: &Running) -> i64 {
    let id = server.push("look", &json!({}));
    let event = server.get(&format!("events/{}", id.replace('/', "%2F")));
    let at = event["meta"]["received_at"].as_str().unwrap();
    at.parse::<Timestamp>().unwrap().as_second()
}

/// Waits until the server's clock has passed a moment that it passed before.
fn wait_past(server: &Running, moment: i64) {
    let is_past = || (server_time(server) > moment).then_some(());
    wait_for("the same seconds", is_past);
}

/// How many moments of the schedule came to a channel; each of them once, whatever the clock did.
fn moments(server: &Running, channel: &str) -> usize {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for body in events(server, channel) {
        *seen.entry(body["scheduled_at"].to_string()).or_default() += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    seen.len()
}

fn some_moments(server: &Running, channel: &str) {
    let before = moments(server, channel);
    let more = || (moments(server, channel) >= before + 2).then_some(());
    wait_for("moments", more);
}

#[test]
fn a_jumping_clock_loses_nothing_and_does_nothing_twice() {
    let clockwork = Clockwork::new();
    let mut server = clockwork.house.serve();
    let mut n = 0;
    for round in 0..rounds(1, 5) {
        let slow = server.push("slow", &json!({}));
        for jump in JUMPS {
            clockwork.live_through(&server, jump, n);
            n += 2;
            // What was to sleep for half an hour by the clock on the wall has slept enough.
            let slow = server.ended(&format!("{slow}/sleep"));
            assert_eq!(slow["state"], "done", "{round}");
        }
        some_moments(&server, "tick");
        server.kill();
        server = clockwork.house.serve();
    }
    assert_eq!(
        events(&server, "alert").len() as u64,
        n,
        "numbers have no gaps"
    );
    assert!((0..n).all(|n| clockwork.saw(n) == 1 + usize::from(n % 2 == 0)));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_moment_of_a_schedule_comes_once_though_the_clock_passes_it_twice() {
    let clockwork = Clockwork::new();
    let server = clockwork.house.serve();
    some_moments(&server, "tick");
    clockwork.jump(&server, 2 * HOUR);
    let jumped = Instant::now();
    some_moments(&server, "tick");
    clockwork.jump(&server, 0);
    some_moments(&server, "tick");
    // to just before the moments that came first
    let passed = i64::try_from(jumped.elapsed().as_secs()).unwrap();
    clockwork.jump(&server, 2 * HOUR - passed - 2);
    let again = server_time(&server) + passed + 3;
    wait_past(&server, again);
    moments(&server, "tick");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_clock_set_back_a_little_repeats_no_moment_even_where_nothing_else_knows_it() {
    let clockwork = Clockwork::new();
    let server = clockwork.house.serve();
    some_moments(&server, "bare");
    // seconds that went by already go by again
    clockwork.jump(&server, -5);
    let again = server_time(&server) + 5;
    wait_past(&server, again);
    some_moments(&server, "bare");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_clock_that_was_set_back_puts_no_try_off_for_longer_than_a_target_may_wish() {
    let now = Timestamp::now();
    let hours = |hours: i64| jiff::SignedDuration::from_hours(hours);
    let mut tries = TriesRecord::begin(0, now);
    tries.next_at = now + hours(1);
    assert_eq!(tries.wait_left(now + hours(2)), None);
    assert_eq!(tries.wait_left(now), Some(Duration::from_secs(3_600)));
    assert_eq!(tries.wait_left(now - hours(24 * 30)), Some(RETRY_AFTER_MAX));
}
