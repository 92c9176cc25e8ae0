//! Runs through crashes at every commit, until everything has ended. Then it is counted what the
//! targets saw.

use std::time::{Duration, Instant};

use vigie::action::find;
use vigie::event::{EventId, RunId};
use vigie::fork::Fork;
use vigie::journal::Entry;
use vigie::standin::{Reply, Seen};
use vigie::store::Point;

use crate::house::PATIENCE;
use crate::rig::{Life, POINTS, Rig};

const EVERYTHING: &str = r#"
    print(`begun ${event.n}`);
    let id = uuid();
    let at = now();
    http::put("TARGET/safe", #{ json: #{ id: id, at: at, n: event.n, dice: random() } });
    let first = http::post("TARGET/doubt", #{ json: #{ id: id } });
    print(`posted ${event.n}`);
    let count = state::get("count") ?? 0;
    state::set("count", count + 1);
    emit("audit", #{ n: event.n, count: count + 1 });
    let ticket = redmine::open(#{ subject: `trouble ${event.n}`, dedup_key: `key ${event.n}` });
    http::put("TARGET/last", #{ json: #{ ticket: ticket.id, id: uuid() } });
    print(`done ${event.n}`);
    ticket.id
"#;
const ONE_BY_ONE: &str = "runs_at_once_max = 1\nin_doubt_wait = \"10ms\"";

/// Kills the process at the `nth` commit of its first life, then lets it live; counts.
fn survives(nth: u64, point: Point) -> bool {
    let rig = Rig::new();
    rig.flow("all", EVERYTHING, ONE_BY_ONE);
    let life = rig.live(Some((nth, point)));
    let began = life.attend(&rig);
    let mut events = if began { life.push(0..2) } else { 0 };
    let unhurt = began && events == 2 && life.drain(|life| life.all_ended("all", 2));
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    // What was not acknowledged may have been kept all the same; the sender comes again.
    events = events.max(i64::try_from(life.conductor.store.tail("alert")).unwrap());
    events += life.push(events..2);
    let what = format!("commit {nth} {point:?}");
    assert!(life.drain(|life| life.all_ended("all", events)), "{what}");
    count(&rig, &life, events, &what);
    life.end();
    !unhurt
}

fn count(rig: &Rig, life: &Life, events: i64, what: &str) {
    let total = usize::try_from(events).unwrap();
    for path in ["/safe", "/last"] {
        let seen = rig.seen(path);
        assert_eq!(seen.len(), total, "{what}: {path}");
        for requests in seen.values() {
            assert!(
                requests.len() <= 2,
                "{what}: {path} more than once per crash"
            );
            let same = requests.iter().all(|one| one.body == requests[0].body);
            assert!(same, "{what}: {path} repeated with other words");
        }
    }
    let doubt = rig.seen("/doubt");
    assert_eq!(doubt.len(), total, "{what}");
    let repeats = doubt.values().filter(|requests| requests.len() > 1).count();
    assert!(doubt.values().all(|requests| requests.len() <= 2), "{what}");
    assert_eq!(rig.tickets.issues().len(), total, "{what}: tickets");
    let mut told = 0;
    for n in 1..=events {
        let journal = life.run(&format!("alert/{n}/all")).unwrap();
        assert_eq!(
            journal.end().unwrap().state.word(),
            "done",
            "{what}: {:?}",
            journal.end()
        );
        let body = n - 1;
        assert_eq!(
            journal.console(),
            [
                format!("begun {body}"),
                format!("posted {body}"),
                format!("done {body}")
            ],
            "{what}"
        );
        told += journal
            .entries()
            .iter()
            .filter(|entry| matches!(entry, Entry::Note(..)))
            .count();
    }
    assert!(told >= repeats, "{what}: {repeats} repeats, {told} told");
    assert!(told <= 1, "{what}: one crash, {told} notes");
    let audit = life.conductor.store.events("audit", 1, 100).unwrap();
    let counts: Vec<i64> = audit
        .iter()
        .map(|event| event.body.to_json()["count"].as_i64().unwrap())
        .collect();
    assert_eq!(
        counts,
        (1..=events).collect::<Vec<_>>(),
        "{what}: emitted and counted"
    );
}

fn every_commit(points: &[Point]) {
    let mut hurt = 0;
    for nth in 1..=40 {
        let died = points.iter().filter(|point| survives(nth, **point)).count();
        hurt += died;
        if died == 0 {
            assert!(nth > 8, "only {nth} commits?");
            break;
        }
    }
    assert!(hurt > 8, "{hurt} deaths only");
}

#[test]
fn nothing_is_done_twice_when_killed_before_a_commit_is_applied() {
    every_commit(&POINTS[0..1]);
}

#[test]
fn nothing_is_done_twice_when_killed_before_a_commit_is_on_disk() {
    every_commit(&POINTS[1..2]);
}

#[test]
fn nothing_is_done_twice_when_killed_before_the_ledger_knows() {
    every_commit(&POINTS[2..3]);
}

#[test]
fn nothing_is_done_twice_when_killed_before_anybody_is_told() {
    every_commit(&POINTS[3..4]);
}

#[test]
fn each_event_is_in_one_batch_though_the_process_dies_at_any_commit() {
    let script = r#"
        fn filter(event) { event.n % 3 != 1 }
        let all = "";
        for event in events { all += `${event.n},`; }
        http::put("TARGET/batch", #{ json: all });
        http::post("TARGET/again", #{ json: all });
    "#;
    for nth in 1..=14 {
        let rig = Rig::new();
        rig.flow("batch", script, "[batch]\nsize_max = 4\nage_max = \"50ms\"");
        let life = rig.live(Some((nth, POINTS[usize::try_from(nth).unwrap() % 4])));
        let mut kept = if life.attend(&rig) {
            life.push(0..12)
        } else {
            0
        };
        let quiet = |life: &Life| {
            life.conductor
                .store
                .live_runs()
                .is_ok_and(|runs| runs.is_empty())
        };
        let all = |life: &Life| {
            quiet(life)
                && rig
                    .seen("/again")
                    .values()
                    .map(|seen| entries(&seen[0]))
                    .sum::<usize>()
                    >= 8
        };
        life.drain(all);
        if nth % 2 == 0 {
            life.keep_cursors();
        }
        life.end();
        let life = rig.live(None);
        assert!(life.attend(&rig));
        kept = kept.max(i64::try_from(life.conductor.store.tail("alert")).unwrap());
        life.push(kept..12);
        assert!(life.drain(all), "commit {nth}");
        let mut numbers: Vec<i64> = Vec::new();
        for seen in rig.seen("/again").values() {
            assert!(
                seen.iter().all(|one| one.body == seen[0].body),
                "commit {nth}: a batch changed"
            );
            assert!(entries(&seen[0]) <= 4, "commit {nth}: {:?}", seen[0].json());
            numbers.extend(list(&seen[0]));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 2, 3, 5, 6, 8, 9, 11], "commit {nth}");
        life.end();
    }
}

fn list(seen: &Seen) -> Vec<i64> {
    let text = seen.json();
    let numbers = text.as_str().unwrap().split_terminator(',');
    numbers.map(|number| number.parse().unwrap()).collect()
}

fn entries(seen: &Seen) -> usize {
    list(seen).len()
}

#[test]
fn a_try_that_was_cut_off_is_looked_up_though_an_earlier_one_had_failed() {
    let rig = Rig::new();
    rig.flow(
        "open",
        "redmine::open(#{ subject: \"trouble\" }).id",
        ONE_BY_ONE,
    );
    let life = rig.live(None);
    // The first try is turned away, the second is carried out and its answer comes too late.
    rig.tickets
        .fail_next(1, vigie::standin::Mischief::Answer(Reply::empty(503)));
    assert!(life.attend(&rig));
    assert_eq!(life.push(0..1), 1);
    rig.outside.block_on(rig.tickets.wait_for(1));
    let tries = |life: &Life| {
        life.conductor
            .store
            .attempts(&"alert/1/open".parse().unwrap())
            .unwrap()
            .is_some()
    };
    life.drain(tries);
    for _ in 0..8 {
        rig.tickets.fail_next(
            1,
            vigie::standin::Mischief::Delay(Duration::from_millis(300)),
        );
    }
    let until = Instant::now() + PATIENCE;
    while rig.tickets.issues().is_empty() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    assert!(life.drain(|life| life.all_ended("open", 1)));
    let seen: Vec<String> = rig
        .tickets
        .requests()
        .iter()
        .map(|seen| format!("{} {} {:?}", seen.method, seen.path, seen.query))
        .collect();
    assert_eq!(
        rig.tickets.issues().len(),
        1,
        "{seen:#?} {:?}",
        life.run("alert/1/open")
    );
    life.end();
}

/// Two lives that end at a commit each, then one that lives: what was repeated, and what the journal
/// says of it.
fn repeats_and_notes(first: u64, second: u64) -> (usize, usize) {
    let rig = Rig::new();
    let script = r#"
        http::post("TARGET/doubt", #{ json: 1 });
        http::put("TARGET/last", #{ json: 2 });
    "#;
    rig.flow("all", script, ONE_BY_ONE);
    for nth in [first, second] {
        let life = rig.live(Some((nth, Point::BeforeApply)));
        if life.attend(&rig) {
            let kept = life.conductor.store.tail("alert");
            let kept = i64::try_from(kept).unwrap();
            let pushed = kept + life.push(kept..1);
            life.drain(|life| pushed == 1 && life.all_ended("all", 1));
        }
        life.end();
    }
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let kept = i64::try_from(life.conductor.store.tail("alert")).unwrap();
    life.push(kept..1);
    assert!(life.drain(|life| life.all_ended("all", 1)));
    let journal = life.run("alert/1/all").unwrap();
    let notes = journal.entries().iter();
    let notes = notes.filter(|entry| matches!(entry, Entry::Note(..)));
    let seen = rig.seen("/doubt");
    let told = (seen.values().next().unwrap().len() - 1, notes.count());
    life.end();
    told
}

#[test]
fn each_repeat_after_each_of_two_crashes_is_in_the_journal() {
    let mut most = 0;
    for (first, second) in (1..=5).flat_map(|first| (1..=5).map(move |second| (first, second))) {
        let (repeats, notes) = repeats_and_notes(first, second);
        assert!(
            repeats <= notes,
            "commits {first} and {second}: {repeats} repeats, {notes} notes"
        );
        most = most.max(repeats);
    }
    assert_eq!(most, 2, "no crash was at the right moment");
}

#[test]
fn verbs_used_here_are_what_these_tests_take_them_for() {
    let repeat = |word: &str| format!("{:?}", find(word).unwrap().1.repeat);
    assert_eq!(repeat("http::put"), "Safe");
    assert_eq!(repeat("http::post"), "InDoubt");
    assert_eq!(repeat("redmine::open"), "LookUp");
    let _ = EventId {
        channel: "alert".to_owned(),
        number: 1,
    };
}

/// A run with two commands done that waits; its fork is written while the process dies.
fn fork_survives(point: Point, script: &str) -> bool {
    let rig = Rig::new();
    rig.flow("page", script, "");
    let run: RunId = "alert/1/page".parse().unwrap();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    assert_eq!(life.push(0..1), 1);
    let suspended = |life: &Life| {
        let store = &life.conductor.store;
        store.wait(&run).is_ok_and(|wait| wait.is_some())
    };
    assert!(life.drain(suspended));
    life.doom(1, point);
    let wish = Fork {
        run: run.clone(),
        at: 1,
        script: None,
    };
    let forking = life.conductor.fork(&wish, |_| Vec::new());
    let forked = life.inside.block_on(forking);
    life.end();
    let life = rig.live(None);
    let end = life
        .conductor
        .store
        .end_of(&run)
        .unwrap()
        .map(|(end, _)| end);
    let fork = life.conductor.store.run(&run.copy(2)).unwrap();
    let what = format!("{point:?}: {end:?} {fork:?} {forked:?}");
    assert_eq!(end.is_some(), fork.is_some(), "{what}");
    assert!(forked.is_err() || fork.is_some(), "{what}");
    assert!(life.attend(&rig));
    life.push(1..2);
    let over = fork.as_ref().map_or(&run, |info| &info.run).to_string();
    let both = |life: &Life| life.ended(&over) && life.ended("alert/2/page");
    assert!(life.drain(both), "{what}");
    let first = rig.seen("/first");
    assert_eq!(
        first.values().flatten().count(),
        2,
        "{what}: one for each event"
    );
    let last = rig.seen("/last");
    assert_eq!(last.values().flatten().count(), 1, "{what}");
    life.end();
    fork.is_some()
}

#[test]
fn a_fork_is_there_whole_or_not_at_all_though_the_process_dies() {
    let script = r#"
        http::put("TARGET/first", #{ json: event.n });
        if event.n == 0 {
            watch("alert", #{ n: 1 });
            http::put("TARGET/last", #{ json: event.n });
        }
    "#;
    let there = POINTS.map(|point| fork_survives(point, script));
    assert!(!there[0] && there[3], "{there:?}");
}
