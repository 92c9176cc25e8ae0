//! DBOS on PostgreSQL: a library of Python's that keeps each step as a row.

use std::process::Command;

use super::http::takes;
use super::postgres;
use crate::house::{free_port, scratch};
use crate::peer::{Peer, Recipe, installed, version};

const FLOW: &str = include_str!("dbos_five.py");
/// Where it takes runs.
pub(crate) const PATH: &str = "/runs";
/// One whose steps bear no number that anybody counts.
const UNCOUNTED: &str = r#"{"n":-1}"#;

/// It and its database, ended in this order.
pub(crate) struct Dbos {
    /// The program that runs flows.
    pub peer: Peer,
    /// Where it keeps them.
    pub database: Peer,
}

/// Starts one whose steps post to `target`.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(crate) fn start(target: &str, runtime: &tokio::runtime::Runtime) -> Result<Dbos, String> {
    let programs = installed().join("dbos/bin");
    if !programs.join("dbos").is_file() {
        return Err("not installed: there is no dbos".to_owned());
    }
    let database = postgres::start_empty(runtime)?;
    let (folder, port) = (scratch(), free_port());
    let script = folder.path().join("five.py");
    std::fs::write(&script, FLOW).map_err(|why| why.to_string())?;
    let mut command = Command::new(programs.join("python"));
    command
        .arg(&script)
        .arg(port.to_string())
        .args([&postgres::url(database.address, "five"), target])
        .env("HOME", folder.path())
        .current_dir(folder.path());
    let recipe = Recipe {
        name: format!(
            "DBOS {} for Python on {}",
            version(&programs.join("dbos"), "version"),
            database.name
        ),
        port,
        command,
        helper: None,
        folder,
    };
    let peer = recipe.start(|address| takes(address, PATH, UNCOUNTED))?;
    Ok(Dbos { peer, database })
}
