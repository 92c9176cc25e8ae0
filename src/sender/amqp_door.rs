//! A broker's door: the queue `io_queue`, as Kompira's senders declare and fill it.
//!
//! The frames that declare and publish are byte for byte theirs; added to that are confirms, so
//! that "sent" means that the broker has it on disk.

use super::broker_link::Link;
use super::{Answer, META_HEADER, Patience, Post, SOURCE_HEADER};
use crate::amqp::{
    Broker, CHANNEL, Frame, Message, Method, Trouble, basic, channel, confirm, connection, queue,
    table,
};
use crate::event::Value;

/// The one queue of all of Kompira's channels.
const QUEUE: &str = "io_queue";
/// The body's encoding, for JSON and for decoded text.
const UTF_8: &str = "utf-8";
/// AMQP's reply code of a close without a mistake; Kompira's senders say 0.
const NO_MISTAKE: u16 = 0;

/// A connection to be made to one broker, anew for each event.
pub struct AmqpDoor {
    broker: Broker,
    patience: Patience,
}

impl AmqpDoor {
    /// Gets ready to speak to `broker`; nothing is sent yet.
    ///
    /// # Errors
    /// A sentence that names the PEM file that cannot be used.
    pub fn new(broker: Broker, patience: &Patience) -> Result<AmqpDoor, String> {
        if let Some(protection) = &broker.protection {
            protection.config()?;
        }
        Ok(AmqpDoor {
            broker,
            patience: patience.clone(),
        })
    }

    /// The broker behind it.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Hands over one event, once.
    pub fn post(&self, post: &Post) -> Answer {
        let mut link = match self.open() {
            Ok(link) => link,
            Err(trouble) => return answer(&trouble, true),
        };
        match publish(&mut link, post) {
            Ok(()) => {
                // It is confirmed already.
                let _ = close_connection(&mut link);
                Answer::Accepted
            }
            Err(trouble) => answer(&trouble, false),
        }
    }

    /// Logs in, opens the virtual host, and closes.
    ///
    /// # Errors
    /// A sentence: away, or what the broker does not like.
    pub fn ready(&self) -> Result<(), String> {
        let mut link = self.open().map_err(|trouble| trouble.to_string())?;
        close_connection(&mut link).map_err(|trouble| trouble.to_string())
    }

    fn open(&self) -> Result<Link, Trouble> {
        Link::open(&self.broker, &self.patience)
    }
}

fn answer(trouble: &Trouble, is_connect: bool) -> Answer {
    let reason = trouble.to_string();
    match trouble.refusal() {
        Some(status) => Answer::Refused { status, reason },
        None => Answer::Away {
            reason,
            is_connect,
            is_passing: trouble.is_passing(),
        },
    }
}

/// Declares the queue, publishes, and waits until the broker has it: its confirmation, or if it
/// knows none, the close of the channel, which it answers after all that came before.
fn publish(link: &mut Link, post: &Post) -> Result<(), Trouble> {
    let message = message(post, link.tls_version());
    let bytes = message.publish(CHANNEL, link.terms().frame_bytes_max);
    let bytes = bytes.map_err(Trouble::Unusable)?;
    link.send(&[on_channel(channel::AMQPMethod::Open(channel::Open {}))])?;
    link.wait_for(|method| matches!(method, Method::Channel(channel::AMQPMethod::OpenOk(_))))?;
    link.send(&[Frame::Method(CHANNEL, declare())])?;
    link.wait_for(|method| matches!(method, Method::Queue(queue::AMQPMethod::DeclareOk(_))))?;
    let has_confirms = link.terms().has_confirms;
    if has_confirms {
        ask_for_confirms(link)?;
    }
    link.write(&bytes)?;
    if has_confirms {
        wait_for_confirm(link)?;
        // What follows is politeness.
        let _ = close_channel(link);
        return Ok(());
    }
    close_channel(link)
}

fn declare() -> Method {
    let arguments = [("x-ha-policy".to_owned(), Value::from("all"))].into();
    Method::Queue(queue::AMQPMethod::Declare(queue::Declare {
        queue: QUEUE.into(),
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: table::to_table(&arguments),
    }))
}

fn ask_for_confirms(link: &mut Link) -> Result<(), Trouble> {
    let select = confirm::AMQPMethod::Select(confirm::Select { nowait: false });
    link.send(&[Frame::Method(CHANNEL, Method::Confirm(select))])?;
    link.wait_for(|method| matches!(method, Method::Confirm(confirm::AMQPMethod::SelectOk(_))))?;
    Ok(())
}

fn wait_for_confirm(link: &mut Link) -> Result<(), Trouble> {
    use basic::AMQPMethod::{Ack, Nack};
    let heard = link.wait_for(|method| matches!(method, Method::Basic(Ack(_) | Nack(_))))?;
    match heard {
        Method::Basic(Ack(_)) => Ok(()),
        _ => Err(Trouble::Nacked),
    }
}

fn on_channel(method: channel::AMQPMethod) -> Frame {
    Frame::Method(CHANNEL, Method::Channel(method))
}

fn close_channel(link: &mut Link) -> Result<(), Trouble> {
    let close = channel::Close {
        reply_code: NO_MISTAKE,
        ..channel::Close::default()
    };
    link.send(&[on_channel(channel::AMQPMethod::Close(close))])?;
    link.wait_for(|method| matches!(method, Method::Channel(channel::AMQPMethod::CloseOk(_))))?;
    Ok(())
}

fn close_connection(link: &mut Link) -> Result<(), Trouble> {
    use connection::AMQPMethod::{Close, CloseOk};
    let close = connection::Close {
        reply_code: NO_MISTAKE,
        ..connection::Close::default()
    };
    link.send(&[Frame::Method(0, Method::Connection(Close(close)))])?;
    link.wait_for(|method| matches!(method, Method::Connection(CloseOk(_))))?;
    Ok(())
}

/// The event as Kompira's senders shape it.
fn message(post: &Post, tls_version: Option<&str>) -> Message {
    let (content_type, content_encoding) = match post.content_type.as_str() {
        "application/json" => (Some("application/json"), Some(UTF_8)),
        "application/octet-stream" => (None, None),
        "text/plain; charset=utf-8" => (None, Some(UTF_8)),
        other => (Some(other), None),
    };
    let site_id = post.site_id().and_then(|text| text.parse().ok());
    let headers = [
        ("channel".to_owned(), Value::from(post.channel.as_str())),
        ("site_id".to_owned(), Value::Int(site_id.unwrap_or(1))),
        ("ssl".to_owned(), Value::from(tls_version)),
        ("timestamp".to_owned(), Value::from(local_stamp(post))),
    ];
    let mut message = Message {
        routing_key: QUEUE.to_owned(),
        content_type: content_type.map(str::to_owned),
        content_encoding: content_encoding.map(str::to_owned),
        correlation_id: Some(post.correlation_id.clone()),
        headers: headers.into(),
        body: post.body.clone(),
        ..Message::default()
    };
    note_ours(&mut message, post);
    message
}

/// What only a mail or a trap has that waited in the spool.
fn note_ours(message: &mut Message, post: &Post) {
    if post.source != "sendevt" {
        let source = Value::from(post.source.as_str());
        message.headers.insert(SOURCE_HEADER.to_owned(), source);
    }
    if let Some(meta) = post.meta_header() {
        message
            .headers
            .insert(META_HEADER.to_owned(), Value::from(meta));
    }
}

/// `2026-11-21T00:50:03.244680+09:00` as `2026-11-21 00:50:03.244680`: Kompira's senders give their
/// local time without its zone.
fn local_stamp(post: &Post) -> String {
    let stamp = &post.received_at;
    match (stamp.get(..10), stamp.get(11..26)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => stamp.clone(),
    }
}
