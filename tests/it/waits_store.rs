//! A store with runs that wait: what `check --store` finds when it is not as it should be, what a
//! start mends, and what is written down about the engine.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use vigie::clock::Clock;
use vigie::engine::ENGINE_FLAGS;
use vigie::event::{Event, EventId, Meta, RunId, Value};
use vigie::gate::Question;
use vigie::journal::Journal;
use vigie::store::{Batch, End, check, repair};
use vigie::wait::Wait;
use vigie::waits::{Entered, Waits};
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

/// So many events came, and the runs of all of them wait when the process ends.
fn lay_down(rig: &Rig, events: i64) {
    let life = rig.live(None);
    assert!(life.attend(rig));
    life.push(0..events);
    let all = events as usize;
    wait_for("all of them", || {
        (life.conductor.waits.count() >= all).then_some(())
    });
    life.keep_cursors();
    life.end();
}

#[test]
fn an_event_that_came_just_before_the_end_wakes_one_of_thousands() {
    const WAITING: i64 = 3_000;
    let rig = rig();
    rig.flow("many", r#"watch("signal", #{ n: event.n }).n"#, "");
    lay_down(&rig, WAITING);
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
fn an_event_that_came_before_a_deadline_wins_though_both_passed_while_nobody_was_there() {
    const WAITING: i64 = 20;
    let begun = Timestamp::from_second(1_800_000_000).unwrap();
    let rig = Rig::at(Clock::virtual_at(begun));
    let script = r#"any([on("signal", #{ n: event.n }), after("10m")]).which"#;
    rig.flow("race", script, "");
    lay_down(&rig, WAITING);
    // Accepted, and the process died before anybody looked.
    let life = rig.live(None);
    for n in 0..WAITING {
        assert!(life.tell("signal", Value::from([("n", Value::Int(n))])));
    }
    life.end();
    rig.clock.set(begun + Duration::from_secs(3_600));
    let life = rig.live(None);
    assert!(life.attend(&rig));
    assert!(life.drain(|life| life.all_ended("race", WAITING)));
    for n in 1..=WAITING {
        let journal = life.run(&format!("alert/{n}/race")).unwrap();
        assert_eq!(journal.end().unwrap().value, Value::Int(0));
    }
    life.end();
}

/// What a run with this name waits for, by its question.
fn watch(name: &str, fields: Value) -> Wait {
    let question = Question {
        word: "watch".to_owned(),
        arguments: vec![Value::from("signal"), fields],
    };
    let run: RunId = format!("alert/1/{name}").parse().unwrap();
    Wait::of(&run, 0, Timestamp::UNIX_EPOCH, &question).unwrap()
}

fn signal(number: u64, body: Value) -> Event {
    Event {
        id: EventId {
            channel: "signal".to_owned(),
            number,
        },
        body,
        meta: Meta::new("test", Timestamp::UNIX_EPOCH),
    }
}

#[test]
fn an_event_is_offered_to_nobody_who_wants_other_values() {
    let waits = Waits::default();
    waits.open("signal", || 1);
    let body = |host: &str, state: &str| {
        let pairs = [("host", host), ("state", state)];
        Value::from(pairs.map(|(name, value)| (name, Value::from(value))))
    };
    for (host, state) in [("a", "down"), ("a", "up"), ("b", "down"), ("b", "up")] {
        let wait = watch(&format!("{host}-{state}"), body(host, state));
        assert_eq!(waits.enter(&Arc::new(wait), &[1], 0), Entered::Waits);
    }
    let offered = waits.offer(&signal(1, body("b", "up")));
    let offered: Vec<&str> = offered.iter().map(|(wait, _)| wait.run.as_str()).collect();
    assert_eq!(offered, ["alert/1/b-up"]);
}

#[test]
fn a_wait_that_was_not_shown_everything_does_not_come_in() {
    let waits = Waits::default();
    waits.open("signal", || 5);
    let wait = Arc::new(watch("late", Value::Null));
    assert_eq!(waits.enter(&wait, &[4], 0), Entered::Behind);
    assert_eq!(waits.count(), 0);
    assert_eq!(waits.enter(&wait, &[5], 0), Entered::Waits);
}

#[test]
fn a_mark_stays_behind_what_is_not_on_disk_and_behind_who_still_lies_down() {
    let waits = Waits::default();
    waits.open("signal", || 1);
    let mut wait = watch("first", Value::Null);
    waits.settle(&mut wait);
    assert!(waits.marks()["signal"].laid <= wait.laid);
    assert_eq!(
        waits.enter(&Arc::new(wait.clone()), &[1], 0),
        Entered::Waits
    );
    assert!(waits.marks()["signal"].laid > wait.laid);
    assert_eq!(waits.offer(&signal(1, Value::Null)).len(), 1);
    assert_eq!(waits.marks()["signal"].next, 1);
    waits.kept("signal", 2);
    assert_eq!(waits.marks()["signal"].next, 2);
}

#[test]
fn of_several_deadlines_the_earliest_counts() {
    let after = |lasting| vigie::wait::after(Timestamp::UNIX_EPOCH, &Value::from(lasting)).unwrap();
    let question = Question {
        word: "any".to_owned(),
        arguments: vec![Value::List(vec![after("1h"), after("1m"), after("2h")])],
    };
    let run: RunId = "alert/1/any".parse().unwrap();
    let wait = Wait::of(&run, 0, Timestamp::UNIX_EPOCH, &question).unwrap();
    let alarm = wait.alarm.unwrap();
    assert_eq!((alarm.due.as_second(), alarm.which), (60, 1));
}

#[test]
fn the_timer_of_a_run_that_is_still_lying_down_is_kept() {
    let rig = rig();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let mut lying = watch("lying", Value::Null);
    life.conductor.waits.settle(&mut lying);
    let gone: RunId = "alert/2/gone".parse().unwrap();
    let due = Timestamp::UNIX_EPOCH;
    for run in [&lying.run, &gone] {
        let mut batch = Batch::new();
        batch.put_timer(due, run, 0);
        life.conductor.store.commit_blocking(batch).unwrap();
    }
    let left = || -> Vec<RunId> {
        let due = life.conductor.store.due(Timestamp::now(), 10).unwrap();
        due.into_iter().map(|timer| timer.run).collect()
    };
    let rung = |what, run: &RunId| {
        wait_for(what, || {
            life.conductor.alarms.notify_one();
            (!left().contains(run)).then_some(())
        });
    };
    rung("the timer of nobody", &gone);
    assert_eq!(left(), [lying.run.clone()]);
    life.conductor.waits.settled(&lying);
    rung("the other one", &lying.run);
    life.end();
}

#[test]
fn after_a_start_too_a_receive_leaves_what_flows_had_looked_at() {
    let rig = Rig::new();
    rig.flow("take", r#"receive("mixed").n"#, "");
    rig.flow("mixed/see", "fn filter(event) { false }", "");
    let life = rig.live(None);
    assert!(life.attend(&rig));
    let told = |n| Value::from([("n", Value::Int(n))]);
    assert!(life.tell("mixed", told(1)));
    let mixed = life.conductor.channels.find("mixed").unwrap();
    wait_for("the flow's look", || (mixed.offered() > 1).then_some(()));
    drop(mixed);
    life.push(0..1);
    let run: RunId = "alert/1/take".parse().unwrap();
    wait_for("a run that waits", || life.conductor.waits.of(&run));
    // No mark says how far events were shown.
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    assert!(life.tell("mixed", told(2)));
    assert!(life.drain(|life| life.ended(run.as_str())));
    let journal = life.run(run.as_str()).unwrap();
    assert_eq!(journal.end().unwrap().value, Value::Int(2));
    life.end();
}

#[test]
fn those_who_waited_before_a_start_take_in_their_order_before_any_flow_looks() {
    for marks_are_kept in [false, true] {
        let rig = Rig::new();
        rig.flow("take", r#"receive("mixed").n"#, "");
        rig.flow("mixed/see", "event.n", "");
        let life = rig.live(None);
        assert!(life.attend(&rig));
        for n in 1..=3 {
            life.push(n..n + 1);
            let run: RunId = format!("alert/{n}/take").parse().unwrap();
            wait_for("a run that waits", || life.conductor.waits.of(&run));
        }
        if marks_are_kept {
            life.keep_cursors();
        }
        life.end();
        // Accepted, and the process died before anybody looked.
        let life = rig.live(None);
        for n in 1..=4 {
            assert!(life.tell("mixed", Value::from([("n", Value::Int(n))])));
        }
        life.end();
        let life = rig.live(None);
        assert!(life.attend(&rig));
        assert!(life.drain(|life| life.all_ended("take", 3) && life.ended("mixed/4/see")));
        for n in 1..=3 {
            let journal = life.run(&format!("alert/{n}/take")).unwrap();
            assert_eq!(journal.end().unwrap().value, Value::Int(n));
            assert!(life.run(&format!("mixed/{n}/see")).is_none());
        }
        life.end();
    }
}

#[test]
fn a_cancel_that_was_kept_just_before_the_end_is_told_after_the_start() {
    let rig = Rig::new();
    rig.flow(
        "long",
        r#"try { sleep("1h") } catch (error) { error.kind }"#,
        "",
    );
    let life = rig.live(None);
    assert!(life.attend(&rig));
    life.push(0..1);
    let run: RunId = "alert/1/long".parse().unwrap();
    wait_for("a run that waits", || life.conductor.waits.of(&run));
    life.end();
    // The wish is on disk, and the process died before the run was told.
    let life = rig.live(None);
    let until = Timestamp::now() + Duration::from_secs(60);
    let conductor = Arc::clone(&life.conductor);
    let wish = conductor.cancel_run(&run, until, Batch::new());
    life.inside.block_on(wish).unwrap();
    drop(conductor);
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    assert!(life.drain(|life| life.ended(run.as_str())));
    let journal = life.run(run.as_str()).unwrap();
    assert_eq!(journal.end().unwrap().state, End::Cancelled);
    assert!(journal.knows_of_cancel());
    life.end();
}

#[test]
fn a_cancelled_run_is_done_nothing_more_for_when_its_time_to_tidy_up_is_over() {
    let ended = tidied_up(r#"try { sleep("1h") } catch { sleep("5m"); sleep("5m") }"#);
    assert!(ended.contains("time to tidy up is over"), "{ended}");
}

#[test]
fn a_cancelled_run_that_waits_for_ever_ends_with_its_time_to_tidy_up() {
    let ended = tidied_up(r#"try { sleep("1h") } catch { watch("signal"); sleep("1s") }"#);
    assert!(ended.contains("time to tidy up is over"), "{ended}");
    // one that asks for nothing more has ended by itself
    tidied_up(r#"try { sleep("1h") } catch { watch("signal"); }"#);
}

/// Cancels a run, with a minute to tidy up, and says how it ended some minutes later.
fn tidied_up(script: &str) -> String {
    let begun = Timestamp::from_second(1_800_000_000).unwrap();
    let rig = Rig::at(Clock::virtual_at(begun));
    rig.flow("long", script, "");
    let life = rig.live(None);
    assert!(life.attend(&rig));
    life.push(0..1);
    let run: RunId = "alert/1/long".parse().unwrap();
    wait_for("a run that waits", || life.conductor.waits.of(&run));
    let until = begun + Duration::from_secs(60);
    let conductor = Arc::clone(&life.conductor);
    let wish = conductor.cancel_run(&run, until, Batch::new());
    life.inside.block_on(wish).unwrap();
    drop(conductor);
    wait_for("its tidying up", || {
        let wait = life.conductor.waits.of(&run)?;
        (wait.command == 1).then_some(())
    });
    rig.clock.set(begun + Duration::from_secs(400));
    life.conductor.alarms.notify_one();
    assert!(life.drain(|life| life.ended(run.as_str())));
    let journal = life.run(run.as_str()).unwrap();
    let end = journal.end().unwrap();
    assert_eq!(end.state, End::Cancelled);
    life.end();
    end.message.clone()
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
