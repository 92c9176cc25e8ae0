//! Row: the storm control of a flow as it lies on disk: where the flow goes on, runs whose beginning may not
//! be on disk, and what the storm knows.
//!
//! Invariant: nothing below the place where the flow goes on is met again, so everything there is held in the
//! state, owed, begun, or decided for good.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Inside, Weather};
use crate::claim::{Progress, lock};
use crate::flow::Flow;
use crate::hex;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::{Batch, Store, StoreError};
use crate::storm::{Act, Storm, StormSettings};
use crate::trace::Traces;

/// Bytes of state that are written in a second at most: a large one is written less often.
const STATE_BYTES_PER_SECOND: usize = 1024 * 1024;
/// The version of the row.
const ROW_VERSION: u8 = 1;
/// A flow with a longer path has its hash in the names of its rows.
const PATH_BYTES_MAX: usize = 600;

/// What was written, and is kept once the batch is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    version: u64,
    traces: usize,
    bytes: usize,
    places: (u64, u64),
}

impl Weather {
    /// What the last process left of a flow that began with the event `from`, and the event at which the
    /// flow goes on: `next` if it left nothing.
    ///
    /// # Errors
    /// What the store cannot read, and a state of a newer version.
    pub fn open(
        store: &Store,
        flow: &Flow,
        (from, next): (u64, u64),
    ) -> Result<(Weather, u64), StoreError> {
        let path = flow.path();
        let mut inside = Inside::default();
        let mut position = next;
        let unreadable = |why: CodecError| StoreError::Damaged {
            what: format!("the storm control of flow {path}"),
            why: why.to_string(),
        };
        let settings = flow.settings.storm.clone();
        match (store.mark(&row_name(&path))?, settings) {
            (Some(row), settings) => {
                let settings = settings.unwrap_or_default();
                position = read_row(&row, &settings, &mut inside).map_err(unreadable)?;
                let sheet = store.mark(&inside.traces.sheet_name(&path_name(&path)))?;
                inside.traces.take_up(sheet, position).map_err(unreadable)?;
            }
            (None, Some(settings)) => inside.storm = Some(Storm::new(&settings, next)),
            (None, None) => {}
        }
        let weather = Weather {
            channel: flow.channel.clone(),
            name: flow.name.clone(),
            path,
            from,
            inside: Mutex::new(inside),
            keeping: Arc::default(),
        };
        Ok((weather, position))
    }

    /// Has everything removed that is kept of a flow that is gone.
    ///
    /// # Errors
    /// What the store cannot read.
    pub fn forget(store: &Store, batch: &mut Batch, path: &str) -> Result<(), StoreError> {
        batch.set_mark(&row_name(path), None)?;
        Traces::forget(store, batch, &path_name(path))
    }

    /// Puts the state and the cursor into a batch, if there is news; `forced`: however large the state is.
    ///
    /// # Errors
    /// A state that cannot be kept, which none is.
    pub(crate) fn write(
        &self,
        batch: &mut Batch,
        progress: &Mutex<Progress>,
        forced: bool,
    ) -> Result<Option<Written>, StoreError> {
        let mut inside = lock(&self.inside);
        let progress = lock(progress);
        let is_early = inside.next_keep.is_some_and(|next| Instant::now() < next);
        if inside.loaded.is_some() || (is_early && !forced) {
            return Ok(None);
        }
        let is_open = |act: &Act| act.numbers.iter().any(|number| progress.is_open(*number));
        inside.begun.retain(is_open);
        let Some(places) = inside.places(&progress) else {
            return Ok(None);
        };
        if inside.kept == Some((inside.version, places)) {
            return Ok(None);
        }
        let row = inside
            .row(places.0)
            .map_err(|why| self.unkept(&why))?
            .into_bytes();
        let bytes = row.len();
        batch.set_mark(&row_name(&self.path), Some(row))?;
        inside.traces.write(batch, &path_name(&self.path))?;
        batch.move_cursor(&self.path, self.from, places.1);
        Ok(Some(Written {
            version: inside.version,
            traces: inside.traces.pending(),
            bytes,
            places,
        }))
    }

    /// What was written is on disk.
    pub(crate) fn kept(&self, written: Written) {
        let mut inside = lock(&self.inside);
        inside.kept = Some((written.version, written.places));
        inside.must_keep &= inside.version != written.version;
        inside.traces.kept(written.traces);
        let millis = written.bytes.saturating_mul(1_000) / STATE_BYTES_PER_SECOND;
        inside.next_keep = Some(Instant::now() + Duration::from_millis(millis as u64));
    }

    pub(super) fn unkept(&self, why: &CodecError) -> StoreError {
        StoreError::TooLarge {
            what: format!("the storm control of flow {}", self.path),
            limit: why.to_string(),
        }
    }
}

impl Inside {
    /// Where the flow goes on after a crash, and the first event that is still wanted.
    fn places(&self, progress: &Progress) -> Option<(u64, u64)> {
        let storm = self.storm.as_ref()?;
        let known = self.numbers();
        let position = match storm.is_calm() {
            false => storm.as_of(),
            true => {
                let mut open = progress.open();
                let first = open.find(|number| !known.contains(number));
                first.unwrap_or(progress.next)
            }
        };
        let held = storm.held().into_iter().min();
        let first = [held, known.first().copied(), Some(progress.low())];
        let first = first.into_iter().flatten().min().unwrap_or(position);
        Some((position, first.min(position)))
    }

    fn row(&self, position: u64) -> Result<Writer, CodecError> {
        let mut out = Writer::new();
        out.byte(ROW_VERSION)
            .number(position)
            .number(self.traces.sheet())
            .number(self.acts().count() as u64);
        for act in self.acts() {
            out.number(act.numbers.len() as u64);
            for number in &act.numbers {
                out.number(*number);
            }
            out.map(&act.told)?;
        }
        if let Some(storm) = &self.storm {
            storm.write(&mut out)?;
        }
        Ok(out)
    }
}

/// Gives the event at which the flow goes on.
fn read_row(row: &[u8], settings: &StormSettings, inside: &mut Inside) -> Result<u64, CodecError> {
    let mut input = Reader::new(row);
    if input.byte()? != ROW_VERSION {
        return Err(CodecError::Wrong("a state of a newer version"));
    }
    let position = input.number()?;
    inside.traces = Traces::at(input.number()?);
    for _ in 0..input.number()? {
        let count = input.number()?;
        let numbers: Result<_, CodecError> = (0..count).map(|_| input.number()).collect();
        inside.owed.push_back(Act {
            numbers: numbers?,
            told: input.map()?,
        });
    }
    inside.loaded = Some(Storm::load(settings, &mut input)?);
    Ok(position)
}

/// How a flow is named in the names of its rows.
pub(super) fn path_name(path: &str) -> String {
    match path.len() > PATH_BYTES_MAX {
        true => {
            use sha2::{Digest as _, Sha256};
            hex::encode(&Sha256::digest(path.as_bytes()))
        }
        false => path.to_owned(),
    }
}

fn row_name(path: &str) -> String {
    format!("storm/{}", path_name(path))
}
