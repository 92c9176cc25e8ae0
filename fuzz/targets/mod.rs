//! What is fuzzed: one function per decoder, given any bytes at all.
//!
//! Each must return, and what it promises of its result is asserted here. The ordinary tests replay
//! the corpus through these same functions; cargo-fuzz invents more.

mod amqp;
mod bbdo;
mod house;
mod imap;
mod script;
mod source;
mod store;

use vigie::event::Meta;

/// A target: its name, which is also that of its folder under `corpus/`, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("amqp_door", amqp::door),
    ("amqp_peer", amqp::peer),
    ("bbdo_stream", bbdo::stream),
    ("bbdo_event", bbdo::event),
    ("imap_answer", imap::answer),
    ("json", source::json),
    ("mail", source::mail),
    ("script", script::compile_and_step),
    ("settings", house::settings),
    ("snmp_datagram", source::snmp_datagram),
    ("spool_file", source::spool_file),
    ("store_value", store::value),
    ("trap_text", source::trap_text),
    ("webhook", source::webhook),
];

/// Runs the target with this name.
pub fn run(name: &str, bytes: &[u8]) {
    let found = ALL.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("there is no target `{name}`"));
    target(bytes);
}

fn meta() -> Meta {
    Meta::new("fuzz", jiff::Timestamp::UNIX_EPOCH)
}
