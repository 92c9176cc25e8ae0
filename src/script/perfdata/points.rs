//! Measured values as points for `influxdb::write`, in the two ways of Centreon's connectors.
//!
//! One call does a whole batch: built one by one in a script, 20,000 points take more operations than
//! a step has. Invariant: a point is a line of line protocol; what cannot be a line stays a map, which
//! `influxdb::write` drops and says why.

use std::collections::BTreeMap;

use rhai::Dynamic;

use super::metric::{Metric, Name};
use super::reader::parse;
use crate::action::influxdb;
use crate::event::Value;
use crate::script::convert::from_dynamic;
use crate::script::events::Events;
use crate::script::list::{ITEMS_MAX, List};

/// Points that one call may give, in bytes.
pub const POINTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a point as a map takes in memory beyond its texts, in bytes.
const MAP_BYTES: usize = 2_500;

type Body = BTreeMap<String, Value>;

/// What is measured, and what is a tag or a field of it.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// As the connector for InfluxDB 2: a measurement per metric, what it belongs to in tags.
    Metric,
    /// As the script for InfluxDB 1: a measurement per service, its metrics as fields.
    Service,
}

impl Shape {
    /// By its name.
    pub(super) fn named(name: &str) -> Result<Shape, String> {
        match name {
            "metric" => Ok(Shape::Metric),
            "service" => Ok(Shape::Service),
            other => Err(format!(
                "points are by \"metric\" or by \"service\", not by \"{other}\""
            )),
        }
    }
}

/// The points of an event, of several in an array or a list, or of a batch.
///
/// # Errors
/// What is no event, and too many points for one call.
pub(super) fn points(events: &Dynamic, shape: Shape) -> Result<List, String> {
    let mut points = Points {
        shape,
        items: Vec::new(),
        bytes: 0,
    };
    if let Some(batch) = events.read_lock::<Events>() {
        for event in batch.0.iter() {
            points.add(&event.body)?;
        }
        return Ok(List::of(points.items));
    }
    match from_dynamic(events)? {
        Value::List(events) => events.iter().try_for_each(|event| points.add(event))?,
        event => points.add(&event)?,
    }
    Ok(List::of(points.items))
}

struct Points {
    shape: Shape,
    items: Vec<Value>,
    bytes: usize,
}

impl Points {
    fn add(&mut self, event: &Value) -> Result<(), String> {
        let Value::Map(event) = event else {
            return Err(format!("an event is a map, not {}", event.kind()));
        };
        for measured in measured(event) {
            let point = match self.shape {
                Shape::Metric => by_metric(event, measured),
                Shape::Service => by_service(event, measured),
            };
            self.push(point)?;
        }
        Ok(())
    }

    fn push(&mut self, point: Value) -> Result<(), String> {
        let (item, bytes) = match influxdb::line_of(&point) {
            Some(line) => {
                let bytes = line.len();
                (Value::Text(line), bytes)
            }
            None => {
                let bytes = MAP_BYTES + point.to_json().to_string().len();
                (point, bytes)
            }
        };
        self.bytes += bytes;
        if self.items.len() >= ITEMS_MAX || self.bytes > POINTS_BYTES_MAX {
            return Err(format!(
                "these are more than {ITEMS_MAX} points or {POINTS_BYTES_MAX} bytes of them; a smaller `size_max` under [batch] makes them fewer"
            ));
        }
        self.items.push(item);
        Ok(())
    }
}

/// One value.
struct Measured {
    name: String,
    unit: String,
    value: Value,
    time: Value,
}

/// The values in an event: those of its performance data, or the one of a Broker's `metric`.
fn measured(event: &Body) -> Vec<Measured> {
    let field = |name: &str| event.get(name).cloned().unwrap_or_default();
    if field("kind").as_text() == Some("metric") {
        return vec![Measured {
            name: field("name").to_plain(),
            unit: String::new(),
            value: match field("value") {
                // Of one type, whoever sent it, or InfluxDB would refuse every other one.
                Value::Int(whole) => Value::Float(whole as f64),
                value => value,
            },
            time: field("time"),
        }];
    }
    let metrics = match event.get("perfdata") {
        Some(Value::Text(text)) => parse(text),
        Some(Value::Bytes(bytes)) => parse(&String::from_utf8_lossy(bytes)),
        _ => Vec::new(),
    };
    let time = field("last_check");
    let one = |metric: Metric| Measured {
        name: metric.name,
        unit: metric.unit,
        value: Value::Float(metric.value),
        time: time.clone(),
    };
    metrics.into_iter().map(one).collect()
}

fn by_metric(event: &Body, measured: Measured) -> Value {
    let field = |name: &str| event.get(name).cloned().unwrap_or_default();
    let name = Name::of(&measured.name);
    let service = field("service_id");
    let is_host = matches!(service, Value::Null);
    let mut tags = BTreeMap::from([
        (
            "type".to_owned(),
            Value::from(if is_host { "host" } else { "service" }),
        ),
        ("host.name".to_owned(), field("host_name")),
        ("poller".to_owned(), field("poller")),
        ("metric.instance".to_owned(), Value::from(name.instance)),
        ("metric.unit".to_owned(), Value::Text(measured.unit)),
    ]);
    if !is_host {
        tags.insert("service.name".to_owned(), field("service_description"));
    }
    let subinstance =
        |(place, name): (usize, &str)| (format!("subinstance_{}", place + 1), Value::from(name));
    tags.extend(name.subinstances().enumerate().map(subinstance));
    Value::from([
        ("measurement", Value::from(name.metric)),
        ("tags", Value::Map(tags)),
        ("fields", Value::from([("value", measured.value)])),
        ("time", measured.time),
    ])
}

fn by_service(event: &Body, measured: Measured) -> Value {
    let service = event.get("service_description").and_then(Value::as_text);
    let host = event.get("host_name").cloned().unwrap_or_default();
    // InfluxDB has no field `time`.
    let field = match measured.name.as_str() {
        "time" => "_time".to_owned(),
        name => name.replace(' ', "_"),
    };
    Value::from([
        (
            "measurement",
            Value::Text(service.unwrap_or("host").replace(' ', "_")),
        ),
        ("tags", Value::from([("host", host)])),
        (
            "fields",
            Value::Map(BTreeMap::from([(field, measured.value)])),
        ),
        ("time", measured.time),
    ])
}
