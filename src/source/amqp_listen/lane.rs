//! One channel of a client's connection: its messages in the making, and their numbers.
//!
//! AMQP's word is channel; ours is taken by the queues that events wait in.

use crate::amqp::frame::Frame;
use crate::amqp::message::BASIC_CLASS;
use crate::amqp::{Message, Method, basic};

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

#[derive(Debug, Default)]
enum Content {
    #[default]
    None,
    /// A header must follow.
    Announced(basic::Publish),
    /// So many bytes are still to come.
    Coming(Box<Message>, usize),
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
    /// How many bytes of an unfinished message are held.
    pub fn held_bytes(&self) -> usize {
        match &self.content {
            Content::Coming(message, _) => message.body.len(),
            _ => 0,
        }
    }

    /// True while a method would come in the middle of a message.
    pub fn is_inside(&self) -> bool {
        !matches!(self.content, Content::None)
    }

    /// A message begins.
    pub fn announce(&mut self, publish: basic::Publish) {
        self.content = Content::Announced(publish);
    }

    /// A content header or a piece of a body; the message if it is whole now. `room` is what the
    /// message may have, in bytes.
    ///
    /// # Errors
    /// 505 for what does not belong there, 311 for a message that is too large.
    pub fn content(&mut self, frame: Frame, room: usize) -> Result<Option<Message>, Refusal> {
        let unexpected = || Refusal::new(505, "a piece of a message that nobody announced");
        match (std::mem::take(&mut self.content), frame) {
            (Content::Announced(publish), Frame::Header(_, header)) => {
                if header.class_id != BASIC_CLASS {
                    return Err(unexpected());
                }
                let size = usize::try_from(header.body_size).unwrap_or(usize::MAX);
                if size > room {
                    let why = format!("a message of {size} bytes is larger than {room}");
                    return Err(Refusal::new(311, why).about(&Method::Basic(
                        basic::AMQPMethod::Publish(publish),
                    )));
                }
                let (exchange, key) = (publish.exchange.as_str(), publish.routing_key.as_str());
                let message = Message::arriving(exchange, key, &header.properties);
                Ok(self.grow(message, size))
            }
            (Content::Coming(mut message, left), Frame::Body(_, piece)) => {
                if piece.len() > left {
                    return Err(Refusal::new(501, "more of a body than its header announced"));
                }
                let left = left - piece.len();
                message.body.extend(piece);
                Ok(self.grow(*message, left))
            }
            _ => Err(unexpected()),
        }
    }

    fn grow(&mut self, message: Message, left: usize) -> Option<Message> {
        if left == 0 {
            return Some(message);
        }
        self.content = Content::Coming(Box::new(message), left);
        None
    }

    /// The next message's number, if messages are confirmed here.
    pub fn number(&mut self) -> Option<u64> {
        let number = self.confirms.as_mut()?;
        *number += 1;
        Some(*number)
    }
}
