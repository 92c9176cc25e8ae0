//! HTTP by hand, for what no client library would send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::house::{PATIENCE, Running};

/// A connection to a server.
pub struct Wire(BufReader<TcpStream>);

/// What came back.
#[derive(Debug)]
pub struct Heard {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Wire {
    pub fn to(server: &Running) -> Wire {
        let address = server.url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire(BufReader::new(stream))
    }

    /// Sends bytes; false if the server does not listen any more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    /// The next answer; none if the server closed instead.
    pub fn hear(&mut self) -> Option<Heard> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let lower = head.to_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
        self.0.read_exact(&mut body).ok()?;
        let text = String::from_utf8(body).unwrap();
        Some(Heard { status, head, text })
    }

    /// Waits until the server closes the connection; false if it does not within `limit`.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.0.get_mut().set_read_timeout(Some(limit)).unwrap();
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(why) => why.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// One request as it stands, on a connection of its own.
pub fn say(server: &Running, request: &[u8]) -> Option<Heard> {
    let mut wire = Wire::to(server);
    wire.send(request);
    wire.hear()
}

/// The head of a POST to `path` with these further lines.
pub fn post_head(path: &str, lines: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n")
}
