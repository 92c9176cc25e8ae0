//! A parcel: bytes with what the door knows about them, and what becomes of them.
//!
//! The HTTP door and the spool hand in the same parcels, so an event is the same whichever way it
//! came.

use std::collections::BTreeMap;

use base64::Engine as _;
use jiff::Timestamp;

use super::{json, mail, snmp, webhook};
use crate::event::{Incoming, Meta, Value};
use crate::sender::META_VALUES_MAX;

/// Kinds of senders that may name themselves; anybody else is `http`.
const SENDERS: &[&str] = &["sendevt", "mail", "snmp", "amqp"];

/// Bytes that arrived at a door.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    /// The media type, as the sender wrote it; empty if it wrote none.
    pub content_type: String,
    /// What the sender says it is.
    pub source: String,
    /// Who is at the other end.
    pub peer: String,
    /// The sender's id of it.
    pub message_id: Option<String>,
    /// When it was here.
    pub received_at: Timestamp,
    /// What else the sender says: a mail's envelope, its site, its own time.
    pub extra: BTreeMap<String, Value>,
    /// The bytes.
    pub body: Vec<u8>,
}

/// Why a parcel is sent back.
#[derive(Debug, thiserror::Error)]
pub enum Returned {
    /// It says that it is JSON, and is not, or more than is taken.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// A hook does not understand it.
    #[error(transparent)]
    Hook(#[from] webhook::HookError),
}

impl Parcel {
    /// The events in it, by its media type: JSON, a mail, snmptrapd's text, text, or bytes.
    ///
    /// # Errors
    /// Broken JSON; everything else is kept, at worst as bytes.
    pub fn open(self) -> Result<Vec<Incoming>, Returned> {
        let meta = self.meta("http");
        if self.is_json() {
            return Ok(numbered(json::decode(&self.body, meta)?));
        }
        Ok(match self.media().as_str() {
            "message/rfc822" => vec![mail::decode(&self.body, self.meta("mail"))],
            "application/x-snmptrapd" => vec![snmp::decode(&self.body, self.meta("snmp"))],
            _ => vec![Incoming {
                body: self.plain(),
                meta,
            }],
        })
    }

    /// The one event in it, which is JSON whatever it says.
    ///
    /// # Errors
    /// Broken JSON.
    pub fn open_as_one(self) -> Result<Incoming, Returned> {
        let meta = self.meta("http");
        Ok(json::decode_as_one(&self.body, meta)?)
    }

    /// True if it says that it is JSON.
    pub fn is_json(&self) -> bool {
        let media = self.media();
        media == "application/json" || media.ends_with("+json")
    }

    fn media(&self) -> String {
        let media = self.content_type.split(';').next().unwrap_or("");
        media.trim().to_ascii_lowercase()
    }

    /// The events that the hook `kind` makes of it.
    ///
    /// # Errors
    /// What the hook does not understand.
    pub fn open_hook(mut self, kind: &str) -> Result<Vec<Incoming>, Returned> {
        self.source = String::new();
        let mut meta = self.meta(kind);
        meta.extra.insert(
            webhook::CONTENT_TYPE_KEY.to_owned(),
            Value::from(self.content_type.as_str()),
        );
        let mut events = webhook::decode(kind, &self.body, meta)?;
        for event in &mut events {
            event.meta.extra.remove(webhook::CONTENT_TYPE_KEY);
        }
        Ok(numbered(events))
    }

    /// Text that says it is UTF-8 and is stays text; anything else is bytes.
    fn plain(&self) -> Value {
        let content_type = self.content_type.to_ascii_lowercase();
        let is_text = content_type.starts_with("text/") && content_type.contains("utf-8");
        match std::str::from_utf8(&self.body) {
            Ok(text) if is_text => Value::from(text),
            _ => Value::from(self.body.clone()),
        }
    }

    fn meta(&self, usual: &str) -> Meta {
        let known = SENDERS.contains(&self.source.as_str());
        let mut meta = Meta::new(if known { &self.source } else { usual }, self.received_at);
        meta.peer.clone_from(&self.peer);
        meta.message_id.clone_from(&self.message_id);
        meta.extra.clone_from(&self.extra);
        meta
    }
}

/// Several events of one parcel share its id with `#` and their place after it, so that they are not
/// taken for copies of one another.
fn numbered(mut events: Vec<Incoming>) -> Vec<Incoming> {
    if events.len() < 2 {
        return events;
    }
    for (index, event) in events.iter_mut().enumerate() {
        if let Some(id) = &mut event.meta.message_id {
            id.push_str(&format!("#{index}"));
        }
    }
    events
}

/// What a sender of ours says about an event; anything that is not a flat map of texts is ignored.
pub fn sender_meta(header: &str) -> BTreeMap<String, Value> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(header)
        .unwrap_or_default();
    let map: BTreeMap<String, String> = serde_json::from_slice(&bytes).unwrap_or_default();
    map.into_iter()
        .take(META_VALUES_MAX)
        .map(|(name, value)| (name, Value::Text(value)))
        .collect()
}
