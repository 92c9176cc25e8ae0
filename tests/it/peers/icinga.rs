//! A real Icinga 2 with one host and one service, told of their states from outside.

use std::process::Command;

use tempfile::TempDir;

use super::nagios::{open_folder, tell};
use super::{Peer, need};

/// A running Icinga 2.
pub struct Icinga {
    peer: Peer,
    folder: TempDir,
}

impl Icinga {
    /// With the commands and notifications of `vigie`.
    pub fn with(vigie: &str) -> Icinga {
        need("icinga");
        let folder = open_folder("vigie-icinga-");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "include <itl>\nobject Endpoint \"node\" {{ }}\nobject Zone \"z\" {{ endpoints = [ \"node\" ] }}\n\
             object CheckerComponent \"checker\" {{ }}\nobject NotificationComponent \"notification\" {{ }}\n\
             object ExternalCommandListener \"command\" {{ command_path = \"{}\" }}\n\
             template Host \"passive\" {{ check_command = \"dummy\"\n enable_active_checks = false\n max_check_attempts = 1 }}\n\
             object Host \"web01\" {{ import \"passive\" }}\n\
             object Service \"HTTP\" {{ host_name = \"web01\"\n check_command = \"dummy\"\n\
             enable_active_checks = false\n max_check_attempts = 1 }}\n{vigie}",
            at("cmd")
        );
        std::fs::write(at("icinga2.conf"), config).unwrap();
        let mut command = Command::new("icinga2");
        command.args(["daemon", "-c", &at("icinga2.conf")]);
        for (name, value) in [("NodeName", "node"), ("ZoneName", "z")] {
            command.args(["-D", &format!("{name}={value}")]);
        }
        for name in ["DataDir", "CacheDir", "SpoolDir", "InitRunDir", "LogDir"] {
            command.args(["-D", &format!("{name}={}", folder.path().display())]);
        }
        let mut peer = Peer::start("icinga", &command, folder.path());
        let up = peer.wait("all objects", |peer| {
            let is_up = peer.log().contains("Activated all objects");
            (is_up && folder.path().join("cmd").exists()).then_some(())
        });
        up.unwrap_or_else(|| panic!("Icinga ended:\n{}", peer.log()));
        Icinga { peer, folder }
    }

    /// Gives it a command as a plugin or its web page would.
    pub fn tell(&self, line: &str) {
        tell(&self.folder.path().join("cmd"), line);
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.peer.log()
    }
}
