//! The proof: every module here states facts about the program.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod decode_json;
mod decode_mail;
mod decode_trap;
mod decode_webhook;
mod mutate;
mod words;
