//! One channel of a client's connection: its messages in the making, and their numbers.
//!
//! AMQP's word is channel; ours is taken by the queues that events wait in.

use crate::amqp::content::{Content, ContentError};
use crate::amqp::{Frame, Message, basic};

use super::refusal::Refusal;

/// Largest message, in bytes: the largest mail that a sender takes.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A channel of a connection.
#[derive(Debug, Default)]
pub struct Lane {
    /// We closed it and wait for the answer; all else is passed over.
    pub is_closing: bool,
    /// The number of the last message, once confirms were asked for.
    pub confirms: Option<u64>,
    content: Content,
}

/// A whole message, on the way to a flush.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// The channel of the connection that it came on.
    pub lane: u16,
    /// Its number there, if it is to be confirmed.
    pub number: Option<u64>,
    /// The message.
    pub message: Message,
}

impl Lane {
    /// One that was closed for a mistake; what it held is dropped.
    pub fn closing() -> Lane {
        Lane {
            is_closing: true,
            ..Lane::default()
        }
    }

    /// How many bytes of an unfinished message are held.
    pub fn held_bytes(&self) -> usize {
        self.content.held_bytes()
    }

    /// True while a method would come in the middle of a message.
    pub fn is_inside(&self) -> bool {
        !matches!(self.content, Content::None)
    }

    /// A message begins.
    pub fn announce(&mut self, publish: &basic::Publish) {
        self.content = Content::Announced {
            exchange: publish.exchange.to_string(),
            routing_key: publish.routing_key.to_string(),
        };
    }

    /// A content header or a piece of a body; the message if it is whole now. `room` is what the
    /// message may have, in bytes.
    ///
    /// # Errors
    /// 505 for what does not belong there, 501 for too much of it, 311 for too large a message.
    pub fn content(&mut self, frame: Frame, room: usize) -> Result<Option<Message>, Refusal> {
        self.content.take(frame, room).map_err(|why| {
            let code = match why {
                ContentError::Unexpected => 505,
                ContentError::TooMuch => 501,
                ContentError::TooLarge(_) => 311,
            };
            Refusal::new(code, why.to_string())
        })
    }

    /// The next message's number, if messages are confirmed here.
    pub fn number(&mut self) -> Option<u64> {
        let number = self.confirms.as_mut()?;
        *number += 1;
        Some(*number)
    }
}
