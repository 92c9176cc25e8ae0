//! One step of a script on this thread: who answers it, what stopped it, what it may use up.
//!
//! Invariant: once a step is stopped it stays stopped. Rhai lets a script catch the error that
//! stops it (through `map`, `sort` and their like), so a flag is kept here; every host word looks at
//! it first, and the engine looks at it after every operation and after the evaluation.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::Value;
use crate::gate::{Answer, Gate, Question};
use crate::leak;
use crate::logging::LogLine;
use crate::memory;
use crate::template::{Template, Templates};

/// Operations that one step may take; Rhai's own count misses those inside closures.
pub const OPERATIONS_MAX: u64 = 1_000_000;
/// Bytes that one step may hold beyond what the thread held when it began.
pub const MEMORY_BYTES_MAX: isize = 64 * 1024 * 1024;
/// Console bytes that one step may print; what comes after is dropped.
pub const CONSOLE_BYTES_MAX: usize = 64 * 1024;
/// Asking for the time costs as much as an operation, so it is asked every so many of them.
const OPERATIONS_PER_LOOK_AT_THE_CLOCK: u64 = 256;

/// Why a step was stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It asked for something whose outcome is not known yet.
    Asked,
    /// It took more than [`OPERATIONS_MAX`] operations.
    Operations,
    /// It thought longer than the flow's `run_seconds_max`.
    Time,
    /// It held more than [`MEMORY_BYTES_MAX`].
    Memory,
}

impl Stop {
    /// The sentence for people; `Asked` is no error and has none.
    pub fn sentence(self) -> &'static str {
        match self {
            Stop::Asked => "the step waits for an outcome",
            Stop::Operations => "the script took more than 1,000,000 operations in one step",
            Stop::Time => "the script thought longer than `run_seconds_max` allows",
            Stop::Memory => "the script held more than 64 MiB",
        }
    }
}

impl Stop {
    /// What a script sees of a condition that was stopped.
    fn refusal(self) -> Value {
        Value::from([
            ("kind", Value::from("refused")),
            ("message", Value::from(self.sentence())),
            ("verb", Value::from("condition")),
        ])
    }
}

struct Step {
    gate: Option<Box<dyn Gate>>,
    stop: Option<Stop>,
    operations: u64,
    console_bytes: usize,
    /// Bytes that the gate keeps, or that went through it; not the script's.
    outside: isize,
    deadline: Instant,
    memory_at_start: isize,
    templates: Arc<Templates>,
}

/// What is left of a step.
#[derive(Default)]
pub struct Ended {
    /// Its gate.
    pub gate: Option<Box<dyn Gate>>,
    /// What stopped it, if anything did.
    pub stop: Option<Stop>,
    /// Bytes that it asked for, printed or was told, and more; somebody may still have them.
    pub outside: isize,
}

thread_local! {
    /// Set by a gate that cannot answer now.
    static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
    static STEP: RefCell<Option<Step>> = const { RefCell::new(None) };
}

/// Begins a step on this thread. Without a gate every host word is refused, as in a filter.
pub fn begin(gate: Option<Box<dyn Gate>>, thinking: Duration) {
    let step = Step {
        gate,
        stop: None,
        operations: 0,
        console_bytes: 0,
        outside: 0,
        deadline: Instant::now() + thinking,
        memory_at_start: memory::live_bytes(),
        templates: Arc::default(),
    };
    INTERRUPTED.set(false);
    STEP.with_borrow_mut(|slot| *slot = Some(step));
}

/// Ends the step of this thread.
pub fn end() -> Ended {
    let step = STEP.with_borrow_mut(Option::take);
    step.map_or_else(Ended::default, |step| Ended {
        gate: step.gate,
        stop: step.stop,
        outside: step.outside,
    })
}

/// For a gate that is being asked and cannot tell now, because something of ours failed: the step
/// ends without the script hearing of it, since what it made of that would not be in its journal.
pub fn interrupt() {
    INTERRUPTED.set(true);
}

/// Counts one operation; `Some` means that the script must not go on.
pub fn progress() -> Option<Stop> {
    STEP.with_borrow_mut(|slot| slot.as_mut().and_then(Step::progress))
}

/// What a host word gets, or `None` where no host word may be used.
pub fn ask(question: Question) -> Option<Answer> {
    STEP.with_borrow_mut(|slot| slot.as_mut().and_then(|step| step.ask(question)))
}

/// Hands a closure's verdict to the gate, and stops the step: this was all that it was for. A
/// closure that met a limit has no verdict, whatever the language made of it.
pub fn judged(verdict: Result<bool, Value>) {
    STEP.with_borrow_mut(|slot| {
        if let Some(step) = slot.as_mut() {
            let verdict = match step.stop.replace(Stop::Asked) {
                Some(limit) => Err(limit.refusal()),
                None => verdict,
            };
            step.outside += verdict.as_ref().err().map_or(0, leak::generous);
            if let Some(gate) = step.gate.as_mut() {
                gate.judged(verdict);
            }
        }
    });
}

/// Takes a line for the log: false in a stopped step, `None` where none may be written.
pub fn log(line: &LogLine) -> Option<bool> {
    STEP.with_borrow_mut(|slot| slot.as_mut().and_then(|step| step.log(line)))
}

/// Gives the step of this thread the templates of its script.
pub fn lend(templates: &Arc<Templates>) {
    STEP.with_borrow_mut(|slot| {
        if let Some(step) = slot.as_mut() {
            step.templates = Arc::clone(templates);
        }
    });
}

/// One of the script's templates.
pub fn template(path: &str) -> Option<Arc<Template>> {
    STEP.with_borrow(|slot| slot.as_ref()?.templates.get(path).cloned())
}

/// Takes a printed line; a stopped step prints nothing.
pub fn print(line: &str) {
    STEP.with_borrow_mut(|slot| {
        if let Some(step) = slot.as_mut() {
            step.print(line);
        }
    });
}

impl Step {
    fn progress(&mut self) -> Option<Stop> {
        self.operations += 1;
        if self.stop.is_none() {
            self.stop = self.limit();
        }
        self.stop
    }

    fn limit(&self) -> Option<Stop> {
        if self.operations > OPERATIONS_MAX {
            return Some(Stop::Operations);
        }
        if memory::live_bytes().wrapping_sub(self.memory_at_start) > MEMORY_BYTES_MAX {
            return Some(Stop::Memory);
        }
        let look = self
            .operations
            .is_multiple_of(OPERATIONS_PER_LOOK_AT_THE_CLOCK);
        (look && Instant::now() >= self.deadline).then_some(Stop::Time)
    }

    fn ask(&mut self, question: Question) -> Option<Answer> {
        if self.stop.is_some() {
            return Some(Answer::Stop);
        }
        let gate = self.gate.as_mut()?;
        let asked: isize = question.arguments.iter().map(leak::generous).sum();
        let before = memory::live_bytes();
        let mut answer = gate.ask(question);
        let kept = memory::live_bytes().wrapping_sub(before).max(0);
        self.outside = self.outside.saturating_add(asked).saturating_add(kept);
        if INTERRUPTED.replace(false) {
            answer = Answer::Stop;
        }
        if answer == Answer::Stop {
            self.stop = Some(Stop::Asked);
        }
        (answer != Answer::NotHere).then_some(answer)
    }

    fn log(&mut self, line: &LogLine) -> Option<bool> {
        if self.stop.is_some() {
            return Some(false);
        }
        let gate = self.gate.as_mut()?;
        let length = line.text.len();
        if self.console_bytes + length > CONSOLE_BYTES_MAX {
            return Some(true);
        }
        self.console_bytes += length;
        let before = memory::live_bytes();
        let may_log = gate.log(line);
        self.outside += memory::live_bytes().wrapping_sub(before).max(0);
        may_log.then_some(true)
    }

    fn print(&mut self, line: &str) {
        let room = self.console_bytes + line.len() <= CONSOLE_BYTES_MAX;
        if let (None, true, Some(gate)) = (self.stop, room, self.gate.as_mut()) {
            self.console_bytes += line.len();
            let before = memory::live_bytes();
            gate.print(line);
            self.outside += memory::live_bytes().wrapping_sub(before).max(0);
        }
    }
}
