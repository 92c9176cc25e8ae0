//! What hosts, services, groups, pollers and business activities are called.
//!
//! Statuses of the younger generation carry ids only, and definitions come only when an Engine
//! starts. So every definition is learnt before any filter, kept in the store, and joined to the
//! events that are about it. What is not known is called [`UNKNOWN`], and the event goes on.

use std::collections::BTreeMap;

use super::field::Fields;
use crate::event::Value;
use crate::source::context::Piece;

/// Things that one source knows by name.
pub const NAMES_MAX: usize = 1_000_000;
/// What something without a definition is called.
pub const UNKNOWN: &str = "unknown";

/// The custom variable of a host or a service that says how severe its problems are.
const SEVERITY: &str = "CRITICALITY_LEVEL";

/// What is learnt of a definition: its event, a sign for it, what it is about, what is told.
type Definition = (
    &'static str,
    char,
    &'static [&'static str],
    &'static [&'static str],
);

#[rustfmt::skip]
const DEFINITIONS: &[Definition] = &[
    ("host", 'h', &["host_id"], &["name", "alias", "address", "instance_id", "notes", "notes_url", "action_url"]),
    ("service", 's', &["host_id", "service_id"], &["description", "notes", "notes_url", "action_url"]),
    ("host_group", 'g', &["hostgroup_id"], &["name"]),
    ("host_group_member", 'm', &["host_id", "hostgroup_id"], &["name"]),
    ("service_group", 'G', &["servicegroup_id"], &["name"]),
    ("service_group_member", 'M', &["host_id", "service_id", "servicegroup_id"], &["name"]),
    ("custom_variable", 'c', &["host_id", "service_id"], &["value"]),
    ("custom_variable_status", 'c', &["host_id", "service_id"], &["value"]),
    ("instance", 'p', &["instance_id"], &["name"]),
    ("dimension_ba_event", 'b', &["ba_id"], &["ba_name", "ba_description"]),
    ("dimension_bv_event", 'v', &["bv_id"], &["bv_name"]),
    ("dimension_ba_bv_relation_event", 'r', &["ba_id", "bv_id"], &[]),
];
/// The signs of what a rebuild of business activities begins by forgetting.
const BUSINESS: &[char] = &['b', 'v', 'r'];

/// What a definition is about: its sign and up to three ids.
type Key = (char, [i64; 3]);
/// What it tells, in the order of its row.
type Told = Box<[Box<str>]>;

/// All names that a source knows.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<Key, Told>,
}

/// True of an event that tells names.
pub fn is_definition(kind: &str) -> bool {
    kind == "dimension_truncate_table_signal" || definition(kind).is_some()
}

fn definition(kind: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|(name, ..)| *name == kind)
}

impl Names {
    /// Those that were remembered; what cannot be read is not known.
    pub fn recall(pieces: Vec<(String, Vec<u8>)>) -> Names {
        let one = |(key, told): (String, Vec<u8>)| {
            let told: Vec<Box<str>> = serde_json::from_slice(&told).ok()?;
            Some((read_key(&key)?, told.into()))
        };
        Names {
            known: pieces.into_iter().filter_map(one).collect(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if nothing is known yet.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Learns from a definition; what is to be remembered of it, nothing if it is no news.
    pub fn learn(&mut self, kind: &str, fields: &Fields) -> Vec<Piece> {
        if kind == "dimension_truncate_table_signal" {
            return self.forget_business(fields);
        }
        let Some((_, sign, ids, texts)) = definition(kind) else {
            return Vec::new();
        };
        if *sign == 'c' && text(fields, "name") != SEVERITY {
            return Vec::new();
        }
        let mut key = (*sign, [0; 3]);
        for (place, id) in key.1.iter_mut().zip(*ids) {
            *place = number(fields, id);
        }
        let told = texts.iter().map(|name| plain(fields, name).into());
        let is_off = fields.get("enabled") == Some(&Value::Bool(false));
        // A group may still be known to another poller, and a change says nothing of it.
        let stays = matches!(sign, 'g' | 'G') || kind == "custom_variable_status";
        let is_gone = is_off && !stays;
        self.note(key, (!is_gone).then(|| told.collect()))
    }

    fn note(&mut self, key: Key, told: Option<Told>) -> Vec<Piece> {
        let is_full = self.known.len() >= NAMES_MAX && !self.known.contains_key(&key);
        if self.known.get(&key) == told.as_ref() || is_full {
            return Vec::new();
        }
        let piece = told.as_ref().and_then(|told| serde_json::to_vec(told).ok());
        match told {
            Some(told) => drop(self.known.insert(key, told)),
            None => drop(self.known.remove(&key)),
        }
        vec![(write_key(key), piece)]
    }

    fn forget_business(&mut self, fields: &Fields) -> Vec<Piece> {
        if fields.get("update_started") != Some(&Value::Bool(true)) {
            return Vec::new();
        }
        let is_business = |key: &&Key| BUSINESS.contains(&key.0);
        let gone: Vec<Key> = self.known.keys().filter(is_business).copied().collect();
        gone.into_iter()
            .flat_map(|key| self.note(key, None))
            .collect()
    }

    /// Puts the names of what an event is about beside its ids; false if one is not known.
    pub fn join(&self, kind: &str, fields: &mut Fields) -> bool {
        let host = number(fields, "host_id");
        let activity = number(fields, "ba_id");
        let mut is_known = true;
        if host != 0 && definition(kind).is_none() {
            is_known &= self.join_host(host, fields);
        }
        if activity != 0 && definition(kind).is_none() {
            is_known &= self.join_activity(activity, fields);
        }
        self.join_poller(host, fields);
        is_known
    }

    fn join_host(&self, host: i64, fields: &mut Fields) -> bool {
        let service = number(fields, "service_id");
        let of_host = self.known.get(&('h', [host, 0, 0]));
        let of_service = self.known.get(&('s', [host, service, 0]));
        name(fields, "host_name", told(of_host, 0));
        name(fields, "host_alias", told(of_host, 1));
        name(fields, "host_address", told(of_host, 2));
        put(fields, "host_groups", self.groups('m', &[host], 'g'));
        put(fields, "host_severity", self.severity(host, 0));
        let (about, from) = match service {
            0 => (of_host, 4),
            _ => (of_service, 1),
        };
        for (place, field) in ["notes", "notes_url", "action_url"].iter().enumerate() {
            put(fields, field, told(about, from + place).into());
        }
        if service == 0 {
            return of_host.is_some();
        }
        name(fields, "service_description", told(of_service, 0));
        put(
            fields,
            "service_groups",
            self.groups('M', &[host, service], 'G'),
        );
        put(fields, "service_severity", self.severity(host, service));
        of_host.is_some() && of_service.is_some()
    }

    fn join_activity(&self, activity: i64, fields: &mut Fields) -> bool {
        let known = self.known.get(&('b', [activity, 0, 0]));
        name(fields, "ba_name", told(known, 0));
        name(fields, "ba_description", told(known, 1));
        put(fields, "bvs", self.groups('r', &[activity], 'v'));
        known.is_some()
    }

    /// The poller that an event names, or that watches its host.
    fn join_poller(&self, host: i64, fields: &mut Fields) {
        let named = ["instance_id", "poller_id"].map(|name| number(fields, name));
        let of_host = told(self.known.get(&('h', [host, 0, 0])), 3);
        let poller = named.into_iter().find(|id| *id != 0);
        let poller = poller.or_else(|| of_host?.parse().ok());
        let known = poller.and_then(|id| told(self.known.get(&('p', [id, 0, 0])), 0));
        put(fields, "poller", known.into());
    }

    /// The names of the groups that have `member`: memberships under `sign`, groups under `of`.
    fn groups(&self, sign: char, member: &[i64], of: char) -> Value {
        let key = |rest: i64| {
            let mut ids = [rest; 3];
            ids[..member.len()].copy_from_slice(member);
            (sign, ids)
        };
        let name = |(key, row): (&Key, &Told)| {
            let group = key.1[member.len()];
            let own = told(self.known.get(&(of, [group, 0, 0])), 0);
            own.or_else(|| row.first().map(|name| &**name))
                .map(str::to_owned)
        };
        let mut names: Vec<String> = self
            .known
            .range(key(i64::MIN)..=key(i64::MAX))
            .filter_map(name)
            .collect();
        names.sort();
        Value::List(names.into_iter().map(Value::Text).collect())
    }

    /// 0 is none.
    fn severity(&self, host: i64, service: i64) -> Value {
        let level = told(self.known.get(&('c', [host, service, 0])), 0);
        let level: Option<i64> = level.and_then(|level| level.trim().parse().ok());
        level.filter(|level| *level != 0).into()
    }
}

fn told(known: Option<&Told>, place: usize) -> Option<&str> {
    known?.get(place).map(|text| &**text)
}

/// A name; what the event brought itself stands.
fn name(fields: &mut Fields, field: &str, known: Option<&str>) {
    if text(fields, field).is_empty() {
        put(fields, field, Value::from(known.unwrap_or(UNKNOWN)));
    }
}

fn put(fields: &mut Fields, field: &str, value: Value) {
    fields.insert(field.to_owned(), value);
}

fn text<'a>(fields: &'a Fields, field: &str) -> &'a str {
    fields.get(field).and_then(Value::as_text).unwrap_or("")
}

fn plain(fields: &Fields, field: &str) -> String {
    fields.get(field).map(Value::to_plain).unwrap_or_default()
}

/// A number; 0 if there is none.
pub(super) fn number(fields: &Fields, field: &str) -> i64 {
    match fields.get(field) {
        Some(Value::Int(number)) => *number,
        _ => 0,
    }
}

fn write_key((sign, [a, b, c]): Key) -> String {
    format!("{sign}/{a}/{b}/{c}")
}

fn read_key(text: &str) -> Option<Key> {
    let mut parts = text.split('/');
    let sign = parts.next()?.parse().ok()?;
    let mut ids = [0; 3];
    for id in &mut ids {
        *id = parts.next()?.parse().ok()?;
    }
    Some((sign, ids))
}
