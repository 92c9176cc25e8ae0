//! The lists, patterns and comparisons that rules are made of.

use regex::Regex;
use serde::Deserialize;

use super::super::field::Fields;
use super::super::names::number;
use crate::event::Value;

/// States that pass; `["*"]` is all.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Vec<StateWord>")]
pub(super) struct States {
    listed: Vec<i64>,
    is_all: bool,
}

/// How a state is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum StateWord {
    Number(i64),
    Text(String),
}

impl TryFrom<Vec<StateWord>> for States {
    type Error = String;

    fn try_from(words: Vec<StateWord>) -> Result<States, String> {
        let mut states = States::default();
        for word in words {
            match word {
                StateWord::Number(state) => states.listed.push(state),
                StateWord::Text(all) if all == "*" => states.is_all = true,
                StateWord::Text(other) => {
                    return Err(format!("a state is a number or \"*\", not \"{other}\""));
                }
            }
        }
        Ok(states)
    }
}

impl States {
    pub(super) fn has(&self, state: i64) -> bool {
        self.is_all || self.listed.contains(&state)
    }

    /// True of `[]`.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_all && self.listed.is_empty()
    }
}

/// A regular expression that is found anywhere in a name.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        let pattern = Regex::new(&text);
        pattern
            .map(Pattern)
            .map_err(|_| format!("`{text}` is no regular expression"))
    }
}

/// How a threshold stands to a severity that passes: `threshold >= severity`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) enum Operator {
    #[default]
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = ">")]
    More,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "==")]
    Same,
    #[serde(rename = "!=", alias = "~=")]
    Other,
}

pub(super) fn text<'a>(fields: &'a Fields, field: &str) -> &'a str {
    fields.get(field).and_then(Value::as_text).unwrap_or("")
}

pub(super) fn one<'a>(fields: &'a Fields, field: &str) -> Vec<&'a str> {
    fields
        .get(field)
        .and_then(Value::as_text)
        .into_iter()
        .collect()
}

pub(super) fn many<'a>(fields: &'a Fields, field: &str) -> Vec<&'a str> {
    match fields.get(field) {
        Some(Value::List(names)) => names.iter().filter_map(Value::as_text).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn is_in(list: &[String], word: &str) -> bool {
    list.iter().any(|one| one == word || one == "*")
}

/// True if one of `names` is accepted, or nothing is asked for, and none is rejected.
pub(super) fn listed(accepted: &[String], rejected: &[String], names: &[&str]) -> bool {
    let is_wanted = accepted.is_empty() || is_in(accepted, "*");
    (is_wanted || names.iter().any(|name| is_in(accepted, name)))
        && !names.iter().any(|name| is_in(rejected, name))
}

pub(super) fn matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.0.is_match(name))
}

/// An object without a severity does not pass a threshold.
pub(super) fn passes(
    threshold: Option<i64>,
    operator: Operator,
    fields: &Fields,
    field: &str,
) -> bool {
    let Some(threshold) = threshold else {
        return true;
    };
    let severity = number(fields, field);
    severity != 0
        && match operator {
            Operator::AtLeast => threshold >= severity,
            Operator::More => threshold > severity,
            Operator::AtMost => threshold <= severity,
            Operator::Less => threshold < severity,
            Operator::Same => threshold == severity,
            Operator::Other => threshold != severity,
        }
}
