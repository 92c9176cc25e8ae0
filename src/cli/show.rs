//! `vigie show`

use clap::Args;
use serde_json::Value as Json;

use super::client::{Client, segment};
use super::list::local;
use super::{Common, report};
use crate::error::Exit;
use crate::event::{EventId, RunId};

/// Tell the story of an event or of a run.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie show alert/1042\n  vigie show alert/1042/open_ticket\n  \
    vigie show alert/1042 --json"
)]
pub(super) struct Show {
    /// An event (alert/1042) or a run (alert/1042/open_ticket)
    id: String,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self, common: &Common) -> Exit {
        let path = if self.id.parse::<EventId>().is_ok() {
            format!("events/{}", segment(&self.id))
        } else if self.id.parse::<RunId>().is_ok() {
            format!("runs/{}", segment(&self.id))
        } else {
            report::sentence(&format!(
                "`{}` is neither an event (alert/1042) nor a run (alert/1042/open_ticket)",
                self.id
            ));
            return Exit::Usage;
        };
        let story = match Client::find(common).and_then(|client| client.get(&path)) {
            Ok(story) => story,
            Err(exit) => return exit,
        };
        match (self.json, story["journal"].is_array()) {
            (true, _) => report::line(&format!("{story:#}")),
            (false, true) => run(&story, ""),
            (false, false) => event(&story),
        }
        Exit::Ok
    }
}

pub(super) fn text(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// An event by itself: where it came from, what it holds.
pub(super) fn head(story: &Json) {
    let meta = &story["meta"];
    report::line(&format!("event {}", text(&story["id"])));
    let peer = text(&meta["peer"]);
    let from = if peer.is_empty() {
        String::new()
    } else {
        format!(" from {peer}")
    };
    report::line(&format!(
        "  received {} by {}{from}",
        local(&text(&meta["received_at"])),
        text(&meta["source"])
    ));
    for key in ["decode_error", "decode_note"] {
        if let Some(note) = meta[key].as_str() {
            report::line(&format!("  {}: {note}", key.replace('_', " ")));
        }
    }
    report::line(&format!("  {}", story["body"]));
}

fn event(story: &Json) {
    head(story);
    let flows = story["flows"].as_array().cloned().unwrap_or_default();
    match story["taken_by"].as_str() {
        Some(by) => report::line(&format!("taken off its channel by {by}")),
        None if flows.is_empty() => {
            report::line("no flow looks at this channel; the event waits until somebody takes it");
        }
        None => {}
    }
    for flow in flows {
        report::line(&format!(
            "flow {}: {}",
            text(&flow["flow"]),
            text(&flow["verdict"])
        ));
        if flow["run"].is_object() {
            run(&flow["run"], "  ");
        }
    }
}

fn run(story: &Json, indent: &str) {
    report::line(&format!(
        "{indent}run {}: {}",
        text(&story["run"]),
        text(&story["state"])
    ));
    for entry in story["journal"].as_array().into_iter().flatten() {
        for part in entry_line(entry).lines() {
            report::line(&format!("{indent}  {part}"));
        }
    }
    if story["tries"].is_object() {
        let tries = &story["tries"];
        let (count, next) = (&tries["count"], local(&text(&tries["next_at"])));
        report::line(&format!(
            "{indent}  … tried {count} times, next at {next}: {}",
            text(&tries["error"])
        ));
    }
}

/// When a handle of `after` comes true.
fn due(handle: &Json) -> String {
    let millisecond = handle["due"].as_i64().unwrap_or_default();
    let moment = jiff::Timestamp::from_millisecond(millisecond).unwrap_or_default();
    local(&moment.to_string())
}

fn entry_line(entry: &Json) -> String {
    let at = entry["at"]
        .as_str()
        .map(|at| format!("{}  ", local(at)))
        .unwrap_or_default();
    match text(&entry["what"]).as_str() {
        "start" => format!("{at}begins"),
        "command" => match &entry["answer"] {
            Json::Null => format!("{at}#{} {}", entry["number"], text(&entry["asked"])),
            answer if answer["due"].is_i64() && answer["after"].is_string() => format!(
                "{at}#{} {} → {}",
                entry["number"],
                text(&entry["asked"]),
                due(answer)
            ),
            answer => format!(
                "{at}#{} {} → {answer}",
                entry["number"],
                text(&entry["asked"])
            ),
        },
        "outcome" => {
            let sign = if entry["good"] == true { "→" } else { "✗" };
            let tries = entry["attempts"].as_u64().filter(|tries| *tries > 1);
            let tries = tries
                .map(|tries| format!(" (after {tries} tries)"))
                .unwrap_or_default();
            format!("{at}#{} {sign} {}{tries}", entry["of"], entry["value"])
        }
        "console" => format!("| {}", text(&entry["text"])),
        "note" => format!("{at}note: {}", text(&entry["text"])),
        "moved" => format!("{at}moved to another version by an operator"),
        "seen" => format!("{at}#{} sees {}", entry["of"], text(&entry["event"])),
        "continued" => format!("{at}begins anew with {}", entry["state"]),
        "forked" => {
            let (count, from) = (&entry["commands"], text(&entry["from"]));
            format!("{at}is a fork: its first {count} commands are those of {from}")
        }
        "retried" => format!("{at}tried again by an operator"),
        _ => {
            let message = text(&entry["message"]);
            let why = if message.is_empty() {
                String::new()
            } else {
                format!("\n{message}")
            };
            format!("{at}ends: {}{why}", text(&entry["state"]))
        }
    }
}
