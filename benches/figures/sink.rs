//! Where reactions arrive: a server that answers every request with 200 and remembers when the
//! event numbered in `…/done/NUMBER` came first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::load::whole_request;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// When nothing more came for so long, nothing more comes.
const SILENCE: Duration = Duration::from_secs(8);
/// Longest wait for everything.
const WHOLE: Duration = Duration::from_secs(60);

/// The server; it ends when this is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    arrived: Arc<Mutex<Arrived>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Arrived {
    first: HashMap<usize, Instant>,
    /// Requests for a number that had come before.
    again: usize,
    last: Option<Instant>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    /// Starts on a free port of loopback.
    pub(crate) async fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let task = tokio::spawn(listen(listener, Arc::clone(&arrived)));
        Sink {
            address,
            arrived,
            task,
        }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.arrived.lock().unwrap() = Arrived::default();
    }

    /// When the event came first.
    pub(crate) fn when(&self, number: usize) -> Option<Instant> {
        self.arrived.lock().unwrap().first.get(&number).copied()
    }

    /// How many came, how many of them came again, and when the last one did.
    pub(crate) fn so_far(&self) -> (usize, usize, Option<Instant>) {
        let arrived = self.arrived.lock().unwrap();
        (arrived.first.len(), arrived.again, arrived.last)
    }

    /// Waits until `wanted` came, or nothing more comes.
    pub(crate) async fn settle(&self, wanted: usize) {
        let began = Instant::now();
        loop {
            let (came, _, last) = self.so_far();
            let silent = last.unwrap_or(began).max(began).elapsed();
            if came >= wanted || silent > SILENCE || began.elapsed() > WHOLE {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn listen(listener: TcpListener, arrived: Arc<Mutex<Arrived>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&arrived)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, arrived: Arc<Mutex<Arrived>>) {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    loop {
        while let Some(end) = whole_request(&bytes) {
            note(&bytes[..end], &arrived);
            bytes.drain(..end);
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    }
}

fn note(request: &[u8], arrived: &Mutex<Arrived>) {
    let now = Instant::now();
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or(b"");
    let line = String::from_utf8_lossy(line);
    let path = line.split(' ').nth(1).unwrap_or("");
    let number = path.rsplit('/').next().and_then(|word| word.parse().ok());
    let Some(number) = number else { return };
    let arrived = &mut *arrived.lock().unwrap();
    arrived.last = Some(now);
    match arrived.first.entry(number) {
        Entry::Occupied(_) => arrived.again += 1,
        Entry::Vacant(place) => drop(place.insert(now)),
    }
}
