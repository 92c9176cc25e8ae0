//! The one HTTP client: bounded in time, size and redirects, and kept to the address policy.
//!
//! Invariant: everything that leaves for a flow passes [`Policy::judge`] and resolves through
//! [`Resolver`]; TLS is always verified. The libraries' clients are built on first use, because
//! loading the certificates takes longer than everything else that happens at start.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Url};

use super::failure::{of_error, of_status, place};
use super::policy::{Forbidden, Policy, literal};
use super::request::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Redirects, Request, Response};
use super::settings::{Proxy, Settings};
use crate::action::Failure;
use crate::secret::Secret;

/// How long a connection may take to come up, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// Connections kept open per host for the next request.
const IDLE_PER_HOST_MAX: usize = 8;

/// How names become addresses: the system's resolver, or a test's own.
pub type Names = Arc<dyn Fn(&str) -> Vec<IpAddr> + Send + Sync>;

/// The one HTTP client; cheap to copy.
#[derive(Clone, Default)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    policy: Arc<Policy>,
    proxy: Proxy,
    /// The proxy's own password.
    hidden: Vec<Secret>,
    names: Option<Names>,
    /// For URLs that flows make up.
    guarded: OnceLock<Result<reqwest::Client, String>>,
    /// For endpoints of settings.toml.
    trusted: OnceLock<Result<reqwest::Client, String>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.inner.policy;
        out.debug_struct("Client").field("policy", policy).finish()
    }
}

impl Client {
    /// A client as settings.toml wants it. Opens nothing.
    ///
    /// # Errors
    /// A sentence about the entry of `allow` or the proxy that cannot be read.
    pub fn prepare(settings: Settings) -> Result<Client, String> {
        Client::build(settings, None)
    }

    /// The same with names resolved by `names`, so that a test can be the DNS server.
    ///
    /// # Errors
    /// As [`Client::prepare`].
    pub fn with_names(settings: Settings, names: Names) -> Result<Client, String> {
        Client::build(settings, Some(names))
    }

    fn build(settings: Settings, names: Option<Names>) -> Result<Client, String> {
        settings.proxy.check()?;
        let inner = Inner {
            policy: Arc::new(Policy::new(settings.allow.as_deref())?),
            hidden: settings.proxy.secrets(),
            proxy: settings.proxy,
            names,
            ..Inner::default()
        };
        Ok(Client {
            inner: Arc::new(inner),
        })
    }

    /// Sends a request and gives its response if that is no failure.
    ///
    /// # Errors
    /// Refused: the policy, 4xx, a header with a control character, a response over
    /// [`RESPONSE_BYTES_MAX`]. Away: no connection, timeout, 408, 429, 5xx; in doubt if the
    /// request may have been carried out.
    pub async fn send(&self, mut request: Request) -> Result<Response, Failure> {
        request.hidden.extend(self.secrets().cloned());
        let mut url = parse(&request)?;
        let started = Instant::now();
        for _ in 0..=REDIRECTS_MAX {
            self.judge(&request, &url).await?;
            let left = request.timeout.saturating_sub(started.elapsed());
            let response = self.once(&request, &url, left).await?;
            match next(&request, &url, &response)? {
                None => return settle(&request, response),
                Some(hop) => url = follow(&mut request, &url, hop),
            }
        }
        let many = format!(
            "{} redirects more than {REDIRECTS_MAX} times",
            place(&request)
        );
        Err(Failure::refused(many))
    }

    /// What it was given that nobody may see.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.inner.hidden.iter()
    }

    /// Looks whether flows may ask this URL; a name is judged by its addresses only later.
    ///
    /// # Errors
    /// A sentence about what is not allowed.
    pub fn permits(&self, url: &str) -> Result<(), String> {
        let url = Url::parse(url).map_err(|why| why.to_string())?;
        self.inner.policy.judge(&url).map_err(|why| why.to_string())
    }

    async fn judge(&self, request: &Request, url: &Url) -> Result<(), Failure> {
        if request.trusted {
            return Ok(());
        }
        let refused = |why: Forbidden| Failure::refused(why.to_string());
        self.inner.policy.judge(url).map_err(refused)?;
        let host = url.host_str().unwrap_or("");
        let port = url.port_or_known_default().unwrap_or(0);
        if !self.inner.proxy.is_in_use() || literal(host).is_some() {
            return Ok(());
        }
        // A proxy resolves the name where we cannot see it, so what we can see is judged here.
        let resolver = self.resolver();
        let seen = resolver.look_up(host).await.unwrap_or_default();
        let bad = |address: &IpAddr| super::policy::is_forbidden(*address);
        match self.inner.policy.permits_unseen(host, port) && !seen.iter().any(bad) {
            true => Ok(()),
            false => Err(refused(Forbidden(format!("{host}:{port}")))),
        }
    }

    async fn once(
        &self,
        request: &Request,
        url: &Url,
        left: Duration,
    ) -> Result<Response, Failure> {
        let client = self.library(request.trusted)?;
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| Failure::refused(format!("`{}` is no method", request.method)))?;
        let mut builder = client.request(method, url.clone()).timeout(left);
        for (name, value) in &request.headers {
            builder = builder.header(header_name(name)?, header_value(name, value)?);
        }
        for (name, secret) in &request.secret_headers {
            let mut value = header_value(name, secret.expose())?;
            value.set_sensitive(true);
            builder = builder.header(header_name(name)?, value);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let response = builder
            .send()
            .await
            .map_err(|error| of_error(request, &error))?;
        read(request, response).await
    }

    fn library(&self, trusted: bool) -> Result<&reqwest::Client, Failure> {
        let cell = match trusted {
            true => &self.inner.trusted,
            false => &self.inner.guarded,
        };
        cell.get_or_init(|| self.make(trusted))
            .as_ref()
            .map_err(|why| Failure::other(format!("no HTTP client: {why}")))
    }

    fn make(&self, trusted: bool) -> Result<reqwest::Client, String> {
        // A second installation is refused, which is as good: the first one was the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("vigie/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false);
        if !trusted || self.inner.names.is_some() {
            builder = builder.dns_resolver(Arc::new(Resolver {
                trusted,
                ..self.resolver()
            }));
        }
        for proxy in self.inner.proxy.libraries()? {
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(|why| why.to_string())
    }

    fn resolver(&self) -> Resolver {
        Resolver {
            policy: Arc::clone(&self.inner.policy),
            names: self.inner.names.clone(),
            proxies: self.inner.proxy.hosts(),
            trusted: false,
        }
    }
}

/// Resolves names and leaves only addresses that the policy permits, so that the address judged is
/// the address connected to.
#[derive(Clone)]
struct Resolver {
    policy: Arc<Policy>,
    names: Option<Names>,
    /// Proxies are the operator's choice.
    proxies: Vec<String>,
    trusted: bool,
}

impl Resolver {
    async fn look_up(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        if let Some(names) = &self.names {
            return Ok(names(host));
        }
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }

    async fn permitted(
        self,
        host: String,
    ) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let mut found = self.look_up(&host).await?;
        let free = self.trusted || self.proxies.contains(&host);
        let before = found.len();
        found.retain(|address| free || self.policy.permits_resolved(&host, *address));
        if found.is_empty() && before > 0 {
            return Err(Box::new(Forbidden(format!("the address behind {host}"))));
        }
        if found.is_empty() {
            return Err(format!("{host} has no address").into());
        }
        Ok(Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0))))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        let host = name.as_str().to_owned();
        Box::pin(resolver.permitted(host))
    }
}

fn parse(request: &Request) -> Result<Url, Failure> {
    if request.body.as_ref().map_or(0, Vec::len) > REQUEST_BYTES_MAX {
        let long = format!("the body is larger than {REQUEST_BYTES_MAX} bytes");
        return Err(Failure::refused(long));
    }
    if request.url.chars().any(char::is_control) {
        return Err(Failure::refused("the URL has a control character"));
    }
    let wrong = |why| Failure::refused(format!("{} is no URL: {why}", place(request)));
    let mut url = Url::parse(&request.url).map_err(wrong)?;
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    Ok(url)
}

/// `host:port` of an http or https URL without a user.
pub(super) fn peer(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let good = matches!(url.scheme(), "http" | "https") && url.username().is_empty();
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    (good && url.password().is_none()).then(|| format!("{host}:{port}"))
}

pub(super) fn header_name(name: &str) -> Result<HeaderName, Failure> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Failure::refused(format!("{name:?} is no header name")))
}

pub(super) fn header_value(name: &str, value: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| Failure::refused(format!("the header `{name}` has a control character")))
}

async fn read(request: &Request, response: reqwest::Response) -> Result<Response, Failure> {
    let mut response = response;
    let mut read = Response {
        status: response.status().as_u16(),
        headers: Default::default(),
        body: Vec::new(),
    };
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        read.headers
            .entry(name.as_str().to_owned())
            .and_modify(|known: &mut String| *known = format!("{known}, {value}"))
            .or_insert_with(|| value.to_string());
    }
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| of_error(request, &error))?
    {
        if read.body.len() + chunk.len() > RESPONSE_BYTES_MAX {
            return Err(too_large(request, read.status));
        }
        read.body.extend_from_slice(&chunk);
    }
    Ok(read)
}

fn too_large(request: &Request, status: u16) -> Failure {
    let place = place(request);
    let long = format!("the answer of {place} is larger than {RESPONSE_BYTES_MAX} bytes");
    let mut failure = Failure::refused(long).status(status);
    failure.in_doubt = request.is_write();
    failure
}

fn settle(request: &Request, response: Response) -> Result<Response, Failure> {
    match response.status < 400 || request.accept.has(response.status) {
        true => Ok(response),
        false => Err(of_status(request, &response)),
    }
}

/// A redirect that is followed.
struct Hop {
    to: Url,
    /// 303: read the other resource instead of repeating the request there.
    reads: bool,
}

/// Where to go next: nowhere, or to the response's `Location`. A write that is redirected with
/// 301 or 302 is refused, because repeating it as GET (as browsers do) would lose it silently.
fn next(request: &Request, url: &Url, response: &Response) -> Result<Option<Hop>, Failure> {
    let status = response.status;
    if !matches!(status, 301 | 302 | 303 | 307 | 308) || request.accept.has(status) {
        return Ok(None);
    }
    let there = response
        .headers
        .get(LOCATION.as_str())
        .map_or("", String::as_str);
    let shown = request.scrub(there.split('?').next().unwrap_or("").to_owned());
    let refused = |why: &str| {
        let place = place(request);
        Failure::refused(format!("{place} answered {status} to {shown}; {why}")).status(status)
    };
    if request.redirects == Redirects::Refuse {
        return Err(refused("set `endpoint` to where it really is"));
    }
    if request.is_write() && matches!(status, 301 | 302) {
        return Err(refused("a write is not repeated elsewhere as a read"));
    }
    let target = url.join(there).map_err(|_| refused("which is no URL"))?;
    match url.scheme() == "https" && target.scheme() != "https" {
        true => Err(refused("a redirect must not leave TLS")),
        false => Ok(Some(Hop {
            to: target,
            reads: status == 303 && request.is_write(),
        })),
    }
}

/// The request as it goes on: another host gets no credentials.
fn follow(request: &mut Request, from: &Url, hop: Hop) -> Url {
    if hop.reads {
        request.method = "GET".to_owned();
        request.body = None;
        request
            .headers
            .retain(|(name, _)| !name.to_ascii_lowercase().starts_with("content-"));
    }
    if from.origin() != hop.to.origin() {
        let harmless = |name: &str| name.starts_with("accept") || name.starts_with("content-");
        request
            .headers
            .retain(|(name, _)| harmless(&name.to_ascii_lowercase()));
        request.secret_headers.clear();
    }
    request.url = hop.to.to_string();
    hop.to
}
