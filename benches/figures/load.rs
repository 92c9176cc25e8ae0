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
    post(
        address,
        &format!("/api/v1/channels/{channel}/events"),
        event,
    )
}

/// A request that brings JSON to `path`.
pub(crate) fn post(address: SocketAddr, path: &str, event: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        event.len()
    );
    [head.as_bytes(), event].concat()
}

/// Events in one request of [`fill`].
const TOGETHER: usize = 1_000;

/// Pushes `event(n)` of each number into `channel`, many in one request.
pub(crate) async fn fill(
    address: SocketAddr,
    (channel, numbers): (&str, std::ops::Range<usize>),
    event: impl Fn(usize) -> String,
) {
    let mut connection = Connection::open(address).await;
    for first in numbers.clone().step_by(TOGETHER) {
        let last = (first + TOGETHER).min(numbers.end);
        let events: Vec<String> = (first..last).map(&event).collect();
        let body = format!("[{}]", events.join(","));
        connection
            .send(&request(address, channel, body.as_bytes()))
            .await;
    }
}

/// Somebody who sends one event after the other.
pub(crate) trait Producer: Send + 'static {
    /// Sends one and waits until it is told that it was taken.
    fn send(&mut self) -> impl Future<Output = ()> + Send;
}

/// All producers at once, for this long.
pub(crate) async fn round<P: Producer>(producers: Vec<P>, time: Duration) -> Round {
    let began = Instant::now();
    let producers: Vec<_> = producers
        .into_iter()
        .map(|producer| tokio::spawn(produce(producer, (began, time))))
        .collect();
    let mut waits = Vec::new();
    for producer in producers {
        waits.extend(producer.await.unwrap());
    }
    Round::new(waits, began.elapsed())
}

async fn produce<P: Producer>(
    mut producer: P,
    (began, time): (Instant, Duration),
) -> Vec<Duration> {
    let mut waits = Vec::new();
    while began.elapsed() < time {
        let asked = Instant::now();
        producer.send().await;
        waits.push(asked.elapsed());
    }
    waits
}

/// One who sends the same request again and again, over a connection that is kept.
struct Repeating(Connection, Vec<u8>);

impl Producer for Repeating {
    async fn send(&mut self) {
        self.0.send(&self.1).await;
    }
}

/// So many producers against an HTTP door, each over a connection that it keeps.
pub(crate) async fn http_round(
    address: SocketAddr,
    request: &[u8],
    (producers, time): (usize, Duration),
) -> Round {
    let mut opened = Vec::new();
    for _ in 0..producers {
        let connection = Connection::open(address).await;
        opened.push(Repeating(connection, request.to_vec()));
    }
    round(opened, time).await
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
            answer.starts_with(b"HTTP/1.1 20"),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }
}

/// True if the head and as much as its `content-length` says are there.
fn is_whole(answer: &[u8]) -> bool {
    whole_request(answer).is_some()
}

/// Where the first message in `bytes` ends, if it is whole: its head and as much as that says.
pub(crate) fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let end = head + 4 + length.unwrap_or(0_usize);
    (bytes.len() >= end).then_some(end)
}
