//! A real Zabbix server with the lines of `examples/zabbix` tells the house that stands there: by the
//! media type, whose JavaScript it runs itself, by the action's own script, and by a remote command.

use std::path::Path;

use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::standin::Redmine;
use vigie::standin::redmine::KEY;

use crate::house::{House, Running, wait_for};
use crate::peers::zabbix::{TRIGGER, Telling, Zabbix};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/zabbix");
const HOOK: &str = "http://127.0.0.1:8780/hooks/zabbix/alert";

fn example(file: &str) -> String {
    std::fs::read_to_string(Path::new(EXAMPLE).join(file)).unwrap()
}

/// The table of parameters in the example's README, for this server and channel.
fn parameters(readme: &str, server: &Running, channel: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, value] = cells.as_slice() else {
            panic!("{line}");
        };
        let value = match *value {
            HOOK => format!("{}/hooks/zabbix/{channel}", server.url),
            value if value.starts_with("(empty") => String::new(),
            value => value.to_owned(),
        };
        ((*name).to_owned(), value)
    };
    let rows = readme.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<(String, String)> = rows.skip(1).map(row).collect();
    assert!(rows.len() > 8 && readme.contains(HOOK), "{rows:?}");
    rows
}

/// Waits for an event of `channel` with this number.
fn event(server: &Running, channel: &str, number: u64) -> Json {
    let path = format!("/api/v1/events/{channel}%2F{number}");
    wait_for(&format!("{channel}/{number}"), || {
        let answered = server.ask(&path, &[], None);
        (answered.status == 200).then(|| answered.json()["body"].clone())
    })
}

fn house(tickets: &Redmine) -> House {
    let house = House::new().settings(&format!(
        "[redmine]\nendpoint = \"{}\"\nkey_file = \"secrets/redmine\"\nmarker_field = \"dedup_key\"\n\
         [secret]\nchat_url_file = \"secrets/chat_url\"",
        tickets.url()
    ));
    for file in [
        "channels/alert.toml",
        "flows/alert/ticket.rhai",
        "flows/alert/chat.rhai",
    ] {
        house.file(file, &example(file));
    }
    house.file("secrets/redmine", KEY);
    house.file("secrets/chat_url", "http://127.0.0.1:1/");
    house.channel("operation", "").channel("command", "");
    house
}

#[test]
fn a_real_zabbix_opens_and_closes_a_ticket_by_webhook_script_and_command() {
    let outside = Runtime::new().unwrap();
    let tickets = outside.block_on(Redmine::start()).unwrap();
    let house = house(&tickets);
    let server = house.serve();
    let readme = example("README.md");
    let command = readme.lines().map(str::trim);
    let command = command.filter(|line| line.starts_with("/usr/bin/vigie send"));
    let command = command.clone().next().unwrap();
    assert!(command.contains("--channel alert"), "{command}");
    let command = command.replace("--channel alert", "--channel command");
    let zabbix = Zabbix::telling(&Telling {
        script: &example("zabbix/webhook.js"),
        media: &parameters(&readme, &server, "alert"),
        operation: &parameters(&readme, &server, "operation"),
        command: &format!("{command} --server {}", server.url),
    });
    let say_if_it_fails = SayIfItFails(&zabbix);
    wait_for("an item that Zabbix knows", || {
        zabbix.send("1").then_some(())
    });
    let problem = event(&server, "alert", 1);
    assert_eq!(problem["status"], "PROBLEM");
    assert_eq!(
        (&problem["severity"], &problem["hostname"]),
        (&json!("4"), &json!("web01"))
    );
    assert_eq!(problem["trigger_name"], TRIGGER);
    assert_eq!(
        (&problem["trigger_key"], &problem["detail"]),
        (&json!("9001"), &json!("status is 1"))
    );
    let by_operation = event(&server, "operation", 1);
    assert_eq!(by_operation["trigger_name"], TRIGGER);
    let by_command = event(&server, "command", 1);
    for key in ["status", "severity", "hostname", "trigger_key", "event_id"] {
        assert_eq!(by_operation[key], problem[key], "{key}");
        assert_eq!(by_command[key], problem[key], "{key}");
    }
    assert_eq!(server.ended("alert/1/ticket")["state"], "done");
    let issues = tickets.issues();
    assert_eq!(issues.len(), 1);
    assert_eq!(issues[0].subject, format!("web01: {TRIGGER}"));

    assert!(zabbix.send("0"));
    let recovery = event(&server, "alert", 2);
    assert_eq!(
        (&recovery["status"], &recovery["event_id"]),
        (&json!("OK"), &problem["event_id"])
    );
    assert_eq!(recovery["trigger_key"], "9001");
    assert_eq!(event(&server, "operation", 2)["status"], "OK");
    assert_eq!(event(&server, "command", 2)["status"], "OK");
    assert_eq!(server.ended("alert/2/ticket")["state"], "done");
    assert!(tickets.issues()[0].is_closed(), "{:?}", tickets.issues());
    drop(say_if_it_fails);
    drop(zabbix);
}

/// Shows Zabbix's log when the test fails.
struct SayIfItFails<'a>(&'a Zabbix);

impl Drop for SayIfItFails<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0.log());
        }
    }
}
