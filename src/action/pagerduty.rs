//! `pagerduty::trigger acknowledge resolve change` by the Events API v2.
//!
//! 202 only means accepted, so limits are checked before sending; the same `dedup_key` joins the
//! open alert, which makes every verb repeatable; events of one routing key leave in order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::arguments::{Options, shorten, wrong};
use super::http::{Accept, Request, Response};
use super::turns::Turns;
use super::{Action, Argument, Call, Failure, Performing, Repeat, Verb};
use crate::event::Value;
use crate::secret::Secret;

/// Longest summary, in characters; a longer one is cut and ends in `…` (documentation).
pub const SUMMARY_CHARS_MAX: usize = 1_024;
/// Longest deduplication key, in characters (documentation).
pub const DEDUP_KEY_CHARS_MAX: usize = 255;
/// Characters of a routing key (documentation).
pub const ROUTING_KEY_CHARS: usize = 32;
/// Largest event, in bytes (documentation: 512 KB).
pub const BODY_BYTES_MAX: usize = 512_000;
/// What `severity` may be (documentation).
const SEVERITIES: &[&str] = &["critical", "error", "warning", "info"];

/// The options of `trigger`.
const TRIGGER: &[&str] = &[
    "summary",
    "source",
    "severity",
    "dedup_key",
    "timestamp",
    "component",
    "group",
    "class",
    "custom_details",
    "links",
    "images",
    "client",
    "client_url",
    "routing_key",
];
/// The options of `acknowledge` and `resolve`.
const FOLLOW_UP: &[&str] = &["dedup_key", "routing_key"];
/// The options of `change`.
const CHANGE: &[&str] = &[
    "summary",
    "source",
    "timestamp",
    "custom_details",
    "links",
    "images",
    "routing_key",
];

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
            check_routing_key(key.expose()).map_err(|why| why.message)?;
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
    let event = event(&call)?;
    let key = routing_key(&event.options, service)?;
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

/// What a call asks to send.
struct Event<'a> {
    path: &'static str,
    body: Map<String, Json>,
    options: Options<'a>,
}

fn event<'a>(call: &Call<'a>) -> Result<Event<'a>, Failure> {
    let argument = call.argument(0);
    match call.verb {
        "trigger" => {
            let options = Options::new(argument, TRIGGER)?;
            let mut body = common(&options, &["client", "client_url"])?;
            let own = Some(call.key.to_owned());
            let dedup_key = options
                .text("dedup_key")?
                .filter(|key| !key.is_empty())
                .or(own);
            body.insert("event_action".to_owned(), Json::from("trigger"));
            body.insert("dedup_key".to_owned(), checked_key(dedup_key)?);
            body.insert("payload".to_owned(), Json::Object(payload(&options)?));
            Ok(Event {
                path: "/v2/enqueue",
                body,
                options,
            })
        }
        "change" => {
            let options = Options::new(argument, CHANGE)?;
            let mut body = common(&options, &[])?;
            body.insert(
                "payload".to_owned(),
                Json::Object(change_payload(&options)?),
            );
            Ok(Event {
                path: "/v2/change/enqueue",
                body,
                options,
            })
        }
        verb => {
            let (options, key) = match argument {
                Value::Map(_) => {
                    let options = Options::new(argument, FOLLOW_UP)?;
                    (options, options.text("dedup_key")?)
                }
                text => (
                    Options::open(&Value::Null)?,
                    text.as_text().map(str::to_owned),
                ),
            };
            let mut body = Map::new();
            body.insert("event_action".to_owned(), Json::from(verb));
            body.insert("dedup_key".to_owned(), checked_key(key)?);
            Ok(Event {
                path: "/v2/enqueue",
                body,
                options,
            })
        }
    }
}

/// The named texts as they are, and the links and images.
fn common(options: &Options<'_>, texts: &[&str]) -> Result<Map<String, Json>, Failure> {
    let mut body = Map::new();
    for name in texts {
        if let Some(text) = options.text(name)? {
            body.insert((*name).to_owned(), Json::from(text));
        }
    }
    for (name, needed) in [("links", "href"), ("images", "src")] {
        for item in options.list(name) {
            let good = item.get(needed).and_then(Value::as_text).is_some();
            if !good {
                let what = format!("a list of maps with `{needed}`");
                return Err(wrong(name, &what, item));
            }
        }
        let items: Vec<Json> = options.list(name).into_iter().map(Value::to_json).collect();
        if !items.is_empty() {
            body.insert(name.to_owned(), Json::from(items));
        }
    }
    Ok(body)
}

fn payload(options: &Options<'_>) -> Result<Map<String, Json>, Failure> {
    let mut payload = change_payload(options)?;
    payload.insert(
        "source".to_owned(),
        Json::from(options.required_text("source")?),
    );
    let severity = options
        .text("severity")?
        .unwrap_or_else(|| "error".to_owned());
    if !SEVERITIES.contains(&severity.as_str()) {
        let known = SEVERITIES.join(", ");
        let why = format!("`severity` is \"{severity}\"; PagerDuty knows {known}");
        return Err(Failure::refused(why));
    }
    payload.insert("severity".to_owned(), Json::from(severity));
    for name in ["component", "group", "class"] {
        if let Some(text) = options.text(name)? {
            payload.insert(name.to_owned(), Json::from(text));
        }
    }
    Ok(payload)
}

fn change_payload(options: &Options<'_>) -> Result<Map<String, Json>, Failure> {
    let summary = options.required_text("summary")?;
    let mut payload = Map::new();
    let summary = shorten(&summary, SUMMARY_CHARS_MAX);
    payload.insert("summary".to_owned(), Json::from(summary));
    if let Some(source) = options.text("source")? {
        payload.insert("source".to_owned(), Json::from(source));
    }
    if let Some(moment) = options.moment("timestamp")? {
        payload.insert("timestamp".to_owned(), Json::from(moment.to_string()));
    }
    match options.value("custom_details") {
        None => {}
        Some(details @ Value::Map(_)) => {
            payload.insert("custom_details".to_owned(), details.to_json());
        }
        Some(other) => return Err(wrong("custom_details", "a map", other)),
    }
    Ok(payload)
}

fn checked_key(key: Option<String>) -> Result<Json, Failure> {
    let key = key.unwrap_or_default();
    if key.trim().is_empty() {
        return Err(Failure::refused("`dedup_key` is missing or blank"));
    }
    if key.chars().count() > DEDUP_KEY_CHARS_MAX {
        let long = format!("`dedup_key` is longer than {DEDUP_KEY_CHARS_MAX} characters");
        return Err(Failure::refused(long));
    }
    Ok(Json::from(key))
}

fn routing_key(options: &Options<'_>, service: &Service) -> Result<Secret, Failure> {
    let own = options.text("routing_key")?.map(Secret::new);
    let key = own.or_else(|| service.routing_key.clone());
    let missing = "no routing key: set routing_key_file under [pagerduty], or give `routing_key`";
    let key = key.ok_or_else(|| Failure::refused(missing))?;
    check_routing_key(key.expose())?;
    Ok(key)
}

fn check_routing_key(key: &str) -> Result<(), Failure> {
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match plain && key.len() == ROUTING_KEY_CHARS {
        true => Ok(()),
        false => {
            let what = format!("`routing_key` must be {ROUTING_KEY_CHARS} letters and digits");
            Err(Failure::refused(what))
        }
    }
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
