//! `vigie send`, the binary `sendevt`, and what answers to the name `kompira_sendevt`.
//!
//! Arguments, standard input, outputs and exit codes are kompira_sendevt's; the event goes to our
//! HTTP door, to a broker, or into the spool. Invariant: exit 0 means that one of these has it on disk.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use serde_json::json;

use super::arguments::{Arguments, Halt, usage};
use super::dry_run::{self, Body};
use super::effective::{Effective, Way};
use super::forward::{Bound, forward};
use super::log::{Level, Log};
use super::pairs::Pairs;
use super::post::SITE_ID;
use super::{
    AmqpDoor, Caller, Conf, Delivered, Door, HttpDoor, MAIL_BYTES_MAX, Plan, Post, Settings,
    charset, deliver,
};
use crate::error::Exit;
use crate::secret::Secret;

/// Runs the sender on this process's streams and environment; `name` is how it was called.
pub fn main(name: &str, args: Vec<OsString>, stdin: impl Read) -> Exit {
    let (mut stdin, mut out, mut err) = (stdin, std::io::stdout(), std::io::stderr());
    let mut caller = Caller {
        name: name.to_owned(),
        stdin: &mut stdin,
        out: &mut out,
        err: &mut err,
        env: std::env::vars_os().collect(),
    };
    run(args, &mut caller)
}

/// Runs the sender for `caller`.
pub fn run(args: Vec<OsString>, caller: &mut Caller) -> Exit {
    let arguments = match Arguments::read(&caller.name, args) {
        Ok(arguments) => arguments,
        Err(Halt::Show(text)) => {
            caller.print(&text);
            return Exit::Ok;
        }
        Err(Halt::Wrong(why)) => return wrong_usage(&why, caller),
    };
    match Sender::new(arguments, caller) {
        Ok(mut sender) => sender.run(caller),
        Err(why) => failed(&why, caller),
    }
}

fn wrong_usage(why: &str, caller: &mut Caller) -> Exit {
    caller.line(&usage(&caller.name));
    caller.say(&format!("error: {why}"));
    Exit::SendevtUsage
}

fn failed(why: &str, caller: &mut Caller) -> Exit {
    caller.say(&format!("error: {why}"));
    Exit::Failed
}

/// Everything known before an event is looked at.
struct Sender {
    arguments: Arguments,
    effective: Effective,
    way: Way,
    spool: PathBuf,
    settings: Settings,
    conf_files: Vec<PathBuf>,
    log: Log,
}

impl Sender {
    fn new(arguments: Arguments, caller: &mut Caller) -> Result<Sender, String> {
        let conf = Conf::find(arguments.config.as_deref())?;
        let effective = Effective::merge(&arguments, &conf)?;
        let settings = Settings::find(None, caller);
        let way = effective.way(|| {
            let variable = caller.text("VIGIE_SERVER").filter(|url| !url.is_empty());
            variable.unwrap_or_else(|| settings.url.clone())
        })?;
        let spool = match &arguments.spool {
            Some(folder) => std::path::absolute(folder).unwrap_or_else(|_| folder.clone()),
            None => settings.spool.clone(),
        };
        let mut log = Log::open(&effective.log, caller);
        for file in Conf::search_order() {
            let found = conf.files.contains(&file);
            let what = if found { "read" } else { "not read" };
            let text = format!("configuration {}: {what}", file.display());
            log.write(Level::Debug, &text, caller);
        }
        Ok(Sender {
            arguments,
            effective,
            way,
            spool,
            settings,
            conf_files: conf.files,
            log,
        })
    }

    fn run(&mut self, caller: &mut Caller) -> Exit {
        if self.arguments.test_settings {
            return self.show_settings(caller);
        }
        if self.arguments.test_connection {
            return self.test_connection(caller);
        }
        if self.arguments.flush_spool {
            return self.flush_spool(caller);
        }
        let body = match self.read_body(caller) {
            Ok(body) => body,
            Err(Unreadable::Message) => return wrong_usage("invalid message", caller),
            Err(Unreadable::Other(why)) => return failed(&why, caller),
        };
        if self.arguments.dry_run {
            let text = dry_run::dry_run(&self.effective, self.way.server(), &body);
            caller.print(&text);
            return Exit::Ok;
        }
        self.send(&self.post(body), caller)
    }

    fn read_body(&self, caller: &mut Caller) -> Result<Body, Unreadable> {
        if let Some(pairs) = Pairs::read(&self.arguments.pairs).map_err(|_| Unreadable::Message)? {
            return Ok(Body::Pairs(pairs));
        }
        let bytes = caller
            .read_stdin(MAIL_BYTES_MAX)
            .map_err(Unreadable::Other)?;
        if !self.arguments.decode_stdin {
            return Ok(Body::Bytes(bytes));
        }
        let encoding = match &self.arguments.encoding {
            Some(name) => charset::by_name(name)
                .ok_or_else(|| Unreadable::Other(format!("unknown encoding `{name}`")))?,
            None => charset::of_locale(caller),
        };
        let text = charset::decode(&bytes, encoding).ok_or(Unreadable::Message)?;
        Ok(Body::Text(text))
    }

    fn post(&self, body: Body) -> Post {
        let (content_type, bytes) = match body {
            Body::Pairs(pairs) => ("application/json", pairs.to_body()),
            Body::Bytes(bytes) => ("application/octet-stream", bytes),
            Body::Text(text) => ("text/plain; charset=utf-8", text.into_bytes()),
        };
        let mut post = Post::new(&self.effective.channel, "sendevt", content_type, bytes);
        post.note(SITE_ID, &self.effective.site_id.to_string());
        post
    }

    fn send(&mut self, post: &Post, caller: &mut Caller) -> Exit {
        let start = format!(
            "start: size={}, dest={}{}, site_id={}, corr_id={}",
            post.body.len(),
            self.way.destination(),
            post.channel,
            self.effective.site_id,
            post.correlation_id
        );
        self.log.write(Level::Info, &start, caller);
        let patience = self.effective.patience(&self.way);
        let door = match self.door(caller) {
            Ok(door) => door,
            Err(why) => return failed(&why, caller),
        };
        let plan = Plan {
            door: Ok(door),
            patience,
            spool: self.spool.clone(),
            keep_refused: false,
        };
        let delivered = deliver(post, &plan, caller);
        self.tell(post, delivered, caller)
    }

    fn tell(&mut self, post: &Post, delivered: Delivered, caller: &mut Caller) -> Exit {
        let id = &post.correlation_id;
        let (level, text, exit) = match delivered {
            Delivered::Accepted => {
                let text = format!("finished: sent message successfully: {id}");
                self.log.write(Level::Info, &text, caller);
                return Exit::Ok;
            }
            Delivered::Spooled(path, why) => {
                let text = format!("{why}; kept in {}", path.display());
                (Level::Warning, text, Exit::Ok)
            }
            Delivered::Refused(why) => (Level::Error, why, Exit::Failed),
            Delivered::Lost(why) => {
                let text = format!("{why}; the event was not kept, try again");
                (Level::Error, text, Exit::TryAgain)
            }
        };
        self.log.write(level, &format!("{text}: {id}"), caller);
        caller.say(&text);
        exit
    }

    fn door(&self, caller: &Caller) -> Result<Door, String> {
        let patience = self.effective.patience(&self.way);
        match &self.way {
            Way::Amqp(_, broker) => {
                let door = AmqpDoor::new(broker.clone(), &patience)?;
                Ok(Door::Amqp(Box::new(door)))
            }
            Way::Http(server) => {
                let token = token(self.arguments.token_file.clone(), caller)?;
                let security = self.effective.security();
                HttpDoor::new(server.clone(), &security, token, &patience).map(Into::into)
            }
        }
    }

    fn show_settings(&self, caller: &mut Caller) -> Exit {
        let shown = |path: &PathBuf| path.display().to_string();
        let token_file = self.arguments.token_file.clone();
        let token_file = token_file.or_else(|| caller.path("VIGIE_TOKEN_FILE"));
        let own = [
            ("door", json!(self.way.door_name())),
            ("destination", json!(self.way.destination())),
            ("settings", json!(self.settings.file.as_ref().map(shown))),
            ("spool", json!(shown(&self.spool))),
            ("token_file", json!(token_file.as_ref().map(shown))),
            (
                "conf",
                json!(self.conf_files.iter().map(shown).collect::<Vec<_>>()),
            ),
        ];
        let text = dry_run::settings(&self.effective, self.way.server(), &own);
        caller.print(&text);
        Exit::Ok
    }

    fn test_connection(&self, caller: &mut Caller) -> Exit {
        let door = match self.door(caller) {
            Ok(door) => door,
            Err(why) => return failed(&why, caller),
        };
        match door.ready() {
            Ok(()) => {
                caller.print(&format!("Connection OK: {}\n", door.protocol()));
                Exit::Ok
            }
            Err(why) => {
                let why = format!("Failed to connect: {}: {why}", door.name());
                failed(&why, caller)
            }
        }
    }

    fn flush_spool(&self, caller: &mut Caller) -> Exit {
        let door = match self.door(caller) {
            Ok(door) => door,
            Err(why) => return failed(&why, caller),
        };
        match forward(&self.spool, &door, Bound::none(), caller) {
            Err(why) => failed(
                &format!("cannot list the spool {}: {why}", self.spool.display()),
                caller,
            ),
            Ok(done) => {
                caller.print(&format!("forwarded {}, left {}\n", done.sent, done.left));
                if done.left == 0 {
                    Exit::Ok
                } else {
                    Exit::Failed
                }
            }
        }
    }
}

/// Why there is no event.
enum Unreadable {
    /// What argparse's `error: invalid message` says; a usage error.
    Message,
    Other(String),
}

/// The token for the server: from `file`, else from `$VIGIE_TOKEN_FILE`.
///
/// # Errors
/// The file cannot be used, or holds something that cannot be a token.
pub(super) fn token(file: Option<PathBuf>, caller: &Caller) -> Result<Option<Secret>, String> {
    let Some(file) = file.or_else(|| caller.path("VIGIE_TOKEN_FILE")) else {
        return Ok(None);
    };
    let token = Secret::read(&file)?;
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} holds no token", file.display()));
    }
    Ok(Some(token))
}
