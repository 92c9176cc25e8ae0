//! The log in front of the tree: what is only there survives, and damage to it is told.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use vigie::store::{
    Batch, Failpoints, LOG_BYTES, LOGGED_BYTES_MAX, Mishap, Options, Point, Settling, Store,
    StoreError, check, repair,
};

use crate::house::wait_for;

use super::store::{event, open, options, push, texts};

/// Bytes before the content of a record.
const HEAD_BYTES: usize = 16;

fn log_of(folder: &Path) -> PathBuf {
    folder.join("tree/log")
}

/// A store whose tree takes nothing over by itself, killed after `texts` were accepted.
fn killed(texts: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    kill_after(folder.path(), texts);
    folder
}

fn kill_after(folder: &Path, texts: &[&str]) {
    let failpoints = Failpoints::new();
    let settling = Settling {
        bytes: usize::MAX,
        after: Duration::from_secs(3_600),
    };
    let options = Options {
        failpoints: failpoints.clone(),
        settling,
        ..options()
    };
    let store = Store::open(folder, options).unwrap();
    for text in texts {
        push(&store, "alert", &event(text));
    }
    failpoints.arm(1, Point::BeforeApply, Mishap::Kill);
    let mut batch = Batch::new();
    batch.push("alert", &event("too late"), None).unwrap();
    let answer = store.commit_blocking(batch);
    assert_eq!(answer, Err(StoreError::Closed));
}

/// Where the records begin, and where the last one ends.
fn records(log: &[u8]) -> Vec<usize> {
    let mut places = vec![0];
    while log[*places.last().unwrap()..].starts_with(b"vigielog") {
        let at = *places.last().unwrap();
        let length: [u8; 4] = log[at + 8..at + 12].try_into().unwrap();
        places.push(at + HEAD_BYTES + u32::from_le_bytes(length) as usize);
    }
    places
}

/// Changes the log, knowing where its second record begins; what it holds now.
fn spoil(folder: &Path, change: impl FnOnce(&mut Vec<u8>, usize)) -> Vec<u8> {
    let mut log = std::fs::read(log_of(folder)).unwrap();
    let second = records(&log)[1];
    change(&mut log, second);
    std::fs::write(log_of(folder), &log).unwrap();
    log
}

fn refuses(folder: &Path, why: &str) {
    let refused = Store::open(folder, options()).unwrap_err().to_string();
    assert!(refused.contains(why), "{refused}");
}

fn holds(path: &Path, needle: &str) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

#[test]
fn what_only_the_log_has_is_there_after_a_kill() {
    let folder = killed(&["needle 1", "needle 2"]);
    assert!(holds(&log_of(folder.path()), "needle 2"));
    assert!(!holds(&folder.path().join("tree/db"), "needle"));
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
    let store = open(folder.path());
    assert_eq!(texts(&store, "alert"), ["needle 1", "needle 2"]);
    assert_eq!(push(&store, "alert", &event("3")).number, 3);
    drop(store);
    assert!(holds(&folder.path().join("tree/db"), "needle 2"));
    let log = std::fs::read(log_of(folder.path())).unwrap();
    assert_eq!(log.len(), LOG_BYTES);
    assert_eq!(records(&log), [0], "a clean stop leaves nothing in it");
    assert_eq!(texts(&open(folder.path()), "alert").len(), 3);
}

#[test]
fn a_flipped_bit_in_the_log_is_loud_and_repair_keeps_the_other_commits() {
    let folder = killed(&["needle 1", "needle 2", "needle 3"]);
    let log = spoil(folder.path(), |log, second| {
        log[second + HEAD_BYTES + 40] ^= 1;
    });
    refuses(folder.path(), "its last 2 commits are missing");
    let left = std::fs::read(log_of(folder.path())).unwrap();
    assert!(left == log, "a refused start changes nothing");
    assert!(!check(folder.path()).unwrap().problems.is_empty());
    repair(folder.path()).unwrap();
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
    let kept = texts(&open(folder.path()), "alert");
    assert!(kept.contains(&"needle 1".to_owned()), "{kept:?}");
    assert!(kept.contains(&"needle 3".to_owned()), "{kept:?}");
}

#[test]
fn a_log_that_begins_too_late_is_refused_by_number() {
    let folder = killed(&["needle 1", "needle 2", "needle 3"]);
    spoil(folder.path(), |log, second| drop(log.drain(..second)));
    let why = "it goes on with commit 2, and the database ends at 0";
    refuses(folder.path(), why);
    repair(folder.path()).unwrap();
    let kept = texts(&open(folder.path()), "alert");
    assert_eq!(kept, ["needle 2", "needle 3"]);
}

#[test]
fn a_log_that_is_gone_is_missed() {
    let folder = killed(&["needle 1"]);
    std::fs::remove_file(log_of(folder.path())).unwrap();
    refuses(folder.path(), "its last 1 commits are missing");
}

#[test]
fn what_an_earlier_turn_left_in_the_log_is_no_news() {
    let folder = killed(&["needle 1", "needle 2", "needle 3"]);
    let old = std::fs::read(log_of(folder.path())).unwrap();
    let store = open(folder.path());
    push(&store, "alert", &event("4"));
    drop(store);
    std::fs::write(log_of(folder.path()), &old).unwrap();
    assert_eq!(
        texts(&open(folder.path()), "alert"),
        ["needle 1", "needle 2", "needle 3", "4"]
    );

    // A new record in front, the old ones behind it.
    let folder = killed(&["needle 1", "needle 2", "needle 3"]);
    kill_after(folder.path(), &["needle 4"]);
    let log = std::fs::read(log_of(folder.path())).unwrap();
    assert_eq!(records(&log).len(), 4, "{:?}", records(&log));
    assert!(!holds(&folder.path().join("tree/db"), "needle 4"));
    assert_eq!(
        texts(&open(folder.path()), "alert"),
        ["needle 1", "needle 2", "needle 3", "needle 4"]
    );
}

#[test]
fn a_tree_that_cannot_take_over_loses_nothing_that_was_answered() {
    for point in [Point::BeforeSettling, Point::AfterSettling] {
        for mishap in [Mishap::Full, Mishap::Fails, Mishap::Kill] {
            settles_badly(point, mishap);
        }
    }
}

fn settles_badly(point: Point, mishap: Mishap) {
    let folder = TempDir::new().unwrap();
    let failpoints = Failpoints::new();
    let options = Options {
        failpoints: failpoints.clone(),
        settling: at_once(),
        ..options()
    };
    let store = Store::open(folder.path(), options).unwrap();
    push(&store, "alert", &event("before"));
    failpoints.arm(1, point, mishap);
    push(&store, "alert", &event("answered"));
    wait_for("the mishap", || (!failpoints.is_armed()).then_some(()));
    let mut expected = vec!["before", "answered"];
    if mishap != Mishap::Kill {
        wait_for("the store", || {
            let mut batch = Batch::new();
            batch.push("alert", &event("after"), None).unwrap();
            store.commit_blocking(batch).ok()
        });
        expected.push("after");
        assert_eq!(texts(&store, "alert"), expected);
    }
    drop(store);
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
    assert_eq!(texts(&open(folder.path()), "alert"), expected);
}

fn at_once() -> Settling {
    Settling {
        bytes: 0,
        ..Settling::default()
    }
}

#[test]
fn whoever_reads_misses_nothing_while_the_tree_takes_over() {
    let folder = TempDir::new().unwrap();
    let options = Options {
        settling: at_once(),
        ..options()
    };
    let store = Store::open(folder.path(), options).unwrap();
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=300 {
                push(&store, "alert", &event("text"));
                written.store(number, Ordering::SeqCst);
            }
        });
        while written.load(Ordering::SeqCst) < 300 {
            let at_least = written.load(Ordering::SeqCst);
            let events = store.events("alert", 1, 1_000).unwrap();
            assert!(events.len() as u64 >= at_least, "{at_least}");
            let numbers = events.iter().map(|event| event.id.number);
            assert!(numbers.eq(1..=events.len() as u64));
        }
    });
}

#[test]
fn a_large_commit_goes_to_the_tree_behind_those_that_are_in_the_log() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    push(&store, "alert", &event("small"));
    let mut batch = Batch::new();
    let text = "x".repeat(4_000);
    for _ in 0..=LOGGED_BYTES_MAX / 4_000 {
        batch.push("alert", &event(&text), None).unwrap();
    }
    store.commit_blocking(batch).unwrap();
    assert!(holds(&folder.path().join("tree/db"), &text));
    let log = std::fs::read(log_of(folder.path())).unwrap();
    assert_eq!(records(&log).len(), 2, "the small one alone");
    push(&store, "alert", &event("after"));
    let count = LOGGED_BYTES_MAX / 4_000 + 3;
    assert_eq!(texts(&store, "alert").len(), count);
    drop(store);
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
    assert_eq!(texts(&open(folder.path()), "alert").len(), count);
}

#[test]
fn the_tree_takes_over_what_the_log_has_after_a_while() {
    let folder = TempDir::new().unwrap();
    let (told, settled) = std::sync::mpsc::channel();
    let failpoints = Failpoints::new();
    failpoints.watch(move |point| {
        if point == Point::AfterSettling {
            let _ = told.send(());
        }
    });
    let options = Options {
        failpoints,
        ..options()
    };
    let store = Store::open(folder.path(), options).unwrap();
    push(&store, "alert", &event("needle"));
    settled.recv_timeout(crate::house::PATIENCE).unwrap();
    assert!(holds(&folder.path().join("tree/db"), "needle"));
    assert_eq!(texts(&store, "alert"), ["needle"]);
}
