//! Record: a real run written down as a case, which `vigie test` runs again in virtual time.
//!
//! Invariant: what cannot be said in a case is refused with a sentence, never left out; a secret
//! stays its name. Waits are not written: the events that ended them are, and time does the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::cases::{self, Bench};
use crate::duration::Lasting;
use crate::event::{Event, Meta, Value};
use crate::exact::{self, key, text};
use crate::journal::{Command, EndState, Journal, Outcome};
use crate::transcript::Transcript;
use crate::wait::{self, Wait};

/// Outcomes that took less come at once in the case.
const TAKES_MIN: Duration = Duration::from_secs(1);

/// The case's text, tried out on `bench`. Must be called on a thread with a large stack.
///
/// # Errors
/// A sentence: what cannot be said in a case, or how the case is otherwise than the run was.
pub fn case(transcript: &Transcript, bench: &Bench<'_>) -> Result<String, String> {
    let recording = Recording::of(transcript)?;
    let shown = std::path::Path::new("the case");
    let times = |text: &str| {
        let cases = cases::parse(text, shown).map_err(|mistake| mistake.to_string())?;
        let case = cases.first().ok_or("the case is gone")?;
        bench.times(case)
    };
    let otherwise = |why: String| format!("virtual time does not tell the same story: {why}");
    let found = times(&recording.write(&[])).map_err(otherwise)?;
    let text = recording.write(&found);
    times(&text).map_err(otherwise)?;
    Ok(text)
}

/// A run as a case will tell it.
struct Recording<'a> {
    transcript: &'a Transcript,
    began: Timestamp,
    /// What the flow kept before.
    state: BTreeMap<String, Value>,
    asks: Vec<(Command, Option<Outcome>)>,
    ending: String,
}

impl Recording<'_> {
    fn of(transcript: &Transcript) -> Result<Recording<'_>, String> {
        let journal = &transcript.journal;
        let run = &journal.run;
        let first = transcript.events.first();
        let began = first.ok_or_else(|| format!("{run} has no event"))?;
        if journal.cancel().is_some() {
            return Err(format!("a person cancelled {run}; a case cannot say that"));
        }
        let mut recording = Recording {
            transcript,
            began: began.meta.received_at,
            state: BTreeMap::new(),
            asks: Vec::new(),
            ending: ending(transcript)?,
        };
        let mut kept = BTreeMap::new();
        for index in 0..journal.command_count() {
            let Some(command) = journal.command(index) else {
                continue;
            };
            if recording.goes_without_saying(command, &mut kept) {
                continue;
            }
            let outcome = journal.outcome(index).cloned();
            if outcome.is_none() && command.answer.is_none() {
                return Err(format!(
                    "it is not known yet what comes of command {index} of {run}"
                ));
            }
            recording.asks.push((command.clone(), outcome));
        }
        Ok(recording)
    }

    /// True for what virtual time answers by itself. `kept` is what the flow keeps by then, as far as
    /// it is known.
    fn goes_without_saying(
        &mut self,
        command: &Command,
        kept: &mut BTreeMap<String, Value>,
    ) -> bool {
        let argument = |index: usize| command.question.arguments.get(index).cloned();
        let name = argument(0).unwrap_or_default().to_plain();
        match command.question.word.as_str() {
            "after" | "carried" => true,
            "state::get" => {
                let answer = command.answer.clone().unwrap_or_default();
                let known = kept.entry(name.clone()).or_insert_with(|| {
                    if answer != Value::Null {
                        self.state.insert(name, answer.clone());
                    }
                    answer.clone()
                });
                *known == answer
            }
            "state::set" => {
                kept.insert(name, argument(1).unwrap_or_default());
                false
            }
            "state::delete" => {
                kept.insert(name, Value::Null);
                false
            }
            word => wait::is_wait(word),
        }
    }

    fn write(&self, times: &[Duration]) -> String {
        let mut out = self.head();
        let mut later: Vec<&Event> = self.transcript.seen.values().collect();
        later.sort_by_key(|event| event.meta.received_at);
        let mut later = later.into_iter().peekable();
        let mut before = None;
        for (index, (command, outcome)) in self.asks.iter().enumerate() {
            let at = times.get(index).copied();
            let comes =
                |event: &&Event| at.is_some_and(|at| self.since(event.meta.received_at) <= at);
            while let Some(event) = later.next_if(comes) {
                self.arrival(event, &mut out);
            }
            out.push_str(&format!(
                "\n[[case.asks]]\nword = {}\n",
                text(&command.question.word)
            ));
            if let Some(at) = at.filter(|at| before != Some(*at)) {
                out.push_str(&format!("at = {}\n", text(&Lasting(at).spelled())));
            }
            before = at;
            ask(command, outcome.as_ref(), &mut out);
        }
        for event in later {
            self.arrival(event, &mut out);
        }
        out
    }

    /// Everything up to the first command.
    fn head(&self) -> String {
        let journal = &self.transcript.journal;
        let mut out = format!(
            "# Recorded from {run}, as it ran on {began}.\n[[case]]\nname = {name}\nnow = {now}\n",
            run = journal.run,
            began = self.began,
            name = text(&format!("as it went for {}", journal.run)),
            now = text(&self.began.to_string()),
        );
        if let Some(continued) = journal.continued() {
            out.push_str(&format!("carried = {}\n", exact::write(&continued.state)));
        }
        out.push_str(&self.ending);
        let printed = journal.console();
        if !printed.is_empty() {
            let lines: Vec<String> = printed.into_iter().map(text).collect();
            out.push_str(&format!("prints = [{}]\n", lines.join(", ")));
        }
        self.bodies(&mut out);
        if let Some(first) = self.transcript.events.first() {
            table("meta", &meta(first), &mut out);
        }
        table("state", &self.state, &mut out);
        out
    }

    fn bodies(&self, out: &mut String) {
        let events = &self.transcript.events;
        match events.as_slice() {
            [one] if !self.transcript.script.is_batch => match &one.body {
                Value::Map(map)
                    if !map.is_empty() && !map.keys().any(|name| name.starts_with('$')) =>
                {
                    table("event", map, out);
                }
                other => out.push_str(&format!("event = {}\n", exact::write(other))),
            },
            several => {
                let body = |event: &Event| format!("    {},\n", exact::write(&event.body));
                let bodies: String = several.iter().map(body).collect();
                out.push_str(&format!("events = [\n{bodies}]\n"));
            }
        }
    }

    /// An event that woke the run.
    fn arrival(&self, event: &Event, out: &mut String) {
        let own = self.transcript.journal.run.event().channel;
        let waited = event.id.channel != own && event.meta.received_at < self.began;
        out.push_str(match waited {
            true => "\n[[case.waiting]]\n",
            false => "\n[[case.later]]\n",
        });
        if !waited {
            let after = Lasting(self.since(event.meta.received_at)).spelled();
            out.push_str(&format!("after = {}\n", text(&after)));
        }
        if event.id.channel != own {
            out.push_str(&format!("channel = {}\n", text(&event.id.channel)));
        }
        out.push_str(&format!("event = {}\n", exact::write(&event.body)));
    }

    fn since(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.began)).unwrap_or_default()
    }
}

/// The line that says how the run ended, if it did not just end well.
fn ending(transcript: &Transcript) -> Result<String, String> {
    let Transcript { journal, now, .. } = transcript;
    let run = &journal.run;
    let Some(end) = journal.end() else {
        let waits = waits(journal).ok_or_else(|| format!("{run} is at work; wait for its end"))?;
        let began = transcript
            .events
            .first()
            .map(|event| event.meta.received_at);
        let lasted = Duration::try_from(now.duration_since(began.unwrap_or(*now)));
        let until = Lasting(lasted.unwrap_or_default()).spelled();
        return Ok(format!(
            "until = {}\nwaits = {}\n",
            text(&until),
            text(&waits)
        ));
    };
    match end.state {
        EndState::Done => Ok(String::new()),
        EndState::Failed => {
            let line = end.message.lines().next().unwrap_or_default();
            let words = line.strip_prefix("error: ").unwrap_or(line);
            Ok(format!("fails = {}\n", text(words)))
        }
        other => Err(format!(
            "{run} was {}; a case cannot say that",
            other.word()
        )),
    }
}

/// What a run waits for, without the time, which is another in virtual time.
fn waits(journal: &Journal) -> Option<String> {
    let last = journal.command_count().checked_sub(1)?;
    let command = journal
        .command(last)
        .filter(|_| journal.outcome(last).is_none())?;
    let wait = Wait::of(&journal.run, last, command.at, &command.question).ok()?;
    let told = wait.describe();
    let head = told.split(", until ").next().unwrap_or_default();
    Some(if head.starts_with("until ") {
        "until".to_owned()
    } else {
        head.to_owned()
    })
}

/// What a command was asked with, and what came of it.
fn ask(command: &Command, outcome: Option<&Outcome>, out: &mut String) {
    let question = &command.question;
    let arguments: Vec<String> = question.arguments.iter().map(exact::write).collect();
    if !arguments.is_empty() {
        out.push_str(&format!("arguments = [{}]\n", arguments.join(", ")));
    }
    let Some(outcome) = outcome else {
        let answer = command.answer.clone().unwrap_or_default();
        if answer != Value::Null {
            out.push_str(&format!("gives = {}\n", exact::write(&answer)));
        }
        return;
    };
    let took = Duration::try_from(outcome.at.duration_since(command.at)).unwrap_or_default();
    if took >= TAKES_MIN {
        let took = Duration::from_secs(took.as_millis().div_ceil(1_000) as u64);
        out.push_str(&format!("takes = {}\n", text(&Lasting(took).spelled())));
    }
    match &outcome.result {
        Ok(Value::Null) => {}
        Ok(value) => out.push_str(&format!("gives = {}\n", exact::write(value))),
        Err(error) => out.push_str(&format!("fails = {}\n", exact::write(error))),
    }
}

/// What `meta` holds, as a case says it.
fn meta(event: &Event) -> BTreeMap<String, Value> {
    let Meta {
        source,
        peer,
        message_id,
        extra,
        received_at: _,
    } = &event.meta;
    let mut map = extra.clone();
    map.insert("id".to_owned(), Value::from(event.id.to_string()));
    map.insert("source".to_owned(), Value::from(source.as_str()));
    if !peer.is_empty() {
        map.insert("peer".to_owned(), Value::from(peer.as_str()));
    }
    if let Some(id) = message_id {
        map.insert("message_id".to_owned(), Value::from(id.as_str()));
    }
    map
}

fn table(name: &str, map: &BTreeMap<String, Value>, out: &mut String) {
    if map.is_empty() {
        return;
    }
    out.push_str(&format!("\n[case.{name}]\n"));
    for (name, value) in map {
        out.push_str(&format!("{} = {}\n", key(name), exact::write(value)));
    }
}
