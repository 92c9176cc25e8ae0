//! Doors in. One file per kind of door, one line in [`ALL`] for a kind that channels open themselves.
//!
//! What every door shares is `decode`, which turns bytes into an event and never fails (what cannot
//! be decoded is kept raw with `decode_error`). An answer "ok" is given only after the channel has
//! said that the event is on disk.

pub mod amqp;
pub mod amqp_listen;
pub mod asked;
pub mod bbdo;
pub mod block;
pub mod context;
pub mod cron;
pub mod directory;
pub mod door;
pub mod http;
pub mod imap;
pub mod json;
pub mod mail;
pub mod parcel;
pub mod plan;
pub mod poll;
pub mod snmp;
mod underway;
pub mod webhook;

pub use block::Block;
pub use context::Context;
pub use door::{Door, Opened, Source, Trouble};
pub use plan::Plan;

use crate::event::{Incoming, Value};

/// Every kind of `[[source]]`, in the order in which the documentation lists them.
pub const ALL: &[&dyn Source] = &[
    &cron::Cron,
    &poll::Poll,
    &imap::Imap,
    &amqp::Amqp,
    &amqp_listen::AmqpListen,
    &snmp::Snmp,
    &bbdo::Bbdo,
];

/// Keeps what could not be decoded: the bytes become the body, the reason goes into `meta`.
pub fn keep_raw(mut incoming: Incoming, bytes: &[u8], why: impl Into<String>) -> Incoming {
    incoming.body = Value::from(bytes.to_vec());
    incoming
        .meta
        .extra
        .insert("decode_error".to_owned(), Value::Text(why.into()));
    incoming
}
