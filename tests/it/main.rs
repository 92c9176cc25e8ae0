//! All tests in one binary: what is promised, shown on the real thing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod house;
mod path;
mod pipe;
mod post_stand_in;
mod sendevt;
mod spool;
