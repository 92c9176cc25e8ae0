//! Events: a check, the check with state 0 that says "recovered", and an acknowledgement that
//! somebody else gave.

use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};

use super::target::Target;
use super::{Api, alarm};
use crate::action::arguments::{Options, shorten, wrong};
use crate::action::{Call, Failure};
use crate::clock::Clock;
use crate::event::Value;

/// Pause before the second look at an alarm that should resolve; doubles up to the next.
const LOOK_FIRST: Duration = Duration::from_millis(250);
/// Longest pause between two looks.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest time that `wait` can ask for.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Characters of an event that a failure shows.
const SHOWN_CHARS_MAX: usize = 300;
/// What an acknowledgement may have, whichever way it goes.
const ACKNOWLEDGEMENT: &[&str] = &[
    "ack_resources",
    "comment",
    "author",
    "timestamp",
    "output",
    "long_output",
    "state",
    "connector",
    "connector_name",
];
/// Of them those that the API of alarms knows; the others stand in an event.
const OF_API: &[&str] = &["ack_resources", "comment"];
/// Fields that we write ourselves.
const OWN_FIELDS: &[&str] = &["event_type", "source_type"];

/// `canopsis::check`
pub(super) async fn check(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let options = Options::open(call.argument(0))?;
    let target = Target::named(options)?;
    let state = options.value("state").unwrap_or(&Value::Null);
    let mut event = base(api, &target)?;
    for name in options.names() {
        if OWN_FIELDS.contains(&name) {
            return Err(Failure::refused(format!("`{name}` is set by the verb")));
        }
        if let Some(value) = options.value(name) {
            event.entry(name).or_insert_with(|| value.to_json());
        }
    }
    event.insert("state".to_owned(), json!(state_number(state)?));
    let sent = send(api, event).await?;
    Ok(Value::from([
        ("entity", Value::from(target.entity())),
        ("event", Value::from_json(sent)),
    ]))
}

/// `canopsis::ack` and `ackremove` as an event, if the script says who did it or when: the API of
/// alarms would write down the authkey's user and this moment. Nothing if it says neither.
pub(super) async fn acknowledge(api: &Api<'_>, call: &Call<'_>) -> Result<Option<Value>, Failure> {
    let target = Target::read(call, options_of(call.verb))?;
    if !is_of_somebody(&target.options)? {
        return Ok(None);
    }
    let mut event = base(api, &target)?;
    event.insert("event_type".to_owned(), json!(call.verb));
    if let Some(state) = target.options.value("state") {
        event.insert("state".to_owned(), json!(state_number(state)?));
    }
    send(api, event).await?;
    // Canopsis does not say which alarm it was, nor if there was one.
    Ok(Some(alarm::outcome(Value::Null, Value::Null)))
}

/// The options of `ack` or `ackremove`.
pub(super) fn options_of(verb: &str) -> &'static [&'static str] {
    match verb {
        "ack" => ACKNOWLEDGEMENT,
        _ => ACKNOWLEDGEMENT.split_at(1).1,
    }
}

/// True if it says whose acknowledgement it is, or from when.
fn is_of_somebody(options: &Options<'_>) -> Result<bool, Failure> {
    let is_given = |name: &&&str| options.value(name).is_some();
    let is_of_somebody = ["author", "timestamp"].iter().any(|name| is_given(&name));
    let mut given = ACKNOWLEDGEMENT.iter().filter(is_given);
    let odd = given.find(|name| OF_API.contains(name) == is_of_somebody);
    match (odd, is_of_somebody) {
        (Some(odd), true) => Err(Failure::refused(format!(
            "`{odd}` does not go with `author` or `timestamp`; an event has `output`"
        ))),
        (Some(odd), false) => Err(Failure::refused(format!(
            "`{odd}` stands in an event only; give `author` or `timestamp` too"
        ))),
        (None, _) => Ok(is_of_somebody),
    }
}

/// `canopsis::resolve`
pub(super) async fn resolve(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let target = Target::read(
        call,
        &["wait", "output", "long_output", "author", "timestamp"],
    )?;
    let wait = target.options.duration("wait")?;
    if wait.is_some_and(|wait| wait > WAIT_MAX) {
        return Err(Failure::refused("`wait` must be at most 1h"));
    }
    let mut event = base(api, &target)?;
    event.insert("state".to_owned(), json!(0));
    event.entry("output").or_insert_with(|| json!("OK"));
    send(api, event).await?;
    let resolved = match wait {
        None => Value::Null,
        Some(wait) => Value::Bool(is_resolved_within(api, &target, wait).await?),
    };
    Ok(Value::from([
        ("entity", Value::from(target.entity())),
        ("resolved", resolved),
    ]))
}

/// Looks again and again until no alarm is open. Canopsis takes the check in later than it says
/// so and resolves a minute or more after that, so the first looks still see the old state.
async fn is_resolved_within(
    api: &Api<'_>,
    target: &Target<'_>,
    wait: Duration,
) -> Result<bool, Failure> {
    let started = Instant::now();
    let mut pause = LOOK_FIRST;
    loop {
        if alarm::open(api, &target.entity()).await?.is_none() {
            return Ok(true);
        }
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(LOOK_PAUSE_MAX);
    }
}

/// The fields that every event has; it is a check unless said otherwise.
fn base(api: &Api<'_>, target: &Target<'_>) -> Result<Map<String, Json>, Failure> {
    let options = &target.options;
    let mut event = Map::new();
    let source_type = if target.resource.is_some() {
        "resource"
    } else {
        "component"
    };
    event.insert("event_type".to_owned(), json!("check"));
    event.insert("source_type".to_owned(), json!(source_type));
    event.insert("component".to_owned(), json!(target.component));
    if let Some(resource) = &target.resource {
        event.insert("resource".to_owned(), json!(resource));
    }
    for (name, default) in [
        ("connector", Some(&api.service.connector)),
        ("connector_name", Some(&api.service.connector_name)),
        ("output", None),
        ("long_output", None),
        ("author", None),
    ] {
        let text = options
            .text(name)?
            .filter(|text| default.is_none() || !text.is_empty());
        if let Some(text) = text.or_else(|| default.cloned()) {
            event.insert(name.to_owned(), json!(text));
        }
    }
    let moment = options
        .moment("timestamp")?
        .unwrap_or_else(|| Clock::system().now());
    event.insert("timestamp".to_owned(), json!(moment.as_second()));
    Ok(event)
}

/// 0 to 3, as a number or by name.
fn state_number(value: &Value) -> Result<i64, Failure> {
    let wanted = "0 to 3, or ok, minor, major, critical";
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "ok" | "info" => Some(0),
            "minor" => Some(1),
            "major" => Some(2),
            "critical" => Some(3),
            other => other.parse().ok(),
        },
        other => return Err(wrong("state", wanted, other)),
    };
    let number = number.filter(|number| (0..=3).contains(number));
    number.ok_or_else(|| Failure::refused(format!("`state` is {value}; it must be {wanted}")))
}

/// Posts one event and reads what became of it; gives it as Canopsis corrected it.
async fn send(api: &Api<'_>, event: Map<String, Json>) -> Result<Json, Failure> {
    let event = Json::Object(event);
    let request = api.request("POST", "/event").json(&event);
    let response = api.send(request).await?;
    let answer = response.json().unwrap_or_default();
    let has = |name: &str| {
        answer[name]
            .as_array()
            .is_some_and(|events| !events.is_empty())
    };
    let shown = shorten(&event.to_string(), SHOWN_CHARS_MAX);
    if has("failed_events") {
        return Err(Failure::refused(format!(
            "Canopsis refused the event: {shown}"
        )));
    }
    if has("retry_events") {
        return Err(Failure::away(
            "Canopsis cannot take events now (retry_events)",
        ));
    }
    match has("sent_events") {
        true => Ok(answer["sent_events"][0].clone()),
        false => {
            let status = response.status;
            let odd = format!("Canopsis answered {status} without saying what became of the event");
            Err(Failure::other(odd).status(status))
        }
    }
}
