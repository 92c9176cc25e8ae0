//! A world of events in virtual time: what comes into which channel when, for a run that is
//! rehearsed.
//!
//! Invariant: events are shown to a wait in the order of the real server: what is there already,
//! channel by channel, then what comes, by its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::event::{Event, EventId};
use crate::wait::{Form, Wait};

/// An event and when it comes.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When its channel has it.
    pub at: Timestamp,
    /// The event.
    pub event: Arc<Event>,
    /// The run that took it off the channel: for all others it is gone.
    pub taken: Option<String>,
}

/// One channel.
#[derive(Debug, Clone, Default)]
struct Place {
    alias: Vec<String>,
    has_flows: bool,
    /// By number; `None` while nobody has looked what it holds.
    arrivals: Option<Vec<Arrival>>,
}

/// All channels that a rehearsed run may look at.
#[derive(Debug, Clone, Default)]
pub struct World {
    places: BTreeMap<String, Place>,
    /// What comes after this is not known; `None` if everything is.
    pub until: Option<Timestamp>,
}

impl World {
    /// Adds a channel whose events are not known yet.
    pub fn channel(&mut self, name: &str, alias: &[String], has_flows: bool) {
        let place = Place {
            alias: alias.to_vec(),
            has_flows,
            arrivals: None,
        };
        self.places.insert(name.to_owned(), place);
    }

    /// Says what comes into a channel, by number.
    pub fn fill(&mut self, channel: &str, arrivals: Vec<Arrival>) {
        if let Some(place) = self.places.get_mut(channel) {
            place.arrivals = Some(arrivals);
        }
    }

    /// The channel that a script means by `asked`: by the rules for senders.
    pub fn find(&self, asked: &str) -> Option<&str> {
        let mut places = self.places.iter();
        let alias = places.find(|(_, place)| place.alias.iter().any(|alias| alias == asked));
        let last = asked.rsplit('/').next().unwrap_or(asked);
        let exact = || self.places.get_key_value(asked);
        let by_last = || self.places.get_key_value(last);
        if let Some((name, _)) = alias.or_else(exact).or_else(by_last) {
            return Some(name);
        }
        let lower = last.to_lowercase();
        let mut alike = self
            .places
            .keys()
            .filter(|name| name.to_lowercase() == lower);
        alike
            .next()
            .filter(|_| alike.next().is_none())
            .map(String::as_str)
    }

    /// The names of all channels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// True if flows look at what comes into the channel.
    pub fn has_flows(&self, channel: &str) -> bool {
        let place = self.places.get(channel);
        place.is_some_and(|place| place.has_flows)
    }

    /// True if it is known what comes into the channel.
    pub fn is_known(&self, channel: &str) -> bool {
        let place = self.places.get(channel);
        place.is_some_and(|place| place.arrivals.is_some())
    }

    /// The number of the first event of `channel` that counts for a wait of this form asked at
    /// `now`, by a run that `begun` began.
    pub(crate) fn from(&self, form: Form, channel: &str, (begun, now): (&Event, Timestamp)) -> u64 {
        let has_flows = self
            .places
            .get(channel)
            .is_some_and(|place| place.has_flows);
        let first = |comes: &dyn Fn(&Arrival) -> bool| {
            let arrivals = self.arrivals(channel);
            let first = arrivals.iter().find(|arrival| comes(arrival));
            let next = || arrivals.last().map_or(1, |last| last.event.id.number + 1);
            first.map_or_else(next, |arrival| arrival.event.id.number)
        };
        match form {
            // What flows have been offered is theirs.
            Form::Receive if has_flows => first(&|arrival| arrival.at > now),
            Form::Receive => 0,
            _ if channel == begun.id.channel => begun.id.number + 1,
            _ => first(&|arrival| arrival.at >= begun.meta.received_at),
        }
    }

    fn arrivals(&self, channel: &str) -> &[Arrival] {
        let place = self.places.get(channel);
        let arrivals = place.and_then(|place| place.arrivals.as_deref());
        arrivals.unwrap_or_default()
    }

    /// What is shown to `wait` from `now` on, in order: the place of the want, and the event. Those in
    /// `gone` were taken before.
    pub(crate) fn shown<'a>(
        &'a self,
        wait: &'a Wait,
        (now, gone): (Timestamp, &'a BTreeSet<EventId>),
    ) -> impl Iterator<Item = (usize, &'a Arrival)> {
        let lanes = wait.wants.iter().map(|want| {
            let all = self.arrivals(&want.channel);
            let first = all.partition_point(|arrival| arrival.event.id.number < want.from);
            &all[first..]
        });
        let shown = Shown {
            lanes: lanes.collect(),
            now,
        };
        let takes = wait.form == Form::Receive;
        shown.filter(move |(index, arrival)| {
            let by_other = |by: &String| by != wait.run.as_str();
            let is_taken = arrival.taken.as_ref().is_some_and(by_other);
            let is_gone = is_taken || gone.contains(&arrival.event.id);
            !(takes && is_gone) && wait.wants[*index].fits(&arrival.event)
        })
    }
}

/// Walks through several channels at once.
struct Shown<'a> {
    lanes: Vec<&'a [Arrival]>,
    now: Timestamp,
}

impl<'a> Iterator for Shown<'a> {
    type Item = (usize, &'a Arrival);

    fn next(&mut self) -> Option<(usize, &'a Arrival)> {
        let heads = self.lanes.iter().enumerate();
        let heads = heads.filter_map(|(index, lane)| Some((index, lane.first()?)));
        let turn = |(index, head): &(usize, &Arrival)| (head.at.max(self.now), *index);
        let (index, head) = heads.min_by_key(turn)?;
        self.lanes[index] = &self.lanes[index][1..];
        Some((index, head))
    }
}
