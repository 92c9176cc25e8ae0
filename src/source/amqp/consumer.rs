//! Takes deliveries in batches, puts them on disk, acknowledges them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::decode::Seen;
use super::keep::{Arrival, keep};
use crate::amqp::content::{Content, ContentError};
use crate::amqp::{
    Broker, CHANNEL, Frame, Link, Message, Method, Trouble, basic, encode, opening, queue, table,
};
use crate::event::{Incoming, Meta, Value};
use crate::source::context::NotKept;
use crate::source::{Context, amqp_listen};

/// Most messages that a broker may give ahead of our acknowledgement.
pub const PREFETCH_MAX: u16 = 2_000;
/// Messages that are put on disk together, in bytes; one may be larger alone.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Seconds between signs of life that are wanted at most.
const HEARTBEAT_SECONDS: u16 = 30;
/// A pause before what was not kept is handed in again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A door that goes out to a broker.
pub(super) struct Consumer {
    pub(super) broker: Broker,
    pub(super) wanted: Wanted,
}

/// What is wanted of the broker.
pub(super) struct Wanted {
    pub(super) queue: String,
    /// The queue is made as Kompira's senders make it.
    pub(super) is_kompira: bool,
    pub(super) is_json: bool,
    /// An exchange, and the keys of what is wanted of it; the queue is ours then.
    pub(super) binding: Option<(String, Vec<String>)>,
    pub(super) prefetch: u16,
}

/// A message with the number that acknowledges it.
struct Delivery {
    tag: u64,
    message: Result<Message, ContentError>,
}

/// Deliveries as they come in pieces.
#[derive(Default)]
struct Arriving {
    tag: u64,
    content: Content,
}

impl Consumer {
    /// Until the connection ends.
    pub(super) async fn consume(&self, context: &Context) -> Result<(), Trouble> {
        let mut link = Link::open(&self.broker, HEARTBEAT_SECONDS).await?;
        self.prepare(&mut link).await?;
        let mut arriving = Arriving::default();
        loop {
            let batch = self.batch(&mut link, &mut arriving).await?;
            let mut tags: Vec<(u64, bool)> = batch.iter().map(Delivery::settled).collect();
            for place in self.keep(&mut link, context, batch).await? {
                tags[place].1 = false;
            }
            settle(&mut link, &tags).await?;
        }
    }

    async fn prepare(&self, link: &mut Link) -> Result<(), Trouble> {
        link.ask(self.declare()).await?;
        if let Some((exchange, keys)) = &self.wanted.binding {
            for key in keys {
                let bind = queue::Bind {
                    queue: self.wanted.queue.as_str().into(),
                    exchange: exchange.as_str().into(),
                    routing_key: key.as_str().into(),
                    ..queue::Bind::default()
                };
                link.ask(Method::Queue(queue::AMQPMethod::Bind(bind)))
                    .await?;
            }
        }
        let qos = basic::Qos {
            prefetch_count: self.wanted.prefetch,
            global: false,
        };
        link.ask(Method::Basic(basic::AMQPMethod::Qos(qos))).await?;
        let consume = basic::Consume {
            queue: self.wanted.queue.as_str().into(),
            ..basic::Consume::default()
        };
        link.ask(Method::Basic(basic::AMQPMethod::Consume(consume)))
            .await?;
        Ok(())
    }

    /// Kompira's queue as its senders declare it, our own for a binding durable; any other must be
    /// there already, because its owner knows its arguments and we do not.
    fn declare(&self) -> Method {
        let is_ours = self.wanted.is_kompira || self.wanted.binding.is_some();
        let mut arguments = BTreeMap::new();
        if self.wanted.is_kompira {
            arguments.insert("x-ha-policy".to_owned(), Value::from("all"));
        }
        Method::Queue(queue::AMQPMethod::Declare(queue::Declare {
            queue: self.wanted.queue.as_str().into(),
            passive: !is_ours,
            durable: is_ours,
            arguments: table::to_table(&arguments),
            ..queue::Declare::default()
        }))
    }

    /// Waits for a delivery, and takes along those that are here already.
    async fn batch(
        &self,
        link: &mut Link,
        arriving: &mut Arriving,
    ) -> Result<Vec<Delivery>, Trouble> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < usize::from(self.wanted.prefetch) && bytes < BATCH_BYTES_MAX {
            let frame = match link.waiting_frame()? {
                Some(frame) => frame,
                None if batch.is_empty() => link.frame().await?,
                None => break,
            };
            if let Some(delivery) = arriving.take(frame)? {
                bytes += delivery
                    .message
                    .as_ref()
                    .map_or(0, |message| message.body.len());
                batch.push(delivery);
            }
        }
        Ok(batch)
    }

    /// Until all are on disk, however long that takes: the broker keeps what comes after them. Gives
    /// the places of those that no channel can hold, for which a note is on disk instead.
    async fn keep(
        &self,
        link: &mut Link,
        context: &Context,
        batch: Vec<Delivery>,
    ) -> Result<Vec<usize>, Trouble> {
        let seen = Seen {
            peer: self.broker.url(),
            received_at: context.clock().now(),
            is_json: self.wanted.is_json,
        };
        let arrivals = batch
            .into_iter()
            .map(|delivery| arrival(delivery, &seen))
            .enumerate();
        let (mut places, mut left): (Vec<usize>, Vec<Arrival>) = arrivals.unzip();
        let mut never = Vec::new();
        loop {
            let refused = keep(context, left.clone()).await;
            link.listened();
            if refused.is_empty() {
                return Ok(never);
            }
            let mut again = Vec::new();
            for (at, why) in refused {
                context.trouble(&why.to_string());
                if let NotKept::Never(why) = &why {
                    never.push(places[at]);
                    left[at].events = vec![too_large(why, &seen)];
                }
                again.push((places[at], left[at].clone()));
            }
            (places, left) = again.into_iter().unzip();
            link.stay_alive().await?;
            context.pause(AGAIN_AFTER).await;
        }
    }
}

impl Delivery {
    /// Its number, and whether it is to be acknowledged.
    fn settled(&self) -> (u64, bool) {
        (self.tag, self.message.is_ok())
    }
}

/// Acknowledges what is on disk, and rejects what never will be, so that the queue's dead-letter
/// exchange gets it if there is one.
async fn settle(link: &mut Link, tags: &[(u64, bool)]) -> Result<(), Trouble> {
    let mut bytes = Vec::new();
    let mut say = |method| bytes.extend(encode(&Frame::Method(CHANNEL, Method::Basic(method))));
    for (at, (delivery_tag, is_kept)) in tags.iter().enumerate() {
        let delivery_tag = *delivery_tag;
        let is_last_kept = tags.get(at + 1).is_none_or(|(_, next)| !next);
        match is_kept {
            true if is_last_kept => say(basic::AMQPMethod::Ack(basic::Ack {
                delivery_tag,
                multiple: true,
            })),
            true => {}
            false => say(basic::AMQPMethod::Reject(basic::Reject {
                delivery_tag,
                requeue: false,
            })),
        }
    }
    link.write(&bytes).await
}

fn arrival(delivery: Delivery, seen: &Seen) -> Arrival {
    match delivery.message {
        Ok(message) => Arrival::new(message, seen),
        Err(why) => Arrival {
            channel: None,
            events: vec![too_large(&why.to_string(), seen)],
        },
    }
}

/// What stands in the channel for a message that no channel can hold: that it was there.
fn too_large(why: &str, seen: &Seen) -> Incoming {
    let mut meta = Meta::new("amqp", seen.received_at);
    meta.peer.clone_from(&seen.peer);
    meta.extra
        .insert("decode_error".to_owned(), Value::from(why));
    Incoming {
        body: Value::Null,
        meta,
    }
}

impl Arriving {
    fn take(&mut self, frame: Frame) -> Result<Option<Delivery>, Trouble> {
        use basic::AMQPMethod::{Cancel, Deliver};
        let message = match frame {
            Frame::Method(_, Method::Basic(Deliver(deliver))) => {
                self.tag = deliver.delivery_tag;
                self.content = Content::Announced {
                    exchange: deliver.exchange.to_string(),
                    routing_key: deliver.routing_key.to_string(),
                };
                return Ok(None);
            }
            Frame::Method(_, Method::Basic(Cancel(_))) => {
                return Err(Trouble::Unusable("the queue was removed".to_owned()));
            }
            frame @ (Frame::Header(..) | Frame::Body(..)) => {
                match self.content.take(frame, amqp_listen::MESSAGE_BYTES_MAX) {
                    Ok(None) => return Ok(None),
                    Ok(Some(message)) => Ok(message),
                    Err(why @ ContentError::TooLarge(_)) => Err(why),
                    Err(why) => return Err(Trouble::Unusable(why.to_string())),
                }
            }
            other => return Err(opening::unexpected(&other)),
        };
        Ok(Some(Delivery {
            tag: self.tag,
            message,
        }))
    }
}
