//! vigie: channels hold events, flows react to them, and a flow may wait for days.
//!
//! An event comes in by a door ([`source`]) and is decoded. Its channel keeps it on disk before the
//! door answers. For each flow under that channel one run begins: the script thinks ([`engine`]),
//! asks for something, and is stopped; what it asked for goes into the run's journal, is done
//! ([`action`]), and its outcome goes into the journal too. Then the script runs again from the
//! top, is handed the outcomes so far, and gets one question further, until it ends.
#![warn(missing_docs)]

// what everything speaks of
pub mod clock;
pub mod error;
pub mod event;
pub mod secret;

// under the floor
pub mod store;

// sockets: one file and one line in ALL to add one
pub mod action;
pub mod script;
pub mod source;

// for `demo` and tests: what the doors out talk to when the real thing is not there
pub mod standin;

// the small sender, linked alone into `sendevt`
pub mod sender;
