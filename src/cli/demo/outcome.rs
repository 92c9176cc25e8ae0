//! Commands and outcomes in few words, for one line of a screen.

use serde_json::Value as Json;

use crate::action::arguments::shorten;

/// Characters of a command or an outcome that are shown.
const CHARS_MAX: usize = 60;
/// What a command is about, in the order in which it is looked for.
const TELLING: &[&str] = &["subject", "summary", "output", "dedup_key", "component"];

/// `redmine::open` out of `redmine::open({…})`.
pub(super) fn word(asked: &str) -> &str {
    asked.split('(').next().unwrap_or(asked)
}

/// A command as `redmine::open  web01: HTTP is down`.
pub(super) fn command(asked: &str) -> String {
    let word = word(asked);
    let inside = asked[word.len()..].trim_start_matches('(');
    let inside = inside.strip_suffix(')').unwrap_or(inside);
    let arguments: Vec<Json> = serde_json::from_str(&format!("[{inside}]")).unwrap_or_default();
    let told: Vec<String> = arguments.iter().take(2).filter_map(telling).collect();
    shorten(&format!("{word}  {}", told.join(", ")), CHARS_MAX)
}

fn telling(argument: &Json) -> Option<String> {
    match argument {
        Json::Object(map) => TELLING.iter().find_map(|name| telling(map.get(*name)?)),
        Json::String(text) => Some(text.lines().next().unwrap_or("").to_owned()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What a command gave back.
pub(super) fn good(word: &str, value: &Json) -> String {
    let text = |name: &str| match &value[name] {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let said = match word {
        "redmine::open" if value["created"] == true => format!("issue #{} opened", text("id")),
        "redmine::open" => format!("issue #{}, which was there already", text("id")),
        "redmine::find" => {
            let found = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let numbers: Vec<String> = found.iter().map(|one| format!("#{}", one["id"])).collect();
            format!(
                "found {}",
                if numbers.is_empty() {
                    "none".to_owned()
                } else {
                    numbers.join(", ")
                }
            )
        }
        "redmine::close" => format!("issue #{} is {}", text("id"), text("status")),
        "redmine::attach" => format!("{} is on issue #{}", text("filename"), text("id")),
        "pagerduty::trigger" => format!("alert {} open", text("dedup_key")),
        "pagerduty::resolve" => format!("alert {} resolved", text("dedup_key")),
        "canopsis::check" => format!("alarm {} raised", text("entity")),
        "canopsis::resolve" => format!("alarm {} resolved", text("entity")),
        "mail::send" => "handed to the relay".to_owned(),
        _ => value.to_string(),
    };
    shorten(&said, CHARS_MAX)
}

/// What a command failed with.
pub(super) fn bad(value: &Json) -> String {
    shorten(value["message"].as_str().unwrap_or("failed"), CHARS_MAX)
}
