//! The reasons of an event: what each flow made of it and why, whom it woke, where it was noted.
//!
//! Invariant: looking is bounded. Which runs an event woke stands in their journals and nowhere else, so
//! those of the runs that were live since are read, up to a limit; the answer says if that was hit.

use serde_json::{Value as Json, json};

use crate::event::{Event, EventId, RunId, Value};
use crate::explain::Explanation;
use crate::flow::Flow;
use crate::journal::{Entry, Journal};
use crate::mind::same_trouble;
use crate::replay::show;
use crate::run::{Conductor, Interrupted};
use crate::state::State;
use crate::wait;
use crate::weather::{Fate, Weather};

/// Journals that are read to find whom an event woke: so many of runs that ended since, and so many
/// of runs that are live.
pub const JOURNALS_READ_MAX: usize = 1_000;

/// What a filter says about an event, and why.
enum Judgement {
    Yes,
    No(Option<Explanation>),
    Raised(String),
}

/// What runs of other events have to do with an event.
#[derive(Default)]
struct Others {
    woke: Vec<Json>,
    noted: Vec<RunId>,
    /// False if some journals were not read.
    complete: bool,
}

/// Why an event did what it did; `None` if it is not kept. Waits for the disk and for scripts that
/// think: not for async callers.
///
/// # Errors
/// What the store cannot read.
pub fn of_event(state: &State, id: &EventId) -> Result<Option<Json>, Interrupted> {
    let conductor = &state.conductor;
    let Some(event) = conductor.store.event(id)? else {
        return Ok(None);
    };
    let others = others(conductor, &event)?;
    let mut runs = Vec::new();
    for info in conductor.store.runs_of(id)? {
        runs.extend(conductor.journal(&info.run)?);
    }
    let mut flows = Vec::new();
    for line in state.attendance.lines() {
        if line.flow.channel == id.channel {
            let is_next = line.next <= id.number;
            let runs = runs.iter().filter(|run| run.run.flow() == line.flow.name);
            let runs: Vec<&Journal> = runs.collect();
            flows.push(of_flow(
                conductor,
                (&line.flow, &line.weather, is_next),
                (&event, &runs, &others),
            )?);
        }
    }
    let is_here = |run: &&Journal| flows.iter().any(|flow| flow["flow"] == run.run.flow());
    let gone: Vec<Json> = runs
        .iter()
        .filter(|run| !is_here(run))
        .map(of_run)
        .collect();
    Ok(Some(json!({
        "id": id.to_string(), "body": event.body.to_json(), "meta": event.meta_value().to_json(),
        "flows": flows, "runs_of_flows_that_are_gone": gone,
        "woke": others.woke, "complete": others.complete,
        "taken_by": conductor.store.taken_by(id)?,
    })))
}

fn of_flow(
    conductor: &Conductor,
    (flow, weather, is_next): (&Flow, &Weather, bool),
    (event, runs, others): (&Event, &[&Journal], &Others),
) -> Result<Json, Interrupted> {
    let noted = others.noted.iter().filter(|run| run.flow() == flow.name);
    let noted: Vec<&str> = noted.map(RunId::as_str).collect();
    let fate = match runs.is_empty() && noted.is_empty() {
        true => weather.fate(&conductor.store, event.id.number)?,
        false => None,
    };
    let judgement = judge(conductor, flow, event);
    let verdict = match &judgement {
        Judgement::Raised(_) if runs.iter().all(|run| run.command_count() == 0) => {
            "the filter raised"
        }
        _ if !runs.is_empty() => "matched",
        _ if !noted.is_empty() => "matched, and was noted on a run for the same trouble",
        _ if matches!(fate, Some(Fate::Held(_))) => "matched, and is held",
        _ if fate.is_some() => "matched, and was suppressed",
        Judgement::Raised(_) => "the filter raised",
        Judgement::No(_) => "did not match",
        Judgement::Yes if is_next => "matches, and was not looked at yet",
        Judgement::Yes => "matches, but began no run of its own",
    };
    let raised = match &judgement {
        Judgement::Raised(message) => Some(message),
        _ => None,
    };
    let because = match &judgement {
        // Where there is a run the flow is another one now.
        Judgement::No(explanation) if runs.is_empty() && noted.is_empty() && fate.is_none() => {
            explanation.as_ref().map(because)
        }
        _ => None,
    };
    Ok(json!({
        "flow": flow.name, "verdict": verdict, "because": because, "raised": raised,
        "runs": runs.iter().map(|run| of_run(run)).collect::<Vec<_>>(), "noted_on": noted,
        "storm": fate.map(of_fate),
    }))
}

/// What the storm control did with an event.
fn of_fate(fate: Fate) -> Json {
    match fate {
        Fate::Held(kind) => json!({ "held_by": kind.word() }),
        Fate::Suppressed(one) => json!({ "suppressed_by": one.by.word(), "key": one.key }),
    }
}

fn judge(conductor: &Conductor, flow: &Flow, event: &Event) -> Judgement {
    let thinking = std::time::Duration::from_secs(flow.settings.run_seconds_max);
    let script = std::sync::Arc::clone(&flow.script);
    let event = event.clone();
    let judged =
        conductor.thinkers.call(
            move |engine| match engine.filter(&script, &event, thinking) {
                Ok(true) => Judgement::Yes,
                Ok(false) => Judgement::No(engine.explain(&script, &event)),
                Err(error) => Judgement::Raised(error.diagnostic().to_string()),
            },
        );
    judged.unwrap_or_else(|| Judgement::Raised("the engine panicked".to_owned()))
}

fn because(explanation: &Explanation) -> Json {
    let value = |(part, value): &(String, Value)| json!({ "part": part, "value": value.to_json() });
    json!({
        "part": explanation.part, "was": explanation.was,
        "values": explanation.values.iter().map(value).collect::<Vec<_>>(),
        "place": explanation.place.as_ref().map(crate::error::Place::short),
    })
}

/// A run in short: what it had done, and what came of that.
fn of_run(journal: &Journal) -> Json {
    let action = |index: usize| {
        let command = journal.command(index)?;
        // What was answered at once changed nothing outside.
        if command.answer.is_some() {
            return None;
        }
        let outcome = journal.outcome(index).map(|outcome| &outcome.result);
        let (good, value) = match outcome {
            Some(Ok(value)) => (Some(true), value.to_json()),
            Some(Err(value)) => (Some(false), value.to_json()),
            None => (None, Json::Null),
        };
        Some(json!({
            "number": index, "asked": show(&command.question), "good": good, "value": value,
            "waits": wait::is_wait(&command.question.word),
        }))
    };
    let actions: Vec<Json> = (0..journal.command_count()).filter_map(action).collect();
    let end = journal.end();
    json!({
        "run": journal.run.as_str(), "state": end.map_or("live", |end| end.state.word()),
        "message": end.map_or("", |end| end.message.as_str()), "actions": actions,
    })
}

/// Runs that were live when the event came, or later: what each has noted about it.
fn others(conductor: &Conductor, event: &Event) -> Result<Others, Interrupted> {
    let store = &conductor.store;
    let mut runs = store.runs_ended_since(event.meta.received_at, JOURNALS_READ_MAX)?;
    let live = store.some_live_runs(JOURNALS_READ_MAX)?;
    let blocked = store.blocked_after(None, JOURNALS_READ_MAX)?;
    let is_cut = |count: usize| count == JOURNALS_READ_MAX;
    let mut others = Others {
        complete: ![runs.len(), live.len(), blocked.len()]
            .into_iter()
            .any(is_cut),
        ..Others::default()
    };
    runs.extend(live.into_iter().chain(blocked));
    let note = same_trouble(&event.id);
    for run in runs {
        let Some(journal) = conductor.journal(&run)? else {
            continue;
        };
        for entry in journal.entries() {
            match entry {
                Entry::Seen(seen) if seen.event == event.id => {
                    let command = usize::try_from(seen.of).ok();
                    let command = command.and_then(|index| journal.command(index));
                    let asked = command.map(|command| show(&command.question));
                    others.woke.push(json!({
                        "run": run.as_str(), "at": seen.at.to_string(),
                        "number": seen.of, "asked": asked,
                    }));
                }
                Entry::Note(_, text) if *text == note => others.noted.push(run.clone()),
                _ => {}
            }
        }
    }
    Ok(others)
}
