//! `vigie peek`, `vigie pop`, `vigie count`, `vigie put-back`

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value as Json, json};

use super::client::{Client, Trouble, segment};
use super::{Common, report, show};
use crate::duration::Lasting;
use crate::error::Exit;
use crate::event::EventId;
use crate::hex;
use crate::receive::RECEIVE_WAIT_MAX;

/// Bytes of the key with which `vigie pop` asks again.
const KEY_BYTES: usize = 16;
/// How often `vigie pop` asks when an answer did not come through.
const TRIES_MAX: usize = 10;
/// How long it waits before it asks again.
const PAUSE: Duration = Duration::from_secs(1);

/// Show what waits in a channel, and leave it there.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie peek orders\n  vigie peek orders --count 10 --match hostname=web01\n  \
    vigie peek orders --json | jq '.events[0].body'\n\n\
    Exit: 0 something waits, 1 nothing that fits does."
)]
pub(super) struct Peek {
    /// A channel, by its name or an alias
    channel: String,
    /// At most this many events, the oldest first
    #[arg(long, default_value_t = 1, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..=1000))]
    count: u64,
    /// Only events whose field has this text
    #[arg(long = "match", value_name = "FIELD=TEXT", value_parser = field)]
    fields: Vec<(String, String)>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Take the oldest event off a channel.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie pop orders\n  vigie pop orders --wait 10s --match hostname=web01\n  \
    vigie pop orders/17\n  vigie pop orders --json | jq .body\n\n\
    What was taken is nobody else's. It stays readable with `vigie show` until its retention is over, and\n\
    `vigie put-back` has it wait again. Where flows look at a channel, only --wait takes, and only what comes.\n\
    Exit: 0 an event, 1 there was none, 69 no server."
)]
pub(super) struct Pop {
    /// A channel, by its name or an alias, or one event of it (orders/17)
    channel: String,
    /// How long to wait for one; at most 5m
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = wait)]
    wait: Lasting,
    /// Only an event whose field has this text
    #[arg(long = "match", value_name = "FIELD=TEXT", value_parser = field)]
    fields: Vec<(String, String)>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Say how many events wait in a channel.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie count orders\n  vigie count orders --json\n\n\
    Exit: 0 something waits, 1 nothing does."
)]
pub(super) struct Count {
    /// A channel, by its name or an alias
    channel: String,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Have events that were taken wait again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vigie put-back orders/17\n\n\
    The event has its old place in the line. Where flows look at the channel they have passed it, so it comes to\n\
    them as a new event.")]
pub(super) struct PutBack {
    /// Events, as `vigie pop` names them
    #[arg(value_name = "EVENT", required = true)]
    events: Vec<String>,
}

fn field(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "write FIELD=TEXT, as in hostname=web01".to_owned())
}

fn wait(text: &str) -> Result<Lasting, String> {
    let wait: Lasting = text.parse()?;
    match wait.0 <= RECEIVE_WAIT_MAX {
        true => Ok(wait),
        false => Err(format!("at most {}", Lasting(RECEIVE_WAIT_MAX).spelled())),
    }
}

impl Peek {
    pub(super) fn run(self, common: &Common) -> Exit {
        let events = match Client::find(common).and_then(|client| self.events(&client)) {
            Ok(events) => events,
            Err(exit) => return exit,
        };
        match self.json {
            true => report::line(&format!("{:#}", json!({ "events": events }))),
            false => events.iter().for_each(show::head),
        }
        found(!events.is_empty())
    }

    /// One look compares so many events only: goes on until there are enough or no more.
    fn events(&self, client: &Client) -> Result<Vec<Json>, Exit> {
        let (mut events, mut after) = (Vec::new(), None);
        loop {
            let left = self.count - events.len() as u64;
            let mut path = format!("channels/{}/peek?limit={left}", segment(&self.channel));
            for (name, value) in &self.fields {
                path.push_str(&format!("&match.{}={}", segment(name), segment(value)));
            }
            if let Some(after) = &after {
                path.push_str(&format!("&after={after}"));
            }
            let mut page = client.get(&path)?;
            if let Json::Array(more) = page["events"].take() {
                events.extend(more);
            }
            after = page["next"].as_u64();
            if after.is_none() || events.len() as u64 >= self.count {
                return Ok(events);
            }
        }
    }
}

impl Pop {
    pub(super) fn run(self, common: &Common) -> Exit {
        let client = match Client::find(common) {
            Ok(client) => client,
            Err(exit) => return exit,
        };
        match self.take(&client) {
            Ok(event) => {
                match self.json {
                    true => report::line(&format!("{event:#}")),
                    false => show::head(&event),
                }
                Exit::Ok
            }
            Err(trouble) => trouble.say(),
        }
    }

    /// Asks again with the same key if the answer does not come through: what may have been taken
    /// by the first try is what the second is given.
    fn take(&self, client: &Client) -> Result<Json, Trouble> {
        let until = Instant::now() + self.wait.0;
        let key: [u8; KEY_BYTES] = rand::random();
        let key = hex::encode(&key);
        let mut answered = self.ask(client, until, &key);
        let in_doubt = answered.as_ref().is_err_and(Trouble::is_broken_off);
        for _ in 1..TRIES_MAX {
            // A server that was just killed may need a moment.
            let is_away = |why: &Trouble| why.is_broken_off() || why.exit() == Exit::Unavailable;
            if !in_doubt || !answered.as_ref().is_err_and(is_away) {
                break;
            }
            std::thread::sleep(PAUSE);
            answered = self.ask(client, until, &key);
        }
        answered
    }

    fn ask(&self, client: &Client, until: Instant, key: &str) -> Result<Json, Trouble> {
        if self.channel.parse::<EventId>().is_ok() {
            let path = format!("events/{}/take", segment(&self.channel));
            return client.take(&path, &json!({}), key);
        }
        let left = until.saturating_duration_since(Instant::now());
        let fields: serde_json::Map<String, Json> = self
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), Json::from(value.as_str())))
            .collect();
        let wait = format!("{}ms", left.as_millis());
        let order = json!({ "wait": wait, "match": fields });
        let path = format!("channels/{}/receive", segment(&self.channel));
        client.take(&path, &order, key)
    }
}

impl Count {
    pub(super) fn run(self, common: &Common) -> Exit {
        let path = format!("channels/{}/count", segment(&self.channel));
        match Client::find(common).and_then(|client| client.get(&path)) {
            Ok(answer) => {
                match self.json {
                    true => report::line(&format!("{answer:#}")),
                    false => report::line(&answer["waiting"].to_string()),
                }
                found(answer["waiting"] != 0)
            }
            Err(exit) => exit,
        }
    }
}

impl PutBack {
    pub(super) fn run(self, common: &Common) -> Exit {
        let client = match Client::find(common) {
            Ok(client) => client,
            Err(exit) => return exit,
        };
        let mut worst = Exit::Ok;
        for event in &self.events {
            match client.post(&format!("events/{}/put_back", segment(event)), &json!({})) {
                Ok(answer) if answer["id"].as_str() == Some(event) => {
                    report::line(&format!("{event} waits again"));
                }
                Ok(answer) => {
                    report::line(&format!(
                        "{event} waits again as {}",
                        show::text(&answer["id"])
                    ));
                }
                Err(exit) => worst = exit,
            }
        }
        worst
    }
}

fn found(any: bool) -> Exit {
    match any {
        true => Exit::Ok,
        false => Exit::Failed,
    }
}
