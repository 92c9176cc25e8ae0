//! Compaction of a store at work: what was done is given back to the disk while events come in and
//! are read, and a process that is killed at any moment of it leaves a whole store.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use vigie::store::{Batch, Failpoints, Mishap, Options, Point, Shrink, Store, check, restore};

use super::faults::disk::SmallDisk;
use super::faults::not_tried;
use super::house::{House, PATIENCE, wait_for, wait_longer_for};
use super::store::{at, commit, event, open, options, push};
use super::store_damage::{furnish, open_and_read};

/// Events that stay.
const STAYING: u64 = 50;
/// The moments of a compaction.
const POINTS: [Point; 5] = [
    Point::CopyBegun,
    Point::RowsCopied,
    Point::BeforeExchange,
    Point::AfterExchange,
    Point::BeforeRemoval,
];

/// A store that looks at its file as soon as something was committed.
fn eager(failpoints: &Failpoints) -> Options {
    Options {
        shrink: Shrink {
            look_after: Duration::from_millis(20),
            pause: Duration::from_millis(200),
            bytes_per_commit: 0,
            ..Shrink::default()
        },
        failpoints: failpoints.clone(),
        ..options()
    }
}

/// Bytes of the engine's files.
fn tree_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder.join("tree")).into_iter().flatten();
    let size = |entry: std::io::Result<std::fs::DirEntry>| Some(entry.ok()?.metadata().ok()?.len());
    entries.filter_map(size).sum()
}

/// Many events come and go; a few stay.
fn storm(store: &Store) {
    let body = "x".repeat(6_000);
    for _ in 0..60 {
        commit(store, |batch| {
            for _ in 0..40 {
                batch.push("other", &event(&body), None).unwrap();
            }
        });
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gone = runtime.block_on(store.retain_events("other", at(1), 10_000));
    assert_eq!(gone, Ok(2_400));
}

/// A store in `folder` whose file is air but for a few events.
fn blown_up(folder: &Path) {
    let store = open(folder);
    for number in 1..=STAYING {
        push(&store, "alert", &event(&format!("event {number}")));
    }
    storm(&store);
    drop(store);
    let bytes = tree_bytes(folder);
    assert!(bytes > 2 * Shrink::default().bytes_min, "{bytes}");
}

fn compactions(store: &Store) -> u64 {
    store.counters().compactions.load(Ordering::SeqCst)
}

/// All events of `alert` are there in order, and the first ones are as they were.
fn read_all(store: &Store) -> u64 {
    let events = store.events("alert", 1, usize::MAX).unwrap();
    for (event, number) in events.iter().zip(1..) {
        assert_eq!(event.id.number, number);
        let text = event.body.get("text").unwrap().to_plain();
        assert_eq!(text, format!("event {number}"));
        assert_eq!(store.event(&event.id).unwrap().unwrap().id, event.id);
    }
    events.len() as u64
}

fn whole(folder: &Path) {
    assert_eq!(check(folder).unwrap().problems, Vec::<String>::new());
    for left in ["compacting", "parked", "quarantine"] {
        assert!(!folder.join(left).exists(), "{left}");
    }
}

/// Pushes events to `alert` until it is told to end; answers how many are there then.
fn push_until(store: &Store, ends: &AtomicBool) -> u64 {
    let mut number = store.tail("alert");
    while !ends.load(Ordering::SeqCst) {
        number += 1;
        let id = push(store, "alert", &event(&format!("event {number}")));
        assert_eq!(id.number, number);
    }
    number
}

#[test]
fn a_store_at_work_gives_back_what_was_done_and_keeps_everything() {
    let (small, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    drop(open(small.path()));
    let empty = tree_bytes(small.path());
    furnish(folder.path());
    let before = open_and_read(folder.path()).unwrap();
    let plain = |text: &str| text.split("Counts").next().unwrap().to_owned();
    let store = Store::open(folder.path(), eager(&Failpoints::default())).unwrap();
    storm(&store);
    wait_for("a compaction", || (compactions(&store) > 0).then_some(()));
    wait_for("a small file", || {
        (tree_bytes(folder.path()) <= 2 * empty).then_some(())
    });
    let given_back = store.counters().bytes_given_back.load(Ordering::SeqCst);
    assert!(given_back > Shrink::default().bytes_min);
    wait_for("the old file to go", || {
        (!folder.path().join("compacting").exists()).then_some(())
    });
    drop(store);
    assert!(plain(&open_and_read(folder.path()).unwrap()) == plain(&before));
    whole(folder.path());
}

#[test]
fn the_disk_is_given_back_while_events_come_in_and_are_read() {
    let (small, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    drop(open(small.path()));
    blown_up(folder.path());
    let store = Store::open(folder.path(), eager(&Failpoints::default())).unwrap();
    let (ends, backup) = (AtomicBool::new(false), folder.path().join("backup"));
    let (pushed, backups) = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| push_until(&store, &ends));
        let reading = scope.spawn(|| {
            let mut seen = 0;
            while !ends.load(Ordering::SeqCst) {
                let now = read_all(&store);
                assert!(now >= seen, "{now} after {seen}");
                seen = now;
            }
        });
        let backing_up = scope.spawn(|| {
            let mut count = 0;
            while !ends.load(Ordering::SeqCst) {
                store.backup(&backup).unwrap();
                count += 1;
            }
            count
        });
        let surveying = scope.spawn(|| {
            while !ends.load(Ordering::SeqCst) {
                let found = store.verify(|_| std::ops::ControlFlow::Continue(()));
                assert_eq!(found, Ok(Some(Vec::new())));
            }
        });
        wait_for("a compaction", || (compactions(&store) > 0).then_some(()));
        let after = store.tail("alert");
        wait_for("events after it", || {
            (store.tail("alert") > after + 50).then_some(())
        });
        ends.store(true, Ordering::SeqCst);
        reading.join().unwrap();
        surveying.join().unwrap();
        (pushing.join().unwrap(), backing_up.join().unwrap())
    });
    assert!(backups > 0);
    assert_eq!(read_all(&store), pushed);
    drop(store);
    assert!(tree_bytes(folder.path()) <= 2 * tree_bytes(small.path()) + (pushed << 10));
    let restored = folder.path().join("restored");
    restore(&backup, &restored).unwrap();
    assert!(read_all(&open(&restored)) > STAYING);
    whole(folder.path());
    assert_eq!(read_all(&open(folder.path())), pushed);
}

#[test]
fn readers_go_on_at_every_moment_of_an_exchange() {
    let folder = TempDir::new().unwrap();
    blown_up(folder.path());
    let failpoints = Failpoints::new();
    let (ask, asked) = sync_channel(0);
    let (answer, answered) = sync_channel(0);
    let answered = Mutex::new(answered);
    failpoints.watch(move |point| {
        if POINTS.contains(&point) && ask.send(point).is_ok() {
            let _ = answered.lock().unwrap().recv_timeout(PATIENCE);
        }
    });
    let store = Store::open(folder.path(), eager(&failpoints)).unwrap();
    let mut met = Vec::new();
    while met.last() != Some(&Point::BeforeRemoval) {
        let point = asked.recv_timeout(PATIENCE).unwrap();
        assert_eq!(read_all(&store), STAYING, "{point:?}");
        met.push(point);
        answer.send(()).unwrap();
    }
    drop((asked, answer));
    met.dedup();
    assert_eq!(met, POINTS);
    assert_eq!(read_all(&store), STAYING);
    push(&store, "alert", &event(&format!("event {}", STAYING + 1)));
    drop(store);
    whole(folder.path());
    assert_eq!(read_all(&open(folder.path())), STAYING + 1);
}

#[test]
fn a_compaction_that_fails_is_given_up_and_changes_nothing() {
    for point in POINTS {
        for mishap in [Mishap::Full, Mishap::Fails] {
            fails_at(point, mishap);
        }
    }
}

fn fails_at(point: Point, mishap: Mishap) {
    let folder = TempDir::new().unwrap();
    blown_up(folder.path());
    let failpoints = Failpoints::new();
    failpoints.arm(0, point, mishap);
    let mut options = eager(&failpoints);
    options.shrink.pause = PATIENCE;
    let store = Store::open(folder.path(), options).unwrap();
    wait_for("the mishap", || (!failpoints.is_armed()).then_some(()));
    let mut number = STAYING;
    for _ in 0..20 {
        number += 1;
        // In the middle of an exchange it is opened again, as after any failure of the disk.
        wait_for("intake", || {
            let mut batch = Batch::new();
            let next = event(&format!("event {number}"));
            batch.push("alert", &next, None).unwrap();
            store.commit_blocking(batch).ok()
        });
    }
    assert_eq!(read_all(&store), number);
    assert_eq!(compactions(&store), 0, "{point:?}");
    assert!(!folder.path().join("compacting").exists(), "{point:?}");
    drop(store);
    whole(folder.path());
    assert_eq!(read_all(&open(folder.path())), number);
}

#[test]
fn a_disk_that_fills_up_during_a_compaction_costs_only_the_compaction() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::on(folder.path(), "96m") else {
        return not_tried("a full disk: no small file system can be mounted here");
    };
    blown_up(folder.path());
    let failpoints = Failpoints::new();
    let (ask, asked) = sync_channel(0);
    failpoints.watch(move |point| {
        if point == Point::CopyBegun {
            // The disk is full by the time this has been taken twice.
            let _ = (ask.send(()), ask.send(()));
        }
    });
    let mut options = eager(&failpoints);
    options.shrink.pause = PATIENCE;
    let store = Store::open(folder.path(), options).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    disk.fill(0);
    asked.recv_timeout(PATIENCE).unwrap();
    wait_for("the copy to go", || {
        (!folder.path().join("compacting").exists()).then_some(())
    });
    assert_eq!(read_all(&store), STAYING);
    disk.empty();
    let ends = AtomicBool::new(false);
    let pushed = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| push_until(&store, &ends));
        let is_further = || (store.tail("alert") > STAYING + 20).then_some(());
        wait_for("events", is_further);
        ends.store(true, Ordering::SeqCst);
        pushing.join().unwrap()
    });
    assert_eq!(compactions(&store), 0);
    assert_eq!(store.counters().recoveries.load(Ordering::SeqCst), 0);
    drop(store);
    whole(folder.path());
    assert_eq!(read_all(&open(folder.path())), pushed);
}

#[test]
fn a_server_is_as_small_as_an_empty_one_after_it_was_drained() {
    let house = House::new();
    house.channel("deep", "retention = \"1s\"\ndepth_max = 100_000");
    house.channel("kept", "");
    house.flow("deep/drain", "events.len()");
    let batches = "[batch]\nsize_max = 1000\nage_max = \"1s\"\n";
    house.file("flows/deep/drain.toml", batches);
    let server = house.serve();
    let data = house.path("data");
    let empty = tree_bytes(&data);
    let events: Vec<_> = (0..500)
        .map(|n| json!({ "n": n, "text": "x".repeat(450) }))
        .collect();
    let body = json!(events).to_string();
    let json = ("content-type", "application/json");
    let mut largest = 0;
    for _ in 0..60 {
        let path = "/api/v1/channels/deep/events";
        let answered = server.ask(path, &[json], Some(body.as_bytes()));
        assert_eq!(answered.status, 202, "{answered:?}");
        largest = largest.max(tree_bytes(&data));
    }
    assert!(largest > 4 * empty, "{largest} of {empty}");
    // Events go on coming in, and each is kept.
    let mut kept = 0;
    // Within a minute if nobody else is at work on the machine; benches/figures says how soon.
    wait_longer_for("the disk", 5 * PATIENCE, || {
        kept += 1;
        let id = server.push("kept", &json!({ "n": kept }));
        assert_eq!(id, format!("kept/{kept}"));
        std::thread::sleep(Duration::from_millis(200));
        (tree_bytes(&data) <= 2 * empty).then_some(())
    });
    wait_for("it in the metrics", || {
        let metrics = server.ask("/metrics", &[], None).text;
        let names = ["store_compactions", "store_given_back_bytes"];
        let zero = |name: &&str| metrics.contains(&format!("vigie_{name}_total 0\n"));
        assert!(metrics.contains("vigie_store_compactions_total"));
        (!names.iter().any(zero)).then_some(())
    });
    wait_for("it in the log", || {
        let log = server.log();
        log.contains("the store's file was mostly air")
            .then_some(())
    });
    let last = server.push("kept", &json!({ "n": kept + 1 }));
    server.kill();
    let server = house.serve();
    for n in 1..=kept + 1 {
        let event = server.get(&format!("events/kept%2F{n}"));
        assert_eq!(event["body"]["n"], json!(n), "{event}");
    }
    assert_eq!(last, format!("kept/{}", kept + 1));
    assert_eq!(server.stop(), Some(0));
    whole(&data);
}

/// Not a test by itself: a store at work that kills its process at a moment after the beginning of a
/// compaction: the nth of all, those of commits too, or one by its name.
#[test]
fn child_compacts_until_its_moment_comes() {
    let Some(folder) = std::env::var_os("VIGIE_TEST_COMPACT") else {
        return;
    };
    let moment = std::env::var("VIGIE_TEST_MOMENT").unwrap();
    let failpoints = Failpoints::new();
    let (begun, passed) = (AtomicBool::new(false), AtomicUsize::new(0));
    failpoints.watch(move |point| {
        begun.fetch_or(point == Point::CopyBegun, Ordering::SeqCst);
        if !begun.load(Ordering::SeqCst) {
            return;
        }
        let nth = passed.fetch_add(1, Ordering::SeqCst);
        if moment == nth.to_string() || moment == format!("{point:?}") {
            let mut out = std::io::stdout().lock();
            writeln!(out, "\nkilled {point:?}").unwrap();
            out.flush().unwrap();
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap();
        }
    });
    let store = Store::open(Path::new(&folder), eager(&failpoints)).unwrap();
    let mut after = 0;
    while after < 5 {
        let number = store.tail("alert") + 1;
        push(&store, "alert", &event(&format!("event {number}")));
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nkept {number}").unwrap();
        after += compactions(&store);
    }
    std::mem::forget(store);
    std::process::exit(0);
}

/// Where the child was killed, if it was, and the last event that it acknowledged.
fn compact_until(folder: &Path, moment: &str) -> (Option<String>, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store_online::child_compacts_until_its_moment_comes",
        ])
        .arg("--nocapture")
        .env("VIGIE_TEST_COMPACT", folder)
        .env("VIGIE_TEST_MOMENT", moment)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut point, mut kept) = (None, STAYING);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(at) = line.strip_prefix("killed ") {
            point = Some(at.to_owned());
        }
        if let Some(number) = line.strip_prefix("kept ") {
            kept = number.parse().unwrap();
        }
    }
    use std::os::unix::process::ExitStatusExt as _;
    let status = child.wait().unwrap();
    assert!(status.success() || status.signal() == Some(9), "{status}");
    (point, kept)
}

#[test]
fn a_process_killed_at_any_moment_of_a_compaction_loses_nothing() {
    let whole_one = TempDir::new().unwrap();
    blown_up(whole_one.path());
    for point in POINTS {
        let name = format!("{point:?}");
        assert_eq!(survives(whole_one.path(), &name), Some(name));
    }
    let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    let nth = next.fetch_add(1, Ordering::SeqCst);
                    if survives(whole_one.path(), &nth.to_string()).is_none() {
                        ended.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let moments = next.into_inner();
    assert!(moments > POINTS.len(), "{moments}");
}

/// The point at which the process was killed; `None` if it came to its end.
fn survives(whole_one: &Path, moment: &str) -> Option<String> {
    let folder = TempDir::new().unwrap();
    super::store_damage::copy(whole_one, folder.path());
    let (point, kept) = compact_until(folder.path(), moment);
    let store = open(folder.path());
    let there = read_all(&store);
    assert!(
        there == kept || there == kept + 1,
        "{point:?}: {there} of {kept}"
    );
    push(&store, "alert", &event(&format!("event {}", there + 1)));
    drop(store);
    whole(folder.path());
    assert_eq!(read_all(&open(folder.path())), there + 1);
    point
}
