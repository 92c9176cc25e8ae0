//! The engine by itself: whatever a script does, the process lives, the thread goes on, the memory
//! comes back, and nothing is answered after a step was stopped.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vigie::compile::{Bundle, Script};
use vigie::engine::{Engine, Input, StepEnd};
use vigie::event::{Event, EventId, Meta, Value};
use vigie::gate::{Answer, Gate, Question};
use vigie::thinkers::Thinkers;
use vigie::{host, memory};

use crate::attacks::{self, Attack, End};

/// How long an attack may think; the clock is looked at between operations only.
const THINKING: Duration = Duration::from_millis(700);
/// How long one may take altogether on a busy machine, in a build without optimisation.
const ATTACK_MAX: Duration = Duration::from_secs(20);
/// Bytes that may be left behind: what the allocator's users keep warm.
const LEFT_BYTES_MAX: isize = 256 * 1024;

/// Answers plain words, stops at actions, and writes everything down.
#[derive(Default)]
struct Recorder {
    asked: Vec<String>,
    printed: Vec<String>,
    answers: BTreeMap<String, Vec<Answer>>,
}

impl Gate for Recorder {
    fn ask(&mut self, question: Question) -> Answer {
        self.asked.push(question.word.clone());
        if let Some(answers) = self.answers.get_mut(&question.word)
            && !answers.is_empty()
        {
            return answers.remove(0);
        }
        match question.word.contains("::") && !question.word.starts_with("state") {
            true => Answer::Stop,
            false => Answer::Value(Value::Int(1)),
        }
    }

    fn print(&mut self, line: &str) {
        self.printed.push(line.to_owned());
    }
}

fn event(body: Value) -> Arc<Vec<Event>> {
    let id = EventId {
        channel: "alert".to_owned(),
        number: 1,
    };
    let meta = Meta::new("test", jiff::Timestamp::UNIX_EPOCH);
    Arc::new(vec![Event { id, meta, body }])
}

fn thinkers() -> Thinkers {
    Thinkers::start(Engine::new(host::words())).unwrap()
}

fn compile(engine: &Engine, script: &str) -> Result<Script, String> {
    let shown = |mistakes: Vec<vigie::error::Diagnostic>| mistakes.first().unwrap().to_string();
    engine
        .compile(Bundle::of("flows/alert/test.rhai", script))
        .map_err(shown)
}

fn step(engine: &Engine, script: &Script, gate: Recorder) -> (StepEnd, Recorder) {
    let input = Input {
        events: event(Value::from([("n", Value::Int(7))])),
        thinking: THINKING,
    };
    let (end, gate) = engine.step(script, input, gate);
    (end, gate.expect("the gate comes back"))
}

/// Runs a script on a thinking thread.
fn think(script: &str) -> (StepEnd, Recorder) {
    let script = script.to_owned();
    let job = move |engine: &Engine| {
        let script = compile(engine, &script).unwrap_or_else(|why| panic!("{why}"));
        step(engine, &script, Recorder::default())
    };
    thinkers().call(job).unwrap()
}

fn is_limit(message: &str) -> bool {
    let limits = [
        "the script took more than",
        "the script thought longer than",
        "the script held more than",
        "Too many operations",
        "Stack overflow",
        "exceeds limit",
        "too large",
        "Too many",
    ];
    limits.iter().any(|limit| message.contains(limit))
}

/// Runs one attack on the thread that calls; says how it ended.
fn attacked(engine: &Engine, attack: &Attack) -> (End, String) {
    let script = match compile(engine, &attack.script) {
        Ok(script) => script,
        Err(why) => return (End::Refused, why),
    };
    match step(engine, &script, Recorder::default()).0 {
        StepEnd::Done(value) => (End::Fine, format!("{:.60}", value.to_string())),
        StepEnd::Stopped => (End::Error, "stopped".to_owned()),
        StepEnd::Failed(error) if is_limit(&error.message) => (End::Limit, error.message),
        StepEnd::Failed(error) => (End::Error, error.message),
    }
}

/// What one line of the child says.
fn report(engine: &Engine, attack: &Attack) -> String {
    let (before, began) = (memory::live_bytes(), Instant::now());
    let (end, message) = attacked(engine, attack);
    let (took, left) = (
        began.elapsed(),
        memory::live_bytes() - before - message.len() as isize,
    );
    let still =
        compile(engine, "event.n + 1").map(|script| step(engine, &script, Recorder::default()).0);
    let mut wrong = String::new();
    if end != attack.end {
        wrong += &format!(" must be {:?}", attack.end);
    }
    if took > ATTACK_MAX {
        wrong += " took too long";
    }
    if left > LEFT_BYTES_MAX {
        wrong += " leaves memory behind";
    }
    if !matches!(still, Ok(StepEnd::Done(Value::Int(8)))) {
        wrong += &format!(" spoils the thread: {still:?}");
    }
    let message: String = message
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(90)
        .collect();
    let verdict = if wrong.is_empty() {
        "ok".to_owned()
    } else {
        format!("WRONG{wrong}")
    };
    format!(
        "{verdict}\t{}\t{end:?}\t{took:.1?}\t{left} bytes\t{message}",
        attack.name
    )
}

#[test]
#[ignore = "started by the tests below, in a process of its own"]
fn attacks_of_one_group() {
    let Ok(group) = std::env::var("VIGIE_ATTACKS") else {
        return;
    };
    let job = move |engine: &Engine| {
        for attack in attacks::group(&group) {
            println!("begin\t{}", attack.name);
            println!("{}", report(engine, &attack));
        }
        println!("all done");
    };
    assert!(thinkers().call(job).is_some(), "the engine panicked");
}

/// Runs a group in a process of its own, so that an abort is a failure and nothing more.
fn withstands(group: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "--exact",
        "engine::attacks_of_one_group",
        "--ignored",
        "--nocapture",
    ]);
    let output = child.env("VIGIE_ATTACKS", group).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = said.lines().last().unwrap_or_default();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} after {last}\n{said}\n{why}",
        output.status
    );
    assert!(said.contains("all done"), "{said}");
    let wrong: Vec<&str> = said.lines().filter(|line| line.contains("WRONG")).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(attacks::group(group).len() > 5);
    if std::env::var("VIGIE_SHOW").is_ok() {
        println!("{said}");
    }
}

#[test]
fn endless_loops_end() {
    withstands("loops");
}

#[test]
fn endless_loops_in_closures_end_though_they_are_caught() {
    withstands("closures");
}

#[test]
fn a_limit_that_was_swallowed_is_no_good_end() {
    withstands("swallowed");
}

#[test]
fn recursion_ends() {
    withstands("recursion");
}

#[test]
fn texts_stay_within_bounds() {
    withstands("texts");
}

#[test]
fn values_stay_within_bounds() {
    withstands("values");
}

#[test]
fn chains_and_cycles_of_closures_end() {
    withstands("cycles");
}

#[test]
fn hostile_sources_are_compiled_or_refused() {
    withstands("source");
}

#[test]
fn forbidden_words_do_nothing() {
    withstands("forbidden");
}

#[test]
fn floods_end() {
    withstands("floods");
}
