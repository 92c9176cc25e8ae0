//! Whatever somebody posts: JSON, a form, text, or bytes. Never refused.

use std::collections::BTreeMap;

use super::{Hook, HookError, event};
use crate::encoding;
use crate::event::{Incoming, Meta, Value};
use crate::source::json::{self, EVENTS_MAX, JsonError};
use crate::source::keep_raw;

/// Where in `meta.extra` the HTTP door puts the request's Content-Type.
pub const CONTENT_TYPE_KEY: &str = "content_type";
/// Most fields of one form.
pub const FORM_FIELDS_MAX: usize = 4_000;

/// The parameters of a body, or the keys of an event.
pub(super) type Fields = BTreeMap<String, Value>;

/// `/hooks/generic`.
///
/// A form becomes a map (a name that comes twice a list of its values), a body that says it is
/// `text/…` becomes text, anything else is read as JSON: an array is one event per element. What
/// is none of these is kept as bytes with `meta.decode_error`.
pub struct Generic;

impl Hook for Generic {
    fn kind(&self) -> &'static str {
        "generic"
    }

    fn about(&self) -> &'static str {
        "anything: JSON (an array is one event per element), a form, text, else the bytes"
    }

    fn decode(&self, bytes: &[u8], meta: Meta) -> Result<Vec<Incoming>, HookError> {
        let kind = ContentType::of(&meta);
        if kind.is_form() {
            let found = form(bytes);
            let mut event = Incoming {
                body: Value::Null,
                meta,
            };
            match found {
                Some(fields) => event.body = fields,
                None => event = keep_raw(event, bytes, "the body is no form that can be read"),
            }
            return Ok(vec![event]);
        }
        if kind.name.starts_with("text/") {
            let body = Value::Text(kind.text(bytes));
            return Ok(vec![Incoming { body, meta }]);
        }
        Ok(json::decode_or_keep(bytes, meta))
    }
}

/// The JSON value or the form in a body, for hooks of one product.
///
/// # Errors
/// [`JsonError`] if it is neither.
fn structure(bytes: &[u8], meta: &Meta) -> Result<Value, JsonError> {
    let fields = ContentType::of(meta).is_form().then(|| form(bytes));
    match fields.flatten() {
        Some(fields) => Ok(fields),
        None => json::decode_value(bytes),
    }
}

/// One event per object in a body, or one of the form that it is, with the keys that `normal` finds;
/// for hooks of one product.
///
/// # Errors
/// [`HookError`].
pub(super) fn each(
    bytes: &[u8],
    meta: &Meta,
    (product, normal): (&'static str, fn(Fields) -> Fields),
) -> Result<Vec<Incoming>, HookError> {
    let bodies = match structure(bytes, meta)? {
        Value::List(bodies) => bodies,
        body => vec![body],
    };
    if bodies.len() > EVENTS_MAX {
        return Err(JsonError::TooManyEvents.into());
    }
    let why = "it is neither an object nor a form";
    let one = |body| match body {
        Value::Map(raw) => Ok(event(meta, normal(raw))),
        _ => Err(HookError::Shape { product, why }),
    };
    bodies.into_iter().map(one).collect()
}

struct ContentType {
    name: String,
    charset: Option<String>,
}

impl ContentType {
    fn of(meta: &Meta) -> ContentType {
        let text = meta.extra.get(CONTENT_TYPE_KEY).and_then(Value::as_text);
        let mut parts = text.unwrap_or("").split(';').map(str::trim);
        let name = parts.next().unwrap_or("").to_ascii_lowercase();
        let charset = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.eq_ignore_ascii_case("charset")
                .then(|| value.trim_matches('"').to_owned())
        });
        ContentType { name, charset }
    }

    fn is_form(&self) -> bool {
        self.name == "application/x-www-form-urlencoded"
    }

    fn text(&self, bytes: &[u8]) -> String {
        let declared = self.charset.as_deref();
        declared
            .and_then(|label| encoding::decode_declared(bytes, label))
            .unwrap_or_else(|| encoding::decode_guess(bytes))
    }
}

/// WHATWG URL §5.1. `None` beyond [`FORM_FIELDS_MAX`].
fn form(bytes: &[u8]) -> Option<Value> {
    let fields = bytes.trim_ascii().split(|byte| *byte == b'&');
    let mut map: BTreeMap<String, Value> = BTreeMap::new();
    for (count, field) in fields.filter(|field| !field.is_empty()).enumerate() {
        if count >= FORM_FIELDS_MAX {
            return None;
        }
        let mut halves = field.splitn(2, |byte| *byte == b'=');
        let name = unescape(halves.next().unwrap_or_default());
        let value = Value::Text(unescape(halves.next().unwrap_or_default()));
        match map.remove(&name) {
            None => map.insert(name, value),
            Some(Value::List(mut values)) => {
                values.push(value);
                map.insert(name, Value::List(values))
            }
            Some(first) => map.insert(name, Value::List(vec![first, value])),
        };
    }
    Some(Value::Map(map))
}

fn unescape(bytes: &[u8]) -> String {
    let spaced: Vec<u8> = bytes
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let decoded: Vec<u8> = percent_encoding::percent_decode(&spaced).collect();
    encoding::decode_guess(&decoded)
}
