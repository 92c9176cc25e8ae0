//! PostgreSQL with its own settings as they come: a row for each event, committed one by one, or what
//! somebody else keeps in it.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{free_port, scratch};
use crate::load::Producer;
use crate::peer::{Peer, Recipe, is_open, program, version};

/// Its own user; nobody asks for a password.
const USER: &str = "figures";
const TABLE: &str = "CREATE TABLE events (id bigserial PRIMARY KEY, event text NOT NULL)";
/// Version 3.0 of its protocol.
const PROTOCOL: u32 = 196_608;

/// Starts one with a table.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(crate) fn start(runtime: &tokio::runtime::Runtime) -> Result<Peer, String> {
    let mut peer = start_empty(runtime)?;
    let made = runtime.block_on(async {
        let mut session = Inserting::open(peer.address, b"").await?;
        session.say(TABLE).await
    });
    made.map_err(|why| format!("PostgreSQL refuses: {why}"))?;
    peer.name.push_str(", one commit an event");
    Ok(peer)
}

/// How others name a database of it; they make it if it is not there.
pub(super) fn url(address: SocketAddr, database: &str) -> String {
    format!("postgresql://{USER}@{address}/{database}")
}

/// Starts one with nothing in it.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(super) fn start_empty(runtime: &tokio::runtime::Runtime) -> Result<Peer, String> {
    let server = found("postgres")?;
    let (folder, port) = (scratch(), free_port());
    let owner = Owner::find(&folder)?;
    let data = folder.path().join("data");
    let mut command = Command::new(found("initdb")?);
    command.args(["-A", "trust", "-U", USER, "-D"]).arg(&data);
    let made = owner.own(&mut command, &folder).output();
    let made = made.map_err(|why| format!("initdb cannot be started: {why}"))?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        return Err(format!(
            "initdb failed: {}",
            said.lines().last().unwrap_or("")
        ));
    }
    let mut command = Command::new(&server);
    command
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "max_connections=200", "-k"])
        .arg(folder.path())
        .arg("-D")
        .arg(&data);
    owner.own(&mut command, &folder);
    let recipe = Recipe {
        name: format!("PostgreSQL {}", version(&server, "--version")),
        port,
        command,
        helper: None,
        folder,
    };
    recipe.start(|address| is_open(address) && runtime.block_on(answers(address)))
}

/// On `PATH`, or where Debian keeps several versions: the newest.
fn found(name: &str) -> Result<PathBuf, String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<PathBuf> = versions
        .map(|entry| entry.path().join("bin").join(name))
        .filter(|path| path.is_file())
        .collect();
    versions.sort();
    versions.pop().map_or_else(|| program(name), Ok)
}

/// Who it runs as: it refuses to be root.
struct Owner(Option<(u32, u32)>);

impl Owner {
    /// Whoever calls, or Debian's `postgres` if root does; the folder becomes theirs.
    fn find(folder: &TempDir) -> Result<Owner, String> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Owner(None));
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let line = users.lines().find(|line| line.starts_with("postgres:"));
        let mut fields = line.unwrap_or("").split(':').skip(2);
        let mut number = || fields.next().and_then(|field| field.parse::<u32>().ok());
        let (Some(user), Some(group)) = (number(), number()) else {
            return Err("it refuses to be root, and there is no user `postgres`".to_owned());
        };
        chown(folder.path(), Some(user), Some(group)).map_err(|why| why.to_string())?;
        Ok(Owner(Some((user, group))))
    }

    fn own<'a>(&self, command: &'a mut Command, folder: &TempDir) -> &'a mut Command {
        let folder: &Path = folder.path();
        command.env("HOME", folder).current_dir(folder);
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }
}

async fn answers(address: SocketAddr) -> bool {
    Inserting::open(address, b"").await.is_ok()
}

/// One who inserts rows.
pub(crate) struct Inserting {
    stream: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Inserting {
    /// Connects; for events without quotation marks of SQL.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn open(address: SocketAddr, event: &[u8]) -> Result<Inserting, String> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|why| why.to_string())?;
        stream.set_nodelay(true).map_err(|why| why.to_string())?;
        let event = String::from_utf8_lossy(event);
        let mut session = Inserting {
            stream,
            request: format!("INSERT INTO events (event) VALUES ('{event}')"),
            answer: Vec::new(),
        };
        let parameters = format!("user\0{USER}\0database\0postgres\0\0");
        let mut hello = (parameters.len() as u32 + 8).to_be_bytes().to_vec();
        hello.extend(PROTOCOL.to_be_bytes());
        hello.extend(parameters.as_bytes());
        session.exchange(&hello).await?;
        Ok(session)
    }

    /// A simple query.
    async fn say(&mut self, query: &str) -> Result<(), String> {
        let mut message = vec![b'Q'];
        message.extend((query.len() as u32 + 5).to_be_bytes());
        message.extend(query.as_bytes());
        message.push(0);
        self.exchange(&message).await
    }

    /// Sends a message, and reads until it is ready for the next one.
    async fn exchange(&mut self, message: &[u8]) -> Result<(), String> {
        self.stream
            .write_all(message)
            .await
            .map_err(|why| why.to_string())?;
        self.answer.clear();
        while !self.is_ready()? {
            let read = self.stream.read_buf(&mut self.answer).await;
            if read.map_err(|why| why.to_string())? == 0 {
                return Err("the connection was closed".to_owned());
            }
        }
        Ok(())
    }

    /// True once `ReadyForQuery` came; an error if one came before.
    fn is_ready(&self) -> Result<bool, String> {
        let mut rest = &self.answer[..];
        while let [kind, length @ ..] = rest {
            let Some(bytes) = length.first_chunk::<4>() else {
                return Ok(false);
            };
            let end = 1 + u32::from_be_bytes(*bytes) as usize;
            let Some(body) = rest.get(5..end) else {
                return Ok(false);
            };
            match kind {
                b'Z' => return Ok(true),
                b'E' => return Err(String::from_utf8_lossy(body).replace('\0', " ")),
                _ => rest = &rest[end..],
            }
        }
        Ok(false)
    }
}

impl Producer for Inserting {
    async fn send(&mut self) {
        let request = std::mem::take(&mut self.request);
        self.say(&request).await.unwrap();
        self.request = request;
    }
}
