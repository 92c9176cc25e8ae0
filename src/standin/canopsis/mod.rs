//! A stand-in for Canopsis' API v4 (events, open alarms, alarm actions, pbehaviors). Not Canopsis.
//!
//! Follows what reading the community edition 24.10 showed: 200 even if every event was refused,
//! corrections on the way, events without an open alarm ignored, 404 for what is already done, and
//! a recovered alarm resolved only some time after its last change.

mod complaint;
mod pbehavior;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::complaint::action_complaint;
use self::pbehavior::Pbehaviors;
use super::server::{Reply, Seen, Server, lock};

/// The key that the stand-in knows.
pub const AUTHKEY: &str = "5f0b6a2e-7a6c-4f0e-9a39-2b8f6c1d7e44";
/// How long an alarm must have been in state 0 to be resolved: the default rule.
const RESOLVE_AFTER: Duration = Duration::from_secs(60);
/// Event types of the engines that need an open alarm.
const ON_OPEN_ALARM: &[&str] = &[
    "ack",
    "ackremove",
    "cancel",
    "uncancel",
    "comment",
    "assocticket",
    "snooze",
    "changestate",
];

/// An alarm.
#[derive(Debug, Clone, Default)]
pub struct Alarm {
    /// Its id.
    pub id: String,
    /// `resource/component` or `component`.
    pub entity: String,
    /// 0 ok, 1 minor, 2 major, 3 critical.
    pub state: i64,
    /// Acknowledged by somebody.
    pub acked: bool,
    /// Cancelled.
    pub canceled: bool,
    /// Snoozed.
    pub snoozed: bool,
    /// The associated ticket.
    pub ticket: Option<String>,
    /// The last output.
    pub output: String,
    /// Comments, oldest first.
    pub comments: Vec<String>,
    /// No longer open.
    pub resolved: bool,
    changed: Option<Instant>,
}

#[derive(Default)]
struct State {
    alarms: Vec<Alarm>,
    events: Vec<Value>,
    entities: Vec<String>,
    pbehaviors: Pbehaviors,
    resolve_after: Duration,
    /// The broker behind the API does not take events: they come back in `retry_events`.
    is_clogged: bool,
}

/// The stand-in; it ends when this is dropped.
pub struct Canopsis {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl std::ops::Deref for Canopsis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Canopsis {
    /// Starts one that resolves recovered alarms after a minute.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> io::Result<Canopsis> {
        Canopsis::start_with(RESOLVE_AFTER).await
    }

    /// The same with another resolve rule.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start_with(resolve_after: Duration) -> io::Result<Canopsis> {
        let state = Arc::new(Mutex::new(State {
            resolve_after,
            ..State::default()
        }));
        let own = Arc::clone(&state);
        let server = Server::start(move |seen| lock(&own).answer(seen)).await?;
        Ok(Canopsis { server, state })
    }

    /// Every alarm, oldest first.
    pub fn alarms(&self) -> Vec<Alarm> {
        let mut state = lock(&self.state);
        state.settle();
        state.alarms.clone()
    }

    /// Every event that was sent on, as corrected.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.state).events.clone()
    }

    /// Every pbehavior with its comments, oldest first.
    pub fn pbehaviors(&self) -> Vec<Value> {
        lock(&self.state).pbehaviors.list.clone()
    }

    /// Every reason of pbehaviors.
    pub fn reasons(&self) -> Vec<Value> {
        lock(&self.state).pbehaviors.reasons.clone()
    }

    /// Says from now on that it is another version.
    pub fn pretend(&self, version: &str) {
        lock(&self.state).pbehaviors.version = version.to_owned();
    }

    /// Whether the broker behind the API takes events.
    pub fn clog(&self, is_clogged: bool) {
        lock(&self.state).is_clogged = is_clogged;
    }
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Reply {
        let parts: Vec<&str> = seen.path.trim_start_matches('/').split('/').collect();
        if parts == ["api", "v4", "app-info"] {
            return self.pbehaviors.app_info();
        }
        let key = seen.asked("authkey").or(seen.header("x-canopsis-authkey"));
        if key != Some(AUTHKEY) {
            return error(401, "Unauthorized");
        }
        self.settle();
        match (seen.method.as_str(), parts.as_slice()) {
            ("POST", ["api", "v4", "event"]) => self.take_events(seen),
            ("GET", ["api", "v4", "open-alarms"]) => self.open_alarm(seen),
            ("PUT", ["api", "v4", "alarms", id, verb]) => self.act(id, verb, seen),
            (_, ["api", "v4", rest @ ..]) => {
                let answer = self.pbehaviors.answer(rest, seen);
                answer.unwrap_or_else(|| error(404, "Not found"))
            }
            _ => error(404, "Not found"),
        }
    }

    /// The minute's round of the engine that resolves what has recovered.
    fn settle(&mut self) {
        let after = self.resolve_after;
        let is_over = |alarm: &&mut Alarm| {
            let quiet = alarm.changed.is_some_and(|at| at.elapsed() >= after);
            !alarm.resolved && alarm.state == 0 && quiet
        };
        for alarm in self.alarms.iter_mut().filter(is_over) {
            alarm.resolved = true;
        }
    }

    fn take_events(&mut self, seen: &Seen) -> Reply {
        let events = match serde_json::from_slice(&seen.body) {
            Ok(Value::Array(events)) => events,
            Ok(one @ Value::Object(_)) => vec![one],
            _ => return error(400, "request has invalid structure"),
        };
        let (mut sent, mut failed, mut retry) = (Vec::new(), Vec::new(), Vec::new());
        for event in events {
            match corrected(&event) {
                None => failed.push(event),
                Some(event) if self.is_clogged => retry.push(event),
                Some(event) => {
                    self.happen(&event);
                    self.events.push(event.clone());
                    sent.push(event);
                }
            }
        }
        let body = json!({"sent_events": sent, "failed_events": failed, "retry_events": retry});
        Reply::json(200, &body)
    }

    fn happen(&mut self, event: &Value) {
        let Some(entity) = entity(event) else { return };
        let kind = event["event_type"].as_str().unwrap_or("");
        let open = self
            .alarms
            .iter_mut()
            .find(|alarm| alarm.entity == entity && !alarm.resolved);
        match (kind, open) {
            ("check", alarm) => {
                let state = event["state"].as_i64().unwrap_or(0);
                let output = event["output"].as_str().unwrap_or("").to_owned();
                match alarm {
                    Some(alarm) => alarm.check(state, output),
                    None => self.open(&entity, state, output),
                }
            }
            (kind, Some(alarm)) if ON_OPEN_ALARM.contains(&kind) => {
                alarm.act(kind, event["output"].as_str().unwrap_or(""), event);
            }
            // Ignored without an error, as the engines do.
            _ => {}
        }
    }

    fn open(&mut self, entity: &str, state: i64, output: String) {
        if !self.entities.iter().any(|known| known == entity) {
            self.entities.push(entity.to_owned());
        }
        if state == 0 {
            return;
        }
        self.alarms.push(Alarm {
            id: format!("alarm-{}", self.alarms.len() + 1),
            entity: entity.to_owned(),
            state,
            output,
            changed: Some(Instant::now()),
            ..Alarm::default()
        });
    }

    fn open_alarm(&self, seen: &Seen) -> Reply {
        let entity = seen.asked("_id").unwrap_or("");
        let mine = |alarm: &&Alarm| alarm.entity == entity && !alarm.resolved;
        match self.alarms.iter().find(mine) {
            Some(alarm) => Reply::json(200, &alarm.json()),
            None if self.entities.iter().any(|known| known == entity) => Reply::empty(204),
            None => error(404, "Not found"),
        }
    }

    fn act(&mut self, id: &str, verb: &str, seen: &Seen) -> Reply {
        let Ok(Value::Object(body)) = serde_json::from_slice(&seen.body) else {
            return error(400, "request has invalid structure");
        };
        if let Some((field, complaint)) = action_complaint(verb, &body) {
            return Reply::json(400, &json!({ "errors": { field: complaint } }));
        }
        let mine = |alarm: &&mut Alarm| alarm.id == id && !alarm.resolved;
        let Some(alarm) = self.alarms.iter_mut().find(mine) else {
            return error(404, "Not found");
        };
        let already = match verb {
            "cancel" => alarm.canceled,
            "uncancel" => !alarm.canceled,
            "ackremove" => !alarm.acked,
            "snooze" => alarm.snoozed,
            verb => !ON_OPEN_ALARM.contains(&verb),
        };
        if already {
            return error(404, "Not found");
        }
        let comment = body.get("comment").and_then(Value::as_str).unwrap_or("");
        alarm.act(verb, comment, &Value::Object(body.clone()));
        Reply::empty(204)
    }
}

impl Alarm {
    fn check(&mut self, state: i64, output: String) {
        if self.state != state {
            self.changed = Some(Instant::now());
        }
        self.state = state;
        self.output = output;
    }

    fn act(&mut self, kind: &str, comment: &str, with: &Value) {
        match kind {
            "ack" => self.acked = true,
            "ackremove" => self.acked = false,
            "cancel" => self.canceled = true,
            "uncancel" => self.canceled = false,
            "snooze" => self.snoozed = true,
            "assocticket" => self.ticket = with["ticket"].as_str().map(str::to_owned),
            "changestate" => self.state = with["state"].as_i64().unwrap_or(self.state),
            _ => {}
        }
        if !comment.is_empty() {
            self.comments.push(comment.to_owned());
        }
    }

    fn json(&self) -> Value {
        let (resource, component) = match self.entity.rsplit_once('/') {
            Some((resource, component)) => (resource, component),
            None => ("", self.entity.as_str()),
        };
        let status = if self.canceled {
            4
        } else {
            i64::from(self.state > 0)
        };
        let flag = |yes: bool| if yes { json!({"t": 1}) } else { Value::Null };
        json!({"_id": self.id, "t": 1, "entity": {"_id": self.entity}, "v": {
            "component": component, "resource": resource, "output": self.output,
            "state": {"val": self.state}, "status": {"val": status},
            "ack": flag(self.acked), "canceled": flag(self.canceled),
            "snooze": flag(self.snoozed),
            "ticket": self.ticket.as_ref().map(|ticket| json!({"ticket": ticket})),
            "resolved": null}})
    }
}

/// The event as the API sends it on, or nothing if it refuses it.
fn corrected(event: &Value) -> Option<Value> {
    let given = event.as_object()?;
    let mut event = given.clone();
    let text = |name: &str| {
        given
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let is_text = |name: &str| given.get(name).is_none_or(Value::is_string);
    let kind = text("event_type");
    let typed = ["author", "user_id", "component", "resource"]
        .into_iter()
        .all(is_text);
    let from = !text("connector").is_empty() && !text("connector_name").is_empty();
    if kind.is_empty() || !typed || (!from && text("ref_rk").is_empty()) {
        return None;
    }
    let (component, resource) = (text("component"), text("resource"));
    if matches!(kind.as_str(), "check" | "changestate") {
        let state = state(given.get("state")?)?;
        event.insert("state".to_owned(), json!(state));
        if kind == "check" && component.is_empty() && resource.is_empty() {
            return None;
        }
    }
    let source_type = match (component.is_empty(), resource.is_empty()) {
        (false, false) => "resource",
        (false, true) => "component",
        _ => "connector",
    };
    event.insert("source_type".to_owned(), json!(source_type));
    if text("author").is_empty() {
        event.insert("author".to_owned(), json!("flowbot"));
    }
    Some(Value::Object(event))
}

fn state(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn entity(event: &Value) -> Option<String> {
    let text = |name: &str| {
        event
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let component = text("component")?;
    Some(match text("resource") {
        Some(resource) => format!("{resource}/{component}"),
        None => component.to_owned(),
    })
}

fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, &json!({ "error": text }))
}
