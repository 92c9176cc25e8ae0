//! From a stream of bytes to whole BBDO events, and back to packets.
//!
//! A packet is a header of 16 bytes and at most 65,535 bytes more. A full packet says "more follows":
//! its pieces share type, source and destination. Protobuf events whose length is an exact multiple
//! end without a last piece, so a packet of another kind, or a piece that is whole by itself, ends
//! them too.
//!
//! Invariant: how the bytes were cut on their way changes nothing, and garbage costs a bounded look.

use super::checksum::x25;
use super::wire;

/// Longest event that is put together from packets, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A peer is dropped once this many bytes in a row were no packet: a broken header loses at most
/// the packet behind it.
pub const SKIPPED_BYTES_MAX: usize = 256 * 1024;

const HEADER_BYTES: usize = 16;
/// The length that says that more follows.
const FULL: usize = 0xFFFF;

/// Where an event comes from and what it is: what its packets share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Category, see facts of the protocol: 1 neb, 2 bbdo, 3 storage, 6 bam, 65535 internal.
    pub category: u16,
    /// The kind of event within its category.
    pub element: u16,
    /// The broker or poller that it comes from.
    pub source: u32,
    /// Normally 0.
    pub destination: u32,
}

impl Label {
    /// Of something that this server says.
    pub fn new(category: u16, element: u16) -> Label {
        Label {
            category,
            element,
            source: 0,
            destination: 0,
        }
    }
}

/// One whole event, not yet decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub label: Label,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    /// No packet for too long.
    #[error("{SKIPPED_BYTES_MAX} bytes in a row were no BBDO packet")]
    NoPacket,
    /// One event is too long.
    #[error("an event is longer than {FRAME_BYTES_MAX} bytes")]
    TooLong,
}

/// Puts packets together.
#[derive(Debug, Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    /// What of `bytes` was read.
    at: usize,
    /// Pieces of an event that has not ended.
    pending: Option<Frame>,
    /// An event that was found to have ended together with another one.
    ready: Option<Frame>,
    /// Bytes in a row that were no packet.
    skipped: usize,
    /// All bytes that were no packet.
    lost: u64,
}

impl Deframer {
    /// Takes bytes in as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 && self.at * 2 >= self.bytes.len() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole event; `None` until more bytes come.
    ///
    /// # Errors
    /// [`Garbage`], after which the peer is to be dropped.
    pub fn take(&mut self) -> Result<Option<Frame>, Garbage> {
        loop {
            if let Some(frame) = self.ready.take() {
                return Ok(Some(frame));
            }
            let Some((label, payload)) = self.packet()? else {
                return Ok(None);
            };
            if let Some(frame) = self.join(label, payload)? {
                return Ok(Some(frame));
            }
        }
    }

    /// Bytes that were passed over since the start, because they were no packet.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What was taken in and not read, for the layer that the peers have just agreed on.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.at);
        self.bytes.clear();
        self.at = 0;
        rest
    }

    /// The next packet; passes over what is none.
    fn packet(&mut self) -> Result<Option<(Label, Vec<u8>)>, Garbage> {
        while let Some(header) = self.bytes.get(self.at..self.at + HEADER_BYTES) {
            match read_header(header).filter(|(label, _)| self.is_likely(*label)) {
                Some((label, length)) => {
                    let begin = self.at + HEADER_BYTES;
                    let Some(payload) = self.bytes.get(begin..begin + length) else {
                        return Ok(None);
                    };
                    let payload = payload.to_vec();
                    self.at = begin + length;
                    self.skipped = 0;
                    return Ok(Some((label, payload)));
                }
                None => self.skip()?,
            }
        }
        Ok(None)
    }

    fn skip(&mut self) -> Result<(), Garbage> {
        self.at += 1;
        self.skipped += 1;
        self.lost += 1;
        match self.skipped > SKIPPED_BYTES_MAX {
            true => Err(Garbage::NoPacket),
            false => Ok(()),
        }
    }

    /// While it looks for the next packet, one in 65,536 places would pass for one by chance.
    fn is_likely(&self, label: Label) -> bool {
        self.skipped == 0 || matches!(label.category, 1..=9 | 0xFFFF) && label.element < 1_000
    }

    fn join(&mut self, label: Label, payload: Vec<u8>) -> Result<Option<Frame>, Garbage> {
        let more = payload.len() == FULL;
        let before = self.pending.take();
        let whole = match before {
            Some(mut before) if before.label == label && !before.is_whole() => {
                before.payload.extend_from_slice(&payload);
                before
            }
            // It had ended, and this is the next one.
            Some(before) => {
                self.ready = self.take_in(Frame { label, payload }, more)?;
                return Ok(Some(before));
            }
            None => Frame { label, payload },
        };
        self.take_in(whole, more)
    }

    fn take_in(&mut self, frame: Frame, more: bool) -> Result<Option<Frame>, Garbage> {
        if frame.payload.len() > FRAME_BYTES_MAX {
            return Err(Garbage::TooLong);
        }
        if more {
            self.pending = Some(frame);
            return Ok(None);
        }
        Ok(Some(frame))
    }
}

impl Frame {
    /// True of a protobuf event that nothing is missing of: it need not be followed by a last piece.
    fn is_whole(&self) -> bool {
        super::decode::is_protobuf(self.label) && wire::is_whole(&self.payload)
    }

    /// As packets; always ended by one that is not full, as the elder generation does.
    pub fn packets(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + HEADER_BYTES);
        let mut pieces = self.payload.chunks(FULL).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            write_packet(&mut out, self.label, piece);
            if piece.len() < FULL {
                return out;
            }
        }
    }
}

fn read_header(header: &[u8]) -> Option<(Label, usize)> {
    let header: &[u8; HEADER_BYTES] = header.try_into().ok()?;
    let [sum1, sum2, rest @ ..] = header;
    let short = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let long = |at: usize| u32::from(short(at)) << 16 | u32::from(short(at + 2));
    let label = Label {
        category: short(2),
        element: short(4),
        source: long(6),
        destination: long(10),
    };
    let good = u16::from_be_bytes([*sum1, *sum2]) == x25(rest);
    good.then(|| (label, usize::from(short(0))))
}

fn write_packet(out: &mut Vec<u8>, label: Label, piece: &[u8]) {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    // A piece is never longer than what the field holds.
    let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
    header.extend(length.to_be_bytes());
    header.extend(label.category.to_be_bytes());
    header.extend(label.element.to_be_bytes());
    header.extend(label.source.to_be_bytes());
    header.extend(label.destination.to_be_bytes());
    out.extend(x25(&header).to_be_bytes());
    out.extend(header);
    out.extend_from_slice(piece);
}
