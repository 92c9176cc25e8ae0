//! A point of a script as a line of InfluxDB's line protocol.
//!
//! Escapes as a real InfluxDB 1.6 reads them: in names a comma, a space and (but for measurements)
//! an equals sign; in texts the quote and the backslash. What cannot be said is not altered in
//! silence but refused, with two exceptions, which Telegraf makes too: a control character in a name
//! is written as its escape, and backslashes at the end of a name are left out. In the key of a
//! field they are left out before what must be escaped too, for InfluxDB reads two as a pair there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::str::FromStr;

use jiff::Timestamp;

use crate::action::Failure;
use crate::action::arguments::Options;
use crate::event::Value;

/// Names that a point has.
const KNOWN: &[&str] = &["measurement", "tags", "fields", "time"];
/// What must be escaped in a measurement.
const IN_MEASUREMENT: &[char] = &[',', ' '];
/// What must be escaped in the key or the value of a tag and in the key of a field.
const IN_KEY: &[char] = &[',', '=', ' '];

/// What a whole number as time counts since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Precision, String> {
        match text {
            "s" => Ok(Precision::Seconds),
            "ms" => Ok(Precision::Milliseconds),
            "us" => Ok(Precision::Microseconds),
            "ns" => Ok(Precision::Nanoseconds),
            other => Err(format!(
                "`precision` is \"{other}\"; it must be s, ms, us or ns"
            )),
        }
    }
}

impl Precision {
    /// As both APIs understand it; the older one knows microseconds as `u` alone.
    pub(super) fn word(self, is_version_one: bool) -> &'static str {
        match self {
            Precision::Seconds => "s",
            Precision::Milliseconds => "ms",
            Precision::Microseconds if is_version_one => "u",
            Precision::Microseconds => "us",
            Precision::Nanoseconds => "ns",
        }
    }

    fn of(self, moment: Timestamp) -> i128 {
        match self {
            Precision::Seconds => moment.as_second().into(),
            Precision::Milliseconds => moment.as_millisecond().into(),
            Precision::Microseconds => moment.as_microsecond().into(),
            Precision::Nanoseconds => moment.as_nanosecond(),
        }
    }
}

/// Why a point cannot be a line.
pub(super) enum Odd {
    /// The script is wrong; nothing of what it handed over is written.
    Script(Failure),
    /// What stands in the point cannot be written; the others can.
    Point(String),
}

impl From<Failure> for Odd {
    fn from(failure: Failure) -> Odd {
        Odd::Script(failure)
    }
}

impl From<String> for Odd {
    fn from(why: String) -> Odd {
        Odd::Point(why)
    }
}

/// The line of `point`, without a newline at its end.
pub(super) fn encode(point: &Value, precision: Precision) -> Result<String, Odd> {
    let options = Options::new(point, KNOWN)?;
    let fields = options
        .map("fields")?
        .ok_or_else(|| Odd::Script(Failure::refused("`fields` is missing; it is a map")))?;
    let mut line = String::new();
    measurement(&mut line, options.text("measurement")?)?;
    let none = BTreeMap::new();
    for (key, value) in options.map("tags")?.unwrap_or(&none) {
        tag(&mut line, key, value)?;
    }
    let before = line.len();
    for (key, value) in fields {
        let separator = if line.len() == before { ' ' } else { ',' };
        field(&mut line, separator, (key, value))?;
    }
    if line.len() == before {
        return Err(Odd::Point("it has no field with a value".to_owned()));
    }
    let time = time(options.value("time"), precision)?;
    let _ = write!(line, " {time}");
    Ok(line)
}

/// The line of a point whose time is a number; `None` if it cannot be one, and `influxdb::write` says
/// why.
pub fn line_of(point: &Value) -> Option<String> {
    let Value::Map(fields) = point else {
        return None;
    };
    // A text would need to know the precision.
    let is_number = matches!(fields.get("time"), Some(Value::Int(_)));
    let line = is_number.then(|| encode(point, Precision::Seconds).ok());
    line.flatten()
}

fn measurement(line: &mut String, name: Option<String>) -> Result<(), Odd> {
    let name = name.unwrap_or_default();
    if name.starts_with('#') {
        return Err(Odd::Point(
            "a line that begins with # would be a comment".to_owned(),
        ));
    }
    push_name(line, &name, IN_MEASUREMENT)
        .then_some(())
        .ok_or_else(|| Odd::Point("`measurement` is missing or blank".to_owned()))
}

/// A tag without a value is no tag.
fn tag(line: &mut String, key: &str, value: &Value) -> Result<(), Odd> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::List(_) | Value::Map(_) | Value::Bytes(_) | Value::Secret(_) => {
            return Err(Odd::Point(format!("the tag `{key}` is {}", value.kind())));
        }
        plain => plain.to_plain(),
    };
    let mut pair = String::from(",");
    named(&mut pair, "tag", key)?;
    pair.push('=');
    if push_name(&mut pair, &text, IN_KEY) {
        line.push_str(&pair);
    }
    Ok(())
}

/// A field without a value is no field.
fn field(line: &mut String, separator: char, (key, value): (&str, &Value)) -> Result<(), Odd> {
    if matches!(value, Value::Null) {
        return Ok(());
    }
    line.push(separator);
    named(line, "field", &unpaired(key))?;
    line.push('=');
    match value {
        Value::Int(number) => drop(write!(line, "{number}i")),
        Value::Float(number) if number.is_finite() => drop(write!(line, "{number:?}")),
        Value::Float(number) => {
            return Err(Odd::Point(format!(
                "the field `{key}` is {number}, and InfluxDB has no such number"
            )));
        }
        Value::Bool(yes) => drop(write!(line, "{yes}")),
        Value::Text(_) | Value::Char(_) => push_text(line, &value.to_plain()),
        other => {
            return Err(Odd::Point(format!(
                "the field `{key}` is {}; it must be a number, text, or true or false",
                other.kind()
            )));
        }
    }
    Ok(())
}

/// The key of a field without backslashes that InfluxDB would take for half of an escape.
fn unpaired(key: &str) -> String {
    let mut kept = String::new();
    for char in key.chars() {
        if IN_KEY.contains(&char) || char == '"' {
            kept.truncate(kept.trim_end_matches('\\').len());
        }
        kept.push(char);
    }
    kept
}

/// The key of a tag or a field.
fn named(line: &mut String, what: &str, key: &str) -> Result<(), Odd> {
    if key == "time" {
        return Err(Odd::Point(format!("a {what} cannot be called `time`")));
    }
    push_name(line, key, IN_KEY)
        .then_some(())
        .ok_or_else(|| Odd::Point(format!("a {what} has a blank name")))
}

/// Adds a name; false if nothing of it is left.
fn push_name(line: &mut String, name: &str, special: &[char]) -> bool {
    let name = name.trim_end_matches('\\');
    for char in name.chars() {
        if char.is_control() {
            line.extend(char.escape_default());
            continue;
        }
        if special.contains(&char) {
            line.push('\\');
        }
        line.push(char);
    }
    !name.is_empty()
}

fn push_text(line: &mut String, text: &str) {
    line.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            line.push('\\');
        }
        line.push(char);
    }
    line.push('"');
}

/// Without a time InfluxDB takes the moment of arrival, which is another one for each try.
fn time(value: Option<&Value>, precision: Precision) -> Result<i64, Odd> {
    let out = || Odd::Point("its `time` is out of range".to_owned());
    match value {
        None => Err(Odd::Point(super::line::NO_TIME.to_owned())),
        Some(Value::Int(number)) => Ok(*number),
        Some(Value::Text(text)) => match text.parse::<Timestamp>() {
            Ok(moment) => i64::try_from(precision.of(moment)).map_err(|_| out()),
            Err(_) => Err(Odd::Point(format!(
                "its `time` is \"{text}\"; it must be like \"2026-11-20T16:00:00Z\""
            ))),
        },
        Some(other) => Err(Odd::Point(format!(
            "its `time` is {}; it must be a whole number or RFC 3339 text",
            other.kind()
        ))),
    }
}
