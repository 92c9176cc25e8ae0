//! What keeps a store in shape: clean stops, surveys at work, checks and repairs of any size, and
//! compaction, each cut off wherever it can be.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::Watcher as _;
use tempfile::TempDir;
use vigie::store::{
    Batch, End, Failpoints, Mishap, Options, Point, Progress, Store, StoreError, check,
    check_watched, compact, repair, repair_watched,
};

use super::store::{at, commit, event, open, options, push, run};
use super::store_damage::{Dice, copy, engine, event_key, furnish, open_and_read, start_child};

/// More than are counted when a store is opened, and many times what is read at a time.
const MANY: u64 = 24_000;

/// A store with many events, the first hundred with runs.
pub fn furnish_much(folder: &Path) {
    let store = open(folder);
    for first in (1..=MANY).step_by(400) {
        commit(&store, |batch| {
            for number in first..first + 400 {
                batch
                    .push("alert", &event(&format!("event {number}")), None)
                    .unwrap();
            }
        });
    }
    for number in 1..=100 {
        let run = run(&format!("alert/{number}/open"));
        commit(&store, |batch| {
            batch.append(&run, b"begun".to_vec());
            batch.append(&run, b"goes on".to_vec());
            if number % 2 == 0 {
                batch.finish(&run, End::Done, at(number));
            }
        });
    }
}

/// The engine's files.
fn tree_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.join("tree")).unwrap();
    entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// True if opening the store made a copy of its files first.
fn copies_when_opened(folder: &Path) -> bool {
    let (told, seen) = std::sync::mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Once everything was seen nobody listens any more.
        let paths = event.unwrap().paths.into_iter();
        paths.for_each(|path| drop(told.send(path)));
    })
    .unwrap();
    watcher
        .watch(folder, notify::RecursiveMode::NonRecursive)
        .unwrap();
    drop(open(folder));
    let last = folder.join("looked");
    std::fs::write(&last, b"").unwrap();
    let mut copied = false;
    for path in seen {
        copied |= path == folder.join("opening");
        if path == last {
            break;
        }
    }
    std::fs::remove_file(&last).unwrap();
    copied
}

#[test]
fn a_clean_stop_spares_the_copy() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    assert!(folder.path().join("stopped").exists());
    assert!(!copies_when_opened(folder.path()));
    assert!(!copies_when_opened(folder.path()), "nor after the next one");
    let store = open(folder.path());
    assert!(
        !folder.path().join("stopped").exists(),
        "taken away while it is open"
    );
    drop(store);
    std::fs::remove_file(folder.path().join("stopped")).unwrap();
    assert!(copies_when_opened(folder.path()));
}

#[test]
fn a_killed_process_leaves_no_note_and_its_files_are_copied() {
    let folder = TempDir::new().unwrap();
    let mut child = start_child(folder.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kept = lines
        .map_while(Result::ok)
        .filter(|line| line.contains("kept "));
    assert_eq!(kept.take(60).count(), 60);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.path().join("stopped").exists());
    assert!(copies_when_opened(folder.path()));
    assert!(!copies_when_opened(folder.path()), "that was a clean stop");
    assert!(!folder.path().join("opening").exists());
}

#[test]
fn a_note_about_other_bytes_is_not_believed() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    let note = std::fs::read(folder.path().join("stopped")).unwrap();
    push(&open(folder.path()), "alert", &event("newer"));
    std::fs::write(folder.path().join("stopped"), &note).unwrap();
    assert!(copies_when_opened(folder.path()), "an old note");
    let note = std::fs::read(folder.path().join("stopped")).unwrap();
    for at in 0..note.len() {
        let mut bad = note.clone();
        bad[at] ^= 1;
        std::fs::write(folder.path().join("stopped"), &bad).unwrap();
        if at % 9 == 0 {
            assert!(
                copies_when_opened(folder.path()),
                "byte {at} of the note flipped"
            );
        }
    }
}

#[test]
fn a_damaged_store_is_put_back_byte_for_byte_after_any_stop() {
    let whole = TempDir::new().unwrap();
    furnish(whole.path());
    let mut dice = Dice(0x5EED_0011);
    let mut refused = 0;
    for round in 0..24 {
        let broken = TempDir::new().unwrap();
        copy(whole.path(), broken.path());
        if round % 2 == 0 {
            std::fs::remove_file(broken.path().join("stopped")).unwrap();
        }
        let path = broken.path().join("tree/db");
        let mut bytes = std::fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        match dice.roll(2) {
            0 => bytes[dice.roll(used) as usize] ^= 1 << dice.roll(8),
            _ => bytes.truncate(dice.roll(used) as usize),
        }
        std::fs::write(&path, bytes).unwrap();
        let before = tree_of(broken.path());
        if open_and_read(broken.path()).is_err() {
            refused += 1;
            assert!(tree_of(broken.path()) == before, "round {round}");
            assert!(!broken.path().join("opening").exists());
        }
    }
    assert!(refused > 5, "{refused}");
}

#[test]
fn a_process_killed_while_it_opens_a_store_leaves_the_copy_that_is_put_back() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    let truth = open_and_read(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("stopped")).unwrap();
    let (tree, opening) = (folder.path().join("tree"), folder.path().join("opening"));
    let this_boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap();
    let leave_half_opened = |boot: &[u8]| {
        std::fs::create_dir_all(&opening).unwrap();
        copy(&tree, &opening.join("tree"));
        std::fs::write(opening.join("tree/whole"), boot).unwrap();
        let file = std::fs::File::options().write(true).open(tree.join("db"));
        file.unwrap().set_len(100).unwrap();
    };
    leave_half_opened(&this_boot);
    assert!(open_and_read(folder.path()).unwrap() == truth);
    assert!(!opening.exists());
    // One from before the system went down may be half written.
    leave_half_opened(b"another start of the system");
    assert!(open_and_read(folder.path()).is_err());
    assert_eq!(std::fs::metadata(tree.join("db")).unwrap().len(), 100);
    assert!(!tree.join("whole").exists());
}

#[test]
fn what_was_not_verified_stays_so_over_a_clean_stop() {
    let folder = TempDir::new().unwrap();
    furnish_much(folder.path());
    assert!(
        open(folder.path()).is_verified(),
        "counted as it grew, and stopped in order"
    );
    std::fs::remove_file(folder.path().join("stopped")).unwrap();
    assert!(!open(folder.path()).is_verified());
    let store = open(folder.path());
    assert!(!store.is_verified(), "a clean stop alone verifies nothing");
    assert_eq!(store.verify(|_| ControlFlow::Break(())), Ok(None));
    assert!(!store.is_verified());
    assert_eq!(
        store.verify(|_| ControlFlow::Continue(())),
        Ok(Some(vec![]))
    );
    drop(store);
    assert!(open(folder.path()).is_verified());
}

#[test]
fn a_survey_finds_what_is_missing_while_commits_go_on() {
    let folder = TempDir::new().unwrap();
    furnish_much(folder.path());
    let survey = |expected: &[&str]| {
        let store = open(folder.path());
        let stop = AtomicBool::new(false);
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1.. {
                    churn(&store, number);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let before = store.counts().sequence;
            let found = store.verify(|_| {
                std::thread::yield_now();
                ControlFlow::Continue(())
            });
            let commits = store.counts().sequence - before;
            stop.store(true, Ordering::Relaxed);
            assert!(commits > 10, "only {commits} commits came in between");
            found.unwrap().unwrap()
        });
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    };
    survey(&[]);
    let tree = engine(folder.path());
    tree.remove(event_key(12_345)).unwrap().unwrap();
    tree.flush().unwrap();
    drop(tree);
    survey(&["events are there, and there should be"]);
    // Still so after a clean stop: damage is not forgotten.
    assert!(!open(folder.path()).is_verified());
}

/// A commit that writes, changes and removes rows at both ends of the tree.
fn churn(store: &Store, number: u64) {
    let run = run(&format!("alert/{}/churn", 200 + number % 50));
    commit(store, |batch| {
        batch
            .push("alert", &event(&format!("while surveyed {number}")), None)
            .unwrap();
        batch.append(&run, b"x".to_vec());
        batch.set_attempts(&run, Some(number.to_le_bytes().to_vec()));
        if number.is_multiple_of(3) {
            batch.finish(&run, End::Done, at(1));
        }
        let value = number
            .is_multiple_of(2)
            .then(|| number.to_le_bytes().to_vec());
        batch.set_state("alert/churn", "n", value).unwrap();
    });
}

#[test]
fn a_survey_begins_again_when_the_store_was_opened_again() {
    let folder = TempDir::new().unwrap();
    let failpoints = Failpoints::new();
    let options = Options {
        failpoints: failpoints.clone(),
        ..options()
    };
    let store = Store::open(folder.path(), options).unwrap();
    for number in 0..300 {
        push(&store, "alert", &event(&number.to_string()));
    }
    failpoints.arm(1, Point::BeforeSync, Mishap::Fails);
    let mut steps = 0;
    let found = store.verify(|_| {
        steps += 1;
        if steps == 2 {
            let mut batch = Batch::new();
            batch.push("alert", &event("in doubt"), None).unwrap();
            assert!(store.commit_blocking(batch).is_err());
            let again = || {
                let mut batch = Batch::new();
                batch.push("alert", &event("again"), None).unwrap();
                store.commit_blocking(batch).is_ok()
            };
            crate::house::wait_for("the store", || again().then_some(()));
        }
        ControlFlow::Continue(())
    });
    assert_eq!(found, Ok(Some(vec![])));
    assert!(steps > 5, "{steps} steps are no second beginning");
}

#[test]
fn a_check_of_many_rows_says_how_far_it_is_and_names_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    furnish_much(folder.path());
    let mut told: Vec<Progress> = Vec::new();
    let found = check_watched(folder.path(), &mut |progress| told.push(progress)).unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    let rows: Vec<&Progress> = told
        .iter()
        .filter(|one| one.doing == "reading rows")
        .collect();
    assert!(rows.len() as u64 >= MANY / 1_000, "{told:?}");
    assert!(rows.is_sorted_by_key(|one| one.done));
    assert!(
        rows.iter()
            .all(|one| one.of == found.rows && one.done <= one.of)
    );

    let tree = engine(folder.path());
    let first = |prefix: &[u8]| tree.scan_prefix(prefix).keys().next().unwrap().unwrap();
    let journal = first(b"Jalert\0");
    for key in [event_key(3).as_slice(), &journal, &first(b"F"), &run_key(5)] {
        tree.remove(key).unwrap().unwrap();
    }
    tree.flush().unwrap();
    drop(tree);
    let problems = check(folder.path()).unwrap().problems.join("\n");
    for expected in [
        "1 events are missing: event alert/3",
        "run alert/3/open: it is live and its event is missing",
        "run alert/1/open: its journal has 1 records of 2",
        "the end mark of run alert/2/open: it is missing",
        "the journal of run alert/5/open: there is no such run",
        "the live mark of run alert/5/open: there is no such run in that state",
    ] {
        assert!(
            problems.contains(expected),
            "{expected} is not in\n{problems}"
        );
    }
    let done = repair(folder.path()).unwrap();
    assert!(done.way.contains("raw file"), "{done:?}");
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
    // The raw file still held every row.
    assert_eq!(open(folder.path()).counts().events, MANY);
}

#[test]
fn a_check_holds_bodies_against_the_rows_that_refer_to_them() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    let tree = engine(folder.path());
    let reference = tree.scan_prefix(b"b").keys().next().unwrap().unwrap();
    tree.remove(reference).unwrap().unwrap();
    tree.flush().unwrap();
    drop(tree);
    let problems = check(folder.path()).unwrap().problems.join("\n");
    let expected = "the body references: they do not match the rows";
    assert!(problems.contains(expected), "{problems}");
}

/// The key of a run of the flow `open` of the channel `alert`, as the format has it.
fn run_key(number: u64) -> Vec<u8> {
    [b"Ralert\0".as_slice(), &number.to_be_bytes(), b"open"].concat()
}

#[test]
fn many_rows_are_saved_from_a_database_that_cannot_be_opened() {
    let folder = TempDir::new().unwrap();
    furnish_much(folder.path());
    let path = folder.path().join("tree/conf");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(open_and_read(folder.path()).is_err());
    let done = repair(folder.path()).unwrap();
    assert!(done.way.contains("raw file"), "{done:?}");
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
    let store = open(folder.path());
    assert_eq!((store.counts().events, store.counts().runs), (MANY, 100));
    assert_eq!(push(&store, "alert", &event("new")).number, MANY + 1);
}

/// Leaves nothing of the database but these rows in its raw file, the first one across the border
/// of what is read at a time.
fn leave_rows(folder: &Path, is_left: impl Fn(&[u8]) -> bool) {
    let tree = engine(folder);
    let rows = tree.iter().map(Result::unwrap);
    let rows: Vec<_> = rows
        .filter(|(key, _)| is_left(key))
        .map(|(_, row)| row)
        .collect();
    drop(tree);
    std::fs::remove_dir_all(folder.join("tree")).unwrap();
    std::fs::create_dir(folder.join("tree")).unwrap();
    let mut raw = vec![0; (1 << 20) - 9];
    rows.iter().for_each(|row| raw.extend_from_slice(row));
    std::fs::write(folder.join("tree/db"), raw).unwrap();
}

#[test]
fn rows_across_a_border_are_saved_too() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    for number in 1..=3 {
        push(&store, "alert", &event(&number.to_string()));
    }
    drop(store);
    leave_rows(folder.path(), |_| true);
    let done = repair(folder.path()).unwrap();
    assert_eq!((done.quarantined, done.changed), (vec![], vec![]));
    assert_eq!(open(folder.path()).counts().events, 3);
}

#[test]
fn what_hangs_on_lost_rows_is_put_aside_and_said() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    for number in 1..=9 {
        push(&store, "alert", &event(&number.to_string()));
        let run = run(&format!("alert/{number}/open"));
        for entry in 0..4 {
            commit(&store, |batch| batch.append(&run, vec![entry]));
        }
    }
    commit(&store, |batch| {
        batch.take(&super::store::id("alert/2"), "pop");
        batch.take(&super::store::id("alert/9"), "pop");
        batch.put_timer(at(5), &run("alert/7/open"), 1);
        batch.put_timer(at(5), &run("alert/8/open"), 1);
        batch.put_wait(&run("alert/8/open"), b"an ack".to_vec());
    });
    let order: Vec<_> = store
        .runs(None, 99)
        .unwrap()
        .into_iter()
        .map(|info| info.run)
        .collect();
    drop(store);
    let second_entry = [
        b"Jalert\0".as_slice(),
        &4_u64.to_be_bytes(),
        b"open\0",
        &[0, 0, 0, 1],
    ];
    let lost = [event_key(2), run_key(7), second_entry.concat()];
    leave_rows(folder.path(), |key| !lost.contains(&key.to_vec()));
    let done = repair(folder.path()).unwrap();
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
    let aside = done.quarantined.join("\n");
    for expected in [
        "the taken mark of event alert/2: there is no such event",
        "journal of run alert/4/open, entry 3: an entry before it is missing",
        "journal of run alert/4/open, entry 4: an entry before it is missing",
        "journal of run alert/7/open, entry 1: its run is missing",
        "a timer of run alert/7/open: its run is not live",
    ] {
        assert!(aside.contains(expected), "{expected} is not in\n{aside}");
    }
    assert_eq!(done.quarantined.len(), 8, "{aside}");
    let rows = std::fs::read_to_string(done.quarantine.join("rows")).unwrap();
    assert_eq!(rows.lines().count(), 8);
    let changed = [
        "channel alert: its events are whole only from 3 on",
        "run alert/2/open: blocked, its event is missing",
        "run alert/4/open: blocked, its journal is whole only up to 1",
    ];
    assert_eq!(done.changed, changed);
    let store = open(folder.path());
    assert_eq!(store.blocked_runs().unwrap().len(), 2);
    assert_eq!(store.due(at(10), 10).unwrap().len(), 1);
    let counts = store.channel_counts("alert");
    assert_eq!(
        (counts.kept, counts.taken, counts.floor, counts.tail),
        (8, 1, 3, 9)
    );
    let mut left = store.runs(None, 99).unwrap();
    left.retain(|info| order.contains(&info.run));
    let expected: Vec<_> = order
        .iter()
        .filter(|id| **id != run("alert/7/open"))
        .collect();
    assert!(
        left.iter().map(|info| &info.run).eq(expected),
        "in the old order"
    );
}

#[test]
fn compaction_gives_back_what_is_not_needed_and_keeps_everything() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    let store = open(folder.path());
    let body = "x".repeat(6_000);
    for _ in 0..40 {
        commit(&store, |batch| {
            for _ in 0..40 {
                batch.push("other", &event(&body), None).unwrap();
            }
        });
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gone = runtime.block_on(store.retain_events("other", at(1), 10_000));
    assert_eq!(gone, Ok(1_600));
    drop(store);
    let before = open_and_read(folder.path()).unwrap();
    let done = compact(folder.path(), &mut |_| {}).unwrap();
    assert!(done.bytes_after * 2 < done.bytes_before, "{done:?}");
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
    assert!(
        !copies_when_opened(folder.path()),
        "it ends with a clean stop"
    );
    assert!(open_and_read(folder.path()).unwrap() == before);
    let again = compact(folder.path(), &mut |_| {}).unwrap();
    assert_eq!(again.rows, done.rows);
}

#[test]
fn a_damaged_store_is_not_compacted() {
    let folder = TempDir::new().unwrap();
    furnish_much(folder.path());
    let tree = engine(folder.path());
    tree.remove(event_key(12_345)).unwrap().unwrap();
    tree.flush().unwrap();
    drop(tree);
    let before = tree_of(folder.path());
    let refused = compact(folder.path(), &mut |_| {}).unwrap_err();
    assert!(
        refused.to_string().contains("event alert/12345"),
        "{refused}"
    );
    assert_eq!(tree_of(folder.path())["db"].len(), before["db"].len());
    assert!(!folder.path().join("compacting").exists());
    assert!(matches!(
        compact(&folder.path().join("nothing"), &mut |_| {}),
        Err(StoreError::Damaged { .. })
    ));
    let _held = open(folder.path());
    assert!(matches!(
        compact(folder.path(), &mut |_| {}),
        Err(StoreError::Held { .. })
    ));
}

/// Not a test by itself: a work on the whole store that kills its process at a given step.
#[test]
fn child_works_until_its_step_comes() {
    let Some(folder) = std::env::var_os("VIGIE_TEST_WORK_ON") else {
        return;
    };
    let word = |name: &str| std::env::var(name).unwrap();
    let mut left: usize = word("VIGIE_TEST_STEP").parse().unwrap();
    let mut step = |_: Progress| {
        if left == 0 {
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap();
        }
        left -= 1;
    };
    let folder = Path::new(&folder);
    match word("VIGIE_TEST_WORK").as_str() {
        "compact" => drop(compact(folder, &mut step).unwrap()),
        "repair" => drop(repair_watched(folder, &mut step).unwrap()),
        _ => drop(check_watched(folder, &mut step).unwrap()),
    }
}

/// True if the work came to its end before that step.
fn work_until(work: &str, folder: &Path, step: usize) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store_upkeep::child_works_until_its_step_comes"])
        .env("VIGIE_TEST_WORK_ON", folder)
        .env("VIGIE_TEST_WORK", work)
        .env("VIGIE_TEST_STEP", step.to_string())
        .output()
        .unwrap()
        .status;
    use std::os::unix::process::ExitStatusExt as _;
    assert!(status.success() || status.signal() == Some(9), "{status}");
    status.success()
}

#[test]
fn a_work_that_is_killed_at_any_step_leaves_the_store_whole() {
    let whole = TempDir::new().unwrap();
    furnish(whole.path());
    let truth = open_and_read(whole.path()).unwrap();
    for work in ["compact", "repair", "check"] {
        for step in 0.. {
            let folder = TempDir::new().unwrap();
            copy(whole.path(), folder.path());
            let ended = work_until(work, folder.path(), step);
            let after = open_and_read(folder.path()).unwrap();
            // A repair that came to its end is a commit of its own.
            let plain = |text: &str| text.split("Counts").next().unwrap().to_owned();
            assert!(plain(&after) == plain(&truth), "{work}, step {step}");
            for left in ["opening", "compacting", "repairing", "parked"] {
                assert!(
                    !folder.path().join(left).exists(),
                    "{work}, step {step}: {left}"
                );
            }
            assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
            assert!(compact(folder.path(), &mut |_| {}).is_ok());
            if ended {
                assert!(step > 2, "{work} ended after {step} steps");
                break;
            }
        }
    }
}

#[test]
fn an_exchange_that_was_cut_off_where_the_disk_cannot_do_it_at_once_is_taken_back() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    let truth = open_and_read(folder.path()).unwrap();
    let (tree, parked) = (folder.path().join("tree"), folder.path().join("parked"));
    std::fs::rename(&tree, &parked).unwrap();
    assert!(open_and_read(folder.path()).unwrap() == truth);
    // Cut off one step later, the new one stands there already and the old one is put aside.
    copy(&tree, &parked);
    assert!(open_and_read(folder.path()).unwrap() == truth);
    assert!(!parked.exists() && folder.path().join("quarantine/1/tree/db").exists());
}
