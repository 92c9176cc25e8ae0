//! RabbitMQ: a durable classic queue, persistent messages, publisher confirms.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use crate::house::{free_port, scratch};
use crate::load::Producer;
use crate::peer::{Peer, Recipe, is_open, program, spawn};

/// The script that runs the server in the foreground as whoever calls it; the one on `PATH` of
/// Debian changes the user first.
const SERVERS: &[&str] = &[
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/sbin/rabbitmq-server",
];
/// AMQP 0-9-1: the broker writes such a message to disk before it confirms it.
const PERSISTENT: u8 = 2;
/// The queue of every producer.
pub(crate) const QUEUE: &str = "figures";

/// Starts one and waits until it takes connections.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(crate) fn start(runtime: &tokio::runtime::Runtime) -> Result<Peer, String> {
    let script = SERVERS.iter().map(PathBuf::from).find(|path| path.exists());
    let script = script.ok_or("not installed: there is no rabbitmq-server")?;
    let folder = scratch();
    let ports = [free_port(), free_port(), free_port()];
    let mut names = Command::new(program("epmd")?);
    names.args(["-address", "127.0.0.1", "-port", &ports[1].to_string()]);
    let names = spawn(&mut names).map_err(|why| format!("epmd cannot be started: {why}"))?;
    let recipe = Recipe {
        name: version(),
        port: ports[0],
        command: command(&script, folder.path(), ports),
        helper: Some(names),
        folder,
    };
    recipe.start(|address| is_open(address) && runtime.block_on(open(address)).is_ok())
}

/// What it is.
fn version() -> String {
    let asked = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", "rabbitmq-server"])
        .output();
    let version = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.unwrap_or_default();
    let upstream = version.split('-').next().unwrap_or("");
    format!("RabbitMQ {upstream}")
}

fn command(script: &Path, folder: &Path, [port, names, distribution]: [u16; 3]) -> Command {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let listen = format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.file.level = warning\n");
    let mut command = Command::new(script);
    command
        .env("HOME", folder)
        .env("RABBITMQ_CONF_ENV_FILE", file("environment", ""))
        .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf", &listen))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins", "[]."))
        .env("RABBITMQ_NODENAME", format!("vigie_{port}@localhost"))
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}",
        )
        .env("ERL_EPMD_PORT", names.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_PID_FILE", folder.join("pid"))
        // The script then becomes the server, so that our child is the server itself.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        .current_dir(folder);
    command
}

/// A connection with a channel that confirms.
async fn open(address: SocketAddr) -> lapin::Result<(Connection, Channel)> {
    let connection = connect(address).await?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(QUEUE.into(), durable, FieldTable::default())
        .await?;
    Ok((connection, channel))
}

/// A connection.
pub(crate) async fn connect(address: SocketAddr) -> lapin::Result<Connection> {
    let url = format!("amqp://guest:guest@{address}/%2f");
    Connection::connect(&url, ConnectionProperties::default()).await
}

/// One who publishes and waits for each confirm; closed with the last of its connection.
pub(crate) struct Publishing {
    channel: Channel,
    event: Vec<u8>,
    _connection: Arc<Connection>,
}

/// So many, over this many connections.
pub(crate) async fn producers(
    address: SocketAddr,
    event: &[u8],
    (producers, connections): (usize, usize),
) -> Vec<Publishing> {
    let mut opened = Vec::new();
    for _ in 0..connections.min(producers) {
        let (connection, channel) = open(address).await.unwrap();
        opened.push((Arc::new(connection), channel));
    }
    let one = |index: usize| {
        let (connection, channel) = &opened[index % opened.len()];
        Publishing {
            channel: channel.clone(),
            event: event.to_vec(),
            _connection: Arc::clone(connection),
        }
    };
    (0..producers).map(one).collect()
}

impl Producer for Publishing {
    async fn send(&mut self) {
        let persistent = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into());
        let options = BasicPublishOptions::default();
        let confirm = self
            .channel
            .basic_publish("".into(), QUEUE.into(), options, &self.event, persistent)
            .await
            .unwrap();
        let confirmed = confirm.await.unwrap();
        assert!(matches!(confirmed, Confirmation::Ack(_)), "{confirmed:?}");
    }
}
