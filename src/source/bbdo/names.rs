//! What hosts, services, groups, pollers and business activities are called.
//!
//! Statuses of the younger generation carry ids only, and definitions come only when an Engine
//! starts. So every definition is learnt before any filter, kept in the store, and joined to the
//! events that are about it. What is not known is called [`UNKNOWN`], and the event goes on.

mod definition;
mod look_up;
mod told;

use std::collections::{BTreeMap, HashMap};

use self::definition::Definition;
use self::told::Told;
use super::field::Fields;
use crate::event::Value;
use crate::source::context::Piece;

/// Things that one source knows by name.
pub const NAMES_MAX: usize = 1_000_000;
/// Indexes and metrics among them: a host has few of its own, but services have many.
pub const MAPPINGS_MAX: usize = 500_000;
/// What something without a definition is called.
pub const UNKNOWN: &str = "unknown";

/// The custom variable of a host or a service that says how severe its problems are.
const SEVERITY: &str = "CRITICALITY_LEVEL";
/// The signs of what a rebuild of business activities begins by forgetting.
const BUSINESS: &[char] = &['b', 'v', 'r'];

/// What a definition is about: its sign and up to three ids, which Centreon gives 32 bits at most.
type Key = (char, [u32; 3]);

/// All names that a source knows.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<Key, Told>,
    /// Rows of `known` that are of indexes and metrics.
    mappings: usize,
    /// The state of hosts (service 0) and services, as last heard of in this process.
    states: HashMap<(u32, u32), u8>,
}

/// True of an event that tells names.
pub fn is_definition(kind: &str) -> bool {
    kind == "dimension_truncate_table_signal"
        || definition::of(kind).is_some()
        || definition::changed_by(kind).is_some()
}

impl Names {
    /// Those that were remembered; what cannot be read is not known.
    pub fn recall(pieces: Vec<(String, Vec<u8>)>) -> Names {
        let one = |(key, told): (String, Vec<u8>)| {
            let told: Vec<String> = serde_json::from_slice(&told).ok()?;
            Some((read_key(&key)?, Told::new(told)))
        };
        let known: BTreeMap<Key, Told> = pieces.into_iter().filter_map(one).collect();
        Names {
            mappings: known.keys().filter(|key| is_mapping(**key)).count(),
            known,
            states: HashMap::new(),
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
        if let Some(changed) = definition::changed_by(kind) {
            return self.change(changed, fields);
        }
        let Some(definition) = definition::of(kind) else {
            return Vec::new();
        };
        if definition.sign == 'c' && text(fields, "name") != SEVERITY {
            return Vec::new();
        }
        let Some(key) = definition.key(fields) else {
            return Vec::new();
        };
        let told = definition.texts.iter().map(|name| plain(fields, name));
        let is_off = fields.get("enabled") == Some(&Value::Bool(false));
        // A group may still be known to another poller, and a change says nothing of it.
        let stays = matches!(definition.sign, 'g' | 'G') || kind == "custom_variable_status";
        let is_gone = is_off && !stays;
        self.note(key, (!is_gone).then(|| Told::new(told)))
    }

    /// Takes up a change of what is defined already.
    fn change(&mut self, definition: &Definition, fields: &Fields) -> Vec<Piece> {
        let key = definition.key(fields);
        let Some((key, told)) = key.and_then(|key| Some((key, self.known.get(&key)?))) else {
            return Vec::new();
        };
        let put = |told: Told, (place, text): (usize, String)| told.with(place, &text);
        let changed = definition.told(fields).into_iter().fold(told.clone(), put);
        self.note(key, Some(changed))
    }

    /// Takes note of the state of a host or a service.
    pub(super) fn hear_state(&mut self, fields: &Fields) {
        let id = |name| u32::try_from(number(fields, name)).unwrap_or(0);
        let object = (id("host_id"), id("service_id"));
        let state = fields.get("state").map(|_| number(fields, "state"));
        let state = state.and_then(|state| u8::try_from(state).ok());
        let has_room = self.states.len() < NAMES_MAX || self.states.contains_key(&object);
        if let (Some(state), true) = (state, has_room) {
            self.states.insert(object, state);
        }
    }

    /// The state of what an event is about, if it was heard of.
    pub(super) fn state(&self, fields: &Fields) -> Option<i64> {
        let id = |name| u32::try_from(number(fields, name)).unwrap_or(0);
        let state = self.states.get(&(id("host_id"), id("service_id")))?;
        Some((*state).into())
    }

    fn note(&mut self, key: Key, told: Option<Told>) -> Vec<Piece> {
        let before = self.known.get(&key);
        let is_full =
            self.known.len() >= NAMES_MAX || is_mapping(key) && self.mappings >= MAPPINGS_MAX;
        if before == told.as_ref() || is_full && before.is_none() {
            return Vec::new();
        }
        let piece = told.as_ref().and_then(write_told);
        let change = usize::from(is_mapping(key));
        match (before.is_some(), told.is_some()) {
            (false, true) => self.mappings += change,
            (true, false) => self.mappings -= change,
            _ => {}
        }
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
        let id = |name| u32::try_from(number(fields, name)).unwrap_or(u32::MAX);
        let (host, service, activity) = (id("host_id"), id("service_id"), id("ba_id"));
        let mut is_known = true;
        let is_told =
            definition::of(kind).is_none_or(|definition| is_mapping((definition.sign, [0; 3])));
        if host != 0 && is_told {
            is_known &= self.join_host((host, service), fields);
        }
        if activity != 0 && is_told {
            is_known &= self.join_activity(activity, fields);
        }
        self.join_poller(host, fields);
        is_known
    }

    fn join_host(&self, (host, service): (u32, u32), fields: &mut Fields) -> bool {
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
        let groups = self.groups('M', &[host, service], 'G');
        put(fields, "service_groups", groups);
        put(fields, "service_severity", self.severity(host, service));
        of_host.is_some() && of_service.is_some()
    }

    fn join_activity(&self, activity: u32, fields: &mut Fields) -> bool {
        let known = self.known.get(&('b', [activity, 0, 0]));
        name(fields, "ba_name", told(known, 0));
        name(fields, "ba_description", told(known, 1));
        put(fields, "bvs", self.groups('r', &[activity], 'v'));
        known.is_some()
    }

    /// Calls the host that stands for a business activity by the activity's name: its one service is
    /// called `ba_` and the activity's id.
    pub(super) fn rename_business(&self, fields: &mut Fields) {
        let id = text(fields, "service_description").strip_prefix("ba_");
        let id = id.and_then(|id| id.parse().ok());
        let known = id.and_then(|id| self.known.get(&('b', [id, 0, 0])));
        if let Some(activity) = told(known, 0) {
            put(fields, "host_name", activity.into());
        }
    }

    /// The poller that an event names, or that watches its host.
    fn join_poller(&self, host: u32, fields: &mut Fields) {
        let named = ["instance_id", "poller_id"].map(|name| number(fields, name));
        let of_host = told(self.known.get(&('h', [host, 0, 0])), 3);
        let poller = named.into_iter().find(|id| *id != 0);
        let poller = poller.or_else(|| of_host?.parse().ok());
        let poller = poller.and_then(|id| u32::try_from(id).ok());
        let known = poller.and_then(|id| told(self.known.get(&('p', [id, 0, 0])), 0));
        put(fields, "poller", known.into());
    }

    /// The rows under `sign` whose ids begin with these.
    fn memberships(&self, sign: char, ids: &[u32]) -> impl Iterator<Item = (&Key, &Told)> {
        let key = |rest: u32| {
            let mut all = [rest; 3];
            all[..ids.len()].copy_from_slice(ids);
            (sign, all)
        };
        self.known.range(key(0)..=key(u32::MAX))
    }

    /// The names of the groups that have `member`: memberships under `sign`, groups under `of`.
    fn groups(&self, sign: char, member: &[u32], of: char) -> Value {
        let name = |(key, row): (&Key, &Told)| {
            let group = key.1[member.len()];
            let own = told(self.known.get(&(of, [group, 0, 0])), 0);
            own.or_else(|| row.get(0)).map(str::to_owned)
        };
        let mut names: Vec<String> = self.memberships(sign, member).filter_map(name).collect();
        names.sort();
        Value::List(names.into_iter().map(Value::Text).collect())
    }

    /// 0 is none.
    fn severity(&self, host: u32, service: u32) -> Value {
        let level = told(self.known.get(&('c', [host, service, 0])), 0);
        let level: Option<i64> = level.and_then(|level| level.trim().parse().ok());
        level.filter(|level| *level != 0).into()
    }
}

fn is_mapping(key: Key) -> bool {
    matches!(key.0, 'i' | 'k')
}

fn told(known: Option<&Told>, place: usize) -> Option<&str> {
    known?.get(place)
}

fn write_told(told: &Told) -> Option<Vec<u8>> {
    serde_json::to_vec(&told.texts().collect::<Vec<_>>()).ok()
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
