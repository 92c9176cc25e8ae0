//! What of all that a Broker says becomes events: the parameters of stream connectors, by their
//! names and with what they were meant to do.
//!
//! Invariant: a key that is absent filters nothing, whatever a stream connector would take for it; so
//! nobody misses events because of what is not written down. A rule that a script got wrong is mended: a depth of downtimes above 1 is a downtime, severity
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
/// The keys of `[source.filter]`. One that is absent, or `["*"]`, lets everything pass.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rules {
    accepted_categories: Option<Vec<Category>>,
    accepted_elements: Option<Vec<Element>>,
    host_status: Option<States>,
    service_status: Option<States>,
    ba_status: Option<States>,
    /// `[]`: as `host_status`; and so for the other three.
    ack_host_status: Option<States>,
    ack_service_status: Option<States>,
    dt_host_status: Option<States>,
    dt_service_status: Option<States>,
    hard_only: bool,
    /// False: what is acknowledged does not pass; and so for the other two.
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
    /// Hosts that stand for business activities: true lets them pass by the name of the activity,
    /// false stops them, absent lets them pass as they are.
    enable_bam_host: Option<bool>,
    enable_host_status_dedup: bool,
    enable_service_status_dedup: bool,
    /// Seconds between a host's check and its hard change, for `enable_host_status_dedup`.
    delta_host_status_change_allow: i64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            accepted_categories: None,
            accepted_elements: None,
            host_status: None,
            service_status: None,
            ba_status: None,
            ack_host_status: None,
            ack_service_status: None,
            dt_host_status: None,
            dt_service_status: None,
            hard_only: false,
            acknowledged: true,
            in_downtime: true,
            flapping: true,
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
            skip_anon_events: false,
            skip_nil_id: false,
            skip_downtime_progress: false,
            enable_bam_host: None,
            enable_host_status_dedup: false,
            enable_service_status_dedup: false,
            delta_host_status_change_allow: 20,
        }
    }
}

impl Rules {
    /// True if events of this kind may pass; asked before anything is decoded.
    pub(super) fn wants(&self, category: u16, kind: &str) -> bool {
        let categories = self.accepted_categories.as_ref();
        let elements = self.accepted_elements.as_ref();
        categories.is_none_or(|all| all.iter().any(|one| one.is(category)))
            && elements.is_none_or(|all| all.iter().any(|one| one.is(kind)))
    }

    /// True if nobody said which kinds of events are wanted, so that all are.
    pub(super) fn names_no_elements(&self) -> bool {
        self.accepted_elements.is_none()
    }

    /// True if the states of hosts and services decide about downtimes, so that statuses are to be
    /// read whether they are wanted or not.
    pub(super) fn needs_states(&self) -> bool {
        let decides = |is_host: bool, last: i64| {
            let states = self.of_downtime(is_host);
            states.is_some_and(|states| !(0..=last).all(|state| states.has(state)))
        };
        (decides(true, 2) || decides(false, 3)) && self.wants(1, "downtime")
    }

    /// True if hosts of business activities go by the activity's name.
    pub(super) fn renames_business(&self, fields: &Fields) -> bool {
        self.enable_bam_host == Some(true) && text(fields, "host_name").starts_with(BUSINESS_HOST)
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
            && (self.enable_bam_host != Some(false) || !host.starts_with(BUSINESS_HOST))
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
    fn state(&self, states: &Option<States>, fields: &Fields) -> bool {
        let is = |field: &str| fields.get(field) == Some(&Value::Bool(true));
        has(states.as_ref(), number(fields, "state"))
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
        let states = match number(fields, "service_id") {
            0 => own(&self.ack_host_status, &self.host_status),
            _ => own(&self.ack_service_status, &self.service_status),
        };
        has(states, number(fields, "state"))
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
            && (has_ended || state.is_none_or(|state| has(states, state)))
    }

    fn of_downtime(&self, is_host: bool) -> Option<&States> {
        match is_host {
            true => own(&self.dt_host_status, &self.host_status),
            false => own(&self.dt_service_status, &self.service_status),
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
        has(self.ba_status.as_ref(), number(fields, "state"))
            && (self.in_downtime || !in_downtime)
            && !(self.skip_anon_events && text(fields, "ba_name") == UNKNOWN)
            && listed(&self.accepted_bvs, &self.rejected_bvs, &many(fields, "bvs"))
    }
}

/// The states of its own; where these are `[]`, the usual ones.
fn own<'a>(own: &'a Option<States>, usual: &'a Option<States>) -> Option<&'a States> {
    match own {
        Some(states) if states.is_empty() => usual.as_ref(),
        states => states.as_ref(),
    }
}

fn has(states: Option<&States>, state: i64) -> bool {
    states.is_none_or(|states| states.has(state))
}

/// Only the elder generation tells; a time that is not there is that of no change.
fn updated(fields: &Fields) -> i64 {
    match number(fields, "last_update") {
        0 => -1,
        time => time,
    }
}
