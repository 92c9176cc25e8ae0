//! All tests in one binary: what is promised, shown on the real thing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod acting;
mod address_policy;
mod bad_input;
mod canopsis;
mod cli_reload;
mod cli_senders;
mod cli_store;
mod cli_verbs;
mod decode_json;
mod decode_mail;
mod decode_trap;
mod decode_webhook;
mod door_access;
mod door_http;
mod file_action;
mod house;
mod http_action;
mod mail_action;
mod mutate;
mod pagerduty;
mod path;
mod pipe;
mod post_stand_in;
mod redmine;
mod redmine_real;
mod sendevt;
mod spool;
mod store;
mod store_damage;
mod store_model;
mod wire;
mod words;
