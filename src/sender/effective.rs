//! The values in force: command line before kompira.conf before what is built in.
//!
//! Invariant: the password stays a [`Secret`]; every output shows three stars.

use std::path::PathBuf;

use super::arguments::Arguments;
use super::broker::broker;
use super::log::{Level, LogSettings};
use super::{Conf, Patience, Security, Server};
use crate::amqp::Broker;
use crate::secret::Secret;

/// The channel when nothing names one.
const CHANNEL_DEFAULT: &str = "/system/channels/Alert";
/// Further tries, and the seconds between them, when nothing says otherwise.
const MAX_RETRY_DEFAULT: i64 = 3;
const RETRY_INTERVAL_DEFAULT: i64 = 30;
/// Kompira's site id when nothing says otherwise.
const SITE_ID_DEFAULT: i64 = 1;
const AMQP: &str = "amqp-connection";

/// Everything that decides how an event is sent.
pub struct Effective {
    /// As the user or kompira.conf wrote it.
    pub server: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub ssl: Option<bool>,
    pub ssl_verify: bool,
    pub ssl_cacertfile: Option<String>,
    pub ssl_certfile: Option<String>,
    pub ssl_keyfile: Option<String>,
    pub max_retry: i64,
    pub retry_interval: i64,
    pub channel: String,
    pub site_id: i64,
    pub timeout: Option<f64>,
    pub any_certificate: bool,
    pub log: LogSettings,
}

/// By which door an event leaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// Our HTTP door.
    Http(Server),
    /// A message broker, and its name as it was given.
    Amqp(String, Broker),
}

impl Effective {
    /// Merges the command line over `conf`.
    ///
    /// # Errors
    /// A sentence that names the key that is wrong.
    pub fn merge(arguments: &Arguments, conf: &Conf) -> Result<Effective, String> {
        let text = |given: &Option<String>, key: &str| match given {
            Some(given) => Ok::<_, String>(Some(given.clone())),
            None => Ok(conf.text(AMQP, key)?.filter(|text| !text.is_empty())),
        };
        let int = |given: Option<i64>, section: &str, key: &str| match given {
            Some(given) => Ok::<_, String>(Some(given)),
            None => conf.int(section, key),
        };
        let switch = |given: Option<bool>, key: &str| match given {
            Some(given) => Ok::<_, String>(Some(given)),
            None => conf.switch(AMQP, key),
        };
        let channel = match &arguments.channel {
            Some(channel) => Some(channel.clone()),
            None => conf
                .text("event", "channel")?
                .filter(|text| !text.is_empty()),
        };
        Ok(Effective {
            server: text(&arguments.server, "server")?,
            port: port(int(arguments.port, AMQP, "port")?)?,
            user: text(&arguments.user, "user")?,
            password: text(&arguments.password, "password")?.map(Secret::new),
            ssl: switch(arguments.ssl, "ssl")?,
            ssl_verify: switch(arguments.ssl_verify, "ssl_verify")?.unwrap_or(false),
            ssl_cacertfile: text(&arguments.ssl_cacertfile, "ssl_cacertfile")?,
            ssl_certfile: text(&arguments.ssl_certfile, "ssl_certfile")?,
            ssl_keyfile: text(&arguments.ssl_keyfile, "ssl_keyfile")?,
            max_retry: int(arguments.max_retry, AMQP, "max_retry")?.unwrap_or(MAX_RETRY_DEFAULT),
            retry_interval: int(arguments.retry_interval, AMQP, "retry_interval")?
                .unwrap_or(RETRY_INTERVAL_DEFAULT),
            channel: channel.unwrap_or_else(|| CHANNEL_DEFAULT.to_owned()),
            site_id: int(arguments.site_id, "kompira", "site_id")?.unwrap_or(SITE_ID_DEFAULT),
            timeout: arguments.timeout,
            any_certificate: arguments.ssl_verify == Some(false),
            log: log_settings(arguments, conf)?,
        })
    }

    /// Which door: ours if no server is named or an http(s) URL is; another value means AMQP.
    /// `or_else` gives the URL when the command line and kompira.conf name no server.
    ///
    /// # Errors
    /// A sentence: the URL cannot be used.
    pub fn way(&self, or_else: impl FnOnce() -> String) -> Result<Way, String> {
        match &self.server {
            None => Server::parse(&or_else(), None).map(Way::Http),
            Some(url) if Server::is_url(url) => Server::parse(url, self.port).map(Way::Http),
            Some(name) => Ok(Way::Amqp(name.clone(), broker(name, self)?)),
        }
    }

    /// How long and how often the server is tried. A vigie on the own host is tried once, because
    /// it empties the spool itself; a broker wherever it is as kompira_sendevt tries it.
    pub fn patience(&self, way: &Way) -> Patience {
        let patience = match way {
            Way::Http(server) if server.is_own_host() => Patience::short(),
            _ => Patience::retrying(self.max_retry, self.retry_interval),
        };
        patience.with_timeout(self.timeout)
    }

    /// How an https server is trusted. Unlike AMQPS in Kompira, its certificate is verified
    /// unless the command line says otherwise: a token goes to it.
    pub fn security(&self) -> Security {
        let own = self.ssl_certfile.as_ref().zip(self.ssl_keyfile.as_ref());
        Security {
            any_certificate: self.any_certificate,
            trusted: self.ssl_cacertfile.as_ref().map(PathBuf::from),
            own: own.map(|(certificate, key)| (certificate.into(), key.into())),
        }
    }
}

fn port(number: Option<i64>) -> Result<Option<u16>, String> {
    let wrong = |_| "the port is not between 0 and 65535".to_owned();
    number
        .map(u16::try_from)
        .transpose()
        .map_err(wrong)
        .map(|port| port.filter(|port| *port != 0))
}

fn log_settings(arguments: &Arguments, conf: &Conf) -> Result<LogSettings, String> {
    let level = match &arguments.loglevel {
        Some(level) => Some(level.clone()),
        None => conf.text("logging", "loglevel")?,
    };
    let folder = match &arguments.logdir {
        Some(folder) => Some(folder.clone()),
        None => conf
            .text("logging", "logdir")?
            .filter(|text| !text.is_empty())
            .map(PathBuf::from),
    };
    let size = match arguments.logmaxsz {
        Some(size) => Some(size),
        None => conf.int("logging", "logmaxsz")?,
    };
    let backups = match arguments.logbackup {
        Some(backups) => Some(backups),
        None => conf.int("logging", "logbackup")?,
    };
    let mut settings = LogSettings::new(folder);
    settings.level = match level {
        Some(name) => Level::by_name(&name)?,
        None => settings.level,
    };
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    settings.size_bytes_max = size.map_or(settings.size_bytes_max, positive);
    settings.backups = backups.map_or(settings.backups, positive);
    settings.to_standard_error = arguments.debug;
    Ok(settings)
}

impl Way {
    /// The server as it is shown.
    pub fn server(&self) -> &str {
        match self {
            Way::Http(server) => server.base(),
            Way::Amqp(name, _) => name,
        }
    }

    /// The server as the log names it.
    pub fn destination(&self) -> String {
        match self {
            Way::Http(server) => server.base().to_owned(),
            Way::Amqp(_, broker) => broker.url(),
        }
    }

    /// `http` or `amqp`.
    pub fn door_name(&self) -> &'static str {
        match self {
            Way::Http(_) => "http",
            Way::Amqp(..) => "amqp",
        }
    }
}
