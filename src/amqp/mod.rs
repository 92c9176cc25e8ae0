//! AMQP 0-9-1 without a socket: frames, tables, messages, and how a client opens a connection.
//!
//! The sender, the doors and the action all speak through here, so that there is one codec.
//! Invariant: no bytes from outside reach the parser before their size and depth are bounded.

pub mod broker;
pub mod content;
pub mod frame;
pub mod link;
pub mod message;
pub mod opening;
pub mod table;
pub mod tls;
pub mod trouble;

pub use amq_protocol::protocol::{AMQPClass as Method, basic, channel, confirm, connection};
pub use amq_protocol::protocol::{exchange, queue};
pub use broker::{Broker, Place, Wish};
pub use frame::{FRAME_BYTES_MAX, Frame, FrameError, Frames, encode};
pub use link::Link;
pub use message::Message;
pub use opening::{Login, Opening, Progress, Terms};
pub use trouble::Trouble;

/// The channel of a connection that carries our work; we need no second one.
pub const CHANNEL: u16 = 1;
/// AMQP's registered port (IANA).
pub const PORT: u16 = 5672;
/// The registered port for AMQP over TLS (IANA).
pub const TLS_PORT: u16 = 5671;
