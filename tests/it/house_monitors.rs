//! A real Nagios and a real Icinga, with the files of our examples, tell their webhooks; and the lines
//! of the house for people who come from Kompira.

use std::cell::Cell;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::house::{House, PATIENCE, Running};
use crate::peers::icinga::Icinga;
use crate::peers::nagios::Nagios;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// A file of an example, for this server.
fn example(file: &str, server: &Running) -> String {
    let text = std::fs::read_to_string(Path::new(EXAMPLES).join(file)).unwrap();
    assert!(text.contains("http://127.0.0.1:8780"), "{file}");
    text.replace("http://127.0.0.1:8780", &server.url)
}

/// The next event of `alert`, counted in each test by itself.
fn next(server: &Running, log: &dyn Fn() -> String) -> Json {
    thread_local! {
        static SEEN: Cell<u64> = const { Cell::new(0) };
    }
    let number = SEEN.get() + 1;
    SEEN.set(number);
    let path = format!("/api/v1/events/alert%2F{number}");
    let until = Instant::now() + PATIENCE;
    loop {
        let answered = server.ask(&path, &[], None);
        if answered.status == 200 {
            return answered.json()["body"].clone();
        }
        assert!(Instant::now() < until, "{answered:?}\n{}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn keys<'a>(event: &'a Json, keys: [&str; 4]) -> [&'a str; 4] {
    keys.map(|key| event[key].as_str().unwrap_or("-"))
}

const KEYS: [&str; 4] = ["status", "trigger_key", "state", "severity"];

#[test]
fn a_real_nagios_tells_of_problem_acknowledgement_and_recovery() {
    let house = House::new();
    house.channel("alert", "");
    let server = house.serve();
    let nagios = Nagios::with(&example("nagios/nagios/vigie.cfg", &server));
    let log = || nagios.log();
    nagios.tell("PROCESS_SERVICE_CHECK_RESULT;web01;HTTP;2;no answer `id` $HOME \"q\" 障害");
    let problem = next(&server, &log);
    assert_eq!(keys(&problem, KEYS), ["PROBLEM", "HTTP", "CRITICAL", "4"]);
    assert_eq!(problem["hostname"], "web01");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("no answer id HOME q 障害"), "{detail}");
    nagios.tell("ACKNOWLEDGE_SVC_PROBLEM;web01;HTTP;1;1;0;alice;looking at it");
    let acknowledged = next(&server, &log);
    let found = keys(
        &acknowledged,
        ["status", "author", "comment", "trigger_key"],
    );
    assert_eq!(found, ["ACKNOWLEDGEMENT", "alice", "looking at it", "HTTP"]);
    nagios.tell("PROCESS_SERVICE_CHECK_RESULT;web01;HTTP;0;fine");
    let recovery = next(&server, &log);
    assert_eq!(keys(&recovery, KEYS), ["OK", "HTTP", "OK", "4"]);
    assert_eq!(recovery["event_id"], problem["event_id"]);
    nagios.tell("PROCESS_HOST_CHECK_RESULT;web01;1;gone");
    assert_eq!(
        keys(&next(&server, &log), KEYS),
        ["PROBLEM", "host", "DOWN", "5"]
    );
}

#[test]
fn a_real_icinga_tells_of_problem_acknowledgement_and_recovery() {
    let house = House::new();
    house.channel("alert", "");
    let server = house.serve();
    let icinga = Icinga::with(&example("icinga/icinga/vigie.conf", &server));
    let log = || icinga.log();
    let output = "no answer `id` $HOME \"q\" 'x' é 障害";
    icinga.tell(&format!(
        "PROCESS_SERVICE_CHECK_RESULT;web01;HTTP;2;{output}"
    ));
    let problem = next(&server, &log);
    assert_eq!(keys(&problem, KEYS), ["PROBLEM", "HTTP", "CRITICAL", "4"]);
    assert_eq!(
        (&problem["detail"], &problem["state_type"]),
        (&json!(output), &json!("HARD"))
    );
    icinga.tell("ACKNOWLEDGE_SVC_PROBLEM;web01;HTTP;1;1;0;alice;looking at it");
    let acknowledged = next(&server, &log);
    let found = keys(&acknowledged, ["status", "author", "comment", "hostname"]);
    assert_eq!(
        found,
        ["ACKNOWLEDGEMENT", "alice", "looking at it", "web01"]
    );
    icinga.tell("PROCESS_SERVICE_CHECK_RESULT;web01;HTTP;0;fine");
    assert_eq!(
        keys(
            &next(&server, &log),
            ["status", "trigger_key", "state", "detail"]
        ),
        ["OK", "HTTP", "OK", "fine"]
    );
    icinga.tell("PROCESS_HOST_CHECK_RESULT;web01;1;gone");
    assert_eq!(
        keys(&next(&server, &log), KEYS),
        ["PROBLEM", "host", "DOWN", "5"]
    );
}

#[test]
fn the_lines_of_kompiras_page_work_unchanged() {
    let house = House::new();
    for file in [
        "channels/alert.toml",
        "channels/mail.toml",
        "channels/snmptrap.toml",
        "flows/alert/hello.rhai",
        "flows/mail/show.rhai",
        "flows/snmptrap/show.rhai",
    ] {
        let text = std::fs::read_to_string(Path::new(EXAMPLES).join("kompira").join(file)).unwrap();
        house.file(file, &text);
    }
    let server = house.serve();
    let send = |arguments: &[&str], input: Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sendevt"));
        command
            .args(["--server", &server.url])
            .args(arguments)
            .stdin(input);
        assert!(command.status().unwrap().success(), "{arguments:?}");
    };
    let data = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kompira");
        Stdio::from(std::fs::File::open(path.join(name)).unwrap())
    };
    send(&["test=hello"], Stdio::null());
    send(&["--channel=/system/channels/Mail"], data("mail_stdin.eml"));
    send(
        &["--channel=/system/channels/snmptrap"],
        data("snmptrap.1.txt"),
    );
    let console = |run: &str| {
        let run = server.ended(run);
        assert_eq!(run["state"], "done", "{run:#}");
        run["console"].to_string()
    };
    assert!(console("alert/1/hello").contains("hello"));
    assert!(!console("mail/1/show").trim_matches('"').is_empty());
    let trap = console("snmptrap/1/show");
    assert!(trap.contains("127.0.0.1") && trap.contains(" = "), "{trap}");
}
