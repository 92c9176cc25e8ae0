//! A stand-in for Redmine's REST API, as a fresh Redmine 5.0 was recorded. Not Redmine.
//!
//! Its oddities are the point: a wrong key lists nothing with 200, an unknown project is three
//! "cannot be blank", an unknown filter is ignored, 204 says nothing about what was applied.

mod issue;
mod query;

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

pub use issue::Issue;

use super::server::{Reply, Seen, Server, lock};

/// The key of `flowbot`, a Manager in the project `test`, no administrator.
pub const KEY: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
/// The key of the administrator.
pub const ADMIN_KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// The key of a user who sees no project.
pub const OUTSIDER_KEY: &str = "cccccccccccccccccccccccccccccccccccccccc";

const TRACKERS: &[(u64, &str)] = &[(1, "Bug"), (2, "Feature"), (3, "Support")];
const STATUSES: &[(u64, &str, bool)] = &[
    (1, "New", false),
    (2, "In Progress", false),
    (3, "Resolved", false),
    (4, "Feedback", false),
    (5, "Closed", true),
    (6, "Rejected", true),
];
const PRIORITIES: &[(u64, &str)] = &[
    (1, "Low"),
    (2, "Normal"),
    (3, "High"),
    (4, "Urgent"),
    (5, "Immediate"),
];
const CATEGORIES: &[(u64, &str)] = &[(1, "network")];
/// Both projects' number, identifier and name; both are private.
const PROJECTS: &[(u64, &str, &str)] = &[(1, "test", "Test"), (2, "ops", "Operations")];
/// The custom fields: `dedup_key` for every tracker, `customer` too.
const FIELDS: &[(u64, &str)] = &[(1, "dedup_key"), (2, "customer")];
const BOT: (u64, &str) = (5, "Flow Robot");
/// Largest upload, in bytes.
const UPLOAD_BYTES_MAX: usize = 5_242_880;

#[derive(Default)]
struct State {
    issues: Vec<Issue>,
    /// Uploaded and not yet attached: token, size.
    uploads: Vec<(String, usize)>,
    upload_count: u64,
    /// Statuses that the workflow does not let the bot set.
    forbidden_statuses: Vec<u64>,
    /// Custom fields that are not "used as a filter".
    unfiltered_fields: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Anonymous,
    Outsider,
    Bot,
    Admin,
}

/// The stand-in; it ends when this is dropped.
pub struct Redmine {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl std::ops::Deref for Redmine {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Redmine {
    /// Starts one with the projects `test` and `ops`, and without issues.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> io::Result<Redmine> {
        let state: Arc<Mutex<State>> = Arc::default();
        let own = Arc::clone(&state);
        let server = Server::start(move |seen| lock(&own).answer(seen)).await?;
        Ok(Redmine { server, state })
    }

    /// Every issue, oldest first.
    pub fn issues(&self) -> Vec<Issue> {
        lock(&self.state).issues.clone()
    }

    /// From now on the workflow does not let anybody set this status; Redmine says 204 and does
    /// nothing.
    pub fn forbid_status(&self, status: u64) {
        lock(&self.state).forbidden_statuses.push(status);
    }

    /// From now on this custom field cannot be filtered by; Redmine ignores such a filter.
    pub fn unfilter_field(&self, field: u64) {
        lock(&self.state).unfiltered_fields.push(field);
    }

    /// Somebody closes an issue by hand.
    pub fn close_by_hand(&self, id: u64) {
        let mut state = lock(&self.state);
        if let Some(issue) = state.issues.iter_mut().find(|issue| issue.id == id) {
            issue.status = 5;
        }
    }
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Reply {
        let Some(path) = seen.path.strip_suffix(".json") else {
            return Reply::empty(422);
        };
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let user = user(seen);
        match (seen.method.as_str(), parts.as_slice()) {
            ("GET", ["users", "current"]) => current(user),
            ("GET", ["trackers"]) => named("trackers", TRACKERS),
            ("GET", ["issue_statuses"]) => statuses(),
            ("GET", ["enumerations", "issue_priorities"]) => named("issue_priorities", PRIORITIES),
            ("GET", ["custom_fields"]) => custom_fields(user),
            ("GET", ["projects", project, rest @ ..]) => about_project(user, project, rest),
            ("GET", ["issues"]) => self.list(user, seen),
            ("POST", ["issues"]) => self.create(user, seen),
            ("POST", ["uploads"]) => self.upload(user, seen),
            ("GET", ["issues", id]) => self.show(user, id, seen),
            ("PUT" | "PATCH", ["issues", id]) => self.update(user, id, seen),
            _ => Reply::empty(404),
        }
    }

    fn upload(&mut self, user: User, seen: &Seen) -> Reply {
        if user == User::Anonymous {
            return unauthorized();
        }
        if seen.header("content-type") != Some("application/octet-stream") {
            return Reply::empty(406);
        }
        if seen.body.len() > UPLOAD_BYTES_MAX {
            return errors(&[
                "This file cannot be uploaded because it exceeds the maximum allowed file size (5242880)",
            ]);
        }
        self.upload_count += 1;
        let token = format!("{}.{:064x}", self.upload_count, seen.body.len());
        self.uploads.push((token.clone(), seen.body.len()));
        Reply::json(
            201,
            &json!({"upload": {"id": self.upload_count, "token": token}}),
        )
    }
}

fn user(seen: &Seen) -> User {
    match seen.header("x-redmine-api-key").or(seen.asked("key")) {
        Some(KEY) => User::Bot,
        Some(ADMIN_KEY) => User::Admin,
        Some(OUTSIDER_KEY) => User::Outsider,
        _ => User::Anonymous,
    }
}

fn current(user: User) -> Reply {
    match user {
        User::Anonymous => unauthorized(),
        User::Outsider => Reply::json(200, &json!({"user": {"id": 6, "login": "outsider"}})),
        User::Bot => Reply::json(
            200,
            &json!({"user": {"id": BOT.0, "login": "flowbot", "api_key": KEY}}),
        ),
        User::Admin => Reply::json(200, &json!({"user": {"id": 1, "login": "admin"}})),
    }
}

fn custom_fields(user: User) -> Reply {
    match user {
        User::Admin => named("custom_fields", FIELDS),
        User::Anonymous => unauthorized(),
        _ => Reply::empty(403),
    }
}

fn about_project(user: User, project: &str, rest: &[&str]) -> Reply {
    let Some((id, identifier, name)) = project_of(project) else {
        return Reply::empty(404);
    };
    match (user, rest) {
        (User::Anonymous, _) => unauthorized(),
        (User::Outsider, _) => Reply::empty(403),
        (_, ["issue_categories"]) => named("issue_categories", CATEGORIES),
        (_, ["memberships"]) => Reply::json(
            200,
            &json!({"memberships": [{"id": 1, "user": {"id": BOT.0, "name": BOT.1}}]}),
        ),
        // Fields that are for all projects are not listed, as in the real one.
        (_, []) => Reply::json(
            200,
            &json!({"project": {"id": id, "identifier": identifier, "name": name,
                "issue_custom_fields": []}}),
        ),
        _ => Reply::empty(404),
    }
}

/// A project by number or identifier.
fn project_of(text: &str) -> Option<(u64, &'static str, &'static str)> {
    let number = text.parse::<u64>().ok();
    PROJECTS
        .iter()
        .copied()
        .find(|(id, identifier, _)| *identifier == text || Some(*id) == number)
}

fn statuses() -> Reply {
    let all: Vec<Value> = STATUSES.iter().map(status_json).collect();
    Reply::json(200, &json!({"issue_statuses": all}))
}

fn status_json((id, name, is_closed): &(u64, &str, bool)) -> Value {
    json!({"id": id, "name": name, "is_closed": is_closed})
}

fn named(what: &str, known: &[(u64, &str)]) -> Reply {
    let all: Vec<Value> = known
        .iter()
        .map(|(id, name)| json!({"id": id, "name": name}))
        .collect();
    Reply::json(200, &json!({ what: all }))
}

fn unauthorized() -> Reply {
    Reply::empty(401).with("www-authenticate", "Basic realm=\"Redmine API\"")
}

fn errors(sentences: &[&str]) -> Reply {
    Reply::json(422, &json!({ "errors": sentences }))
}
