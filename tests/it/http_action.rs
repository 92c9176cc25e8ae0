//! `http::*`: what is sent, what comes back, what each failure means.

use std::time::{Duration, Instant};

use serde_json::json;
use vigie::action::http::failure::retry_after;
use vigie::action::http::{Client, Redirects, Request};
use vigie::action::{FailureKind, Repeat, Services, find};
use vigie::event::Value;
use vigie::secret::Secret;
use vigie::standin::{Mischief, Reply, Server};

use crate::acting::{KEY, Try, away, call, refusal, shown};

async fn echo() -> Server {
    Server::start(|seen| {
        let body = json!({"method": seen.method, "path": seen.path, "query": seen.query});
        Reply::json(200, &body).with("X-Answer", "yes")
    })
    .await
    .unwrap()
}

fn services() -> Services {
    Services::default()
}

#[tokio::test]
async fn an_answer_is_status_headers_body_and_json() {
    let server = echo().await;
    let arguments = json!([format!("{}/a", server.url()), {"query": {"q": "ü&1", "n": 2}}]);
    let answer = call(&services(), "http::get", arguments).await.unwrap();
    let answer = shown(&answer);
    assert_eq!(answer["status"], 200);
    assert_eq!(answer["headers"]["x-answer"], "yes");
    assert_eq!(answer["json"]["query"], json!([["n", "2"], ["q", "ü&1"]]));
    assert!(answer["body"].as_str().unwrap().starts_with('{'));
    let sent = &server.requests()[0];
    assert_eq!(
        sent.header("user-agent"),
        Some(concat!("vigie/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(sent.header("idempotency-key"), None);
}

#[tokio::test]
async fn json_form_and_body_are_sent_as_what_they_are() {
    let server = echo().await;
    let services = services();
    let bodies = [
        (
            json!({"json": {"a": [1, "ü"]}}),
            "application/json",
            "{\"a\":[1,\"ü\"]}",
        ),
        (
            json!({"form": {"a": "x y", "b": "1&2"}}),
            "application/x-www-form-urlencoded",
            "a=x%20y&b=1%262",
        ),
        (
            json!({"body": "plain"}),
            "text/plain; charset=utf-8",
            "plain",
        ),
        (
            json!({"body": "<x/>", "headers": {"Content-Type": "text/xml"}}),
            "text/xml",
            "<x/>",
        ),
    ];
    for (at, (options, kind, body)) in bodies.into_iter().enumerate() {
        call(&services, "http::post", json!([server.url(), options]))
            .await
            .unwrap();
        let sent = &server.requests()[at];
        assert_eq!(sent.header("content-type"), Some(kind));
        assert_eq!(String::from_utf8_lossy(&sent.body), body);
    }
    let options = Value::from([("body", Value::from(vec![0, 255]))]);
    let arguments = [Value::from(server.url()), options];
    Try::first(&services)
        .with("http::post", &arguments)
        .await
        .unwrap();
    assert_eq!(server.requests()[4].body, [0, 255]);
    let both = json!([server.url(), {"json": 1, "body": "x"}]);
    assert_eq!(
        refusal(call(&services, "http::post", both).await),
        "give one of `json`, `form` and `body`"
    );
}

#[tokio::test]
async fn every_write_carries_the_same_key_on_every_try() {
    let server = echo().await;
    let services = services();
    for verb in ["post", "put", "patch", "delete"] {
        let name = format!("http::{verb}");
        call(&services, &name, json!([server.url()])).await.unwrap();
        Try::again(&services)
            .call(&name, json!([server.url()]))
            .await
            .unwrap();
    }
    call(&services, "http::request", json!(["post", server.url()]))
        .await
        .unwrap();
    let keys: Vec<_> = server
        .requests()
        .iter()
        .map(|seen| seen.header("idempotency-key").map(str::to_owned))
        .collect();
    assert_eq!(keys, vec![Some(KEY.to_owned()); 9]);
    let methods: Vec<_> = server
        .requests()
        .iter()
        .map(|seen| seen.method.clone())
        .collect();
    assert_eq!(methods[6..], ["DELETE", "DELETE", "POST"]);
    let own = json!([server.url(), {"headers": {"Idempotency-Key": "mine"}}]);
    call(&services, "http::post", own).await.unwrap();
    assert_eq!(server.requests()[9].header("idempotency-key"), Some("mine"));
}

#[tokio::test]
async fn a_header_cannot_smuggle_another_one() {
    let server = echo().await;
    let attempts = [
        json!({"headers": {"X-A": "1\r\nX-Evil: 2"}}),
        json!({"headers": {"X-A\r\nX-Evil": "1"}}),
        json!({"headers": {"X-A": "1\nX-Evil: 2"}}),
        json!({"headers": {"X A": "1"}}),
        json!({"headers": {"Host": "evil.example"}}),
        json!({"headers": {"Content-Length": "0"}}),
        json!({"headers": {"transfer-encoding": "chunked"}}),
    ];
    for options in attempts {
        let said = refusal(call(&services(), "http::post", json!([server.url(), options])).await);
        assert!(said.contains("header"), "{said}");
    }
    let said = refusal(
        call(
            &services(),
            "http::get",
            json!([format!("{}/a\r\nX: 1", server.url())]),
        )
        .await,
    );
    assert_eq!(said, "the URL has a control character");
    let said = refusal(
        call(
            &services(),
            "http::request",
            json!(["GET / HTTP/1.1\r\nX: 1", server.url()]),
        )
        .await,
    );
    assert!(said.contains("is no method"), "{said}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_status_that_is_accepted_is_no_failure() {
    let server = echo().await;
    for accept in [json!([409]), json!(["409"]), json!("4xx"), json!(409)] {
        server.answer_next(1, 409);
        let arguments = json!([server.url(), {"accept": accept}]);
        let answer = call(&services(), "http::post", arguments).await.unwrap();
        assert_eq!(shown(&answer)["status"], 409);
    }
    server.answer_next(1, 503);
    away(
        call(
            &services(),
            "http::post",
            json!([server.url(), {"accept": ["4xx"]}]),
        )
        .await,
    );
    for wrong in [json!(["9xx"]), json!(["abc"]), json!([42]), json!([true])] {
        refusal(
            call(
                &services(),
                "http::post",
                json!([server.url(), {"accept": wrong}]),
            )
            .await,
        );
    }
}

#[tokio::test]
async fn a_status_tells_a_refusal_from_an_absence() {
    let server = echo().await;
    for status in [400, 401, 403, 404, 405, 409, 410, 413, 422] {
        server.answer_next(1, status);
        let failure = call(&services(), "http::post", json!([server.url()]))
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, failure.status, failure.in_doubt),
            (FailureKind::Refused, Some(status), false)
        );
    }
    for (status, in_doubt) in [
        (408, false),
        (429, false),
        (500, true),
        (502, true),
        (503, true),
        (504, true),
    ] {
        server.answer_next(2, status);
        let failure = away(call(&services(), "http::post", json!([server.url()])).await);
        assert_eq!((failure.status, failure.in_doubt), (Some(status), in_doubt));
        let failure = away(call(&services(), "http::get", json!([server.url()])).await);
        assert!(!failure.in_doubt, "reading changes nothing");
    }
}

#[tokio::test]
async fn a_refusal_quotes_the_first_500_characters_on_one_line() {
    let server = echo().await;
    let body = format!("bad\r\nthing {}", "ü".repeat(2_000));
    let reply = Reply {
        status: 400,
        headers: Vec::new(),
        body: body.into_bytes(),
    };
    server.fail_next(1, Mischief::Answer(reply));
    let url = format!("{}/x?token=hunter2", server.url());
    let said = refusal(call(&services(), "http::post", json!([url])).await);
    let start = format!("POST {}/x answered 400: bad  thing üüü", server.url());
    assert!(said.starts_with(&start), "{said}");
    assert!(said.ends_with('…') && said.chars().count() < start.chars().count() + 500);
    assert!(!said.contains("hunter2"), "a query may hold a key");
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_and_as_a_date() {
    let server = echo().await;
    let busy = Reply::empty(429).with("retry-after", "7");
    server.fail_next(1, Mischief::Answer(busy));
    let failure = away(call(&services(), "http::post", json!([server.url()])).await);
    assert_eq!(
        failure.kind,
        FailureKind::Away {
            retry_after: Some(Duration::from_secs(7))
        }
    );
    let now = "2026-11-20T18:00:00Z".parse().unwrap();
    let read = |text| retry_after(text, now);
    assert_eq!(
        read("Fri, 20 Nov 2026 18:01:30 GMT"),
        Some(Duration::from_secs(90))
    );
    assert_eq!(read("Fri, 20 Nov 2026 17:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(read("99999999999"), Some(Duration::from_secs(86_400)));
    assert_eq!(read("soon"), None);
    assert_eq!(read("-1"), None);
}

#[tokio::test]
async fn a_target_that_is_not_there_is_away_and_nothing_is_in_doubt() {
    let url = {
        let server = echo().await;
        server.url()
    };
    // The port was ours a moment ago and nobody listens there now.
    tokio::task::yield_now().await;
    let failure = away(call(&services(), "http::post", json!([url])).await);
    assert!(
        !failure.in_doubt && failure.message.contains("no connection"),
        "{failure}"
    );
}

#[tokio::test]
async fn an_answer_that_never_comes_leaves_a_write_in_doubt() {
    let server = echo().await;
    server.fail_next(2, Mischief::Silence);
    let started = Instant::now();
    let options = json!({"timeout": "80ms"});
    let failure = away(call(&services(), "http::post", json!([server.url(), options])).await);
    assert!(
        failure.in_doubt && failure.message.contains("no answer within"),
        "{failure}"
    );
    let failure = away(call(&services(), "http::get", json!([server.url(), options])).await);
    assert!(!failure.in_doubt);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_lost_answer_leaves_a_write_in_doubt() {
    let server = echo().await;
    server.fail_next(2, Mischief::LoseAnswer);
    let failure = away(call(&services(), "http::post", json!([server.url()])).await);
    assert!(
        failure.in_doubt && failure.message.contains("the connection broke"),
        "{failure}"
    );
    assert!(!away(call(&services(), "http::get", json!([server.url()])).await).in_doubt);
    assert_eq!(
        server.requests().len(),
        2,
        "nothing is repeated behind the run's back"
    );
}

#[tokio::test]
async fn a_slow_body_is_bounded_by_the_same_time() {
    let server = echo().await;
    server.fail_next(1, Mischief::SlowBody);
    let options = json!({"timeout": "200ms"});
    let failure = away(call(&services(), "http::put", json!([server.url(), options])).await);
    assert!(failure.in_doubt, "{failure}");
}

#[tokio::test]
async fn a_timeout_is_between_nothing_and_five_minutes() {
    for wrong in [
        json!("0s"),
        json!("6m"),
        json!("10"),
        json!(10),
        json!("-1s"),
        json!("1 m"),
    ] {
        let said = refusal(
            call(
                &services(),
                "http::get",
                json!(["http://127.0.0.1:1/", {"timeout": wrong}]),
            )
            .await,
        );
        assert!(said.contains("timeout"), "{said}");
    }
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_refused_even_if_it_was_compressed() {
    let big = Server::start(|seen| match seen.path.as_str() {
        "/fits" => Reply {
            status: 200,
            headers: Vec::new(),
            body: vec![b'a'; 1024 * 1024],
        },
        "/plain" => Reply {
            status: 200,
            headers: Vec::new(),
            body: vec![b'a'; 1024 * 1024 + 1],
        },
        _ => Reply {
            status: 200,
            headers: Vec::new(),
            body: bomb(),
        }
        .with("content-encoding", "gzip"),
    })
    .await
    .unwrap();
    let answer = call(
        &services(),
        "http::get",
        json!([format!("{}/fits", big.url())]),
    )
    .await
    .unwrap();
    assert_eq!(shown(&answer)["body"].as_str().unwrap().len(), 1024 * 1024);
    for path in ["plain", "bomb"] {
        let said = refusal(
            call(
                &services(),
                "http::get",
                json!([format!("{}/{path}", big.url())]),
            )
            .await,
        );
        assert!(said.contains("is larger than 1048576 bytes"), "{said}");
    }
    let failure = call(
        &services(),
        "http::post",
        json!([format!("{}/plain", big.url())]),
    )
    .await
    .unwrap_err();
    assert!(failure.in_doubt, "the write was carried out");
}

fn bomb() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 50 * 1024 * 1024]).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_is_text_in_its_charset_or_else_bytes() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/latin" => Reply {
            status: 200,
            headers: Vec::new(),
            body: b"caf\xe9".to_vec(),
        }
        .with("content-type", "text/plain; charset=iso-8859-1"),
        "/deep" => Reply {
            status: 200,
            headers: Vec::new(),
            body: "[".repeat(70).into_bytes(),
        },
        _ => Reply {
            status: 200,
            headers: Vec::new(),
            body: vec![0xff, 0xfe, 0x00],
        },
    })
    .await
    .unwrap();
    let get = async |path: &str| {
        call(
            &services(),
            "http::get",
            json!([format!("{}/{path}", server.url())]),
        )
        .await
        .unwrap()
    };
    assert_eq!(get("latin").await.get("body"), Some(&Value::from("café")));
    assert_eq!(
        get("bytes").await.get("body"),
        Some(&Value::from(vec![0xff, 0xfe, 0x00]))
    );
    assert_eq!(get("deep").await.get("json"), Some(&Value::Null));
}

#[tokio::test]
async fn up_to_three_redirects_are_followed_when_reading() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/4" => Reply::empty(302).with("location", "/3"),
        "/3" => Reply::empty(301).with("location", "2"),
        "/2" => Reply::empty(307).with("location", "/1"),
        "/1" => Reply::empty(308).with("location", "/0"),
        _ => Reply::json(200, &json!("there")),
    })
    .await
    .unwrap();
    let answer = call(
        &services(),
        "http::get",
        json!([format!("{}/3", server.url())]),
    )
    .await
    .unwrap();
    assert_eq!(answer.get("json"), Some(&Value::from("there")));
    let said = refusal(
        call(
            &services(),
            "http::get",
            json!([format!("{}/4", server.url())]),
        )
        .await,
    );
    assert!(said.contains("more than 3 times"), "{said}");
}

#[tokio::test]
async fn a_write_is_repeated_elsewhere_only_where_http_says_so() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/302" => Reply::empty(302).with("location", "/end"),
        "/303" => Reply::empty(303).with("location", "/end"),
        "/307" => Reply::empty(307).with("location", "/end"),
        _ => Reply::empty(200),
    })
    .await
    .unwrap();
    let post = async |path: &str| {
        let arguments = json!([format!("{}/{path}", server.url()), {"json": {"a": 1}}]);
        call(&services(), "http::post", arguments).await
    };
    assert!(refusal(post("302").await).contains("a write is not repeated elsewhere as a read"));
    post("303").await.unwrap();
    let last = server.requests().pop().unwrap();
    assert_eq!((last.method.as_str(), last.body.len()), ("GET", 0));
    post("307").await.unwrap();
    let last = server.requests().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.json()),
        ("POST", json!({"a": 1}))
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_gets_no_credentials() {
    let other = echo().await;
    let there = other.url();
    let first = Server::start(move |_| Reply::empty(302).with("location", &there))
        .await
        .unwrap();
    let headers =
        json!({"Authorization": "Bearer s", "X-Token": "s", "Cookie": "s", "Accept": "text/x"});
    call(
        &services(),
        "http::get",
        json!([first.url(), {"headers": headers}]),
    )
    .await
    .unwrap();
    assert_eq!(first.requests()[0].header("x-token"), Some("s"));
    let seen = &other.requests()[0];
    for name in ["authorization", "x-token", "cookie"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("accept"), Some("text/x"));
}

#[tokio::test]
async fn a_secret_header_stays_with_the_host_it_was_meant_for() {
    let other = echo().await;
    let there = other.url();
    let first = Server::start(move |seen| match seen.path.as_str() {
        "/same" => Reply::empty(302).with("location", "/away"),
        _ => Reply::empty(302).with("location", &there),
    })
    .await
    .unwrap();
    let mut request = Request::new("GET", format!("{}/same", first.url()));
    request.redirects = Redirects::Follow;
    request.secret_headers = vec![("x-key", Secret::new("hunter2".to_owned()))];
    Client::default().send(request).await.unwrap();
    let kept = first.requests();
    assert_eq!(kept[1].header("x-key"), Some("hunter2"), "the same host");
    assert_eq!(other.requests()[0].header("x-key"), None);
}

#[tokio::test]
async fn an_unknown_option_is_refused_with_its_neighbour() {
    let said = refusal(
        call(
            &services(),
            "http::get",
            json!(["http://127.0.0.1:1/", {"timout": "1s"}]),
        )
        .await,
    );
    assert_eq!(said, "there is no option `timout`; did you mean `timeout`?");
}

#[test]
fn reading_and_putting_may_be_repeated_and_posting_is_in_doubt() {
    let repeat = |name: &str| find(name).unwrap().1.repeat;
    for name in ["http::get", "http::put", "http::delete"] {
        assert_eq!(repeat(name), Repeat::Safe, "{name}");
    }
    for name in [
        "http::post",
        "http::patch",
        "http::request",
        "mail::send",
        "file::append",
    ] {
        assert_eq!(repeat(name), Repeat::InDoubt, "{name}");
    }
    assert_eq!(repeat("redmine::open"), Repeat::LookUp);
    assert_eq!(repeat("pagerduty::trigger"), Repeat::Safe);
    assert_eq!(repeat("canopsis::check"), Repeat::Safe);
}
