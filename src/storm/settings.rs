//! `[storm]` of a flow's settings: what each kind is told, and what makes no sense.

use std::time::Duration;

use serde::Deserialize;

use super::{DIGEST_EVENTS_MAX, Kind, LEAST_MAX, MOST_MAX, WINDOW_MAX};
use crate::duration::Lasting;

/// `[storm]`: one table for each kind that a flow has. An event meets them in this order.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StormSettings {
    /// Nothing acts while something flaps.
    pub flap: Option<Flap>,
    /// The same again is suppressed for a while.
    pub dedup: Option<Dedup>,
    /// Acts when enough different ones say so.
    pub quorum: Option<Quorum>,
    /// Acts once it has been quiet.
    pub debounce: Option<Debounce>,
    /// At most so many runs in a while.
    pub throttle: Option<Throttle>,
    /// One run for all events of a while.
    pub digest: Option<Digest>,
}

/// `flap = { by = ["hostname"], field = "status", changes = 5, within = "10m", calm = "10m" }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// The fields that name what may flap.
    pub by: Vec<String>,
    /// The field whose changes are counted.
    pub field: String,
    /// With so many changes …
    pub changes: usize,
    /// … in this time it flaps.
    pub within: Lasting,
    /// It is over once the field has not changed for so long.
    pub calm: Lasting,
}

/// `dedup = { by = ["hostname", "trigger_key"], within = "10m" }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dedup {
    /// The fields that make two events the same.
    pub by: Vec<String>,
    /// Counted from the event that acted.
    pub within: Lasting,
}

/// `quorum = { by = ["trigger_key"], distinct = "hostname", least = 3, within = "5m" }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// The fields that name what is said; none: everything.
    #[serde(default)]
    pub by: Vec<String>,
    /// The field that tells apart who says it.
    pub distinct: String,
    /// How many different ones it takes.
    pub least: usize,
    /// In which time; for as long it is silent after it acted.
    pub within: Lasting,
}

/// `debounce = { by = ["hostname"], quiet = "30s", longest = "5m" }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debounce {
    /// The fields that name what must be quiet; none: everything.
    #[serde(default)]
    pub by: Vec<String>,
    /// How long nothing must come.
    pub quiet: Lasting,
    /// It acts at the latest so long after the first event.
    pub longest: Lasting,
}

/// `throttle = { by = ["hostname"], most = 10, within = "1m" }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// The fields of which each value has its own count; none: the flow as a whole.
    #[serde(default)]
    pub by: Vec<String>,
    /// Runs in one window.
    pub most: u64,
    /// How long a window is; it begins with its first run.
    pub within: Lasting,
}

/// `digest = { by = ["site"], every = "5m", most = 1000 }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// The fields of which each value has its own run; none: one run for all.
    #[serde(default)]
    pub by: Vec<String>,
    /// How long events are gathered, from the first on.
    pub every: Lasting,
    /// With so many it does not wait longer.
    pub most: usize,
}

impl Kind {
    /// What it does, for people.
    pub fn about(self) -> &'static str {
        match self {
            Kind::Flap => {
                "While `field` changes to and fro nothing acts but the event with which that begins; once it is calm the last state acts. `meta.flapping`: `began`, `ended`."
            }
            Kind::Dedup => "The same again is suppressed, counted from the event that acted.",
            Kind::Quorum => {
                "Acts when so many different ones say so, then is silent for as long. `meta.quorum`: who."
            }
            Kind::Debounce => {
                "Acts with the last event once it has been quiet, at the latest so long after the first."
            }
            Kind::Throttle => {
                "At most so many runs in a window, which begins with its first run. `meta.suppressed`: how many before this one."
            }
            Kind::Digest => "One run with `events` for all of a while, or when there are so many.",
        }
    }

    /// As it may stand under `[storm]`.
    pub fn example(self) -> &'static str {
        match self {
            Kind::Flap => {
                r#"flap = { by = ["hostname", "trigger_key"], field = "status", changes = 5, within = "10m", calm = "10m" }"#
            }
            Kind::Dedup => r#"dedup = { by = ["hostname", "trigger_key"], within = "10m" }"#,
            Kind::Quorum => {
                r#"quorum = { by = ["trigger_key"], distinct = "hostname", least = 3, within = "5m" }"#
            }
            Kind::Debounce => r#"debounce = { by = ["hostname"], quiet = "30s", longest = "5m" }"#,
            Kind::Throttle => r#"throttle = { by = ["hostname"], most = 10, within = "1m" }"#,
            Kind::Digest => r#"digest = { by = ["site"], every = "5m", most = 1000 }"#,
        }
    }
}

impl StormSettings {
    /// The kinds that are there, by their keys, in the order in which an event meets them.
    pub fn kinds(&self) -> Vec<&'static str> {
        let is_there = |kind: &&Kind| super::by(self, **kind).is_some();
        Kind::ALL
            .iter()
            .filter(is_there)
            .map(|kind| kind.word())
            .collect()
    }

    /// What the types do not say.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn sensible(&self) -> Result<(), String> {
        if let Some(flap) = &self.flap {
            named("flap", "by", &flap.by)?;
            named("flap", "field", std::slice::from_ref(&flap.field))?;
            lasting("flap", "within", flap.within)?;
            lasting("flap", "calm", flap.calm)?;
            between("flap changes", flap.changes, 2..=LEAST_MAX)?;
        }
        if let Some(dedup) = &self.dedup {
            named("dedup", "by", &dedup.by)?;
            lasting("dedup", "within", dedup.within)?;
        }
        if let Some(quorum) = &self.quorum {
            named("quorum", "distinct", std::slice::from_ref(&quorum.distinct))?;
            lasting("quorum", "within", quorum.within)?;
            between("quorum least", quorum.least, 2..=LEAST_MAX)?;
            if quorum.by.contains(&quorum.distinct) {
                return Err(
                    "quorum: `distinct` is one of `by`, so there is never a second".to_owned(),
                );
            }
        }
        if let Some(debounce) = &self.debounce {
            lasting("debounce", "quiet", debounce.quiet)?;
            lasting("debounce", "longest", debounce.longest)?;
            if debounce.longest < debounce.quiet {
                return Err("debounce: `longest` is shorter than `quiet`".to_owned());
            }
        }
        if let Some(throttle) = &self.throttle {
            lasting("throttle", "within", throttle.within)?;
            let most = usize::try_from(throttle.most).unwrap_or(usize::MAX);
            between("throttle most", most, 1..=MOST_MAX)?;
        }
        if let Some(digest) = &self.digest {
            lasting("digest", "every", digest.every)?;
            between("digest most", digest.most, 1..=DIGEST_EVENTS_MAX)?;
        }
        Ok(())
    }
}

fn named(kind: &str, key: &str, fields: &[String]) -> Result<(), String> {
    match fields.is_empty() || fields.iter().any(String::is_empty) {
        true => Err(format!("{kind}: `{key}` must name a field")),
        false => Ok(()),
    }
}

fn lasting(kind: &str, key: &str, given: Lasting) -> Result<(), String> {
    match given.0 {
        Duration::ZERO => Err(format!("{kind}: `{key}` must be longer than 0s")),
        time if time > WINDOW_MAX => Err(format!("{kind}: `{key}` must be at most 30d")),
        _ => Ok(()),
    }
}

fn between(what: &str, given: usize, range: std::ops::RangeInclusive<usize>) -> Result<(), String> {
    match range.contains(&given) {
        true => Ok(()),
        false => Err(format!(
            "{what} must be {} to {}",
            range.start(),
            range.end()
        )),
    }
}
