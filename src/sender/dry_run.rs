//! What `--dry-run` and `--test-settings` show: JSON in kompira_sendevt's shape and key order.

use serde_json::{Value, json};

use super::effective::Effective;
use super::pairs::Pairs;
use super::post::local_time;
use super::python_text::{bytes_literal, json_unicode};

/// How much of a raw body is shown, in bytes or characters.
const BODY_SHOWN_MAX: usize = 300;

/// The event as it would be sent.
pub enum Body {
    /// KEY=VAL arguments.
    Pairs(Pairs),
    /// Standard input as it is.
    Bytes(Vec<u8>),
    /// Standard input decoded.
    Text(String),
}

/// The dry run's answer for an event that would go to `server`.
pub fn dry_run(effective: &Effective, server: &str, body: &Body) -> String {
    let options = object(&amqp_options(effective, server), 2);
    let header = object(
        &[
            ("site_id", json!(effective.site_id)),
            ("channel", json!(effective.channel)),
            ("timestamp", json!(local_time("%Y-%m-%d %H:%M:%S.%6f"))),
        ],
        2,
    );
    let (name, shown) = match body {
        Body::Pairs(pairs) => ("message_dict", pairs.to_pretty(2)),
        Body::Bytes(bytes) => ("message_body", text(&shown_bytes(bytes))),
        Body::Text(decoded) => ("message_body", text(&shown_text(decoded))),
    };
    format!(
        "{{\n  \"amqp_opts\": {options},\n  \"application header\": {header},\n  \
         \"{name}\": {shown}\n}}\n"
    )
}

/// The settings in force, section by section as kompira.conf names them.
pub fn settings(effective: &Effective, server: &str, own: &[(&str, Value)]) -> String {
    let log = &effective.log;
    let sections = [
        (
            "kompira",
            object(&[("site_id", json!(effective.site_id))], 2),
        ),
        (
            "logging",
            object(
                &[
                    ("loglevel", json!(log.level.name())),
                    ("logdir", json!(log.folder.display().to_string())),
                    ("logbackup", json!(log.backups)),
                    ("logmaxsz", json!(log.size_bytes_max)),
                ],
                2,
            ),
        ),
        (
            "amqp-connection",
            object(&amqp_options(effective, server), 2),
        ),
        ("event", object(&[("channel", json!(effective.channel))], 2)),
        ("vigie", object(own, 2)),
    ];
    let sections = sections.map(|(name, section)| format!("  \"{name}\": {section}"));
    format!("{{\n{}\n}}\n", sections.join(",\n"))
}

fn amqp_options(effective: &Effective, server: &str) -> [(&'static str, Value); 11] {
    let password = effective.password.as_ref().map(ToString::to_string);
    [
        ("server", json!(server)),
        ("port", json!(effective.port)),
        ("user", json!(effective.user)),
        ("password", json!(password)),
        ("ssl", json!(effective.ssl)),
        ("ssl_verify", json!(effective.ssl_verify)),
        ("ssl_cacertfile", json!(effective.ssl_cacertfile)),
        ("ssl_certfile", json!(effective.ssl_certfile)),
        ("ssl_keyfile", json!(effective.ssl_keyfile)),
        ("max_retry", json!(effective.max_retry)),
        ("retry_interval", json!(effective.retry_interval)),
    ]
}

fn object(pairs: &[(&str, Value)], indent: usize) -> String {
    let margin = " ".repeat(indent);
    let lines: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{margin}  \"{name}\": {value}"))
        .collect();
    format!("{{\n{}\n{margin}}}", lines.join(",\n"))
}

fn text(shown: &str) -> String {
    let mut json = String::new();
    json_unicode(shown.as_bytes(), &mut json);
    json
}

fn shown_bytes(bytes: &[u8]) -> String {
    let length = bytes.len();
    match bytes.get(..BODY_SHOWN_MAX) {
        Some(start) if length > BODY_SHOWN_MAX => {
            format!("{}... (length={length})", bytes_literal(start))
        }
        _ => bytes_literal(bytes),
    }
}

fn shown_text(decoded: &str) -> String {
    let length = decoded.chars().count();
    if length <= BODY_SHOWN_MAX {
        return decoded.to_owned();
    }
    let start: String = decoded.chars().take(BODY_SHOWN_MAX).collect();
    format!("{start}... (length={length})")
}
