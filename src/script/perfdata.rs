//! Performance data of plugins, read as Centreon's Broker reads it.
//!
//! What cannot be read of it is left out, and the rest goes on: a plugin's slip must not cost a run.

mod metric;
mod reader;

use rhai::{Dynamic, Engine, NativeCallContext};

use super::convert::to_dynamic;
use super::text::with_bytes;
use super::{Result, Word, Words};
use crate::event::Value;

pub use metric::{Metric, Range};
pub use reader::{METRICS_MAX, parse};

/// Metrics whose details fit into one map of a script, which may hold 4,096 values.
pub const DETAILED_MAX: usize = 190;

/// The theme.
pub struct Perfdata;

impl Words for Perfdata {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[Word {
            name: "perfdata_parse",
            arguments: "text, [full]",
            about: "the metrics in performance data: #{ name: value }, or with true #{ name: #{ value, uom, type, metric_name, instance, subinstance, metric_fields, metric_unit, min, max, warning_low, warning_high, warning_mode, critical_… } }; a limit that is not given is (), an open one is infinite, mode is true for a range with @",
            example: r#"perfdata_parse("'used /var'=95%;80;90;0;100 bad").len() == 1 && perfdata_parse("a=3;@10:20", true).a.warning_mode"#,
        }];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_fn("perfdata_parse", values)
            .register_fn("perfdata_parse", either);
    }
}

fn values(context: NativeCallContext, text: Dynamic) -> Result {
    either(context, text, false)
}

fn either(context: NativeCallContext, text: Dynamic, full: bool) -> Result {
    // A status without performance data.
    if text.is_unit() {
        return Ok(Dynamic::from_map(rhai::Map::new()));
    }
    let metrics = with_bytes(&context, &text, |bytes| {
        parse(&String::from_utf8_lossy(bytes))
    })?;
    let shown = metrics.into_iter().take(match full {
        true => DETAILED_MAX,
        false => METRICS_MAX,
    });
    let entry = |metric: Metric| match full {
        true => (metric.name.clone(), metric.into_value()),
        false => (metric.name, Value::Float(metric.value)),
    };
    Ok(to_dynamic(&Value::Map(shown.map(entry).collect())))
}
