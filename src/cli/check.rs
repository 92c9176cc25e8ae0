//! `vigie check`

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::{Common, report};
use crate::connect;
use crate::error::Exit;
use crate::listener;
use crate::store::{self, Progress, StoreError};

/// How often a work on the whole store says how far it has come.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Look at settings, channels and flows, and say everything that is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie check\n  vigie check --store\n  vigie check --store --repair\n  vigie check --store --compact\n\n\
    Exit: 0 all is well, 78 something is wrong, 1 the store is damaged."
)]
pub(super) struct Check {
    /// Also read the whole store and verify every value; the server must not run
    #[arg(long)]
    store: bool,
    /// With --store: keep everything readable, put the rest aside, make the store whole again
    #[arg(long, requires = "store")]
    repair: bool,
    /// With --store: write the database into a fresh file, which is as small as what it holds
    #[arg(long, requires = "store", conflicts_with = "repair")]
    compact: bool,
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
        for source in &house.sources {
            if let Some(notice) = source.door.notice() {
                report::note(&format!("source `{}`: {notice}", source.id()));
            }
        }
        for folder in [&house.settings.channels, &house.settings.flows] {
            for path in open_to_all(folder) {
                let path = path.display();
                report::note(&format!("everybody on this host may change {path}"));
            }
        }
        report::line(&format!(
            "{} channels, {} sources and {} flows are fine",
            house.channels.len(),
            house.sources.len(),
            house.flows.len()
        ));
        let folder = &house.settings.data;
        match self {
            Check { store: false, .. } => Exit::Ok,
            Check { repair: true, .. } => repair_store(folder),
            Check { compact: true, .. } => compact_store(folder),
            _ => check_store(folder),
        }
    }
}

/// What is in the folder, itself included, that everybody may write: whoever writes a flow does what the
/// server may do.
fn open_to_all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        }
        // A link has no mode of its own.
        if !metadata.is_symlink() && metadata.permissions().mode() & 0o002 != 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn check_store(folder: &Path) -> Exit {
    match store::check_watched(folder, &mut ticker()) {
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
        Err(why) => failed(&why),
    }
}

fn repair_store(folder: &Path) -> Exit {
    match store::repair_watched(folder, &mut ticker()) {
        Ok(summary) => {
            report::line(&format!("{summary:?}"));
            Exit::Ok
        }
        Err(why) => failed(&why),
    }
}

fn compact_store(folder: &Path) -> Exit {
    match store::compact(folder, &mut ticker()) {
        Ok(summary) => {
            let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            report::line(&format!(
                "the store {} is whole: {} rows in {:.1} MiB, before in {:.1} MiB",
                folder.display(),
                summary.rows,
                mebibytes(summary.bytes_after),
                mebibytes(summary.bytes_before)
            ));
            Exit::Ok
        }
        Err(why) => failed(&why),
    }
}

fn failed(why: &StoreError) -> Exit {
    report::sentence(&why.to_string());
    why.exit()
}

/// Says now and then how far a long work has come; a short one is over before.
fn ticker() -> impl FnMut(Progress) {
    let mut said = Instant::now();
    move |progress| {
        if said.elapsed() < SAY_EVERY {
            return;
        }
        said = Instant::now();
        let Progress { doing, done, of } = progress;
        report::sentence(&match (done, of) {
            (0, _) => format!("{doing} …"),
            (_, 0) => format!("{doing}: {done}"),
            _ => format!("{doing}: {done} of {of}"),
        });
    }
}
