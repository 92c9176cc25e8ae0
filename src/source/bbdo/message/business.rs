//! Messages about business activities.

use super::super::field::{Fields, Meaning};
use super::{Field, Message, messages, put};

messages! {
    InheritedDowntime {
        2 ba_id: int64 => id, 3 in_downtime: bool
    }
    BaStatus {
        1 ba_id: int64 => id, 2 in_downtime: bool, 3 last_state_change: int64 => time,
        4 level_acknowledgement: double, 5 level_downtime: double, 6 level_nominal: double,
        7 state: int64, 8 state_changed: bool, 9 output: bytes
    }
    BaEvent {
        1 ba_id: int64 => id, 2 first_level: double, 3 end_time: int64 => time,
        4 in_downtime: bool, 5 start_time: int64 => time, 6 status: int64
    }
    KpiEvent {
        1 ba_id: int64 => id, 2 start_time: int64 => time, 3 end_time: int64 => time,
        4 kpi_id: int64 => id, 5 impact_level: int64, 6 in_downtime: bool, 7 output: bytes,
        8 perfdata: bytes, 9 status: int64
    }
    DimensionBvEvent {
        1 bv_id: int64 => id, 2 bv_name: bytes, 3 bv_description: bytes
    }
    DimensionBaBvRelationEvent {
        1 ba_id: int64 => id, 2 bv_id: int64 => id
    }
    DimensionTimeperiod {
        1 id: int64 => id, 2 name: bytes, 3 monday: bytes, 4 tuesday: bytes,
        5 wednesday: bytes, 6 thursday: bytes, 7 friday: bytes, 8 saturday: bytes,
        9 sunday: bytes
    }
    DimensionBaEvent {
        1 ba_id: int64 => id, 2 ba_name: bytes, 3 ba_description: bytes,
        4 sla_month_percent_crit: double, 5 sla_month_percent_warn: double,
        6 sla_duration_crit: int64, 7 sla_duration_warn: int64
    }
    DimensionKpiEvent {
        1 kpi_id: int64 => id, 2 ba_id: int64 => id, 3 ba_name: bytes, 4 host_id: int64 => id,
        5 host_name: bytes, 6 service_id: int64 => id, 7 service_description: bytes,
        8 kpi_ba_id: int64 => id, 9 kpi_ba_name: bytes, 10 meta_service_id: int64 => id,
        11 meta_service_name: bytes, 12 boolean_id: int64 => id, 13 boolean_name: bytes,
        14 impact_warning: double, 15 impact_critical: double, 16 impact_unknown: double
    }
    KpiStatus {
        1 kpi_id: int64 => id, 2 in_downtime: bool, 3 level_acknowledgement_hard: double,
        4 level_acknowledgement_soft: double, 5 level_downtime_hard: double,
        6 level_downtime_soft: double, 7 level_nominal_hard: double,
        8 level_nominal_soft: double, 9 state_hard: int64, 10 state_soft: int64,
        11 last_state_change: int64 => time, 12 last_impact: double, 13 valid: bool
    }
    BaDurationEvent {
        1 ba_id: int64 => id, 2 real_start_time: int64 => time, 3 end_time: int64 => time,
        4 start_time: int64 => time, 5 duration: int64, 6 sla_duration: int64,
        7 timeperiod_id: int64 => id, 8 timeperiod_is_default: bool
    }
    DimensionBaTimeperiodRelation {
        1 ba_id: int64 => id, 2 timeperiod_id: int64 => id, 3 is_default: bool
    }
    DimensionTruncateTableSignal {
        1 update_started: bool
    }
    BaStatusUntil2310 {
        2 ba_id: int64 => id, 3 in_downtime: bool, 4 last_state_change: int64 => time,
        5 level_acknowledgement: double, 6 level_downtime: double, 7 level_nominal: double,
        8 state: int64, 9 state_changed: bool, 10 output: bytes
    }

}
