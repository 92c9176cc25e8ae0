//! `vigie fork`, `vigie upgrade`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value as Json, json};

use super::client::{Client, segment};
use super::show::text;
use super::{Common, report};
use crate::error::Exit;

/// Begin a new run with what another one did up to a command.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie fork alert/1042/open_ticket --at 3\n  \
    vigie fork alert/1042/open_ticket --at 3 --flow open_ticket.rhai\n\n\
    Commands below --at are taken over with their outcomes and are not done again; `vigie show RUN` numbers them.\n\
    What the run did from there on may be done again by the fork. A run that is live or blocked ends as cancelled."
)]
pub(super) struct Fork {
    /// A run, as `vigie list runs` names it
    run: String,
    /// The first command that is not taken over; 0 begins from the top
    #[arg(long, value_name = "COMMAND")]
    at: u64,
    /// The script to go on with; that of the run if none is given
    #[arg(long, value_name = "FILE")]
    flow: Option<PathBuf>,
}

impl Fork {
    pub(super) fn run(self, common: &Common) -> Exit {
        let script = match self.flow.as_deref().map(script).transpose() {
            Ok(script) => script,
            Err(exit) => return exit,
        };
        let path = format!("runs/{}/fork", segment(&self.run));
        let body = json!({ "at": self.at, "script": script });
        match Client::find(common).and_then(|client| client.post(&path, &body)) {
            Ok(forked) => {
                let fork = text(&forked["run"]);
                report::line(&format!(
                    "{fork} goes on at command {} of {}",
                    self.at, self.run
                ));
                Exit::Ok
            }
            Err(exit) => exit,
        }
    }
}

/// Move runs that stand still to another version of their flow.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie upgrade --dry-run flows/alert/open_ticket.rhai\n  \
    vigie upgrade flows/alert/open_ticket.rhai\n  vigie upgrade new.rhai --flow alert/open_ticket\n\n\
    The journal of each run that waits or is blocked is replayed against the script. Where the script asks for the same\n\
    things the run is safe: it is moved, and goes on if it was blocked. A wait that has begun keeps its time.\n\
    Exit: 0 all are safe, 1 some are not."
)]
pub(super) struct Upgrade {
    /// The script
    #[arg(value_name = "FILE")]
    script: PathBuf,
    /// The flow; by default what the file's path says: alert/open_ticket of flows/alert/open_ticket.rhai
    #[arg(long, value_name = "CHANNEL/NAME")]
    flow: Option<String>,
    /// Say for each run what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Upgrade {
    pub(super) fn run(self, common: &Common) -> Exit {
        match self.runs(common) {
            Ok(runs) if self.json => {
                report::line(&format!("{:#}", json!({ "runs": runs })));
                exit(&runs)
            }
            Ok(runs) => {
                runs.iter().for_each(show);
                let safe = runs.iter().filter(|run| is_fine(run)).count();
                let done = if self.dry_run { "safe" } else { "moved" };
                report::line(&format!("{safe} of {} runs are {done}", runs.len()));
                exit(&runs)
            }
            Err(exit) => exit,
        }
    }

    /// All pages.
    fn runs(&self, common: &Common) -> Result<Vec<Json>, Exit> {
        let Some(flow) = self.flow.clone().or_else(|| flow_of(&self.script)) else {
            report::sentence("which flow? name it with --flow CHANNEL/NAME");
            return Err(Exit::Usage);
        };
        let mut body = json!({ "script": script(&self.script)?, "dry_run": self.dry_run });
        let client = Client::find(common)?;
        let path = format!("flows/{}/upgrade", segment(&flow));
        let mut runs = Vec::new();
        loop {
            let page = client.post(&path, &body)?;
            runs.extend(page["runs"].as_array().cloned().unwrap_or_default());
            if page["next"].is_null() {
                return Ok(runs);
            }
            body["after"] = page["next"].clone();
        }
    }
}

fn script(file: &Path) -> Result<Json, Exit> {
    let source = std::fs::read_to_string(file).map_err(|why| {
        report::sentence(&format!("cannot read {}: {why}", file.display()));
        Exit::Usage
    })?;
    Ok(json!({ "name": file.display().to_string(), "source": source }))
}

/// `alert/open_ticket` of `flows/alert/open_ticket.rhai`.
fn flow_of(file: &Path) -> Option<String> {
    let name = file.file_stem()?.to_str()?;
    let channel = file.parent()?.file_name()?.to_str()?;
    Some(format!("{channel}/{name}"))
}

fn is_fine(run: &Json) -> bool {
    ["safe", "moved", "same"].contains(&text(&run["verdict"]).as_str())
}

fn exit(runs: &[Json]) -> Exit {
    match runs.iter().all(is_fine) {
        true => Exit::Ok,
        false => Exit::Failed,
    }
}

fn show(run: &Json) {
    let name = format!("{} ({})", text(&run["run"]), text(&run["state"]));
    let says = match text(&run["verdict"]).as_str() {
        "diverges" => format!("diverges at command {}", run["at"]),
        "fails" => format!("fails at command {}: {}", run["at"], text(&run["message"])),
        "same" => "has this version already".to_owned(),
        "woken" => "was woken meanwhile, and goes on with its version".to_owned(),
        "unreadable" => format!("cannot be read: {}", text(&run["message"])),
        verdict => verdict.to_owned(),
    };
    report::line(&format!("{name}: {says}"));
    if run["recorded"].is_string() {
        report::line(&format!(
            "  the journal recorded: {}",
            text(&run["recorded"])
        ));
        report::line(&format!("  the script would ask: {}", text(&run["asked"])));
    }
    for one in run["differences"].as_array().into_iter().flatten() {
        let (path, recorded, asked) = (&one["path"], &one["recorded"], &one["asked"]);
        let sides = format!("recorded {}, would ask {}", text(recorded), text(asked));
        report::line(&format!("  {}: {sides}", text(path)));
    }
}
