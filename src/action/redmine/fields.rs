//! Custom fields: their numbers by name, although only administrators may list them (seen).
//!
//! A field's number is read from whatever shows it: the project, an administrator's list, or any
//! issue that has the field. Where no issue is visible yet, nothing can carry the field either, and
//! the mark of the first one is spelled out in its description.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::api::Api;
use super::names::{Known, entries};
use crate::action::{Failure, path_segment};
use crate::event::Value;

/// How long a field's number is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);
/// Fields that are remembered at most; beyond that all are forgotten.
const FIELDS_MAX: usize = 256;
/// Issues that are looked through for a field.
const ISSUES_MAX: &str = "100";

/// Numbers by lower-case name.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<String, (Instant, i64)>>);

impl Api<'_> {
    /// The number of the custom field `name` (which may be a number already); nothing if nothing
    /// visible has it.
    pub(super) async fn field(&self, name: &str, project: &str) -> Result<Option<i64>, Failure> {
        if let Ok(number) = name.parse() {
            return Ok(Some(number));
        }
        if let Some(number) = self.remembered_field(name) {
            return Ok(Some(number));
        }
        let path = format!("/projects/{}.json", path_segment(project));
        let include = pairs(&[("include", "issue_custom_fields")]);
        let of_project = self.allowed(&path, &include).await?;
        self.learn_fields(&entries(&of_project["project"]));
        if self.remembered_field(name).is_none() {
            let listed = self.allowed("/custom_fields.json", &[]).await?;
            self.learn_fields(&entries(&listed));
        }
        for project in [Some(project), None] {
            if self.remembered_field(name).is_none() {
                self.learn_from_issues(project).await?;
            }
        }
        Ok(self.remembered_field(name))
    }

    /// The `custom_fields` of a request: `#{ "Customer": "ACME" }`, by name or by number.
    pub(super) async fn field_values(
        &self,
        wanted: &Value,
        project: &str,
    ) -> Result<Vec<Json>, Failure> {
        let Value::Map(map) = wanted else {
            let found = wanted.kind();
            return Err(Failure::refused(format!(
                "`custom_fields` must be a map, not {found}"
            )));
        };
        let mut values = Vec::new();
        for (name, value) in map {
            let id = self.field(name, project).await?;
            let unknown = || {
                let why = format!(
                    "no custom field \"{name}\" can be seen; give its number as the name instead"
                );
                Failure::refused(why)
            };
            let id = id.ok_or_else(unknown)?;
            values.push(json!({"id": id, "value": value.to_json()}));
        }
        Ok(values)
    }

    /// Remembers the fields that an issue shows.
    pub(super) fn learn_from(&self, issue: &Json) {
        let fields = json!({ "custom_fields": issue["custom_fields"] });
        self.learn_fields(&entries(&fields));
    }

    async fn learn_from_issues(&self, project: Option<&str>) -> Result<(), Failure> {
        let mut query = pairs(&[
            ("status_id", "*"),
            ("limit", ISSUES_MAX),
            ("sort", "id:desc"),
        ]);
        query.extend(project.map(|project| ("project_id".to_owned(), project.to_owned())));
        let answer = self.allowed("/issues.json", &query).await?;
        for issue in answer["issues"].as_array().into_iter().flatten() {
            self.learn_from(issue);
        }
        Ok(())
    }

    /// Reads what this key may not be allowed to see, or what may not be there.
    async fn allowed(&self, path: &str, query: &[(String, String)]) -> Result<Json, Failure> {
        match self.look(path, query).await {
            Ok(answer) => Ok(answer.unwrap_or_default()),
            Err(failure) if failure.status == Some(403) => Ok(Json::Null),
            Err(failure) => Err(failure),
        }
    }

    fn remembered_field(&self, name: &str) -> Option<i64> {
        let fields = &self.service.memory.fields.0;
        let fields = fields.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, number) = fields.get(&name.to_lowercase())?;
        (when.elapsed() < REMEMBERED_FOR).then_some(*number)
    }

    fn learn_fields(&self, known: &[Known]) {
        let fields = &self.service.memory.fields.0;
        let mut fields = fields.lock().unwrap_or_else(PoisonError::into_inner);
        if fields.len() + known.len() > FIELDS_MAX {
            fields.clear();
        }
        let entry = |field: &Known| (field.name.to_lowercase(), (Instant::now(), field.id));
        fields.extend(known.iter().map(entry));
    }
}

/// Query pairs.
pub(super) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}
