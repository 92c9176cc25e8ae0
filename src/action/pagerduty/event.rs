//! Events as PagerDuty takes them, checked before they leave.
//!
//! Invariant: nothing over a documented limit is sent, because PagerDuty answers 202 first and
//! thinks later.

use serde_json::{Map, Value as Json};

use crate::action::arguments::{Options, shorten, wrong};
use crate::action::{Call, Failure};
use crate::event::Value;
use crate::secret::Secret;

/// Longest summary, in characters; a longer one is cut and ends in `…` (documentation).
pub const SUMMARY_CHARS_MAX: usize = 1_024;
/// Longest deduplication key, in characters (documentation).
pub const DEDUP_KEY_CHARS_MAX: usize = 255;
/// Characters of a routing key (documentation).
pub const ROUTING_KEY_CHARS: usize = 32;
/// What `severity` may be (documentation).
const SEVERITIES: &[&str] = &["critical", "error", "warning", "info"];

/// The options of `trigger`.
const TRIGGER: &[&str] = &[
    "summary",
    "source",
    "severity",
    "dedup_key",
    "timestamp",
    "component",
    "group",
    "class",
    "custom_details",
    "links",
    "images",
    "client",
    "client_url",
    "routing_key",
];
/// The options of `acknowledge` and `resolve`.
const FOLLOW_UP: &[&str] = &["dedup_key", "routing_key"];
/// The options of `change`.
const CHANGE: &[&str] = &[
    "summary",
    "source",
    "timestamp",
    "custom_details",
    "links",
    "images",
    "routing_key",
];

/// What a call asks to send.
pub(super) struct Event<'a> {
    pub(super) path: &'static str,
    pub(super) body: Map<String, Json>,
    options: Options<'a>,
}

/// The event that a call asks for.
///
/// # Errors
/// Refuses what PagerDuty would refuse, naming the field.
pub(super) fn event<'a>(call: &Call<'a>) -> Result<Event<'a>, Failure> {
    let argument = call.argument(0);
    match call.verb {
        "trigger" => {
            let options = Options::new(argument, TRIGGER)?;
            let mut body = common(&options, &["client", "client_url"])?;
            let own = Some(call.key.to_owned());
            let dedup_key = options
                .text("dedup_key")?
                .filter(|key| !key.is_empty())
                .or(own);
            body.insert("event_action".to_owned(), Json::from("trigger"));
            body.insert("dedup_key".to_owned(), checked_key(dedup_key)?);
            body.insert("payload".to_owned(), Json::Object(payload(&options)?));
            Ok(Event {
                path: "/v2/enqueue",
                body,
                options,
            })
        }
        "change" => {
            let options = Options::new(argument, CHANGE)?;
            let mut body = common(&options, &[])?;
            body.insert(
                "payload".to_owned(),
                Json::Object(change_payload(&options)?),
            );
            Ok(Event {
                path: "/v2/change/enqueue",
                body,
                options,
            })
        }
        verb => {
            let (options, key) = match argument {
                Value::Map(_) => {
                    let options = Options::new(argument, FOLLOW_UP)?;
                    (options, options.text("dedup_key")?)
                }
                text => (
                    Options::open(&Value::Null)?,
                    text.as_text().map(str::to_owned),
                ),
            };
            let mut body = Map::new();
            body.insert("event_action".to_owned(), Json::from(verb));
            body.insert("dedup_key".to_owned(), checked_key(key)?);
            Ok(Event {
                path: "/v2/enqueue",
                body,
                options,
            })
        }
    }
}

/// The named texts as they are, and the links and images.
fn common(options: &Options<'_>, texts: &[&str]) -> Result<Map<String, Json>, Failure> {
    let mut body = Map::new();
    for name in texts {
        if let Some(text) = options.text(name)? {
            body.insert((*name).to_owned(), Json::from(text));
        }
    }
    for (name, needed) in [("links", "href"), ("images", "src")] {
        for item in options.list(name) {
            let good = item.get(needed).and_then(Value::as_text).is_some();
            if !good {
                let what = format!("a list of maps with `{needed}`");
                return Err(wrong(name, &what, item));
            }
        }
        let items: Vec<Json> = options.list(name).into_iter().map(Value::to_json).collect();
        if !items.is_empty() {
            body.insert(name.to_owned(), Json::from(items));
        }
    }
    Ok(body)
}

fn payload(options: &Options<'_>) -> Result<Map<String, Json>, Failure> {
    let mut payload = change_payload(options)?;
    payload.insert(
        "source".to_owned(),
        Json::from(options.required_text("source")?),
    );
    let severity = options
        .text("severity")?
        .unwrap_or_else(|| "error".to_owned());
    if !SEVERITIES.contains(&severity.as_str()) {
        let known = SEVERITIES.join(", ");
        let why = format!("`severity` is \"{severity}\"; PagerDuty knows {known}");
        return Err(Failure::refused(why));
    }
    payload.insert("severity".to_owned(), Json::from(severity));
    for name in ["component", "group", "class"] {
        if let Some(text) = options.text(name)? {
            payload.insert(name.to_owned(), Json::from(text));
        }
    }
    Ok(payload)
}

fn change_payload(options: &Options<'_>) -> Result<Map<String, Json>, Failure> {
    let summary = options.required_text("summary")?;
    let mut payload = Map::new();
    let summary = shorten(&summary, SUMMARY_CHARS_MAX);
    payload.insert("summary".to_owned(), Json::from(summary));
    if let Some(source) = options.text("source")? {
        payload.insert("source".to_owned(), Json::from(source));
    }
    if let Some(moment) = options.moment("timestamp")? {
        payload.insert("timestamp".to_owned(), Json::from(moment.to_string()));
    }
    match options.value("custom_details") {
        None => {}
        Some(details @ Value::Map(_)) => {
            payload.insert("custom_details".to_owned(), details.to_json());
        }
        Some(other) => return Err(wrong("custom_details", "a map", other)),
    }
    Ok(payload)
}

fn checked_key(key: Option<String>) -> Result<Json, Failure> {
    let key = key.unwrap_or_default();
    if key.trim().is_empty() {
        return Err(Failure::refused("`dedup_key` is missing or blank"));
    }
    if key.chars().count() > DEDUP_KEY_CHARS_MAX {
        let long = format!("`dedup_key` is longer than {DEDUP_KEY_CHARS_MAX} characters");
        return Err(Failure::refused(long));
    }
    Ok(Json::from(key))
}

impl Event<'_> {
    /// The event's own routing key, or `default`.
    ///
    /// # Errors
    /// Refuses if there is none, or if it cannot be one.
    pub(super) fn routing_key(&self, default: Option<&Secret>) -> Result<Secret, Failure> {
        let own = self.options.text("routing_key")?.map(Secret::new);
        let key = own.or_else(|| default.cloned());
        let missing =
            "no routing key: set routing_key_file under [pagerduty], or give `routing_key`";
        let key = key.ok_or_else(|| Failure::refused(missing))?;
        check_routing_key(key.expose())?;
        Ok(key)
    }
}

/// 32 letters and digits.
///
/// # Errors
/// Refuses anything else without showing it.
pub(super) fn check_routing_key(key: &str) -> Result<(), Failure> {
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match plain && key.len() == ROUTING_KEY_CHARS {
        true => Ok(()),
        false => {
            let what = format!("`routing_key` must be {ROUTING_KEY_CHARS} letters and digits");
            Err(Failure::refused(what))
        }
    }
}
