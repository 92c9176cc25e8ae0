//! Pure words: what a script can compute without touching anything outside. One file per theme,
//! one line in [`ALL`].
//!
//! A pure word gives the same answer for the same arguments for ever, because a run is replayed
//! from the top; what depends on the moment (`now`, `random`) belongs to the gate instead.

pub mod blob;
pub mod convert;
pub mod events;
pub mod handle;
pub mod json;
pub mod list;
pub mod mail;
pub mod pattern;
pub mod perfdata;
pub mod secret;
pub mod text;
pub mod time;
pub mod trap;

use rhai::{Dynamic, Engine, EvalAltResult, NativeCallContext, Position};

/// Every theme of pure words.
pub const ALL: &[&dyn Words] = &[
    &text::Text,
    &json::Json,
    &time::Time,
    &mail::Mail,
    &trap::Trap,
    &perfdata::Perfdata,
    &blob::Blobs,
    &secret::Secrets,
    &handle::Handles,
    &list::Lists,
];

/// A theme of pure words.
pub trait Words: Sync {
    /// What it adds, for documentation and for `check`.
    fn words(&self) -> &'static [Word];

    /// Adds them to the engine.
    fn register(&self, engine: &mut Engine);
}

/// One pure word with its documentation.
#[derive(Debug)]
pub struct Word {
    /// How a script calls it.
    pub name: &'static str,
    /// Names of its arguments, in order.
    pub arguments: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// An expression that is true; it is run as a test.
    pub example: &'static str,
}

/// What a native word returns when it can fail.
pub type Result<T = Dynamic> = std::result::Result<T, Box<EvalAltResult>>;

/// A word's complaint, standing where the script called it.
pub fn complain(context: &NativeCallContext, message: impl Into<String>) -> Box<EvalAltResult> {
    complain_at(context.call_position(), message)
}

/// A complaint at a known position.
pub fn complain_at(position: Position, message: impl Into<String>) -> Box<EvalAltResult> {
    let message: String = message.into();
    Box::new(EvalAltResult::ErrorRuntime(message.into(), position))
}
