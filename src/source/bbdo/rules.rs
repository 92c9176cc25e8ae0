//! What of all that a Broker says becomes events: the parameters of stream connectors, by their
//! names and with what they were meant to do.
//!
//! A rule that a script got wrong is mended: a depth of downtimes above 1 is a downtime, severity
//! thresholds count, and of a pair accepted/rejected both are obeyed.

mod kinds;
mod lists;

use serde::Deserialize;

pub(super) use self::kinds::known_elements;
use self::kinds::{Category, Element};
use self::lists::{Operator, Pattern, States, listed, many, matches, one, passes, text};
use super::field::Fields;
use super::names::{UNKNOWN, number};
use crate::event::Value;

/// What hosts that stand for business activities are called.
const BUSINESS_HOST: &str = "_Module_BAM_";
/// The state of what was not checked yet.
const PENDING: i64 = 4;
/// The keys of `[source.filter]`; the defaults are those of stream connectors. `["*"]` is all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rules {
    accepted_categories: Vec<Category>,
    accepted_elements: Vec<Element>,
    host_status: States,
    service_status: States,
    ba_status: States,
    /// Empty: as `host_status`; and so for the other three.
    ack_host_status: States,
    ack_service_status: States,
    dt_host_status: States,
    dt_service_status: States,
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
    accepted_metrics: Vec<Pattern>,
    host_severity_threshold: Option<i64>,
    host_severity_operator: Operator,
    service_severity_threshold: Option<i64>,
    service_severity_operator: Operator,
    skip_anon_events: bool,
    skip_nil_id: bool,
    /// Of a downtime only its start and its end pass, not that it was planned.
    skip_downtime_progress: bool,
    /// Hosts that stand for business activities pass, by the name of the activity.
    enable_bam_host: bool,
    enable_host_status_dedup: bool,
    enable_service_status_dedup: bool,
    /// Seconds between a host's check and its hard change.
    delta_host_status_change_allow: i64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            accepted_categories: Category::all_of(&["neb", "bam"]),
            accepted_elements: Element::all_of(&["host_status", "service_status", "ba_status"]),
            host_status: States::of(&[0, 1, 2]),
            service_status: States::of(&[0, 1, 2, 3]),
            ba_status: States::of(&[0, 1, 2]),
            ack_host_status: States::default(),
            ack_service_status: States::default(),
            dt_host_status: States::default(),
            dt_service_status: States::default(),
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
            accepted_metrics: Vec::new(),
            host_severity_threshold: None,
            host_severity_operator: Operator::default(),
            service_severity_threshold: None,
            service_severity_operator: Operator::default(),
            skip_anon_events: true,
            skip_nil_id: true,
            skip_downtime_progress: true,
            enable_bam_host: false,
            enable_host_status_dedup: true,
            enable_service_status_dedup: true,
            delta_host_status_change_allow: 20,
        }
    }
}

impl Rules {
    /// True if events of this kind may pass; asked before anything is decoded.
    pub(super) fn wants(&self, category: u16, kind: &str) -> bool {
        self.accepted_categories.iter().any(|one| one.is(category))
            && self.accepted_elements.iter().any(|one| one.is(kind))
    }

    /// True if the states of hosts and services decide about downtimes, so that statuses are to be
    /// read whether they are wanted or not.
    pub(super) fn needs_states(&self) -> bool {
        let (host, service) = (self.of_downtime(true), self.of_downtime(false));
        let decides =
            !(0..=2).all(|state| host.has(state)) || !(0..=3).all(|state| service.has(state));
        decides && self.wants(1, "downtime")
    }

    /// True if hosts of business activities go by the activity's name.
    pub(super) fn renames_business(&self, fields: &Fields) -> bool {
        self.enable_bam_host && text(fields, "host_name").starts_with(BUSINESS_HOST)
    }

    /// True if an event passes, its names being joined to it; `state` is that of what it is about, if
    /// it was heard of.
    pub(super) fn accept(&self, kind: &str, fields: &Fields, state: Option<i64>) -> bool {
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
            "downtime" => self.about(fields) && self.author(fields) && self.downtime(fields, state),
            "metric" => self.about(fields) && matches(&self.accepted_metrics, text(fields, "name")),
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
    fn state(&self, states: &States, fields: &Fields) -> bool {
        let is = |field: &str| fields.get(field) == Some(&Value::Bool(true));
        states.has(number(fields, "state"))
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
        own.or(usual).has(number(fields, "state"))
    }

    /// A downtime is planned, starts, ends and goes: its start and its last event count. What has
    /// ended is not asked for its state, or a start would be left without an end.
    fn downtime(&self, fields: &Fields, state: Option<i64>) -> bool {
        let is_set = |field: &str| number(fields, field) > 0;
        let has_ended = is_set("deletion_time");
        let starts = is_set("actual_start_time") && !is_set("actual_end_time");
        // Before its first check an object is in no trouble.
        let state = state.map(|state| if state == PENDING { 0 } else { state });
        let states = self.of_downtime(number(fields, "service_id") == 0);
        (has_ended || starts || !self.skip_downtime_progress)
            && (has_ended || state.is_none_or(|state| states.has(state)))
    }

    fn of_downtime(&self, is_host: bool) -> &States {
        match is_host {
            true => self.dt_host_status.or(&self.host_status),
            false => self.dt_service_status.or(&self.service_status),
        }
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
        self.ba_status.has(number(fields, "state"))
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
