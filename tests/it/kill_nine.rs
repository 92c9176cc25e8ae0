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

    /// Waits until every run has ended; those that had the process die under them twice by chance
    /// are tried again, as a person would.
    fn finish(&self, server: &Running<'_>, events: usize) -> usize {
        let mut retried = 0;
        for run in self.runs(events) {
            let mut story = server.ended(&run);
            if story["message"]
                .as_str()
                .is_some_and(|why| why.contains("died twice"))
            {
                retried += 1;
                assert!(server.verb(&["retry", &run]).status.success(), "{run}");
                story = server.ended(&run);
            }
            assert_eq!(story["state"], "done", "{run}: {story:#}");
            assert_eq!(story["console"], json!(CONSOLE), "{run}");
        }
        retried
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

fn is_over(server: &Running<'_>, street: &Street, events: usize) -> bool {
    let rows = server.get("runs?limit=1000");
    let rows = rows["runs"].as_array().unwrap().clone();
    let done = rows
        .iter()
        .filter(|row| row["run"].as_str().unwrap().starts_with("alert/"));
    done.filter(|row| row["state"] == "done").count() == street.flows * events
}

#[test]
fn every_run_ends_well_though_the_process_is_killed_at_random_moments() {
    let long = std::env::var("VIGIE_LONG").is_ok();
    let (flows, events, kills) = if long { (4, 50, 200) } else { (2, 5, 10) };
    let street = Street::new(flows);
    let mut server = street.house.serve();
    for _ in 0..events {
        server.push("alert", &json!({}));
    }
    let mut killed = 0;
    while killed < kills && !is_over(&server, &street, events) {
        let moment = Duration::from_millis(rand::random_range(1..if long { 400 } else { 150 }));
        std::thread::sleep(moment);
        server.kill();
        killed += 1;
        server = street.house.serve();
    }
    let retried = street.finish(&server, events);
    println!("{killed} kills, {retried} runs tried again by hand");
    street.count(&server, events, killed);
    drop(street.outside);
}

/// Kills the process right after its `nth` write since it listens; false if it had all done before.
fn survives_a_kill_after_write(nth: usize) -> bool {
    let street = Street::new(1);
    let server = street.house.serve();
    let ledger = street.house.path("data/ledger");
    let look = || std::fs::read(&ledger).unwrap_or_default();
    let mut last = look();
    server.push("alert", &json!({}));
    let mut writes = 0;
    let until = Instant::now() + PATIENCE;
    let mut idle = Instant::now();
    while writes < nth && idle.elapsed() < Duration::from_secs(2) {
        let now = look();
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

#[test]
fn a_run_of_twenty_steps_survives_a_real_kill_after_each_of_its_writes() {
    let each = if std::env::var("VIGIE_LONG").is_ok() {
        1
    } else {
        6
    };
    let mut nth = 1;
    while survives_a_kill_after_write(nth) {
        nth += each;
        assert!(nth < 300, "it never ends");
    }
    assert!(nth > 18, "only {nth} writes");
}
