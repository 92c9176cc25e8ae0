//! `vigie list`

use clap::{Args, ValueEnum};
use serde_json::Value as Json;

use super::client::Client;
use super::{Common, report};
use crate::error::Exit;
use crate::story;

/// List channels, sources, flows, actions, runs or dead letters.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie list channels\n  vigie list sources\n  vigie list runs --state live\n  vigie list runs --waiting\n  \
    vigie list dead --json | jq ."
)]
pub(super) struct List {
    /// What to list
    what: What,
    /// For runs: live, done, failed, blocked or cancelled
    #[arg(long, value_parser = ["live", "done", "failed", "blocked", "cancelled"])]
    state: Option<String>,
    /// For runs: those that wait, for what, and since when
    #[arg(long, conflicts_with = "state")]
    waiting: bool,
    /// At most this many rows
    #[arg(long, default_value_t = 100, value_parser = rows)]
    limit: usize,
    /// Go on after this run, as the last listing ended
    #[arg(long, value_name = "RUN")]
    after: Option<String>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Channels,
    Sources,
    Flows,
    Actions,
    Runs,
    Dead,
}

fn rows(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=1000).contains(count));
    count.ok_or_else(|| "give 1 to 1000".to_owned())
}

impl List {
    pub(super) fn run(self, common: &Common) -> Exit {
        match self.fetch(common) {
            Ok(answer) if self.json => {
                report::line(&format!("{answer:#}"));
                Exit::Ok
            }
            Ok(answer) => {
                self.print(&answer);
                Exit::Ok
            }
            Err(exit) => exit,
        }
    }

    fn fetch(&self, common: &Common) -> Result<Json, Exit> {
        match self.what {
            // The words of this program, with or without a server.
            What::Actions => Ok(serde_json::json!({ "actions": story::actions() })),
            What::Channels => Client::find(common)?.get("channels"),
            What::Sources => Client::find(common)?.get("sources"),
            What::Flows => Client::find(common)?.get("flows"),
            What::Runs => self.runs(&Client::find(common)?),
            What::Dead => {
                Client::find(common)?.get(&self.page("dead", self.limit, self.after.as_deref()))
            }
        }
    }

    fn page(&self, what: &str, limit: usize, after: Option<&str>) -> String {
        let mut page = format!("{what}?limit={limit}");
        if let Some(after) = after {
            page.push_str(&format!("&after={}", super::client::segment(after)));
        }
        if let Some(state) = &self.state {
            page.push_str(&format!("&state={state}"));
        }
        if self.waiting {
            page.push_str("&state=waiting");
        }
        page
    }

    /// Runs in a rare state may stand on any page: goes on until there are enough or no more.
    fn runs(&self, client: &Client) -> Result<Json, Exit> {
        let mut rows = Vec::new();
        let mut after = self.after.clone();
        loop {
            let wanted = self.limit - rows.len();
            let mut answer = client.get(&self.page("runs", wanted, after.as_deref()))?;
            if let Json::Array(more) = answer["runs"].take() {
                rows.extend(more);
            }
            after = answer["next"].as_str().map(str::to_owned);
            if after.is_none() || rows.len() >= self.limit {
                return Ok(serde_json::json!({ "runs": rows, "next": after }));
            }
        }
    }

    fn print(&self, answer: &Json) {
        let (key, columns): (&str, &[&str]) = match self.what {
            What::Channels => (
                "channels",
                &["name", "waiting", "kept", "flows", "paused", "about"],
            ),
            What::Sources => (
                "sources",
                &[
                    "name",
                    "kind",
                    "state",
                    "last_event",
                    "last_error",
                    "refused",
                    "place",
                ],
            ),
            What::Flows => ("flows", &["name", "behind", "paused", "version"]),
            What::Actions => ("actions", &["call", "about"]),
            What::Runs if self.waiting => ("runs", &["run", "since", "waits_for"]),
            What::Runs => ("runs", &["run", "state", "began_at", "ended_at"]),
            What::Dead => ("dead", &["run", "at", "why"]),
        };
        let rows: Vec<Vec<String>> = answer[key]
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| {
                columns
                    .iter()
                    .map(|column| cell(column, &row[*column]))
                    .collect()
            })
            .collect();
        report::table(columns, &rows);
        if let Some(next) = answer["next"].as_str() {
            report::sentence(&format!("there are more: --after {next}"));
        }
    }
}

fn cell(column: &str, value: &Json) -> String {
    let text = match value {
        Json::String(text) => text.lines().next().unwrap_or("").to_owned(),
        Json::Null => "–".to_owned(),
        Json::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        other => other.to_string(),
    };
    match column {
        "version" => text.chars().take(12).collect(),
        "waits_for" => text.split(' ').map(local).collect::<Vec<_>>().join(" "),
        column if column.ends_with("at") || column == "since" => local(&text),
        _ => text,
    }
}

/// A moment in the terminal's time zone, to the second.
pub(super) fn local(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(moment) => moment
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => text.to_owned(),
    }
}
