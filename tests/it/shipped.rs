//! What is shipped works as it stands: the project's own house, the examples, the settings file
//! with every key, and the lines that other systems' owners paste.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use vigie::action;
use vigie::document;
use vigie::event::{Meta, Value};
use vigie::settings::Settings;
use vigie::source::webhook;

use crate::house::{House, VIGIE, stderr, stdout};

const EXAMPLES: &[&str] = &[
    "examples/escalation",
    "examples/storm",
    "examples/zabbix",
    "examples/snmptrapd",
    "examples/mail-alias",
    "examples/amqp",
    "examples/poll",
    "examples/snmp",
    "examples/mailbox",
    "examples/nagios",
    "examples/icinga",
    "examples/alertmanager",
    "examples/kompira",
    "examples/centreon",
    "examples/influxdb",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The houses that are shipped: the project's root (without its sources) and the examples.
fn houses() -> Vec<PathBuf> {
    std::iter::once(root())
        .chain(EXAMPLES.iter().map(|name| root().join(name)))
        .collect()
}

/// A copy of a house, so that nothing is written into the project.
fn copy(house: &Path) -> TempDir {
    let copy = tempfile::Builder::new()
        .prefix("vigie-shipped-")
        .tempdir()
        .unwrap();
    for inside in ["channels", "flows", "secrets", "log"] {
        copy_folder(&house.join(inside), &copy.path().join(inside));
    }
    let settings = house.join("settings.toml");
    if settings.exists() {
        std::fs::copy(settings, copy.path().join("settings.toml")).unwrap();
    }
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    if !from.exists() {
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn vigie(house: &Path, verb: &str) -> Output {
    Command::new(VIGIE)
        .arg(verb)
        .current_dir(house)
        .env_remove("VIGIE_SETTINGS")
        .env_remove("VIGIE_SERVER")
        .output()
        .unwrap()
}

/// Every file below a folder with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_str().unwrap().ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found
}

#[test]
fn every_shipped_house_passes_its_own_check_and_cases() {
    for house in houses() {
        let copy = copy(&house);
        let check = vigie(copy.path(), "check");
        assert!(
            check.status.success(),
            "{}: {}",
            house.display(),
            stderr(&check)
        );
        let test = vigie(copy.path(), "test");
        let said = stdout(&test);
        assert!(
            test.status.success(),
            "{}: {said}{}",
            house.display(),
            stderr(&test)
        );
        assert!(!said.contains("no cases"), "{}: {said}", house.display());
        assert!(said.contains(", 0 failed"), "{said}");
    }
}

#[test]
fn a_wrong_flow_and_a_wrong_case_are_noticed() {
    let copy = copy(&root());
    let flow = copy.path().join("flows/alert/open_ticket.rhai");
    let right = std::fs::read_to_string(&flow).unwrap();
    std::fs::write(&flow, right.replace(">= 4", ">= 5")).unwrap();
    let test = vigie(copy.path(), "test");
    assert_eq!(test.status.code(), Some(1));
    assert!(
        stdout(&test).contains("FAILED: severity 4 is high priority"),
        "{}",
        stdout(&test)
    );
    std::fs::write(&flow, right.replace("redmine::open", "redmine::opne")).unwrap();
    let check = vigie(copy.path(), "check");
    assert_eq!(check.status.code(), Some(78));
    assert!(
        stderr(&check).contains("did you mean `open`?"),
        "{}",
        stderr(&check)
    );
    std::fs::write(&flow, &right).unwrap();
    let cases = copy.path().join("flows/alert/close_ticket.cases.toml");
    let text = std::fs::read_to_string(&cases).unwrap();
    std::fs::write(&cases, text.replacen("web01/web.http", "web02/web.http", 1)).unwrap();
    let test = vigie(copy.path(), "test");
    assert_eq!(test.status.code(), Some(1));
    assert!(
        stdout(&test).contains("26 passed, 1 failed"),
        "{}",
        stdout(&test)
    );
}

#[test]
fn every_shipped_flow_says_what_it_is_for() {
    for house in houses() {
        for flow in files(&house.join("flows"), ".rhai") {
            let text = std::fs::read_to_string(&flow).unwrap();
            assert!(text.starts_with("//! "), "{}", flow.display());
            assert!(text.lines().count() <= 60, "{} is long", flow.display());
        }
    }
}

#[test]
fn every_action_has_a_shipped_flow_that_shows_it() {
    let mut text = String::new();
    for house in houses() {
        for flow in files(&house.join("flows"), ".rhai") {
            text.push_str(&std::fs::read_to_string(flow).unwrap());
        }
    }
    for action in action::ALL {
        let name = format!("{}::", action.name());
        assert!(text.contains(&name), "no shipped flow uses {name}");
    }
}

// settings.toml.example

/// The example with each commented key in force. Prose has a space behind its `#`, keys have none.
fn uncommented() -> String {
    let text = std::fs::read_to_string(root().join("settings.toml.example")).unwrap();
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with([' ', '#']) => key.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The names that settings know where `text` puts an unknown one.
fn known(text: &str) -> BTreeSet<String> {
    let mistake = document::parse::<Settings>(text, Path::new("settings.toml")).unwrap_err();
    let quoted = mistake
        .message
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned);
    quoted.filter(|name| name != "zzz").collect()
}

#[test]
fn the_settings_example_shows_every_key_and_each_can_be_used() {
    let text = uncommented();
    let shown: toml::Table = text.parse().unwrap();
    let settings: Settings = document::parse(&text, Path::new("settings.toml.example")).unwrap();
    assert_eq!(settings.token.len(), 1);
    let sections = known("zzz = 1");
    assert!(sections.len() > 10, "{sections:?}");
    for section in &sections {
        let example = shown
            .get(section)
            .unwrap_or_else(|| panic!("`{section}` is not shown"));
        let table = match example {
            toml::Value::Table(table) => table,
            toml::Value::Array(items) => items[0].as_table().unwrap(),
            _ => continue,
        };
        // The owner's own names.
        if section == "secret" {
            continue;
        }
        let unknown = match section.as_str() {
            "token" => format!("[[{section}]]\nzzz = 1"),
            _ => format!("[{section}]\nzzz = 1"),
        };
        for key in known(&unknown) {
            assert!(table.contains_key(&key), "[{section}] {key} is not shown");
        }
    }
}

#[test]
fn the_settings_example_as_it_stands_changes_nothing() {
    let text = std::fs::read_to_string(root().join("settings.toml.example")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    assert!(table.is_empty(), "{table}");
}

// the lines to paste

fn readme(example: &str) -> String {
    std::fs::read_to_string(root().join("examples").join(example).join("README.md")).unwrap()
}

#[test]
fn the_parameters_of_the_zabbix_webhook_are_all_understood() {
    let readme = readme("zabbix");
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once('|'));
    let names: Vec<&str> = rows
        .map(|(name, _)| name.trim())
        .filter(|name| *name != "name")
        .collect();
    assert!(
        names.contains(&"url") && names.contains(&"token"),
        "{names:?}"
    );
    let mut body = serde_json::Map::new();
    for name in names
        .iter()
        .filter(|name| !matches!(**name, "url" | "token"))
    {
        let value = if *name == "event_value" { "1" } else { *name };
        body.insert((*name).to_owned(), json!(value));
    }
    let bytes = json!(body).to_string();
    let meta = Meta::new("zabbix", Timestamp::UNIX_EPOCH);
    let events = webhook::decode("zabbix", bytes.as_bytes(), meta).unwrap();
    let told = |key: &str| {
        events[0]
            .body
            .get(key)
            .and_then(Value::as_text)
            .map(str::to_owned)
    };
    assert_eq!(told("status").as_deref(), Some("PROBLEM"));
    assert_eq!(told("severity").as_deref(), Some("event_nseverity"));
    assert_eq!(told("hostname").as_deref(), Some("host"));
    assert_eq!(told("trigger_name").as_deref(), Some("event_name"));
    assert_eq!(told("trigger_key").as_deref(), Some("trigger_id"));
    assert_eq!(told("detail").as_deref(), Some("detail"));
    assert_eq!(told("event_id").as_deref(), Some("event_id"));
}

#[test]
fn the_zabbix_script_uses_only_parameters_of_the_table() {
    let readme = readme("zabbix");
    let script = root().join("examples/zabbix/zabbix/webhook.js");
    let script = std::fs::read_to_string(script).unwrap();
    let used = script.split("params.").skip(1);
    let name = |text: &str| {
        text.chars()
            .take_while(|char| char.is_alphanumeric() || *char == '_')
            .collect::<String>()
    };
    for name in used.map(name) {
        assert!(
            readme.contains(&format!("| {name} ")),
            "{name} is in no row"
        );
    }
}

/// The line of a README that calls this program, with the test's own program in its place.
fn pasted(example: &str, before: &str, after: &str) -> String {
    let readme = readme(example);
    let line = readme
        .lines()
        .find_map(|line| line.trim().strip_prefix(before)?.strip_suffix(after));
    let line = line.unwrap_or_else(|| panic!("{example} has no line `{before}…{after}`"));
    format!("/usr/bin/vigie{line}").replace("/usr/bin/vigie", VIGIE)
}

/// Runs a pasted line as the other system does, by a shell; the event that came of it.
fn run_pasted(line: &str, input: &str, channel: &str) -> serde_json::Value {
    let house = House::new();
    house.channel(channel, "");
    let server = house.serve();
    let mut child = Command::new("sh")
        .args(["-c", line])
        .env("VIGIE_SERVER", &server.url)
        .env("VIGIE_SETTINGS", house.path("settings.toml"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    server.get(&format!("events/{channel}%2F1"))["body"].clone()
}

#[test]
fn the_zabbix_command_to_paste_brings_an_event_in() {
    let mut line = pasted("zabbix", "/usr/bin/vigie", "");
    for (name, value) in [
        ("{TRIGGER.STATUS}", "PROBLEM"),
        ("{TRIGGER.NSEVERITY}", "4"),
        ("{HOST.HOST}", "Web 01"),
        ("{TRIGGER.ID}", "13491"),
        ("{EVENT.ID}", "7"),
    ] {
        assert!(line.contains(name), "{line}");
        line = line.replace(name, value);
    }
    let event = run_pasted(&line, "", "alert");
    let expected = json!({
        "status": "PROBLEM", "severity": "4", "hostname": "Web 01", "trigger_key": "13491", "event_id": "7",
    });
    assert_eq!(event, expected);
}

#[test]
fn the_alias_to_paste_brings_a_mail_in() {
    let line = pasted("mail-alias", "support: \"|/usr/bin/vigie", "\"");
    let event = run_pasted(
        &line,
        "From a@b Fri Nov 20 16:22:18 2026\nSubject: =?UTF-8?B?6Zqc5a6z?=\n\nhello\n",
        "mail",
    );
    assert_eq!(event["Subject"], "障害");
}

#[test]
fn the_traphandle_to_paste_brings_a_trap_in() {
    let line = pasted("snmptrapd", "traphandle default /usr/bin/vigie", "");
    let trap = "switch01\nUDP: [192.0.2.7]:43179->[192.0.2.1]:162\n.1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.6.3.1.1.5.3\n";
    let event = run_pasted(&line, trap, "snmptrap");
    assert_eq!(event["name"], "linkDown");
}
