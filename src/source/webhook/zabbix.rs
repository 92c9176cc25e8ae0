//! Zabbix: a media type or an action's webhook, whatever its parameters are called.
//!
//! Zabbix sends what its user configured: every value is text, macros that mean nothing stay as
//! they are (`{EVENT.RECOVERY.ID}`), values that it does not have are `*UNKNOWN*`. The six keys
//! that come out are those of a plain `sendevt` from Zabbix, so one flow serves both.

use std::collections::BTreeMap;

use super::{Hook, HookError, event, generic};
use crate::event::{Incoming, Meta, Value};
use crate::source::json::{EVENTS_MAX, JsonError};

/// Zabbix's words for its severities, in order (Zabbix manual, "Trigger severity").
const SEVERITIES: [&str; 6] = [
    "not classified",
    "information",
    "warning",
    "average",
    "high",
    "disaster",
];

/// The names that users give their parameters, the most telling first. Case and punctuation do
/// not count, so `{EVENT.NSEVERITY}` and `EventNseverity` are found too.
const STATUS: &[&str] = &["status", "triggerstatus", "eventstatus", "problemstatus"];
const EVENT_VALUE: &[&str] = &["eventvalue", "triggervalue"];
const SEVERITY: &[&str] = &[
    "eventnseverity",
    "triggernseverity",
    "nseverity",
    "eventnsev",
    "severity",
    "eventseverity",
    "triggerseverity",
    "eventsev",
    "priority",
];
const HOST: &[&str] = &["hostname", "hosthost", "host", "hostvisiblename", "hosts"];
const TRIGGER_NAME: &[&str] = &[
    "triggername",
    "eventname",
    "name",
    "problemname",
    "trigger",
    "alertsubject",
    "subject",
];
const TRIGGER_KEY: &[&str] = &[
    "triggerkey",
    "itemkey",
    "triggerid",
    "trigid",
    "objectid",
    "eventid",
];
const DETAIL: &[&str] = &[
    "detail",
    "eventopdata",
    "opdata",
    "itemlastvalue",
    "itemvalue",
    "alertmessage",
    "message",
];
const EVENT_ID: &[&str] = &["eventid", "peventid"];

/// `/hooks/zabbix`.
///
/// Each event has `status` (`PROBLEM` or `OK`), `severity` (`"0"` to `"5"`), `hostname`,
/// `trigger_name`, `trigger_key`, `detail` and `event_id` (the same for a problem and its
/// recovery), each text, or nothing where the body does not tell; and `raw`, the body as it came.
/// Without a key or an id of the trigger the event's id stands for `trigger_key`, then the
/// trigger's name. An array is one event per element.
pub struct Zabbix;

impl Hook for Zabbix {
    fn kind(&self) -> &'static str {
        "zabbix"
    }

    fn about(&self) -> &'static str {
        "Zabbix (media type webhook, JSON or form): status, severity, hostname, trigger and detail"
    }

    fn decode(&self, bytes: &[u8], meta: Meta) -> Result<Vec<Incoming>, HookError> {
        let bodies = match generic::structure(bytes, &meta)? {
            Value::List(bodies) => bodies,
            body => vec![body],
        };
        if bodies.len() > EVENTS_MAX {
            return Err(JsonError::TooManyEvents.into());
        }
        let one = |body| match body {
            Value::Map(raw) => Ok(event(&meta, normal(raw))),
            _ => Err(HookError::Shape {
                product: "Zabbix",
                why: "it is neither an object nor a form",
            }),
        };
        bodies.into_iter().map(one).collect()
    }
}

fn normal(raw: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let known = Known::of(&raw);
    let trigger_name = known.find(TRIGGER_NAME).map(without_prefix);
    let trigger_key = known.find(TRIGGER_KEY).or_else(|| trigger_name.clone());
    BTreeMap::from([
        ("status".to_owned(), status(&known).into()),
        (
            "severity".to_owned(),
            known.find(SEVERITY).map(severity).into(),
        ),
        ("hostname".to_owned(), known.find(HOST).into()),
        ("trigger_name".to_owned(), trigger_name.into()),
        ("trigger_key".to_owned(), trigger_key.into()),
        ("detail".to_owned(), known.find(DETAIL).into()),
        ("event_id".to_owned(), known.find(EVENT_ID).into()),
        ("raw".to_owned(), Value::Map(raw)),
    ])
}

/// The parameters that say something, by their names without case and punctuation.
struct Known(BTreeMap<String, String>);

impl Known {
    fn of(raw: &BTreeMap<String, Value>) -> Known {
        let plain = |name: &str| {
            let letters = name.chars().filter(|char| char.is_alphanumeric());
            letters.flat_map(char::to_lowercase).collect::<String>()
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

    fn find(&self, names: &[&str]) -> Option<String> {
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

/// False for what Zabbix writes when it has nothing to say.
fn is_told(value: &str) -> bool {
    let value = value.trim();
    let is_macro_char =
        |char: char| char.is_ascii_uppercase() || "0123456789._$#?<>:".contains(char);
    let inside = value
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let is_macro = inside.is_some_and(|name| name.chars().all(is_macro_char));
    !value.is_empty() && value != "*UNKNOWN*" && !is_macro
}

/// The event's value is the surest: words may be anything. A bare `value` may be an item's.
fn status(known: &Known) -> Option<String> {
    let digit = known
        .find(EVENT_VALUE)
        .filter(|value| matches!(value.as_str(), "0" | "1"));
    let word = digit
        .or_else(|| known.find(STATUS))
        .or_else(|| known.find(&["value"]))?;
    let word = word.trim().to_uppercase();
    Some(match word.as_str() {
        "OK" | "RESOLVED" | "RECOVERY" | "RECOVERED" | "0" => "OK".to_owned(),
        "PROBLEM" | "1" => "PROBLEM".to_owned(),
        _ => word,
    })
}

fn severity(text: String) -> String {
    let lower = text.trim().to_lowercase();
    let place = SEVERITIES.iter().position(|name| *name == lower);
    place.map_or_else(|| text.trim().to_owned(), |place| place.to_string())
}

/// Zabbix's own message templates begin subjects with these words.
fn without_prefix(subject: String) -> String {
    if let Some(rest) = subject.strip_prefix("Problem: ") {
        return rest.to_owned();
    }
    match subject.strip_prefix("Resolved") {
        Some(rest) if rest.starts_with([' ', ':']) => rest
            .split_once(": ")
            .map_or_else(|| subject.clone(), |(_, name)| name.to_owned()),
        _ => subject,
    }
}
