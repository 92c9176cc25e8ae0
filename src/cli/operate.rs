//! `vigie retry`, `vigie cancel`, `vigie kill`, `vigie pause`, `vigie resume`

use clap::Args;
use serde_json::json;

use super::client::{Client, segment};
use super::{Common, report};
use crate::error::Exit;

/// Have dead letters tried again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie retry alert/1042/open_ticket\n  vigie retry --all\n\n\
    What a run has done is not done again; it goes on at what failed, with the flow as it is now."
)]
pub(super) struct Retry {
    /// Runs, as `vigie list dead` names them
    #[arg(value_name = "RUN", required_unless_present = "all")]
    runs: Vec<String>,
    /// All dead letters
    #[arg(long, conflicts_with = "runs")]
    all: bool,
}

impl Retry {
    pub(super) fn run(self, common: &Common) -> Exit {
        let client = match Client::find(common) {
            Ok(client) => client,
            Err(exit) => return exit,
        };
        let runs = match self.all {
            false => self.runs,
            true => match all(&client) {
                Ok(runs) => runs,
                Err(exit) => return exit,
            },
        };
        let mut worst = Exit::Ok;
        for run in &runs {
            match client.post(&format!("dead/{}/retry", segment(run)), &json!({})) {
                Ok(_) => report::line(&format!("{run} is tried again")),
                Err(exit) => worst = exit,
            }
        }
        worst
    }
}

fn all(client: &Client) -> Result<Vec<String>, Exit> {
    let answer = client.get("dead?limit=1000")?;
    let letters = answer["dead"].as_array().cloned().unwrap_or_default();
    Ok(letters
        .iter()
        .filter_map(|letter| letter["run"].as_str().map(str::to_owned))
        .collect())
}

/// Hold a flow or a channel.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie pause alert/open_ticket\n  vigie pause alert\n\n\
    Events keep coming in and wait; runs that have begun go on."
)]
pub(super) struct Pause {
    /// A flow (alert/open_ticket) or a channel (alert)
    name: String,
}

/// Let a held flow or channel go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vigie resume alert/open_ticket\n  vigie resume alert")]
pub(super) struct Resume {
    /// A flow (alert/open_ticket) or a channel (alert)
    name: String,
}

impl Pause {
    pub(super) fn run(self, common: &Common) -> Exit {
        change(common, &self.name, "pause")
    }
}

impl Resume {
    pub(super) fn run(self, common: &Common) -> Exit {
        change(common, &self.name, "resume")
    }
}

/// Cancel runs: their scripts see an error and may tidy up.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vigie cancel alert/1042/open_ticket\n\n\
    The script sees an error once, at what it waits for or asks for next, and may catch it to close what it\n\
    opened. It has ten minutes for that. `vigie kill` does not ask.")]
pub(super) struct Cancel {
    /// Runs, as `vigie list runs` names them
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,
}

/// End runs at once, without asking their scripts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vigie kill alert/1042/open_ticket\n\n\
    What a run is having done just then may be done all the same. `vigie cancel` lets it tidy up.")]
pub(super) struct Kill {
    /// Runs, as `vigie list runs` names them
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,
}

impl Cancel {
    pub(super) fn run(self, common: &Common) -> Exit {
        change_runs(common, &self.runs, ("cancel", "is cancelled"))
    }
}

impl Kill {
    pub(super) fn run(self, common: &Common) -> Exit {
        change_runs(common, &self.runs, ("kill", "is killed"))
    }
}

fn change_runs(common: &Common, runs: &[String], (verb, done): (&str, &str)) -> Exit {
    let client = match Client::find(common) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Ok;
    for run in runs {
        match client.post(&format!("runs/{}/{verb}", segment(run)), &json!({})) {
            Ok(_) => report::line(&format!("{run} {done}")),
            Err(exit) => worst = exit,
        }
    }
    worst
}

fn change(common: &Common, name: &str, verb: &str) -> Exit {
    let kind = if name.contains('/') {
        "flows"
    } else {
        "channels"
    };
    let path = format!("{kind}/{}/{verb}", segment(name));
    match Client::find(common).and_then(|client| client.post(&path, &json!({}))) {
        Ok(_) => {
            report::line(&format!("{name}: {verb}d"));
            Exit::Ok
        }
        Err(exit) => exit,
    }
}
