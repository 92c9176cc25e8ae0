//! `vigie test`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{Common, report};
use crate::cases::{self, Bench, Verdict};
use crate::config::House;
use crate::error::Exit;
use crate::flow::Flow;
use crate::thinkers::Thinkers;
use crate::world::World;

/// Run the flows' cases dry.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie test\n  vigie test alert/open_ticket\n\n\
    A case in flows/alert/open_ticket.cases.toml:\n\n  [[case]]\n  name = \"a serious problem opens a ticket\"\n  \
    event = { status = \"PROBLEM\", severity = \"4\", hostname = \"web01\" }\n  [[case.asks]]\n  \
    word = \"redmine::open\"\n  contains = { project = \"ops\" }\n  gives = { id = 7 }\n\n\
    Time is virtual. A flow that waits gets events from [[case.later]] (after = \"12m\", channel, event)\n\
    and [[case.waiting]] (channel, event); `at = \"10m\"` in an ask says when it must come. What TOML cannot\n\
    say: { \"$nothing\" = true }, { \"$bytes\" = \"base64\" }, { \"$char\" = \"x\" }, { \"$secret\" = [{ name = \"…\" }] }."
)]
pub(super) struct Test {
    /// Flows (alert/open_ticket); all if none is named
    flows: Vec<String>,
}

impl Test {
    pub(super) fn run(self, common: &Common) -> Exit {
        let (thinkers, house) = match common.house() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        if let Some(unknown) = self
            .flows
            .iter()
            .find(|path| !house.flows.contains_key(*path))
        {
            report::sentence(&format!("there is no flow `{unknown}`"));
            return Exit::Usage;
        }
        let wanted = |path: &&String| self.flows.is_empty() || self.flows.contains(path);
        let channels = Arc::new(channels(&house));
        let (mut passed, mut failed) = (0, 0);
        for path in house.flows.keys().filter(wanted) {
            let file = house.settings.flows.join(format!("{path}.cases.toml"));
            let tried = (Arc::clone(&house.flows[path]), Arc::clone(&channels));
            match judge(&thinkers, tried, file) {
                Ok(verdicts) => {
                    failed += show(path, &verdicts);
                    passed += verdicts
                        .iter()
                        .filter(|verdict| verdict.wrong.is_none())
                        .count();
                }
                Err(exit) => return exit,
            }
        }
        report::line(&format!("{passed} passed, {failed} failed"));
        if failed == 0 { Exit::Ok } else { Exit::Failed }
    }
}

/// The channels of a house, without events.
fn channels(house: &House) -> World {
    let mut world = World::default();
    for (name, settings) in &house.channels {
        let has_flows = house.flows_of(name).next().is_some();
        world.channel(name, &settings.alias, has_flows);
    }
    world
}

fn judge(
    thinkers: &Thinkers,
    (flow, channels): (Arc<Flow>, Arc<World>),
    file: PathBuf,
) -> Result<Vec<Verdict>, Exit> {
    let cases = cases::read(&file).map_err(|mistake| {
        report::mistakes(&[mistake]);
        Exit::Configuration
    })?;
    let verdicts = thinkers.call(move |engine| {
        let bench = Bench {
            engine,
            flow: &flow,
            channels: &channels,
        };
        let verdicts = cases.iter().map(|case| bench.judge(case));
        verdicts.collect::<Vec<_>>()
    });
    verdicts.ok_or(Exit::Bug)
}

/// Prints what happened to one flow; gives how many cases failed.
fn show(path: &str, verdicts: &[Verdict]) -> usize {
    if verdicts.is_empty() {
        report::line(&format!("{path}: no cases"));
    }
    for verdict in verdicts {
        match &verdict.wrong {
            None => report::line(&format!("{path}: ok: {}", verdict.name)),
            Some(wrong) => report::line(&format!(
                "{path}: FAILED: {}\n  {}",
                verdict.name,
                wrong.replace('\n', "\n  ")
            )),
        }
    }
    verdicts
        .iter()
        .filter(|verdict| verdict.wrong.is_some())
        .count()
}
