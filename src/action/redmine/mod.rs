//! `redmine::open update comment close find attach` by Redmine's REST API (seen with 5.0).
//!
//! Invariant: nothing that Redmine leaves unsaid is believed. A 204 is read again, a list's hits
//! are compared, a key is checked before an empty list counts, because each of them lies.

mod api;
mod change;
mod fields;
mod issue;
mod names;
mod open;
mod search;
mod spelled;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::turns::Turns;
use super::{Action, Argument, Call, Failure, Performing, Repeat, Verb};
use crate::secret::Secret;

/// The `[redmine]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Redmine's address, with its path if it has one.
    pub endpoint: String,
    /// The file with the API key (40 hexadecimal digits under "My account").
    pub key_file: Option<PathBuf>,
    /// Or the environment variable with it.
    pub key_env: Option<String>,
    /// Name or number of the custom field that makes `open` repeatable: a text field, "used as a
    /// filter". Absent: `dedup_key` is refused.
    pub marker_field: Option<Named>,
    /// The project of issues that name none.
    pub project: Option<Named>,
    /// How long one request may take, such as `"30s"`.
    pub timeout: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            endpoint: "http://127.0.0.1:3000".to_owned(),
            key_file: None,
            key_env: None,
            marker_field: None,
            project: None,
            timeout: "30s".to_owned(),
        }
    }
}

/// A thing of Redmine's by its number or its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Named(pub String);

impl TryFrom<toml::Value> for Named {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Named, String> {
        match value {
            toml::Value::Integer(number) => Ok(Named(number.to_string())),
            toml::Value::String(text) if !text.trim().is_empty() => Ok(Named(text)),
            _ => Err("is a name or a number".to_owned()),
        }
    }
}

/// `[redmine]` with its key read, ready for use. What it remembers is only ever a shortcut.
#[derive(Clone)]
pub struct Service {
    endpoint: String,
    key: Secret,
    marker_field: Option<String>,
    project: Option<String>,
    timeout: Duration,
    memory: Arc<Memory>,
}

#[derive(Default)]
struct Memory {
    /// When the key was last seen to be right, and whose it is.
    user: Mutex<Option<(Instant, i64)>>,
    names: names::Cache,
    fields: fields::Cache,
    /// One `open` at a time for each `dedup_key`.
    turns: Turns,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Redmine")
            .field("endpoint", &self.endpoint)
            .field("marker_field", &self.marker_field)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// What nobody may see, not even where the target quotes it.
    pub(super) fn secret(&self) -> Option<&Secret> {
        Some(&self.key)
    }

    /// Checks the settings and reads the key; a relative path counts from `folder`.
    ///
    /// # Errors
    /// A sentence about the key that is wrong or missing.
    pub fn prepare(settings: Settings, folder: &Path) -> Result<Service, String> {
        let file = settings.key_file.map(|file| super::under(folder, &file));
        let key = Secret::from_settings("key", &file, &settings.key_env)?;
        Ok(Service {
            endpoint: super::endpoint(&settings.endpoint)?,
            key: key.ok_or("set key_file or key_env")?,
            marker_field: settings.marker_field.map(|field| field.0),
            project: settings.project.map(|project| project.0),
            timeout: super::timeout(&settings.timeout)?,
            memory: Arc::default(),
        })
    }
}

/// `redmine::*`
pub struct Redmine;

const ID: Argument = Argument::required("id", "integer");

const VERBS: &[Verb] = &[
    Verb {
        name: "open",
        arguments: &[Argument::required("issue", "map")],
        about: "opens an issue, or finds the one that is not closed with the same dedup_key; gives #{ id, url, subject, status, created }; names of trackers, statuses, priorities, categories and people are looked up; a subject over 255 characters is cut and stands whole in the description",
        example: r#"let ticket = redmine::open(#{ project: "ops", subject: "web01 is down", priority: "High", dedup_key: "web01/ping" });"#,
        repeat: Repeat::LookUp,
    },
    Verb {
        name: "update",
        arguments: &[ID, Argument::required("changes", "map")],
        about: "changes an issue, with a note if wanted, and reads it again; refused if a status did not take",
        example: r#"redmine::update(ticket.id, #{ status: "In Progress", note: "seen by the night shift" });"#,
        repeat: Repeat::LookUp,
    },
    Verb {
        name: "comment",
        arguments: &[
            ID,
            Argument::required("text", "text"),
            Argument::optional("options", "map"),
        ],
        about: "adds a note to an issue; option private",
        example: r#"redmine::comment(ticket.id, "still down", #{ private: true });"#,
        repeat: Repeat::LookUp,
    },
    Verb {
        name: "close",
        arguments: &[
            ID,
            Argument::optional("note", "text"),
            Argument::optional("status", "text or integer"),
        ],
        about: "closes an issue with the given status or the first closed one that the workflow allows, and reads it again; already closed is fine",
        example: r#"redmine::close(ticket.id, "recovered");"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "find",
        arguments: &[Argument::required("search", "text or map")],
        about: "lists issues: a text is a dedup_key among open ones; a map has dedup_key, project, status (open, closed, * or a name), subject (a part of it), tracker, limit",
        example: r#"let open = redmine::find(#{ project: "ops", subject: "web01" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "attach",
        arguments: &[
            ID,
            Argument::required("filename", "text"),
            Argument::required("content", "text or bytes"),
            Argument::optional("options", "map"),
        ],
        about: "attaches a file to an issue; options content_type, description",
        example: r#"redmine::attach(ticket.id, "report.txt", event.report, #{ description: "as received" });"#,
        repeat: Repeat::LookUp,
    },
];

impl Action for Redmine {
    fn name(&self) -> &'static str {
        "redmine"
    }

    fn about(&self) -> &'static str {
        "opens, finds, changes and closes Redmine issues"
    }

    fn verbs(&self) -> &'static [Verb] {
        VERBS
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a> {
        Box::pin(async move {
            let api = api::Api::new(call.services)?;
            match call.verb {
                "open" => open::open(&api, &call).await,
                "update" => change::update(&api, &call).await,
                "comment" => change::comment(&api, &call).await,
                "close" => change::close(&api, &call).await,
                "find" => search::find(&api, &call).await,
                "attach" => change::attach(&api, &call).await,
                other => Err(Failure::refused(format!("redmine has no verb `{other}`"))),
            }
        })
    }
}
