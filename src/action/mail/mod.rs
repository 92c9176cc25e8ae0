//! `mail::send` over SMTP.
//!
//! Invariant: the Message-ID depends on the run and the command alone, so a second try after a
//! crash is the same mail to every mailbox that looks; no control character reaches the library.

mod message;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde::Deserialize;

use super::{Action, Argument, Call, Failure, Performing, Repeat, Verb};
use crate::event::Value;
use crate::secret::Secret;

/// The `[smtp]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `smtp://HOST:PORT` or `smtps://HOST:PORT`; with smtp, `?tls=required`, `opportunistic` or
    /// `none`. Without it: none on loopback, required elsewhere.
    pub endpoint: String,
    /// The sender of mails that name none.
    pub from: String,
    /// The user name, if the relay wants one.
    pub user: String,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// Or the environment variable with it.
    pub password_env: Option<String>,
    /// How long handing over one mail may take, such as `"60s"`.
    pub timeout: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            endpoint: "smtp://127.0.0.1:25".to_owned(),
            from: "vigie@localhost".to_owned(),
            user: String::new(),
            password_file: None,
            password_env: None,
            timeout: "60s".to_owned(),
        }
    }
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    None,
    /// TLS from the first byte (smtps).
    Wrapped,
    /// STARTTLS or nothing.
    Required,
    /// STARTTLS if it is offered.
    Opportunistic,
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// `[smtp]` with its password read, ready for use. Connects on first use.
#[derive(Clone)]
pub struct Service {
    host: String,
    port: u16,
    protection: Protection,
    from: Mailbox,
    login: Option<(String, Secret)>,
    timeout: Duration,
    transport: Arc<OnceLock<Result<Transport, String>>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Smtp")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// What nobody may see, not even where the target quotes it.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.login.as_ref().map(|(_, password)| password)
    }

    /// Checks the settings and reads the password; a relative path counts from `folder`.
    ///
    /// # Errors
    /// A sentence about the key that is wrong; also a password that would travel unprotected to
    /// another host.
    pub fn prepare(settings: Settings, folder: &Path) -> Result<Service, String> {
        let file = settings
            .password_file
            .map(|file| super::under(folder, &file));
        let password = Secret::from_settings("password", &file, &settings.password_env)?;
        let login = match (settings.user.is_empty(), password) {
            (true, None) => None,
            (false, Some(password)) => Some((settings.user, password)),
            _ => {
                return Err(
                    "set both `user` and password_file (or password_env), or none".to_owned(),
                );
            }
        };
        let (host, port, protection) = endpoint(&settings.endpoint)?;
        let is_bare = matches!(protection, Protection::None | Protection::Opportunistic);
        if login.is_some() && is_bare && !is_loopback(&host) {
            return Err("a password needs smtps:// or ?tls=required".to_owned());
        }
        let from = message::mailbox("from", &settings.from).map_err(|why| why.message)?;
        Ok(Service {
            host,
            port,
            protection,
            from,
            login,
            timeout: super::timeout(&settings.timeout)?,
            transport: Arc::default(),
        })
    }

    fn transport(&self) -> Result<&Transport, Failure> {
        let made = self.transport.get_or_init(|| self.make());
        made.as_ref()
            .map_err(|why| Failure::other(format!("no SMTP client: {why}")))
    }

    fn make(&self) -> Result<Transport, String> {
        let bare = self.host.trim_matches(['[', ']']).to_owned();
        let parameters = || TlsParameters::new(bare.clone()).map_err(|why| why.to_string());
        let tls = match self.protection {
            Protection::None => Tls::None,
            Protection::Wrapped => Tls::Wrapper(parameters()?),
            Protection::Required => Tls::Required(parameters()?),
            Protection::Opportunistic => Tls::Opportunistic(parameters()?),
        };
        let mut builder = Transport::builder_dangerous(bare.clone())
            .port(self.port)
            .tls(tls)
            .timeout(Some(self.timeout));
        if let Some((user, password)) = &self.login {
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(builder.build())
    }
}

/// `mail::*`
pub struct Mail;

const VERBS: &[Verb] = &[Verb {
    name: "send",
    arguments: &[Argument::required("mail", "map")],
    about: "sends a mail: to, cc, bcc (texts or lists), subject, text, html, from, reply_to, in_reply_to, headers, attachments [#{ filename, type, bytes }]; gives #{ message_id, accepted }",
    example: r#"mail::send(#{ to: "ops@example.org", subject: "web01 is down", text: event.output });"#,
    repeat: Repeat::InDoubt,
}];

impl Action for Mail {
    fn name(&self) -> &'static str {
        "mail"
    }

    fn about(&self) -> &'static str {
        "sends mails over SMTP"
    }

    fn verbs(&self) -> &'static [Verb] {
        VERBS
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a> {
        Box::pin(perform(call))
    }
}

async fn perform(call: Call<'_>) -> Result<Value, Failure> {
    let service = call.services.smtp.as_ref();
    let service = service.ok_or_else(|| Failure::not_configured("smtp"))?;
    let mail = message::read(&call, &service.from)?;
    let letter = build(mail).await?;
    let transport = service.transport()?;
    let place = format!("{}:{}", service.host, service.port);
    // Up to here nothing is sent, so nothing is in doubt; it also wakes or drops idle connections.
    let reached = tokio::time::timeout(service.timeout, transport.test_connection()).await;
    match reached {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Err(Failure::away(format!("{place} does not answer"))),
        Ok(Err(why)) => return Err(of_error(&place, &why)),
        Err(_) => return Err(Failure::away(format!("{place} did not answer in time"))),
    }
    let sent = transport.send_raw(&letter.envelope, &letter.bytes);
    match tokio::time::timeout(service.timeout, sent).await {
        Ok(Ok(_)) => Ok(letter.outcome()),
        Ok(Err(why)) if why.is_transient() || why.is_permanent() => Err(of_error(&place, &why)),
        Ok(Err(why)) => Err(of_error(&place, &why).in_doubt()),
        Err(_) => Err(Failure::away(format!("{place} did not take the mail in time")).in_doubt()),
    }
}

/// Builds the mail on its own task: the library is known to panic on some input, and should it do
/// so on more than what is refused before, that must cost one mail and not the server.
async fn build(mail: message::Mail) -> Result<message::Letter, Failure> {
    let built = tokio::task::spawn_blocking(move || mail.build()).await;
    built.unwrap_or_else(|_| Err(Failure::refused("the mail cannot be built")))
}

/// 4xx comes and goes, 5xx stays (RFC 5321 §4.2.1); everything else is the connection.
fn of_error(place: &str, why: &lettre::transport::smtp::Error) -> Failure {
    let status = why.status().and_then(|code| code.to_string().parse().ok());
    let message = format!("{place}: {why}");
    let mut failure = match why.is_permanent() {
        true => Failure::refused(message),
        false => Failure::away(message),
    };
    failure.status = status;
    failure
}

fn endpoint(text: &str) -> Result<(String, u16, Protection), String> {
    let wrong = || format!("`endpoint` is \"{text}\"; one looks like smtp://127.0.0.1:25");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let place = place.trim_end_matches('/');
    if place.is_empty() || place.contains(['@', '/']) {
        return Err(wrong());
    }
    let has_port = place
        .rsplit(':')
        .next()
        .is_some_and(|tail| !tail.contains(']'))
        && place.contains(':');
    let (host, port) = match has_port {
        true => place.rsplit_once(':').unwrap_or((place, "")),
        false => (place, ""),
    };
    let protection = match (scheme, query) {
        ("smtps", "") => Protection::Wrapped,
        ("smtp", "tls=required") => Protection::Required,
        ("smtp", "tls=opportunistic") => Protection::Opportunistic,
        ("smtp", "tls=none") => Protection::None,
        ("smtp", "") if is_loopback(host) => Protection::None,
        ("smtp", "") => Protection::Required,
        _ => return Err(wrong()),
    };
    let default = if protection == Protection::Wrapped {
        "465"
    } else {
        "25"
    };
    let port = if port.is_empty() { default } else { port };
    let port = port.parse().map_err(|_| wrong())?;
    Ok((host.to_owned(), port, protection))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}
