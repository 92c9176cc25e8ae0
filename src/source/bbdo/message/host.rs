//! Messages about hosts.

use super::super::field::{Fields, Meaning};
use super::lists::TagInfo;
use super::{Field, Message, messages, put};

messages! {
    Host {
        1 host_id: int64 => id, 2 acknowledged: bool, 3 acknowledgement_type: int64,
        4 active_checks: bool, 5 enabled: bool, 6 scheduled_downtime_depth: int64,
        7 check_command: bytes, 8 check_interval: int64 => real, 9 check_period: bytes,
        10 check_type: int64, 11 check_attempt: int64, 12 state: int64,
        13 event_handler_enabled: bool, 14 event_handler: bytes, 15 execution_time: double,
        16 flap_detection: bool, 17 checked: bool, 18 flapping: bool,
        19 last_check: int64 => time, 20 last_hard_state: int64,
        21 last_hard_state_change: int64 => time, 22 last_notification: int64 => time,
        23 notification_number: int64 => count, 24 last_state_change: int64 => time,
        25 last_time_down: int64 => time, 26 last_time_unreachable: int64 => time,
        27 last_time_up: int64 => time, 28 last_update: int64 => time, 29 latency: double,
        30 max_check_attempts: int64, 31 next_check: int64 => time,
        32 next_host_notification: int64 => time, 33 no_more_notifications: bool,
        34 notify: bool, 35 output: bytes, 36 passive_checks: bool,
        37 percent_state_change: double, 38 perfdata: bytes, 39 retry_interval: double,
        40 should_be_scheduled: bool, 41 obsess_over_host: bool, 42 state_type: int64,
        43 action_url: bytes, 44 address: bytes, 45 alias: bytes, 46 check_freshness: bool,
        47 default_active_checks: bool, 48 default_event_handler_enabled: bool,
        49 default_flap_detection: bool, 50 default_notify: bool,
        51 default_passive_checks: bool, 52 display_name: bytes,
        53 first_notification_delay: double, 54 flap_detection_on_down: bool,
        55 flap_detection_on_unreachable: bool, 56 flap_detection_on_up: bool,
        57 freshness_threshold: double, 58 high_flap_threshold: double, 59 name: bytes,
        60 icon_image: bytes, 61 icon_image_alt: bytes, 62 instance_id: int64 => id,
        63 low_flap_threshold: double, 64 notes: bytes, 65 notes_url: bytes,
        66 notification_interval: double, 67 notification_period: bytes,
        68 notify_on_down: bool, 69 notify_on_downtime: bool, 70 notify_on_flapping: bool,
        71 notify_on_recovery: bool, 72 notify_on_unreachable: bool, 73 stalk_on_down: bool,
        74 stalk_on_unreachable: bool, 75 stalk_on_up: bool, 76 statusmap_image: bytes,
        77 retain_nonstatus_information: bool, 78 retain_status_information: bool,
        79 timezone: bytes, 80 severity_id: int64 => id, 81 tags: message [repeated] <TagInfo>,
        82 icon_id: int64 => id
    }
    HostStatus {
        1 host_id: int64 => id, 2 checked: bool, 3 check_type: int64, 4 state: int64,
        5 state_type: int64, 6 last_state_change: int64 => time, 7 last_hard_state: int64,
        8 last_hard_state_change: int64 => time, 9 last_time_up: int64 => time,
        10 last_time_down: int64 => time, 11 last_time_unreachable: int64 => time,
        12 output: bytes, 13 long_output: bytes, 14 perfdata: bytes, 15 flapping: bool,
        16 percent_state_change: double, 17 latency: double, 18 execution_time: double,
        19 last_check: int64 => time, 20 next_check: int64 => time,
        21 should_be_scheduled: bool, 22 check_attempt: int64,
        23 notification_number: int64 => count, 24 no_more_notifications: bool,
        25 last_notification: int64 => time, 26 next_host_notification: int64 => time,
        27 acknowledgement_type: int64, 28 scheduled_downtime_depth: int64
    }
    AdaptiveHost {
        1 host_id: int64 => id, 2 notify: bool [optional], 3 active_checks: bool [optional],
        4 should_be_scheduled: bool [optional], 5 passive_checks: bool [optional],
        6 event_handler_enabled: bool [optional], 7 flap_detection: bool [optional],
        8 obsess_over_host: bool [optional], 9 event_handler: bytes [optional],
        10 check_command: bytes [optional], 11 check_interval: int64 [optional] => real,
        12 retry_interval: int64 [optional] => real, 13 max_check_attempts: int64 [optional],
        14 check_freshness: bool [optional], 15 check_period: bytes [optional],
        16 notification_period: bytes [optional]
    }
    AdaptiveHostStatus {
        1 host_id: int64 => id, 2 scheduled_downtime_depth: int64 [optional],
        3 acknowledgement_type: int64 [optional],
        4 notification_number: int64 [optional] => count
    }
    HostCheck {
        2 active_checks_enabled: bool, 3 check_type: int64, 4 command_line: bytes,
        5 host_id: int64 => id, 6 next_check: int64 => time
    }
    HostGroup {
        2 enabled: bool, 3 hostgroup_id: int64 => id, 4 name: bytes, 5 poller_id: int64 => id,
        6 alias: bytes
    }
    HostGroupMember {
        2 enabled: bool, 3 hostgroup_id: int64 => id, 4 name: bytes, 5 host_id: int64 => id,
        6 poller_id: int64 => id
    }
    HostParent {
        2 enabled: bool, 3 child_id: int64 => id, 4 parent_id: int64 => id
    }
    HostDependency {
        2 dependency_period: bytes, 3 dependent_host_id: int64 => id, 4 enabled: bool,
        5 execution_failure_options: bytes, 6 host_id: int64 => id, 7 inherits_parent: bool,
        8 notification_failure_options: bytes
    }
}
