//! One channel that a wait looks at, and which of its events fit.
//!
//! Pure. Equality is by value and goes through bytes, so that an index over thousands of waits and
//! the comparison of one agree: 1 is 1.0, "1" is not 1, a missing field is ().

use std::collections::BTreeMap;

use crate::event::{Event, Value};
use crate::store::codec::{CodecError, Reader, Writer, encode_value};

/// One channel that a wait looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// The handle's place in `any`; 0 elsewhere.
    pub which: usize,
    /// The channel as the script names it; its own name once the wait is kept.
    pub channel: String,
    /// Fields that an event must have, with equal values.
    pub fields: BTreeMap<String, Value>,
    /// True if a closure of the script must say yes too.
    pub condition: bool,
    /// True if the script gave a list of channels and is told which it was.
    pub listed: bool,
    /// The number of the first event that counts.
    pub from: u64,
}

impl Want {
    /// True if `event` has the fields; what the closure says is asked elsewhere.
    pub fn fits(&self, event: &Event) -> bool {
        event.id.channel == self.channel
            && event.id.number >= self.from
            && values_in(&event.body, self.fields.keys()) == values(self.fields.values())
    }

    /// Behind what `out` holds already.
    ///
    /// # Errors
    /// A field nested too deep.
    pub fn write(&self, out: &mut Writer) -> Result<(), CodecError> {
        out.number(self.which as u64).text(&self.channel);
        out.map(&self.fields)?
            .byte(self.condition.into())
            .byte(self.listed.into())
            .number(self.from);
        Ok(())
    }

    /// What [`Want::write`] wrote.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn read(input: &mut Reader<'_>) -> Result<Want, CodecError> {
        Ok(Want {
            which: usize::try_from(input.number()?).unwrap_or(usize::MAX),
            channel: input.text()?.to_owned(),
            fields: input.map()?,
            condition: input.byte()? == 1,
            listed: input.byte()? == 1,
            from: input.number()?,
        })
    }

    /// True if both look for the same thing.
    pub fn is_like(&self, other: &Want) -> bool {
        self.channel == other.channel
            && self.condition == other.condition
            && values(self.fields.values()) == values(other.fields.values())
            && self.fields.keys().eq(other.fields.keys())
    }
}

/// Values in the form in which equal ones have equal bytes: 1 is 1.0, "1" is not 1.
pub fn values<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        // What cannot be encoded is nested deeper than anything that a channel holds.
        bytes.extend(encode_value(&plain(value)).unwrap_or_default());
    }
    bytes
}

/// The values that a body has under `names`, in the form of [`values`].
pub fn values_in<'a>(body: &Value, names: impl Iterator<Item = &'a String>) -> Vec<u8> {
    values(names.map(|name| body.get(name).unwrap_or(&Value::Null)))
}

fn plain(value: &Value) -> Value {
    // Beyond this a float does not hold every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Float(number) if number.fract() == 0.0 && number.abs() <= EXACT => {
            Value::Int(*number as i64)
        }
        Value::Char(char) => Value::Text(char.to_string()),
        Value::List(items) => Value::List(items.iter().map(plain).collect()),
        Value::Map(map) => Value::Map(
            map.iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}
