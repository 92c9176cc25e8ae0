//! The demo's house: a temporary folder with the channels and flows that are shipped, one more of
//! each for Alertmanager, and settings that name the stand-ins.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::targets::Targets;

/// Path in the house, text.
const FILES: &[(&str, &str)] = &[
    (
        "channels/alert.toml",
        include_str!("../../../channels/alert.toml"),
    ),
    (
        "channels/mail.toml",
        include_str!("../../../channels/mail.toml"),
    ),
    (
        "channels/snmptrap.toml",
        include_str!("../../../channels/snmptrap.toml"),
    ),
    (
        "channels/prometheus.toml",
        include_str!("house/prometheus.toml"),
    ),
    (
        "flows/alert/open_ticket.rhai",
        include_str!("../../../flows/alert/open_ticket.rhai"),
    ),
    (
        "flows/alert/close_ticket.rhai",
        include_str!("../../../flows/alert/close_ticket.rhai"),
    ),
    (
        "flows/alert/resolve_canopsis.rhai",
        include_str!("../../../flows/alert/resolve_canopsis.rhai"),
    ),
    (
        "flows/alert/resolve_canopsis.toml",
        include_str!("../../../flows/alert/resolve_canopsis.toml"),
    ),
    (
        "flows/mail/open_ticket.rhai",
        include_str!("../../../flows/mail/open_ticket.rhai"),
    ),
    (
        "flows/snmptrap/page.rhai",
        include_str!("../../../flows/snmptrap/page.rhai"),
    ),
    (
        "flows/snmptrap/page.toml",
        include_str!("../../../flows/snmptrap/page.toml"),
    ),
    (
        "flows/prometheus/tell_oncall.rhai",
        include_str!("house/tell_oncall.rhai"),
    ),
];

/// The folder; gone when this is dropped, unless it is to be kept.
pub(super) struct House {
    path: PathBuf,
    keep: bool,
}

impl Drop for House {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is in the temporary folder, which somebody else clears.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

impl House {
    /// Builds it in the system's folder for temporary files, for nobody else to read.
    ///
    /// # Errors
    /// A sentence that names what cannot be written.
    pub(super) fn build(targets: &Targets, keep: bool) -> Result<House, String> {
        let name = format!("vigie-demo-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|why| format!("cannot make {}: {why}", path.display()))?;
        let house = House { path, keep };
        for (inside, text) in FILES {
            house.write(inside, text)?;
        }
        for (inside, text) in targets.secrets() {
            house.write(inside, text)?;
        }
        house.write("settings.toml", &settings(targets))?;
        // So that a kompira.conf of this machine does not send the demo's events elsewhere.
        house.write("kompira.conf", "[logging]\nlogdir = sendevt\n")?;
        house.write("sendevt/.keep", "")?;
        Ok(house)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, inside: &str, text: &str) -> Result<(), String> {
        let path = self.path.join(inside);
        let folder = path.parent().unwrap_or(&self.path);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|why| format!("cannot write {}: {why}", path.display()))
    }
}

fn settings(targets: &Targets) -> String {
    let [redmine, pagerduty, canopsis, smtp] = targets.urls();
    format!(
        r#"# Written by `vigie demo`; the endpoints are stand-ins that have ended with it.
[http]
listen = "127.0.0.1:0"

[spool]
folder = "spool"

[redmine]
endpoint = "{redmine}"
key_file = "secrets/redmine"
marker_field = "dedup_key"

[pagerduty]
endpoint = "{pagerduty}"
routing_key_file = "secrets/pagerduty"

[canopsis]
endpoint = "{canopsis}"
authkey_file = "secrets/canopsis"

[smtp]
endpoint = "{smtp}"
from = "vigie@example.org"
"#
    )
}
