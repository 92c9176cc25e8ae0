//! Frames: bytes in, frames out, and back.
//!
//! Every limit stands in front of the parser, which trusts lengths and recurses into tables.

use amq_protocol::frame::{WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::constants::{
    FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD,
};

pub use amq_protocol::frame::AMQPFrame as Frame;

/// Largest frame that is spoken, in bytes, its envelope included; what RabbitMQ proposes.
pub const FRAME_BYTES_MAX: usize = 131_072;
/// Smallest limit that two ends may agree on (AMQP 0-9-1, `frame-min-size`).
pub const FRAME_BYTES_MIN: usize = 4_096;
/// How deep tables and lists in a frame may stand inside one another.
pub const TABLE_DEPTH_MAX: usize = 32;
/// Type, channel and length before, the end mark after what a frame carries.
pub const ENVELOPE_BYTES: usize = 8;
/// What a client says first: `AMQP`, 0, 0, 9, 1.
pub const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";

/// Bytes that are no frame of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Neither a frame nor the protocol's header.
    #[error("the other end does not speak AMQP 0-9-1")]
    NotAmqp,
    /// Larger than the ends agreed on.
    #[error("a frame of {0} bytes is larger than agreed")]
    TooLarge(usize),
    /// [`TABLE_DEPTH_MAX`] is passed.
    #[error("a table nested more than {TABLE_DEPTH_MAX} deep")]
    TooDeep,
    /// The end mark is not where the length says.
    #[error("a frame does not end where it says")]
    NoEnd,
    /// What the frame carries cannot be read.
    #[error("a frame that cannot be read")]
    Unreadable,
}

/// Cuts a stream of bytes into frames. Holds at most one unfinished frame and what was fed last.
#[derive(Debug)]
pub struct Frames {
    bytes: Vec<u8>,
    start: usize,
    limit: usize,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            bytes: Vec::new(),
            start: 0,
            limit: FRAME_BYTES_MAX,
        }
    }
}

impl Frames {
    /// Takes in what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// From now on frames may have this many bytes, envelope included.
    pub fn limit(&mut self, bytes_max: usize) {
        self.limit = bytes_max.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX);
    }

    /// The next whole frame; `None` while its end has not arrived.
    ///
    /// # Errors
    /// The bytes are no frame, or one beyond the limits; nothing after it can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.bytes[self.start..];
        let Some(length) = frame_length(rest, self.limit)? else {
            return Ok(None);
        };
        let Some(bytes) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = read(bytes)?;
        self.start += length;
        Ok(Some(frame))
    }

    /// True while something is left of an unfinished frame.
    pub fn is_inside(&self) -> bool {
        self.start < self.bytes.len()
    }
}

/// How long the frame is that these bytes begin; `None` while too little of it is here.
fn frame_length(bytes: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    match bytes.first() {
        None => return Ok(None),
        Some(b'A') if PROTOCOL_HEADER.starts_with(&bytes[..bytes.len().min(8)]) => {
            return Ok((bytes.len() >= PROTOCOL_HEADER.len()).then_some(PROTOCOL_HEADER.len()));
        }
        Some(&(FRAME_METHOD | FRAME_HEADER | FRAME_BODY | FRAME_HEARTBEAT)) => {}
        Some(_) => return Err(FrameError::NotAmqp),
    }
    let Some(&[a, b, c, d]) = bytes.get(3..7).and_then(|size| size.first_chunk()) else {
        return Ok(None);
    };
    let carried = u32::from_be_bytes([a, b, c, d]);
    let length = usize::try_from(carried)
        .unwrap_or(usize::MAX)
        .saturating_add(ENVELOPE_BYTES);
    if length > limit {
        return Err(FrameError::TooLarge(length));
    }
    Ok(Some(length))
}

fn read(bytes: &[u8]) -> Result<Frame, FrameError> {
    let is_header = bytes.first() == Some(&b'A');
    if !is_header && bytes.last() != Some(&FRAME_END) {
        return Err(FrameError::NoEnd);
    }
    if matches!(bytes.first(), Some(&(FRAME_METHOD | FRAME_HEADER))) && is_too_deep(bytes) {
        return Err(FrameError::TooDeep);
    }
    match parse_frame(bytes) {
        Ok(([], frame)) => Ok(frame),
        _ => Err(FrameError::Unreadable),
    }
}

/// True if tables or lists may stand more than [`TABLE_DEPTH_MAX`] deep in one another. Every place
/// that looks like the beginning of one is taken for one, so none is missed.
fn is_too_deep(bytes: &[u8]) -> bool {
    let mut ends = Vec::with_capacity(TABLE_DEPTH_MAX);
    for (at, window) in bytes.windows(5).enumerate() {
        let [kind, size @ ..] = window else { continue };
        if !matches!(kind, b'F' | b'A') {
            continue;
        }
        let size = size
            .iter()
            .fold(0, |size, byte| size << 8 | usize::from(*byte));
        let end = at + 5 + size;
        if end > bytes.len() {
            continue;
        }
        while ends.last().is_some_and(|last| *last <= at) {
            ends.pop();
        }
        ends.push(end);
        if ends.len() > TABLE_DEPTH_MAX {
            return true;
        }
    }
    false
}

/// The bytes of a frame.
pub fn encode(frame: &Frame) -> Vec<u8> {
    // Writing to memory does not fail.
    gen_frame(frame)(WriteContext::from(Vec::new()))
        .map_or_else(|_| Vec::new(), |written| written.into_inner().0)
}
