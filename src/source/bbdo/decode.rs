//! A frame as an event: one shape for both generations.
//!
//! Names are those that stream connectors know, `kind` is the event's name for both, `element` and
//! `category` are as they came. What cannot be read is kept as bytes under `raw`.

use super::field::Fields;
use super::frame::{Frame, Label};
use super::legacy;
use super::{message, table};
use crate::event::Value;

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// `service_status` of both generations; `unknown` of what is in neither table.
    pub kind: &'static str,
    /// Its fields, with `kind`, `category` and `element` among them.
    pub fields: Fields,
    /// Why the fields could not be read, if so.
    pub error: Option<String>,
}

/// True of what the elder generation does not know, which travels as protobuf.
pub fn is_protobuf(label: Label) -> bool {
    table::find(label.category, label.element).is_none()
}

/// What an event is called; `unknown` if it is in neither table.
pub fn kind_of(label: Label) -> &'static str {
    let Label {
        category, element, ..
    } = label;
    let elder = table::find(category, element).map(|row| row.name);
    let younger = || message::find(category, element).map(|row| row.name);
    elder.or_else(younger).unwrap_or("unknown")
}

/// Reads a frame; never fails.
pub fn decode(frame: &Frame) -> Decoded {
    let Label {
        category, element, ..
    } = frame.label;
    let (kind, fields) = read(category, element, &frame.payload);
    let raw = || ("raw".to_owned(), Value::from(frame.payload.clone()));
    let (mut fields, error) = match fields {
        Ok(fields) => (fields, None),
        Err(why) => (Fields::from([raw()]), Some(why)),
    };
    if error.is_none() {
        even_out(kind, &mut fields);
    }
    fields.insert("kind".to_owned(), Value::from(kind));
    fields.insert("category".to_owned(), Value::Int(category.into()));
    fields.insert("element".to_owned(), Value::Int(element.into()));
    Decoded {
        kind,
        fields,
        error,
    }
}

fn read(category: u16, element: u16, payload: &[u8]) -> (&'static str, Result<Fields, String>) {
    if let Some(row) = table::find(category, element) {
        return (row.name, legacy::read(row, payload));
    }
    match message::find(category, element) {
        Some(row) => {
            let fields = (row.read)(payload);
            (
                row.name,
                fields.map_err(|why| format!("{}: {why}", row.name)),
            )
        }
        None => {
            let why = format!("there is no known event {category}/{element}");
            ("unknown", Err(why))
        }
    }
}

/// What the generations say in different ways.
fn even_out(kind: &str, fields: &mut Fields) {
    if matches!(kind, "host" | "service" | "host_status" | "service_status") {
        split_output(fields);
    }
    // The younger status says only of which kind the acknowledgement is.
    let acknowledged = match fields.get("acknowledgement_type") {
        Some(Value::Int(kind)) if kind_is_status(fields) => Value::Bool(*kind > 0),
        _ => return,
    };
    fields
        .entry("acknowledged".to_owned())
        .or_insert(acknowledged);
}

/// True of a whole status; one that tells changes only has no state.
fn kind_is_status(fields: &Fields) -> bool {
    fields.contains_key("state")
}

/// The elder `output` holds all lines, the younger one the first; `long_output` has the rest.
fn split_output(fields: &mut Fields) {
    let Some(Value::Text(output)) = fields.get_mut("output") else {
        return;
    };
    let Some(end) = output.find('\n') else {
        return;
    };
    let rest = output.split_off(end + 1);
    output.pop();
    fields
        .entry("long_output".to_owned())
        .or_insert(Value::Text(rest));
}
