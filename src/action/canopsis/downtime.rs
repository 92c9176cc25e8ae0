//! Downtimes: a pbehavior of an entity, with its reason, type and comment, as Centreon's own
//! stream connector makes them.
//!
//! Invariant: a downtime has one id, given by the flow or made from the run's key, so that making
//! it again finds it and taking it back again finds nothing; both count as done.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::Api;
use super::target::Target;
use crate::action::{Call, Failure};
use crate::clock::Clock;
use crate::event::Value;

/// Longest id, which is the name too, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Entries of a list in one answer.
const PAGE_ENTRIES: &str = "100";
/// Pages of reasons or types that are read.
const PAGES_MAX: u64 = 20;
/// The type of a downtime that names none; Canopsis comes with it.
const TYPE_DEFAULT: &str = "Default maintenance";
/// The reason of a downtime that names none.
const REASON_DEFAULT: &str = "vigie";
/// What a reason that we make is described by.
const REASON_DESCRIPTION: &str = "set by vigie";
/// Canopsis of this version wants a colour.
const VERSION_WITH_COLOUR: &str = "22.10.";
/// The colour that Centreon's connector gives.
const COLOUR: &str = "#73D8FF";
/// Words for the creation of what is there.
const THERE_ALREADY: &str = "already exist";

/// What the script wants.
struct Wish<'a> {
    target: Target<'a>,
    id: String,
    start: Timestamp,
    end: Timestamp,
}

/// `canopsis::downtime`
pub(super) async fn set(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let wish = wish(call)?;
    let options = &wish.target.options;
    let reason = options.text("reason")?;
    let kind = options.text("type")?;
    let reason = reason_id(api, reason.as_deref().unwrap_or(REASON_DEFAULT)).await?;
    let kind = type_id(api, kind.as_deref().unwrap_or(TYPE_DEFAULT)).await?;
    let mut body = body(&wish)?;
    body.insert("reason".to_owned(), json!(reason));
    body.insert("type".to_owned(), json!(kind));
    if wants_colour(api).await? {
        body.insert("color".to_owned(), json!(COLOUR));
    }
    let is_new = post(api, "/pbehaviors", &Json::Object(body))
        .await?
        .is_some();
    if let Some(comment) = options.text("comment")?.filter(|text| !text.is_empty())
        && (is_new || !has_comment(api, &wish.id, &comment).await?)
    {
        let body = json!({"pbehavior": wish.id, "message": comment});
        post(api, "/pbehavior-comments", &body).await?;
    }
    Ok(outcome(is_new, wish.id))
}

/// `canopsis::undo_downtime`
pub(super) async fn undo(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let id = call.text(0, "id")?;
    if id.trim().is_empty() {
        return Err(Failure::refused("`id` is blank"));
    }
    let mut request = api.request("DELETE", "/pbehaviors");
    request.query = vec![("name".to_owned(), id.to_owned())];
    // As the connector does: the name stands in both.
    let request = request.json(&json!({ "name": id }));
    let response = api.send(request).await?;
    Ok(outcome(response.status != 404, id.to_owned()))
}

fn outcome(changed: bool, id: String) -> Value {
    Value::from([("changed", Value::Bool(changed)), ("id", Value::from(id))])
}

fn wish<'a>(call: &Call<'a>) -> Result<Wish<'a>, Failure> {
    let known = [
        "id", "start", "end", "duration", "author", "comment", "reason", "type",
    ];
    let target = Target::read(call, &known)?;
    let options = &target.options;
    let id = match options.text("id")? {
        Some(id) if id.trim().is_empty() => return Err(Failure::refused("`id` is blank")),
        Some(id) => id,
        None => format!("vigie-{}", call.key),
    };
    if id.chars().count() > NAME_CHARS_MAX {
        let long = format!("`id` is longer than {NAME_CHARS_MAX} characters");
        return Err(Failure::refused(long));
    }
    let start = options.moment("start")?;
    let start = start.unwrap_or_else(|| Clock::system().now());
    let end = match (options.moment("end")?, options.duration("duration")?) {
        (Some(end), None) => end,
        (None, Some(duration)) => start
            .checked_add(duration)
            .map_err(|_| Failure::refused("`duration` is too long"))?,
        _ => return Err(Failure::refused("give either `end` or `duration`")),
    };
    if end <= start {
        return Err(Failure::refused("the downtime ends before it begins"));
    }
    Ok(Wish {
        target,
        id,
        start,
        end,
    })
}

fn body(wish: &Wish<'_>) -> Result<Map<String, Json>, Failure> {
    let entity = json!({"field": "_id", "cond": {"type": "eq", "value": wish.target.entity()}});
    let mut body = Map::new();
    for (name, value) in [
        ("_id", json!(wish.id)),
        ("name", json!(wish.id)),
        ("enabled", json!(true)),
        ("rrule", json!("")),
        ("tstart", json!(wish.start.as_second())),
        ("tstop", json!(wish.end.as_second())),
        ("entity_pattern", json!([[entity]])),
    ] {
        body.insert(name.to_owned(), value);
    }
    if let Some(author) = wish.target.options.text("author")? {
        body.insert("author".to_owned(), json!(author));
    }
    Ok(body)
}

/// The id of a reason, which is made if there is none of this name.
async fn reason_id(api: &Api<'_>, name: &str) -> Result<String, Failure> {
    let path = "/pbehavior-reasons";
    if let Some(id) = find(api, path, name).await?.0 {
        return Ok(id);
    }
    let body = json!({"name": name, "description": REASON_DESCRIPTION});
    let made = post(api, path, &body).await?;
    if let Some(id) = made.and_then(|made| made["_id"].as_str().map(str::to_owned)) {
        return Ok(id);
    }
    // Somebody else made it meanwhile, or this Canopsis does not say what it made.
    let found = find(api, path, name).await?.0;
    found.ok_or_else(|| Failure::other(format!("Canopsis took the reason `{name}` and has none")))
}

/// The id of a type; those are the administrator's.
async fn type_id(api: &Api<'_>, name: &str) -> Result<String, Failure> {
    let (found, known) = find(api, "/pbehavior-types", name).await?;
    found.ok_or_else(|| {
        let known = known.join(", ");
        Failure::refused(format!(
            "Canopsis has no pbehavior type `{name}`; it has {known}"
        ))
    })
}

/// The `_id` of the entry called `name` in a paged list, and all names seen.
async fn find(
    api: &Api<'_>,
    path: &str,
    name: &str,
) -> Result<(Option<String>, Vec<String>), Failure> {
    let mut names = Vec::new();
    for page in 1..=PAGES_MAX {
        let mut request = api.request("GET", path);
        request.header("accept", "application/json");
        request.query = vec![
            ("page".to_owned(), page.to_string()),
            ("limit".to_owned(), PAGE_ENTRIES.to_owned()),
        ];
        let response = api.send(request).await?;
        let answer = response.json().unwrap_or_default();
        let odd = format!("Canopsis answered {path} without `data`; is `endpoint` right?");
        let entries = answer["data"].as_array();
        let entries = entries.ok_or_else(|| Failure::other(odd).status(response.status))?;
        for entry in entries {
            let found = entry["name"].as_str().unwrap_or("");
            if found == name {
                return Ok((entry["_id"].as_str().map(str::to_owned), names));
            }
            names.push(found.to_owned());
        }
        if entries.is_empty() || answer["meta"]["page_count"].as_u64().unwrap_or(1) <= page {
            break;
        }
    }
    Ok((None, names))
}

/// Creates something; nothing if it is there already.
async fn post(api: &Api<'_>, path: &str, body: &Json) -> Result<Option<Json>, Failure> {
    let mut request = api.request("POST", path).json(body);
    request.header("accept", "application/json");
    let response = match api.send(request).await {
        Ok(response) => response,
        Err(failure) if is_there(&failure) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    match response.status {
        404 => Err(Failure::refused(format!("Canopsis has no {path}")).status(404)),
        _ => Ok(Some(response.json().unwrap_or_default())),
    }
}

fn is_there(failure: &Failure) -> bool {
    failure.status == Some(400) && failure.message.to_lowercase().contains(THERE_ALREADY)
}

/// True if the downtime, which was there already, has this comment: an earlier try may have ended
/// between the two.
async fn has_comment(api: &Api<'_>, id: &str, comment: &str) -> Result<bool, Failure> {
    let path = format!("/pbehaviors/{}", crate::action::path_segment(id));
    let response = api.send(api.request("GET", &path)).await?;
    let found = response.json().unwrap_or_default();
    let comments = found["comments"].as_array().into_iter().flatten();
    let mut comments = comments.chain([&found["last_comment"]]);
    Ok(comments.any(|one| one["message"] == comment))
}

/// The version is told without a key; what answers without one is not asked again.
async fn wants_colour(api: &Api<'_>) -> Result<bool, Failure> {
    let mut request = api.request("GET", "/app-info");
    request.header("accept", "application/json");
    let answer = api.send(request).await?.json().unwrap_or_default();
    let version = answer["version"].as_str().unwrap_or("");
    Ok(version.contains(VERSION_WITH_COLOUR))
}
