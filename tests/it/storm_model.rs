//! Each kind of storm control against a reference that looks at the whole past: random streams of events,
//! times that go back, crashes that bring back an older state.
//!
//! The references remember everything and know no keys that are over: what they say is the definition.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use vigie::event::Value;
use vigie::store::codec::{Reader, Writer};
use vigie::storm::{Arrival, Decision, Kind, Storm, StormSettings};

/// An event of a stream: when it comes, of which key, with which value.
#[derive(Debug, Clone)]
struct Come {
    at: i64,
    key: i64,
    value: i64,
}

/// What a reference says: which act, together with whom, and what they are told.
type Acts = BTreeMap<Vec<u64>, BTreeMap<String, Value>>;

/// What a storm came to.
#[derive(Debug, Default, Clone, PartialEq)]
struct Came {
    acts: Acts,
    suppressed: BTreeMap<u64, &'static str>,
}

fn settings(toml: &str) -> StormSettings {
    let settings: StormSettings = toml::from_str(toml).unwrap();
    settings.sensible().unwrap();
    settings
}

/// Times that mostly go on, sometimes stand still, and sometimes are late.
fn stream() -> impl Strategy<Value = Vec<Come>> {
    let step = prop_oneof![6 => 0..4_i64, 3 => 4..40_i64, 1 => 40..200_i64, 1 => -20..0_i64];
    let event = (step, 0..3_i64, 0..4_i64);
    proptest::collection::vec(event, 1..80).prop_map(|steps| {
        let mut at = 1_000;
        let mut come = |(step, key, value): (i64, i64, i64)| {
            at += step.max(0);
            let at = at + step.min(0);
            Come { at, key, value }
        };
        steps.into_iter().map(&mut come).collect()
    })
}

fn body(come: &Come) -> Value {
    Value::from([
        ("key", Value::Int(come.key)),
        ("value", Value::Int(come.value)),
    ])
}

/// As the storm sees times: they never go back.
fn settled(stream: &[Come]) -> Vec<Come> {
    let mut latest = i64::MIN;
    let later = |come: &Come| {
        latest = latest.max(come.at);
        Come {
            at: latest,
            ..come.clone()
        }
    };
    stream.iter().map(later).collect()
}

impl Came {
    fn add(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            match decision {
                Decision::Act(act) => {
                    let told = self.acts.insert(act.numbers.clone(), act.told.clone());
                    assert!(told.is_none_or(|told| told == act.told), "{act:?}");
                }
                Decision::Suppress(one) => {
                    let by = self.suppressed.insert(one.number, one.by.word());
                    assert!(by.is_none_or(|by| by == one.by.word()));
                }
            }
        }
    }

    fn decided(&self) -> usize {
        self.acts.keys().map(Vec::len).sum::<usize>() + self.suppressed.len()
    }
}

/// Lets a stream meet a storm. At `crashes` the process dies: the state of some events before comes back,
/// and the events since are met again.
fn run(settings: &StormSettings, stream: &[Come], crashes: &BTreeSet<usize>) -> Came {
    let mut storm = Storm::new(settings, 1);
    let mut came = Came::default();
    let mut bodies = |number: u64| body(&stream[number as usize - 1]);
    let mut kept = (write(&storm), 1);
    let mut crashes = crashes.clone();
    let mut number = 1;
    while number <= stream.len() {
        let come = &stream[number - 1];
        let body = body(come);
        let arrival = Arrival {
            number: number as u64,
            at: come.at,
            body: Some(&body),
        };
        came.add(storm.meet(arrival, &mut bodies));
        number += 1;
        if crashes.remove(&number) {
            let loaded = Storm::load(settings, &mut Reader::new(&kept.0)).unwrap();
            let (back, decisions) = loaded.settle(&mut bodies);
            assert!(decisions.is_empty());
            (storm, number) = (back, kept.1);
            assert_eq!(storm.as_of(), number as u64);
        } else if number % 5 == 0 {
            kept = (write(&storm), number);
        }
        let acted: BTreeSet<u64> = came.acts.keys().flatten().copied().collect();
        assert!(
            acted
                .iter()
                .all(|number| !came.suppressed.contains_key(number))
        );
    }
    assert_eq!(
        came.decided() + storm.held().len(),
        stream.len(),
        "in = acted + suppressed + waiting"
    );
    came.add(storm.ring(10_000_000, &mut bodies));
    assert_eq!(storm.held(), Vec::<u64>::new());
    assert_eq!(came.decided(), stream.len());
    came
}

fn write(storm: &Storm) -> Vec<u8> {
    let mut out = Writer::new();
    storm.write(&mut out).unwrap();
    out.into_bytes()
}

fn crashes() -> impl Strategy<Value = BTreeSet<usize>> {
    proptest::collection::btree_set(2..80_usize, 0..6)
}

fn told(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
    let pair = |(name, value): &(&str, Value)| ((*name).to_owned(), value.clone());
    pairs.iter().map(pair).collect()
}

fn suppressed(count: usize) -> BTreeMap<String, Value> {
    match count {
        0 => BTreeMap::new(),
        count => told(&[("suppressed", Value::Int(count as i64))]),
    }
}

/// The past of each key, as numbers and events.
fn by_key(stream: &[Come]) -> Vec<Vec<(u64, Come)>> {
    let mut keys: BTreeMap<i64, Vec<(u64, Come)>> = BTreeMap::new();
    for (number, come) in (1..).zip(settled(stream)) {
        keys.entry(come.key).or_default().push((number, come));
    }
    keys.into_values().collect()
}

/// An event acts if fewer than `most` acted since the window of its key began; a window begins with the
/// first that acts after the last window is over.
fn window(stream: &[Come], most: usize, within: i64) -> Acts {
    let mut acts = Acts::new();
    for past in by_key(stream) {
        let mut windows: Vec<(i64, usize)> = Vec::new();
        let mut silent = 0;
        for (number, come) in past {
            let open = windows
                .last_mut()
                .filter(|(began, _)| come.at < began + within);
            match open {
                Some((_, count)) if *count >= most => silent += 1,
                open => {
                    match open {
                        Some((_, count)) => *count += 1,
                        None => windows.push((come.at, 1)),
                    }
                    acts.insert(vec![number], suppressed(silent));
                    silent = 0;
                }
            }
        }
    }
    acts
}

/// Bursts of a key: `until` says when the burst is over that these events are.
fn bursts(stream: &[Come], until: impl Fn(&[(u64, Come)]) -> i64) -> Vec<Vec<u64>> {
    let mut all = Vec::new();
    for past in by_key(stream) {
        let mut burst: Vec<(u64, Come)> = Vec::new();
        for (number, come) in past {
            if !burst.is_empty() && come.at >= until(&burst) {
                all.push(std::mem::take(&mut burst));
            }
            burst.push((number, come));
        }
        all.push(burst);
    }
    let numbers = |burst: Vec<(u64, Come)>| burst.into_iter().map(|(number, _)| number).collect();
    all.into_iter().map(numbers).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn dedup_lets_one_of_each_act_in_a_window(stream in stream(), crashes in crashes()) {
        let dedup = settings(r#"dedup = { by = ["key"], within = "30ms" }"#);
        let came = run(&dedup, &stream, &crashes);
        prop_assert_eq!(&came.acts, &window(&stream, 1, 30));
        // The same as a law: between two of a key that act there is a window.
        for past in by_key(&stream) {
            let acted = past.iter().filter(|(number, _)| came.acts.contains_key(&vec![*number]));
            let times: Vec<i64> = acted.map(|(_, come)| come.at).collect();
            prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{times:?}");
        }
    }

    #[test]
    fn throttle_lets_so_many_act_in_a_window(stream in stream(), crashes in crashes()) {
        let throttle = settings(r#"throttle = { by = ["key"], most = 3, within = "50ms" }"#);
        let came = run(&throttle, &stream, &crashes);
        prop_assert_eq!(&came.acts, &window(&stream, 3, 50));
    }

    #[test]
    fn debounce_acts_with_the_last_once_it_is_quiet(stream in stream(), crashes in crashes()) {
        let debounce = settings(r#"debounce = { by = ["key"], quiet = "10ms", longest = "45ms" }"#);
        let came = run(&debounce, &stream, &crashes);
        let until = |burst: &[(u64, Come)]| {
            let (first, last) = (burst[0].1.at, burst[burst.len() - 1].1.at);
            (last + 10).min(first + 45)
        };
        let act = |burst: Vec<u64>| (vec![burst[burst.len() - 1]], suppressed(burst.len() - 1));
        let expected: Acts = bursts(&stream, until).into_iter().map(act).collect();
        prop_assert_eq!(&came.acts, &expected);
    }

    #[test]
    fn digest_acts_once_for_all_of_a_while(stream in stream(), crashes in crashes()) {
        let digest = settings(r#"digest = { by = ["key"], every = "40ms", most = 5 }"#);
        let came = run(&digest, &stream, &crashes);
        let until = |burst: &[(u64, Come)]| match burst.len() {
            5 => i64::MIN,
            _ => burst[0].1.at + 40,
        };
        let expected: Acts = bursts(&stream, until)
            .into_iter()
            .map(|burst| (burst, BTreeMap::new()))
            .collect();
        prop_assert_eq!(&came.acts, &expected);
    }

    #[test]
    fn quorum_acts_when_enough_different_ones_say_so(stream in stream(), crashes in crashes()) {
        let quorum =
            settings(r#"quorum = { by = ["key"], distinct = "value", least = 3, within = "40ms" }"#);
        let came = run(&quorum, &stream, &crashes);
        let mut expected = BTreeSet::new();
        for past in by_key(&stream) {
            let mut acted_at: Option<i64> = None;
            for (index, (number, come)) in past.iter().enumerate() {
                let recent = past[..=index].iter().filter(|(_, one)| one.at + 40 > come.at);
                let voices: BTreeSet<i64> = recent.map(|(_, one)| one.value).collect();
                let is_silent = acted_at.is_some_and(|at| come.at < at + 40);
                if voices.len() >= 3 && !is_silent {
                    acted_at = Some(come.at);
                    expected.insert(vec![*number]);
                }
            }
        }
        let acted: BTreeSet<Vec<u64>> = came.acts.keys().cloned().collect();
        prop_assert_eq!(acted, expected);
        for (numbers, told) in &came.acts {
            let Some(Value::List(voices)) = told.get("quorum") else { panic!("{told:?}") };
            let own = Value::from(stream[numbers[0] as usize - 1].value.to_string());
            prop_assert_eq!((voices.len(), voices.last()), (3, Some(&own)));
        }
    }

    #[test]
    fn nothing_acts_while_it_flaps(stream in stream(), crashes in crashes()) {
        let flap = settings(
            r#"flap = { by = ["key"], field = "value", changes = 3, within = "60ms", calm = "25ms" }"#,
        );
        let came = run(&flap, &stream, &crashes);
        let mut expected = Acts::new();
        for past in by_key(&stream) {
            flapping(&past, &mut expected);
        }
        prop_assert_eq!(&came.acts, &expected);
    }

    #[test]
    fn all_kinds_together_lose_nothing_and_crashes_change_nothing(
        stream in stream(),
        crashes in crashes(),
        kinds in proptest::sample::subsequence(ALL.to_vec(), 1..=6),
    ) {
        let all = settings(&kinds.join("\n"));
        let came = run(&all, &stream, &crashes);
        prop_assert_eq!(&came, &run(&all, &stream, &BTreeSet::new()));
    }

    #[test]
    fn other_settings_lose_nothing_that_is_held(
        stream in stream(),
        before in proptest::sample::subsequence(ALL.to_vec(), 0..=6),
        after in proptest::sample::subsequence(ALL.to_vec(), 0..=6),
        at in 0..80_usize,
    ) {
        let (before, after) = (settings(&before.join("\n")), settings(&after.join("\n")));
        let mut bodies = |number: u64| body(&stream[number as usize - 1]);
        let (mut storm, mut came) = (Storm::new(&before, 1), Came::default());
        for (number, come) in (1..).zip(&stream) {
            if number == at as u64 {
                let (changed, decisions) = storm.change(&after).unwrap().settle(&mut bodies);
                storm = changed;
                came.add(decisions);
            }
            let body = body(come);
            let arrival = Arrival { number, at: come.at, body: Some(&body) };
            came.add(storm.meet(arrival, &mut bodies));
            prop_assert_eq!(came.decided() + storm.held().len(), number as usize);
        }
        came.add(storm.ring(10_000_000, &mut bodies));
        prop_assert_eq!(came.decided(), stream.len());
    }
}

const ALL: [&str; 6] = [
    r#"flap = { by = ["key"], field = "value", changes = 3, within = "60ms", calm = "25ms" }"#,
    r#"dedup = { by = ["key", "value"], within = "9ms" }"#,
    r#"quorum = { by = ["key"], distinct = "value", least = 2, within = "30ms" }"#,
    r#"debounce = { by = ["value"], quiet = "3ms", longest = "12ms" }"#,
    r#"throttle = { most = 4, within = "20ms" }"#,
    r#"digest = { by = ["key"], every = "15ms", most = 4 }"#,
];

/// A key's past, once through: what flaps is silent from the event that makes it so until the value has
/// not changed for 25 ms.
fn flapping(past: &[(u64, Come)], acts: &mut Acts) {
    let mut since: Vec<(u64, Come)> = Vec::new();
    let mut silent: Vec<u64> = Vec::new();
    let mut changes: Vec<i64> = Vec::new();
    let (mut flaps, mut owes_an_end) = (false, false);
    let mut quiet_from = i64::MIN;
    for (number, come) in past {
        let changed_at = changes.last().copied().unwrap_or_default();
        if flaps && come.at >= changed_at + 25 {
            (flaps, owes_an_end) = (false, silent.is_empty());
            if let Some(last) = silent.pop() {
                let mut what = suppressed(silent.len());
                what.insert("flapping".to_owned(), Value::from("ended"));
                acts.insert(vec![last], what);
            }
            silent.clear();
            quiet_from = changed_at + 25;
            changes.clear();
        }
        // What was silent for as long as changes count is new.
        let seen = since
            .last()
            .map_or(quiet_from, |(_, last)| last.at.max(quiet_from));
        if !flaps && come.at >= seen.saturating_add(60) {
            since.clear();
            changes.clear();
            owes_an_end = false;
        }
        if since
            .last()
            .is_some_and(|(_, last)| last.value != come.value)
        {
            changes.push(come.at);
        }
        since.push((*number, come.clone()));
        if flaps {
            silent.push(*number);
            continue;
        }
        let mut what = BTreeMap::new();
        if std::mem::take(&mut owes_an_end) {
            what = told(&[("flapping", Value::from("ended"))]);
        }
        if changes.iter().filter(|at| **at + 60 > come.at).count() >= 3 {
            flaps = true;
            what = told(&[("flapping", Value::from("began"))]);
        }
        acts.insert(vec![*number], what);
    }
    if let Some(last) = silent.pop() {
        let mut what = suppressed(silent.len());
        what.insert("flapping".to_owned(), Value::from("ended"));
        acts.insert(vec![last], what);
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_make_it_silent_for_a_year() {
    let dedup = settings(r#"dedup = { by = ["key"], within = "10m" }"#);
    let year = 365 * 86_400_000_i64;
    let mut storm = Storm::new(&dedup, 1);
    let one = body(&Come {
        at: 0,
        key: 1,
        value: 1,
    });
    let meet = |storm: &mut Storm, number, at| {
        let arrival = Arrival {
            number,
            at,
            body: Some(&one),
        };
        storm.meet(arrival, &mut |_| Value::Null)
    };
    assert!(matches!(meet(&mut storm, 1, year)[..], [Decision::Act(_)]));
    assert!(!storm.is_ahead(year));
    assert!(storm.is_ahead(1_000));
    storm.set_back(1_000);
    assert!(!storm.is_ahead(1_000));
    assert!(matches!(
        meet(&mut storm, 2, 2_000)[..],
        [Decision::Suppress(_)]
    ));
    let acts = meet(&mut storm, 3, 1_000 + 600_000);
    assert!(
        matches!(&acts[..], [Decision::Act(act)] if act.told == suppressed(1)),
        "{acts:?}"
    );
}

#[test]
fn what_is_remembered_is_bounded_and_what_is_held_goes_early() {
    for (toml, kind) in [
        (r#"dedup = { by = ["key"], within = "30d" }"#, Kind::Dedup),
        (
            r#"debounce = { by = ["key"], quiet = "30d", longest = "30d" }"#,
            Kind::Debounce,
        ),
        (
            r#"digest = { by = ["key"], every = "30d", most = 10000 }"#,
            Kind::Digest,
        ),
    ] {
        let mut storm = Storm::new(&settings(toml), 1);
        let mut acted = HashMap::new();
        let count = vigie::storm::KEYS_MAX as u64 + 50;
        for number in 1..=count {
            let body = body(&Come {
                at: 0,
                key: number as i64,
                value: 0,
            });
            let arrival = Arrival {
                number,
                at: number as i64,
                body: Some(&body),
            };
            for decision in storm.meet(arrival, &mut |_| Value::Null) {
                let Decision::Act(act) = decision else {
                    panic!("{decision:?}")
                };
                acted.insert(act.numbers[0], number);
            }
        }
        assert_eq!(storm.forgotten(), 50, "{kind:?}");
        match kind {
            Kind::Dedup => assert_eq!(acted.len() as u64, count),
            _ => {
                let mut early: Vec<u64> = acted.into_keys().collect();
                early.sort_unstable();
                assert_eq!(
                    early,
                    (1..=50).collect::<Vec<_>>(),
                    "{kind:?}: the oldest went"
                );
                assert_eq!(storm.held().len() as u64, count - 50);
            }
        }
    }
}
