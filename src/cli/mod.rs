//! The command line: one file per verb. Everything that prints for people stands here.
//!
//! Exit codes are those of [`Exit`]; usage errors are 64 (2 in the sendevt persona).

mod amend;
mod check;
mod client;
mod demo;
mod docs;
mod explain;
mod import;
mod list;
mod log;
mod manager;
mod manual;

mod operate;
mod queue;
mod record;
mod replay;
mod report;
mod serve;
mod show;
mod store;
mod test;
mod token;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::House;
use crate::engine::Engine;
use crate::error::Exit;
use crate::host;
use crate::sender::{self, StandardInput};
use crate::thinkers::Thinkers;

/// Names under which the binary is the sender.
const SENDER_NAMES: &[&str] = &["sendevt", "kompira_sendevt"];

/// Channels hold events, flows react to them, and a flow may wait for days.
#[derive(Debug, Parser)]
#[command(
    name = "vigie",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Start with `vigie demo`: it shows the whole thing in a minute.\n\
                  Then `vigie check` in your own folder, and `vigie serve`."
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: Common,
}

/// Options that many verbs know.
#[derive(Debug, Args)]
pub struct Common {
    /// The settings file; else $VIGIE_SETTINGS, ./settings.toml, /etc/vigie/settings.toml
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The server to talk to; else $VIGIE_SERVER, else `[http] listen` of the settings
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// The file with the token for the server; else $VIGIE_TOKEN_FILE
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Common {
    /// Threads that can run scripts.
    fn thinkers() -> Result<Thinkers, Exit> {
        Thinkers::start(Engine::new(host::words())).map_err(|_| Exit::Bug)
    }

    /// The house with everything in it compiled, and the threads that did; mistakes are told.
    fn house(&self) -> Result<(Thinkers, House), Exit> {
        let thinkers = Common::thinkers()?;
        let loaded = House::load(self.settings.as_deref(), &thinkers);
        let house = loaded.map_err(|mistakes| {
            report::mistakes(&mistakes);
            Exit::Configuration
        })?;
        Ok((thinkers, house))
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server until it is told to stop (SIGTERM, SIGINT); SIGHUP reloads
    Serve(serve::Serve),
    /// Look at settings, channels and flows, and say everything that is wrong
    Check(check::Check),
    /// Run the flows' cases (*.cases.toml) dry: no socket is opened
    Test(test::Test),
    /// List channels, flows, actions, runs or dead letters
    List(list::List),
    /// Tell the story of an event (alert/1042) or of a run (alert/1042/open_ticket)
    Show(show::Show),
    Explain(explain::Explain),
    /// Write a real run down as a case for `vigie test`
    Record(record::Record),
    /// Compare a new version of a flow with what the real runs did
    Replay(replay::Replay),
    /// Have dead letters tried again
    Retry(operate::Retry),
    Cancel(operate::Cancel),
    Kill(operate::Kill),
    Fork(amend::Fork),
    Upgrade(amend::Upgrade),
    /// Hold a flow (alert/open_ticket) or a channel (alert), also through restarts
    Pause(operate::Pause),
    /// Let a held flow or channel go on
    Resume(operate::Resume),
    /// Show what waits in a channel, and leave it there
    Peek(queue::Peek),
    /// Take the oldest event off a channel
    Pop(queue::Pop),
    /// Say how many events wait in a channel
    Count(queue::Count),
    /// Have events that were taken wait again
    PutBack(queue::PutBack),
    /// Send an event: `vigie send --channel alert host=web01 status=PROBLEM`
    #[command(disable_help_flag = true)]
    Send(Passed),
    /// Take a mail on standard input, as a mail server's pipe
    #[command(disable_help_flag = true)]
    Mail(Passed),
    /// Take a trap on standard input, as snmptrapd's traphandle
    #[command(disable_help_flag = true)]
    Trap(Passed),
    /// Turn what another program was told into what vigie is told
    Import(import::Import),
    /// Make a token for a caller
    Token(token::Token),
    /// Copy the running server's store into one file
    Backup(store::Backup),
    /// Make a store out of a backup, in an empty folder
    Restore(store::Restore),
    /// Show it all: a server, stand-ins for the targets, events through the real doors
    Demo(demo::Demo),
    /// Write the editor definitions of every word, and a page of them for people
    Docs(docs::Docs),
    /// Print the completions for a shell
    Completions(manual::Completions),
    /// Print the manual page
    Man(manual::Man),
}

/// Arguments that another parser reads.
#[derive(Debug, Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<OsString>,
}

/// Runs the command line `arguments`, the program's name first.
pub fn main(arguments: Vec<OsString>) -> Exit {
    let name = arguments.first().map(Path::new).and_then(Path::file_stem);
    let name = name
        .and_then(|name| name.to_str())
        .unwrap_or("vigie")
        .to_owned();
    if SENDER_NAMES.contains(&name.as_str()) {
        let arguments = arguments.into_iter().skip(1).collect();
        return sender::sendevt::main(&name, arguments, StandardInput::new());
    }
    // These read their own arguments, so that a mail server never sees another exit code than
    // theirs.
    if let Some(exit) = sender_verb(&arguments) {
        return exit;
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => run(cli),
        Err(why) => {
            // Help and version are no mistakes.
            let exit = if why.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            let _ = why.print();
            exit
        }
    }
}

fn sender_verb(arguments: &[OsString]) -> Option<Exit> {
    let verb = arguments.get(1)?.to_str()?;
    let rest = || arguments.iter().skip(2).cloned().collect();
    Some(match verb {
        "send" => sender::sendevt::main("vigie send", rest(), StandardInput::new()),
        "mail" => sender::mail::main(rest(), StandardInput::new(), std::env::vars_os().collect()),
        "trap" => sender::trap::main(rest(), StandardInput::new()),
        _ => return None,
    })
}

fn run(cli: Cli) -> Exit {
    let common = cli.common;
    match cli.verb {
        Verb::Serve(verb) => verb.run(&common),
        Verb::Check(verb) => verb.run(&common),
        Verb::Test(verb) => verb.run(&common),
        Verb::List(verb) => verb.run(&common),
        Verb::Show(verb) => verb.run(&common),
        Verb::Record(verb) => verb.run(&common),
        Verb::Replay(verb) => verb.run(&common),
        Verb::Retry(verb) => verb.run(&common),
        Verb::Cancel(verb) => verb.run(&common),
        Verb::Kill(verb) => verb.run(&common),
        Verb::Fork(verb) => verb.run(&common),
        Verb::Upgrade(verb) => verb.run(&common),
        Verb::Explain(verb) => verb.run(&common),
        Verb::Pause(verb) => verb.run(&common),
        Verb::Resume(verb) => verb.run(&common),
        Verb::Import(verb) => verb.run(),
        Verb::Peek(verb) => verb.run(&common),
        Verb::Pop(verb) => verb.run(&common),
        Verb::Count(verb) => verb.run(&common),
        Verb::PutBack(verb) => verb.run(&common),
        Verb::Token(verb) => verb.run(),
        Verb::Backup(verb) => verb.run(&common),
        Verb::Restore(verb) => verb.run(&common),
        Verb::Demo(verb) => verb.run(),
        Verb::Docs(verb) => verb.run(),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(),
        // An option before the verb: the verb's own parser did not see the whole line.
        Verb::Send(_) | Verb::Mail(_) | Verb::Trap(_) => {
            report::sentence(
                "send, mail and trap read all options themselves: put them after the verb",
            );
            Exit::Usage
        }
    }
}

/// The whole command, for completions and the manual. The senders have options of their own, so
/// the common ones are given to the other verbs one by one.
fn command() -> clap::Command {
    let sendevt = sender::sendevt_command("vigie send").disable_version_flag(true);
    let mut command = Cli::command().mut_args(|option| option.global(false));
    let common: Vec<clap::Arg> = command.get_arguments().cloned().collect();
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, |own| own.args(common.clone()));
    }
    for (name, own) in [
        ("send", sendevt),
        ("mail", sender::mail_command()),
        ("trap", sender::trap_command()),
    ] {
        let own = own.name(name).bin_name(format!("vigie {name}"));
        let own = own.display_name(format!("vigie-{name}"));
        command = command.mut_subcommand(name, |_| own);
    }
    command
}
