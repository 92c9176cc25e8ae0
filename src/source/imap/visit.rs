//! A visit to a mailbox, for as long as its connection stands: take what is new, finish what was
//! taken, wait.

use super::book::Book;
use super::keys::{After, Wish};
use super::session::{Listed, Session};
use crate::event::{Incoming, Meta, Value};
use crate::source::mail::{self, MAIL_BYTES_MAX};
use crate::source::{Context, Trouble};

/// Mails that are kept in one batch.
const BATCH_MAILS_MAX: usize = 100;
/// Bytes of mails after which a batch is kept; the mail that goes beyond is part of it.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// UIDs that are looked through at once; more where there are no mails.
const WINDOW_UIDS: u32 = 500;

/// A visit.
pub(super) struct Visit<'a> {
    wish: &'a Wish,
    context: &'a Context,
    session: Session,
    book: Book,
}

/// Mails that were read and are not on disk yet.
#[derive(Default)]
struct Batch {
    events: Vec<Incoming>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_MAILS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

impl<'a> Visit<'a> {
    /// Logs in.
    ///
    /// # Errors
    /// What keeps us out.
    pub(super) async fn begin(wish: &'a Wish, context: &'a Context) -> Result<Visit<'a>, Trouble> {
        let memory = context.memory()?;
        Ok(Visit {
            wish,
            context,
            session: Session::open(wish).await?,
            book: Book::recall(memory.as_deref(), wish.mailbox()),
        })
    }

    /// Takes what is there, waits for more, and so on.
    ///
    /// # Errors
    /// What ended the connection; it never ends well by itself.
    pub(super) async fn stay(&mut self) -> Result<(), Trouble> {
        loop {
            if self.round().await? {
                self.context.up();
            }
            match self.session.can_idle() {
                true => self.session.idle().await?,
                false => tokio::time::sleep(self.wish.every).await,
            }
        }
    }

    /// Takes every mail that is new; true if the server also did all that is to be done after.
    async fn round(&mut self) -> Result<bool, Trouble> {
        let found = self.session.select(&self.wish.folder).await?;
        if self.book.meet(found.validity, found.uid_next) {
            self.keep(Batch::default()).await?;
        }
        let mut is_well = self.finish().await?;
        let (mut from, mut window) = (self.book.next_uid(), WINDOW_UIDS);
        while from < found.uid_next {
            let to = from.saturating_add(window - 1).min(found.uid_next - 1);
            let listed = self.session.list(from, to).await?;
            window = match listed.is_empty() {
                true => window.saturating_mul(2),
                false => WINDOW_UIDS,
            };
            is_well &= self.take(listed).await?;
            from = to + 1;
        }
        Ok(is_well)
    }

    /// Takes what is new among some mails, in the order of their UIDs.
    async fn take(&mut self, listed: Vec<Listed>) -> Result<bool, Trouble> {
        if listed.is_empty() {
            return Ok(true);
        }
        let mut batch = Batch::default();
        let mut is_well = true;
        for mail in listed {
            if self.book.judge(&mail, self.wish.first) {
                let is_whole = self.read(&mail, &mut batch).await?;
                // What is not here as a whole is not deleted there.
                self.book
                    .took(&mail, is_whole || self.wish.after != After::Delete);
            } else {
                self.book.passed(&mail);
            }
            if batch.is_full() {
                self.keep(std::mem::take(&mut batch)).await?;
                is_well &= self.finish().await?;
            }
        }
        self.keep(batch).await?;
        Ok(self.finish().await? && is_well)
    }

    /// Reads one mail into the batch; false if it is too large to be read as a whole.
    async fn read(&mut self, listed: &Listed, batch: &mut Batch) -> Result<bool, Trouble> {
        let size = usize::try_from(listed.size).unwrap_or(usize::MAX);
        let only_headers = size > MAIL_BYTES_MAX;
        let Some(bytes) = self.session.read(listed.uid, only_headers).await? else {
            let (folder, uid) = (&self.wish.folder, listed.uid);
            tracing::info!(folder, uid, "a mail went before it could be read");
            return Ok(true);
        };
        // Some servers say less than a mail has.
        let is_whole = !only_headers && bytes.len() < MAIL_BYTES_MAX;
        let mut meta = self.meta(listed);
        if !is_whole {
            let size = size.max(bytes.len());
            let why = format!(
                "the mail has {size} bytes or more, and {MAIL_BYTES_MAX} are too many; it was not read whole"
            );
            meta.extra.insert("decode_error".to_owned(), why.into());
        }
        batch.bytes += bytes.len();
        batch.events.push(mail::decode(&bytes, meta));
        Ok(is_whole)
    }

    fn meta(&self, listed: &Listed) -> Meta {
        let mut meta = Meta::new("imap", self.context.clock().now());
        meta.peer.clone_from(&self.wish.peer);
        let folder = Value::from(self.wish.folder.as_str());
        meta.extra.insert("folder".to_owned(), folder);
        let uid = Value::Int(i64::from(listed.uid));
        meta.extra.insert("uid".to_owned(), uid);
        meta
    }

    /// Puts the events and what the book says on disk, in one batch.
    async fn keep(&self, batch: Batch) -> Result<(), Trouble> {
        let keeping = self
            .context
            .push_and_remember(batch.events, self.book.memory());
        keeping.await?;
        Ok(())
    }

    /// Marks, moves or deletes what was taken. What the server refuses is told and tried again in
    /// the next round; it keeps no new mail out.
    async fn finish(&mut self) -> Result<bool, Trouble> {
        let pending = self.book.pending();
        if pending.is_empty() {
            return Ok(true);
        }
        let done = match (self.wish.after, &self.wish.move_to) {
            (After::Move, Some(folder)) => self.session.move_to(pending, folder).await?,
            (After::Delete, _) => self.session.delete(pending).await?,
            _ => self.session.mark_seen(pending).await?,
        };
        if let Err(why) = done {
            self.context.trouble(&why);
            return Ok(false);
        }
        self.book.finished();
        self.keep(Batch::default()).await?;
        Ok(true)
    }
}
