//! A real snmptrapd that hands every trap to one handler.

use std::net::{Ipv6Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Peer, need, on_free_port, run};

/// A running snmptrapd.
pub struct Snmptrapd {
    peer: Peer,
    _folder: TempDir,
    port: u16,
}

impl Snmptrapd {
    /// Hands every trap of the community `public` to `handler`, a command line without quotes.
    pub fn handing_to(handler: &str) -> Snmptrapd {
        need("snmptrapd");
        on_free_port(|port| Snmptrapd::on(port, handler))
    }

    fn on(port: u16, handler: &str) -> Result<Snmptrapd, String> {
        let folder = tempfile::Builder::new()
            .prefix("vigie-snmptrapd-")
            .tempdir()
            .unwrap();
        let config = folder.path().join("snmptrapd.conf");
        let text = format!("authCommunity log,execute,net public\ntraphandle default {handler}\n");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("/usr/sbin/snmptrapd");
        // in the foreground, this file alone, log to standard error
        own_state(&mut command, folder.path())
            .args(["-f", "-C", "-Le", "-c"])
            .arg(&config);
        command.arg(format!("udp:127.0.0.1:{port}"));
        if has_ipv6() {
            command.arg(format!("udp6:[::1]:{port}"));
        }
        let mut peer = Peer::start("snmptrapd", &command, folder.path());
        let up = peer.wait("its first line", |peer| {
            peer.log().contains("NET-SNMP version").then_some(())
        });
        up.ok_or_else(|| peer.log())?;
        Ok(Snmptrapd {
            peer,
            _folder: folder,
            port,
        })
    }

    /// Sends a trap over IPv4 with net-snmp's own sender; `arguments` follow the address.
    pub fn send(&self, version: &str, arguments: &[&str]) {
        self.send_to(&format!("udp:127.0.0.1:{}", self.port), version, arguments);
    }

    /// Sends a trap over IPv6.
    pub fn send_over_ipv6(&self, version: &str, arguments: &[&str]) {
        self.send_to(&format!("udp6:[::1]:{}", self.port), version, arguments);
    }

    fn send_to(&self, address: &str, version: &str, arguments: &[&str]) {
        let mut command = Command::new("snmptrap");
        own_state(&mut command, self._folder.path())
            .args(["-v", version, "-c", "public", address])
            .args(arguments);
        run(&mut command);
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.peer.log()
    }
}

/// Neither the system's MIB files nor the system's state count.
fn own_state<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command
        .env("MIBS", "")
        .env("SNMP_PERSISTENT_DIR", folder.join("state"))
}

/// Whether this machine can speak IPv6 to itself.
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
