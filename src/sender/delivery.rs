//! From an event to its end: tried at the server, tried again if that may help, else spooled.
//!
//! Invariant: what is not refused is accepted or in the spool, or the caller is told that nothing
//! was kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::forward::Bound;
use super::{Answer, Caller, Door, Post, forward, spool};

/// Longest wait for a connection to the own host: more means that it hangs.
const OWN_CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for the own host's answer: snmptrapd calls its handlers one after another.
const OWN_ANSWER: Duration = Duration::from_secs(3);
/// Longest wait for a connection to another host.
const REMOTE_CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for another host's answer.
const REMOTE_ANSWER: Duration = Duration::from_secs(30);

/// How long and how often a server is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// How often in all; `None` for ever.
    pub tries: Option<u64>,
    /// Time between two tries.
    pub pause: Duration,
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the answer after that.
    pub answer: Duration,
}

impl Patience {
    /// One short try, for the own host and for callers who wait in line.
    pub fn short() -> Patience {
        Patience {
            tries: Some(1),
            pause: Duration::ZERO,
            connect: OWN_CONNECT,
            answer: OWN_ANSWER,
        }
    }

    /// One unhurried try.
    pub fn once() -> Patience {
        Patience {
            connect: REMOTE_CONNECT,
            answer: REMOTE_ANSWER,
            ..Patience::short()
        }
    }

    /// kompira_sendevt's rule: `max_retry` further tries, negative for ever; an interval of 0 or
    /// less turns further tries off (seen in runs of 1.6.11). Seconds.
    pub fn retrying(max_retry: i64, interval: i64) -> Patience {
        let tries = match (max_retry, interval) {
            (_, ..=0) => Some(1),
            (..0, _) => None,
            (further, _) => Some(further.unsigned_abs() + 1),
        };
        Patience {
            tries,
            pause: Duration::from_secs(interval.max(0).unsigned_abs()),
            ..Patience::once()
        }
    }

    /// With `--timeout`, if given: seconds for the connection, and for the answer.
    #[must_use]
    pub fn with_timeout(mut self, seconds: Option<f64>) -> Patience {
        if let Some(limit) = seconds.and_then(|text| Duration::try_from_secs_f64(text).ok()) {
            self.connect = self.connect.min(limit);
            self.answer = limit;
        }
        self
    }
}

/// How one event travels.
pub struct Plan {
    /// The server's door, or why there is none.
    pub door: Result<Door, String>,
    /// How long and how often it is tried.
    pub patience: Patience,
    /// Where the event waits otherwise.
    pub spool: PathBuf,
    /// Keep what the server refuses, instead of telling the caller: a mail server would send it
    /// back to its sender, snmptrapd would forget it.
    pub keep_refused: bool,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// On the server's disk.
    Accepted,
    /// On this host's disk, in this file, because of this.
    Spooled(PathBuf, String),
    /// The server will never take it, for this reason; it was not kept.
    Refused(String),
    /// Neither the server nor the spool has it, for this reason.
    Lost(String),
}

/// Delivers `post`. Each failed try but a single one is said on standard error; the outcome is
/// the caller's to say.
pub fn deliver(post: &Post, plan: &Plan, caller: &mut Caller) -> Delivered {
    let reason = match &plan.door {
        Err(why) => why.clone(),
        Ok(door) => match try_server(post, door, &plan.patience, caller) {
            Answer::Accepted => {
                forward_waiting(door, &plan.spool, caller);
                return Delivered::Accepted;
            }
            Answer::Refused { status, reason } => {
                let name = door.name();
                let reason = format!("{name} refused it (status {status}): {reason}");
                if !plan.keep_refused {
                    return Delivered::Refused(reason);
                }
                reason
            }
            Answer::Away { reason, .. } => {
                format!("{} is away ({reason})", door.name())
            }
        },
    };
    match spool::write(&plan.spool, post) {
        Ok(path) => Delivered::Spooled(path, reason),
        Err(why) => Delivered::Lost(format!("{reason}; {why}")),
    }
}

fn try_server(post: &Post, door: &Door, patience: &Patience, caller: &mut Caller) -> Answer {
    let mut tried = 0;
    loop {
        let answer = door.post(post);
        tried += 1;
        let Answer::Away {
            reason,
            is_connect,
            is_passing,
        } = &answer
        else {
            return answer;
        };
        if patience.tries != Some(1) {
            let what = if *is_connect { "connect" } else { "send event" };
            caller.line(&format!("Failed to {what}: {reason}"));
        }
        if !is_passing || patience.tries.is_some_and(|tries| tried >= tries) {
            return answer;
        }
        std::thread::sleep(patience.pause);
    }
}

/// On a host without a server nobody else empties the spool.
fn forward_waiting(door: &Door, folder: &Path, caller: &mut Caller) {
    if !door.empties_spool() {
        let _ = forward(folder, door, Bound::in_passing(), caller);
    }
}
