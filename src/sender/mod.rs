//! The sender: what runs on monitored hosts, under mail servers and under snmptrapd.
//!
//! It starts in a few milliseconds and knows neither the store nor scripts nor an async runtime.
//! Invariant: exit 0 means that an event was accepted by a server or lies fsynced in the spool.

pub mod mail;
pub mod sendevt;
pub mod spool;
pub mod trap;

mod amqp_door;
mod arguments;
mod broker;
mod broker_link;
mod caller;
mod charset;
mod conf;
mod delivery;
mod door;
mod dry_run;
mod effective;
mod forward;
mod http_door;
mod log;
mod pairs;
mod pipe;
mod post;
mod python_text;
mod server;
mod settings;

pub use amqp_door::AmqpDoor;
pub use arguments::command as sendevt_command;
pub use caller::{Caller, StandardInput};
pub use conf::Conf;
pub use delivery::{Delivered, Patience, Plan, deliver};
pub use door::{Answer, Door};
pub use forward::{Forwarded, forward};
pub use http_door::{HttpDoor, Security, agent};
pub use mail::command as mail_command;
pub use post::Post;
pub use server::{SERVER_DEFAULT, Server};
pub use settings::Settings;
pub use trap::command as trap_command;

/// Who sent it: `sendevt`, `mail`, `snmp`; becomes the event's source.
pub const SOURCE_HEADER: &str = "x-vigie-source";
/// Kompira's site id, a whole number; kept for flows that ask for it.
pub const SITE_ID_HEADER: &str = "x-vigie-site-id";
/// When the sender had the event: RFC 3339, local time with offset.
pub const SENT_AT_HEADER: &str = "x-vigie-sent-at";
/// What else the sender knows: standard base64 of a flat JSON object of texts, at most
/// [`META_VALUES_MAX`] of [`META_VALUE_BYTES_MAX`] each.
pub const META_HEADER: &str = "x-vigie-meta";
/// The sender's own id of the event, the same on every retry and in the spool.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// Largest text of one value in [`META_HEADER`], in bytes; longer ones are cut.
pub const META_VALUE_BYTES_MAX: usize = 512;
/// Most values in [`META_HEADER`].
pub const META_VALUES_MAX: usize = 32;
/// Largest body that is read from standard input, in bytes; Postfix refuses mails over 10 MB.
pub const MAIL_BYTES_MAX: usize = 32 * 1024 * 1024;
