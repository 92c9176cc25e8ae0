//! Bodies that Alertmanager, Zabbix, Nagios, Icinga and anybody else post.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use vigie::event::{Incoming, Meta, Value};
use vigie::source::json::JsonError;
use vigie::source::webhook::{CONTENT_TYPE_KEY, HOOKS, HookError, decode};

fn meta(content_type: &str) -> Meta {
    let mut meta = Meta::new("webhook", Timestamp::UNIX_EPOCH);
    meta.message_id = Some("key".to_owned());
    meta.extra
        .insert(CONTENT_TYPE_KEY.to_owned(), content_type.into());
    meta
}

fn events(kind: &str, bytes: &[u8]) -> Vec<Incoming> {
    decode(kind, bytes, meta("application/json")).unwrap()
}

fn bodies(kind: &str, bytes: &[u8]) -> Vec<Json> {
    events(kind, bytes)
        .iter()
        .map(|event| event.body.to_json())
        .collect()
}

fn recording(name: &str) -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    fs::read(file).unwrap()
}

fn zabbix(body: Json) -> Json {
    bodies("zabbix", body.to_string().as_bytes()).remove(0)
}

#[test]
fn hooks_have_names_of_their_own_and_an_unknown_one_is_told() {
    let kinds: Vec<&str> = HOOKS.iter().map(|hook| hook.kind()).collect();
    assert_eq!(
        kinds,
        ["alertmanager", "zabbix", "nagios", "icinga", "generic"]
    );
    assert!(HOOKS.iter().all(|hook| !hook.about().is_empty()));
    let error = decode("zabix", b"{}", meta("")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no hook `zabix`; did you mean `zabbix`?"
    );
    assert_eq!(
        decode("x", b"", meta("")).unwrap_err().to_string(),
        "there is no hook `x`"
    );
}

// Alertmanager

#[test]
fn each_alert_is_one_event() {
    let events = bodies(
        "alertmanager",
        &recording("alertmanager/webhook-002-firing.json"),
    );
    assert_eq!(events.len(), 2);
    let first = &events[0];
    assert_eq!(first["status"], "firing");
    assert_eq!(first["alertname"], "DiskFull");
    assert_eq!(first["severity"], "critical");
    assert_eq!(first["instance"], "web01:9100");
    assert_eq!(first["labels"]["cluster"], "eu1");
    assert_eq!(
        first["annotations"]["description"],
        "line1\nline2 \"q\" é 障害"
    );
    assert_eq!(first["startsAt"], "2026-11-20T16:22:18.930970914Z");
    assert_eq!(first["endsAt"], Json::Null);
    assert_eq!(first["fingerprint"], "7164078e35bf43a3");
    assert_eq!(first["receiver"], "hook");
    assert_eq!(
        first["groupKey"],
        "{}:{alertname=\"DiskFull\", cluster=\"eu1\"}"
    );
    assert_eq!(first["groupLabels"]["cluster"], "eu1");
    assert_eq!(first["truncatedAlerts"], 0);
    assert_eq!(first["externalURL"], "http://vm:24393");
    assert_eq!(events[1]["instance"], "web02:9100");
}

#[test]
fn resolved_alert_in_a_firing_group_is_resolved() {
    let mut body: Json =
        serde_json::from_slice(&recording("alertmanager/webhook-002-firing.json")).unwrap();
    body["alerts"][1]["status"] = json!("resolved");
    body["alerts"][1]["endsAt"] = json!("2026-11-20T16:22:31Z");
    let events = bodies("alertmanager", body.to_string().as_bytes());
    assert_eq!(
        (&events[0]["status"], &events[1]["status"]),
        (&json!("firing"), &json!("resolved"))
    );
    assert_eq!(events[1]["endsAt"], "2026-11-20T16:22:31Z");
    assert_eq!(events[1]["group_status"], "firing");
    let resolved = bodies(
        "alertmanager",
        &recording("alertmanager/webhook-004-resolved.json"),
    );
    assert_eq!(resolved[0]["status"], "resolved");
}

#[test]
fn repeated_notification_is_not_taken_for_a_copy() {
    let body = recording("alertmanager/webhook-001-firing.json");
    let mut meta = meta("application/json");
    meta.message_id = None;
    let event = decode("alertmanager", &body, meta).unwrap().remove(0);
    assert_eq!(event.meta.message_id, None);
}

#[test]
fn alert_without_labels_has_nothing_at_the_top() {
    let events = bodies(
        "alertmanager",
        br#"{"alerts":[{"status":"firing"}],"version":"4"}"#,
    );
    assert_eq!(events[0]["alertname"], Json::Null);
    assert_eq!(events[0]["endsAt"], Json::Null);
    assert_eq!(bodies("alertmanager", br#"{"alerts":[]}"#), [Json::Null; 0]);
}

#[test]
fn body_that_is_not_from_alertmanager_is_refused() {
    for body in [&b"[]"[..], b"{}", br#"{"alerts":1}"#, br#"{"alerts":[1]}"#] {
        let error = decode("alertmanager", body, meta("")).unwrap_err();
        assert!(matches!(error, HookError::Shape { .. }), "{error}");
    }
    let error = decode("alertmanager", b"{", meta("")).unwrap_err();
    assert!(matches!(error, HookError::Json(JsonError::Broken(_))));
}

// Zabbix

#[test]
fn recorded_zabbix_webhook_gives_the_six_keys() {
    let bytes = recording("zabbix/webhook-01.json");
    let event = bodies("zabbix", &bytes).remove(0);
    let raw: Json = serde_json::from_slice(&bytes).unwrap();
    let expected = json!({
        "status": "PROBLEM",
        "severity": "4",
        "hostname": "Web One",
        "trigger_name": "App is down on Web One: \"quotes\" 'single' $HOME `id` 障害",
        "trigger_key": "1",
        "detail": "1",
        "event_id": "1",
        "raw": raw,
    });
    assert_eq!(event, expected);
    assert_eq!(
        events("zabbix", &bytes)[0].meta.message_id.as_deref(),
        Some("key")
    );
}

#[test]
fn recorded_parameters_of_any_name_are_found() {
    let pair = bodies("zabbix", &recording("zabbix/remote-command.json"));
    for (event, status, detail) in [
        (&pair[0], "PROBLEM", "app.status: 1"),
        (&pair[1], "OK", "app.status: 0"),
    ] {
        assert_eq!(event["status"], status);
        assert_eq!(event["severity"], "4");
        assert_eq!(event["hostname"], "web01");
        assert_eq!(event["trigger_key"], "app.status");
        assert_eq!(event["detail"], detail);
        assert_eq!(event["event_id"], "1");
    }
}

#[test]
fn status_comes_from_whatever_tells_it() {
    for (body, status) in [
        (
            json!({"event_value": "0", "trigger_status": "PROBLEM"}),
            json!("OK"),
        ),
        (json!({"{EVENT.VALUE}": 1}), json!("PROBLEM")),
        (json!({"event_status": "RESOLVED"}), json!("OK")),
        (json!({"Status": "ok"}), json!("OK")),
        (json!({"value": "0", "status": "PROBLEM"}), json!("PROBLEM")),
        (json!({"value": 0}), json!("OK")),
        (
            json!({"event_value": "{EVENT.VALUE}", "status": "*UNKNOWN*"}),
            Json::Null,
        ),
    ] {
        assert_eq!(zabbix(body.clone())["status"], status, "{body}");
    }
}

#[test]
fn severity_is_a_digit_from_name_or_number() {
    for (body, severity) in [
        (json!({"severity": "Disaster"}), "5"),
        (json!({"trigger_severity": "not classified"}), "0"),
        (
            json!({"event_severity": "High", "event_nseverity": "4"}),
            "4",
        ),
        (json!({"severity": 3}), "3"),
        (json!({"severity": "custom"}), "custom"),
    ] {
        assert_eq!(zabbix(body.clone())["severity"], severity, "{body}");
    }
}

#[test]
fn what_zabbix_could_not_resolve_is_nothing_and_stays_in_raw() {
    let event = zabbix(json!({
        "hostname": "*UNKNOWN*", "host": "{HOST.NAME}", "host_name": "x", "trigger_name": "{$MACRO}",
        "item_key": "{ITEM.KEY1}", "message": "", "subject": "Resolved in 5m 3s: Disk {full}",
    }));
    assert_eq!(event["hostname"], "x");
    assert_eq!(event["trigger_name"], "Disk {full}");
    assert_eq!(event["trigger_key"], "Disk {full}");
    assert_eq!(event["detail"], Json::Null);
    assert_eq!(event["raw"]["hostname"], "*UNKNOWN*");
    assert_eq!(
        zabbix(json!({"subject": "Problem: Disk"}))["trigger_name"],
        "Disk"
    );
    assert_eq!(
        zabbix(json!({"subject": "Resolvedly"}))["trigger_name"],
        "Resolvedly"
    );
}

#[test]
fn zabbix_form_list_and_stream_record_are_read() {
    let form = decode(
        "zabbix",
        b"event_value=1&host=web01&event_name=Disk+full%21",
        meta("application/x-www-form-urlencoded"),
    );
    let body = form.unwrap().remove(0).body.to_json();
    assert_eq!(
        (&body["status"], &body["trigger_name"]),
        (&json!("PROBLEM"), &json!("Disk full!"))
    );
    let record = json!([{"value": 1, "eventid": 7, "severity": 2, "name": "n", "hosts": [{"host": "h", "name": "H"}]}]);
    let body = zabbix(record);
    assert_eq!(
        json!([body["status"], body["hostname"], body["event_id"]]),
        json!(["PROBLEM", "h", "7"])
    );
    assert!(decode("zabbix", b"7", meta("")).is_err());
    assert!(decode("zabbix", b"not json", meta("text/plain")).is_err());
}

// generic

fn generic(content_type: &str, bytes: &[u8]) -> Incoming {
    let mut events = decode("generic", bytes, meta(content_type)).unwrap();
    assert_eq!(events.len(), 1);
    events.remove(0)
}

#[test]
fn generic_hook_takes_json_with_any_content_type() {
    for kind in [
        "",
        "application/json",
        "application/vnd.x+json; charset=utf-8",
        "nonsense",
    ] {
        assert_eq!(
            generic(kind, br#"{"a":1}"#).body.get("a"),
            Some(&1.into()),
            "{kind}"
        );
    }
    assert_eq!(bodies("generic", b"[1,2]"), [json!(1), json!(2)]);
}

#[test]
fn generic_hook_makes_a_map_of_a_form() {
    let body = generic(
        "application/x-www-form-urlencoded; charset=UTF-8",
        b"a=1&b=x+y%20z&a=2&c&=&%E9%9A%9C=%e5%ae%b3&a=3\n",
    )
    .body;
    assert_eq!(
        body.to_json(),
        json!({"a": ["1", "2", "3"], "b": "x y z", "c": "", "": "", "障": "害"})
    );
    assert_eq!(
        generic("application/x-www-form-urlencoded", b"")
            .body
            .to_json(),
        json!({})
    );
    let many = "a=1&".repeat(5_000);
    let kept = generic("application/x-www-form-urlencoded", many.as_bytes());
    assert_eq!(kept.body, Value::from(many.into_bytes()));
    assert!(kept.meta.extra.contains_key("decode_error"));
}

#[test]
fn generic_hook_decodes_text_by_its_character_set() {
    assert_eq!(
        generic("text/plain; charset=Shift_JIS", b"\x93\xfa\x96{").body,
        "日本".into()
    );
    assert_eq!(generic("TEXT/plain", "é障".as_bytes()).body, "é障".into());
    assert_eq!(generic("text/plain", b"{\"a\":1}").body, "{\"a\":1}".into());
}

#[test]
fn generic_hook_keeps_what_it_cannot_read() {
    for bytes in [&b"{broken"[..], b"\xff\xfe\0", b""] {
        let event = generic("application/json", bytes);
        assert_eq!(event.body, Value::from(bytes.to_vec()));
        assert!(event.meta.extra.contains_key("decode_error"));
    }
}

#[test]
fn mutated_bodies_never_panic() {
    let names = [
        "alertmanager/webhook-002-firing.json",
        "zabbix/webhook-01.json",
        "zabbix/remote-command.json",
    ];
    let mut seeds: Vec<Vec<u8>> = names.iter().map(|name| recording(name)).collect();
    seeds.push(b"a=1&b=%E9%9A%9C+x&c=%zz&event_value=1".to_vec());
    super::mutate::each_mutation(&seeds, |bytes| {
        for hook in HOOKS {
            let _ = hook.decode(bytes, meta(""));
            let _ = hook.decode(bytes, meta("application/x-www-form-urlencoded"));
        }
        assert!(!decode("generic", bytes, meta("text/x")).unwrap().is_empty());
    });
}

// Nagios and Icinga

/// What the real ones told, by their own names for it.
fn told(hook: &str, file: &str, variables: impl Fn(&Json) -> Json) -> Vec<Json> {
    let recorded: Vec<Json> = serde_json::from_slice(&recording(file)).unwrap();
    let body = |command: &Json| bodies(hook, variables(command).to_string().as_bytes()).remove(0);
    recorded.iter().map(body).collect()
}

fn short(event: &Json) -> [&str; 6] {
    let keys = [
        "status",
        "severity",
        "trigger_key",
        "state",
        "state_type",
        "event_id",
    ];
    keys.map(|key| event[key].as_str().unwrap_or("-"))
}

#[test]
fn recorded_nagios_commands_give_the_keys_of_zabbix() {
    let events = told("nagios", "nagios/commands.json", |command| {
        command["env"].clone()
    });
    let found: Vec<[&str; 6]> = events.iter().map(short).collect();
    assert_eq!(found, NAGIOS);
    assert!(events.iter().all(|event| event["hostname"] == "web01"));
    let acknowledged = events
        .iter()
        .find(|event| event["status"] == "ACKNOWLEDGEMENT");
    let acknowledged = acknowledged.unwrap();
    assert!(acknowledged["author"].is_string() && acknowledged["comment"].is_string());
    let problem = &events[0];
    assert_eq!(problem["raw"]["NAGIOS_SERVICEDESC"], "HTTP");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("CRITICAL - no answer"), "{detail}");
    assert!(
        detail.ends_with("\nlong line 2 \u{e9} \u{969c}\u{5bb3}"),
        "{detail}"
    );
}

#[test]
fn recorded_icinga_arguments_give_the_same_keys() {
    let arguments = |command: &Json| {
        let argv: Vec<&str> = command["argv"].as_array().unwrap()[1..]
            .iter()
            .map(|argument| argument.as_str().unwrap())
            .collect();
        let pairs = argv.chunks(2).filter(|pair| pair[0].starts_with("--"));
        let pair = |pair: &[&str]| (pair[0].to_owned(), Json::from(pair[1]));
        Json::Object(pairs.map(pair).collect())
    };
    let events = told("icinga", "icinga2/commands.json", arguments);
    let states: Vec<(&Json, &Json)> = events
        .iter()
        .filter(|event| event["hostname"] == "web01")
        .map(|event| (&event["status"], &event["severity"]))
        .collect();
    let (high, none) = (json!("4"), Json::Null);
    let (problem, ack, ok) = (json!("PROBLEM"), json!("ACKNOWLEDGEMENT"), json!("OK"));
    assert_eq!(states, [(&problem, &high), (&ack, &high), (&ok, &none)]);
    assert_eq!(events[0]["trigger_name"], "HTTP");
    let output = "CRITICAL - no `id` $HOME \"q\" 'x' \u{e9} \u{969c}\u{5bb3}";
    assert_eq!(events[0]["detail"], output);
    assert_eq!(
        (&events[2]["author"], &events[2]["comment"]),
        (&json!("alice"), &json!("looking at it"))
    );
}

#[test]
fn a_host_an_event_handler_and_a_form_are_read_and_rubbish_is_refused() {
    let form = b"type=PROBLEM&host=%E7%9B%A3%E8%A6%96&state=down&output=no+answer&service=";
    let meta_of = meta("application/x-www-form-urlencoded");
    let event = decode("icinga", form, meta_of)
        .unwrap()
        .remove(0)
        .body
        .to_json();
    assert_eq!(short(&event), ["PROBLEM", "5", "host", "DOWN", "-", "-"]);
    assert_eq!(
        (&event["hostname"], &event["detail"]),
        (&json!("\u{76e3}\u{8996}"), &json!("no answer"))
    );
    let soft = json!({ "host": "a", "service.name": "disk", "service.state": "WARNING", "state_type": "SOFT" });
    let event = bodies("icinga", soft.to_string().as_bytes()).remove(0);
    assert_eq!(
        short(&event),
        ["PROBLEM", "2", "disk", "WARNING", "SOFT", "-"]
    );
    let unknown =
        json!({ "host": "a", "service": "$SERVICEDESC$", "state": "UP", "last_state": "DOWN" });
    let event = bodies("nagios", unknown.to_string().as_bytes()).remove(0);
    assert_eq!(short(&event), ["OK", "5", "host", "UP", "-", "-"]);
    for body in ["7", "[1]", "not json"] {
        assert!(
            decode("nagios", body.as_bytes(), meta("")).is_err(),
            "{body}"
        );
        assert!(
            decode("icinga", body.as_bytes(), meta("")).is_err(),
            "{body}"
        );
    }
}

/// What [`short`] gives for each recorded command.
const NAGIOS: &[[&str; 6]] = &[
    ["PROBLEM", "4", "HTTP", "CRITICAL", "SOFT", "1"],
    ["PROBLEM", "4", "HTTP", "CRITICAL", "HARD", "1"],
    ["PROBLEM", "4", "HTTP", "CRITICAL", "HARD", "1"],
    ["ACKNOWLEDGEMENT", "4", "HTTP", "CRITICAL", "HARD", "1"],
    ["OK", "4", "HTTP", "OK", "HARD", "1"],
    ["OK", "4", "HTTP", "OK", "HARD", "1"],
    ["PROBLEM", "5", "host", "DOWN", "HARD", "2"],
    ["PROBLEM", "5", "host", "DOWN", "HARD", "2"],
    ["OK", "5", "host", "UP", "HARD", "2"],
    ["OK", "5", "host", "UP", "HARD", "2"],
];
