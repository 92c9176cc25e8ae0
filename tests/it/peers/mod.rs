//! Real peers: other people's programs from Debian's packages, started for the tests.
//!
//! Each has a temporary folder, a private port and a process group of its own. It ends with its
//! [`Peer`], or with the tests' process, in whichever way that ends. A peer that is not installed
//! fails the test with the line that installs it.

pub mod alertmanager;
pub mod dovecot;
pub mod icinga;
pub mod influxdb;
pub mod nagios;
pub mod netsnmp;
pub mod postfix;
pub mod proxy;
pub mod rabbit;
pub mod redmine;
pub mod snmptrapd;
pub mod zabbix;

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process_group};

/// Who needs which packages; `tests/run` reads the same file.
const PACKAGES: &str = include_str!("../../peers/packages");
const GUARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/guard.sh");
const INSTALL: &str = "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends";
/// Below the ports that the system gives to whoever asks for any, so that nobody gets one by chance.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// How often another port is tried.
const PORTS_TRIED_MAX: usize = 10;
/// How long a peer may take to come up: several large ones start at once, also where two
/// processors are all there is.
const START_PATIENCE: Duration = Duration::from_secs(240);
/// How long one look may take: a peer that is about to come up may take a connection and never
/// answer it.
pub const LOOK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer may take to end when it is asked to.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Fails unless the packages of this peer are installed.
pub fn need(peer: &str) {
    let line = PACKAGES
        .lines()
        .find_map(|line| line.strip_prefix(peer))
        .unwrap();
    let is_missing = |package: &&str| {
        let asked = Command::new("dpkg-query")
            .args(["-W", "-f", "${db:Status-Status}", package])
            .stderr(Stdio::null())
            .output();
        !asked.is_ok_and(|said| said.stdout == b"installed")
    };
    let missing: Vec<&str> = line.split_whitespace().filter(is_missing).collect();
    let list = missing.join(" ");
    assert!(
        missing.is_empty(),
        "{peer} is not installed; as root: {INSTALL} {list}"
    );
}

/// A running program of somebody else's.
pub struct Peer {
    name: &'static str,
    child: Child,
    guard: Child,
    log: PathBuf,
}

impl Peer {
    /// Starts `command`, which must not put itself into the background; what it says goes to
    /// `NAME.log` in `folder`. If the tests die, the peer ends and `folder` goes.
    pub fn start(name: &'static str, command: &Command, folder: &Path) -> Peer {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let child = in_own_session(command)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|why| panic!("cannot start {command:?}: {why}"));
        let guard = Command::new("sh")
            .args([GUARD, &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Peer {
            name,
            child,
            guard,
            log,
        }
    }

    /// What it said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `look` sees something; `None` if the peer ends before. A look must not take
    /// much longer than [`LOOK_PATIENCE`].
    pub fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&Peer) -> Option<T>) -> Option<T> {
        let until = Instant::now() + START_PATIENCE;
        loop {
            // in this order: what another process shows on the same port does not count
            let has_ended = self.child.try_wait().unwrap().is_some();
            match look(self) {
                _ if has_ended => return None,
                Some(seen) => return Some(seen),
                None => {}
            }
            let name = self.name;
            assert!(
                Instant::now() < until,
                "waited for {what} of {name}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it without a warning.
    pub fn kill(self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process_group(group.unwrap(), signal);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let until = Instant::now() + END_PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        // also what it left behind in its group
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        let _ = self
            .guard
            .stdin
            .take()
            .map(|mut pipe| pipe.write_all(b"ended\n"));
        let _ = self.guard.wait();
    }
}

/// The same command as the leader of a session and of a process group, with the same process
/// number; Postfix's master insists on becoming one, so it cannot be made one from here.
fn in_own_session(command: &Command) -> Command {
    let mut own = Command::new("setsid");
    own.arg(command.get_program()).args(command.get_args());
    own.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    own.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    own
}

/// Whether something answers at `url`.
pub fn answers(url: &str) -> Option<()> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(LOOK_PATIENCE))
        .proxy(None)
        .build();
    ureq::Agent::from(config).get(url).call().ok().map(|_| ())
}

/// A connection to a port of loopback that waits for no answer longer than [`LOOK_PATIENCE`].
pub fn connect(port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, LOOK_PATIENCE)?;
    stream.set_read_timeout(Some(LOOK_PATIENCE))?;
    stream.set_write_timeout(Some(LOOK_PATIENCE))?;
    Ok(stream)
}

/// A port of loopback that nobody uses, for peers that cannot be asked which one they got.
pub fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(PORTS);
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}

/// Starts something on a free port; on another one if `start` says that it did not come up.
pub fn on_free_port<T>(mut start: impl FnMut(u16) -> Result<T, String>) -> T {
    let mut said = String::new();
    for _ in 0..PORTS_TRIED_MAX {
        match start(free_port()) {
            Ok(started) => return started,
            Err(why) => said = why,
        }
    }
    panic!("it did not come up on any of {PORTS_TRIED_MAX} ports; at last it said:\n{said}");
}

/// Runs a program to its end, which must be a good one; what it said.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|why| panic!("cannot run {command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}\n{errors}",
        output.status
    );
    said
}
