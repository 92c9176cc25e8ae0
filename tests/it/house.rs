//! A whole house in a temporary folder, and the real server in it.
//!
//! The builder writes channels, flows and settings, starts the real binary on a free port, and asks
//! it over HTTP. Waiting is for a condition, with a limit, never for a time.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

/// How long a condition may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub const VIGIE: &str = env!("CARGO_BIN_EXE_vigie");

/// A folder with settings, channels and flows.
pub struct House {
    folder: TempDir,
    settings: String,
    http: String,
    environment: Vec<(String, String)>,
}

impl House {
    /// An empty house that listens on a free port of loopback.
    pub fn new() -> House {
        let folder = tempfile::Builder::new()
            .prefix("vigie-house-")
            .tempdir()
            .unwrap();
        let house = House {
            folder,
            settings: String::new(),
            http: String::new(),
            environment: Vec::new(),
        };
        std::fs::create_dir_all(house.path("channels")).unwrap();
        std::fs::create_dir_all(house.path("flows")).unwrap();
        house
    }

    /// A path inside the house.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Writes a file inside the house, whole or not at all: a server that watches the folder must
    /// not meet half of it.
    pub fn file(&self, inside: &str, text: &str) -> &House {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut half = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        half.write_all(text.as_bytes()).unwrap();
        let readable = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(half.path(), readable).unwrap();
        half.persist(path).unwrap();
        self
    }

    /// Adds a channel; `toml` may be empty.
    pub fn channel(&self, name: &str, toml: &str) -> &House {
        self.file(&format!("channels/{name}.toml"), toml)
    }

    /// Adds a flow, such as `alert/open_ticket`.
    pub fn flow(&self, path: &str, script: &str) -> &House {
        self.file(&format!("flows/{path}.rhai"), script)
    }

    /// Adds sections to settings.toml.
    pub fn settings(mut self, toml: &str) -> House {
        self.settings.push_str(toml);
        self.settings.push('\n');
        self
    }

    /// Adds keys to the `[http]` section.
    pub fn http(mut self, toml: &str) -> House {
        self.http.push_str(toml);
        self.http.push('\n');
        self
    }

    /// Adds a variable to the environment of every process of the house.
    pub fn environment(mut self, name: &str, value: &str) -> House {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn write_settings(&self) {
        let http = match self.http.contains("listen") {
            true => self.http.clone(),
            false => format!("listen = \"127.0.0.1:0\"\n{}", self.http),
        };
        let spool = if self.settings.contains("[spool]") {
            ""
        } else {
            "[spool]\nfolder = \"spool\"\n"
        };
        let text = format!("[http]\n{http}\n{spool}\n{}", self.settings);
        // Who reads it meanwhile must not find half of it.
        let known = std::fs::read_to_string(self.path("settings.toml"));
        if known.ok().as_ref() != Some(&text) {
            self.file("settings.toml", &text);
        }
    }

    /// The binary with these arguments, in the house.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.write_settings();
        let mut command = Command::new(VIGIE);
        command.args(arguments).current_dir(self.folder.path());
        command
            .env_remove("VIGIE_SERVER")
            .env_remove("VIGIE_TOKEN_FILE");
        command.env("VIGIE_SETTINGS", self.path("settings.toml"));
        let environment = self.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        command
    }

    /// Runs a verb to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Starts the server and waits until it listens.
    pub fn serve(&self) -> Running<'_> {
        self.try_serve()
            .unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// Starts the server; what it said if it ended instead.
    pub fn try_serve(&self) -> Result<Running<'_>, String> {
        let mut child = self
            .command(&["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let reader = collect(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            line.unwrap()
                .split_once(" listens on ")
                .map(|(_, address)| address.to_owned())
        });
        match address {
            Some(address) => {
                std::thread::spawn(move || lines.for_each(drop));
                Ok(Running {
                    house: self,
                    child,
                    url: format!("http://{address}"),
                    log,
                })
            }
            None => {
                let status = child.wait().unwrap();
                reader.join().unwrap();
                let said = log.lock().unwrap().clone();
                Err(format!("{status}\n{said}"))
            }
        }
    }
}

fn collect(
    stream: impl std::io::Read + Send + 'static,
    into: Arc<Mutex<String>>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap_or_default();
            let mut into = into.lock().unwrap();
            into.push_str(&line);
            into.push('\n');
        }
    })
}

/// A server that runs; killed when it is dropped.
pub struct Running<'a> {
    house: &'a House,
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    log: Arc<Mutex<String>>,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answered {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or(Json::Null)
    }
}

impl Running<'_> {
    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request with headers and a body (POST) or without one (GET).
    pub fn ask(&self, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answered {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build()
            .into();
        let url = format!("{}{path}", self.url);
        let answered = match body {
            Some(body) => {
                let request = agent.post(&url);
                let add = |request: ureq::RequestBuilder<_>, (name, value): &(&str, &str)| {
                    request.header(*name, *value)
                };
                headers.iter().fold(request, add).send(body)
            }
            None => {
                let add = |request: ureq::RequestBuilder<_>, (name, value): &(&str, &str)| {
                    request.header(*name, *value)
                };
                headers.iter().fold(agent.get(&url), add).call()
            }
        };
        let mut answered = answered.unwrap();
        Answered {
            status: answered.status().as_u16(),
            headers: answered.headers().clone(),
            text: answered.body_mut().read_to_string().unwrap_or_default(),
        }
    }

    /// GET under `/api/v1/`.
    pub fn get(&self, path: &str) -> Json {
        let answered = self.ask(&format!("/api/v1/{path}"), &[], None);
        assert_eq!(answered.status, 200, "{answered:?}");
        answered.json()
    }

    /// Pushes a JSON event; its id.
    pub fn push(&self, channel: &str, event: &Json) -> String {
        let path = format!("/api/v1/channels/{channel}/events");
        let json = [("content-type", "application/json")];
        let answered = self.ask(&path, &json, Some(event.to_string().as_bytes()));
        assert_eq!(answered.status, 202, "{answered:?}");
        answered.json()["ids"][0].as_str().unwrap().to_owned()
    }

    /// A run, with its journal; without a `state` while there is none.
    pub fn run(&self, id: &str) -> Json {
        let path = format!("/api/v1/runs/{}", id.replace('/', "%2F"));
        self.ask(&path, &[], None).json()
    }

    /// Waits until the run has ended; its story.
    pub fn ended(&self, id: &str) -> Json {
        wait_for(&format!("the end of {id}"), || {
            let run = self.run(id);
            let state = run["state"].as_str().unwrap_or("live").to_owned();
            (state != "live").then_some(run)
        })
    }

    /// Runs a verb of the command line against this server.
    pub fn verb(&self, arguments: &[&str]) -> Output {
        let mut command = self.house.command(arguments);
        command.args(["--server", &self.url]).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Kills it as the system would when memory is short.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Asks it to stop and waits; its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `look` sees something, and gives it.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_longer_for(what, PATIENCE, look)
}

/// The same for what takes its time also on a quick machine.
pub fn wait_longer_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "waited {patience:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of a file, none if it is missing.
pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
