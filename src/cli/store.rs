//! `vigie backup`, `vigie restore`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::client::Client;
use super::{Common, report};
use crate::config::House;
use crate::error::Exit;
use crate::store;

/// Copy the running server's store into one file.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vigie backup /var/backups/vigie-monday.backup\n\n\
    The server writes the file, on its own host; it goes on working meanwhile."
)]
pub(super) struct Backup {
    /// The file to write; must not exist
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(self, common: &Common) -> Exit {
        let Ok(file) = std::path::absolute(&self.file) else {
            report::sentence(&format!("{} is no path", self.file.display()));
            return Exit::Usage;
        };
        let body = json!({ "file": file });
        match Client::find(common).and_then(|client| client.post("backup", &body)) {
            Ok(answer) => {
                report::line(&format!(
                    "{}: {} rows, {} bodies",
                    file.display(),
                    answer["rows"],
                    answer["bodies"]
                ));
                Exit::Ok
            }
            Err(exit) => exit,
        }
    }
}

/// Make a store out of a backup.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vigie restore /var/backups/vigie-monday.backup\n\n\
    The data folder of the settings must be empty or missing; the server must not run."
)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// The folder to make; else `data` of the settings
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

impl Restore {
    pub(super) fn run(self, common: &Common) -> Exit {
        let folder = match self.into {
            Some(folder) => folder,
            None => match House::settings(common.settings.as_deref()) {
                Ok((settings, _)) => settings.data,
                Err(mistakes) => {
                    report::mistakes(&mistakes);
                    return Exit::Configuration;
                }
            },
        };
        match store::restore(&self.file, &folder) {
            Ok(_) => {
                report::line(&format!("{} is restored", folder.display()));
                Exit::Ok
            }
            Err(why) => {
                report::sentence(&why.to_string());
                why.exit()
            }
        }
    }
}
