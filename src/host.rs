//! Every word that goes through the gate: the plain ones listed here and each action's verbs.
//!
//! From this one list come the Rhai modules, `check`, `list actions`, the README table and the
//! editor definitions.

use crate::action::{self, Argument};
use crate::broker;
use crate::gate::HostWord;
use crate::{logging, template};

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
        "",
        "after",
        &[Argument::required("duration", "text with a unit")],
        "a handle for any() that comes true so long after this line",
        r#"let limit = after("10m");"#,
    ),
    word(
        "",
        "carried",
        &[],
        "what continue_as handed over, or () the first time",
        "let round = (carried() ?? #{ round: 0 }).round;",
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

/// Words that lay a run down until something comes: no thread waits, and the server may die
/// meanwhile.
pub const WAITING: &[HostWord] = &[
    word(
        "",
        "sleep",
        &[Argument::required("duration", "text with a unit")],
        "waits so long",
        r#"sleep("10m");"#,
    ),
    word(
        "",
        "sleep_until",
        &[Argument::required(
            "time",
            "seconds since 1970, or RFC 3339",
        )],
        "waits until then; a time that is over is no wait",
        r#"sleep_until("2026-12-24T18:00:00+01:00");"#,
    ),
    word(
        "",
        "receive",
        EVENT_ARGUMENTS,
        "takes the oldest matching event off a channel, or the next that comes; () when the time is over",
        r#"let ack = receive("ack", #{ key: event.key }, "1h");"#,
    ),
    word(
        "",
        "watch",
        EVENT_ARGUMENTS,
        "sees the next matching event without taking it, counted from the one that began the run; () when the time is over",
        r#"let recovery = watch("alert", #{ hostname: event.hostname, status: "OK" }, "30d");"#,
    ),
    word(
        "",
        "any",
        &[Argument::required("handles", "list of on() and after()")],
        "waits for the first of several: #{ which, event }",
        r#"let first = any([on("ack", #{ key: event.key }), after("10m")]);"#,
    ),
    word(
        "",
        "continue_as",
        &[Argument::required("state", "any value")],
        "begins the script anew with an empty journal; carried() gives the state there",
        "continue_as(#{ round: round + 1 });",
    ),
];

const EVENT_ARGUMENTS: &[Argument] = &[
    Argument::required("channel", "text, or a list of them"),
    Argument::optional("match", "map of fields"),
    Argument::optional("timeout", "text with a unit"),
    Argument::optional("condition", "closure"),
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
    let plain = LOCAL.iter().chain(broker::WORDS).chain(WAITING);
    let plain = plain.chain(logging::WORDS).chain(template::WORDS).copied();
    plain.chain(verbs).collect()
}
