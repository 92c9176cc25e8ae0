//! `vigie record`

use std::sync::Arc;

use clap::Args;
use serde_json::Value as Json;

use super::client::{Client, segment};
use super::{Common, report};
use crate::cases::Bench;
use crate::engine::Engine;
use crate::error::Exit;
use crate::event::RunId;
use crate::flow::{Flow, FlowSettings};
use crate::record;
use crate::transcript::{self, Transcript};
use crate::world::World;

/// Write a real run down as a case for `vigie test`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie record alert/1042/open_ticket --as-test\n  \
    vigie record alert/1042/open_ticket --as-test >> flows/alert/open_ticket.cases.toml\n\n\
    The case has the event, every command with what came of it, and the later events that woke the\n\
    run. It is tried out before it is printed. Secrets are only named.\n\n\
    Exit: 0 written, 1 the run cannot be told as a case, 69 the server is away."
)]
pub(super) struct Record {
    /// The run, as `vigie list runs` names it
    run: RunId,
    /// As a case
    #[arg(long, required = true)]
    as_test: bool,
}

impl Record {
    pub(super) fn run(self, common: &Common) -> Exit {
        debug_assert!(self.as_test, "the only form there is");
        match self.case(common) {
            Ok(text) => {
                report::exact(text.trim_end());
                Exit::Ok
            }
            Err(exit) => exit,
        }
    }

    fn case(&self, common: &Common) -> Result<String, Exit> {
        let client = Client::find(common)?;
        let path = format!("runs/{}/record", segment(self.run.as_str()));
        let told = transcript::from_json(&client.get(&path)?);
        let told = told.map_err(|why| failed(&why))?;
        let channels = channels(&client.get("channels")?);
        let thinkers = Common::thinkers()?;
        let written = thinkers.call(move |engine| write(engine, &told, &channels));
        let written = written.ok_or(Exit::Bug)?;
        written.map_err(|why| failed(&why))
    }
}

fn failed(why: &str) -> Exit {
    report::sentence(why);
    Exit::Failed
}

fn write(engine: &Engine, told: &Transcript, channels: &World) -> Result<String, String> {
    let script = engine.compile(told.script.clone());
    let script = script.map_err(|mistakes| {
        let first = mistakes.first().map(ToString::to_string);
        first.unwrap_or_default()
    })?;
    let run = &told.journal.run;
    let flow = Flow {
        name: run.flow().to_owned(),
        channel: run.event().channel,
        settings: FlowSettings::default(),
        settings_text: String::new(),
        script: Arc::new(script),
    };
    let bench = Bench {
        engine,
        flow: &flow,
        channels,
    };
    record::case(told, &bench)
}

/// The server's channels, without events.
pub(super) fn channels(answer: &Json) -> World {
    let mut world = World::default();
    for row in answer["channels"].as_array().into_iter().flatten() {
        let alias = row["alias"].as_array().into_iter().flatten();
        let alias: Vec<String> = alias.filter_map(Json::as_str).map(str::to_owned).collect();
        let has_flows = row["flows"].as_u64().unwrap_or(0) > 0;
        world.channel(row["name"].as_str().unwrap_or_default(), &alias, has_flows);
    }
    world
}
