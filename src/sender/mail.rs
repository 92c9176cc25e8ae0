//! `vigie mail`: a mail on standard input, under an alias of Postfix or Exim.
//!
//! The bytes are kept exactly; the envelope, which a mail's headers do not have, comes from the
//! mail server's environment variables. Exit 0 or 75, nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;

use clap::Command;
use sha2::{Digest as _, Sha256};

use super::{Caller, MAIL_BYTES_MAX, Patience, Post, pipe};
use crate::error::Exit;
use crate::hex;

/// Variables of Postfix local(8) and Exim's pipe transport that become meta, under these names.
pub const ENVELOPE: [&str; 19] = [
    "SENDER",
    "RECIPIENT",
    "ORIGINAL_RECIPIENT",
    "EXTENSION",
    "LOCAL",
    "DOMAIN",
    "USER",
    "LOGNAME",
    "CLIENT_ADDRESS",
    "CLIENT_HELO",
    "CLIENT_HOSTNAME",
    "CLIENT_PROTOCOL",
    "LOCAL_PART",
    "LOCAL_PART_PREFIX",
    "LOCAL_PART_SUFFIX",
    "MESSAGE_ID",
    "QUALIFY_DOMAIN",
    "SASL_USERNAME",
    "SASL_METHOD",
];
/// How far into a mail its Message-ID is looked for, in bytes.
const HEADER_BYTES_MAX: usize = 256 * 1024;
/// Longest message id that is used as it is, in bytes; a longer one is hashed.
const ID_BYTES_MAX: usize = 500;

/// Runs `vigie mail` on this process's output streams.
pub fn main(args: Vec<OsString>, stdin: impl Read, env: BTreeMap<OsString, OsString>) -> Exit {
    let (mut stdin, mut out, mut err) = (stdin, std::io::stdout(), std::io::stderr());
    let mut caller = Caller {
        name: "vigie mail".to_owned(),
        stdin: &mut stdin,
        out: &mut out,
        err: &mut err,
        env,
    };
    run(args, &mut caller)
}

/// The command line of `vigie mail`.
pub fn command() -> Command {
    pipe::command(
        "mail",
        "Send a mail from standard input to a channel (for an alias of a mail server)",
        "mail",
        "  In /etc/aliases:  alert: \"|/usr/bin/vigie mail --channel mail\"",
    )
}

/// Runs `vigie mail` for `caller`: [`Exit::Ok`] or [`Exit::TryAgain`].
pub fn run(args: Vec<OsString>, caller: &mut Caller) -> Exit {
    pipe::run(command(), args, caller, Patience::once(), post)
}

fn post(channel: &str, caller: &mut Caller) -> Result<Post, String> {
    let mail = caller.read_stdin(MAIL_BYTES_MAX)?;
    let id = message_id(&mail);
    let mut post = Post::new(channel, "mail", "message/rfc822", mail);
    for name in ENVELOPE {
        if let Some(value) = caller.text(name) {
            post.note(name, &value);
        }
    }
    if let Some(id) = id {
        post.correlation_id = delivery_id(&id, recipient(caller).as_deref());
    }
    Ok(post)
}

/// Who the mail is for: a mail to two aliases is two events.
fn recipient(caller: &Caller) -> Option<String> {
    let names = ["RECIPIENT", "ORIGINAL_RECIPIENT"];
    let given = names.iter().find_map(|name| {
        let value = caller.text(name)?;
        (!value.is_empty()).then_some(value)
    });
    given.or_else(|| {
        let local = caller.text("LOCAL_PART").filter(|text| !text.is_empty())?;
        let domain = caller.text("DOMAIN").unwrap_or_default();
        Some(format!("{local}@{domain}"))
    })
}

/// The id of one delivery: the mail's Message-ID and its recipient. Every retry by the mail
/// server has the same. What cannot stand in a header is hashed.
fn delivery_id(message_id: &str, recipient: Option<&str>) -> String {
    let id = match recipient {
        Some(recipient) => format!("{message_id} {recipient}"),
        None => message_id.to_owned(),
    };
    let is_plain = id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_plain && id.len() <= ID_BYTES_MAX {
        return id;
    }
    let hash = Sha256::digest(id.as_bytes());
    format!("sha256:{}", hex::encode(&hash))
}

/// The Message-ID header, unfolded, without white space around; `None` if the mail has none.
fn message_id(mail: &[u8]) -> Option<String> {
    let head = &mail[..mail.len().min(HEADER_BYTES_MAX)];
    let mut value: Option<Vec<u8>> = None;
    for (number, line) in head.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_mbox_line =
            number == 0 && (line.starts_with(b"From ") || line.starts_with(b">From "));
        if is_mbox_line {
            continue;
        }
        if line.is_empty() {
            break;
        }
        let is_folded = line.starts_with(b" ") || line.starts_with(b"\t");
        match &mut value {
            // A header ends where the next begins; the first one counts.
            Some(_) if !is_folded => break,
            Some(value) => value.extend_from_slice(line),
            None => value = header_value(line),
        }
    }
    let text = String::from_utf8_lossy(&value?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn header_value(line: &[u8]) -> Option<Vec<u8>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    name.eq_ignore_ascii_case(b"message-id")
        .then(|| line[colon + 1..].to_vec())
}
