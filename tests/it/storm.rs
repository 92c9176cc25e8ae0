//! Storm control in the server: what acts after crashes at every commit, what `/metrics` says at any moment,
//! what `explain` says, and what becomes of what is held when the settings change.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;
use vigie::clock::Clock;
use vigie::event::{Incoming, Meta, RunId, Value};
use vigie::store::Point;
use vigie::storm::{Arrival, Decision, Storm, StormSettings};

use crate::house::{House, Running, stderr, stdout, wait_for};
use crate::rig::{Life, POINTS, Rig};

const START: i64 = 1_800_000_000_000;
const ACT: &str = r#"
    fn filter(event) { event.n % 7 != 6 }
    http::put("TARGET/act", #{ json: [event.n, meta.suppressed] });
"#;
const ACT_TOGETHER: &str = r#"
    fn filter(event) { event.n % 7 != 6 }
    let all = [];
    for event in events { all.push(event.n); }
    http::put("TARGET/act", #{ json: all });
"#;

/// What happens: an event comes, or time passes.
#[derive(Debug, Clone, Copy)]
enum Step {
    Come(i64),
    Pass(i64),
}

/// Twenty events of three keys, in bursts.
fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for n in 0..20 {
        steps.push(Step::Come(n));
        match n % 6 {
            2 => steps.push(Step::Pass(400)),
            5 => steps.push(Step::Pass(2_500)),
            _ => {}
        }
    }
    steps.push(Step::Pass(60_000));
    steps
}

fn body(n: i64) -> Value {
    Value::from([
        ("n", Value::Int(n)),
        ("key", Value::Int(n % 3)),
        ("value", Value::Int(n / 2)),
    ])
}

fn settings(storm: &str) -> StormSettings {
    toml::from_str(storm).unwrap()
}

/// The runs that there must be after each step, by what they are told of numbers.
fn expected(storm: &str) -> Vec<BTreeSet<Vec<u64>>> {
    let mut storm = Storm::new(&settings(storm), 1);
    let (mut now, mut number) = (START, 0);
    let mut runs = BTreeSet::new();
    let mut all = Vec::new();
    let mut bodies = |number: u64| body(number as i64 - 1);
    for step in steps() {
        let decisions = match step {
            Step::Come(n) => {
                number += 1;
                let body = body(n);
                let body = (n % 7 != 6).then_some(&body);
                storm.meet(
                    Arrival {
                        number,
                        at: now,
                        body,
                    },
                    &mut bodies,
                )
            }
            Step::Pass(millis) => {
                now += millis;
                storm.ring(now, &mut bodies)
            }
        };
        for decision in decisions {
            if let Decision::Act(act) = decision {
                runs.insert(act.numbers);
            }
        }
        all.push(runs.clone());
    }
    all
}

/// The events of all runs that ended, as far as the store can be read: it may just have died.
fn runs(life: &Life) -> BTreeSet<Vec<u64>> {
    let store = &life.conductor.store;
    let runs = store.runs(None, 1_000).unwrap_or_default();
    let ended = runs.into_iter().filter(|info| info.end.is_some());
    let journal = |run: RunId| life.conductor.journal(&run).ok().flatten();
    ended
        .filter_map(|info| Some(journal(info.run)?.start()?.events.clone()))
        .collect()
}

fn nudge(life: &Life) {
    life.conductor
        .channels
        .get("alert")
        .unwrap()
        .set_paused(false);
}

/// Goes through the steps from one on; where it died.
fn live(rig: &Rig, life: &Life, expected: &[BTreeSet<Vec<u64>>], from: usize) -> Option<usize> {
    for (index, step) in steps().into_iter().enumerate().skip(from) {
        let events = life.conductor.store.tail("alert");
        match step {
            Step::Come(n) if events <= n as u64 => {
                if !life.tell("alert", body(n)) {
                    return Some(index);
                }
            }
            Step::Come(_) => {}
            Step::Pass(_) => {
                let passed: i64 = steps()[..=index]
                    .iter()
                    .map(|step| {
                        if let Step::Pass(millis) = step {
                            *millis
                        } else {
                            0
                        }
                    })
                    .sum();
                rig.clock
                    .set(Timestamp::from_millisecond(START + passed).unwrap());
                nudge(life);
            }
        }
        if index % 5 == 4 {
            life.keep_cursors();
        }
        let met = |life: &Life| {
            let lines = life.attendance.lines();
            let all_met = lines[0].next > life.conductor.store.tail("alert");
            all_met && runs(life).is_superset(&expected[index])
        };
        if !life.drain(met) {
            return Some(index);
        }
        let runs = runs(life);
        if life.is_dead() {
            return Some(index);
        }
        assert_eq!(runs, expected[index], "step {index} {step:?}");
    }
    None
}

/// Dies at the `nth` commit, and goes on; true if it died.
fn survives(storm: &str, nth: u64, point: Point) -> bool {
    let expected = expected(storm);
    let rig = Rig::at(Clock::virtual_at(
        Timestamp::from_millisecond(START).unwrap(),
    ));
    let script = if storm.contains("digest") {
        ACT_TOGETHER
    } else {
        ACT
    };
    rig.flow("act", script, &format!("[storm]\n{storm}"));
    let life = rig.live(Some((nth, point)));
    let died = match life.attend(&rig) {
        true => live(&rig, &life, &expected, 0),
        false => Some(0),
    };
    life.end();
    if let Some(index) = died {
        let life = rig.live(None);
        assert!(life.attend(&rig));
        assert_eq!(live(&rig, &life, &expected, index), None);
        life.end();
    }
    let seen = rig.seen("/act");
    let last = expected.last().unwrap();
    assert_eq!(
        seen.len(),
        last.len(),
        "{storm} {nth} {point:?}: one action for each run"
    );
    for requests in seen.values() {
        let same = requests.iter().all(|one| one.body == requests[0].body);
        assert!(same && requests.len() <= 2, "{storm} {nth} {point:?}");
    }
    died.is_some()
}

fn every_commit(storm: &str) {
    let mut hurt = 0;
    for nth in (1..200).step_by(3) {
        let point = POINTS[(nth / 3) as usize % 4];
        if !survives(storm, nth, point) {
            break;
        }
        hurt += 1;
    }
    assert!(hurt >= 5, "{storm}: {hurt} deaths only");
}

#[test]
fn dedup_decides_the_same_though_the_process_dies_at_any_commit() {
    every_commit(r#"dedup = { by = ["key"], within = "1s" }"#);
}

#[test]
fn throttle_decides_the_same_though_the_process_dies_at_any_commit() {
    every_commit(r#"throttle = { most = 2, within = "1s" }"#);
}

#[test]
fn debounce_acts_once_though_the_process_dies_at_any_commit() {
    every_commit(r#"debounce = { by = ["key"], quiet = "300ms", longest = "2s" }"#);
}

#[test]
fn flap_decides_the_same_though_the_process_dies_at_any_commit() {
    every_commit(
        r#"flap = { by = ["key"], field = "value", changes = 2, within = "5s", calm = "1s" }"#,
    );
}

#[test]
fn quorum_decides_the_same_though_the_process_dies_at_any_commit() {
    every_commit(r#"quorum = { distinct = "key", least = 2, within = "1s" }"#);
}

#[test]
fn a_digest_is_one_run_though_the_process_dies_at_any_commit() {
    every_commit(r#"digest = { every = "2s", most = 5 }"#);
}

#[test]
fn kinds_together_decide_the_same_though_the_process_dies_at_any_commit() {
    every_commit(
        "dedup = { by = [\"value\"], within = \"100ms\" }\n\
         debounce = { by = [\"key\"], quiet = \"300ms\", longest = \"2s\" }\n\
         digest = { every = \"1s\", most = 3 }",
    );
}

/// What a flow counted, by the words of `/metrics`.
fn counted(server: &Running<'_>, flow: &str) -> BTreeMap<String, u64> {
    let text = server.ask("/metrics", &[], None).text;
    let mut counted = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| line.contains(&format!("flow=\"{flow}\"")))
    {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = match name.split_once("outcome=\"") {
            Some((_, outcome)) => outcome.trim_end_matches("\"}"),
            None => name.split('{').next().unwrap(),
        };
        counted.insert(name.to_owned(), value.parse().unwrap());
    }
    counted
}

/// `in = acted + suppressed + waiting + dead`
fn law(server: &Running<'_>, flow: &str) -> BTreeMap<String, u64> {
    let counted = counted(server, flow);
    let sum = ["acted", "suppressed", "dead", "vigie_flow_waiting"];
    let sum: u64 = sum.iter().map(|name| counted[*name]).sum();
    assert_eq!(counted["vigie_flow_in_total"], sum, "{counted:?}");
    counted
}

#[test]
fn nothing_is_lost_between_the_counts_at_any_moment_though_the_server_is_killed() {
    let house = House::new();
    house.channel("alert", "");
    let script = "fn filter(event) { if event.n % 10 == 9 { throw \"no\" } event.n % 10 != 8 }\nprint(`${event.n}`);";
    house.flow("alert/calm", script);
    house.flow("alert/act", script);
    house.file(
        "flows/alert/act.toml",
        "[storm]\nthrottle = { by = [\"host\"], most = 3, within = \"300ms\" }\n\
         debounce = { by = [\"key\"], quiet = \"50ms\", longest = \"200ms\" }",
    );
    let mut pushed = 0_u64;
    for round in 0..5_u64 {
        let server = house.serve();
        std::thread::scope(|scope| {
            let push = scope.spawn(|| {
                for n in 0..60 + 10 * round {
                    let event = json!({ "n": n, "host": n % 4, "key": n % 13 });
                    server.push("alert", &event);
                }
                60 + 10 * round
            });
            while !push.is_finished() {
                law(&server, "alert/act");
                law(&server, "alert/calm");
            }
            pushed += push.join().unwrap();
        });
        if round < 4 {
            server.kill();
            continue;
        }
        // Once all is quiet every event of all lives is accounted for.
        wait_for("quiet", || {
            let counted = law(&server, "alert/act");
            let behind = server.get("flows")["flows"].clone();
            let is_met = behind
                .as_array()
                .unwrap()
                .iter()
                .all(|flow| flow["behind"] == 0);
            (is_met && counted["vigie_flow_waiting"] == 0).then_some(())
        });
        let mut acted = 0;
        for number in 1..=pushed {
            let run = server.run(&format!("alert/{number}/act"));
            acted += u64::from(run["state"].is_string());
            if run["state"].is_string() {
                server.ended(&format!("alert/{number}/act"));
                continue;
            }
            let reasons = server.get(&format!("events/alert%2F{number}/explain"));
            let flows = reasons["flows"].as_array().unwrap();
            let act = flows.iter().find(|flow| flow["flow"] == "act").unwrap();
            let known = ["matched, and was suppressed", "did not match"];
            assert!(
                known.iter().any(|known| act["verdict"] == *known),
                "{number}: {act}"
            );
        }
        assert!(acted > pushed / 20 && acted < pushed, "{acted} of {pushed}");
    }
}

#[test]
fn explain_says_what_suppressed_and_what_holds_an_event() {
    let house = House::new();
    house.channel("alert", "");
    house.flow("alert/once", "print(meta.suppressed ?? 0);");
    house.file(
        "flows/alert/once.toml",
        "[storm]\ndedup = { by = [\"hostname\"], within = \"10m\" }",
    );
    house.flow("alert/later", "print(1);");
    house.file(
        "flows/alert/later.toml",
        "[storm]\ndebounce = { by = [\"hostname\"], quiet = \"1h\", longest = \"1h\" }",
    );
    let server = house.serve();
    for _ in 0..3 {
        server.push("alert", &json!({ "hostname": "web01" }));
    }
    server.ended("alert/1/once");
    let explained = |server: &Running<'_>, event: &str| {
        let said = server.verb(&["explain", event]);
        assert!(said.status.success(), "{}", stderr(&said));
        stdout(&said)
    };
    wait_for("what holds it", || {
        explained(&server, "alert/3")
            .contains("held by debounce")
            .then_some(())
    });
    let said = explained(&server, "alert/2");
    assert!(
        said.contains("suppressed by dedup, key \"web01\""),
        "{said}"
    );
    assert!(
        said.contains("suppressed by debounce, key \"web01\""),
        "{said}"
    );
    let depth = wait_for("the depth", || {
        let channels = server.get("channels");
        let waiting = channels["channels"].as_array().unwrap().iter();
        let waiting = waiting
            .filter(|one| one["name"] == "alert")
            .map(|one| one["waiting"].clone());
        waiting.into_iter().find(|waiting| *waiting == 1)
    });
    assert_eq!(depth, 1, "what is held waits");
    assert_eq!(server.stop(), Some(0));
    // It is known after a restart, too.
    let server = house.serve();
    let said = explained(&server, "alert/2");
    assert!(
        said.contains("suppressed by dedup, key \"web01\""),
        "{said}"
    );
    assert_eq!(server.stop(), Some(0));
    // Without the setting what was held acts.
    std::fs::remove_file(house.path("flows/alert/later.toml")).unwrap();
    let server = house.serve();
    server.ended("alert/3/later");
    let counted = law(&server, "alert/later");
    assert_eq!(
        (counted["vigie_flow_in_total"], counted["acted"]),
        (1, 1),
        "{counted:?}"
    );
    assert!(server.run("alert/2/later")["state"].is_null());
}

#[test]
fn settings_that_change_while_it_runs_lose_nothing_that_is_held() {
    let house = House::new();
    house.channel("alert", "");
    house.flow(
        "alert/gather",
        "for event in events { print(`${event.n}`); }",
    );
    house.file(
        "flows/alert/gather.toml",
        "[storm]\ndigest = { every = \"1h\", most = 100 }",
    );
    let server = house.serve();
    for n in 1..=3 {
        server.push("alert", &json!({ "n": n }));
    }
    wait_for("three held", || {
        (law(&server, "alert/gather")["vigie_flow_waiting"] == 3).then_some(())
    });
    // The same digest with another size keeps what it holds, and is full with the next.
    house.file(
        "flows/alert/gather.toml",
        "[storm]\ndigest = { every = \"1h\", most = 4 }",
    );
    server.signal(rustix::process::Signal::HUP);
    wait_for("the change", || {
        server
            .log()
            .contains("took up the changed house")
            .then_some(())
    });
    server.push("alert", &json!({ "n": 4 }));
    assert_eq!(
        server.ended("alert/1/gather")["console"],
        json!(["1", "2", "3", "4"])
    );
    server.push("alert", &json!({ "n": 5 }));
    server.push("alert", &json!({ "n": 6 }));
    wait_for("two held", || {
        (law(&server, "alert/gather")["vigie_flow_waiting"] == 2).then_some(())
    });
    std::fs::remove_file(house.path("flows/alert/gather.toml")).unwrap();
    house.flow("alert/gather", "print(`alone ${event.n}`);");
    server.signal(rustix::process::Signal::HUP);
    assert_eq!(
        server.ended("alert/5/gather")["console"],
        json!(["alone 5"])
    );
    assert_eq!(
        server.ended("alert/6/gather")["console"],
        json!(["alone 6"])
    );
    let counted = law(&server, "alert/gather");
    assert_eq!((counted["acted"], counted["vigie_flow_waiting"]), (6, 0));
}

#[test]
fn a_run_is_told_what_was_suppressed_before_it_and_when_flapping_begins_and_ends() {
    let house = House::new();
    house.channel("alert", "");
    house.flow(
        "alert/told",
        "sleep(\"1ms\"); print(`${meta.flapping ?? \"steady\"} ${meta.suppressed ?? 0}`);",
    );
    house.file(
        "flows/alert/told.toml",
        "[storm]\nflap = { by = [\"h\"], field = \"s\", changes = 2, within = \"1h\", calm = \"300ms\" }",
    );
    let server = house.serve();
    for status in ["a", "b", "a", "b", "a", "b"] {
        server.push("alert", &json!({ "h": 1, "s": status }));
    }
    let console = |number: u64| server.ended(&format!("alert/{number}/told"))["console"].clone();
    assert_eq!(console(1), json!(["steady 0"]));
    assert_eq!(console(2), json!(["steady 0"]));
    assert_eq!(console(3), json!(["began 0"]));
    assert_eq!(console(6), json!(["ended 2"]));
    assert!(server.run("alert/4/told")["state"].is_null());
    let recorded = server.verb(&["record", "alert/6/told", "--as-test"]);
    assert!(
        stdout(&recorded).contains("flapping"),
        "{} {}",
        stdout(&recorded),
        stderr(&recorded)
    );
}

#[test]
fn what_makes_no_sense_is_told() {
    let house = House::new();
    house.channel("alert", "");
    house.flow("alert/one", "1");
    let table = [
        (
            "[storm]\nthrotle = { most = 1, within = \"1s\" }",
            "did you mean `throttle`?",
        ),
        (
            "[storm]\nthrottle = { mots = 1, within = \"1s\" }",
            "did you mean `most`?",
        ),
        (
            "[storm]\nthrottle = { most = 0, within = \"1s\" }",
            "throttle most must be 1 to",
        ),
        (
            "[storm]\nthrottle = { most = 1, within = \"0s\" }",
            "`within` must be longer than 0s",
        ),
        (
            "[storm]\ndedup = { by = [], within = \"1s\" }",
            "`by` must name a field",
        ),
        (
            "[storm]\nflap = { by = [\"h\"], changes = 3, within = \"1m\", calm = \"1m\" }",
            "missing field `field`",
        ),
        (
            "[storm]\nquorum = { by = [\"h\"], distinct = \"h\", least = 2, within = \"1m\" }",
            "never a second",
        ),
        (
            "[storm]\ndebounce = { quiet = \"1m\", longest = \"1s\" }",
            "shorter than `quiet`",
        ),
        (
            "[storm]\ndigest = { every = \"1m\", most = 1000000 }",
            "digest most must be 1 to 10000",
        ),
        (
            "[storm]\ndigest = { every = \"60d\", most = 10 }",
            "at most 30d",
        ),
        (
            "one_run_per = [\"h\"]\n[storm]\ndigest = { every = \"1m\", most = 10 }",
            "exclude each other",
        ),
        (
            "[batch]\nsize_max = 2\nage_max = \"1s\"\n[storm]\nthrottle = { most = 1, within = \"1s\" }",
            "exclude each other",
        ),
    ];
    for (toml, words) in table {
        house.file("flows/alert/one.toml", toml);
        let checked = house.run(&["check"]);
        let said = format!("{}{}", stdout(&checked), stderr(&checked));
        assert!(
            !checked.status.success() && said.contains(words),
            "{toml}: {said}"
        );
    }
}

#[test]
fn held_events_are_not_removed_by_retention() {
    let clock = Clock::virtual_at(Timestamp::from_millisecond(START).unwrap());
    let rig = Rig::at(clock.clone());
    rig.flow(
        "act",
        ACT_TOGETHER,
        "[storm]\ndigest = { every = \"10d\", most = 100 }",
    );
    let life = rig.live(None);
    assert!(life.attend(&rig));
    for n in 0..3 {
        assert!(life.tell("alert", body(n)));
    }
    assert!(life.drain(|life| life.attendance.lines()[0].weather.counts().waiting == 3));
    life.keep_cursors();
    let later = Timestamp::from_millisecond(START + 8 * 86_400_000).unwrap();
    clock.set(later);
    let removed = life
        .inside
        .block_on(life.conductor.store.retain_events("alert", later, 100));
    assert_eq!(removed, Ok(0));
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    clock.set(Timestamp::from_millisecond(START + 11 * 86_400_000).unwrap());
    nudge(&life);
    let run: RunId = "alert/1/act".parse().unwrap();
    assert!(life.drain(|life| life.ended(run.as_str())));
    assert_eq!(
        life.run(run.as_str()).unwrap().start().unwrap().events,
        [1, 2, 3]
    );
    life.end();
}

#[test]
fn each_kind_is_documented_with_an_example_that_is_read() {
    let house = House::new();
    let written = house.run(&["docs", "definitions"]);
    assert!(written.status.success(), "{}", stderr(&written));
    let page = std::fs::read_to_string(house.path("definitions/words.md")).unwrap();
    for kind in vigie::storm::Kind::ALL {
        assert!(page.contains(kind.example()), "{kind:?}");
        settings(kind.example()).sensible().unwrap();
    }
}

#[test]
fn what_the_time_let_go_is_repeated_as_it_was_though_a_late_event_would_have_joined_it() {
    let at = |millis: i64| Timestamp::from_millisecond(START + millis).unwrap();
    let rig = Rig::at(Clock::virtual_at(at(0)));
    rig.flow(
        "act",
        ACT_TOGETHER,
        "[storm]\ndigest = { every = \"2s\", most = 100 }",
    );
    let life = rig.live(None);
    assert!(life.attend(&rig));
    for n in 0..2 {
        assert!(life.tell("alert", body(n)));
    }
    assert!(life.drain(|life| life.attendance.lines()[0].weather.counts().waiting == 2));
    // The state is on disk, the action is done, and the run's beginning never gets there.
    life.doom(2, Point::BeforeApply);
    rig.clock.set(at(2_000));
    nudge(&life);
    assert!(!life.drain(|_| false));
    life.end();
    assert_eq!(rig.seen("/act").len(), 1);
    let life = rig.live(None);
    let late = Incoming {
        body: body(2),
        meta: Meta::new("test", at(500)),
    };
    let pushed = life.conductor.channels.push("alert", vec![late]);
    assert!(life.inside.block_on(pushed).is_ok());
    assert!(life.attend(&rig));
    assert!(life.drain(|life| runs(life).contains(&vec![1, 2])));
    rig.clock.set(at(10_000));
    nudge(&life);
    assert!(life.drain(|life| runs(life).contains(&vec![3])));
    let seen = rig.seen("/act");
    assert_eq!(seen.len(), 2);
    for requests in seen.values() {
        assert!(requests.iter().all(|one| one.body == requests[0].body));
    }
    life.end();
}
