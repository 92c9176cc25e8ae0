//! The items in an answer, each with the key by which it is known again.

use sha2::{Digest, Sha256};

use super::keys::Wish;
use crate::action::http::Response;
use crate::event::Value;
use crate::source::json;

/// Most items in one answer.
pub const ITEMS_MAX: usize = 10_000;
/// Characters of a wrong answer that a message quotes.
const EXCERPT_CHARS_MAX: usize = 60;

/// By what an item is known again: half of a SHA-256.
pub(super) type Key = [u8; 16];

/// One item.
pub(super) struct Item {
    pub(super) key: Key,
    pub(super) body: Value,
}

/// The items of an answer, in its order.
pub(super) fn items(response: &Response, wish: &Wish) -> Result<Vec<Item>, String> {
    let text = response.text().map(String::into_bytes);
    let bytes = text.as_ref().unwrap_or(&response.body);
    let body = json::decode_value(bytes).map_err(|why| no_json(response, wish, &why))?;
    let there = at(&body, &wish.items);
    let there = there.ok_or_else(|| format!("{} has nothing at `{}`", wish.shown, wish.items))?;
    let bodies = match there {
        Value::List(items) if items.len() > ITEMS_MAX => {
            return Err(format!("{} gave more than {ITEMS_MAX} items", wish.shown));
        }
        Value::List(items) => items.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let item = |body: Value| Item {
        key: key(&body, &wish.key),
        body,
    };
    Ok(bodies.into_iter().map(item).collect())
}

fn no_json(response: &Response, wish: &Wish, why: &json::JsonError) -> String {
    let kind = response.headers.get("content-type");
    let kind = kind.map_or("no media type", String::as_str);
    let start = response.excerpt(wish.hidden.iter());
    let start: String = start.chars().take(EXCERPT_CHARS_MAX).collect();
    format!(
        "{} answered with {kind}: {why}; it begins with {start:?}",
        wish.shown
    )
}

/// The value that a JSON pointer (RFC 6901) names; the empty one is the whole.
fn at<'a>(body: &'a Value, pointer: &str) -> Option<&'a Value> {
    let step = |value: &'a Value, part: &str| {
        let name = part.replace("~1", "/").replace("~0", "~");
        match value {
            Value::Map(map) => map.get(&name),
            Value::List(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        }
    };
    pointer.split('/').skip(1).try_fold(body, step)
}

/// The hash of the fields; of the whole item if there are none, or one is missing: then any change
/// makes it new, and nothing is passed over.
fn key(item: &Value, fields: &[String]) -> Key {
    let field = |name: &String| match name.starts_with('/') {
        true => at(item, name),
        false => item.get(name),
    };
    let named: Option<Vec<Value>> = fields.iter().map(|name| field(name).cloned()).collect();
    let text = match named {
        Some(values) if !values.is_empty() => format!("fields {}", Value::List(values)),
        _ => format!("whole {item}"),
    };
    let mut key = Key::default();
    key.copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
    key
}
