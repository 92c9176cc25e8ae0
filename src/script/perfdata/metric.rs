//! One metric, and what its name holds.

use std::collections::BTreeMap;

use crate::event::Value;

/// A metric as a plugin wrote it; a limit that is not given is no number.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Without quotes and without the brackets of a type.
    pub name: String,
    /// `gauge`, `counter`, `derive` or `absolute`.
    pub kind: &'static str,
    /// The value, in `unit`.
    pub value: f64,
    /// As it stands, often nothing.
    pub unit: String,
    /// What it should not leave.
    pub warning: Range,
    /// What it must not leave.
    pub critical: Range,
    /// The least that it can be.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// A threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Its lower end, which may be infinite.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// True if it is inside that something is wrong: the range began with `@`.
    pub inside: bool,
}

/// What the name of a metric is made of: `instance~sub~sub#some.metric.unit`.
pub(super) struct Name<'a> {
    /// Whose metric it is; empty if it does not say.
    pub(super) instance: &'a str,
    /// What stands behind it.
    subinstances: Option<&'a str>,
    /// What is measured.
    pub(super) metric: &'a str,
}

impl Name<'_> {
    pub(super) fn of(name: &str) -> Name<'_> {
        let (place, metric) = name.split_once('#').unwrap_or(("", name));
        let (instance, subinstances) = match place.split_once('~') {
            Some((instance, rest)) => (instance, Some(rest)),
            None => (place, None),
        };
        Name {
            instance,
            subinstances,
            metric,
        }
    }

    /// The parts of the instance, in order.
    pub(super) fn subinstances(&self) -> impl Iterator<Item = &str> {
        self.subinstances.into_iter().flat_map(|all| all.split('~'))
    }
}

impl Metric {
    /// As stream connectors know it.
    pub(super) fn into_value(self) -> Value {
        let name = Name::of(&self.name);
        let list = |texts: Vec<String>| Value::List(texts.into_iter().map(Value::Text).collect());
        let fields: Vec<String> = name.metric.split('.').map(str::to_owned).collect();
        let mut map = BTreeMap::from([
            ("metric_unit", Value::from(fields.last().cloned())),
            ("metric_fields", list(fields)),
            ("metric_name", Value::from(name.metric)),
            ("instance", Value::from(name.instance)),
            (
                "subinstance",
                list(name.subinstances().map(str::to_owned).collect()),
            ),
            ("value", Value::Float(self.value)),
            ("uom", Value::from(self.unit.as_str())),
            ("type", Value::from(self.kind)),
            ("min", number(self.min)),
            ("max", number(self.max)),
        ]);
        map.extend([
            ("warning_low", number(self.warning.low)),
            ("warning_high", number(self.warning.high)),
            ("warning_mode", Value::Bool(self.warning.inside)),
            ("critical_low", number(self.critical.low)),
            ("critical_high", number(self.critical.high)),
            ("critical_mode", Value::Bool(self.critical.inside)),
        ]);
        let named = |(name, value): (&str, Value)| (name.to_owned(), value);
        Value::Map(map.into_iter().map(named).collect())
    }
}

/// What is not given is nothing.
fn number(number: f64) -> Value {
    match number.is_nan() {
        true => Value::Null,
        false => Value::Float(number),
    }
}
