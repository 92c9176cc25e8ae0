//! An issue as a flow describes it, turned into what Redmine takes; and back.

use serde_json::{Map, Value as Json, json};

use super::Service;
use super::api::Api;
use super::names::Kind;
use crate::action::Failure;
use crate::action::arguments::{Options, shorten, wrong};
use crate::event::Value;

/// Longest subject, in characters; Redmine refuses longer ones (seen).
pub const SUBJECT_CHARS_MAX: usize = 255;

/// What can be said about an issue, besides its project.
pub(super) const WISHES: &[&str] = &[
    "subject",
    "description",
    "tracker",
    "status",
    "priority",
    "category",
    "assignee",
    "custom_fields",
    "private",
    "parent",
    "start_date",
    "due_date",
    "estimated_hours",
    "done_ratio",
];

/// Wishes that travel under another name, as they are.
const PLAIN: &[(&str, &str)] = &[
    ("private", "is_private"),
    ("parent", "parent_issue_id"),
    ("start_date", "start_date"),
    ("due_date", "due_date"),
    ("estimated_hours", "estimated_hours"),
    ("done_ratio", "done_ratio"),
];

/// The body of a request to create or change an issue of `project`.
///
/// # Errors
/// Refuses names that Redmine does not know, and wrong types.
pub(super) async fn wished(
    api: &Api<'_>,
    options: &Options<'_>,
    project: &str,
) -> Result<Map<String, Json>, Failure> {
    let mut body = Map::new();
    let kinds = [
        ("tracker", "tracker_id", Kind::Tracker),
        ("status", "status_id", Kind::Status),
        ("priority", "priority_id", Kind::Priority),
        (
            "category",
            "category_id",
            Kind::Category(project.to_owned()),
        ),
        (
            "assignee",
            "assigned_to_id",
            Kind::Person(project.to_owned()),
        ),
    ];
    for (name, key, kind) in kinds {
        match options.value(name) {
            None => {}
            Some(Value::Text(me)) if name == "assignee" && me == "me" => {
                body.insert(key.to_owned(), json!("me"));
            }
            Some(value) => {
                let number = api.number(&kind, value).await?;
                body.insert(key.to_owned(), json!(number));
            }
        }
    }
    for (name, key) in PLAIN {
        if let Some(value) = options.value(name) {
            body.insert((*key).to_owned(), plain(name, value)?);
        }
    }
    if let Some(fields) = options.value("custom_fields") {
        let values = api.field_values(fields, project).await?;
        body.insert("custom_fields".to_owned(), Json::from(values));
    }
    describe(options, &mut body)?;
    Ok(body)
}

fn plain(name: &str, value: &Value) -> Result<Json, Failure> {
    match value {
        Value::List(_) | Value::Map(_) | Value::Bytes(_) => {
            Err(wrong(name, "a single value", value))
        }
        one => Ok(one.to_json()),
    }
}

/// Subject and description. A subject that is too long is cut, and stands whole at the beginning
/// of the description, so that nothing of it is lost.
fn describe(options: &Options<'_>, body: &mut Map<String, Json>) -> Result<(), Failure> {
    let mut description = options.text("description")?;
    if let Some(subject) = options.text("subject")? {
        let subject = one_line(&subject);
        let short = shorten(&subject, SUBJECT_CHARS_MAX);
        if short != subject {
            let rest = description.unwrap_or_default();
            description = Some(format!("{subject}\n\n{rest}").trim_end().to_owned());
        }
        body.insert("subject".to_owned(), Json::from(short));
    }
    if let Some(description) = description {
        body.insert("description".to_owned(), Json::from(description));
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    flat.trim().to_owned()
}

/// What a flow gets of an issue.
pub(super) fn summary(service: &Service, issue: &Json) -> Vec<(&'static str, Value)> {
    let id = issue["id"].as_i64().unwrap_or(0);
    let text = |value: &Json| Value::from(value.as_str().map(str::to_owned));
    vec![
        ("id", Value::Int(id)),
        (
            "url",
            Value::from(format!("{}/issues/{id}", service.endpoint)),
        ),
        ("subject", text(&issue["subject"])),
        ("status", text(&issue["status"]["name"])),
        ("closed", Value::Bool(is_closed(issue))),
    ]
}

/// True if the issue's status is a closed one. Redmine before 5.0 does not say; then a closing
/// time does.
pub(super) fn is_closed(issue: &Json) -> bool {
    issue["status"]["is_closed"]
        .as_bool()
        .unwrap_or_else(|| issue["closed_on"].is_string())
}

/// A map for a script.
pub(super) fn map(pairs: Vec<(&'static str, Value)>) -> Value {
    Value::Map(
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}
