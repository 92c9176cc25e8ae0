//! What came in, decoded and immutable: the nouns that travel from a door to a flow.
//!
//! `Value` keeps apart what JSON would mix up (integers, floats, characters, bytes), so that a
//! journal read back years later gives a script exactly what it saw the first time.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use jiff::Timestamp;

/// Deepest nesting of lists and maps that a body may have.
pub const VALUE_DEPTH_MAX: usize = 64;
/// Longest name of a channel or a flow, in characters.
pub const NAME_CHARS_MAX: usize = 128;

/// A piece of data, as scripts, journals and doors hand it to one another.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing: Rhai's `()`, JSON's `null`.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number; larger ones than 64 bits hold stay text.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// One character, which Rhai keeps apart from text.
    Char(char),
    /// Unicode text.
    Text(String),
    /// Bytes that are not text, shared by copies; in a box, so that other values stay small.
    Bytes(Box<Bytes>),
    /// An ordered list.
    List(Vec<Value>),
    /// Named values, always sorted by name, so that iterating is deterministic.
    Map(BTreeMap<String, Value>),
    /// Text with secrets in it, by name; the secrets themselves are put in at the very last moment,
    /// so that no journal, log or listing ever holds one.
    Secret(Vec<SecretPart>),
}

/// A piece of [`Value::Secret`].
#[derive(Debug, Clone, PartialEq)]
pub enum SecretPart {
    /// Plain text around a secret.
    Text(String),
    /// The secret with this name in settings.toml.
    Name(String),
}

impl Value {
    /// The text, if this is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The map, if this is one.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The value under `name`, if this is a map that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_map()?.get(name)
    }

    /// The word for this kind of value in messages to people.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Char(_) => "a character",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Secret(_) => "a secret",
        }
    }

    /// How this value looks as plain text inside a URL or a subject: text as it is, `Null` empty.
    pub fn to_plain(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Text(text) => text.clone(),
            Value::Char(char) => char.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(yes) => yes.to_string(),
            other => other.to_json().to_string(),
        }
    }

    /// As JSON: bytes become base64 text, a float that JSON cannot say becomes `null`.
    pub fn to_json(&self) -> serde_json::Value {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        use serde_json::Value as Json;
        match self {
            Value::Null => Json::Null,
            Value::Bool(yes) => Json::Bool(*yes),
            Value::Int(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Char(char) => Json::String(char.to_string()),
            Value::Text(text) => Json::String(text.clone()),
            Value::Bytes(bytes) => Json::String(STANDARD.encode(&**bytes)),
            Value::Secret(_) => Json::String("***".to_owned()),
            Value::List(items) => Json::Array(items.iter().map(Value::to_json).collect()),
            Value::Map(map) => {
                let field = |(name, value): (&String, &Value)| (name.clone(), value.to_json());
                Json::Object(map.iter().map(field).collect())
            }
        }
    }

    /// From JSON. Whole numbers beyond 64 bits stay text, because a float would change an id; so
    /// does what no float can hold.
    pub fn from_json(json: serde_json::Value) -> Value {
        use serde_json::Value as Json;
        match json {
            Json::Null => Value::Null,
            Json::Bool(yes) => Value::Bool(yes),
            Json::Number(number) => Value::from_number(&number),
            Json::String(text) => Value::Text(text),
            Json::Array(items) => Value::List(items.into_iter().map(Value::from_json).collect()),
            Json::Object(map) => Value::Map(
                map.into_iter()
                    .map(|(name, value)| (name, Value::from_json(value)))
                    .collect(),
            ),
        }
    }

    fn from_number(number: &serde_json::Number) -> Value {
        let text = number.to_string();
        if let Ok(whole) = text.parse::<i64>() {
            return Value::Int(whole);
        }
        if text
            .trim_start_matches('-')
            .bytes()
            .all(|byte| byte.is_ascii_digit())
        {
            return Value::Text(text);
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => Value::Text(text),
        }
    }

    /// How many lists and maps stand inside one another; 0 for a plain value.
    pub fn depth(&self) -> usize {
        match self {
            Value::List(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Value::Map(map) => 1 + map.values().map(Value::depth).max().unwrap_or(0),
            _ => 0,
        }
    }
}

impl fmt::Display for Value {
    /// As a person reads it: JSON, with bytes as base64.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.to_json())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::from(Bytes::from(bytes))
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Value {
        Value::Bytes(Box::new(bytes))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Value {
        Value::Bool(yes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Value {
    fn from(pairs: [(&str, Value); N]) -> Value {
        let named = |(name, value): (&str, Value)| (name.to_owned(), value);
        Value::Map(pairs.into_iter().map(named).collect())
    }
}

/// True if `name` may name a channel or a flow: Unicode letters, digits, `_` and `-`, at most
/// [`NAME_CHARS_MAX`] characters.
pub fn is_name(name: &str) -> bool {
    let count = name.chars().count();
    let plain = |char: char| char.is_alphanumeric() || char == '_' || char == '-';
    (1..=NAME_CHARS_MAX).contains(&count) && name.chars().all(plain)
}

/// Which event: its channel and its number there, written `alert/1042`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The channel's name.
    pub channel: String,
    /// Counted from 1 without gaps, in the order in which events became durable.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.channel, self.number)
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<EventId, String> {
        let wrong = || format!("`{text}` is no event id; one looks like alert/1042");
        let (channel, number) = text.rsplit_once('/').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        if !is_name(channel) {
            return Err(wrong());
        }
        Ok(EventId {
            channel: channel.to_owned(),
            number,
        })
    }
}

/// Which run: one flow for one event, written `alert/1042/open_ticket`; a fork or a continuation
/// carries `~2`, `~3` … at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(std::sync::Arc<str>);

impl RunId {
    /// The first run of `flow` for `event`. The same event and flow always give the same id, so
    /// a run that starts over after a crash acts with the same idempotency keys.
    pub fn new(event: &EventId, flow: &str) -> RunId {
        RunId(format!("{event}/{flow}").into())
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The event that began the run.
    pub fn event(&self) -> EventId {
        let (event, _) = self.parts();
        // The text was checked when the id was made.
        event.parse().unwrap_or(EventId {
            channel: event.to_owned(),
            number: 0,
        })
    }

    /// The flow as it is named everywhere: `alert/open_ticket`.
    pub fn flow_path(&self) -> String {
        format!("{}/{}", self.event().channel, self.flow())
    }

    /// The flow's name, without the channel.
    pub fn flow(&self) -> &str {
        let (_, flow) = self.parts();
        flow.split('~').next().unwrap_or(flow)
    }

    fn parts(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<RunId, String> {
        let wrong = || format!("`{text}` is no run id; one looks like alert/1042/open_ticket");
        let (event, flow) = text.rsplit_once('/').ok_or_else(wrong)?;
        event.parse::<EventId>().map_err(|_| wrong())?;
        let (name, copy) = flow.split_once('~').unwrap_or((flow, "2"));
        if !is_name(name) || copy.parse::<u32>().is_err() {
            return Err(wrong());
        }
        Ok(RunId(text.into()))
    }
}

/// Where an event came from and when; what a flow sees as `meta`.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    /// The door's kind: `sendevt`, `http`, `mail`, `snmp`, `alertmanager` …
    pub source: String,
    /// Who was at the other end: an address, a user, a host name; empty when nobody knows.
    pub peer: String,
    /// When the door had all of it.
    pub received_at: Timestamp,
    /// The sender's own id of it; events with the same id from the same door are kept once
    /// within the channel's `dedup_window`. Without one nothing is deduplicated.
    pub message_id: Option<String>,
    /// What else the door knows: `raw`, `decode_error`, `decode_note`, a mail's envelope …
    pub extra: BTreeMap<String, Value>,
}

impl Meta {
    /// A meta of the door `source`, received at `received_at`, with everything else empty.
    pub fn new(source: &str, received_at: Timestamp) -> Meta {
        Meta {
            source: source.to_owned(),
            peer: String::new(),
            received_at,
            message_id: None,
            extra: BTreeMap::new(),
        }
    }
}

/// An event on its way in: decoded by a door, not yet in a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// What came in. A door that cannot decode keeps the bytes here and says why in
    /// `meta.extra["decode_error"]`.
    pub body: Value,
    /// Where from and when.
    pub meta: Meta,
}

/// An event in a channel: on disk, numbered, immutable.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its channel and number.
    pub id: EventId,
    /// What came in.
    pub body: Value,
    /// Where from and when.
    pub meta: Meta,
}

impl Event {
    /// What a flow sees as `meta`: id, channel, source, peer, received_at and the door's extras.
    pub fn meta_value(&self) -> Value {
        let mut map = self.meta.extra.clone();
        map.insert("id".to_owned(), Value::Text(self.id.to_string()));
        map.insert("channel".to_owned(), Value::Text(self.id.channel.clone()));
        map.insert("source".to_owned(), Value::Text(self.meta.source.clone()));
        map.insert("peer".to_owned(), Value::Text(self.meta.peer.clone()));
        map.insert(
            "received_at".to_owned(),
            Value::Text(self.meta.received_at.to_string()),
        );
        map.insert(
            "message_id".to_owned(),
            Value::from(self.meta.message_id.clone()),
        );
        Value::Map(map)
    }
}
