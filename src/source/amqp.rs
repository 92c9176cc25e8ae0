//! `kind = "amqp"`: takes messages from a queue of a broker, such as RabbitMQ.
//!
//! Invariant: a message is acknowledged only after its events are on disk, so the broker gives again
//! what was in flight when either end died; those with an id are known then and kept once.

mod consumer;
pub mod decode;
pub mod keep;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use self::consumer::{Consumer, Wanted};
use super::{Block, Context, Door, Opened, Source, Trouble};
use crate::amqp::{Broker, Wish};
use crate::error::Diagnostic;
use crate::secret::Secret;

pub use consumer::{BATCH_BYTES_MAX, PREFETCH_MAX};

/// The queue of Kompira's senders.
const KOMPIRA_QUEUE: &str = "io_queue";
/// How many messages the broker gives ahead unless told otherwise.
const PREFETCH: u16 = 200;

/// The kind.
pub struct Amqp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    server: String,
    #[serde(default = "usual_host")]
    virtual_host: String,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    #[serde(default)]
    profile: Profile,
    queue: Option<String>,
    exchange: Option<String>,
    #[serde(default)]
    routing_keys: Vec<String>,
    #[serde(default = "usual_prefetch")]
    prefetch: u16,
    tls: Option<bool>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
}

/// How messages are read, and how their queue is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Profile {
    /// Each is JSON, whatever it says of itself.
    #[default]
    Json,
    /// By what each says of itself: JSON, text, a mail, else bytes.
    ByType,
    /// As Kompira's senders send, with the queue made as they make it.
    Kompira,
}

fn usual_host() -> String {
    "/".to_owned()
}

fn usual_prefetch() -> u16 {
    PREFETCH
}

impl Source for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn about(&self) -> &'static str {
        "takes messages from a queue of RabbitMQ or another AMQP 0-9-1 broker"
    }

    fn example(&self) -> &'static str {
        "server = \"localhost\"\nprofile = \"kompira\""
    }

    fn read(&self, block: &Block<'_>) -> Result<Arc<dyn Door>, Diagnostic> {
        let keys: Keys = block.keys()?;
        let password = block.secret("password", &keys.password_file, &keys.password_env)?;
        let broker = broker(&keys, password, block)?;
        let wanted = wanted(keys, block)?;
        Ok(Arc::new(Consumer { broker, wanted }))
    }
}

fn broker(keys: &Keys, password: Option<Secret>, block: &Block) -> Result<Broker, Diagnostic> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| block.path(path));
    let wish = Wish {
        server: keys.server.clone(),
        virtual_host: keys.virtual_host.clone(),
        user: keys.user.clone(),
        password,
        tls: keys.tls,
        authorities: path(&keys.tls_ca),
        certificate: path(&keys.tls_cert),
        key: path(&keys.tls_key),
    };
    wish.broker().map_err(|(key, why)| block.wrong(key, why))
}

fn wanted(keys: Keys, block: &Block<'_>) -> Result<Wanted, Diagnostic> {
    let is_kompira = keys.profile == Profile::Kompira;
    if !(1..=PREFETCH_MAX).contains(&keys.prefetch) {
        let why = format!("`prefetch` is 1 to {PREFETCH_MAX}");
        return Err(block.wrong("prefetch", why));
    }
    if keys.exchange.is_none() && !keys.routing_keys.is_empty() {
        let why = "`routing_keys` say what is wanted of an `exchange`, and there is none";
        return Err(block.wrong("routing_keys", why));
    }
    let queue = match (keys.queue, &keys.exchange) {
        (Some(queue), _) => queue,
        (None, None) if is_kompira => KOMPIRA_QUEUE.to_owned(),
        (None, Some(_)) => format!("vigie.{}", block.channel()),
        (None, None) => return Err(block.wrong("queue", "which `queue`?")),
    };
    if queue.is_empty() || queue.len() > 255 {
        return Err(block.wrong("queue", "a queue's name has 1 to 255 bytes"));
    }
    let routing_keys = match keys.routing_keys.is_empty() {
        true => vec!["#".to_owned()],
        false => keys.routing_keys,
    };
    let long = |key: &String| key.len() > 255;
    if routing_keys.iter().any(long) || keys.exchange.as_ref().is_some_and(long) {
        return Err(block.wrong("routing_keys", "AMQP's names have at most 255 bytes"));
    }
    Ok(Wanted {
        queue,
        is_kompira,
        is_json: keys.profile == Profile::Json,
        binding: keys.exchange.map(|exchange| (exchange, routing_keys)),
        prefetch: keys.prefetch,
    })
}

impl Door for Consumer {
    fn place(&self) -> String {
        format!("{} queue {}", self.broker.url(), self.wanted.queue)
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        Box::pin(async {
            // That the broker is away is no reason to call this server unready.
            context.up();
            tokio::select! {
                () = context.stopped() => Ok(()),
                ended = self.consume(context) => ended.map_err(|why| {
                    Trouble(format!("{}: {why}", self.broker.url()))
                }),
            }
        })
    }
}
