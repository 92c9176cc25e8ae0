//! The server's HTTP door as a sender sees it: one try, one answer.
//!
//! Only 202 means accepted; any other success comes from something that is not our server.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Timeout};

use super::{
    Answer, IDEMPOTENCY_HEADER, META_HEADER, Patience, Post, SENT_AT_HEADER, SITE_ID_HEADER,
    SOURCE_HEADER, Server,
};
use crate::secret::Secret;

/// How much of an answer is read for its reason, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Longest reason that is shown, in characters.
const REASON_CHARS_MAX: usize = 500;
/// Bodies from this size on ask first (`Expect: 100-continue`), so that a refusal for size is
/// heard instead of a broken connection.
const ASK_FIRST_BYTES: usize = 256 * 1024;

/// How an https server is trusted; nothing here counts for http.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Accept any certificate; only ever set on the command line.
    pub any_certificate: bool,
    /// PEM file with the only certificates to trust; absent: the host's own.
    pub trusted: Option<PathBuf>,
    /// PEM files of our own certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// A connection to be made to one server.
pub struct HttpDoor {
    agent: Agent,
    server: Server,
    authorization: Option<Secret>,
}

impl HttpDoor {
    /// Gets ready to speak to `server`; nothing is sent yet.
    ///
    /// # Errors
    /// A sentence that names the PEM file that cannot be used.
    pub fn new(
        server: Server,
        security: &Security,
        token: Option<Secret>,
        patience: &Patience,
    ) -> Result<HttpDoor, String> {
        let agent = agent(&server, security, patience)?;
        let authorization = token.map(|token| Secret::new(format!("Bearer {}", token.expose())));
        Ok(HttpDoor {
            agent,
            server,
            authorization,
        })
    }

    /// The server behind it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Hands over one event, once.
    pub fn post(&self, post: &Post) -> Answer {
        let mut request = self
            .agent
            .post(self.server.events_url(&post.channel))
            .header("content-type", &post.content_type)
            .header(IDEMPOTENCY_HEADER, &post.correlation_id)
            .header(SOURCE_HEADER, &post.source)
            .header(SENT_AT_HEADER, &post.received_at);
        if let Some(site_id) = post.site_id() {
            request = request.header(SITE_ID_HEADER, site_id);
        }
        if let Some(meta) = post.meta_header() {
            request = request.header(META_HEADER, meta);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.expose());
        }
        if post.body.len() >= ASK_FIRST_BYTES {
            request = request.header("expect", "100-continue");
        }
        match request.send(post.body.as_slice()) {
            Ok(response) => answer(response),
            Err(error) => away(&error),
        }
    }

    /// Asks whether the server is ready to take events.
    ///
    /// # Errors
    /// A sentence: away, or not ready, with the reason.
    pub fn ready(&self) -> Result<(), String> {
        let url = format!("{}/readyz", self.server.base());
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.expose());
        }
        let response = request.call().map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        match status {
            200 => Ok(()),
            _ => Err(format!("status {status}: {}", reason(response))),
        }
    }
}

/// A client for `server`; nothing is sent yet.
///
/// # Errors
/// A sentence that names the PEM file that cannot be used.
pub fn agent(server: &Server, security: &Security, patience: &Patience) -> Result<Agent, String> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("vigie-sender/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.answer))
        .timeout_global(Some(patience.connect + patience.answer));
    if server.is_own_host() {
        config = config.proxy(None);
    }
    if server.base().starts_with("https:") {
        config = config.tls_config(tls(security)?);
    }
    Ok(config.build().new_agent())
}

fn answer(response: ureq::http::Response<ureq::Body>) -> Answer {
    let status = response.status().as_u16();
    if status == 202 {
        return Answer::Accepted;
    }
    let reason = reason(response);
    match status {
        408 | 429 | 500..=599 => Answer::Away {
            reason: format!("status {status}: {reason}"),
            is_connect: false,
            is_passing: true,
        },
        400..=499 => Answer::Refused { status, reason },
        _ => Answer::Away {
            reason: format!("status {status}, which a vigie server does not answer"),
            is_connect: false,
            is_passing: false,
        },
    }
}

/// The server's sentence out of `{"error":{"code","message"}}`, else the start of what it said.
fn reason(response: ureq::http::Response<ureq::Body>) -> String {
    let mut bytes = Vec::new();
    let mut body = response.into_body();
    // What cannot be read is left out: the status says enough.
    let _ = body
        .as_reader()
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes);
    let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let message = json.as_ref().and_then(|json| {
        let error = json.get("error")?;
        error.get("message").unwrap_or(error).as_str()
    });
    let text = message.map_or_else(
        || String::from_utf8_lossy(&bytes).into_owned(),
        str::to_owned,
    );
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().take(REASON_CHARS_MAX).collect::<String>() {
        empty if empty.is_empty() => "no reason given".to_owned(),
        reason => reason,
    }
}

fn away(error: &ureq::Error) -> Answer {
    use ureq::Error;
    let is_connect = match error {
        Error::HostNotFound | Error::ConnectionFailed => true,
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => true,
        Error::Io(why) => why.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    };
    let is_passing = match error {
        // A handshake that fails for a certificate comes as this kind of i/o error.
        Error::Io(why) => why.kind() != std::io::ErrorKind::InvalidData,
        Error::Timeout(_) | Error::HostNotFound | Error::ConnectionFailed => true,
        Error::Protocol(_) | Error::ConnectProxyFailed(_) => true,
        _ => false,
    };
    Answer::Away {
        reason: error.to_string(),
        is_connect,
        is_passing,
    }
}

fn tls(security: &Security) -> Result<TlsConfig, String> {
    let roots = match &security.trusted {
        Some(file) => RootCerts::new_with_certs(&certificates(file)?),
        None => RootCerts::PlatformVerifier,
    };
    let own = match &security.own {
        Some((certificate, key)) => Some(ClientCert::new_with_certs(
            &certificates(certificate)?,
            private_key(key)?,
        )),
        None => None,
    };
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .disable_verification(security.any_certificate)
        .root_certs(roots)
        .client_cert(own)
        .build())
}

fn certificates(file: &PathBuf) -> Result<Vec<Certificate<'static>>, String> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|why| format!("cannot read {name}: {why}"))?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(format!("{name} holds no certificate in PEM form"));
    }
    Ok(found)
}

fn private_key(file: &PathBuf) -> Result<PrivateKey<'static>, String> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|why| format!("cannot read {name}: {why}"))?;
    PrivateKey::from_pem(&pem).map_err(|_| format!("{name} holds no private key in PEM form"))
}
