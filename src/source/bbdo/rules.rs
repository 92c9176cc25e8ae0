//! What of all that a Broker says becomes events: the parameters of stream connectors, by their
//! names and with what they were meant to do.
//!
//! A rule that a script got wrong is mended: a depth of downtimes above 1 is a downtime, severity
//! thresholds count, and of a pair accepted/rejected both are obeyed.

use regex::Regex;
use serde::Deserialize;

use super::field::Fields;
use super::names::{UNKNOWN, number};
use crate::event::Value;

/// What hosts that stand for business activities are called.
const BUSINESS_HOST: &str = "_Module_BAM_";
/// The categories, by the names that a Broker's own filters have.
const CATEGORIES: &[(u16, &str)] = &[(1, "neb"), (3, "storage"), (6, "bam"), (0xFFFF, "internal")];

/// The keys of `[source.filter]`; the defaults are those of stream connectors. `["*"]` is all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rules {
    accepted_categories: Vec<String>,
    pub(super) accepted_elements: Vec<String>,
    host_status: Vec<i64>,
    service_status: Vec<i64>,
    ba_status: Vec<i64>,
    /// Empty: as `host_status`.
    ack_host_status: Vec<i64>,
    ack_service_status: Vec<i64>,
    hard_only: bool,
    acknowledged: bool,
    in_downtime: bool,
    flapping: bool,
    accepted_hostgroups: Vec<String>,
    rejected_hostgroups: Vec<String>,
    accepted_servicegroups: Vec<String>,
    rejected_servicegroups: Vec<String>,
    accepted_bvs: Vec<String>,
    rejected_bvs: Vec<String>,
    accepted_pollers: Vec<String>,
    rejected_pollers: Vec<String>,
    accepted_authors: Vec<String>,
    rejected_authors: Vec<String>,
    accepted_hosts: Vec<Pattern>,
    accepted_services: Vec<Pattern>,
    host_severity_threshold: Option<i64>,
    host_severity_operator: Operator,
    service_severity_threshold: Option<i64>,
    service_severity_operator: Operator,
    skip_anon_events: bool,
    skip_nil_id: bool,
    enable_bam_host: bool,
    enable_host_status_dedup: bool,
    enable_service_status_dedup: bool,
    /// Seconds between a host's check and its hard change.
    delta_host_status_change_allow: i64,
}

impl Default for Rules {
    fn default() -> Rules {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Rules {
            accepted_categories: words(&["neb", "bam"]),
            accepted_elements: words(&["host_status", "service_status", "ba_status"]),
            host_status: vec![0, 1, 2],
            service_status: vec![0, 1, 2, 3],
            ba_status: vec![0, 1, 2],
            ack_host_status: Vec::new(),
            ack_service_status: Vec::new(),
            hard_only: true,
            acknowledged: false,
            in_downtime: false,
            flapping: false,
            accepted_hostgroups: Vec::new(),
            rejected_hostgroups: Vec::new(),
            accepted_servicegroups: Vec::new(),
            rejected_servicegroups: Vec::new(),
            accepted_bvs: Vec::new(),
            rejected_bvs: Vec::new(),
            accepted_pollers: Vec::new(),
            rejected_pollers: Vec::new(),
            accepted_authors: Vec::new(),
            rejected_authors: Vec::new(),
            accepted_hosts: Vec::new(),
            accepted_services: Vec::new(),
            host_severity_threshold: None,
            host_severity_operator: Operator::default(),
            service_severity_threshold: None,
            service_severity_operator: Operator::default(),
            skip_anon_events: true,
            skip_nil_id: true,
            enable_bam_host: false,
            enable_host_status_dedup: true,
            enable_service_status_dedup: true,
            delta_host_status_change_allow: 20,
        }
    }
}

/// A regular expression that is found anywhere in a name.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        let pattern = Regex::new(&text);
        pattern
            .map(Pattern)
            .map_err(|_| format!("`{text}` is no regular expression"))
    }
}

/// How a threshold stands to a severity that passes: `threshold >= severity`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Operator {
    #[default]
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = ">")]
    More,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "==")]
    Same,
}

impl Rules {
    /// True if events of this kind may pass; asked before anything is decoded.
    pub(super) fn wants(&self, category: u16, kind: &str) -> bool {
        let name = CATEGORIES.iter().find(|(number, _)| *number == category);
        let name = name.map_or("", |(_, name)| name);
        is_in(&self.accepted_categories, name) && is_in(&self.accepted_elements, kind)
    }

    /// True if an event passes, its names being joined to it.
    pub(super) fn accept(&self, kind: &str, fields: &Fields) -> bool {
        match kind {
            "host_status" => {
                self.about(fields) && self.state(&self.host_status, fields) && self.host(fields)
            }
            "service_status" => {
                self.about(fields)
                    && self.state(&self.service_status, fields)
                    && self.service(fields)
            }
            "acknowledgement" => {
                self.about(fields) && self.author(fields) && self.acknowledgement(fields)
            }
            "downtime" => self.about(fields) && self.author(fields),
            "ba_status" => self.activity(fields),
            _ => true,
        }
    }

    /// Whose event it is.
    fn about(&self, fields: &Fields) -> bool {
        let is_of_service = number(fields, "service_id") != 0;
        let host = text(fields, "host_name");
        let has_ids = number(fields, "host_id") != 0
            && (is_of_service || text(fields, "kind") != "service_status");
        let service = text(fields, "service_description");
        let is_anonymous = host == UNKNOWN || is_of_service && service == UNKNOWN;
        (has_ids || !self.skip_nil_id)
            && !(is_anonymous && self.skip_anon_events)
            && (self.enable_bam_host || !host.starts_with(BUSINESS_HOST))
            && matches(&self.accepted_hosts, host)
            && (!is_of_service || self.of_service(fields))
            && listed(
                &self.accepted_pollers,
                &self.rejected_pollers,
                &one(fields, "poller"),
            )
            && passes(
                self.host_severity_threshold,
                self.host_severity_operator,
                fields,
                "host_severity",
            )
            && listed(
                &self.accepted_hostgroups,
                &self.rejected_hostgroups,
                &many(fields, "host_groups"),
            )
    }

    fn of_service(&self, fields: &Fields) -> bool {
        let groups = many(fields, "service_groups");
        matches(&self.accepted_services, text(fields, "service_description"))
            && passes(
                self.service_severity_threshold,
                self.service_severity_operator,
                fields,
                "service_severity",
            )
            && listed(
                &self.accepted_servicegroups,
                &self.rejected_servicegroups,
                &groups,
            )
    }

    /// What a status must be like, of hosts and services alike.
    fn state(&self, states: &[i64], fields: &Fields) -> bool {
        let is = |field: &str| fields.get(field) == Some(&Value::Bool(true));
        states.contains(&number(fields, "state"))
            && (!self.hard_only || number(fields, "state_type") == 1)
            && (self.acknowledged || !is("acknowledged"))
            && (self.in_downtime || number(fields, "scheduled_downtime_depth") <= 0)
            && (self.flapping || !is("flapping"))
    }

    /// A host's change is worked out a few seconds after the check that made it.
    fn host(&self, fields: &Fields) -> bool {
        let changed = number(fields, "last_hard_state_change");
        let after = changed.abs_diff(number(fields, "last_check"));
        let allowed = self.delta_host_status_change_allow.unsigned_abs();
        !self.enable_host_status_dedup || after <= allowed || changed == updated(fields)
    }

    fn service(&self, fields: &Fields) -> bool {
        let changed = number(fields, "last_hard_state_change");
        let is_change = changed == number(fields, "last_check") || changed == updated(fields);
        !self.enable_service_status_dedup || is_change
    }

    fn acknowledgement(&self, fields: &Fields) -> bool {
        let (own, usual) = match number(fields, "service_id") {
            0 => (&self.ack_host_status, &self.host_status),
            _ => (&self.ack_service_status, &self.service_status),
        };
        let states = if own.is_empty() { usual } else { own };
        states.contains(&number(fields, "state"))
    }

    fn author(&self, fields: &Fields) -> bool {
        listed(
            &self.accepted_authors,
            &self.rejected_authors,
            &one(fields, "author"),
        )
    }

    fn activity(&self, fields: &Fields) -> bool {
        let in_downtime = fields.get("in_downtime") == Some(&Value::Bool(true));
        self.ba_status.contains(&number(fields, "state"))
            && (self.in_downtime || !in_downtime)
            && !(self.skip_anon_events && text(fields, "ba_name") == UNKNOWN)
            && listed(&self.accepted_bvs, &self.rejected_bvs, &many(fields, "bvs"))
    }
}

/// Only the elder generation tells; a time that is not there is that of no change.
fn updated(fields: &Fields) -> i64 {
    match number(fields, "last_update") {
        0 => -1,
        time => time,
    }
}

fn text<'a>(fields: &'a Fields, field: &str) -> &'a str {
    fields.get(field).and_then(Value::as_text).unwrap_or("")
}

fn one<'a>(fields: &'a Fields, field: &str) -> Vec<&'a str> {
    fields
        .get(field)
        .and_then(Value::as_text)
        .into_iter()
        .collect()
}

fn many<'a>(fields: &'a Fields, field: &str) -> Vec<&'a str> {
    match fields.get(field) {
        Some(Value::List(names)) => names.iter().filter_map(Value::as_text).collect(),
        _ => Vec::new(),
    }
}

fn is_in(list: &[String], word: &str) -> bool {
    list.iter().any(|one| one == word || one == "*")
}

/// True if one of `names` is accepted, or nothing is asked for, and none is rejected.
fn listed(accepted: &[String], rejected: &[String], names: &[&str]) -> bool {
    let is_wanted = accepted.is_empty() || is_in(accepted, "*");
    (is_wanted || names.iter().any(|name| is_in(accepted, name)))
        && !names.iter().any(|name| is_in(rejected, name))
}

fn matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.0.is_match(name))
}

/// An object without a severity does not pass a threshold.
fn passes(threshold: Option<i64>, operator: Operator, fields: &Fields, field: &str) -> bool {
    let Some(threshold) = threshold else {
        return true;
    };
    let severity = number(fields, field);
    severity != 0
        && match operator {
            Operator::AtLeast => threshold >= severity,
            Operator::More => threshold > severity,
            Operator::AtMost => threshold <= severity,
            Operator::Less => threshold < severity,
            Operator::Same => threshold == severity,
        }
}
