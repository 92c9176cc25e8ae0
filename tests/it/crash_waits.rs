//! A flow of twenty steps with every kind of wait and of action, killed at each of its commits, at
//! four moments of each: it comes to its end, and nobody can tell.

use std::collections::BTreeSet;

use vigie::event::{EventId, RunId, Value};
use vigie::journal::Entry;
use vigie::store::{Point, check};

use crate::rig::{Life, POINTS, Rig};

/// Two rounds of ten steps; the second begins anew with what the first carries over.
const TWENTY: &str = r#"
    let s = carried() ?? #{ r: 0, sum: 0 };
    let n = event.n;
    let r = s.r;
    let mine = #{ n: n, r: r };
    print(`${n} round ${r}`);
    http::put("TARGET/safe", #{ json: #{ n: n, r: r, id: uuid(), at: now() } });
    sleep("2ms");
    emit("signal", #{ n: n, r: r, step: 1 });
    let seen = watch("signal", #{ n: n, r: r, step: 1 }, "1h");
    http::post("TARGET/doubt", #{ json: [n, r, seen.step] });
    emit("jobs", #{ n: n, r: r, worth: 5 });
    let job = receive("jobs", mine, "1h", |job| job.worth == 5);
    print(`${n} job ${job.r}`);
    let ticket = redmine::open(#{ subject: `t ${n} ${r}`, dedup_key: `k ${n} ${r}` });
    let first = any([on("never"), after("2ms")]);
    emit("signal", #{ n: n, r: r, step: 2 });
    let second = any([after("1h"), on("signal", #{ n: n, r: r }, |seen| seen.step > 1)]);
    let given = receive("mixed", mine, "1h");
    http::put("TARGET/last", #{ json: [first.which, second.which, given.r, uuid()] });
    let none = receive("jobs", mine, "1ms");
    print(`${n} ${none == ()} ${first.which} ${second.which} ${second.event.step}`);
    if r == 0 { continue_as(#{ r: 1, sum: s.sum + job.worth }); }
    s.sum + job.worth
"#;
const SETTINGS: &str = "in_doubt_wait = \"10ms\"";
/// What the second round prints; what the first printed went with its journal.
const CONSOLE: [&str; 3] = ["0 round 1", "0 job 1", "0 true 1 1 2"];

fn rig() -> Rig {
    let rig = Rig::new();
    rig.flow("twenty", TWENTY, SETTINGS);
    rig.flow("mixed/see", r#"print(`saw ${event.n}`);"#, "");
    rig
}

/// Gives runs that wait at `mixed` what they wait for, unless it was given already.
fn give(life: &Life) {
    let run: RunId = "alert/1/twenty".parse().unwrap();
    let Some(wait) = life.conductor.waits.of(&run) else {
        return;
    };
    let Some(want) = wait.wants.iter().find(|want| want.channel == "mixed") else {
        return;
    };
    let round = want.fields["r"].clone();
    let given = life.conductor.store.events("mixed", 1, 100).unwrap();
    if given
        .iter()
        .all(|event| event.body.get("r") != Some(&round))
    {
        let body = Value::from([("n", Value::Int(0)), ("r", round)]);
        life.tell("mixed", body);
    }
}

fn lives(life: &Life, marks: bool) -> bool {
    life.drain(|life| {
        give(life);
        if marks {
            life.keep_cursors();
        }
        life.ended("alert/1/twenty") && !life.is_dead()
    })
}

/// Kills the process at the `nth` commit of its first life; true if it came that far.
fn survives(nth: u64, point: Point) -> bool {
    let what = format!("commit {nth} {point:?}");
    let rig = rig();
    let life = rig.live(Some((nth, point)));
    let unhurt = life.attend(&rig) && life.push(0..1) == 1 && lives(&life, false);
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig), "{what}");
    let kept = life.conductor.store.tail("alert");
    if kept == 0 {
        assert_eq!(life.push(0..1), 1, "{what}");
    }
    assert!(lives(&life, nth.is_multiple_of(2)), "{what}");
    count(&rig, &life, &what);
    let folder = rig.store();
    life.end();
    let found = crate::house::wait_for("a store that nobody has", || check(&folder).ok());
    assert_eq!(found.problems, Vec::<String>::new(), "{what}");
    !unhurt
}

fn count(rig: &Rig, life: &Life, what: &str) {
    let mut repeats = 0;
    for (path, most) in [("/safe", 2), ("/last", 2), ("/doubt", 2)] {
        let seen = rig.seen(path);
        assert_eq!(seen.len(), 2, "{what}: {path}, two rounds");
        for requests in seen.values() {
            assert!(
                requests.len() <= most,
                "{what}: {path} more than once per crash"
            );
            let same = requests.iter().all(|one| one.body == requests[0].body);
            assert!(same, "{what}: {path} repeated with other words");
            repeats += usize::from(path == "/doubt" && requests.len() > 1);
        }
    }
    assert_eq!(rig.tickets.issues().len(), 2, "{what}: tickets");
    let journal = life.run("alert/1/twenty").unwrap();
    let end = journal.end().unwrap();
    assert_eq!(end.state.word(), "done", "{what}: {end:?}");
    assert_eq!(end.value, Value::Int(10), "{what}");
    assert_eq!(journal.console(), CONSOLE, "{what}");
    let is_note = |entry: &&Entry| matches!(entry, Entry::Note(..));
    let notes = journal.entries().iter().filter(is_note).count();
    assert!(
        notes + repeats <= 2,
        "{what}: {repeats} repeats, {notes} notes"
    );
    taken(life, what);
    let store = &life.conductor.store;
    assert_eq!(store.counts().timers, 0, "{what}: timers are left");
    assert!(store.waits(None, 10).unwrap().is_empty(), "{what}");
    assert_eq!(life.conductor.waits.count(), 0, "{what}");
}

/// Each event of a channel is somebody's, and of one alone.
fn taken(life: &Life, what: &str) {
    let store = &life.conductor.store;
    let id = |channel: &str, number| EventId {
        channel: channel.to_owned(),
        number,
    };
    let jobs = store.tail("jobs");
    assert_eq!(jobs, 2, "{what}: emitted once in each round");
    for number in 1..=jobs {
        let by = store.taken_by(&id("jobs", number)).unwrap();
        assert_eq!(by.as_deref(), Some("alert/1/twenty"), "{what}");
    }
    let mut rounds = BTreeSet::new();
    for number in 1..=store.tail("mixed") {
        let event = id("mixed", number);
        let by = store.taken_by(&event).unwrap();
        let runs = store.runs_of(&event).unwrap();
        assert!(
            by.is_none() || runs.is_empty(),
            "{what}: {event} is both taken and seen"
        );
        if by.is_some() {
            let round = store.event(&event).unwrap().unwrap().body.get("r").cloned();
            assert!(
                rounds.insert(format!("{round:?}")),
                "{what}: two in one round"
            );
        }
    }
    assert_eq!(rounds.len(), 2, "{what}");
}

fn every_commit(point: Point) {
    let mut hurt = 0;
    // A life that is not killed ends the count.
    while survives(hurt + 1, point) {
        hurt += 1;
        assert!(hurt < 200, "it never ends");
    }
    assert!(hurt > 20, "{hurt} deaths only");
}

#[test]
fn twenty_steps_survive_a_kill_before_each_commit_is_applied() {
    every_commit(POINTS[0]);
}

#[test]
fn twenty_steps_survive_a_kill_before_each_commit_is_on_disk() {
    every_commit(POINTS[1]);
}

#[test]
fn twenty_steps_survive_a_kill_before_the_ledger_knows_of_each_commit() {
    every_commit(POINTS[2]);
}

#[test]
fn twenty_steps_survive_a_kill_before_anybody_is_told_of_each_commit() {
    every_commit(POINTS[3]);
}
