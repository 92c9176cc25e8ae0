//! What an event says cannot look like something that the server says: not in the log, and not on the
//! terminal of whoever looks at it.
//!
//! Rounds: every text by every way in, once.

use serde_json::{Value as Json, json};
use vigie::printable::{printable, record};

use crate::house::{House, Running, stderr, stdout};
use crate::wire::{post_head, say};

const FORGED: &str = "2026-01-01T00:00:00.000000Z ERROR forged";
/// Line ends of every kind, a title, a colour, a cursor, C1, marks of direction.
const TEXTS: [&str; 8] = [
    "a\n2026-01-01T00:00:00.000000Z ERROR forged",
    "a\r2026-01-01T00:00:00.000000Z ERROR forged",
    "a\r\n2026-01-01T00:00:00.000000Z ERROR forged",
    "a\u{2028}2026-01-01T00:00:00.000000Z ERROR forged",
    "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[31mred",
    "\u{9b}2J\u{85}2026-01-01T00:00:00.000000Z ERROR forged",
    "\u{202e}desrever\u{2066}",
    "\u{0}\u{8}\u{7f}",
];

/// A character that does something to a terminal.
fn acts(text: &str) -> Option<char> {
    let is_bad = |char: &char| {
        (char.is_control() && !matches!(char, '\n' | '\t'))
            || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().find(is_bad)
}

fn assert_nothing_is_forged(log: &str) {
    assert_eq!(acts(log), None, "{log:?}");
    for line in log.lines() {
        assert!(!line.starts_with(FORGED), "{line}");
        let begins = line.starts_with("20") || line.starts_with("  | ");
        assert!(begins, "neither a record nor a part of one: {line:?}");
    }
}

/// Texts by every way in whose words may come to the log: a script's failure, a target's answer, names
/// of channels, headers, hooks, the spool.
fn attack(house: &House, server: &Running) {
    for (index, text) in TEXTS.iter().enumerate() {
        let id = server.push("alert", &json!({ "text": text }));
        let run = server.ended(&format!("{id}/fail"));
        assert_eq!(run["state"], "failed", "{run}");
        let name: String =
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string();
        let json = [("content-type", "application/json")];
        for path in [
            format!("/api/v1/channels/{name}/events"),
            format!("/hooks/{name}/alert"),
            format!("/api/v1/channels/{name}/pause"),
        ] {
            server.ask(&path, &json, Some(b"{}"));
        }
        let head = post_head(
            "/api/v1/channels/other/events",
            &format!("x-text: {text}\r\n"),
        );
        say(server, head.as_bytes());
        let spooled = house.path(&format!(
            "spool/170000000000{index}-00000000-0000-4000-8000-00000000000{index}.event"
        ));
        std::fs::write(spooled, text).unwrap();
    }
}

#[test]
fn no_text_of_an_event_forges_a_record_of_the_log_or_acts_on_a_terminal() {
    let house = House::new().settings("[log]\nlevel = \"trace\"");
    house
        .channel("alert", "")
        .flow("alert/fail", "print(event.text); throw event.text;");
    let server = house.serve();
    attack(&house, &server);
    for index in 1..=TEXTS.len() {
        for verb in ["show", "explain"] {
            let said = server.verb(&[verb, &format!("alert/{index}")]);
            let text = format!("{}{}", stdout(&said), stderr(&said));
            assert_eq!(acts(&text), None, "{verb} {index}: {text:?}");
        }
        // whoever wants it exactly gets JSON, which says the same
        let json = server.verb(&["show", &format!("alert/{index}"), "--json"]);
        assert_eq!(acts(&stdout(&json)), None);
        let json: Json = serde_json::from_str(&stdout(&json)).unwrap();
        let body = json
            .pointer("/body/text")
            .or_else(|| json.pointer("/event/body/text"));
        assert_eq!(body, Some(&json!(TEXTS[index - 1])), "{json}");
    }
    let dead = server.verb(&["list", "dead"]);
    assert_eq!(acts(&stdout(&dead)), None, "{dead:?}");
    assert!(
        server.log().contains("forged"),
        "the failures were not logged at all"
    );
    assert_nothing_is_forged(&server.log());
}

#[test]
fn a_record_in_json_is_one_line_whatever_is_in_it() {
    let house = House::new().settings("[log]\nformat = \"json\"");
    house
        .channel("alert", "")
        .flow("alert/fail", "throw event.text;");
    let server = house.serve();
    for text in TEXTS {
        let id = server.push("alert", &json!({ "text": text }));
        server.ended(&format!("{id}/fail"));
    }
    for line in server.log().lines() {
        let record: Json = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        assert!(record["level"].is_string(), "{line}");
    }
}

#[test]
fn what_acts_is_written_out_and_everything_else_stays() {
    for same in ["", "Problème à 東京\t1\nzwei", "👩‍👩‍👧", "ünïcödé"] {
        assert_eq!(printable(same), same);
    }
    assert_eq!(
        printable("a\r\u{1b}[2J\u{202e}"),
        "a\\u000d\\u001b[2J\\u202e"
    );
    assert_eq!(record("one\n", false), "one\n");
    assert_eq!(record("one\ntwo\n\n", false), "one\n  | two\n  | \n");
    let coloured = "\u{1b}[31mred\u{1b}[0m \u{1b}[2J \u{1b}]0;title\u{7}";
    let kept = "\u{1b}[31mred\u{1b}[0m \\u001b[2J \\u001b]0;title\\u0007\n";
    assert_eq!(record(coloured, true), kept);
    assert_eq!(record("\u{1b}[31m\n", false), "\\u001b[31m\n");
}
