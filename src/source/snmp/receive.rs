//! The open door: sockets are read all the time, what is there is decoded and kept in one commit,
//! and only then are its informs answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::access::{Access, Datagram, Reading, Refusal};
use super::engine::Engine;
use super::inbox::{Head, Inbox, Pile};
use super::mib::Names;
use super::socket::{Socket, fill};
use crate::event::Incoming;
use crate::source::context::NotKept;
use crate::source::json::EVENTS_MAX;
use crate::source::{Context, Trouble};

/// Bytes of datagrams that go into one commit, unless one alone is larger.
const COMMIT_BYTES: usize = 128 * 1024;
/// A pause before events that were not kept are handed in again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often the system is asked what it dropped.
const ASKED_EVERY: Duration = Duration::from_secs(5);

/// What receives while a door stands open.
pub struct Receiver<'a> {
    /// What it has of the server.
    pub context: &'a Context,
    /// Who may send.
    pub access: &'a Access,
    /// Who we are to senders of version 3.
    pub engine: Engine,
    /// Where they send to.
    pub sockets: Vec<Arc<Socket>>,
    /// Names beyond the built-in ones.
    pub names: Option<Names>,
}

/// An answer that waits until its event is on disk.
struct Answer {
    socket: usize,
    to: std::net::SocketAddr,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Commit {
    events: Vec<Incoming>,
    answers: Vec<Answer>,
    bytes: usize,
}

impl Receiver<'_> {
    /// Receives until the door is to close; what was taken from the system by then is kept too.
    ///
    /// # Errors
    /// A socket that fails.
    pub async fn run(&self) -> Result<(), Trouble> {
        let inbox = Arc::new(Inbox::default());
        let mut readers = JoinSet::new();
        for (index, socket) in self.sockets.iter().enumerate() {
            let (socket, inbox) = (Arc::clone(socket), Arc::clone(&inbox));
            readers.spawn(fill(socket, index, inbox, self.context.clock().clone()));
        }
        self.context.up();
        let mut pile = Pile::default();
        let mut asking = tokio::time::interval(ASKED_EVERY);
        let mut dropped = 0;
        let ended = loop {
            tokio::select! {
                () = inbox.came() => {}
                _ = asking.tick() => {
                    dropped = self.ask_for_dropped(dropped);
                    continue;
                }
                Some(failed) = readers.join_next() => break Err(failure(failed)),
                () = self.context.stopped() => break Ok(()),
            }
            if inbox.take(&mut pile) {
                self.keep(&pile).await;
            }
        };
        // The address is free again when this returns.
        readers.shutdown().await;
        if inbox.take(&mut pile) {
            self.keep(&pile).await;
        }
        ended
    }

    async fn keep(&self, pile: &Pile) {
        let mut commit = Commit::default();
        for (head, bytes) in pile.iter() {
            let is_full = commit.bytes + bytes.len() > COMMIT_BYTES;
            if !commit.events.is_empty() && (is_full || commit.events.len() == EVENTS_MAX) {
                self.commit(std::mem::take(&mut commit)).await;
            }
            let (from, at) = (head.from, head.at);
            let datagram = Datagram {
                bytes,
                from,
                at,
                names: self.names.as_ref(),
            };
            let reading = self.access.read(&self.engine, datagram);
            let answer = |bytes| Answer {
                socket: head.socket,
                to: from,
                bytes,
            };
            match reading {
                Reading::Event(event, answered) => {
                    commit.bytes += bytes.len();
                    commit.events.push(*event);
                    commit.answers.extend(answered.map(answer));
                }
                Reading::Refused(why) => self.refused(why, &head),
                Reading::Reported(why, report) => {
                    why.iter().for_each(|why| self.refused(*why, &head));
                    self.answer(&[answer(report)]).await;
                }
            }
        }
        self.commit(commit).await;
    }

    fn refused(&self, why: Refusal, head: &Head) {
        self.context.refused(why.word(), 1, &head.from.to_string());
    }

    /// Keeps the events, then answers.
    async fn commit(&self, commit: Commit) {
        let mut left = vec![commit.events];
        let mut is_whole = true;
        while let Some(events) = left.pop() {
            match self.push(&events).await {
                Ok(()) => {}
                // One that is too large must not cost the others.
                Err(NotKept::Never(_)) if events.len() > 1 => {
                    let (first, second) = events.split_at(events.len() / 2);
                    left.extend([second.to_vec(), first.to_vec()]);
                }
                Err(why) => {
                    is_whole = false;
                    let count = events.len() as u64;
                    self.context.refused("not kept", count, &why.to_string());
                }
            }
        }
        // Whoever is not answered sends again, and what was kept is kept once.
        if is_whole {
            self.answer(&commit.answers).await;
        }
    }

    /// Hands in events as often as it takes; an error says that they never will be kept, or that
    /// the door closes.
    async fn push(&self, events: &[Incoming]) -> Result<(), NotKept> {
        if events.is_empty() {
            return Ok(());
        }
        loop {
            let why = match self.context.push(events.to_vec()).await {
                Ok(_) => {
                    self.context.up();
                    return Ok(());
                }
                Err(NotKept::Later(why)) => why,
                Err(never) => return Err(never),
            };
            self.context.trouble(&why);
            if !self.context.pause(AGAIN_AFTER).await {
                return Err(NotKept::Later(why));
            }
        }
    }

    async fn answer(&self, answers: &[Answer]) {
        for Answer { socket, to, bytes } in answers {
            let sent = self.sockets[*socket].udp.send_to(bytes, to).await;
            if let Err(why) = sent {
                tracing::debug!(%to, "an inform's answer could not be sent: {why}");
            }
        }
    }

    /// Tells what the system dropped beyond `known`; the new count.
    fn ask_for_dropped(&self, known: u64) -> u64 {
        let counts = self.sockets.iter().filter_map(|socket| socket.dropped());
        let now = counts.sum();
        if now > known {
            let lost = now - known;
            self.context.refused("overflow", lost, "the system");
            self.context.trouble(&format!(
                "the system dropped {lost} datagrams, because they came faster than its receive buffer holds; raise net.core.rmem_max"
            ));
        }
        now
    }
}

fn failure(failed: Result<std::io::Error, tokio::task::JoinError>) -> Trouble {
    match failed {
        Ok(why) => Trouble(format!("a socket failed: {why}")),
        Err(why) => Trouble(format!("a socket's reader ended: {why}")),
    }
}
