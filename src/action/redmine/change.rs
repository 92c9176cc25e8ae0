//! `redmine::update comment close attach`: a 204 says nothing about what was applied (seen), so
//! everything that matters is read again.

use serde_json::{Map, Value as Json, json};

use super::api::Api;
use super::issue::{WISHES, is_closed, map, summary, wished};
use super::names::{Kind, Known, entries};
use crate::action::arguments::{Options, wrong};
use crate::action::{Call, Failure};
use crate::event::Value;

/// `redmine::update`
pub(super) async fn update(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let known: Vec<&str> = WISHES
        .iter()
        .copied()
        .chain(["note", "private_note"])
        .collect();
    let id = id(call)?;
    let options = Options::new(call.argument(1), &known)?;
    api.user().await?;
    let before = read(api, id, "journals").await?;
    let project = before["project"]["id"].to_string();
    let mut body = wished(api, &options, &project).await?;
    let note = options.text("note")?.filter(|note| !note.is_empty());
    if let Some(note) = note.filter(|note| !(call.in_doubt && is_noted(&before, note))) {
        body.insert("notes".to_owned(), Json::from(note));
        let private = options.flag("private_note")?.unwrap_or(false);
        body.insert("private_notes".to_owned(), Json::from(private));
    }
    put(api, id, &body).await?;
    let after = read(api, id, "allowed_statuses").await?;
    for (key, part) in [
        ("status_id", "status"),
        ("tracker_id", "tracker"),
        ("priority_id", "priority"),
    ] {
        let wanted = body.get(key).and_then(Json::as_i64);
        if wanted.is_some() && after[part]["id"].as_i64() != wanted {
            return Err(did_not_take(id, part, &after));
        }
    }
    Ok(map(summary(api.service, &after)))
}

/// `redmine::comment`
pub(super) async fn comment(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let id = id(call)?;
    let text = call.text(1, "text")?;
    let options = Options::new(call.argument(2), &["private"])?;
    if text.trim().is_empty() {
        return Err(Failure::refused("`text` is blank"));
    }
    let private = options.flag("private")?.unwrap_or(false);
    api.user().await?;
    if !(call.in_doubt && is_noted(&read(api, id, "journals").await?, text)) {
        let mut body = Map::new();
        body.insert("notes".to_owned(), Json::from(text));
        body.insert("private_notes".to_owned(), Json::from(private));
        put(api, id, &body).await?;
    }
    Ok(Value::from([("id", Value::Int(id))]))
}

/// `redmine::close`
pub(super) async fn close(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let id = id(call)?;
    let note = match call.argument(1) {
        Value::Null => String::new(),
        Value::Text(note) => note.clone(),
        other => return Err(wrong("note", "text", other)),
    };
    api.user().await?;
    let before = read(api, id, "allowed_statuses").await?;
    if is_closed(&before) {
        return Ok(map(summary(api.service, &before)));
    }
    let status = closing(api, call.argument(2), &before).await?;
    let mut body = Map::new();
    body.insert("status_id".to_owned(), Json::from(status));
    if !note.is_empty() {
        body.insert("notes".to_owned(), Json::from(note));
    }
    put(api, id, &body).await?;
    let after = read(api, id, "allowed_statuses").await?;
    match is_closed(&after) {
        true => Ok(map(summary(api.service, &after))),
        false => Err(did_not_take(id, "status", &after)),
    }
}

/// The status to close with: the wanted one, or the first closed one that the workflow allows
/// from here. Before 5.0 Redmine does not say what it allows; then the first closed one of all.
async fn closing(api: &Api<'_>, wanted: &Value, issue: &Json) -> Result<i64, Failure> {
    let all = api.statuses().await?;
    if !matches!(wanted, Value::Null) {
        let id = api.number(&Kind::Status, wanted).await?;
        let open = all.iter().find(|known| known.id == id && !known.is_closed);
        return match open {
            Some(open) => {
                let why = format!("the status \"{}\" does not close an issue", open.name);
                Err(Failure::refused(why))
            }
            None => Ok(id),
        };
    }
    let allowed = allowed(issue);
    let first = |list: &[Known]| {
        list.iter()
            .find(|known| known.is_closed)
            .map(|known| known.id)
    };
    first(&allowed)
        .or_else(|| first(&all).filter(|_| allowed.is_empty()))
        .ok_or_else(|| did_not_take(issue["id"].as_i64().unwrap_or(0), "status", issue))
}

/// `redmine::attach`
pub(super) async fn attach(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let id = id(call)?;
    let filename = call.text(1, "filename")?;
    let bytes = match call.argument(2) {
        Value::Text(text) => text.clone().into_bytes(),
        Value::Bytes(bytes) => bytes.to_vec(),
        other => return Err(wrong("content", "text or bytes", other)),
    };
    if filename.trim().is_empty() || filename.chars().any(char::is_control) {
        return Err(Failure::refused(
            "`filename` is blank or has a control character",
        ));
    }
    let options = Options::new(call.argument(3), &["content_type", "description"])?;
    let (kind, about) = (options.text("content_type")?, options.text("description")?);
    let user = api.user().await?;
    let size = bytes.len();
    let done = Value::from([("id", Value::Int(id)), ("filename", Value::from(filename))]);
    if call.in_doubt && is_attached(&read(api, id, "attachments").await?, user, filename, size) {
        return Ok(done);
    }
    let uploaded = api.upload(filename, bytes).await?;
    let mut upload = json!({"token": uploaded["upload"]["token"], "filename": filename});
    for (name, text) in [("content_type", kind), ("description", about)] {
        if let Some(text) = text {
            upload[name] = Json::from(text);
        }
    }
    let mut body = Map::new();
    body.insert("uploads".to_owned(), json!([upload]));
    put(api, id, &body).await?;
    Ok(done)
}

fn id(call: &Call<'_>) -> Result<i64, Failure> {
    match call.argument(0) {
        Value::Int(id) if *id > 0 => Ok(*id),
        Value::Text(text) if text.parse::<u32>().is_ok() => Ok(text.parse().unwrap_or(0)),
        Value::Int(id) => Err(Failure::refused(format!("{id} is no issue number"))),
        other => Err(wrong("id", "an issue's number", other)),
    }
}

async fn read(api: &Api<'_>, id: i64, include: &str) -> Result<Json, Failure> {
    let path = format!("/issues/{id}.json");
    let query = [("include".to_owned(), include.to_owned())];
    let mut answer = api.get(&path, &query).await?;
    Ok(answer["issue"].take())
}

async fn put(api: &Api<'_>, id: i64, body: &Map<String, Json>) -> Result<(), Failure> {
    let path = format!("/issues/{id}.json");
    api.write("PUT", &path, &json!({ "issue": body }))
        .await
        .map(drop)
}

/// True if a note with this text is there already. Asked only after a crash, when the note may be
/// our own from the try before.
fn is_noted(issue: &Json, note: &str) -> bool {
    let same = |text: &str| text.replace("\r\n", "\n") == note.replace("\r\n", "\n");
    let journals = issue["journals"].as_array().into_iter().flatten();
    journals
        .into_iter()
        .any(|entry| entry["notes"].as_str().is_some_and(same))
}

fn is_attached(issue: &Json, user: i64, filename: &str, size: usize) -> bool {
    let files = issue["attachments"].as_array().into_iter().flatten();
    files.into_iter().any(|file| {
        file["filename"].as_str() == Some(filename)
            && file["filesize"].as_u64() == u64::try_from(size).ok()
            && file["author"]["id"].as_i64() == Some(user)
    })
}

fn allowed(issue: &Json) -> Vec<Known> {
    entries(&json!({ "statuses": issue["allowed_statuses"] }))
}

fn did_not_take(id: i64, what: &str, issue: &Json) -> Failure {
    let is = issue[what]["name"].as_str().unwrap_or("unknown");
    let mut why = format!("Redmine did not change the {what} of issue {id}; it is still \"{is}\"");
    let allowed = allowed(issue);
    if what == "status" && !allowed.is_empty() {
        let names: Vec<&str> = allowed.iter().map(|known| known.name.as_str()).collect();
        why = format!("{why}; the workflow allows {}", names.join(", "));
    }
    Failure::refused(why)
}
