//! A message on its way out or in: where to, its properties, its body.

use std::collections::BTreeMap;

use amq_protocol::frame::AMQPContentHeader;
use amq_protocol::protocol::basic::{self, AMQPProperties};
use amq_protocol::types::ShortString;

use super::frame::{ENVELOPE_BYTES, Frame, encode};
use super::{Method, table};
use crate::event::Value;

/// The class whose messages there are (AMQP 0-9-1).
pub const BASIC_CLASS: u16 = 60;
/// The broker writes such a message to disk before it confirms it.
const PERSISTENT: u8 = 2;

/// One message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Empty: the default exchange, whose routing keys are queues' names.
    pub exchange: String,
    /// Where the exchange shall hand it.
    pub routing_key: String,
    /// The media type, if there is one.
    pub content_type: Option<String>,
    /// The characters' encoding, if there is one.
    pub content_encoding: Option<String>,
    /// The sender's id of it.
    pub correlation_id: Option<String>,
    /// Another id that a sender may give.
    pub message_id: Option<String>,
    /// Everything else.
    pub headers: BTreeMap<String, Value>,
    /// The bytes.
    pub body: Vec<u8>,
    /// Give it back if no queue takes it.
    pub is_mandatory: bool,
}

impl Message {
    /// The frames that publish it on `channel`, as bytes: persistent, not immediate, the body in as many frames as `frame_bytes_max` asks for.
    ///
    /// # Errors
    /// A sentence: a name or an id has more than 255 bytes.
    pub fn publish(&self, channel: u16, frame_bytes_max: usize) -> Result<Vec<u8>, String> {
        let publish = basic::Publish {
            exchange: short("exchange", &self.exchange)?,
            routing_key: short("routing key", &self.routing_key)?,
            mandatory: self.is_mandatory,
            immediate: false,
        };
        let method = Method::Basic(basic::AMQPMethod::Publish(publish));
        let mut bytes = encode(&Frame::Method(channel, method));
        let header = AMQPContentHeader {
            class_id: BASIC_CLASS,
            body_size: self.body.len() as u64,
            properties: self.properties()?,
        };
        bytes.extend(encode(&Frame::Header(channel, header)));
        let piece_bytes = frame_bytes_max.saturating_sub(ENVELOPE_BYTES).max(1);
        for piece in self.body.chunks(piece_bytes) {
            bytes.extend(encode(&Frame::Body(channel, piece.to_vec())));
        }
        Ok(bytes)
    }

    fn properties(&self) -> Result<AMQPProperties, String> {
        let mut properties = AMQPProperties::default().with_delivery_mode(PERSISTENT);
        if let Some(text) = &self.content_type {
            properties = properties.with_content_type(short("media type", text)?);
        }
        if let Some(text) = &self.content_encoding {
            properties = properties.with_content_encoding(short("encoding", text)?);
        }
        if let Some(text) = &self.correlation_id {
            properties = properties.with_correlation_id(short("correlation id", text)?);
        }
        if let Some(text) = &self.message_id {
            properties = properties.with_message_id(short("message id", text)?);
        }
        if !self.headers.is_empty() {
            properties = properties.with_headers(table::to_table(&self.headers));
        }
        Ok(properties)
    }

    /// A message that comes in, without its body.
    pub fn arriving(exchange: &str, routing_key: &str, properties: &AMQPProperties) -> Message {
        let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
        let headers = properties.headers().as_ref().map(table::from_table);
        Message {
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            content_type: text(properties.content_type()),
            content_encoding: text(properties.content_encoding()),
            correlation_id: text(properties.correlation_id()),
            message_id: text(properties.message_id()),
            headers: headers.unwrap_or_default(),
            body: Vec::new(),
            is_mandatory: false,
        }
    }
}

/// `text` as a short string of the protocol.
///
/// # Errors
/// A sentence that names `what`: more than 255 bytes.
pub fn short(what: &str, text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| format!("the {what} is longer than AMQP's 255 bytes"))
}

/// As much of `text` as a short string holds; for words to people.
pub fn cut(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::try_new(&text[..end]).unwrap_or_default()
}
