//! The store against a model in memory, with crashes at every moment of a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;
use vigie::event::{EventId, RunId, Value};
use vigie::store::{
    Batch, End, Failpoints, Mishap, Options, Point, SETTLED_BYTES, Settling, Shrink, Store,
    StoreError, check,
};

use super::store::{at, event_at, options, with_id};

const WINDOW: i64 = 20;
const POINTS: [Point; 6] = [
    Point::BeforeApply,
    Point::BeforeSync,
    Point::AfterSync,
    Point::BeforeAnswer,
    Point::BeforeSettling,
    Point::AfterSettling,
];
/// Bytes in the log before the tree takes them over: after each commit, after some, not before the
/// end.
const SETTLED: [usize; 3] = [0, 3_000, SETTLED_BYTES];

#[derive(Debug, Clone)]
enum Step {
    Push(u8, Option<u8>, bool),
    Append(u8, u8, u8),
    Finish(u8, u8, u8),
    Dead(u8, u8),
    Forgive(u8, u8),
    Cursor(u8, u8),
    State(u8, Option<u8>),
    Timer(u8, bool),
    RetainEvents(u8),
    RetainRuns,
    Reopen,
    Crash(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_u8, proptest::option::of(0..6_u8), proptest::bool::weighted(0.1))
            .prop_map(|(channel, id, large)| Step::Push(channel, id, large)),
        5 => (0..2_u8, 0..8_u8, any::<u8>()).prop_map(|(c, e, b)| Step::Append(c, e, b)),
        3 => (0..2_u8, 0..8_u8, 0..4_u8).prop_map(|(c, e, end)| Step::Finish(c, e, end)),
        1 => (0..2_u8, 0..8_u8).prop_map(|(c, e)| Step::Dead(c, e)),
        1 => (0..2_u8, 0..8_u8).prop_map(|(c, e)| Step::Forgive(c, e)),
        2 => (0..2_u8, 0..8_u8).prop_map(|(c, n)| Step::Cursor(c, n)),
        1 => (0..3_u8, proptest::option::of(any::<u8>())).prop_map(|(k, v)| Step::State(k, v)),
        1 => (0..4_u8, any::<bool>()).prop_map(|(k, put)| Step::Timer(k, put)),
        1 => (0..2_u8).prop_map(Step::RetainEvents),
        1 => Just(Step::RetainRuns),
        1 => Just(Step::Reopen),
        3 => (0..6_u8).prop_map(Step::Crash),
    ]
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Run {
    journal: Vec<Vec<u8>>,
    end: Option<(End, i64)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Channel {
    events: BTreeMap<u64, (Value, i64)>,
    next: u64,
    floor: u64,
    ids: BTreeMap<u8, (u64, i64)>,
    cursor: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    channels: BTreeMap<u8, Channel>,
    runs: BTreeMap<(u8, u64), Run>,
    dead: BTreeMap<(u8, u64), i64>,
    state: BTreeMap<u8, u8>,
    timers: BTreeSet<u8>,
}

fn name(channel: u8) -> &'static str {
    ["alert", "alert-2"][usize::from(channel)]
}

fn run_of(channel: u8, number: u64) -> RunId {
    let channel = name(channel).to_owned();
    RunId::new(&EventId { channel, number }, "flow")
}

impl Model {
    fn channel(&mut self, channel: u8) -> &mut Channel {
        self.channels.entry(channel).or_insert(Channel {
            next: 1,
            floor: 1,
            ..Channel::default()
        })
    }

    fn needed(&self, channel: u8, number: u64) -> bool {
        let run = self.runs.get(&(channel, number));
        let open = run.is_some_and(|run| matches!(run.end, None | Some((End::Blocked, _))));
        open || self.dead.contains_key(&(channel, number))
    }

    fn release(&mut self, channel: u8, number: u64) {
        let needed = self.needed(channel, number);
        let here = self.channel(channel);
        if number < here.floor && !needed {
            here.remove(number);
        }
    }

    /// The same as what [`fill`] puts into a batch, in plain words.
    fn play(&mut self, step: &Step, now: i64) {
        match *step {
            Step::Push(channel, id, large) => self.push(channel, id, large, now),
            Step::Append(channel, number, byte) => {
                let run = self.runs.entry((channel, u64::from(number))).or_default();
                run.end = None;
                run.journal.push(vec![byte; 1 + usize::from(byte) * 40]);
            }
            Step::Finish(channel, number, end) => {
                let run = self.runs.entry((channel, u64::from(number))).or_default();
                run.end = Some((end_of(end), now));
                self.release(channel, u64::from(number));
            }
            Step::Dead(channel, number) => {
                self.dead.insert((channel, u64::from(number)), now);
            }
            Step::Forgive(channel, number) => {
                self.dead.remove(&(channel, u64::from(number)));
                self.release(channel, u64::from(number));
            }
            Step::Cursor(channel, next) => self.channel(channel).cursor = Some(u64::from(next)),
            Step::State(key, Some(value)) => drop(self.state.insert(key, value)),
            Step::State(key, None) => drop(self.state.remove(&key)),
            Step::Timer(key, true) => drop(self.timers.insert(key)),
            Step::Timer(key, false) => drop(self.timers.remove(&key)),
            Step::RetainEvents(channel) => self.retain_events(channel, now - 15),
            Step::RetainRuns => self.retain_runs(now - 15),
            Step::Reopen | Step::Crash(_) => {}
        }
    }

    fn push(&mut self, channel: u8, id: Option<u8>, large: bool, now: i64) {
        let here = self.channel(channel);
        let known = id.and_then(|id| here.ids.get(&id));
        if known.is_some_and(|(_, seen)| *seen >= now - WINDOW) {
            return;
        }
        let number = here.next;
        here.next += 1;
        here.events
            .insert(number, (incoming(id, large, now).body, now));
        if let Some(id) = id {
            here.ids.insert(id, (number, now));
        }
    }

    fn retain_events(&mut self, channel: u8, moment: i64) {
        let here = self.channel(channel).clone();
        let below: Vec<u64> = here
            .events
            .range(..here.floor)
            .map(|(number, _)| *number)
            .collect();
        for number in below {
            if here.events[&number].1 < moment {
                self.release(channel, number);
            }
        }
        let end = here.cursor.unwrap_or(here.next).min(here.next);
        for number in here.floor..end {
            if here.events[&number].1 >= moment {
                break;
            }
            self.channel(channel).floor = number + 1;
            self.release(channel, number);
        }
    }

    fn retain_runs(&mut self, moment: i64) {
        let dead: Vec<_> = self
            .dead
            .iter()
            .filter(|(_, at)| **at < moment)
            .map(|(run, _)| *run)
            .collect();
        for (channel, number) in dead {
            self.dead.remove(&(channel, number));
            self.release(channel, number);
        }
        self.runs.retain(|_, run| match run.end {
            None | Some((End::Blocked, _)) => true,
            Some((_, at)) => at >= moment,
        });
    }
}

impl Channel {
    fn remove(&mut self, number: u64) {
        if self.events.remove(&number).is_some() {
            self.ids.retain(|_, (of, _)| *of != number);
        }
    }
}

fn end_of(number: u8) -> End {
    [End::Done, End::Failed, End::Blocked, End::Cancelled][usize::from(number)]
}

fn incoming(id: Option<u8>, large: bool, now: i64) -> vigie::event::Incoming {
    let text = if large {
        "x".repeat(20_000)
    } else {
        format!("at {now}")
    };
    match id {
        Some(id) => with_id(&text, now, &format!("id {id}")),
        None => event_at(&text, now),
    }
}

fn fill(batch: &mut Batch, step: &Step, now: i64) {
    match *step {
        Step::Push(channel, id, large) => batch
            .push(
                name(channel),
                &incoming(id, large, now),
                Some(Duration::from_secs(WINDOW as u64)),
            )
            .unwrap(),
        Step::Append(channel, number, byte) => batch.append(
            &run_of(channel, u64::from(number)),
            vec![byte; 1 + usize::from(byte) * 40],
        ),
        Step::Finish(channel, number, end) => {
            batch.finish(&run_of(channel, u64::from(number)), end_of(end), at(now));
        }
        Step::Dead(channel, number) => {
            batch.dead_letter(&run_of(channel, u64::from(number)), at(now), vec![1]);
        }
        Step::Forgive(channel, number) => batch.forgive(&run_of(channel, u64::from(number))),
        Step::Cursor(channel, next) => {
            batch.move_cursor(&format!("{}/flow", name(channel)), 1, u64::from(next));
        }
        Step::State(key, value) => batch
            .set_state(
                "alert/flow",
                &key.to_string(),
                value.map(|value| vec![value]),
            )
            .unwrap(),
        Step::Timer(key, true) => {
            batch.put_timer(at(i64::from(key)), &run_of(0, 1), u32::from(key))
        }
        Step::Timer(key, false) => {
            batch.remove_timer(at(i64::from(key)), &run_of(0, 1), u32::from(key));
        }
        _ => {}
    }
}

/// The store as the model would say it.
fn read(store: &Store, like: &Model) -> Model {
    let mut found = Model::default();
    for (channel, known) in &like.channels {
        let here = found.channel(*channel);
        let counts = store.channel_counts(name(*channel));
        (here.next, here.floor) = (counts.tail + 1, counts.floor);
        here.ids = known.ids.clone();
        here.cursor = store
            .cursor(&format!("{}/flow", name(*channel)))
            .unwrap()
            .map(|cursor| cursor.next);
        for event in store.events(name(*channel), 0, 10_000).unwrap() {
            let second = event.meta.received_at.as_second() - at(0).as_second();
            here.events.insert(event.id.number, (event.body, second));
        }
        assert_eq!(here.events.len() as u64, counts.kept);
    }
    let key = |run: &RunId| (u8::from(run.event().channel == name(1)), run.event().number);
    for info in store.runs(None, 10_000).unwrap() {
        let end = info
            .end
            .map(|(end, time)| (end, time.as_second() - at(0).as_second()));
        let journal = store.journal(&info.run).unwrap();
        found.runs.insert(key(&info.run), Run { journal, end });
    }
    for dead in store.dead(None, 10_000).unwrap() {
        found
            .dead
            .insert(key(&dead.run), dead.at.as_second() - at(0).as_second());
    }
    for name in 0..3 {
        if let Some(value) = store.state("alert/flow", &name.to_string()).unwrap() {
            found.state.insert(name, value[0]);
        }
    }
    found.timers = store
        .due(at(1_000), 99)
        .unwrap()
        .iter()
        .map(|timer| timer.seq as u8)
        .collect();
    found
}

fn indexes_agree(store: &Store, model: &Model) {
    let of = |wanted: fn(&Option<(End, i64)>) -> bool| -> BTreeSet<String> {
        let runs = model.runs.iter().filter(|(_, run)| wanted(&run.end));
        runs.map(|((channel, number), _)| run_of(*channel, *number).to_string())
            .collect()
    };
    let names = |runs: Vec<RunId>| runs.iter().map(RunId::to_string).collect::<BTreeSet<_>>();
    assert_eq!(names(store.live_runs().unwrap()), of(Option::is_none));
    let blocked = of(|end| matches!(end, Some((End::Blocked, _))));
    assert_eq!(names(store.blocked_runs().unwrap()), blocked);
}

fn open(folder: &Path, failpoints: &Failpoints, (settled, shrink): (usize, Shrink)) -> Store {
    // What was armed for a moment that did not come is not for this life.
    failpoints.arm(u64::MAX, Point::BeforeApply, Mishap::Kill);
    let settling = Settling {
        bytes: settled,
        ..Settling::default()
    };
    let options = Options {
        failpoints: failpoints.clone(),
        settling,
        shrink,
        ..options()
    };
    Store::open(folder, options).unwrap()
}

/// The steps that are no part of a batch.
fn apart(store: &Store, step: &Step, now: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let moment = at(now - 15);
    match step {
        Step::RetainEvents(channel) => {
            let retained = store.retain_events(name(*channel), moment, 5_000);
            runtime.block_on(retained).unwrap();
        }
        Step::RetainRuns => {
            runtime.block_on(store.retain_runs(moment, 5_000)).unwrap();
        }
        _ => {}
    }
}

/// Plays the steps; answers how often the store was compacted meanwhile.
fn play(steps: &[Vec<Step>], shrink: Shrink) -> u64 {
    let mut compactions = 0;
    let mut count = |store: &Store| {
        compactions += store.counters().compactions.load(Ordering::SeqCst);
    };
    let folder = TempDir::new().unwrap();
    let failpoints = Failpoints::new();
    let mut lives = SETTLED.into_iter().cycle().map(|settled| (settled, shrink));
    let mut settings = || lives.next().unwrap();
    let mut store = open(folder.path(), &failpoints, settings());
    let mut model = Model::default();
    for (now, together) in (100..).step_by(3).zip(steps) {
        let mut batch = Batch::new();
        let before = model.clone();
        let mut crash = None;
        for step in together {
            fill(&mut batch, step, now);
            model.play(step, now);
            apart(&store, step, now);
            match step {
                Step::Crash(point) if !batch.is_empty() => crash = Some(usize::from(*point)),
                Step::Reopen => {
                    count(&store);
                    drop(store);
                    store = open(folder.path(), &failpoints, settings());
                }
                _ => {}
            }
        }
        if let Some(point) = crash {
            failpoints.arm(1, POINTS[point], Mishap::Kill);
        }
        let answer = store.commit_blocking(batch);
        if let Some(point) = crash {
            match POINTS[point] {
                // after the answer, if at all
                Point::BeforeSettling | Point::AfterSettling => drop(answer.unwrap()),
                _ => assert_eq!(answer, Err(StoreError::Closed)),
            }
            count(&store);
            drop(store);
            store = open(folder.path(), &failpoints, settings());
            // Whole or not at all; what was answered is there.
            if point < 4 && read(&store, &model) != model {
                model = before;
            }
        } else {
            answer.unwrap();
        }
        assert_eq!(read(&store, &model), model);
        indexes_agree(&store, &model);
    }
    count(&store);
    drop(store);
    holds(folder.path());
    compactions
}

/// The steps put timers and runs where no event or live run is; everything else must hold.
fn holds(folder: &Path) {
    let mut problems = check(folder).unwrap().problems;
    problems.retain(|text| !text.starts_with("a timer") && !text.contains("its event is missing"));
    assert_eq!(problems, Vec::<String>::new());
}

/// Retention runs in a commit of its own, so it stands alone; so does a reopening.
fn alone(step: &Step) -> bool {
    matches!(
        step,
        Step::RetainEvents(_) | Step::RetainRuns | Step::Reopen
    )
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    proptest::collection::vec(proptest::collection::vec(step(), 1..5), 1..40).prop_map(|groups| {
        let mut apart = Vec::new();
        for group in groups {
            let (single, together): (Vec<_>, Vec<_>) = group.into_iter().partition(alone);
            apart.extend(single.into_iter().map(|step| vec![step]));
            apart.push(together);
        }
        apart
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_the_model_says_through_every_crash(steps in steps()) {
        play(&steps, Shrink::default());
    }
}

#[test]
fn the_store_does_what_the_model_says_while_it_is_compacted_all_the_time() {
    let always = Shrink {
        look_after: Duration::ZERO,
        pause: Duration::ZERO,
        bytes_min: 0,
        bytes_per_commit: 0,
    };
    let compactions = AtomicU64::new(0);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let played = runner.run(&steps(), |steps| {
        compactions.fetch_add(play(&steps, always), Ordering::SeqCst);
        Ok(())
    });
    played.unwrap();
    let compactions = compactions.into_inner();
    assert!(compactions > 10, "{compactions}");
}
