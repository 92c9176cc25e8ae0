//! A peer: another program on private ports and in a folder of its own, started here and ended by
//! its process id. Each peer's own way to be started and asked stands in `peers/`.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::house::{PATIENCE, scratch_root, terminate};

/// How long a peer may take to end by itself.
const ENDING: Duration = Duration::from_secs(20);
/// How often a peer that starts is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(20);
/// Where Debian and others put programs that are not on everybody's `PATH`.
const FOLDERS: &[&str] = &["/usr/sbin", "/usr/bin", "/usr/local/bin"];

/// A process of ours; asked to end when it is dropped, then killed.
pub(crate) struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        terminate(&self.0);
        let began = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && began.elapsed() < ENDING {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a process with nothing to read and nobody to listen.
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Process> {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.spawn().map(Process)
}

/// A peer that runs.
pub(crate) struct Peer {
    /// What it is, with its version.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the call that started it to its first answer.
    pub ready_after: Duration,
    // Ended in this order.
    server: Process,
    helper: Option<Process>,
    _folder: TempDir,
}

/// A peer that is about to be started.
pub(crate) struct Recipe {
    /// What it is, with its version.
    pub name: String,
    /// The port of loopback at which it will listen.
    pub port: u16,
    /// What starts it.
    pub command: Command,
    /// What it needs beside it.
    pub helper: Option<Process>,
    /// Where it keeps everything.
    pub folder: TempDir,
}

impl Recipe {
    /// Starts it and waits until `is_ready`.
    ///
    /// # Errors
    /// Why there is none, for a row in the table.
    pub(crate) fn start(
        mut self,
        mut is_ready: impl FnMut(SocketAddr) -> bool,
    ) -> Result<Peer, String> {
        let began = Instant::now();
        let mut server = spawn(&mut self.command)
            .map_err(|why| format!("{} cannot be started: {why}", self.name))?;
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        while !is_ready(address) {
            if let Ok(Some(status)) = server.0.try_wait() {
                return Err(format!("{} ended: {status}", self.name));
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{} does not answer", self.name));
            }
            std::thread::sleep(LOOK);
        }
        Ok(Peer {
            name: self.name,
            address,
            ready_after: began.elapsed(),
            server,
            helper: self.helper,
            _folder: self.folder,
        })
    }
}

impl Peer {
    /// Its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.0.id()
    }

    /// Its first process, and that of what it needs beside it.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let helper = self.helper.iter().map(|helper| helper.0.id());
        std::iter::once(self.pid()).chain(helper).collect()
    }
}

/// Where `benches/compare` installs what Debian does not have.
pub(crate) fn installed() -> PathBuf {
    scratch_root().with_file_name("compare")
}

/// A program by its name, or a file that exists.
///
/// # Errors
/// That it is not installed, for a row in the table.
pub(crate) fn program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = installed().join("bin");
    let folders = std::iter::once(own)
        .chain(std::env::split_paths(&path))
        .chain(FOLDERS.iter().map(PathBuf::from));
    let mut candidates = folders.map(|folder| folder.join(name));
    let found = candidates.find(|candidate| candidate.is_file());
    found.ok_or_else(|| format!("not installed: there is no {name}"))
}

/// What a program says of its version: the first word that begins with a digit.
pub(crate) fn version(program: &Path, argument: &str) -> String {
    let asked = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .output();
    let text = asked.map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let word = text
        .split(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'));
    word.unwrap_or("").trim_end_matches('.').to_owned()
}

/// True if somebody takes connections there.
pub(crate) fn is_open(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// A process with all that it started, itself first.
fn family(pid: u32) -> Vec<u32> {
    let mut members = vec![pid];
    let mut at = 0;
    while let Some(member) = members.get(at) {
        let folder = format!("/proc/{member}/task");
        let tasks = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let children: Vec<u32> = tasks
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|text| {
                let words = text.split_whitespace();
                words
                    .filter_map(|word| word.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect();
        members.extend(children);
        at += 1;
    }
    members
}

/// Resident memory of a process and of all that it started, in MiB; what they share counts once.
pub(crate) fn resident_mebibytes(pid: u32) -> f64 {
    family(pid).into_iter().map(proportional_mebibytes).sum()
}

/// A process's own memory and its part of what it shares.
fn proportional_mebibytes(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find(|line| line.starts_with("Pss:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    match number {
        Some(kibibytes) => kibibytes / 1024.0,
        // Not ours to look into so closely.
        None => super::house::resident_mebibytes(pid),
    }
}

/// Processor time that a process, all that it started and those of them that ended have used.
pub(crate) fn processor_time(pid: u32) -> Duration {
    family(pid)
        .into_iter()
        .map(super::house::processor_time_with_ended)
        .sum()
}
