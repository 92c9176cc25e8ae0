//! Journal: the append-only record of what a run asked for and what came of it.
//!
//! Invariant: entries are only ever added, and what is added together is flushed together. From the
//! journal alone the script is brought back to where it was; no state of the interpreter is kept.

use jiff::Timestamp;

use crate::event::{EventId, RunId, Value};
use crate::gate::Question;
pub use crate::store::End as EndState;
use crate::store::codec::{CodecError, Reader, Writer};

/// Commands after which a run is warned about in listings.
pub const COMMANDS_WARN: usize = 2_000;
/// Commands after which a run is stopped.
pub const COMMANDS_MAX: usize = 20_000;
/// Console bytes that are kept of one run; the newest stay.
pub const CONSOLE_BYTES_MAX: usize = 64 * 1024;
/// Written before each entry, so that a later version can read what this one wrote.
const ENTRY_VERSION: u8 = 1;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The run began.
    Start(Start),
    /// The script asked for something.
    Command(Command),
    /// What came of a command.
    Outcome(Outcome),
    /// A line that the script printed.
    Console(String),
    /// Something worth telling: a repeat after a crash, a further event for this run.
    Note(Timestamp, String),
    /// The process died while the script was thinking, after this many commands.
    Strike(Timestamp, u64),
    /// A person had the run tried again, with this version of the script.
    Retried(Timestamp, String),
    /// The run ended.
    End(End),
}

/// How a run began.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// When.
    pub at: Timestamp,
    /// `channel/name` of the flow.
    pub flow: String,
    /// Which version of it: the hash of its sources.
    pub version: String,
    /// How the engine behaved then.
    pub engine_flags: i64,
    /// The numbers of its events; one, or those of a batch.
    pub events: Vec<u64>,
    /// What makes further events the same trouble (`one_run_per`).
    pub trouble: Option<String>,
}

/// Something that a script asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// When it asked first.
    pub at: Timestamp,
    /// The word and its arguments.
    pub question: Question,
    /// The answer, where it was computed at once (`now`, `state::get` …).
    pub answer: Option<Value>,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// Which command, counted from 0.
    pub of: u64,
    /// How many tries it took.
    pub attempts: u32,
    /// The value, or what the script's `catch` sees.
    pub result: Result<Value, Value>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// In which way.
    pub state: EndState,
    /// For people: the error with its place, both sides of a divergence.
    pub message: String,
    /// What the script came to.
    pub value: Value,
}

/// The state with this word, as journals hold it.
pub fn state_from_word(word: &str) -> Option<EndState> {
    let all = [
        EndState::Done,
        EndState::Failed,
        EndState::Blocked,
        EndState::Cancelled,
    ];
    all.into_iter().find(|state| state.word() == word)
}

/// A run's journal in memory: what is on disk, and what was added since.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// Whose it is.
    pub run: RunId,
    entries: Vec<Entry>,
    commands: Vec<usize>,
    outcomes: Vec<Option<usize>>,
    flushed: usize,
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
                journal.add(read_entry(&mut input)?);
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

    /// How often the process died while the script thought right after its `position` commands.
    pub fn strikes_at(&self, position: u64) -> usize {
        let since = self
            .entries
            .iter()
            .rposition(|entry| matches!(entry, Entry::Retried(..)))
            .unwrap_or(0);
        let struck = |entry: &&Entry| matches!(entry, Entry::Strike(_, at) if *at == position);
        self.entries[since..].iter().filter(struck).count()
    }

    /// True if something was added that is not on disk.
    pub fn has_pending(&self) -> bool {
        self.flushed < self.entries.len()
    }

    /// What was added since the last call, as one record for the store.
    ///
    /// # Errors
    /// A value that cannot be kept: nested too deep.
    pub fn take_pending(&mut self) -> Result<Vec<u8>, CodecError> {
        let mut out = Writer::new();
        for entry in &self.entries[self.flushed..] {
            write_entry(&mut out, entry)?;
        }
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

fn write_entry(out: &mut Writer, entry: &Entry) -> Result<(), CodecError> {
    out.byte(ENTRY_VERSION);
    match entry {
        Entry::Start(start) => {
            out.byte(1)
                .time(start.at)
                .text(&start.flow)
                .text(&start.version)
                .signed(start.engine_flags);
            out.text_or_none(start.trouble.as_deref())
                .number(start.events.len() as u64);
            for event in &start.events {
                out.number(*event);
            }
        }
        Entry::Command(command) => {
            out.byte(2).time(command.at).text(&command.question.word);
            out.number(command.question.arguments.len() as u64);
            for argument in &command.question.arguments {
                out.value(argument)?;
            }
            out.byte(command.answer.is_some().into());
            out.value(command.answer.as_ref().unwrap_or(&Value::Null))?;
        }
        Entry::Outcome(outcome) => {
            out.byte(3)
                .time(outcome.at)
                .number(outcome.of)
                .number(outcome.attempts.into());
            let (good, value) = match &outcome.result {
                Ok(value) => (1, value),
                Err(value) => (0, value),
            };
            out.byte(good).value(value)?;
        }
        Entry::Console(line) => {
            out.byte(4).text(line);
        }
        Entry::Note(at, text) => {
            out.byte(5).time(*at).text(text);
        }
        Entry::Strike(at, position) => {
            out.byte(6).time(*at).number(*position);
        }
        Entry::Retried(at, version) => {
            out.byte(7).time(*at).text(version);
        }
        Entry::End(end) => {
            out.byte(8)
                .time(end.at)
                .text(end.state.word())
                .text(&end.message)
                .value(&end.value)?;
        }
    }
    Ok(())
}

fn read_entry(input: &mut Reader<'_>) -> Result<Entry, CodecError> {
    if input.byte()? != ENTRY_VERSION {
        return Err(CodecError::Wrong("an entry of a newer version"));
    }
    Ok(match input.byte()? {
        1 => Entry::Start(read_start(input)?),
        2 => Entry::Command(read_command(input)?),
        3 => Entry::Outcome(read_outcome(input)?),
        4 => Entry::Console(input.text()?.to_owned()),
        5 => Entry::Note(input.time()?, input.text()?.to_owned()),
        6 => Entry::Strike(input.time()?, input.number()?),
        7 => Entry::Retried(input.time()?, input.text()?.to_owned()),
        8 => Entry::End(read_end(input)?),
        _ => return Err(CodecError::Wrong("an unknown kind of entry")),
    })
}

fn read_start(input: &mut Reader<'_>) -> Result<Start, CodecError> {
    let (at, flow) = (input.time()?, input.text()?.to_owned());
    let (version, engine_flags) = (input.text()?.to_owned(), input.signed()?);
    let trouble = input.text_or_none()?.map(str::to_owned);
    let count = input.number()?;
    let events: Result<Vec<u64>, CodecError> = (0..count).map(|_| input.number()).collect();
    Ok(Start {
        at,
        flow,
        version,
        engine_flags,
        events: events?,
        trouble,
    })
}

fn read_command(input: &mut Reader<'_>) -> Result<Command, CodecError> {
    let (at, word) = (input.time()?, input.text()?.to_owned());
    let count = input.number()?;
    let arguments: Result<Vec<Value>, CodecError> = (0..count).map(|_| input.value()).collect();
    let has_answer = input.byte()? == 1;
    let answer = input.value()?;
    let question = Question {
        word,
        arguments: arguments?,
    };
    Ok(Command {
        at,
        question,
        answer: has_answer.then_some(answer),
    })
}

fn read_outcome(input: &mut Reader<'_>) -> Result<Outcome, CodecError> {
    let (at, of, attempts) = (input.time()?, input.number()?, input.number()?);
    let good = input.byte()? == 1;
    let value = input.value()?;
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    Ok(Outcome {
        at,
        of,
        attempts,
        result: if good { Ok(value) } else { Err(value) },
    })
}

fn read_end(input: &mut Reader<'_>) -> Result<End, CodecError> {
    let (at, word) = (input.time()?, input.text()?);
    let state = state_from_word(word).ok_or(CodecError::Wrong("an unknown end"))?;
    Ok(End {
        at,
        state,
        message: input.text()?.to_owned(),
        value: input.value()?,
    })
}
