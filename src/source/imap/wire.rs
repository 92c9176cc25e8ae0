//! Commands out, whole answers in; bounded in length and time, whatever the server sends.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::dial::Link;
use crate::source::Trouble;
use crate::source::mail::MAIL_BYTES_MAX;

/// Longest answer without its literals, in bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// How long a server may be silent in the middle of something.
pub const QUIET_MAX: Duration = Duration::from_secs(60);
/// How long one command may take, a mail of 32 MiB over a slow line included.
pub const COMMAND_MAX: Duration = Duration::from_secs(600);

/// A connection that speaks IMAP's lines and literals (RFC 3501 §2.2 and §4.3).
pub(super) struct Wire {
    stream: BufReader<Box<dyn Link>>,
    /// Stands in front of what went wrong.
    peer: String,
}

impl Wire {
    pub(super) fn new(link: Box<dyn Link>, peer: &str) -> Wire {
        Wire {
            stream: BufReader::new(link),
            peer: peer.to_owned(),
        }
    }

    /// The connection, to put TLS around it.
    ///
    /// # Errors
    /// The server has said more than it should: that would count as said under TLS.
    pub(super) fn into_link(self) -> Result<Box<dyn Link>, Trouble> {
        match self.stream.buffer().is_empty() {
            true => Ok(self.stream.into_inner()),
            false => Err(self.trouble("spoke on after STARTTLS, without TLS")),
        }
    }

    /// Something that the server did.
    pub(super) fn trouble(&self, what: &str) -> Trouble {
        Trouble(format!("{} {what}", self.peer))
    }

    /// Sends one line.
    pub(super) async fn send(&mut self, line: &str) -> Result<(), Trouble> {
        let line = format!("{line}\r\n");
        let sending = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        };
        let sent = timeout(QUIET_MAX, sending).await;
        self.in_time(sent)
    }

    /// True if the server says something within `time`.
    pub(super) async fn speaks(&mut self, time: Duration) -> Result<bool, Trouble> {
        match timeout(time, self.stream.fill_buf()).await {
            Err(_) => Ok(false),
            Ok(Ok([])) => Err(self.trouble("closed the connection")),
            Ok(Ok(_)) => Ok(true),
            Ok(Err(why)) => Err(self.trouble(&format!("went away: {why}"))),
        }
    }

    /// The next whole answer: a line, with the literals that it announces and what follows them.
    ///
    /// # Errors
    /// The connection ended or is silent, or the answer is too long.
    pub(super) async fn hear(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut answer = Vec::new();
        let mut text_bytes = 0;
        loop {
            let from = answer.len();
            self.line(&mut answer, LINE_BYTES_MAX - text_bytes).await?;
            text_bytes += answer.len() - from;
            let Some(size) = announced(&answer[from..]) else {
                return Ok(answer);
            };
            if size > MAIL_BYTES_MAX.saturating_sub(answer.len() - text_bytes) {
                return Err(self.trouble("sent more than was asked for"));
            }
            self.literal(&mut answer, size).await?;
        }
    }

    async fn line(&mut self, answer: &mut Vec<u8>, bytes_max: usize) -> Result<(), Trouble> {
        let until = answer.len() + bytes_max;
        loop {
            let some = self.some(usize::MAX).await?;
            let end = some.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(some.len(), |end| end + 1);
            let is_too_long = answer.len() + taken > until;
            if !is_too_long {
                answer.extend_from_slice(&some[..taken]);
            }
            self.stream.consume(taken);
            match (is_too_long, end) {
                (true, _) => {
                    let long = format!("sent a line of more than {LINE_BYTES_MAX} bytes");
                    return Err(self.trouble(&long));
                }
                (false, Some(_)) => return Ok(()),
                (false, None) => {}
            }
        }
    }

    async fn literal(&mut self, answer: &mut Vec<u8>, size: usize) -> Result<(), Trouble> {
        let mut left = size;
        while left > 0 {
            let some = self.some(left).await?;
            answer.extend_from_slice(some);
            let taken = some.len();
            self.stream.consume(taken);
            left -= taken;
        }
        Ok(())
    }

    /// At least one byte that has come, at most `bytes_max`.
    async fn some(&mut self, bytes_max: usize) -> Result<&[u8], Trouble> {
        if !self.speaks(QUIET_MAX).await? {
            return Err(self.trouble("says nothing any more"));
        }
        let some = self.stream.buffer();
        Ok(&some[..some.len().min(bytes_max)])
    }

    fn in_time(
        &self,
        done: Result<io::Result<()>, tokio::time::error::Elapsed>,
    ) -> Result<(), Trouble> {
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(self.trouble(&format!("went away: {why}"))),
            Err(_) => Err(self.trouble("takes nothing any more")),
        }
    }
}

/// The size of the literal that a line announces at its end: `{310}`.
pub(super) fn announced(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = line.iter().rposition(|byte| *byte == b'{')?;
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}
