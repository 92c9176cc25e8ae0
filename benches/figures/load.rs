//! Producers: each sends an event, waits until it is told that the event is durable, and sends
//! the next.
//!
//! The HTTP side writes prepared bytes and looks for the end of the answer, so that the machine is
//! busy with the server and not with its callers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::statistics::{milliseconds, quantile};

/// Producers at the same time.
pub(crate) const PRODUCERS: usize = 64;
/// Bytes of an event.
pub(crate) const EVENT_BYTES: usize = 500;

/// What one round came to.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// Events per second.
    pub rate: f64,
    /// Milliseconds from sending to being told, half of them.
    pub p50: f64,
    /// … and 99 of 100.
    pub p99: f64,
    /// How many events.
    pub events: usize,
}

impl Round {
    /// From how long each event took and the whole round.
    pub(crate) fn new(waits: Vec<Duration>, took: Duration) -> Round {
        let waits: Vec<f64> = waits.into_iter().map(milliseconds).collect();
        Round {
            rate: waits.len() as f64 / took.as_secs_f64(),
            p50: quantile(&waits, 0.5),
            p99: quantile(&waits, 0.99),
            events: waits.len(),
        }
    }
}

/// An event of [`EVENT_BYTES`] bytes as JSON, as a monitor would send it.
pub(crate) fn event() -> Vec<u8> {
    let head = r#"{"status":"PROBLEM","severity":4,"hostname":"web01.example.net","trigger_name":"Disk / is nearly full","trigger_key":"vfs.fs.pused[/]","value":93.7,"tags":["disk","web"],"detail":""#;
    let mut event = head.as_bytes().to_vec();
    event.resize(EVENT_BYTES - 2, b'x');
    event.extend_from_slice(b"\"}");
    event
}

/// The request that brings `event` into `channel`.
pub(crate) fn request(address: SocketAddr, channel: &str, event: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/channels/{channel}/events HTTP/1.1\r\nhost: {address}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        event.len()
    );
    [head.as_bytes(), event].concat()
}

/// All producers against an HTTP door, each over a connection that it keeps.
pub(crate) async fn http_round(address: SocketAddr, request: &[u8], time: Duration) -> Round {
    let mut connections = Vec::new();
    for _ in 0..PRODUCERS {
        connections.push(Connection::open(address).await);
    }
    let began = Instant::now();
    let producers: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(produce(connection, request.to_vec(), (began, time))))
        .collect();
    let mut waits = Vec::new();
    for producer in producers {
        waits.extend(producer.await.unwrap());
    }
    Round::new(waits, began.elapsed())
}

async fn produce(
    mut connection: Connection,
    request: Vec<u8>,
    (began, time): (Instant, Duration),
) -> Vec<Duration> {
    let mut waits = Vec::new();
    while began.elapsed() < time {
        let asked = Instant::now();
        connection.send(&request).await;
        waits.push(asked.elapsed());
    }
    waits
}

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Opens it.
    pub(crate) async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection {
            stream,
            answer: Vec::new(),
        }
    }

    /// Sends an event and waits until it was accepted.
    pub(crate) async fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        self.answer.clear();
        while !is_whole(&self.answer) {
            let count = self.stream.read_buf(&mut self.answer).await.unwrap();
            assert!(count > 0, "the server closed the connection");
        }
        let answer = &self.answer;
        assert!(
            answer.starts_with(b"HTTP/1.1 202"),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }
}

/// True if the head and as much as its `content-length` says are there.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    answer.len() >= head + 4 + length.unwrap_or(0_usize)
}
