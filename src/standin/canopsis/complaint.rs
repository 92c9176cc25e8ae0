//! What Canopsis complains of in the body of an alarm action.

use serde_json::{Map, Value};

/// Longest comment, ticket URL and system name, in characters.
const COMMENT_CHARS_MAX: usize = 255;

/// The field that is wrong and the complaint about it.
pub(super) fn action_complaint(
    verb: &str,
    body: &Map<String, Value>,
) -> Option<(&'static str, &'static str)> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
    let long = |name: &str| text(name).chars().count() > COMMENT_CHARS_MAX;
    if long("comment") {
        return Some(("comment", "Comment should be 255 or less."));
    }
    match verb {
        "comment" if text("comment").is_empty() => Some(("comment", "Comment is missing.")),
        "assocticket" if text("ticket").is_empty() => Some(("ticket", "Ticket is missing.")),
        "assocticket" if long("url") => Some(("url", "URL should be 255 or less.")),
        "snooze" if !body.get("duration").is_some_and(is_duration) => {
            Some(("duration", "Duration is missing."))
        }
        _ => None,
    }
}

fn is_duration(value: &Value) -> bool {
    let unit = value["unit"].as_str().unwrap_or("");
    value["value"].as_i64().is_some_and(|value| value > 0)
        && matches!(unit, "s" | "m" | "h" | "d" | "w" | "M" | "y")
}
