//! A blocking connection to a broker. Every wait ends at one deadline, whatever the other end does.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::Patience;
use crate::amqp::frame::PROTOCOL_HEADER;
use crate::amqp::opening::unexpected;
use crate::amqp::{
    Broker, Frame, Frames, Method, Opening, Progress, Terms, Trouble, channel, connection, encode,
    tls,
};

/// No signs of life: a sender is gone before the first would be due.
const HEARTBEAT: u16 = 0;
/// How much is read at a time, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// An open connection.
pub struct Link {
    stream: Stream,
    frames: Frames,
    blocked: Option<String>,
    terms: Terms,
}

enum Stream {
    Plain(Bounded),
    Tls(Box<StreamOwned<ClientConnection, Bounded>>),
}

impl Link {
    /// Connects, speaks TLS if the broker's place says so, logs in and opens the virtual host.
    ///
    /// # Errors
    /// Any trouble on the way.
    pub fn open(broker: &Broker, patience: &Patience) -> Result<Link, Trouble> {
        let begun = Instant::now();
        let socket = connect(broker, begun + patience.connect)?;
        let _ = socket.set_nodelay(true);
        let bounded = Bounded {
            socket,
            until: begun + patience.connect + patience.answer,
        };
        let opening = Opening::new(broker.login.clone(), &broker.virtual_host, HEARTBEAT);
        let mut link = Link {
            stream: Stream::new(bounded, broker)?,
            frames: Frames::default(),
            blocked: None,
            terms: Terms {
                frame_bytes_max: crate::amqp::FRAME_BYTES_MAX,
                heartbeat: HEARTBEAT,
                has_confirms: false,
            },
        };
        link.write(PROTOCOL_HEADER)?;
        link.terms = link.log_in(opening)?;
        link.frames.limit(link.terms.frame_bytes_max);
        Ok(link)
    }

    fn log_in(&mut self, mut opening: Opening) -> Result<Terms, Trouble> {
        loop {
            let frame = self.frame()?;
            let is_close = matches!(
                &frame,
                Frame::Method(0, Method::Connection(connection::AMQPMethod::Close(_)))
            );
            match opening.take(frame) {
                Ok(Progress::Send(frames)) => self.send(&frames)?,
                Ok(Progress::Open(terms)) => return Ok(terms),
                Err(trouble) => {
                    if is_close {
                        self.answer_close();
                    }
                    return Err(trouble);
                }
            }
        }
    }

    /// What was agreed on.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// The TLS version as Python names it; `None` in the clear.
    pub fn tls_version(&self) -> Option<&'static str> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(tls::version_text(stream.conn.protocol_version())),
        }
    }

    /// Sends frames.
    ///
    /// # Errors
    /// The network.
    pub fn send(&mut self, frames: &[Frame]) -> Result<(), Trouble> {
        let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        self.write(&bytes)
    }

    /// Sends bytes that are frames.
    ///
    /// # Errors
    /// The network.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let stream = self.stream.as_io();
        let written = stream.write_all(bytes).and_then(|()| stream.flush());
        written.map_err(|why| match self.last_words() {
            Some(last) => last,
            None => trouble(why, &self.blocked),
        })
    }

    /// What TLS still says when writing fails: a broker that does not like our certificate tells it
    /// only after it was shown, and hangs up.
    fn last_words(&mut self) -> Option<Trouble> {
        let Stream::Tls(stream) = &mut self.stream else {
            return None;
        };
        // Not through the stream itself, which would first write what cannot be written.
        let StreamOwned { conn, sock } = stream.as_mut();
        while matches!(conn.read_tls(sock), Ok(1..)) {
            if let Err(why) = conn.process_new_packets() {
                let why = io::Error::new(io::ErrorKind::InvalidData, why);
                return Some(Trouble::Network(why));
            }
        }
        None
    }

    /// Waits for the answer that `is_it` knows; what a broker says in between is heard.
    ///
    /// # Errors
    /// The broker closes the channel or the connection, says something else, or nothing in time.
    pub fn wait_for(&mut self, is_it: impl Fn(&Method) -> bool) -> Result<Method, Trouble> {
        loop {
            let frame = self.frame()?;
            match frame {
                Frame::Method(_, method) if is_it(&method) => return Ok(method),
                Frame::Heartbeat => {}
                Frame::Method(_, Method::Channel(channel::AMQPMethod::Close(close))) => {
                    return Err(close.into());
                }
                Frame::Method(0, Method::Connection(method)) => self.hear(method)?,
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn hear(&mut self, method: connection::AMQPMethod) -> Result<(), Trouble> {
        use connection::AMQPMethod::{Blocked, Close, Unblocked};
        match method {
            Blocked(blocked) => self.blocked = Some(blocked.reason.to_string()),
            Unblocked(_) => self.blocked = None,
            Close(close) => {
                self.answer_close();
                return Err(close.into());
            }
            other => return Err(unexpected(&Frame::Method(0, Method::Connection(other)))),
        }
        Ok(())
    }

    /// The broker is going anyway; that it hears us is politeness.
    fn answer_close(&mut self) {
        let close_ok = connection::AMQPMethod::CloseOk(connection::CloseOk {});
        let _ = self.send(&[Frame::Method(0, Method::Connection(close_ok))]);
    }

    fn frame(&mut self) -> Result<Frame, Trouble> {
        let mut bytes = [0; READ_BYTES];
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(frame);
            }
            let read = self.stream.as_io().read(&mut bytes);
            match read.map_err(|why| trouble(why, &self.blocked))? {
                0 => return Err(closed()),
                count => self.frames.feed(&bytes[..count]),
            }
        }
    }
}

fn closed() -> Trouble {
    let why = "the broker closed the connection without a word";
    Trouble::Network(io::Error::new(io::ErrorKind::UnexpectedEof, why))
}

fn trouble(why: io::Error, blocked: &Option<String>) -> Trouble {
    match (why.kind(), blocked) {
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(reason)) => {
            Trouble::Blocked(reason.clone())
        }
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, None) => Trouble::Late,
        _ => Trouble::Network(why),
    }
}

impl Stream {
    fn new(bounded: Bounded, broker: &Broker) -> Result<Stream, Trouble> {
        let Some(protection) = &broker.protection else {
            return Ok(Stream::Plain(bounded));
        };
        let config = protection.config().map_err(Trouble::Unusable)?;
        let name = tls::server_name(&broker.host).map_err(Trouble::Unusable)?;
        let session = ClientConnection::new(Arc::clone(&config), name)
            .map_err(|why| Trouble::Unusable(why.to_string()))?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(session, bounded))))
    }

    fn as_io(&mut self) -> &mut dyn ReadWrite {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.as_mut(),
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// A socket whose every read and write ends by the deadline.
struct Bounded {
    socket: TcpStream,
    until: Instant,
}

impl Bounded {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(into)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Tries each address of the broker until one answers or time is up.
fn connect(broker: &Broker, until: Instant) -> Result<TcpStream, Trouble> {
    let mut why = Trouble::Late;
    for address in addresses(broker, until)? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => return Ok(socket),
            Err(failed) => why = trouble(failed, &None),
        }
    }
    Err(why)
}

/// The system's resolver knows no deadline, so it is asked from a thread that may be left behind.
fn addresses(broker: &Broker, until: Instant) -> Result<Vec<SocketAddr>, Trouble> {
    if let Ok(address) = broker.host.parse() {
        return Ok(vec![SocketAddr::new(address, broker.port)]);
    }
    let place = (broker.host.clone(), broker.port);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let found = place.to_socket_addrs().map(Iterator::collect);
        // Nobody listens any more if it took too long.
        let _ = tell.send(found);
    });
    let left = until.saturating_duration_since(Instant::now());
    match told.recv_timeout(left) {
        Ok(found) => Ok(found?),
        Err(_) => Err(Trouble::Late),
    }
}
