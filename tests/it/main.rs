//! Everything that is promised, tried from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod store;
mod store_damage;
mod store_model;
