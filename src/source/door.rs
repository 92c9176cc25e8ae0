//! What a kind of source is, and what a door of that kind does: the two traits that one implements
//! to add a kind.
//!
//! A kind reads a `[[source]]` block into a checked door without opening anything; the server opens
//! the door, watches it, and opens it again with back-off when it closes by itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::block::Block;
use super::context::{Context, NotKept};
use super::directory::Directory;
use crate::action::http;
use crate::error::Diagnostic;

/// A kind of door that a channel can open by itself; a unit struct in [`super::ALL`].
pub trait Source: Sync {
    /// `cron` of `kind = "cron"`.
    fn name(&self) -> &'static str;

    /// One sentence for listings.
    fn about(&self) -> &'static str;

    /// The keys of a block, as an example that can be used as it stands.
    fn example(&self) -> &'static str;

    /// Reads one block. Pure but for the secrets it names: no socket, no other file.
    ///
    /// # Errors
    /// The first mistake in the block, with its place.
    fn read(&self, block: &Block<'_>) -> Result<Arc<dyn Door>, Diagnostic>;
}

/// A door as its block wants it.
pub trait Door: Send + Sync {
    /// Where it leads, for listings: `0 8 * * 1-5 Europe/Paris`, `udp 0.0.0.0:162`. No secrets.
    fn place(&self) -> String;

    /// Looks whether the settings allow what it is meant to do. Opens nothing.
    ///
    /// # Errors
    /// A sentence about what is not allowed.
    fn check(&self, _http: &http::Client) -> Result<(), String> {
        Ok(())
    }

    /// What a person should know of the block although nothing is wrong with it: a sentence for
    /// `vigie check`.
    fn notice(&self) -> Option<String> {
        None
    }

    /// What scripts may ask of what the source knows by name. `pieces` is all that it remembers; it is
    /// asked before any flow begins, and before the door opens.
    fn recall(&self, _pieces: Vec<(String, Vec<u8>)>) -> Option<Arc<dyn Directory>> {
        None
    }

    /// Stands open until [`Context::stopped`]; events go in by [`Context::push`] and its sisters.
    /// It says [`Context::up`] once everything it needs on this host is there: a door that listens
    /// when it is bound, one that goes out to others at once, because that others are away is no
    /// reason to call this server unready. It ends when it is told to stop, with `Ok`; any other
    /// end is a failure, after which it is run again with back-off. It is cut off if it takes longer
    /// than [`CLOSE_SECONDS_MAX`] to stop.
    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a>;
}

/// How long a door may take to close once it is told to.
pub const CLOSE_SECONDS_MAX: Duration = Duration::from_secs(5);

/// A door that stands open, as a future.
pub type Opened<'a> = Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'a>>;

/// Why a door closed: a lowercase sentence that names the thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

impl From<NotKept> for Trouble {
    fn from(why: NotKept) -> Trouble {
        Trouble(why.to_string())
    }
}
