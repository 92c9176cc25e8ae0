//! Journal: the append-only record of what a run asked for and what came of it.
//!
//! Invariant: entries are only ever added, and what is added together is flushed together. From the
//! journal alone the script is brought back to where it was; no state of the interpreter is kept.

use crate::event::{EventId, RunId};
use crate::store::codec::{CodecError, Reader, Writer};

pub use crate::entry::{Command, End, EndState, Entry, Outcome, Start};

/// Commands after which a run is warned about in listings.
pub const COMMANDS_WARN: usize = 2_000;
/// Commands after which a run is stopped.
pub const COMMANDS_MAX: usize = 20_000;
/// Console bytes that are kept of one run; the newest stay.
pub const CONSOLE_BYTES_MAX: usize = 64 * 1024;

/// A run's journal in memory: what is on disk, and what was added since.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// Whose it is.
    pub run: RunId,
    entries: Vec<Entry>,
    commands: Vec<usize>,
    outcomes: Vec<Option<usize>>,
    flushed: usize,
    records: usize,
}

impl Journal {
    /// A journal that begins now and is not on disk yet.
    pub fn begin(run: RunId, start: Start) -> Journal {
        let mut journal = Journal::empty(run);
        journal.add(Entry::Start(start));
        journal
    }

    /// From what the store kept.
    ///
    /// # Errors
    /// When a record cannot be read; it was written by a newer version then.
    pub fn read(run: RunId, records: &[Vec<u8>]) -> Result<Journal, CodecError> {
        let mut journal = Journal::empty(run);
        for record in records {
            let mut input = Reader::new(record);
            while !input.rest().is_empty() {
                journal.add(Entry::read(&mut input)?);
            }
        }
        journal.flushed = journal.entries.len();
        journal.records = records.len();
        Ok(journal)
    }

    /// Stands in for a journal that a thinking thread has at the moment.
    pub(crate) fn nowhere() -> Journal {
        Journal::empty(RunId::new(
            &EventId {
                channel: String::new(),
                number: 0,
            },
            "",
        ))
    }

    /// A journal of `run` without its beginning, to add something to what the store has.
    pub(crate) fn addition_to(run: RunId) -> Journal {
        Journal::empty(run)
    }

    fn empty(run: RunId) -> Journal {
        Journal {
            run,
            entries: Vec::new(),
            commands: Vec::new(),
            outcomes: Vec::new(),
            flushed: 0,
            records: 0,
        }
    }

    /// Adds an entry; it is on disk only after the next flush.
    pub fn add(&mut self, entry: Entry) {
        let index = self.entries.len();
        match &entry {
            Entry::Command(_) => {
                self.commands.push(index);
                self.outcomes.push(None);
            }
            Entry::Outcome(outcome) => {
                if let Some(slot) = usize::try_from(outcome.of)
                    .ok()
                    .and_then(|of| self.outcomes.get_mut(of))
                {
                    *slot = Some(index);
                }
            }
            // Trying again means that the failure which ended the run is open once more.
            Entry::Retried(..) => self.reopen_last_failure(),
            _ => {}
        }
        self.entries.push(entry);
    }

    fn reopen_last_failure(&mut self) {
        let last = self.outcomes.len().checked_sub(1);
        if last
            .is_some_and(|of| matches!(self.outcome(of), Some(outcome) if outcome.result.is_err()))
        {
            self.outcomes.pop();
            self.outcomes.push(None);
        }
    }

    /// Everything, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How the run began, if the journal has come that far.
    pub fn start(&self) -> Option<&Start> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Start(start) => Some(start),
            _ => None,
        })
    }

    /// The version of the script that runs: the one it began with, or that of the last retry.
    pub fn version(&self) -> Option<&str> {
        let retried = self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Retried(_, version) => Some(version.as_str()),
            _ => None,
        });
        retried.or_else(|| self.start().map(|start| start.version.as_str()))
    }

    /// How many things the script asked for.
    pub fn command_count(&self) -> usize {
        self.commands.len()
    }

    /// The command at `index`, counted from 0.
    pub fn command(&self, index: usize) -> Option<&Command> {
        match self.entries.get(*self.commands.get(index)?) {
            Some(Entry::Command(command)) => Some(command),
            _ => None,
        }
    }

    /// What came of the command at `index`.
    pub fn outcome(&self, index: usize) -> Option<&Outcome> {
        match self.entries.get((*self.outcomes.get(index)?)?) {
            Some(Entry::Outcome(outcome)) => Some(outcome),
            _ => None,
        }
    }

    /// How it ended, unless it was tried again since.
    pub fn end(&self) -> Option<&End> {
        let last = self
            .entries
            .iter()
            .rev()
            .find(|entry| matches!(entry, Entry::End(_) | Entry::Retried(..)));
        match last {
            Some(Entry::End(end)) => Some(end),
            _ => None,
        }
    }

    /// How often the process died while the script thought after at least `position` commands. A
    /// script may have come further in memory than its journal on disk.
    pub fn strikes_at(&self, position: u64) -> usize {
        let since = self
            .entries
            .iter()
            .rposition(|entry| matches!(entry, Entry::Retried(..)))
            .unwrap_or(0);
        let struck = |entry: &&Entry| matches!(entry, Entry::Strike(_, at) if *at >= position);
        self.entries[since..].iter().filter(struck).count()
    }

    /// True if something was added that is not on disk.
    pub fn has_pending(&self) -> bool {
        self.flushed < self.entries.len()
    }

    /// True if something that the script was told is not on disk: after a crash it might be told
    /// something else, and ask for something else.
    pub fn has_pending_answers(&self) -> bool {
        self.entries[self.flushed..]
            .iter()
            .any(|entry| match entry {
                Entry::Command(command) => command.answer.is_some(),
                Entry::Outcome(_) => true,
                _ => false,
            })
    }

    /// How many records it has on disk, with the one that was taken last.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// The store has this many records of the run already, from before its beginning.
    pub(crate) fn follow(&mut self, records: usize) {
        self.records += records;
    }

    /// What was added since the last call, as one record for the store.
    ///
    /// # Errors
    /// A value that cannot be kept: nested too deep.
    pub fn take_pending(&mut self) -> Result<Vec<u8>, CodecError> {
        let mut out = Writer::new();
        for entry in &self.entries[self.flushed..] {
            entry.write(&mut out)?;
        }
        self.records += usize::from(self.has_pending());
        self.flushed = self.entries.len();
        Ok(out.into_bytes())
    }

    /// What the script printed, oldest first, at most [`CONSOLE_BYTES_MAX`] of the newest.
    pub fn console(&self) -> Vec<&str> {
        let mut room = CONSOLE_BYTES_MAX;
        let mut lines = Vec::new();
        for entry in self.entries.iter().rev() {
            if let Entry::Console(line) = entry {
                match room.checked_sub(line.len()) {
                    Some(left) => room = left,
                    None => break,
                }
                lines.push(line.as_str());
            }
        }
        lines.reverse();
        lines
    }
}
