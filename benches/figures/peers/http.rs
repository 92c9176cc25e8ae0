//! When a server that speaks HTTP is ready.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// True if a POST of `body` to `path` is answered with a status that begins with 2.
pub(super) fn takes(address: SocketAddr, path: &str, body: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, ANSWER) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(ANSWER));
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = [0; 12];
    let asked = stream.write_all(request.as_bytes());
    let answered = asked.and_then(|()| stream.read_exact(&mut answer));
    answered.is_ok() && answer.starts_with(b"HTTP/1.1 2")
}
