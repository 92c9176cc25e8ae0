//! Schedules: through changes of the clock, missed moments and crashes.

use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value as Json;
use tokio::sync::watch;
use vigie::action::http::Client;
use vigie::clock::Clock;
use vigie::event::{EventId, Value};
use vigie::source::block::Page;
use vigie::source::context::{Delivery, Handing, Keeper, Keeping, NotKept};
use vigie::source::cron::{MISSED_MAX, Missed, Schedule};
use vigie::source::{Context, Plan, plan};

use crate::house::{House, Running, wait_for};
use crate::sources::{events, row};

fn schedule(text: &str, zone: &str) -> Schedule {
    Schedule::new(text, TimeZone::get(zone).unwrap()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The local times of a schedule between two moments.
fn between(schedule: &Schedule, from: &str, to: &str) -> Vec<String> {
    let (mut moment, to) = (at(from), at(to));
    let mut found = Vec::new();
    while let Some(next) = schedule.next(moment).filter(|next| *next <= to) {
        assert!(next > moment);
        found.push(schedule.local(next));
        moment = next;
    }
    found
}

#[test]
fn a_fixed_hour_comes_once_a_day_through_both_changes_of_the_clock() {
    let nightly = schedule("30 2 * * *", "Europe/Paris");
    let spring = between(&nightly, "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z");
    let wanted = [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ];
    assert_eq!(spring, wanted);
    let autumn = between(&nightly, "2026-10-24T00:00:00Z", "2026-10-26T12:00:00Z");
    let wanted = [
        "2026-10-24T02:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ];
    assert_eq!(autumn, wanted);
}

#[test]
fn every_half_hour_comes_every_half_hour_through_both_changes_of_the_clock() {
    let half = schedule("*/30 * * * *", "Europe/Paris");
    for (from, to) in [
        ("2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z"),
        ("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"),
    ] {
        let found = between(&half, from, to);
        assert_eq!(found.len(), 8, "{found:?}");
    }
    // No change of the clock in Japan, and one of half an hour on Lord Howe Island.
    let tokyo = schedule("0 9 * * *", "Asia/Tokyo");
    assert_eq!(
        tokyo.next(at("2026-07-01T00:00:00Z")),
        Some(at("2026-07-02T00:00:00Z"))
    );
    let island = schedule("15 2 * * *", "Australia/Lord_Howe");
    assert_eq!(
        between(&island, "2026-10-02T00:00:00Z", "2026-10-06T00:00:00Z").len(),
        4
    );
}

#[test]
fn looking_back_finds_what_looking_ahead_found() {
    for text in [
        "30 2 * * *",
        "*/30 * * * *",
        "0 2,3 * * *",
        "15 1-3 * * 7",
        "@hourly",
    ] {
        for zone in [
            "Europe/Paris",
            "America/New_York",
            "Australia/Lord_Howe",
            "UTC",
        ] {
            let schedule = schedule(text, zone);
            for (from, to) in [
                ("2026-03-01T00:00:00Z", "2026-04-10T00:00:00Z"),
                ("2026-09-30T00:00:00Z", "2026-11-10T00:00:00Z"),
            ] {
                let ahead = between(&schedule, from, to);
                let due = schedule.due(at(from), at(to), Missed::All);
                let back: Vec<String> = due.iter().map(|one| schedule.local(*one)).collect();
                let from = ahead.len().saturating_sub(MISSED_MAX);
                assert_eq!(ahead[from..], back, "{text} {zone}");
            }
        }
    }
}

#[test]
fn missed_moments_follow_the_policy() {
    let hourly = schedule("0 * * * *", "UTC");
    let (last, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T05:30:00.25Z"));
    let due = |missed| hourly.due(last, now, missed);
    assert_eq!(due(Missed::Skip), []);
    assert_eq!(due(Missed::Once), [at("2026-01-01T05:00:00Z")]);
    let all: Vec<Timestamp> = (1..=5)
        .map(|hour| at(&format!("2026-01-01T0{hour}:00:00Z")))
        .collect();
    assert_eq!(due(Missed::All), all);
    // What is a moment late was not missed; what is remembered is never due again.
    let now = at("2026-01-01T05:00:00.003Z");
    assert_eq!(
        hourly.due(last, now, Missed::Skip),
        [at("2026-01-01T05:00:00Z")]
    );
    assert_eq!(hourly.due(at("2026-01-01T05:00:00Z"), now, Missed::All), []);
    let year = at("2027-01-01T00:00:00Z");
    let due = schedule("* * * * *", "UTC").due(last, year, Missed::All);
    assert_eq!(due.len(), MISSED_MAX);
    assert_eq!(due.last(), Some(&year));
}

fn seconds(server: &Running) -> Vec<i64> {
    let second = |body: &Json| at(body["scheduled_at"].as_str().unwrap()).as_second();
    events(server, "tick").iter().map(second).collect()
}

#[test]
fn each_moment_is_one_event_through_kill_9() {
    let house = House::new();
    let block = "[[source]]\nkind = \"cron\"\nname = \"every_second\"\nschedule = \"* * * * * *\"\n\
        zone = \"Asia/Tokyo\"\nmissed = \"all\"\n[source.event]\njob = \"後始末\"\nlimit = 5\n";
    house.channel("tick", block);
    for round in 1..=4 {
        let server = house.serve();
        let before = seconds(&server).len();
        wait_for("two more moments", || {
            (seconds(&server).len() >= before + 2).then_some(())
        });
        if round < 4 {
            let last = seconds(&server).pop().unwrap();
            server.kill();
            // It is away for a moment or two.
            wait_for("the clock", || {
                (Timestamp::now().as_second() > last + 2).then_some(())
            });
            continue;
        }
        let found = seconds(&server);
        let first = found[0];
        let whole: Vec<i64> = (first..first + found.len() as i64).collect();
        assert_eq!(found, whole, "a moment is missing or twice there");
        let body = &events(&server, "tick")[0];
        assert_eq!(
            (&body["job"], &body["limit"]),
            (&"後始末".into(), &5.into())
        );
        assert_eq!(
            (&body["zone"], &body["schedule"]),
            (&"Asia/Tokyo".into(), &"* * * * * *".into())
        );
        assert!(
            body["scheduled_local"]
                .as_str()
                .unwrap()
                .ends_with("+09:00"),
            "{body}"
        );
        assert!(body["late_by"].is_i64(), "{body}");
        let row = row(&server, "tick/every_second").unwrap();
        assert_eq!(row["state"], "up");
    }
}

/// A server that keeps in memory, with the clock in the test's hand.
struct Shelf {
    clock: Clock,
    memory: Mutex<Option<Vec<u8>>>,
    kept: watch::Sender<Vec<String>>,
    /// How often it says that there is no room.
    full: Mutex<u32>,
    troubles: Mutex<Vec<String>>,
}

impl Keeper for Shelf {
    fn hand_over<'d, 'a: 'd>(&'a self, delivery: &'d mut Delivery) -> Handing<'d, 'a> {
        Box::pin(async move {
            let mut full = self.full.lock().unwrap();
            if *full > 0 && !delivery.events.is_empty() {
                *full -= 1;
                return Err(NotKept::Later("no room".to_owned()));
            }
            let at = |event: &vigie::event::Incoming| event.body.get("scheduled_at").cloned();
            let moments = delivery.events.iter().filter_map(at);
            let moments: Vec<String> = moments.map(|at: Value| at.to_plain()).collect();
            self.kept.send_modify(|kept| kept.extend(moments));
            *self.memory.lock().unwrap() = delivery.memory.clone();
            let keeping: Keeping<'a> = Box::pin(async { Ok(Vec::<EventId>::new()) });
            Ok(keeping)
        })
    }

    fn memory(&self) -> Result<Option<Vec<u8>>, NotKept> {
        Ok(self.memory.lock().unwrap().clone())
    }

    fn pieces(&self) -> Result<Vec<(String, Vec<u8>)>, NotKept> {
        Ok(Vec::new())
    }

    fn http(&self) -> Client {
        Client::default()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn up(&self) {}

    fn unknown(&self, _: u64) {}

    fn trouble(&self, why: &str) {
        self.troubles.lock().unwrap().push(why.to_owned());
    }

    fn refused(&self, _: &'static str, _: u64, _: &str) {}
}

fn hourly(more: &str) -> Plan {
    let text = format!("[[source]]\nkind = \"cron\"\nschedule = \"0 * * * *\"\n{more}\n");
    let tables: toml::Table = text.parse().unwrap();
    let blocks = tables["source"].as_array().unwrap();
    let table = blocks[0].as_table().unwrap().clone();
    let page = Page {
        channel: "tick",
        text: &text,
        shown: Path::new("tick.toml"),
        base: Path::new(""),
    };
    plan::read(page, &[table]).unwrap().remove(0)
}

/// The moments that come out, when `memory` is what was remembered and it is `now`.
async fn come_out(plan: &Plan, shelf: &Arc<Shelf>, count: usize) -> Vec<String> {
    let (stop, stopping) = watch::channel(false);
    let context = Context::new(Arc::clone(shelf) as Arc<dyn Keeper>, stopping);
    let mut kept = shelf.kept.subscribe();
    let wanted = async {
        kept.wait_for(|kept| kept.len() >= count).await.unwrap();
        // Whatever else is due comes before the door stops.
        stop.send_replace(true);
    };
    let (ended, ()) = tokio::join!(plan.door.run(&context), wanted);
    ended.unwrap();
    shelf.kept.borrow().clone()
}

fn shelf(now: &str, memory: Option<&str>) -> Arc<Shelf> {
    Arc::new(Shelf {
        clock: Clock::virtual_at(at(now)),
        memory: Mutex::new(memory.map(|text| text.as_bytes().to_vec())),
        kept: watch::Sender::new(Vec::new()),
        full: Mutex::new(0),
        troubles: Mutex::default(),
    })
}

#[tokio::test]
async fn what_was_missed_comes_at_once_and_the_schedule_goes_on_from_there() {
    let memory = Some("0 * * * * UTC\n2026-01-01T01:00:00Z");
    let away = shelf("2026-01-01T04:10:00Z", memory);
    let all = come_out(&hourly("missed = \"all\""), &away, 3).await;
    let wanted = [
        "2026-01-01T02:00:00Z",
        "2026-01-01T03:00:00Z",
        "2026-01-01T04:00:00Z",
    ];
    assert_eq!(all, wanted);
    let away = shelf("2026-01-01T04:10:00Z", memory);
    assert_eq!(
        come_out(&hourly(""), &away, 1).await,
        ["2026-01-01T04:00:00Z"]
    );
    let remembered = away.memory.lock().unwrap().clone().unwrap();
    assert_eq!(remembered, b"0 * * * * UTC\n2026-01-01T04:00:00Z");
    let away = shelf("2026-01-01T04:10:00Z", memory);
    assert!(
        come_out(&hourly("missed = \"skip\""), &away, 0)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_new_or_changed_schedule_begins_now_and_makes_up_for_nothing() {
    for memory in [
        None,
        Some("30 * * * * UTC\n2026-01-01T01:30:00Z"),
        Some("nonsense"),
    ] {
        let fresh = shelf("2026-01-01T04:10:00Z", memory);
        assert!(
            come_out(&hourly("missed = \"all\""), &fresh, 0)
                .await
                .is_empty()
        );
        let remembered = fresh.memory.lock().unwrap().clone().unwrap();
        assert_eq!(remembered, b"0 * * * * UTC\n2026-01-01T04:10:00Z");
    }
}

#[tokio::test]
async fn a_moment_waits_for_room_and_a_clock_that_was_set_back_stops_nothing() {
    let full = shelf(
        "2026-01-01T04:00:01Z",
        Some("0 * * * * UTC\n2026-01-01T03:00:00Z"),
    );
    *full.full.lock().unwrap() = 1;
    let kept = come_out(&hourly("missed = \"skip\""), &full, 1).await;
    assert_eq!(kept, ["2026-01-01T04:00:00Z"]);
    assert_eq!(*full.troubles.lock().unwrap(), ["no room"]);
    // It was 2030 once, by mistake: the next full hour comes all the same.
    let back = shelf(
        "2026-01-01T04:59:59Z",
        Some("0 * * * * UTC\n2030-01-01T00:00:00Z"),
    );
    let clock = back.clock.clone();
    let turn = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        clock.set(at("2026-01-01T05:00:00Z"));
    };
    let plan = hourly("");
    let (kept, ()) = tokio::join!(come_out(&plan, &back, 1), turn);
    assert_eq!(kept, ["2026-01-01T05:00:00Z"]);
}

#[tokio::test]
async fn a_moment_that_was_not_kept_is_not_remembered_either() {
    let memory = "0 * * * * UTC\n2026-01-01T03:00:00Z";
    let full = shelf("2026-01-01T04:00:01Z", Some(memory));
    *full.full.lock().unwrap() = u32::MAX;
    let (_stop, stopping) = watch::channel(false);
    let context = Context::new(Arc::clone(&full) as Arc<dyn Keeper>, stopping);
    let plan = hourly("");
    let refused = async {
        while full.troubles.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = plan.door.run(&context) => unreachable!("the door closed"),
        () = refused => {}
    }
    assert_eq!(
        full.memory.lock().unwrap().as_deref(),
        Some(memory.as_bytes())
    );
    // The process that comes next makes up for it.
    *full.full.lock().unwrap() = 0;
    assert_eq!(come_out(&plan, &full, 1).await, ["2026-01-01T04:00:00Z"]);
}
