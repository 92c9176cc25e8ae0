//! The outputs with a script in a Broker's configuration, whichever part of it one has.

use serde_json::Value as Json;

/// One output.
#[derive(Debug)]
pub(super) struct Output {
    /// What it is called; empty if only parameters were given.
    pub(super) name: String,
    /// The path of its script.
    pub(super) script: String,
    /// In order; of the same name the last counts.
    pub(super) parameters: Vec<Given>,
    /// Categories or events that the Broker hands over at all.
    pub(super) categories: Vec<String>,
}

/// One parameter as it stands there.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) name: String,
    /// `string`, `number` or `password`; `string` if it is not said.
    pub(super) kind: String,
    pub(super) value: String,
}

/// All outputs with a script.
///
/// # Errors
/// What is no JSON, or no configuration.
pub(super) fn all(text: &str) -> Result<Vec<Output>, String> {
    let json: Json = serde_json::from_str(text).map_err(|why| format!("it is no JSON: {why}"))?;
    let inside = json.get("centreonBroker").unwrap_or(&json);
    if let Some(outputs) = inside.get("output").filter(|found| !found.is_string()) {
        return Ok(each(outputs).into_iter().filter_map(output).collect());
    }
    match output(inside) {
        Some(output) => Ok(vec![output]),
        None => bare(inside).map(|output| vec![output]),
    }
}

/// A list, or the one thing that stands for a list of one.
fn each(json: &Json) -> Vec<&Json> {
    match json {
        Json::Array(items) => items.iter().collect(),
        other => vec![other],
    }
}

/// An output, if it runs a script.
fn output(json: &Json) -> Option<Output> {
    let text = |name: &str| {
        json.get(name)
            .and_then(Json::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let given = ["lua_parameter", "lua_parameters"];
    let given = given.iter().find_map(|name| json.get(*name));
    if given.is_none() && text("type") != "lua" {
        return None;
    }
    let filters = json
        .get("filters")
        .and_then(|filters| filters.get("category"));
    let categories = filters.map(each).unwrap_or_default();
    Some(Output {
        name: text("name"),
        script: text("path"),
        parameters: given.map(parameters).unwrap_or_default(),
        categories: categories.into_iter().map(plain).collect(),
    })
}

/// Parameters alone.
fn bare(json: &Json) -> Result<Output, String> {
    let parameters = parameters(json);
    if parameters.is_empty() {
        return Err("it has neither outputs nor lua_parameter".to_owned());
    }
    Ok(Output {
        name: String::new(),
        script: String::new(),
        parameters,
        categories: Vec::new(),
    })
}

/// `[{type, name, value}]`, one of them alone, a map of them by number, or a map of names and values.
fn parameters(json: &Json) -> Vec<Given> {
    match json {
        Json::Array(items) => items.iter().filter_map(parameter).collect(),
        Json::Object(map) => match parameter(json) {
            Some(one) => vec![one],
            None => map.iter().filter_map(entry).collect(),
        },
        _ => Vec::new(),
    }
}

fn entry((name, value): (&String, &Json)) -> Option<Given> {
    match value {
        Json::Object(_) => parameter(value),
        Json::Array(_) | Json::Null => None,
        value => Some(Given {
            name: name.clone(),
            kind: if value.is_string() {
                "string"
            } else {
                "number"
            }
            .to_owned(),
            value: plain(value),
        }),
    }
}

fn parameter(json: &Json) -> Option<Given> {
    let name = json.get("name")?.as_str()?.trim().to_owned();
    let kind = json.get("type").map(plain).unwrap_or_default();
    let value = json.get("value").map(plain).unwrap_or_default();
    let is_named = !name.is_empty() && json.get("lua_parameter").is_none();
    is_named.then(|| Given {
        name,
        kind: if kind.is_empty() {
            "string".to_owned()
        } else {
            kind
        },
        value,
    })
}

fn plain(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        Json::Bool(true) => "1".to_owned(),
        Json::Bool(false) => "0".to_owned(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}
