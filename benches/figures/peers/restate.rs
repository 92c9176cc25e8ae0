//! Restate: a server that keeps each step of a service beside it, which is written for Node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::http::takes;
use crate::house::{free_port, scratch};
use crate::peer::{Peer, Process, Recipe, installed, program, spawn, version};

const SERVICE: &str = include_str!("restate_five.mjs");
/// Where it takes runs; answered when the run is on disk.
pub(crate) const PATH: &str = "/five/run/send";
/// The same, answered when the run is done.
const WHOLE_RUN: &str = "/five/run";
/// One whose steps bear no number that anybody counts.
const UNCOUNTED: &str = r#"{"n":-1}"#;

/// Starts one whose steps post to `target`.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(crate) fn start(target: &str) -> Result<Peer, String> {
    let packages = installed().join("restate/node_modules");
    let server = server(&packages).ok_or("not installed: there is no restate-server")?;
    let (folder, port) = (scratch(), free_port());
    let script = folder.path().join("five.mjs");
    std::fs::write(&script, SERVICE).map_err(|why| why.to_string())?;
    let (service, helper) = service(&script, (&packages, target))?;
    let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let admin = loopback(free_port());
    let mut command = Command::new(&server);
    // Its own settings but for where it listens and that it tells nobody; they sync its log.
    command
        .args(["--no-logo", "--listen-mode", "tcp", "--base-dir"])
        .arg(folder.path())
        .args(["--bind-address", &loopback(free_port()).to_string()])
        .env("RESTATE_INGRESS__BIND_ADDRESS", loopback(port).to_string())
        .env("RESTATE_ADMIN__BIND_ADDRESS", admin.to_string())
        .env("RESTATE_DISABLE_TELEMETRY", "true")
        .env("HOME", folder.path())
        .current_dir(folder.path());
    let recipe = Recipe {
        name: format!("Restate {} with Node", version(&server, "--version")),
        port,
        command,
        helper: Some(helper),
        folder,
    };
    let about = format!(r#"{{"uri":"http://{}"}}"#, loopback(service));
    let mut is_known = false;
    recipe.start(|address| {
        is_known = is_known || takes(admin, "/deployments", &about);
        is_known && takes(address, WHOLE_RUN, UNCOUNTED)
    })
}

/// The program inside the package for this kind of machine.
fn server(packages: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(packages.join("@restatedev")).ok()?;
    let mut programs = entries
        .flatten()
        .map(|entry| entry.path().join("bin/restate-server"));
    programs.find(|program| program.is_file())
}

/// Starts the service that the server calls; the port at which it does.
fn service(script: &Path, (packages, target): (&Path, &str)) -> Result<(u16, Process), String> {
    let port = free_port();
    let mut command = Command::new(program("node")?);
    command
        .arg(script)
        .env("PACKAGES", packages)
        .env("PORT", port.to_string())
        .env("TARGET", target);
    let process = spawn(&mut command).map_err(|why| format!("node cannot be started: {why}"))?;
    Ok((port, process))
}
