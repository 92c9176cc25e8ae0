//! `kind = "cron"`: an event at each moment that a schedule names.
//!
//! Invariant: one moment is one event, because the moment is remembered in the batch that keeps its
//! event; what was missed while the server was away follows `missed`.

mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

pub use schedule::{LATE_MAX, MISSED_MAX, Missed, Schedule};

use super::{Block, Context, Door, Opened, Source, Trouble};
use crate::document::value_of;
use crate::error::{Diagnostic, did_you_mean};
use crate::event::{Incoming, Meta, Value};
use crate::source::context::NotKept;

/// The wall clock is looked at again at least this often, because it can be set and a machine can
/// sleep.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
/// A pause before an event that was not kept is handed in again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A clock that was set back by more than this makes what is remembered worthless.
const SET_BACK_MAX: Duration = Duration::from_secs(3600);
/// The keys that the door itself puts into an event.
const OWN_KEYS: &[&str] = &[
    "schedule",
    "zone",
    "scheduled_at",
    "scheduled_local",
    "late_by",
];

/// The kind.
pub struct Cron;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    schedule: String,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    missed: Missed,
    #[serde(default)]
    event: toml::Table,
}

impl Source for Cron {
    fn name(&self) -> &'static str {
        "cron"
    }

    fn about(&self) -> &'static str {
        "an event at each moment of a schedule, in a time zone, with a rule for missed ones"
    }

    fn example(&self) -> &'static str {
        "schedule = \"0 8 * * 1-5\"\nzone = \"Europe/Paris\"\nmissed = \"once\"\nevent = { job = \"report\" }"
    }

    fn read(&self, block: &Block<'_>) -> Result<Arc<dyn Door>, Diagnostic> {
        let keys: Keys = block.keys()?;
        let zone = keys.zone.as_deref().unwrap_or("UTC");
        let zone = jiff::tz::TimeZone::get(zone).map_err(|_| no_zone(block, zone))?;
        let schedule =
            Schedule::new(&keys.schedule, zone).map_err(|why| block.wrong("schedule", why))?;
        if let Some(own) = OWN_KEYS.iter().find(|own| keys.event.contains_key(**own)) {
            let why = format!("`{own}` in a cron event is set by the source itself");
            return Err(block.wrong("event", why));
        }
        let (missed, event) = (keys.missed, value_of(&toml::Value::Table(keys.event)));
        Ok(Arc::new(Ticking {
            schedule,
            missed,
            event: event.as_map().cloned().unwrap_or_default(),
        }))
    }
}

fn no_zone(block: &Block<'_>, zone: &str) -> Diagnostic {
    let known: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect();
    let wrong = block.wrong("zone", format!("there is no time zone `{zone}`"));
    match did_you_mean(zone, known.iter().map(String::as_str)) {
        Some(right) => wrong.help(format!("did you mean `{right}`?")),
        None => wrong.help("write it as in Europe/Paris, Asia/Tokyo, UTC"),
    }
}

struct Ticking {
    schedule: Schedule,
    missed: Missed,
    /// Constant fields.
    event: BTreeMap<String, Value>,
}

impl Door for Ticking {
    fn place(&self) -> String {
        self.schedule.to_string()
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        Box::pin(self.tick(context))
    }
}

impl Ticking {
    async fn tick(&self, context: &Context) -> Result<(), Trouble> {
        let mut last = self.begin(context).await?;
        context.up();
        loop {
            let now = context.clock().now();
            last = settled(last, now);
            for moment in self.schedule.due(last, now, self.missed) {
                if !self.hand_in(context, moment).await? {
                    return Ok(());
                }
                last = moment;
            }
            let wait = self
                .schedule
                .next(last.max(now))
                .map(|next| until(next, now));
            // A schedule with years in it may be over; the door stands and waits for a reload.
            let wait = wait.unwrap_or(LOOK_EVERY_MAX).min(LOOK_EVERY_MAX);
            if !context.pause(wait).await {
                return Ok(());
            }
        }
    }

    /// The moment up to which everything was handed in. A new schedule begins now, and that is
    /// remembered: what comes while the server is away was missed.
    async fn begin(&self, context: &Context) -> Result<Timestamp, Trouble> {
        let known = context.memory()?.and_then(|memory| self.recall(&memory));
        if let Some(last) = known {
            return Ok(last);
        }
        let now = context.clock().now();
        let memory = self.remember(now);
        context.push_and_remember(Vec::new(), memory).await?;
        Ok(now)
    }

    /// Pushes the event of a moment, as often as it takes; false if the door is to close.
    async fn hand_in(&self, context: &Context, moment: Timestamp) -> Result<bool, Trouble> {
        let event = self.event(moment, context.clock().now());
        loop {
            let (events, memory) = (vec![event.clone()], self.remember(moment));
            match context.push_and_remember(events, memory).await {
                Ok(_) => {
                    context.up();
                    return Ok(true);
                }
                Err(NotKept::Later(why)) => context.trouble(&why),
                Err(why) => return Err(why.into()),
            }
            if !context.pause(AGAIN_AFTER).await {
                return Ok(false);
            }
        }
    }

    fn event(&self, moment: Timestamp, now: Timestamp) -> Incoming {
        let mut body = self.event.clone();
        let late = now.duration_since(moment).as_secs().max(0);
        let own = [
            ("schedule", Value::from(self.schedule.text())),
            ("zone", Value::from(self.schedule.zone_name())),
            ("scheduled_at", Value::from(moment.to_string())),
            ("scheduled_local", Value::from(self.schedule.local(moment))),
            ("late_by", Value::Int(late)),
        ];
        body.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let mut meta = Meta::new("cron", now);
        meta.message_id = Some(format!("{} {moment}", self.schedule));
        Incoming {
            body: Value::Map(body),
            meta,
        }
    }

    /// `schedule zone` and the last moment; another schedule finds nothing that it knows.
    fn remember(&self, last: Timestamp) -> Vec<u8> {
        format!("{}\n{last}", self.schedule).into_bytes()
    }

    fn recall(&self, memory: &[u8]) -> Option<Timestamp> {
        let (schedule, last) = std::str::from_utf8(memory).ok()?.split_once('\n')?;
        (schedule == self.schedule.to_string()).then(|| last.parse().ok())?
    }
}

fn settled(last: Timestamp, now: Timestamp) -> Timestamp {
    let set_back = last.duration_since(now);
    match set_back.as_secs() > SET_BACK_MAX.as_secs() as i64 {
        true => now,
        false => last,
    }
}

fn until(next: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or_default()
}
