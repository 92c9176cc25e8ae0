//! Dates in text to seconds and back. The moment itself (`now`) is not a pure word.
//!
//! Zones come from the database inside the program, so that a run replayed on another host, or
//! after that host's update, computes what it computed before.

use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};
use rhai::{Dynamic, Engine, NativeCallContext};

use super::{Result, Word, Words, complain};

/// The zone when a script names none.
const DEFAULT_ZONE: &str = "UTC";

/// The theme.
pub struct Time;

impl Words for Time {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[
            Word {
                name: "date_parse",
                arguments: "text[, format[, zone]]",
                about: "seconds since 1970 out of a date: RFC 3339, a mail's Date, seconds as text, or as the format says (strftime; zone UTC unless the text tells); () if it is none",
                example: r#"date_parse("2026-11-20T16:22:18Z") == 1795191738 && date_parse("2026.11.21 01:22:18", "%Y.%m.%d %H:%M:%S", "Asia/Tokyo") == 1795191738 && date_parse("soon") == ()"#,
            },
            Word {
                name: "date_format",
                arguments: "seconds, format[, zone]",
                about: "a moment in seconds since 1970 as text (strftime), in UTC or the named zone",
                example: r#"date_format(1795191738, "%Y-%m-%d %H:%M", "Europe/Paris") == "2026-11-20 17:22""#,
            },
        ];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_fn("date_parse", |text: &str| {
                parse(text).map_or(Dynamic::UNIT, Dynamic::from_int)
            })
            .register_fn(
                "date_parse",
                |context: NativeCallContext, text: &str, format: &str| {
                    parse_as(&context, text, (format, DEFAULT_ZONE))
                },
            )
            .register_fn(
                "date_parse",
                |context: NativeCallContext, text: &str, format: &str, zone: &str| {
                    parse_as(&context, text, (format, zone))
                },
            )
            .register_fn(
                "date_format",
                |context: NativeCallContext, seconds: i64, format: &str| {
                    format_as(&context, seconds, (format, DEFAULT_ZONE))
                },
            )
            .register_fn(
                "date_format",
                |context: NativeCallContext, seconds: i64, format: &str, zone: &str| {
                    format_as(&context, seconds, (format, zone))
                },
            );
    }
}

/// Seconds out of a date in one of the usual forms; a fraction is cut off.
fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let plain = || {
        let moment: DateTime = text.parse().ok()?;
        let zoned = moment.to_zoned(TimeZone::UTC).ok()?;
        Some(zoned.timestamp())
    };
    let mail = || {
        let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
        let zoned = parser.parse_zoned(text).ok()?;
        Some(zoned.timestamp())
    };
    let seconds = || {
        let whole = text.split('.').next().unwrap_or(text).parse().ok()?;
        let is_number = text.parse::<f64>().is_ok();
        Timestamp::from_second(whole).ok().filter(|_| is_number)
    };
    let moment: Option<Timestamp> = text.parse().ok();
    moment
        .or_else(seconds)
        .or_else(plain)
        .or_else(mail)
        .map(|moment| moment.as_second())
}

fn parse_as(context: &NativeCallContext, text: &str, how: (&str, &str)) -> Result {
    let (format, name) = how;
    let zone = zone(context, name)?;
    // a format that nothing could be written in is a mistake of the script, not of the text
    let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    written(context, format, &sample)?;
    let moment = strtime::parse(format, text.trim()).ok().and_then(|parts| {
        parts.to_timestamp().ok().or_else(|| {
            let midnight = || Some(parts.to_date().ok()?.at(0, 0, 0, 0));
            let local = parts.to_datetime().ok().or_else(midnight)?;
            Some(local.to_zoned(zone).ok()?.timestamp())
        })
    });
    Ok(moment.map_or(Dynamic::UNIT, |moment| {
        Dynamic::from_int(moment.as_second())
    }))
}

fn format_as(context: &NativeCallContext, seconds: i64, how: (&str, &str)) -> Result<String> {
    let (format, name) = how;
    let zone = zone(context, name)?;
    let moment = Timestamp::from_second(seconds).map_err(|_| {
        complain(
            context,
            format!("{seconds} seconds lie outside the calendar"),
        )
    })?;
    written(context, format, &moment.to_zoned(zone))
}

fn written(context: &NativeCallContext, format: &str, moment: &Zoned) -> Result<String> {
    strtime::format(format, moment)
        .map_err(|error| complain(context, format!("`{format}` is no date format: {error}")))
}

/// A zone by its name (`Europe/Paris`) or its distance (`+09:00`).
fn zone(context: &NativeCallContext, name: &str) -> Result<TimeZone> {
    let fixed = || {
        let parts = strtime::parse("%:z", name).or_else(|_| strtime::parse("%z", name));
        parts.ok()?.offset().map(TimeZone::fixed)
    };
    if let Some(zone) = fixed() {
        return Ok(zone);
    }
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| complain(context, format!("there is no time zone `{name}`")))
}
