//! Which broker: its place, how the way there is protected, and who we are to it.

use std::path::PathBuf;

use super::tls::{Protection, Trust};
use super::{Login, PORT, TLS_PORT};
use crate::secret::Secret;

/// The account that brokers have for their own host.
const GUEST: &str = "guest";

/// Which broker, as whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// A host name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The virtual host, mostly `/`.
    pub virtual_host: String,
    /// TLS, if it is spoken.
    pub protection: Option<Protection>,
    /// Who we are.
    pub login: Login,
}

impl Broker {
    /// The broker as it is shown, without anything secret.
    pub fn url(&self) -> String {
        let scheme = match self.protection {
            Some(_) => "amqps",
            None => "amqp",
        };
        match self.host.contains(':') {
            true => format!("{scheme}://[{}]:{}", self.host, self.port),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// What a server's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A host name or an address, without brackets.
    pub host: String,
    /// Its port, if it is told.
    pub port: Option<u16>,
    /// Whether TLS is spoken, if it is told by `amqp://` or `amqps://`.
    pub is_tls: Option<bool>,
}

impl Place {
    /// Reads `mq.example`, `127.0.0.1`, `mq.example:5671`, `[::1]:5672`, `amqps://mq.example`.
    ///
    /// # Errors
    /// A sentence that never repeats the name if it holds a password.
    pub fn read(name: &str) -> Result<Place, String> {
        let name = name.trim();
        if name.contains('@') {
            return Err(
                "a broker's name must not hold a user name or password; they are told apart"
                    .to_owned(),
            );
        }
        let wrong = |why: &str| format!("`{name}` is no broker: {why}");
        let (is_tls, rest) = match name.split_once("://") {
            None => (None, name),
            Some(("amqp", rest)) => (Some(false), rest),
            Some(("amqps", rest)) => (Some(true), rest),
            Some(_) => return Err(wrong("it begins with neither amqp:// nor amqps://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = host_and_port(rest).ok_or_else(|| wrong("its port is no number"))?;
        let is_odd =
            |char: char| char.is_whitespace() || char.is_control() || "/?#[]".contains(char);
        if host.is_empty() || host.contains(is_odd) {
            return Err(wrong(
                "write a host name or an address, and `:port` if need be",
            ));
        }
        Ok(Place {
            host: host.to_owned(),
            port,
            is_tls,
        })
    }

    /// True for the host we run on, by its usual names.
    pub fn is_here(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1")
    }
}

/// `None` if what stands behind the colon is no port.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some((host, behind)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match behind.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None if behind.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port.parse().ok()?))),
        // No colon, or an IPv6 address without brackets.
        _ => Some((text, None)),
    }
}

/// What settings say about a broker; paths are whole already.
#[derive(Debug, Default)]
pub struct Wish {
    /// As [`Place::read`] takes it.
    pub server: String,
    /// The virtual host.
    pub virtual_host: String,
    /// Who we are; absent on the own host: `guest`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// TLS or not; absent: not on the own host.
    pub tls: Option<bool>,
    /// The only authorities to trust; absent: the host's.
    pub authorities: Option<PathBuf>,
    /// Our own certificate, which logs in if there is no user.
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    pub key: Option<PathBuf>,
}

impl Wish {
    /// The broker; nothing is opened or read.
    ///
    /// # Errors
    /// The key that is wrong, and a sentence about it.
    pub fn broker(self) -> Result<Broker, (&'static str, String)> {
        let place = Place::read(&self.server).map_err(|why| ("server", why))?;
        let is_tls = self.tls.or(place.is_tls).unwrap_or(!place.is_here());
        if !is_tls && (self.authorities.is_some() || self.certificate.is_some()) {
            let why = "certificates are of no use without TLS";
            return Err(("tls", why.to_owned()));
        }
        if self.certificate.is_some() != self.key.is_some() {
            let why = "`tls_cert` and `tls_key` go together";
            return Err(("tls_cert", why.to_owned()));
        }
        if self.virtual_host.len() > 255 {
            return Err((
                "virtual_host",
                "it is longer than AMQP's 255 bytes".to_owned(),
            ));
        }
        let login = login(
            self.user,
            self.password,
            (self.certificate.is_some(), place.is_here()),
        )?;
        let trust = self.authorities.map_or(Trust::Host, Trust::File);
        let own = self.certificate.zip(self.key);
        Ok(Broker {
            port: place.port.unwrap_or(if is_tls { TLS_PORT } else { PORT }),
            host: place.host,
            virtual_host: self.virtual_host,
            protection: is_tls.then_some(Protection { trust, own }),
            login,
        })
    }
}

fn login(
    user: Option<String>,
    password: Option<Secret>,
    (has_certificate, is_here): (bool, bool),
) -> Result<Login, (&'static str, String)> {
    match (user, password) {
        (None, None) if has_certificate => Ok(Login::External),
        (None, None) if is_here => Ok(Login::Plain {
            user: GUEST.to_owned(),
            password: Secret::new(GUEST.to_owned()),
        }),
        (Some(user), Some(password)) => Ok(Login::Plain { user, password }),
        _ => {
            let why = "another host wants `user` with `password_file`, or a certificate of ours";
            Err(("user", why.to_owned()))
        }
    }
}
