//! Messages with lists in them.

use super::super::field::{Fields, Meaning};
use super::{Field, Message, messages, put};

messages! {
    TagInfo { 1 id: int64 => id, 2 r#type: int64 }
    AgentStats { 1 poller_id: int64 => id, 2 stats: message [repeated] <AgentInfo> }
    AgentInfo {
        1 major: int64, 2 minor: int64, 3 patch: int64, 4 reverse: bool, 5 os: bytes,
        6 os_version: bytes, 7 nb_agent: int64
    }
    RemoveGraph {
        1 index_ids: int64 [repeated], 2 metric_ids: int64 [repeated]
    }
    ServicesBookState { 1 service: message [repeated] <ServiceState> }
    ServiceState {
        1 host_id: int64 => id, 2 service_id: int64 => id, 3 current_state: int64,
        4 last_hard_state: int64, 5 last_check: int64 => time, 6 state_type: bool,
        7 acknowledged: bool
    }
}
