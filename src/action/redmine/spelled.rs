//! A mark at the end of a description, for as long as nothing shows the marker field's number.
//!
//! Only administrators may list custom fields; to others a field that is given by name has no
//! number before some visible issue carries it. So the first issue of all could not be found again
//! if the answer to its creation was lost. Its mark stands in the description until it is in the
//! field.

use serde_json::{Map, Value as Json};

use super::api::Api;
use super::search::Filters;
use crate::action::Failure;

/// A mark in words, such as `dedup_key: host/web01`.
pub(super) struct Spelled(String);

impl Spelled {
    /// `mark` under the marker field's `name`; nothing for a field that is given by number.
    pub(super) fn new(name: Option<&str>, mark: &str) -> Option<Spelled> {
        let name = name.filter(|name| name.parse::<i64>().is_err())?;
        let line = |char: char| if char.is_control() { ' ' } else { char };
        let mark: String = mark.chars().map(line).collect();
        Some(Spelled(format!("{name}: {}", mark.trim())))
    }

    /// Writes it below the description of a new issue.
    pub(super) fn write(&self, body: &mut Map<String, Json>) {
        let text = body.get("description").and_then(Json::as_str).unwrap_or("");
        let text = format!("{text}\n\n{}", self.0).trim_start().to_owned();
        body.insert("description".to_owned(), Json::from(text));
    }

    /// The issue's description without it; nothing if it is not there.
    pub(super) fn without(&self, issue: &Json) -> Option<String> {
        let text = issue["description"].as_str()?.trim_end();
        let before = text.strip_suffix(&self.0)?;
        let is_line = before.is_empty() || before.ends_with('\n');
        is_line.then(|| before.trim_end().to_owned())
    }

    /// The oldest issue that carries it, among those with such a status (`o` open, `*` any).
    pub(super) async fn find(&self, api: &Api<'_>, status: &str) -> Result<Option<Json>, Failure> {
        let mut filters = Filters::oldest();
        filters.add("status_id", status, "");
        filters.add("description", "~", &self.0);
        let answer = api.look("/issues.json", &filters.0).await?;
        let answer = answer.unwrap_or_default();
        let mut hits = answer["issues"].as_array().into_iter().flatten();
        Ok(hits.find(|issue| self.without(issue).is_some()).cloned())
    }
}
