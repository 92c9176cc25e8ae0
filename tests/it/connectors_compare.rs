//! What a connector sent beside what we send: request by request, field by field.
//!
//! A difference is a short text that names the kind of request and the field, never the values, so
//! that the same difference in ten requests is one.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value as Json;
use vigie::standin::Seen;

/// Headers that say who speaks, not what is wanted.
const OF_CLIENT: &[&str] = &["host", "user-agent", "accept-encoding", "content-length"];
/// Headers of ours that would matter to a target if a connector did not send them.
const TELLING: &[&str] = &["content-encoding", "idempotency-key"];
/// What stands for the same in a recording and in a stand-in.
const SAME: &[(&str, &str)] = &[
    ("type-maint", "default-maintenance"),
    (
        "5ea9d2d8-0f16-4e19-bcca-64b1e96e00fa",
        "default-maintenance",
    ),
    ("3010f2a3-f43c-421a-8c7c-e70522f0c862", "reason-1"),
];

/// A request by its fields: `method`, `query.org`, `header.accept`, `body.state` …
pub type Fields = BTreeMap<String, String>;

/// A request, recorded or seen.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `check`, `trigger`, `POST pbehaviors` …
    pub kind: String,
    /// What it is about.
    pub about: String,
    pub fields: Fields,
    /// Lines of line protocol, if these are its body.
    pub lines: Vec<String>,
}

impl Asked {
    /// As a connector sent it; times count from `base`.
    pub fn new(
        (method, url): (&str, &str),
        headers: &[(String, String)],
        body: &str,
        base: i64,
    ) -> Asked {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let mut asked = Asked::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = match name {
                "org" | "bucket" => "own".to_owned(),
                _ => normal(value, base),
            };
            asked.fields.insert(format!("query.{name}"), value);
        }
        for (name, value) in headers {
            let name = name.to_lowercase();
            if OF_CLIENT.contains(&name.as_str()) {
                continue;
            }
            let value = if name.contains("auth") {
                "secret"
            } else {
                value
            };
            asked
                .fields
                .insert(format!("header.{name}"), value.to_owned());
        }
        match serde_json::from_str(body) {
            Ok(Json::Array(mut all)) if all.len() == 1 => {
                asked
                    .fields
                    .insert("body".to_owned(), "a list of one".to_owned());
                flatten("body", &all.remove(0), (base, &mut asked.fields));
            }
            Ok(json) => flatten("body", &json, (base, &mut asked.fields)),
            Err(_) if body.is_empty() || body == "nil" => {}
            Err(_) => asked.lines = body.lines().map(|line| normal(line, base)).collect(),
        }
        asked.name(method, path.rsplit("/v4/").next().unwrap());
        asked
    }

    /// As a stand-in saw it.
    pub fn seen(seen: &Seen, base: i64) -> Asked {
        let query: Vec<String> = seen
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let url = format!("{}?{}", seen.path, query.join("&"));
        let mut body = seen.body.clone();
        if seen.header("content-encoding") == Some("gzip") {
            body.clear();
            let mut unpacked = flate2::read::GzDecoder::new(seen.body.as_slice());
            std::io::Read::read_to_end(&mut unpacked, &mut body).unwrap();
        }
        let body = String::from_utf8(body).unwrap();
        Asked::new((&seen.method, &url), &seen.headers, &body, base)
    }

    fn field(&self, name: &str) -> &str {
        let text = self.fields.get(name);
        text.map_or("", |text| text.trim_matches('"'))
    }

    fn name(&mut self, method: &str, path: &str) {
        let last = path.rsplit('/').next().unwrap();
        (self.kind, self.about) = match last {
            "event" => {
                let (component, resource) =
                    (self.field("body.component"), self.field("body.resource"));
                (
                    self.field("body.event_type").to_owned(),
                    format!("{component}/{resource}"),
                )
            }
            "enqueue" => {
                let key = self.field("body.dedup_key");
                (self.field("body.event_action").to_owned(), key.to_owned())
            }
            _ => {
                let names = ["body.pbehavior", "body.name", "query.name"];
                let about: String = names
                    .iter()
                    .map(|name| self.field(name))
                    .find(|name| !name.is_empty())
                    .unwrap_or("")
                    .to_owned();
                (format!("{method} {path}"), about)
            }
        };
    }
}

/// The requests of a recording.
pub fn recorded(text: &str, base: i64) -> Vec<Asked> {
    let head = Regex::new(r"(?m)^\d+ (GET|POST|DELETE) https?://[^/]+(\S+)$").unwrap();
    let starts: Vec<usize> = head.find_iter(text).map(|found| found.start()).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let part = |(start, end): (&usize, usize)| {
        let part = &text[*start..end];
        let named = head.captures(part).unwrap();
        let line = |name: &str| {
            let from = part.find(&format!("   {name}: ")).unwrap() + name.len() + 5;
            let to = part[from..]
                .find(if name == "body" { "\n   -> " } else { "\n" })
                .unwrap();
            part[from..from + to].trim_end().to_owned()
        };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once(':').unwrap();
            (name.trim().to_owned(), value.trim().to_owned())
        };
        let headers: Vec<(String, String)> = line("headers").split(" | ").map(pair).collect();
        Asked::new((&named[1], &named[2]), &headers, &line("body"), base)
    };
    starts.iter().zip(ends).map(part).collect()
}

/// Times as what has passed since `base`, ids as those of a stand-in.
fn normal(text: &str, base: i64) -> String {
    let seconds = Regex::new(r"\b1[67]\d{8}\b").unwrap();
    let moment = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d").unwrap();
    let text = moment.replace_all(text, |found: &regex::Captures<'_>| {
        let moment: jiff::Timestamp = format!("{}Z", &found[0]).parse().unwrap();
        format!("T{:+}", moment.as_second() - base)
    });
    let text = seconds.replace_all(&text, |found: &regex::Captures<'_>| {
        format!("T{:+}", found[0].parse::<i64>().unwrap() - base)
    });
    let same = |text: String, (theirs, ours): &(&str, &str)| text.replace(theirs, ours);
    SAME.iter().fold(text.into_owned(), same)
}

fn flatten(at: &str, value: &Json, (base, into): (i64, &mut Fields)) {
    match value {
        Json::Object(map) => {
            for (name, value) in map {
                flatten(&format!("{at}.{name}"), value, (base, into));
            }
        }
        Json::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (place, item) in items.iter().enumerate() {
                flatten(&format!("{at}[{place}]"), item, (base, into));
            }
        }
        Json::Null => {}
        _ if at.ends_with("routing_key") => drop(into.insert(at.to_owned(), "secret".to_owned())),
        leaf => drop(into.insert(at.to_owned(), normal(&leaf.to_string(), base))),
    }
}

/// All lines as if they had come in one request.
pub fn joined(all: &[Asked]) -> Vec<Asked> {
    let mut one = all[0].clone();
    one.lines = all.iter().flat_map(|asked| asked.lines.clone()).collect();
    vec![one]
}

/// What is otherwise in `ours` than in `theirs`.
pub fn differences(theirs: &[Asked], ours: &[Asked]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut groups: BTreeMap<(&str, &str), [Vec<&Asked>; 2]> = BTreeMap::new();
    for (side, all) in [theirs, ours].iter().enumerate() {
        for one in *all {
            groups
                .entry((one.kind.as_str(), one.about.as_str()))
                .or_default()[side]
                .push(one);
        }
    }
    for ((kind, _), [theirs, ours]) in &groups {
        for (theirs, ours) in theirs.iter().zip(ours) {
            found.extend(
                in_fields(theirs, ours)
                    .into_iter()
                    .map(|what| format!("{kind}: {what}")),
            );
            found.extend(in_lines(theirs, ours));
        }
        if theirs.len() < ours.len() {
            found.insert(format!("{kind}: besides"));
        }
        if theirs.len() > ours.len() {
            found.insert(format!("{kind}: not sent"));
        }
    }
    found.extend(in_order(theirs, ours));
    found
}

fn in_fields(theirs: &Asked, ours: &Asked) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (theirs, ours) = (&theirs.fields, &ours.fields);
    for (name, value) in theirs {
        let what = match ours.get(name) {
            Some(own) if own == value => continue,
            None => format!("{} missing", branch(name, ours)),
            Some(own) if sorted(own) == sorted(value) => format!("{name} sorted"),
            Some(_) => name.clone(),
        };
        found.insert(what);
    }
    for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
        let header = name.strip_prefix("header.");
        if header.is_none_or(|header| TELLING.contains(&header)) {
            found.insert(format!("{} besides", branch(name, theirs)));
        }
    }
    found
}

/// The longest beginning of a name that the other side has not at all.
fn branch(name: &str, other: &Fields) -> String {
    let ends = name
        .match_indices('.')
        .map(|(end, _)| end)
        .skip(1)
        .chain([name.len()]);
    let mut branches = ends.map(|end| &name[..end]);
    let is_absent = |branch: &&str| !other.keys().any(|known| known.starts_with(branch));
    branches.find(is_absent).unwrap_or(name).to_owned()
}

/// The parts of a list, in whichever way it is written.
fn sorted(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = text
        .split([',', '[', ']', '"', ' '])
        .filter(|part| !part.is_empty())
        .collect();
    parts.sort_unstable();
    parts
}

/// Points without regard to the order of lines and tags; the latter is told.
fn in_lines(theirs: &Asked, ours: &Asked) -> BTreeSet<String> {
    let points = |asked: &Asked| -> BTreeSet<String> {
        asked.lines.iter().map(|line| point(line)).collect()
    };
    let (their_points, our_points) = (points(theirs), points(ours));
    let mut found = BTreeSet::new();
    for line in their_points.difference(&our_points) {
        found.insert(format!("line missing: {line}"));
    }
    for line in our_points.difference(&their_points) {
        found.insert(format!("line besides: {line}"));
    }
    let common = |asked: &Asked, other: &BTreeSet<String>| -> BTreeSet<String> {
        let lines = asked.lines.iter();
        lines
            .filter(|line| other.contains(&point(line)))
            .cloned()
            .collect()
    };
    if common(theirs, &our_points) != common(ours, &their_points) {
        found.insert("line: tags sorted".to_owned());
    }
    found
}

/// A line with its tags in order.
fn point(line: &str) -> String {
    let unescaped = Regex::new(r"((?:\\.|[^\\ ])+)").unwrap();
    let parts: Vec<&str> = unescaped
        .find_iter(line)
        .map(|part| part.as_str())
        .collect();
    let tag = Regex::new(r"((?:\\.|[^\\,])+)").unwrap();
    let mut tags: Vec<&str> = tag.find_iter(parts[0]).map(|part| part.as_str()).collect();
    tags[1..].sort_unstable();
    format!("{} {}", tags.join(","), parts[1..].join(" "))
}

/// What is said of one thing, in order, as far as both say it.
fn in_order(theirs: &[Asked], ours: &[Asked]) -> BTreeSet<String> {
    let said = |all: &[Asked], about: &str| -> Vec<String> {
        all.iter()
            .filter(|one| one.about == about)
            .map(|one| one.kind.clone())
            .collect()
    };
    let abouts: BTreeSet<&str> = theirs
        .iter()
        .map(|one| one.about.as_str())
        .filter(|about| !about.is_empty())
        .collect();
    let mut found = BTreeSet::new();
    for about in abouts {
        let (theirs, ours) = (said(theirs, about), said(ours, about));
        let common = |these: &[String], those: &[String]| -> Vec<String> {
            these
                .iter()
                .filter(|one| those.contains(one))
                .cloned()
                .collect()
        };
        let (theirs, ours) = (common(&theirs, &ours), common(&ours, &theirs));
        if theirs != ours {
            found.insert(format!("order: {}", ours.join(", ")));
        }
    }
    found
}
