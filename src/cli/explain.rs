//! `vigie explain`

use clap::Args;
use serde_json::Value as Json;

use super::client::{Client, segment};
use super::list::local;
use super::show::{head, text};
use super::{Common, report};
use crate::error::Exit;
use crate::event::EventId;

/// Say why an event did what it did.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie explain alert/1042\n  vigie explain alert/1042 --json\n\n\
    For every flow of the channel: whether it matched, or which part of its filter said no and with which values;\n\
    what its run had done; which runs the event woke, and on which it was noted. `vigie show` tells the whole story."
)]
pub(super) struct Explain {
    /// An event (alert/1042)
    event: String,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self, common: &Common) -> Exit {
        if let Err(why) = self.event.parse::<EventId>() {
            report::sentence(&why);
            return Exit::Usage;
        }
        let path = format!("events/{}/explain", segment(&self.event));
        let reasons = match Client::find(common).and_then(|client| client.get(&path)) {
            Ok(reasons) => reasons,
            Err(exit) => return exit,
        };
        match self.json {
            true => report::line(&format!("{reasons:#}")),
            false => tell(&reasons),
        }
        Exit::Ok
    }
}

fn tell(reasons: &Json) {
    head(reasons);
    let flows = list(&reasons["flows"]);
    if flows.is_empty() {
        report::line("no flow looks at this channel");
    }
    flows.iter().for_each(flow);
    list(&reasons["runs_of_flows_that_are_gone"])
        .iter()
        .for_each(run);
    for woken in list(&reasons["woke"]) {
        let (at, asked) = (local(&text(&woken["at"])), text(&woken["asked"]));
        let (who, number) = (text(&woken["run"]), &woken["number"]);
        report::line(&format!("woke {who} at {at}: #{number} {asked}"));
    }
    if reasons["taken_by"].is_string() {
        report::line(&format!("was taken by {}", text(&reasons["taken_by"])));
    }
    if reasons["complete"] == false {
        report::line(
            "too many runs were live since to look at all of them: it may have woken others",
        );
    }
}

fn flow(flow: &Json) {
    report::line(&format!(
        "flow {}: {}",
        text(&flow["flow"]),
        text(&flow["verdict"])
    ));
    if flow["raised"].is_string() {
        text(&flow["raised"])
            .lines()
            .for_each(|line| report::line(&format!("  {line}")));
    }
    storm(&flow["storm"]);
    let because = &flow["because"];
    if because.is_object() {
        let values: Vec<String> = list(&because["values"]).iter().map(value).collect();
        let values = match values.is_empty() {
            true => String::new(),
            false => format!(": {}", values.join(", ")),
        };
        let (part, was) = (text(&because["part"]), &because["was"]);
        report::line(&format!("  {part} is {was}{values}"));
        if because["place"].is_string() {
            report::line(&format!("  at {}", text(&because["place"])));
        }
    }
    list(&flow["noted_on"])
        .iter()
        .for_each(|run| report::line(&format!("  noted on {}", text(run))));
    list(&flow["runs"]).iter().for_each(run);
}

/// What the storm control did with it.
fn storm(storm: &Json) {
    if storm["held_by"].is_string() {
        report::line(&format!("  held by {}", text(&storm["held_by"])));
    }
    if storm["suppressed_by"].is_string() {
        let key = text(&storm["key"]);
        let key = match key.is_empty() {
            true => "the flow as a whole".to_owned(),
            false => format!("key {key}"),
        };
        let by = text(&storm["suppressed_by"]);
        report::line(&format!("  suppressed by {by}, {key}"));
    }
}

fn value(one: &Json) -> String {
    format!("{} is {}", text(&one["part"]), one["value"])
}

fn run(run: &Json) {
    let message = text(&run["message"]);
    let why = if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    };
    let why = why.replace('\n', "\n    ");
    report::line(&format!(
        "  run {}: {}{why}",
        text(&run["run"]),
        text(&run["state"])
    ));
    for action in list(&run["actions"]) {
        let came = match (&action["good"], &action["waits"]) {
            (Json::Bool(true), _) => format!("→ {}", action["value"]),
            (Json::Bool(false), _) => format!("✗ {}", action["value"]),
            (_, Json::Bool(true)) => "… waits".to_owned(),
            _ => "… nothing came of it yet".to_owned(),
        };
        report::line(&format!(
            "    #{} {} {came}",
            action["number"],
            text(&action["asked"])
        ));
    }
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}
