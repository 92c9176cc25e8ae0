//! Other versions for runs: what a person hands in, how it is compiled, and why it is refused.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::bundle::{Bundle, SOURCE_BYTES_MAX, Script};
use crate::error::Diagnostic;
use crate::event::RunId;
use crate::flow;
use crate::run::Interrupted;
use crate::state::State;
use crate::store::StoreError;

/// A script as a person handed it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// How its author names the file.
    pub name: String,
    /// Its text, at most [`SOURCE_BYTES_MAX`].
    pub source: String,
}

/// Why a run does not get another version.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nothing goes by that name.
    #[error("there is no `{0}`")]
    Gone(String),
    /// A sentence that names the reason.
    #[error("{0}")]
    Not(String),
    /// The script does not compile.
    #[error("{}", pictures(.0))]
    Mistakes(Vec<Diagnostic>),
    /// The store or the engine did not do it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<StoreError> for Refused {
    fn from(why: StoreError) -> Refused {
        Refused::Interrupted(Interrupted::Store(why))
    }
}

fn pictures(mistakes: &[Diagnostic]) -> String {
    let pictures: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    format!("the script does not compile\n{}", pictures.join("\n\n"))
}

impl State {
    /// Compiles a script with the modules of the house.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub(crate) async fn compile(
        &self,
        written: Written,
        is_batch: bool,
    ) -> Result<Arc<Script>, Refused> {
        if written.source.len() > SOURCE_BYTES_MAX {
            let why = format!("{} is larger than {SOURCE_BYTES_MAX} bytes", written.name);
            return Err(Refused::Not(why));
        }
        let root = self.house().settings.flows.clone();
        let bundle = Bundle {
            is_batch,
            ..Bundle::of(&written.name, &written.source)
        };
        let (answer, compiled) = oneshot::channel();
        self.conductor.thinkers.submit(move |engine, _| {
            let _ = answer.send(flow::adopt(engine, &root, bundle));
        });
        let compiled = compiled.await.map_err(|_| Interrupted::Engine)?;
        compiled.map(Arc::new).map_err(Refused::Mistakes)
    }

    /// Has a run go on that is live and neither waits nor is at work; any other stays as it is.
    pub(crate) fn resume(&self, run: &RunId) {
        let store = &self.conductor.store;
        let live = store
            .run(run)
            .ok()
            .flatten()
            .is_some_and(|info| info.end.is_none());
        if live && store.wait(run).is_ok_and(|wait| wait.is_none()) {
            self.attendance.take_up(run.clone());
        }
    }
}
