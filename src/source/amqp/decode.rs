//! A message from a broker, or for one, as events: by its media type, as Kompira reads it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::amqp::Message;
use crate::event::{Incoming, Meta, Value};
use crate::sender::{META_HEADER, SOURCE_HEADER};
use crate::source::keep_raw;
use crate::source::parcel::{Parcel, sender_meta};

/// What this kind of door is called in an event's `meta`.
const SOURCE: &str = "amqp";
/// The header that names the channel, in Kompira's words a path.
const CHANNEL_HEADER: &str = "channel";

/// What the door knows besides the message.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Who is at the other end.
    pub peer: String,
    /// When all of it was here.
    pub received_at: Timestamp,
    /// Read as JSON whatever the media type is.
    pub is_json: bool,
}

/// The channel that the sender asked for, if it did.
pub fn asked_channel(message: &Message) -> Option<&str> {
    let asked = message.headers.get(CHANNEL_HEADER)?.as_text()?;
    (!asked.is_empty()).then_some(asked)
}

/// The events in a message. JSON if it says so (or the door does), text if only its encoding is
/// told, what other doors know by its media type, else bytes. Never fails: what cannot be read is
/// kept raw.
pub fn decode(message: Message, seen: &Seen) -> Vec<Incoming> {
    let content_type = match (&message.content_type, &message.content_encoding) {
        _ if seen.is_json => "application/json",
        (Some(media), _) => media,
        (None, Some(encoding)) if encoding.eq_ignore_ascii_case("utf-8") => {
            "text/plain; charset=utf-8"
        }
        (None, _) => "application/octet-stream",
    };
    let source = message.headers.get(SOURCE_HEADER).and_then(Value::as_text);
    let parcel = Parcel {
        content_type: content_type.to_owned(),
        source: source.unwrap_or(SOURCE).to_owned(),
        peer: seen.peer.clone(),
        message_id: message_id(&message),
        received_at: seen.received_at,
        extra: extra(&message),
        body: message.body,
    };
    let raw = (parcel.extra.clone(), parcel.message_id.clone());
    // A copy only of what is JSON: everything else opens.
    let bytes = parcel.is_json().then(|| parcel.body.clone());
    match parcel.open() {
        Ok(events) => events,
        Err(why) => {
            let mut meta = Meta::new(SOURCE, seen.received_at);
            meta.peer.clone_from(&seen.peer);
            (meta.extra, meta.message_id) = raw;
            let incoming = Incoming {
                body: Value::Null,
                meta,
            };
            vec![keep_raw(
                incoming,
                &bytes.unwrap_or_default(),
                why.to_string(),
            )]
        }
    }
}

fn message_id(message: &Message) -> Option<String> {
    let ids = [&message.message_id, &message.correlation_id];
    let id = ids.into_iter().flatten().find(|id| !id.is_empty());
    id.cloned()
}

/// What a flow may want to know of where it came from: Kompira's headers under our names, the others
/// together.
fn extra(message: &Message) -> BTreeMap<String, Value> {
    let mut headers = message.headers.clone();
    let meta = headers.remove(META_HEADER);
    let meta = meta.as_ref().and_then(Value::as_text);
    let mut extra = meta.map(sender_meta).unwrap_or_default();
    for (header, name) in [("site_id", "site_id"), ("timestamp", "sent_at")] {
        if let Some(value) = headers.remove(header) {
            // Text, as the HTTP door has it.
            extra.insert(name.to_owned(), Value::Text(value.to_plain()));
        }
    }
    headers.remove(SOURCE_HEADER);
    if !headers.is_empty() {
        extra.insert("headers".to_owned(), Value::Map(headers));
    }
    let places = [
        ("exchange", &message.exchange),
        ("routing_key", &message.routing_key),
    ];
    for (name, place) in places {
        if !place.is_empty() {
            extra.insert(name.to_owned(), Value::from(place.as_str()));
        }
    }
    extra
}
