//! Pbehaviors of the stand-in with their reasons, types and comments, and `app-info`.
//!
//! As strict as Canopsis about what must be there; lists come in pages.

use serde_json::{Map, Value, json};

use super::super::server::{Reply, Seen};
use super::error;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Entries of a page unless the request says otherwise.
const PAGE_ENTRIES: usize = 10;
/// What the product comes with.
const TYPES: &[&str] = &[
    "Default active",
    "Default inactive",
    "Default maintenance",
    "Default pause",
];

/// Everything about them.
pub(super) struct Pbehaviors {
    pub(super) list: Vec<Value>,
    pub(super) reasons: Vec<Value>,
    pub(super) version: String,
}

impl Default for Pbehaviors {
    fn default() -> Pbehaviors {
        Pbehaviors {
            list: Vec::new(),
            reasons: Vec::new(),
            version: "23.10.2".to_owned(),
        }
    }
}

impl Pbehaviors {
    /// What anybody may know.
    pub(super) fn app_info(&self) -> Reply {
        Reply::json(
            200,
            &json!({"version": self.version, "edition": "community"}),
        )
    }

    /// Answers what is below `/api/v4`; nothing if it is about something else.
    pub(super) fn answer(&mut self, parts: &[&str], seen: &Seen) -> Option<Reply> {
        Some(match (seen.method.as_str(), parts) {
            ("GET", ["pbehavior-reasons"]) => paged(&self.reasons, seen),
            ("POST", ["pbehavior-reasons"]) => self.make_reason(&seen.json()),
            ("GET", ["pbehavior-types"]) => paged(&types(), seen),
            ("POST", ["pbehaviors"]) => self.make(&seen.json()),
            ("GET", ["pbehaviors", id]) => self.get(id),
            ("DELETE", ["pbehaviors"]) => self.delete(seen.asked("name").unwrap_or("")),
            ("POST", ["pbehavior-comments"]) => self.comment(&seen.json()),
            _ => return None,
        })
    }

    fn make_reason(&mut self, body: &Value) -> Reply {
        let name = text(body, "name");
        if name.is_empty() || text(body, "description").is_empty() {
            return complaint("name", "Name and Description are required.");
        }
        if self.reasons.iter().any(|known| known["name"] == name) {
            return complaint("name", "Name already exists.");
        }
        let id = format!("reason-{}", self.reasons.len() + 1);
        let made = json!({"_id": id, "name": name, "description": body["description"]});
        self.reasons.push(made.clone());
        Reply::json(201, &made)
    }

    fn make(&mut self, body: &Value) -> Reply {
        if let Some((field, why)) = self.wrong(body) {
            return complaint(field, why);
        }
        let Some(mut made) = body.as_object().cloned() else {
            return error(400, "request has invalid structure");
        };
        made.entry("_id")
            .or_insert_with(|| json!(format!("pbehavior-{}", self.list.len() + 1)));
        made.insert("comments".to_owned(), json!([]));
        let made = Value::Object(made);
        if self.list.iter().any(|known| known["_id"] == made["_id"]) {
            return complaint("_id", "ID already exists.");
        }
        if self.list.iter().any(|known| known["name"] == made["name"]) {
            return complaint("name", "Name already exists.");
        }
        self.list.push(made.clone());
        Reply::json(201, &made)
    }

    fn wrong(&self, body: &Value) -> Option<(&'static str, &'static str)> {
        let name = text(body, "name");
        let has = |list: &[Value], id: &Value| list.iter().any(|known| known["_id"] == *id);
        let checks = [
            ("name", !name.is_empty(), "Name is missing."),
            (
                "name",
                name.chars().count() <= NAME_CHARS_MAX,
                "Name should be 255 or less.",
            ),
            (
                "enabled",
                body["enabled"].is_boolean(),
                "Enabled is missing.",
            ),
            (
                "reason",
                has(&self.reasons, &body["reason"]),
                "Reason doesn't exist.",
            ),
            ("type", has(&types(), &body["type"]), "Type doesn't exist."),
            ("tstart", body["tstart"].is_i64(), "Start is missing."),
            (
                "tstop",
                body["tstop"].is_null() || body["tstop"].as_i64() > body["tstart"].as_i64(),
                "Stop should be greater than Start.",
            ),
            (
                "entity_pattern",
                is_pattern(&body["entity_pattern"]),
                "EntityPattern is invalid entity pattern.",
            ),
            (
                "color",
                !self.version.contains("22.10.") || body["color"].is_string(),
                "Color is missing.",
            ),
        ];
        let wrong = checks.into_iter().find(|(_, good, _)| !good);
        wrong.map(|(field, _, why)| (field, why))
    }

    fn get(&self, id: &str) -> Reply {
        let id = percent_encoding::percent_decode_str(id).decode_utf8_lossy();
        match self.list.iter().find(|known| known["_id"] == *id) {
            Some(found) => Reply::json(200, found),
            None => error(404, "Not found"),
        }
    }

    fn delete(&mut self, name: &str) -> Reply {
        let before = self.list.len();
        self.list.retain(|known| known["name"] != name);
        match self.list.len() < before {
            true => Reply::empty(204),
            false => error(404, "Not found"),
        }
    }

    fn comment(&mut self, body: &Value) -> Reply {
        if text(body, "message").is_empty() {
            return complaint("message", "Message is missing.");
        }
        let mine = |known: &&mut Value| known["_id"] == body["pbehavior"];
        let Some(found) = self.list.iter_mut().find(mine) else {
            return complaint("pbehavior", "Pbehavior doesn't exist.");
        };
        let made = json!({"message": body["message"], "author": "flowbot"});
        if let Some(comments) = found["comments"].as_array_mut() {
            comments.push(made.clone());
        }
        Reply::json(201, &made)
    }
}

fn types() -> Vec<Value> {
    let one = |name: &&str| {
        let id = name.to_lowercase().replace(' ', "-");
        json!({"_id": id, "name": name})
    };
    TYPES.iter().map(one).collect()
}

fn paged(list: &[Value], seen: &Seen) -> Reply {
    let asked = |name: &str| seen.asked(name).and_then(|text| text.parse::<usize>().ok());
    let limit = asked("limit").unwrap_or(PAGE_ENTRIES).max(1);
    let page = asked("page").unwrap_or(1).max(1);
    let data: Vec<&Value> = list.iter().skip((page - 1) * limit).take(limit).collect();
    let meta = json!({"page": page, "page_count": list.len().div_ceil(limit),
        "per_page": limit, "total_count": list.len()});
    Reply::json(200, &json!({"data": data, "meta": meta}))
}

/// A list of lists of `{field, cond: {type, value}}`.
fn is_pattern(value: &Value) -> bool {
    let is_condition = |one: &Value| {
        one["field"].is_string()
            && one["cond"]["type"].is_string()
            && !one["cond"]["value"].is_null()
    };
    let is_group = |group: &Value| {
        let group = group.as_array();
        group.is_some_and(|group| !group.is_empty() && group.iter().all(is_condition))
    };
    value
        .as_array()
        .is_some_and(|groups| !groups.is_empty() && groups.iter().all(is_group))
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or("")
}

fn complaint(field: &str, why: &str) -> Reply {
    let errors: Map<String, Value> = [(field.to_owned(), json!(why))].into_iter().collect();
    Reply::json(400, &json!({ "errors": errors }))
}
