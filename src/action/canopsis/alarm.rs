//! Alarms: found by what they are about, acted on by their id.
//!
//! 404 for an action means that the alarm is resolved or already in that condition, so it is done.

use serde_json::{Map, Value as Json, json};

use super::target::Target;
use super::{Api, event};
use crate::action::arguments::shorten;
use crate::action::{Call, Failure};
use crate::event::Value;

/// Longest comment, ticket URL and system name, in characters; comments are cut.
const COMMENT_CHARS_MAX: usize = 255;

/// `canopsis::find`
pub(super) async fn find(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let target = Target::read(call, &[])?;
    let entity = target.entity();
    Ok(match open(api, &entity).await? {
        None => Value::Null,
        Some(alarm) => shown(&entity, alarm),
    })
}

/// `ack ackremove cancel comment ticket snooze`: gives `#{ changed, id }`. Without an open alarm
/// there is nothing to change. An acknowledgement of somebody else goes as an event.
pub(super) async fn act(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    if matches!(call.verb, "ack" | "ackremove")
        && let Some(outcome) = event::acknowledge(api, call).await?
    {
        return Ok(outcome);
    }
    let (verb, target, body) = wish(call)?;
    let Some(alarm) = open(api, &target.entity()).await? else {
        return Ok(outcome(Value::Bool(false), Value::Null));
    };
    let id = alarm["_id"].as_str().unwrap_or("").to_owned();
    let path = format!("/alarms/{}/{verb}", crate::action::path_segment(&id));
    let request = api.request("PUT", &path).json(&Json::Object(body));
    let response = api.send(request).await?;
    Ok(outcome(
        Value::Bool(response.status != 404),
        Value::from(id),
    ))
}

/// The open alarm of an entity, nothing if it has none (or is not known at all).
pub(super) async fn open(api: &Api<'_>, entity: &str) -> Result<Option<Json>, Failure> {
    let mut request = api.request("GET", "/open-alarms");
    request.query = vec![("_id".to_owned(), entity.to_owned())];
    let response = api.send(request).await?;
    if response.status != 200 {
        return Ok(None);
    }
    let alarm = response.json().filter(|alarm| alarm["_id"].is_string());
    let odd = "Canopsis answered something that is no alarm; is `endpoint` right?";
    let alarm = alarm.ok_or_else(|| Failure::other(odd).status(200))?;
    Ok(Some(alarm).filter(|alarm| alarm["v"]["resolved"].is_null()))
}

/// The API's own verb, what it is about and its body.
fn wish<'a>(call: &Call<'a>) -> Result<(&'static str, Target<'a>, Map<String, Json>), Failure> {
    let (verb, options, needed): (&str, &[&str], Option<&str>) = match call.verb {
        "ack" => ("ack", event::options_of("ack"), None),
        "ackremove" => ("ackremove", event::options_of("ackremove"), None),
        "cancel" => ("cancel", &["comment"], None),
        "comment" => ("comment", &["comment"], Some("comment")),
        "ticket" => (
            "assocticket",
            &[
                "ticket",
                "url",
                "system_name",
                "data",
                "comment",
                "ticket_resources",
            ],
            Some("ticket"),
        ),
        "snooze" => ("snooze", &["duration", "comment"], Some("duration")),
        other => return Err(Failure::refused(format!("canopsis has no verb `{other}`"))),
    };
    let target = Target::read(call, options)?;
    if let Some(needed) = needed {
        target.options.required_text(needed)?;
    }
    let body = body(&target)?;
    Ok((verb, target, body))
}

fn body(target: &Target<'_>) -> Result<Map<String, Json>, Failure> {
    let options = &target.options;
    let mut body = Map::new();
    if let Some(comment) = options.text("comment")? {
        let comment = shorten(&comment, COMMENT_CHARS_MAX);
        body.insert("comment".to_owned(), json!(comment));
    }
    for name in ["ticket", "url", "system_name"] {
        if let Some(text) = options.text(name)? {
            if text.chars().count() > COMMENT_CHARS_MAX {
                let long = format!("`{name}` is longer than {COMMENT_CHARS_MAX} characters");
                return Err(Failure::refused(long));
            }
            body.insert(name.to_owned(), json!(text));
        }
    }
    for name in ["ack_resources", "ticket_resources"] {
        if let Some(yes) = options.flag(name)? {
            body.insert(name.to_owned(), json!(yes));
        }
    }
    if let Some(data) = options.map("data")? {
        let text = |(name, value): (&String, &Value)| (name.clone(), json!(value.to_plain()));
        body.insert(
            "data".to_owned(),
            Json::Object(data.iter().map(text).collect()),
        );
    }
    if let Some(duration) = options.duration("duration")? {
        let seconds = duration.as_secs().max(1);
        body.insert(
            "duration".to_owned(),
            json!({"value": seconds, "unit": "s"}),
        );
    }
    Ok(body)
}

/// `#{ changed, id }`
pub(super) fn outcome(changed: Value, id: Value) -> Value {
    Value::from([("changed", changed), ("id", id)])
}

fn shown(entity: &str, alarm: Json) -> Value {
    let v = &alarm["v"];
    let text = |value: &Json| Value::from(value.as_str().map(str::to_owned));
    Value::from([
        ("id", text(&alarm["_id"])),
        ("entity", Value::from(entity)),
        ("state", Value::from(v["state"]["val"].as_i64())),
        ("acked", Value::Bool(!v["ack"].is_null())),
        ("canceled", Value::Bool(!v["canceled"].is_null())),
        ("output", text(&v["output"])),
        ("alarm", Value::from_json(alarm)),
    ])
}
