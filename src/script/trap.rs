//! Traps in scripts: the same shape whether a trap came by its own door or as snmptrapd's text.

use rhai::{Dynamic, Engine, Map, NativeCallContext};

use super::convert::to_dynamic;
use super::text::with_bytes;
use super::{Result, Word, Words, complain};
use crate::source::snmp;

/// The key that every trap event has and hardly anything else.
const TRAP_KEY: &str = "varbinds";

/// The theme.
pub struct Trap;

impl Words for Trap {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[Word {
            name: "trap_parse",
            arguments: "text, blob or trap event",
            about: "what snmptrapd hands to a traphandle, as a map: host transport address port uptime (hundredths of a second) oid name varbinds values, and agent community enterprise for version 1; a trap event is given back as it is",
            example: r#"trap_parse("web01\nUDP: [192.0.2.1]:1024->[192.0.2.9]:162\niso.3.6.1.6.3.1.1.4.1.0 iso.3.6.1.6.3.1.1.5.3\n").name == "linkDown""#,
        }];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine.register_fn("trap_parse", parse);
    }
}

fn parse(context: NativeCallContext, value: Dynamic) -> Result {
    let is_trap = |map: &Map| map.contains_key(TRAP_KEY);
    if value.read_lock::<Map>().is_some_and(|map| is_trap(&map)) {
        return Ok(value);
    }
    let trap = with_bytes(&context, &value, snmp::parse)?;
    trap.map(|trap| to_dynamic(&trap.into_value()))
        .map_err(|error| complain(&context, error.to_string()))
}
