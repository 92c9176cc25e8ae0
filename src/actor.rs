//! Actor: says what a rehearsed run is told, in place of the world; and virtual time's own answers to
//! the words that ask nobody outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::broker;
use crate::claim::lock;
use crate::clock::Clock;
use crate::event::Value;
use crate::gate::Question;
use crate::replay::Locals;
use crate::wait;

/// Says what comes of the things that a rehearsed run asks for.
pub trait Actor: Send + 'static {
    /// What a word is answered that asks nobody outside.
    fn local(&mut self, question: &Question, now: Timestamp) -> Local;

    /// What comes of an action; `None` stops the rehearsal, and the actor knows why.
    fn act(&mut self, question: &Question, now: Timestamp) -> Option<Act>;
}

/// How a local word is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Local {
    /// With this.
    Value(Value),
    /// As virtual time has it: `now()` is its clock, `uuid()` and `random()` are always the same.
    Virtual,
    /// Like an action, by [`Actor::act`].
    Act,
}

/// What comes of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// The value, or what the script's `catch` sees.
    pub result: Result<Value, Value>,
    /// How long it takes.
    pub takes: Duration,
}

/// The actor, and what the flow keeps.
pub(crate) struct Shared<A> {
    pub(crate) actor: A,
    pub(crate) state: BTreeMap<String, Value>,
}

/// Answers what needs nobody outside, in virtual time.
pub(crate) struct VirtualLocals<A> {
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Mutex<Shared<A>>>,
}

impl<A: Actor> Locals for VirtualLocals<A> {
    fn answer(&mut self, question: &Question) -> Option<Result<Value, String>> {
        let mut shared = lock(&self.shared);
        let now = self.clock.now();
        let own = virtually(question, &mut shared.state, now)?;
        match shared.actor.local(question, now) {
            Local::Value(value) => Some(Ok(value)),
            Local::Virtual => Some(own),
            Local::Act => None,
        }
    }
}

/// `None` for what is no local word.
fn virtually(
    question: &Question,
    state: &mut BTreeMap<String, Value>,
    now: Timestamp,
) -> Option<Result<Value, String>> {
    let argument = |index: usize| question.arguments.get(index).cloned().unwrap_or_default();
    let key = || argument(0).to_plain();
    let value = match question.word.as_str() {
        "now" => Value::Int(now.as_second()),
        "uuid" => Value::from("00000000-0000-4000-8000-000000000000"),
        "random" if question.arguments.is_empty() => Value::Float(0.5),
        "random" => Value::Int(0),
        "after" => return Some(wait::after(now, &argument(0))),
        "emit" => Value::Null,
        "state::get" => state.get(&key()).cloned().unwrap_or_default(),
        "state::set" => {
            state.insert(key(), argument(1));
            Value::Null
        }
        "state::delete" => {
            state.remove(&key());
            Value::Null
        }
        word => broker::missing(word)?,
    };
    Some(Ok(value))
}
