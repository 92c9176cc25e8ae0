//! One client's socket: reads, hands frames to the session, puts messages on disk, answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::lane::Publication;
use super::refusal::Refusal;
use super::session::{Effect, House, Session};
use super::users::Peer;
use crate::amqp::frame::PROTOCOL_HEADER;
use crate::amqp::{Frame, Frames, encode};
use crate::source::Context;
use crate::source::amqp::decode::Seen;
use crate::source::amqp::keep::{Arrival, keep};
use crate::source::context::NotKept;

/// Time to shake hands over TLS, and then to log in.
pub const OPEN_SECONDS_MAX: Duration = Duration::from_secs(10);
/// How long a client may be silent that wants no heartbeats.
pub const SILENT_SECONDS_MAX: Duration = Duration::from_secs(3_600);
/// Unfinished messages of all clients of a door, in bytes.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Time to send one message, to take an answer, and to say goodbye.
const MESSAGE_TIME: Duration = Duration::from_secs(120);
const WRITE_TIME: Duration = Duration::from_secs(30);
const GOODBYE_TIME: Duration = Duration::from_secs(3);
/// A pause after a wrong password, and after a connection that could not be accepted.
const LOGIN_PAUSE: Duration = Duration::from_millis(500);
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How much is read at a time, in bytes; so many small messages share a flush.
const READ_BYTES: usize = 64 * 1024;
/// Messages that are put on disk together.
const BATCH_MESSAGES: usize = 500;

/// What a connection shares with its door.
pub(super) struct Wiring {
    pub(super) context: Context,
    pub(super) house: Arc<House>,
    pub(super) held: Arc<AtomicUsize>,
    pub(super) address: SocketAddr,
}

/// A client's connection.
pub(super) struct Connection<S> {
    stream: S,
    wiring: Wiring,
    session: Session,
    frames: Frames,
    pending: Vec<Publication>,
    out: Vec<u8>,
    held: usize,
    /// Since when a message has been unfinished.
    inside: Option<Instant>,
    has_ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S, wiring: Wiring, certificate: Option<String>) -> Connection<S> {
        let peer = Peer {
            address: wiring.address.ip(),
            certificate,
        };
        Connection {
            stream,
            session: Session::new(Arc::clone(&wiring.house), peer),
            wiring,
            frames: Frames::default(),
            pending: Vec::new(),
            out: Vec::new(),
            held: 0,
            inside: None,
            has_ended: false,
        }
    }

    /// Until somebody closes, time runs out, or the door is to close.
    pub(super) async fn run(mut self) {
        let begun = Instant::now();
        let mut heard = Instant::now();
        let mut bytes = vec![0; READ_BYTES];
        let stop = self.wiring.context.clone();
        while !self.has_ended {
            let wait = self.wait(begun);
            tokio::select! {
                read = tokio::time::timeout(wait, self.stream.read(&mut bytes)) => match read {
                    Ok(Ok(count)) if count > 0 => {
                        heard = Instant::now();
                        self.take(&bytes[..count]).await;
                    }
                    Ok(_) => return,
                    Err(_) => self.quiet(heard),
                },
                () = stop.stopped(), if !self.session.is_closing() => {
                    self.close(&Refusal::new(320, "the server stops")).await;
                }
            }
            if !self.write().await {
                return;
            }
        }
    }

    /// How long to wait for the client's next words.
    fn wait(&self, begun: Instant) -> Duration {
        if self.session.is_closing() {
            GOODBYE_TIME
        } else if self.session.is_ready() {
            self.beat()
        } else {
            OPEN_SECONDS_MAX.saturating_sub(begun.elapsed())
        }
    }

    async fn close(&mut self, why: &Refusal) {
        let effects = self.session.close(why);
        self.perform(effects).await;
    }

    fn user(&self) -> &str {
        self.session.user()
    }

    /// How long to wait before a sign of life is due.
    fn beat(&self) -> Duration {
        match self.session.heartbeat() {
            0 => SILENT_SECONDS_MAX.min(MESSAGE_TIME),
            seconds => Duration::from_secs(seconds.into()) / 2,
        }
    }

    /// Nothing was heard for a while: a sign of life, or the end.
    fn quiet(&mut self, heard: Instant) {
        let patience = match self.session.heartbeat() {
            0 => SILENT_SECONDS_MAX,
            seconds => Duration::from_secs(seconds.into()) * 2,
        };
        if !self.session.is_ready() || heard.elapsed() > patience || self.is_too_slow() {
            self.has_ended = true;
        } else if self.session.heartbeat() > 0 {
            self.out.extend(encode(&Frame::Heartbeat));
        }
    }

    fn is_too_slow(&self) -> bool {
        self.inside
            .is_some_and(|since| since.elapsed() > MESSAGE_TIME)
    }

    async fn take(&mut self, bytes: &[u8]) {
        self.frames.feed(bytes);
        while !self.has_ended {
            let effects = match self.frames.next_frame() {
                Ok(Some(frame)) => self.session.take(frame),
                Ok(None) => break,
                Err(why) => {
                    let effects = self.session.broken(why);
                    self.perform(effects).await;
                    self.has_ended = true;
                    break;
                }
            };
            self.perform(effects).await;
        }
        self.flush().await;
        self.weigh().await;
    }

    /// Counts what is unfinished, and sends away who holds too much or takes too long.
    async fn weigh(&mut self) {
        let now = self.session.held_bytes();
        self.inside = match now {
            0 => None,
            _ => self.inside.or_else(|| Some(Instant::now())),
        };
        let before = self.wiring.held.fetch_add(now, Ordering::Relaxed);
        self.wiring.held.fetch_sub(self.held, Ordering::Relaxed);
        self.held = now;
        let is_full = now > 0 && before.saturating_sub(self.held) + now > BODIES_BYTES_MAX;
        if is_full || self.is_too_slow() {
            let why = "too many unfinished messages, or too slow a one; come back later";
            self.close(&Refusal::new(320, why)).await;
        }
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Push(publication) => {
                    self.pending.push(publication);
                    if self.pending.len() >= BATCH_MESSAGES && !self.flush().await {
                        return;
                    }
                }
                Effect::Send(frame) => {
                    if !self.flush().await {
                        return;
                    }
                    self.out.extend(encode(&frame));
                }
                Effect::Header => self.out.extend(PROTOCOL_HEADER),
                Effect::Limit(bytes) => self.frames.limit(bytes),
                Effect::End => {
                    self.flush().await;
                    self.has_ended = true;
                }
            }
        }
    }

    /// Puts what is pending on disk and answers for it; false if the client was refused over it, so
    /// that nothing of what was to be said next holds any more.
    async fn flush(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return true;
        }
        let mut receipts: Vec<Receipt> = Vec::new();
        for publication in &pending {
            receipts.push((publication.lane, publication.number));
        }
        let arrivals = self.arrivals(pending);
        let refused = keep(&self.wiring.context, arrivals).await;
        if refused.is_empty() {
            let effects = self.session.kept(&receipts);
            self.say(&effects);
            return true;
        }
        for (place, receipt) in receipts.into_iter().enumerate() {
            let effects = match refused.get(&place) {
                None => self.session.kept(&[receipt]),
                Some(why) => self.session.not_kept(receipt, &refusal(why)),
            };
            self.say(&effects);
            if refused.contains_key(&place) && receipt.1.is_none() {
                return false;
            }
        }
        true
    }

    /// Confirms and refusals push nothing, so they need no flush.
    fn say(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.out.extend(encode(frame)),
                Effect::End => self.has_ended = true,
                Effect::Header | Effect::Push(_) | Effect::Limit(_) => {}
            }
        }
    }

    fn arrivals(&self, pending: Vec<Publication>) -> Vec<Arrival> {
        let seen = Seen {
            peer: format!(
                "{}@{}",
                self.user(),
                self.wiring.address.ip().to_canonical()
            ),
            received_at: self.wiring.context.clock().now(),
            is_json: false,
        };
        let arrival = |publication: Publication| Arrival::new(publication.message, &seen);
        pending.into_iter().map(arrival).collect()
    }

    async fn write(&mut self) -> bool {
        let out = std::mem::take(&mut self.out);
        if out.is_empty() {
            return true;
        }
        if self.session.is_closing() && self.user().is_empty() {
            tokio::time::sleep(LOGIN_PAUSE).await;
        }
        let writing = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        matches!(tokio::time::timeout(WRITE_TIME, writing).await, Ok(Ok(())))
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.wiring.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// Which message: its channel of the connection, and its number if it is to be confirmed.
type Receipt = (u16, Option<u64>);

fn refusal(why: &NotKept) -> Refusal {
    match why {
        NotKept::Later(why) => Refusal::new(320, format!("{why}; come back later")),
        NotKept::Never(why) => Refusal::new(311, why),
    }
}
