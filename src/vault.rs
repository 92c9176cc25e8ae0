//! Puts the real secrets into an action's arguments, at the last moment before it is performed, and
//! covers them in what is said about it.

use std::collections::BTreeMap;

use crate::action::Failure;
use crate::event::{SecretPart, Value};
use crate::secret::{self, Secret};

/// The arguments with every secret in its place.
///
/// # Errors
/// Refuses a secret that settings.toml does not have, naming it.
pub fn open(
    arguments: &[Value],
    secrets: &BTreeMap<String, Secret>,
) -> Result<Vec<Value>, Failure> {
    arguments
        .iter()
        .map(|argument| open_one(argument, secrets))
        .collect()
}

/// The secrets that these arguments hold, to be covered in whatever comes of them.
pub fn held<'a>(arguments: &[Value], secrets: &'a BTreeMap<String, Secret>) -> Vec<&'a Secret> {
    let mut held = Vec::new();
    arguments
        .iter()
        .for_each(|one| gather(one, secrets, &mut held));
    held
}

fn gather<'a>(value: &Value, secrets: &'a BTreeMap<String, Secret>, held: &mut Vec<&'a Secret>) {
    match value {
        Value::Secret(parts) => held.extend(parts.iter().filter_map(|part| match part {
            SecretPart::Name(name) => secrets.get(name),
            SecretPart::Text(_) => None,
        })),
        Value::List(items) => items.iter().for_each(|item| gather(item, secrets, held)),
        Value::Map(map) => map.values().for_each(|item| gather(item, secrets, held)),
        _ => {}
    }
}

/// `text` with these secrets covered: what a target or a library says may quote them.
pub fn cover(held: &[&Secret], text: &mut String) {
    *text = secret::cover(&secret::forms(held.iter().copied()), text);
}

/// `value` with these secrets covered wherever text or bytes in it quote them: what a target answers
/// goes into the journal.
pub fn cover_value(held: &[&Secret], value: &mut Value) {
    let forms = secret::forms(held.iter().copied());
    if !forms.is_empty() {
        cover_forms(&forms, value);
    }
}

fn cover_forms(forms: &[String], value: &mut Value) {
    match value {
        Value::Text(text) => *text = secret::cover(forms, text),
        Value::List(items) => items.iter_mut().for_each(|item| cover_forms(forms, item)),
        Value::Map(map) => map.values_mut().for_each(|item| cover_forms(forms, item)),
        Value::Bytes(bytes) => {
            let cover = |form: &String| cover_form(form.as_bytes(), bytes);
            forms.iter().for_each(cover);
        }
        _ => {}
    }
}

fn cover_form(form: &[u8], bytes: &mut bytes::Bytes) {
    let (mut covered, mut rest) = (Vec::new(), &bytes[..]);
    let find = |all: &[u8]| all.windows(form.len().max(1)).position(|part| part == form);
    while let Some(at) = find(rest) {
        covered.extend_from_slice(&rest[..at]);
        covered.extend_from_slice(b"***");
        rest = &rest[at + form.len()..];
    }
    if !covered.is_empty() {
        covered.extend_from_slice(rest);
        *bytes = covered.into();
    }
}

fn open_one(value: &Value, secrets: &BTreeMap<String, Secret>) -> Result<Value, Failure> {
    Ok(match value {
        Value::Secret(parts) => {
            let texts: Result<String, Failure> =
                parts.iter().map(|part| text(part, secrets)).collect();
            Value::Text(texts?)
        }
        Value::List(items) => Value::List(open(items, secrets)?),
        Value::Map(map) => {
            let entry =
                |(name, value): (&String, &Value)| Ok((name.clone(), open_one(value, secrets)?));
            Value::Map(map.iter().map(entry).collect::<Result<_, Failure>>()?)
        }
        plain => plain.clone(),
    })
}

fn text<'a>(
    part: &'a SecretPart,
    secrets: &'a BTreeMap<String, Secret>,
) -> Result<&'a str, Failure> {
    match part {
        SecretPart::Text(text) => Ok(text),
        SecretPart::Name(name) => secrets.get(name).map(Secret::expose).ok_or_else(|| {
            Failure::refused(format!(
                "settings.toml has no {name}_file or {name}_env in [secret]"
            ))
        }),
    }
}
