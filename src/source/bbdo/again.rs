//! What makes an event the same as one that was sent before.
//!
//! A Broker sends again what was not acknowledged, and nothing in a packet numbers events. So the id
//! of an event is made of what it is about, its own time, and its bytes. The same bytes may truly
//! come twice (a downtime that begins and ends between two checks), so how often they came in this
//! conversation counts too; what is sent again begins from the oldest, so it counts alike. An event
//! without a time of its own has no id: it is a definition, and saying it twice changes nothing.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::field::Fields;
use crate::event::Value;

/// Events whose number of times is known, per conversation; twice a Broker's usual queue.
const KNOWN_MAX: usize = 20_000;

/// The times that an event may carry, the most telling first.
const TIMES: &[&str] = &[
    "last_check",
    "entry_time",
    "event_time",
    "ctime",
    "time",
    "last_alive",
    "start_time",
    "last_state_change",
    "update_time",
];

/// What an event may be about.
const OBJECTS: &[&str] = &[
    "instance_id",
    "host_id",
    "service_id",
    "ba_id",
    "kpi_id",
    "metric_id",
];

/// How often events came in one conversation.
#[derive(Debug, Default)]
pub struct Recent {
    newer: HashMap<u64, u32>,
    older: HashMap<u64, u32>,
}

impl Recent {
    /// The id of an event, for `dedup_window`; `None` if it has no time of its own.
    pub fn message_id(&mut self, fields: &Fields, payload: &[u8]) -> Option<String> {
        let time = TIMES.iter().find_map(|name| number(fields, name))?;
        let kind = fields.get("kind").and_then(Value::as_text)?;
        let objects: Vec<String> = OBJECTS
            .iter()
            .filter_map(|name| Some(number(fields, name)?.to_string()))
            .collect();
        let hash = hash(kind, payload);
        let times = self.count(hash);
        let objects = objects.join("-");
        Some(format!("{kind}/{objects}/{time}/{hash:016x}/{times}"))
    }

    /// How often it came before; the oldest half is forgotten when there are too many.
    fn count(&mut self, hash: u64) -> u32 {
        if self.newer.len() >= KNOWN_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        let before = self.older.get(&hash).copied().unwrap_or(0);
        let times = self.newer.entry(hash).or_insert(before);
        *times += 1;
        *times
    }
}

fn number(fields: &Fields, name: &str) -> Option<i64> {
    match fields.get(name) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

fn hash(kind: &str, payload: &[u8]) -> u64 {
    let digest = Sha256::new()
        .chain_update(kind)
        .chain_update(payload)
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
