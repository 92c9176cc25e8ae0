//! Tables of AMQP and our values, to and fro.

use std::collections::BTreeMap;

use amq_protocol::types::{
    AMQPValue, DecimalValue, FieldArray, FieldTable, LongInt, LongString, ShortString,
};

use crate::event::Value;

/// Our values as a table; names beyond 255 bytes are left out, because none can be written.
pub fn to_table(values: &BTreeMap<String, Value>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in values {
        if let Ok(name) = ShortString::try_new(name.as_str()) {
            table.insert(name, to_field(value));
        }
    }
    table
}

fn to_field(value: &Value) -> AMQPValue {
    let long = |bytes: &[u8]| AMQPValue::LongString(LongString::from(bytes));
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(yes) => AMQPValue::Boolean(*yes),
        Value::Int(number) => match LongInt::try_from(*number) {
            Ok(small) => AMQPValue::LongInt(small),
            Err(_) => AMQPValue::LongLongInt(*number),
        },
        Value::Float(number) => AMQPValue::Double(*number),
        Value::Text(text) => long(text.as_bytes()),
        Value::Bytes(bytes) => long(bytes),
        Value::List(items) => {
            let items: Vec<AMQPValue> = items.iter().map(to_field).collect();
            AMQPValue::FieldArray(FieldArray::from(items))
        }
        Value::Map(map) => AMQPValue::FieldTable(to_table(map)),
        Value::Char(_) | Value::Secret(_) => long(value.to_plain().as_bytes()),
    }
}

/// A table as our values; text that is no UTF-8 stays bytes.
pub fn from_table(table: &FieldTable) -> BTreeMap<String, Value> {
    let pair = |(name, value): (&ShortString, &AMQPValue)| (name.to_string(), from_field(value));
    table.inner().iter().map(pair).collect()
}

fn from_field(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(yes) => Value::Bool(*yes),
        AMQPValue::ShortShortInt(number) => Value::Int((*number).into()),
        AMQPValue::ShortShortUInt(number) => Value::Int((*number).into()),
        AMQPValue::ShortInt(number) => Value::Int((*number).into()),
        AMQPValue::ShortUInt(number) => Value::Int((*number).into()),
        AMQPValue::LongInt(number) => Value::Int((*number).into()),
        AMQPValue::LongUInt(number) => Value::Int((*number).into()),
        AMQPValue::LongLongInt(number) => Value::Int(*number),
        AMQPValue::Timestamp(seconds) => match i64::try_from(*seconds) {
            Ok(seconds) => Value::Int(seconds),
            Err(_) => Value::Text(seconds.to_string()),
        },
        AMQPValue::Float(number) => Value::Float((*number).into()),
        AMQPValue::Double(number) => Value::Float(*number),
        AMQPValue::DecimalValue(decimal) => Value::Text(decimal_text(decimal)),
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => from_bytes(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Value::from(bytes.as_slice().to_vec()),
        AMQPValue::FieldArray(items) => {
            Value::List(items.as_slice().iter().map(from_field).collect())
        }
        AMQPValue::FieldTable(table) => Value::Map(from_table(table)),
        AMQPValue::Void => Value::Null,
    }
}

fn from_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => Value::from(bytes.to_vec()),
    }
}

/// `value` divided by ten to the power of `scale`, exactly.
fn decimal_text(decimal: &DecimalValue) -> String {
    let scale = usize::from(decimal.scale);
    let digits = format!("{:0>width$}", decimal.value, width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    if part.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{part}")
    }
}
