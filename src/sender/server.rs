//! Which server: an http(s) URL, checked once and shown without anything secret.

use std::net::IpAddr;

use ureq::http::Uri;

/// The server when nothing names one: our own default listener on this host.
pub const SERVER_DEFAULT: &str = "http://127.0.0.1:8780";

/// An http(s) server, by its base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    base: String,
    own_host: bool,
}

impl Server {
    /// True if `text` names our HTTP door; any other server value means AMQP (as in Kompira).
    pub fn is_url(text: &str) -> bool {
        let lower = text.trim().to_ascii_lowercase();
        lower.starts_with("http://") || lower.starts_with("https://")
    }

    /// Reads a base URL such as `https://vigie.example:8780` or `http://[::1]:8780/behind/proxy`.
    /// `port` counts if the URL itself has none.
    ///
    /// # Errors
    /// A sentence that never repeats the URL if it holds a user name or password.
    pub fn parse(text: &str, port: Option<u16>) -> Result<Server, String> {
        let text = text.trim();
        if text.contains('@') {
            return Err("a server URL must not hold a user name or password; \
                        put the token into a file (--token-file)"
                .to_owned());
        }
        let wrong = |why: &str| format!("`{text}` is no server URL: {why}");
        let uri: Uri = text.parse().map_err(|_| wrong("it cannot be read"))?;
        let scheme = uri.scheme_str().unwrap_or("").to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(wrong("it does not begin with http:// or https://"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("it has a query or a fragment"));
        }
        let host = uri.host().unwrap_or("");
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let port = uri.port_u16().or(port);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let path = uri.path().trim_end_matches('/');
        Ok(Server {
            base: format!("{scheme}://{host}{port}{path}"),
            own_host: is_own_host(host),
        })
    }

    /// The base URL without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// True if this is the host we run on, by a loopback name or address.
    pub fn is_own_host(&self) -> bool {
        self.own_host
    }

    /// The URL that takes events for `channel`, which is one percent-encoded segment.
    pub fn events_url(&self, channel: &str) -> String {
        use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
        // RFC 3986 §2.3: everything but the unreserved characters.
        const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'.')
            .remove(b'_')
            .remove(b'~');
        let channel = utf8_percent_encode(channel, RESERVED);
        format!("{}/api/v1/channels/{channel}/events", self.base)
    }
}

fn is_own_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}
