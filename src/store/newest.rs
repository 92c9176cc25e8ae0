//! The newest rows of a kind whose keys are numbers, without walking backwards: the engine's own
//! way back needs a key of 1 MiB as a constant, a twentieth of the whole program.
//!
//! Invariant: rows come newest first and none is left out, whatever holes retention made.

use std::ops::Range;

use super::engine::{Engine, Pair};
use super::error::StoreError;
use super::keys::{counted, split_counted};

/// At most `limit` rows of `kind` with numbers below `before` if given, the newest first.
pub(super) fn newest(
    engine: &Engine,
    kind: u8,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Pair>, StoreError> {
    let mut rows = Vec::new();
    let mut end = before.unwrap_or(u64::MAX);
    while rows.len() < limit {
        let Some(last) = last_of(engine, kind, 0..end)? else {
            break;
        };
        let width = limit - rows.len();
        let start = (last + 1).saturating_sub(width as u64);
        // so many numbers have at most so many rows
        let found = engine.scan(&[kind], &counted(kind, start), width)?;
        let is_below = |(key, _): &Pair| split_counted(key).is_some_and(|number| number < end);
        rows.extend(found.into_iter().filter(is_below).rev());
        end = start;
    }
    Ok(rows)
}

/// The last number that has a row, found by halving.
fn last_of(engine: &Engine, kind: u8, numbers: Range<u64>) -> Result<Option<u64>, StoreError> {
    let first_from = |number: u64| -> Result<Option<u64>, StoreError> {
        let found = engine.scan(&[kind], &counted(kind, number), 1)?;
        let number = found.first().and_then(|(key, _)| split_counted(key));
        Ok(number.filter(|number| *number < numbers.end))
    };
    let Some(mut last) = first_from(numbers.start)? else {
        return Ok(None);
    };
    let mut end = numbers.end;
    while end - last > 1 {
        let middle = last + (end - last) / 2;
        match first_from(middle)? {
            Some(number) => last = number,
            None => end = middle,
        }
    }
    Ok(Some(last))
}
