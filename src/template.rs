//! `template::render`: the `format_file` of a stream connector, with an event put into it.
//!
//! A file is read with its flow and belongs to the flow's version, as a module does, so a replay
//! renders what it rendered. A macro that stands alone becomes the value with its type, as the
//! documentation promises; one that has no value stays as it is written.

mod filling;
mod macros;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::filling::Filling;
use self::macros::Piece;
use crate::action::Argument;
use crate::event::{VALUE_DEPTH_MAX, Value};
use crate::gate::{HostWord, Question};
use crate::source::json;

/// The module of the word.
pub const MODULE: &str = "template";
/// How the name of a file ends.
pub const ENDING: &str = ".json";
/// Bytes of one template.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;

/// The word.
pub const WORDS: &[HostWord] = &[HostWord {
    module: MODULE,
    name: "render",
    arguments: &[
        Argument::required("template", "text, or a file under flows/"),
        Argument::required("event", "map"),
        Argument::optional("options", "map"),
    ],
    about: "a Centreon template (format_file) with an event put into its macros; () if the file has none for this kind of event; options: date_format (strftime), time_zone",
    example: r#"template::render("centreon/format.json", event, #{ time_zone: "Europe/Paris" })"#,
}];

/// Templates of a script, by their paths.
pub type Templates = BTreeMap<String, Arc<Template>>;

/// Answers what an event does not tell; `None` if nobody can.
pub type Look<'a> = dyn FnMut(Question) -> Option<Value> + 'a;

/// A template that was read.
#[derive(Debug, PartialEq)]
pub enum Template {
    /// For any event.
    One(Node),
    /// By `<category>_<element>`, as in `neb_host_status`.
    Each(BTreeMap<String, Node>),
}

/// A part of a template.
#[derive(Debug, PartialEq)]
pub enum Node {
    /// Text with macros.
    Text(Vec<Piece>),
    /// What has none.
    Plain(Value),
    /// In order.
    List(Vec<Node>),
    /// Names may have macros too.
    Map(Vec<(Vec<Piece>, Node)>),
}

/// True of a template itself, false of the name of a file.
pub fn is_text(named: &str) -> bool {
    named.trim_start().starts_with(['{', '['])
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is no JSON; a key beside others that is no kind of event; a pattern that is none.
    pub fn parse(text: &str) -> Result<Template, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!(
                "a template is larger than {TEMPLATE_BYTES_MAX} bytes"
            ));
        }
        let value = json::decode_value(text.as_bytes());
        let value = value.map_err(|why| format!("the template is no JSON: {why}"))?;
        debug_assert!(value.depth() <= VALUE_DEPTH_MAX);
        let Value::Map(map) = &value else {
            return Node::read(&value).map(Template::One);
        };
        if !map.keys().any(|key| filling::is_kind(key)) {
            return Node::read(&value).map(Template::One);
        }
        if let Some(other) = map.keys().find(|key| !filling::is_kind(key)) {
            return Err(format!(
                "`{other}` is no kind of event, such as neb_host_status"
            ));
        }
        let each = map
            .iter()
            .map(|(key, value)| Ok((key.clone(), Node::read(value)?)));
        each.collect::<Result<_, String>>().map(Template::Each)
    }

    /// The template with an event in it; nothing if it has none for this kind of event.
    pub fn render(&self, filling: &Filling<'_>, look: &mut Look<'_>) -> Value {
        let node = match self {
            Template::One(node) => Some(node),
            Template::Each(each) => each.get(&filling.kind()),
        };
        node.map_or(Value::Null, |node| node.render(filling, look))
    }
}

impl Node {
    fn read(value: &Value) -> Result<Node, String> {
        Ok(match value {
            Value::Text(text) => Node::Text(macros::read(text)?),
            Value::List(items) => {
                Node::List(items.iter().map(Node::read).collect::<Result<_, _>>()?)
            }
            Value::Map(map) => {
                let entry = |(name, value): (&String, &Value)| {
                    Ok((macros::read(name)?, Node::read(value)?))
                };
                Node::Map(map.iter().map(entry).collect::<Result<_, String>>()?)
            }
            other => Node::Plain(other.clone()),
        })
    }

    fn render(&self, filling: &Filling<'_>, look: &mut Look<'_>) -> Value {
        match self {
            Node::Plain(value) => value.clone(),
            Node::Text(pieces) => match pieces.as_slice() {
                [Piece::Macro(alone)] => {
                    let value = filling.value(&alone.of, look);
                    value.unwrap_or_else(|| Value::from(alone.written.as_str()))
                }
                pieces => Value::Text(text(pieces, filling, look)),
            },
            Node::List(nodes) => {
                let items = nodes.iter().map(|node| node.render(filling, look));
                Value::List(items.collect())
            }
            Node::Map(entries) => {
                let entry = |(name, node): &(Vec<Piece>, Node)| {
                    (text(name, filling, look), node.render(filling, look))
                };
                Value::Map(entries.iter().map(entry).collect())
            }
        }
    }
}

fn text(pieces: &[Piece], filling: &Filling<'_>, look: &mut Look<'_>) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Macro(one) => match filling.value(&one.of, look) {
                Some(value) => text.push_str(&inline(&value)),
                None => text.push_str(&one.written),
            },
        }
    }
    text
}

/// A value within text; of a list the parts with commas between them.
fn inline(value: &Value) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            items.join(",")
        }
        other => other.to_plain(),
    }
}
