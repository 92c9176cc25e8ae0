//! Journal: the append-only record of what a run asked for and what came of it.
//!
//! Invariant: entries are only ever added, and what is added together is flushed together. From the
//! journal alone the script is brought back to where it was; no state of the interpreter is kept.

use jiff::Timestamp;

use crate::event::{EventId, RunId, Value};
use crate::store::codec::{CodecError, Reader, Writer};

use crate::wait::Wait;
use crate::want::Want;

pub use crate::entry::{Command, Continued, End, EndState, Entry, Forked, Outcome, Seen, Start};

/// Commands after which a run is called long, in its journal and in what is told of it.
pub const COMMANDS_WARN: usize = 2_000;
/// Commands after which its journal tells the way out.
pub const COMMANDS_OFFER: usize = 4_000;
/// Commands after which a run is stopped.
pub const COMMANDS_MAX: usize = 20_000;
/// Bytes of a journal after which its run is stopped: each step has all of it in memory.
pub const JOURNAL_BYTES_MAX: usize = 64 << 20;
/// Console bytes that are kept of one run; the newest stay.
pub const CONSOLE_BYTES_MAX: usize = 64 * 1024;
/// `err.kind` of a cancellation.
pub const CANCELLED: &str = "cancelled";

/// A run's journal in memory: what is on disk, and what was added since.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// Whose it is.
    pub run: RunId,
    entries: Vec<Entry>,
    commands: Vec<usize>,
    outcomes: Vec<Option<usize>>,
    flushed: usize,
    last_record: Vec<u8>,
    /// Of what is on disk; without notes, which others write.
    bytes: usize,
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
                let before = input.rest().len();
                let entry = Entry::read(&mut input)?;
                if !matches!(entry, Entry::Note(..)) {
                    journal.bytes += before - input.rest().len();
                }
                journal.add(entry);
            }
        }
        journal.flushed = journal.entries.len();
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
            last_record: Vec::new(),
            bytes: 0,
        }
    }

    /// True if the run has to stop, because it would not fit into memory one day.
    pub fn is_too_large(&self) -> bool {
        self.bytes > JOURNAL_BYTES_MAX
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

    /// The version of the script that runs: the one it began with, or that of the last
    /// retry or move.
    pub fn version(&self) -> Option<&str> {
        let retried = self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Retried(_, version) | Entry::Moved(_, version) => Some(version.as_str()),
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

    /// How it ended, unless it was tried again or moved to another version since.
    pub fn end(&self) -> Option<&End> {
        let last =
            self.entries.iter().rev().find(|entry| {
                matches!(entry, Entry::End(_) | Entry::Retried(..) | Entry::Moved(..))
            });
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
            .rposition(|entry| matches!(entry, Entry::Retried(..) | Entry::Moved(..)))
            .unwrap_or(0);
        let struck = |entry: &&Entry| matches!(entry, Entry::Strike(_, at) if *at >= position);
        self.entries[since..].iter().filter(struck).count()
    }

    /// Notes that the journal has become long, if it has since it had `before` commands.
    pub fn note_length(&mut self, at: Timestamp, before: usize) {
        let count = self.commands.len();
        let passed = |limit: usize| before < limit && limit <= count;
        let hint = match (passed(COMMANDS_WARN), passed(COMMANDS_OFFER)) {
            (_, true) => "; `continue_as(state)` begins it anew",
            (true, false) => "",
            (false, false) => return,
        };
        let text =
            format!("{count} commands are in the journal, and each step goes through them{hint}");
        self.add(Entry::Note(at, text));
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

    /// The record that was taken last.
    pub(crate) fn last_record(&self) -> &[u8] {
        &self.last_record
    }

    /// How many commands the run had before this journal began anew.
    pub fn commands_before(&self) -> u64 {
        self.continued().map_or(0, |continued| continued.commands)
    }

    /// What the journal took over when it began anew.
    pub fn continued(&self) -> Option<&Continued> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Continued(continued) => Some(continued),
            _ => None,
        })
    }

    /// The first event of the want's channel that was not seen for the same fields yet; 0 if none
    /// was seen.
    pub fn seen_after(&self, want: &Want) -> u64 {
        self.seen_wants()
            .iter()
            .filter(|seen| seen.is_like(want))
            .map(|seen| seen.from)
            .max()
            .unwrap_or(0)
    }

    /// Everything that was seen, each as a want that counts from the next event on.
    fn seen_wants(&self) -> Vec<Want> {
        let before = self.continued().map(|continued| continued.seen.clone());
        let mut wants = before.unwrap_or_default();
        for entry in &self.entries {
            let Entry::Seen(seen) = entry else { continue };
            wants.extend(self.want_of(seen));
        }
        wants
    }

    fn want_of(&self, seen: &Seen) -> Option<Want> {
        let index = usize::try_from(seen.of).ok()?;
        let command = self.command(index)?;
        let wait = Wait::of(&self.run, index, command.at, &command.question).ok()?;
        let mut wants = wait.wants.into_iter();
        let mut want = wants.find(|want| want.which as u64 == seen.which)?;
        want.channel.clone_from(&seen.event.channel);
        want.from = seen.event.number + 1;
        Some(want)
    }

    /// The journal of the same run begun anew, with `state` carried over.
    pub(crate) fn begin_anew(&self, at: Timestamp, state: Value) -> Journal {
        let mut journal = Journal::empty(self.run.clone());
        if let Some(start) = self.start() {
            let version = self.version().unwrap_or(&start.version).to_owned();
            journal.add(Entry::Start(Start {
                at,
                version,
                ..start.clone()
            }));
        }
        journal.add(Entry::Continued(Continued {
            at,
            state,
            commands: self.commands_before() + self.command_count() as u64,
            seen: self.seen_wants(),
        }));
        if let Some((asked, until)) = self.cancel() {
            journal.add(Entry::Cancel(asked, until));
        }
        journal
    }

    /// When a person asked that the run be cancelled, and until when it may tidy up.
    pub fn cancel(&self) -> Option<(Timestamp, Timestamp)> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Cancel(at, until) => Some((*at, *until)),
            _ => None,
        })
    }

    /// True if the script was told that it is cancelled.
    pub fn knows_of_cancel(&self) -> bool {
        let is_cancelled =
            |value: &Value| value.get("kind").and_then(Value::as_text) == Some(CANCELLED);
        self.entries.iter().any(|entry| match entry {
            Entry::Outcome(outcome) => outcome.result.as_ref().is_err_and(is_cancelled),
            _ => false,
        })
    }

    /// What was added since the last call, as one record for the store.
    ///
    /// # Errors
    /// A value that cannot be kept: nested too deep.
    pub fn take_pending(&mut self) -> Result<Vec<u8>, CodecError> {
        let mut out = Writer::new();
        for index in self.flushed..self.entries.len() {
            let before = out.len();
            self.entries[index].write(&mut out)?;
            if !matches!(self.entries[index], Entry::Note(..)) {
                self.bytes += out.len() - before;
            }
        }
        self.flushed = self.entries.len();
        self.last_record = out.into_bytes();
        Ok(self.last_record.clone())
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
