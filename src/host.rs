//! Every word that goes through the gate: the plain ones listed here and each action's verbs.
//!
//! From this one list come the Rhai modules, `check`, `list actions`, the README table and the
//! editor definitions.

use crate::action::{self, Argument};
use crate::gate::HostWord;

const fn word(
    module: &'static str,
    name: &'static str,
    arguments: &'static [Argument],
    about: &'static str,
    example: &'static str,
) -> HostWord {
    HostWord {
        module,
        name,
        arguments,
        about,
        example,
    }
}

/// Words that are answered at once and whose answer is journalled.
pub const LOCAL: &[HostWord] = &[
    word(
        "",
        "now",
        &[],
        "seconds since 1970, the same in every replay",
        "let began = now();",
    ),
    word(
        "",
        "uuid",
        &[],
        "a random UUID as text, the same in every replay",
        "let id = uuid();",
    ),
    word(
        "",
        "random",
        &[Argument::optional("below", "integer")],
        "a random float from 0 to 1, or an integer from 0 to below - 1; the same in every replay",
        "let dice = 1 + random(6);",
    ),
    word(
        "",
        "emit",
        &[
            Argument::required("channel", "text"),
            Argument::required("event", "any value"),
        ],
        "puts a new event into a channel, once however often the run is replayed",
        r#"emit("audit", #{ host: event.hostname });"#,
    ),
    word(
        "state",
        "get",
        &[Argument::required("key", "text")],
        "what this flow keeps under a key, or ()",
        r#"let seen = state::get("seen") ?? 0;"#,
    ),
    word(
        "state",
        "set",
        &[
            Argument::required("key", "text"),
            Argument::required("value", "any value"),
        ],
        "keeps a value for later runs of this flow",
        r#"state::set("seen", seen + 1);"#,
    ),
    word(
        "state",
        "delete",
        &[Argument::required("key", "text")],
        "forgets what is kept under a key",
        r#"state::delete("seen");"#,
    ),
];

/// All of them.
pub fn words() -> Vec<HostWord> {
    let verbs = action::ALL.iter().flat_map(|action| {
        action.verbs().iter().map(|verb| HostWord {
            module: action.name(),
            name: verb.name,
            arguments: verb.arguments,
            about: verb.about,
            example: verb.example,
        })
    });
    LOCAL.iter().copied().chain(verbs).collect()
}
