//! JSON bodies as events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use vigie::event::{Incoming, Meta, Value};
use vigie::source::json::{EVENTS_MAX, JsonError, VALUES_MAX, decode, decode_or_keep};
use vigie::source::parcel::Parcel;

fn meta() -> Meta {
    Meta::new("http", Timestamp::UNIX_EPOCH)
}

fn one(text: &str) -> Incoming {
    let mut events = decode(text.as_bytes(), meta()).unwrap();
    assert_eq!(events.len(), 1, "{text}");
    events.remove(0)
}

#[test]
fn object_is_one_event() {
    let event = one(r#"{"status": "PROBLEM", "severity": 4, "load": 0.5}"#);
    let expected = Value::from([
        ("status", "PROBLEM".into()),
        ("severity", 4.into()),
        ("load", Value::Float(0.5)),
    ]);
    assert_eq!(event.body, expected);
    assert!(event.meta.extra.is_empty());
}

#[test]
fn array_is_one_event_per_element_of_any_kind() {
    let events = decode(br#"[{"a":1}, "b", null, [1, [2]], 3]"#, meta()).unwrap();
    let bodies: Vec<String> = events.iter().map(|event| event.body.to_string()).collect();
    assert_eq!(bodies, [r#"{"a":1}"#, r#""b""#, "null", "[1,[2]]", "3"]);
}

#[test]
fn empty_array_is_no_event() {
    assert_eq!(decode(b"[]", meta()), Ok(vec![]));
}

#[test]
fn array_is_all_or_none() {
    assert!(matches!(
        decode(br#"[{"a":1}, {"b":]"#, meta()),
        Err(JsonError::Broken(_))
    ));
}

#[test]
fn events_of_one_parcel_do_not_share_a_message_id_whichever_door_they_came_by() {
    let ids = |body: &str, hook: Option<&str>| -> Vec<String> {
        let parcel = Parcel {
            content_type: "application/json".to_owned(),
            source: String::new(),
            peer: String::new(),
            message_id: Some("key".to_owned()),
            received_at: Timestamp::UNIX_EPOCH,
            extra: BTreeMap::new(),
            body: body.as_bytes().to_vec(),
        };
        let events = match hook {
            Some(kind) => parcel.open_hook(kind),
            None => parcel.open(),
        };
        let id = |event: Incoming| event.meta.message_id.unwrap();
        events.unwrap().into_iter().map(id).collect()
    };
    let alerts = r#"{"alerts": [{"status": "firing"}, {"status": "firing"}]}"#;
    let problems = r#"[{"status": "PROBLEM"}, {"status": "OK"}]"#;
    let several = [
        ("[1, 2]", None),
        ("[1, 2]", Some("generic")),
        (alerts, Some("alertmanager")),
        (problems, Some("zabbix")),
    ];
    for (body, hook) in several {
        assert_eq!(ids(body, hook), ["key#0", "key#1"], "{hook:?}");
    }
    for (body, hook) in [("{}", None), ("[1]", None), ("[1]", Some("generic"))] {
        assert_eq!(ids(body, hook), ["key"], "{body} {hook:?}");
    }
}

#[test]
fn scalar_is_one_event() {
    assert_eq!(one("\"text\"").body, "text".into());
    assert_eq!(one(" 7 ").body, 7.into());
    assert_eq!(one("null").body, Value::Null);
}

#[test]
fn big_integer_stays_text_and_small_one_a_number() {
    let event = one(r#"{"big": 18446744073709551615, "low": -9223372036854775808}"#);
    assert_eq!(event.body.get("big"), Some(&"18446744073709551615".into()));
    assert_eq!(event.body.get("low"), Some(&Value::Int(i64::MIN)));
}

#[test]
fn last_of_repeated_keys_wins() {
    assert_eq!(one(r#"{"a": 1, "a": 2}"#).body.get("a"), Some(&2.into()));
}

#[test]
fn byte_order_mark_is_skipped() {
    assert_eq!(one("\u{feff}{\"a\":1}").body.get("a"), Some(&1.into()));
}

#[test]
fn nul_in_text_stays() {
    assert_eq!(
        one(r#"{"a": "x\u0000y"}"#).body.get("a"),
        Some(&"x\0y".into())
    );
}

#[test]
fn lone_surrogate_shows_as_replacement_and_exact_bytes_are_kept() {
    // what Python's surrogateescape makes of the argument m=\xff\xfeabc
    let body = br#"{"m": "\udcff\udcfeabc"}"#;
    let event = decode(body, meta()).unwrap().remove(0);
    assert_eq!(event.body.get("m"), Some(&"\u{fffd}\u{fffd}abc".into()));
    assert_eq!(event.meta.extra["raw"], Value::from(body.to_vec()));
    assert!(event.meta.extra.contains_key("decode_note"));
}

#[test]
fn surrogate_pair_and_escaped_backslash_are_no_lone_surrogates() {
    let event = one(r#"{"m": "\ud83d\ude00 \\ud800"}"#);
    assert_eq!(event.body.get("m"), Some(&"😀 \\ud800".into()));
    assert!(event.meta.extra.is_empty());
}

#[test]
fn high_surrogate_before_another_pair_is_the_lone_one() {
    let event = one(r#"["\ud83d\ud83d\ude00"]"#);
    assert_eq!(event.body, "\u{fffd}😀".into());
}

#[test]
fn lone_surrogate_marks_its_own_element_alone() {
    let events = decode(br#"[{"a":"x,]"}, {"b":"\ud800"}, {"c":1}]"#, meta()).unwrap();
    assert!(events[0].meta.extra.is_empty());
    assert_eq!(
        events[1].meta.extra["raw"],
        Value::from(br#"{"b":"\ud800"}"#.to_vec())
    );
    assert!(events[2].meta.extra.is_empty());
}

#[test]
fn nesting_beyond_the_limit_is_refused_and_up_to_it_taken() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(decode(nested(64).as_bytes(), meta()).is_ok());
    assert_eq!(
        decode(nested(65).as_bytes(), meta()),
        Err(JsonError::TooDeep)
    );
    assert_eq!(
        decode(nested(1_000_000).as_bytes(), meta()),
        Err(JsonError::TooDeep)
    );
    let brackets_in_text = format!("\"{}\"", "[".repeat(1_000));
    assert!(decode(brackets_in_text.as_bytes(), meta()).is_ok());
}

#[test]
fn too_many_events_or_values_are_refused() {
    let many = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
    assert_eq!(
        decode(many(EVENTS_MAX).as_bytes(), meta()).unwrap().len(),
        EVENTS_MAX
    );
    assert_eq!(
        decode(many(EVENTS_MAX + 1).as_bytes(), meta()),
        Err(JsonError::TooManyEvents)
    );
    assert_eq!(
        decode(many(VALUES_MAX + 1).as_bytes(), meta()),
        Err(JsonError::TooManyValues)
    );
}

#[test]
fn broken_json_is_an_error_or_is_kept() {
    for body in [
        &b"{\"a\":"[..],
        b"",
        b"plain text",
        b"{\"a\": \"\xff\"}",
        b"{} {}",
        b"\0",
    ] {
        assert!(
            matches!(decode(body, meta()), Err(JsonError::Broken(_))),
            "{body:?}"
        );
        let kept = decode_or_keep(body, meta()).remove(0);
        assert_eq!(kept.body, Value::from(body.to_vec()));
        assert!(kept.meta.extra.contains_key("decode_error"));
    }
}

#[test]
fn error_says_where() {
    let error = decode(b"{\n \"a\": tru }", meta()).unwrap_err().to_string();
    assert!(error.contains("line 2 column"), "{error}");
}

#[test]
fn ten_megabytes_are_decoded_in_bounded_time() {
    let begin = Instant::now();
    let text = format!("{{\"a\":\"{}\"}}", "x".repeat(10_000_000));
    assert_eq!(
        one(&text).body.get("a").unwrap().as_text().unwrap().len(),
        10_000_000
    );
    let escapes = format!("\"{}\"", "\\udcff".repeat(1_600_000));
    assert!(decode(escapes.as_bytes(), meta()).is_ok());
    assert!(decode(&vec![0; 10_000_000], meta()).is_err());
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn mutated_json_never_panics() {
    let seeds = [
        &br#"{"status":"PROBLEM","n":[1,2.5,-3e10,null,true],"m":"\udcff\ud83d\ude00 \\ \" x"}"#[..],
        br#"[{"a":"\ud800"},{"b":{"c":[[],{}]}},18446744073709551616]"#,
    ];
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    super::mutate::each_mutation(&seeds, |bytes| {
        let events = decode_or_keep(bytes, meta());
        let is_kept = |event: &Incoming| event.body == Value::from(bytes.to_vec());
        let failed = decode(bytes, meta()).is_err();
        assert_eq!(failed, events.len() == 1 && is_kept(&events[0]));
    });
}
