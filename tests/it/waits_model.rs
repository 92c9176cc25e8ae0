//! Channels, timers, waiters, takers and claims against a model in memory, with crashes: pushes, runs
//! that wait for anything, time that passes, cancels, kills, restarts. The clock is the test's.
//!
//! After each step the house must come to exactly the state of the model: a wake-up that is lost
//! never gets there, one that comes twice goes beyond it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use vigie::clock::Clock;
use vigie::event::{EventId, RunId, Value};
use vigie::store::{Batch, check};
use vigie::wait::Wait;

use crate::rig::{Life, POINTS, Rig};

const START: i64 = 1_800_000_000_000;
/// A run asks one thing after the other and ends with all that it was told.
const SCRIPT: &str = r#"
    let told = [];
    for ask in event.asks {
        let got = switch ask.word {
            "sleep" => { sleep(ask.lasting); () }
            "receive" => receive(ask.channel, #{ k: ask.k }, ask.lasting),
            "watch" => watch(ask.channel, #{ k: ask.k }, ask.lasting),
            "odd" => receive(ask.channel, #{ k: ask.k }, ask.lasting, |e| e.n % 2 == 1),
            _ => any([on(ask.channel, #{ k: ask.k }), after(ask.lasting)]).event,
        };
        told.push(if got == () { -1 } else { got.n });
    }
    told
"#;
const CHANNELS: [&str; 2] = ["jobs", "mixed"];
const WORDS: [&str; 5] = ["sleep", "receive", "watch", "any", "odd"];
/// Longest time for the house to come to the model's state.
const SETTLE_MAX: Duration = Duration::from_secs(8);

/// One thing that a run asks for.
#[derive(Debug, Clone)]
struct Ask {
    word: usize,
    channel: usize,
    k: i64,
    lasting: i64,
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize, i64),
    Run(Vec<Ask>),
    Pass(i64),
    Cancel(usize),
    Kill(usize),
    KeepMarks,
    Restart,
    /// The process dies at this commit of the next step, at one of the four moments.
    Doom(u64, usize),
}

fn ask() -> impl Strategy<Value = Ask> {
    let lasting = prop_oneof![2 => 5..40_i64, 1 => Just(100_000_i64)];
    (0..5_usize, 0..2_usize, 0..3_i64, lasting).prop_map(|(word, channel, k, lasting)| Ask {
        word,
        channel,
        k,
        lasting,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        7 => (0..2_usize, 0..5_i64).prop_map(|(channel, k)| Step::Push(channel, k)),
        6 => proptest::collection::vec(ask(), 1..3).prop_map(Step::Run),
        3 => (1..30_i64).prop_map(Step::Pass),
        1 => (0..8_usize).prop_map(Step::Cancel),
        1 => (0..8_usize).prop_map(Step::Kill),
        1 => Just(Step::KeepMarks),
        1 => Just(Step::Restart),
        2 => (1..5_u64, 0..4_usize).prop_map(|(nth, point)| Step::Doom(nth, point)),
    ]
}

/// What the model knows of a run.
#[derive(Debug, Clone)]
struct Run {
    asks: Vec<Ask>,
    told: Vec<i64>,
    /// When it asked for what it waits for now.
    since: i64,
    /// The first event of each channel that counts for it, at the wait it is in.
    from: u64,
    /// What came before it began, by channel.
    begun: [u64; 2],
    seen: BTreeMap<(usize, i64), u64>,
    end: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Event {
    k: i64,
    n: i64,
    taken: bool,
}

#[derive(Debug, Clone, Default)]
struct Model {
    now: i64,
    n: i64,
    channels: [Vec<Event>; 2],
    runs: Vec<Run>,
}

impl Ask {
    fn takes(&self) -> bool {
        matches!(WORDS[self.word], "receive" | "odd")
    }

    fn fits(&self, event: &Event) -> bool {
        let odd = WORDS[self.word] != "odd" || event.n % 2 == 1;
        WORDS[self.word] != "sleep" && event.k == self.k && odd
    }

    fn to_value(&self) -> Value {
        Value::from([
            ("word", Value::from(WORDS[self.word])),
            ("channel", Value::from(CHANNELS[self.channel])),
            ("k", Value::Int(self.k)),
            ("lasting", Value::from(format!("{}ms", self.lasting))),
        ])
    }
}

/// `mixed` has a flow, which gets what nobody takes.
fn has_flow(channel: usize) -> bool {
    channel == 1
}

impl Model {
    fn run(&mut self, mut asks: Vec<Ask>) {
        let number = self.runs.len() as i64;
        // Only the first thing that a run asks for is wanted by others too: two that are woken by
        // the same event would race for the next.
        asks.iter_mut().skip(1).for_each(|ask| ask.k = 100 + number);
        let tails = [self.channels[0].len() as u64, self.channels[1].len() as u64];
        self.runs.push(Run {
            asks,
            told: Vec::new(),
            since: self.now,
            from: 0,
            begun: tails.map(|tail| tail + 1),
            seen: BTreeMap::new(),
            end: None,
        });
        self.go_on(self.runs.len() - 1);
    }

    /// The run asks for the next thing, and gets it if it is there.
    fn go_on(&mut self, index: usize) {
        loop {
            let now = self.now;
            let run = &mut self.runs[index];
            let Some(ask) = run.asks.get(run.told.len()).cloned() else {
                run.end = Some("done");
                return;
            };
            run.since = now;
            run.from = match (ask.takes(), has_flow(ask.channel)) {
                (true, true) => self.channels[ask.channel].len() as u64 + 1,
                (true, false) => 1,
                _ => {
                    let seen = run.seen.get(&(ask.channel, ask.k)).copied().unwrap_or(0);
                    run.begun[ask.channel].max(seen)
                }
            };
            let from = run.from;
            let events = (1_u64..).zip(&self.channels[ask.channel]);
            let mut fitting = events.filter(|(number, event)| {
                *number >= from && ask.fits(event) && !(ask.takes() && event.taken)
            });
            let Some((number, n)) = fitting.next().map(|(number, event)| (number, event.n)) else {
                return;
            };
            self.tell(index, number, n);
        }
    }

    fn tell(&mut self, index: usize, number: u64, n: i64) {
        let run = &mut self.runs[index];
        let ask = run.asks[run.told.len()].clone();
        // A condition makes it another thing that is looked for.
        if WORDS[ask.word] != "odd" {
            run.seen.insert((ask.channel, ask.k), number + 1);
        }
        run.told.push(n);
        if ask.takes() {
            self.channels[ask.channel][number as usize - 1].taken = true;
        }
    }

    fn push(&mut self, channel: usize, k: i64) {
        let event = Event {
            k,
            n: self.n,
            taken: false,
        };
        self.channels[channel].push(event.clone());
        let number = self.channels[channel].len() as u64;
        let mut waiting: Vec<usize> = (0..self.runs.len()).collect();
        waiting.retain(|index| self.waits_for(*index, channel, &event));
        waiting.sort_by_key(|index| (self.runs[*index].since, id(*index)));
        let mut woken = Vec::new();
        for index in waiting {
            let run = &self.runs[index];
            let takes = run.asks[run.told.len()].takes();
            if !(takes && self.channels[channel][number as usize - 1].taken) {
                self.tell(index, number, event.n);
                woken.push(index);
            }
        }
        woken.into_iter().for_each(|index| self.go_on(index));
    }

    fn waits_for(&self, index: usize, channel: usize, event: &Event) -> bool {
        let run = &self.runs[index];
        let ask = run.asks.get(run.told.len());
        run.end.is_none() && ask.is_some_and(|ask| ask.channel == channel && ask.fits(event))
    }

    fn pass(&mut self) {
        for index in 0..self.runs.len() {
            let run = &mut self.runs[index];
            let Some(ask) = run.asks.get(run.told.len()).filter(|_| run.end.is_none()) else {
                continue;
            };
            if run.since + ask.lasting <= self.now {
                run.told.push(-1);
                self.go_on(index);
            }
        }
    }

    fn alive(&self, index: usize) -> Option<usize> {
        let alive: Vec<usize> = (0..self.runs.len())
            .filter(|index| self.runs[*index].end.is_none())
            .collect();
        alive.get(index % alive.len().max(1)).copied()
    }
}

fn id(index: usize) -> RunId {
    format!("alert/{}/model", index + 1).parse().unwrap()
}

/// The house, the model, and how both go on.
struct Both {
    rig: Rig,
    life: Option<Life>,
    model: Model,
}

impl Both {
    fn new() -> Both {
        let rig = Rig::at(Clock::virtual_at(time(START)));
        rig.flow("model", SCRIPT, "");
        rig.flow("mixed/see", "event.n", "");
        let life = rig.live(None);
        assert!(life.attend(&rig));
        let model = Model {
            now: START,
            ..Model::default()
        };
        Both {
            rig,
            life: Some(life),
            model,
        }
    }

    fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.life.take().unwrap().end();
        let life = self.rig.live(None);
        assert!(life.attend(&self.rig));
        self.life = Some(life);
    }

    fn set_clock(&mut self, more: i64) {
        self.model.now += more;
        self.rig.clock.set(time(self.model.now));
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.set_clock(1);
        self.life().conductor.alarms.notify_one();
        // Time that passed for the house passed for the model.
        self.model.pass();
        self.agree()?;
        self.model.n += 1;
        match step {
            Step::Push(channel, k) => self.push(*channel, *k),
            Step::Run(asks) => self.run(asks),
            Step::Pass(more) => {
                self.set_clock(*more);
                self.model.pass();
                self.life().conductor.alarms.notify_one();
            }
            Step::Cancel(index) => self.cancel(*index),
            Step::Kill(index) => self.kill(*index),
            Step::KeepMarks => self.life().keep_cursors(),
            Step::Restart => self.restart(),
            Step::Doom(nth, point) => self.life().doom(*nth, POINTS[*point]),
        }
        self.agree()
    }

    fn push(&mut self, channel: usize, k: i64) {
        // Some are for one run alone.
        let k = if k > 2 { 97 + k } else { k };
        let body = Value::from([("k", Value::Int(k)), ("n", Value::Int(self.model.n))]);
        let told = self.life().tell(CHANNELS[channel], body.clone());
        if !told {
            self.restart();
            // It may have been kept all the same.
            let kept = self.life().conductor.store.tail(CHANNELS[channel]);
            if kept == self.model.channels[channel].len() as u64 {
                assert!(self.life().tell(CHANNELS[channel], body));
            }
        }
        self.model.push(channel, k);
    }

    fn run(&mut self, asks: &[Ask]) {
        self.model.run(asks.to_vec());
        let asks = &self.model.runs.last().unwrap().asks;
        let asks = Value::List(asks.iter().map(Ask::to_value).collect());
        let body = Value::from([("asks", asks)]);
        if !self.life().tell("alert", body.clone()) {
            self.restart();
            if self.life().conductor.store.tail("alert") < self.model.runs.len() as u64 {
                assert!(self.life().tell("alert", body));
            }
        }
    }

    fn cancel(&mut self, index: usize) {
        let Some(index) = self.model.alive(index) else {
            return;
        };
        let conductor = std::sync::Arc::clone(&self.life().conductor);
        let until = time(self.model.now + 600_000);
        let run = id(index);
        let cancelled = conductor.cancel_run(&run, until, Batch::new());
        let failed = self.life().inside.block_on(cancelled).is_err();
        drop(conductor);
        if failed {
            self.restart();
            let journal = self.life().run(id(index).as_str()).unwrap();
            if journal.cancel().is_none() {
                return;
            }
        }
        self.model.runs[index].end = Some("cancelled");
    }

    fn kill(&mut self, index: usize) {
        let Some(index) = self.model.alive(index) else {
            return;
        };
        let conductor = std::sync::Arc::clone(&self.life().conductor);
        let killed = self.life().inside.block_on(conductor.kill_run(&id(index)));
        drop(conductor);
        if killed.is_err() {
            self.restart();
            if !self.life().ended(id(index).as_str()) {
                return;
            }
        }
        self.model.runs[index].end = Some("cancelled");
    }

    /// Waits until the house has come to the state of the model; a house that died starts again.
    fn agree(&mut self) -> Result<(), String> {
        let until = Instant::now() + SETTLE_MAX;
        loop {
            if self.life().is_dead() {
                self.restart();
            }
            let differs = self.difference();
            match differs {
                None => return Ok(()),
                Some(why) if Instant::now() > until => return Err(why),
                Some(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn difference(&self) -> Option<String> {
        let each = (0..self.model.runs.len()).find_map(|index| self.run_differs(index));
        each.or_else(|| (0..2).find_map(|channel| self.channel_differs(channel)))
    }

    fn run_differs(&self, index: usize) -> Option<String> {
        let (model, run) = (&self.model.runs[index], id(index));
        let conductor = &self.life().conductor;
        let wrong = |what: String| Some(format!("{run}: {what}; the model has {model:?}"));
        let Ok(Some(journal)) = conductor.journal(&run) else {
            return wrong("it has no journal".to_owned());
        };
        let end = journal.end().map(|end| end.state.word());
        if end != model.end {
            return wrong(format!("its end is {:?}", journal.end()));
        }
        if end == Some("done") {
            let told = Value::List(model.told.iter().map(|n| Value::Int(*n)).collect());
            let value = &journal.end().unwrap().value;
            return (*value != told).then(|| format!("{run}: {value} is not {told}"));
        }
        let waits = conductor.waits.of(&run);
        if end.is_some() {
            return waits.and_then(|_| wrong("it has ended and waits".to_owned()));
        }
        // A command for each ask; those of `any` have a handle in time before them.
        let anys = model.asks[..=model.told.len()].iter();
        let anys = anys.filter(|ask| WORDS[ask.word] == "any").count();
        match waits {
            Some(wait) if wait.command == model.told.len() + anys => None,
            other => wrong(format!("it waits for {other:?}")),
        }
    }

    fn channel_differs(&self, channel: usize) -> Option<String> {
        let store = &self.life().conductor.store;
        for (number, event) in (1_u64..).zip(&self.model.channels[channel]) {
            let id = EventId {
                channel: CHANNELS[channel].to_owned(),
                number,
            };
            let (Ok(by), Ok(runs)) = (store.taken_by(&id), store.runs_of(&id)) else {
                return Some("the store is gone".to_owned());
            };
            if by.is_some() != event.taken {
                return Some(format!("{id} is taken by {by:?}, not as in {event:?}"));
            }
            if has_flow(channel) && runs.is_empty() != event.taken {
                return Some(format!("{id} has {} runs, {event:?}", runs.len()));
            }
        }
        None
    }

    /// What must hold whatever was done.
    fn invariants(&mut self) {
        let store = &self.life().conductor.store;
        let waiting = store.waits(None, 1_000).unwrap();
        let live: BTreeSet<RunId> = store.live_runs().unwrap().into_iter().collect();
        let timers = store.due(Timestamp::MAX, 1_000).unwrap();
        let timed: BTreeSet<(RunId, u32)> = timers
            .iter()
            .map(|timer| (timer.run.clone(), timer.seq))
            .collect();
        for (run, record) in &waiting {
            let wait = Wait::decode(run.clone(), record).unwrap();
            assert!(live.contains(run), "{run} waits and is not live");
            let timer = timed.contains(&(run.clone(), wait.command as u32));
            assert_eq!(timer, wait.alarm.is_some(), "{run}");
            assert!(timer || !wait.wants.is_empty(), "{run} waits for nothing");
        }
        assert_eq!(timers.len(), timed.len());
        let waits: BTreeSet<&RunId> = waiting.iter().map(|(run, _)| run).collect();
        let is_waiting = |(run, _): &(RunId, u32)| waits.contains(run);
        assert!(
            timed.iter().all(is_waiting),
            "a timer of a run that does not wait"
        );
        assert!(
            live.iter().all(|run| waits.contains(run)),
            "a live run waits for nothing"
        );
        assert_eq!(self.life().conductor.waits.count(), waiting.len());
        let folder = self.rig.store();
        self.life.take().unwrap().end();
        let found = crate::house::wait_for("the store", || check(&folder).ok());
        assert_eq!(found.problems, Vec::<String>::new());
    }
}

fn time(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn plays(steps: &[Step]) -> Result<(), String> {
    let mut both = Both::new();
    for (place, step) in steps.iter().enumerate() {
        let agreed = both.step(step);
        agreed.map_err(|why| format!("at step {place}, {step:?}: {why}"))?;
    }
    both.invariants();
    Ok(())
}

/// Takes its seed from `VIGIE_SEED` (64 hexadecimal digits), or by chance, and prints it.
pub fn seeded(cases: u32) -> TestRunner {
    let given = std::env::var("VIGIE_SEED").unwrap_or_default();
    let mut seed: [u8; 32] = rand::random();
    for (place, byte) in seed.iter_mut().enumerate().take(given.len() / 2) {
        *byte = u8::from_str_radix(&given[2 * place..2 * place + 2], 16).unwrap();
    }
    let shown: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("VIGIE_SEED={shown}");
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 8,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

#[test]
fn channels_timers_and_waiters_do_what_a_model_in_memory_does() {
    let long = std::env::var("VIGIE_LONG").is_ok();
    let mut runner = seeded(if long { 400 } else { 12 });
    let steps = proptest::collection::vec(step(), 10..40);
    let ran = runner.run(&steps, |steps| plays(&steps).map_err(TestCaseError::fail));
    ran.unwrap_or_else(|why| panic!("{why}"));
}
