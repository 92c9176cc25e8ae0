//! Handles: `on("ack", #{ … })` for `any([…])`, and the closures that belong to a wait.
//!
//! Invariant: a closure never leaves its script. What is journalled says only that there is one; when
//! an event must be judged, the script is run up to the wait and its own closure is asked.

use rhai::{Array, Dynamic, Engine, FnPtr, NativeCallContext};

use super::convert::{from_dynamic, to_dynamic};
use super::{Result, Word, Words, complain};
use crate::event::Value;

/// What `on` gives.
#[derive(Debug, Clone)]
pub struct Handle {
    /// The channel, the fields, and whether there is a condition.
    pub value: Value,
    condition: Option<FnPtr>,
}

/// `on`.
#[derive(Debug)]
pub struct Handles;

impl Words for Handles {
    fn words(&self) -> &'static [Word] {
        &[Word {
            name: "on",
            arguments: "channel, match?, condition?",
            about: "a handle for any() that comes true when the channel gets a matching event; it is seen, not taken",
            example: r#"type_of(on("ack", #{ key: "web01" })) == "handle""#,
        }]
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_type_with_name::<Handle>("handle")
            .register_fn("on", |at: NativeCallContext, channel: Dynamic| {
                on(&at, &[channel])
            })
            .register_fn("on", |at: NativeCallContext, a: Dynamic, b: Dynamic| {
                on(&at, &[a, b])
            })
            .register_fn(
                "on",
                |at: NativeCallContext, a: Dynamic, b: Dynamic, c: Dynamic| on(&at, &[a, b, c]),
            );
    }
}

fn on(at: &NativeCallContext, arguments: &[Dynamic]) -> Result<Handle> {
    let (channel, rest) = arguments.split_first().ok_or("`on` needs a channel")?;
    let wrong = |why: String| complain(at, format!("`on`: {why}"));
    let mut handle = Handle {
        value: Value::Null,
        condition: None,
    };
    let mut fields = Value::from([]);
    for argument in rest {
        if let Some(closure) = argument.clone().try_cast::<FnPtr>() {
            handle.condition = Some(closure);
            continue;
        }
        fields = from_dynamic(argument).map_err(wrong)?;
        if fields.as_map().is_none() {
            let kind = fields.kind();
            return Err(wrong(format!("takes fields and a closure, not {kind}")));
        }
    }
    handle.value = Value::from([
        ("condition", Value::Bool(handle.condition.is_some())),
        ("match", fields),
        ("on", from_dynamic(channel).map_err(wrong)?),
    ]);
    Ok(handle)
}

/// The closure among the arguments of a wait: that of the handle in place `which`, or the last one
/// that was handed over.
pub fn condition(arguments: &[Dynamic], which: usize) -> Option<FnPtr> {
    let handles = arguments
        .first()
        .and_then(|first| first.read_lock::<Array>());
    if let Some(handles) = handles
        && let Some(handle) = handles.get(which).and_then(Dynamic::read_lock::<Handle>)
    {
        return handle.condition.clone();
    }
    let closure = |argument: &Dynamic| argument.clone().try_cast::<FnPtr>();
    arguments.iter().rev().find_map(closure)
}

/// What the closure says about an event; what it raises if it does not say true or false.
///
/// # Errors
/// What a script sees in `catch`.
pub fn judge(
    at: &NativeCallContext,
    closure: Option<FnPtr>,
    event: &Value,
) -> std::result::Result<bool, Value> {
    let raised = |why: String| {
        Value::from([
            ("kind", Value::from("refused")),
            ("message", Value::from(why)),
            ("verb", Value::from("condition")),
        ])
    };
    let Some(closure) = closure else {
        return Err(raised("the closure is gone".to_owned()));
    };
    let said = closure.call_within_context::<Dynamic>(at, (to_dynamic(event),));
    let said = said.map_err(|why| raised(format!("the condition raised: {why}")))?;
    said.as_bool()
        .map_err(|kind| raised(format!("a condition gives true or false, not {kind}")))
}
