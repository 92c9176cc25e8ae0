//! Answers that are lost after the deed: three of ten calls are carried out and never answered, and
//! still there is one ticket and one incident for each event.
//!
//! Rounds: 200 actions, 2,000 long, on the stand-ins for Redmine and PagerDuty.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::runtime::Runtime;
use vigie::standin::redmine::KEY;
use vigie::standin::{Mischief, PagerDuty, Redmine, Server};

use super::rounds;
use crate::house::{House, wait_for};
use crate::store_damage::Dice;

/// Events of one routing key: PagerDuty lets each have 120 calls a minute.
const EVENTS_OF_A_KEY: usize = 50;
/// Of a hundred calls, how many are carried out and not answered.
const LOST_PERCENT: u64 = 30;

const FLOW: &str = r#"
    redmine::open(#{ subject: `problem ${event.n}`, dedup_key: event.key });
    pagerduty::trigger(#{ routing_key: event.team, summary: `problem ${event.n}`, source: "test",
        severity: "critical", dedup_key: event.key });
"#;

/// The next calls of a stand-in: each goes well or loses its answer.
fn lose_answers(server: &Server, calls: usize, dice: &mut Dice) -> usize {
    let mut lost = 0;
    for _ in 0..calls {
        let loses = dice.roll(100) < LOST_PERCENT;
        lost += usize::from(loses);
        server.fail_next(
            1,
            match loses {
                true => Mischief::LoseAnswer,
                false => Mischief::Delay(std::time::Duration::ZERO),
            },
        );
    }
    lost
}

#[test]
fn a_lost_answer_opens_no_second_ticket_and_no_second_incident() {
    let actions = rounds(200, 2_000);
    let events = actions / 2;
    let outside = Runtime::new().unwrap();
    let redmine = outside.block_on(Redmine::start()).unwrap();
    let pagerduty = outside.block_on(PagerDuty::start()).unwrap();
    let mut dice = Dice(0x5eed_0006);
    lose_answers(&redmine, 10 * events, &mut dice);
    lose_answers(&pagerduty, 10 * events, &mut dice);
    let house = House::new().settings(&format!(
        "[redmine]\nendpoint = \"{}\"\nkey_file = \"key\"\nmarker_field = 1\nproject = \"test\"\n\
         [pagerduty]\nendpoint = \"{}\"",
        redmine.url(),
        pagerduty.url()
    ));
    house
        .file("key", KEY)
        .channel("alert", "")
        .flow("alert/both", FLOW);
    let settings = "in_doubt_wait = \"10ms\"\nruns_at_once_max = 100";
    house.file("flows/alert/both.toml", settings);
    let server = house.serve();
    for n in 0..events {
        let team = format!("{:032x}", n / EVENTS_OF_A_KEY);
        server.push(
            "alert",
            &json!({ "n": n, "key": format!("key {n}"), "team": team }),
        );
    }
    wait_for("all events", || {
        let channels = server.get("channels");
        let is_alert = |row: &&serde_json::Value| row["name"] == "alert";
        let rows = channels["channels"].as_array().unwrap();
        let row = rows.iter().find(is_alert).unwrap();
        (row["waiting"] == 0).then_some(())
    });
    for n in 1..=events {
        let run = server.ended(&format!("alert/{n}/both"));
        assert_eq!(run["state"], "done", "{run:#}");
    }
    let keys: BTreeSet<String> = redmine
        .issues()
        .iter()
        .filter_map(|issue| issue.fields.get(&1).cloned())
        .collect();
    let calls = redmine.requests().len() + pagerduty.requests().len();
    println!("{actions} actions took {calls} calls");
    assert!(calls > actions + actions / 4, "hardly any answer was lost");
    assert_eq!(redmine.issues().len(), events, "tickets");
    assert_eq!(keys.len(), events);
    assert_eq!(pagerduty.alerts().len(), events, "incidents");
    assert!(server.get("dead")["dead"].as_array().unwrap().is_empty());
}
