//! The flow that the README begins with, on the real server: its three endings, with stand-ins for
//! Redmine and PagerDuty, and with a real Redmine. Its cases in virtual time are tried by `shipped`.

use serde_json::{Value as Json, json};
use tokio::runtime::{Builder, Runtime};
use vigie::standin::redmine::KEY;
use vigie::standin::{PagerDuty, Redmine};

use crate::house::{House, Running, wait_for};
use crate::peers::redmine::{self as real, OPSBOT_KEY};

const FLOW: &str = include_str!("../../examples/escalation/flows/alert/open_ticket.rhai");
const RUN: &str = "alert/1/open_ticket";

/// Redmine and PagerDuty, as far as the flow can tell.
pub struct Targets {
    pub redmine: Redmine,
    pub pagerduty: PagerDuty,
    _runtime: Runtime,
}

impl Targets {
    pub fn start() -> Targets {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Targets {
            redmine: runtime.block_on(Redmine::start()).unwrap(),
            pagerduty: runtime.block_on(PagerDuty::start()).unwrap(),
            _runtime: runtime,
        }
    }

    /// A house with the flow, whose patience is `patience` instead of ten minutes.
    pub fn house(&self, patience: &str) -> House {
        house((&self.redmine.url(), KEY), &self.pagerduty.url(), patience)
    }

    fn states(&self) -> (Vec<bool>, Vec<&'static str>) {
        let closed = self
            .redmine
            .issues()
            .iter()
            .map(|issue| issue.is_closed())
            .collect();
        let paged = self
            .pagerduty
            .alerts()
            .iter()
            .map(|alert| alert.state)
            .collect();
        (closed, paged)
    }
}

fn house((redmine, key): (&str, &str), pagerduty: &str, patience: &str) -> House {
    let house = House::new().settings(&format!(
        "[redmine]\nendpoint = \"{redmine}\"\nkey_file = \"redmine.key\"\nmarker_field = \"dedup_key\"\n\
         [pagerduty]\nendpoint = \"{pagerduty}\"\nrouting_key_file = \"pagerduty.key\""
    ));
    let flow = FLOW.replace("after(\"10m\")", &format!("after(\"{patience}\")"));
    assert!(flow.contains(&format!("after(\"{patience}\")")), "{flow}");
    house
        .channel("alert", "")
        .channel("ack", "")
        .file("redmine.key", key)
        .file("pagerduty.key", "0123456789abcdef0123456789abcdef")
        .flow("alert/open_ticket", &flow);
    house
}

pub fn alert(host: &str, status: &str) -> Json {
    json!({
        "status": status, "hostname": host, "severity": "5",
        "trigger_name": "Disk full", "trigger_key": "disk",
    })
}

/// Waits until the run waits for something that has these words.
pub fn waits_for(server: &Running<'_>, run: &str, words: &str) {
    wait_for(&format!("{run} to wait for {words}"), || {
        let waits = server.run(run)["waits_for"].as_str()?.to_owned();
        waits.contains(words).then_some(())
    });
}

fn ends_well(server: &Running<'_>) {
    let run = server.ended(RUN);
    assert_eq!(run["state"], "done", "{run:#}");
}

#[test]
fn a_recovery_in_time_closes_the_ticket_and_pages_nobody() {
    let targets = Targets::start();
    let house = targets.house("10m");
    let server = house.serve();
    server.push("alert", &alert("web01", "PROBLEM"));
    waits_for(&server, RUN, "watch ack");
    assert_eq!(targets.states(), (vec![false], vec![]));
    server.push("alert", &alert("web02", "OK"));
    server.push("alert", &alert("web01", "OK"));
    ends_well(&server);
    assert_eq!(targets.states(), (vec![true], vec![]));
}

#[test]
fn who_acknowledges_is_not_paged_and_the_recovery_closes_the_ticket() {
    let targets = Targets::start();
    let house = targets.house("10m");
    let server = house.serve();
    server.push("alert", &alert("web01", "PROBLEM"));
    waits_for(&server, RUN, "watch ack");
    server.push("ack", &json!({ "key": "web01/disk", "by": "marie" }));
    wait_for("the second wait", || {
        let waits = server.run(RUN)["waits_for"].as_str()?.to_owned();
        (!waits.contains("ack")).then_some(())
    });
    assert_eq!(targets.states(), (vec![false], vec![]));
    server.push("alert", &alert("web01", "OK"));
    ends_well(&server);
    assert_eq!(targets.states(), (vec![true], vec![]));
}

#[test]
fn nobody_takes_it_so_it_is_paged_once_and_resolved_whatever_is_killed_meanwhile() {
    let targets = Targets::start();
    let house = targets.house("200ms");
    let server = house.serve();
    server.push("alert", &alert("web01", "PROBLEM"));
    waits_for(&server, RUN, "watch");
    server.kill();
    let server = house.serve();
    wait_for("the page", || {
        (targets.states() == (vec![false], vec!["triggered"])).then_some(())
    });
    waits_for(&server, RUN, "watch alert");
    server.kill();
    let server = house.serve();
    server.push("alert", &alert("web01", "OK"));
    ends_well(&server);
    assert_eq!(targets.states(), (vec![true], vec!["resolved"]));
    assert_eq!(targets.pagerduty.alerts()[0].triggers, 1);
}

#[test]
fn a_real_redmine_has_one_ticket_that_is_closed_on_recovery() {
    let redmine = real::shared();
    let targets = Targets::start();
    let house = house(
        (&redmine.url, OPSBOT_KEY),
        &targets.pagerduty.url(),
        "300ms",
    );
    let server = house.serve();
    server.push("alert", &alert("escalated", "PROBLEM"));
    wait_for("the page", || {
        (targets.states().1 == ["triggered"]).then_some(())
    });
    waits_for(&server, RUN, "watch alert");
    let tickets = redmine.issues("escalated/disk");
    assert_eq!(
        (tickets.len(), &tickets[0]["closed_on"]),
        (1, &Json::Null),
        "{tickets:?}"
    );
    server.kill();
    let server = house.serve();
    server.push("alert", &alert("escalated", "OK"));
    ends_well(&server);
    let tickets = redmine.issues("escalated/disk");
    assert_eq!(
        (tickets.len(), &tickets[0]["status"]["name"]),
        (1, &json!("Closed")),
        "{tickets:?}"
    );
    assert_eq!(targets.states().1, ["resolved"]);
}

#[test]
fn the_readme_begins_with_this_flow() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let first = readme
        .split("```rhai\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert_eq!(first, FLOW);
}
