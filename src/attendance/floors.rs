//! Floors: how far flows have come in their channels, on disk and for `depth_max`.
//!
//! Invariant: the cursor of a flow and the state of its storm control lie in one batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Attendance;
use crate::channel::Channel;
use crate::claim::lock;
use crate::store::{Batch, StoreError};
use crate::weather::{Weather, Written};

/// What one batch holds of flows.
#[derive(Default)]
struct Moved {
    cursors: Vec<(String, u64)>,
    weathers: Vec<(Arc<Weather>, Written)>,
    dropped: Vec<(Arc<Channel>, u64)>,
}

impl Attendance {
    /// Writes the cursors that moved since the last call, in one batch, with the states that changed and
    /// what full channels dropped.
    ///
    /// # Errors
    /// What the store does not keep; it is written again later then.
    pub async fn keep_cursors(&self) -> Result<(), StoreError> {
        let mut keeping = Vec::new();
        let weathers = self.weathers();
        for weather in &weathers {
            keeping.push(Arc::clone(&weather.keeping).lock_owned().await);
        }
        let mut batch = Batch::new();
        let mut moved = self.moved(&mut batch, &weathers)?;
        for channel in self.conductor.channels.all() {
            let dropped = channel.keep_dropped(&mut batch)?;
            moved.dropped.extend(dropped.map(|count| (channel, count)));
        }
        self.set_floors();
        if batch.is_empty() {
            return Ok(());
        }
        self.conductor.store.commit(batch).await?;
        for (weather, written) in moved.weathers {
            weather.kept(written);
        }
        for (channel, count) in moved.dropped {
            channel.dropped_is_kept(count);
        }
        let mut attended = lock(&self.attended);
        for (path, low) in moved.cursors {
            if let Some(one) = attended.get_mut(&path) {
                one.kept = low;
            }
        }
        Ok(())
    }

    /// `ours` are those whose state nobody else writes now; one that became one since has to wait.
    fn moved(&self, batch: &mut Batch, ours: &[Arc<Weather>]) -> Result<Moved, StoreError> {
        let mut moved = Moved::default();
        let is_last = *self.conductor.stop.borrow();
        for (path, one) in lock(&self.attended).iter() {
            if one.weather.is_kept() {
                if !ours.iter().any(|own| Arc::ptr_eq(own, &one.weather)) {
                    continue;
                }
                let written = one.weather.write(batch, &one.progress, is_last)?;
                let weather = Arc::clone(&one.weather);
                moved
                    .weathers
                    .extend(written.map(|written| (weather, written)));
                continue;
            }
            let low = lock(&one.progress).low();
            if low != one.kept {
                batch.move_cursor(path, one.from, low);
                moved.cursors.push((path.clone(), low));
            }
        }
        Ok(moved)
    }

    /// The storm control of all flows that have one.
    fn weathers(&self) -> Vec<Arc<Weather>> {
        let attended = lock(&self.attended);
        let weathers = attended.values().map(|one| Arc::clone(&one.weather));
        weathers.filter(|weather| weather.is_kept()).collect()
    }

    /// Tells each channel how far its slowest flow has come, and how many events are held.
    pub(super) fn set_floors(&self) {
        let mut floors: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (path, one) in lock(&self.attended).iter() {
            let channel = path.split('/').next().unwrap_or("").to_owned();
            let next = lock(&one.progress).next;
            let held = one.weather.held();
            floors
                .entry(channel)
                .and_modify(|(floor, most)| {
                    *floor = next.min(*floor);
                    *most = held.max(*most);
                })
                .or_insert((next, held));
        }
        for (name, (floor, held)) in floors {
            if let Some(channel) = self.conductor.channels.get(&name) {
                channel.set_floor(floor);
                channel.set_held(held);
            }
        }
    }
}
