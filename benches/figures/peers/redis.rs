//! Redis streams with `appendfsync always`: each `XADD` is answered when it is on disk.

use std::net::SocketAddr;
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{free_port, scratch};
use crate::load::Producer;
use crate::peer::{Peer, Recipe, is_open, program, version};

/// Starts one.
///
/// # Errors
/// Why there is none, for a row in the table.
pub(crate) fn start() -> Result<Peer, String> {
    let server = program("redis-server")?;
    let (folder, port) = (scratch(), free_port());
    let mut command = Command::new(&server);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--save", "", "--dir"])
        .arg(folder.path());
    let recipe = Recipe {
        name: format!(
            "Redis {} stream, appendfsync always",
            version(&server, "--version")
        ),
        port,
        command,
        helper: None,
        folder,
    };
    recipe.start(is_open)
}

/// One who adds to a stream.
pub(crate) struct Adding {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Adding {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr, event: &[u8]) -> Adding {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let parts: [&[u8]; 5] = [b"XADD", b"figures", b"*", b"event", event];
        let mut request = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            request.extend(format!("${}\r\n", part.len()).into_bytes());
            request.extend_from_slice(part);
            request.extend_from_slice(b"\r\n");
        }
        Adding {
            stream,
            request,
            answer: Vec::new(),
        }
    }
}

impl Producer for Adding {
    async fn send(&mut self) {
        self.stream.write_all(&self.request).await.unwrap();
        self.answer.clear();
        // `$15\r\n1796070655666-0\r\n`
        while self.answer.iter().filter(|byte| **byte == b'\n').count() < 2 {
            let count = self.stream.read_buf(&mut self.answer).await.unwrap();
            let answer = String::from_utf8_lossy(&self.answer);
            assert!(count > 0 && answer.starts_with('$'), "{answer}");
        }
    }
}
