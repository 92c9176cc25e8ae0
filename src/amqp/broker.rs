//! Which broker: its place, how the way there is protected, and who we are to it.

use super::Login;
use super::tls::Protection;

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
