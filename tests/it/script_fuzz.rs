//! Scripts made by chance: loops, closures in words that take them, `try`, host words of all kinds,
//! waits. Each is run once as it is and once with a crash at every append to its journal: the journals
//! are the same, apart from times and what chance gave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use vigie::bundle::{Bundle, Script};
use vigie::clock::Clock;
use vigie::engine::{ENGINE_FLAGS, Engine, Input, StepEnd};
use vigie::event::{Event, EventId, Meta, RunId, Value};
use vigie::gate::Question;
use vigie::host;
use vigie::journal::{Entry, Journal, Outcome, Start};
use vigie::replay::{Asked, Locals, Replay, show};
use vigie::thinkers::Thinkers;

use crate::rig::{POINTS, Rig};
use crate::waits_model::seeded;

/// Commands after which a script counts as too long to be of interest.
const COMMANDS_MAX: usize = 120;

/// One line of a script, or some.
fn line() -> impl Strategy<Value = String> {
    let plain = prop_oneof![
        Just("print(`at ${t}`);".to_owned()),
        (1..9_i64).prop_map(|c| format!("t = (t * 31 + {c}) % 1009;")),
        Just("state::set(\"k\", t); t += state::get(\"k\") % 7;".to_owned()),
        Just("state::delete(\"k\"); t += (state::get(\"k\") ?? 3);".to_owned()),
        Just("uuid(); random(6); t += if now() > 0 { 1 } else { 2 };".to_owned()),
        Just("http::put(\"TARGET/put\", #{ json: #{ t: t } }); t += 1;".to_owned()),
        Just("t += http::post(\"TARGET/post\", #{ json: [t] }).status;".to_owned()),
        Just(
            "t += (redmine::open(#{ subject: `s ${t}`, dedup_key: `${t}` }).id ?? 0) * 0;"
                .to_owned()
        ),
        Just("sleep(\"1ms\"); t += 2;".to_owned()),
        Just("t += if watch(\"never\", #{ t: t }, \"1ms\") == () { 5 } else { 6 };".to_owned()),
        Just(
            "s += 1; emit(\"signal\", #{ n: event.n, s: s }); \
              t += (watch(\"signal\", #{ n: event.n, s: s }, \"1h\") ?? #{ s: 4 }).s;"
                .to_owned()
        ),
        Just(
            "s += 1; emit(\"jobs\", #{ n: event.n, s: s }); \
              t += (receive(\"jobs\", #{ n: event.n, s: s }, \"1h\", |j| j.s > 0) ?? #{ s: 4 }).s;"
                .to_owned()
        ),
        Just("t += any([on(\"never\"), after(\"1ms\")]).which;".to_owned()),
        Just(
            "s += 1; emit(\"signal\", #{ n: event.n, s: s }); \
              t += any([after(\"1h\"), on(\"signal\", #{ n: event.n, s: s })]).which;"
                .to_owned()
        ),
    ];
    plain.prop_recursive(3, 14, 3, |inner| {
        let lines = proptest::collection::vec(inner, 1..3).prop_map(|lines| lines.join("\n"));
        prop_oneof![
            lines
                .clone()
                .prop_map(|lines| format!("for i in 0..2 {{ {lines} }}")),
            lines
                .clone()
                .prop_map(|lines| format!("if t % 2 == 0 {{ {lines} }} else {{ t += 1; }}")),
            lines
                .clone()
                .prop_map(|lines| format!("t += [1, 2].map(|x| {{ {lines} x + t }})[1] % 11;")),
            lines
                .clone()
                .prop_map(|lines| format!("t += [3, 4].filter(|x| {{ {lines} x > 3 }}).len();")),
            lines.clone().prop_map(|lines| format!(
                "t += [3, 4].reduce(|a, b| {{ {lines} (a ?? 0) + b }}) % 5;"
            )),
            lines.clone().prop_map(|lines| format!(
                "{{ let l = [2, 1, 3]; l.sort(|a, b| {{ {lines} a - b }}); t += l[0]; }}"
            )),
            lines.clone().prop_map(|lines| format!(
                "{{ let l = [1, 1, 2]; l.dedup(|a, b| {{ {lines} a == b }}); t += l.len(); }}"
            )),
            (lines.clone(), lines.clone()).prop_map(|(one, other)| {
                format!("try {{ {one} if t % 3 == 0 {{ throw t; }} }} catch (err) {{ {other} }}")
            }),
            lines.prop_map(|lines| format!("(|| {{ {lines} }}).call();")),
        ]
    })
}

fn script() -> impl Strategy<Value = String> {
    proptest::collection::vec(line(), 2..6)
        .prop_map(|lines| format!("let t = event.n;\nlet s = 0;\n{}\nt", lines.join("\n")))
}

/// Answers local words; what is kept is lost with the process unless it was flushed.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Value>>>);

impl Locals for Kept {
    fn answer(&mut self, question: &Question) -> Option<Result<Value, String>> {
        let argument = |index: usize| question.arguments.get(index).cloned().unwrap_or_default();
        let key = argument(0).to_plain();
        let mut kept = self.0.lock().unwrap();
        Some(Ok(match question.word.as_str() {
            "now" => Value::Int(rand::random_range(1..i64::MAX)),
            "uuid" => Value::from(format!("{:x}", rand::random::<u64>())),
            "random" => Value::Int(rand::random_range(0..6)),
            "emit" => Value::Null,
            "after" => Value::from([("after", argument(0)), ("due", Value::Int(1))]),
            "state::get" => kept.get(&key).cloned().unwrap_or_default(),
            "state::set" => kept
                .insert(key, argument(1))
                .map_or(Value::Null, |_| Value::Null),
            "state::delete" => kept.remove(&key).map_or(Value::Null, |_| Value::Null),
            _ => return None,
        }))
    }
}

/// What came of a command: the same for the same place, now and then a failure.
fn outcome(at: usize, question: &Question) -> Outcome {
    let number = Value::Int(at as i64);
    let seen = || Value::from([("n", Value::Int(3)), ("s", number.clone())]);
    let result = match question.word.as_str() {
        _ if at % 7 == 6 => Err(Value::from([
            ("kind", Value::from("refused")),
            ("at", number),
        ])),
        "watch" | "receive" if at.is_multiple_of(2) => Ok(seen()),
        "any" => Ok(Value::from([
            ("which", Value::Int(at as i64 % 2)),
            ("event", seen()),
        ])),
        "sleep" | "watch" | "receive" => Ok(Value::Null),
        _ => Ok(Value::from([("status", Value::Int(200)), ("id", number)])),
    };
    let at = at as u64;
    Outcome {
        at: jiff::Timestamp::UNIX_EPOCH,
        of: at,
        attempts: 1,
        result,
    }
}

/// When the process dies: around the so manieth flush.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Crash {
    Never,
    Before(usize),
    After(usize),
}

/// A run whose journal is on a disk that outlives it.
struct Run {
    journal: Journal,
    records: Vec<Vec<u8>>,
    kept: Kept,
    durable: BTreeMap<String, Value>,
    flushes: usize,
    crash: Crash,
}

impl Run {
    fn begin(crash: Crash) -> Run {
        let start = Start {
            at: jiff::Timestamp::UNIX_EPOCH,
            flow: "alert/fuzz".to_owned(),
            version: String::new(),
            engine_flags: ENGINE_FLAGS,
            events: vec![1],
            trouble: None,
            told: Default::default(),
        };
        let mut run = Run {
            journal: Journal::begin(run_id(), start),
            records: Vec::new(),
            kept: Kept::default(),
            durable: BTreeMap::new(),
            flushes: 0,
            crash,
        };
        run.keep();
        run
    }

    fn keep(&mut self) {
        let record = self.journal.take_pending().unwrap();
        self.records.push(record);
        self.durable = self.kept.0.lock().unwrap().clone();
    }

    fn flush(&mut self) {
        self.flushes += 1;
        if self.crash == Crash::Before(self.flushes) {
            return self.restart();
        }
        self.keep();
        if self.crash == Crash::After(self.flushes) {
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.journal = Journal::read(run_id(), &self.records).unwrap();
        *self.kept.0.lock().unwrap() = self.durable.clone();
    }

    /// Steps until the end; what it did, and how often it was flushed.
    fn live(mut self, engine: &Engine, script: &Script) -> Result<(Vec<String>, usize), String> {
        loop {
            let locals = Box::new(self.kept.clone());
            let before = self.journal.clone();
            let replay = Replay::new(before, Clock::system(), locals);
            let thinking = Duration::from_secs(20);
            let input = Input {
                events: events(),
                thinking,
            };
            let (end, replay) = engine.step(script, input, replay);
            let mut replay = replay.ok_or("the gate is gone")?;
            replay.finish_if(matches!(end, StepEnd::Done(_)));
            let asked = replay.asked.clone();
            self.journal = replay.journal;
            if self.journal.command_count() > COMMANDS_MAX {
                return Ok((told(&self.journal, "long"), self.flushes));
            }
            let flushes = self.flushes;
            self.flush();
            if self.crash == Crash::Before(flushes + 1) {
                continue;
            }
            match asked {
                Asked::Command(index) => {
                    let question = self
                        .journal
                        .command(index)
                        .ok_or("no command")?
                        .question
                        .clone();
                    self.journal.add(Entry::Outcome(outcome(index, &question)));
                    self.flush();
                }
                Asked::Diverged(divergence) => return Err(divergence.to_string()),
                Asked::TooMuch => return Err("too much".to_owned()),
                Asked::Nothing => {
                    let end = match end {
                        StepEnd::Done(value) => format!("done {value}"),
                        StepEnd::Failed(error) => format!("failed {}", error.message),
                        StepEnd::Stopped => return Err("stopped for nothing".to_owned()),
                    };
                    return Ok((told(&self.journal, &end), self.flushes));
                }
            }
        }
    }
}

fn run_id() -> RunId {
    "alert/1/fuzz".parse().unwrap()
}

fn events() -> Arc<Vec<Event>> {
    let id = EventId {
        channel: "alert".to_owned(),
        number: 1,
    };
    let body = Value::from([("n", Value::Int(3))]);
    let meta = Meta::new("test", jiff::Timestamp::UNIX_EPOCH);
    Arc::new(vec![Event { id, meta, body }])
}

/// A journal without times, and without what chance gave.
fn told(journal: &Journal, end: &str) -> Vec<String> {
    let line = |entry: &Entry| match entry {
        Entry::Command(command) => {
            let chance =
                ["now", "uuid", "random", "after"].contains(&command.question.word.as_str());
            let answer = command.answer.as_ref().filter(|_| !chance);
            let asked = match command.question.word.as_str() {
                "any" => "any".to_owned(),
                _ => show(&command.question),
            };
            Some(format!("{asked} -> {answer:?}"))
        }
        Entry::Outcome(outcome) => Some(format!("{} = {:?}", outcome.of, outcome.result)),
        Entry::Console(line) => Some(line.clone()),
        _ => None,
    };
    let lines = journal.entries().iter().filter_map(line);
    lines.chain([end.to_owned()]).collect()
}

fn is_the_same_after_any_crash(engine: &Engine, script: &str) -> Result<(), String> {
    let bundle = Bundle::of("flows/alert/fuzz.rhai", script);
    let script = engine.compile(bundle).map_err(|why| why[0].to_string())?;
    let (expected, flushes) = Run::begin(Crash::Never).live(engine, &script)?;
    for nth in 1..=flushes {
        for crash in [Crash::Before(nth), Crash::After(nth)] {
            let (found, _) = Run::begin(crash).live(engine, &script)?;
            if found != expected {
                return Err(format!("{crash:?}: {found:#?}\n is not\n{expected:#?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_crash_at_any_append_leaves_the_same_journal() {
    let long = std::env::var("VIGIE_LONG").is_ok();
    let mut runner = seeded(if long { 3_000 } else { 60 });
    let thinkers = Thinkers::start(Engine::new(host::words())).unwrap();
    let ran = runner.run(&script(), |script| {
        let shown = script.clone();
        let job = move |engine: &Engine| is_the_same_after_any_crash(engine, &script);
        let same = thinkers.call(job).expect("no panic");
        same.map_err(|why| TestCaseError::fail(format!("{shown}\n{why}")))
    });
    ran.unwrap_or_else(|why| panic!("{why}"));
}

/// The same with the real conductor and store: the run's journal and how often it could be killed.
fn lived(script: &str, nth: Option<u64>) -> (Vec<String>, bool) {
    let rig = Rig::new();
    rig.flow("fuzz", script, "in_doubt_wait = \"5ms\"");
    let point = POINTS[nth.unwrap_or(0) as usize % 4];
    let life = rig.live(nth.map(|nth| (nth, point)));
    let over = |life: &vigie::event::RunId, rig: &crate::rig::Life| rig.ended(life.as_str());
    let unhurt =
        life.attend(&rig) && life.push(3..4) == 1 && life.drain(|life| over(&run_id(), life));
    life.end();
    let life = rig.live(None);
    assert!(life.attend(&rig));
    if life.conductor.store.tail("alert") == 0 {
        assert_eq!(life.push(3..4), 1);
    }
    assert!(life.drain(|life| over(&run_id(), life)));
    let journal = life.run(run_id().as_str()).unwrap();
    let end = journal.end().unwrap();
    let end = format!("{} {} {}", end.state.word(), end.message, end.value);
    life.end();
    let mut told = told(&journal, &end.replace(&rig.url(), "TARGET"));
    // What a target answered has its own time and its own numbers.
    let is_action = |line: &String| {
        let of = line.split(" = ").next().and_then(|of| of.parse().ok());
        let command = of.and_then(|of| journal.command(of));
        command.is_some_and(|command| command.question.word.contains("::"))
    };
    for line in told.iter_mut().filter(|line| is_action(line)) {
        let of = line.split(" = ").next().unwrap_or_default().to_owned();
        let well = line.contains(" = Ok(");
        *line = format!("{of} = {well}");
    }
    // Each rig has its own target, on a port of its own.
    told.iter_mut()
        .for_each(|line| *line = line.replace(&rig.url(), "TARGET"));
    (told, unhurt)
}

#[test]
fn a_kill_at_any_commit_leaves_the_same_journal() {
    let long = std::env::var("VIGIE_LONG").is_ok();
    let mut runner = seeded(if long { 60 } else { 2 });
    let ran = runner.run(&script(), |script| {
        let (expected, _) = lived(&script, None);
        for nth in 1..if long { 200 } else { 40 } {
            let (found, unhurt) = lived(&script, Some(nth));
            prop_assert_eq!(&expected, &found, "{}, commit {}", script, nth);
            if unhurt {
                break;
            }
        }
        Ok(())
    });
    ran.unwrap_or_else(|why| panic!("{why}"));
}
