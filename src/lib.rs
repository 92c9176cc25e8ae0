//! vigie: channels hold events, flows react to them, and a flow may wait for days.
//!
//! An event comes in by a door ([`source`]) and is decoded. Its channel keeps it on disk before the
//! door answers. For each flow under that channel one run begins: the script thinks ([`engine`]),
//! asks for something, and is stopped; what it asked for goes into the run's journal, is done
//! ([`action`]), and its outcome goes into the journal too. Then the script runs again from the
//! top, is handed the outcomes so far, and gets one question further, until it ends.
#![warn(missing_docs)]

// what everything speaks of
pub mod clock;
pub mod document;
pub mod encoding;
pub mod error;
pub mod event;
pub mod secret;

pub mod duration;
pub mod hex;
pub mod lua_pattern;
pub mod memory;
pub mod printable;
pub mod stop;
mod tls;

// the wire of a broker, which senders, doors and actions share
pub mod amqp;

// thinking: a script, and the gate between it and the world
pub mod broker;
pub mod bundle;
mod calls;
pub mod compile;
pub mod engine;
pub mod explain;
mod expression;
pub mod fault;
pub mod gate;
pub mod host;
pub mod leak;
mod lexicon;
pub mod logging;
mod resolver;
pub mod step;
pub mod template;
pub mod thinkers;
mod vocabulary;

// what people write
pub mod config;
pub mod flow;
pub mod settings;
pub mod storm;

// who may call, and how
pub mod access;
pub mod listener;

// what a run has done, and may do next
pub mod attempt;
pub mod blackbox;
pub mod copy;
pub mod divergence;
pub mod entry;
pub mod journal;
pub mod replay;
pub mod wait;
pub mod want;

// under the floor
pub mod store;

// the path of an event
mod abate;
mod act;
pub mod backlog;
mod cease;
pub mod channel;
pub mod claim;
mod collect;
pub mod dispatch;
mod judge;
mod keep;
pub mod locals;
pub mod metrics;
mod mind;
pub mod perform;
mod put_back;
pub mod recall;
pub mod receive;
pub mod rewait;
pub mod run;
mod settle;
mod timer;
mod trace;
pub mod trial;
pub mod tries;
mod usher;
mod vault;
pub mod versions;
pub mod waits;
mod wake;
pub mod weather;

// trying without acting
pub mod actor;
pub mod cases;
pub mod compare;
pub mod difference;
pub mod exact;
pub mod expect;
pub mod forecast;
pub mod record;
mod recorded;
pub mod rehearsal;
pub mod transcript;
pub mod world;

// everything together
pub mod amend;
pub mod api;
mod archive;
pub mod attendance;
pub mod connect;
pub mod doors;
pub mod fork;
mod health;
pub mod intake;
mod operate;
pub mod pace;
mod patrol;
mod post;
mod reason;
pub mod server;
pub mod state;
pub mod story;
pub mod upgrade;

// what is started
pub mod cli;

// sockets: one file and one line in ALL to add one
pub mod action;
pub mod script;
pub mod source;

// for `demo` and tests: what the doors out talk to when the real thing is not there
pub mod standin;

// the small sender, linked alone into `sendevt`
pub mod sender;
