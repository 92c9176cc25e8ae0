//! One event on its way out: the same bytes and the same id on every try and in the spool.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use jiff::tz::TimeZone;

use super::{META_VALUE_BYTES_MAX, META_VALUES_MAX};
use crate::clock::Clock;

/// Key of [`Post::meta`] that travels as its own header.
pub const SITE_ID: &str = "site_id";
/// The host's time zone, as every Linux keeps it.
const LOCALTIME: &str = "/etc/localtime";

/// An event as a sender hands it to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// The channel as the sender names it: a name, an alias or a path.
    pub channel: String,
    /// The kind of sender: `sendevt`, `mail`, `snmp`.
    pub source: String,
    /// The body's media type.
    pub content_type: String,
    /// The sender's id of it; visible ASCII, so that it may be a header.
    pub correlation_id: String,
    /// When the sender had it: RFC 3339, local time with offset.
    pub received_at: String,
    /// What else the sender knows: `site_id`, a mail's envelope.
    pub meta: BTreeMap<String, String>,
    /// The event itself.
    pub body: Vec<u8>,
}

impl Post {
    /// An event received now, with a fresh UUIDv4 as its id.
    pub fn new(channel: &str, source: &str, content_type: &str, body: Vec<u8>) -> Post {
        Post {
            channel: channel.to_owned(),
            source: source.to_owned(),
            content_type: content_type.to_owned(),
            correlation_id: uuid::Uuid::new_v4().to_string(),
            received_at: local_time("%Y-%m-%dT%H:%M:%S.%6f%:z"),
            meta: BTreeMap::new(),
            body,
        }
    }

    /// Adds what the sender knows, cut to the limits of the header it travels in.
    pub fn note(&mut self, name: &str, value: &str) {
        if self.meta.len() < META_VALUES_MAX {
            let mut end = value.len().min(META_VALUE_BYTES_MAX);
            while !value.is_char_boundary(end) {
                end -= 1;
            }
            self.meta.insert(name.to_owned(), value[..end].to_owned());
        }
    }

    /// Kompira's site id, if the sender gave one.
    pub fn site_id(&self) -> Option<&str> {
        self.meta.get(SITE_ID).map(String::as_str)
    }

    /// The header text for the meta that has no header of its own; `None` if there is none.
    pub fn meta_header(&self) -> Option<String> {
        let map: serde_json::Map<_, _> = self
            .meta
            .iter()
            .filter(|(name, _)| name.as_str() != SITE_ID)
            .map(|(name, value)| (name.clone(), serde_json::Value::from(value.as_str())))
            .collect();
        let json = serde_json::Value::Object(map);
        let is_empty = json.as_object().is_none_or(serde_json::Map::is_empty);
        (!is_empty)
            .then(|| base64::engine::general_purpose::STANDARD.encode(json.to_string().as_bytes()))
    }
}

/// Now in the host's time zone, in the form `format` (strftime); `TZ` is honoured.
pub fn local_time(format: &str) -> String {
    let now = Clock::system().now().to_zoned(zone());
    now.strftime(format).to_string()
}

/// The host's time zone. Unless `TZ` says otherwise its one file is read: the library would look
/// through the whole zone database for the file's name, a tenth of a sender's short life.
fn zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let host = || {
        let bytes = std::fs::read(LOCALTIME).ok()?;
        TimeZone::tzif("", &bytes).ok()
    };
    let find = || {
        let is_named = std::env::var_os("TZ").is_some();
        let zone = if is_named { None } else { host() };
        zone.unwrap_or_else(TimeZone::system)
    };
    ZONE.get_or_init(find).clone()
}
