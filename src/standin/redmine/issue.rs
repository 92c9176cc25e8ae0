//! The stand-in's issues: created, shown and updated as Redmine was recorded doing it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::server::{Reply, Seen};
use super::{
    BOT, CATEGORIES, FIELDS, PRIORITIES, STATUSES, State, TRACKERS, User, errors, project_of,
    status_json, unauthorized,
};

/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 255;
/// Longest value of a custom field, in characters.
const FIELD_CHARS_MAX: usize = 255;

/// An issue.
#[derive(Debug, Clone, Default)]
pub struct Issue {
    /// Its number.
    pub id: u64,
    /// The project's number.
    pub project: u64,
    /// Numbers of the named things.
    pub tracker: u64,
    /// 1 New … 5 Closed, 6 Rejected.
    pub status: u64,
    /// 2 is Normal.
    pub priority: u64,
    /// The subject.
    pub subject: String,
    /// The description, with CRLF as Redmine keeps it.
    pub description: String,
    /// Values of custom fields by number.
    pub fields: BTreeMap<u64, String>,
    /// Notes, oldest first.
    pub notes: Vec<String>,
    /// Names and sizes of attached files.
    pub files: Vec<(String, usize)>,
    /// Everything else that was set: `assigned_to_id`, `due_date` …
    pub other: Map<String, Value>,
}

impl Issue {
    /// True if its status is a closed one.
    pub fn is_closed(&self) -> bool {
        STATUSES
            .iter()
            .any(|(id, _, closed)| *id == self.status && *closed)
    }

    /// As the API shows it.
    pub fn json(&self) -> Value {
        let fields: Vec<Value> = FIELDS
            .iter()
            .map(|(id, name)| json!({"id": id, "name": name, "value": self.fields.get(id)}))
            .collect();
        let status = STATUSES.iter().find(|(id, ..)| *id == self.status);
        let project = project_of(&self.project.to_string()).unwrap_or_default();
        let mut shown = json!({
            "id": self.id,
            "project": {"id": project.0, "name": project.2},
            "tracker": reference(TRACKERS, self.tracker),
            "status": status.map(status_json),
            "priority": reference(PRIORITIES, self.priority),
            "author": {"id": BOT.0, "name": BOT.1},
            "subject": self.subject,
            "description": self.description,
            "is_private": self.other.get("is_private").cloned().unwrap_or(json!(false)),
            "due_date": self.other.get("due_date"),
            "custom_fields": fields,
            "closed_on": self.is_closed().then_some("2026-11-20T15:51:20Z"),
        });
        let category = self.other.get("category_id").and_then(Value::as_u64);
        if let Some(category) = category {
            shown["category"] = reference(CATEGORIES, category);
        }
        if self
            .other
            .get("assigned_to_id")
            .is_some_and(|who| !who.is_null())
        {
            shown["assigned_to"] = json!({"id": BOT.0, "name": BOT.1});
        }
        shown
    }
}

impl State {
    pub(super) fn create(&mut self, user: User, seen: &Seen) -> Reply {
        if user == User::Anonymous {
            return unauthorized();
        }
        let sent = match body(seen) {
            Ok(sent) => sent,
            Err(reply) => return reply,
        };
        let mut complaints: Vec<String> = subject_complaints(&sent);
        let project = sent
            .get("project_id")
            .map(plain)
            .and_then(|text| project_of(&text));
        if project.is_none() || user == User::Outsider {
            let blank = ["Project", "Tracker", "Status"];
            complaints.extend(blank.iter().map(|what| format!("{what} cannot be blank")));
        }
        complaints.extend(self.complaints(&sent));
        if !complaints.is_empty() {
            return refuse(&complaints);
        }
        let mut issue = Issue {
            id: self.issues.last().map_or(1, |last| last.id + 1),
            project: project.unwrap_or_default().0,
            tracker: 1,
            status: 1,
            priority: 2,
            ..Issue::default()
        };
        self.apply(&mut issue, &sent);
        // A closed status on create is silently replaced by the default.
        issue.status = if issue.is_closed() { 1 } else { issue.status };
        let shown = json!({ "issue": issue.json() });
        let place = format!(
            "http://{}/issues/{}",
            seen.header("host").unwrap_or(""),
            issue.id
        );
        self.issues.push(issue);
        Reply::json(201, &shown).with("location", &place)
    }

    pub(super) fn show(&self, user: User, id: &str, seen: &Seen) -> Reply {
        let issue = match self.seen_by(user, id) {
            Ok(at) => &self.issues[at],
            Err(reply) => return reply,
        };
        let mut shown = issue.json();
        let include = seen.asked("include").unwrap_or("");
        if include.contains("allowed_statuses") {
            let may = |(id, ..): &&(u64, &str, bool)| !self.forbidden_statuses.contains(id);
            let allowed = STATUSES.iter().filter(may).map(status_json);
            shown["allowed_statuses"] = allowed.collect();
        }
        if include.contains("journals") {
            let note = |note: &String| json!({"user": {"id": BOT.0, "name": BOT.1}, "notes": note});
            shown["journals"] = issue.notes.iter().map(note).collect();
        }
        if include.contains("attachments") {
            let file = |(name, size): &(String, usize)| json!({"filename": name, "filesize": size, "author": {"id": BOT.0, "name": BOT.1}});
            shown["attachments"] = issue.files.iter().map(file).collect();
        }
        Reply::json(200, &json!({ "issue": shown }))
    }

    pub(super) fn update(&mut self, user: User, id: &str, seen: &Seen) -> Reply {
        let at = match self.seen_by(user, id) {
            Ok(at) => at,
            Err(reply) => return reply,
        };
        let sent = match body(seen) {
            Ok(sent) => sent,
            Err(reply) => return reply,
        };
        let mut complaints = match sent.contains_key("subject") {
            true => subject_complaints(&sent),
            false => Vec::new(),
        };
        complaints.extend(self.complaints(&sent));
        if !complaints.is_empty() {
            return refuse(&complaints);
        }
        let mut issue = self.issues[at].clone();
        self.apply(&mut issue, &sent);
        if let Some(note) = sent.get("notes").and_then(Value::as_str) {
            issue.notes.push(note.to_owned());
        }
        self.issues[at] = issue;
        Reply::empty(204)
    }

    fn seen_by(&self, user: User, id: &str) -> Result<usize, Reply> {
        let found = self
            .issues
            .iter()
            .position(|issue| issue.id.to_string() == id);
        match (user, found) {
            (_, None) => Err(Reply::empty(404)),
            (User::Anonymous, _) => Err(unauthorized()),
            (User::Outsider, _) => Err(Reply::empty(403)),
            (_, Some(at)) => Ok(at),
        }
    }

    fn complaints(&self, sent: &Map<String, Value>) -> Vec<String> {
        let mut complaints = Vec::new();
        let number = |name: &str| {
            sent.get(name)
                .map(plain)
                .map(|text| text.parse().unwrap_or(0))
        };
        if number("priority_id").is_some_and(|id| !PRIORITIES.iter().any(|(known, _)| *known == id))
        {
            complaints.push("Priority cannot be blank".to_owned());
        }
        if number("assigned_to_id").is_some_and(|id| id != 0 && id != BOT.0)
            && sent["assigned_to_id"] != json!("me")
        {
            complaints.push("Assignee is invalid".to_owned());
        }
        let date = |name: &str| {
            sent.get(name)
                .and_then(Value::as_str)
                .unwrap_or("2000-01-01")
        };
        if date("due_date").parse::<jiff::civil::Date>().is_err() {
            complaints.push("Due date is not a valid date".to_owned());
        }
        for (id, value) in fields(sent) {
            let name = FIELDS
                .iter()
                .find(|(known, _)| *known == id)
                .map_or("", |known| known.1);
            if value.chars().count() > FIELD_CHARS_MAX {
                complaints.push(format!(
                    "{} is too long (maximum is 255 characters)",
                    humanized(name)
                ));
            }
        }
        if uploads(sent)
            .iter()
            .any(|(token, _)| !self.uploads.iter().any(|known| known.0 == *token))
        {
            complaints.push("1 file(s) could not be saved.".to_owned());
        }
        complaints
    }

    /// What Redmine does not know or allow is left out without a word.
    fn apply(&mut self, issue: &mut Issue, sent: &Map<String, Value>) {
        let number = |name: &str| sent.get(name).map(plain)?.parse::<u64>().ok();
        let known = |list: &[(u64, &str)], id: &u64| list.iter().any(|(known, _)| known == id);
        if let Some(id) = number("tracker_id").filter(|id| known(TRACKERS, id)) {
            issue.tracker = id;
        }
        if let Some(id) = number("priority_id") {
            issue.priority = id;
        }
        let may = |id: &u64| !self.forbidden_statuses.contains(id) && (1..=6).contains(id);
        if let Some(id) = number("status_id").filter(may) {
            issue.status = id;
        }
        if let Some(subject) = sent.get("subject").and_then(Value::as_str) {
            issue.subject = subject.to_owned();
        }
        if let Some(text) = sent.get("description").and_then(Value::as_str) {
            issue.description = text.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        issue.fields.extend(fields(sent));
        for (token, name) in uploads(sent) {
            let at = self.uploads.iter().position(|known| known.0 == token);
            issue
                .files
                .extend(at.map(|at| (name, self.uploads.remove(at).1)));
        }
        for name in [
            "assigned_to_id",
            "category_id",
            "is_private",
            "due_date",
            "start_date",
            "parent_issue_id",
        ] {
            let value = sent.get(name).map(|value| (name.to_owned(), value.clone()));
            issue.other.extend(value);
        }
    }
}

fn body(seen: &Seen) -> Result<Map<String, Value>, Reply> {
    let kind = seen.header("content-type").unwrap_or("");
    if !kind.starts_with("application/json") || seen.body.is_empty() {
        return Ok(Map::new());
    }
    let error = |status, text| Reply::json(status, &json!({"status": status, "error": text}));
    let parsed: Value =
        serde_json::from_slice(&seen.body).map_err(|_| error(400, "Bad Request"))?;
    match parsed.get("issue") {
        Some(Value::Object(issue)) => Ok(issue.clone()),
        // Without the wrapper Redmine still reads the project (seen), and nothing else.
        None => Ok(parsed
            .get("project_id")
            .map(|project| ("project_id".to_owned(), project.clone()))
            .into_iter()
            .collect()),
        Some(_) => Err(error(500, "Internal Server Error")),
    }
}

fn subject_complaints(sent: &Map<String, Value>) -> Vec<String> {
    let subject = sent.get("subject").and_then(Value::as_str).unwrap_or("");
    if subject.trim().is_empty() {
        return vec!["Subject cannot be blank".to_owned()];
    }
    match subject.chars().count() > SUBJECT_CHARS_MAX {
        true => vec!["Subject is too long (maximum is 255 characters)".to_owned()],
        false => Vec::new(),
    }
}

fn fields(sent: &Map<String, Value>) -> Vec<(u64, String)> {
    let list = sent.get("custom_fields").and_then(Value::as_array);
    let one = |field: &Value| {
        let id = plain(field.get("id")?).parse().ok()?;
        let known = FIELDS.iter().any(|(known, _)| *known == id);
        known.then(|| (id, field.get("value").map(plain).unwrap_or_default()))
    };
    list.into_iter().flatten().filter_map(one).collect()
}

fn uploads(sent: &Map<String, Value>) -> Vec<(String, String)> {
    let list = sent.get("uploads").and_then(Value::as_array);
    let one = |upload: &Value| (plain(&upload["token"]), plain(&upload["filename"]));
    list.into_iter().flatten().map(one).collect()
}

/// Rails writes `dedup_key` as "Dedup key" in its sentences (seen).
fn humanized(name: &str) -> String {
    let spaced = name.replace('_', " ");
    let mut chars = spaced.chars();
    let first = chars.next().map(|char| char.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

fn reference(known: &[(u64, &str)], id: u64) -> Value {
    let found = known.iter().find(|(known, _)| *known == id);
    json!({"id": id, "name": found.map_or("", |found| found.1)})
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn refuse(complaints: &[String]) -> Reply {
    let complaints: Vec<&str> = complaints.iter().map(String::as_str).collect();
    errors(&complaints)
}
