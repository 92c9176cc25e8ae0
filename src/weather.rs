//! Weather: the storm control of one flow in the running server: its state, what it decided, what it
//! counts, and what of it lies on disk.
//!
//! Invariants: the state lies in one batch with the cursor, as of an event. Events from there on are met again
//! after a crash and lead to the same decisions; those below are held, acted or suppressed for good. What was
//! decided because of the time, and not because of an event, is on disk before it acts. At every moment
//! came = acted + suppressed + waiting + dead.

mod row;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::claim::{Progress, lock};
use crate::event::{Event, EventId, Value};
use crate::flow::Flow;
use crate::store::{Store, StoreError};
use crate::storm::{Act, Arrival, Decision, Kind, Loaded, Storm, Suppressed};
use crate::trace::Traces;
pub(crate) use row::Written;
use row::path_name;

/// What a flow counted since the process began; what waited then came, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that the filter let through, or about which it raised.
    pub came: u64,
    /// Events that were given to a run.
    pub acted: u64,
    /// Events that never act.
    pub suppressed: u64,
    /// Events that are held or gathered.
    pub waiting: u64,
    /// Events about which the filter raised: dead letters.
    pub dead: u64,
    /// Events to which the filter said no.
    pub filtered: u64,
    /// Keys that were forgotten because there were too many.
    pub forgotten: u64,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is held.
    Held(Kind),
    /// It never acts.
    Suppressed(Suppressed),
}

/// The storm control of one flow.
pub struct Weather {
    channel: String,
    name: String,
    path: String,
    from: u64,
    inside: Mutex<Inside>,
    /// Held while the state is written, so that an older one never takes the place of a newer one.
    pub(crate) keeping: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Inside {
    storm: Option<Storm>,
    /// What the last process left, until the dispatcher takes it up.
    loaded: Option<Loaded>,
    /// Decided, and not begun yet.
    owed: VecDeque<Act>,
    /// Begun, and not known to be on disk.
    begun: Vec<Act>,
    /// Something was decided because of the time.
    must_keep: bool,
    counts: Counts,
    traces: Traces,
    version: u64,
    kept: Option<(u64, (u64, u64))>,
    next_keep: Option<Instant>,
}

impl Inside {
    fn decide(&mut self, decisions: Vec<Decision>, acted_already: Option<u64>) {
        self.version += 1;
        for decision in decisions {
            match decision {
                Decision::Act(act) if act.numbers.iter().copied().eq(acted_already) => {}
                Decision::Act(act) => {
                    self.counts.acted += act.numbers.len() as u64;
                    self.owed.push_back(act);
                }
                Decision::Suppress(one) if Some(one.number) == acted_already => {}
                Decision::Suppress(one) => {
                    self.counts.suppressed += 1;
                    self.traces.add(one);
                }
            }
        }
    }

    fn acts(&self) -> impl Iterator<Item = &Act> {
        self.owed.iter().chain(&self.begun)
    }

    fn numbers(&self) -> BTreeSet<u64> {
        self.acts()
            .flat_map(|act| act.numbers.iter().copied())
            .collect()
    }
}

impl std::fmt::Debug for Weather {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Weather of {}", self.path)
    }
}

impl Weather {
    /// True if events meet the storm before they act.
    pub fn is_stormy(&self) -> bool {
        let inside = lock(&self.inside);
        inside.storm.as_ref().is_some_and(|storm| !storm.is_calm())
    }

    /// True if the flow's place in its channel is kept with the state.
    pub fn is_kept(&self) -> bool {
        let inside = lock(&self.inside);
        inside.storm.is_some() || inside.loaded.is_some()
    }

    /// True until [`Weather::take_up`] was called.
    pub(crate) fn is_left(&self) -> bool {
        lock(&self.inside).loaded.is_some()
    }

    /// True if runs are to be begun.
    pub(crate) fn owes(&self) -> bool {
        !lock(&self.inside).owed.is_empty()
    }

    /// True if the flow has other settings now.
    pub(crate) fn differs(&self, flow: &Flow) -> bool {
        let inside = lock(&self.inside);
        match (&inside.storm, &flow.settings.storm) {
            (Some(storm), Some(settings)) => storm.settings() != settings,
            (Some(storm), None) => !storm.is_calm(),
            (None, settings) => inside.loaded.is_none() && settings.is_some(),
        }
    }

    /// How long after `now`, in milliseconds since 1970, something is due.
    pub(crate) fn until_due(&self, now: i64) -> Option<Duration> {
        let inside = lock(&self.inside);
        let storm = inside.storm.as_ref()?;
        if storm.is_ahead(now) {
            return Some(Duration::ZERO);
        }
        let left = storm.due()?.saturating_sub(now);
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }

    /// Takes up what the last process left. `had` says whether an event has a run.
    pub(crate) fn take_up<E>(
        &self,
        mut had: impl FnMut(u64) -> Result<bool, E>,
        bodies: impl FnMut(u64) -> Value,
    ) -> Result<(), E> {
        let mut bodies = bodies;
        let mut inside = lock(&self.inside);
        let Some(loaded) = &mut inside.loaded else {
            return Ok(());
        };
        let mut held = loaded.storm.held();
        held.extend(loaded.orphans());
        let mut waiting = 0;
        for number in held {
            match had(number)? {
                true => loaded.remove(number),
                false => waiting += 1,
            }
        }
        let is_same = loaded.is_same();
        if let Some(loaded) = inside.loaded.take() {
            let (storm, decisions) = loaded.settle(&mut bodies);
            inside.storm = Some(storm);
            inside.counts.came += waiting;
            inside.must_keep |= !is_same;
            inside.decide(decisions, None);
        }
        Ok(())
    }

    /// An event comes that the filter let through, or did not. One that has a run already changes what is
    /// remembered and nothing else.
    pub(crate) fn meet(
        &self,
        (event, passes, had): (&Event, bool, bool),
        bodies: impl FnMut(u64) -> Value,
    ) {
        let mut bodies = bodies;
        let mut inside = lock(&self.inside);
        let number = event.id.number;
        let Some(storm) = &mut inside.storm else {
            return;
        };
        let arrival = Arrival {
            number,
            at: event.meta.received_at.as_millisecond(),
            body: passes.then_some(&event.body),
        };
        let decisions = storm.meet(arrival, &mut bodies);
        if had {
            storm.remove(number);
        }
        match (had, passes) {
            (true, _) => {}
            (false, true) => inside.counts.came += 1,
            (false, false) => inside.counts.filtered += 1,
        }
        inside.decide(decisions, had.then_some(number));
    }

    /// What is due at `now` goes on, and a clock that was set back is followed.
    pub(crate) fn ring(&self, now: i64, bodies: impl FnMut(u64) -> Value) {
        let mut bodies = bodies;
        let mut inside = lock(&self.inside);
        let Some(storm) = &mut inside.storm else {
            return;
        };
        let is_ahead = storm.is_ahead(now);
        if is_ahead {
            storm.set_back(now);
        }
        if is_ahead || storm.due().is_some_and(|due| due <= now) {
            let decisions = storm.ring(now, &mut bodies);
            inside.must_keep = true;
            inside.decide(decisions, None);
        }
    }

    /// Takes up changed settings.
    ///
    /// # Errors
    /// A state that cannot be kept, which none is.
    pub(crate) fn change(
        &self,
        flow: &Flow,
        progress: &Mutex<Progress>,
        bodies: impl FnMut(u64) -> Value,
    ) -> Result<(), StoreError> {
        let mut bodies = bodies;
        let settings = flow.settings.storm.clone().unwrap_or_default();
        let mut inside = lock(&self.inside);
        let was_calm = inside.storm.as_ref().is_none_or(Storm::is_calm);
        if was_calm {
            let known = inside.numbers();
            let progress = lock(progress);
            let begun = progress.open().filter(|number| !known.contains(number));
            inside.begun.extend(begun.map(|number| Act {
                numbers: vec![number],
                told: Default::default(),
            }));
            inside.storm = Some(Storm::new(&settings, progress.next));
            inside.version += 1;
        } else if let Some(storm) = &inside.storm {
            let changed = storm.change(&settings).map_err(|why| self.unkept(&why))?;
            let (storm, decisions) = changed.settle(&mut bodies);
            inside.storm = Some(storm);
            inside.decide(decisions, None);
        }
        inside.must_keep = true;
        Ok(())
    }

    /// The run that is to be begun next.
    pub(crate) fn next_owed(&self) -> Option<Act> {
        lock(&self.inside).owed.front().cloned()
    }

    /// It was begun; until its beginning is on disk it is written with the state.
    pub(crate) fn paid(&self) {
        let mut inside = lock(&self.inside);
        if let Some(act) = inside.owed.pop_front() {
            inside.begun.push(act);
            inside.version += 1;
        }
    }

    /// True if the state has to be on disk before anything acts.
    pub(crate) fn must_keep(&self) -> bool {
        lock(&self.inside).must_keep
    }

    /// Counts something that the storm has nothing to do with.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.inside).counts);
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let inside = lock(&self.inside);
        let mut counts = inside.counts;
        if let Some(storm) = &inside.storm {
            counts.waiting += storm.held().len() as u64;
            counts.forgotten += storm.forgotten();
        }
        counts
    }

    /// How many events are held.
    pub(crate) fn held(&self) -> u64 {
        let inside = lock(&self.inside);
        let loaded = inside.loaded.as_ref().map(|loaded| &loaded.storm);
        let storm = inside.storm.as_ref().or(loaded);
        storm.map_or(0, |storm| storm.held().len() as u64)
    }

    /// What the storm did with an event, as far as it is remembered.
    ///
    /// # Errors
    /// What the store cannot read.
    pub fn fate(&self, store: &Store, number: u64) -> Result<Option<Fate>, StoreError> {
        {
            let inside = lock(&self.inside);
            let holder = inside.storm.as_ref().and_then(|storm| storm.holder(number));
            if let Some(kind) = holder {
                return Ok(Some(Fate::Held(kind)));
            }
            if let Some(found) = inside.traces.find(number) {
                return Ok(Some(Fate::Suppressed(found.clone())));
            }
        }
        let found = Traces::find_kept(store, &path_name(&self.path), number)?;
        Ok(found.map(Fate::Suppressed))
    }

    /// The event with this number.
    pub(crate) fn id(&self, number: u64) -> EventId {
        EventId {
            channel: self.channel.clone(),
            number,
        }
    }

    /// The flow's name.
    pub(crate) fn flow(&self) -> &str {
        &self.name
    }
}
