//! The patrol: reads the whole store in the background after a start that could only look at its
//! ends, because it is large and was not stopped in order.
//!
//! Invariant: damage is never hidden. It is an error in the log, a metric, and `/readyz` says 503
//! for as long as the server runs; every further start reads and finds it again until the store is
//! repaired. The doors stay open: what is accepted is on disk with its own checksum, and a sender
//! that is turned away has a worse place to keep it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::state::State;

/// Bytes of rows and bodies that are read in a second.
pub const VERIFY_BYTES_PER_SECOND: u64 = 8 << 20;
/// Problems that are logged one by one.
const LOGGED_MAX: usize = 20;
/// How soon the reading thread sees that the server stops.
const NAP: Duration = Duration::from_millis(50);
/// How long it waits after the disk was in trouble.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How much the thread stands back behind the others (the kernel's nice value).
const NICE: i32 = 10;

/// Reads on a thread of its own, unless everything is known to be there. `working` is kept until
/// the thread has ended.
pub(crate) fn begin(state: &Arc<State>, working: mpsc::Sender<()>, stop: watch::Receiver<bool>) {
    if state.conductor.store.is_verified() {
        state.conductor.metrics.store_verified.set(1);
        return;
    }
    let state = Arc::clone(state);
    let thread = std::thread::Builder::new().name("patrol".to_owned());
    let started = thread.spawn(move || {
        // On Linux this is the thread's own. Without it reading is still slow enough.
        let _ = rustix::process::nice(NICE);
        patrol(&state, &stop);
        drop((state, working));
    });
    if let Err(why) = started {
        tracing::error!("the store is not verified in the background: {why}");
    }
}

fn patrol(state: &State, stop: &watch::Receiver<bool>) {
    loop {
        let mut pace = Pace::new(stop);
        match state.conductor.store.verify(|bytes| pace.rest(bytes)) {
            Ok(None) => return,
            Ok(Some(found)) => return report(state, &found),
            Err(why) => tracing::warn!("the store cannot be verified now: {why}"),
        }
        if pace.wait_until(Instant::now() + AGAIN_AFTER).is_break() {
            return;
        }
    }
}

fn report(state: &State, found: &[String]) {
    let metrics = &state.conductor.metrics;
    metrics
        .store_damage
        .set(i64::try_from(found.len()).unwrap_or(i64::MAX));
    if found.is_empty() {
        metrics.store_verified.set(1);
        tracing::info!("everything in the store was read and is whole");
        return;
    }
    for problem in found.iter().take(LOGGED_MAX) {
        tracing::error!("the store is damaged: {problem}");
    }
    tracing::error!(
        problems = found.len(),
        "the store is damaged: stop the server, then `vigie check --store` and `--repair`"
    );
    // Only one patrol comes to an end.
    let _ = state.damage.set(found.len());
}

/// Keeps the reading slow.
struct Pace<'a> {
    stop: &'a watch::Receiver<bool>,
    began: Instant,
    read: u64,
}

impl Pace<'_> {
    fn new(stop: &watch::Receiver<bool>) -> Pace<'_> {
        Pace {
            stop,
            began: Instant::now(),
            read: 0,
        }
    }

    /// Rests until `bytes` more may have been read.
    fn rest(&mut self, bytes: u64) -> ControlFlow<()> {
        self.read += bytes;
        let seconds = self.read as f64 / VERIFY_BYTES_PER_SECOND as f64;
        self.wait_until(self.began + Duration::from_secs_f64(seconds))
    }

    fn wait_until(&self, due: Instant) -> ControlFlow<()> {
        loop {
            if *self.stop.borrow() {
                return ControlFlow::Break(());
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}
