//! One Broker at the other end of a stream: it is read, its events are kept, and then acknowledged.
//!
//! Invariant: nothing is acknowledged before it is on disk. While the channel has no room nothing is
//! read either, so that the Broker queues on its own side.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::Frame;
use super::reader::Reader;
use super::session::{Failed, Said, Session, UNACKNOWLEDGED_MAX};
use crate::event::{Incoming, Value};
use crate::source::context::{NotKept, PIECES_MAX, Piece};
use crate::source::{Context, Trouble};

/// A Broker waits this long for our greeting before it closes; it gets as long for its own.
pub const GREETING_MAX: Duration = Duration::from_secs(3);
/// A Broker that takes nothing, not even an acknowledgement, is given up after this time.
pub const SEND_MAX: Duration = Duration::from_secs(30);
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Events that are kept in one batch, unless they are large.
const BATCH_EVENTS_MAX: usize = 100;
/// A pause before events that were not kept are handed in again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What both ends of a conversation have.
pub(super) struct Peer<'a> {
    pub(super) context: &'a Context,
    /// Who is at the other end.
    pub(super) address: String,
    pub(super) session: Session,
    pub(super) reader: Reader,
}

/// Why no more frames are taken for now.
#[derive(PartialEq)]
enum End {
    Enough,
    Dry,
    Stop,
    Failed(Failed),
}

/// A stream of either kind, plain or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Peer<'_> {
    /// Says and hears the first words.
    pub(super) async fn greet(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        match timeout(GREETING_MAX, self.greeting(stream)).await {
            Ok(done) => done,
            Err(_) => Err(self.trouble("did not say its version in 3 s")),
        }
    }

    async fn greeting(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        self.send(stream).await?;
        while self.session.agreed().is_none() {
            if !self.read(stream).await? {
                return Err(self.trouble("closed before it said its version"));
            }
        }
        self.send(stream).await
    }

    /// Hears events until either end closes.
    pub(super) async fn hear(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        let mut lost = 0;
        loop {
            while self.take(stream).await? {}
            if self.session.lost() > lost {
                lost = self.session.lost();
                let why = format!("sent {lost} bytes that are no BBDO, which were passed over");
                self.context.trouble(&self.trouble(&why).0);
            }
            if self.context.is_stopping() || !self.read(stream).await? {
                return Ok(());
            }
        }
    }

    /// Takes, keeps and acknowledges some of what was read; false if nothing was left.
    async fn take(&mut self, stream: &mut dyn Stream) -> Result<bool, Trouble> {
        let (frames, end) = self.frames();
        if frames.is_empty() && end == End::Dry {
            return Ok(false);
        }
        let (events, news) = self.reader.read(&frames);
        self.context.unknown(self.reader.take_unknown());
        if !self.remember(news).await {
            return Ok(false);
        }
        if !self.keep(events).await {
            return Ok(false);
        }
        self.session.kept();
        match end {
            End::Stop => self.session.answer(),
            _ => self.session.acknowledge(),
        }
        self.send(stream).await?;
        match end {
            End::Failed(why) => Err(self.trouble(&why.to_string())),
            _ => Ok(true),
        }
    }

    /// Some of what was read, and why it ends there.
    fn frames(&mut self) -> (Vec<Frame>, End) {
        let mut frames = Vec::new();
        while frames.len() < UNACKNOWLEDGED_MAX {
            match self.session.take() {
                Ok(Some(Said::Event(frame))) => frames.push(frame),
                Ok(Some(Said::Stop)) => return (frames, End::Stop),
                Ok(None) => return (frames, End::Dry),
                // What came before it is kept, so that it is not sent again and again.
                Err(why) => return (frames, End::Failed(why)),
            }
        }
        (frames, End::Enough)
    }

    /// Keeps what was learnt before the events that are called by it.
    async fn remember(&self, news: Vec<Piece>) -> bool {
        for some in news.chunks(PIECES_MAX) {
            while let Err(why) = self.context.remember(some.to_vec()).await {
                self.context.trouble(&self.trouble(&why.to_string()).0);
                if !self.context.pause(AGAIN_AFTER).await {
                    return false;
                }
            }
        }
        true
    }

    /// Keeps all of them, however long that takes; false if the door is to close before.
    async fn keep(&self, mut events: Vec<Incoming>) -> bool {
        let mut size = BATCH_EVENTS_MAX;
        while !events.is_empty() {
            let some = events[..size.min(events.len())].to_vec();
            let count = some.len();
            match self.context.push(some).await {
                Ok(_) => {
                    drop(events.drain(..count));
                    size = (size * 2).min(BATCH_EVENTS_MAX);
                }
                // There may be room for a part of them.
                Err(_) if count > 1 => size = count / 2,
                Err(NotKept::Never(why)) => {
                    self.context.trouble(&self.trouble(&why).0);
                    events[0] = without_text(&events[0], &why);
                }
                Err(NotKept::Later(why)) => {
                    self.context.trouble(&self.trouble(&why).0);
                    if !self.context.pause(AGAIN_AFTER).await {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Reads what is there; false if either end closes.
    async fn read(&mut self, stream: &mut dyn Stream) -> Result<bool, Trouble> {
        let mut bytes = vec![0; READ_BYTES];
        let count = tokio::select! {
            count = stream.read(&mut bytes) => count,
            () = self.context.stopped() => return Ok(false),
        };
        let count = count.map_err(|why| self.trouble(&why.to_string()))?;
        let pushed = self.session.push(&bytes[..count]);
        pushed.map_err(|why| self.trouble(&why.to_string()))?;
        Ok(count > 0)
    }

    async fn send(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        let bytes = self.session.outgoing();
        let sent = timeout(SEND_MAX, async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(self.trouble(&why.to_string())),
            Err(_) => Err(self.trouble("takes nothing")),
        }
    }

    pub(super) fn trouble(&self, why: &str) -> Trouble {
        Trouble(format!("{}: {why}", self.address))
    }
}

/// An event that is larger than can ever be kept, without what makes it so.
fn without_text(event: &Incoming, why: &str) -> Incoming {
    let small = |value: &Value| matches!(value, Value::Int(_) | Value::Bool(_) | Value::Float(_));
    let fields = event.body.as_map().into_iter().flatten();
    let fields = fields.filter(|(name, value)| small(value) || *name == "kind");
    let mut meta = event.meta.clone();
    let error = Value::Text(why.to_owned());
    meta.extra.insert("decode_error".to_owned(), error);
    Incoming {
        body: Value::Map(
            fields
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        ),
        meta,
    }
}
