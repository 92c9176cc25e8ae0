//! `kind = "imap"`: a mailbox; each mail that comes into it becomes one event.
//!
//! Invariants: what was taken is remembered in the batch that keeps its event, by UID and, for the
//! day when the server numbers its mails anew, by what its headers say; only after that is a mail
//! marked, moved or deleted, and what a crash cut off there is made up for.

mod book;
mod dial;
mod folder;
mod keys;
mod session;
mod visit;
mod wire;

use std::sync::Arc;

use super::{Block, Context, Door, Opened, Source};
use crate::error::Diagnostic;

pub use book::{KEYS_MAX, PENDING_MAX};
pub use folder::encode as folder_name;
pub use session::{IDLE_MAX, LISTED_MAX, understands};
pub use wire::{COMMAND_MAX, LINE_BYTES_MAX, QUIET_MAX};

use keys::Wish;
use visit::Visit;

/// The kind.
pub struct Imap;

impl Source for Imap {
    fn name(&self) -> &'static str {
        "imap"
    }

    fn about(&self) -> &'static str {
        "waits at a mailbox (IMAP); each new mail becomes one event"
    }

    fn example(&self) -> &'static str {
        "host = \"imap.example.org\"\nuser = \"alerts@example.org\"\npassword_env = \"ALERTS_PASSWORD\"\n\
        folder = \"INBOX\"\nafter = \"move\"\nmove_to = \"Done\""
    }

    fn read(&self, block: &Block<'_>) -> Result<Arc<dyn Door>, Diagnostic> {
        Ok(Arc::new(Mailbox(keys::read(block)?)))
    }
}

struct Mailbox(Wish);

impl Door for Mailbox {
    fn place(&self) -> String {
        let wish = &self.0;
        format!("{} {} at {}", wish.user, wish.folder, wish.peer)
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        Box::pin(async move {
            // That the mailbox is away is no reason to call this server unready.
            context.up();
            let attending = async { Visit::begin(&self.0, context).await?.stay().await };
            tokio::select! {
                ended = attending => ended,
                () = context.stopped() => Ok(()),
            }
        })
    }
}
