//! The elder generation, BBDO 2: one row per event, its fields in the order in which they travel.
//!
//! There are no tags and no lengths, only the order, which is older than any documentation of it and
//! the same from 20.04 to 25.09. Names are those that stream connectors know; where the generations
//! disagree, the younger name stands (`id` of a downtime, `time` of a metric).

use std::sync::LazyLock;

use super::field::{Kind, Meaning};

/// One event of the table.
pub struct Row {
    pub(super) category: u16,
    pub(super) element: u16,
    pub(super) name: &'static str,
    pub(super) fields: Vec<(&'static str, Kind)>,
}

/// The row of an event; `None` if the elder generation has no such event.
pub fn find(category: u16, element: u16) -> Option<&'static Row> {
    let same = |row: &&Row| (row.category, row.element) == (category, element);
    TABLE.iter().find(same)
}

/// What its events are called, those of the protocol left out.
pub fn names() -> impl Iterator<Item = &'static str> {
    let rows = TABLE.iter().filter(|row| row.category != 2);
    rows.map(|row| row.name)
}

fn row(category: u16, element: u16, name: &'static str, fields: &'static str) -> Row {
    let fields = fields.split_whitespace().filter_map(|field| {
        let (name, kind) = field.split_once(':')?;
        Some((name, kind_of(kind)?))
    });
    Row {
        category,
        element,
        name,
        fields: fields.collect(),
    }
}

fn kind_of(word: &str) -> Option<Kind> {
    Some(match word {
        "bool" => Kind::Bool,
        "short" => Kind::Short(Meaning::Plain),
        "count" => Kind::Short(Meaning::Count),
        "int" => Kind::Int,
        "uint" => Kind::Unsigned(Meaning::Plain),
        "id" => Kind::Unsigned(Meaning::Id),
        "wide" => Kind::Wide,
        "long" => Kind::Long(Meaning::Plain),
        "time" => Kind::Long(Meaning::Time),
        "real" => Kind::Real,
        "text" => Kind::Text,
        _ => return None,
    })
}

#[rustfmt::skip]
static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| vec![
    row(1, 1, "acknowledgement",
        "type:short author:text comment_data:text deletion_time:time entry_time:time host_id:id \
         instance_id:id sticky:bool notify_contacts:bool persistent_comment:bool service_id:id \
         state:short notify_only_if_not_already_acknowledged:bool"),
    row(1, 2, "comment",
        "author:text type:short data:text deletion_time:time entry_time:time entry_type:short \
         expire_time:time expires:bool host_id:id internal_id:uint persistent:bool instance_id:id \
         service_id:id source:short"),
    row(1, 3, "custom_variable",
        "enabled:bool host_id:id modified:bool name:text service_id:id update_time:time type:short \
         value:text default_value:text"),
    row(1, 4, "custom_variable_status",
        "host_id:id modified:bool name:text service_id:id update_time:time value:text"),
    row(1, 5, "downtime",
        "actual_end_time:time actual_start_time:time author:text type:short deletion_time:time \
         duration:long end_time:time entry_time:time fixed:bool host_id:id instance_id:id id:uint \
         service_id:id start_time:time triggered_by:id cancelled:bool started:bool comment_data:text \
         come_from:short"),
    row(1, 6, "event_handler",
        "early_timeout:bool end_time:time execution_time:real type:short host_id:id return_code:short \
         service_id:id start_time:time state:short state_type:short timeout:short command_args:text \
         command_line:text output:text"),
    row(1, 7, "flapping_status",
        "event_time:time event_type:int type:short high_threshold:real host_id:id low_threshold:real \
         percent_state_change:real reason_type:short service_id:id"),
    row(1, 8, "host_check",
        "active_checks_enabled:bool check_type:short host_id:id next_check:time command_line:text"),
    row(1, 9, "host_dependency",
        "dependency_period:text dependent_host_id:id enabled:bool execution_failure_options:text \
         inherits_parent:bool host_id:id notification_failure_options:text"),
    row(1, 10, "host_group",
        "hostgroup_id:id name:text enabled:bool poller_id:id"),
    row(1, 11, "host_group_member",
        "hostgroup_id:id host_id:id enabled:bool name:text poller_id:id"),
    row(1, 12, "host",
        "acknowledged:bool acknowledgement_type:short action_url:text active_checks:bool address:text \
         alias:text check_freshness:bool check_interval:real check_period:text check_type:short \
         check_attempt:short state:short default_active_checks:bool \
         default_event_handler_enabled:bool default_flap_detection:bool default_notify:bool \
         default_passive_checks:bool scheduled_downtime_depth:short display_name:text enabled:bool \
         event_handler:text event_handler_enabled:bool execution_time:real \
         first_notification_delay:real flap_detection:bool flap_detection_on_down:bool \
         flap_detection_on_unreachable:bool flap_detection_on_up:bool freshness_threshold:real \
         checked:bool high_flap_threshold:real name:text host_id:id icon_image:text \
         icon_image_alt:text instance_id:id flapping:bool last_check:time last_hard_state:short \
         last_hard_state_change:time last_notification:time last_state_change:time \
         last_time_down:time last_time_unreachable:time last_time_up:time last_update:time \
         latency:real low_flap_threshold:real max_check_attempts:short next_check:time \
         next_host_notification:time no_more_notifications:bool notes:text notes_url:text \
         notification_interval:real notification_number:count notification_period:text notify:bool \
         notify_on_down:bool notify_on_downtime:bool notify_on_flapping:bool notify_on_recovery:bool \
         notify_on_unreachable:bool obsess_over_host:bool passive_checks:bool \
         percent_state_change:real retry_interval:real should_be_scheduled:bool stalk_on_down:bool \
         stalk_on_unreachable:bool stalk_on_up:bool statusmap_image:text state_type:short \
         check_command:text output:text perfdata:text retain_nonstatus_information:bool \
         retain_status_information:bool timezone:text"),
    row(1, 13, "host_parent", "enabled:bool child_id:id parent_id:id"),
    row(1, 14, "host_status",
        "acknowledged:bool acknowledgement_type:short active_checks:bool check_interval:real \
         check_period:text check_type:short check_attempt:short state:short \
         scheduled_downtime_depth:short enabled:bool event_handler:text event_handler_enabled:bool \
         execution_time:real flap_detection:bool checked:bool host_id:id flapping:bool \
         last_check:time last_hard_state:short last_hard_state_change:time last_notification:time \
         last_state_change:time last_time_down:time last_time_unreachable:time last_time_up:time \
         last_update:time latency:real max_check_attempts:short next_check:time \
         no_more_notifications:bool notification_number:count notify:bool obsess_over_host:bool \
         passive_checks:bool percent_state_change:real retry_interval:real should_be_scheduled:bool \
         state_type:short check_command:text output:text perfdata:text"),
    row(1, 15, "instance",
        "engine:text instance_id:id name:text running:bool pid:uint end_time:time start_time:time \
         version:text"),
    row(1, 16, "instance_status",
        "active_host_checks:bool active_service_checks:bool check_hosts_freshness:bool \
         check_services_freshness:bool event_handlers:bool flap_detection:bool instance_id:id \
         last_alive:time last_command_check:time notifications:bool obsess_over_hosts:bool \
         obsess_over_services:bool passive_host_checks:bool passive_service_checks:bool \
         global_host_event_handler:text global_service_event_handler:text"),
    row(1, 17, "log_entry",
        "ctime:time host_id:id host_name:text instance_name:text issue_start_time:time type:short \
         msg_type:short notification_cmd:text notification_contact:text retry:int \
         service_description:text service_id:id status:short output:text"),
    row(1, 18, "module",
        "args:text enabled:bool filename:text instance_id:id loaded:bool should_be_loaded:bool"),
    row(1, 19, "service_check",
        "active_checks_enabled:bool check_type:short host_id:id next_check:time service_id:id \
         command_line:text"),
    row(1, 20, "service_dependency",
        "dependency_period:text dependent_host_id:id dependent_service_id:id enabled:bool \
         execution_failure_options:text host_id:id inherits_parent:bool \
         notification_failure_options:text service_id:id"),
    row(1, 21, "service_group",
        "servicegroup_id:id name:text enabled:bool poller_id:id"),
    row(1, 22, "service_group_member",
        "servicegroup_id:id host_id:id service_id:id enabled:bool name:text poller_id:id"),
    row(1, 23, "service",
        "acknowledged:bool acknowledgement_type:short action_url:text active_checks:bool \
         check_freshness:bool check_interval:real check_period:text check_type:short \
         check_attempt:short state:short default_active_checks:bool \
         default_event_handler_enabled:bool default_flap_detection:bool default_notify:bool \
         default_passive_checks:bool scheduled_downtime_depth:short display_name:text enabled:bool \
         event_handler:text event_handler_enabled:bool execution_time:real \
         first_notification_delay:real flap_detection:bool flap_detection_on_critical:bool \
         flap_detection_on_ok:bool flap_detection_on_unknown:bool flap_detection_on_warning:bool \
         freshness_threshold:real checked:bool high_flap_threshold:real host_id:id host_name:text \
         icon_image:text icon_image_alt:text service_id:id flapping:bool volatile:bool \
         last_check:time last_hard_state:short last_hard_state_change:time last_notification:time \
         last_state_change:time last_time_critical:time last_time_ok:time last_time_unknown:time \
         last_time_warning:time last_update:time latency:real low_flap_threshold:real \
         max_check_attempts:short next_check:time next_notification:time no_more_notifications:bool \
         notes:text notes_url:text notification_interval:real notification_number:count \
         notification_period:text notify:bool notify_on_critical:bool notify_on_downtime:bool \
         notify_on_flapping:bool notify_on_recovery:bool notify_on_unknown:bool \
         notify_on_warning:bool obsess_over_service:bool passive_checks:bool \
         percent_state_change:real retry_interval:real description:text should_be_scheduled:bool \
         stalk_on_critical:bool stalk_on_ok:bool stalk_on_unknown:bool stalk_on_warning:bool \
         state_type:short check_command:text output:text perfdata:text \
         retain_nonstatus_information:bool retain_status_information:bool"),
    row(1, 24, "service_status",
        "acknowledged:bool acknowledgement_type:short active_checks:bool check_interval:real \
         check_period:text check_type:short check_attempt:short state:short \
         scheduled_downtime_depth:short enabled:bool event_handler:text event_handler_enabled:bool \
         execution_time:real flap_detection:bool checked:bool host_id:id host_name:text flapping:bool \
         last_check:time last_hard_state:short last_hard_state_change:time last_notification:time \
         last_state_change:time last_time_critical:time last_time_ok:time last_time_unknown:time \
         last_time_warning:time last_update:time latency:real max_check_attempts:short \
         next_check:time next_notification:time no_more_notifications:bool notification_number:count \
         notify:bool obsess_over_service:bool passive_checks:bool percent_state_change:real \
         retry_interval:real service_description:text service_id:id should_be_scheduled:bool \
         state_type:short check_command:text output:text perfdata:text"),
    row(1, 25, "instance_configuration", "loaded:bool poller_id:id"),
    row(1, 26, "responsive_instance", "poller_id:id responsive:bool"),
    row(2, 1, "version_response", "major:short minor:short patch:short extensions:text"),
    row(2, 2, "ack", "acknowledged_events:uint"),
    row(2, 3, "stop", ""),
    row(3, 1, "metric",
        "time:time interval:uint metric_id:id name:text rrd_len:int value:real value_type:short \
         is_for_rebuild:bool host_id:id service_id:id"),
    row(3, 2, "rebuild", "end:bool id:wide is_index:bool"),
    row(3, 3, "remove_graph", "id:wide is_end:bool"),
    row(3, 4, "status",
        "time:time index_id:wide interval:uint rrd_len:long state:short is_for_rebuild:bool"),
    row(3, 5, "index_mapping", "index_id:wide host_id:id service_id:id"),
    row(3, 6, "metric_mapping", "index_id:wide metric_id:id"),
    row(6, 1, "ba_status",
        "ba_id:id in_downtime:bool last_state_change:time level_acknowledgement:real \
         level_downtime:real level_nominal:real state:short state_changed:bool"),
    row(6, 2, "kpi_status",
        "kpi_id:id in_downtime:bool level_acknowledgement_hard:real level_acknowledgement_soft:real \
         level_downtime_hard:real level_downtime_soft:real level_nominal_hard:real \
         level_nominal_soft:real state_hard:short state_soft:short last_state_change:time \
         last_impact:real valid:bool"),
    row(6, 4, "ba_event",
        "ba_id:id first_level:real end_time:time in_downtime:bool start_time:time status:short"),
    row(6, 5, "kpi_event",
        "kpi_id:id end_time:time impact_level:int in_downtime:bool output:text perfdata:text \
         start_time:time status:short"),
    row(6, 6, "ba_duration_event",
        "ba_id:id real_start_time:time end_time:time start_time:time duration:uint sla_duration:uint \
         timeperiod_id:id timeperiod_is_default:bool"),
    row(6, 7, "dimension_ba_event",
        "ba_id:id ba_name:text ba_description:text sla_month_percent_crit:real \
         sla_month_percent_warn:real sla_duration_crit:uint sla_duration_warn:uint"),
    row(6, 8, "dimension_kpi_event",
        "kpi_id:id ba_id:id ba_name:text host_id:id host_name:text service_id:id \
         service_description:text kpi_ba_id:id kpi_ba_name:text meta_service_id:id \
         meta_service_name:text boolean_id:id boolean_name:text impact_warning:real \
         impact_critical:real impact_unknown:real"),
    row(6, 9, "dimension_ba_bv_relation_event", "ba_id:id bv_id:id"),
    row(6, 10, "dimension_bv_event",
        "bv_id:id bv_name:text bv_description:text"),
    row(6, 11, "dimension_truncate_table_signal", "update_started:bool"),
    row(6, 12, "ba_rebuild", "bas_to_rebuild:text"),
    row(6, 13, "dimension_timeperiod",
        "id:id name:text monday:text tuesday:text wednesday:text thursday:text friday:text \
         saturday:text sunday:text"),
    row(6, 14, "dimension_ba_timeperiod_relation",
        "ba_id:id timeperiod_id:id is_default:bool"),
    row(6, 15, "dimension_timeperiod_exception",
        "timeperiod_id:id daterange:text timerange:text"),
    row(6, 16, "dimension_timeperiod_exclusion",
        "timeperiod_id:id excluded_timeperiod_id:id"),
    row(6, 17, "inherited_downtime", "ba_id:id in_downtime:bool"),
    row(65535, 2, "instance_broadcast",
        "broker_id:id broker_name:text enabled:bool poller_id:id poller_name:text"),
]);
