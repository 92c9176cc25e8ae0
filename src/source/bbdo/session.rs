//! One conversation with a Broker, without a socket: bytes in, events out, bytes to send.
//!
//! Invariant: what is acknowledged was kept before, and never more than what came. An
//! acknowledgement counts the events since the last one; a Broker sends what is not acknowledged
//! again after the next greeting, oldest first.

use super::frame::{Deframer, Frame, Garbage, Label};
use super::handshake::{Greeting, Layers, PROTOCOL, Refused, Version};
use super::squeeze::{self, Broken, Unpacker};

/// Events that are taken before the first of them is kept and acknowledged: enough for one commit
/// on its way to the disk and the next one, and far from where a Broker stops that waits for
/// acknowledgements, its `event_queue_max_size` (10,000 unless it is set otherwise).
pub const UNACKNOWLEDGED_MAX: u64 = 2_000;

/// Why a conversation ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The first words.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No BBDO.
    #[error(transparent)]
    Garbage(#[from] Garbage),
    /// No compressed BBDO.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// What a Broker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An event, to be kept and then counted with [`Session::kept`].
    Event(Frame),
    /// It is about to close, and waits for an acknowledgement.
    Stop,
}

/// One conversation.
#[derive(Debug, Default)]
pub struct Session {
    wanted: Layers,
    /// What this side offered, if it spoke first.
    offered: Option<Version>,
    agreed: Option<Agreed>,
    deframer: Deframer,
    unpacker: Option<Unpacker>,
    out: Vec<u8>,
    taken: u64,
    acknowledged: u64,
    kept: u64,
}

/// What both agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The version that both speak.
    pub version: Version,
    /// The layers from here on.
    pub layers: Layers,
    /// What the peer calls its poller.
    pub poller_name: String,
}

impl Session {
    /// With a Broker that connected and speaks first; `wanted` is what this side can do, and of it
    /// TLS is what it insists on.
    pub fn answering(wanted: Layers) -> Session {
        Session {
            wanted,
            ..Session::default()
        }
    }

    /// With a Broker that waits to be spoken to.
    pub fn beginning(wanted: Layers, version: Version) -> Session {
        let mut session = Session {
            wanted,
            offered: Some(version),
            ..Session::default()
        };
        session.send(&Greeting::frame(version, wanted));
        session
    }

    /// Takes bytes in as they come.
    ///
    /// # Errors
    /// [`Failed`], after which the connection is to be closed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        match &mut self.unpacker {
            Some(unpacker) => unpacker.push(bytes),
            None => self.deframer.push(bytes),
        }
        match self.agreed {
            Some(_) => Ok(()),
            None => self.greet(),
        }
    }

    /// What both agreed on, once they have.
    pub fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// The next thing that was said; `None` until more bytes come.
    ///
    /// # Errors
    /// [`Failed`], after which the connection is to be closed.
    pub fn take(&mut self) -> Result<Option<Said>, Failed> {
        if self.agreed.is_none() {
            return Ok(None);
        }
        while let Some(frame) = self.frame()? {
            match (frame.label.category, frame.label.element) {
                (PROTOCOL, 3 | 9) => return Ok(Some(Said::Stop)),
                // The rest of the protocol is for those who send events.
                (PROTOCOL, _) => {}
                _ => {
                    self.taken += 1;
                    return Ok(Some(Said::Event(frame)));
                }
            }
        }
        Ok(None)
    }

    /// The first `events` that [`Session::take`] gave in this conversation are on disk, or are not
    /// to be kept.
    pub fn kept(&mut self, events: u64) {
        self.kept = self.kept.max(events.min(self.taken));
    }

    /// Acknowledges what was kept, if there is something new.
    pub fn acknowledge(&mut self) {
        if self.kept > self.acknowledged {
            self.answer();
        }
    }

    /// The answer to a stop, which is given even if there is nothing new.
    pub fn answer(&mut self) {
        // At most UNACKNOWLEDGED_MAX of them.
        let count = u32::try_from(self.kept - self.acknowledged).unwrap_or(u32::MAX);
        self.acknowledged = self.kept;
        self.send(&Frame {
            label: Label::new(PROTOCOL, 2),
            payload: count.to_be_bytes().to_vec(),
        });
    }

    /// Takes what is to be sent.
    pub fn outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Events that were taken and are not kept yet.
    pub fn waiting(&self) -> u64 {
        self.taken - self.kept
    }

    /// Events that were taken in all.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that were no packet.
    pub fn lost(&self) -> u64 {
        self.deframer.lost()
    }

    fn send(&mut self, frame: &Frame) {
        let packets = frame.packets();
        match self.unpacker {
            Some(_) => self.out.extend(squeeze::pack(&packets)),
            None => self.out.extend(packets),
        }
    }

    fn frame(&mut self) -> Result<Option<Frame>, Failed> {
        loop {
            if let Some(frame) = self.deframer.take()? {
                return Ok(Some(frame));
            }
            let plain = match &mut self.unpacker {
                Some(unpacker) => unpacker.take()?,
                None => None,
            };
            match plain {
                Some(plain) => self.deframer.push(&plain),
                None => return Ok(None),
            }
        }
    }

    fn greet(&mut self) -> Result<(), Failed> {
        let Some(frame) = self.deframer.take()? else {
            // A greeting is short, and whoever begins otherwise is none of us.
            return match self.deframer.lost() {
                0 => Ok(()),
                _ => Err(Refused::NoVersion.into()),
            };
        };
        let greeting = Greeting::read(&frame)?;
        let layers = self.wanted.and(greeting.layers);
        self.check(&greeting, layers)?;
        if self.offered.is_none() {
            self.send(&Greeting::frame(greeting.version, layers));
        }
        let rest = self.deframer.take_rest();
        // Before TLS anybody on the way could have said it.
        if layers.tls && !rest.is_empty() {
            return Err(Refused::TooEarly.into());
        }
        if layers.compression {
            self.unpacker = Some(Unpacker::default());
        }
        self.agreed = Some(Agreed {
            version: greeting.version,
            layers,
            poller_name: greeting.poller_name,
        });
        self.push(&rest)
    }

    fn check(&self, greeting: &Greeting, layers: Layers) -> Result<(), Refused> {
        let offered = self.offered.unwrap_or(greeting.version).major;
        if offered != greeting.version.major {
            return Err(Refused::Other(greeting.version.major, offered));
        }
        match self.wanted.tls && !layers.tls {
            true => Err(Refused::NoTls),
            false => Ok(()),
        }
    }
}
