//! A client's connection to a broker for those that may wait without a thread: doors and actions.
//!
//! Signs of life are given and expected while somebody waits here; a broker that says nothing for
//! twice the time agreed on is gone.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::PROTOCOL_HEADER;
use super::opening::unexpected;
use super::tls::server_name;
use super::{
    Broker, CHANNEL, Frame, Frames, Method, Opening, Progress, Terms, Trouble, channel, connection,
    encode,
};

/// Time to connect, and time for each answer after that.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How much is read at a time, in bytes.
const READ_BYTES: usize = 64 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open connection with its one channel open.
pub struct Link {
    stream: Box<dyn Stream>,
    frames: Frames,
    terms: Terms,
    heard: Instant,
    said: Instant,
}

impl Link {
    /// Connects, logs in, opens the virtual host and a channel. `heartbeat` in seconds is what we want
    /// at most; 0 for a connection that nobody tends.
    ///
    /// # Errors
    /// Any trouble on the way.
    pub async fn open(broker: &Broker, heartbeat: u16) -> Result<Link, Trouble> {
        let stream = timeout(CONNECT_TIME, connect(broker));
        let stream = stream.await.map_err(|_| Trouble::Late)??;
        let terms = Terms {
            frame_bytes_max: super::FRAME_BYTES_MAX,
            heartbeat: 0,
            has_confirms: false,
        };
        let mut link = Link {
            stream,
            frames: Frames::default(),
            terms,
            heard: Instant::now(),
            said: Instant::now(),
        };
        let opening = Opening::new(broker.login.clone(), &broker.virtual_host, heartbeat);
        let opened = timeout(ANSWER_TIME, link.log_in(opening));
        link.terms = opened.await.map_err(|_| Trouble::Late)??;
        link.frames.limit(link.terms.frame_bytes_max);
        link.ask(Method::Channel(channel::AMQPMethod::Open(channel::Open {})))
            .await?;
        Ok(link)
    }

    async fn log_in(&mut self, mut opening: Opening) -> Result<Terms, Trouble> {
        self.write(PROTOCOL_HEADER).await?;
        loop {
            let frame = self.frame().await?;
            match opening.take(frame)? {
                Progress::Send(frames) => {
                    let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
                    self.write(&bytes).await?;
                }
                Progress::Open(terms) => return Ok(terms),
            }
        }
    }

    /// What was agreed on.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Says `method` on the channel and waits for the answer, which is the next method.
    ///
    /// # Errors
    /// The broker closes, or does not answer in time.
    pub async fn ask(&mut self, method: Method) -> Result<Method, Trouble> {
        self.say(method).await?;
        let answered = timeout(ANSWER_TIME, self.frame()).await;
        match answered.map_err(|_| Trouble::Late)?? {
            Frame::Method(CHANNEL, method) => Ok(method),
            other => Err(unexpected(&other)),
        }
    }

    /// Says `method` on the channel.
    ///
    /// # Errors
    /// The network.
    pub async fn say(&mut self, method: Method) -> Result<(), Trouble> {
        self.write(&encode(&Frame::Method(CHANNEL, method))).await
    }

    /// Writes bytes that are frames.
    ///
    /// # Errors
    /// The network, or a broker that takes nothing in time.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(ANSWER_TIME, writing)
            .await
            .map_err(|_| Trouble::Late)??;
        self.said = Instant::now();
        Ok(())
    }

    /// The next frame that is no sign of life; waits as long as the broker is alive.
    ///
    /// # Errors
    /// The broker closes the channel or the connection, goes away, or says what is no AMQP.
    pub async fn frame(&mut self) -> Result<Frame, Trouble> {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            if let Some(frame) = self.waiting_frame()? {
                return Ok(frame);
            }
            match timeout(self.beat(), self.stream.read(&mut bytes)).await {
                Ok(Ok(0)) => return Err(gone("the broker closed the connection without a word")),
                Ok(Ok(count)) => {
                    self.heard = Instant::now();
                    self.frames.feed(&bytes[..count]);
                }
                Ok(Err(why)) => return Err(why.into()),
                Err(_) => self.stay_alive().await?,
            }
        }
    }

    /// The next frame if it is here already.
    ///
    /// # Errors
    /// As [`Link::frame`].
    pub fn waiting_frame(&mut self) -> Result<Option<Frame>, Trouble> {
        use connection::AMQPMethod::{Blocked, Close, Unblocked};
        loop {
            let Some(frame) = self.frames.next_frame()? else {
                return Ok(None);
            };
            match frame {
                Frame::Heartbeat => {}
                Frame::Method(0, Method::Connection(Blocked(_) | Unblocked(_))) => {}
                Frame::Method(0, Method::Connection(Close(close))) => {
                    return Err(close.into());
                }
                Frame::Method(CHANNEL, Method::Channel(channel::AMQPMethod::Close(close))) => {
                    return Err(close.into());
                }
                frame => return Ok(Some(frame)),
            }
        }
    }

    fn beat(&self) -> Duration {
        match self.terms.heartbeat {
            0 => ANSWER_TIME,
            seconds => Duration::from_secs(seconds.into()) / 2,
        }
    }

    /// Gives a sign of life if one is due; to be called at least every few seconds by whoever holds
    /// the connection without waiting for its frames.
    ///
    /// # Errors
    /// The broker gave none for too long, or the network.
    pub async fn stay_alive(&mut self) -> Result<(), Trouble> {
        if self.terms.heartbeat == 0 {
            return Ok(());
        }
        let seconds = Duration::from_secs(self.terms.heartbeat.into());
        if self.heard.elapsed() > seconds * 2 {
            return Err(gone("the broker gave no sign of life"));
        }
        if self.said.elapsed() >= seconds / 2 {
            self.write(&encode(&Frame::Heartbeat)).await?;
        }
        Ok(())
    }

    /// The broker was not listened to on purpose; its silence since counts for nothing.
    pub fn listened(&mut self) {
        self.heard = Instant::now();
    }

    /// Says goodbye; what the broker says to that does not matter any more.
    pub async fn close(mut self) {
        let close = connection::Close {
            reply_code: 200,
            reply_text: "done".into(),
            ..connection::Close::default()
        };
        let close = Method::Connection(connection::AMQPMethod::Close(close));
        if self.write(&encode(&Frame::Method(0, close))).await.is_ok() {
            let _ = timeout(Duration::from_secs(1), self.frame()).await;
        }
    }
}

fn gone(why: &str) -> Trouble {
    Trouble::Network(std::io::Error::new(
        std::io::ErrorKind::UnexpectedEof,
        why.to_owned(),
    ))
}

async fn connect(broker: &Broker) -> Result<Box<dyn Stream>, Trouble> {
    let socket = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
    let _ = socket.set_nodelay(true);
    let Some(protection) = &broker.protection else {
        return Ok(Box::new(socket));
    };
    let config = protection.config().map_err(Trouble::Unusable)?;
    let name = server_name(&broker.host).map_err(Trouble::Unusable)?;
    let connector = tokio_rustls::TlsConnector::from(config);
    Ok(Box::new(connector.connect(name, socket).await?))
}
