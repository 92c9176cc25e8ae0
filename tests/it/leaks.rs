//! Scripts whose closures hold themselves: the language never frees them, so such a script is
//! stopped before it eats the machine, and no other one is taken for one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use vigie::bundle::{Bundle, Script};
use vigie::engine::{Engine, Input, StepEnd};
use vigie::event::Value;
use vigie::gate::{Answer, Gate, Question};
use vigie::host;
use vigie::leak::LEAKED_BYTES_MAX;
use vigie::thinkers::Thinkers;

use crate::house::House;

/// Keeps everything that it is asked and told, as a journal does.
#[derive(Default)]
struct Keeper {
    asked: Vec<Question>,
    printed: Vec<String>,
}

impl Gate for Keeper {
    fn ask(&mut self, question: Question) -> Answer {
        let answer = question.arguments.last().cloned().unwrap_or_default();
        self.asked.push(question);
        Answer::Value(answer)
    }

    fn print(&mut self, line: &str) {
        self.printed.push(line.to_owned());
    }
}

fn step(engine: &Engine, script: &Script) -> (StepEnd, Keeper) {
    let input = Input {
        events: Arc::new(Vec::new()),
        thinking: Duration::from_secs(10),
    };
    let (end, keeper) = engine.step(script, input, Keeper::default());
    (end, keeper.unwrap())
}

/// Runs `work` on a thread that thinks.
fn thinking<R: Send + 'static>(work: impl FnOnce(&Engine) -> R + Send + 'static) -> R {
    let thinkers = Thinkers::start(Engine::new(host::words())).unwrap();
    thinkers.call(work).unwrap()
}

fn compile(engine: &Engine, script: &str) -> Script {
    engine
        .compile(Bundle::of("flows/alert/test.rhai", script))
        .unwrap()
}

/// 200 kB that hold themselves.
const RING: &str = "let x = #{ big: \"x\" }; x.big.pad(200000, 'x'); let f = || x; x.me = f;";

#[test]
fn a_script_that_leaves_rings_behind_is_refused_before_it_eats_the_machine() {
    let (leaked, why) = thinking(|engine| {
        let ring = compile(engine, &format!("fn ring() {{ {RING} }} ring();"));
        let mut steps = 0;
        loop {
            match step(engine, &ring).0 {
                StepEnd::Done(_) => steps += 1,
                end => return (ring.leaked.bytes(), format!("{end:?}")),
            }
            assert!(steps < 1_000, "{} bytes", ring.leaked.bytes());
        }
    });
    let range = LEAKED_BYTES_MAX..LEAKED_BYTES_MAX + 1_000_000;
    assert!(range.contains(&leaked), "{leaked} bytes");
    assert!(
        why.contains("left 64 MiB behind in closures that hold themselves"),
        "{why}"
    );
}

#[test]
fn a_filter_that_leaves_rings_behind_is_refused_too() {
    let why = thinking(|engine| {
        let ring = compile(engine, &format!("fn filter(event) {{ {RING} true }}"));
        let judge = || {
            engine.filter(
                &ring,
                &crate::engine::came(Value::Null),
                Duration::from_secs(10),
            )
        };
        (0..1_000).find_map(|_| judge().err().map(|error| error.message))
    });
    let why = why.expect("a refusal");
    assert!(why.contains("closures that hold themselves"), "{why}");
}

#[test]
fn what_is_asked_printed_given_raised_or_kept_for_later_is_no_leak() {
    let scripts = [
        // large questions and answers, as a journal keeps them
        "let big = \"x\"; big.pad(200000, 'x'); for i in 0..5 { state::set(`k${i}`, [big, #{ a: big }]); } state::get(\"k\")",
        "emit(\"alert\", #{ a: 1, b: #{ c: [1, 2, #{ d: \"e\" }] } }); for i in 0..300 { emit(\"a\", #{ number: i }); }",
        "for i in 0..300 { print(\"a line that is kept, and another one behind it\"); }",
        "let many = []; for i in 0..4000 { many.push(`text ${i}`); } many",
        "let big = \"x\"; big.pad(200000, 'x'); throw #{ big: big, list: [1, 2, 3] };",
        "let big = \"x\"; big.pad(100000, 'x'); let f = |y| big + y; f.call(\"z\"); let g = || f; g.call();",
        // patterns that are other ones each time
        "let n = state::get(\"n\"); let s = uuid(\"x\"); for i in 0..20 { matches(\"abc\", `(a|b|c)+${i}[a-z]{1,50}`); }",
    ];
    for script in scripts {
        let leaked = thinking(move |engine| {
            let script = compile(engine, &script.replace("uuid(\"x\")", "uuid()"));
            let kept: Vec<_> = (0..50).map(|_| step(engine, &script)).collect();
            (script.leaked.bytes(), kept.len())
        });
        assert_eq!(leaked, (0, 50), "{script}");
    }
}

#[test]
fn runs_of_a_refused_script_are_dead_letters_that_say_why_and_others_go_on() {
    let house = House::new();
    let ring = format!("fn ring() {{ {RING} }} for i in 0..60 {{ ring(); }}");
    house
        .channel("alert", "")
        .flow("alert/ring", &ring)
        .flow("alert/good", "print(\"good\");");
    let server = house.serve();
    let mut ends = Vec::new();
    for number in 0..6 {
        let id = server.push("alert", &json!({ "number": number }));
        let run = server.ended(&format!("{id}/ring"));
        ends.push(run["state"].as_str().unwrap().to_owned());
        let good = server.ended(&format!("{id}/good"));
        assert_eq!(good["state"], "done", "{good}");
        if run["state"] == "failed" {
            let why = run["message"].as_str().unwrap();
            assert!(why.contains("closures that hold themselves"), "{why}");
        }
    }
    assert_eq!(
        (ends[0].as_str(), ends[5].as_str()),
        ("done", "failed"),
        "{ends:?}"
    );
    let metrics = server.ask("/metrics", &[], None).text;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("vigie_leaked_bytes"));
    let bytes: usize = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(bytes >= LEAKED_BYTES_MAX, "{metrics}");
}
