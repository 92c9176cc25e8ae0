//! Which events define something, and what of them is learnt.
//!
//! What is told stands in the rows of a store: a text may be added at the end of a row, never taken
//! out of it.

use super::super::field::Fields;
use super::{Key, plain};
use crate::event::Value;

/// What is learnt of a definition.
pub(super) struct Definition {
    /// The event.
    kind: &'static str,
    /// What its rows begin with.
    pub(super) sign: char,
    /// What it is about; at most three.
    ids: &'static [&'static str],
    /// What it tells, in the order of a row.
    pub(super) texts: &'static [&'static str],
}

const fn row(
    kind: &'static str,
    sign: char,
    ids: &'static [&'static str],
    texts: &'static [&'static str],
) -> Definition {
    Definition {
        kind,
        sign,
        ids,
        texts,
    }
}

#[rustfmt::skip]
const DEFINITIONS: &[Definition] = &[
    row("host", 'h', &["host_id"], &["name", "alias", "address", "instance_id", "notes", "notes_url", "action_url",
        "check_command", "display_name", "check_period", "notification_period", "max_check_attempts",
        "check_interval", "retry_interval", "icon_image", "timezone"]),
    row("service", 's', &["host_id", "service_id"], &["description", "notes", "notes_url", "action_url",
        "check_command", "display_name", "check_period", "notification_period", "max_check_attempts",
        "check_interval", "retry_interval", "icon_image"]),
    row("host_group", 'g', &["hostgroup_id"], &["name", "alias"]),
    row("host_group_member", 'm', &["host_id", "hostgroup_id"], &["name"]),
    row("service_group", 'G', &["servicegroup_id"], &["name"]),
    row("service_group_member", 'M', &["host_id", "service_id", "servicegroup_id"], &["name"]),
    row("custom_variable", 'c', &["host_id", "service_id"], &["value"]),
    row("custom_variable_status", 'c', &["host_id", "service_id"], &["value"]),
    row("instance", 'p', &["instance_id"], &["name"]),
    row("index_mapping", 'i', &["index_id"], &["host_id", "service_id"]),
    row("metric_mapping", 'k', &["metric_id"], &["index_id"]),
    row("dimension_ba_event", 'b', &["ba_id"], &["ba_name", "ba_description"]),
    row("dimension_bv_event", 'v', &["bv_id"], &["bv_name", "bv_description"]),
    row("dimension_ba_bv_relation_event", 'r', &["ba_id", "bv_id"], &[]),
];

/// The events that change a part of a definition: of which, by its sign.
const CHANGES: &[(&str, char)] = &[("adaptive_host", 'h'), ("adaptive_service", 's')];

/// What an event defines.
pub(super) fn of(kind: &str) -> Option<&'static Definition> {
    DEFINITIONS
        .iter()
        .find(|definition| definition.kind == kind)
}

/// The definition that an event changes.
pub(super) fn changed_by(kind: &str) -> Option<&'static Definition> {
    let (_, sign) = CHANGES.iter().find(|(name, _)| *name == kind)?;
    with(*sign)
}

/// The definition whose rows begin with a sign.
pub(super) fn with(sign: char) -> Option<&'static Definition> {
    DEFINITIONS
        .iter()
        .find(|definition| definition.sign == sign)
}

impl Definition {
    /// What an event is about; `None` if it has an id that Centreon never gives.
    pub(super) fn key(&self, fields: &Fields) -> Option<Key> {
        let mut key = (self.sign, [0; 3]);
        for (place, name) in key.1.iter_mut().zip(self.ids) {
            *place = u32::try_from(super::number(fields, name)).ok()?;
        }
        Some(key)
    }

    /// What an event tells: each text with its place, those that it does not have left out.
    pub(super) fn told(&self, fields: &Fields) -> Vec<(usize, String)> {
        let has = |(_, name): &(usize, &&str)| {
            fields
                .get(**name)
                .is_some_and(|value| *value != Value::Null)
        };
        let texts = self.texts.iter().enumerate().filter(has);
        texts
            .map(|(place, name)| (place, plain(fields, name)))
            .collect()
    }
}
