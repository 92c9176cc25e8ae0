//! `vigie demo` as a newcomer runs it: it ends well, shows every reaction, and says so if it cannot.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::house::{VIGIE, stderr, stdout};

/// A machine without anything but a folder for temporary files.
fn demo(temporary: &Path, arguments: &[&str]) -> Output {
    Command::new(VIGIE)
        .arg("demo")
        .args(arguments)
        .current_dir(temporary)
        .env("TMPDIR", temporary)
        .env("VIGIE_SERVER", "http://127.0.0.1:1")
        .env("VIGIE_SETTINGS", "/nonexistent/settings.toml")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("vigie-demo-test-")
        .tempdir()
        .unwrap()
}

/// The rows of the summary: event, flow and action of each.
fn reactions(shown: &str) -> Vec<[String; 3]> {
    let table = shown.split_once("\nevent ").unwrap().1;
    let rows = table.lines().skip(1).take_while(|line| !line.is_empty());
    rows.map(|row| {
        let cells: Vec<&str> = row
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        let milliseconds: i64 = cells.last().unwrap().parse().unwrap();
        assert!((0..60_000).contains(&milliseconds), "{row}");
        [
            cells[0].to_owned(),
            cells[2].to_owned(),
            cells[3].to_owned(),
        ]
    })
    .collect()
}

#[test]
fn the_demo_shows_every_reaction_and_loses_nothing() {
    let folder = folder();
    let began = Instant::now();
    let output = demo(folder.path(), &[]);
    let shown = stdout(&output);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{shown}\n{}",
        stderr(&output)
    );
    assert!(began.elapsed() < Duration::from_secs(60));
    let mut reactions = reactions(&shown);
    reactions.sort();
    let expected = [
        ["alert/1", "open_ticket", "redmine::open"],
        ["alert/1", "resolve_canopsis", "canopsis::check"],
        ["alert/2", "open_ticket", "redmine::open"],
        ["alert/2", "resolve_canopsis", "canopsis::check"],
        ["alert/3", "close_ticket", "redmine::close"],
        ["alert/3", "close_ticket", "redmine::find"],
        ["alert/3", "resolve_canopsis", "canopsis::resolve"],
        ["mail/1", "open_ticket", "redmine::attach"],
        ["mail/1", "open_ticket", "redmine::open"],
        ["prometheus/1", "tell_oncall", "mail::send"],
        ["snmptrap/1", "page", "pagerduty::trigger"],
        ["snmptrap/2", "page", "pagerduty::resolve"],
    ];
    assert_eq!(reactions, expected, "{shown}");
    for told in [
        "STAND-IN",
        "kill -9",
        "kept in",
        "sendevt, spool",
        "which was there already",
    ] {
        assert!(
            shown.contains(told),
            "it does not tell of \"{told}\":\n{shown}"
        );
    }
    assert!(!shown.contains('✗'), "{shown}");
    assert!(!shown.contains('\u{1b}'), "colours without a terminal");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The folder that `--keep` names.
fn kept(shown: &str) -> PathBuf {
    let line = shown.lines().find_map(|line| line.strip_prefix("kept: "));
    PathBuf::from(line.unwrap_or_else(|| panic!("no folder in:\n{shown}")))
}

#[test]
fn a_kept_demo_is_a_house_that_can_be_looked_at() {
    let folder = folder();
    let output = demo(folder.path(), &["--keep"]);
    let shown = stdout(&output);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{shown}\n{}",
        stderr(&output)
    );
    let house = kept(&shown);
    assert!(house.starts_with(folder.path()));
    let check = Command::new(VIGIE)
        .args(["check", "--store"])
        .current_dir(&house)
        .env_remove("VIGIE_SETTINGS")
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}{}",
        stdout(&check),
        stderr(&check)
    );
    assert!(house.join("server.log").metadata().unwrap().len() > 0);
}

#[test]
fn a_demo_that_cannot_build_its_house_says_so_and_fails() {
    let folder = folder();
    let missing = folder.path().join("missing");
    let output = Command::new(VIGIE)
        .arg("demo")
        .env("TMPDIR", &missing)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = stderr(&output);
    assert!(
        said.contains("the demo did not go as promised: cannot make"),
        "{said}"
    );
    assert!(said.contains(missing.to_str().unwrap()), "{said}");
}

#[test]
fn an_interrupted_demo_leaves_neither_a_server_nor_a_folder() {
    let folder = folder();
    let mut child = Command::new(VIGIE)
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let server = lines.find_map(|line| {
        line.unwrap()
            .rsplit_once(", process ")
            .map(|(_, pid)| pid.to_owned())
    });
    let server = format!("/proc/{}", server.unwrap());
    assert!(Path::new(&server).exists());
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    lines.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("it was interrupted"),
        "{}",
        stderr(&output)
    );
    assert!(!Path::new(&server).exists(), "the server is still there");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
