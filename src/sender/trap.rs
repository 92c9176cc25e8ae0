//! `vigie trap`: what snmptrapd writes to its traphandle, as it is.
//!
//! snmptrapd runs its handlers one after another and ignores their exit code, so this tries once
//! and shortly, then spools.

use std::ffi::OsString;
use std::io::Read;

use clap::Command;

use super::{Caller, MAIL_BYTES_MAX, Patience, Post, pipe};
use crate::error::Exit;

/// The media type of snmptrapd's text (`format execute`: host, transport, one varbind per line).
pub const TRAP_CONTENT_TYPE: &str = "application/x-snmptrapd";

/// Runs `vigie trap` on this process's output streams and environment.
pub fn main(args: Vec<OsString>, stdin: impl Read) -> Exit {
    let (mut stdin, mut out, mut err) = (stdin, std::io::stdout(), std::io::stderr());
    let mut caller = Caller {
        name: "vigie trap".to_owned(),
        stdin: &mut stdin,
        out: &mut out,
        err: &mut err,
        env: std::env::vars_os().collect(),
    };
    run(args, &mut caller)
}

/// The command line of `vigie trap`.
pub fn command() -> Command {
    pipe::command(
        "trap",
        "Send a trap from standard input to a channel (snmptrapd's traphandle)",
        "snmptrap",
        "  In snmptrapd.conf:  traphandle default /usr/bin/vigie trap --channel snmptrap",
    )
}

/// Runs `vigie trap` for `caller`: [`Exit::Ok`] or [`Exit::TryAgain`].
pub fn run(args: Vec<OsString>, caller: &mut Caller) -> Exit {
    pipe::run(
        command(),
        args,
        caller,
        Patience::short(),
        |channel, caller| {
            let text = caller.read_stdin(MAIL_BYTES_MAX)?;
            Ok(Post::new(channel, "snmp", TRAP_CONTENT_TYPE, text))
        },
    )
}
