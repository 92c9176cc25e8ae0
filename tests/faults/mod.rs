//! The fault matrix: what goes wrong around the server, one noun per module, against the real binary.
//!
//! Every module says how many rounds it plays: few by default, so that the whole suite stays quick,
//! and all of them with `VIGIE_LONG=1` (`tests/run --long`).

mod access;
mod answer;
mod clock;
pub mod corpus;
mod crowd;
pub mod disk;
mod kill;
mod log;
mod offline;
mod secret;
mod storm;
mod target;
mod unit;

use std::sync::atomic::{AtomicBool, Ordering};

/// How many rounds to play.
pub fn rounds(few: usize, all: usize) -> usize {
    match std::env::var("VIGIE_LONG").as_deref() {
        Ok("1") => all,
        _ => few,
    }
}

/// Says loudly that something was left out, and why.
pub fn not_tried(why: &str) {
    eprintln!("NOT TRIED: {why}");
}

/// Sets its flag when it is dropped: whoever goes on until then ends although the test fails.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
