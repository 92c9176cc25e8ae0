//! Answers to what a script asks of nobody outside: the time, chance, its own memory, `emit`.
//!
//! Each answer is journalled, so a replay gets it from there; what an answer changes in the store
//! is written in the same batch as the journal entry, or not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::{Brokers, Origin};
use crate::clock::Clock;
use crate::event::{Incoming, Meta, Value};
use crate::gate::Question;
use crate::logging::{LogLine, Severity};
use crate::replay::Locals;
use crate::step;
use crate::store::Store;
use crate::store::codec::{decode_value, encode_value};
use crate::wait;

/// Events that a script may emit, and keys that it may set, between two actions.
pub const EFFECTS_MAX: usize = 500;
/// Longest key of a flow's state, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 512;

/// What a step wants to have written together with its journal.
#[derive(Debug, Default)]
pub struct Effects {
    /// Events for channels, in order.
    pub emitted: Vec<(String, Incoming)>,
    /// What the flow keeps; `None` forgets it.
    pub state: BTreeMap<String, Option<Value>>,
}

/// Answers for a run of a real server.
pub struct RunLocals {
    /// The flow, `channel/name`: whose state it is.
    pub flow: String,
    /// The run, named as the peer of emitted events.
    pub run: String,
    /// Where state is read.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// What is to be written.
    pub effects: Arc<Mutex<Effects>>,
    /// Who knows names.
    pub brokers: Arc<Brokers>,
    /// Where the events came in.
    pub origin: Origin,
    /// Lines above this level stay out of the server's log.
    pub log_level: u8,
}

impl Locals for RunLocals {
    fn answer(&mut self, question: &Question) -> Option<Result<Value, String>> {
        let argument = |index: usize| question.arguments.get(index).unwrap_or(&Value::Null);
        Some(match question.word.as_str() {
            "now" => Ok(Value::Int(self.clock.now().as_second())),
            "uuid" => Ok(Value::Text(uuid::Uuid::new_v4().to_string())),
            "random" => random(argument(0)),
            "after" => wait::after(self.clock.now(), argument(0)),
            "emit" => self.emit(argument(0), argument(1)),
            "state::get" => text(argument(0), "key").and_then(|key| self.get(key)),
            "state::set" => {
                text(argument(0), "key").and_then(|key| self.set(key, Some(argument(1))))
            }
            "state::delete" => text(argument(0), "key").and_then(|key| self.set(key, None)),
            _ => return self.brokers.answer(question, &self.origin),
        })
    }

    fn log(&mut self, line: &LogLine) {
        let (run, text) = (&self.run, &line.text);
        match line.severity {
            _ if line.level > self.log_level => {}
            Severity::Error => tracing::error!(run, "{text}"),
            Severity::Warning => tracing::warn!(run, "{text}"),
            Severity::Info => tracing::info!(run, "{text}"),
        }
    }
}

impl RunLocals {
    fn emit(&self, channel: &Value, event: &Value) -> Result<Value, String> {
        let channel = text(channel, "channel")?.to_owned();
        if self.effects().emitted.len() >= EFFECTS_MAX {
            return Err(format!(
                "more than {EFFECTS_MAX} events emitted between two actions"
            ));
        }
        let mut meta = Meta::new("flow", self.clock.now());
        meta.peer.clone_from(&self.run);
        self.effects().emitted.push((
            channel,
            Incoming {
                body: event.clone(),
                meta,
            },
        ));
        Ok(Value::Null)
    }

    /// What the flow keeps under `key`. A store that cannot tell is none of the script's business: it
    /// could catch that, and its journal would not know. So the step ends, and the run with it
    /// until it is taken up again.
    fn get(&self, key: &str) -> Result<Value, String> {
        if let Some(kept) = self.effects().state.get(key) {
            return Ok(kept.clone().unwrap_or_default());
        }
        self.read(key).inspect_err(|why| {
            let (run, flow) = (&self.run, &self.flow);
            tracing::error!(run, flow, key, "what the flow keeps cannot be read: {why}");
            step::interrupt();
        })
    }

    fn read(&self, key: &str) -> Result<Value, String> {
        let kept = self.store.state(&self.flow, key);
        let bytes = kept.map_err(|why| why.to_string())?;
        let value = bytes.map(|bytes| decode_value(&bytes)).transpose();
        let value = value.map_err(|why| why.to_string())?;
        Ok(value.unwrap_or_default())
    }

    fn set(&self, key: &str, value: Option<&Value>) -> Result<Value, String> {
        if key.len() > STATE_KEY_BYTES_MAX {
            return Err(format!("`key` is longer than {STATE_KEY_BYTES_MAX} bytes"));
        }
        if self.effects().state.len() >= EFFECTS_MAX {
            return Err(format!(
                "more than {EFFECTS_MAX} keys set between two actions"
            ));
        }
        if let Some(value) = value {
            encode_value(value).map_err(|why| why.to_string())?;
        }
        self.effects().state.insert(key.to_owned(), value.cloned());
        Ok(Value::Null)
    }

    fn effects(&self) -> std::sync::MutexGuard<'_, Effects> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value
        .as_text()
        .ok_or_else(|| format!("`{name}` must be text, not {}", value.kind()))
}

fn random(below: &Value) -> Result<Value, String> {
    match below {
        Value::Null => Ok(Value::Float(rand::random::<f64>())),
        Value::Int(below) if *below > 0 => Ok(Value::Int(rand::random_range(0..*below))),
        other => Err(format!("`below` must be a positive integer, not {other}")),
    }
}
