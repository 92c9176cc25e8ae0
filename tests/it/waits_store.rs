//! A store with runs that wait: what `check --store` finds when it is not as it should be, what a
//! start mends, and what is written down about the engine.

use std::time::Duration;

use jiff::Timestamp;
use vigie::engine::ENGINE_FLAGS;
use vigie::event::{EventId, RunId, Value};
use vigie::journal::Journal;
use vigie::store::{Batch, End, check, repair};
use vigie::want::Want;

use crate::house::wait_for;
use crate::rig::{Life, Rig};

const SLEEPER: &str = r#"
    sleep(event.lasting);
    let seen = watch("signal", #{ n: event.n }, "1h");
    seen.text
"#;

fn rig() -> Rig {
    let rig = Rig::new();
    rig.flow("wait", SLEEPER, "");
    rig
}

fn begin(life: &Life, n: i64, lasting: &str) -> RunId {
    let body = Value::from([("n", Value::Int(n)), ("lasting", Value::from(lasting))]);
    assert!(life.tell("alert", body));
    let run: RunId = format!("alert/{n}/wait").parse().unwrap();
    wait_for("a run that waits", || life.conductor.waits.of(&run));
    run
}

fn problems(rig: &Rig) -> Vec<String> {
    let checked = wait_for("a store that nobody has", || check(&rig.store()).ok());
    checked.problems
}

#[test]
fn a_check_finds_waits_and_timers_that_belong_to_nobody() {
    let rig = rig();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let run = begin(&life, 1, "1h");
    let mut batch = Batch::new();
    let done = RunId::new(&run.event(), "done");
    batch.append(&done, b"x".to_vec());
    batch.finish(&done, End::Done, Timestamp::now());
    batch.put_wait(&done, b"x".to_vec());
    life.conductor.store.commit_blocking(batch).unwrap();
    life.end();
    let found = problems(&rig);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("alert/1/done"), "{found:?}");
    assert!(found[0].contains("no such run in that state"), "{found:?}");

    let life = rig.live(None);
    let mut batch = Batch::new();
    batch.wake(&run);
    batch.wake(&done);
    life.conductor.store.commit_blocking(batch).unwrap();
    life.end();
    let found = problems(&rig);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("the run does not wait"), "{found:?}");
    let mended = wait_for("a repair", || repair(&rig.store()).ok());
    assert!(
        mended
            .quarantined
            .iter()
            .any(|what| what.contains("does not wait")),
        "{mended:?}"
    );
    assert_eq!(problems(&rig), Vec::<String>::new());
}

#[test]
fn a_repair_keeps_runs_that_wait() {
    let rig = rig();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let sleeps = begin(&life, 1, "1h");
    let watches = begin(&life, 2, "1ms");
    wait_for("a run that watches", || {
        let wait = life.conductor.waits.of(&watches)?;
        (!wait.wants.is_empty()).then_some(())
    });
    life.end();
    let mended = wait_for("a repair", || repair(&rig.store()).ok());
    assert_eq!(mended.quarantined, Vec::<String>::new());
    assert_eq!(problems(&rig), Vec::<String>::new());
    let life = rig.live(None);
    assert!(life.attend(&rig));
    wait_for("both", || {
        let waits = &life.conductor.waits;
        waits.of(&sleeps).and(waits.of(&watches))
    });
    let told = [("n", Value::Int(2)), ("text", Value::from("here"))];
    assert!(life.tell("signal", Value::from(told)));
    assert!(life.drain(|life| life.ended(watches.as_str())));
    life.end();
}

#[test]
fn a_live_run_that_lost_its_wait_lies_down_again_at_the_next_start() {
    let rig = rig();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let run = begin(&life, 1, "1ms");
    wait_for("a run that watches", || {
        let wait = life.conductor.waits.of(&run)?;
        (!wait.wants.is_empty()).then_some(())
    });
    let mut batch = Batch::new();
    batch.wake(&run);
    life.conductor.store.commit_blocking(batch).unwrap();
    life.end();
    let life = rig.live(None);
    assert!(life.conductor.store.wait(&run).unwrap().is_none());
    assert!(life.attend(&rig));
    wait_for("its wait", || life.conductor.waits.of(&run));
    let told = [("n", Value::Int(1)), ("text", Value::from("here"))];
    assert!(life.tell("signal", Value::from(told)));
    assert!(life.drain(|life| life.ended(run.as_str())));
    let journal = life.run(run.as_str()).unwrap();
    assert_eq!(journal.end().unwrap().value, Value::from("here"));
    life.end();
}

#[test]
fn the_engine_that_began_a_run_is_written_down() {
    let rig = rig();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let run = begin(&life, 1, "1h");
    let journal = life.run(run.as_str()).unwrap();
    assert_eq!(journal.start().unwrap().engine_flags, ENGINE_FLAGS);
    life.end();
}

#[test]
fn an_event_that_came_just_before_the_end_wakes_one_of_thousands() {
    const WAITING: i64 = 3_000;
    let rig = rig();
    rig.flow("many", r#"watch("signal", #{ n: event.n }).n"#, "");
    let life = rig.live(None);
    assert!(life.attend(&rig));
    life.push(0..WAITING);
    let all = WAITING as usize;
    wait_for("all of them", || {
        (life.conductor.waits.count() >= all).then_some(())
    });
    life.keep_cursors();
    life.end();
    // Accepted, and the process died before anybody looked.
    let life = rig.live(None);
    let told = |n| Value::from([("n", Value::Int(n)), ("text", Value::from("x"))]);
    for n in (0..WAITING).step_by(100) {
        assert!(life.tell("signal", told(n)));
    }
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let ended = |life: &Life, n: i64| life.ended(&format!("alert/{}/many", n + 1));
    assert!(life.drain(|life| (0..WAITING).step_by(100).all(|n| ended(life, n))));
    assert!(!ended(&life, 1));
    life.end();
}

#[test]
fn a_thousand_receives_do_not_read_old_events_again_and_again() {
    let long = std::env::var("VIGIE_LONG").is_ok();
    let (old, takers) = if long { (100_000, 1_000) } else { (4_000, 300) };
    let rig = Rig::new();
    let script = r#"receive("jobs", #{ n: event.n }, "1h").n"#;
    rig.flow("take", script, "");
    let life = rig.live(None);
    for first in (0..old).step_by(500) {
        let mut batch = Batch::new();
        for n in first..first + 500 {
            let body = Value::from([
                ("n", Value::Int(1_000_000 + n)),
                ("fill", Value::from("x".repeat(100))),
            ]);
            let meta = vigie::event::Meta::new("test", Timestamp::now());
            batch
                .push("jobs", &vigie::event::Incoming { body, meta }, None)
                .unwrap();
        }
        life.conductor.store.commit_blocking(batch).unwrap();
    }
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let began = std::time::Instant::now();
    life.push(0..takers);
    let all = takers as usize;
    wait_for("all of them", || {
        (life.conductor.waits.count() >= all).then_some(())
    });
    let took = began.elapsed();
    println!("{takers} receives among {old} old events: {took:?}");
    // Reading everything for each would be over a million events even in the short form.
    assert!(
        took < Duration::from_secs(if long { 60 } else { 20 }),
        "{took:?}"
    );
    for n in [0, takers - 1] {
        assert!(life.tell("jobs", Value::from([("n", Value::Int(n))])));
        assert!(life.drain(|life| life.ended(&format!("alert/{}/take", n + 1))));
    }
    life.end();
}

#[test]
fn a_condition_makes_it_another_thing_that_is_seen() {
    let want = |condition| Want {
        which: 0,
        channel: "signal".to_owned(),
        fields: [("n".to_owned(), Value::Int(1))].into(),
        condition,
        listed: false,
        from: 0,
    };
    assert!(want(true).is_like(&want(true)));
    assert!(!want(true).is_like(&want(false)));
    let id = EventId {
        channel: "alert".to_owned(),
        number: 1,
    };
    let run = RunId::new(&id, "x");
    assert!(Journal::read(run, &[]).unwrap().start().is_none());
}
