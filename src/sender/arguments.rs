//! sendevt's command line, with the manners of Python's argparse that its users' scripts rely on.
//!
//! Unique prefixes of long options are accepted; options stand before or after all KEY=VAL, never
//! between; every usage error exits 2.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// Longest time that `--timeout` may ask for, in seconds.
const TIMEOUT_SECONDS_MAX: f64 = 86_400.0;

const EXAMPLES: &str = "\
Examples:
  Send one event with three values to this host's server:
    sendevt hostname=web01 status=PROBLEM 'detail=load is 5.21'
  Send what a program prints, as it is:
    df -h | sendevt --channel disk
  Send to another host, with a token, keeping events if it is away:
    sendevt -s https://vigie.example:8780 --token-file /etc/vigie/token --spool /var/spool/vigie k=v
  A value that begins with a dash:
    sendevt -- -5=cold
  Show what would be sent:
    sendevt --dry-run k=v

Exit status: 0 accepted or kept in the spool, 1 failed, 2 wrong arguments, 75 nothing was kept.";

const SERVER_HELP: &str = "http(s) URL of the server [default: $VIGIE_SERVER, else this host]; \
    another value means AMQP, such as localhost or mq:5671";
const TIMEOUT_HELP: &str = "Longest time for one try [default: 30; 3 on the server's own host]";
const MAX_RETRY_HELP: &str = "Further tries towards another host; negative: for ever [default: 3]";
const SPOOL_HELP: &str = "Where events are kept while the server is away [default: as the \
    server's settings say]";
const SSL_VERIFY_HELP: &str =
    "Verify the server's certificate and name (https: always, unless --no-ssl-verify)";

/// What was asked for on the command line; `None` where nothing was.
#[derive(Debug, Default)]
pub struct Arguments {
    pub config: Option<PathBuf>,
    pub server: Option<String>,
    pub port: Option<i64>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub ssl: Option<bool>,
    pub ssl_verify: Option<bool>,
    pub ssl_cacertfile: Option<String>,
    pub ssl_certfile: Option<String>,
    pub ssl_keyfile: Option<String>,
    pub channel: Option<String>,
    pub site_id: Option<i64>,
    pub max_retry: Option<i64>,
    pub retry_interval: Option<i64>,
    pub encoding: Option<String>,
    pub loglevel: Option<String>,
    pub logdir: Option<PathBuf>,
    pub logmaxsz: Option<i64>,
    pub logbackup: Option<i64>,
    pub token_file: Option<PathBuf>,
    pub spool: Option<PathBuf>,
    pub timeout: Option<f64>,
    pub decode_stdin: bool,
    pub test_connection: bool,
    pub test_settings: bool,
    pub dry_run: bool,
    pub flush_spool: bool,
    pub debug: bool,
    pub pairs: Vec<OsString>,
}

/// Why there are no arguments to act on.
pub enum Halt {
    /// The user asked for this text; exit 0.
    Show(String),
    /// A usage error; exit 2.
    Wrong(String),
}

impl Arguments {
    /// Reads the command line of the program called `name`, without the name itself.
    ///
    /// # Errors
    /// [`Halt`]: help or version asked for, or a usage error.
    pub fn read(name: &str, arguments: Vec<OsString>) -> Result<Arguments, Halt> {
        let whole = std::iter::once(OsString::from(name)).chain(arguments);
        let matches = command(name)
            .try_get_matches_from(whole)
            .map_err(|error| halt(&error))?;
        refuse_options_between(&matches)?;
        let read = Arguments::from_matches(matches);
        if read.channel.as_deref() == Some("") {
            return Err(Halt::Wrong("argument --channel: it is empty".to_owned()));
        }
        if read.flush_spool && !read.pairs.is_empty() {
            return Err(Halt::Wrong("--flush-spool takes no KEY=VAL".to_owned()));
        }
        Ok(read)
    }

    fn from_matches(mut matches: ArgMatches) -> Arguments {
        let m = &mut matches;
        Arguments {
            config: m.remove_one("config"),
            server: m.remove_one("server"),
            port: m.remove_one("port"),
            user: m.remove_one("user"),
            password: m.remove_one("password"),
            ssl: switch(m, "ssl", "no-ssl"),
            ssl_verify: switch(m, "ssl-verify", "no-ssl-verify"),
            ssl_cacertfile: m.remove_one("ssl-cacertfile"),
            ssl_certfile: m.remove_one("ssl-certfile"),
            ssl_keyfile: m.remove_one("ssl-keyfile"),
            channel: m.remove_one("channel"),
            site_id: m.remove_one("site-id"),
            max_retry: m.remove_one("max-retry"),
            retry_interval: m.remove_one("retry-interval"),
            encoding: m.remove_one("encoding"),
            loglevel: m.remove_one("loglevel"),
            logdir: m.remove_one("logdir"),
            logmaxsz: m.remove_one("logmaxsz"),
            logbackup: m.remove_one("logbackup"),
            token_file: m.remove_one("token-file"),
            spool: m.remove_one("spool"),
            timeout: m.remove_one("timeout"),
            decode_stdin: m.get_flag("decode-stdin"),
            test_connection: m.get_flag("test-connection"),
            test_settings: m.get_flag("test-settings"),
            dry_run: m.get_flag("dry-run"),
            flush_spool: m.get_flag("flush-spool"),
            debug: m.get_flag("debug"),
            pairs: m
                .remove_many("pairs")
                .map(Iterator::collect)
                .unwrap_or_default(),
        }
    }
}

fn switch(matches: &ArgMatches, yes: &str, no: &str) -> Option<bool> {
    // Each overrides the other, so at most one is left: the last one given.
    let is_yes = matches.get_flag(yes);
    (is_yes || matches.get_flag(no)).then_some(is_yes)
}

/// argparse takes KEY=VAL in one row only; what follows a further option is unrecognized.
fn refuse_options_between(matches: &ArgMatches) -> Result<(), Halt> {
    let places: Vec<usize> = matches
        .indices_of("pairs")
        .map(Iterator::collect)
        .unwrap_or_default();
    let row = places
        .windows(2)
        .take_while(|pair| pair[1] == pair[0] + 1)
        .count();
    if places.is_empty() || row + 1 == places.len() {
        return Ok(());
    }
    let rest: Vec<String> = matches
        .get_many::<OsString>("pairs")
        .into_iter()
        .flatten()
        .skip(row + 1)
        .map(|pair| pair.to_string_lossy().into_owned())
        .collect();
    let rest = rest.join(" ");
    Err(Halt::Wrong(format!("unrecognized arguments: {rest}")))
}

fn halt(error: &clap::Error) -> Halt {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Halt::Show(error.render().to_string());
        }
        ErrorKind::UnknownArgument => {
            if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) {
                return Halt::Wrong(format!("unrecognized arguments: {argument}"));
            }
        }
        _ => {}
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or("");
    Halt::Wrong(first.trim_start_matches("error: ").to_owned())
}

/// One line on how to call the program, for usage errors.
pub fn usage(name: &str) -> String {
    format!("usage: {name} [OPTIONS] [KEY=VAL ...]; see {name} --help")
}

/// sendevt's command line, called `name`; completions and the manual page are made from it.
pub fn command(name: &str) -> Command {
    Command::new(name.to_owned())
        .display_name(name.to_owned())
        .bin_name(name.to_owned())
        .about("Send one event to a channel: KEY=VAL arguments, or all of standard input")
        .override_usage(format!("{name} [OPTIONS] [KEY=VAL ...]"))
        .after_help(EXAMPLES.replace("sendevt", name))
        .version(concat!("(vigie ", env!("CARGO_PKG_VERSION"), ")"))
        .disable_version_flag(true)
        .infer_long_args(true)
        .args_override_self(true)
        .args(server_options())
        .args(event_options())
        .args(security_options())
        .args(log_options())
        .args(other_options())
        .arg(
            Arg::new("pairs")
                .value_name("KEY=VAL")
                .value_parser(value_parser!(OsString))
                .num_args(0..)
                .action(ArgAction::Append)
                .help("Values of the event; none: standard input is the event"),
        )
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .allow_negative_numbers(true)
        .help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn int() -> ValueParser {
    value_parser!(i64).into()
}

fn path() -> ValueParser {
    value_parser!(PathBuf)
}

fn server_options() -> Vec<Arg> {
    vec![
        option("server", "SERVER", SERVER_HELP).short('s'),
        option("port", "PORT", "Port, if the URL has none")
            .short('p')
            .value_parser(int()),
        option(
            "token-file",
            "FILE",
            "File with the token [default: $VIGIE_TOKEN_FILE]",
        )
        .value_parser(path()),
        option("timeout", "SECONDS", TIMEOUT_HELP).value_parser(seconds),
        option("max-retry", "N", MAX_RETRY_HELP).value_parser(int()),
        option(
            "retry-interval",
            "SECONDS",
            "Time between tries; 0: no further tries [default: 30]",
        )
        .value_parser(int()),
        option("spool", "FOLDER", SPOOL_HELP).value_parser(path()),
        option(
            "user",
            "USER",
            "AMQP user [default: guest on localhost, else kompira]",
        ),
        option(
            "password",
            "PASSWORD",
            "AMQP password [default: as the user]",
        ),
        option(
            "config",
            "CONF",
            "Read this kompira.conf instead of searching for one",
        )
        .short('c')
        .value_parser(path()),
    ]
}

fn event_options() -> Vec<Arg> {
    vec![
        option(
            "channel",
            "CHANNEL",
            "Channel by name or path [default: /system/channels/Alert]",
        ),
        option("site-id", "SITE_ID", "Kompira site id [default: 1]").value_parser(int()),
        option(
            "encoding",
            "ENCODING",
            "Encoding of standard input for --decode-stdin [default: the locale's]",
        ),
        flag("decode-stdin", "Send standard input as text, not as bytes"),
    ]
}

fn security_options() -> Vec<Arg> {
    vec![
        flag(
            "ssl",
            "AMQP over TLS [default: unless the server is localhost]",
        )
        .overrides_with("no-ssl"),
        flag("no-ssl", "AMQP without TLS").overrides_with("ssl"),
        flag("ssl-verify", SSL_VERIFY_HELP).overrides_with("no-ssl-verify"),
        flag("no-ssl-verify", "Accept any certificate").overrides_with("ssl-verify"),
        option(
            "ssl-cacertfile",
            "FILE",
            "Trust the certificates in this PEM file only",
        ),
        option("ssl-certfile", "FILE", "Own certificate, PEM"),
        option("ssl-keyfile", "FILE", "Own key, PEM"),
    ]
}

fn log_options() -> Vec<Arg> {
    vec![
        option(
            "loglevel",
            "LEVEL",
            "DEBUG, INFO, WARNING, ERROR or CRITICAL [default: INFO]",
        ),
        option(
            "logdir",
            "FOLDER",
            "Folder of kompira_sendevt.log [default: /var/log/kompira if it exists]",
        )
        .value_parser(path()),
        option(
            "logmaxsz",
            "BYTES",
            "Size at which the log is rotated [default: 1073741824]",
        )
        .value_parser(int()),
        option("logbackup", "N", "Rotated logs to keep [default: 10]").value_parser(int()),
        flag(
            "debug",
            "Log to standard error, with the configuration files searched",
        ),
    ]
}

fn other_options() -> Vec<Arg> {
    vec![
        flag(
            "test-connection",
            "Ask whether the server is ready; send nothing",
        ),
        flag("test-settings", "Show the settings in force; send nothing").short('t'),
        flag("dry-run", "Show what would be sent; send nothing"),
        flag(
            "flush-spool",
            "Forward the events kept in the spool, then end",
        ),
        Arg::new("version")
            .long("version")
            .action(ArgAction::Version)
            .help("Show the version"),
    ]
}

/// A time in seconds, fractions allowed.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if seconds > 0.0 && seconds <= TIMEOUT_SECONDS_MAX {
        Ok(seconds)
    } else {
        Err(format!("not between 0 and {TIMEOUT_SECONDS_MAX}"))
    }
}
