//! `canopsis::check ack ackremove cancel comment ticket snooze resolve downtime undo_downtime find`
//! by the API v4.
//!
//! Invariant: 200 alone proves nothing. `failed_events` is a refusal, `retry_events` means away,
//! and an alarm counts as resolved when it is seen to be.

mod alarm;
mod downtime;
mod event;
mod target;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::http::{Accept, Client, Request, Response};
use super::{Action, Argument, Call, Failure, Performing, Repeat, Services, Verb};
use crate::secret::Secret;

/// The `[canopsis]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The address of Canopsis, without `/api/v4`.
    pub endpoint: String,
    /// The file with the user's authkey.
    pub authkey_file: Option<PathBuf>,
    /// Or the environment variable with it.
    pub authkey_env: Option<String>,
    /// `connector` of events that name none.
    pub connector: String,
    /// `connector_name` of events that name none.
    pub connector_name: String,
    /// How long one request may take, such as `"30s"`.
    pub timeout: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            endpoint: "http://127.0.0.1:8082".to_owned(),
            authkey_file: None,
            authkey_env: None,
            connector: "vigie".to_owned(),
            connector_name: "main".to_owned(),
            timeout: "30s".to_owned(),
        }
    }
}

/// `[canopsis]` with its key read, ready for use.
#[derive(Clone)]
pub struct Service {
    endpoint: String,
    authkey: Secret,
    connector: String,
    connector_name: String,
    timeout: Duration,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Canopsis")
            .field("endpoint", &self.endpoint)
            .field("connector", &self.connector)
            .field("connector_name", &self.connector_name)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// What nobody may see, not even where the target quotes it.
    pub(super) fn secret(&self) -> Option<&Secret> {
        Some(&self.authkey)
    }

    /// Checks the settings and reads the key; a relative path counts from `folder`.
    ///
    /// # Errors
    /// A sentence about the key that is wrong or missing.
    pub fn prepare(settings: Settings, folder: &Path) -> Result<Service, String> {
        let file = settings
            .authkey_file
            .map(|file| super::under(folder, &file));
        let key = Secret::from_settings("authkey", &file, &settings.authkey_env)?;
        for (name, text) in [
            ("connector", &settings.connector),
            ("connector_name", &settings.connector_name),
        ] {
            if text.trim().is_empty() {
                return Err(format!("`{name}` is blank; Canopsis refuses such events"));
            }
        }
        Ok(Service {
            endpoint: super::endpoint(&settings.endpoint)?,
            authkey: key.ok_or("set authkey_file or authkey_env")?,
            connector: settings.connector,
            connector_name: settings.connector_name,
            timeout: super::timeout(&settings.timeout)?,
        })
    }
}

/// The service with the connection to it.
#[derive(Clone, Copy)]
struct Api<'a> {
    service: &'a Service,
    http: &'a Client,
}

impl<'a> Api<'a> {
    fn new(services: &'a Services) -> Result<Api<'a>, Failure> {
        let service = services.canopsis.as_ref();
        Ok(Api {
            service: service.ok_or_else(|| Failure::not_configured("canopsis"))?,
            http: &services.http,
        })
    }

    fn request(&self, method: &str, path: &str) -> Request {
        let mut request = Request::new(method, format!("{}/api/v4{path}", self.service.endpoint));
        request.timeout = self.service.timeout;
        request.secret_headers = vec![("x-canopsis-authkey", self.service.authkey.clone())];
        request.accept = Accept::only(&[400, 401, 403, 404]);
        request
    }

    /// Sends; 404 is the caller's to judge.
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        let response = self.http.send(request).await?;
        let why = match response.status {
            400 => format!(
                "Canopsis refused it: {}",
                words(&response, &self.service.authkey)
            ),
            401 => "Canopsis does not know this authkey".to_owned(),
            403 => "Canopsis does not allow this to the authkey's user".to_owned(),
            _ => return Ok(response),
        };
        Err(Failure::refused(why).status(response.status))
    }
}

/// Canopsis' own words: `{"errors": {field: text}}` or `{"error": text}`.
fn words(response: &Response, authkey: &Secret) -> String {
    let body = response.json().unwrap_or_default();
    if let Some(errors) = body["errors"].as_object() {
        let text = |value: &Json| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let pair = |(field, why): (&String, &Json)| format!("{field}: {}", text(why));
        return errors.iter().map(pair).collect::<Vec<String>>().join("; ");
    }
    match body["error"].as_str() {
        Some(error) => error.to_owned(),
        None => response.excerpt(std::iter::once(authkey)),
    }
}

/// `canopsis::*`
pub struct Canopsis;

const COMPONENT: Argument = Argument::required("component", "text or map");
const RESOURCE: Argument = Argument::optional("resource", "text");
const MORE: Argument = Argument::optional("options", "map");

const VERBS: &[Verb] = &[
    Verb {
        name: "check",
        arguments: &[Argument::required("event", "map")],
        about: "sends a check: component, resource, state (0–3 or ok, minor, major, critical), output, long_output, timestamp, author; further fields travel along",
        example: r#"canopsis::check(#{ component: "web01", resource: "HTTP", state: "critical", output: "no answer" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "ack",
        arguments: &[COMPONENT, RESOURCE, MORE],
        about: "acknowledges the open alarm; options comment, ack_resources; gives #{ changed, id }; with author or timestamp it goes as an event of that person and time, with output, long_output, state, connector, connector_name, and #{ changed, id } are ()",
        example: r#"canopsis::ack("web01", "HTTP", #{ comment: "looking into it" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "ackremove",
        arguments: &[COMPONENT, RESOURCE, MORE],
        about: "takes an acknowledgement back; option comment; with author or timestamp as an event, as ack",
        example: r#"canopsis::ackremove("web01", "HTTP");"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "cancel",
        arguments: &[COMPONENT, RESOURCE, MORE],
        about: "cancels the open alarm; option comment; already done is fine",
        example: r#"canopsis::cancel("web01", "HTTP", #{ comment: "false alarm" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "comment",
        arguments: &[COMPONENT, RESOURCE, MORE],
        about: "comments on the open alarm; needs comment, cut at 255 characters",
        example: r#"canopsis::comment("web01", "HTTP", #{ comment: "disk was ordered" });"#,
        repeat: Repeat::InDoubt,
    },
    Verb {
        name: "ticket",
        arguments: &[COMPONENT, RESOURCE, MORE],
        about: "associates a ticket with the open alarm; needs ticket; options url, system_name, data, comment, ticket_resources",
        example: r#"canopsis::ticket("web01", "HTTP", #{ ticket: "42", url: "http://redmine.example/issues/42" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "snooze",
        arguments: &[COMPONENT, RESOURCE, MORE],
        about: "snoozes the open alarm; needs duration; option comment",
        example: r#"canopsis::snooze("web01", "HTTP", #{ duration: "15m" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "resolve",
        arguments: &[COMPONENT, RESOURCE, MORE],
        about: "says that it has recovered (a check with state 0); with wait, looks until the alarm is resolved or the time is over; gives #{ entity, resolved }, resolved is () without wait; Canopsis takes a minute or two",
        example: r#"canopsis::resolve("web01", "HTTP", #{ output: "OK", wait: "5m" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "downtime",
        arguments: &[COMPONENT, RESOURCE, MORE],
        about: "sets a downtime (pbehavior) with end or duration; options id, start, author, comment, reason (made if Canopsis has none of this name), type (Default maintenance); gives #{ changed, id }; changed is false if the id is there already",
        example: r#"let downtime = canopsis::downtime("web01", "HTTP", #{ duration: "2h", comment: "new disk" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "undo_downtime",
        arguments: &[Argument::required("id", "text")],
        about: "takes a downtime back by its id; gives #{ changed, id }; changed is false if there is none",
        example: r#"canopsis::undo_downtime(downtime.id);"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "find",
        arguments: &[COMPONENT, RESOURCE],
        about: "the open alarm as #{ id, entity, state, acked, canceled, output, alarm }, or () if there is none",
        example: r#"let alarm = canopsis::find("web01", "HTTP");"#,
        repeat: Repeat::Safe,
    },
];

impl Action for Canopsis {
    fn name(&self) -> &'static str {
        "canopsis"
    }

    fn about(&self) -> &'static str {
        "sends checks to Canopsis and acts on its alarms"
    }

    fn verbs(&self) -> &'static [Verb] {
        VERBS
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a> {
        Box::pin(async move {
            let api = Api::new(call.services)?;
            match call.verb {
                "check" => event::check(&api, &call).await,
                "resolve" => event::resolve(&api, &call).await,
                "find" => alarm::find(&api, &call).await,
                "downtime" => downtime::set(&api, &call).await,
                "undo_downtime" => downtime::undo(&api, &call).await,
                _ => alarm::act(&api, &call).await,
            }
        })
    }
}
