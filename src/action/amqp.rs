//! `amqp::publish`: a message to an exchange of a broker, such as the bus of Canopsis.
//!
//! Invariant: a message counts as published only once the broker confirmed it and some queue took it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::arguments::{Options, wrong};
use super::{Action, Argument, Call, Failure, Performing, Repeat, Verb, under};
use crate::amqp::{
    Broker, CHANNEL, Frame, Link, Message, Method, Trouble, Wish, basic, confirm, opening,
};
use crate::event::Value;
use crate::secret::Secret;

/// Largest body of a message, in bytes; RabbitMQ takes 128 MiB, Canopsis less than this.
pub const PUBLISH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The bus of Canopsis, for which the routing key is built from the event.
const CANOPSIS_EXCHANGE: &str = "canopsis.events";
/// How long a connection is kept that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// What the verb knows.
const OPTIONS: &[&str] = &["exchange", "routing_key", "body", "headers", "content_type"];

/// The `[amqp]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `mq.example`, `localhost`, `mq.example:5671`, `[::1]:5672`.
    pub server: String,
    /// The virtual host; `canopsis` for the bus of Canopsis.
    pub virtual_host: String,
    /// The user; absent on the own host: guest.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// Or the environment variable with it.
    pub password_env: Option<String>,
    /// TLS or not; absent: everywhere but on the own host.
    pub tls: Option<bool>,
    /// The only authorities to trust; absent: the host's.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate and its key, which log in if there is no user.
    pub tls_cert: Option<PathBuf>,
    /// See `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// How long one message may take, such as `"30s"`.
    pub timeout: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            server: "localhost".to_owned(),
            virtual_host: "/".to_owned(),
            user: None,
            password_file: None,
            password_env: None,
            tls: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            timeout: "30s".to_owned(),
        }
    }
}

/// `[amqp]`, ready for use. Connects on first use.
#[derive(Clone)]
pub struct Service {
    broker: Broker,
    timeout: Duration,
    /// A connection that nobody uses at the moment.
    idle: Arc<Mutex<Option<(Link, Instant)>>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Amqp")
            .field("broker", &self.broker.url())
            .finish_non_exhaustive()
    }
}

impl Service {
    /// What nobody may see, not even where the broker quotes it. The guest's password is no secret.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match &self.broker.login {
            crate::amqp::Login::Plain { user, password } if user != "guest" => Some(password),
            _ => None,
        }
    }

    /// Checks the settings and reads the password; a relative path counts from `folder`.
    ///
    /// # Errors
    /// A sentence about the key that is wrong.
    pub fn prepare(settings: Settings, folder: &Path) -> Result<Service, String> {
        let path = |file: Option<PathBuf>| file.map(|file| under(folder, &file));
        let file = path(settings.password_file);
        let wish = Wish {
            server: settings.server,
            virtual_host: settings.virtual_host,
            user: settings.user,
            password: Secret::from_settings("password", &file, &settings.password_env)?,
            tls: settings.tls,
            authorities: path(settings.tls_ca),
            certificate: path(settings.tls_cert),
            key: path(settings.tls_key),
        };
        let broker = wish
            .broker()
            .map_err(|(key, why)| format!("`{key}`: {why}"))?;
        if let Some(protection) = &broker.protection {
            protection.config()?;
        }
        Ok(Service {
            broker,
            timeout: super::timeout(&settings.timeout)?,
            idle: Arc::default(),
        })
    }

    fn idle(&self) -> Option<Link> {
        let idle = self.idle.lock();
        let (mut link, since) = idle.unwrap_or_else(PoisonError::into_inner).take()?;
        let is_quiet = matches!(link.waiting_frame(), Ok(None));
        (is_quiet && since.elapsed() < IDLE_MAX).then_some(link)
    }

    fn keep_idle(&self, link: Link) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        *idle = Some((link, Instant::now()));
    }

    /// A connection on which messages are confirmed.
    async fn link(&self) -> Result<Link, Trouble> {
        if let Some(link) = self.idle() {
            return Ok(link);
        }
        let mut link = Link::open(&self.broker, 0).await?;
        let select = confirm::AMQPMethod::Select(confirm::Select { nowait: false });
        link.ask(Method::Confirm(select)).await?;
        Ok(link)
    }

    async fn publish(&self, message: &Message) -> Result<(), Failure> {
        let mut link = match tokio::time::timeout(self.timeout, self.link()).await {
            Ok(Ok(link)) => link,
            Ok(Err(trouble)) => return Err(self.failure(&trouble)),
            Err(_) => return Err(self.failure(&Trouble::Late)),
        };
        let bytes = message.publish(CHANNEL, link.terms().frame_bytes_max);
        let bytes = bytes.map_err(Failure::refused)?;
        let sending = async {
            link.write(&bytes).await?;
            confirmed(&mut link).await
        };
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(Ok(None)) => {
                self.keep_idle(link);
                Ok(())
            }
            Ok(Ok(Some(given_back))) => {
                self.keep_idle(link);
                Err(Failure::refused(given_back).status(312))
            }
            // A broker that says no did not take it; any other end leaves that open.
            Ok(Err(trouble @ (Trouble::Closed { .. } | Trouble::Nacked))) => {
                Err(self.failure(&trouble))
            }
            Ok(Err(trouble)) => Err(self.failure(&trouble).in_doubt()),
            Err(_) => Err(self.failure(&Trouble::Late).in_doubt()),
        }
    }

    fn failure(&self, trouble: &Trouble) -> Failure {
        let said = format!("{}: {trouble}", self.broker.url());
        match trouble {
            Trouble::Closed { code, .. } if !trouble.is_passing() => {
                Failure::refused(said).status(*code)
            }
            Trouble::Closed { code, .. } => Failure::away(said).status(*code),
            Trouble::NoMechanism { .. } => Failure::refused(said),
            Trouble::Frame(_) | Trouble::Unexpected(_) | Trouble::Unusable(_) => {
                Failure::other(said)
            }
            _ => Failure::away(said),
        }
    }
}

/// Waits for the confirmation; what the broker says if no queue took the message.
async fn confirmed(link: &mut Link) -> Result<Option<String>, Trouble> {
    use basic::AMQPMethod::{Ack, Nack, Return};
    let mut given_back = None;
    loop {
        match link.frame().await? {
            Frame::Method(_, Method::Basic(Ack(_))) => return Ok(given_back),
            Frame::Method(_, Method::Basic(Nack(_))) => return Err(Trouble::Nacked),
            Frame::Method(_, Method::Basic(Return(said))) => {
                let (exchange, key) = (said.exchange, said.routing_key);
                given_back = Some(format!(
                    "no queue takes what is published to `{exchange}` with `{key}`"
                ));
            }
            // Our own message, given back.
            Frame::Header(..) | Frame::Body(..) => {}
            other => return Err(opening::unexpected(&other)),
        }
    }
}

/// `amqp::*`
pub struct Amqp;

const VERBS: &[Verb] = &[Verb {
    name: "publish",
    arguments: &[Argument::required("options", "map")],
    about: "publishes a message (exchange, routing_key, body, headers, content_type) and waits for the confirm; a map is sent as JSON; for `canopsis.events` the routing key is built from the event; gives #{ exchange, routing_key, message_id }",
    example: r#"amqp::publish(#{ exchange: "canopsis.events", body: #{ connector: "vigie", connector_name: "main", event_type: "check", source_type: "resource", component: "web01", resource: "cpu", state: 2, output: "high" } });"#,
    repeat: Repeat::InDoubt,
}];

impl Action for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn about(&self) -> &'static str {
        "publishes messages to RabbitMQ or another AMQP 0-9-1 broker"
    }

    fn verbs(&self) -> &'static [Verb] {
        VERBS
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a> {
        Box::pin(perform(call))
    }
}

async fn perform(call: Call<'_>) -> Result<Value, Failure> {
    let service = call.services.amqp.as_ref();
    let service = service.ok_or_else(|| Failure::not_configured("amqp"))?;
    let message = message(&call)?;
    service.publish(&message).await?;
    Ok(Value::from([
        ("exchange", Value::from(message.exchange)),
        ("routing_key", Value::from(message.routing_key)),
        ("message_id", Value::from(message.message_id)),
    ]))
}

fn message(call: &Call<'_>) -> Result<Message, Failure> {
    let options = Options::new(call.argument(0), OPTIONS)?;
    let exchange = options.required_text("exchange").or_else(|why| {
        // The default exchange has no name.
        let is_empty = options.value("exchange") == Some(&Value::from(""));
        is_empty.then(String::new).ok_or(why)
    })?;
    let body = options.value("body").unwrap_or(&Value::Null);
    let routing_key = match options.text("routing_key")? {
        Some(key) => key,
        None if exchange == CANOPSIS_EXCHANGE => canopsis_key(body)?,
        None => return Err(Failure::refused("`routing_key` is missing")),
    };
    let (usual_type, bytes) = match body {
        Value::Text(text) => (Some("text/plain; charset=utf-8"), text.clone().into_bytes()),
        Value::Bytes(bytes) => (None, bytes.to_vec()),
        Value::Map(_) | Value::List(_) => (
            Some("application/json"),
            body.to_json().to_string().into_bytes(),
        ),
        other => return Err(wrong("body", "a map, a list, text or bytes", other)),
    };
    if bytes.len() > PUBLISH_BYTES_MAX {
        let why = format!(
            "`body` has {} bytes, more than {PUBLISH_BYTES_MAX}",
            bytes.len()
        );
        return Err(Failure::refused(why));
    }
    let given_type = options.text("content_type")?;
    Ok(Message {
        exchange,
        routing_key,
        content_type: given_type.or_else(|| usual_type.map(str::to_owned)),
        message_id: Some(call.key.to_owned()),
        headers: options.map("headers")?.cloned().unwrap_or_default(),
        body: bytes,
        is_mandatory: true,
        ..Message::default()
    })
}

/// `connector.connector_name.event_type.source_type.component[.resource]`, as connectors of Canopsis
/// build it.
fn canopsis_key(event: &Value) -> Result<String, Failure> {
    let part = |name: &str| match event.get(name) {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text.as_str()),
        _ => Err(Failure::refused(format!(
            "the event has no `{name}`, which its routing key is built from"
        ))),
    };
    let names = [
        "connector",
        "connector_name",
        "event_type",
        "source_type",
        "component",
    ];
    let mut parts = names.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
    if parts[3] == "resource" {
        parts.push(part("resource")?);
    }
    Ok(parts.join("."))
}
