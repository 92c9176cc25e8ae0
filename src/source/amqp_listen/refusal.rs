//! What the door refuses, with the protocol's own codes (AMQP 0-9-1, section 1.2).

use crate::amqp::message::cut;
use crate::amqp::{Frame, Method, channel, connection};

/// A refusal: an error of a channel leaves the connection alone, any other ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reply code.
    pub code: u16,
    /// The name of the code, then what was wrong.
    pub text: String,
    /// The class and the method that are refused; 0 if it was none.
    pub about: (u16, u16),
}

/// Codes that close the channel alone; all others close the connection.
const OF_CHANNEL: [u16; 6] = [311, 312, 403, 404, 405, 406];

impl Refusal {
    /// The refusal with this code.
    pub fn new(code: u16, why: impl AsRef<str>) -> Refusal {
        let name = match code {
            311 => "CONTENT_TOO_LARGE",
            320 => "CONNECTION_FORCED",
            403 => "ACCESS_REFUSED",
            404 => "NOT_FOUND",
            406 => "PRECONDITION_FAILED",
            501 => "FRAME_ERROR",
            502 => "SYNTAX_ERROR",
            503 => "COMMAND_INVALID",
            504 => "CHANNEL_ERROR",
            505 => "UNEXPECTED_FRAME",
            506 => "RESOURCE_ERROR",
            530 => "NOT_ALLOWED",
            540 => "NOT_IMPLEMENTED",
            _ => "INTERNAL_ERROR",
        };
        Refusal {
            code,
            text: format!("{name} - {}", why.as_ref()),
            about: (0, 0),
        }
    }

    /// What this door does not offer.
    pub fn not_offered(method: &Method) -> Refusal {
        let why = "this is no broker: it takes messages and hands none out";
        Refusal::new(540, why).about(method)
    }

    /// A method that does not belong where it came.
    pub fn misplaced(method: &Method) -> Refusal {
        Refusal::new(503, "this method does not belong here").about(method)
    }

    /// With the method that it is about.
    #[must_use]
    pub fn about(mut self, method: &Method) -> Refusal {
        self.about = (method.get_amqp_class_id(), method.get_amqp_method_id());
        self
    }

    /// True if it closes the channel alone.
    pub fn is_of_channel(&self) -> bool {
        OF_CHANNEL.contains(&self.code)
    }

    /// The frame that closes the connection.
    pub fn close_connection(&self) -> Frame {
        let close = connection::Close {
            reply_code: self.code,
            reply_text: cut(&self.text),
            class_id: self.about.0,
            method_id: self.about.1,
        };
        let close = connection::AMQPMethod::Close(close);
        Frame::Method(0, Method::Connection(close))
    }

    /// The frame that closes the channel `number`.
    pub fn close_channel(&self, number: u16) -> Frame {
        let close = channel::Close {
            reply_code: self.code,
            reply_text: cut(&self.text),
            class_id: self.about.0,
            method_id: self.about.1,
        };
        Frame::Method(number, Method::Channel(channel::AMQPMethod::Close(close)))
    }
}
