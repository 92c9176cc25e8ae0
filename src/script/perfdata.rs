//! Performance data of plugins, read as Centreon's Broker reads it.
//!
//! What cannot be read of it is left out, and the rest goes on: a plugin's slip must not cost a run.

mod metric;
mod points;
mod reader;

use rhai::{Dynamic, Engine, NativeCallContext};

use self::points::{Shape, points};
use super::convert::to_dynamic;
use super::list::List;
use super::text::with_bytes;
use super::{Result, Word, Words, complain};
use crate::event::Value;

pub use metric::{Metric, Range};
pub use points::POINTS_BYTES_MAX;
pub use reader::{METRICS_MAX, parse};

/// Metrics whose details fit into one map of a script, which may hold 4,096 values.
pub const DETAILED_MAX: usize = 190;

/// The theme.
pub struct Perfdata;

impl Words for Perfdata {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[
            Word {
                name: "perfdata_parse",
                arguments: "text, [full]",
                about: "the metrics in performance data: #{ name: value }, or with true #{ name: #{ value, uom, type, metric_name, instance, subinstance, metric_fields, metric_unit, min, max, warning_low, warning_high, warning_mode, critical_… } }; a limit that is not given is (), an open one is infinite, mode is true for a range with @",
                example: r#"perfdata_parse("'used /var'=95%;80;90;0;100 bad").len() == 1 && perfdata_parse("a=3;@10:20", true).a.warning_mode"#,
            },
            Word {
                name: "perfdata_points",
                arguments: "events, [by]",
                about: "the values in the performance data of an event, of several or of a whole batch (and those of a Broker's metric events) as a list of points for influxdb::write, each a line as Centreon's connector for InfluxDB 2 writes it, a measurement per metric; by \"service\" as the script for InfluxDB 1 does, a measurement per service with its metrics as fields",
                example: r#"perfdata_points(#{ host_name: "web1", perfdata: "rta=2ms", last_check: 7 })[0] == "rta,host.name=web1,metric.unit=ms,type=host value=2.0 7""#,
            },
        ];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_fn("perfdata_parse", values)
            .register_fn("perfdata_parse", either)
            .register_fn("perfdata_points", by_metric)
            .register_fn("perfdata_points", by);
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

fn by_metric(context: NativeCallContext, events: Dynamic) -> Result<List> {
    by(context, events, "metric")
}

fn by(context: NativeCallContext, events: Dynamic, shape: &str) -> Result<List> {
    let shape = Shape::named(shape);
    let found = shape.and_then(|shape| points(&events, shape));
    found.map_err(|why| complain(&context, why))
}
