//! When to try again: back-off with full jitter, the target's own wish, and when to give up.
//!
//! Pure, so that the rule can be read and tested in one place.

use std::time::Duration;

use crate::action::{Failure, FailureKind};
use sha2::{Digest, Sha256};

use crate::event::RunId;
use crate::flow::FlowSettings;
use crate::hex;

/// The first wait is at most this long.
pub const DELAY_FIRST: Duration = Duration::from_secs(1);
/// No wait is longer than this, unless the target asks for more.
pub const DELAY_MAX: Duration = Duration::from_secs(300);
/// The longest wish of a target that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(6 * 3600);

/// Bytes of a hash that make an idempotency key.
const KEY_BYTES: usize = 16;

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this long.
    After(Duration),
    /// The failure is the outcome.
    GiveUp,
}

/// Tries of one command so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    /// All of them, this one included.
    pub count: u32,
    /// Those that failed for another reason than an absent target, this one included.
    pub counted: u32,
    /// Time since the first.
    pub since_first: Duration,
}

/// The rule: a refusal ends at once; a target that is away is tried from 1 s doubling to 5 min with
/// full jitter until `give_up_after`; anything else counts towards `attempts_max`.
///
/// `jitter` is a random number from 0 to 1.
pub fn next(failure: &Failure, tries: Tries, settings: &FlowSettings, jitter: f64) -> Next {
    let wait = backoff(tries.count, jitter);
    match failure.kind {
        FailureKind::Refused => Next::GiveUp,
        FailureKind::Away { .. } if tries.since_first >= settings.give_up_after.0 => Next::GiveUp,
        FailureKind::Away {
            retry_after: Some(wish),
        } => Next::After(wish.min(RETRY_AFTER_MAX)),
        FailureKind::Away { retry_after: None } => Next::After(wait),
        FailureKind::Other if tries.counted >= settings.attempts_max => Next::GiveUp,
        FailureKind::Other => Next::After(wait),
    }
}

/// The wait before try `count + 1`: from [`DELAY_FIRST`] doubling to [`DELAY_MAX`], times `jitter`.
pub fn backoff(count: u32, jitter: f64) -> Duration {
    let doubled = DELAY_FIRST.saturating_mul(1 << count.saturating_sub(1).min(16));
    doubled.min(DELAY_MAX).mul_f64(jitter.clamp(0.0, 1.0))
}

/// The idempotency key of a run's command: the same for every try of it, in every process.
pub fn key(run: &RunId, command: u64) -> String {
    let hash = Sha256::digest(format!("{run}#{command}").as_bytes());
    hex::encode(&hash[..KEY_BYTES])
}
