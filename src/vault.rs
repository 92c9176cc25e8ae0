//! Puts the real secrets into an action's arguments, at the last moment before it is performed.

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
