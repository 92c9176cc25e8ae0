//! Scripts: compiled, then one step, on the threads that think, within the limits of a real one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use vigie::bundle::Bundle;
use vigie::engine::{Engine, Input};
use vigie::gate::{Answer, Gate, Question};
use vigie::host;
use vigie::thinkers::Thinkers;

/// Thinking time of a step.
const THINKING: Duration = Duration::from_secs(2);

/// Hears what a script asks, and answers with the last thing that it said.
#[derive(Default)]
struct Echo;

impl Gate for Echo {
    fn ask(&mut self, question: Question) -> Answer {
        Answer::Value(question.arguments.last().cloned().unwrap_or_default())
    }

    fn print(&mut self, _: &str) {}
}

/// Any text is refused or ends; a panic of the engine on its thread is one here.
pub fn compile_and_step(bytes: &[u8]) {
    static THINKERS: OnceLock<Thinkers> = OnceLock::new();
    let thinkers =
        THINKERS.get_or_init(|| Thinkers::start(Engine::new(host::words())).expect("threads"));
    let Ok(text) = std::str::from_utf8(bytes).map(str::to_owned) else {
        return;
    };
    let think = move |engine: &Engine| {
        let Ok(script) = engine.compile(Bundle::of("flows/alert/fuzz.rhai", &text)) else {
            return;
        };
        let input = Input {
            events: Arc::new(Vec::new()),
            thinking: THINKING,
        };
        drop(engine.step(&script, input, Echo));
    };
    assert!(thinkers.call(think).is_some(), "the engine panicked");
}
