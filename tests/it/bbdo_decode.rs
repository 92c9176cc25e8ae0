//! Events of both generations of BBDO: what a real Broker and a real Engine said, in one shape.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use vigie::event::Value;
use vigie::source::bbdo::decode::{Decoded, decode};
use vigie::source::bbdo::frame::{Frame, Label};

use crate::bbdo_frames::{PLAIN, frames, recording, timeline};
use crate::mutate::each_mutation;

/// What the recordings call a field, and what we call it.
const RENAMED: &[(&str, &str, &str)] = &[
    ("host_group_member", "group_name", "name"),
    ("service_group_member", "group_name", "name"),
    ("downtime", "internal_id", "id"),
    ("metric", "ctime", "time"),
    ("status", "ctime", "time"),
];

/// `ServiceStatus` as `service_status`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for char in name.chars() {
        if char.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(char.to_lowercase());
    }
    snake
}

/// True if a field of ours says what the recording says; `None`: it says the default.
fn same(ours: &Value, theirs: Option<&Json>) -> bool {
    let number = |json: &Json| match json {
        Json::String(text) => text.parse::<f64>().ok(),
        other => other.as_f64(),
    };
    match (ours, theirs) {
        (Value::Null, None) => true,
        (Value::Null, Some(theirs)) => {
            number(theirs).is_some_and(|number| number <= 0.0 || number >= u64::MAX as f64)
        }
        (Value::Bool(ours), theirs) => *ours == theirs.is_some_and(|json| *json == true),
        (Value::Int(ours), theirs) => number(theirs.unwrap_or(&0.into())) == Some(*ours as f64),
        (Value::Float(ours), theirs) => {
            let theirs = number(theirs.unwrap_or(&0.into()));
            theirs.is_some_and(|theirs| (theirs - ours).abs() <= 1e-9 * ours.abs())
        }
        (Value::Text(ours), theirs) => *ours == theirs.map_or("", |json| json.as_str().unwrap()),
        (Value::List(ours), theirs) => {
            ours.len() == theirs.map_or(0, |json| json.as_array().unwrap().len())
        }
        (other, theirs) => panic!("{other:?} {theirs:?}"),
    }
}

fn compare(name: &str, told: &Json, frame: &Frame) -> &'static str {
    let Decoded {
        kind,
        mut fields,
        error,
    } = decode(frame);
    assert_eq!(error, None, "{name}: {told}");
    for (ours, theirs) in [("category", "cat"), ("element", "el")] {
        assert!(same(&fields.remove(ours).unwrap(), Some(&told[theirs])));
    }
    assert_eq!(fields.remove("kind"), Some(Value::from(kind)));
    let wanted = match (told["name"].as_str().unwrap(), told["el"].as_u64()) {
        ("?", Some(2)) => "instance_broadcast".to_owned(),
        ("CustomVariable", Some(38)) => "custom_variable_status".to_owned(),
        (name, _) => snake(name),
    };
    assert_eq!(kind, wanted);
    let mut body = told["body"].as_object().unwrap().clone();
    if kind == "instance_broadcast" {
        assert_eq!(fields["poller_name"], Value::from("Central"), "{fields:?}");
        return kind;
    }
    body.remove("header");
    for (_, before, after) in RENAMED.iter().filter(|(of, ..)| *of == kind) {
        if let Some(value) = body.remove(*before) {
            body.insert((*after).to_owned(), value);
        }
    }
    if let Some(Value::Text(rest)) = fields.get("long_output")
        && told["el"].as_u64() < Some(27)
    {
        // The elder generation has them in one.
        let first = fields["output"].as_text().unwrap();
        let output = format!("{first}\n{rest}");
        assert_eq!(body.remove("output"), Some(Json::from(output)), "{told}");
        fields.remove("output");
        fields.remove("long_output");
    }
    if kind.ends_with("_status")
        && fields.contains_key("acknowledged")
        && !body.contains_key("acknowledged")
    {
        let acknowledged = fields.remove("acknowledged").unwrap();
        let kind = body
            .get("acknowledgement_type")
            .cloned()
            .unwrap_or(Json::from(0));
        assert_eq!(acknowledged, Value::Bool(kind.as_u64() > Some(0)));
    }
    for (field, value) in &fields {
        let theirs = body.remove(field);
        assert!(
            same(value, theirs.as_ref()),
            "{name}: {kind}.{field}: {value:?} {theirs:?}"
        );
    }
    assert!(body.is_empty(), "{name}: {kind}: not read: {body:?}");
    kind
}

#[test]
fn every_field_of_every_recording_is_what_the_timeline_says() {
    let mut seen = BTreeSet::new();
    for name in PLAIN {
        for (told, frame) in timeline(name).iter().zip(frames(&recording(name))) {
            if told["cat"] != 2 {
                seen.insert(compare(name, told, &frame));
            }
        }
    }
    assert!(seen.len() >= 33, "only {seen:?}");
}

#[test]
fn both_generations_say_the_same_of_a_status() {
    let status = |name: &str, element: u16| -> BTreeSet<String> {
        let found = frames(&recording(name))
            .into_iter()
            .find(|frame| (frame.label.category, frame.label.element) == (1, element));
        decode(&found.unwrap()).fields.into_keys().collect()
    };
    let elder = status("E200.c1", 24);
    let younger = status("E301.c1", 29);
    let missing: Vec<&String> = younger.difference(&elder).collect();
    // What the elder one never had.
    assert_eq!(missing, ["internal_id", "type"]);
}

fn event(category: u16, element: u16, payload: &[u8]) -> Decoded {
    decode(&Frame {
        label: Label::new(category, element),
        payload: payload.to_vec(),
    })
}

#[test]
fn what_is_unknown_or_broken_is_kept_as_bytes() {
    let unknown = event(1, 999, b"\x08\x01");
    assert_eq!(unknown.kind, "unknown");
    assert_eq!(unknown.fields["raw"], Value::from(b"\x08\x01".to_vec()));
    assert_eq!(unknown.fields["element"], Value::Int(999));
    assert!(unknown.error.unwrap().contains("1/999"));
    let short = event(1, 24, b"\x01\x00");
    assert_eq!(short.kind, "service_status");
    assert_eq!(short.fields["raw"], Value::from(b"\x01\x00".to_vec()));
    let why = short.error.unwrap();
    assert!(
        why.contains("`acknowledgement_type`") || why.contains("cannot be read"),
        "{why}"
    );
    assert!(event(1, 29, b"\xff\xff").error.is_some());
}

#[test]
fn fields_that_changed_between_versions_are_read_in_both_forms() {
    // index_mapping: ids of indexes were four bytes until 20.10
    let narrow = event(3, 5, &[0, 0, 0, 9, 0, 0, 0, 101, 0, 0, 0, 201]);
    let wide = event(3, 5, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 101, 0, 0, 0, 201]);
    assert_eq!(narrow, wide);
    assert_eq!(wide.fields["host_id"], Value::Int(101));
    // ba_status: until 23.10 its fields were numbered from 2
    let younger = event(6, 19, &[8, 5, 16, 1, 56, 2]);
    let elder = event(6, 19, &[16, 5, 24, 1, 64, 2]);
    assert_eq!(younger.error, None);
    assert_eq!(younger.fields, elder.fields);
    assert_eq!(elder.fields["ba_id"], Value::Int(5));
    assert_eq!(elder.fields["state"], Value::Int(2));
    // enumerations are open, unset times are nothing, and a bad letter costs no event
    let unset = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
    let downtime = event(
        1,
        36,
        &[&[8, 7, 0x38, 42, 0x60][..], &unset, &[42, 2, b'a', 0xFF]].concat(),
    );
    assert_eq!(downtime.error, None);
    assert_eq!(downtime.fields["actual_end_time"], Value::Null);
    assert_eq!(downtime.fields["start_time"], Value::Null);
    assert_eq!(downtime.fields["type"], Value::Int(42));
    assert_eq!(downtime.fields["author"], Value::from("a\u{FFFD}"));
    assert_eq!(downtime.fields["service_id"], Value::Null);
}

#[test]
fn no_broken_event_brings_it_down() {
    let all = PLAIN.iter().flat_map(|name| frames(&recording(name)));
    let seeds: Vec<Vec<u8>> = all
        .map(|frame| {
            let Label {
                category, element, ..
            } = frame.label;
            [
                &category.to_be_bytes(),
                &element.to_be_bytes(),
                &frame.payload[..],
            ]
            .concat()
        })
        .collect();
    each_mutation(&seeds, |bytes| {
        if let Some((label, payload)) = bytes.split_first_chunk::<4>() {
            let [a, b, c, d] = *label;
            let decoded = event(
                u16::from_be_bytes([a, b]),
                u16::from_be_bytes([c, d]),
                payload,
            );
            assert!(decoded.fields.contains_key("kind"));
        }
    });
}
