//! Broken files, killed processes and full disks: a loud error or the whole truth, never less.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use vigie::store::{Batch, End, Options, Store, StoreError, check, repair};

use crate::faults::disk::SmallDisk;
use crate::faults::not_tried;

use super::store::{
    at, body_files, commit, event, event_at, id, large, open, options, push, run, with_id,
};

/// A seeded sequence of numbers, so that a failure can be had again (Marsaglia's xorshift64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

pub const EVENTS: u64 = 300;

/// A store with some of everything.
pub fn furnish(folder: &Path) {
    let store = open(folder);
    for number in 1..=EVENTS {
        let run = run(&format!("alert/{number}/open"));
        commit(&store, |batch| {
            let event = match number % 100 {
                0 => large('a'),
                _ => with_id(
                    &format!("event {number}"),
                    number as i64,
                    &format!("m{number}"),
                ),
            };
            let window = Some(std::time::Duration::from_secs(60));
            batch.push("alert", &event, window).unwrap();
            batch.append(&run, format!("journal {number}").into_bytes());
            batch.move_cursor("alert/open", 1, number + 1);
            batch
                .set_state("alert/open", "count", Some(number.to_le_bytes().to_vec()))
                .unwrap();
            match number % 3 {
                0 => batch.finish(&run, End::Done, at(number as i64)),
                1 => {
                    batch.put_wait(&run, Vec::new());
                    batch.put_timer(at(number as i64), &run, 1);
                }
                _ => batch.dead_letter(&run, at(number as i64), vec![]),
            }
        });
    }
}

/// Everything that a store says, as text.
fn all_of(store: &Store) -> Result<String, StoreError> {
    let mut text = String::new();
    let mut from = 0;
    loop {
        let events = store.events("alert", from, 64)?;
        let Some(last) = events.last() else { break };
        from = last.id.number + 1;
        text += &format!("{events:?}");
    }
    for info in store.runs(None, 10_000)? {
        text += &format!("{info:?} {:?}", store.journal(&info.run)?);
    }
    text += &format!("{:?}{:?}", store.live_runs()?, store.blocked_runs()?);
    text += &format!("{:?}{:?}", store.dead(None, 10_000)?, store.cursors()?);
    text += &format!("{:?}", store.due(at(100_000), 10_000)?);
    text += &format!(
        "{:?}{:?}",
        store.state("alert/open", "count")?,
        store.counts()
    );
    Ok(text)
}

pub fn open_and_read(folder: &Path) -> Result<String, StoreError> {
    let store = Store::open(folder, options())?;
    let text = all_of(&store);
    drop(store);
    text
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The files of a store that hold what was kept.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![folder.join("ledger")];
    for entry in std::fs::read_dir(folder.join("tree")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.extend(body_files(folder));
    files
}

/// Breaks copies of a store in `rounds` ways and holds each against the truth.
fn break_and_read(seed: u64, rounds: u64, damage: impl Fn(&Path, &mut Dice)) {
    let whole = TempDir::new().unwrap();
    furnish(whole.path());
    let truth = open_and_read(whole.path()).unwrap();
    let mut dice = Dice(seed);
    let (mut intact, mut loud) = (0, 0);
    for round in 0..rounds {
        let broken = TempDir::new().unwrap();
        copy(whole.path(), broken.path());
        let files = files(broken.path());
        // Most of the damage to the database itself.
        let file = match dice.roll(3) {
            0 => files[dice.roll(files.len() as u64) as usize].clone(),
            _ => broken.path().join("tree/db"),
        };
        damage(&file, &mut dice);
        match open_and_read(broken.path()) {
            Ok(text) => {
                assert!(
                    text == truth,
                    "round {round}, {}: it silently differs",
                    file.display()
                );
                intact += 1;
            }
            Err(StoreError::Damaged { what, why }) => {
                assert!(!what.is_empty() && !why.is_empty());
                loud += 1;
            }
            Err(other) => {
                let named = other.to_string();
                assert!(named.len() > 20, "{named}");
                loud += 1;
            }
        }
    }
    assert!(
        loud > 0 && intact + loud == rounds,
        "{intact} intact, {loud} loud"
    );
}

#[test]
fn a_flipped_bit_is_never_silent() {
    break_and_read(0x5EED_0001, 60, |file, dice| {
        let mut bytes = std::fs::read(file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        let at = dice.roll(used) as usize;
        bytes[at] ^= 1 << dice.roll(8);
        std::fs::write(file, bytes).unwrap();
    });
}

#[test]
fn a_zeroed_page_is_never_silent() {
    break_and_read(0x5EED_0002, 30, |file, dice| {
        let mut bytes = std::fs::read(file).unwrap();
        let page = dice.roll(bytes.len() as u64 / 4096 + 1) as usize * 4096;
        let end = bytes.len().min(page + 4096);
        bytes[page.min(end)..end].fill(0);
        std::fs::write(file, bytes).unwrap();
    });
}

#[test]
fn a_cut_tail_is_never_silent() {
    break_and_read(0x5EED_0003, 40, |file, dice| {
        let length = std::fs::metadata(file).unwrap().len();
        let cut = match dice.roll(2) {
            0 => dice.roll(length.min(4096)) + 1,
            _ => dice.roll(length) + 1,
        };
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_len(length - cut.min(length)).unwrap();
    });
}

#[test]
fn a_missing_file_is_never_an_empty_store() {
    let whole = TempDir::new().unwrap();
    furnish(whole.path());
    for gone in ["ledger", "tree", "tree/db", "bodies"] {
        let broken = TempDir::new().unwrap();
        copy(whole.path(), broken.path());
        let path = broken.path().join(gone);
        match path.is_dir() {
            true => std::fs::remove_dir_all(&path).unwrap(),
            false => std::fs::remove_file(&path).unwrap(),
        }
        let answer = open_and_read(broken.path());
        assert!(
            matches!(answer, Err(StoreError::Damaged { .. })),
            "{gone}: {answer:?}"
        );
    }
}

#[test]
fn a_database_older_than_its_ledger_is_refused_by_number() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    push(&store, "alert", &event("x"));
    drop(store);
    let old = TempDir::new().unwrap();
    copy(folder.path(), old.path());
    let store = open(folder.path());
    for _ in 0..3 {
        push(&store, "alert", &event("y"));
    }
    drop(store);
    std::fs::remove_dir_all(folder.path().join("tree")).unwrap();
    copy(&old.path().join("tree"), &folder.path().join("tree"));
    let refused = Store::open(folder.path(), options())
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("its last 3 commits are missing"),
        "{refused}"
    );
}

#[test]
fn repair_keeps_every_readable_event_and_says_what_it_could_not_keep() {
    let whole = TempDir::new().unwrap();
    furnish(whole.path());
    let mut dice = Dice(0x5EED_0004);
    let (mut most, mut rounds) = (0, 0);
    for _ in 0..20 {
        let broken = TempDir::new().unwrap();
        copy(whole.path(), broken.path());
        let file = broken.path().join("tree/db");
        let mut bytes = std::fs::read(&file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        bytes[dice.roll(used) as usize] ^= 0x10;
        std::fs::write(&file, bytes).unwrap();
        let problems = check(broken.path()).unwrap().problems;
        let done = repair(broken.path()).unwrap();
        let after = check(broken.path()).unwrap().problems;
        assert_eq!(after, Vec::<String>::new(), "{done:?}");
        let store = open(broken.path());
        let kept = store.counts().events;
        assert!(kept >= EVENTS - 2, "{kept} of {EVENTS} kept: {done:?}");
        assert!(kept == EVENTS || !problems.is_empty());
        // Numbers are never given twice.
        assert_eq!(push(&store, "alert", &event("new")).number, EVENTS + 1);
        assert!(done.quarantine.join("tree/db").exists());
        most += u64::from(kept == EVENTS);
        rounds += 1;
    }
    assert!(most * 2 > rounds, "{most} of {rounds} were whole");
}

/// The engine's own checksums do not count in the raw file: only the row's tells.
#[test]
fn repair_takes_no_event_for_kept_that_the_disk_changed() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    let all = |store: &Store| -> Vec<_> {
        let one = |number| store.event(&id(&format!("alert/{number}"))).unwrap();
        (1..=EVENTS).map(one).collect()
    };
    let store = open(folder.path());
    let truth = all(&store);
    drop(store);
    let file = folder.path().join("tree/db");
    let mut bytes = std::fs::read(&file).unwrap();
    let (was, changed) = (b"event 42", b"event 43");
    let places: Vec<usize> = (0..bytes.len() - was.len())
        .filter(|at| bytes[*at..].starts_with(was))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + changed.len()].copy_from_slice(changed);
    }
    std::fs::write(&file, bytes).unwrap();
    let done = repair(folder.path()).unwrap();
    let kept = all(&open(folder.path()));
    assert_eq!(kept[41], None, "{done:?}");
    for (kept, truth) in kept.iter().zip(&truth).filter(|(kept, _)| kept.is_some()) {
        assert_eq!(kept, truth, "{done:?}");
    }
    let lost = kept.iter().filter(|event| event.is_none()).count();
    assert!(lost <= 2, "{lost} lost: {done:?}");
}

#[test]
fn repair_puts_an_event_with_a_broken_body_aside() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    for body in ['a', 'b', 'c'] {
        push(&store, "alert", &large(body));
    }
    let broken = body_files(folder.path());
    let broken = broken.iter().min().unwrap();
    drop(store);
    std::fs::write(broken, b"other").unwrap();
    let store = open(folder.path());
    let damaged: Vec<u64> = (1..=3)
        .filter(|number| store.event(&id(&format!("alert/{number}"))).is_err())
        .collect();
    assert_eq!(damaged.len(), 1);
    drop(store);
    let problems = check(folder.path()).unwrap().problems;
    assert!(
        problems
            .iter()
            .any(|text| text.contains(&format!("event alert/{}", damaged[0])))
    );
    let done = repair(folder.path()).unwrap();
    assert_eq!(done.quarantined.len(), 1);
    assert!(done.quarantine.join("rows").exists());
    let store = open(folder.path());
    assert_eq!(store.counts().events, 2);
    assert_eq!(store.event(&id(&format!("alert/{}", damaged[0]))), Ok(None));
}

#[test]
fn repair_of_a_whole_store_changes_nothing() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    let plain = |text: String| text.split("Counts").next().unwrap().to_owned();
    let before = plain(open_and_read(folder.path()).unwrap());
    let done = repair(folder.path()).unwrap();
    assert_eq!((done.quarantined, done.changed), (vec![], vec![]));
    assert!(plain(open_and_read(folder.path()).unwrap()) == before);
}

/// Not a test by itself: what the killed child does. It says the number of each acknowledged event.
#[test]
fn child_pushes_until_it_is_killed() {
    let Some(folder) = std::env::var_os("VIGIE_TEST_STORE") else {
        return;
    };
    let store = Store::open(Path::new(&folder), options()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..16)
            .map(|task| tokio::spawn(push_on(store.clone(), task)))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn push_on(store: Store, task: u64) {
    for number in 0_u64.. {
        let event = match number % 50 {
            49 => large('k'),
            _ => event_at(&format!("{task} {number}"), 1),
        };
        let mut batch = Batch::new();
        batch.push("alert", &event, None).unwrap();
        let number = store.commit(batch).await.unwrap().pushed[0].id.number;
        let mut out = std::io::stdout().lock();
        writeln!(out, "kept {number}").unwrap();
    }
}

pub fn start_child(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store_damage::child_pushes_until_it_is_killed",
            "--nocapture",
        ])
        .env("VIGIE_TEST_STORE", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let mut dice = Dice(0x5EED_0005);
    let mut acknowledged: Vec<u64> = Vec::new();
    for _ in 0..6 {
        let mut child = start_child(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 50 + dice.roll(400);
        let number = |line: &str| line.split("kept ").nth(1)?.trim().parse::<u64>().ok();
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child ended by itself").unwrap();
            if let Some(number) = number(&line) {
                acknowledged.push(number);
                seen += 1;
            }
        }
        if acknowledged.len() as u64 == wanted {
            let held = Store::open(folder.path(), options()).unwrap_err();
            assert!(matches!(held, StoreError::Held { pid, .. } if pid == child.id()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it died counts too.
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| number(&line)));
        let store = open(folder.path());
        for number in &acknowledged {
            assert!(
                store
                    .event(&id(&format!("alert/{number}")))
                    .unwrap()
                    .is_some()
            );
        }
        assert!(store.tail("alert") >= *acknowledged.iter().max().unwrap());
    }
    let mut once = acknowledged.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), acknowledged.len(), "a number was given twice");
    assert_eq!(check(folder.path()).unwrap().problems, Vec::<String>::new());
}

#[test]
fn a_full_disk_refuses_events_and_goes_on_when_there_is_room() {
    let mounted = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::on(mounted.path(), "24m") else {
        return not_tried("a full disk: no small file system can be mounted here");
    };
    let folder = mounted.path().join("store");
    let tight = Options {
        ballast_bytes: 6 << 20,
        low_water_bytes: 0,
        ..options()
    };
    let store = Store::open(&folder, tight.clone()).unwrap();
    let mut kept = Vec::new();
    let full = (0..5_000).find_map(|number| {
        let mut batch = Batch::new();
        for _ in 0..20 {
            batch
                .push("alert", &event(&format!("{number:0>2000}")), None)
                .unwrap();
        }
        match store.commit_blocking(batch) {
            Ok(done) => {
                kept.extend(done.pushed.into_iter().map(|pushed| pushed.id));
                None
            }
            Err(why) => Some(why),
        }
    });
    assert!(matches!(full, Some(StoreError::Full { .. })), "{full:?}");
    // On the ballast's room, what is under way comes to its end.
    let run = run("alert/1/open");
    let ended = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut batch = Batch::new();
        batch.append(&run, b"x".to_vec());
        batch.finish(&run, End::Done, at(1));
        store.commit_blocking(batch).is_ok()
    });
    assert!(ended, "no run could end on the full disk");
    assert!(!folder.join("ballast").exists());
    // A restart on the full disk works too, and nothing is lost.
    drop(store);
    let store = Store::open(&folder, tight).unwrap();
    for id in &kept {
        assert!(store.event(id).unwrap().is_some());
    }
    disk.grow("96m");
    let taken = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut batch = Batch::new();
        batch.push("alert", &event("room again"), None).unwrap();
        store.commit_blocking(batch).is_ok()
    });
    assert!(taken, "no event was taken although there is room");
    assert!(folder.join("ballast").exists());
    drop(store);
    assert_eq!(check(&folder).unwrap().problems, Vec::<String>::new());
}

#[test]
fn a_store_opens_again_while_other_programs_are_being_started() {
    let folder = TempDir::new().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        let opened: Vec<_> = (0..60)
            .map(|_| Store::open(folder.path(), options()).map(drop))
            .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    });
}

/// The engine under a store; its threads may hold its lock for a moment after it was closed.
pub fn engine(folder: &Path) -> sled::Db {
    let config = sled::Config::new()
        .path(folder.join("tree"))
        .segment_size(1 << 20);
    let tree = (0..300).find_map(|_| {
        let tree = config.open().ok();
        if tree.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        tree
    });
    tree.unwrap()
}

/// Changes the rows behind the store's back, as a bug of the engine would.
fn tamper(folder: &Path, change: impl FnOnce(&sled::Db)) -> String {
    let tree = engine(folder);
    change(&tree);
    tree.flush().unwrap();
    drop(tree);
    Store::open(folder, options()).unwrap_err().to_string()
}

fn furnished() -> TempDir {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    folder
}

/// The key of an event of the channel `alert`, as the format has it.
pub fn event_key(number: u64) -> Vec<u8> {
    [b"Ealert\0".as_slice(), &number.to_be_bytes()].concat()
}

#[test]
fn rows_that_the_engine_lost_are_missed_by_name() {
    let why = tamper(furnished().path(), |tree| {
        for number in [17, 18, 40] {
            tree.remove(event_key(number)).unwrap().unwrap();
        }
    });
    assert!(why.contains("3 events are missing"), "{why}");
    assert!(
        why.contains("events alert/17 to 18, event alert/40"),
        "{why}"
    );
    let why = tamper(furnished().path(), |tree| {
        let live = tree.scan_prefix(b"L").keys().next().unwrap().unwrap();
        tree.remove(live).unwrap().unwrap();
    });
    assert!(
        why.contains("199 live runs are there, and there should be 200"),
        "{why}"
    );
}

#[test]
fn a_row_that_went_back_to_an_older_state_is_noticed() {
    let folder = TempDir::new().unwrap();
    furnish(folder.path());
    let store = open(folder.path());
    commit(&store, |batch| batch.move_cursor("alert/open", 1, 7));
    drop(store);
    let other = furnished();
    let old = engine(other.path()).get(b"Calert/open").unwrap();
    let why = tamper(folder.path(), |tree| {
        tree.insert(b"Calert/open", old.unwrap()).unwrap();
    });
    assert!(
        why.contains("not in the state that the last commit left"),
        "{why}"
    );
}
