//! A RabbitMQ of our own: private ports and folders, started here and ended by its process id.
//!
//! The peer of durable acceptance: a durable classic queue, persistent messages, publisher
//! confirms.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tempfile::TempDir;

use super::house::{PATIENCE, free_port, scratch, terminate};
use super::load::{PRODUCERS, Round};

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

/// A broker that runs; ended when it is dropped.
pub(crate) struct Rabbit {
    server: Child,
    names: Child,
    /// Where it listens.
    pub port: u16,
    _folder: TempDir,
}

impl Rabbit {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// Why there is none, for a row in the table.
    pub(crate) fn start(runtime: &tokio::runtime::Runtime) -> Result<Rabbit, String> {
        let script = SERVERS.iter().map(PathBuf::from).find(|path| path.exists());
        let script = script.ok_or("not installed: there is no rabbitmq-server")?;
        let folder = scratch();
        let ports = [free_port(), free_port(), free_port()];
        let names = Command::new("epmd")
            .args(["-address", "127.0.0.1", "-port", &ports[1].to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| format!("not installed: epmd cannot be started: {why}"))?;
        let server = command(&script, folder.path(), ports).spawn();
        let server = server.map_err(|why| format!("rabbitmq-server cannot be started: {why}"))?;
        let mut rabbit = Rabbit {
            server,
            names,
            port: ports[0],
            _folder: folder,
        };
        rabbit.wait(runtime)?;
        Ok(rabbit)
    }

    fn wait(&mut self, runtime: &tokio::runtime::Runtime) -> Result<(), String> {
        let began = Instant::now();
        loop {
            match runtime.block_on(open(self.port)) {
                Ok(_) => return Ok(()),
                Err(why) if began.elapsed() > PATIENCE => {
                    return Err(format!("rabbitmq-server does not answer: {why}"));
                }
                Err(_) => {}
            }
            if let Some(status) = self.server.try_wait().unwrap() {
                return Err(format!("rabbitmq-server ended: {status}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }

    /// What it is.
    pub(crate) fn version() -> String {
        let asked = Command::new("dpkg-query")
            .args(["-W", "-f", "${Version}", "rabbitmq-server"])
            .output();
        let version = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let version = version.unwrap_or_default();
        let upstream = version.split('-').next().unwrap_or("");
        format!("RabbitMQ {upstream}")
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        terminate(&self.server);
        let began = Instant::now();
        while matches!(self.server.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = self.names.kill();
        let _ = self.names.wait();
    }
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
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A connection with a channel that confirms.
async fn open(port: u16) -> lapin::Result<(Connection, Channel)> {
    let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
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

/// All producers against the broker, over this many connections.
pub(crate) async fn round(
    port: u16,
    connections: usize,
    (event, time): (&[u8], Duration),
) -> Round {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(open(port).await.unwrap());
    }
    let began = Instant::now();
    let producer = |index: usize| {
        let (_, channel) = &opened[index % connections];
        tokio::spawn(produce(channel.clone(), event.to_vec(), (began, time)))
    };
    let producers: Vec<_> = (0..PRODUCERS).map(producer).collect();
    let mut waits = Vec::new();
    for producer in producers {
        waits.extend(producer.await.unwrap());
    }
    let round = Round::new(waits, began.elapsed());
    for (connection, _) in opened {
        connection.close(200, "done".into()).await.unwrap();
    }
    round
}

async fn produce(
    channel: Channel,
    event: Vec<u8>,
    (began, time): (Instant, Duration),
) -> Vec<Duration> {
    let persistent = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let options = BasicPublishOptions::default();
    let mut waits = Vec::new();
    while began.elapsed() < time {
        let asked = Instant::now();
        let confirm = channel
            .basic_publish("".into(), QUEUE.into(), options, &event, persistent.clone())
            .await
            .unwrap();
        let confirmed = confirm.await.unwrap();
        assert!(matches!(confirmed, Confirmation::Ack(_)), "{confirmed:?}");
        waits.push(asked.elapsed());
    }
    waits
}
