//! A real RabbitMQ with a port in the clear and one over TLS, where certificates may log in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use lapin::options::{BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use tempfile::TempDir;

use super::{LOOK_PATIENCE, Peer, free_port, need};
use crate::house::PATIENCE;

/// The script that becomes the server as whoever calls it; the one on `PATH` changes the user first.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/amqps");
/// The broker's own accounts, so that a certificate of `kompira` may log in.
const DEFINITIONS: &str = r#"{
  "users": [
    {"name": "guest", "password": "guest", "tags": "administrator"},
    {"name": "kompira", "password": "kompira", "tags": ""},
    {"name": "reader", "password": "reader", "tags": ""}
  ],
  "vhosts": [{"name": "/"}, {"name": "canopsis"}],
  "permissions": [
    {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "guest", "vhost": "canopsis", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "kompira", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "reader", "vhost": "/", "configure": "", "write": "", "read": ".*"}
  ]
}"#;

/// The one RabbitMQ that tests share; whoever holds it has its queues alone.
pub fn rabbit() -> MutexGuard<'static, Rabbit> {
    static RABBIT: OnceLock<Mutex<Rabbit>> = OnceLock::new();
    let rabbit = RABBIT.get_or_init(|| Mutex::new(Rabbit::start()));
    rabbit.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message taken out of a queue.
pub struct Taken {
    pub body: Vec<u8>,
    pub routing_key: String,
    pub properties: lapin::BasicProperties,
}

impl Taken {
    /// A header as text.
    pub fn header(&self, name: &str) -> String {
        let headers = self.properties.headers().as_ref().unwrap();
        match headers.inner().get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => format!("{other:?}"),
        }
    }
}

/// A running RabbitMQ.
pub struct Rabbit {
    server: Option<Peer>,
    _names: Peer,
    folder: TempDir,
    /// AMQP in the clear.
    pub port: u16,
    /// AMQP over TLS.
    pub tls_port: u16,
    ports: [u16; 2],
    /// Where its connections live.
    pub runtime: tokio::runtime::Runtime,
}

impl Rabbit {
    /// Starts one and waits until it takes connections.
    pub fn start() -> Rabbit {
        need("rabbit");
        let folder = tempfile::Builder::new()
            .prefix("vigie-rabbit-")
            .tempdir()
            .unwrap();
        let ports = [free_port(), free_port()];
        let mut names = Command::new("epmd");
        names.args(["-address", "127.0.0.1", "-port", &ports[0].to_string()]);
        let names_folder = folder.path().join("names");
        std::fs::create_dir(&names_folder).unwrap();
        let names = Peer::start("epmd", &names, &names_folder);
        let mut rabbit = Rabbit {
            server: None,
            _names: names,
            port: free_port(),
            tls_port: free_port(),
            folder,
            ports,
            runtime: tokio::runtime::Runtime::new().unwrap(),
        };
        rabbit.begin();
        rabbit
    }

    /// Starts the server again where it was, and waits until it takes connections.
    pub fn begin(&mut self) {
        let command = self.command();
        let mut server = Peer::start("rabbitmq", &command, self.folder.path());
        let up = server.wait("a connection", |_| self.answers());
        assert!(up.is_some(), "RabbitMQ ended:\n{}", server.log());
        self.server = Some(server);
    }

    /// Kills it without a warning.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// `127.0.0.1:PORT`
    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn command(&self) -> Command {
        let folder = self.folder.path();
        let file = |name: &str, text: &str| -> PathBuf {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let definitions = file("definitions.json", DEFINITIONS);
        let plugins = "[rabbitmq_auth_mechanism_ssl].";
        let mut command = Command::new(SERVER);
        command
            .env("HOME", folder)
            .env("RABBITMQ_CONF_ENV_FILE", file("environment", ""))
            .env(
                "RABBITMQ_CONFIG_FILE",
                file("rabbitmq.conf", &self.conf(&definitions)),
            )
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins", plugins))
            .env(
                "RABBITMQ_NODENAME",
                format!("vigie_{}@localhost", self.port),
            )
            .env("RABBITMQ_DIST_PORT", self.ports[1].to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            .env("ERL_EPMD_PORT", self.ports[0].to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            // The script then becomes the server, so that our child is the server itself.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .current_dir(folder);
        command
    }

    fn conf(&self, definitions: &Path) -> String {
        format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nlisteners.ssl.1 = 127.0.0.1:{}\n\
             ssl_options.cacertfile = {TLS}/ca.pem\nssl_options.certfile = {TLS}/server.pem\n\
             ssl_options.keyfile = {TLS}/server.key\nssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\nauth_mechanisms.1 = PLAIN\n\
             auth_mechanisms.2 = EXTERNAL\nssl_cert_login_from = common_name\n\
             load_definitions = {}\nlog.file.level = warning\n",
            self.port,
            self.tls_port,
            definitions.display()
        )
    }

    /// Does something that must end, also if the client waits for an answer that never comes.
    pub fn bounded<T>(&self, acting: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
        let acting = async { tokio::time::timeout(PATIENCE, acting).await };
        let acted = self.runtime.block_on(acting);
        acted.expect("the broker did not answer")
    }

    /// Whether it takes connections. While it starts it may take one and never answer.
    fn answers(&self) -> Option<()> {
        let opening = async { tokio::time::timeout(LOOK_PATIENCE, self.open()).await };
        self.runtime.block_on(opening).ok()?.ok().map(|_| ())
    }

    /// A connection with a channel.
    pub async fn open(&self) -> lapin::Result<(Connection, Channel)> {
        let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port);
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    /// Does something on a channel of its own.
    pub fn with<T, F: Future<Output = lapin::Result<T>>>(
        &self,
        act: impl FnOnce(Channel) -> F,
    ) -> T {
        let acting = async {
            let (connection, channel) = self.open().await?;
            let done = act(channel).await?;
            // the channel may be on its way out already
            let _ = connection.close(200, "done".into()).await;
            Ok::<T, lapin::Error>(done)
        };
        self.bounded(acting).unwrap()
    }

    /// Takes the next message out of a queue.
    pub fn take(&self, queue: &str) -> Option<Taken> {
        let taken = self.with(async |channel| {
            let options = BasicGetOptions { no_ack: true };
            channel.basic_get(queue.into(), options).await
        })?;
        Some(Taken {
            body: taken.delivery.data.clone(),
            routing_key: taken.delivery.routing_key.to_string(),
            properties: taken.delivery.properties.clone(),
        })
    }

    /// Declares a durable queue.
    pub fn declare(&self, queue: &str, arguments: FieldTable) {
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        self.with(async |channel| {
            channel
                .queue_declare(queue.into(), durable, arguments.clone())
                .await
        });
    }

    /// Removes a queue with all that is in it.
    pub fn delete(&self, queue: &str) {
        let options = QueueDeleteOptions::default();
        self.with(async |channel| channel.queue_delete(queue.into(), options).await);
    }
}
