//! Our own engine of version 3, which informs are secured for, and what is known of the engines of
//! others, which traps are secured by (RFC 3414 §2.2 and §3.2).
//!
//! Invariant: the number of boots is on disk, one higher at each opening, before anything is
//! answered with it, so that an inform from before a restart is not taken again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::hex;

/// Engines of others whose clocks are known.
pub const ENGINES_MAX: usize = 10_000;
/// The highest number of boots, from which an engine never comes back (RFC 3414 §2.2.2).
const BOOTS_MAX: u32 = i32::MAX.unsigned_abs();
/// How many seconds a message may be late (RFC 3414 §2.2.3).
const WINDOW_SECONDS: u32 = 150;
/// How engine ids of ours begin: the form of RFC 3411 §5 with octets of our own choice (5), under
/// enterprise number 0, which is reserved, because vigie has none.
const ID_BEGIN: [u8; 5] = [0x80, 0, 0, 0, 5];
/// Bytes of our own choice.
const ID_RANDOM_BYTES: usize = 12;
/// All bytes of an engine id of ours.
const ID_BYTES: usize = ID_BEGIN.len() + ID_RANDOM_BYTES;

/// The engine of one source while its door stands open.
#[derive(Debug)]
pub struct Engine {
    /// Its id.
    pub id: Vec<u8>,
    /// How often it was started.
    pub boots: u32,
    began: Instant,
    salt: AtomicU64,
    reports: AtomicU32,
    others: Mutex<HashMap<Vec<u8>, Clock>>,
}

/// The clock of somebody else's engine.
#[derive(Debug, Clone, Copy)]
struct Clock {
    boots: u32,
    time: u32,
    seen: Instant,
}

impl Engine {
    /// The engine that `memory` is about, started once more; a new one if there is none.
    pub fn start(memory: Option<&[u8]>) -> Engine {
        let known = memory.and_then(recall);
        let (id, boots) = known.unwrap_or_else(|| {
            let random: [u8; ID_RANDOM_BYTES] = rand::random();
            ([&ID_BEGIN[..], &random].concat(), 0)
        });
        Engine::new(id, boots.saturating_add(1).min(BOOTS_MAX))
    }

    /// An engine with this id that was started so often.
    pub fn new(id: Vec<u8>, boots: u32) -> Engine {
        Engine {
            id,
            boots,
            began: Instant::now(),
            salt: AtomicU64::new(rand::random()),
            reports: AtomicU32::new(0),
            others: Mutex::default(),
        }
    }

    /// What the source has to remember.
    pub fn memory(&self) -> Vec<u8> {
        format!("{}\n{}", hex::encode(&self.id), self.boots).into_bytes()
    }

    /// Seconds since it was started.
    pub fn time(&self) -> u32 {
        let seconds = self.began.elapsed().as_secs();
        u32::try_from(seconds).unwrap_or(BOOTS_MAX).min(BOOTS_MAX)
    }

    /// A salt that was not used before.
    pub fn salt(&self) -> [u8; 8] {
        self.salt.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }

    /// How many reports were made, with this one.
    pub fn count_report(&self) -> u32 {
        self.reports.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Whether an authenticated message from the engine `id` is of this time and not of the past;
    /// of somebody else's engine the latest time is remembered.
    pub fn is_timely(&self, id: &[u8], boots: u32, time: u32) -> bool {
        if id == self.id {
            let is_near = self.time().abs_diff(time) <= WINDOW_SECONDS;
            return boots == self.boots && boots < BOOTS_MAX && is_near;
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let known = others.get(id).copied();
        if known.is_some_and(|known| known.is_past(boots, time)) || boots == BOOTS_MAX {
            return false;
        }
        let is_later = known.is_none_or(|known| (boots, time) > (known.boots, known.time));
        if is_later && (known.is_some() || others.len() < ENGINES_MAX) {
            let seen = Instant::now();
            others.insert(id.to_vec(), Clock { boots, time, seen });
        }
        true
    }
}

impl Clock {
    fn is_past(&self, boots: u32, time: u32) -> bool {
        let gone = u32::try_from(self.seen.elapsed().as_secs()).unwrap_or(u32::MAX);
        let now = self.time.saturating_add(gone);
        boots < self.boots || (boots == self.boots && time.saturating_add(WINDOW_SECONDS) < now)
    }
}

fn recall(memory: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (id, boots) = std::str::from_utf8(memory).ok()?.split_once('\n')?;
    let id: [u8; ID_BYTES] = hex::decode(id)?;
    Some((id.to_vec(), boots.parse().ok()?))
}
