//! The verbs of the command line, against the real server: what they print and how they end.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value as Json, json};

use crate::house::{House, Running, stderr, stdout, wait_for};

const VERBS: &[&str] = &[
    "serve",
    "check",
    "test",
    "list",
    "show",
    "record",
    "replay",
    "retry",
    "pause",
    "resume",
    "peek",
    "pop",
    "count",
    "put-back",
    "send",
    "mail",
    "trap",
    "token",
    "backup",
    "restore",
    "demo",
    "docs",
    "completions",
    "man",
];

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// A channel with a flow that ends well and one that fails.
fn house() -> House {
    let house = House::new();
    house
        .channel("alert", "about = \"Problems from 監視\"")
        .channel("mail", "");
    house.flow("alert/note", "print(`saw ${event.n}`);");
    house.flow(
        "alert/odd",
        "fn filter(event) { event.n % 2 == 1 }\nthrow `${event.n} is odd`;",
    );
    house
}

/// Pushes `count` events and waits until every run of theirs has ended.
fn furnish(server: &Running, count: u64) {
    for n in 1..=count {
        server.push("alert", &json!({ "n": n }));
        server.ended(&format!("alert/{n}/note"));
        if n % 2 == 1 {
            server.ended(&format!("alert/{n}/odd"));
        }
    }
}

fn listed(server: &Running, arguments: &[&str]) -> Json {
    let output = server.verb(&[&["list"], arguments, &["--json"]].concat());
    assert_eq!(code(&output), 0, "{output:?}");
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn column(rows: &Json, key: &str) -> Vec<String> {
    let text = |row: &Json| row[key].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(text).collect()
}

#[test]
fn help_lists_every_verb_and_each_shows_an_example() {
    let house = House::new();
    let help = stdout(&house.run(&["--help"]));
    for verb in VERBS {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}: {help}");
        let output = house.run(&[verb, "--help"]);
        assert_eq!(code(&output), 0, "{verb}");
        let text = stdout(&output);
        // `demo` takes nothing that could be shown
        if *verb == "demo" {
            continue;
        }
        let example = text
            .split("xample")
            .nth(1)
            .unwrap_or_else(|| panic!("{verb}: {text}"));
        let shown = if *verb == "send" { "vigie send" } else { *verb };
        assert!(example.contains(shown), "{verb}: {text}");
        let described = text
            .lines()
            .filter(|line| line.trim_start().starts_with("--"));
        for option in described.filter(|line| !line.contains("--help")) {
            assert!(
                option.contains("  ") || text.contains(&format!("{option}\n   ")),
                "{verb}: {option}"
            );
        }
    }
    let new = stdout(&house.run(&["token", "new", "--help"]));
    assert!(new.contains("Example:\n  vigie token new"), "{new}");
    let version = stdout(&house.run(&["--version"]));
    assert_eq!(version, format!("vigie {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(code(&house.run(&["help", "list"])), 0);
}

#[test]
fn the_senders_options_are_shown_by_send() {
    let house = House::new();
    let text = stdout(&house.run(&["send", "--help"]));
    for option in [
        "--channel",
        "--server",
        "--dry-run",
        "--max-retry",
        "--spool",
        "--ssl-cacertfile",
        "KEY=VAL",
    ] {
        assert!(text.contains(option), "{option}: {text}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_64_and_says_what_is_meant() {
    let house = House::new();
    let wrong: &[&[&str]] = &[
        &["lst"],
        &["list"],
        &["list", "nothing"],
        &["list", "runs", "--limit", "0"],
        &["list", "runs", "--limit", "many"],
        &["list", "runs", "--state", "dead"],
        &["show"],
        &["show", "what"],
        &["show", "alert"],
        &["retry"],
        &["retry", "alert/1/note", "--all"],
        &["pause"],
        &["check", "--repair"],
        &["token"],
        &["token", "new"],
        &["token", "new", "--name", "a", "--right", "everything"],
        &["backup"],
        &["restore"],
        &["completions", "cmd"],
        &["man", "lst"],
        &["serve", "--no-such-option"],
        &["test", "alert/none"],
        &["--server", "http://127.0.0.1:1", "send", "a=1"],
    ];
    for arguments in wrong {
        let output = house.run(arguments);
        assert_eq!(code(&output), 64, "{arguments:?}: {output:?}");
        assert!(
            stderr(&output).len() > 20 && output.stdout.is_empty(),
            "{arguments:?}"
        );
    }
    assert!(
        stderr(&house.run(&["lst"])).contains("'list'"),
        "{}",
        stderr(&house.run(&["lst"]))
    );
    // no verb at all is a question
    let output = house.run(&[]);
    assert!(format!("{}{}", stdout(&output), stderr(&output)).contains("Usage: vigie"));
}

#[test]
fn without_a_server_verbs_that_need_one_end_with_69() {
    let house = House::new();
    let nobody = "http://127.0.0.1:1";
    let verbs: &[&[&str]] = &[
        &["list", "channels"],
        &["list", "runs"],
        &["show", "alert/1"],
        &["retry", "alert/1/note"],
        &["retry", "--all"],
        &["pause", "alert"],
        &["resume", "alert/note"],
        &["backup", "/tmp/no-such-folder/x.backup"],
    ];
    for verb in verbs {
        let output = house.run(&[verb, ["--server", nobody].as_slice()].concat());
        assert_eq!(code(&output), 69, "{verb:?}: {output:?}");
        assert!(
            stderr(&output).starts_with("vigie: no server at http://127.0.0.1:1: "),
            "{output:?}"
        );
    }
    let mut command = house.command(&["list", "flows"]);
    let output = command.env("VIGIE_SERVER", nobody).output().unwrap();
    assert_eq!(code(&output), 69, "{output:?}");
    let output = house.run(&["list", "flows", "--server", "ftp://x"]);
    assert_eq!(code(&output), 78, "{output:?}");
    assert_eq!(
        code(&house.run(&["list", "actions"])),
        0,
        "the words of this program need none"
    );
}

#[test]
fn channels_flows_and_actions_are_listed() {
    let house = house();
    let server = house.serve();
    furnish(&server, 1);
    let text = stdout(&server.verb(&["list", "channels"]));
    let head = text.lines().next().unwrap();
    for column in ["name", "waiting", "kept", "flows", "paused", "about"] {
        assert!(head.contains(column), "{head}");
    }
    let alert = text
        .lines()
        .find(|line| line.starts_with("alert "))
        .unwrap();
    assert!(alert.contains("Problems from 監視"), "{alert}");
    let channels = listed(&server, &["channels"])["channels"].clone();
    assert_eq!(column(&channels, "name"), ["alert", "mail", "unrouted"]);
    assert_eq!(
        (&channels[0]["kept"], &channels[0]["flows"]),
        (&json!(1), &json!(2))
    );
    let flows = wait_for("the flows to have looked", || {
        let flows = listed(&server, &["flows"])["flows"].clone();
        (flows[0]["behind"] == 0 && flows[1]["behind"] == 0).then_some(flows)
    });
    assert_eq!(column(&flows, "name"), ["alert/note", "alert/odd"]);
    let text = stdout(&server.verb(&["list", "flows"]));
    let version = flows[0]["version"].as_str().unwrap();
    assert!(
        text.contains(&version[..12]) && !text.contains(version),
        "{text}"
    );
    let actions = stdout(&house.run(&["list", "actions"]));
    for word in ["redmine::open", "state::get", "http::post", "emit", "uuid"] {
        assert!(actions.contains(word), "{word}: {actions}");
    }
}

/// The names of all runs in a listing, two rows at a time.
fn pages(server: &Running, what: &str, more: &[&str]) -> Vec<String> {
    let (mut after, mut names) = (String::new(), Vec::new());
    loop {
        let mut arguments = [&[what, "--limit", "2"], more].concat();
        if !after.is_empty() {
            arguments.extend(["--after", &after]);
        }
        let page = listed(server, &arguments);
        let rows = column(&page[what], "run");
        assert!(rows.len() <= 2, "{page}");
        names.extend(rows);
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return names,
        }
    }
}

#[test]
fn runs_and_dead_letters_are_listed_page_by_page() {
    let house = house();
    let server = house.serve();
    furnish(&server, 5);
    let all = listed(&server, &["runs"]);
    assert_eq!(all["runs"].as_array().unwrap().len(), 8, "{all}");
    assert!(all["next"].is_null(), "{all}");
    assert_eq!(pages(&server, "runs", &[]), column(&all["runs"], "run"));
    let failed = ["alert/5/odd", "alert/3/odd", "alert/1/odd"];
    assert_eq!(pages(&server, "runs", &["--state", "failed"]), failed);
    let dead = ["alert/1/odd", "alert/3/odd", "alert/5/odd"];
    assert_eq!(pages(&server, "dead", &[]), dead);
    let done = listed(&server, &["runs", "--state", "done"]);
    assert_eq!(done["runs"].as_array().unwrap().len(), 5);
    assert!(
        listed(&server, &["runs", "--state", "live"])["runs"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let text = server.verb(&["list", "dead", "--limit", "1"]);
    assert!(stdout(&text).contains("1 is odd"), "{text:?}");
    assert!(
        stderr(&text).contains("there are more: --after alert/1/odd"),
        "{text:?}"
    );
    // a place that is gone is no place to go on from
    for what in ["runs", "dead"] {
        let lost = server.verb(&["list", what, "--after", "alert/99/odd"]);
        assert_eq!(
            (code(&lost), stderr(&lost).as_str()),
            (1, "vigie: there is no `alert/99/odd`\n")
        );
    }
}

#[test]
fn all_dead_letters_are_tried_again_at_once() {
    let house = house();
    let server = house.serve();
    furnish(&server, 5);
    house.flow("alert/odd", "print(\"mended\");");
    server.signal(rustix::process::Signal::HUP);
    wait_for("the mended flow", || {
        server
            .log()
            .contains("took up the changed house")
            .then_some(())
    });
    let retried = server.verb(&["retry", "--all"]);
    assert_eq!(code(&retried), 0, "{retried:?}");
    assert_eq!(stdout(&retried).lines().count(), 3, "{retried:?}");
    wait_for("no dead letters", || {
        listed(&server, &["dead"])["dead"]
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
    let lost = server.verb(&["list", "dead", "--after", "alert/1/odd"]);
    assert_eq!(code(&lost), 1, "{lost:?}");
}

#[test]
fn show_tells_the_story_of_an_event_and_of_a_run() {
    let house = house();
    let server = house.serve();
    furnish(&server, 2);
    let text = stdout(&server.verb(&["show", "alert/1"]));
    for part in [
        "event alert/1",
        "by http from 127.0.0.1",
        "{\"n\":1}",
        "flow note: matched",
        "run alert/1/note: done",
        "| saw 1",
        "run alert/1/odd: failed",
        "1 is odd",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = stdout(&server.verb(&["show", "alert/2"]));
    assert!(text.contains("flow odd: did not match"), "{text}");
    let text = stdout(&server.verb(&["show", "alert/1/odd"]));
    assert!(
        text.contains("ends: failed") && text.contains("flows/alert/odd.rhai:2:"),
        "{text}"
    );
    let json = stdout(&server.verb(&["show", "alert/1/note", "--json"]));
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["state"], &json["run"]),
        (&json!("done"), &json!("alert/1/note"))
    );
    server.push("mail", &json!({}));
    let text = stdout(&server.verb(&["show", "mail/1"]));
    assert!(text.contains("no flow looks at this channel"), "{text}");
}

#[test]
fn what_does_not_exist_is_told_in_a_sentence_with_1() {
    let house = house();
    let server = house.serve();
    let verbs: &[(&[&str], &str)] = &[
        (&["show", "alert/99"], "there is no `alert/99`"),
        (&["show", "none/1"], "there is no `none/1`"),
        (&["show", "alert/99/note"], "there is no `alert/99/note`"),
        (&["retry", "alert/99/note"], "there is no `alert/99/note`"),
        (&["pause", "none"], "there is no `none`"),
        (&["pause", "alert/none"], "there is no `alert/none`"),
        (&["resume", "alert/none"], "there is no `alert/none`"),
    ];
    for (verb, sentence) in verbs {
        let output = server.verb(verb);
        assert_eq!(code(&output), 1, "{verb:?}: {output:?}");
        assert_eq!(stderr(&output), format!("vigie: {sentence}\n"), "{verb:?}");
    }
    furnish(&server, 2);
    let output = server.verb(&["retry", "alert/2/note"]);
    assert_eq!(
        (code(&output), stderr(&output).as_str()),
        (1, "vigie: alert/2/note is not a dead letter\n")
    );
    let both = server.verb(&["retry", "alert/1/odd", "alert/99/odd"]);
    assert_eq!(code(&both), 1);
    assert_eq!(stdout(&both), "alert/1/odd is tried again\n");
}

#[test]
fn a_held_flow_or_channel_begins_nothing_until_it_goes_on_also_through_a_restart() {
    let house = house();
    let server = house.serve();
    for name in ["alert/odd", "mail"] {
        let held = server.verb(&["pause", name]);
        assert_eq!(
            (code(&held), stdout(&held)),
            (0, format!("{name}: paused\n"))
        );
    }
    server.push("alert", &json!({ "n": 1 }));
    server.ended("alert/1/note");
    server.kill();
    let server = house.serve();
    server.push("alert", &json!({ "n": 3 }));
    server.ended("alert/2/note");
    assert!(server.run("alert/1/odd")["state"].is_null());
    let flows = listed(&server, &["flows"])["flows"].clone();
    assert_eq!(
        (&flows[0]["paused"], &flows[1]["paused"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(flows[1]["behind"], 2, "{flows}");
    assert_eq!(
        listed(&server, &["channels"])["channels"][1]["paused"],
        true
    );
    assert!(stdout(&server.verb(&["show", "alert/1"])).contains("flow odd: waits"));
    assert_eq!(
        stdout(&server.verb(&["resume", "alert/odd"])),
        "alert/odd: resumed\n"
    );
    server.ended("alert/1/odd");
    server.ended("alert/2/odd");
    // a held channel holds all its flows
    assert_eq!(code(&server.verb(&["pause", "alert"])), 0);
    server.push("alert", &json!({ "n": 5 }));
    assert_eq!(code(&server.verb(&["resume", "alert"])), 0);
    server.ended("alert/3/odd");
    server.ended("alert/3/note");
}

#[test]
fn what_operators_do_is_written_down() {
    let house = house();
    let server = house.serve();
    furnish(&server, 1);
    let file = house.path("a.backup");
    let verbs: &[&[&str]] = &[
        &["pause", "alert/note"],
        &["resume", "alert/note"],
        &["pause", "mail"],
        &["retry", "alert/1/odd"],
        &["backup", file.to_str().unwrap()],
    ];
    verbs
        .iter()
        .for_each(|verb| assert_eq!(code(&server.verb(verb)), 0, "{verb:?}"));
    server.verb(&["pause", "none"]);
    server.kill();
    let server = house.serve();
    let lines = server.get("audit")["audit"].clone();
    let backup = format!("backup to {}", file.display());
    let deeds = [
        &backup,
        "retry alert/1/odd",
        "pause mail",
        "resume alert/note",
        "pause alert/note",
    ];
    let told: Vec<String> = column(&lines, "line");
    assert_eq!(told.len(), deeds.len(), "{told:?}");
    for (line, deed) in told.iter().zip(deeds) {
        let (at, rest) = line.split_once(' ').unwrap();
        assert!(at.parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert_eq!(rest, format!("loopback {deed}"));
    }
    let page = server.get("audit?limit=2");
    let last = page["audit"][1]["number"].as_u64().unwrap();
    let rest = server.get(&format!("audit?before={last}"));
    assert_eq!(column(&rest["audit"], "line"), told[2..]);
}

#[test]
fn completions_and_manual_know_every_verb() {
    let house = House::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout(&house.run(&["completions", shell]));
        for verb in VERBS {
            assert!(text.contains(verb), "{shell} {verb}");
        }
        for option in ["settings", "dry-run", "no-watch", "repair"] {
            assert!(text.contains(option), "{shell} {option}");
        }
    }
    let page = stdout(&house.run(&["man"]));
    assert!(page.contains(".TH vigie 1"), "{page}");
    for verb in VERBS {
        assert!(
            page.contains(&format!("vigie\\-{}(1)", verb.replace('-', "\\-"))),
            "{verb}: {page}"
        );
        let own = stdout(&house.run(&["man", verb]));
        assert!(
            own.contains(".SH NAME") && own.contains(".SH OPTIONS"),
            "{verb}: {own}"
        );
    }
    assert!(stdout(&house.run(&["man", "send"])).contains("\\-\\-dry\\-run"));
}

#[test]
fn docs_define_every_word() {
    let house = House::new();
    let output = house.run(&["docs", "definitions"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let actions = house.run(&["list", "actions", "--json"]);
    let actions: Json = serde_json::from_str(&stdout(&actions)).unwrap();
    let mut text = String::new();
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(house.path("definitions")).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        text.push_str(&std::fs::read_to_string(path).unwrap());
    }
    assert!(
        files.contains("vigie.d.rhai") && files.contains("redmine.d.rhai"),
        "{files:?}"
    );
    for word in column(&actions["actions"], "word") {
        let (module, name) = word.split_once("::").unwrap_or(("vigie", &word));
        let file = house.path(&format!("definitions/{module}.d.rhai"));
        let defined = std::fs::read_to_string(file).unwrap();
        assert!(defined.contains(&format!("\nfn {name}(")), "{word}");
        assert!(text.contains(&format!("| `{word}(")), "{word}");
    }
    for word in vigie::script::ALL.iter().flat_map(|words| words.words()) {
        assert!(
            text.contains(&format!("\nfn {}(", word.name)),
            "{}",
            word.name
        );
    }
}
