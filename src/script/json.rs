//! JSON text in and out of a script's values.

use rhai::{Dynamic, Engine, NativeCallContext};

use super::convert::{from_dynamic, to_dynamic};
use super::text::with_bytes;
use super::{Result, Word, Words, complain};
use crate::source::json::decode_value;

/// The theme.
pub struct Json;

impl Words for Json {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[
            Word {
                name: "json_parse",
                arguments: "text or blob",
                about: "the value in a JSON text; whole numbers beyond 64 bits stay text, null is ()",
                example: r#"json_parse(`{"a": [1, null, "x"]}`).a == [1, (), "x"]"#,
            },
            Word {
                name: "json_dump",
                arguments: "value",
                about: "the value as JSON on one line, names sorted, a blob as base64 text",
                example: r#"json_dump(#{ b: [1, ()], a: "é" }) == `{"a":"é","b":[1,null]}`"#,
            },
        ];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_fn("json_parse", parse)
            .register_fn("json_dump", dump)
            // Rhai's own waits for ever for a lock that it holds, when a closure in the map has
            // captured the map.
            .register_fn("to_json", |context: NativeCallContext, map: rhai::Map| {
                dump(context, map.into())
            });
    }
}

fn parse(context: NativeCallContext, value: Dynamic) -> Result {
    let found = with_bytes(&context, &value, decode_value)?;
    found
        .map(|value| to_dynamic(&value))
        .map_err(|error| complain(&context, error.to_string()))
}

fn dump(context: NativeCallContext, value: Dynamic) -> Result<String> {
    let value = from_dynamic(&value).map_err(|why| complain(&context, why))?;
    Ok(value.to_json().to_string())
}
