//! Divergence: where a script and its journal part, and when two questions count as the same.
//!
//! Invariant: times do not count. A wait that is made longer or shorter is the same wait, because
//! its journal says already when it began and how it ended; everything else has to be the same.

use std::fmt;

use crate::event::Value;
use crate::gate::{CONDITION, Question};
use crate::host;

/// Differences that one divergence names.
pub const DIFFERENCES_MAX: usize = 8;
/// Characters of one side of a divergence.
const SHOWN_CHARS_MAX: usize = 2_000;
/// Characters of one side of a difference.
const VALUE_CHARS_MAX: usize = 200;

/// Where a script and its journal part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The command's index, counted from 0.
    pub at: usize,
    /// What the journal holds.
    pub recorded: String,
    /// What the script asks now.
    pub asked: String,
    /// In what their arguments differ, if the word is the same; at most [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
}

/// One argument, or one field of it, that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `issue.subject`, `handles[1].match.host`.
    pub path: String,
    /// What the journal holds there.
    pub recorded: String,
    /// What the script asks there now.
    pub asked: String,
}

impl Divergence {
    /// The script asks `asked` where the journal has `recorded`.
    pub fn between(at: usize, recorded: &Question, asked: &Question) -> Divergence {
        Divergence {
            at,
            recorded: show(recorded),
            asked: show(asked),
            differences: differences(recorded, asked),
        }
    }

    /// The script came to its end where the journal has `recorded`.
    pub fn ends_before(at: usize, recorded: &Question) -> Divergence {
        Divergence {
            at,
            recorded: show(recorded),
            asked: "nothing, the script ends here".to_owned(),
            differences: Vec::new(),
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "the script diverged from its journal at command {}\n  \
             the journal recorded: {}\n  the script asked now: {}",
            self.at, self.recorded, self.asked
        )?;
        for difference in &self.differences {
            let Difference {
                path,
                recorded,
                asked,
            } = difference;
            write!(out, "\n  {path}: recorded {recorded}, asked now {asked}")?;
        }
        Ok(())
    }
}

/// The same question, as far as a replay must see the same one.
pub fn same(recorded: &Question, asked: &Question) -> bool {
    let timeless = |question: &Question| Question {
        word: question.word.clone(),
        arguments: without_times(question),
    };
    // Nearly always they are the same to the letter, and nothing is copied.
    recorded.is_same(asked) || timeless(recorded).is_same(&timeless(asked))
}

/// The arguments that have to stay as they were: those of a wait without its times.
fn without_times(question: &Question) -> Vec<Value> {
    let is_time = |argument: &Value| match argument {
        Value::Text(text) => text != CONDITION,
        argument => *argument == Value::Null,
    };
    match (question.word.as_str(), question.arguments.as_slice()) {
        ("sleep" | "sleep_until" | "after", _) => Vec::new(),
        ("receive" | "watch", [channels, rest @ ..]) => {
            let kept = rest.iter().filter(|argument| !is_time(argument));
            [channels].into_iter().chain(kept).cloned().collect()
        }
        (_, arguments) => arguments.to_vec(),
    }
}

/// A question as a person reads it, and as the script wrote it.
pub fn show(question: &Question) -> String {
    let arguments: Vec<String> = match (question.word.as_str(), question.arguments.as_slice()) {
        ("any", [Value::List(handles)]) => {
            let handles: Vec<String> = handles.iter().map(handle).collect();
            vec![format!("[{}]", handles.join(", "))]
        }
        ("receive" | "watch", arguments) => arguments.iter().map(closure_or_value).collect(),
        (_, arguments) => arguments.iter().map(Value::to_string).collect(),
    };
    let text = format!("{}({})", question.word, arguments.join(", "));
    cut(text, SHOWN_CHARS_MAX)
}

/// What `on` or `after` gave, as a call of it.
fn handle(handle: &Value) -> String {
    let part = |name: &str| handle.get(name);
    if let Some(lasting) = part("after") {
        return format!("after({lasting})");
    }
    let Some(channel) = part("on") else {
        return handle.to_string();
    };
    let fields = part("match").filter(|fields| **fields != Value::from([]));
    let condition = part("condition").filter(|has| **has == Value::Bool(true));
    let arguments = [
        Some(channel.to_string()),
        fields.map(Value::to_string),
        condition.map(|_| CONDITION.to_owned()),
    ];
    let arguments: Vec<String> = arguments.into_iter().flatten().collect();
    format!("on({})", arguments.join(", "))
}

fn closure_or_value(argument: &Value) -> String {
    match argument {
        Value::Text(text) if text == CONDITION => text.clone(),
        argument => argument.to_string(),
    }
}

fn cut(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// In what two questions of the same word differ.
fn differences(recorded: &Question, asked: &Question) -> Vec<Difference> {
    let mut found = Vec::new();
    if recorded.word != asked.word {
        return found;
    }
    let (old, new) = (without_times(recorded), without_times(asked));
    for index in 0..old.len().max(new.len()) {
        let path = argument_name(&recorded.word, index);
        compare(path, (old.get(index), new.get(index)), &mut found);
    }
    found.truncate(DIFFERENCES_MAX);
    found
}

fn argument_name(word: &str, index: usize) -> String {
    let known = host::words()
        .into_iter()
        .find(|host| host.full_name() == word);
    let name = known.and_then(|host| host.arguments.get(index).map(|argument| argument.name));
    name.map_or_else(|| format!("argument {}", index + 1), str::to_owned)
}

fn compare(path: String, sides: (Option<&Value>, Option<&Value>), found: &mut Vec<Difference>) {
    if sides.0 == sides.1 || found.len() >= DIFFERENCES_MAX {
        return;
    }
    match sides {
        (Some(Value::Map(old)), Some(Value::Map(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                compare(format!("{path}.{key}"), (old.get(key), new.get(key)), found);
            }
        }
        (Some(Value::List(old)), Some(Value::List(new))) => {
            for index in 0..old.len().max(new.len()) {
                let sides = (old.get(index), new.get(index));
                compare(format!("{path}[{index}]"), sides, found);
            }
        }
        (old, new) => found.push(Difference {
            path,
            recorded: side(old),
            asked: side(new),
        }),
    }
}

fn side(value: Option<&Value>) -> String {
    value.map_or_else(
        || "nothing".to_owned(),
        |value| cut(value.to_string(), VALUE_CHARS_MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(word: &str, arguments: &[Value]) -> Question {
        Question {
            word: word.to_owned(),
            arguments: arguments.to_vec(),
        }
    }

    fn fields(host: &str) -> Value {
        Value::from([("host", Value::from(host))])
    }

    #[test]
    fn a_wait_with_another_time_is_the_same_wait() {
        let text = Value::from;
        let pairs = [
            ("sleep", vec![text("10m")], vec![text("2h")]),
            (
                "sleep_until",
                vec![Value::Int(1)],
                vec![text("2026-12-24T18:00:00Z")],
            ),
            ("after", vec![text("10m")], vec![text("20m")]),
            (
                "watch",
                vec![text("ack"), fields("a"), text("1h")],
                vec![text("ack"), fields("a"), text("2h")],
            ),
            ("receive", vec![text("ack"), text("1h")], vec![text("ack")]),
            (
                "watch",
                vec![text("ack"), text("1h"), text(CONDITION)],
                vec![text("ack"), text("2h"), text(CONDITION)],
            ),
        ];
        for (word, recorded, asked) in pairs {
            let (recorded, asked) = (question(word, &recorded), question(word, &asked));
            assert!(same(&recorded, &asked), "{recorded:?} {asked:?}");
        }
    }

    #[test]
    fn a_wait_for_something_else_is_another_wait() {
        let text = Value::from;
        let pairs = [
            (
                "sleep",
                vec![text("10m")],
                "sleep_until",
                vec![Value::Int(1)],
            ),
            (
                "watch",
                vec![text("ack"), text("1h")],
                "receive",
                vec![text("ack"), text("1h")],
            ),
            (
                "watch",
                vec![text("ack"), text("1h")],
                "watch",
                vec![text("alert"), text("1h")],
            ),
            (
                "watch",
                vec![text("ack"), fields("a")],
                "watch",
                vec![text("ack"), fields("b")],
            ),
            (
                "watch",
                vec![text("ack"), text("1h")],
                "watch",
                vec![text("ack"), text(CONDITION)],
            ),
        ];
        for (old, recorded, new, asked) in pairs {
            let (recorded, asked) = (question(old, &recorded), question(new, &asked));
            assert!(!same(&recorded, &asked), "{recorded:?} {asked:?}");
        }
    }

    #[test]
    fn a_wait_is_shown_as_the_script_wrote_it() {
        let on = |fields: Value, condition: bool| {
            Value::from([
                ("condition", Value::Bool(condition)),
                ("match", fields),
                ("on", Value::from("ack")),
            ])
        };
        let after = Value::from([("after", Value::from("10m")), ("due", Value::Int(7))]);
        let handles = vec![on(fields("a"), false), on(Value::from([]), true), after];
        assert_eq!(
            show(&question("any", &[Value::List(handles)])),
            r#"any([on("ack", {"host":"a"}), on("ack", |event| …), after("10m")])"#
        );
        let watch = [
            Value::from("ack"),
            Value::from("1h"),
            Value::from(CONDITION),
        ];
        assert_eq!(
            show(&question("watch", &watch)),
            r#"watch("ack", "1h", |event| …)"#
        );
    }

    #[test]
    fn a_time_in_the_arguments_of_an_action_counts() {
        let at = |text: &str| question("http::get", &[Value::from("http://a"), Value::from(text)]);
        assert!(!same(&at("1h"), &at("2h")));
    }

    #[test]
    fn a_divergence_says_which_field_differs_and_on_which_side() {
        let ticket = |subject: &str, tags: &[&str]| {
            let tags = tags.iter().map(|tag| Value::from(*tag)).collect();
            let fields = [
                ("subject", Value::from(subject)),
                ("tags", Value::List(tags)),
            ];
            question("redmine::open", &[Value::from(fields)])
        };
        let divergence = Divergence::between(3, &ticket("a", &["x"]), &ticket("b", &["x", "y"]));
        let said = divergence.to_string();
        assert!(
            said.contains("diverged from its journal at command 3"),
            "{said}"
        );
        assert!(
            said.contains(r#"issue.subject: recorded "a", asked now "b""#),
            "{said}"
        );
        assert!(
            said.contains(r#"issue.tags[1]: recorded nothing, asked now "y""#),
            "{said}"
        );
        let other = Divergence::between(0, &ticket("a", &[]), &question("now", &[]));
        assert!(other.differences.is_empty());
    }
}
