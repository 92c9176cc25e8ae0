//! Answers that are lost after the deed: three of ten calls are carried out and never answered, and
//! still there is one ticket, one note and one incident for each wish, with a `dedup_key` of the flow's
//! and without one.
//!
//! Rounds: 200 actions, 2,000 long, on the stand-ins for Redmine and PagerDuty. What is counted is what
//! the stand-ins carried out; that enough answers were lost is asserted, deed by deed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;
use vigie::standin::redmine::KEY;
use vigie::standin::{Mischief, PagerDuty, Redmine, Seen, Server};

use super::rounds;
use crate::house::{House, Running, wait_for};
use crate::store_damage::Dice;

/// Actions for one event, in both flows together.
const ACTIONS_OF_AN_EVENT: usize = 5;
/// Events of one routing key: PagerDuty lets each have 120 calls a minute.
const EVENTS_OF_A_KEY: usize = 25;
/// Of a hundred calls, how many are carried out and not answered.
const LOST_PERCENT: u64 = 30;
/// Of the deeds of one kind, the least part of which the answer must have been lost: one in this many.
const LOST_LEAST: usize = 5;

/// The flow's own keys: whoever sends is known by them, however often.
const KEYED: &str = r#"
    redmine::open(#{ subject: `keyed ${event.n}`, dedup_key: event.key });
    pagerduty::trigger(#{ routing_key: event.team, summary: `keyed ${event.n}`, source: "test",
        severity: "critical", dedup_key: event.key });
"#;

/// No key of the flow's: only who knows that an answer is missing looks before it does a thing again.
const KEYLESS: &str = r#"
    let ticket = redmine::open(#{ subject: `keyless ${event.n}` });
    redmine::comment(ticket.id, `note ${event.n}`);
    pagerduty::trigger(#{ routing_key: event.team, summary: `keyless ${event.n}`, source: "test",
        severity: "critical" });
"#;

/// The next calls of a stand-in: each goes well or loses its answer.
fn lose_answers(server: &Server, calls: usize, dice: &mut Dice) {
    for _ in 0..calls {
        let mischief = match dice.roll(100) < LOST_PERCENT {
            true => Mischief::LoseAnswer,
            false => Mischief::Delay(Duration::ZERO),
        };
        server.fail_next(1, mischief);
    }
}

/// Of `wanted` deeds that `is_deed` tells, many lost their answer.
fn assert_lost(server: &Server, wanted: usize, is_deed: impl Fn(&Seen) -> bool) {
    let lost = server
        .unanswered()
        .iter()
        .filter(|seen| is_deed(seen))
        .count();
    println!("{wanted} deeds, {lost} answers lost");
    assert!(
        lost >= wanted / LOST_LEAST,
        "hardly any answer was lost: {lost}"
    );
}

fn opens(seen: &Seen) -> bool {
    seen.method == "POST" && seen.path == "/issues.json"
}

fn notes(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.json()["issue"]["notes"].is_string()
}

/// Redmine holds two tickets for each event and one note in one of them.
fn assert_tickets(redmine: &Redmine, events: usize) {
    let issues = redmine.issues();
    let subjects: BTreeSet<&str> = issues.iter().map(|issue| &*issue.subject).collect();
    let marks: BTreeSet<&str> = issues
        .iter()
        .filter_map(|issue| issue.fields.get(&1).map(String::as_str))
        .collect();
    assert_eq!(issues.len(), 2 * events, "tickets");
    assert_eq!(subjects.len(), 2 * events, "tickets of one subject");
    assert_eq!(marks.len(), 2 * events, "tickets of one mark");
    for issue in &issues {
        let wanted = usize::from(issue.subject.starts_with("keyless"));
        assert_eq!(issue.notes.len(), wanted, "{issue:?}");
    }
    assert_lost(redmine, 2 * events, opens);
    assert_lost(redmine, events, notes);
}

/// PagerDuty shows two incidents for each event.
fn assert_incidents(pagerduty: &PagerDuty, events: usize) {
    let alerts = pagerduty.alerts();
    let summary = |alert: &vigie::standin::pagerduty::Alert| alert.payload["summary"].to_string();
    let summaries: BTreeSet<String> = alerts.iter().map(summary).collect();
    assert_eq!(alerts.len(), 2 * events, "incidents");
    assert_eq!(summaries.len(), 2 * events, "incidents of one summary");
    let again: usize = alerts.iter().map(|alert| alert.triggers - 1).sum();
    assert_eq!(again, pagerduty.unanswered().len(), "repeated without need");
    assert_lost(pagerduty, 2 * events, |_| true);
}

fn push_all(server: &Running, events: usize) {
    for n in 0..events {
        let team = format!("{:032x}", n / EVENTS_OF_A_KEY);
        let event = json!({ "n": n, "key": format!("key {n}"), "team": team });
        server.push("alert", &event);
    }
    wait_for("all events", || {
        let channels = server.get("channels");
        let is_alert = |row: &&serde_json::Value| row["name"] == "alert";
        let rows = channels["channels"].as_array().unwrap();
        let row = rows.iter().find(is_alert).unwrap();
        (row["waiting"] == 0).then_some(())
    });
}

#[test]
fn a_lost_answer_opens_no_second_ticket_and_no_second_incident() {
    let events = rounds(200, 2_000) / ACTIONS_OF_AN_EVENT;
    let outside = Runtime::new().unwrap();
    let redmine = outside.block_on(Redmine::start()).unwrap();
    let pagerduty = outside.block_on(PagerDuty::start()).unwrap();
    let mut dice = Dice(0x5eed_0006);
    lose_answers(&redmine, 50 * events, &mut dice);
    lose_answers(&pagerduty, 20 * events, &mut dice);
    let house = House::new().settings(&format!(
        "[redmine]\nendpoint = \"{}\"\nkey_file = \"key\"\nmarker_field = 1\nproject = \"test\"\n\
         [pagerduty]\nendpoint = \"{}\"",
        redmine.url(),
        pagerduty.url()
    ));
    house.file("key", KEY).channel("alert", "");
    for (flow, script) in [("keyed", KEYED), ("keyless", KEYLESS)] {
        house.flow(&format!("alert/{flow}"), script);
        let settings = "in_doubt_wait = \"10ms\"\nruns_at_once_max = 100";
        house.file(&format!("flows/alert/{flow}.toml"), settings);
    }
    let server = house.serve();
    push_all(&server, events);
    for n in 1..=events {
        for flow in ["keyed", "keyless"] {
            let run = server.ended(&format!("alert/{n}/{flow}"));
            assert_eq!(run["state"], "done", "{run:#}");
        }
    }
    assert_tickets(&redmine, events);
    assert_incidents(&pagerduty, events);
    assert!(server.get("dead")["dead"].as_array().unwrap().is_empty());
}
