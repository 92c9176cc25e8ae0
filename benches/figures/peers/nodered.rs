//! Node-RED with an exported flow: webhook in, a function, a request out.

use std::process::Command;

use super::http::takes;
use crate::house::{free_port, scratch};
use crate::peer::{Peer, Recipe, installed, program};

/// As its editor exports it.
const FLOW: &str = include_str!("nodered.json");
/// Where the flow takes events.
pub(crate) const PATH: &str = "/hook";
/// One that the flow answers and drops.
const UNIMPORTANT: &str = r#"{"severity":0}"#;

/// Starts one whose flow posts to `target`.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(crate) fn start(target: &str) -> Result<Peer, String> {
    let package = installed().join("node-red/node_modules/node-red");
    let script = package.join("red.js");
    if !script.is_file() {
        return Err("not installed: there is no node-red".to_owned());
    }
    let (folder, port) = (scratch(), free_port());
    let settings = format!(
        "module.exports = {{ uiHost: \"127.0.0.1\", uiPort: {port}, flowFile: \"flows.json\", httpAdminRoot: false, \
         credentialSecret: false, telemetry: {{ enabled: false }}, logging: {{ console: {{ level: \"error\" }} }} }};\n"
    );
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file("settings.js", &settings);
    file("flows.json", &FLOW.replace("TARGET", target));
    let mut command = Command::new(program("node")?);
    command
        .arg(script)
        .args(["--settings", "settings.js", "--userDir"])
        .arg(folder.path())
        .arg("flows.json")
        .env("HOME", folder.path())
        .current_dir(folder.path());
    let about = std::fs::read_to_string(package.join("package.json")).unwrap_or_default();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap_or_default();
    let recipe = Recipe {
        name: format!("Node-RED {}", about["version"].as_str().unwrap_or("")),
        port,
        command,
        helper: None,
        folder,
    };
    recipe.start(|address| takes(address, PATH, UNIMPORTANT))
}
