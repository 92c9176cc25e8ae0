//! Icinga 2: what a notification command or an event command posts, a form or JSON.
//!
//! Icinga tells what Nagios tells, in the same words, so the keys are made there.

use super::{Hook, HookError, generic, nagios};
use crate::event::{Incoming, Meta};

/// `/hooks/icinga`.
///
/// The keys are those of [`nagios::Nagios`]. Parameters may be called as Icinga calls its macros,
/// without case and punctuation (`service.name`, `host_state`), or shorter (`service`, `state`). Icinga
/// has no number for a problem, so `event_id` is nothing.
pub struct Icinga;

impl Hook for Icinga {
    fn kind(&self) -> &'static str {
        "icinga"
    }

    fn about(&self) -> &'static str {
        "Icinga 2 (notification command, form or JSON): the keys of Zabbix's hook, state and comment"
    }

    fn decode(&self, bytes: &[u8], meta: Meta) -> Result<Vec<Incoming>, HookError> {
        let normal = |raw| nagios::normal(raw, "icinga");
        generic::each(bytes, &meta, ("Icinga", normal))
    }
}
