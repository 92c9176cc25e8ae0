//! Callers that take events while the process is killed at each commit, at four moments of each: no
//! event is given to two, none vanishes, and who asks again with the same key gets the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use vigie::event::{EventId, Value};
use vigie::receive::{Order, Received, Taken, caller};
use vigie::store::{Batch, Point, check};

use crate::house::wait_for;
use crate::rig::{Life, POINTS, Rig};

const CHANNEL: &str = "jobs";
const EVENTS: i64 = 5;

fn body(n: i64) -> Value {
    Value::from([("n", Value::Int(n)), ("even", Value::Bool(n % 2 == 0))])
}

fn order(life: &Life, key: Option<&str>, fields: &[(&str, Value)]) -> Order {
    let fields = fields.iter().cloned();
    Order {
        channel: life.conductor.channels.get(CHANNEL).unwrap(),
        fields: fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        only: None,
        wait: Duration::ZERO,
        by: caller("test", CHANNEL, key),
    }
}

/// Asks; `None` if the process died over it.
fn ask(life: &Life, order: Order) -> Option<Received> {
    let received = life.inside.block_on(life.conductor.receive(order));
    received.ok()
}

/// The number of an event that the caller heard of.
fn hear(mut taken: Taken) -> u64 {
    taken.handed_over();
    taken.event().id.number
}

fn id(number: u64) -> EventId {
    EventId {
        channel: CHANNEL.to_owned(),
        number,
    }
}

fn depth(life: &Life) -> u64 {
    life.conductor.channels.get(CHANNEL).unwrap().depth()
}

/// Pushes what is not there yet; false if the process died.
fn furnish(life: &Life) -> bool {
    let kept = i64::try_from(life.conductor.store.tail(CHANNEL)).unwrap();
    (kept..EVENTS).all(|n| life.tell(CHANNEL, body(n)))
}

fn takes_everything_once(nth: u64, point: Point, keyed: bool) -> bool {
    let what = format!("commit {nth} {point:?} {keyed}");
    let rig = Rig::new();
    rig.flow("idle", "print(1);", "");
    let mut heard: BTreeMap<String, u64> = BTreeMap::new();
    let mut unhurt = true;
    for fatal in [Some((nth, point)), None] {
        let life = rig.live(fatal);
        let goes_on = life.attend(&rig) && furnish(&life) && take_all(&life, &mut heard, keyed);
        unhurt &= goes_on;
        assert!(goes_on || fatal.is_some(), "{what}");
        if fatal.is_none() {
            audit(&life, &heard, keyed, &what);
        }
        life.end();
    }
    let found = wait_for("a store that nobody has", || check(&rig.store()).ok());
    assert_eq!(found.problems, Vec::<String>::new(), "{what}");
    !unhurt
}

/// Takes by turns: any event, one with a certain field, until nothing is left. False at death.
fn take_all(life: &Life, heard: &mut BTreeMap<String, u64>, keyed: bool) -> bool {
    let even = [("even", Value::Bool(true))];
    for turn in 0..EVENTS + 2 {
        let key = format!("key {turn}");
        let fields: &[(&str, Value)] = if turn % 3 == 1 { &even } else { &[] };
        let wish = order(life, keyed.then_some(key.as_str()), fields);
        match ask(life, wish) {
            None => return false,
            Some(Received::Event(taken)) => {
                let number = hear(taken);
                let before = heard.insert(key, number);
                let same = before.is_none_or(|before| before == number);
                assert!(!keyed || same, "another event for the same key");
                let again = (!keyed).then(|| heard.insert(format!("{number} heard"), number));
                assert_eq!(again.flatten(), None, "given to two");
            }
            Some(_) => {}
        }
    }
    true
}

fn audit(life: &Life, heard: &BTreeMap<String, u64>, keyed: bool, what: &str) {
    let mine = |key: &&String| keyed != key.ends_with("heard");
    let numbers: Vec<u64> = heard.keys().filter(mine).map(|key| heard[key]).collect();
    let different: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(numbers.len(), different.len(), "{what}: {heard:?}");
    assert_eq!(depth(life), 0, "{what}");
    let all: BTreeSet<u64> = (1..=life.conductor.store.tail(CHANNEL)).collect();
    let unheard: Vec<u64> = all.difference(&different).copied().collect();
    // With a key an answer that got lost is asked for again; without one a person puts it back.
    assert!(unheard.len() <= usize::from(!keyed), "{what}: {unheard:?}");
    for number in unheard {
        let by = life.conductor.store.taken_by(&id(number)).unwrap().unwrap();
        let event = life.conductor.store.event(&id(number)).unwrap().unwrap();
        let back = life.conductor.put_back(&event, &by, Batch::new());
        assert_eq!(life.inside.block_on(back).unwrap(), id(number));
        assert_eq!(depth(life), 1, "{what}");
        let Some(Received::Event(taken)) = ask(life, order(life, None, &[])) else {
            panic!("{what}: {number} is not to be had");
        };
        assert_eq!(hear(taken), number, "{what}");
    }
}

fn every_commit(point: Point) {
    for keyed in [true, false] {
        let mut hurt = 0;
        while takes_everything_once(hurt + 1, point, keyed) {
            hurt += 1;
            assert!(hurt < 60, "it never ends");
        }
        assert!(hurt >= 2 * EVENTS as u64, "{hurt} deaths only");
    }
}

#[test]
fn events_are_taken_once_when_killed_before_each_commit_is_applied() {
    every_commit(POINTS[0]);
}

#[test]
fn events_are_taken_once_when_killed_before_each_commit_is_on_disk() {
    every_commit(POINTS[1]);
}

#[test]
fn events_are_taken_once_when_killed_before_the_ledger_knows_of_each_commit() {
    every_commit(POINTS[2]);
}

#[test]
fn events_are_taken_once_when_killed_before_anybody_is_told_of_each_commit() {
    every_commit(POINTS[3]);
}

#[test]
fn an_answer_that_nobody_heard_puts_its_event_back_in_its_place() {
    let rig = Rig::new();
    rig.flow("idle", "print(1);", "");
    let life = rig.live(None);
    assert!(life.attend(&rig) && furnish(&life));
    for key in [None, Some("k")] {
        let Some(Received::Event(taken)) = ask(&life, order(&life, key, &[])) else {
            panic!("nothing");
        };
        assert_eq!(taken.event().id, id(1));
        assert_eq!(depth(&life), EVENTS as u64 - 1);
        let gone = life.inside.enter();
        drop((taken, gone));
        wait_for("the event", || {
            (depth(&life) == EVENTS as u64).then_some(())
        });
    }
    let Some(Received::Event(taken)) = ask(&life, order(&life, None, &[])) else {
        panic!("nothing");
    };
    assert_eq!(hear(taken), 1);
    life.end();
}

#[test]
fn a_caller_that_waits_survives_a_disk_that_fails_for_a_moment() {
    let rig = Rig::new();
    rig.flow("idle", "print(1);", "");
    let life = rig.live(None);
    assert!(life.attend(&rig) && furnish(&life));
    life.hurt(1, Point::BeforeSync);
    let Some(Received::Event(taken)) = ask(&life, order(&life, None, &[])) else {
        panic!("nothing");
    };
    assert_eq!(hear(taken), 1);
    let Some(Received::Event(taken)) = ask(&life, order(&life, None, &[])) else {
        panic!("nothing");
    };
    assert_eq!(hear(taken), 2);
    assert_eq!(depth(&life), EVENTS as u64 - 2);
    life.end();
}

#[test]
fn retention_takes_what_is_old_whether_it_was_taken_or_not() {
    let rig = Rig::new();
    rig.flow("idle", "print(1);", "");
    let life = rig.live(None);
    assert!(life.attend(&rig) && furnish(&life));
    let even = [("even", Value::Bool(false))];
    let Some(Received::Event(taken)) = ask(&life, order(&life, Some("k"), &even)) else {
        panic!("nothing");
    };
    assert_eq!(hear(taken), 2);
    let store = &life.conductor.store;
    let marks = || store.marks(&format!("received/{CHANNEL}/")).unwrap().len();
    assert_eq!((depth(&life), marks()), (EVENTS as u64 - 1, 1));
    let now = Timestamp::now()
        .checked_add(Duration::from_secs(60))
        .unwrap();
    let removed = life.inside.block_on(store.retain_events(CHANNEL, now, 3));
    assert_eq!(removed, Ok(3));
    assert_eq!((depth(&life), marks()), (EVENTS as u64 - 3, 0));
    let Some(Received::Event(taken)) = ask(&life, order(&life, Some("k"), &[])) else {
        panic!("nothing");
    };
    assert_eq!(hear(taken), 4, "its receipt went with the event");
    let removed = life.inside.block_on(store.retain_events(CHANNEL, now, 100));
    assert_eq!(removed, Ok(2));
    assert_eq!(depth(&life), 0);
    assert!(life.tell(CHANNEL, body(9)));
    assert_eq!(depth(&life), 1);
    life.end();
}
