//! Nagios: what a notification command or an event handler posts, a form or JSON.
//!
//! The keys that come out are those of the Zabbix hook, so one flow serves both. Parameters may be
//! called as Nagios calls its macros (`SERVICEDESC`, `NAGIOS_SERVICEDESC`) or shorter (`service`).

use std::collections::BTreeMap;

use super::generic::Fields;
use super::known::Known;
use super::{Hook, HookError, generic};
use crate::event::{Incoming, Meta, Value};

/// In place of a service: the check is the host's own.
const HOST_CHECK: &str = "host";

/// `/hooks/nagios`.
///
/// Each event has `status` (`PROBLEM`, `OK`; for other notifications their type, such as
/// `ACKNOWLEDGEMENT`), `severity` (`"0"` to `"5"` as in Zabbix: a host that is down `"5"`, critical
/// or unreachable `"4"`, unknown `"3"`, warning `"2"`; a recovery has that of the state before),
/// `hostname`, `trigger_name` and `trigger_key` (the service, or `host`), `detail` (the check's
/// output), `event_id` (the same for a problem and its recovery), `state`, `state_type` (`HARD`,
/// `SOFT`), `author` and `comment`, each text, or nothing where the body does not tell; and `raw`,
/// the body as it came. An array is one event per element.
pub struct Nagios;

impl Hook for Nagios {
    fn kind(&self) -> &'static str {
        "nagios"
    }

    fn about(&self) -> &'static str {
        "Nagios (notification command, form or JSON): the keys of Zabbix's hook, state and comment"
    }

    fn decode(&self, bytes: &[u8], meta: Meta) -> Result<Vec<Incoming>, HookError> {
        let normal = |raw| normal(raw, "nagios");
        generic::each(bytes, &meta, ("Nagios", normal))
    }
}

/// The keys of an event; Icinga tells the same things.
pub(super) fn normal(raw: Fields, product: &str) -> Fields {
    let known = Known::of(&raw, product);
    let check = Check::of(&known);
    let state = check.find(&["$state", "state"]).map(upper);
    let before = check
        .find(&["last$state", "$laststate", "laststate"])
        .map(upper);
    let kind = known.find(&["notificationtype", "type"]).map(upper);
    let (name, long) = (check.name(), check.find(&["long$output", "longoutput"]));
    let output = check.find(&["$output", "output"]);
    let severity = [&state, &before]
        .into_iter()
        .flatten()
        .find_map(|state| severity(state));
    let keys = [
        ("status", status(kind, state.as_deref())),
        ("severity", severity.map(str::to_owned)),
        (
            "hostname",
            known.find(&["hostname", "host", "hostdisplayname", "hostalias"]),
        ),
        ("trigger_name", Some(name.clone())),
        ("trigger_key", Some(name)),
        ("detail", joined(output, long)),
        ("event_id", check.problem()),
        (
            "state_type",
            check.find(&["$statetype", "statetype"]).map(upper),
        ),
        ("state", state),
        ("author", known.find(&["notificationauthor", "author"])),
        ("comment", known.find(&["notificationcomment", "comment"])),
    ];
    let keys = keys.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let mut event = BTreeMap::from(keys);
    event.insert("raw".to_owned(), Value::Map(raw));
    event
}

/// What was checked: a service, or the host itself.
struct Check<'a> {
    known: &'a Known,
    service: Option<String>,
}

impl Check<'_> {
    fn of(known: &Known) -> Check<'_> {
        let names = [
            "servicedesc",
            "servicedescription",
            "servicename",
            "service",
        ];
        let service = known.find(&names);
        Check { known, service }
    }

    fn name(&self) -> String {
        self.service
            .clone()
            .unwrap_or_else(|| HOST_CHECK.to_owned())
    }

    /// The first of `names` that says something, with `$` in them standing for what was checked.
    fn find(&self, names: &[&str]) -> Option<String> {
        let kind = if self.service.is_some() {
            "service"
        } else {
            "host"
        };
        let find = |name: &&str| self.known.find(&[&name.replace('$', kind)]);
        names.iter().find_map(find)
    }

    /// A recovered host has 0 there, and its old one beside it.
    fn problem(&self) -> Option<String> {
        let is_one = |id: &String| id != "0";
        let now = self.find(&["$problemid", "problemid"]).filter(is_one);
        now.or_else(|| {
            self.find(&["last$problemid", "lastproblemid"])
                .filter(is_one)
        })
    }
}

fn upper(word: String) -> String {
    word.trim().to_uppercase()
}

/// Event handlers have no type of notification; there the state says it.
fn status(kind: Option<String>, state: Option<&str>) -> Option<String> {
    let status = match (kind.as_deref(), state) {
        (Some("RECOVERY"), _) | (None, Some("OK" | "UP")) => "OK",
        (Some(kind), _) => kind,
        (None, Some(_)) => "PROBLEM",
        (None, None) => return None,
    };
    Some(status.to_owned())
}

/// On Zabbix's scale; nothing for a good state.
fn severity(state: &str) -> Option<&'static str> {
    match state {
        "DOWN" => Some("5"),
        "CRITICAL" | "UNREACHABLE" => Some("4"),
        "UNKNOWN" => Some("3"),
        "WARNING" => Some("2"),
        _ => None,
    }
}

fn joined(output: Option<String>, long: Option<String>) -> Option<String> {
    let parts: Vec<String> = output.into_iter().chain(long).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}
