//! Medians and percentiles of what was measured.

use std::time::{Duration, Instant};

/// The value below which `share` (0 to 1) of all lie; 0 of nothing.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or(0.0)
}

/// The value in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long each of `count` calls took, in microseconds; a tenth as many go before, unmeasured.
pub(crate) fn time_each(count: usize, mut call: impl FnMut()) -> Vec<f64> {
    (0..count / 10).for_each(|_| call());
    let timed = |_| {
        let began = Instant::now();
        call();
        began.elapsed().as_secs_f64() * 1e6
    };
    (0..count).map(timed).collect()
}
