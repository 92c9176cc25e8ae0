//! NATS JetStream: a stream on disk, and each message acknowledged by it.
//!
//! Before 2.10 it knows no `sync_interval = always` and acknowledges what is not on disk yet; such
//! a one is measured, and called what it is.

use std::net::SocketAddr;
use std::process::Command;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::house::{free_port, scratch};
use crate::load::Producer;
use crate::peer::{Peer, Recipe, is_open, program, version};

/// The stream's only subject.
const SUBJECT: &str = "figures";
const STREAM: &str = r#"{"name":"figures","subjects":["figures"],"storage":"file","num_replicas":1,"retention":"limits","discard":"old","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0}"#;
/// Where answers to one connection go.
const INBOX: &str = "_INBOX.figures";

/// One that runs, and whether what it acknowledges is on disk.
pub(crate) struct Nats {
    /// It.
    pub peer: Peer,
    /// Whether it syncs before it acknowledges.
    pub is_durable: bool,
}

/// Starts one with a stream.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(crate) fn start(runtime: &tokio::runtime::Runtime) -> Result<Nats, String> {
    let server = program("nats-server")?;
    let (folder, port) = (scratch(), free_port());
    let version = version(&server, "--version");
    let is_durable = syncs(&version);
    let sync = if is_durable {
        "\nsync_interval: always"
    } else {
        ""
    };
    let config = folder.path().join("nats.conf");
    let store = folder.path().join("store");
    let text =
        format!("listen: \"127.0.0.1:{port}\"\njetstream {{\nstore_dir: {store:?}{sync}\n}}\n");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(&server);
    command.arg("-c").arg(&config);
    let how = match is_durable {
        true => "sync always",
        false => "not synced when acknowledged",
    };
    let recipe = Recipe {
        name: format!("NATS JetStream {version}, {how}"),
        port,
        command,
        helper: None,
        folder,
    };
    let peer = recipe.start(is_open)?;
    runtime.block_on(create(peer.address));
    Ok(Nats { peer, is_durable })
}

/// True from 2.10 on.
fn syncs(version: &str) -> bool {
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(2), Some(10))
}

async fn create(address: SocketAddr) {
    let subject = format!("$JS.API.STREAM.CREATE.{SUBJECT}");
    let mut producer = Publishing::of(address, &subject, STREAM.as_bytes()).await;
    producer.send().await;
}

/// One who publishes to the stream.
pub(crate) struct Publishing {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
    line: String,
}

impl Publishing {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr, event: &[u8]) -> Publishing {
        Publishing::of(address, SUBJECT, event).await
    }

    async fn of(address: SocketAddr, subject: &str, event: &[u8]) -> Publishing {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let inbox = format!("{INBOX}.{}", stream.get_ref().local_addr().unwrap().port());
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"lang\":\"figures\",\"version\":\"1\"}}\r\nSUB {inbox} 1\r\n"
        );
        stream.write_all(hello.as_bytes()).await.unwrap();
        let mut request = format!("PUB {subject} {inbox} {}\r\n", event.len()).into_bytes();
        request.extend_from_slice(event);
        request.extend_from_slice(b"\r\n");
        Publishing {
            stream,
            request,
            line: String::new(),
        }
    }

    /// Reads up to the next message; its payload.
    async fn hear(&mut self) -> Vec<u8> {
        loop {
            self.line.clear();
            let count = self.stream.read_line(&mut self.line).await.unwrap();
            assert!(count > 0, "NATS closed the connection");
            if self.line.starts_with("PING") {
                self.stream.write_all(b"PONG\r\n").await.unwrap();
            }
            if self.line.starts_with("MSG ") {
                let length = self.line.split_whitespace().last();
                let length: usize = length.and_then(|word| word.parse().ok()).unwrap();
                let mut payload = vec![0; length + 2];
                self.stream.read_exact(&mut payload).await.unwrap();
                return payload;
            }
        }
    }
}

impl Producer for Publishing {
    async fn send(&mut self) {
        self.stream.write_all(&self.request).await.unwrap();
        let answer = String::from_utf8(self.hear().await).unwrap();
        assert!(!answer.contains("\"error\""), "{answer}");
    }
}
