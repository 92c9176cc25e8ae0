//! Known: what a body says, whatever its parameters are called.
//!
//! Users name the parameters themselves, so case and punctuation do not count, and what a monitor
//! writes in place of a value that it does not have counts as absent.

use std::collections::BTreeMap;

use crate::event::Value;

/// The parameters that say something, by their names without case and punctuation.
pub(super) struct Known(BTreeMap<String, String>);

impl Known {
    /// Those of `raw`, whose names may begin with the product's own.
    pub(super) fn of(raw: &BTreeMap<String, Value>, product: &str) -> Known {
        let plain = |name: &str| {
            let letters = name.chars().filter(|char| char.is_alphanumeric());
            let name: String = letters.flat_map(char::to_lowercase).collect();
            let own = name.strip_prefix(product);
            own.filter(|own| !own.is_empty())
                .unwrap_or(&name)
                .to_owned()
        };
        let mut told = BTreeMap::new();
        // of `hostname` and `host_name` the first is meant where both stand
        let is_exact = |name: &&String| plain(name) == name.as_str();
        let (exact, others): (Vec<&String>, Vec<&String>) = raw.keys().partition(is_exact);
        for name in exact.into_iter().chain(others) {
            let value = raw.get(name).and_then(first_text);
            if let Some(value) = value.filter(|value| is_told(value)) {
                told.entry(plain(name)).or_insert(value);
            }
        }
        Known(told)
    }

    /// The first of `names` that says something.
    pub(super) fn find(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.0.get(*name)).cloned()
    }
}

/// A value as text; of Zabbix's own list of hosts (`[{"host": …, "name": …}]`) the first name.
fn first_text(value: &Value) -> Option<String> {
    match value {
        Value::List(items) => first_text(items.first()?),
        Value::Map(map) => map
            .get("host")
            .or_else(|| map.get("name"))?
            .as_text()
            .map(str::to_owned),
        Value::Null => None,
        other => Some(other.to_plain()),
    }
}

/// False for what monitors write when they have nothing to say: an unknown macro stays as it is.
fn is_told(value: &str) -> bool {
    let value = value.trim();
    let is_macro_char =
        |char: char| char.is_ascii_uppercase() || "0123456789._$#?<>:".contains(char);
    let inside = value
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let is_macro = inside.is_some_and(|name| name.chars().all(is_macro_char));
    let dollars = value
        .strip_prefix('$')
        .and_then(|rest| rest.strip_suffix('$'));
    let is_nagios = |name: &str| !name.is_empty() && name.chars().all(is_macro_char);
    let is_macro = is_macro || dollars.is_some_and(is_nagios);
    !value.is_empty() && value != "*UNKNOWN*" && !is_macro
}
