//! Puts the real secrets into an action's arguments, at the last moment before it is performed, and
//! covers them in what is said about it.

use std::collections::BTreeMap;

use crate::action::Failure;
use crate::event::{SecretPart, Value};
use crate::secret::Secret;

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

/// `text` with the secrets of these arguments covered: what a target or a library says may quote them.
pub fn cover(arguments: &[Value], secrets: &BTreeMap<String, Secret>, text: &mut String) {
    for argument in arguments {
        match argument {
            Value::Secret(parts) => {
                let names = parts.iter().filter_map(|part| match part {
                    SecretPart::Name(name) => secrets.get(name),
                    SecretPart::Text(_) => None,
                });
                for secret in names.map(Secret::expose) {
                    *text = text.replace(secret, "***");
                }
            }
            Value::List(items) => cover(items, secrets, text),
            Value::Map(map) => map
                .values()
                .for_each(|value| cover(std::slice::from_ref(value), secrets, text)),
            _ => {}
        }
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
