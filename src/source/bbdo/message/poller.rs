//! Messages about pollers, what people do, and metrics.

use super::super::field::{Fields, Meaning};
use super::{Field, Message, messages, put};

messages! {
    Instance {
        2 engine: bytes, 3 running: bool, 4 name: bytes, 5 pid: int64,
        6 instance_id: int64 => id, 7 end_time: int64 => time, 8 start_time: int64 => time,
        9 version: bytes, 10 engine_config_version: bytes
    }
    InstanceStatus {
        2 event_handlers: bool, 3 flap_detection: bool, 4 notifications: bool,
        5 active_host_checks: bool, 6 active_service_checks: bool,
        7 check_hosts_freshness: bool, 8 check_services_freshness: bool,
        9 global_host_event_handler: bytes, 10 global_service_event_handler: bytes,
        11 last_alive: int64 => time, 12 last_command_check: int64 => time,
        13 obsess_over_hosts: bool, 14 obsess_over_services: bool, 15 passive_host_checks: bool,
        16 passive_service_checks: bool, 17 instance_id: int64 => id
    }
    InstanceConfiguration {
        2 loaded: bool, 3 poller_id: int64 => id
    }
    ResponsiveInstance {
        2 poller_id: int64 => id, 3 responsive: bool
    }
    LogEntry {
        1 ctime: int64 => time, 2 instance_name: bytes, 3 output: bytes,
        4 host_id: int64 => id, 5 service_id: int64 => id, 6 host_name: bytes,
        7 service_description: bytes, 8 notification_contact: bytes,
        9 notification_cmd: bytes, 10 r#type: int64, 11 msg_type: int64, 12 status: int64,
        13 retry: int64
    }
    Comment {
        2 author: bytes, 3 r#type: int64, 4 data: bytes, 5 deletion_time: int64 => time,
        6 entry_time: int64 => time, 7 entry_type: int64, 8 expire_time: int64 => time,
        9 expires: bool, 10 host_id: int64 => id, 11 internal_id: int64, 12 persistent: bool,
        13 instance_id: int64 => id, 14 service_id: int64 => id, 15 source: int64
    }
    Downtime {
        1 id: int64 => id, 2 instance_id: int64 => id, 3 host_id: int64 => id,
        4 service_id: int64 => id, 5 author: bytes, 6 comment_data: bytes, 7 r#type: int64,
        8 duration: int64, 9 triggered_by: int64, 10 entry_time: int64 => time,
        11 actual_start_time: int64 => time, 12 actual_end_time: int64 => time,
        13 start_time: int64 => time, 14 deletion_time: int64 => time,
        15 end_time: int64 => time, 16 started: bool, 17 cancelled: bool, 18 fixed: bool
    }
    Acknowledgement {
        1 host_id: int64 => id, 2 service_id: int64 => id, 3 instance_id: int64 => id,
        4 r#type: int64, 5 author: bytes, 6 comment_data: bytes, 7 sticky: bool,
        8 notify_contacts: bool, 9 entry_time: int64 => time, 10 deletion_time: int64 => time,
        11 persistent_comment: bool, 12 state: int64
    }
    CustomVariable {
        2 host_id: int64 => id, 3 service_id: int64 => id, 4 modified: bool, 5 name: bytes,
        6 update_time: int64 => time, 7 value: bytes, 8 default_value: bytes, 9 enabled: bool,
        10 password: bool, 11 r#type: int64
    }
    Severity {
        1 id: int64 => id, 2 action: int64, 3 level: int64, 4 icon_id: int64 => id,
        5 name: bytes, 6 r#type: int64, 7 poller_id: int64 => id
    }
    Tag {
        1 id: int64 => id, 2 action: int64, 3 r#type: int64, 4 name: bytes,
        5 poller_id: int64 => id
    }
    Metric {
        4 metric_id: int64 => id, 5 rrd_len: int64, 6 interval: int64, 7 value_type: int64,
        8 time: int64 => time, 9 value: double, 10 name: bytes, 11 host_id: int64 => id,
        12 service_id: int64 => id
    }
    Status {
        1 index_id: int64 => id, 2 interval: int64, 3 rrd_len: int64, 4 time: int64 => time,
        5 state: int64, 6 host_id: int64 => id, 7 service_id: int64 => id
    }
    IndexMapping {
        1 index_id: int64 => id, 2 host_id: int64 => id, 3 service_id: int64 => id
    }
    MetricMapping {
        1 index_id: int64 => id, 2 metric_id: int64 => id
    }
}
