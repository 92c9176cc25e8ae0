//! Polling a service that only offers: each item once, whatever the service and the process do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::standin::{Mischief, Reply, Server};

use crate::house::{House, Running, stderr, wait_for};
use crate::sources::{events, row};

/// A service whose answer the test changes.
struct Service {
    runtime: Runtime,
    server: Server,
    answer: Arc<Mutex<Reply>>,
}

impl Service {
    fn new(first: &Json) -> Service {
        let runtime = Runtime::new().unwrap();
        let answer = Arc::new(Mutex::new(Reply::json(200, first)));
        let shared = Arc::clone(&answer);
        // Tagged by its content, as most frameworks do.
        let reply = move |seen: &vigie::standin::Seen| {
            let reply = shared.lock().unwrap().clone();
            let tag = format!("\"{}\"", crc32c::crc32c(&reply.body));
            match seen.header("if-none-match") == Some(&tag) {
                true => Reply::empty(304),
                false => reply.with("etag", &tag),
            }
        };
        let server = runtime.block_on(Server::start(reply)).unwrap();
        Service {
            runtime,
            server,
            answer,
        }
    }

    fn gives(&self, reply: Reply) {
        *self.answer.lock().unwrap() = reply;
    }

    /// Waits until it was asked `more` times again.
    fn asked_again(&self, more: usize) {
        let count = self.server.requests().len() + more;
        self.runtime.block_on(self.server.wait_for(count));
    }

    fn house(&self, keys: &str) -> House {
        let house = House::new();
        let url = self.server.url();
        let block = format!(
            "[[source]]\nkind = \"poll\"\nurl = \"{url}/incidents?key=k\"\nevery = \"1s\"\n{keys}"
        );
        house.channel("app", &block);
        house
    }
}

fn numbers(server: &Running) -> Vec<i64> {
    let number = |body: &Json| body["id"].as_i64().unwrap();
    events(server, "app").iter().map(number).collect()
}

fn count(server: &Running, wanted: usize) -> Vec<Json> {
    wait_for(&format!("{wanted} events"), || {
        let found = events(server, "app");
        (found.len() >= wanted).then_some(found)
    })
}

fn last_error(server: &Running) -> String {
    let row = row(server, "app/poll").unwrap();
    row["last_error"].as_str().unwrap_or("").to_owned()
}

#[test]
fn each_item_is_one_event_through_kill_9() {
    let list = |to: i64| {
        let items: Vec<Json> = (1..=to)
            .map(|id| json!({"id": id, "text": "障害"}))
            .collect();
        Reply::json(200, &json!({"data": {"items": items}}))
    };
    let service = Service::new(&json!({"data": {"items": []}}));
    let house = service.house("items = \"/data/items\"\nkey = [\"id\"]\n");
    // The last is more than one batch: the kill falls between and into them.
    for to in [3, 4, 700, 1_400, 2_000] {
        let server = house.serve();
        service.gives(list(to));
        match to {
            2_000 => {
                wait_for("all", || {
                    let channels = server.get("channels");
                    (channels["channels"][0]["kept"] == json!(to)).then_some(())
                });
                service.asked_again(2);
                let found = numbers(&server);
                assert_eq!(found, (1..=to).collect::<Vec<i64>>());
                let event = server.get("events/app%2F1");
                assert_eq!(event["body"], json!({"id": 1, "text": "障害"}));
                assert_eq!(event["meta"]["source"], "poll");
                assert_eq!(event["meta"]["source_name"], "poll");
                let peer = service.server.address().to_string();
                assert_eq!(event["meta"]["peer"], json!(peer));
            }
            _ => {
                service.asked_again(1);
                server.kill();
            }
        }
    }
    // A process that goes on asks only for what changed.
    let tagged = |seen: &vigie::standin::Seen| seen.header("if-none-match").is_some();
    assert!(service.server.requests().iter().any(tagged));
}

#[test]
fn an_item_is_new_when_its_key_is_and_a_state_when_it_changes() {
    let service = Service::new(&json!([{"id": 1, "updated": "a", "noise": 1}]));
    let house = service.house("key = [\"id\", \"/updated\"]\n");
    let url = service.server.url();
    let state = format!("[[source]]\nkind = \"poll\"\nurl = \"{url}\"\nevery = \"1s\"\n");
    house.channel("state", &state);
    let server = house.serve();
    count(&server, 1);
    service.gives(Reply::json(
        200,
        &json!([{"id": 1, "updated": "a", "noise": 2}]),
    ));
    wait_for("the state", || {
        (events(&server, "state").len() == 2).then_some(())
    });
    service.gives(Reply::json(
        200,
        &json!([{"id": 1, "updated": "b", "noise": 3}]),
    ));
    assert_eq!(count(&server, 2)[1]["noise"], 3);
    wait_for("the newer state", || {
        (events(&server, "state").len() == 3).then_some(())
    });
    // What was there before is news for a state, and none for a key.
    service.gives(Reply::json(
        200,
        &json!([{"id": 1, "updated": "a", "noise": 1}]),
    ));
    wait_for("the old state", || {
        (events(&server, "state").len() == 4).then_some(())
    });
    service.asked_again(4);
    assert_eq!(events(&server, "app").len(), 2);
    // Without its key fields any change makes an item new: nothing is passed over.
    service.gives(Reply::json(
        200,
        &json!([{"id": 1, "noise": 1}, {"id": 1, "noise": 2}]),
    ));
    assert_eq!(count(&server, 4).len(), 4);
}

#[test]
fn the_first_answer_can_be_passed_over() {
    let service = Service::new(&json!([{"id": 1}, {"id": 2}]));
    let house = service.house("first = \"skip\"\nkey = [\"id\"]\n");
    let server = house.serve();
    service.asked_again(2);
    server.kill();
    let server = house.serve();
    service.gives(Reply::json(200, &json!([{"id": 1}, {"id": 2}, {"id": 3}])));
    count(&server, 1);
    assert_eq!(numbers(&server), [3]);
}

/// A wrong answer per path.
fn wrong_answers(seen: &vigie::standin::Seen) -> Reply {
    let page = |body: String| Reply {
        status: 200,
        body: body.into_bytes(),
        ..Reply::default()
    };
    match seen.path.as_str() {
        "/elsewhere" => Reply::json(200, &json!({"other": 1})),
        "/html" => {
            page("<html>Bitte melden Sie sich an".to_owned()).with("content-type", "text/html")
        }
        "/endless" => page(format!("[\"{}\"]", "x".repeat(2 << 20))),
        "/many" => page(format!("{{\"items\":[{}1]}}", "1,".repeat(10_000))),
        "/deep" => page(format!("{}{}", "[".repeat(100), "]".repeat(100))),
        "/empty" => Reply::empty(200),
        "/none" => Reply::empty(204),
        _ => Reply::json(401, &json!({"error": "no"})),
    }
}

#[test]
fn a_wrong_answer_is_told_and_stops_nothing() {
    let runtime = Runtime::new().unwrap();
    let service = runtime.block_on(Server::start(wrong_answers)).unwrap();
    // Takes connections, by the system's queue, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let at = |path: &str| format!("{}/{path}", service.url());
    let wrong = [
        (
            "elsewhere",
            at("elsewhere"),
            "/elsewhere has nothing at `/items`",
        ),
        (
            "html",
            at("html"),
            "/html answered with text/html: the body is no JSON",
        ),
        ("endless", at("endless"), "is larger than 1048576 bytes"),
        ("many", at("many"), "gave more than 10000 items"),
        ("deep", at("deep"), "nested more than 64 deep"),
        ("empty", at("empty"), "/empty answered with no media type"),
        ("login", at("login"), "answered 401: {\"error\":\"no\"}"),
        (
            "silent",
            format!("{silent}/list?key=k"),
            "/list: no answer within 1000 ms",
        ),
    ];
    let block = |(name, url): (&str, &str)| {
        format!(
            "[[source]]\nkind = \"poll\"\nname = \"{name}\"\nurl = \"{url}\"\n\
            every = \"1s\"\ntimeout = \"1s\"\nitems = \"/items\"\n"
        )
    };
    let blocks: String = wrong
        .iter()
        .map(|(name, url, _)| block((name, url)))
        .collect();
    let house = House::new();
    house.channel("app", &format!("{blocks}{}", block(("none", &at("none")))));
    let server = house.serve();
    for (name, _, what) in wrong {
        let row = wait_for(what, || {
            row(&server, &format!("app/{name}")).filter(|row| !row["last_error"].is_null())
        });
        assert!(
            row["last_error"].as_str().unwrap().contains(what),
            "{name}: {row}"
        );
        assert_eq!(row["state"], "failing");
    }
    let none = row(&server, "app/none").unwrap();
    assert_eq!(
        (&none["state"], &none["last_error"]),
        (&json!("up"), &Json::Null)
    );
    assert_eq!(server.ask("/readyz", &[], None).status, 200);
    runtime.block_on(service.wait_for(20));
    let log = server.log();
    assert_eq!(log.matches("answered 401").count(), 1, "told once: {log}");
    assert!(!log.contains("key=k"), "the query may hold a key: {log}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn what_came_while_a_service_answered_nonsense_is_not_lost() {
    let service = Service::new(&json!({"items": [{"id": 1}]}));
    let house = service.house("items = \"/items\"\n");
    service
        .server
        .fail_next(1, Mischief::Answer(Reply::json(200, &json!("maintenance"))));
    let server = house.serve();
    assert_eq!(count(&server, 1)[0]["id"], 1);
    assert!(last_error(&server).contains("has nothing at `/items`"));
    assert_eq!(row(&server, "app/poll").unwrap()["state"], "up");
}

#[test]
fn a_service_that_is_away_is_asked_less_often_and_when_it_wishes() {
    let service = Service::new(&json!([]));
    let house = service.house("");
    let busy = Reply::empty(503).with("retry-after", "3");
    service.server.fail_next(1, Mischief::Answer(busy));
    let server = house.serve();
    wait_for("the first", || {
        (!last_error(&server).is_empty()).then_some(())
    });
    let began = std::time::Instant::now();
    service.asked_again(1);
    assert!(
        began.elapsed() > Duration::from_millis(2_500),
        "{:?}",
        began.elapsed()
    );
    let fails = server.ask("/metrics", &[], None).text;
    assert!(
        fails.contains("vigie_source_failures_total{source=\"app/poll\",kind=\"poll\"} 1"),
        "{fails}"
    );
}

#[test]
fn a_full_channel_takes_what_it_has_room_for_and_the_rest_comes_later() {
    let items: Vec<Json> = (1..=9).map(|id| json!({"id": id})).collect();
    let service = Service::new(&Json::from(items));
    let house = service.house("key = [\"id\"]\n");
    let path = house.path("channels/app.toml");
    let block = std::fs::read_to_string(&path).unwrap();
    house.channel("app", &format!("depth_max = 5\n{block}"));
    let server = house.serve();
    wait_for("its being full", || {
        last_error(&server).contains("is full").then_some(())
    });
    assert_eq!(numbers(&server), [1, 2, 3, 4, 5]);
    house.channel("app", &format!("depth_max = 50\n{block}"));
    count(&server, 9);
    service.asked_again(1);
    assert_eq!(numbers(&server), (1..=9).collect::<Vec<i64>>());
}

#[test]
fn an_item_that_was_not_kept_is_not_remembered_either() {
    let items: Vec<Json> = (1..=9).map(|id| json!({"id": id})).collect();
    let service = Service::new(&Json::from(items));
    let house = service.house("key = [\"id\"]\n");
    let block = std::fs::read_to_string(house.path("channels/app.toml")).unwrap();
    house.channel("app", &format!("depth_max = 5\n{block}"));
    let server = house.serve();
    wait_for("its being full", || {
        last_error(&server).contains("is full").then_some(())
    });
    server.kill();
    house.channel("app", &format!("depth_max = 50\n{block}"));
    let server = house.serve();
    count(&server, 9);
    assert_eq!(numbers(&server), (1..=9).collect::<Vec<i64>>());
}

#[test]
fn the_token_is_sent_and_never_shown() {
    let service = Service::new(&json!({"error": "hush-hush is wrong"}));
    let house = service.house(
        "items = \"/items\"\ntoken_file = \"secrets/app\"\ntoken_header = \"X-Api-Key\"\n\
        headers = { Accept = \"application/vnd.app+json\" }\n",
    );
    house.file("secrets/app", "hush-hush\n");
    service.gives(Reply::json(403, &json!({"error": "hush-hush is wrong"})));
    let server = house.serve();
    wait_for("the refusal", || {
        last_error(&server).contains("403").then_some(())
    });
    let sent = service.server.requests().remove(0);
    assert_eq!(sent.header("x-api-key"), Some("hush-hush"));
    assert_eq!(sent.header("accept"), Some("application/vnd.app+json"));
    assert_eq!(sent.asked("key"), Some("k"));
    assert_eq!(last_error(&server).matches("***").count(), 1);
    let listing = server.get("sources").to_string();
    assert!(
        !listing.contains("hush") && !listing.contains("key=k"),
        "{listing}"
    );
    assert!(!server.log().contains("hush"), "{}", server.log());
    // A changed secret is a changed source.
    house.file("secrets/app", "second\n");
    server.signal(rustix::process::Signal::HUP);
    wait_for("the new token", || {
        let requests = service.server.requests();
        (requests.last()?.header("x-api-key") == Some("second")).then_some(())
    });
}

#[test]
fn the_address_policy_holds_for_polls_too() {
    let service = Service::new(&json!([1]));
    let house = service.house("").http("allow = [\"other.example\"]");
    let output = house.run(&["check"]);
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    assert!(said.contains("source `app/poll`: 127.0.0.1:"), "{said}");
    assert!(
        said.contains("is not allowed; see `allow` under [http]"),
        "{said}"
    );
    // A name is judged by its addresses, and a redirect by where it leads.
    let house = service.house("").http("allow = [\"127.0.0.1\"]");
    let elsewhere = Reply::empty(302).with("location", "http://169.254.169.254/latest");
    service.gives(elsewhere);
    let server = house.serve();
    wait_for("the refusal", || {
        last_error(&server)
            .contains("169.254.169.254:80 is not allowed")
            .then_some(())
    });
}

#[test]
fn every_mistake_in_a_poll_is_told() {
    let base = "url = \"http://app.example/\"\nevery = \"30s\"\n";
    let wrong = [
        ("every = \"30s\"", "missing field `url`"),
        (
            "url = \"app.example\"\nevery = \"30s\"",
            "begins with http:// or https://",
        ),
        (
            "url = \"http://me:pw@app/\"\nevery = \"30s\"",
            "holds no password",
        ),
        (
            "url = \"http://app/\"\nevery = \"30\"",
            "write a number and a unit",
        ),
        (
            "url = \"http://app/\"\nevery = \"10ms\"",
            "`every` must be at least 1s",
        ),
        (&format!("{base}timeout = \"6m\""), "at most 5m"),
        (
            &format!("{base}items = \"data/list\""),
            "did you mean `/data/list`?",
        ),
        (&format!("{base}key = [\"\"]"), "names of fields"),
        (&format!("{base}first = \"none\""), "unknown variant `none`"),
        (&format!("{base}kee = [\"id\"]"), "did you mean `key`?"),
        (
            &format!("{base}headers = {{ Authorization = \"x\" }}"),
            "carries a secret",
        ),
        (
            &format!("{base}headers = {{ \"a b\" = \"x\" }}"),
            "is no header name",
        ),
        (
            &format!("{base}headers = {{ Host = \"x\" }}"),
            "`Host` is set by us",
        ),
        (&format!("{base}token_file = \"nowhere\""), "cannot read"),
        (
            &format!("{base}token_env = \"VIGIE_NO_SUCH\""),
            "VIGIE_NO_SUCH is not set",
        ),
        (
            &format!("{base}token_header = \"X-Key\""),
            "needs `token_file`",
        ),
        (&format!("{base}user = \"me\""), "go together"),
    ];
    for (keys, message) in wrong {
        let house = House::new();
        house.channel("app", &format!("[[source]]\nkind = \"poll\"\n{keys}\n"));
        let output = house.run(&["check"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{keys}: {said}");
        assert!(said.contains(message), "{keys}: {said}");
        assert!(said.contains("app.toml:"), "{keys}: {said}");
    }
}
