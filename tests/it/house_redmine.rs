//! From an alert to a ticket in a real Redmine, and what happens when one of the two goes wrong.

use serde_json::{Value as Json, json};

use crate::house::{House, Running, wait_for};
use crate::peers::proxy::{Mood, Proxy};
use crate::peers::redmine::{self, OPSBOT_KEY, UNKNOWN_KEY};

const TICKET: &str = r#"
let key = `${event.hostname}/${event.trigger_key}`;
if event.status == "PROBLEM" {
    redmine::open(#{ subject: `${event.hostname}: ${event.trigger_name}`, priority: "High", dedup_key: key });
} else {
    for ticket in redmine::find(key) { redmine::close(ticket.id, "recovered"); }
}
"#;

/// A house whose flow opens and closes tickets in the project `ops`.
fn house(url: &str, key: &str) -> House {
    let house = House::new().settings(&format!(
        "[redmine]\nendpoint = \"{url}\"\nkey_file = \"redmine.key\"\nmarker_field = \"dedup_key\"\nproject = \"ops\""
    ));
    house
        .channel("alert", "")
        .file("redmine.key", key)
        .flow("alert/ticket", TICKET);
    house
}

fn alert(host: &str, status: &str) -> Json {
    json!({
        "status": status, "hostname": host, "severity": "4",
        "trigger_name": "CPU load too high", "trigger_key": "system.cpu.load",
    })
}

/// Pushes the alert with its id at the sender.
fn deliver(server: &Running, message_id: &str, alert: &Json) -> String {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", message_id),
    ];
    let path = "/api/v1/channels/alert/events";
    let answered = server.ask(path, &headers, Some(alert.to_string().as_bytes()));
    assert_eq!(answered.status, 202, "{answered:?}");
    answered.json()["ids"][0].as_str().unwrap().to_owned()
}

fn done(server: &Running, event: &str) {
    let run = server.ended(&format!("{event}/ticket"));
    assert_eq!(run["state"], "done", "{run:#}\n{}", server.log());
}

#[test]
fn an_alert_opens_one_ticket_however_often_it_comes_and_its_recovery_closes_it() {
    let redmine = redmine::shared();
    let house = house(&redmine.url, OPSBOT_KEY);
    let server = house.serve();
    let problem = alert("once", "PROBLEM");
    let first = deliver(&server, "zabbix-1", &problem);
    assert_eq!(
        deliver(&server, "zabbix-1", &problem),
        first,
        "the same delivery"
    );
    let second = deliver(&server, "zabbix-2", &problem);
    assert_ne!(second, first, "the same problem told again");
    done(&server, &first);
    done(&server, &second);
    let tickets = redmine.issues("once/system.cpu.load");
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    assert_eq!(tickets[0]["subject"], "once: CPU load too high");
    assert_eq!(tickets[0]["project"]["name"], "Ops");
    assert_eq!(tickets[0]["priority"]["name"], "High");
    assert_eq!(tickets[0]["closed_on"], Json::Null);
    let recovery = deliver(&server, "zabbix-3", &alert("once", "OK"));
    done(&server, &recovery);
    let tickets = redmine.issues("once/system.cpu.load");
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    assert_eq!(tickets[0]["status"]["name"], "Closed");
    let id = &tickets[0]["id"];
    let ticket = redmine.get(&format!("/issues/{id}.json?include=journals"));
    assert_eq!(ticket["issue"]["journals"][0]["notes"], "recovered");
    assert_eq!(server.get("runs")["runs"].as_array().unwrap().len(), 3);
}

/// The one dead letter's run.
fn dead(house: &House) -> Json {
    let server = house.serve();
    let event = deliver(&server, "dead-1", &alert("dead", "PROBLEM"));
    let run = server.ended(&format!("{event}/ticket"));
    let dead = server.get("dead");
    assert_eq!(dead["dead"][0]["run"], run["run"], "{dead}");
    assert_eq!(dead["dead"][0]["why"], run["message"], "{run}");
    assert_eq!(run["state"], "failed");
    run
}

#[test]
fn a_wrong_key_is_a_dead_letter_that_says_so() {
    let redmine = redmine::shared();
    let run = dead(&house(&redmine.url, UNKNOWN_KEY));
    let message = run["message"].as_str().unwrap();
    let said = "Redmine does not know this API key; check key_file under [redmine]";
    assert!(message.contains(said), "{message}");
    assert!(!run.to_string().contains(UNKNOWN_KEY), "{run}");
    assert!(redmine.issues("dead/system.cpu.load").is_empty());
}

#[test]
fn an_unknown_project_is_a_dead_letter_that_shows_where_the_script_names_it() {
    let redmine = redmine::shared();
    let house = house(&redmine.url, OPSBOT_KEY);
    let script = "let subject = event.trigger_name;\nredmine::open(#{ project: \"osp\", subject: subject });\n";
    house.flow("alert/ticket", script);
    let run = dead(&house);
    let message = run["message"].as_str().unwrap();
    assert!(
        message.contains("project \"osp\" does not exist"),
        "{message}"
    );
    assert!(message.contains("flows/alert/ticket.rhai:2:1"), "{message}");
    assert!(
        message.contains("2 | redmine::open(#{ project: \"osp\""),
        "{message}"
    );
    assert!(
        message
            .lines()
            .any(|line| line.trim_start().starts_with("| ^^^^^^^^^^^^^")),
        "{message}"
    );
}

/// Kills the server while Redmine's answer to the creation is on its way, and starts it again.
fn killed_while_redmine_answers(script: &str, host: &str) -> Vec<Json> {
    let redmine = redmine::shared();
    let proxy = Proxy::to(&redmine.url);
    let house = house(&proxy.url, OPSBOT_KEY);
    house.flow("alert/ticket", script);
    let server = house.serve();
    proxy.set(Mood::Keep);
    let event = deliver(&server, "slow-1", &alert(host, "PROBLEM"));
    wait_for("an answer that is kept back", || {
        (proxy.kept() == 1).then_some(())
    });
    assert_eq!(server.run(&format!("{event}/ticket"))["state"], "live");
    server.kill();
    proxy.set(Mood::Pass);
    let server = house.serve();
    done(&server, &event);
    assert_eq!(proxy.posts(), 1, "it looked before it would have created");
    redmine.issues(&format!("{host}/system.cpu.load"))
}

#[test]
fn a_server_killed_while_redmine_answers_opens_no_second_ticket() {
    let tickets = killed_while_redmine_answers(TICKET, "killed");
    assert_eq!(tickets.len(), 1, "{tickets:?}");
}

#[test]
fn a_server_killed_while_redmine_answers_finds_a_ticket_without_a_key_of_its_own_again() {
    let redmine = redmine::shared();
    let script = r#"redmine::open(#{ subject: `unkeyed ${event.hostname}` });"#;
    let tickets = killed_while_redmine_answers(script, "unkeyed");
    assert!(tickets.is_empty(), "{tickets:?}");
    let page = redmine.get("/issues.json?status_id=*&limit=100&project_id=ops");
    let issues = page["issues"].as_array().unwrap();
    let mine = issues
        .iter()
        .filter(|issue| issue["subject"] == "unkeyed unkeyed");
    assert_eq!(mine.count(), 1, "{page:#}");
}

#[test]
fn a_connection_that_breaks_before_redmine_has_answered_opens_no_second_ticket() {
    let redmine = redmine::shared();
    let proxy = Proxy::to(&redmine.url);
    let house = house(&proxy.url, OPSBOT_KEY);
    let server = house.serve();
    proxy.set(Mood::Cut);
    let event = deliver(&server, "cut-1", &alert("cut", "PROBLEM"));
    done(&server, &event);
    assert_eq!((proxy.posts(), proxy.kept()), (1, 1));
    assert_eq!(redmine.issues("cut/system.cpu.load").len(), 1);
}
