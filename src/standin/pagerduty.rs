//! A stand-in for PagerDuty's Events API v2. Not PagerDuty.
//!
//! Follows the public documentation of the Events API (fields, limits, what joins what) and error
//! texts that users have quoted; where neither says anything, it is the stricter of two choices.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::server::{Reply, Seen, Server, lock};

/// Largest body, in bytes (documentation: 512 KB).
const BODY_BYTES_MAX: usize = 524_288;
/// Longest summary, in characters.
const SUMMARY_CHARS_MAX: usize = 1_024;
/// Longest deduplication key, in characters.
const DEDUP_KEY_CHARS_MAX: usize = 255;
/// Characters of a routing key.
const ROUTING_KEY_CHARS: usize = 32;
/// Calls per routing key and minute.
const RATE_MAX: usize = 120;

/// One alert that PagerDuty would show.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Which integration.
    pub routing_key: String,
    /// Given or generated.
    pub dedup_key: String,
    /// `triggered`, `acknowledged` or `resolved`.
    pub state: &'static str,
    /// The first trigger's payload.
    pub payload: Value,
    /// How many triggers joined it, the first included.
    pub triggers: usize,
}

#[derive(Default)]
struct State {
    alerts: Vec<Alert>,
    changes: Vec<Value>,
    unknown_keys: BTreeSet<String>,
    calls: BTreeMap<String, Vec<Instant>>,
    generated: usize,
}

/// The stand-in; it ends when this is dropped.
pub struct PagerDuty {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl std::ops::Deref for PagerDuty {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl PagerDuty {
    /// Starts one without alerts.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> io::Result<PagerDuty> {
        let state: Arc<Mutex<State>> = Arc::default();
        let own = Arc::clone(&state);
        let server = Server::start(move |seen| lock(&own).answer(seen)).await?;
        Ok(PagerDuty { server, state })
    }

    /// Every alert, in the order of opening.
    pub fn alerts(&self) -> Vec<Alert> {
        lock(&self.state).alerts.clone()
    }

    /// Every change event.
    pub fn changes(&self) -> Vec<Value> {
        lock(&self.state).changes.clone()
    }

    /// From now on this well-formed routing key belongs to no integration.
    pub fn forget_key(&self, routing_key: &str) {
        lock(&self.state)
            .unknown_keys
            .insert(routing_key.to_owned());
    }
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Reply {
        match (seen.method.as_str(), seen.path.as_str()) {
            ("POST", "/v2/enqueue") => self.receive(seen, State::enqueue),
            ("POST", "/v2/change/enqueue") => self.receive(seen, State::change),
            (_, "/v2/enqueue" | "/v2/change/enqueue") => Reply::empty(405),
            _ => Reply::empty(404),
        }
    }

    fn receive(
        &mut self,
        seen: &Seen,
        then: fn(&mut State, &Map<String, Value>) -> Reply,
    ) -> Reply {
        if seen.body.len() > BODY_BYTES_MAX {
            return Reply::empty(413);
        }
        let Ok(Value::Object(event)) = serde_json::from_slice(&seen.body) else {
            return Reply::json(
                400,
                &json!({"status": "Unrecognized object",
                    "message": "Event object format is unrecognized",
                    "errors": ["JSON parse error"]}),
            );
        };
        let key = text(&event, "routing_key");
        if let Some(complaint) = routing_key_complaint(key) {
            return invalid(&[complaint.to_owned()]);
        }
        if self.unknown_keys.contains(key) {
            return Reply::json(
                400,
                &json!({"status": "Invalid routing key", "message": "Event object is invalid"}),
            );
        }
        match self.is_over_rate(key) {
            true => Reply::empty(429),
            false => then(self, &event),
        }
    }

    fn is_over_rate(&mut self, key: &str) -> bool {
        let calls = self.calls.entry(key.to_owned()).or_default();
        calls.retain(|call| call.elapsed() < Duration::from_secs(60));
        if calls.len() >= RATE_MAX {
            return true;
        }
        calls.push(Instant::now());
        false
    }

    fn enqueue(&mut self, event: &Map<String, Value>) -> Reply {
        let errors = event_complaints(event);
        if !errors.is_empty() {
            return invalid(&errors);
        }
        let mut dedup_key = text(event, "dedup_key").to_owned();
        if dedup_key.is_empty() {
            self.generated += 1;
            dedup_key = format!("{:032x}", self.generated);
        }
        let routing_key = text(event, "routing_key");
        let mine = |alert: &&mut Alert| {
            alert.routing_key == routing_key
                && alert.dedup_key == dedup_key
                && alert.state != "resolved"
        };
        let open = self.alerts.iter_mut().find(mine);
        match (text(event, "event_action"), open) {
            ("trigger", Some(alert)) => alert.triggers += 1,
            ("trigger", None) => self.alerts.push(Alert {
                routing_key: routing_key.to_owned(),
                dedup_key: dedup_key.clone(),
                state: "triggered",
                payload: event["payload"].clone(),
                triggers: 1,
            }),
            ("acknowledge", Some(alert)) => alert.state = "acknowledged",
            ("resolve", Some(alert)) => alert.state = "resolved",
            // Accepted and dropped, as documented.
            _ => {}
        }
        let answer =
            json!({"status": "success", "message": "Event processed", "dedup_key": dedup_key});
        Reply::json(202, &answer)
    }

    fn change(&mut self, event: &Map<String, Value>) -> Reply {
        if text(event, "routing_key").starts_with('R') {
            return invalid(&["'routing_key' belongs to a ruleset".to_owned()]);
        }
        let payload = event.get("payload").and_then(Value::as_object);
        let summary = payload.map_or("", |payload| text(payload, "summary"));
        if summary.trim().is_empty() {
            return invalid(&["'payload.summary' is missing or blank".to_owned()]);
        }
        self.changes.push(Value::Object(event.clone()));
        let answer = json!({"status": "success", "message": "Change event processed"});
        Reply::json(202, &answer)
    }
}

fn routing_key_complaint(key: &str) -> Option<&'static str> {
    if key.chars().count() != ROUTING_KEY_CHARS {
        return Some("Length of 'routing_key' is incorrect (should be 32 characters)");
    }
    let plain = key.chars().all(|char| char.is_ascii_alphanumeric());
    (!plain).then_some("'routing_key' cannot contain non-alphanumeric characters.")
}

fn event_complaints(event: &Map<String, Value>) -> Vec<String> {
    let mut errors = Vec::new();
    let action = text(event, "event_action");
    if !matches!(action, "trigger" | "acknowledge" | "resolve") {
        errors.push("'event_action' must be one of trigger, acknowledge, resolve".to_owned());
    }
    let dedup_key = text(event, "dedup_key");
    if action != "trigger" && dedup_key.is_empty() {
        errors.push("'dedup_key' is missing or blank".to_owned());
    }
    if dedup_key.chars().count() > DEDUP_KEY_CHARS_MAX {
        errors.push("'dedup_key' is too long (maximum is 255 characters)".to_owned());
    }
    if action == "trigger" {
        errors.extend(payload_complaints(event));
    }
    errors
}

fn payload_complaints(event: &Map<String, Value>) -> Vec<String> {
    let empty = Map::new();
    let payload = event
        .get("payload")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let blank = |name: &&str| text(payload, name).trim().is_empty();
    let mut errors: Vec<String> = ["summary", "source", "severity"]
        .into_iter()
        .filter(blank)
        .map(|name| format!("'payload.{name}' is missing or blank"))
        .collect();
    let severity = text(payload, "severity");
    if !severity.is_empty() && !matches!(severity, "critical" | "error" | "warning" | "info") {
        errors.push("'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')".to_owned());
    }
    if text(payload, "summary").chars().count() > SUMMARY_CHARS_MAX {
        errors.push("'payload.summary' is too long (maximum is 1024 characters)".to_owned());
    }
    let details = payload.get("custom_details");
    if details.is_some_and(|details| !details.is_object()) {
        errors.push("'payload.custom_details' must be an object".to_owned());
    }
    let time = text(payload, "timestamp");
    if !time.is_empty() && !is_iso_8601(time) {
        errors.push("'payload.timestamp' is not ISO 8601".to_owned());
    }
    errors
}

/// With a zone as `Z`, `+00:00` or `+0000`.
fn is_iso_8601(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
        || jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).is_ok()
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

fn invalid(errors: &[String]) -> Reply {
    let body =
        json!({"status": "invalid event", "message": "Event object is invalid", "errors": errors});
    Reply::json(400, &body)
}
