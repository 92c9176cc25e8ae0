//! The engine by itself: whatever a script does, the process lives, the thread goes on, the memory
//! comes back, and nothing is answered after a step was stopped.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vigie::bundle::{Bundle, Script};
use vigie::engine::{Engine, Input, StepEnd};
use vigie::event::{Event, EventId, Meta, Value};
use vigie::gate::{Answer, Gate, Question};
use vigie::thinkers::Thinkers;
use vigie::{host, memory};

use crate::attacks::{self, Attack, End};

/// How long a script may think here.
const THINKING: Duration = Duration::from_secs(10);
/// How long one may take altogether on a busy machine, in a build without optimisation.
const ATTACK_MAX: Duration = Duration::from_secs(20);
/// How long a group may take before it counts as hung.
const GROUP_MAX: Duration = Duration::from_secs(120);

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
    step_within(engine, script, gate, THINKING)
}

fn step_within(
    engine: &Engine,
    script: &Script,
    gate: Recorder,
    thinking: Duration,
) -> (StepEnd, Recorder) {
    let input = Input {
        events: event(Value::from([("n", Value::Int(7))])),
        thinking,
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
        "Too many",
        "of string too large",
        "of array/BLOB too large",
        "of object map too large",
    ];
    limits.iter().any(|limit| message.contains(limit))
}

/// Runs one attack on the thread that calls; says how it ended.
fn attacked(engine: &Engine, attack: &Attack) -> (End, String) {
    let script = match compile(engine, &attack.script) {
        Ok(script) => script,
        Err(why) => return (End::Refused, why),
    };
    match step_within(engine, &script, Recorder::default(), attack.thinking).0 {
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
    if left > attack.leaves {
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

fn read(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    })
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
    child.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.env("VIGIE_ATTACKS", group).spawn().unwrap();
    let (out, errors) = (
        read(child.stdout.take().unwrap()),
        read(child.stderr.take().unwrap()),
    );
    let until = Instant::now() + GROUP_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let (said, why) = (out.join().unwrap(), errors.join().unwrap());
    assert!(status.success(), "{status}\n{said}\n{why}");
    assert!(said.contains("all done"), "{said}");
    let wrong: Vec<&str> = said.lines().filter(|line| line.contains("WRONG")).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(attacks::group(group).len() > 5);
    if std::env::var("VIGIE_SHOW").is_ok() {
        println!("{said}");
    }
}

/// A script that asks inside a word which hides errors, then does as if nothing had happened.
fn stopped_inside(wrapped: &str) {
    let script = format!(
        "print(\"before\"); try {{ {wrapped} }} catch {{ print(\"caught\"); now(); }} \
         print(\"after\"); emit(\"a\", 1); state::set(\"k\", 1); http::get(\"http://b\"); \
         [2, 1].sort(|a, b| {{ uuid(); a - b }}); 5"
    );
    let (end, gate) = think(&script);
    assert!(matches!(end, StepEnd::Stopped), "{script}: {end:?}");
    assert_eq!(gate.asked, ["http::get"], "{script}");
    assert_eq!(gate.printed, ["before"], "{script}");
}

#[test]
fn nothing_is_answered_after_a_stop_though_the_language_hides_it() {
    let ask = "http::get(\"http://a\")";
    let hiding = [
        format!("[1].map(|x| {ask})"),
        format!("[1].filter(|x| {ask})"),
        format!("[1, 2].reduce(|a, b| {ask})"),
        format!("[1, 2].reduce_rev(|a, b| {ask})"),
        format!("[1].for_each(|| {ask})"),
        format!("[1].some(|x| {ask})"),
        format!("[1].all(|x| {ask})"),
        format!("[1].find(|x| {ask})"),
        format!("[1].find_map(|x| {ask})"),
        format!("[1].index_of(|x| {ask})"),
        format!("[1].retain(|x| {ask})"),
        format!("[1].drain(|x| {ask})"),
        format!("[2, 1].sort(|a, b| {{ {ask}; a - b }})"),
        format!("[1, 1].dedup(|a, b| {{ {ask}; true }})"),
        format!("#{{ a: 1 }}.filter(|k, v| {ask})"),
        format!("let f = || {ask}; f.call()"),
        format!("let f = |a| {ask}; f.curry(1).call()"),
        format!("print(`${{{ask}}}`)"),
        format!("switch {ask} {{ 1 => 2, _ => 3 }}"),
        format!("[[1]].map(|x| x.map(|y| {ask}))"),
        format!("let l = [{ask}]; l"),
        format!("try {{ {ask} }} catch {{ now(); }}"),
        format!("for x in [1].map(|x| {ask}) {{ now(); }}"),
    ];
    hiding.iter().for_each(|wrapped| stopped_inside(wrapped));
}

#[test]
fn a_stop_in_a_sort_that_is_the_last_word_is_a_stop() {
    let (end, gate) = think("[2, 1].sort(|a, b| { http::get(\"http://a\"); a - b })");
    assert!(matches!(end, StepEnd::Stopped), "{end:?}");
    assert_eq!(gate.asked.len(), 1);
}

#[test]
fn a_failure_is_caught_with_its_verb_kind_status_and_message() {
    let failure = Value::from([
        ("verb", Value::from("http::get")),
        ("kind", Value::from("refused")),
        ("status", Value::Int(404)),
        ("message", Value::from("not there")),
    ]);
    let job = move |engine: &Engine| {
        let script = "let seen = \"\"; try { http::get(\"http://a\"); } catch (err) { \
            seen = `${err.verb} ${err.kind} ${err.status} ${err.message}`; } seen";
        let script = compile(engine, script).unwrap();
        let answers = BTreeMap::from([("http::get".to_owned(), vec![Answer::Error(failure)])]);
        step(
            engine,
            &script,
            Recorder {
                answers,
                ..Recorder::default()
            },
        )
        .0
    };
    let end = thinkers().call(job).unwrap();
    let StepEnd::Done(value) = end else {
        panic!("{end:?}")
    };
    assert_eq!(value, Value::from("http::get refused 404 not there"));
}

/// An event with this body.
pub fn came(body: Value) -> Event {
    let id = EventId {
        channel: "alert".to_owned(),
        number: 1,
    };
    let meta = Meta::new("http", jiff::Timestamp::UNIX_EPOCH);
    Event { id, body, meta }
}

#[test]
fn a_host_word_in_a_filter_is_refused_with_its_place() {
    let job = |engine: &Engine| {
        let script = "fn filter(event) {\n  let n = now();\n  n > 1\n}";
        let script = compile(engine, script).unwrap();
        engine.filter(
            &script,
            &came(Value::from([("n", Value::Int(1))])),
            THINKING,
        )
    };
    let error = thinkers().call(job).unwrap().unwrap_err();
    let shown = error.diagnostic().to_string();
    assert!(shown.contains("`now` cannot be used here"), "{shown}");
    assert!(shown.contains("test.rhai:2:11"), "{shown}");
}

#[test]
fn a_filter_that_is_stopped_at_a_limit_is_no_verdict() {
    for body in [
        "loop {}",
        "[1, 2].sort(|a, b| { loop {} }); true",
        "try { [1].map(|x| { loop {} }) } catch {} false",
    ] {
        let script = format!("fn filter(event) {{ {body} }}");
        let job = move |engine: &Engine| {
            let script = compile(engine, &script).unwrap();
            engine.filter(&script, &came(Value::Null), THINKING)
        };
        let error = thinkers().call(job).unwrap().expect_err(body);
        assert!(is_limit(&error.message), "{body}: {}", error.message);
    }
}

#[test]
fn a_filter_runs_without_the_top_level_and_must_say_yes_or_no() {
    let cases = [
        (
            "print(\"top\"); throw 1; fn filter(event) { event.n == 1 }",
            Ok(true),
        ),
        ("fn filter(event) { event.n == 2 }", Ok(false)),
        (
            "fn filter(event) { \"yes\" }",
            Err("must give true or false, not string"),
        ),
        (
            "fn filter(event) { event.missing.deeper > 3 }",
            Err("missing"),
        ),
        ("let filter = 1;", Ok(true)),
    ];
    for (script, expected) in cases {
        let job = move |engine: &Engine| {
            let script = compile(engine, script).unwrap();
            engine.filter(
                &script,
                &came(Value::from([("n", Value::Int(1))])),
                THINKING,
            )
        };
        match (thinkers().call(job).unwrap(), expected) {
            (Ok(verdict), Ok(expected)) => assert_eq!(verdict, expected, "{script}"),
            (Err(error), Err(_)) => assert!(
                error.place.is_some() || error.message.contains("must give"),
                "{script}: {error:?}"
            ),
            (found, _) => panic!("{script}: {found:?}"),
        }
    }
}

#[test]
#[ignore = "started by the test below, in a process of its own"]
fn names_of_closures() {
    let (end, _) =
        think("let n = 1; let f = |x| x + n; let g = || 5; [`${f}`, `${g}`, Fn(\"abs\").name]");
    println!("names {end:?}");
}

#[test]
fn closures_have_the_same_names_in_every_process() {
    let names = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "engine::names_of_closures",
            "--ignored",
            "--nocapture",
        ]);
        let said = String::from_utf8(child.output().unwrap().stdout).unwrap();
        said.lines()
            .find(|line| line.starts_with("names "))
            .unwrap()
            .to_owned()
    };
    let first = names();
    assert!(first.contains("anon$"), "{first}");
    assert_eq!(first, names());
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
