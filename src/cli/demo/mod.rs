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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

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

/// Until when everything must have happened, and whether somebody wants to stop before.
#[derive(Clone)]
struct Deadline {
    until: Instant,
    is_interrupted: Arc<AtomicBool>,
}

impl Deadline {
    fn new() -> Deadline {
        Deadline {
            until: Instant::now() + TIME_MAX,
            is_interrupted: Arc::default(),
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Waits for SIGINT and SIGTERM, so that the demo's server does not outlive the demo.
    async fn heed_signals(self) {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        self.is_interrupted.store(true, Ordering::SeqCst);
    }

    /// Looks until `look` sees something.
    ///
    /// # Errors
    /// What `look` found wrong; the time is over; somebody stopped it.
    fn wait_for<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        loop {
            if self.is_interrupted.load(Ordering::SeqCst) {
                return Err("it was interrupted".to_owned());
            }
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
