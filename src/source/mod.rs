//! Doors in. One file per kind of door, one line in [`ALL`].
//!
//! A door is two things: `decode`, which turns bytes into an event and never fails (what cannot be
//! decoded is kept raw with `decode_error`), and the socket it listens on. An answer "ok" is given
//! only after the channel has said that the event is on disk.

pub mod asked;
pub mod http;
pub mod json;
pub mod mail;
pub mod parcel;
pub mod snmp;
pub mod webhook;

use crate::event::{Incoming, Value};

/// Keeps what could not be decoded: the bytes become the body, the reason goes into `meta`.
pub fn keep_raw(mut incoming: Incoming, bytes: &[u8], why: impl Into<String>) -> Incoming {
    incoming.body = Value::from(bytes.to_vec());
    incoming
        .meta
        .extra
        .insert("decode_error".to_owned(), Value::Text(why.into()));
    incoming
}
