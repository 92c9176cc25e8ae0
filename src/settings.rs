//! settings.toml: what the operator says about the whole server. All keys are optional.
//!
//! Secrets never stand here: every `X_file` or `X_env` names where one is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::action;
use crate::duration::Lasting;
use crate::error::Diagnostic;
use crate::hex;
use crate::secret::Secret;

/// Where the server listens if nothing is said.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8780);
/// Largest event body that a door takes if nothing is said, in bytes.
pub const BODY_BYTES_DEFAULT: usize = 1024 * 1024;
/// Finished runs and dead letters are kept this long if nothing is said.
pub const RUN_RETENTION_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Folder of the store.
    pub data: PathBuf,
    /// Folder of the channels' files.
    pub channels: PathBuf,
    /// Folder of the flows.
    pub flows: PathBuf,
    /// The HTTP door and the client's address rules.
    pub http: HttpSettings,
    /// Who may call.
    pub token: Vec<TokenSettings>,
    /// `redmine::…`
    pub redmine: Option<action::redmine::Settings>,
    /// `pagerduty::…`
    pub pagerduty: Option<action::pagerduty::Settings>,
    /// `canopsis::…`
    pub canopsis: Option<action::canopsis::Settings>,
    /// `influxdb::write`
    pub influxdb: Option<action::influxdb::Settings>,
    /// `mail::send`
    pub smtp: Option<action::mail::Settings>,
    /// `amqp::publish`
    pub amqp: Option<action::amqp::Settings>,
    /// `file::append`
    pub file: Option<action::file::Settings>,
    /// Names that flows use by `secret("name")`: each key ends in `_file` or `_env`.
    pub secret: BTreeMap<String, String>,
    /// A proxy for outbound HTTP; the environment's variables count otherwise.
    pub proxy: action::http::Proxy,
    /// The folder where senders leave events while the server is away.
    pub spool: SpoolSettings,
    /// Finished runs.
    pub run: RunSettings,
    /// The store.
    pub store: StoreSettings,
    /// What is logged.
    pub log: LogSettings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            data: "data".into(),
            channels: "channels".into(),
            flows: "flows".into(),
            http: HttpSettings::default(),
            token: Vec::new(),
            redmine: None,
            pagerduty: None,
            canopsis: None,
            influxdb: None,
            smtp: None,
            amqp: None,
            file: None,
            secret: BTreeMap::new(),
            proxy: action::http::Proxy::default(),
            spool: SpoolSettings::default(),
            run: RunSettings::default(),
            store: StoreSettings::default(),
            log: LogSettings::default(),
        }
    }
}

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Address and port of the door.
    pub listen: SocketAddr,
    /// Certificate chain in PEM; with `tls_key` the door speaks TLS.
    pub tls_cert: PathBuf,
    /// Its private key in PEM.
    pub tls_key: PathBuf,
    /// Allows listening beyond loopback without TLS.
    pub plaintext: bool,
    /// Largest event body in bytes.
    pub body_bytes_max: usize,
    /// Where flows may send requests: hosts, `host:port`, networks, `*.example.org`. Absent: every
    /// address but link-local and cloud metadata.
    pub allow: Option<Vec<String>>,
}

impl Default for HttpSettings {
    fn default() -> HttpSettings {
        HttpSettings {
            listen: LISTEN_DEFAULT,
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            plaintext: false,
            body_bytes_max: BODY_BYTES_DEFAULT,
            allow: None,
        }
    }
}

impl HttpSettings {
    /// True if the door speaks TLS.
    pub fn has_tls(&self) -> bool {
        !self.tls_cert.as_os_str().is_empty()
    }
}

/// What the owner of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Put events into channels.
    Send,
    /// Take events out of channels.
    Receive,
    /// Look at events, runs and listings.
    Read,
    /// Retry, cancel, pause and the like.
    Operate,
}

/// `[[token]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// Who it belongs to; stands in audit lines.
    pub name: String,
    /// `sha256:` and the hash of the token in hex; the token itself is shown once, when it is made.
    pub hash: String,
    /// Channels it is good for; absent means all.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// What it may do.
    pub rights: Vec<Right>,
    /// Requests per second it may make; more are answered 429. Absent means no limit.
    #[serde(default)]
    pub requests_per_second_max: Option<std::num::NonZeroU32>,
}

impl TokenSettings {
    /// The hash; nothing if it is not written as one.
    pub fn hash_bytes(&self) -> Option<[u8; 32]> {
        hex::decode(self.hash.strip_prefix("sha256:")?)
    }
}

/// `[spool]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolSettings {
    /// The folder; empty means /var/spool/vigie if it exists, else `spool` in the data folder.
    pub folder: PathBuf,
}

/// `[run]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSettings {
    /// How long finished runs and dead letters are kept.
    pub retention: Lasting,
}

impl Default for RunSettings {
    fn default() -> RunSettings {
        RunSettings {
            retention: Lasting(RUN_RETENTION_DEFAULT),
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Bytes that the store may take on disk; doors refuse beyond it.
    pub disk_max: Option<u64>,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// `text` or `json`.
    pub format: String,
}

impl LogSettings {
    fn check(&self) -> Vec<Diagnostic> {
        let known = [
            (
                "level",
                &self.level,
                &["error", "warn", "info", "debug", "trace"][..],
            ),
            ("format", &self.format, &["text", "json"][..]),
        ];
        let wrong = known
            .iter()
            .filter(|(_, found, words)| !words.contains(&found.as_str()));
        wrong
            .map(|(key, found, words)| {
                let words = words.join(", ");
                Diagnostic::new(format!("[log] {key} = \"{found}\" is none of {words}"))
            })
            .collect()
    }
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            level: "info".to_owned(),
            format: "text".to_owned(),
        }
    }
}

impl Settings {
    /// Paths count from `base`, the folder of the settings file.
    pub(crate) fn resolve(&mut self, base: &Path) {
        let paths = [
            &mut self.data,
            &mut self.channels,
            &mut self.flows,
            &mut self.http.tls_cert,
            &mut self.http.tls_key,
            &mut self.spool.folder,
        ];
        for path in paths {
            if !path.as_os_str().is_empty() {
                *path = base.join(path.as_path());
            }
        }
    }

    /// The keys in which `new` differs and that a running server does not take up.
    pub fn changed_for_the_next_start(&self, new: &Settings) -> Vec<&'static str> {
        let keys = [
            ("data", self.data != new.data),
            ("[spool] folder", self.spool_folder() != new.spool_folder()),
            (
                "[store] disk_max",
                self.store.disk_max != new.store.disk_max,
            ),
        ];
        let changed = keys.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key).collect()
    }

    /// The folder where senders leave events.
    pub fn spool_folder(&self) -> PathBuf {
        let system = Path::new("/var/spool/vigie");
        match self.spool.folder.as_os_str().is_empty() {
            false => self.spool.folder.clone(),
            true if system.is_dir() => system.to_owned(),
            true => self.data.join("spool"),
        }
    }

    /// The secrets that flows may use by name.
    ///
    /// # Errors
    /// Keys that end in neither `_file` nor `_env`, and secrets that cannot be read.
    pub fn secrets(&self, base: &Path) -> Result<BTreeMap<String, Secret>, Vec<Diagnostic>> {
        let mut secrets = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (key, place) in self.secret.iter().filter(|(_, place)| !place.is_empty()) {
            match read_secret(key, place, base) {
                Ok((name, secret)) => drop(secrets.insert(name, secret)),
                Err(why) => mistakes.push(Diagnostic::new(format!("[secret] {key}: {why}"))),
            }
        }
        if mistakes.is_empty() {
            Ok(secrets)
        } else {
            Err(mistakes)
        }
    }

    /// What cannot go together.
    pub(crate) fn check(&self) -> Vec<Diagnostic> {
        let mut mistakes = Vec::new();
        let http = &self.http;
        if !http.listen.ip().is_loopback() {
            if !http.has_tls() && !http.plaintext {
                let message = format!(
                    "[http] listen = \"{}\" is beyond loopback without TLS",
                    http.listen
                );
                mistakes.push(
                    Diagnostic::new(message).help("set tls_cert and tls_key, or plaintext = true"),
                );
            }
            if self.token.is_empty() {
                let message = format!(
                    "[http] listen = \"{}\" is beyond loopback without a token",
                    http.listen
                );
                mistakes.push(
                    Diagnostic::new(message).help("make one with `vigie token new --name NAME`"),
                );
            }
        }
        if http.has_tls() == http.tls_key.as_os_str().is_empty() {
            mistakes.push(Diagnostic::new("[http] tls_cert and tls_key go together"));
        }
        mistakes.extend(self.log.check());
        for token in &self.token {
            if token.hash_bytes().is_none() {
                let message = format!(
                    "the token `{}` has no hash of the form sha256:…",
                    token.name
                );
                mistakes.push(
                    Diagnostic::new(message).help("`vigie token new` prints the whole block"),
                );
            }
        }
        mistakes
    }
}

fn read_secret(key: &str, place: &str, base: &Path) -> Result<(String, Secret), String> {
    let file = |name: &str| (name.to_owned(), Some(base.join(place)), None);
    let env = |name: &str| (name.to_owned(), None, Some(place.to_owned()));
    let (name, file, env) = key
        .strip_suffix("_file")
        .map(file)
        .or_else(|| key.strip_suffix("_env").map(env))
        .ok_or_else(|| format!("write {key}_file or {key}_env; secrets never stand in settings"))?;
    let secret = Secret::from_settings(&name, &file, &env)?;
    secret
        .map(|secret| (name, secret))
        .ok_or_else(|| "it is empty".to_owned())
}
