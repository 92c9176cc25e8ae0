//! Prometheus Alertmanager's webhook, version 4 of its data: one event per alert.

use std::collections::BTreeMap;

use super::{Hook, HookError, event};
use crate::event::{Incoming, Meta, Value};
use crate::source::json::{self, EVENTS_MAX, JsonError};

/// What the Go language writes for a time that was never set; an open alert ends then.
const UNSET_TIME: &str = "0001-01-01T00:00:00Z";
/// Labels that also stand on the event itself.
const HANDY_LABELS: [&str; 3] = ["alertname", "severity", "instance"];
/// What belongs to the whole notification and is repeated on each of its alerts.
const GROUP_KEYS: [&str; 8] = [
    "receiver",
    "groupKey",
    "groupLabels",
    "commonLabels",
    "commonAnnotations",
    "externalURL",
    "truncatedAlerts",
    "version",
];

/// `/hooks/alertmanager`.
///
/// Each event has `status` (the alert's own: `firing` or `resolved`, for a group stays firing
/// while any of its alerts does), `labels annotations startsAt endsAt generatorURL fingerprint`
/// as sent (an `endsAt` that is not set is nothing), what the notification says of the group
/// (`receiver groupKey groupLabels commonLabels commonAnnotations externalURL truncatedAlerts
/// version`), `group_status`, and the labels `alertname severity instance` also at the top
/// (nothing where a label is missing).
///
/// Alerts get no message id, so that none is taken for a copy: Alertmanager repeats on purpose
/// (`repeat_interval`, and whenever its group changes, with other annotations), and a flow may
/// count on that. To keep one run per alert set `one_run_per = ["fingerprint"]`.
pub struct Alertmanager;

impl Hook for Alertmanager {
    fn kind(&self) -> &'static str {
        "alertmanager"
    }

    fn about(&self) -> &'static str {
        "Prometheus Alertmanager (webhook_configs): one event per alert, firing or resolved"
    }

    fn decode(&self, bytes: &[u8], meta: Meta) -> Result<Vec<Incoming>, HookError> {
        let wrong = |why| HookError::Shape {
            product: "Alertmanager",
            why,
        };
        let Value::Map(mut group) = json::decode_value(bytes)? else {
            return Err(wrong("it is no object"));
        };
        let Some(Value::List(alerts)) = group.remove("alerts") else {
            return Err(wrong("it has no list `alerts`"));
        };
        if alerts.len() > EVENTS_MAX {
            return Err(JsonError::TooManyEvents.into());
        }
        let one = |alert| match alert {
            Value::Map(alert) => Ok(event(&meta, body(&group, alert))),
            _ => Err(wrong("one of its alerts is no object")),
        };
        alerts.into_iter().map(one).collect()
    }
}

fn body(
    group: &BTreeMap<String, Value>,
    mut alert: BTreeMap<String, Value>,
) -> BTreeMap<String, Value> {
    let ends = alert.get("endsAt").and_then(Value::as_text);
    if ends.is_none_or(|time| time.is_empty() || time == UNSET_TIME) {
        alert.insert("endsAt".to_owned(), Value::Null);
    }
    for name in HANDY_LABELS {
        let label = alert.get("labels").and_then(|labels| labels.get(name));
        let label = label.cloned().unwrap_or_default();
        alert.entry(name.to_owned()).or_insert(label);
    }
    let status = group.get("status").cloned().unwrap_or_default();
    alert
        .entry("status".to_owned())
        .or_insert_with(|| status.clone());
    alert.insert("group_status".to_owned(), status);
    for name in GROUP_KEYS {
        let value = group.get(name).cloned().unwrap_or_default();
        alert.entry(name.to_owned()).or_insert(value);
    }
    alert
}
