//! A wire between the server and a peer, which may keep the peer's answers to itself.
//!
//! The peer has then done what it was asked for, and the server does not know: what happens in a
//! crash, or when a connection breaks at the worst moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What happens to the answers to POST requests; all others pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Pass,
    /// They never come, and the connection stays open.
    Keep,
    /// They never come, and the connection breaks.
    Cut,
}

struct Shared {
    mood: Mutex<Mood>,
    kept: AtomicUsize,
    posts: AtomicUsize,
}

/// The wire; connections that are open stay open until one of their ends closes them.
pub struct Proxy {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A wire to `url`, an `http://HOST:PORT`.
    pub fn to(url: &str) -> Proxy {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Pass),
            kept: AtomicUsize::new(0),
            posts: AtomicUsize::new(0),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(peer) = TcpStream::connect(&target) {
                    connect(client, peer, &own);
                }
            }
        });
        Proxy { url, shared }
    }

    /// From now on.
    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// How many answers were not handed on.
    pub fn kept(&self) -> usize {
        self.shared.kept.load(Ordering::SeqCst)
    }

    /// How many POST requests were handed on.
    pub fn posts(&self) -> usize {
        self.shared.posts.load(Ordering::SeqCst)
    }
}

fn connect(client: TcpStream, peer: TcpStream, shared: &Arc<Shared>) {
    let is_post = Arc::new(AtomicBool::new(false));
    let (from, to) = (client.try_clone().unwrap(), peer.try_clone().unwrap());
    let (seen, own) = (Arc::clone(&is_post), Arc::clone(shared));
    std::thread::spawn(move || {
        copy(from, to, |bytes| {
            if let Some(method) = method(bytes) {
                let posts = usize::from(method == b"POST");
                own.posts.fetch_add(posts, Ordering::SeqCst);
                seen.store(posts == 1, Ordering::SeqCst);
            }
            true
        });
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        copy(peer, client, |_| {
            let mood = *shared.mood.lock().unwrap();
            if mood == Mood::Pass || !is_post.load(Ordering::SeqCst) {
                return true;
            }
            shared.kept.fetch_add(1, Ordering::SeqCst);
            // the reader waits for ever, until the other end closes or is killed
            while *shared.mood.lock().unwrap() == Mood::Keep {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            false
        });
    });
}

/// The method, if a request begins here.
fn method(bytes: &[u8]) -> Option<&[u8]> {
    let methods: [&[u8]; 5] = [b"GET", b"POST", b"PUT", b"DELETE", b"PATCH"];
    let found = methods
        .into_iter()
        .find(|method| bytes.starts_with(method))?;
    bytes[found.len()..].starts_with(b" ").then_some(found)
}

/// Hands on while `may` says so, then closes both.
fn copy(mut from: TcpStream, mut to: TcpStream, may: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !may(&buffer[..length]) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
