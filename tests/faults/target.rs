//! Targets that fail in every way a target can, while others go on: each run waits for its own
//! target, says what the matter is, and ends well with one effect once the target is well.
//!
//! Rounds: each fault once, 10 times long.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Runtime;
use vigie::standin::{Mischief, Reply, Seen, Server};

use super::rounds;
use crate::house::{House, Running, wait_for};
use crate::post_stand_in::StandIn;

/// What goes wrong once, at which path; then the target is well.
fn faults() -> Vec<(&'static str, Mischief)> {
    let answer = |status| Mischief::Answer(Reply::empty(status));
    let busy = Reply::empty(429).with("retry-after", "2");
    vec![
        ("/500", answer(500)),
        ("/502", answer(502)),
        ("/503", answer(503)),
        ("/504", answer(504)),
        ("/408", answer(408)),
        ("/429", Mischief::Answer(busy)),
        ("/slow", Mischief::SlowBody),
        ("/silent", Mischief::Silence),
        ("/reset", Mischief::LoseAnswer),
    ]
}

/// A target, when each request of it came, and a house whose flow goes where its events say.
struct Street {
    outside: Runtime,
    target: Server,
    came: Arc<Mutex<Vec<(String, Instant)>>>,
    house: House,
}

impl Street {
    fn new() -> Street {
        let outside = Runtime::new().unwrap();
        let came: Arc<Mutex<Vec<(String, Instant)>>> = Arc::default();
        let own = Arc::clone(&came);
        let answer = move |seen: &Seen| {
            own.lock()
                .unwrap()
                .push((seen.path.clone(), Instant::now()));
            // long enough that a slow body takes longer than anybody waits
            Reply::json(200, &json!({ "text": "x".repeat(100) }))
        };
        let target = outside.block_on(Server::start(answer)).unwrap();
        let house = House::new();
        house.channel("alert", "").channel("other", "");
        let go = "http::put(event.url, #{ json: #{ n: event.n }, timeout: \"1s\" });";
        house.flow("alert/go", go);
        house.flow("other/go", go);
        Street {
            outside,
            target,
            came,
            house,
        }
    }

    /// Somebody else's event, which no fault may hold up.
    fn bystander(&self, server: &Running) {
        let url = format!("{}/bystander", self.target.url());
        let id = server.push("other", &json!({ "url": url, "n": 0 }));
        assert_eq!(server.ended(&format!("{id}/go"))["state"], "done");
    }
}

#[test]
fn a_run_waits_until_its_target_is_well_and_has_one_effect() {
    let street = Street::new();
    let server = street.house.serve();
    for round in 0..rounds(1, 10) {
        for (path, mischief) in faults() {
            street.target.fail_next(1, mischief.clone());
            let began = Instant::now();
            let url = format!("{}{path}", street.target.url());
            let id = server.push("alert", &json!({ "url": url, "n": round }));
            let run = server.ended(&format!("{id}/go"));
            assert_eq!(run["state"], "done", "{path}: {run}");
            let of = |seen: &&Seen| seen.path == path && seen.json()["n"] == round;
            let seen: Vec<Seen> = street
                .target
                .requests()
                .iter()
                .filter(of)
                .cloned()
                .collect();
            assert_eq!(seen.len(), 2, "{path}: one try and one more");
            assert_eq!(
                seen[0].header("idempotency-key"),
                seen[1].header("idempotency-key"),
                "{path}"
            );
            if path == "/429" {
                assert!(
                    began.elapsed() >= Duration::from_secs(2),
                    "its wish was not honoured"
                );
            }
            street.bystander(&server);
        }
    }
    drop(street.came);
    drop(street.outside);
}

/// What the last try of a run met.
fn trouble(server: &Running, id: &str) -> String {
    wait_for("a try that failed", || {
        let run = server.run(&format!("{id}/go"));
        assert_ne!(run["state"], "done", "{run}");
        assert_ne!(run["state"], "failed", "{run}");
        run["tries"]["error"].as_str().map(str::to_owned)
    })
}

#[test]
fn who_cannot_be_reached_or_trusted_is_named_and_waited_for() {
    let street = Street::new();
    // a port that speaks TLS to nobody, one that accepts and says nothing, one that nobody holds
    let plain = street.target.url().replace("http://", "https://");
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", mute.local_addr().unwrap());
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    // a server whose certificate nobody on this host has signed
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
    let stranger = StandIn::tls(&format!("{data}/server.pem"), &format!("{data}/server.key"));
    let untrusted = format!("https://localhost:{}", stranger.port);
    let server = street.house.serve();
    let cases = [
        (plain, &["TLS", "SSL", "corrupt", "InvalidContentType"][..]),
        (untrusted, &["certificate", "Certificate", "UnknownIssuer"]),
        (silent, &["time", "no answer"]),
        (gone, &["refused", "connect"]),
        ("http://nobody.invalid".to_owned(), &["nobody.invalid"]),
    ];
    let mut ids = Vec::new();
    for (url, words) in &cases {
        let id = server.push("alert", &json!({ "url": url, "n": 0 }));
        let said = trouble(&server, &id);
        assert!(
            words.iter().any(|word| said.contains(word)),
            "{url}: {said}"
        );
        street.bystander(&server);
        ids.push(id);
    }
    for id in &ids {
        let stopped = server.verb(&["kill", &format!("{id}/go")]);
        assert!(stopped.status.success(), "{stopped:?}");
    }
    // nobody who was not trusted was told anything
    assert!(stranger.requests().is_empty());
}
