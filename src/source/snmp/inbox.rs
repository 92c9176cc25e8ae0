//! Datagrams that were taken from the system and not decoded yet, one behind the other.
//!
//! Taking one costs a copy and nothing else, so that a burst does not overflow the socket while
//! an earlier one is written to disk. What is here is bounded; then the socket's buffer fills.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

/// Most bytes that wait here, some 60,000 traps of usual size.
pub const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a datagram costs beside its own bytes.
const HEAD_BYTES: usize = size_of::<Head>();

/// Where a datagram came from.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// At which socket, counted from 0.
    pub socket: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// When it was taken from the system.
    pub at: Timestamp,
    end: usize,
}

impl Head {
    /// The head of a datagram that was taken at `at`.
    pub fn new(socket: usize, from: SocketAddr, at: Timestamp) -> Head {
        Head {
            socket,
            from,
            at,
            end: 0,
        }
    }
}

/// Datagrams in the order in which they came.
#[derive(Debug, Default)]
pub struct Pile {
    bytes: Vec<u8>,
    heads: Vec<Head>,
}

impl Pile {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Head, &[u8])> {
        let mut begin = 0;
        self.heads.iter().map(move |head| {
            let datagram = &self.bytes[begin..head.end];
            begin = head.end;
            (*head, datagram)
        })
    }

    fn add(&mut self, mut head: Head, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        head.end = self.bytes.len();
        self.heads.push(head);
    }

    fn is_full(&self) -> bool {
        self.bytes.len() + self.heads.len() * HEAD_BYTES >= INBOX_BYTES_MAX
    }

    /// Empties it but keeps its room for the next burst.
    fn clear(&mut self) {
        self.bytes.clear();
        self.heads.clear();
    }
}

/// What readers of sockets fill and one decoder empties.
#[derive(Debug, Default)]
pub struct Inbox {
    pile: Mutex<Pile>,
    came: Notify,
    room: Notify,
}

impl Inbox {
    /// Adds a datagram; false if there is no room for a further one. [`Inbox::announce`] follows.
    pub fn put(&self, head: Head, datagram: &[u8]) -> bool {
        let mut pile = self.pile.lock().unwrap_or_else(PoisonError::into_inner);
        pile.add(head, datagram);
        !pile.is_full()
    }

    /// Wakes the decoder.
    pub fn announce(&self) {
        self.came.notify_one();
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        loop {
            let notified = self.room.notified();
            let is_full = {
                let pile = self.pile.lock().unwrap_or_else(PoisonError::into_inner);
                pile.is_full()
            };
            if !is_full {
                return;
            }
            notified.await;
        }
    }

    /// Gives all that is there for `pile`, whose own content is done with; false if there is none.
    pub fn take(&self, pile: &mut Pile) -> bool {
        pile.clear();
        {
            let mut own = self.pile.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *own, pile);
        }
        self.room.notify_waiters();
        !pile.heads.is_empty()
    }

    /// Waits until there is something. May be cancelled at any time.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}
