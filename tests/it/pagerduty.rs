//! `pagerduty::*` against the stand-in, and the stand-in against the documented cases.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use vigie::action::http::{Client, Request};
use vigie::action::pagerduty::{Service, Settings};
use vigie::action::{FailureKind, Services};
use vigie::standin::{Mischief, PagerDuty, Reply};

use crate::acting::{KEY, Try, away, call, refusal, secret, shown};

const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";

fn services(standin: &PagerDuty) -> Services {
    let (folder, file) = secret(ROUTING_KEY);
    let settings = Settings {
        endpoint: standin.url(),
        routing_key_file: Some(file),
        timeout: "2s".to_owned(),
        ..Settings::default()
    };
    Services {
        pagerduty: Some(Service::prepare(settings, folder.path()).unwrap()),
        ..Services::default()
    }
}

#[tokio::test]
async fn an_alert_is_triggered_acknowledged_and_resolved() {
    let standin = PagerDuty::start().await.unwrap();
    let services = services(&standin);
    let event = json!({"summary": "web01 is down", "source": "web01", "severity": "critical",
        "dedup_key": "web01/ping", "timestamp": "2026-11-20T16:00:00Z", "component": "ping",
        "group": "web", "class": "host", "custom_details": {"loss": 1.0},
        "links": [{"href": "http://wiki.example/web01", "text": "runbook"}],
        "images": [{"src": "https://img.example/g.png"}],
        "client": "vigie", "client_url": "http://flow.example/"});
    let outcome = call(&services, "pagerduty::trigger", json!([event]))
        .await
        .unwrap();
    assert_eq!(shown(&outcome)["dedup_key"], "web01/ping");
    let alert = standin.alerts().pop().unwrap();
    assert_eq!(
        (alert.state, alert.routing_key.as_str()),
        ("triggered", ROUTING_KEY)
    );
    assert_eq!(alert.payload["custom_details"]["loss"].as_f64(), Some(1.0));
    assert_eq!(standin.requests()[0].json()["client"], "vigie");
    call(&services, "pagerduty::acknowledge", json!(["web01/ping"]))
        .await
        .unwrap();
    assert_eq!(standin.alerts()[0].state, "acknowledged");
    call(
        &services,
        "pagerduty::resolve",
        json!([{"dedup_key": "web01/ping"}]),
    )
    .await
    .unwrap();
    assert_eq!(standin.alerts()[0].state, "resolved");
    assert!(
        standin
            .requests()
            .iter()
            .all(|seen| seen.header("idempotency-key").is_none())
    );
}

#[tokio::test]
async fn a_second_try_joins_the_alert_of_the_first_even_without_a_dedup_key() {
    let standin = PagerDuty::start().await.unwrap();
    let services = services(&standin);
    standin.fail_next(1, Mischief::LoseAnswer);
    let event = json!([{"summary": "a", "source": "b"}]);
    let failure = away(call(&services, "pagerduty::trigger", event.clone()).await);
    assert!(failure.in_doubt);
    Try::again(&services)
        .call("pagerduty::trigger", event)
        .await
        .unwrap();
    let alerts = standin.alerts();
    assert_eq!(
        (
            alerts.len(),
            alerts[0].triggers,
            alerts[0].dedup_key.as_str()
        ),
        (1, 2, KEY)
    );
    assert_eq!(alerts[0].payload["severity"], "error");
}

#[tokio::test]
async fn limits_are_checked_before_anything_is_sent() {
    let standin = PagerDuty::start().await.unwrap();
    let services = services(&standin);
    let good = json!({"summary": "a", "source": "b", "severity": "info", "dedup_key": "c"});
    let wrong = [
        ("summary", json!("  "), "`summary` is missing or blank"),
        ("summary", json!(null), "`summary` is missing or blank"),
        ("source", json!(""), "`source` is missing or blank"),
        (
            "severity",
            json!("fatal"),
            "`severity` is \"fatal\"; PagerDuty knows critical, error, warning, info",
        ),
        (
            "dedup_key",
            json!("k".repeat(256)),
            "`dedup_key` is longer than 255 characters",
        ),
        (
            "routing_key",
            json!("short"),
            "`routing_key` must be 32 letters and digits",
        ),
        (
            "routing_key",
            json!("0123456789abcdef0123456789abcde-"),
            "`routing_key` must be 32 letters and digits",
        ),
        (
            "custom_details",
            json!("text"),
            "`custom_details` must be a map, not text",
        ),
        (
            "timestamp",
            json!("yesterday"),
            "`timestamp` must be seconds",
        ),
        (
            "links",
            json!(["http://x"]),
            "`links` must be a list of maps with `href`",
        ),
        (
            "custom_details",
            json!({"x": "y".repeat(600_000)}),
            "PagerDuty takes 512000",
        ),
        ("sumary", json!("a"), "did you mean `summary`?"),
    ];
    for (name, value, complaint) in wrong {
        let mut event = good.clone();
        event[name] = value;
        let said = refusal(call(&services, "pagerduty::trigger", json!([event])).await);
        assert!(said.contains(complaint), "{said}");
    }
    for nothing in [json!([""]), json!([{}]), json!([7])] {
        let said = refusal(call(&services, "pagerduty::resolve", nothing).await);
        assert_eq!(said, "`dedup_key` is missing or blank");
    }
    assert!(standin.requests().is_empty());
}

#[tokio::test]
async fn a_long_summary_is_cut_at_1024_characters() {
    let standin = PagerDuty::start().await.unwrap();
    let event = json!([{"summary": "ü".repeat(2_000), "source": "b"}]);
    call(&services(&standin), "pagerduty::trigger", event)
        .await
        .unwrap();
    let alert = standin.alerts().pop().unwrap();
    let sent = alert.payload["summary"].as_str().unwrap();
    assert_eq!(sent.chars().count(), 1_024);
    assert!(sent.ends_with("ü…"));
}

#[tokio::test]
async fn a_400_is_never_tried_again_and_shows_pagerdutys_words() {
    let standin = PagerDuty::start().await.unwrap();
    let services = services(&standin);
    standin.forget_key(ROUTING_KEY);
    let said = refusal(call(&services, "pagerduty::resolve", json!(["a"])).await);
    assert_eq!(said, "PagerDuty refused the event: Invalid routing key");
    let echoing =
        json!({"status": "invalid event", "errors": [format!("bad {ROUTING_KEY}"), "worse"]});
    standin.fail_next(1, Mischief::Answer(Reply::json(400, &echoing)));
    let said = refusal(call(&services, "pagerduty::resolve", json!(["a"])).await);
    assert_eq!(said, "PagerDuty refused the event: bad ***; worse");
}

#[tokio::test]
async fn too_many_and_trouble_mean_away() {
    let standin = PagerDuty::start().await.unwrap();
    let services = services(&standin);
    for status in [429, 500, 503] {
        standin.answer_next(1, status);
        let failure = away(call(&services, "pagerduty::resolve", json!(["a"])).await);
        assert_eq!(failure.status, Some(status));
    }
    standin.answer_next(1, 200);
    let failure = call(&services, "pagerduty::resolve", json!(["a"]))
        .await
        .unwrap_err();
    assert_eq!(
        failure.kind,
        FailureKind::Other,
        "only 202 is the documented yes"
    );
    standin.answer_next(1, 413);
    refusal(call(&services, "pagerduty::resolve", json!(["a"])).await);
}

#[tokio::test]
async fn events_of_one_routing_key_leave_one_after_another() {
    let standin = PagerDuty::start().await.unwrap();
    let services = services(&standin);
    standin.fail_next(1, Mischief::Delay(Duration::from_millis(300)));
    let trigger = call(
        &services,
        "pagerduty::trigger",
        json!([{"summary": "a", "source": "b", "dedup_key": "k"}]),
    );
    let resolve = async {
        standin.wait_for(1).await;
        let resolve = call(&services, "pagerduty::resolve", json!(["k"]));
        let other = "fedcba9876543210fedcba9876543210";
        let elsewhere = call(
            &services,
            "pagerduty::resolve",
            json!([{"dedup_key": "k", "routing_key": other}]),
        );
        let (resolve, elsewhere) = tokio::join!(resolve, elsewhere);
        elsewhere.unwrap();
        resolve.unwrap();
    };
    let (trigger, ()) = tokio::join!(trigger, resolve);
    trigger.unwrap();
    let order: Vec<_> = standin.requests().iter().map(|seen| seen.json()).collect();
    assert_eq!(order[0]["event_action"], "trigger");
    assert_ne!(
        order[1]["routing_key"], ROUTING_KEY,
        "another key does not wait"
    );
    assert_eq!(order[2]["event_action"], "resolve");
    assert_eq!(standin.alerts()[0].state, "resolved");
}

#[tokio::test]
async fn a_change_notifies_nobody_and_has_its_own_door() {
    let standin = PagerDuty::start().await.unwrap();
    let event =
        json!([{"summary": "deployed 1.2.3", "source": "ci", "custom_details": {"build": "7"}}]);
    call(&services(&standin), "pagerduty::change", event)
        .await
        .unwrap();
    assert_eq!(standin.changes()[0]["payload"]["summary"], "deployed 1.2.3");
    assert!(standin.alerts().is_empty());
    let said = refusal(
        call(
            &services(&standin),
            "pagerduty::change",
            json!([{"summary": "a", "severity": "info"}]),
        )
        .await,
    );
    assert!(said.contains("no option `severity`"), "{said}");
}

#[test]
fn the_routing_key_is_never_shown() {
    let (folder, file) = secret(ROUTING_KEY);
    let settings = Settings {
        routing_key_file: Some(file),
        ..Settings::default()
    };
    let services = Services {
        pagerduty: Some(Service::prepare(settings, folder.path()).unwrap()),
        ..Services::default()
    };
    assert!(!format!("{services:?}").contains(ROUTING_KEY));
    assert!(format!("{services:?}").contains("events.pagerduty.com"));
}

#[test]
fn wrong_settings_are_named() {
    let (folder, _) = secret("not a key at all");
    let prepare = |text: &str| {
        let settings: Settings = toml::from_str(text).map_err(|why| why.to_string())?;
        Service::prepare(settings, folder.path()).map(drop)
    };
    assert!(prepare("").is_ok(), "each flow may bring its own key");
    assert!(
        prepare("routing_key = \"x\"")
            .unwrap_err()
            .contains("unknown field")
    );
    assert!(
        prepare("routing_key_file = \"secret\"")
            .unwrap_err()
            .contains("32 letters")
    );
    assert!(
        prepare("routing_key_file = \"gone\"")
            .unwrap_err()
            .contains("cannot read")
    );
    assert!(
        prepare("endpoint = \"events.pagerduty.com\"")
            .unwrap_err()
            .contains("http")
    );
    assert!(
        prepare("endpoint = \"https://a:b@events.pagerduty.com\"")
            .unwrap_err()
            .contains("password")
    );
    assert!(
        prepare("timeout = \"soon\"")
            .unwrap_err()
            .contains("timeout")
    );
    assert!(Service::prepare(Settings::default(), Path::new("/")).is_ok());
}

/// What other clients are known to send is taken, one alert for one key.
#[tokio::test]
async fn the_standin_takes_the_requests_of_other_clients() {
    let standin = PagerDuty::start().await.unwrap();
    let recorded: serde_json::Value =
        serde_json::from_str(include_str!("../data/pagerduty/requests.json")).unwrap();
    for one in recorded.as_array().unwrap() {
        let url = format!("{}{}", standin.url(), one["path"].as_str().unwrap());
        let request = Request::new("POST", url).json(&one["body"]);
        let response = Client::default().send(request).await;
        assert_eq!(response.unwrap().status, 202, "{}", one["name"]);
    }
    let keys: Vec<_> = standin
        .alerts()
        .into_iter()
        .map(|alert| (alert.dedup_key, alert.state))
        .collect();
    let expected = [("host/web01", "resolved"), ("15_H", "triggered")];
    assert_eq!(keys, expected.map(|(key, state)| (key.to_owned(), state)));
}

/// The stand-in gives the answers that the documentation and users' reports tell of.
#[tokio::test]
async fn the_standin_is_as_strict_as_the_documentation() {
    let standin = PagerDuty::start().await.unwrap();
    let post = async |body: String| {
        let mut request = Request::new("POST", format!("{}/v2/enqueue", standin.url()));
        request.body = Some(body.into_bytes());
        request.accept.add("4xx").unwrap();
        let response = Client::default().send(request).await.unwrap();
        (response.status, response.json().unwrap_or_default())
    };
    let event = |change: serde_json::Value| {
        let mut event = json!({"routing_key": ROUTING_KEY, "event_action": "trigger",
            "payload": {"summary": "a", "source": "b", "severity": "info"}});
        for (name, value) in change.as_object().unwrap() {
            event[name] = value.clone();
        }
        event.to_string()
    };
    assert_eq!(
        post("{".to_owned()).await.1["errors"][0],
        "JSON parse error"
    );
    let (status, body) = post(event(json!({"routing_key": "x"}))).await;
    assert_eq!(status, 400);
    assert_eq!(
        body["errors"][0],
        "Length of 'routing_key' is incorrect (should be 32 characters)"
    );
    let (_, body) = post(event(json!({"payload": {"summary": "a", "source": "b"}}))).await;
    assert_eq!(body["errors"][0], "'payload.severity' is missing or blank");
    let (_, body) = post(event(
        json!({"payload": {"summary": "a", "severity": "info"}}),
    ))
    .await;
    assert_eq!(body["errors"][0], "'payload.source' is missing or blank");
    assert_eq!(post(event(json!({"event_action": "resolve"}))).await.0, 400);
    let (one, two) = (post(event(json!({}))).await, post(event(json!({}))).await);
    assert_ne!(
        one.1["dedup_key"], two.1["dedup_key"],
        "without a key nothing joins"
    );
    let mut last = 202;
    for _ in 0..120 {
        last = post(event(json!({}))).await.0;
    }
    assert_eq!(last, 429, "120 a minute");
}
