//! `canopsis::*` against the stand-in, and the stand-in against the recorded events.

use std::time::Duration;

use serde_json::json;
use vigie::action::canopsis::{Service, Settings};
use vigie::action::http::{Client, Request};
use vigie::action::{FailureKind, Services};
use vigie::event::Value;
use vigie::standin::canopsis::AUTHKEY;
use vigie::standin::{Canopsis, Mischief, Reply};

use crate::acting::{away, call, refusal, secret, shown};

fn services(standin: &Canopsis) -> Services {
    let (folder, file) = secret(AUTHKEY);
    let settings = Settings {
        endpoint: standin.url(),
        authkey_file: Some(file),
        timeout: "2s".to_owned(),
        ..Settings::default()
    };
    Services {
        canopsis: Some(Service::prepare(settings, folder.path()).unwrap()),
        ..Services::default()
    }
}

async fn with_alarm() -> (Canopsis, Services) {
    let standin = Canopsis::start_with(Duration::ZERO).await.unwrap();
    let services = services(&standin);
    let check =
        json!([{"component": "web01", "resource": "HTTP", "state": 3, "output": "no answer"}]);
    call(&services, "canopsis::check", check).await.unwrap();
    (standin, services)
}

#[tokio::test]
async fn a_check_opens_an_alarm_and_keeps_further_fields() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    let check = json!([{"component": "web01", "resource": "HTTP", "state": "major", "output": "slow",
        "long_output": "tried 3 times", "timestamp": "2026-11-20T16:00:00Z", "author": "alice",
        "customer": "ACME", "perf_data": {"ms": 12}}]);
    let outcome = shown(&call(&services, "canopsis::check", check).await.unwrap());
    assert_eq!(outcome["entity"], "HTTP/web01");
    assert_eq!(outcome["event"]["state"], 2);
    let event = &standin.events()[0];
    assert_eq!(event["connector"], "vigie");
    assert_eq!(event["connector_name"], "main");
    assert_eq!(event["source_type"], "resource");
    assert_eq!(event["timestamp"], 1_795_190_400);
    assert_eq!(event["customer"], "ACME");
    assert_eq!(event["perf_data"]["ms"], 12);
    let alarm = &standin.alarms()[0];
    assert_eq!((alarm.entity.as_str(), alarm.state), ("HTTP/web01", 2));
    let sent = &standin.requests()[0];
    assert_eq!(sent.header("x-canopsis-authkey"), Some(AUTHKEY));
    assert_eq!(sent.asked("authkey"), None);
}

#[tokio::test]
async fn a_component_alone_is_an_entity_too() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    let check = json!([{"component": "web01", "state": "critical", "connector": "zabbix", "connector_name": "z1"}]);
    call(&services, "canopsis::check", check).await.unwrap();
    assert_eq!(standin.events()[0]["source_type"], "component");
    assert_eq!(standin.events()[0]["connector"], "zabbix");
    let found = call(&services, "canopsis::find", json!(["web01"]))
        .await
        .unwrap();
    assert_eq!(shown(&found)["entity"], "web01");
}

#[tokio::test]
async fn a_wrong_check_is_refused_before_it_is_sent() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    for (check, complaint) in [
        (
            json!({"component": "a", "state": 4}),
            "`state` is 4; it must be 0 to 3",
        ),
        (
            json!({"component": "a", "state": "bad"}),
            "`state` is \"bad\"",
        ),
        (
            json!({"component": "a"}),
            "`state` must be 0 to 3, or ok, minor, major, critical, not nothing",
        ),
        (
            json!({"component": " ", "state": 1}),
            "`component` is missing or blank",
        ),
        (json!({"state": 1}), "`component` is missing or blank"),
        (
            json!({"component": "a", "state": 1, "timestamp": "soon"}),
            "`timestamp` must be",
        ),
        (
            json!({"component": ["a"], "state": 1}),
            "`component` must be text, not a list",
        ),
        (
            json!({"component": "a", "state": 1, "event_type": "ack"}),
            "`event_type` is set by the verb",
        ),
    ] {
        let said = refusal(call(&services, "canopsis::check", json!([check])).await);
        assert!(said.contains(complaint), "{said}");
    }
    assert!(standin.requests().is_empty());
}

#[tokio::test]
async fn failed_events_are_a_refusal_although_the_status_is_200() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    let failed = json!({"sent_events": [], "failed_events": [{"a": 1}], "retry_events": []});
    standin.fail_next(1, Mischief::Answer(Reply::json(200, &failed)));
    let check = json!([{"component": "web01", "state": 1}]);
    let said = refusal(call(&services, "canopsis::check", check.clone()).await);
    assert!(
        said.starts_with("Canopsis refused the event: {") && said.contains("web01"),
        "{said}"
    );
    standin.clog(true);
    assert!(
        away(call(&services, "canopsis::check", check.clone()).await)
            .message
            .contains("retry_events")
    );
    standin.clog(false);
    standin.fail_next(1, Mischief::Answer(Reply::json(200, &json!({}))));
    let failure = call(&services, "canopsis::check", check).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Other);
}

#[tokio::test]
async fn a_wrong_key_and_trouble_are_told_apart() {
    let standin = Canopsis::start().await.unwrap();
    let (folder, file) = secret("wrong-key-of-somebody");
    let settings = Settings {
        endpoint: standin.url(),
        authkey_file: Some(file),
        ..Settings::default()
    };
    let wrong = Services {
        canopsis: Some(Service::prepare(settings, folder.path()).unwrap()),
        ..Services::default()
    };
    let check = json!([{"component": "web01", "state": 1}]);
    assert_eq!(
        refusal(call(&wrong, "canopsis::check", check.clone()).await),
        "Canopsis does not know this authkey"
    );
    assert!(!format!("{wrong:?}").contains("wrong-key-of-somebody"));
    let services = services(&standin);
    let maintenance = Reply::json(503, &json!({"error": "canopsis is under maintenance"}));
    standin.fail_next(1, Mischief::Answer(maintenance));
    let failure = away(call(&services, "canopsis::check", check.clone()).await);
    assert!(failure.message.contains("under maintenance"));
    standin.answer_next(1, 408);
    away(call(&services, "canopsis::check", check.clone()).await);
    standin.answer_next(1, 403);
    refusal(call(&services, "canopsis::check", check).await);
}

#[tokio::test]
async fn an_alarm_is_acted_on_by_what_it_is_about() {
    let (standin, services) = with_alarm().await;
    let steps = [
        ("ack", json!(["web01", "HTTP", {"comment": "looking"}])),
        (
            "comment",
            json!([{"component": "web01", "resource": "HTTP", "comment": "x".repeat(300)}]),
        ),
        (
            "ticket",
            json!(["web01", "HTTP", {"ticket": "42", "url": "http://redmine.example/issues/42", "system_name": "redmine", "data": {"priority": 4}}]),
        ),
        ("snooze", json!(["web01", "HTTP", {"duration": "15m"}])),
        (
            "cancel",
            json!(["web01", "HTTP", {"comment": "false alarm"}]),
        ),
    ];
    for (verb, arguments) in steps {
        let outcome = call(&services, &format!("canopsis::{verb}"), arguments)
            .await
            .unwrap();
        assert_eq!(
            shown(&outcome),
            json!({"changed": true, "id": "alarm-1"}),
            "{verb}"
        );
    }
    let alarm = standin.alarms().pop().unwrap();
    assert!(alarm.acked && alarm.snoozed && alarm.canceled);
    assert_eq!(alarm.ticket.as_deref(), Some("42"));
    assert_eq!(alarm.comments[1].chars().count(), 255, "comments are cut");
    call(&services, "canopsis::ackremove", json!(["web01", "HTTP"]))
        .await
        .unwrap();
    assert!(!standin.alarms()[0].acked);
    let found = shown(
        &call(&services, "canopsis::find", json!(["web01", "HTTP"]))
            .await
            .unwrap(),
    );
    assert_eq!(
        (&found["state"], &found["acked"], &found["canceled"]),
        (&json!(3), &json!(false), &json!(true))
    );
}

#[tokio::test]
async fn what_is_already_done_is_done() {
    let (_standin, services) = with_alarm().await;
    for verb in ["cancel", "snooze"] {
        for changed in [true, false] {
            let arguments = match verb {
                "snooze" => json!(["web01", "HTTP", {"duration": "1m"}]),
                _ => json!(["web01", "HTTP"]),
            };
            let outcome = call(&services, &format!("canopsis::{verb}"), arguments)
                .await
                .unwrap();
            assert_eq!(
                outcome.get("changed"),
                Some(&Value::Bool(changed)),
                "{verb}"
            );
        }
    }
    let outcome = call(&services, "canopsis::cancel", json!(["unknown", "HTTP"]))
        .await
        .unwrap();
    assert_eq!(shown(&outcome), json!({"changed": false, "id": null}));
    assert_eq!(
        call(&services, "canopsis::find", json!(["unknown"]))
            .await
            .unwrap(),
        Value::Null
    );
}

#[tokio::test]
async fn wrong_actions_are_refused_before_they_are_sent() {
    let (standin, services) = with_alarm().await;
    let before = standin.requests().len();
    for (verb, arguments, complaint) in [
        (
            "comment",
            json!(["web01", "HTTP"]),
            "`comment` is missing or blank",
        ),
        (
            "ticket",
            json!(["web01", "HTTP", {"url": "x"}]),
            "`ticket` is missing or blank",
        ),
        (
            "ticket",
            json!(["web01", "HTTP", {"ticket": "1", "url": "x".repeat(256)}]),
            "`url` is longer than 255",
        ),
        (
            "snooze",
            json!(["web01", "HTTP", {"duration": 15}]),
            "`duration` must be text like",
        ),
        ("ack", json!(["web01", 7]), "`resource` must be text"),
        (
            "ack",
            json!(["", "HTTP"]),
            "`component` is missing or blank",
        ),
        (
            "ack",
            json!(["web01", {"coment": "x"}]),
            "did you mean `comment`?",
        ),
        (
            "resolve",
            json!(["web01", "HTTP", {"wait": "2h"}]),
            "`wait` must be at most 1h",
        ),
    ] {
        let said = refusal(call(&services, &format!("canopsis::{verb}"), arguments).await);
        assert!(said.contains(complaint), "{verb}: {said}");
    }
    assert_eq!(standin.requests().len(), before);
    let said = {
        let errors = json!({"errors": {"comment": "Comment is odd."}});
        standin.fail_next(1, Mischief::Delay(Duration::ZERO));
        standin.fail_next(1, Mischief::Answer(Reply::json(400, &errors)));
        refusal(call(&services, "canopsis::ack", json!(["web01", "HTTP"])).await)
    };
    assert_eq!(said, "Canopsis refused it: comment: Comment is odd.");
}

#[tokio::test]
async fn resolving_says_recovered_and_waits_only_if_asked() {
    let standin = Canopsis::start_with(Duration::from_millis(300))
        .await
        .unwrap();
    let services = services(&standin);
    let check = json!([{"component": "web01", "resource": "HTTP", "state": 3}]);
    call(&services, "canopsis::check", check).await.unwrap();
    let outcome = call(&services, "canopsis::resolve", json!(["web01", "HTTP"]))
        .await
        .unwrap();
    assert_eq!(
        shown(&outcome),
        json!({"entity": "HTTP/web01", "resolved": null})
    );
    assert_eq!(standin.events()[1]["state"], 0);
    assert_eq!(standin.events()[1]["event_type"], "check");
    assert!(!standin.alarms()[0].resolved, "state 0 is not resolved yet");
    let waited = json!(["web01", "HTTP", {"wait": "5s", "output": "fine again"}]);
    let outcome = call(&services, "canopsis::resolve", waited).await.unwrap();
    assert_eq!(shown(&outcome)["resolved"], true);
    assert!(standin.alarms()[0].resolved);
    assert_eq!(standin.events()[2]["output"], "fine again");
}

#[tokio::test]
async fn an_alarm_that_stays_open_is_told_within_the_wait() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    call(
        &services,
        "canopsis::check",
        json!([{"component": "web01", "state": 3}]),
    )
    .await
    .unwrap();
    let outcome = call(
        &services,
        "canopsis::resolve",
        json!(["web01", {"wait": "100ms"}]),
    )
    .await
    .unwrap();
    assert_eq!(shown(&outcome)["resolved"], false);
    let nothing = call(
        &services,
        "canopsis::resolve",
        json!(["other", {"wait": "1s"}]),
    )
    .await
    .unwrap();
    assert_eq!(
        shown(&nothing)["resolved"],
        true,
        "nothing open is resolved"
    );
}

#[test]
fn wrong_settings_are_named() {
    let (folder, _) = secret(AUTHKEY);
    let prepare = |text: &str| {
        let settings: Settings = toml::from_str(text).map_err(|why| why.to_string())?;
        Service::prepare(settings, folder.path()).map(drop)
    };
    assert!(prepare("authkey_file = \"secret\"").is_ok());
    assert!(
        prepare("")
            .unwrap_err()
            .contains("authkey_file or authkey_env")
    );
    assert!(
        prepare("authkey_file = \"secret\"\nconnector = \"\"")
            .unwrap_err()
            .contains("`connector` is blank")
    );
    assert!(
        prepare("authkey = \"x\"")
            .unwrap_err()
            .contains("unknown field")
    );
}

/// The stand-in does with the recorded events what Canopsis' source does with them.
#[tokio::test]
async fn the_standin_sorts_events_as_canopsis_does() {
    let standin = Canopsis::start().await.unwrap();
    let recorded: serde_json::Value =
        serde_json::from_str(include_str!("../data/canopsis/events.json")).unwrap();
    for one in recorded.as_array().unwrap() {
        let mut request =
            Request::new("POST", format!("{}/api/v4/event", standin.url())).json(&one["event"]);
        request
            .headers
            .push(("x-canopsis-authkey".to_owned(), AUTHKEY.to_owned()));
        let answer = Client::default()
            .send(request)
            .await
            .unwrap()
            .json()
            .unwrap();
        let list = match one["expect"].as_str() {
            Some("failed_events") => "failed_events",
            _ => "sent_events",
        };
        assert_eq!(answer[list].as_array().unwrap().len(), 1, "{}", one["name"]);
    }
}

// acknowledgements of somebody else

#[tokio::test]
async fn an_acknowledgement_with_an_author_or_a_time_goes_as_an_event() {
    let (standin, services) = with_alarm().await;
    let ack = json!([{"component": "web01", "resource": "HTTP", "author": "alice", "timestamp": 1_795_190_400,
        "output": "on it", "long_output": "on it", "state": "critical", "connector": "centreon-stream"}]);
    let outcome = call(&services, "canopsis::ack", ack).await.unwrap();
    assert_eq!(shown(&outcome), json!({"changed": null, "id": null}));
    let sent = standin.requests().pop().unwrap();
    assert_eq!(
        (sent.method.as_str(), sent.path.as_str()),
        ("POST", "/api/v4/event")
    );
    let wanted = json!({"event_type": "ack", "source_type": "resource", "component": "web01", "resource": "HTTP",
        "author": "alice", "timestamp": 1_795_190_400, "output": "on it", "long_output": "on it", "state": 3,
        "connector": "centreon-stream", "connector_name": "main"});
    assert_eq!(sent.json(), wanted);
    assert!(standin.alarms()[0].acked);
    assert_eq!(standin.alarms()[0].comments, ["on it"]);
    // a time alone, and back again
    let back = json!(["web01", "HTTP", {"timestamp": "2026-11-20T16:00:00Z"}]);
    call(&services, "canopsis::ackremove", back).await.unwrap();
    let sent = standin.requests().pop().unwrap().json();
    assert_eq!(
        (&sent["event_type"], &sent["timestamp"]),
        (&json!("ackremove"), &json!(1_795_190_400))
    );
    assert!(!standin.alarms()[0].acked);
}

#[tokio::test]
async fn an_acknowledgement_goes_one_way_or_the_other() {
    let (standin, services) = with_alarm().await;
    let before = standin.requests().len();
    for (verb, options, words) in [
        (
            "ack",
            json!({"output": "on it"}),
            "`output` stands in an event only; give `author` or `timestamp` too",
        ),
        (
            "ack",
            json!({"author": "a", "comment": "x"}),
            "`comment` does not go with `author` or `timestamp`",
        ),
        (
            "ack",
            json!({"timestamp": 1, "ack_resources": true}),
            "`ack_resources` does not go with",
        ),
        (
            "ack",
            json!({"author": "a", "state": "worse"}),
            "`state` is \"worse\"",
        ),
        (
            "ackremove",
            json!({"ack_resources": true}),
            "there is no option `ack_resources`",
        ),
        ("ack", json!({"auther": "a"}), "did you mean `author`?"),
    ] {
        let outcome = call(
            &services,
            &format!("canopsis::{verb}"),
            json!(["web01", "HTTP", options]),
        )
        .await;
        let why = refusal(outcome);
        assert!(why.contains(words), "{why}");
    }
    assert_eq!(standin.requests().len(), before);
    // refused events are told, and nothing said of somebody is the API's way
    standin.clog(true);
    let ack = json!(["web01", "HTTP", {"author": "alice"}]);
    away(call(&services, "canopsis::ack", ack).await);
    standin.clog(false);
    let ack = json!(["web01", "HTTP", {"author": null, "comment": "mine"}]);
    let outcome = call(&services, "canopsis::ack", ack).await.unwrap();
    assert_eq!(shown(&outcome)["changed"], true);
    assert_eq!(standin.requests().pop().unwrap().method, "PUT");
}

// downtimes

#[tokio::test]
async fn a_downtime_is_what_centreons_connector_sends() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    let wish = json!(["srv-web-01", "Disk-/var", {
        "id": "centreon-downtime-31-1795192006", "start": 1_795_192_006, "end": 1_795_195_606,
        "author": "admin", "comment": "reboot", "reason": "Centreon_downtime"}]);
    let outcome = call(&services, "canopsis::downtime", wish.clone()).await;
    let done = json!({"changed": true, "id": "centreon-downtime-31-1795192006"});
    assert_eq!(shown(&outcome.unwrap()), done);
    let asked: Vec<String> = standin
        .requests()
        .iter()
        .map(|seen| {
            format!(
                "{} {}",
                seen.method,
                seen.path.trim_start_matches("/api/v4/")
            )
        })
        .collect();
    assert_eq!(
        asked,
        [
            "GET pbehavior-reasons",
            "POST pbehavior-reasons",
            "GET pbehavior-types",
            "GET app-info",
            "POST pbehaviors",
            "POST pbehavior-comments",
        ]
    );
    // as recorded of the connector, but for the ids that are each Canopsis' own
    let recorded = json!({"name": "centreon-downtime-31-1795192006", "type": "default-maintenance",
        "reason": "reason-1", "author": "admin", "rrule": "", "tstop": 1_795_195_606,
        "_id": "centreon-downtime-31-1795192006", "tstart": 1_795_192_006, "enabled": true,
        "entity_pattern": [[{"field": "_id", "cond": {"value": "Disk-/var/srv-web-01", "type": "eq"}}]]});
    assert_eq!(standin.requests()[4].json(), recorded);
    let comment = json!({"message": "reboot", "pbehavior": "centreon-downtime-31-1795192006"});
    assert_eq!(standin.requests()[5].json(), comment);
    // once more: the reason is known, the downtime is there, its comment too
    let again = call(&services, "canopsis::downtime", wish).await.unwrap();
    assert_eq!(shown(&again)["changed"], false);
    assert_eq!(standin.reasons().len(), 1);
    assert_eq!(standin.pbehaviors().len(), 1);
    assert_eq!(
        standin.pbehaviors()[0]["comments"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_downtime_is_taken_back_once_and_then_there_is_none() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    let outcome = call(
        &services,
        "canopsis::downtime",
        json!([{"component": "web01", "duration": "2h"}]),
    );
    let outcome = shown(&outcome.await.unwrap());
    let id = outcome["id"].as_str().unwrap().to_owned();
    assert_eq!(id, format!("vigie-{}", crate::acting::KEY));
    let downtime = &standin.pbehaviors()[0];
    let lasts = downtime["tstop"].as_i64().unwrap() - downtime["tstart"].as_i64().unwrap();
    assert_eq!(lasts, 7_200);
    assert_eq!(downtime["entity_pattern"][0][0]["cond"]["value"], "web01");
    for changed in [true, false] {
        let outcome = call(&services, "canopsis::undo_downtime", json!([id])).await;
        assert_eq!(
            shown(&outcome.unwrap()),
            json!({"changed": changed, "id": id})
        );
    }
    let deleted = standin.requests().pop().unwrap();
    assert_eq!(deleted.asked("name"), Some(id.as_str()));
    assert!(standin.pbehaviors().is_empty());
}

#[tokio::test]
async fn a_downtime_that_was_cut_off_gets_its_comment_once() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    let wish = json!(["web01", {"id": "d1", "duration": "1h", "comment": "reboot"}]);
    let well = Mischief::Delay(Duration::ZERO);
    // the answer to each request is lost in turn; once there is a reason, they are five
    for lost in 0..5 {
        standin.behave();
        standin.fail_next(lost, well.clone());
        standin.fail_next(1, Mischief::LoseAnswer);
        away(call(&services, "canopsis::downtime", wish.clone()).await);
        standin.behave();
        call(&services, "canopsis::downtime", wish.clone())
            .await
            .unwrap();
        let downtimes = standin.pbehaviors();
        assert_eq!(downtimes.len(), 1, "{lost}");
        assert_eq!(
            downtimes[0]["comments"].as_array().unwrap().len(),
            1,
            "{lost}"
        );
        assert_eq!(standin.reasons().len(), 1, "{lost}");
        call(&services, "canopsis::undo_downtime", json!(["d1"]))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn reasons_and_types_are_found_on_any_page_and_a_strange_type_is_refused() {
    let standin = Canopsis::start().await.unwrap();
    let services = services(&standin);
    for n in 0..250 {
        let mut request = Request::new(
            "POST",
            format!("{}/api/v4/pbehavior-reasons", standin.url()),
        )
        .json(&json!({"name": format!("r{n}"), "description": "x"}));
        request.header("x-canopsis-authkey", AUTHKEY);
        Client::default().send(request).await.unwrap();
    }
    let wish = |more: serde_json::Value| {
        let mut wish = json!({"duration": "1h"});
        for (name, value) in more.as_object().unwrap() {
            wish[name] = value.clone();
        }
        json!(["web01", wish])
    };
    call(
        &services,
        "canopsis::downtime",
        wish(json!({"reason": "r249", "type": "Default pause"})),
    )
    .await
    .unwrap();
    assert_eq!(standin.reasons().len(), 250);
    assert_eq!(standin.pbehaviors()[0]["reason"], "reason-250");
    assert_eq!(standin.pbehaviors()[0]["type"], "default-pause");
    let said = refusal(
        call(
            &services,
            "canopsis::downtime",
            wish(json!({"type": "Holiday"})),
        )
        .await,
    );
    assert_eq!(
        said,
        "Canopsis has no pbehavior type `Holiday`; it has Default active, Default inactive, Default maintenance, Default pause"
    );
    for (more, complaint) in [
        (json!({"end": 1}), "give either `end` or `duration`"),
        (json!({"duration": null}), "give either `end` or `duration`"),
        (
            json!({"duration": null, "start": 10, "end": 10}),
            "the downtime ends before it begins",
        ),
        (json!({"id": " "}), "`id` is blank"),
        (
            json!({"id": "x".repeat(256)}),
            "`id` is longer than 255 characters",
        ),
        (
            json!({"typ": "x"}),
            "there is no option `typ`; did you mean `type`?",
        ),
    ] {
        let said = refusal(call(&services, "canopsis::downtime", wish(more)).await);
        assert_eq!(said, complaint);
    }
    let said = refusal(call(&services, "canopsis::undo_downtime", json!([""])).await);
    assert_eq!(said, "`id` is blank");
}

#[tokio::test]
async fn the_version_that_wants_a_colour_gets_one() {
    let standin = Canopsis::start().await.unwrap();
    standin.pretend("22.10.7");
    let services = services(&standin);
    let wish = json!(["web01", {"duration": "1h"}]);
    call(&services, "canopsis::downtime", wish).await.unwrap();
    assert_eq!(standin.pbehaviors()[0]["color"], "#73D8FF");
}
