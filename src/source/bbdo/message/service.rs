//! Messages about services.

use super::super::field::{Fields, Meaning};
use super::lists::TagInfo;
use super::{Field, Message, messages, put};

messages! {
    Service {
        1 host_id: int64 => id, 2 service_id: int64 => id, 3 acknowledged: bool,
        4 acknowledgement_type: int64, 5 active_checks: bool, 6 enabled: bool,
        7 scheduled_downtime_depth: int64, 8 check_command: bytes,
        9 check_interval: int64 => real, 10 check_period: bytes, 11 check_type: int64,
        12 check_attempt: int64, 13 state: int64, 14 event_handler_enabled: bool,
        15 event_handler: bytes, 16 execution_time: double, 17 flap_detection: bool,
        18 checked: bool, 19 flapping: bool, 20 last_check: int64 => time,
        21 last_hard_state: int64, 22 last_hard_state_change: int64 => time,
        23 last_notification: int64 => time, 24 notification_number: int64 => count,
        25 last_state_change: int64 => time, 26 last_time_ok: int64 => time,
        27 last_time_warning: int64 => time, 28 last_time_critical: int64 => time,
        29 last_time_unknown: int64 => time, 30 last_update: int64 => time, 31 latency: double,
        32 max_check_attempts: int64, 33 next_check: int64 => time,
        34 next_notification: int64 => time, 35 no_more_notifications: bool, 36 notify: bool,
        37 output: bytes, 38 long_output: bytes, 39 passive_checks: bool,
        40 percent_state_change: double, 41 perfdata: bytes, 42 retry_interval: double,
        43 host_name: bytes, 44 description: bytes, 45 should_be_scheduled: bool,
        46 obsess_over_service: bool, 47 state_type: int64, 48 action_url: bytes,
        49 check_freshness: bool, 50 default_active_checks: bool,
        51 default_event_handler_enabled: bool, 52 default_flap_detection: bool,
        53 default_notify: bool, 54 default_passive_checks: bool, 55 display_name: bytes,
        56 first_notification_delay: double, 57 flap_detection_on_critical: bool,
        58 flap_detection_on_ok: bool, 59 flap_detection_on_unknown: bool,
        60 flap_detection_on_warning: bool, 61 freshness_threshold: double,
        62 high_flap_threshold: double, 63 icon_image: bytes, 64 icon_image_alt: bytes,
        65 volatile: bool, 66 low_flap_threshold: double, 67 notes: bytes,
        68 notes_url: bytes, 69 notification_interval: double, 70 notification_period: bytes,
        71 notify_on_critical: bool, 72 notify_on_downtime: bool, 73 notify_on_flapping: bool,
        74 notify_on_recovery: bool, 75 notify_on_unknown: bool, 76 notify_on_warning: bool,
        77 stalk_on_critical: bool, 78 stalk_on_ok: bool, 79 stalk_on_unknown: bool,
        80 stalk_on_warning: bool, 81 retain_nonstatus_information: bool,
        82 retain_status_information: bool, 83 severity_id: int64 => id,
        84 tags: message [repeated] <TagInfo>, 85 r#type: int64, 86 internal_id: int64,
        87 icon_id: int64 => id
    }
    ServiceStatus {
        1 host_id: int64 => id, 2 service_id: int64 => id, 3 checked: bool, 4 check_type: int64,
        5 state: int64, 6 state_type: int64, 7 last_state_change: int64 => time,
        8 last_hard_state: int64, 9 last_hard_state_change: int64 => time,
        10 last_time_ok: int64 => time, 11 last_time_warning: int64 => time,
        12 last_time_critical: int64 => time, 13 last_time_unknown: int64 => time,
        14 output: bytes, 15 long_output: bytes, 16 perfdata: bytes, 17 flapping: bool,
        18 percent_state_change: double, 19 latency: double, 20 execution_time: double,
        21 last_check: int64 => time, 22 next_check: int64 => time,
        23 should_be_scheduled: bool, 24 check_attempt: int64,
        25 notification_number: int64 => count, 26 no_more_notifications: bool,
        27 last_notification: int64 => time, 28 next_notification: int64 => time,
        29 acknowledgement_type: int64, 30 scheduled_downtime_depth: int64, 31 r#type: int64,
        32 internal_id: int64
    }
    AdaptiveService {
        1 host_id: int64 => id, 2 service_id: int64 => id, 3 notify: bool [optional],
        4 active_checks: bool [optional], 5 should_be_scheduled: bool [optional],
        6 passive_checks: bool [optional], 7 event_handler_enabled: bool [optional],
        8 flap_detection_enabled: bool [optional], 9 obsess_over_service: bool [optional],
        10 event_handler: bytes [optional], 11 check_command: bytes [optional],
        12 check_interval: int64 [optional] => real,
        13 retry_interval: int64 [optional] => real, 14 max_check_attempts: int64 [optional],
        15 check_freshness: bool [optional], 16 check_period: bytes [optional],
        17 notification_period: bytes [optional]
    }
    AdaptiveServiceStatus {
        1 host_id: int64 => id, 2 service_id: int64 => id, 3 r#type: int64,
        4 internal_id: int64, 5 scheduled_downtime_depth: int64 [optional],
        6 acknowledgement_type: int64 [optional],
        7 notification_number: int64 [optional] => count
    }
    ServiceCheck {
        2 active_checks_enabled: bool, 3 check_type: int64, 4 command_line: bytes,
        5 host_id: int64 => id, 6 next_check: int64 => time, 7 service_id: int64 => id
    }
    ServiceGroup {
        2 enabled: bool, 3 servicegroup_id: int64 => id, 4 name: bytes,
        5 poller_id: int64 => id
    }
    ServiceGroupMember {
        2 enabled: bool, 3 servicegroup_id: int64 => id, 4 name: bytes, 5 host_id: int64 => id,
        6 poller_id: int64 => id, 7 service_id: int64 => id
    }
    ServiceDependency {
        2 dependency_period: bytes, 3 dependent_host_id: int64 => id, 4 enabled: bool,
        5 execution_failure_options: bytes, 6 host_id: int64 => id, 7 inherits_parent: bool,
        8 notification_failure_options: bytes, 9 dependent_service_id: int64 => id,
        10 service_id: int64 => id
    }
}
