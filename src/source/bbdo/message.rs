//! The younger generation, BBDO 3: protobuf messages of our own, by the numbers of the 25.09 sources.
//!
//! A varint is read as `int64` whatever its declared type: enumerations stay open, and the largest
//! `uint64`, an unset time, becomes −1. Strings are `bytes`, because a plugin may say anything and
//! one bad letter must not cost the event. `=>` says what a number means.

mod business;
mod host;
mod lists;
mod poller;
mod service;

use super::field::{Fields, Meaning};
use crate::event::Value;

/// A message as named values.
pub trait Message: prost::Message + Default {
    /// What is in it; an optional field that is not there has no name either.
    fn put(self, fields: &mut Fields);
}

/// Reads the fields of one event.
pub type Read = fn(&[u8]) -> Result<Fields, prost::DecodeError>;

/// One event of the younger generation.
pub struct Row {
    category: u16,
    element: u16,
    pub(super) name: &'static str,
    pub(super) read: Read,
}

/// The row of an event; `None` if it is not known.
pub fn find(category: u16, element: u16) -> Option<&'static Row> {
    let same = |row: &&Row| (row.category, row.element) == (category, element);
    TABLE.iter().find(same)
}

/// What its events are called.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name)
}

const fn row(category: u16, element: u16, name: &'static str, read: Read) -> Row {
    Row {
        category,
        element,
        name,
        read,
    }
}

fn read<M: Message>(payload: &[u8]) -> Result<Fields, prost::DecodeError> {
    let mut fields = Fields::new();
    M::decode(payload)?.put(&mut fields);
    Ok(fields)
}

/// The status of a business activity was renumbered between 23.10 and 24.04; only the younger one
/// has a field 1, which is never 0.
fn ba_status(payload: &[u8]) -> Result<Fields, prost::DecodeError> {
    let fields = read::<business::BaStatus>(payload);
    match fields {
        Ok(fields) if fields.get("ba_id") != Some(&Value::Null) => Ok(fields),
        _ => read::<business::BaStatusUntil2310>(payload),
    }
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(1, 27, "service", read::<service::Service>),
    row(1, 28, "adaptive_service", read::<service::AdaptiveService>),
    row(1, 29, "service_status", read::<service::ServiceStatus>),
    row(1, 30, "host", read::<host::Host>),
    row(1, 31, "adaptive_host", read::<host::AdaptiveHost>),
    row(1, 32, "host_status", read::<host::HostStatus>),
    row(1, 33, "severity", read::<poller::Severity>),
    row(1, 34, "tag", read::<poller::Tag>),
    row(1, 35, "comment", read::<poller::Comment>),
    row(1, 36, "downtime", read::<poller::Downtime>),
    row(1, 37, "custom_variable", read::<poller::CustomVariable>),
    row(1, 38, "custom_variable_status", read::<poller::CustomVariable>),
    row(1, 39, "host_check", read::<host::HostCheck>),
    row(1, 40, "service_check", read::<service::ServiceCheck>),
    row(1, 41, "log_entry", read::<poller::LogEntry>),
    row(1, 42, "instance_status", read::<poller::InstanceStatus>),
    row(1, 44, "instance", read::<poller::Instance>),
    row(1, 45, "acknowledgement", read::<poller::Acknowledgement>),
    row(1, 46, "responsive_instance", read::<poller::ResponsiveInstance>),
    row(1, 47, "host_dependency", read::<host::HostDependency>),
    row(1, 48, "service_dependency", read::<service::ServiceDependency>),
    row(1, 49, "host_group", read::<host::HostGroup>),
    row(1, 50, "host_group_member", read::<host::HostGroupMember>),
    row(1, 51, "service_group", read::<service::ServiceGroup>),
    row(1, 52, "service_group_member", read::<service::ServiceGroupMember>),
    row(1, 53, "host_parent", read::<host::HostParent>),
    row(1, 54, "instance_configuration", read::<poller::InstanceConfiguration>),
    row(1, 55, "adaptive_service_status", read::<service::AdaptiveServiceStatus>),
    row(1, 56, "adaptive_host_status", read::<host::AdaptiveHostStatus>),
    row(1, 57, "agent_stats", read::<lists::AgentStats>),
    row(3, 8, "remove_graph", read::<lists::RemoveGraph>),
    row(3, 9, "metric", read::<poller::Metric>),
    row(3, 10, "status", read::<poller::Status>),
    row(3, 11, "index_mapping", read::<poller::IndexMapping>),
    row(3, 12, "metric_mapping", read::<poller::MetricMapping>),
    row(6, 18, "inherited_downtime", read::<business::InheritedDowntime>),
    row(6, 19, "ba_status", ba_status),
    row(6, 20, "ba_event", read::<business::BaEvent>),
    row(6, 21, "kpi_event", read::<business::KpiEvent>),
    row(6, 22, "dimension_bv_event", read::<business::DimensionBvEvent>),
    row(6, 23, "dimension_ba_bv_relation_event", read::<business::DimensionBaBvRelationEvent>),
    row(6, 24, "dimension_timeperiod", read::<business::DimensionTimeperiod>),
    row(6, 25, "dimension_ba_event", read::<business::DimensionBaEvent>),
    row(6, 26, "dimension_kpi_event", read::<business::DimensionKpiEvent>),
    row(6, 27, "kpi_status", read::<business::KpiStatus>),
    row(6, 28, "ba_duration_event", read::<business::BaDurationEvent>),
    row(6, 29, "dimension_ba_timeperiod_relation", read::<business::DimensionBaTimeperiodRelation>),
    row(6, 30, "dimension_truncate_table_signal", read::<business::DimensionTruncateTableSignal>),
    row(6, 31, "services_book_state", read::<lists::ServicesBookState>),
];

/// A field of a message as a value.
trait Field {
    /// `None` if it is not there.
    fn value(self, meaning: Meaning) -> Option<Value>;
}

impl Field for i64 {
    fn value(self, meaning: Meaning) -> Option<Value> {
        Some(meaning.value(self))
    }
}

impl Field for bool {
    fn value(self, _: Meaning) -> Option<Value> {
        Some(Value::Bool(self))
    }
}

impl Field for f64 {
    fn value(self, _: Meaning) -> Option<Value> {
        Some(Value::Float(self))
    }
}

impl Field for Vec<u8> {
    fn value(self, _: Meaning) -> Option<Value> {
        let text = String::from_utf8(self);
        let mended =
            |why: std::string::FromUtf8Error| String::from_utf8_lossy(why.as_bytes()).into_owned();
        Some(Value::Text(text.unwrap_or_else(mended)))
    }
}

impl Field for Vec<i64> {
    fn value(self, meaning: Meaning) -> Option<Value> {
        let values = self.into_iter().map(|number| meaning.value(number));
        Some(Value::List(values.collect()))
    }
}

impl<T: Field> Field for Option<T> {
    fn value(self, meaning: Meaning) -> Option<Value> {
        self.and_then(|value| value.value(meaning))
    }
}

impl<T: Message> Field for Vec<T> {
    fn value(self, _: Meaning) -> Option<Value> {
        let map = |message: T| {
            let mut fields = Fields::new();
            message.put(&mut fields);
            Value::Map(fields)
        };
        Some(Value::List(self.into_iter().map(map).collect()))
    }
}

/// Puts one field under its name, which may be a word of the language.
fn put(fields: &mut Fields, name: &str, value: Option<Value>) {
    let name = name.strip_prefix("r#").unwrap_or(name);
    fields.extend(value.map(|value| (name.to_owned(), value)));
}

/// The type that holds a field.
macro_rules! held {
    (int64) => { i64 };
    (bool) => { bool };
    (double) => { f64 };
    (bytes) => { Vec<u8> };
    ($wire:ident optional) => { Option<$crate::source::bbdo::message::held!($wire)> };
    (int64 repeated) => { Vec<i64> };
    (message repeated $of:ident) => { Vec<$of> };
}

/// What a number means.
macro_rules! meaning {
    () => {
        Meaning::Plain
    };
    (id) => {
        Meaning::Id
    };
    (time) => {
        Meaning::Time
    };
    (count) => {
        Meaning::Count
    };
    (real) => {
        Meaning::Real
    };
}

/// Messages as rows of `number name: type`.
macro_rules! messages {
    ($($message:ident {
        $($tag:tt $name:ident: $wire:ident $([$label:ident])? $(<$of:ident>)? $(=> $meaning:ident)?),*
    })*) => {$(
        #[derive(Clone, PartialEq, ::prost::Message)]
        pub(super) struct $message {
            $(#[prost($wire, $($label,)? tag = $tag)]
            $name: $crate::source::bbdo::message::held!($wire $($label)? $($of)?),)*
        }

        impl Message for $message {
            fn put(self, fields: &mut Fields) {
                $(let meaning = $crate::source::bbdo::message::meaning!($($meaning)?);
                put(fields, stringify!($name), self.$name.value(meaning));)*
            }
        }
    )*};
}

use {held, meaning, messages};
