//! The threads on which scripts think: few, with large stacks, never waiting for anything.
//!
//! Invariant: no job here waits for the network, the store or another job; a script that waits is
//! a journal on disk, not a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use crate::engine::Engine;

/// Stack of each thread: deep recursion in a script ends at its limit before it ends here.
pub const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Threads at most, however many cores there are.
pub const THREADS_MAX: usize = 16;

type Job = Box<dyn FnOnce(&Engine, usize) + Send>;

/// A handle on the threads; they end when the last handle is dropped.
#[derive(Clone)]
pub struct Thinkers {
    jobs: mpsc::Sender<Job>,
    /// The engine they share.
    pub engine: Arc<Engine>,
}

impl Thinkers {
    /// Starts one thread per core, at most [`THREADS_MAX`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(engine: Engine) -> std::io::Result<Thinkers> {
        let engine = Arc::new(engine);
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..Thinkers::count() {
            let (engine, waiting) = (Arc::clone(&engine), Arc::clone(&waiting));
            thread::Builder::new()
                .name(format!("think-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || think(&engine, number, &waiting))?;
        }
        Ok(Thinkers { jobs, engine })
    }

    /// How many threads there are.
    pub fn count() -> usize {
        thread::available_parallelism()
            .map_or(1, usize::from)
            .min(THREADS_MAX)
    }

    /// Hands over a job; it is told which thread, counted from 0, runs it.
    pub fn submit(&self, job: impl FnOnce(&Engine, usize) + Send + 'static) {
        // Fails only when every thread has ended, which is when the process ends.
        let _ = self.jobs.send(Box::new(job));
    }

    /// Runs a job and waits for its answer; `None` if it panicked. Not for async callers.
    pub fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Engine) -> R + Send + 'static,
    ) -> Option<R> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.submit(move |engine, _| {
            let _ = sender.send(job(engine));
        });
        receiver.recv().ok()
    }
}

fn think(engine: &Engine, number: usize, waiting: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = match waiting.lock() {
            Ok(waiting) => waiting.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        // A panic in one job must not take the thread from all others; whoever waits for the
        // answer sees its sender dropped.
        if catch_unwind(AssertUnwindSafe(|| job(engine, number))).is_err() {
            crate::step::end();
            tracing::error!("a script made the engine panic; this is a bug of vigie");
        }
    }
}
