//! A crowd at the door: thousands of connections that say nothing, or say it slowly, while others are
//! served; then they are sent away and their places are free again. And a crowd that is larger than a
//! door has places.
//!
//! Rounds: 5,000 idle connections and 500 slow senders, and each kind of door filled once, in both lengths.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use vigie::listener::Listener;
use vigie::settings::HttpSettings;
use vigie::source::amqp_listen::CLIENTS_MAX;
use vigie::source::bbdo::PEERS_MAX;

use super::{Ends, not_tried};
use crate::bbdo::{greeting, packets};
use crate::house::{House, PATIENCE, Running, wait_for};
use crate::peers::free_port;

const IDLE: usize = 5_000;
const SLOW: usize = 500;
/// Files that this process needs for all of these, and the server for its part, with some to spare.
const FILES: u64 = 10_000;
/// Doors wait for the end of a handshake for 10 s at most.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);
const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
/// Files that come and go besides.
const FEW: usize = 20;
/// How many more than a door has places for.
const TOO_MANY: usize = 100;
/// How long somebody waits for a door whose queue is full.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

/// Lets this process, and those that it starts, open so many files.
fn may_open(files: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return true;
    }
    if limit.maximum.is_some_and(|maximum| maximum < files) {
        return false;
    }
    let more = Rlimit {
        current: Some(files),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, more).is_ok()
}

fn connect(server: &Running) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Files that a process has open.
fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

/// True if the other end has closed, or closes in time.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(why) => why.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Sends a head a byte at a time, for ever.
fn dribble(streams: &mut [TcpStream], until: &AtomicBool) {
    let head = b"POST /api/v1/channels/alert/events HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
    let bytes = head.iter().copied().chain(std::iter::repeat(b'x'));
    for byte in bytes {
        if until.load(Ordering::SeqCst) {
            return;
        }
        for stream in streams.iter_mut() {
            // once it is sent away it cannot write any more
            let _ = stream.write_all(&[byte]);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn thousands_who_say_nothing_or_say_it_slowly_hold_up_nobody() {
    if !may_open(FILES) {
        return not_tried("a crowd: this process may not open so many files");
    }
    let house = House::new();
    house.channel("alert", "");
    let server = house.serve();
    let before = open_files(server.pid());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut slow: Vec<TcpStream> = (0..SLOW).map(|_| connect(&server)).collect();
        let slow = scope.spawn(|| {
            dribble(&mut slow, &over);
            slow
        });
        let ends = Ends(&over);
        let mut idle = Vec::new();
        let mut times = Vec::new();
        for n in 0..IDLE {
            idle.push(connect(&server));
            if n % 50 == 0 {
                let began = Instant::now();
                server.push("alert", &json!({ "n": n }));
                times.push(began.elapsed());
            }
        }
        let most = open_files(server.pid());
        println!(
            "{most} files open; slowest answer {:?}",
            times.iter().max().unwrap()
        );
        assert!(
            idle.iter_mut().all(is_closed),
            "somebody idle was not sent away"
        );
        server.push("alert", &json!({ "n": "after" }));
        drop(ends);
        let mut slow = slow.join().unwrap();
        assert!(
            slow.iter_mut().all(is_closed),
            "somebody slow was not sent away"
        );
    });
    wait_for("their places", || {
        (open_files(server.pid()) <= before + FEW).then_some(())
    });
    server.push("alert", &json!({ "n": "at last" }));
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn nobody_holds_a_place_by_a_handshake_that_never_ends() {
    let house = House::new();
    for file in ["server.pem", "server.key"] {
        std::fs::copy(format!("{TLS}/{file}"), house.path(file)).unwrap();
    }
    let keys = "tls_cert = \"server.pem\"\ntls_key = \"server.key\"\n";
    let house = house.http(keys);
    let ports = [("amqp_listen", free_port()), ("bbdo", free_port())];
    for (kind, port) in ports {
        let listen = format!("listen = \"127.0.0.1:{port}\"");
        house.channel(
            kind,
            &format!("[[source]]\nkind = \"{kind}\"\n{listen}\n{keys}"),
        );
    }
    let server = house.serve();
    let http = server.url.strip_prefix("http://").unwrap().to_owned();
    let doors = ports.map(|(_, port)| format!("127.0.0.1:{port}"));
    let mut visitors = Vec::new();
    for address in doors.iter().chain([&http]) {
        // silence, and the beginning of a greeting that announces more
        for begin in [&b""[..], &[0x16, 3, 1, 2, 0, 1, 0]] {
            let mut stream = wait_for("the door", || TcpStream::connect(address).ok());
            stream.write_all(begin).unwrap();
            stream.set_read_timeout(Some(HANDSHAKE_PATIENCE)).unwrap();
            visitors.push((address, stream));
        }
    }
    for (address, mut stream) in visitors {
        assert!(is_closed(&mut stream), "{address} waits on");
    }
}

/// Comes in and begins to say something, as long as there are fewer than a door has places for.
fn fill(server: &Running, address: &str, begin: &[u8], most: usize) -> Vec<TcpStream> {
    let before = open_files(server.pid());
    let address = address.parse().unwrap();
    let mut crowd = Vec::new();
    let mut come = |count: usize| {
        for _ in 0..count {
            // the system lets only some wait before a full door
            if let Ok(mut stream) = TcpStream::connect_timeout(&address, QUEUE_PATIENCE) {
                stream.write_all(begin).unwrap();
                crowd.push(stream);
            }
        }
    };
    come(most);
    wait_for("a full house", || {
        let is_full = open_files(server.pid()) + FEW >= before + most;
        // some may have been sent away meanwhile because they say no more
        is_full.then_some(()).or_else(|| {
            come(10);
            None
        })
    });
    come(TOO_MANY);
    crowd
}

#[test]
fn no_door_of_a_channel_has_more_visitors_at_once_than_places() {
    if !may_open(FILES) {
        return not_tried("full doors: this process may not open so many files");
    }
    let house = House::new();
    house.channel("alert", "");
    let (amqp, bbdo) = (free_port(), free_port());
    for (kind, port) in [("amqp_listen", amqp), ("bbdo", bbdo)] {
        let block = format!("[[source]]\nkind = \"{kind}\"\nlisten = \"127.0.0.1:{port}\"\n");
        house.channel(kind, &block);
    }
    let server = house.serve();
    // A Broker that has greeted may be silent for as long as it likes.
    let hello = packets(&[greeting("A301.c1")]);
    for (port, begin, most) in [(amqp, &b"AMQP"[..], CLIENTS_MAX), (bbdo, &hello, PEERS_MAX)] {
        let address = format!("127.0.0.1:{port}");
        wait_for("the door", || TcpStream::connect(&address).ok());
        let before = open_files(server.pid());
        let crowd = fill(&server, &address, begin, most);
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            let inside = open_files(server.pid()).saturating_sub(before);
            assert!(inside < most + TOO_MANY / 2, "{address}: {inside}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server.push("alert", &json!({ "full": address }));
        drop(crowd);
        wait_for("free places", || {
            (open_files(server.pid()) <= before + FEW).then_some(())
        });
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}

/// Comes in, asks, and hears that it was answered.
async fn call(address: SocketAddr) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let asked = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_are_inside_the_http_door_and_each_place_is_given_back() {
    const PLACES: usize = 20;
    let here = HttpSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..HttpSettings::default()
    };
    let listener = Listener::bind(&here, None).await.unwrap();
    let listener = listener.with_places(PLACES);
    let address = listener.address().unwrap();
    let (inside, leave) = (watch::Sender::new(0), Arc::new(Semaphore::new(0)));
    let (came, left) = (inside.clone(), Arc::clone(&leave));
    let stay = async move || {
        came.send_modify(|count: &mut usize| *count += 1);
        left.acquire().await.unwrap().forget();
    };
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(listener.serve(Router::new().route("/", get(stay)), stopping));
    // If a place were not given back, the second crowd would find none.
    for _ in 0..3 {
        let crowd: Vec<_> = (0..PLACES + 5)
            .map(|_| tokio::spawn(call(address)))
            .collect();
        let mut watched = inside.subscribe();
        let full = watched.wait_for(|count| *count >= PLACES);
        drop(timeout(PATIENCE, full).await.unwrap().unwrap());
        // time in which others would come in
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(inside.send_replace(0), PLACES);
        leave.add_permits(PLACES + 5);
        for one in crowd {
            timeout(PATIENCE, one).await.unwrap().unwrap();
        }
        inside.send_replace(0);
    }
    stop.send_replace(true);
    timeout(PATIENCE, serving).await.unwrap().unwrap();
}
