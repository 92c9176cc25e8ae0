//! `vigie check`

use clap::Args;

use super::{Common, report};
use crate::connect;
use crate::error::Exit;
use crate::listener;
use crate::store;

/// Look at settings, channels and flows, and say everything that is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie check\n  vigie check --store\n  vigie check --store --repair\n\n\
    Exit: 0 all is well, 78 something is wrong, 1 the store is damaged."
)]
pub(super) struct Check {
    /// Also read the whole store and verify every value; the server must not run
    #[arg(long)]
    store: bool,
    /// With --store: keep everything readable, put the rest aside, make the store whole again
    #[arg(long, requires = "store")]
    repair: bool,
}

impl Check {
    pub(super) fn run(self, common: &Common) -> Exit {
        let (_, house) = match common.house() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let mut mistakes = connect::services(&house).err().unwrap_or_default();
        mistakes.extend(listener::tls(&house.settings.http).err());
        if !mistakes.is_empty() {
            report::mistakes(&mistakes);
            return Exit::Configuration;
        }
        report::line(&format!(
            "{} channels, {} sources and {} flows are fine",
            house.channels.len(),
            house.sources.len(),
            house.flows.len()
        ));
        match (self.store, self.repair) {
            (false, _) => Exit::Ok,
            (true, false) => check_store(&house.settings.data),
            (true, true) => repair_store(&house.settings.data),
        }
    }
}

fn check_store(folder: &std::path::Path) -> Exit {
    match store::check(folder) {
        Ok(summary) if summary.problems.is_empty() => {
            report::line(&format!(
                "the store {} is whole: {} rows",
                folder.display(),
                summary.rows
            ));
            Exit::Ok
        }
        Ok(summary) => {
            for problem in &summary.problems {
                report::sentence(problem);
            }
            report::sentence("`vigie check --store --repair` keeps everything that can be read");
            Exit::Failed
        }
        Err(why) => {
            report::sentence(&why.to_string());
            why.exit()
        }
    }
}

fn repair_store(folder: &std::path::Path) -> Exit {
    match store::repair(folder) {
        Ok(summary) => {
            report::line(&format!("{summary:?}"));
            Exit::Ok
        }
        Err(why) => {
            report::sentence(&why.to_string());
            why.exit()
        }
    }
}
