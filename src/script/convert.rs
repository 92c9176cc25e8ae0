//! Between a script's `Dynamic` and our `Value`, without losing a type on the way.
//!
//! What cannot travel (closures, ranges, shared references that form a cycle) is an error that
//! names it, never a silent text.

use rhai::{Dynamic, ImmutableString};

use super::blob::{Blob, TEXT_BYTES_MAX};
use super::handle::Handle;
use super::list::List;
use super::secret::SecretText;
use crate::event::{VALUE_DEPTH_MAX, Value};

/// A script's view of `value`. Bytes become an opaque blob, and so does text over 256 KiB. Rhai
/// adds up all text inside one value, so where that sum is over 256 KiB (a mail with its HTML
/// twice) the longest texts become blobs until the others fit.
pub fn to_dynamic(value: &Value) -> Dynamic {
    let mut lengths = Vec::new();
    text_lengths(value, &mut lengths);
    dynamic(value, text_limit(lengths))
}

/// The longest text that stays text: the shorter ones together are within [`TEXT_BYTES_MAX`].
fn text_limit(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    let mut sum = 0usize;
    for length in &lengths {
        sum += length;
        if sum > TEXT_BYTES_MAX {
            return length - 1;
        }
    }
    TEXT_BYTES_MAX
}

fn text_lengths(value: &Value, lengths: &mut Vec<usize>) {
    match value {
        Value::Text(text) => lengths.push(text.len()),
        Value::List(items) => items.iter().for_each(|item| text_lengths(item, lengths)),
        Value::Map(map) => map.values().for_each(|item| text_lengths(item, lengths)),
        _ => {}
    }
}

fn dynamic(value: &Value, text_max: usize) -> Dynamic {
    let inside = |value: &Value| dynamic(value, text_max);
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(yes) => (*yes).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Char(char) => (*char).into(),
        Value::Text(text) if text.len() > text_max => Dynamic::from(Blob::long_text(text.clone())),
        Value::Text(text) => ImmutableString::from(text.as_str()).into(),
        Value::Bytes(bytes) => Dynamic::from(Blob::bytes((**bytes).clone())),
        Value::Secret(parts) => Dynamic::from(SecretText(parts.clone())),
        Value::List(items) => Dynamic::from_array(items.iter().map(inside).collect()),
        Value::Map(map) => {
            let entry = |(name, value): (&String, &Value)| (name.as_str().into(), inside(value));
            Dynamic::from_map(map.iter().map(entry).collect())
        }
    }
}

/// The value that a script handed over.
///
/// # Errors
/// A sentence naming what cannot leave a script: a function, a range, nesting beyond
/// [`VALUE_DEPTH_MAX`].
pub fn from_dynamic(dynamic: &Dynamic) -> Result<Value, String> {
    convert(dynamic, 0)
}

fn convert(dynamic: &Dynamic, depth: usize) -> Result<Value, String> {
    if depth > VALUE_DEPTH_MAX {
        return Err(format!(
            "a value is nested more than {VALUE_DEPTH_MAX} deep"
        ));
    }
    if dynamic.is_shared() {
        return convert(&dynamic.flatten_clone(), depth);
    }
    if dynamic.is_unit() {
        return Ok(Value::Null);
    }
    scalar(dynamic).map_or_else(|| compound(dynamic, depth), Ok)
}

fn scalar(dynamic: &Dynamic) -> Option<Value> {
    if let Ok(yes) = dynamic.as_bool() {
        return Some(Value::Bool(yes));
    }
    if let Ok(number) = dynamic.as_int() {
        return Some(Value::Int(number));
    }
    if let Ok(number) = dynamic.as_float() {
        return Some(Value::Float(number));
    }
    if let Ok(char) = dynamic.as_char() {
        return Some(Value::Char(char));
    }
    dynamic
        .read_lock::<ImmutableString>()
        .map(|text| Value::Text(text.to_string()))
}

fn compound(dynamic: &Dynamic, depth: usize) -> Result<Value, String> {
    if let Some(array) = dynamic.read_lock::<rhai::Array>() {
        let items: Result<Vec<Value>, String> =
            array.iter().map(|item| convert(item, depth + 1)).collect();
        return items.map(Value::List);
    }
    if let Some(map) = dynamic.read_lock::<rhai::Map>() {
        let pairs: Result<_, String> = map
            .iter()
            .map(|(name, value)| Ok((name.to_string(), convert(value, depth + 1)?)))
            .collect();
        return pairs.map(Value::Map);
    }
    if let Some(blob) = dynamic.read_lock::<Blob>() {
        return Ok(match blob.is_text() {
            true => Value::Text(String::from_utf8_lossy(blob.as_bytes()).into_owned()),
            false => Value::from(blob.share()),
        });
    }
    if let Some(list) = dynamic.read_lock::<List>() {
        return match depth + list.depth() >= VALUE_DEPTH_MAX {
            true => Err(format!(
                "a value is nested more than {VALUE_DEPTH_MAX} deep"
            )),
            false => Ok(Value::List(list.items().to_vec())),
        };
    }
    if let Some(secret) = dynamic.read_lock::<SecretText>() {
        return Ok(Value::Secret(secret.0.clone()));
    }
    if let Some(handle) = dynamic.read_lock::<Handle>() {
        return Ok(handle.value.clone());
    }
    if let Some(bytes) = dynamic.read_lock::<rhai::Blob>() {
        return Ok(Value::from(bytes.clone()));
    }
    Err(format!(
        "{} cannot leave a script",
        article(dynamic.type_name())
    ))
}

fn article(type_name: &str) -> String {
    match type_name {
        "Fn" => "a function".to_owned(),
        other => format!("a value of type {other}"),
    }
}
