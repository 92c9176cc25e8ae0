//! All tests in one binary: what is promised, shown on the real thing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod decode_json;
mod decode_mail;
mod decode_trap;
mod decode_webhook;
mod house;
mod mutate;
mod path;
mod pipe;
mod post_stand_in;
mod sendevt;
mod spool;
mod store;
mod store_damage;
mod store_model;
mod words;
