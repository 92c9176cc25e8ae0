//! Zabbix: a media type or an action's webhook, whatever its parameters are called.
//!
//! Zabbix sends what its user configured: every value is text, macros that mean nothing stay as
//! they are (`{EVENT.RECOVERY.ID}`), values that it does not have are `*UNKNOWN*`. The six keys
//! that come out are those of a plain `sendevt` from Zabbix, so one flow serves both.

use std::collections::BTreeMap;

use super::known::Known;
use super::{Hook, HookError, generic};
use crate::event::{Incoming, Meta, Value};

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
        generic::each(bytes, &meta, ("Zabbix", normal))
    }
}

fn normal(raw: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let known = Known::of(&raw, "");
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
