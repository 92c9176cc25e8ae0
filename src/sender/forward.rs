//! Forwarding what waits in the spool to a server, oldest first.
//!
//! Each event keeps its id, so that one sent twice (two senders, a lost answer) is kept once.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::spool::{self, Spooled};
use super::{Answer, Caller, Door};

/// Most events forwarded after a successful send.
const IN_PASSING_FILES_MAX: usize = 50;
/// Longest time spent on it, so that the caller is not kept waiting.
const IN_PASSING_MAX: Duration = Duration::from_secs(5);
/// Refusals that are about the event itself; others are about us or the address.
const REFUSED_FOR_GOOD: [u16; 4] = [400, 413, 415, 422];

/// How much is forwarded in one go.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    files: usize,
    time: Duration,
}

impl Bound {
    /// A little, after a send that went well.
    pub fn in_passing() -> Bound {
        Bound {
            files: IN_PASSING_FILES_MAX,
            time: IN_PASSING_MAX,
        }
    }

    /// Everything.
    pub fn none() -> Bound {
        Bound {
            files: usize::MAX,
            time: Duration::MAX,
        }
    }
}

/// What became of the waiting events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Accepted by the server.
    pub sent: usize,
    /// Still waiting, or set aside because the server refused them.
    pub left: usize,
}

/// Forwards events of the spool `folder`, and stops at the first sign that the server is away or
/// does not know us. Odd files are said once and left alone.
///
/// # Errors
/// The folder cannot be listed (it lets only its owner do that).
pub fn forward(
    folder: &Path,
    door: &Door,
    bound: Bound,
    caller: &mut Caller,
) -> io::Result<Forwarded> {
    let listing = spool::list(folder)?;
    for odd in &listing.odd {
        caller.say(&format!("spool: {odd}"));
    }
    let begun = Instant::now();
    let mut done = Forwarded::default();
    let total = listing.events.len();
    for path in listing.events.iter().take(bound.files) {
        if begun.elapsed() >= bound.time {
            break;
        }
        match forward_one(path, door, caller) {
            Step::Sent => done.sent += 1,
            Step::Left => {}
            Step::Stop => break,
        }
    }
    done.left = total - done.sent;
    Ok(done)
}

enum Step {
    Sent,
    Left,
    Stop,
}

fn forward_one(path: &Path, door: &Door, caller: &mut Caller) -> Step {
    let spooled = match spool::read(path) {
        Ok(spooled) => spooled,
        Err(why) => {
            // Another sender may have forwarded it since it was listed.
            if path.exists() {
                caller.say(&format!("spool: {why}"));
            }
            return Step::Left;
        }
    };
    if !spooled.lock() {
        return Step::Left;
    }
    match door.post(&spooled.post) {
        Answer::Accepted => {
            if let Err(why) = spool::remove(path) {
                caller.say(&format!(
                    "sent, but cannot remove {}: {why}",
                    path.display()
                ));
            }
            Step::Sent
        }
        Answer::Refused { status, reason } => refused(&spooled, status, &reason, caller),
        Answer::Away { reason, .. } => {
            caller.say(&format!("spool: {} is away ({reason})", door.name()));
            Step::Stop
        }
    }
}

fn refused(spooled: &Spooled, status: u16, reason: &str, caller: &mut Caller) -> Step {
    let name = spooled.path.display();
    caller.say(&format!(
        "spool: {name} was refused (status {status}): {reason}"
    ));
    if !REFUSED_FOR_GOOD.contains(&status) {
        return Step::Stop;
    }
    if let Err(why) = spool::set_aside(&spooled.path) {
        caller.say(&format!("spool: cannot set {name} aside: {why}"));
    }
    Step::Left
}
