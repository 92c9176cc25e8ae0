//! From a connector's parameters to a source with its filter.
//!
//! Invariant: what is written passes `vigie check`; a value that cannot be read is left at its default
//! and told. Every default of a connector is written out, because here what is absent filters nothing.
//! A secret is named, never shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::output::{Given, Output};
use super::parameter::{self, ALWAYS, Kind, ROWS};
use crate::lua_pattern;
use crate::source::bbdo::elements;

/// What came of it.
pub(super) struct Translated {
    /// The TOML.
    pub(super) text: String,
    /// What was not carried over, and what means something else here.
    pub(super) notes: Vec<String>,
}

/// Kinds of events that are called otherwise here.
const RENAMED: &[(&str, &str)] = &[("bam_rebuild", "ba_rebuild")];
const CATEGORIES: &[&str] = &["neb", "storage", "bam"];
const OPERATORS: &[&str] = &[">=", ">", "<=", "<", "==", "!="];
/// Of each of these only one may be given to a connector.
const PAIRS: &[&str] = &["hostgroups", "servicegroups", "bvs", "pollers", "authors"];

struct Translation<'a> {
    output: &'a Output,
    given: BTreeMap<&'a str, &'a Given>,
    notes: Vec<String>,
}

/// Turns an output into a source.
pub(super) fn translate(output: &Output) -> Translated {
    let given = output.parameters.iter().map(|one| (one.name.as_str(), one));
    let mut translation = Translation {
        output,
        given: given.collect(),
        notes: Vec::new(),
    };
    let rows = translation.rows();
    translation.note_others();
    translation.note_meaning();
    let notes = translation.notes;
    Translated {
        text: document(output, &rows, &notes),
        notes,
    }
}

/// The whole file.
fn document(output: &Output, rows: &[String], notes: &[String]) -> String {
    let mut text = String::new();
    let of = match output.name.as_str() {
        "" => "parameters of an output".to_owned(),
        name => format!("the output \"{}\"", one_line(name)),
    };
    // Writing into text cannot fail.
    let _ = writeln!(
        text,
        "# From {of} of a Centreon Broker. Beyond loopback give `listen` an address that the Broker"
    );
    let _ = writeln!(
        text,
        "# reaches, and tls_cert and tls_key or `plaintext = true`; then point an output of type IPv4 or"
    );
    let _ = writeln!(text, "# BBDO client at it in place of the script.");
    let _ = writeln!(
        text,
        "[[source]]\nkind = \"bbdo\"\nlisten = \"127.0.0.1:5669\"\n\n[source.filter]"
    );
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
    if !notes.is_empty() {
        let _ = writeln!(text, "\n# Not carried over, or otherwise than it was:");
    }
    for note in notes {
        let _ = writeln!(text, "# * {}", one_line(note));
    }
    text
}

/// A comment is one line, whatever a name holds.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

impl Translation<'_> {
    /// The keys of the filter.
    fn rows(&mut self) -> Vec<String> {
        let mut rows = Vec::new();
        for (name, kind, usual) in ROWS {
            let usual = parameter::of_script(&self.output.script, name).unwrap_or(usual);
            let given = self
                .given
                .get(name)
                .map(|given| given.value.trim().to_owned());
            let given = given.filter(|value| !value.is_empty());
            let read = given.as_deref().map(|value| self.read(name, *kind, value));
            let value = match read {
                Some(Ok(value)) => Some(value),
                Some(Err(why)) => {
                    let default = if usual.is_empty() { "nothing" } else { usual };
                    self.notes
                        .push(format!("{name}: {why}; the default, {default}, is kept"));
                    self.read(name, *kind, usual).ok()
                }
                None => self.read(name, *kind, usual).ok(),
            };
            let value = value.filter(|value| !value.is_empty());
            if let Some(value) = value.or_else(|| inherited(name, &rows)) {
                rows.push(format!("{name} = {value}"));
            }
        }
        rows.extend(ALWAYS.iter().map(|row| (*row).to_owned()));
        rows
    }

    /// A value as TOML; nothing if it is the same as none.
    fn read(&mut self, name: &str, kind: Kind, value: &str) -> Result<String, String> {
        match kind {
            Kind::Names if name == "accepted_categories" => self.categories(value),
            Kind::Names => Ok(list(split(value).map(str::to_owned))),
            Kind::Elements => self.elements(value),
            Kind::States => states(value),
            Kind::Switch => self.switch(name, value),
            Kind::Number if value.is_empty() => Ok(String::new()),
            Kind::Number => number(value),
            Kind::Operator => operator(value),
            Kind::Pattern(split) => self.pattern(split, value),
            Kind::Helper | Kind::Elsewhere(_) => Ok(String::new()),
        }
    }

    fn categories(&mut self, value: &str) -> Result<String, String> {
        let is_known = |word: &&str| CATEGORIES.contains(word);
        for other in split(value).filter(|word| !is_known(word)) {
            self.notes.push(format!(
                "accepted_categories: there is no category `{other}`"
            ));
        }
        let known: Vec<String> = split(value).filter(is_known).map(str::to_owned).collect();
        match known.is_empty() {
            true => Err("no category is left".to_owned()),
            false => Ok(list(known.into_iter())),
        }
    }

    fn elements(&mut self, value: &str) -> Result<String, String> {
        let mut known = Vec::new();
        for word in split(value) {
            let word = word.strip_prefix("pb_").unwrap_or(word);
            let renamed = RENAMED.iter().find(|(theirs, _)| *theirs == word);
            let word = renamed.map_or(word, |(_, ours)| *ours);
            match elements().any(|element| element == word) {
                true => known.push(word.to_owned()),
                false => {
                    let note = format!("accepted_elements: there is no event `{word}`");
                    self.notes.push(note);
                }
            }
        }
        match known.is_empty() {
            true => Err("no kind of event is left".to_owned()),
            false => Ok(list(known.into_iter())),
        }
    }

    fn switch(&mut self, name: &str, value: &str) -> Result<String, String> {
        let is_on = match value.to_ascii_lowercase().as_str() {
            "1" | "1.0" | "true" => true,
            "0" | "0.0" | "false" => false,
            _ => return Err(format!("`{value}` is neither 0 nor 1")),
        };
        let given = self.given.get(name);
        if given.is_some_and(|given| given.kind != "number") {
            self.notes.push(format!("{name}: given as text, which a connector takes for its default; it is taken at its word here"));
        }
        Ok(is_on.to_string())
    }

    /// A Lua pattern; `of` is whose helpers say whether it is several.
    fn pattern(&mut self, of: &str, value: &str) -> Result<String, String> {
        if value.is_empty() || value == ".*" {
            return Ok(String::new());
        }
        let helper = |end: &str| {
            let given = self.given.get(format!("{of}_{end}").as_str());
            given.map(|given| given.value.clone())
        };
        let is_split = helper("enable_split_pattern").is_some_and(|value| value.trim() == "1");
        let at = helper("split_character").filter(|at| !at.is_empty());
        let at = at.unwrap_or_else(|| ",".to_owned());
        let parts: Vec<&str> = match is_split {
            true => value.split(&at).filter(|part| !part.is_empty()).collect(),
            false => vec![value],
        };
        let regexes = parts.into_iter().map(|part| {
            let regex = lua_pattern::to_regex(part)?;
            regex::Regex::new(&regex).map_err(|why| format!("`{part}`: {why}"))?;
            Ok(regex)
        });
        let regexes: Result<Vec<String>, String> = regexes.collect();
        Ok(list(regexes?.into_iter()))
    }

    /// What stands elsewhere.
    fn note_others(&mut self) {
        for (name, given) in &self.given {
            let why = match parameter::find(name) {
                Some(Kind::Elsewhere(why)) => why,
                Some(_) => continue,
                None => parameter::target(name),
            };
            self.notes.push(format!("{name} = {}: {why}", shown(given)));
        }
    }

    /// What means something else here.
    fn note_meaning(&mut self) {
        let has = |name: &str| {
            self.given
                .get(name)
                .is_some_and(|given| !given.value.trim().is_empty())
        };
        let mut notes = Vec::new();
        for of in PAIRS {
            if has(&format!("accepted_{of}")) && has(&format!("rejected_{of}")) {
                notes.push(format!("accepted_{of} and rejected_{of}: a connector ignores both if both are given; here both count"));
            }
        }
        for of in ["host", "service"] {
            if has(&format!("{of}_severity_threshold")) {
                notes.push(format!(
                    "{of}_severity_threshold: a connector never reads it; here it counts"
                ));
            }
        }
        if !self.output.categories.is_empty() {
            let categories = self.output.categories.join(", ");
            notes.push(format!("filters.category = {categories}: this belongs to the Broker's output; leave neb in it, or names are not told"));
        }
        if parameter::own_defaults(&self.output.script).is_none() {
            let script = match self.output.script.as_str() {
                "" => "the script",
                script => script,
            };
            notes.push(format!("{script}: what it sets by itself is not known; the defaults are those of Centreon's library"));
        }
        self.notes.extend(notes);
    }
}

/// The states of acknowledgements and downtimes are, if they are not given, those of statuses.
fn inherited(name: &str, rows: &[String]) -> Option<String> {
    let usual = name.strip_prefix("ack_").or(name.strip_prefix("dt_"))?;
    let value = |row: &String| {
        let (known, value) = row.split_once(" = ")?;
        (known == usual).then(|| value.to_owned())
    };
    rows.iter().find_map(value)
}

fn split(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

fn list(words: impl Iterator<Item = String>) -> String {
    let words: toml::value::Array = words.map(toml::Value::String).collect();
    match words.is_empty() {
        true => String::new(),
        false => toml::Value::Array(words).to_string(),
    }
}

fn states(value: &str) -> Result<String, String> {
    let states: Result<Vec<i64>, String> = split(value)
        .map(|word| word.parse().map_err(|_| format!("`{word}` is no state")))
        .collect();
    let states: Vec<String> = states?.iter().map(i64::to_string).collect();
    match states.is_empty() {
        true => Ok(String::new()),
        false => Ok(format!("[{}]", states.join(", "))),
    }
}

/// A connector may be given 20.0 for 20.
fn number(value: &str) -> Result<String, String> {
    let whole = value.strip_suffix(".0").unwrap_or(value);
    let number: Result<i64, _> = whole.parse();
    number
        .map(|number| number.to_string())
        .map_err(|_| format!("`{value}` is no whole number"))
}

fn operator(value: &str) -> Result<String, String> {
    let value = if value == "~=" { "!=" } else { value };
    match OPERATORS.contains(&value) {
        true => Ok(format!("\"{value}\"")),
        false => Err(format!("`{value}` is no comparison")),
    }
}

/// A value, unless it is a secret.
fn shown(given: &Given) -> String {
    let name = given.name.to_lowercase();
    let is_secret = given.kind == "password"
        || ["pass", "key", "token", "secret"]
            .iter()
            .any(|part| name.contains(part));
    match is_secret && !given.value.is_empty() {
        true => "***".to_owned(),
        false => format!("\"{}\"", one_line(&given.value)),
    }
}
