//! A message that comes in pieces: announced by a method, then a header, then its body.

use super::frame::Frame;
use super::message::{BASIC_CLASS, Message};

/// Why pieces make no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Nobody announced it.
    #[error("a piece of a message that nobody announced")]
    Unexpected,
    /// So many bytes are more than there is room for; the rest of it is passed over.
    #[error("a message of {0} bytes is too large")]
    TooLarge(usize),
    /// More came than the header said.
    #[error("more of a body than its header announced")]
    TooMuch,
}

/// One message in the making.
#[derive(Debug, Default)]
pub enum Content {
    /// Nothing is expected.
    #[default]
    None,
    /// A header must follow.
    Announced {
        /// What the message was published to.
        exchange: String,
        /// With this key.
        routing_key: String,
    },
    /// So many bytes are still to come.
    Coming(Box<Message>, usize),
    /// So many bytes are still to be passed over.
    Passing(usize),
}

impl Content {
    /// How many bytes of an unfinished message are held.
    pub fn held_bytes(&self) -> usize {
        match self {
            Content::Coming(message, _) => message.body.len(),
            _ => 0,
        }
    }

    /// Takes a header or a piece of a body; gives the message if it is whole now. `room` is what it
    /// may have, in bytes.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn take(&mut self, frame: Frame, room: usize) -> Result<Option<Message>, ContentError> {
        match (std::mem::take(self), frame) {
            (
                Content::Announced {
                    exchange,
                    routing_key,
                },
                Frame::Header(_, header),
            ) => {
                if header.class_id != BASIC_CLASS {
                    return Err(ContentError::Unexpected);
                }
                let size = usize::try_from(header.body_size).unwrap_or(usize::MAX);
                if size > room {
                    *self = Content::Passing(size);
                    return Err(ContentError::TooLarge(size));
                }
                let message = Message::arriving(&exchange, &routing_key, &header.properties);
                Ok(self.grow(message, size))
            }
            (Content::Coming(mut message, left), Frame::Body(_, piece)) => {
                let left = left.checked_sub(piece.len()).ok_or(ContentError::TooMuch)?;
                message.body.extend(piece);
                Ok(self.grow(*message, left))
            }
            (Content::Passing(left), Frame::Body(_, piece)) => {
                let left = left.checked_sub(piece.len()).ok_or(ContentError::TooMuch)?;
                *self = match left {
                    0 => Content::None,
                    left => Content::Passing(left),
                };
                Ok(None)
            }
            _ => Err(ContentError::Unexpected),
        }
    }

    fn grow(&mut self, message: Message, left: usize) -> Option<Message> {
        if left == 0 {
            return Some(message);
        }
        *self = Content::Coming(Box::new(message), left);
        None
    }
}
