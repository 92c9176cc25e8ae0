//! A house in a scratch folder on the disk under `target`, and the real server in it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The release binaries.
pub(crate) const VIGIE: &str = env!("CARGO_BIN_EXE_vigie");
pub(crate) const SENDEVT: &str = env!("CARGO_BIN_EXE_sendevt");

/// How long something may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Where everything is measured: on a disk, not in memory as `/tmp` may be.
pub(crate) fn scratch_root() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A folder that goes away.
pub(crate) fn scratch() -> TempDir {
    std::fs::create_dir_all(scratch_root()).unwrap();
    TempDir::with_prefix_in("figures-", scratch_root()).unwrap()
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Settings, channels and flows.
pub(crate) struct House {
    folder: TempDir,
    /// Where its server listens.
    pub address: SocketAddr,
}

impl House {
    /// An empty one.
    pub(crate) fn new() -> House {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let house = House {
            folder: scratch(),
            address,
        };
        house.file(
            "settings.toml",
            &format!("[http]\nlisten = \"{address}\"\n[spool]\nfolder = \"spool\"\n"),
        );
        std::fs::create_dir_all(house.path("channels")).unwrap();
        std::fs::create_dir_all(house.path("flows")).unwrap();
        house
    }

    /// A path inside it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Writes a file inside it.
    pub(crate) fn file(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Starts its server and waits until it is ready; how long that took is in `ready_after`.
    pub(crate) fn serve(&self) -> Running {
        let began = Instant::now();
        let child = Command::new(VIGIE)
            .args(["serve", "--settings"])
            .arg(self.path("settings.toml"))
            .env_remove("VIGIE_SERVER")
            .env_remove("VIGIE_TOKEN_FILE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Running {
            child,
            ready_after: Duration::ZERO,
            address: self.address,
        };
        while !is_ready(self.address) {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(began.elapsed() < PATIENCE, "the server is not ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        running.ready_after = began.elapsed();
        running
    }
}

fn is_ready(address: SocketAddr) -> bool {
    get(address, "/readyz").starts_with("HTTP/1.1 200")
}

/// What the server answers; empty if it cannot be reached.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return String::new();
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    let asked = stream.write_all(request.as_bytes());
    match asked.and_then(|()| stream.read_to_string(&mut answer)) {
        Ok(_) => answer,
        Err(_) => String::new(),
    }
}

/// A server that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    /// From the call that started it to its first yes.
    pub ready_after: Duration,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Running {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it has read its whole store.
    pub(crate) fn wait_until_verified(&self) {
        let began = Instant::now();
        while !get(self.address, "/metrics").contains("vigie_store_verified 1") {
            assert!(began.elapsed() < PATIENCE, "the store is not verified");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The number behind `name` on `/metrics`; 0 if there is none.
    pub(crate) fn metric(&self, name: &str) -> usize {
        let metrics = get(self.address, "/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Stops it as an operator would.
    pub(crate) fn stop(mut self) {
        terminate(&self.child);
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a process that we started to end.
pub(crate) fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mebibytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or("");
    let number = line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<f64>().ok());
    number.unwrap_or(0.0) / 1024.0
}

/// Processor time that a process has used, in user and system mode together.
pub(crate) fn processor_time(pid: u32) -> Duration {
    ticks(pid, 2)
}

/// The same with what those of its children used that have ended.
pub(crate) fn processor_time_with_ended(pid: u32) -> Duration {
    ticks(pid, 4)
}

/// Fields 14 to 17 of `stat` (proc(5)) count ticks of 10 ms: its own in both modes, then those of
/// children that ended.
fn ticks(pid: u32, fields: usize) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything.
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = behind
        .split_whitespace()
        .skip(11)
        .take(fields)
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// The size of a file, in bytes.
pub(crate) fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |data| data.len())
}

/// What a folder and all in it take of the disk, in bytes.
pub(crate) fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(one).sum()
}
