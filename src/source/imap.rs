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
mod wire;

use std::sync::Arc;
use std::time::Duration;

use super::{Block, Context, Door, Opened, Source, Trouble, mail};
use crate::error::Diagnostic;
use crate::event::{Incoming, Meta, Value};

pub use book::{KEYS_MAX, PENDING_MAX};
pub use folder::encode as folder_name;
pub use session::{IDLE_MAX, LISTED_MAX};
pub use wire::{COMMAND_MAX, LINE_BYTES_MAX, QUIET_MAX};

use book::Book;
use keys::{After, Wish};
use mail::MAIL_BYTES_MAX;
use session::{Listed, Session};

/// Mails that are kept in one batch.
const BATCH_MAILS_MAX: usize = 100;
/// Bytes of mails after which a batch is kept; the mail that goes beyond is part of it.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// UIDs that are looked through at once; more where there are no mails.
const WINDOW_UIDS: u32 = 500;

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

/// Mails that were read and are not on disk yet.
#[derive(Default)]
struct Batch {
    events: Vec<Incoming>,
    bytes: usize,
    /// Mails that were looked at, those that are no events included.
    looked_at: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_MAILS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

impl Door for Mailbox {
    fn place(&self) -> String {
        self.0.shown()
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        Box::pin(async move {
            // That the mailbox is away is no reason to call this server unready.
            context.up();
            tokio::select! {
                ended = self.attend(context) => ended,
                () = context.stopped() => Ok(()),
            }
        })
    }
}

impl Mailbox {
    /// Takes what is there, waits for more, and so on; ends with the connection.
    async fn attend(&self, context: &Context) -> Result<(), Trouble> {
        let memory = context.memory()?;
        let mut book = Book::recall(memory.as_deref(), self.0.mailbox());
        let mut session = Session::open(&self.0).await?;
        loop {
            let is_well = self.round(&mut session, context, &mut book).await?;
            if is_well {
                context.up();
            }
            match session.can_idle() {
                true => session.idle().await?,
                false => tokio::time::sleep(self.0.every).await,
            }
        }
    }

    /// Takes every mail that is new; true if the server also did what is to be done after.
    async fn round(
        &self,
        session: &mut Session,
        context: &Context,
        book: &mut Book,
    ) -> Result<bool, Trouble> {
        let found = session.select(&self.0.folder).await?;
        if book.meet(found.validity, found.uid_next) {
            self.keep(context, book, Batch::default()).await?;
        }
        let mut is_well = self.finish(session, context, book).await?;
        let (mut from, mut window) = (book.next_uid(), WINDOW_UIDS);
        while from < found.uid_next {
            let to = from.saturating_add(window - 1).min(found.uid_next - 1);
            let listed = session.list(from, to).await?;
            window = match listed.is_empty() {
                true => window.saturating_mul(2),
                false => WINDOW_UIDS,
            };
            is_well &= self.take(session, context, (&mut *book, listed)).await?;
            from = to + 1;
        }
        Ok(is_well)
    }

    /// Takes what is new among some mails, in the order of their UIDs.
    async fn take(
        &self,
        session: &mut Session,
        context: &Context,
        (book, listed): (&mut Book, Vec<Listed>),
    ) -> Result<bool, Trouble> {
        let mut batch = Batch::default();
        let mut is_well = true;
        for listed in listed {
            if book.judge(&listed, self.0.first) {
                let is_whole = self.read(session, context, (&listed, &mut batch)).await?;
                // What is not here as a whole is not deleted there.
                book.took(&listed, is_whole || self.0.after != After::Delete);
            } else {
                book.passed(&listed);
            }
            batch.looked_at += 1;
            if batch.is_full() {
                self.keep(context, book, std::mem::take(&mut batch)).await?;
                is_well &= self.finish(session, context, book).await?;
            }
        }
        if batch.looked_at > 0 {
            self.keep(context, book, batch).await?;
            is_well &= self.finish(session, context, book).await?;
        }
        Ok(is_well)
    }

    /// Reads one mail into the batch; false if it is too large to be read as a whole.
    async fn read(
        &self,
        session: &mut Session,
        context: &Context,
        (listed, batch): (&Listed, &mut Batch),
    ) -> Result<bool, Trouble> {
        let size = usize::try_from(listed.size).unwrap_or(usize::MAX);
        let only_headers = size > MAIL_BYTES_MAX;
        let Some(bytes) = session.read(listed.uid, only_headers).await? else {
            let (folder, uid) = (&self.0.folder, listed.uid);
            tracing::info!(folder, uid, "a mail went before it could be read");
            return Ok(true);
        };
        // Some servers say too little.
        let is_whole = !only_headers && bytes.len() < MAIL_BYTES_MAX;
        let mut meta = self.meta(context, listed);
        if !is_whole {
            let size = size.max(bytes.len());
            let why = format!(
                "the mail has {size} bytes, {MAIL_BYTES_MAX} or more; it was not read whole"
            );
            meta.extra.insert("decode_error".to_owned(), why.into());
        }
        batch.bytes += bytes.len();
        batch.events.push(mail::decode(&bytes, meta));
        Ok(is_whole)
    }

    fn meta(&self, context: &Context, listed: &Listed) -> Meta {
        let mut meta = Meta::new("imap", context.clock().now());
        meta.peer.clone_from(&self.0.peer);
        let folder = Value::from(self.0.folder.as_str());
        meta.extra.insert("folder".to_owned(), folder);
        let uid = Value::Int(i64::from(listed.uid));
        meta.extra.insert("uid".to_owned(), uid);
        meta
    }

    async fn keep(&self, context: &Context, book: &Book, batch: Batch) -> Result<(), Trouble> {
        let kept = context.push_and_remember(batch.events, book.memory()).await;
        kept.map(drop).map_err(Trouble::from)
    }

    /// Marks, moves or deletes what was taken. What the server refuses is told and tried again in
    /// the next round; it keeps no new mail out.
    async fn finish(
        &self,
        session: &mut Session,
        context: &Context,
        book: &mut Book,
    ) -> Result<bool, Trouble> {
        if book.pending().is_empty() {
            return Ok(true);
        }
        let done = match (self.0.after, &self.0.move_to) {
            (After::Move, Some(folder)) => session.move_to(book.pending(), folder).await?,
            (After::Delete, _) => session.delete(book.pending()).await?,
            _ => session.mark_seen(book.pending()).await?,
        };
        match done {
            Ok(()) => {
                book.finished();
                self.keep(context, book, Batch::default()).await?;
                Ok(true)
            }
            Err(why) => {
                context.trouble(&why);
                Ok(false)
            }
        }
    }
}

/// How often a server without IDLE is asked.
const EVERY_DEFAULT: Duration = Duration::from_secs(60);
