//! `vigie test`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{Common, report};
use crate::cases::{self, Verdict};
use crate::error::Exit;
use crate::flow::Flow;
use crate::thinkers::Thinkers;

/// Run the flows' cases dry.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie test\n  vigie test alert/open_ticket\n\n\
    A case in flows/alert/open_ticket.cases.toml:\n\n  [[case]]\n  name = \"a serious problem opens a ticket\"\n  \
    event = { status = \"PROBLEM\", severity = \"4\", hostname = \"web01\" }\n  [[case.asks]]\n  \
    word = \"redmine::open\"\n  contains = { project = \"ops\" }\n  gives = { id = 7 }"
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
        let (mut passed, mut failed) = (0, 0);
        for path in house.flows.keys().filter(wanted) {
            let file = house.settings.flows.join(format!("{path}.cases.toml"));
            match judge(&thinkers, Arc::clone(&house.flows[path]), file) {
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

fn judge(thinkers: &Thinkers, flow: Arc<Flow>, file: PathBuf) -> Result<Vec<Verdict>, Exit> {
    let cases = cases::read(&file).map_err(|mistake| {
        report::mistakes(&[mistake]);
        Exit::Configuration
    })?;
    let verdicts = thinkers.call(move |engine| {
        cases
            .iter()
            .map(|case| cases::judge(engine, &flow, case))
            .collect::<Vec<_>>()
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
