//! The peers, one file each: how it is started, when it is ready, how an event is handed to it.

pub(crate) mod dbos;
mod http;
pub(crate) mod nats;
pub(crate) mod nodered;
pub(crate) mod postgres;
pub(crate) mod rabbit;
pub(crate) mod redis;
pub(crate) mod restate;
pub(crate) mod rulebook;
