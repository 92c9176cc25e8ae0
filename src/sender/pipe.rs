//! What `vigie mail` and `vigie trap` share: standard input becomes one event, exit 0 or 75.
//!
//! Any other exit code makes a mail server send the mail back, so nothing else ever leaves here:
//! not for wrong arguments, not for a panic.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, value_parser};

use super::arguments::seconds;
use super::sendevt::token;
use super::{
    Caller, Delivered, HttpDoor, Patience, Plan, Post, Security, Server, Settings, deliver,
};
use crate::error::Exit;

/// The channel and the ways to the server, from a pipe's command line.
pub struct PipeArguments {
    pub channel: String,
    server: Option<String>,
    token_file: Option<PathBuf>,
    spool: Option<PathBuf>,
    settings: Option<PathBuf>,
    timeout: Option<f64>,
}

/// The command line of the pipe called `name` (`mail`, `trap`), with a channel by default and the
/// line that calls it.
pub fn command(
    name: &'static str,
    about: &'static str,
    channel: &'static str,
    example: &'static str,
) -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let path = || value_parser!(PathBuf);
    Command::new(name)
        .bin_name(format!("vigie {name}"))
        .about(about)
        .args_override_self(true)
        .args([
            option("channel", "CHANNEL", "Channel by name or path").default_value(channel),
            option(
                "server",
                "URL",
                "Server [default: $VIGIE_SERVER, else this host's]",
            ),
            option(
                "token-file",
                "FILE",
                "File with the token [default: $VIGIE_TOKEN_FILE]",
            )
            .value_parser(path()),
            option(
                "spool",
                "FOLDER",
                "Where events wait while the server is away",
            )
            .value_parser(path()),
            option("settings", "FILE", "The server's settings.toml").value_parser(path()),
            option("timeout", "SECONDS", "Longest time for the one try").value_parser(seconds),
        ])
        .after_help(format!(
            "Example:\n{example}\n\n\
            Exit status: 0 accepted or kept in the spool, 75 nothing was kept: try again."
        ))
}

impl PipeArguments {
    fn read(command: Command, arguments: Vec<OsString>) -> Result<PipeArguments, clap::Error> {
        let whole = std::iter::once(OsString::from(command.get_name())).chain(arguments);
        let mut matches: ArgMatches = command.try_get_matches_from(whole)?;
        Ok(PipeArguments {
            channel: matches.remove_one("channel").unwrap_or_default(),
            server: matches.remove_one("server"),
            token_file: matches.remove_one("token-file"),
            spool: matches.remove_one("spool"),
            settings: matches.remove_one("settings"),
            timeout: matches.remove_one("timeout"),
        })
    }

    /// The plan; what is wrong with the server or the token is a reason to spool, not to stop.
    fn plan(self, caller: &mut Caller, remote: Patience) -> Plan {
        let settings = Settings::find(self.settings.as_deref(), caller);
        let variable = caller.text("VIGIE_SERVER").filter(|url| !url.is_empty());
        let url = self.server.or(variable).unwrap_or(settings.url);
        let server = Server::parse(&url, None);
        let own = server.as_ref().is_ok_and(Server::is_own_host);
        let patience = if own { Patience::short() } else { remote };
        let patience = patience.with_timeout(self.timeout);
        let door = server.and_then(|server| {
            let token = token(self.token_file, caller)?;
            HttpDoor::new(server, &Security::default(), token, &patience).map(Into::into)
        });
        let spool = self.spool.unwrap_or(settings.spool);
        Plan {
            door,
            patience,
            spool: std::path::absolute(&spool).unwrap_or(spool),
            keep_refused: true,
        }
    }
}

/// Reads the command line, makes the event with `make` and delivers it. `remote` is the patience
/// with a server on another host.
pub fn run(
    command: Command,
    arguments: Vec<OsString>,
    caller: &mut Caller,
    remote: Patience,
    make: impl FnOnce(&str, &mut Caller) -> Result<Post, String>,
) -> Exit {
    let guarded = catch_unwind(AssertUnwindSafe(|| {
        let arguments = match PipeArguments::read(command, arguments) {
            Ok(arguments) => arguments,
            Err(error) => return halt(&error, caller),
        };
        let post = match make(&arguments.channel, caller) {
            Ok(post) => post,
            Err(why) => return try_again(&why, caller),
        };
        let plan = arguments.plan(caller, remote);
        match deliver(&post, &plan, caller) {
            Delivered::Accepted => Exit::Ok,
            Delivered::Spooled(path, why) => {
                caller.say(&format!("{why}; kept in {}", path.display()));
                Exit::Ok
            }
            Delivered::Refused(why) | Delivered::Lost(why) => try_again(&why, caller),
        }
    }));
    // The panic's own message is on standard error already.
    guarded.unwrap_or(Exit::TryAgain)
}

fn try_again(why: &str, caller: &mut Caller) -> Exit {
    caller.say(&format!("{why}; nothing was kept, try again"));
    Exit::TryAgain
}

fn halt(error: &clap::Error, caller: &mut Caller) -> Exit {
    if error.kind() == ErrorKind::DisplayHelp {
        caller.print(&error.render().to_string());
        return Exit::Ok;
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or("wrong arguments");
    try_again(first, caller)
}
