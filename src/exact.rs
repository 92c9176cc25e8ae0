//! Values in the files that people write, exactly: what TOML cannot say has a form of its own.
//!
//! Invariant: writing a value and reading it gives the same value. A table with one key that begins
//! with `$` is such a form: `{ "$bytes" = "base64" }`, `{ "$char" = "x" }`, `{ "$nothing" = true }`,
//! `{ "$secret" = ["Bearer ", { name = "team_key" }] }`; a map that looks like one is wrapped in
//! `{ "$map" = { … } }`. Of a secret only the name is ever written.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::event::{SecretPart, Value};

/// A value as a case file has it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Exact(pub Value);

impl TryFrom<toml::Value> for Exact {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Exact, String> {
        read(&value).map(Exact)
    }
}

/// From TOML; times are text.
fn read(value: &toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::Int(*number),
        toml::Value::Float(number) => Value::Float(*number),
        toml::Value::Boolean(yes) => Value::Bool(*yes),
        toml::Value::Datetime(time) => Value::Text(time.to_string()),
        toml::Value::Array(items) => Value::List(items.iter().map(read).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => match form(table) {
            Some((name, inner)) => read_form(name, inner)?,
            None => Value::Map(read_map(table)?),
        },
    })
}

fn form(table: &toml::Table) -> Option<(&str, &toml::Value)> {
    let (name, inner) = table.iter().next()?;
    (table.len() == 1 && name.starts_with('$')).then_some((name, inner))
}

fn read_map(table: &toml::Table) -> Result<BTreeMap<String, Value>, String> {
    let pair = |(name, value): (&String, &toml::Value)| Ok((name.clone(), read(value)?));
    table.iter().map(pair).collect()
}

fn read_form(name: &str, inner: &toml::Value) -> Result<Value, String> {
    let wrong = |what: &str| format!("`{name}` takes {what}");
    match (name, inner) {
        ("$nothing", toml::Value::Boolean(true)) => Ok(Value::Null),
        ("$nothing", _) => Err(wrong("true")),
        ("$bytes", toml::Value::String(text)) => STANDARD
            .decode(text)
            .map(Value::from)
            .map_err(|_| wrong("base64 text")),
        ("$bytes", _) => Err(wrong("base64 text")),
        ("$char", toml::Value::String(text)) => match text.chars().collect::<Vec<_>>()[..] {
            [char] => Ok(Value::Char(char)),
            _ => Err(wrong("text of one character")),
        },
        ("$char", _) => Err(wrong("text of one character")),
        ("$secret", toml::Value::Array(parts)) => parts
            .iter()
            .map(secret_part)
            .collect::<Option<_>>()
            .map(Value::Secret)
            .ok_or_else(|| wrong("a list of text and { name = \"…\" }")),
        ("$secret", _) => Err(wrong("a list of text and { name = \"…\" }")),
        ("$map", toml::Value::Table(table)) => read_map(table).map(Value::Map),
        ("$map", _) => Err(wrong("a table")),
        _ => Err(format!(
            "`{name}` is no kind of value; there are $nothing, $bytes, $char, $secret and $map"
        )),
    }
}

fn secret_part(part: &toml::Value) -> Option<SecretPart> {
    match part {
        toml::Value::String(text) => Some(SecretPart::Text(text.clone())),
        toml::Value::Table(table) => {
            let name = table.get("name").and_then(toml::Value::as_str);
            let name = name.filter(|_| table.len() == 1)?;
            Some(SecretPart::Name(name.to_owned()))
        }
        _ => None,
    }
}

/// As TOML, on one line.
pub fn write(value: &Value) -> String {
    match value {
        Value::Null => form_of("nothing", "true"),
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => toml::Value::Float(*number).to_string(),
        Value::Char(char) => form_of("char", &text(&char.to_string())),
        Value::Text(own) => text(own),
        Value::Bytes(bytes) => form_of("bytes", &text(&STANDARD.encode(&**bytes))),
        Value::List(items) => list(items.iter().map(write)),
        Value::Map(map) => match map.keys().next() {
            Some(name) if map.len() == 1 && name.starts_with('$') => form_of("map", &table(map)),
            _ => table(map),
        },
        Value::Secret(parts) => form_of(
            "secret",
            &list(parts.iter().map(|part| match part {
                SecretPart::Text(own) => text(own),
                SecretPart::Name(name) => format!("{{ name = {} }}", text(name)),
            })),
        ),
    }
}

/// A map as an inline table.
fn table(map: &BTreeMap<String, Value>) -> String {
    let pairs: Vec<String> = map
        .iter()
        .map(|(name, value)| format!("{} = {}", key(name), write(value)))
        .collect();
    match pairs.is_empty() {
        true => "{}".to_owned(),
        false => format!("{{ {} }}", pairs.join(", ")),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn form_of(name: &str, inner: &str) -> String {
    format!("{{ \"${name}\" = {inner} }}")
}

/// A key, in quotes where it needs them.
pub fn key(name: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => text(name),
    }
}

/// Text in quotes, on one line.
pub fn text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            char if char.is_control() => quoted.push_str(&format!("\\u{:04X}", char as u32)),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
