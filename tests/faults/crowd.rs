//! A crowd at the door: thousands of connections that say nothing, or say it slowly, while others are
//! served; then they are sent away and their places are free again.
//!
//! Rounds: 5,000 idle connections and 500 slow senders, in both lengths.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::{Ends, not_tried};
use crate::house::{House, Running, wait_for};

const IDLE: usize = 5_000;
const SLOW: usize = 500;
/// Files that this process and the server each need for that, with some to spare.
const FILES: u64 = 8_000;

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
    stream
        .set_read_timeout(Some(crate::house::PATIENCE))
        .unwrap();
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
        (open_files(server.pid()) <= before + 20).then_some(())
    });
    server.push("alert", &json!({ "n": "at last" }));
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}
