//! Programs that take events off channels over HTTP, on the real server: one taker for each event,
//! the longest-waiting first, and nothing lost when somebody dies in between.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::house::{Answered, House, Running, lines, wait_for};
use crate::wire::{Wire, post_head};

const JSON: (&str, &str) = ("content-type", "application/json");

fn house() -> House {
    let house = House::new().settings("[file]\nfolder = \".\"");
    house.channel("orders", "").channel("alert", "");
    house
}

fn order(server: &Running, channel: &str, order: &Json) -> Answered {
    let path = format!("/api/v1/channels/{channel}/receive");
    server.ask(&path, &[JSON], Some(order.to_string().as_bytes()))
}

/// What is taken at once; its number.
fn take(server: &Running, channel: &str) -> Option<u64> {
    let answered = order(server, channel, &json!({}));
    match answered.status {
        200 => Some(number(&answered.json())),
        408 => None,
        _ => panic!("{answered:?}"),
    }
}

fn number(event: &Json) -> u64 {
    let id = event["id"].as_str().unwrap();
    id.rsplit('/').next().unwrap().parse().unwrap()
}

fn count(server: &Running, channel: &str) -> Json {
    server.get(&format!("channels/{channel}/count"))
}

fn put_back(server: &Running, id: &str) -> Answered {
    let path = format!("/api/v1/events/{}/put_back", id.replace('/', "%2F"));
    server.ask(&path, &[], Some(b""))
}

fn takers(server: &Running, channel: &str, wanted: u64) {
    wait_for(&format!("{wanted} takers"), || {
        (count(server, channel)["takers"] == wanted).then_some(())
    });
}

/// Asks on a connection of its own, and waits until it stands in the line as number `place`.
fn stand(server: &Running, channel: &str, place: u64) -> Wire {
    let mut wire = Wire::to(server);
    let path = format!("/api/v1/channels/{channel}/receive?wait=60s");
    assert!(wire.send(post_head(&path, "content-length: 0\r\n").as_bytes()));
    takers(server, channel, place);
    wire
}

fn heard(mut wire: Wire) -> Json {
    let heard = wire.hear().unwrap();
    assert_eq!(heard.status, 200, "{heard:?}");
    serde_json::from_str(&heard.text).unwrap()
}

#[test]
fn the_oldest_is_taken_and_nobody_gets_it_again_after_a_kill_either() {
    let house = house();
    let server = house.serve();
    for n in 1..=3 {
        server.push("orders", &json!({ "n": n }));
    }
    let first = order(&server, "orders", &json!({}));
    assert_eq!(first.headers["x-vigie-event"], "orders/1");
    assert_eq!(first.json()["body"], json!({ "n": 1 }));
    assert_eq!(first.json()["meta"]["source"], "http");
    let story = server.get("events/orders%2F1");
    let by = story["taken_by"].as_str().unwrap();
    assert!(by.starts_with("caller loopback "), "{by}");
    server.kill();
    let server = house.serve();
    assert_eq!(take(&server, "orders"), Some(2));
    assert_eq!(take(&server, "orders"), Some(3));
    let empty = order(&server, "orders", &json!({}));
    assert_eq!(empty.status, 408);
    assert_eq!(
        empty.json()["error"]["message"],
        "nothing that fits waits in `orders`"
    );
    assert_eq!(
        server.get("events/orders%2F1")["body"]["n"],
        1,
        "still readable"
    );
    let missing = order(&server, "odrers", &json!({}));
    assert_eq!(missing.status, 404);
}

#[test]
fn what_was_taken_out_of_order_does_not_count_and_makes_room() {
    let house = house();
    house.channel("small", "depth_max = 4");
    let server = house.serve();
    for host in ["a", "b", "c", "b"] {
        server.push("small", &json!({ "host": host, "level": 3 }));
    }
    let path = "/api/v1/channels/small/events";
    assert_eq!(server.ask(path, &[JSON], Some(b"{}")).status, 503);
    let from_b = order(&server, "small", &json!({ "match": { "host": "b" } }));
    assert_eq!(number(&from_b.json()), 2);
    let by_query = "/api/v1/channels/small/receive?match.host=b";
    assert_eq!(number(&server.ask(by_query, &[], Some(b"")).json()), 4);
    let waiting = |server: &Running| {
        let rows = server.get("channels")["channels"].clone();
        let row = rows.as_array().unwrap().iter();
        let row = row.clone().find(|row| row["name"] == "small").unwrap();
        assert_eq!(row["waiting"], count(server, "small")["waiting"]);
        let metrics = server.ask("/metrics", &[], None).text;
        let line = format!(
            "vigie_channel_depth{{channel=\"small\"}} {}\n",
            row["waiting"]
        );
        assert!(metrics.contains(&line), "{line} {metrics}");
        row["waiting"].as_u64().unwrap()
    };
    assert_eq!(waiting(&server), 2);
    for n in 5..=6 {
        let id = server.push("small", &json!({ "n": n }));
        assert_eq!(id, format!("small/{n}"));
    }
    assert_eq!(server.ask(path, &[JSON], Some(b"{}")).status, 503);
    server.kill();
    let server = house.serve();
    assert_eq!(waiting(&server), 4, "after a restart too");
    let peeked = server.get("channels/small/peek?limit=10");
    let ids: Vec<u64> = peeked["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(number)
        .collect();
    assert_eq!(ids, [1, 3, 5, 6]);
    let page = server.get("channels/small/peek?limit=1&after=3");
    assert_eq!((number(&page["events"][0]), &page["next"]), (5, &json!(5)));
    let none = order(&server, "small", &json!({ "match": { "level": "3" } }));
    assert_eq!(none.status, 408, "text is no number");
    let level = order(&server, "small", &json!({ "match": { "level": 3.0 } }));
    assert_eq!(number(&level.json()), 1);
    let rest: Vec<u64> = std::iter::from_fn(|| take(&server, "small")).collect();
    assert_eq!(rest, [3, 5, 6]);
    assert_eq!(waiting(&server), 0);
}

#[test]
fn what_a_full_channel_let_go_is_given_to_nobody() {
    let house = house();
    house.channel("recent", "depth_max = 2\non_full = \"drop_oldest\"");
    let server = house.serve();
    for n in 1..=3 {
        server.push("recent", &json!(n));
    }
    let third = "/api/v1/events/recent%2F3/take";
    assert_eq!(server.ask(third, &[], Some(b"")).status, 200);
    for n in 4..=5 {
        server.push("recent", &json!(n));
    }
    let rest: Vec<u64> = std::iter::from_fn(|| take(&server, "recent")).collect();
    assert_eq!(rest, [4, 5]);
}

#[test]
fn callers_and_runs_stand_in_one_line_and_the_longest_waiting_is_next() {
    let house = house();
    house.flow(
        "alert/take",
        r#"let got = receive("orders", #{}, "1h"); file::append("log", `run got ${got.n}`);"#,
    );
    let server = house.serve();
    let first = stand(&server, "orders", 1);
    server.push("alert", &json!({}));
    takers(&server, "orders", 2);
    let third = stand(&server, "orders", 3);
    let listed = server.get("runs?state=waiting");
    assert_eq!(
        listed["runs"].as_array().unwrap().len(),
        1,
        "callers are no runs"
    );
    for n in 1..=4 {
        server.push("orders", &json!({ "n": n }));
    }
    assert_eq!(heard(first)["body"]["n"], 1);
    assert_eq!(heard(third)["body"]["n"], 3);
    let log = wait_for("the run", || lines(&house.path("log")).first().cloned());
    assert_eq!(log, "run got 2");
    assert_eq!(take(&server, "orders"), Some(4));
    takers(&server, "orders", 0);
}

#[test]
fn where_there_are_flows_only_what_comes_is_taken_and_they_do_not_see_it() {
    let house = house();
    house.flow("alert/see", r#"file::append("log", `saw ${event.n}`);"#);
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    server.ended("alert/1/see");
    let refused = order(&server, "alert", &json!({}));
    assert_eq!(refused.status, 409);
    let why = refused.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(why.starts_with("flows look at `alert`"), "{why}");
    let old = server.ask("/api/v1/events/alert%2F1/take", &[], Some(b""));
    assert_eq!(old.status, 409);
    let caller = stand(&server, "alert", 1);
    server.push("alert", &json!({ "n": 2 }));
    assert_eq!(heard(caller)["id"], "alert/2");
    server.push("alert", &json!({ "n": 3 }));
    server.ended("alert/3/see");
    assert_eq!(lines(&house.path("log")), ["saw 1", "saw 3"]);
    // Put back it cannot have its place again: the flow has passed it.
    let back = put_back(&server, "alert/2").json();
    assert_eq!(back["id"], "alert/4");
    server.ended("alert/4/see");
    assert_eq!(lines(&house.path("log"))[2], "saw 2");
    let story = server.get("events/alert%2F4");
    assert_eq!(story["meta"]["put_back"], "alert/2");
    assert_eq!(put_back(&server, "alert/2").status, 409, "once");
    wait_for("the flow's place to be told", || {
        (count(&server, "alert")["waiting"] == 0).then_some(())
    });
}

#[test]
fn what_is_put_back_has_its_place_again_or_goes_to_who_waits() {
    let house = house();
    house.flow("alert/take", r#"receive("orders", #{ n: 9 }, "1h");"#);
    let server = house.serve();
    for n in 1..=3 {
        server.push("orders", &json!({ "n": n }));
    }
    assert_eq!(take(&server, "orders"), Some(1));
    assert_eq!(take(&server, "orders"), Some(2));
    assert_eq!(put_back(&server, "orders/1").json()["id"], "orders/1");
    assert_eq!(count(&server, "orders")["waiting"], 2);
    assert_eq!(take(&server, "orders"), Some(1));
    assert_eq!(take(&server, "orders"), Some(3));
    let caller = stand(&server, "orders", 1);
    assert_eq!(put_back(&server, "orders/2").status, 200);
    assert_eq!(heard(caller)["id"], "orders/2");
    // With a match, after others were looked up by their fields.
    let wish = json!({ "match": { "n": 3 } });
    assert_eq!(order(&server, "orders", &wish).status, 408);
    assert_eq!(put_back(&server, "orders/3").status, 200);
    assert_eq!(number(&order(&server, "orders", &wish).json()), 3);
    // What a run took is the run's.
    server.push("alert", &json!({}));
    takers(&server, "orders", 1);
    server.push("orders", &json!({ "n": 9 }));
    server.ended("alert/1/take");
    let refused = put_back(&server, "orders/4");
    assert_eq!(refused.status, 409);
    let why = refused.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(why.ends_with("it was taken by alert/1/take"), "{why}");
    assert_eq!(put_back(&server, "orders/99").status, 404);
    let audit = server.get("audit").to_string();
    assert!(
        audit.contains("put back orders/2, taken by caller"),
        "{audit}"
    );
}

#[test]
fn who_asks_again_with_the_same_key_gets_the_same_event() {
    let house = house();
    let server = house.serve();
    for n in 1..=4 {
        server.push("orders", &json!({ "n": n }));
    }
    let path = "/api/v1/channels/orders/receive";
    let ask = |server: &Running, key: &str| {
        let answered = server.ask(path, &[("idempotency-key", key)], Some(b""));
        number(&answered.json())
    };
    assert_eq!(ask(&server, "one"), 1);
    assert_eq!(ask(&server, "one"), 1);
    assert_eq!(ask(&server, "two"), 2);
    server.kill();
    let server = house.serve();
    assert_eq!(ask(&server, "one"), 1, "after a kill too");
    assert_eq!(take(&server, "orders"), Some(3));
    // Put back it is free for anybody, and the key is good for another event.
    assert_eq!(put_back(&server, "orders/1").status, 200);
    assert_eq!(take(&server, "orders"), Some(1));
    assert_eq!(ask(&server, "one"), 4);
    let long = "x".repeat(513);
    let refused = server.ask(path, &[("idempotency-key", &long)], Some(b""));
    assert_eq!(refused.status, 400);
}

#[test]
fn one_event_is_taken_by_name_and_by_one() {
    let house = house();
    let server = house.serve();
    for n in 1..=2 {
        server.push("orders", &json!({ "n": n }));
    }
    let take_it = |id: &str| server.ask(&format!("/api/v1/events/{id}/take"), &[], Some(b""));
    assert_eq!(take_it("orders%2F2").json()["body"]["n"], 2);
    let again = take_it("orders%2F2");
    assert_eq!(again.status, 409);
    let why = again.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        why.starts_with("orders/2 was taken already, by caller loopback"),
        "{why}"
    );
    assert_eq!(take(&server, "orders"), Some(1));
}

#[test]
fn many_takers_at_once_never_get_the_same_event() {
    const EVENTS: u64 = 200;
    let house = house();
    let server = house.serve();
    let every_other = |n: u64| n.is_multiple_of(2);
    for n in (1..=EVENTS).filter(|n| every_other(*n)) {
        server.push("orders", &json!({ "n": n }));
    }
    let taken = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for taker in 0..8 {
            let (server, taken) = (&server, &taken);
            scope.spawn(move || {
                // Some wait, some do not; some want a certain one.
                let wish = match taker % 4 {
                    0 => json!({}),
                    1 => json!({ "wait": "300ms", "match": { "n": taker } }),
                    _ => json!({ "wait": "2s" }),
                };
                loop {
                    let answered = order(server, "orders", &wish);
                    match answered.status {
                        200 => taken.lock().unwrap().push(number(&answered.json())),
                        _ => return,
                    }
                }
            });
        }
        for n in (1..=EVENTS).filter(|n| !every_other(*n)) {
            server.push("orders", &json!({ "n": n }));
        }
    });
    let taken = taken.into_inner().unwrap();
    let different: BTreeSet<u64> = taken.iter().copied().collect();
    assert_eq!(taken.len(), different.len(), "{taken:?}");
    assert_eq!(different, (1..=EVENTS).collect());
    assert_eq!(count(&server, "orders")["waiting"], 0);
}

#[test]
fn who_leaves_while_waiting_takes_nothing_with_it() {
    let house = house();
    let server = house.serve();
    let caller = stand(&server, "orders", 1);
    drop(caller);
    takers(&server, "orders", 0);
    server.push("orders", &json!({}));
    assert_eq!(count(&server, "orders")["waiting"], 1);
    assert_eq!(take(&server, "orders"), Some(1));
}

#[test]
fn an_event_is_not_lost_when_its_taker_dies_at_that_moment() {
    let rounds = if std::env::var("VIGIE_LONG").is_ok() {
        300
    } else {
        30
    };
    let house = house();
    let server = house.serve();
    let mut unheard = 0;
    for round in 1..=rounds {
        let caller = stand(&server, "orders", 1);
        std::thread::scope(|scope| {
            scope.spawn(|| server.push("orders", &json!({ "round": round })));
            // Nobody will ever read the answer.
            std::thread::sleep(Duration::from_micros(100 * (round % 20)));
            drop(caller);
        });
        takers(&server, "orders", 0);
        let id = format!("orders/{round}");
        let story = || server.get(&format!("events/{}", id.replace('/', "%2F")));
        // It waits again; or its answer was under way, and it can be read and put back.
        wait_for("an event that is somewhere", || {
            let waits = count(&server, "orders")["waiting"] == 1;
            if !waits && story()["taken_by"].is_string() && put_back(&server, &id).status == 200 {
                unheard += 1;
            }
            waits.then_some(())
        });
        assert_eq!(take(&server, "orders"), Some(round));
    }
    println!("{unheard} of {rounds} answers were under way");
}

#[test]
fn a_wait_ends_in_time_and_when_the_server_stops() {
    let house = house();
    let server = house.serve();
    let began = Instant::now();
    let late = order(&server, "orders", &json!({ "wait": "200ms" }));
    assert_eq!(late.status, 408);
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(
        late.json()["error"]["message"],
        "nothing that fits came to `orders` within 200ms"
    );
    for (wish, why) in [
        (
            json!({ "wait": "1h" }),
            "`wait` is at most 5m; ask again then",
        ),
        (
            json!({ "wait": 10 }),
            "`wait` must be a duration, as in \"10s\"",
        ),
        (
            json!({ "wiat": "1s" }),
            "`wiat` is not known; there are `wait` and `match`",
        ),
        (
            json!({ "match": [1] }),
            "`match` must be an object of fields",
        ),
        (json!([]), "the body must be an object"),
    ] {
        let refused = order(&server, "orders", &wish);
        assert_eq!(refused.status, 400, "{wish}");
        assert_eq!(refused.json()["error"]["message"], why);
    }
    let unknown = "/api/v1/channels/orders/receive?hostname=web01";
    let refused = server.ask(unknown, &[], Some(b"")).json();
    let why = refused["error"]["message"].as_str().unwrap();
    assert_eq!(why, "`hostname` is not known; write `match.hostname`");
    let mut caller = stand(&server, "orders", 1);
    let began = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(caller.hear().map(|heard| heard.status), Some(503));
}

#[test]
fn when_the_last_flow_leaves_what_it_looked_at_does_not_wait() {
    let house = house();
    house.flow("orders/see", "print(event.n);");
    let server = house.serve();
    for n in 1..=2 {
        server.push("orders", &json!({ "n": n }));
        server.ended(&format!("orders/{n}/see"));
    }
    assert_eq!(server.stop(), Some(0));
    std::fs::remove_file(house.path("flows/orders/see.rhai")).unwrap();
    let server = house.serve();
    assert_eq!(count(&server, "orders")["waiting"], 0);
    server.push("orders", &json!({ "n": 3 }));
    server.kill();
    let server = house.serve();
    assert_eq!(count(&server, "orders")["waiting"], 1, "also after a kill");
    assert_eq!(take(&server, "orders"), Some(3));
    assert_eq!(take(&server, "orders"), None);
}

#[test]
fn kompiras_own_paths_are_doors_to_a_channel() {
    let token = "secret-kompira";
    let hash = {
        use sha2::{Digest as _, Sha256};
        let digest = Sha256::digest(token);
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let house = house().settings(&format!(
        "[[token]]\nname = \"kompira\"\nhash = \"sha256:{hash}\"\nrights = [\"send\", \"receive\", \"read\"]"
    ));
    house.channel(
        "orders",
        "alias = [\"/system/channels/Orders\", \"/運用/注文\"]",
    );
    let server = house.serve();
    let header = format!("Token {token}");
    let known = [JSON, ("authorization", header.as_str())];
    let ask = |path: &str, body: Option<&[u8]>| server.ask(path, &known, body);
    let path = "/system/channels/Orders";
    let sent = ask(&format!("{path}.send"), Some(b"{\"host\":\"web01\"}"));
    assert_eq!(
        (sent.status, &sent.json()["ids"]),
        (200, &json!(["orders/1"]))
    );
    // Any JSON is one message.
    for body in ["[1,[2],\"x\"]", "7", "\"text\"", "null"] {
        let sent = ask(&format!("{path}.send"), Some(body.as_bytes()));
        assert_eq!(sent.json()["ids"].as_array().unwrap().len(), 1, "{body}");
    }
    let by_address = format!("{path}.recv?token={token}&format=json");
    let heard = server.ask(&by_address, &[JSON], Some(b"{}"));
    assert_eq!(
        (heard.status, heard.json()),
        (200, json!({ "host": "web01" }))
    );
    assert_eq!(heard.headers["x-vigie-event"], "orders/1");
    let shown = ask(path, None).json();
    assert_eq!(shown["extra_properties"]["message_count"], 4);
    for body in [json!([1, [2], "x"]), json!(7), json!("text"), json!(null)] {
        let heard = ask("/%E9%81%8B%E7%94%A8/%E6%B3%A8%E6%96%87.recv", Some(b""));
        assert_eq!((heard.status, heard.json()), (200, body));
    }
    let began = Instant::now();
    let late = ask(&format!("{path}.recv"), Some(b"{\"timeout\": 0.2}"));
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(
        (late.status, late.json()["detail"].is_string()),
        (408, true)
    );
    assert_eq!(ask(&format!("{path}.recv"), Some(b"")).status, 408);
    let wrong = ask(&format!("{path}.recv"), Some(b"{\"timeout\": \"x\"}"));
    assert_eq!(
        (wrong.status, wrong.json()["detail"].is_string()),
        (400, true)
    );
    let broken = ask(&format!("{path}.send"), Some(b"{"));
    assert_eq!(
        (broken.status, broken.json()["detail"].is_string()),
        (400, true)
    );
    for (name, value) in [("authorization", "Token other"), ("x-none", "")] {
        let stranger = server.ask(&format!("{path}.recv"), &[(name, value)], Some(b"{}"));
        assert_eq!(
            (stranger.status, stranger.json()["detail"].is_string()),
            (401, true)
        );
    }
    let elsewhere = ask("/system/channels/Orders.execute", Some(b"{}"));
    assert_eq!(
        (elsewhere.status, &elsewhere.json()["error"]["code"]),
        (404, &json!("not_found"))
    );
    assert_eq!(ask("/system/channels/Nobody.recv", Some(b"{}")).status, 404);
}
