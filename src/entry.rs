//! Entries: the lines of a journal, and how they look on disk.
//!
//! Invariant: every entry begins with the version of its form, so that a later program can read
//! what this one wrote.

use jiff::Timestamp;

use crate::event::{Event, EventId, RunId, Value};
use crate::gate::Question;
pub use crate::store::End as EndState;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::storm::Told;
use crate::want::Want;

/// The version of the form.
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
    /// An event woke the run, or was shown to it.
    Seen(Seen),
    /// The journal begins anew here, by `continue_as`.
    Continued(Continued),
    /// A person asked at this time that the run be cancelled; it may tidy up until the other.
    Cancel(Timestamp, Timestamp),
    /// A person moved the run to this version of its script, which asks for the same things.
    Moved(Timestamp, String),
    /// The first commands were taken over from another run.
    Forked(Forked),
}

/// What a run took over from the run that it is a fork of.
#[derive(Debug, Clone, PartialEq)]
pub struct Forked {
    /// When.
    pub at: Timestamp,
    /// Which run it is a fork of.
    pub from: RunId,
    /// How many of its commands were taken over. They keep the keys that they had there.
    pub commands: u64,
}

/// An event that ended a wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// Which command waited, counted from 0.
    pub of: u64,
    /// Which of its handles.
    pub which: u64,
    /// The event.
    pub event: EventId,
}

/// What a journal that begins anew takes over from the one before.
#[derive(Debug, Clone, PartialEq)]
pub struct Continued {
    /// When.
    pub at: Timestamp,
    /// What the script handed to `continue_as`.
    pub state: Value,
    /// How many commands the run had before, so that no key of an action comes twice.
    pub commands: u64,
    /// What was watched for already, and from which event on it counts.
    pub seen: Vec<Want>,
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
    /// What the storm control tells it in `meta`.
    pub told: Told,
}

impl Start {
    /// Puts what the run is told into the `meta` of its first event.
    pub fn tell(&self, events: &mut [Event]) {
        if let Some(first) = events.first_mut() {
            first.meta.extra.extend(self.told.clone());
        }
    }
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

impl Entry {
    /// As bytes, behind what `out` holds already.
    ///
    /// # Errors
    /// A value that cannot be kept: nested too deep.
    pub fn write(&self, out: &mut Writer) -> Result<(), CodecError> {
        out.byte(ENTRY_VERSION);
        match self {
            Entry::Start(start) if start.told.is_empty() => write_start(start, out.byte(1)),
            Entry::Start(start) => {
                write_start(start, out.byte(14));
                out.map(&start.told)?;
            }
            Entry::Command(command) => write_command(command, out.byte(2))?,
            Entry::Outcome(outcome) => write_outcome(outcome, out.byte(3))?,
            Entry::Console(line) => drop(out.byte(4).text(line)),
            Entry::Note(at, text) => drop(out.byte(5).time(*at).text(text)),
            Entry::Strike(at, position) => drop(out.byte(6).time(*at).number(*position)),
            Entry::Retried(at, version) => drop(out.byte(7).time(*at).text(version)),
            Entry::End(end) => {
                out.byte(8)
                    .time(end.at)
                    .text(end.state.word())
                    .text(&end.message)
                    .value(&end.value)?;
            }
            Entry::Seen(seen) => write_seen(seen, out.byte(9)),
            Entry::Continued(continued) => write_continued(continued, out.byte(10))?,
            Entry::Cancel(at, until) => drop(out.byte(11).time(*at).time(*until)),
            Entry::Moved(at, version) => drop(out.byte(12).time(*at).text(version)),
            Entry::Forked(forked) => {
                out.byte(13)
                    .time(forked.at)
                    .text(forked.from.as_str())
                    .number(forked.commands);
            }
        }
        Ok(())
    }

    /// The next entry of `input`.
    ///
    /// # Errors
    /// Bytes that are none, or one of a newer version.
    pub fn read(input: &mut Reader<'_>) -> Result<Entry, CodecError> {
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
            9 => Entry::Seen(read_seen(input)?),
            10 => Entry::Continued(read_continued(input)?),
            11 => Entry::Cancel(input.time()?, input.time()?),
            12 => Entry::Moved(input.time()?, input.text()?.to_owned()),
            13 => Entry::Forked(read_forked(input)?),
            14 => {
                let start = read_start(input)?;
                let told = input.map()?;
                Entry::Start(Start { told, ..start })
            }
            _ => return Err(CodecError::Wrong("an unknown kind of entry")),
        })
    }
}

fn write_start(start: &Start, out: &mut Writer) {
    out.time(start.at)
        .text(&start.flow)
        .text(&start.version)
        .signed(start.engine_flags)
        .text_or_none(start.trouble.as_deref())
        .number(start.events.len() as u64);
    for event in &start.events {
        out.number(*event);
    }
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
        told: Told::new(),
    })
}

fn write_command(command: &Command, out: &mut Writer) -> Result<(), CodecError> {
    out.time(command.at).text(&command.question.word);
    out.number(command.question.arguments.len() as u64);
    for argument in &command.question.arguments {
        out.value(argument)?;
    }
    out.byte(command.answer.is_some().into());
    out.value(command.answer.as_ref().unwrap_or(&Value::Null))
        .map(drop)
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

fn write_outcome(outcome: &Outcome, out: &mut Writer) -> Result<(), CodecError> {
    out.time(outcome.at)
        .number(outcome.of)
        .number(outcome.attempts.into());
    let (good, value) = match &outcome.result {
        Ok(value) => (1, value),
        Err(value) => (0, value),
    };
    out.byte(good).value(value).map(drop)
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

fn write_seen(seen: &Seen, out: &mut Writer) {
    out.time(seen.at)
        .number(seen.of)
        .number(seen.which)
        .text(&seen.event.channel)
        .number(seen.event.number);
}

fn read_seen(input: &mut Reader<'_>) -> Result<Seen, CodecError> {
    Ok(Seen {
        at: input.time()?,
        of: input.number()?,
        which: input.number()?,
        event: EventId {
            channel: input.text()?.to_owned(),
            number: input.number()?,
        },
    })
}

fn read_forked(input: &mut Reader<'_>) -> Result<Forked, CodecError> {
    let (at, from) = (input.time()?, input.text()?);
    let from = from.parse();
    Ok(Forked {
        at,
        from: from.map_err(|_| CodecError::Wrong("a fork of no run"))?,
        commands: input.number()?,
    })
}

fn write_continued(continued: &Continued, out: &mut Writer) -> Result<(), CodecError> {
    out.time(continued.at).number(continued.commands);
    out.value(&continued.state)?;
    out.number(continued.seen.len() as u64);
    continued.seen.iter().try_for_each(|want| want.write(out))
}

fn read_continued(input: &mut Reader<'_>) -> Result<Continued, CodecError> {
    let (at, commands) = (input.time()?, input.number()?);
    let state = input.value()?;
    let count = input.number()?;
    let seen: Result<Vec<Want>, CodecError> = (0..count).map(|_| Want::read(input)).collect();
    Ok(Continued {
        at,
        state,
        commands,
        seen: seen?,
    })
}
