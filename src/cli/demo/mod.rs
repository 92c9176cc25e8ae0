//! `vigie demo`: everything once, on a fresh machine, without network.
//!
//! The real server runs as a child process of this same program and gets its events by its real
//! doors; only the targets are stand-ins, and the screen says so. Invariant: what the screen
//! promises is looked at; exit 0 means that it was so.

mod daemon;
mod doors;
mod house;
mod outcome;
mod promise;
mod screen;
mod story;
mod targets;
mod watch;

use std::time::{Duration, Instant};

use clap::Args;

use super::report;
use crate::error::Exit;

/// The whole demo ends within this time, well or not.
const TIME_MAX: Duration = Duration::from_secs(55);
/// Pause between two looks at something that is waited for.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Show it all.
#[derive(Debug, Args)]
#[command(
    after_help = "It starts a server on a free port of this machine, stand-ins for Redmine, PagerDuty,\n\
    Canopsis and a mail relay, and sends events through the real doors. In the middle it kills its\n\
    own server with SIGKILL. Nothing leaves this machine.\n\n\
    Examples:\n  vigie demo\n  vigie demo --keep\n\n\
    Exit: 0 everything was as promised, 1 something was not."
)]
pub(super) struct Demo {
    /// Keep the folder with the channels, flows, store and log, and print its path
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(self) -> Exit {
        match story::tell(self.keep) {
            Ok(()) => Exit::Ok,
            Err(why) => {
                report::sentence(&format!("the demo did not go as promised: {why}"));
                Exit::Failed
            }
        }
    }
}

/// Until when everything must have happened.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn new() -> Deadline {
        Deadline(Instant::now() + TIME_MAX)
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Looks until `look` sees something.
    ///
    /// # Errors
    /// What `look` found wrong; or the time is over.
    fn wait_for<T>(
        self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        loop {
            if let Some(seen) = look()? {
                return Ok(seen);
            }
            if self.left().is_zero() {
                let seconds = TIME_MAX.as_secs();
                return Err(format!("{what} did not come about within {seconds} s"));
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}
