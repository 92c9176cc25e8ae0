//! Abate: the dispatcher of a flow with storm control: events meet the storm, and what it lets act becomes
//! runs.
//!
//! Invariants: a decision that the time brought is on disk before its run begins; an event is passed in
//! the same moment in which the storm met it; a run is owed until it was begun, however often that fails.

use std::sync::Arc;
use std::time::Duration;

use crate::claim::lock;
use crate::dispatch::{Dispatcher, Judged, Together};
use crate::event::{Event, RunId, Value};
use crate::fault::ScriptError;
use crate::flow::Flow;
use crate::journal::Journal;
use crate::mind::Mind;
use crate::run::Interrupted;
use crate::store::{Batch, Store};
use crate::storm::Act;
use crate::weather::Weather;

/// The clock is looked at again this often: it may be set, and the machine may sleep.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(30);

impl Dispatcher {
    /// How long until the storm wants something: zero means now, `None` means never. What is due waits until
    /// everything was met that is in the channel.
    pub(crate) fn until_due(&self, flow: &Flow, next: u64) -> Option<Duration> {
        let weather = &self.weather;
        if weather.is_left() || weather.owes() || weather.differs(flow) {
            return Some(Duration::ZERO);
        }
        if self.channel.tail() > next {
            return None;
        }
        let now = self.conductor.clock.now().as_millisecond();
        weather
            .until_due(now)
            .map(|left| left.min(LOOK_AGAIN_EVERY))
    }

    /// Takes up what the last process left and changed settings, and lets go on what is due.
    pub(crate) async fn abate(
        &mut self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
    ) -> Result<(), Interrupted> {
        let weather = Arc::clone(&self.weather);
        let bodies = self.bodies();
        weather.take_up(
            |number| self.had(mind, &RunId::new(&weather.id(number), weather.flow())),
            &bodies,
        )?;
        if weather.differs(flow) {
            weather.change(flow, &self.progress, &bodies)?;
        }
        let next = lock(&self.progress).next.max(self.channel.skip());
        if self.channel.tail() <= next {
            weather.ring(self.conductor.clock.now().as_millisecond(), &bodies);
        }
        self.pay(mind, flow).await
    }

    /// Events meet the storm, in order.
    pub(crate) async fn face(
        &mut self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        judged: Vec<Judged>,
    ) -> Result<(), Interrupted> {
        let bodies = self.bodies();
        for (event, verdict) in judged {
            let number = event.id.number;
            let had = self.had(mind, &RunId::new(&event.id, &flow.name))?;
            match verdict {
                Ok(passes) => self.weather.meet((&event, passes, had), &bodies),
                Err(error) => {
                    if !had {
                        self.refuse(flow, &event, &error).await?;
                    }
                    self.weather.meet((&event, false, true), &bodies);
                }
            }
            lock(&self.progress).pass(number, false);
            self.pay(mind, flow).await?;
        }
        Ok(())
    }

    /// The filter raised: the event is a dead letter.
    pub(crate) async fn refuse(
        &self,
        flow: &Flow,
        event: &Event,
        error: &ScriptError,
    ) -> Result<(), Interrupted> {
        let run = RunId::new(&event.id, &flow.name);
        let journal = Journal::begin(run, self.start(flow, &[event.id.number], None));
        self.conductor.refuse(journal, error).await?;
        self.weather.count(|counts| {
            counts.came += 1;
            counts.dead += 1;
        });
        Ok(())
    }

    /// Begins the runs that are owed.
    async fn pay(&self, mind: &mut Mind, flow: &Arc<Flow>) -> Result<(), Interrupted> {
        if self.weather.must_keep() {
            self.keep_weather().await?;
        }
        while let Some(act) = self.weather.next_owed() {
            self.act(mind, flow, act).await?;
            self.weather.paid();
        }
        Ok(())
    }

    async fn keep_weather(&self) -> Result<(), Interrupted> {
        let _keeping = self.weather.keeping.lock().await;
        let mut batch = Batch::new();
        if let Some(written) = self.weather.write(&mut batch, &self.progress, true)? {
            self.conductor.store.commit(batch).await?;
            self.weather.kept(written);
        }
        Ok(())
    }

    /// One run, unless there is one or its events are gone.
    async fn act(
        &self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        Act { numbers, told }: Act,
    ) -> Result<(), Interrupted> {
        let mut events = Vec::with_capacity(numbers.len());
        for number in &numbers {
            let event = self.conductor.store.event(&self.weather.id(*number))?;
            events.extend(event.filter(|event| !self.conductor.is_taken(event)));
        }
        let Some(first) = events.first_mut() else {
            return Ok(());
        };
        if self.had(mind, &RunId::new(&first.id, &flow.name))? {
            return Ok(());
        }
        if numbers.iter().any(|number| mind.doomed.contains(number)) {
            let why = "the process died twice while this flow was thinking about it";
            let run = RunId::new(&first.id, &flow.name);
            let journal = Journal::begin(run, self.start(flow, &numbers, None));
            let error = ScriptError::sentence(why);
            return self.conductor.refuse(journal, &error).await;
        }
        if let [only] = &events[..]
            && self.note(mind, flow, only).await?
        {
            return Ok(());
        }
        let together = Together::told(events, told);
        let permit = mind.permit().await;
        self.begin(mind, flow, together, permit)
    }

    /// Reads the bodies of events that are held.
    fn bodies(&self) -> impl Fn(u64) -> Value + use<> {
        let (store, weather): (Store, Arc<Weather>) =
            (self.conductor.store.clone(), Arc::clone(&self.weather));
        // What cannot be read has no fields; its run will say why.
        move |number| {
            let event = store.event(&weather.id(number)).ok().flatten();
            event.map_or(Value::Null, |event| event.body)
        }
    }
}
