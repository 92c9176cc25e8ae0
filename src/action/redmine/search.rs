//! Finding issues, and being sure that what was found is what was asked for.
//!
//! Filters travel in the long form (`f[] op[] v[]`), because in the short one a value may begin
//! with an operator or hold a `|`. A filter that Redmine does not know is ignored and everything
//! comes back (seen), so each hit's own value is compared.

use serde_json::Value as Json;

use super::api::Api;
use super::issue::{map, summary};
use super::names::Kind;
use crate::action::arguments::Options;
use crate::action::{Call, Failure};
use crate::event::Value;

/// The options of `find`.
const FIND: &[&str] = &[
    "dedup_key",
    "project",
    "status",
    "subject",
    "tracker",
    "limit",
];
/// Issues that one list gives at most; Redmine cuts silently (seen).
const LIMIT_MAX: i64 = 100;

/// A value that a custom field must have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marker<'a> {
    pub(super) field: i64,
    pub(super) value: &'a str,
}

/// Conditions of a list.
#[derive(Default)]
pub(super) struct Filters(pub(super) Vec<(String, String)>);

impl Filters {
    /// As many as Redmine gives at once, the oldest first.
    pub(super) fn oldest() -> Filters {
        let mut filters = Filters::default();
        filters.set("set_filter", "1");
        filters.set("sort", "id");
        filters.set("limit", "100");
        filters
    }

    pub(super) fn add(&mut self, field: &str, operator: &str, value: &str) {
        self.0.push(("f[]".to_owned(), field.to_owned()));
        self.0.push((format!("op[{field}]"), operator.to_owned()));
        self.0.push((format!("v[{field}][]"), value.to_owned()));
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }
}

/// The oldest issue whose marker field has the value, among those with such a status (`o` open,
/// `*` any).
///
/// # Errors
/// Refused if Redmine ignores the filter even within the project.
pub(super) async fn marked(
    api: &Api<'_>,
    marker: Marker<'_>,
    status: &str,
    project: &str,
) -> Result<Option<Json>, Failure> {
    for project in [None, Some(project)] {
        let mut filters = Filters::oldest();
        if let Some(project) = project {
            filters.set("project_id", project);
        }
        filters.add("status_id", status, "");
        filters.add(&format!("cf_{}", marker.field), "=", marker.value);
        // A project that does not exist has no issues; `open` says so better.
        let answer = api
            .look("/issues.json", &filters.0)
            .await?
            .unwrap_or_default();
        let hits = answer["issues"].as_array().cloned().unwrap_or_default();
        if !is_ignored(&hits, marker) {
            return Ok(hits.into_iter().find(|issue| has(issue, marker)));
        }
    }
    let help = format!(
        "Redmine ignores a filter by custom field {}; tick \"Used as a filter\" for it",
        marker.field
    );
    Err(Failure::refused(help))
}

/// True if a hit does not have the value, not even in another case (some databases compare so).
fn is_ignored(hits: &[Json], marker: Marker<'_>) -> bool {
    let wanted = marker.value.trim().to_lowercase();
    let other = |issue: &Json| value_of(issue, marker.field).trim().to_lowercase() != wanted;
    hits.iter().any(other)
}

/// True if the issue's field has exactly the marker's value.
pub(super) fn has(issue: &Json, marker: Marker<'_>) -> bool {
    value_of(issue, marker.field) == marker.value
}

fn value_of(issue: &Json, field: i64) -> &str {
    let fields = issue["custom_fields"].as_array();
    let mine = |one: &&Json| one["id"].as_i64() == Some(field);
    let found = fields.into_iter().flatten().find(mine);
    found.and_then(|one| one["value"].as_str()).unwrap_or("")
}

/// `redmine::find`
pub(super) async fn find(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let nothing = Value::Null;
    let argument = call.argument(0);
    let options = match argument {
        Value::Text(_) => Options::new(&nothing, FIND)?,
        map => Options::new(map, FIND)?,
    };
    let key = match argument {
        Value::Text(key) => Some(key.clone()),
        _ => options.text("dedup_key")?,
    };
    api.user().await?;
    let project = options.text("project")?;
    let mut filters = wanted(api, &options).await?;
    if let Some(project) = &project {
        filters.set("project_id", project);
    }
    let home = project
        .or_else(|| api.service.project.clone())
        .unwrap_or_default();
    let field = marker_field(api, &home, key.is_some()).await?;
    let marker = match (field, &key) {
        (Some(field), Some(value)) => Some(Marker { field, value }),
        // The key is looked for, and no visible issue has the field at all.
        (None, Some(_)) => return Ok(Value::List(Vec::new())),
        _ => None,
    };
    if let Some(marker) = marker {
        filters.add(&format!("cf_{}", marker.field), "=", marker.value);
    }
    let answer = api.look("/issues.json", &filters.0).await?;
    let no_project =
        || Failure::refused("the project does not exist or is not visible to this key");
    let answer = answer.ok_or_else(no_project)?;
    let hits = answer["issues"].as_array().into_iter().flatten();
    let hits = hits.filter(|issue| marker.is_none_or(|marker| has(issue, marker)));
    Ok(Value::List(
        hits.map(|issue| map(summary(api.service, issue))).collect(),
    ))
}

async fn wanted(api: &Api<'_>, options: &Options<'_>) -> Result<Filters, Failure> {
    let mut filters = Filters::default();
    filters.set("set_filter", "1");
    filters.set("sort", "id:desc");
    let limit = options.integer("limit")?.unwrap_or(25).clamp(1, LIMIT_MAX);
    filters.set("limit", &limit.to_string());
    match options.value("status").map(Value::to_plain).as_deref() {
        None | Some("open") => filters.add("status_id", "o", ""),
        Some("closed") => filters.add("status_id", "c", ""),
        Some("*") => filters.add("status_id", "*", ""),
        Some(_) => {
            let status = options.value("status").unwrap_or(&Value::Null);
            let id = api.number(&Kind::Status, status).await?;
            filters.add("status_id", "=", &id.to_string());
        }
    }
    if let Some(subject) = options.text("subject")? {
        filters.add("subject", "~", &subject);
    }
    if let Some(tracker) = options.value("tracker") {
        let id = api.number(&Kind::Tracker, tracker).await?;
        filters.add("tracker_id", "=", &id.to_string());
    }
    Ok(filters)
}

/// The number of the marker field, if it can be told.
///
/// # Errors
/// Refused if it is needed and settings.toml does not name one.
pub(super) async fn marker_field(
    api: &Api<'_>,
    project: &str,
    is_needed: bool,
) -> Result<Option<i64>, Failure> {
    match &api.service.marker_field {
        Some(name) => api.field(name, project).await,
        None if is_needed => Err(Failure::refused(
            "`dedup_key` needs `marker_field` under [redmine]: a custom text field of issues, used as a filter",
        )),
        None => Ok(None),
    }
}
