//! `kill -9` of the real process, again and again, while many runs of twenty steps wait and act: at
//! random moments, and right after each of its writes. Then it is counted what the targets saw.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::standin::redmine::KEY;
use vigie::standin::{Redmine, Reply, Seen, Server};

use crate::house::{House, PATIENCE, Running};

/// Two rounds of ten steps.
const TWENTY: &str = r#"
    let n = `${meta.id}/FLOW`;
    for r in 0..2 {
        print(`round ${r}`);
        http::put("TARGET/safe", #{ json: #{ n: n, r: r, id: uuid() } });
        sleep("2ms");
        emit("signal", #{ n: n, r: r, step: 1 });
        let seen = watch("signal", #{ n: n, r: r, step: 1 }, "1h");
        http::post("TARGET/doubt", #{ json: #{ n: n, r: seen.r } });
        emit("jobs", #{ n: n, r: r, worth: 5 });
        let job = receive("jobs", #{ n: n, r: r }, "1h", |job| job.worth == 5);
        print(`job ${job.r}`);
        redmine::open(#{ subject: `t ${n} ${r}`, dedup_key: `k ${n} ${r}` });
        let first = any([on("never"), after("2ms")]);
        emit("signal", #{ n: n, r: r, step: 2 });
        let second = any([after("1h"), on("signal", #{ n: n, r: r }, |seen| seen.step > 1)]);
        http::put("TARGET/last", #{ json: #{ n: n, r: r, first: first.which, second: second.which } });
        let none = receive("jobs", #{ n: n, r: r }, "1ms");
        print(`${none == ()} ${first.which} ${second.which}`);
    }
"#;
const CONSOLE: [&str; 6] = [
    "round 0", "job 0", "true 1 1", "round 1", "job 1", "true 1 1",
];

/// Houses beside each other in the test of each write.
const LANES: usize = 3;

/// Targets that outlive the server, and its house.
struct Street {
    outside: Runtime,
    target: Server,
    tickets: Redmine,
    house: House,
    flows: usize,
}

impl Street {
    fn new(flows: usize) -> Street {
        let outside = Runtime::new().unwrap();
        let answer = |_: &Seen| Reply::json(200, &json!({ "ok": true }));
        let target = outside.block_on(Server::start(answer)).unwrap();
        let tickets = outside.block_on(Redmine::start()).unwrap();
        let house = House::new().settings(&format!(
            "[redmine]\nendpoint = \"{}\"\nkey_file = \"key\"\nmarker_field = 1\nproject = \"test\"",
            tickets.url()
        ));
        house.file("key", KEY);
        for channel in ["alert", "signal", "jobs", "never"] {
            house.channel(channel, "");
        }
        for flow in 0..flows {
            let script = TWENTY.replace("TARGET", &target.url());
            let script = script.replace("FLOW", &flow.to_string());
            house.flow(&format!("alert/f{flow}"), &script);
            house.file(
                &format!("flows/alert/f{flow}.toml"),
                "in_doubt_wait = \"10ms\"",
            );
        }
        Street {
            outside,
            target,
            tickets,
            house,
            flows,
        }
    }

    fn runs(&self, events: usize) -> Vec<String> {
        let flows = 0..self.flows;
        let all = flows.flat_map(|flow| (1..=events).map(move |n| format!("alert/{n}/f{flow}")));
        all.collect()
    }

    /// What the target saw on a path, by key.
    fn seen(&self, path: &str) -> BTreeMap<String, Vec<Seen>> {
        let mut by_key: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for seen in self.target.requests() {
            if seen.path == path {
                let key = seen.header("idempotency-key").unwrap().to_owned();
                by_key.entry(key).or_default().push(seen);
            }
        }
        by_key
    }

    /// Waits until every run has ended, by itself.
    fn finish(&self, server: &Running<'_>, events: usize) {
        for run in self.runs(events) {
            let story = server.ended(&run);
            assert_eq!(story["state"], "done", "{run}: {story:#}");
            assert_eq!(story["console"], json!(CONSOLE), "{run}");
        }
    }

    /// The ledger, which every write changes.
    fn ledger(&self) -> Vec<u8> {
        std::fs::read(self.house.path("data/ledger")).unwrap_or_default()
    }

    fn count(&self, server: &Running<'_>, events: usize, kills: usize) {
        let actions = 2 * self.flows * events;
        for path in ["/safe", "/last", "/doubt"] {
            let seen = self.seen(path);
            assert_eq!(
                seen.len(),
                actions,
                "{path}: each key once for each round of each run"
            );
            for (key, requests) in &seen {
                assert!(requests.len() <= 1 + kills, "{path} {key}");
                let same = requests.iter().all(|one| one.body == requests[0].body);
                assert!(same, "{path} {key}: repeated with other words");
            }
        }
        assert_eq!(self.tickets.issues().len(), actions, "tickets");
        self.doubts_are_told(server, events);
        let waiting = server.get("runs?state=waiting");
        assert_eq!(waiting["runs"], json!([]), "somebody still waits");
    }

    /// What may not be repeated was repeated only where the journal says so.
    fn doubts_are_told(&self, server: &Running<'_>, events: usize) {
        let mut repeats: BTreeMap<String, usize> = BTreeMap::new();
        for requests in self.seen("/doubt").values() {
            let run = requests[0].json()["n"].as_str().unwrap().replace("/", " ");
            *repeats.entry(run).or_default() += requests.len() - 1;
        }
        for run in self.runs(events) {
            let story = server.run(&run);
            let steps = story["journal"].as_array().unwrap();
            let told = |step: &&Json| {
                let text = step["text"].as_str().unwrap_or("");
                step["what"] == "note" && text.contains("repeated with the same key")
            };
            let notes = steps.iter().filter(told).count();
            let key = run.replace("/f", " ").replace('/', " ");
            let repeats = repeats.get(&key).copied().unwrap_or(0);
            assert!(repeats <= notes, "{run}: {repeats} repeats, {notes} notes");
        }
    }
}

#[test]
fn every_run_ends_well_though_the_process_is_killed_at_random_moments() {
    let long = std::env::var("VIGIE_LONG").is_ok();
    let kills = if long { 1_000 } else { 200 };
    let street = Street::new(1);
    let mut server = street.house.serve();
    let mut at_work = 0;
    for _ in 0..kills {
        // There is always something to do.
        server.push("alert", &json!({}));
        let before = street.ledger();
        std::thread::sleep(Duration::from_millis(rand::random_range(1..150)));
        at_work += usize::from(street.ledger() != before);
        server.kill();
        server = street.house.serve();
    }
    assert!(at_work > kills / 2, "{at_work} lives wrote anything");
    street.finish(&server, kills);
    street.count(&server, kills, kills);
    drop(street.outside);
}

/// Kills the process right after its `nth` write since it listens; false if it had all done before.
fn survives_a_kill_after_write(nth: usize) -> bool {
    let street = Street::new(1);
    let server = street.house.serve();
    let mut last = street.ledger();
    server.push("alert", &json!({}));
    let mut writes = 0;
    let until = Instant::now() + PATIENCE;
    let mut idle = Instant::now();
    while writes < nth && idle.elapsed() < Duration::from_secs(2) {
        let now = street.ledger();
        if now != last {
            (writes, last, idle) = (writes + 1, now, Instant::now());
        }
        assert!(Instant::now() < until);
    }
    server.kill();
    let server = street.house.serve();
    street.finish(&server, 1);
    street.count(&server, 1, 1);
    writes == nth
}

/// Every `LANES`th write from this one on; how many there were.
fn survives_kills_from(first: usize) -> usize {
    let mut nth = first;
    while survives_a_kill_after_write(nth) {
        nth += LANES;
        assert!(nth < 300, "it never ends");
    }
    nth
}

#[test]
fn a_run_of_twenty_steps_survives_a_real_kill_after_each_of_its_writes() {
    // What happens right after a write differs from time to time.
    let rounds = if std::env::var("VIGIE_LONG").is_ok() {
        5
    } else {
        1
    };
    for _ in 0..rounds {
        let lanes: Vec<_> = (1..=LANES)
            .map(|first| std::thread::spawn(move || survives_kills_from(first)))
            .collect();
        let writes = lanes.into_iter().map(|lane| lane.join().unwrap()).max();
        assert!(writes > Some(18), "only {writes:?} writes");
    }
}
