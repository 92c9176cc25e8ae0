//! The HTTP door of the real server: what it keeps, what it sends back, and that it goes on.

use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value as Json, json};
use vigie::store::{Batch, Options, Store};

use crate::house::{Answered, House, PATIENCE, Running, wait_for};
use crate::wire::{Wire, post_head, say};

const JSON: (&str, &str) = ("content-type", "application/json");
const ALERT: &str = "/api/v1/channels/alert/events";
/// One more than a body may have.
const TOO_MANY_BYTES: usize = 1024 * 1024 + 1;
/// The server closes a connection without a whole head after 5 s.
const HEAD_PATIENCE: Duration = Duration::from_secs(8);

fn house() -> House {
    let house = House::new();
    house.channel("alert", "");
    house
}

fn post(server: &Running, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answered {
    server.ask(path, headers, Some(body))
}

fn ids(answered: &Answered) -> Vec<String> {
    assert_eq!(answered.status, 202, "{answered:?}");
    let ids = answered.json()["ids"].as_array().unwrap().clone();
    ids.iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect()
}

/// The sentence of a refusal, after holding its form to what is promised.
fn refusal(answered: &Answered, status: u16) -> String {
    assert_eq!(answered.status, status, "{answered:?}");
    let error = &answered.json()["error"];
    assert!(
        error["code"].as_str().is_some_and(|code| !code.is_empty()),
        "{answered:?}"
    );
    error["message"].as_str().unwrap().to_owned()
}

fn event(server: &Running, id: &str) -> Json {
    server.get(&format!("events/{}", id.replace('/', "%2F")))
}

fn kept(server: &Running, channel: &str) -> u64 {
    let channels = server.get("channels");
    let rows = channels["channels"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == channel).unwrap();
    row["kept"].as_u64().unwrap()
}

#[test]
fn an_object_is_one_event_and_an_array_one_per_element_all_or_none() {
    let house = house();
    let server = house.serve();
    assert_eq!(
        ids(&post(&server, ALERT, &[JSON], b"{\"n\":1}")),
        ["alert/1"]
    );
    let three = post(&server, ALERT, &[JSON], br#"[{"n":2}, "three", [4]]"#);
    assert_eq!(ids(&three), ["alert/2", "alert/3", "alert/4"]);
    assert!(ids(&post(&server, ALERT, &[JSON], b"[]")).is_empty());
    let deep = format!("[{{\"good\":1}},{}1{}]", "[".repeat(64), "]".repeat(64));
    refusal(&post(&server, ALERT, &[JSON], deep.as_bytes()), 400);
    let many = format!("[{}1]", "1,".repeat(1_000));
    let said = refusal(&post(&server, ALERT, &[JSON], many.as_bytes()), 413);
    assert_eq!(said, "the body holds more than 1000 events");
    assert_eq!(kept(&server, "alert"), 4);
    server.kill();
    let server = house.serve();
    let bodies =
        ["alert/1", "alert/2", "alert/3", "alert/4"].map(|id| event(&server, id)["body"].clone());
    assert_eq!(
        bodies,
        [json!({"n": 1}), json!({"n": 2}), json!("three"), json!([4])]
    );
    assert_eq!(event(&server, "alert/2")["meta"]["source"], "http");
    assert_eq!(event(&server, "alert/2")["meta"]["peer"], "127.0.0.1");
}

#[test]
fn an_array_that_is_too_much_for_one_commit_is_refused_whole() {
    let house = house();
    let server = house.serve();
    let many = format!("[{}1]", "1,".repeat(5_000));
    refusal(&post(&server, ALERT, &[JSON], many.as_bytes()), 413);
    assert_eq!(kept(&server, "alert"), 0);
}

#[test]
fn what_is_not_json_is_kept_as_it_came() {
    let house = house();
    let server = house.serve();
    let bytes: Vec<u8> = (0..=255).collect();
    let base64 = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let cases: [(&str, &[u8], Json); 7] = [
        ("application/octet-stream", &bytes, json!(base64)),
        (
            "text/plain;charset=utf-8",
            "grüße 日本".as_bytes(),
            json!("grüße 日本"),
        ),
        ("Text/Plain; Charset=\"UTF-8\"", b"a", json!("a")),
        // what says that it is UTF-8 and is not, and what does not say it
        ("text/plain;charset=utf-8", b"\xff", json!("/w==")),
        ("text/plain", b"a", json!("YQ==")),
        ("application/x-www-form-urlencoded", b"a=1", json!("YT0x")),
        ("what?", b"", json!("")),
    ];
    for (kind, body, shown) in cases {
        let id = ids(&post(&server, ALERT, &[("content-type", kind)], body)).remove(0);
        assert_eq!(event(&server, &id)["body"], shown, "{kind}");
    }
    let id = ids(&post(&server, ALERT, &[], b"{}")).remove(0);
    assert_eq!(
        event(&server, &id)["body"],
        "e30=",
        "nobody said that it is JSON"
    );
    let vendor = [("content-type", "application/vnd.x+json; v=1")];
    let id = ids(&post(&server, ALERT, &vendor, b"{\"a\":1}")).remove(0);
    assert_eq!(event(&server, &id)["body"], json!({"a": 1}));
}

#[test]
fn broken_json_is_refused_with_the_reason_and_nothing_is_kept() {
    let house = house();
    let server = house.serve();
    let broken: [&[u8]; 12] = [
        b"",
        b" ",
        b"{",
        b"[1,",
        b"{\"a\":}",
        b"{'a':1}",
        b"nul",
        b"{} {}",
        b"\x00",
        b"\"\xff\"",
        b"{\"a\":1,}",
        b"NaN",
    ];
    for body in broken {
        let said = refusal(&post(&server, ALERT, &[JSON], body), 400);
        assert!(said.starts_with("the body is no JSON: "), "{said}");
    }
    let said = refusal(&post(&server, ALERT, &[JSON], b"{\n\"a\": oops}"), 400);
    assert!(said.contains("line 2 column"), "{said}");
    let deep = format!("{}1{}", "[".repeat(66), "]".repeat(66));
    let said = refusal(&post(&server, ALERT, &[JSON], deep.as_bytes()), 400);
    assert_eq!(said, "the body is nested more than 64 deep");
    assert_eq!(kept(&server, "alert"), 0);
}

#[test]
fn odd_json_is_kept_without_changing_what_it_says() {
    let house = house();
    let server = house.serve();
    let raw = br#"{ "nul":"a\u0000b", "big":123456789012345678901234567890, "id":9007199254740993,
        "huge":1e999, "tiny":0.1, "twice":1, "twice":2, "pair":"\ud83d\ude00" }"#;
    let id = ids(&post(&server, ALERT, &[JSON], raw)).remove(0);
    let body = event(&server, &id)["body"].clone();
    assert_eq!(body["nul"], "a\0b");
    assert_eq!(body["big"], "123456789012345678901234567890");
    assert_eq!(body["id"], 9_007_199_254_740_993_i64);
    assert_eq!(body["huge"], "1e+999", "no float can hold it");
    assert_eq!(body["tiny"], 0.1);
    assert_eq!(body["twice"], 2, "the last one counts");
    assert_eq!(body["pair"], "😀");
    let deep = format!("{}1{}", "[{\"a\":".repeat(32), "}]".repeat(32));
    ids(&post(&server, ALERT, &[JSON], deep.as_bytes()));
}

#[test]
fn lone_surrogates_are_shown_as_replaced_and_kept_exactly() {
    let house = house();
    let server = house.serve();
    let raw = br#" {"name": "caf\udce9 \uD83D", "ok": 1} "#;
    let id = ids(&post(&server, ALERT, &[JSON], raw)).remove(0);
    let found = event(&server, &id);
    assert_eq!(
        found["body"],
        json!({"name": "caf\u{fffd} \u{fffd}", "ok": 1})
    );
    let kept = found["meta"]["raw"].as_str().unwrap();
    let kept = base64::engine::general_purpose::STANDARD
        .decode(kept)
        .unwrap();
    assert_eq!(kept.trim_ascii(), raw.trim_ascii());
    let note = found["meta"]["decode_note"].as_str().unwrap();
    assert!(
        note.contains("U+FFFD") && note.contains("meta.raw"),
        "{note}"
    );
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_server_lives() {
    let house = house();
    let server = house.serve();
    let most = vec![b'x'; TOO_MANY_BYTES - 1];
    let octets = "content-type: application/octet-stream\r\n";
    let whole = |size: usize| format!("{octets}content-length: {size}\r\n");
    let request = [post_head(ALERT, &whole(most.len())).as_bytes(), &most].concat();
    assert_eq!(say(&server, &request).unwrap().status, 202);
    for size in [TOO_MANY_BYTES, 10 * 1024 * 1024] {
        let mut wire = Wire::to(&server);
        wire.send(post_head(ALERT, &whole(size)).as_bytes());
        wire.send(&vec![b'x'; TOO_MANY_BYTES]);
        let heard = wire.hear().unwrap();
        assert_eq!(heard.status, 413, "{heard:?}");
        assert!(
            heard.text.contains("larger than 1048576 bytes"),
            "{heard:?}"
        );
    }
    // told in pieces, without saying how much there will be
    let mut wire = Wire::to(&server);
    wire.send(post_head(ALERT, &format!("{octets}transfer-encoding: chunked\r\n")).as_bytes());
    let piece = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let sent = (0..160).take_while(|_| wire.send(&piece)).count();
    assert_eq!(
        wire.hear().map(|heard| heard.status),
        Some(413),
        "after {sent} pieces"
    );
    assert_eq!(kept(&server, "alert"), 1);
    assert_eq!(server.push("alert", &json!({})), "alert/2");
}

#[test]
fn an_announced_size_that_is_too_large_is_refused_before_it_is_sent() {
    let house = house();
    let server = house.serve();
    let lines = format!(
        "{}content-length: 10485760\r\nexpect: 100-continue\r\n",
        "content-type: a/b\r\n"
    );
    let heard = say(&server, post_head(ALERT, &lines).as_bytes()).unwrap();
    assert_eq!(heard.status, 413, "{heard:?}");
}

#[test]
fn silent_and_slow_callers_are_cut_off_while_others_are_answered() {
    let house = house();
    let server = house.serve();
    let mut silent = Wire::to(&server);
    let mut slow = Wire::to(&server);
    slow.send(b"GET /healthz HTTP/1.1\r\nhost: local");
    let mut idle = Wire::to(&server);
    idle.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(idle.hear().unwrap().status, 200);
    let crowd: Vec<Wire> = (0..600).map(|_| Wire::to(&server)).collect();
    let began = Instant::now();
    assert_eq!(server.push("alert", &json!({})), "alert/1");
    assert!(began.elapsed() < HEAD_PATIENCE, "{:?}", began.elapsed());
    // a byte now and then does not help
    slow.send(b"h");
    for wire in [&mut silent, &mut slow, &mut idle] {
        assert!(wire.is_closed_within(HEAD_PATIENCE));
    }
    drop(crowd);
}

#[test]
fn odd_requests_are_answered_and_harmless() {
    let house = house();
    let server = house.serve();
    let many: String = (0..80).map(|number| format!("x-{number}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "a".repeat(100_000));
    let body = "content-type: application/json\r\ncontent-length: 2\r\n";
    let requests = [
        (post_head(ALERT, &many), 431),
        (post_head(ALERT, &long), 431),
        (
            post_head("/api/v1/channels/%FF%FE/events", body) + "{}",
            400,
        ),
        (post_head("/hooks/%FF/alert", body) + "{}", 400),
        (post_head("/nothing/here", body) + "{}", 404),
        (
            post_head("/api/v1/channels/alert/events/", body) + "{}",
            404,
        ),
        (
            "GET /api/v1/channels/alert/events HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            405,
        ),
        (
            "BREW /api/v1/channels HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            405,
        ),
        (
            "GET /api/v1/events/%FF HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /api/v1/runs?limit=%FF HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /api/v1/runs?limit=0 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /api/v1/runs?after=x HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            400,
        ),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ];
    for (request, status) in requests {
        let heard = say(&server, request.as_bytes()).unwrap_or_else(|| panic!("{request}"));
        let first: String = request.chars().take(60).collect();
        assert_eq!(heard.status, status, "{first}: {heard:?}");
        // what the protocol itself refuses has no body
        if heard.status != 431 && !first.starts_with("nonsense") {
            let json: Json = serde_json::from_str(&heard.text).unwrap_or_default();
            assert!(json["error"]["message"].is_string(), "{first}: {heard:?}");
        }
    }
    // two lengths that disagree would let a proxy and us see different requests
    let smuggled = post_head(ALERT, "content-length: 2\r\ncontent-length: 30\r\n") + "{}";
    assert_eq!(say(&server, smuggled.as_bytes()).unwrap().status, 400);
    assert_eq!(server.push("alert", &json!({})), "alert/1");
}

#[test]
fn a_channel_is_found_by_its_names_and_what_nobody_knows_is_unrouted() {
    let house = House::new();
    house.channel("alert", "alias = [\"/system/channels/Alert\", \"zbx\"]");
    house
        .channel("監視_1", "")
        .channel("Twin", "")
        .channel("tWIN", "")
        .channel("zbx", "");
    let server = house.serve();
    let into = |asked: &str| {
        let id = server.push(asked, &json!({}));
        id.rsplit_once('/').unwrap().0.to_owned()
    };
    assert_eq!(into("%2Fsystem%2Fchannels%2FAlert"), "alert");
    assert_eq!(into("zbx"), "alert", "an alias comes before a name");
    assert_eq!(into("%E7%9B%A3%E8%A6%96_1"), "監視_1");
    assert_eq!(into("some%2Fpath%2Falert"), "alert");
    assert_eq!(into("ALERT"), "alert", "ignoring case, if only one fits");
    assert_eq!(into("Twin"), "Twin");
    assert_eq!(into("TWIN"), "unrouted", "two fit");
    for asked in [
        "",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "alert%00",
        "%0aalert",
        "%3Cscript%3E",
        "alert%2F",
    ] {
        assert_eq!(into(asked), "unrouted", "{asked}");
    }
    let last = event(&server, &format!("unrouted/{}", kept(&server, "unrouted")));
    assert_eq!(last["meta"]["asked_channel"], "alert/");
    let hook = post(&server, "/hooks/generic/no-such", &[JSON], b"{}");
    assert!(ids(&hook)[0].starts_with("unrouted/"));
}

#[test]
fn the_same_message_is_kept_once_within_the_window() {
    let house = House::new();
    house
        .channel("alert", "")
        .channel("short", "dedup_window = \"1s\"")
        .channel("other", "");
    let server = house.serve();
    let push = |channel: &str, key: &str, source: &str| {
        let path = format!("/api/v1/channels/{channel}/events");
        let headers = [JSON, ("idempotency-key", key), ("x-vigie-source", source)];
        ids(&post(&server, &path, &headers, b"{}")).remove(0)
    };
    assert_eq!(push("alert", "a", ""), "alert/1");
    assert_eq!(push("alert", "a", ""), "alert/1");
    assert_eq!(push("alert", "b", ""), "alert/2");
    assert_eq!(
        push("alert", "a", "sendevt"),
        "alert/3",
        "another sender's id"
    );
    assert_eq!(
        push("alert", "a", "anybody"),
        "alert/1",
        "who is no sender of ours is http"
    );
    assert_eq!(push("other", "a", ""), "other/1");
    assert_eq!(push("alert", "", ""), "alert/4");
    assert_eq!(
        push("alert", "", ""),
        "alert/5",
        "no id, nothing to compare"
    );
    let array = [JSON, ("idempotency-key", "many")];
    let first = ids(&post(&server, ALERT, &array, b"[1,1,1]"));
    assert_eq!(first, ["alert/6", "alert/7", "alert/8"]);
    assert_eq!(ids(&post(&server, ALERT, &array, b"[1,1,1]")), first);
    let metrics = server.ask("/metrics", &[], None).text;
    assert!(
        metrics.contains("vigie_duplicates_total{channel=\"alert\"} 5\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("vigie_events_total{channel=\"alert\"} 8\n"),
        "{metrics}"
    );
    let long = "k".repeat(513);
    let headers = [JSON, ("idempotency-key", long.as_str())];
    refusal(&post(&server, ALERT, &headers, b"{}"), 400);
    // a message that was not told twice within the window is a new one, also after a crash
    assert_eq!(push("short", "a", ""), "short/1");
    let again = wait_for("the end of the window", || {
        Some(push("short", "a", "")).filter(|id| id != "short/1")
    });
    assert_eq!(again, "short/2");
    server.kill();
    let server = house.serve();
    let headers = [JSON, ("idempotency-key", "a")];
    assert_eq!(ids(&post(&server, ALERT, &headers, b"{}")), ["alert/1"]);
}

#[test]
fn hooks_turn_what_products_post_into_events() {
    let house = house();
    let server = house.serve();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let recorded = |name: &str| std::fs::read(format!("{data}/{name}")).unwrap();
    let firing = recorded("alertmanager/webhook-001-firing.json");
    let told: Json = serde_json::from_slice(&firing).unwrap();
    let alerts = told["alerts"].as_array().unwrap();
    let found = ids(&post(
        &server,
        "/hooks/alertmanager/alert",
        &[JSON],
        &firing,
    ));
    assert_eq!(found.len(), alerts.len());
    let first = event(&server, &found[0]);
    assert_eq!(first["meta"]["source"], "alertmanager");
    assert_eq!(first["body"]["labels"], alerts[0]["labels"]);
    assert_eq!(first["body"]["status"], "firing");
    let zabbix = post(
        &server,
        "/hooks/zabbix/alert",
        &[JSON],
        &recorded("zabbix/webhook-01.json"),
    );
    let found = event(&server, &ids(&zabbix)[0]);
    assert_eq!(found["meta"]["source"], "zabbix");
    let status = found["body"]["status"].as_str().unwrap();
    assert!(["PROBLEM", "OK"].contains(&status), "{found}");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let generic = post(&server, "/hooks/generic/alert", &form, b"a=1&b=%E7%9B%A3");
    assert_eq!(
        event(&server, &ids(&generic)[0])["body"],
        json!({"a": "1", "b": "監"})
    );
    let broken = post(&server, "/hooks/generic/alert", &[JSON], b"{oops");
    let found = event(&server, &ids(&broken)[0]);
    assert!(
        found["meta"]["decode_error"]
            .as_str()
            .unwrap()
            .starts_with("the body is no JSON")
    );
}

#[test]
fn what_a_hook_does_not_understand_is_refused_with_the_reason() {
    let house = house();
    let server = house.serve();
    let said = refusal(&post(&server, "/hooks/zabix/alert", &[JSON], b"{}"), 404);
    assert_eq!(said, "there is no hook `zabix`; did you mean `zabbix`?");
    let said = refusal(
        &post(
            &server,
            "/hooks/alertmanager/alert",
            &[JSON],
            b"{\"alert\":[]}",
        ),
        400,
    );
    assert_eq!(
        said,
        "the body is not what Alertmanager sends: it has no list `alerts`"
    );
    refusal(
        &post(&server, "/hooks/alertmanager/alert", &[JSON], b"{"),
        400,
    );
    refusal(&post(&server, "/hooks/zabbix/alert", &[JSON], b"7"), 400);
    assert_eq!(kept(&server, "alert"), 0);
}

#[test]
fn a_full_channel_tells_its_sender_to_come_back() {
    let house = house();
    house.channel("small", "depth_max = 2");
    let server = house.serve();
    let path = "/api/v1/channels/small/events";
    ids(&post(&server, path, &[JSON], b"[1,2]"));
    let full = post(&server, path, &[JSON], b"3");
    assert_eq!(
        refusal(&full, 503),
        "channel `small` is full: 2 events are waiting"
    );
    assert_eq!(full.headers["retry-after"], "5");
    refusal(&post(&server, "/hooks/generic/small", &[JSON], b"{}"), 503);
    assert_eq!(
        server.push("alert", &json!({})),
        "alert/1",
        "others have room"
    );
    let metrics = server.ask("/metrics", &[], None).text;
    assert!(
        metrics.contains("vigie_refused_total{channel=\"small\"} 2\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("vigie_channel_depth{channel=\"small\"} 2\n"),
        "{metrics}"
    );
    // room again with the next version of the channel
    house.channel("small", "depth_max = 3");
    server.signal(rustix::process::Signal::HUP);
    wait_for("room", || {
        (post(&server, path, &[JSON], b"3").status == 202).then_some(())
    });
}

#[test]
fn a_channel_may_let_its_oldest_go_and_counts_them() {
    let house = House::new();
    house.channel("recent", "depth_max = 2\non_full = \"drop_oldest\"");
    let server = house.serve();
    for number in 1..=5 {
        assert_eq!(
            server.push("recent", &json!(number)),
            format!("recent/{number}")
        );
    }
    let metrics = server.ask("/metrics", &[], None).text;
    assert!(
        metrics.contains("vigie_channel_dropped{channel=\"recent\"} 3\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("vigie_channel_depth{channel=\"recent\"} 2\n"),
        "{metrics}"
    );
    let row = |server: &Running| server.get("channels")["channels"][0].clone();
    let counts = |row: Json| (row["waiting"].clone(), row["dropped"].clone());
    assert_eq!(counts(row(&server)), (json!(2), json!(3)));
    // dropped is dropped, and stays counted
    assert_eq!(server.stop(), Some(0));
    let server = house.serve();
    assert_eq!(counts(row(&server)), (json!(2), json!(3)));
    server.push("recent", &json!(6));
    assert_eq!(counts(row(&server)), (json!(2), json!(4)));
}

#[test]
fn what_a_full_channel_dropped_is_shown_to_no_flow_after_a_restart() {
    let house = House::new().settings("[file]\nfolder = \"out\"");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house.channel("recent", "depth_max = 2\non_full = \"drop_oldest\"");
    house.flow("recent/note", "file::append(\"log\", `${event.n}`);");
    let server = house.serve();
    assert!(server.verb(&["pause", "recent/note"]).status.success());
    for n in 1..=5 {
        server.push("recent", &json!({ "n": n }));
    }
    assert_eq!(server.stop(), Some(0));
    let server = house.serve();
    assert!(server.verb(&["resume", "recent/note"]).status.success());
    wait_for("the rest", || {
        let lines = crate::house::lines(&house.path("out/log"));
        (lines.len() >= 2).then_some(())
    });
    server.push("recent", &json!({ "n": 6 }));
    wait_for("the newest", || {
        let lines = crate::house::lines(&house.path("out/log"));
        lines.contains(&"6".to_owned()).then_some(())
    });
    let mut lines = crate::house::lines(&house.path("out/log"));
    lines.sort();
    assert_eq!(lines, ["4", "5", "6"]);
}

#[test]
fn a_mark_of_a_channel_that_is_cut_short_is_an_error_and_not_nothing() {
    for (mark, length) in [("dropped/alert", 16), ("looked/alert", 8)] {
        for wrong in [0, 7, length - 1, length + 1] {
            let house = house();
            let store = Store::open(&house.path("data"), Options::default()).unwrap();
            let mut batch = Batch::new();
            batch.set_mark(mark, Some(vec![0; wrong])).unwrap();
            store.commit_blocking(batch).unwrap();
            drop(store);
            let said = house.try_serve().err().unwrap_or_default();
            assert!(said.contains(mark), "{mark} {wrong}: {said}");
        }
    }
}

#[test]
fn a_channel_that_took_much_is_rid_of_it_in_one_round() {
    const EACH: usize = 1_000;
    const REQUESTS: usize = 12;
    let house = House::new();
    house.channel("brief", "retention = \"1ms\"");
    let server = house.serve();
    let events = json!(vec![1; EACH]).to_string();
    let json = [("content-type", "application/json")];
    for _ in 0..REQUESTS {
        let path = "/api/v1/channels/brief/events";
        let answered = server.ask(path, &json, Some(events.as_bytes()));
        assert_eq!(answered.status, 202, "{answered:?}");
    }
    assert_eq!(server.stop(), Some(0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let removed = runtime.block_on(async {
        let settings = house.path("settings.toml");
        let server = vigie::server::Server::start(Some(settings)).await.unwrap();
        let removed = server.state().retain_once().await.unwrap();
        server.stop().await;
        removed
    });
    assert_eq!(removed, (EACH * REQUESTS) as u64);
}

#[test]
fn events_leave_when_their_retention_is_over() {
    let house = House::new();
    house
        .channel("brief", "retention = \"1s\"")
        .channel("long", "");
    let server = house.serve();
    server.push("brief", &json!(1));
    server.push("long", &json!(1));
    assert_eq!(server.stop(), Some(0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // in this process, because the running server looks once a minute only
        let settings = house.path("settings.toml");
        let server = vigie::server::Server::start(Some(settings)).await.unwrap();
        let until = Instant::now() + PATIENCE;
        while server.state().retain_once().await.unwrap() == 0 {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.stop().await;
    });
    drop(runtime);
    let server = house.serve();
    assert_eq!((kept(&server, "brief"), kept(&server, "long")), (0, 1));
    assert_eq!(
        server.ask("/api/v1/events/brief%2F1", &[], None).status,
        404
    );
    assert_eq!(
        server.push("brief", &json!(2)),
        "brief/2",
        "a number is never used again"
    );
}

#[test]
fn health_readiness_and_metrics_are_there_for_machines() {
    let house = house();
    let server = house.serve();
    server.push("alert", &json!({}));
    assert_eq!(server.ask("/healthz", &[], None).status, 200);
    assert_eq!(server.ask("/readyz", &[], None).status, 200);
    let metrics = server.ask("/metrics", &[], None);
    let kind = metrics.headers["content-type"].to_str().unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    hold_to_openmetrics(&metrics.text);
    assert!(
        metrics
            .text
            .contains("vigie_events_total{channel=\"alert\"} 1\n")
    );
    assert!(
        metrics
            .text
            .contains("vigie_channel_depth{channel=\"unrouted\"} 0\n")
    );
    assert!(metrics.text.contains("vigie_build_info{version="));
}

/// The grammar of OpenMetrics 1.0 as far as a scraper relies on it: a type before each family's
/// samples, names and values that are such, and an end.
fn hold_to_openmetrics(text: &str) {
    assert!(text.ends_with("# EOF\n"));
    let name = regex::Regex::new(
        r#"^([a-z_][a-z0-9_]*)(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? (\S+)$"#,
    )
    .unwrap();
    let mut family = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            continue;
        }
        if line.starts_with("# HELP ") || line.starts_with("# UNIT ") {
            continue;
        }
        let parts = name.captures(line).unwrap_or_else(|| panic!("{line}"));
        assert!(
            parts[1].starts_with(&family) && !family.is_empty(),
            "{line}"
        );
        assert!(parts[4].parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn the_door_opens_on_ipv6_too() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED the_door_opens_on_ipv6_too: this machine has no [::1]");
        return;
    }
    let house = House::new().http("listen = \"[::1]:0\"");
    house.channel("alert", "");
    let server = house.serve();
    assert!(server.url.starts_with("http://[::1]:"), "{}", server.url);
    let id = server.push("alert", &json!({}));
    assert_eq!(event(&server, &id)["meta"]["peer"], "::1");
    let listed = server.verb(&["list", "channels"]);
    assert!(listed.status.success(), "{listed:?}");
    let sent = server.verb(&["send", "--channel", "alert", "a=1"]);
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(kept(&server, "alert"), 2);
}
