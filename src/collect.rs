//! Collect: events of a flow with `[batch]`, until there are enough of them or the oldest has
//! waited long enough.
//!
//! Invariant: an event is in one batch at most; after a crash those that a batch on disk holds are
//! passed over.

use std::sync::Arc;

use crate::claim::lock;
use crate::dispatch::{Dispatcher, Judged, LOOK_EVENTS_MAX, Together};
use crate::event::{Event, RunId};
use crate::flow::Flow;
use crate::mind::Mind;
use crate::run::Interrupted;
use crate::storm::Told;

impl Dispatcher {
    /// Collects what passed the filter until the batch is full or old enough.
    pub(crate) async fn begin_batch(
        &mut self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        judged: Vec<Judged>,
    ) -> Result<(), Interrupted> {
        let Some(batch) = &flow.settings.batch else {
            return Ok(());
        };
        let size_max = mind.batch_size(flow).unwrap_or(batch.size_max);
        let mut collected = Vec::new();
        self.sift(mind, flow, judged, &mut collected).await?;
        let until = tokio::time::Instant::now() + batch.age_max.0;
        let mut tail = self.channel.watch();
        while !collected.is_empty() && collected.len() < size_max {
            let next = lock(&self.progress).next;
            let room = (size_max - collected.len()).min(LOOK_EVENTS_MAX);
            let events = match self.channel.offered() > next {
                true => self.read(next, room)?,
                false => Vec::new(),
            };
            if !events.is_empty() {
                let judged = self.judge(mind, flow, events).await?;
                self.sift(mind, flow, judged, &mut collected).await?;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                changed = tail.changed() => if changed.is_err() { break },
                _ = self.stop.changed() => return Ok(()),
            }
        }
        if !collected.is_empty() {
            let permit = mind.permit().await;
            let count = collected.len() as u64;
            self.begin(mind, flow, Together::told(collected, Told::new()), permit)?;
            self.weather.count(|counts| {
                counts.waiting -= count;
                counts.acted += count;
            });
        }
        Ok(())
    }

    async fn sift(
        &self,
        mind: &mut Mind,
        flow: &Arc<Flow>,
        judged: Vec<Judged>,
        collected: &mut Vec<Event>,
    ) -> Result<(), Interrupted> {
        for (event, verdict) in judged {
            let number = event.id.number;
            let had = self.had(mind, &RunId::new(&event.id, &flow.name))?;
            match verdict {
                Ok(true) if !had => {
                    lock(&self.progress).pass(number, true);
                    collected.push(event);
                    self.weather.count(|counts| {
                        counts.came += 1;
                        counts.waiting += 1;
                    });
                }
                Err(error) if !had => {
                    self.refuse(flow, &event, &error).await?;
                    lock(&self.progress).pass(number, false);
                }
                verdict => {
                    let is_filtered = !had && verdict.is_ok();
                    self.weather
                        .count(|counts| counts.filtered += u64::from(is_filtered));
                    lock(&self.progress).pass(number, false);
                }
            }
        }
        Ok(())
    }
}

impl Mind {
    /// Events that the next batch may hold at most; `None` for a flow without batches.
    pub(crate) fn batch_size(&self, flow: &Flow) -> Option<usize> {
        let batch = flow.settings.batch.as_ref()?;
        Some(if self.cautious { 1 } else { batch.size_max })
    }
}
