//! Storm: what a flow does when events come in masses. Which act, which are held, which are suppressed.
//!
//! Invariants: no clock, no store, no tokio in here. Time is the events' own and never goes back; what is
//! due is due in the order of its time, before the event that comes after it. So the same events at the same
//! times lead to the same decisions, in this process and after a crash in the next. Every event that is met
//! is held until it is decided on once: it acts or is suppressed.

mod debounce;
mod digest;
mod flap;
mod keys;
mod quorum;
mod settings;
mod stage;
mod state;
mod window;

use std::collections::BTreeMap;

use crate::duration::Lasting;
use crate::event::Value;
use keys::{key, plain};
pub use settings::StormSettings;
use stage::{Group, Item, Seen, Stage, Verdict};
pub use state::Loaded;

/// Keys that each kind of a flow remembers.
pub const KEYS_MAX: usize = 10_000;
/// Events that the digests of a flow hold in all.
pub const HELD_EVENTS_MAX: usize = 100_000;
/// Events in one digest.
pub const DIGEST_EVENTS_MAX: usize = 10_000;
/// Largest `changes` of `flap` and `least` of `quorum`.
pub const LEAST_MAX: usize = 1_000;
/// Largest `most` of `throttle`.
pub const MOST_MAX: usize = 1_000_000;
/// Longest time of any kind.
pub const WINDOW_MAX: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);
/// How far the storm's time may be ahead of the clock before it is taken that the clock was set back.
const AHEAD_MILLIS: i64 = 60_000;

/// In `meta`: how many events of the same key were suppressed since the last that acted.
pub(crate) const SUPPRESSED: &str = "suppressed";
/// In `meta`: `began` or `ended`.
pub(crate) const FLAPPING: &str = "flapping";
/// In `meta`: who said so.
pub(crate) const QUORUM: &str = "quorum";

/// What a run is told in `meta`.
pub type Told = BTreeMap<String, Value>;
/// Gives the body of an event that is held, by its number.
pub type Bodies<'a> = &'a mut dyn FnMut(u64) -> Value;

/// The kinds, in the order in which an event meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// While something changes to and fro nothing acts.
    Flap,
    /// The same again is suppressed.
    Dedup,
    /// Acts when enough different ones say so.
    Quorum,
    /// Acts once it has been quiet.
    Debounce,
    /// At most so many in a while.
    Throttle,
    /// One run for many events.
    Digest,
}

impl Kind {
    /// All, in order.
    pub const ALL: [Kind; 6] = [
        Kind::Flap,
        Kind::Dedup,
        Kind::Quorum,
        Kind::Debounce,
        Kind::Throttle,
        Kind::Digest,
    ];

    /// Its key in `[storm]`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Flap => "flap",
            Kind::Dedup => "dedup",
            Kind::Quorum => "quorum",
            Kind::Debounce => "debounce",
            Kind::Throttle => "throttle",
            Kind::Digest => "digest",
        }
    }
}

/// What was decided on events.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// One run for all of them.
    Act(Act),
    /// It never acts.
    Suppress(Suppressed),
}

/// Events of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// Their numbers, in the order in which they came.
    pub numbers: Vec<u64>,
    /// What the run is told.
    pub told: Told,
}

/// An event that never acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppressed {
    /// Its number.
    pub number: u64,
    /// By which kind.
    pub by: Kind,
    /// Under which key.
    pub key: String,
}

/// An event on its way.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its number in the channel.
    pub number: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub at: i64,
    /// Its body, if the flow's filter let it through; otherwise only time passes.
    pub body: Option<&'a Value>,
}

/// The storm control of one flow.
pub struct Storm {
    settings: StormSettings,
    stages: Vec<(Kind, Box<dyn Stage>)>,
    /// The storm's time: never goes back.
    time: i64,
    /// How far it is ahead of the clock, since the clock was set back.
    ahead: i64,
    /// Events below this were met.
    as_of: u64,
}

impl Storm {
    /// A storm that has met the events below `as_of` in some other way.
    pub fn new(settings: &StormSettings, as_of: u64) -> Storm {
        let stage = |kind: &Kind| build(*kind, settings).map(|stage| (*kind, stage));
        Storm {
            settings: settings.clone(),
            stages: Kind::ALL.iter().filter_map(stage).collect(),
            time: i64::MIN / 4,
            ahead: 0,
            as_of,
        }
    }

    /// What it was made from.
    pub fn settings(&self) -> &StormSettings {
        &self.settings
    }

    /// True if it lets everything pass.
    pub fn is_calm(&self) -> bool {
        self.stages.is_empty()
    }

    /// Events below this were met.
    pub fn as_of(&self) -> u64 {
        self.as_of
    }

    /// The events that are held.
    pub fn held(&self) -> Vec<u64> {
        let held = self.stages.iter().flat_map(|(_, stage)| stage.held());
        held.collect()
    }

    /// By which kind an event is held.
    pub fn holder(&self, number: u64) -> Option<Kind> {
        let holds = |stage: &dyn Stage| stage.held().contains(&number);
        let mut stages = self.stages.iter();
        stages.find_map(|(kind, stage)| holds(stage.as_ref()).then_some(*kind))
    }

    /// Keys that were forgotten because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.stages.iter().map(|(_, stage)| stage.forgotten()).sum()
    }

    /// An event comes: what is due before it, and what becomes of it. If nothing is said of it, it is held.
    pub fn meet(&mut self, arrival: Arrival<'_>, bodies: Bodies<'_>) -> Vec<Decision> {
        let at = self.time.max(arrival.at.saturating_add(self.ahead));
        let mut decided = Vec::new();
        self.ring_until(at, bodies, &mut decided);
        self.time = at;
        self.as_of = self.as_of.max(arrival.number + 1);
        if let Some(body) = arrival.body {
            let item = Item {
                number: arrival.number,
                told: Told::new(),
            };
            self.pass((0, body), item, (bodies, &mut decided));
        }
        decided
    }

    /// When the first of what is held is due, in milliseconds since 1970.
    pub fn due(&self) -> Option<i64> {
        self.first_due().map(|(due, _)| due - self.ahead)
    }

    /// What is due at `now`, by the clock. Only after all events that were accepted before were met.
    pub fn ring(&mut self, now: i64, bodies: Bodies<'_>) -> Vec<Decision> {
        let mut decided = Vec::new();
        let now = now.saturating_add(self.ahead);
        self.ring_until(now, bodies, &mut decided);
        decided
    }

    /// True if the clock was set back: the storm's time is so far ahead of it that what is remembered would
    /// last too long.
    pub fn is_ahead(&self, now: i64) -> bool {
        self.time - self.ahead > now.saturating_add(AHEAD_MILLIS)
    }

    /// Goes on with the clock from `now`.
    pub fn set_back(&mut self, now: i64) {
        self.ahead = self.time - now;
    }

    /// The event has a run already; true if it was held.
    pub fn remove(&mut self, number: u64) -> bool {
        self.stages
            .iter_mut()
            .any(|(_, stage)| stage.remove(number))
    }

    fn first_due(&self) -> Option<(i64, usize)> {
        let due =
            |(index, (_, stage)): (usize, &(Kind, Box<dyn Stage>))| Some((stage.due()?, index));
        self.stages.iter().enumerate().filter_map(due).min()
    }

    fn ring_until(&mut self, until: i64, bodies: Bodies<'_>, decided: &mut Vec<Decision>) {
        while let Some((due, index)) = self.first_due().filter(|(due, _)| *due <= until) {
            self.time = self.time.max(due);
            let group = self.stages[index].1.ring();
            self.release(index + 1, group, (&mut *bodies, &mut *decided));
        }
    }

    /// Events go on together behind a stage; only the last stage lets several go.
    fn release(&mut self, from: usize, group: Group, out: (Bodies<'_>, &mut Vec<Decision>)) {
        let (bodies, decided) = out;
        if from < self.stages.len() {
            for item in group {
                let body = bodies(item.number);
                self.pass((from, &body), item, (&mut *bodies, &mut *decided));
            }
        } else if !group.is_empty() {
            decided.push(Decision::Act(together(group)));
        }
    }

    /// An event meets the stages from one on.
    fn pass(
        &mut self,
        (from, body): (usize, &Value),
        mut item: Item,
        (bodies, decided): (Bodies<'_>, &mut Vec<Decision>),
    ) {
        for index in from..self.stages.len() {
            let kind = self.stages[index].0;
            let (key, value) = self.marks(kind, body);
            let mut seen = Seen {
                number: item.number,
                at: self.time,
                key: &key,
                value: &value,
                told: &mut item.told,
            };
            let looked = self.stages[index].1.look(&mut seen);
            let suppressed = match looked.verdict {
                Verdict::Suppress => Some(item.number),
                _ => looked.superseded,
            };
            if let Some(number) = suppressed {
                let by = kind;
                decided.push(Decision::Suppress(Suppressed { number, by, key }));
            }
            for group in looked.released {
                self.release(index + 1, group, (&mut *bodies, &mut *decided));
            }
            if looked.verdict != Verdict::Pass {
                return;
            }
        }
        decided.push(Decision::Act(together(vec![item])));
    }

    /// What a kind looks at in an event: its key, and the value of its field.
    fn marks(&self, kind: Kind, body: &Value) -> (String, String) {
        let settings = &self.settings;
        let by = by(settings, kind).unwrap_or_default();
        let field = match kind {
            Kind::Flap => settings.flap.as_ref().map(|flap| &flap.field),
            Kind::Quorum => settings.quorum.as_ref().map(|quorum| &quorum.distinct),
            _ => None,
        };
        let value = field.map_or_else(String::new, |field| plain(field, body));
        (key(by, body), value)
    }
}

/// The `by` of a kind, if the settings have it.
fn by(settings: &StormSettings, kind: Kind) -> Option<&[String]> {
    match kind {
        Kind::Flap => settings.flap.as_ref().map(|kind| &*kind.by),
        Kind::Dedup => settings.dedup.as_ref().map(|kind| &*kind.by),
        Kind::Quorum => settings.quorum.as_ref().map(|kind| &*kind.by),
        Kind::Debounce => settings.debounce.as_ref().map(|kind| &*kind.by),
        Kind::Throttle => settings.throttle.as_ref().map(|kind| &*kind.by),
        Kind::Digest => settings.digest.as_ref().map(|kind| &*kind.by),
    }
}

fn build(kind: Kind, settings: &StormSettings) -> Option<Box<dyn Stage>> {
    Some(match kind {
        Kind::Flap => {
            let flap = settings.flap.as_ref()?;
            let (within, calm) = (millis(flap.within), millis(flap.calm));
            Box::new(flap::Flap::new(flap.changes, within, calm))
        }
        Kind::Dedup => {
            let dedup = settings.dedup.as_ref()?;
            Box::new(window::Window::new(1, millis(dedup.within)))
        }
        Kind::Quorum => {
            let quorum = settings.quorum.as_ref()?;
            Box::new(quorum::Quorum::new(quorum.least, millis(quorum.within)))
        }
        Kind::Debounce => {
            let debounce = settings.debounce.as_ref()?;
            let (quiet, longest) = (millis(debounce.quiet), millis(debounce.longest));
            Box::new(debounce::Debounce::new(quiet, longest))
        }
        Kind::Throttle => {
            let throttle = settings.throttle.as_ref()?;
            Box::new(window::Window::new(throttle.most, millis(throttle.within)))
        }
        Kind::Digest => {
            let digest = settings.digest.as_ref()?;
            Box::new(digest::Digest::new(millis(digest.every), digest.most))
        }
    })
}

fn millis(lasting: Lasting) -> i64 {
    i64::try_from(lasting.0.as_millis()).unwrap_or(i64::MAX / 4)
}

/// One run for a group. What several were told is put together.
fn together(group: Group) -> Act {
    let mut told = Told::new();
    let mut numbers = Vec::with_capacity(group.len());
    for mut item in group {
        numbers.push(item.number);
        let suppressed = item.told.remove(SUPPRESSED);
        told.append(&mut item.told);
        add_suppressed(&mut told, suppressed.as_ref().map_or(0, whole));
    }
    Act { numbers, told }
}

fn add_suppressed(told: &mut Told, more: u64) {
    if more > 0 {
        let before = told.get(SUPPRESSED).map_or(0, whole);
        let sum = i64::try_from(before + more).unwrap_or(i64::MAX);
        told.insert(SUPPRESSED.to_owned(), Value::Int(sum));
    }
}

/// How many events are lost with one that is suppressed: it, and those that its run would have been told of.
fn lost(told: &Told) -> u64 {
    1 + told.get(SUPPRESSED).map_or(0, whole)
}

fn whole(value: &Value) -> u64 {
    match value {
        Value::Int(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}
