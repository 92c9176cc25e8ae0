//! The real server, as a child process of this program.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

use super::Deadline;
use super::house::House;

/// The server's log, inside the house.
const LOG: &str = "server.log";
/// Lines of the log that are shown when the server does not start.
const LOG_LINES_MAX: usize = 20;

/// A server that runs; killed when this is dropped.
pub(super) struct Daemon {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(super) url: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// `vigie serve` in the house, until it listens.
    ///
    /// # Errors
    /// A sentence with the end of the server's log.
    pub(super) fn start(house: &House, deadline: &Deadline) -> Result<Daemon, String> {
        let cannot = |why: std::io::Error| format!("cannot start the server: {why}");
        let log = File::options()
            .create(true)
            .append(true)
            .open(house.path().join(LOG));
        let mut child = command(house)
            .map_err(cannot)?
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.map_err(cannot)?)
            .spawn()
            .map_err(cannot)?;
        let stdout = child.stdout.take();
        let mut daemon = Daemon {
            child,
            url: String::new(),
        };
        let address = stdout
            .map(addresses)
            .and_then(|told| told.recv_timeout(deadline.left()).ok());
        let address = address.ok_or_else(|| did_not_start(house))?;
        daemon.url = format!("http://{address}");
        Ok(daemon)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL, as the system does when memory is short.
    ///
    /// # Errors
    /// A sentence: it was gone already.
    pub(super) fn kill(mut self) -> Result<(), String> {
        let cannot = |why| format!("cannot kill the server: {why}");
        self.child.kill().map_err(cannot)?;
        self.child.wait().map(drop).map_err(cannot)
    }

    /// Asks it to stop, with SIGTERM.
    ///
    /// # Errors
    /// A sentence: it did not end, or not well.
    pub(super) fn stop(mut self, deadline: &Deadline) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("the server has no process id")?;
        kill_process(pid, Signal::TERM).map_err(|why| format!("cannot stop the server: {why}"))?;
        let status = deadline.wait_for("the server's end", || {
            self.child.try_wait().map_err(|why| why.to_string())
        })?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("the server did not stop well: {status}")),
        }
    }
}

/// This program, at home in the house and nowhere else.
///
/// # Errors
/// The system does not say where the program is.
pub(super) fn command(house: &House) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .current_dir(house.path())
        .env("VIGIE_SETTINGS", house.path().join("settings.toml"))
        .env_remove("VIGIE_SERVER")
        .env_remove("VIGIE_TOKEN_FILE");
    Ok(command)
}

/// The address out of "vigie 0.1.0 listens on 127.0.0.1:40123"; the rest is read and forgotten, so
/// that the server never waits for a reader.
fn addresses(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once(" listens on ") {
                // Nobody listens any more once the address is known.
                let _ = tell.send(address.to_owned());
            }
        }
    });
    told
}

fn did_not_start(house: &House) -> String {
    let log = std::fs::read_to_string(house.path().join(LOG)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let end = &lines[lines.len().saturating_sub(LOG_LINES_MAX)..];
    format!("the server did not start; it said:\n{}", end.join("\n"))
}
