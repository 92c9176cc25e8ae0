//! A stand-in for an SMTP relay: takes mail on loopback and keeps it. Not a mail server.
//!
//! Follows RFC 5321: order of commands, CRLF, dots at the beginning of lines taken off, replies.
//! It offers 8BITMIME, SMTPUTF8 and SIZE, no TLS and no authentication.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::server::lock;

/// Largest mail, in bytes: Postfix's default.
const MAIL_BYTES_MAX: usize = 10_240_000;
/// Longest command line, in bytes.
const LINE_BYTES_MAX: usize = 4_096;

/// A mail as it was handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The envelope's sender, without angle brackets.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Header and body, with CRLF.
    pub bytes: Vec<u8>,
}

impl Delivered {
    /// Header and body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// What goes wrong with a mail.
#[derive(Debug, Clone)]
pub enum Mischief {
    /// This reply to `RCPT TO`, such as `550 5.1.1 no such user`.
    RefuseRecipient(String),
    /// This reply instead of taking the mail at the end of `DATA`.
    RefuseMail(String),
    /// The mail is taken, then the connection drops before the reply.
    LoseAnswer,
    /// No reply to `EHLO`, ever.
    Silence,
}

/// The stand-in; it ends when this is dropped.
pub struct Smtp {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    mails: Mutex<Vec<Delivered>>,
    mischief: Mutex<VecDeque<Mischief>>,
    count: watch::Sender<usize>,
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Smtp {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> io::Result<Smtp> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared: Arc<Shared> = Arc::default();
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Smtp {
            address,
            shared,
            task,
        })
    }

    /// `smtp://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Every mail so far, in order.
    pub fn mails(&self) -> Vec<Delivered> {
        lock(&self.shared.mails).clone()
    }

    /// The next mail goes wrong in this way.
    pub fn fail_next(&self, mischief: Mischief) {
        lock(&self.shared.mischief).push_back(mischief);
    }

    /// Waits until `count` mails have come in.
    pub async fn wait_for(&self, count: usize) {
        let mut counter = self.shared.count.subscribe();
        // The sender lives as long as this stand-in.
        let _ = counter.wait_for(|seen| *seen >= count).await;
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let session = Session {
            stream: BufReader::new(stream),
            shared: Arc::clone(&shared),
            greeted: false,
            mail: None,
        };
        connections.spawn(session.talk());
        while connections.try_join_next().is_some() {}
    }
}

struct Session {
    stream: BufReader<TcpStream>,
    shared: Arc<Shared>,
    greeted: bool,
    /// The mail whose envelope is being told.
    mail: Option<Delivered>,
}

impl Session {
    async fn talk(mut self) -> io::Result<()> {
        self.say("220 standin.test ESMTP stand-in").await?;
        while let Some(line) = self.line().await? {
            let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match command.to_ascii_uppercase().as_str() {
                "QUIT" => return self.say("221 2.0.0 bye").await,
                "DATA" if self.is_ready() => self.data().await?,
                command => {
                    let reply = self.reply(command, rest).await;
                    self.say(&reply).await?;
                }
            }
        }
        Ok(())
    }

    async fn reply(&mut self, command: &str, rest: &str) -> String {
        match command {
            "EHLO" if self.takes(|mischief| matches!(mischief, Mischief::Silence)) => {
                std::future::pending().await
            }
            "EHLO" => {
                self.greeted = true;
                "250-standin.test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 10240000".to_owned()
            }
            "HELO" => {
                self.greeted = true;
                "250 standin.test".to_owned()
            }
            "MAIL" => self.sender(rest),
            "RCPT" => self.recipient(rest),
            "RSET" => {
                self.mail = None;
                "250 2.0.0 ok".to_owned()
            }
            "NOOP" => "250 2.0.0 ok".to_owned(),
            "DATA" => "503 5.5.1 need RCPT command".to_owned(),
            _ => "502 5.5.2 command not recognized".to_owned(),
        }
    }

    fn sender(&mut self, rest: &str) -> String {
        let Some(from) = path(rest, "FROM:") else {
            return "501 5.5.4 syntax: MAIL FROM:<address>".to_owned();
        };
        if !self.greeted || self.mail.is_some() {
            return "503 5.5.1 bad sequence of commands".to_owned();
        }
        self.mail = Some(Delivered {
            from,
            ..Delivered::default()
        });
        "250 2.1.0 ok".to_owned()
    }

    fn recipient(&mut self, rest: &str) -> String {
        let Some(to) = path(rest, "TO:").filter(|to| to.contains('@')) else {
            return "501 5.1.3 bad recipient address syntax".to_owned();
        };
        if let Some(Mischief::RefuseRecipient(reply)) =
            self.taken(|mischief| matches!(mischief, Mischief::RefuseRecipient(_)))
        {
            return reply;
        }
        match &mut self.mail {
            Some(mail) => {
                mail.to.push(to);
                "250 2.1.5 ok".to_owned()
            }
            None => "503 5.5.1 need MAIL command".to_owned(),
        }
    }

    fn is_ready(&self) -> bool {
        self.mail.as_ref().is_some_and(|mail| !mail.to.is_empty())
    }

    async fn data(&mut self) -> io::Result<()> {
        self.say("354 end data with <CR><LF>.<CR><LF>").await?;
        let mut mail = self.mail.take().unwrap_or_default();
        mail.bytes = self.text().await?;
        if let Some(Mischief::RefuseMail(reply)) =
            self.taken(|mischief| matches!(mischief, Mischief::RefuseMail(_)))
        {
            return self.say(&reply).await;
        }
        if mail.bytes.len() > MAIL_BYTES_MAX {
            return self.say("552 5.3.4 message size exceeds limit").await;
        }
        lock(&self.shared.mails).push(mail);
        self.shared.count.send_modify(|count| *count += 1);
        match self.takes(|mischief| matches!(mischief, Mischief::LoseAnswer)) {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => self.say("250 2.0.0 ok: queued").await,
        }
    }

    async fn text(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                return Ok(text);
            }
            let stuffed = usize::from(line.first() == Some(&b'.'));
            text.extend_from_slice(&line[stuffed..]);
        }
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        if line.is_empty() || line.len() > LINE_BYTES_MAX || !line.ends_with(b"\r\n") {
            return Ok(None);
        }
        line.truncate(line.len() - 2);
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        let reply = format!("{reply}\r\n");
        self.stream.get_mut().write_all(reply.as_bytes()).await
    }

    fn takes(&self, is_it: impl Fn(&Mischief) -> bool) -> bool {
        self.taken(is_it).is_some()
    }

    fn taken(&self, is_it: impl Fn(&Mischief) -> bool) -> Option<Mischief> {
        let mut waiting = lock(&self.shared.mischief);
        let is_next = waiting.front().is_some_and(is_it);
        if is_next { waiting.pop_front() } else { None }
    }
}

/// The address of `FROM:<address> …` or `TO:<address> …`.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let (word, rest) = rest.split_at_checked(keyword.len())?;
    let inner = rest.strip_prefix('<')?;
    let end = inner.find('>')?;
    word.eq_ignore_ascii_case(keyword)
        .then(|| inner[..end].to_owned())
}
