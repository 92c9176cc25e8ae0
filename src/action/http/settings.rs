//! What settings.toml says about requests that leave: `[http] allow` and `[proxy]`.
//!
//! Loopback never goes through a proxy: the services there are this machine's own.

use std::fmt;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde::Deserialize;

use crate::secret::Secret;

/// Hosts that are asked directly whatever the proxy settings say.
const DIRECT: &str = "localhost,127.0.0.0/8,::1";

/// How the HTTP client is meant to behave.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `[http] allow`: hosts, `host:port`, `*.domain`, addresses and networks that flows may
    /// reach. Absent: every address but link-local ones and cloud metadata.
    pub allow: Option<Vec<String>>,
    /// `[proxy]`
    pub proxy: Proxy,
}

/// The `[proxy]` section. What it leaves out comes from the environment (`https_proxy`,
/// `http_proxy`, `all_proxy`, `no_proxy`, in lower or upper case).
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// The URL of the proxy for https targets; empty counts as absent.
    pub https: String,
    /// The URL of the proxy for http targets; empty counts as absent.
    pub http: String,
}

impl fmt::Debug for Proxy {
    /// Only whether they are set: a proxy's URL may hold a password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Proxy")
            .field("https", &!self.https.is_empty())
            .field("http", &!self.http.is_empty())
            .finish()
    }
}

impl Proxy {
    /// Looks whether the URLs are some.
    ///
    /// # Errors
    /// Names the key whose URL cannot be read.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, url) in [("https", &self.https), ("http", &self.http)] {
            if !url.is_empty() && Url::parse(url).is_err() {
                return Err(format!("`{key}` under [proxy] is no URL"));
            }
        }
        Ok(())
    }

    /// True if any request goes through a proxy.
    pub(super) fn is_in_use(&self) -> bool {
        !self.urls().is_empty()
    }

    /// The names of the proxies, which the address policy lets pass.
    pub(super) fn hosts(&self) -> Vec<String> {
        self.urls()
            .iter()
            .filter_map(|(_, url)| Url::parse(url).ok()?.host_str().map(str::to_owned))
            .collect()
    }

    /// The passwords in the proxies' URLs, as they travel: a proxy's error page may quote them.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let password = |(_, url): (bool, String)| {
            let url = Url::parse(&url).ok()?;
            let password = percent_decode_str(url.password()?).decode_utf8().ok()?;
            Some(Secret::new(password.into_owned()))
        };
        self.urls().into_iter().filter_map(password).collect()
    }

    /// The same for the library.
    pub(super) fn libraries(&self) -> Result<Vec<reqwest::Proxy>, String> {
        let direct = match variable("no_proxy") {
            Some(more) => format!("{DIRECT},{more}"),
            None => DIRECT.to_owned(),
        };
        let make = |(is_tls, url): (bool, String)| {
            let made = match is_tls {
                true => reqwest::Proxy::https(url.as_str()),
                false => reqwest::Proxy::http(url.as_str()),
            };
            made.map(|proxy| proxy.no_proxy(reqwest::NoProxy::from_string(&direct)))
                // The library's own message would quote the URL.
                .map_err(|_| "the proxy's URL cannot be used".to_owned())
        };
        self.urls().into_iter().map(make).collect()
    }

    fn urls(&self) -> Vec<(bool, String)> {
        let own = |url: &String| Some(url.clone()).filter(|url| !url.is_empty());
        let all = || variable("all_proxy");
        let https = own(&self.https).or_else(|| variable("https_proxy").or_else(all));
        let http = own(&self.http).or_else(|| variable("http_proxy").or_else(all));
        let https = https.map(|url| (true, url));
        https
            .into_iter()
            .chain(http.map(|url| (false, url)))
            .collect()
    }
}

fn variable(name: &str) -> Option<String> {
    let read = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    read(name).or_else(|| read(&name.to_ascii_uppercase()))
}
