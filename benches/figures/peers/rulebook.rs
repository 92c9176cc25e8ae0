//! ansible-rulebook with its own webhook: a rule that runs Ansible's module for HTTP.

use std::process::Command;

use super::http::takes;
use crate::house::{free_port, scratch};
use crate::peer::{Peer, Recipe, installed, program, version};

const RULES: &str = include_str!("rulebook.yml");
/// Where it takes events.
pub(crate) const PATH: &str = "/endpoint";
/// One that no rule wants.
const UNIMPORTANT: &str = r#"{"severity":0}"#;

/// Starts one whose rule posts to `target`.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(crate) fn start(target: &str) -> Result<Peer, String> {
    let programs = installed().join("ansible/bin");
    let server = programs.join("ansible-rulebook");
    if !server.is_file() {
        return Err("not installed: there is no ansible-rulebook".to_owned());
    }
    program("java")?;
    let (folder, port) = (scratch(), free_port());
    let python = programs.join("python");
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let rules = RULES
        .replace("TARGET", target)
        .replace("PORT", &port.to_string());
    file("rules.yml", &rules);
    file(
        "inventory.yml",
        &format!(
            "all:\n  hosts:\n    localhost:\n      ansible_connection: local\n      ansible_python_interpreter: {}\n",
            python.display()
        ),
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs).chain(std::env::split_paths(&path));
    let mut command = Command::new(&server);
    command
        .args(["--rulebook", "rules.yml", "-i", "inventory.yml"])
        .env("PATH", std::env::join_paths(path).unwrap_or_default())
        .env("HOME", folder.path())
        .current_dir(folder.path());
    let recipe = Recipe {
        name: format!("ansible-rulebook {}", version(&server, "--version")),
        port,
        command,
        helper: None,
        folder,
    };
    recipe.start(|address| takes(address, PATH, UNIMPORTANT))
}
