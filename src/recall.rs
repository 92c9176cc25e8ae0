//! Brings back what was on disk: runs that a process left, and the version of the script that each
//! is pinned to.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::bundle::{Bundle, Script};
use crate::claim::{Progress, Seat};
use crate::document;
use crate::event::{Event, EventId, RunId};
use crate::fault::ScriptError;
use crate::flow::{Flow, FlowSettings};
use crate::journal::{End, EndState, Entry, Journal};
use crate::run::{Conductor, Interrupted, Work};
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::{Batch, StoreError};

/// A script, a journal and the events that began the run.
pub(crate) type Memory = (Arc<Script>, Journal, Arc<Vec<Event>>);

impl Conductor {
    /// The journal of a run, or `None` if there is no such run.
    ///
    /// # Errors
    /// What the store cannot read, and a journal of a newer version.
    pub fn journal(&self, run: &RunId) -> Result<Option<Journal>, Interrupted> {
        let records = self.store.journal(run)?;
        if records.is_empty() {
            return Ok(None);
        }
        let unreadable =
            |why| Interrupted::Unreadable(format!("the journal of {run} cannot be read: {why}"));
        Journal::read(run.clone(), &records)
            .map(Some)
            .map_err(unreadable)
    }

    /// Takes up a run again, with the script that it is pinned to.
    ///
    /// # Errors
    /// When its journal, its events or its version cannot be read; [`Interrupted::AtWork`] when
    /// somebody has it, when it waits, and when it has ended.
    pub async fn recall(
        &self,
        flow: Arc<Flow>,
        run: RunId,
        progress: &Arc<Mutex<Progress>>,
    ) -> Result<Work, Interrupted> {
        let claim = self.claims.claim(&run).ok_or(Interrupted::AtWork)?;
        let (script, journal, events) = self.remember(&run).await?;
        if journal.end().is_some() || self.store.wait(&run)?.is_some() {
            return Err(Interrupted::AtWork);
        }
        let numbers = events.iter().map(|event| event.id.number).collect();
        Ok(Work {
            flow,
            script,
            journal,
            events,
            seat: Seat::new(progress, numbers, claim),
        })
    }

    /// What the store knows of a run: the script that it is pinned to, its journal, its events.
    ///
    /// # Errors
    /// When any of them cannot be read.
    pub(crate) async fn remember(&self, run: &RunId) -> Result<Memory, Interrupted> {
        let (journal, events) = self.recollect(run)?;
        let version = journal.version().unwrap_or_default().to_owned();
        Ok((self.script(&version).await?, journal, events))
    }

    /// The same without the script, which may not compile any more.
    ///
    /// # Errors
    /// When any of them cannot be read.
    pub(crate) fn recollect(&self, run: &RunId) -> Result<(Journal, Arc<Vec<Event>>), Interrupted> {
        let gone = |what: &str| Interrupted::Unreadable(format!("{what} of {run} is gone"));
        let journal = self.journal(run)?.ok_or_else(|| gone("the journal"))?;
        let start = journal.start().ok_or_else(|| gone("the beginning"))?;
        let mut events = Vec::new();
        for number in &start.events {
            let id = EventId {
                channel: run.event().channel,
                number: *number,
            };
            events.push(self.store.event(&id)?.ok_or_else(|| gone("an event"))?);
        }
        start.tell(&mut events);
        Ok((journal, Arc::new(events)))
    }

    /// The live run that took the place of one that is over.
    pub(crate) fn heir(&self, run: &RunId) -> Result<Option<RunId>, Interrupted> {
        let mut copies = self.store.runs_of(&run.event())?;
        copies
            .retain(|info| info.end.is_none() && info.run != *run && info.run.flow() == run.flow());
        let latest = copies.into_iter().max_by_key(|info| info.run.copy_number());
        Ok(latest.map(|info| info.run))
    }

    /// Has a run that was woken taken up by whoever attends to its flow.
    pub(crate) fn rouse(&self, run: &RunId) {
        // Nobody listens only when the server stops; the next one takes up the run.
        let _ = self.woken.send(run.clone());
    }

    /// The script of a version, compiled from what the store keeps.
    ///
    /// # Errors
    /// When the store does not have it, or it no longer compiles.
    pub async fn script(&self, version: &str) -> Result<Arc<Script>, Interrupted> {
        if let Some(script) = self.versions.get(version) {
            return Ok(script);
        }
        let bundle = self.bundle(version)?;
        let (answer, compiled) = oneshot::channel();
        self.thinkers.submit(move |engine, _| {
            let _ = answer.send(engine.compile(bundle));
        });
        let compiled = compiled.await.map_err(|_| Interrupted::Engine)?;
        let script = compiled.map_err(|mistakes| {
            let first = mistakes
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            Interrupted::Unreadable(format!("version {version} no longer compiles: {first}"))
        })?;
        let script = Arc::new(script);
        self.versions.keep(&script);
        Ok(script)
    }

    /// The sources of a version.
    ///
    /// # Errors
    /// When the store does not have it.
    pub(crate) fn bundle(&self, version: &str) -> Result<Bundle, Interrupted> {
        let gone = || Interrupted::Unreadable(format!("version {version} of a flow is gone"));
        let bytes = self.store.version(version)?.ok_or_else(gone)?;
        decode_bundle(&bytes).map_err(|_| gone())
    }

    /// Keeps the sources and settings of flows, for runs that are pinned to them or outlive them.
    ///
    /// # Errors
    /// What the store does not keep.
    pub async fn keep_versions(
        &self,
        flows: impl Iterator<Item = &Arc<Flow>>,
    ) -> Result<(), StoreError> {
        for flow in flows {
            self.keep_version(&flow.script).await?;
            let (mark, text) = (settings_mark(&flow.path()), flow.settings_text.as_bytes());
            if self.store.mark(&mark)?.unwrap_or_default() == text {
                continue;
            }
            let mut batch = Batch::new();
            batch.set_mark(&mark, Some(text.to_vec()))?;
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// Keeps the sources of one script.
    ///
    /// # Errors
    /// What the store does not keep.
    pub(crate) async fn keep_version(&self, script: &Arc<Script>) -> Result<(), StoreError> {
        self.versions.keep(script);
        if self.store.version(&script.version)?.is_none() {
            let mut batch = Batch::new();
            batch.put_version(&script.version, encode_bundle(script.bundle()));
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// The settings that the flow of a run had when its file was last seen.
    pub(crate) fn kept_settings(&self, run: &RunId) -> FlowSettings {
        let path = run.flow_path();
        let kept = self.store.mark(&settings_mark(&path)).ok().flatten();
        let text = String::from_utf8(kept.unwrap_or_default()).unwrap_or_default();
        // It was read without a mistake when it was kept.
        document::parse(&text, Path::new("settings")).unwrap_or_default()
    }

    /// Keeps a run that could not begin, as a dead letter: its filter raised.
    ///
    /// # Errors
    /// What the store does not keep.
    pub async fn refuse(
        &self,
        mut journal: Journal,
        error: &ScriptError,
    ) -> Result<(), Interrupted> {
        let at = self.clock.now();
        let message = format!("the filter raised: {}", error.diagnostic());
        tracing::error!(run = %journal.run, "{message}");
        let end = End {
            at,
            state: EndState::Failed,
            message: message.clone(),
            value: error.thrown.clone(),
        };
        journal.add(Entry::End(end));
        let record = journal
            .take_pending()
            .map_err(|why| Interrupted::Unreadable(why.to_string()))?;
        let mut batch = Batch::new();
        batch.append(&journal.run, record);
        batch.finish(&journal.run, EndState::Failed, at);
        batch.dead_letter(&journal.run, at, message.into_bytes());
        self.store.commit(batch).await?;
        self.metrics.ended(EndState::Failed);
        Ok(())
    }

    /// A run could not go on. It stays live; the next start takes it up again.
    pub fn interrupted(&self, run: &RunId, why: &Interrupted) {
        match why {
            Interrupted::Stopping => tracing::debug!(%run, "goes on after the restart"),
            Interrupted::Halted => tracing::debug!(%run, "is halted"),
            Interrupted::AtWork => tracing::debug!(%run, "is at work already, or has ended"),
            why => tracing::error!(%run, "cannot go on now, and will after a restart: {why}"),
        }
    }
}

/// Where the settings of a flow are kept.
fn settings_mark(path: &str) -> String {
    format!("settings/{path}")
}

/// A bundle as bytes.
pub fn encode_bundle(bundle: &Bundle) -> Vec<u8> {
    let mut out = Writer::new();
    out.byte(1)
        .text(&bundle.name)
        .byte(bundle.is_batch.into())
        .text(&bundle.source);
    out.number(bundle.modules.len() as u64);
    for (path, text) in &bundle.modules {
        out.text(path).text(text);
    }
    out.into_bytes()
}

/// A bundle from bytes.
///
/// # Errors
/// Bytes that are none, or of a newer version.
pub fn decode_bundle(bytes: &[u8]) -> Result<Bundle, CodecError> {
    let mut input = Reader::new(bytes);
    if input.byte()? != 1 {
        return Err(CodecError::Wrong("a bundle of a newer version"));
    }
    let name = input.text()?.to_owned();
    let is_batch = input.byte()? == 1;
    let source = input.text()?.to_owned();
    let count = input.number()?;
    let module = |_| Ok((input.text()?.to_owned(), input.text()?.to_owned()));
    let modules = (0..count).map(module).collect::<Result<_, CodecError>>()?;
    Ok(Bundle {
        name,
        source,
        modules,
        is_batch,
    })
}
