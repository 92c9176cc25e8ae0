//! Net-SNMP's own senders of traps and informs.

use std::net::{Ipv6Addr, UdpSocket};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::need;

/// `snmptrap` and `snmpinform` with a state of their own.
pub struct Sender {
    state: TempDir,
}

impl Sender {
    /// Fails if they are not installed.
    pub fn new() -> Sender {
        need("snmptrapd");
        let state = tempfile::Builder::new().prefix("vigie-snmp-").tempdir();
        Sender {
            state: state.unwrap(),
        }
    }

    /// Runs `program` with `arguments` in words; words with blanks in them follow in `rest`.
    pub fn run(&self, program: &str, arguments: &str, rest: &[&str]) -> Output {
        let mut command = Command::new(program);
        // neither the system's MIB files nor the system's state count
        command
            .env("MIBS", "")
            .env("SNMP_PERSISTENT_DIR", self.state.path())
            .args(arguments.split_whitespace())
            .args(rest)
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Sends a trap.
    pub fn trap(&self, arguments: &str, rest: &[&str]) {
        let output = self.run("snmptrap", arguments, rest);
        assert!(output.status.success(), "{arguments}: {output:?}");
    }

    /// Sends an inform; whether it was answered.
    pub fn inform(&self, arguments: &str, rest: &[&str]) -> bool {
        self.run("snmpinform", arguments, rest).status.success()
    }
}

/// A port of loopback where nobody listens, over IPv4 and IPv6.
pub fn udp_port() -> u16 {
    loop {
        let port = super::free_port();
        if !super::snmptrapd::has_ipv6() || UdpSocket::bind((Ipv6Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
