//! `list()`: a list that may grow beyond what an array may hold, for what a batch is turned into.
//!
//! Invariant: it holds plain values, never closures or what is shared, so it cannot hold itself and
//! ends as quickly as it began; its size is bounded by its own limit and by the step's memory.

use std::sync::Arc;

use rhai::{Dynamic, Engine, NativeCallContext};

use super::blob::{Blob, TEXT_BYTES_MAX};
use super::convert::{from_dynamic, to_dynamic};
use super::{Result, Word, Words, complain};
use crate::event::{VALUE_DEPTH_MAX, Value};

/// Items in one list; as many as a batch may have events.
pub const ITEMS_MAX: usize = 100_000;
/// Longest text that joining a list may give, in bytes.
pub const JOINED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A growable list outside Rhai's size counts; cheap to copy, and a copy is its own list.
#[derive(Debug, Clone, Default)]
pub struct List {
    items: Arc<Vec<Value>>,
    /// How deep the deepest item is nested.
    depth: usize,
}

impl List {
    /// A list of these, which are no more than [`ITEMS_MAX`] and nested as a script may have them.
    pub(super) fn of(items: Vec<Value>) -> List {
        List {
            depth: items.iter().map(depth).max().unwrap_or(0),
            items: Arc::new(items),
        }
    }

    /// The items, in order.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// How deep the deepest item is nested; 0 for a list of plain values.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

/// The theme.
pub struct Lists;

impl Words for Lists {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[
            Word {
                name: "list",
                arguments: "array?",
                about: "a list, empty or with the elements of an array, that may grow beyond an array's 4,096 elements, for what a batch is turned into: push or +=, len, index, for; verbs take it as an array",
                example: r#"{ let all = list(); all += "a"; all.push("b"); all.len == 2 && all[1] == "b" }"#,
            },
            Word {
                name: "join",
                arguments: "list, separator",
                about: "the items of a list as one text; beyond 256 KiB it is a blob, which verbs take as text",
                example: r#"{ let all = list(); all += "a"; all += 1; all.join("-") == "a-1" }"#,
            },
        ];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_type_with_name::<List>("list")
            .register_fn("list", List::default)
            .register_fn("list", from_array)
            .register_fn(
                "push",
                |at: NativeCallContext, list: &mut List, item: Dynamic| push(&at, list, item),
            )
            .register_fn(
                "+=",
                |at: NativeCallContext, list: &mut List, item: Dynamic| push(&at, list, item),
            )
            .register_fn("join", join)
            .register_get("len", |list: &mut List| list.items.len() as i64)
            .register_fn("len", |list: &mut List| list.items.len() as i64)
            .register_fn("is_empty", |list: &mut List| list.items.is_empty())
            .register_indexer_get(|list: &mut List, index: i64| {
                let index = usize::try_from(index).ok();
                let item = index.and_then(|index| list.items.get(index));
                item.map_or(Dynamic::UNIT, to_dynamic)
            })
            .register_fn("to_string", |list: &mut List| {
                format!("<{} items>", list.items.len())
            })
            .register_fn("to_debug", |list: &mut List| {
                format!("<{} items>", list.items.len())
            })
            .register_iterator::<List>();
    }
}

fn from_array(context: NativeCallContext, array: rhai::Array) -> Result<List> {
    let mut list = List::default();
    for item in array {
        push(&context, &mut list, item)?;
    }
    Ok(list)
}

fn push(context: &NativeCallContext, list: &mut List, item: Dynamic) -> Result<()> {
    if list.items.len() >= ITEMS_MAX {
        return Err(complain(
            context,
            format!("a list holds at most {ITEMS_MAX} items"),
        ));
    }
    let item = from_dynamic(&item).map_err(|why| complain(context, why))?;
    let depth = depth(&item);
    if depth >= VALUE_DEPTH_MAX {
        let deep = format!("a value is nested more than {VALUE_DEPTH_MAX} deep");
        return Err(complain(context, deep));
    }
    list.depth = list.depth.max(depth);
    Arc::make_mut(&mut list.items).push(item);
    Ok(())
}

fn join(context: NativeCallContext, list: &mut List, separator: &str) -> Result {
    let texts: Vec<String> = list.items.iter().map(Value::to_plain).collect();
    let separators = separator.len().saturating_mul(texts.len());
    let bytes = texts.iter().map(String::len).sum::<usize>();
    if bytes.saturating_add(separators) > JOINED_BYTES_MAX {
        let long = format!("the text would be longer than {JOINED_BYTES_MAX} bytes");
        return Err(complain(&context, long));
    }
    let text = texts.join(separator);
    Ok(match text.len() > TEXT_BYTES_MAX {
        true => Dynamic::from(Blob::long_text(text)),
        false => text.into(),
    })
}

/// 0 for a plain value, 1 for a list of plain values.
fn depth(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

impl IntoIterator for List {
    type Item = Dynamic;
    type IntoIter = ListIterator;

    fn into_iter(self) -> ListIterator {
        ListIterator {
            list: self,
            next: 0,
        }
    }
}

/// Walks through a list as it was when the walk began.
pub struct ListIterator {
    list: List,
    next: usize,
}

impl Iterator for ListIterator {
    type Item = Dynamic;

    fn next(&mut self) -> Option<Dynamic> {
        let item = self.list.items.get(self.next)?;
        self.next += 1;
        Some(to_dynamic(item))
    }
}
