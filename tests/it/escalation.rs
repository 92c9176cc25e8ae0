//! The flow that the README begins with, on the real server: its three endings, with stand-ins for
//! Redmine and PagerDuty, and with a real Redmine; as it stands, in virtual time, in this process. Its
//! cases, without any target, are tried by `shipped`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::runtime::{Builder, Runtime};
use vigie::clock::Clock;
use vigie::event::Value;
use vigie::standin::redmine::KEY;
use vigie::standin::{PagerDuty, Redmine};

use crate::house::{House, Running, wait_for};
use crate::peers::redmine::{self as real, OPSBOT_KEY};
use crate::rig::{Life, Rig};

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

const BEGUN: i64 = 1_800_000_000;
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// The flow as it stands, with both stand-ins, in virtual time; its ticket is open.
struct Virtual {
    rig: Rig,
    life: Option<Life>,
}

impl Virtual {
    fn with_a_ticket() -> Virtual {
        let begun = Timestamp::from_second(BEGUN).unwrap();
        let rig = Rig::at(Clock::virtual_at(begun));
        rig.flow("open_ticket", FLOW, "");
        let life = rig.live(None);
        assert!(life.attend(&rig));
        let house = Virtual {
            rig,
            life: Some(life),
        };
        house.tell("alert", alert("web01", "PROBLEM"));
        house.lies(Some(10 * MINUTE), "ack");
        assert_eq!(house.states(), (vec![false], vec![]));
        house
    }

    fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    fn tell(&self, channel: &str, body: Json) {
        assert!(self.life().tell(channel, Value::from_json(body)));
    }

    /// Waits until the run waits for a channel, and until so many seconds after the beginning.
    fn lies(&self, until: Option<u64>, channel: &str) {
        let run = RUN.parse().unwrap();
        wait_for(&format!("a wait for {channel} until {until:?}"), || {
            let wait = self.life().conductor.waits.of(&run)?;
            let due = wait.alarm.map(|alarm| alarm.due.as_second() - BEGUN);
            let wants = wait.wants.iter().any(|want| want.channel == channel);
            (wants && due == until.map(|until| until as i64)).then_some(())
        });
    }

    /// It is so many seconds after the beginning.
    fn at(&self, seconds: u64) {
        let begun = Timestamp::from_second(BEGUN).unwrap();
        self.rig.clock.set(begun + Duration::from_secs(seconds));
        self.life().conductor.alarms.notify_one();
    }

    fn restart(&mut self) {
        self.life.take().unwrap().end();
        let life = self.rig.live(None);
        assert!(life.attend(&self.rig));
        self.life = Some(life);
    }

    /// Which tickets are closed, and how it stands with each page.
    fn states(&self) -> (Vec<bool>, Vec<&'static str>) {
        let tickets = self.rig.tickets.issues().into_iter();
        let pages = self.rig.pager.alerts().into_iter();
        (
            tickets.map(|issue| issue.is_closed()).collect(),
            pages.map(|alert| alert.state).collect(),
        )
    }

    fn ends_with(mut self, states: (Vec<bool>, Vec<&'static str>)) {
        wait_for("the end", || self.life().ended(RUN).then_some(()));
        let journal = self.life().run(RUN).unwrap();
        assert_eq!(journal.end().unwrap().state.word(), "done");
        assert_eq!(self.states(), states);
        self.life.take().unwrap().end();
    }
}

#[test]
fn in_virtual_time_nobody_takes_it_so_it_is_paged_and_closed_on_recovery_after_weeks() {
    let mut house = Virtual::with_a_ticket();
    house.at(10 * MINUTE - 1);
    house.restart();
    house.lies(Some(10 * MINUTE), "ack");
    assert_eq!(house.states(), (vec![false], vec![]), "a second too early");
    house.at(10 * MINUTE);
    house.lies(Some(10 * MINUTE + 30 * DAY), "alert");
    assert_eq!(house.states(), (vec![false], vec!["triggered"]));
    house.at(29 * DAY);
    house.restart();
    house.tell("alert", alert("web02", "OK"));
    house.tell("ack", json!({ "key": "web01/disk" }));
    house.tell("alert", alert("web01", "OK"));
    house.ends_with((vec![true], vec!["resolved"]));
}

#[test]
fn in_virtual_time_who_acknowledges_is_not_paged_and_a_month_without_recovery_closes_it() {
    let house = Virtual::with_a_ticket();
    house.at(9 * MINUTE);
    house.tell("ack", json!({ "key": "web02/disk" }));
    house.tell("ack", json!({ "key": "web01/disk", "by": "marie" }));
    house.lies(Some(9 * MINUTE + 30 * DAY), "alert");
    house.at(11 * MINUTE);
    assert_eq!(house.states(), (vec![false], vec![]));
    house.at(9 * MINUTE + 30 * DAY);
    house.ends_with((vec![true], vec![]));
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
