//! `pagerduty::trigger acknowledge resolve change` by the Events API v2.
//!
//! 202 only means accepted, so limits are checked before sending; the same `dedup_key` joins the
//! open alert, which makes every verb repeatable; events of one routing key leave in order.

mod event;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::http::{Accept, Request, Response};
use super::turns::Turns;
use super::{Action, Argument, Call, Failure, Performing, Repeat, Verb};
use crate::event::Value;
use crate::secret::Secret;

/// Largest event, in bytes (documentation: 512 KB).
pub const BODY_BYTES_MAX: usize = 512_000;

/// The `[pagerduty]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where events go; `https://events.eu.pagerduty.com` for European accounts.
    pub endpoint: String,
    /// The file with the integration's key.
    pub routing_key_file: Option<PathBuf>,
    /// Or the environment variable with it.
    pub routing_key_env: Option<String>,
    /// How long one request may take, such as `"30s"`.
    pub timeout: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            endpoint: "https://events.pagerduty.com".to_owned(),
            routing_key_file: None,
            routing_key_env: None,
            timeout: "30s".to_owned(),
        }
    }
}

/// `[pagerduty]` with its secrets read, ready for use.
#[derive(Clone)]
pub struct Service {
    endpoint: String,
    routing_key: Option<Secret>,
    timeout: Duration,
    turns: Arc<Turns>,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PagerDuty")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// What nobody may see, not even where the target quotes it.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.routing_key.as_ref()
    }

    /// Checks the settings and reads the key; a relative path counts from `folder`.
    ///
    /// # Errors
    /// A sentence about the key that is wrong.
    pub fn prepare(settings: Settings, folder: &Path) -> Result<Service, String> {
        let file = settings
            .routing_key_file
            .map(|file| super::under(folder, &file));
        let key = Secret::from_settings("routing_key", &file, &settings.routing_key_env)?;
        if let Some(key) = &key {
            event::check_routing_key(key.expose()).map_err(|why| why.message)?;
        }
        Ok(Service {
            endpoint: super::endpoint(&settings.endpoint)?,
            routing_key: key,
            timeout: super::timeout(&settings.timeout)?,
            turns: Arc::default(),
        })
    }
}

/// `pagerduty::*`
pub struct PagerDuty;

const VERBS: &[Verb] = &[
    Verb {
        name: "trigger",
        arguments: &[Argument::required("event", "map")],
        about: "opens an alert, or joins the open one with the same dedup_key; needs summary and source, severity is \"error\" unless given; without dedup_key each run has its own",
        example: r#"pagerduty::trigger(#{ summary: "web01 is down", source: "web01", severity: "critical", dedup_key: "web01/ping" });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "acknowledge",
        arguments: &[Argument::required("dedup_key", "text or map")],
        about: "acknowledges the open alert with this dedup_key; a map may also name a routing_key",
        example: r#"pagerduty::acknowledge("web01/ping");"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "resolve",
        arguments: &[Argument::required("dedup_key", "text or map")],
        about: "resolves the open alert with this dedup_key; a map may also name a routing_key",
        example: r#"pagerduty::resolve("web01/ping");"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "change",
        arguments: &[Argument::required("event", "map")],
        about: "records a change event, which notifies nobody; needs summary",
        example: r#"pagerduty::change(#{ summary: "deployed 1.2.3", source: "ci" });"#,
        repeat: Repeat::Safe,
    },
];

impl Action for PagerDuty {
    fn name(&self) -> &'static str {
        "pagerduty"
    }

    fn about(&self) -> &'static str {
        "triggers, acknowledges and resolves PagerDuty alerts"
    }

    fn verbs(&self) -> &'static [Verb] {
        VERBS
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a> {
        Box::pin(perform(call))
    }
}

async fn perform(call: Call<'_>) -> Result<Value, Failure> {
    let service = call.services.pagerduty.as_ref();
    let service = service.ok_or_else(|| Failure::not_configured("pagerduty"))?;
    let event = event::event(&call)?;
    let key = event.routing_key(service.routing_key.as_ref())?;
    let mut body = event.body;
    body.insert("routing_key".to_owned(), Json::from(key.expose()));
    let body = Json::Object(body);
    let size = body.to_string().len();
    if size > BODY_BYTES_MAX {
        let long = format!("the event is {size} bytes long; PagerDuty takes {BODY_BYTES_MAX}");
        return Err(Failure::refused(long));
    }
    let mut request = Request::new("POST", format!("{}{}", service.endpoint, event.path));
    request.timeout = service.timeout;
    request.accept = Accept::only(&[400]);
    request.hidden = vec![key.clone()];
    let _turn = service.turns.take(key.expose()).await;
    let sent = request.clone().json(&body);
    let response = call.services.http.send(sent).await?;
    outcome(&request, &response)
}

/// 202: accepted. 400: never tried again, with PagerDuty's own words.
fn outcome(request: &Request, response: &Response) -> Result<Value, Failure> {
    let body = response.json().unwrap_or_default();
    match response.status {
        202 => {
            let key = body.get("dedup_key").and_then(Json::as_str);
            let message = body.get("message").and_then(Json::as_str).unwrap_or("");
            Ok(Value::from([
                ("dedup_key", Value::from(key.map(str::to_owned))),
                ("message", Value::from(message)),
            ]))
        }
        400 => {
            let words = request.scrub(words(&body));
            Err(Failure::refused(format!("PagerDuty refused the event: {words}")).status(400))
        }
        // Some 2xx that is not the documented one: something else answers there.
        status => {
            let odd = format!("PagerDuty answered {status} instead of 202; is `endpoint` right?");
            Err(Failure::other(odd).status(status).in_doubt())
        }
    }
}

fn words(body: &Json) -> String {
    let errors = body.get("errors").and_then(Json::as_array);
    let errors: Vec<&str> = errors
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let status = json!("no reason given");
    let status = body.get("status").unwrap_or(&status).as_str().unwrap_or("");
    match errors.is_empty() {
        true => status.to_owned(),
        false => errors.join("; "),
    }
}
