//! One Broker at the other end of a stream: it is read, its events are kept, and then acknowledged.
//! While some are being committed the next ones are decoded and handed over.
//!
//! Invariant: nothing is acknowledged before it and everything before it is on disk. While the
//! channel has no room nothing is read either, so that the Broker queues on its own side.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::Frame;
use super::insist::Insisting;
use super::reader::Reader;
use super::session::{Failed, Said, Session, UNACKNOWLEDGED_MAX};
use crate::event::Incoming;
use crate::source::context::{Delivery, PIECES_MAX, Piece};
use crate::source::underway::{Settled, Underway};
use crate::source::{Context, Trouble};

/// A Broker waits this long for our greeting before it closes; it gets as long for its own.
pub const GREETING_MAX: Duration = Duration::from_secs(3);
/// A Broker that takes nothing, not even an acknowledgement, is given up after this time.
pub const SEND_MAX: Duration = Duration::from_secs(30);
/// Bytes of a Broker's events that are taken before they are kept, but for the last event.
pub const UNACKNOWLEDGED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Events that are kept in one batch, unless they are large.
pub(super) const BATCH_EVENTS_MAX: usize = 100;

/// What both ends of a conversation have.
pub(super) struct Peer<'a> {
    pub(super) context: &'a Context,
    /// Who is at the other end.
    pub(super) address: String,
    pub(super) session: Session,
    reader: Reader,
    underway: Underway<'a, Receipt>,
    /// Bytes of events that are not kept yet.
    bytes: usize,
    /// Bytes that were no BBDO, as far as that was told.
    lost: u64,
}

/// What is settled once a delivery is kept.
#[derive(Default)]
struct Receipt {
    /// So many events of the conversation.
    events: u64,
    /// Their bytes.
    bytes: usize,
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

impl<'a> Peer<'a> {
    pub(super) fn new(context: &'a Context, session: Session, reader: Reader) -> Peer<'a> {
        Peer {
            context,
            address: reader.address().to_owned(),
            session,
            reader,
            underway: Underway::new(context),
            bytes: 0,
            lost: 0,
        }
    }

    /// Says and hears the first words.
    pub(super) async fn greet(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        match timeout(GREETING_MAX, self.greeting(stream)).await {
            Ok(done) => done,
            Err(_) => Err(self.trouble("did not say its version in 3 s")),
        }
    }

    async fn greeting(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        self.send(stream).await?;
        let mut bytes = vec![0; READ_BYTES];
        while self.session.agreed().is_none() {
            let count = tokio::select! {
                count = stream.read(&mut bytes) => count,
                () = self.context.stopped() => Ok(0),
            };
            if !self.heard(count, &bytes)? {
                return Err(self.trouble("closed before it said its version"));
            }
        }
        self.send(stream).await
    }

    /// Hears events until either end closes.
    pub(super) async fn hear(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        let ended = self.converse(stream).await;
        // However it ended: what was learnt is known by now, and would be no news if it came again.
        self.settle_all().await;
        ended
    }

    async fn converse(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        let context = self.context;
        let mut bytes = vec![0; READ_BYTES];
        loop {
            while self.has_room() && self.take(stream).await? {}
            self.tell_lost();
            let has_room = self.has_room();
            tokio::select! {
                Some(settled) = self.underway.settled() => {
                    if !self.see_to(settled).await {
                        return Ok(());
                    }
                    self.session.acknowledge();
                    self.send(stream).await?;
                }
                count = stream.read(&mut bytes), if has_room => {
                    if !self.heard(count, &bytes)? {
                        return self.part(stream).await;
                    }
                }
                () = context.stopped() => return self.part(stream).await,
            }
        }
    }

    /// True while more may be taken.
    fn has_room(&self) -> bool {
        self.session.waiting() < UNACKNOWLEDGED_MAX
            && self.bytes < UNACKNOWLEDGED_BYTES_MAX
            && !self.underway.is_halted()
    }

    /// Hands over some of what was read; false if nothing was left.
    async fn take(&mut self, stream: &mut dyn Stream) -> Result<bool, Trouble> {
        let (frames, end) = self.frames();
        if !frames.is_empty() {
            self.hand_over(&frames).await;
        }
        match end {
            // Others have something to do as well.
            End::Enough => tokio::task::yield_now().await,
            End::Dry => return Ok(false),
            End::Stop if !self.settle_all().await => return Ok(false),
            End::Stop => {
                self.session.answer();
                self.send(stream).await?;
            }
            // What came before it is kept, so that it is not sent again and again.
            End::Failed(why) => {
                self.part(stream).await?;
                return Err(self.trouble(&why.to_string()));
            }
        }
        Ok(true)
    }

    /// Some of what was read, and why it ends there.
    fn frames(&mut self) -> (Vec<Frame>, End) {
        let mut frames = Vec::new();
        while frames.len() < BATCH_EVENTS_MAX && self.has_room() {
            match self.session.take() {
                Ok(Some(Said::Event(frame))) => {
                    self.bytes += frame.payload.len();
                    frames.push(frame);
                }
                Ok(Some(Said::Stop)) => return (frames, End::Stop),
                Ok(None) => return (frames, End::Dry),
                Err(why) => return (frames, End::Failed(why)),
            }
        }
        (frames, End::Enough)
    }

    async fn hand_over(&mut self, frames: &[Frame]) {
        let (events, news) = self.reader.read(frames);
        self.context.unknown(self.reader.take_unknown());
        let mut deliveries = deliveries(events, &news);
        let last = deliveries.pop().unwrap_or_default();
        for delivery in deliveries {
            let nothing = Receipt::default();
            self.underway.hand_over(delivery, nothing).await;
        }
        let receipt = Receipt {
            events: self.session.taken(),
            bytes: frames.iter().map(|frame| frame.payload.len()).sum(),
        };
        self.underway.hand_over(last, receipt).await;
    }

    /// Counts what was kept, and keeps what came back; false if the door is to close before that.
    async fn see_to(&mut self, settled: Settled<Receipt>) -> bool {
        if let Some(delivery) = settled.back {
            let insisting = Insisting {
                context: self.context,
                address: &self.address,
            };
            if !insisting.keep(delivery).await {
                self.underway.give_up();
                return false;
            }
        }
        self.session.kept(settled.receipt.events);
        self.bytes -= settled.receipt.bytes;
        true
    }

    /// Waits until all that was taken is kept; false if the door is to close before that.
    async fn settle_all(&mut self) -> bool {
        while let Some(settled) = self.underway.settled().await {
            if !self.see_to(settled).await {
                return false;
            }
        }
        true
    }

    /// Keeps and acknowledges what was taken, before the conversation ends. The other end may have
    /// gone by then.
    async fn part(&mut self, stream: &mut dyn Stream) -> Result<(), Trouble> {
        self.settle_all().await;
        self.session.acknowledge();
        let _ = self.send(stream).await;
        Ok(())
    }

    /// Says how many bytes were no BBDO, if there are more of them now.
    fn tell_lost(&mut self) {
        let lost = self.session.lost();
        if lost > self.lost {
            self.lost = lost;
            let why = format!("sent {lost} bytes that are no BBDO, which were passed over");
            self.context.trouble(&self.trouble(&why).0);
        }
    }

    /// Takes in what was read; false if the other end closed.
    fn heard(&mut self, count: io::Result<usize>, bytes: &[u8]) -> Result<bool, Trouble> {
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

/// What was learnt goes before the events that are called by it, or in one batch with them.
fn deliveries(events: Vec<Incoming>, news: &[Piece]) -> Vec<Delivery> {
    let delivery = |pieces: &[Piece]| Delivery {
        pieces: pieces.to_vec(),
        ..Delivery::default()
    };
    let mut all: Vec<Delivery> = news.chunks(PIECES_MAX).map(delivery).collect();
    match all.last_mut() {
        Some(last) => last.events = events,
        None => all.push(Delivery {
            events,
            ..Delivery::default()
        }),
    }
    all
}
