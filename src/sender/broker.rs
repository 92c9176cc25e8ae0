//! Which broker, as whom, and how protected: Kompira's rules (facts of sendevt 1.6.11's runs).
//!
//! The broker on the own host is spoken to in the clear as guest, any other over TLS as kompira,
//! unless something says otherwise.

use std::path::{Path, PathBuf};

use super::effective::Effective;
use crate::amqp::tls::{Protection, Trust};
use crate::amqp::{Login, PORT, TLS_PORT};
use crate::secret::Secret;

/// Where Kompira's installer puts certificates; used if they are there.
const CERTIFICATES: &str = if cfg!(windows) {
    r"C:\Kompira\ssl\certs"
} else {
    "/opt/kompira/ssl/certs"
};
const AUTHORITIES: &str = "kompira-bundle-ca.crt";
const OWN_CERTIFICATE: &str = "amqp-client-kompira.crt";
const OWN_KEY: &str = "amqp-client-kompira.key";
/// The account on the own host, and elsewhere; each is its own password.
const USER_HERE: &str = "guest";
const USER_ELSEWHERE: &str = "kompira";

/// A broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// A host name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS, if it is spoken.
    pub protection: Option<Protection>,
    /// Who we are.
    pub login: Login,
}

impl Broker {
    /// Reads a server's name such as `mq.example`, `127.0.0.1`, `mq.example:5671`, `[::1]:5672` or
    /// `amqps://mq.example` with the other values in force.
    ///
    /// # Errors
    /// A sentence that never repeats the name if it holds a password.
    pub fn new(name: &str, effective: &Effective) -> Result<Broker, String> {
        let place = Place::read(name)?;
        let is_here = matches!(place.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let is_tls = place.is_tls.or(effective.ssl).unwrap_or(!is_here);
        let usual = if is_tls { TLS_PORT } else { PORT };
        let protection = is_tls.then(|| protection(effective));
        let has_certificate = protection.as_ref().is_some_and(|tls| tls.own.is_some());
        let login = if has_certificate {
            Login::External
        } else {
            plain(effective, is_here)
        };
        Ok(Broker {
            port: place.port.or(effective.port).unwrap_or(usual),
            host: place.host,
            protection,
            login,
        })
    }

    /// The broker as it is shown.
    pub fn url(&self) -> String {
        let scheme = if self.protection.is_some() {
            "amqps"
        } else {
            "amqp"
        };
        match self.host.contains(':') {
            true => format!("{scheme}://[{}]:{}", self.host, self.port),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// What a server's name says.
struct Place {
    host: String,
    port: Option<u16>,
    is_tls: Option<bool>,
}

impl Place {
    fn read(name: &str) -> Result<Place, String> {
        let name = name.trim();
        if name.contains('@') {
            return Err("a broker's name must not hold a user name or password; \
                        use --user and --password, or kompira.conf"
                .to_owned());
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

fn plain(effective: &Effective, is_here: bool) -> Login {
    let usual = if is_here { USER_HERE } else { USER_ELSEWHERE };
    let user = effective.user.clone().unwrap_or_else(|| usual.to_owned());
    let password = effective.password.clone();
    Login::Plain {
        password: password.unwrap_or_else(|| Secret::new(user.clone())),
        user,
    }
}

/// Certificates are verified, the name included, only if that is asked for; a certificate of our
/// own that is named is shown in any case.
fn protection(effective: &Effective) -> Protection {
    let verify = effective.ssl_verify;
    let installed = |name: &str| {
        let file = Path::new(CERTIFICATES).join(name);
        (verify && file.is_file()).then_some(file)
    };
    let file = |given: &Option<String>, name: &str| match given {
        Some(given) => Some(PathBuf::from(given)),
        None => installed(name),
    };
    let trust = match (verify, file(&effective.ssl_cacertfile, AUTHORITIES)) {
        (false, _) => Trust::Anybody,
        (true, Some(authorities)) => Trust::File(authorities),
        (true, None) => Trust::Host,
    };
    let certificate = file(&effective.ssl_certfile, OWN_CERTIFICATE);
    let key = file(&effective.ssl_keyfile, OWN_KEY);
    // A certificate without a key is both in one file, as in Python's ssl module.
    let own = certificate.map(|file| (file.clone(), key.unwrap_or(file)));
    Protection { trust, own }
}
