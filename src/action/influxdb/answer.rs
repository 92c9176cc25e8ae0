//! What InfluxDB's answer says of the lines of a request.
//!
//! InfluxDB quotes a line that it cannot read, but of lines whose fields have another type than
//! before it tells only how many there are and what one of them is. Both versions do so in the
//! same words; InfluxDB 2 throws the whole request away where InfluxDB 1 keeps the good lines.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::line::{Line, names};
use crate::action::Failure;
use crate::action::http::failure::of_status;
use crate::action::http::{Request, Response};

/// What stands before each line that could not be read.
const QUOTED: &str = "unable to parse '";

/// What became of the lines of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All are written.
    Written,
    /// These are bad, by their place in the request; of the others nothing is known.
    Bad(Vec<(usize, String)>),
    /// Some are bad, and it does not say which; or there is too much at once.
    Unclear(String),
}

/// Reads the answer to `request`, which carried `lines`.
///
/// # Errors
/// What is about the request rather than its lines.
pub(super) fn judge(
    request: &Request,
    response: &Response,
    lines: &[&Line],
) -> Result<Verdict, Failure> {
    let status = response.status;
    let body = response.json().unwrap_or_default();
    let words = words(request, response, &body);
    let refused = |why: String| Err(Failure::refused(why).status(status));
    match status {
        204 => Ok(Verdict::Written),
        400 | 422 if is_about_lines(status, &body, &words) => Ok(sort(&words, lines)),
        413 => Ok(Verdict::Unclear("it is too large for InfluxDB".to_owned())),
        401 => refused(format!(
            "InfluxDB does not know this user or token: {words}"
        )),
        403 => refused(format!("InfluxDB does not allow this: {words}")),
        400..500 => refused(format!("InfluxDB refused the points: {words}")),
        // A server error by its number, and by its words a mistake that stays one.
        500 if words.starts_with("retention policy not found") => {
            refused(format!("InfluxDB refused the points: {words}"))
        }
        500.. => Err(of_status(request, response)),
        // Some other 2xx: something else answers there.
        _ => {
            let odd = format!("InfluxDB answered {status} instead of 204; is `endpoint` right?");
            Err(Failure::other(odd).status(status))
        }
    }
}

/// `{"error": …}` of InfluxDB 1, `{"message": …}` of InfluxDB 2.
fn words(request: &Request, response: &Response, body: &Json) -> String {
    let said = body["error"].as_str().or(body["message"].as_str());
    let said = said.map(|said| request.scrub(said.trim().to_owned()));
    said.unwrap_or_else(|| request.excerpt(response))
}

fn is_about_lines(status: u16, body: &Json, words: &str) -> bool {
    let signs = [QUOTED, "partial write", "dropped="];
    status == 422 || body["line"].is_number() || signs.iter().any(|sign| words.contains(sign))
}

fn sort(words: &str, lines: &[&Line]) -> Verdict {
    let quoted = quoted(words, lines);
    if !quoted.is_empty() {
        return Verdict::Bad(quoted);
    }
    let (why, dropped) = match words.rsplit_once("dropped=") {
        Some((why, dropped)) => (why.trim(), dropped.trim().parse().ok()),
        None => (words, None),
    };
    let why = why.rsplit("partial write: ").next().unwrap_or(why);
    // One reason is told however many there are: those it does not fit may be bad for another.
    let meant = meant(why, lines);
    let fits = dropped.is_none_or(|dropped| meant.len() <= dropped);
    let bad: Vec<usize> = match !meant.is_empty() && fits {
        true => meant,
        false if lines.len() == 1 || dropped == Some(lines.len()) => (0..lines.len()).collect(),
        false => return Verdict::Unclear(why.to_owned()),
    };
    Verdict::Bad(bad.into_iter().map(|at| (at, why.to_owned())).collect())
}

/// The lines that it quotes, with what it says of each.
fn quoted(words: &str, lines: &[&Line]) -> Vec<(usize, String)> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        places.entry(line.text.as_str()).or_default().push(at);
    }
    let mut found = Vec::new();
    for part in words.split(QUOTED).skip(1) {
        let ends = part.match_indices("': ");
        let line = ends
            .map(|(end, mark)| (&part[..end], &part[end + mark.len()..]))
            .find_map(|(line, why)| Some((places.remove(line)?, why)));
        let Some((ats, why)) = line else { continue };
        let why = why.split(" dropped=").next().unwrap_or(why).trim();
        found.extend(ats.into_iter().map(|at| (at, why.to_owned())));
    }
    found.sort_unstable();
    found
}

/// The lines that a complaint about a field or tag of a measurement means.
fn meant(why: &str, lines: &[&Line]) -> Vec<usize> {
    let Some((_, rest)) = why.split_once(": input ") else {
        return Vec::new();
    };
    let Some((subject, rest)) = rest.split_once(" on measurement ") else {
        return Vec::new();
    };
    let Some((measurement, rest)) = rest.split_once(" is ") else {
        return Vec::new();
    };
    let kind = rest
        .strip_prefix("type ")
        .and_then(|rest| rest.split(',').next());
    let is_meant = |line: &&Line| {
        let names = names(&line.text);
        let is_there = match subject.split_once(' ') {
            Some(("field", key)) => names.fields.iter().any(|(name, found)| {
                go_quoted(name) == key && kind.is_none_or(|kind| kind == *found)
            }),
            Some(("tag", key)) => names.tags.iter().any(|name| go_quoted(name) == key),
            _ => false,
        };
        is_there && go_quoted(&names.measurement) == measurement
    };
    let found = lines.iter().enumerate().filter(|(_, line)| is_meant(line));
    found.map(|(at, _)| at).collect()
}

/// As Go writes a text in quotes, as far as names go.
fn go_quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
