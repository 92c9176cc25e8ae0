//! Names of trackers, statuses, priorities, categories and people, turned into their numbers.
//!
//! Lists are remembered for five minutes; an unknown name is looked for in a fresh list before it
//! is refused, and the refusal shows what is known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::api::Api;
use crate::action::{Failure, path_segment};
use crate::event::Value;

/// How long a list is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// Lists that are remembered at most; beyond that all are forgotten.
const LISTS_MAX: usize = 64;
/// Names that a refusal shows.
const SHOWN_MAX: usize = 20;

/// Something with a number and a name.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) is_closed: bool,
}

/// A list and when it was asked for.
type Dated = (Instant, Arc<Vec<Known>>);

/// Lists by the path they came from.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<String, Dated>>);

/// Which list a name belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Tracker,
    Status,
    Priority,
    /// Of this project.
    Category(String),
    /// Member of this project.
    Person(String),
}

impl Kind {
    fn word(&self) -> &'static str {
        match self {
            Kind::Tracker => "tracker",
            Kind::Status => "status",
            Kind::Priority => "priority",
            Kind::Category(_) => "category",
            Kind::Person(_) => "assignee",
        }
    }

    fn path(&self) -> String {
        match self {
            Kind::Tracker => "/trackers.json".to_owned(),
            Kind::Status => "/issue_statuses.json".to_owned(),
            Kind::Priority => "/enumerations/issue_priorities.json".to_owned(),
            Kind::Category(project) => {
                format!("/projects/{}/issue_categories.json", path_segment(project))
            }
            Kind::Person(project) => {
                format!("/projects/{}/memberships.json", path_segment(project))
            }
        }
    }
}

impl Api<'_> {
    /// The number that `value` means: a number as it is, a name (in any case) looked up.
    pub(super) async fn number(&self, kind: &Kind, value: &Value) -> Result<i64, Failure> {
        let text = match value {
            Value::Int(number) => return Ok(*number),
            Value::Text(text) => text.trim(),
            other => {
                let wanted = "a name or a number";
                return Err(crate::action::arguments::wrong(kind.word(), wanted, other));
            }
        };
        let remembered = self.remembered(kind);
        if let Some(id) = remembered.as_ref().and_then(|list| find(list, text)) {
            return Ok(id);
        }
        let list = self.fetch(kind).await?;
        if let Some(id) = find(&list, text).or_else(|| text.parse().ok()) {
            return Ok(id);
        }
        let names: Vec<&str> = list.iter().map(|known| known.name.as_str()).collect();
        let shown = names[..names.len().min(SHOWN_MAX)].join(", ");
        let word = kind.word();
        let why = format!("there is no {word} \"{text}\"; Redmine has: {shown}");
        Err(Failure::refused(why))
    }

    /// The statuses, from memory if they are there.
    pub(super) async fn statuses(&self) -> Result<Arc<Vec<Known>>, Failure> {
        match self.remembered(&Kind::Status) {
            Some(list) => Ok(list),
            None => self.fetch(&Kind::Status).await,
        }
    }

    fn remembered(&self, kind: &Kind) -> Option<Arc<Vec<Known>>> {
        let lists = &self.service.memory.names.0;
        let lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, list) = lists.get(&kind.path())?;
        (when.elapsed() < REMEMBERED_FOR).then(|| Arc::clone(list))
    }

    async fn fetch(&self, kind: &Kind) -> Result<Arc<Vec<Known>>, Failure> {
        let path = kind.path();
        let query = match kind {
            Kind::Person(_) => vec![("limit".to_owned(), "100".to_owned())],
            _ => Vec::new(),
        };
        let answer = self.look(&path, &query).await?.unwrap_or_default();
        let list = Arc::new(entries(&answer));
        let lists = &self.service.memory.names.0;
        let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= LISTS_MAX {
            lists.clear();
        }
        lists.insert(path, (Instant::now(), Arc::clone(&list)));
        Ok(list)
    }
}

fn find(list: &[Known], name: &str) -> Option<i64> {
    let exact = list.iter().find(|known| known.name == name);
    let lower = name.to_lowercase();
    let any_case = || list.iter().find(|known| known.name.to_lowercase() == lower);
    exact.or_else(any_case).map(|known| known.id)
}

/// The things of the one list that the answer has.
pub(super) fn entries(answer: &Json) -> Vec<Known> {
    let lists = answer.as_object().into_iter().flatten();
    let list = lists.filter_map(|(_, value)| value.as_array()).next();
    list.into_iter().flatten().filter_map(entry).collect()
}

/// A membership names its user or its group one level down.
fn entry(item: &Json) -> Option<Known> {
    let inner = item
        .get("user")
        .or_else(|| item.get("group"))
        .unwrap_or(item);
    Some(Known {
        id: inner.get("id")?.as_i64()?,
        name: inner.get("name")?.as_str()?.to_owned(),
        is_closed: item
            .get("is_closed")
            .and_then(Json::as_bool)
            .unwrap_or(false),
    })
}
