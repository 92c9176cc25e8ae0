//! All tests in one binary: what is promised, shown on the real thing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
// A test tells a whole story; cutting it in pieces would hide its order.
#![allow(clippy::too_many_lines)]

mod acting;
mod address_policy;
mod amqp_listen;
mod amqp_source;
mod attacks;
mod bad_input;
mod broker_stand_in;
mod canopsis;
mod cli_reload;
mod cli_senders;
mod cli_store;
mod cli_verbs;
mod crash;
mod cron;
mod decode_json;
mod decode_mail;
mod decode_trap;
mod decode_webhook;
mod demo;
mod door_access;
mod door_http;
mod engine;
mod file_action;
mod house;
mod house_alertmanager;
mod house_postfix;
mod house_redmine;
mod house_snmptrapd;
mod http_action;
mod licences;
mod mail_action;
mod mutate;
mod pagerduty;
mod path;
mod peers;
mod pipe;
mod post_stand_in;
mod redmine;
mod redmine_real;
mod run;
mod sendevt;
mod sendevt_amqp;
mod shipped;
mod sources;
mod spool;
mod store;
mod store_damage;
mod store_model;
mod tidy;
mod wire;
mod words;
mod words_check;
