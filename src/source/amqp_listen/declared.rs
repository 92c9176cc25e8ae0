//! Queues and exchanges that clients declared: names only, because nothing ever waits in them.

use std::collections::{BTreeMap, BTreeSet};

use super::refusal::Refusal;

/// Names of queues and exchanges that a door remembers, each.
pub const DECLARED_MAX: usize = 10_000;
/// The queue that Kompira's senders fill; some declare it passively and expect it to be there.
const ALWAYS: &str = "io_queue";
/// How names begin that belong to the broker.
const RESERVED: &str = "amq.";
/// The exchanges that every broker has, with their kinds.
const BUILT_IN: &[(&str, &str)] = &[
    ("amq.direct", "direct"),
    ("amq.fanout", "fanout"),
    ("amq.headers", "headers"),
    ("amq.topic", "topic"),
];

/// What was declared at one door since it opened.
#[derive(Debug, Default)]
pub struct Declared {
    queues: BTreeSet<String>,
    exchanges: BTreeMap<String, String>,
    made_up: u64,
}

impl Declared {
    /// Declares a queue; an empty name gets one made up. Its name.
    ///
    /// # Errors
    /// 404 for a passive declaration of what nobody declared, 506 if there are too many.
    pub fn queue(&mut self, name: &str, passive: bool) -> Result<String, Refusal> {
        if name == ALWAYS || self.queues.contains(name) {
            return Ok(name.to_owned());
        }
        if passive {
            return Err(Refusal::new(404, format!("no queue '{name}'")));
        }
        if self.queues.len() >= DECLARED_MAX {
            return Err(Refusal::new(506, "too many queues are declared"));
        }
        let name = match name {
            "" => {
                self.made_up += 1;
                format!("amq.gen-{}", self.made_up)
            }
            name => name.to_owned(),
        };
        self.queues.insert(name.clone());
        Ok(name)
    }

    /// Declares an exchange.
    ///
    /// # Errors
    /// 404, 406 or 403 as a broker would; 503 for an unknown kind; 506 if there are too many.
    pub fn exchange(&mut self, name: &str, kind: &str, passive: bool) -> Result<(), Refusal> {
        match self.kind(name) {
            Some(_) if passive => return Ok(()),
            Some(known) if known == kind => return Ok(()),
            Some(known) => {
                let why = format!("exchange '{name}' is of kind {known}, not {kind}");
                return Err(Refusal::new(406, why));
            }
            None if passive => return Err(Refusal::new(404, format!("no exchange '{name}'"))),
            None => {}
        }
        if name.is_empty() || name.starts_with(RESERVED) {
            let why = format!("the exchange name '{name}' belongs to the broker");
            return Err(Refusal::new(403, why));
        }
        if !BUILT_IN.iter().any(|(_, known)| *known == kind) {
            let why = format!("there are no exchanges of kind '{kind}'");
            return Err(Refusal::new(503, why));
        }
        if self.exchanges.len() >= DECLARED_MAX {
            return Err(Refusal::new(506, "too many exchanges are declared"));
        }
        self.exchanges.insert(name.to_owned(), kind.to_owned());
        Ok(())
    }

    /// True if messages may be published to `exchange`; the default one has no name.
    pub fn has_exchange(&self, name: &str) -> bool {
        name.is_empty() || self.kind(name).is_some()
    }

    fn kind(&self, name: &str) -> Option<&str> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let declared = || self.exchanges.get(name).map(String::as_str);
        built_in.map(|(_, kind)| *kind).or_else(declared)
    }
}
