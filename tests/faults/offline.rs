//! Trying without acting: `vigie test` opens no socket, and `vigie replay` none but those to its server,
//! whatever the scripts ask for. strace tells which.
//!
//! Rounds: once.

use std::process::{Command, Stdio};

use serde_json::json;
use tokio::runtime::Runtime;
use vigie::standin::{Reply, Seen, Server};

use super::not_tried;
use crate::house::{House, VIGIE, stdout};

/// What a program says, and the addresses in its calls about sockets.
fn traced(house: &House, arguments: &[&str]) -> (String, String) {
    let calls = house.path("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=%network", "-o"]);
    command.arg(&calls).arg(VIGIE).args(arguments);
    command.current_dir(house.path("")).stdin(Stdio::null());
    let output = command.output().unwrap();
    (stdout(&output), std::fs::read_to_string(calls).unwrap())
}

fn has_strace() -> bool {
    let said = Command::new("strace").arg("-V").output();
    said.is_ok_and(|output| output.status.success())
}

#[test]
fn a_trial_opens_no_socket_and_a_comparison_only_those_to_its_server() {
    if !has_strace() {
        return not_tried("sockets: strace is not there");
    }
    let outside = Runtime::new().unwrap();
    let answer = |_: &Seen| Reply::json(200, &json!({}));
    let target = outside.block_on(Server::start(answer)).unwrap();
    let house = House::new();
    house.channel("alert", "");
    let script = format!(
        "http::put(\"{0}/a\", #{{ json: event.n }}); http::post(\"{0}/b\", #{{ json: event.n }});",
        target.url()
    );
    house.flow("alert/go", &script);
    let server = house.serve();
    for n in 1..=3 {
        server.push("alert", &json!({ "n": n }));
        server.ended(&format!("alert/{n}/go"));
    }
    let before = target.requests().len();
    assert_eq!(before, 6);
    let case = server.verb(&["record", "alert/1/go", "--as-test"]);
    house.file("flows/alert/go.cases.toml", &stdout(&case));

    let (said, calls) = traced(&house, &["test"]);
    assert!(said.contains("1 passed, 0 failed"), "{said}");
    assert!(!calls.contains("socket("), "{calls}");

    house.file("new.rhai", &script.replace("event.n", "event.n + 1"));
    let own = server.url.clone();
    let arguments = [
        "replay",
        "--flow",
        "new.rhai",
        "--flow-name",
        "alert/go",
        "--server",
        &own,
    ];
    let (said, calls) = traced(&house, &arguments);
    assert!(said.contains("3 of 3 events differ"), "{said}");
    let connects = calls.lines().filter(|call| call.contains("connect("));
    let port = format!("htons({})", own.rsplit(':').next().unwrap());
    let elsewhere: Vec<&str> = connects
        .clone()
        .filter(|call| !call.contains(&port))
        .collect();
    assert_eq!(elsewhere, Vec::<&str>::new(), "{calls}");
    assert!(connects.count() > 0, "{calls}");
    assert_eq!(target.requests().len(), before, "something was done");
}
