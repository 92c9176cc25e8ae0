//! Transcripts: the exact record of events and runs, as the command line fetches it from a server.
//!
//! Invariant: nothing is lost on the way. JSON would make text of characters and bytes, so events
//! and journals travel in the store's own form, in base64.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::bundle::Bundle;
use crate::event::{Event, EventId, Meta, RunId, Value};
use crate::journal::{Entry, Journal};
use crate::store::codec::{CodecError, decode_value, encode_value};

/// What a server knows of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// Its journal.
    pub journal: Journal,
    /// The events that began it.
    pub events: Vec<Event>,
    /// The events that woke it, by their id.
    pub seen: BTreeMap<String, Event>,
    /// The script that it is pinned to.
    pub script: Bundle,
    /// When the server told this.
    pub now: Timestamp,
}

/// An event as JSON carries it.
///
/// # Errors
/// A value nested too deep.
pub fn event_to_json(event: &Event) -> Result<Json, CodecError> {
    let meta = &event.meta;
    let whole = Value::from([
        ("id", Value::from(event.id.to_string())),
        ("body", event.body.clone()),
        ("source", Value::from(meta.source.as_str())),
        ("peer", Value::from(meta.peer.as_str())),
        ("at", Value::Int(meta.received_at.as_millisecond())),
        ("message_id", Value::from(meta.message_id.clone())),
        ("extra", Value::Map(meta.extra.clone())),
    ]);
    Ok(Json::from(STANDARD.encode(encode_value(&whole)?)))
}

/// The same back.
///
/// # Errors
/// A sentence: the server is of another version.
pub fn event_from_json(json: &Json) -> Result<Event, String> {
    let whole = decode_value(&bytes(json)?).map_err(|why| why.to_string())?;
    let text = |name: &str| whole.get(name).and_then(Value::as_text);
    let id: EventId = text("id").ok_or_else(strange)?.parse()?;
    let Some(Value::Int(at)) = whole.get("at") else {
        return Err(strange());
    };
    let at = Timestamp::from_millisecond(*at).map_err(|why| why.to_string())?;
    let mut meta = Meta::new(text("source").unwrap_or_default(), at);
    text("peer").unwrap_or_default().clone_into(&mut meta.peer);
    meta.message_id = text("message_id").map(str::to_owned);
    meta.extra = whole
        .get("extra")
        .and_then(Value::as_map)
        .cloned()
        .unwrap_or_default();
    let body = whole.get("body").cloned().unwrap_or_default();
    Ok(Event { id, body, meta })
}

/// The records of a journal as JSON carries them.
pub fn records_to_json(records: &[Vec<u8>]) -> Json {
    let records = records.iter().map(|record| STANDARD.encode(record));
    Json::from(records.collect::<Vec<_>>())
}

/// A journal from its records.
///
/// # Errors
/// A sentence: the server is of another version.
pub fn journal_from_json(run: &Json, records: &Json) -> Result<Journal, String> {
    let run: RunId = run.as_str().ok_or_else(strange)?.parse()?;
    let records = records.as_array().ok_or_else(strange)?;
    let records: Vec<Vec<u8>> = records.iter().map(bytes).collect::<Result<_, _>>()?;
    Journal::read(run, &records).map_err(|why| why.to_string())
}

/// The ids of events that woke a run.
pub fn seen_in(journal: &Journal) -> impl Iterator<Item = &EventId> {
    journal.entries().iter().filter_map(|entry| match entry {
        Entry::Seen(seen) => Some(&seen.event),
        _ => None,
    })
}

/// A run's transcript from JSON.
///
/// # Errors
/// A sentence: the server is of another version.
pub fn from_json(json: &Json) -> Result<Transcript, String> {
    let events = |name: &str| -> Result<Vec<Event>, String> {
        let events = json[name].as_array().ok_or_else(strange)?;
        events.iter().map(event_from_json).collect()
    };
    let seen = events("seen")?.into_iter();
    let journal = journal_from_json(&json["run"], &json["journal"])?;
    let mut events = events("events")?;
    if let Some(start) = journal.start() {
        start.tell(&mut events);
    }
    Ok(Transcript {
        journal,
        events,
        seen: seen.map(|event| (event.id.to_string(), event)).collect(),
        script: bundle_from_json(&json["script"])?,
        now: json["now"]
            .as_str()
            .and_then(|now| now.parse().ok())
            .ok_or_else(strange)?,
    })
}

/// A script with its imports as JSON.
pub fn bundle_to_json(bundle: &Bundle) -> Json {
    json!({
        "name": bundle.name, "source": bundle.source,
        "modules": bundle.modules, "is_batch": bundle.is_batch,
    })
}

/// The same back.
///
/// # Errors
/// A sentence: the server is of another version.
pub fn bundle_from_json(json: &Json) -> Result<Bundle, String> {
    let text = |name: &str| json[name].as_str().ok_or_else(strange);
    let mut bundle = Bundle::of(text("name")?, text("source")?);
    bundle.is_batch = json["is_batch"] == true;
    for (path, text) in json["modules"].as_object().ok_or_else(strange)? {
        let text = text.as_str().ok_or_else(strange)?;
        bundle.modules.insert(path.clone(), text.to_owned());
    }
    Ok(bundle)
}

fn bytes(json: &Json) -> Result<Vec<u8>, String> {
    let text = json.as_str().ok_or_else(strange)?;
    STANDARD.decode(text).map_err(|_| strange())
}

fn strange() -> String {
    "the server's answer cannot be read; is it of another version?".to_owned()
}
