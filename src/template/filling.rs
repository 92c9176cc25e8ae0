//! What stands in place of a macro: from the event, which carries the names of what it is about, and
//! for the rest from what its Broker told.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use regex::Regex;

use super::Look;
use super::macros::{Change, Of};
use crate::event::Value;
use crate::gate::Question;

/// The categories by their numbers.
const CATEGORIES: &[(i64, &str)] = &[(1, "neb"), (3, "storage"), (6, "bam")];
const HOST_STATES: &[&str] = &["UP", "DOWN", "UNREACHABLE"];
const SERVICE_STATES: &[&str] = &["OK", "WARNING", "CRITICAL", "UNKNOWN", "PENDING"];
/// The state of what was not checked yet.
const PENDING: i64 = 4;
/// The library's own.
const DATE_FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// An event, and how its times are written.
pub struct Filling<'a> {
    event: &'a Value,
    date_format: &'a str,
    zone: TimeZone,
}

/// True of `neb_host_status` and its like.
pub(super) fn is_kind(key: &str) -> bool {
    let named = |(_, name): &(i64, &str)| {
        let rest = key
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('_'));
        rest.is_some_and(|rest| !rest.is_empty())
    };
    CATEGORIES.iter().any(named)
}

impl<'a> Filling<'a> {
    /// This event; `options` may say `date_format` and `time_zone`.
    ///
    /// # Errors
    /// An option, a format or a zone that does not exist.
    pub fn new(event: &'a Value, options: Option<&'a Value>) -> Result<Filling<'a>, String> {
        let options = options.and_then(Value::as_map).into_iter().flatten();
        let mut filling = Filling {
            event,
            date_format: DATE_FORMAT,
            zone: TimeZone::UTC,
        };
        for (name, value) in options {
            let text = value.as_text().ok_or_else(|| format!("`{name}` is text"))?;
            match name.as_str() {
                "date_format" => filling.date_format = text,
                "time_zone" => {
                    let zone = TimeZoneDatabase::bundled().get(text);
                    filling.zone = zone.map_err(|_| format!("there is no time zone `{text}`"))?;
                }
                other => return Err(format!("there is no option `{other}`")),
            }
        }
        match filling.date(0) {
            Some(_) => Ok(filling),
            None => Err(format!("`{}` is no date format", filling.date_format)),
        }
    }

    /// `neb_host_status`.
    pub(super) fn kind(&self) -> String {
        let number = self.number("category");
        let name = CATEGORIES.iter().find(|(known, _)| Some(*known) == number);
        let name = name.map_or("", |(_, name)| name);
        format!("{name}_{}", self.text("kind"))
    }

    /// What a macro stands for; `None` if there is nothing.
    pub(super) fn value(&self, of: &Of, look: &mut Look<'_>) -> Option<Value> {
        match of {
            Of::Event(name, change) => self.changed(self.field(name)?, *change, self.is_of_host()),
            Of::Cache(kind, name, change) => {
                let value = self.cached(kind, name, look)?;
                self.changed(value, *change, kind == "host")
            }
            Of::Groups(groups, is_inline, pattern) => self.groups(groups, *is_inline, pattern),
            Of::Nothing => None,
        }
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "short_output" => self.plain("output"),
            // A connector gives all lines under this name.
            "long_output" => {
                let (first, rest) = (self.text("output"), self.text("long_output"));
                let whole = match rest {
                    "" => first.to_owned(),
                    rest => format!("{first}\n{rest}"),
                };
                self.event.get("output").map(|_| Value::Text(whole))
            }
            name => self.plain(name),
        }
    }

    fn plain(&self, name: &str) -> Option<Value> {
        self.event
            .get(name)
            .filter(|value| **value != Value::Null)
            .cloned()
    }

    fn text(&self, name: &str) -> &str {
        self.event.get(name).and_then(Value::as_text).unwrap_or("")
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.event.get(name) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        }
    }

    fn is_of_host(&self) -> bool {
        self.number("service_id").unwrap_or(0) == 0 && self.number("host_id").unwrap_or(0) != 0
    }

    /// `{cache.kind.name}`
    fn cached(&self, kind: &str, name: &str, look: &mut Look<'_>) -> Option<Value> {
        match (kind, name) {
            ("host", "name") => self.plain("host_name"),
            ("host", "alias") => self.plain("host_alias"),
            ("host", "address") => self.plain("host_address"),
            ("service", "description") => self.plain("service_description"),
            ("instance" | "poller", "name") => self.plain("poller"),
            ("instance" | "poller", "id" | "instance_id") => self.plain("instance_id"),
            ("severity", "host") => self.plain("host_severity"),
            ("severity", "service") => self.plain("service_severity"),
            ("ba" | "bv", name) => self.plain(name),
            ("host", "id") => self.plain("host_id"),
            ("service", "id") => self.plain("service_id"),
            ("host", name) if self.is_of_host() => self.own(name, "broker::host", look),
            ("host", name) => self.told(name, "broker::host", look),
            ("service", name) if !self.is_of_host() => self.own(name, "broker::service", look),
            _ => None,
        }
    }

    /// Of what the event itself is about: it knows best.
    fn own(&self, name: &str, word: &str, look: &mut Look<'_>) -> Option<Value> {
        self.field(name).or_else(|| self.told(name, word, look))
    }

    /// What the Broker told of it.
    fn told(&self, name: &str, word: &str, look: &mut Look<'_>) -> Option<Value> {
        let ids = match word {
            "broker::host" => vec![self.plain("host_id")?],
            _ => vec![self.plain("host_id")?, self.plain("service_id")?],
        };
        let told = look(Question {
            word: word.to_owned(),
            arguments: ids,
        })?;
        told.get(name)
            .filter(|value| **value != Value::Null)
            .cloned()
    }

    fn groups(&self, groups: &str, is_inline: bool, pattern: &Regex) -> Option<Value> {
        let field = match groups {
            "hg" => "host_groups",
            "sg" => "service_groups",
            _ => "bvs",
        };
        let Some(Value::List(names)) = self.event.get(field) else {
            return None;
        };
        let names = names.iter().filter_map(Value::as_text);
        let names: Vec<&str> = names.filter(|name| pattern.is_match(name)).collect();
        Some(match is_inline {
            true => Value::Text(names.join(",")),
            false => Value::List(names.into_iter().map(Value::from).collect()),
        })
    }

    fn changed(&self, value: Value, change: Option<Change>, is_of_host: bool) -> Option<Value> {
        let Some(change) = change else {
            return Some(value);
        };
        let number = match &value {
            Value::Int(number) => Some(*number),
            _ => None,
        };
        Some(match change {
            Change::Date => Value::Text(self.date(number?)?),
            Change::Type => Value::from(if number? == 0 { "SOFT" } else { "HARD" }),
            Change::State => Value::from(state(number?, is_of_host)?),
            Change::Short => Value::from(value.to_plain().lines().next().unwrap_or("")),
            Change::Number => as_number(&value)?,
            Change::Text => Value::Text(value.to_plain()),
        })
    }

    fn date(&self, seconds: i64) -> Option<String> {
        let moment = Timestamp::from_second(seconds).ok()?;
        strtime::format(self.date_format, &moment.to_zoned(self.zone.clone())).ok()
    }
}

fn state(state: i64, is_of_host: bool) -> Option<&'static str> {
    let place = usize::try_from(state).ok()?;
    match is_of_host {
        true if state == PENDING => Some("PENDING"),
        true => HOST_STATES.get(place).copied(),
        false => SERVICE_STATES.get(place).copied(),
    }
}

fn as_number(value: &Value) -> Option<Value> {
    let text = value.to_plain();
    let text = text.trim();
    let whole = text.parse().ok().map(Value::Int);
    whole.or_else(|| text.parse().ok().map(Value::Float))
}
