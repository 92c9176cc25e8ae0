//! A trial: would this version of a script ask for the same things as a journal holds?
//!
//! Invariant: nothing is performed and nothing is written. What the journal does not answer ends
//! the trial; even the time is not asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::bundle::Script;
use crate::divergence::Divergence;
use crate::engine::{Input, StepEnd};
use crate::event::{Event, Value};
use crate::gate::Question;
use crate::journal::Journal;
use crate::replay::{Asked, Locals, Replay};
use crate::run::{Conductor, Interrupted};

/// How long a script may think while it is tried.
const TRIAL_SECONDS_MAX: Duration = Duration::from_secs(10);

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// The script asks for everything that the journal holds, and for nothing else before that.
    Safe,
    /// It asks for something else.
    Diverges(Divergence),
    /// It fails before it has asked for everything: at this command, with this message.
    Fails(usize, String),
}

/// Answers nothing: what is not in the journal is where the trial ends.
struct Silent;

impl Locals for Silent {
    fn answer(&mut self, _: &Question) -> Option<Result<Value, String>> {
        None
    }
}

impl Conductor {
    /// Runs `script` against a journal on a thinking thread.
    ///
    /// # Errors
    /// [`Interrupted::Engine`] if the engine panicked.
    pub(crate) async fn try_out(
        &self,
        script: &Arc<Script>,
        journal: Journal,
        events: Arc<Vec<Event>>,
    ) -> Result<Trial, Interrupted> {
        let (answer, tried) = oneshot::channel();
        let script = Arc::clone(script);
        let clock = self.clock.clone();
        self.thinkers.submit(move |engine, _| {
            let recorded = journal.command_count();
            let replay = Replay::new(journal, clock, Box::new(Silent));
            let thinking = TRIAL_SECONDS_MAX;
            let (end, replay) = engine.step(&script, Input { events, thinking }, replay);
            if let Some(mut replay) = replay {
                replay.finish_if(matches!(end, StepEnd::Done(_)));
                let _ = answer.send(judge(&end, replay, recorded));
            }
        });
        tried.await.map_err(|_| Interrupted::Engine)
    }
}

fn judge(end: &StepEnd, replay: Replay, recorded: usize) -> Trial {
    let position = replay.position();
    match (end, replay.asked) {
        (_, Asked::Diverged(divergence)) => Trial::Diverges(divergence),
        (StepEnd::Failed(error), Asked::Nothing) if position < recorded => {
            Trial::Fails(position, error.diagnostic().to_string())
        }
        _ => Trial::Safe,
    }
}
