//! Doors out: what a flow can do to the world. One file per service, one line in [`ALL`].
//!
//! An action gets arguments and gives an outcome. It knows neither Rhai nor the store nor channels,
//! holds no state that matters, and never retries by itself: whether and when to try again is
//! decided in one place, `run`.

pub mod amqp;
pub mod arguments;
pub mod canopsis;
pub mod file;
pub mod http;
pub mod influxdb;
pub mod mail;
pub mod pagerduty;
pub mod redmine;
mod turns;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use crate::duration::Lasting;
use crate::event::Value;
use crate::secret::Secret;

/// Every action, in the order in which the documentation lists them.
pub const ALL: &[&dyn Action] = &[
    &redmine::Redmine,
    &pagerduty::PagerDuty,
    &canopsis::Canopsis,
    &influxdb::InfluxDb,
    &http::Http,
    &mail::Mail,
    &amqp::Amqp,
    &file::File,
];

/// A service that flows can act on.
pub trait Action: Sync {
    /// The module's name in scripts: `redmine` of `redmine::open`.
    fn name(&self) -> &'static str;

    /// One sentence for listings.
    fn about(&self) -> &'static str;

    /// What can be asked of it.
    fn verbs(&self) -> &'static [Verb];

    /// Does it, once. Bounded in time by the caller and by the service's own timeout.
    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a>;
}

/// A future outcome of [`Action::perform`].
pub type Performing<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

/// One thing that an action can do, with its documentation; from here come the Rhai modules,
/// `list actions`, the README table, `check` and the editor definitions.
#[derive(Debug)]
pub struct Verb {
    /// `open` of `redmine::open`.
    pub name: &'static str,
    /// What it takes, in order, optional ones last.
    pub arguments: &'static [Argument],
    /// One sentence.
    pub about: &'static str,
    /// A line of Rhai that shows it.
    pub example: &'static str,
    /// What a crash in the middle may lead to.
    pub repeat: Repeat,
}

impl Verb {
    /// How many arguments it needs at least.
    pub fn required(&self) -> usize {
        self.arguments
            .iter()
            .filter(|argument| !argument.optional)
            .count()
    }
}

/// One argument of a [`Verb`].
#[derive(Debug)]
pub struct Argument {
    /// Its name in documentation and messages.
    pub name: &'static str,
    /// What it may be: `text`, `map`, `integer` …, as people say it.
    pub kind: &'static str,
    /// True if it may be left out.
    pub optional: bool,
}

impl Argument {
    /// An argument that must be given.
    pub const fn required(name: &'static str, kind: &'static str) -> Argument {
        Argument {
            name,
            kind,
            optional: false,
        }
    }

    /// An argument that may be left out.
    pub const fn optional(name: &'static str, kind: &'static str) -> Argument {
        Argument {
            name,
            kind,
            optional: true,
        }
    }
}

/// What may happen when the process dies between doing a thing and writing down that it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Doing it twice is the same as once: performed without flushing the intent first.
    Safe,
    /// Before doing it again the target is asked whether it was done.
    LookUp,
    /// Nobody can tell: the intent is flushed first, and the flow's policy decides after a crash.
    InDoubt,
}

/// One try of one verb.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Which of the action's verbs.
    pub verb: &'a str,
    /// As many as the verb requires at least; absent optional ones are simply missing.
    pub arguments: &'a [Value],
    /// The same for every try of this command, different for any other: `hash(run, seq)` in hex.
    pub key: &'a str,
    /// True if an earlier try may have reached the target (a crash, or an answer that never came).
    pub in_doubt: bool,
    /// The connections and settings.
    pub services: &'a Services,
    /// Secrets among the arguments: a target may quote them.
    pub hidden: &'a [&'a Secret],
}

impl<'a> Call<'a> {
    /// The argument at `index`, `Null` when it was left out.
    pub fn argument(&self, index: usize) -> &'a Value {
        const NOTHING: &Value = &Value::Null;
        self.arguments.get(index).unwrap_or(NOTHING)
    }

    /// The text argument at `index`.
    ///
    /// # Errors
    /// Refuses anything that is not text, naming the argument.
    pub fn text(&self, index: usize, name: &str) -> Result<&'a str, Failure> {
        self.argument(index).as_text().ok_or_else(|| {
            let found = self.argument(index).kind();
            Failure::refused(format!("`{name}` must be text, not {found}"))
        })
    }
}

/// Everything an action needs from outside: its prepared settings and the shared connections.
/// The default has no service and opens nothing.
#[derive(Debug, Default)]
pub struct Services {
    /// The one HTTP client.
    pub http: http::Client,
    /// `[redmine]`
    pub redmine: Option<redmine::Service>,
    /// `[pagerduty]`
    pub pagerduty: Option<pagerduty::Service>,
    /// `[canopsis]`
    pub canopsis: Option<canopsis::Service>,
    /// `[influxdb]`
    pub influxdb: Option<influxdb::Service>,
    /// `[smtp]`
    pub smtp: Option<mail::Service>,
    /// `[amqp]`
    pub amqp: Option<amqp::Service>,
    /// `[file]`
    pub file: Option<file::Service>,
}

impl Services {
    /// Every secret that the services were given: a target may quote it, and it goes no further.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let each = [
            self.redmine.as_ref().and_then(redmine::Service::secret),
            self.pagerduty.as_ref().and_then(pagerduty::Service::secret),
            self.canopsis.as_ref().and_then(canopsis::Service::secret),
            self.smtp.as_ref().and_then(mail::Service::secret),
            self.amqp.as_ref().and_then(amqp::Service::secret),
        ];
        let influxdb = self.influxdb.iter().flat_map(influxdb::Service::secrets);
        let alone = each.into_iter().flatten();
        alone.chain(influxdb).chain(self.http.secrets())
    }
}

/// Why an action did not succeed, and with that whether trying again makes sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Refused, away or something else.
    pub kind: FailureKind,
    /// The target's status code, if it gave one.
    pub status: Option<u16>,
    /// A lowercase sentence with the target's own words.
    pub message: String,
    /// True if the target may have done it all the same (the answer got lost).
    pub in_doubt: bool,
}

/// What a [`Failure`] means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The target said no, or the arguments are wrong: never tried again.
    Refused,
    /// The target is away (connection, timeout, 408, 429, 5xx): tried until `give_up_after`.
    Away {
        /// How long the target asked us to stay away.
        retry_after: Option<Duration>,
    },
    /// Something else: tried `attempts_max` times.
    Other,
}

impl FailureKind {
    /// The word that scripts see as `err.kind`.
    pub fn word(self) -> &'static str {
        match self {
            FailureKind::Refused => "refused",
            FailureKind::Away { .. } => "away",
            FailureKind::Other => "other",
        }
    }
}

impl Failure {
    /// A no that stays a no.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Refused,
            status: None,
            message: message.into(),
            in_doubt: false,
        }
    }

    /// The target is away.
    pub fn away(message: impl Into<String>) -> Failure {
        let kind = FailureKind::Away { retry_after: None };
        Failure {
            kind,
            status: None,
            message: message.into(),
            in_doubt: false,
        }
    }

    /// Something that a few more tries may mend.
    pub fn other(message: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Other,
            status: None,
            message: message.into(),
            in_doubt: false,
        }
    }

    /// A section of settings.toml that the verb needs is not there.
    pub fn not_configured(section: &str) -> Failure {
        Failure::refused(format!("settings.toml has no [{section}] section"))
    }

    /// The same, with the target's status code.
    #[must_use]
    pub fn status(mut self, status: u16) -> Failure {
        self.status = Some(status);
        self
    }

    /// The same, saying that the target may have done it.
    #[must_use]
    pub fn in_doubt(mut self) -> Failure {
        self.in_doubt = true;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

/// The action and verb that a script calls by `name`, such as `redmine::open`.
pub fn find(name: &str) -> Option<(&'static dyn Action, &'static Verb)> {
    let (module, verb) = name.split_once("::")?;
    let action = ALL.iter().find(|action| action.name() == module)?;
    let verb = action.verbs().iter().find(|known| known.name == verb)?;
    Some((*action, verb))
}

/// `file` as settings.toml means it: counted from the settings file's `folder`.
fn under(folder: &Path, file: &Path) -> PathBuf {
    match file.as_os_str().is_empty() {
        true => PathBuf::new(),
        false => folder.join(file),
    }
}

/// An `endpoint` of settings.toml without its last slash.
fn endpoint(text: &str) -> Result<String, String> {
    let good = text.starts_with("http://") || text.starts_with("https://");
    match good && !text.contains('@') {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(format!(
            "`endpoint` is \"{text}\"; it begins with http:// or https:// and holds no password"
        )),
    }
}

/// A `timeout` of settings.toml: more than nothing and at most five minutes.
fn timeout(text: &str) -> Result<Duration, String> {
    let Lasting(timeout) = text.parse().map_err(|why| format!("`timeout`: {why}"))?;
    match timeout.is_zero() || timeout > http::request::TIMEOUT_MAX {
        true => Err("`timeout` must be more than 0 and at most 5m".to_owned()),
        false => Ok(timeout),
    }
}

/// `text` as one piece of a URL's path.
fn path_segment(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    utf8_percent_encode(text, ENCODED).to_string()
}
