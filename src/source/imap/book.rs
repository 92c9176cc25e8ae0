//! What is remembered of a mailbox: up to which UID it was read, and what the mails in it looked like.
//!
//! As long as the server numbers its mails as before (UIDVALIDITY), a mail above the last UID is new
//! and nothing else counts. When it numbers them anew, those that were there at that moment are
//! compared with what is remembered, one by one: two alike are two mails. The newest [`KEYS_MAX`]
//! are remembered; if there were more, a mail that is marked as seen is taken for one of them.

use std::collections::{HashMap, VecDeque};

use super::keys::First;
use super::session::Listed;

/// Most mails whose looks are remembered; older ones are forgotten first.
pub const KEYS_MAX: usize = 10_000;
/// Most mails that wait to be marked, moved or deleted; older ones are left as they are.
pub const PENDING_MAX: usize = 10_000;
/// Stands in front, so that another way to keep it can be told apart.
const FORM: u8 = b'1';

/// A hash that tells a mail, or a mailbox, from others.
pub(super) type Key = [u8; 16];

/// Why there are mails below [`Book::until`] that have not been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The mailbox was met for the first time.
    First,
    /// It was numbered anew.
    Anew,
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Book {
    mailbox: Key,
    stage: Stage,
    /// More mails were there than were remembered when it was numbered anew.
    is_short: bool,
    /// The server's UIDVALIDITY; 0, which no server says, before it was met.
    validity: u32,
    /// The last UID that was looked at.
    last: u32,
    /// Mails from this UID on came after the mailbox was met under this numbering.
    until: u32,
    /// UIDs of what was taken and is not yet marked, moved or deleted.
    pending: Vec<u32>,
    /// What was there under the numbering before and has not been met again, with how often.
    before: HashMap<Key, u32>,
    /// What was looked at under this one, oldest first.
    keys: VecDeque<Key>,
}

impl Book {
    /// From a memory; of another mailbox only the looks of its mails are taken over.
    pub(super) fn recall(memory: Option<&[u8]>, mailbox: Key) -> Book {
        let recalled = memory.and_then(|memory| Reader(memory).book());
        match recalled {
            Some(book) if book.mailbox == mailbox => book,
            Some(book) => Book {
                before: book.counted(),
                ..Book::blank(mailbox)
            },
            None => Book::blank(mailbox),
        }
    }

    fn blank(mailbox: Key) -> Book {
        Book {
            mailbox,
            stage: Stage::First,
            is_short: false,
            validity: 0,
            last: 0,
            until: 0,
            pending: Vec::new(),
            before: HashMap::new(),
            keys: VecDeque::new(),
        }
    }

    /// Meets the mailbox as the server shows it; true if it is numbered as never before.
    pub(super) fn meet(&mut self, validity: u32, uid_next: u32) -> bool {
        if self.validity == validity {
            return false;
        }
        if self.validity != 0 {
            self.stage = Stage::Anew;
            self.is_short = self.keys.len() >= KEYS_MAX;
            self.before = self.counted();
            self.keys.clear();
        }
        self.validity = validity;
        self.last = 0;
        self.until = uid_next;
        self.pending.clear();
        true
    }

    /// The newest of all that is remembered, counted.
    fn counted(&self) -> HashMap<Key, u32> {
        let mut counted: HashMap<Key, u32> = HashMap::new();
        let older = self.before.iter();
        let older = older.flat_map(|(key, count)| std::iter::repeat_n(key, *count as usize));
        for key in self.keys.iter().chain(older).take(KEYS_MAX) {
            *counted.entry(*key).or_default() += 1;
        }
        counted
    }

    /// The first UID that was not looked at.
    pub(super) fn next_uid(&self) -> u32 {
        self.last.saturating_add(1)
    }

    /// True if the mail is to become an event. What it is compared with is used up by it.
    pub(super) fn judge(&mut self, mail: &Listed, first: First) -> bool {
        if mail.uid >= self.until {
            return true;
        }
        if self.was_here(mail) {
            return false;
        }
        match (self.stage, first) {
            (Stage::Anew, _) => !(self.is_short && mail.is_seen),
            (Stage::First, First::All) => true,
            (Stage::First, First::Unseen) => !mail.is_seen,
            (Stage::First, First::Skip) => false,
        }
    }

    fn was_here(&mut self, mail: &Listed) -> bool {
        let Some(key) = mail.key else {
            return false;
        };
        let Some(count) = self.before.get_mut(&key) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.before.remove(&key);
        }
        true
    }

    /// The mail becomes an event; what is to be done after that waits if it `may_go`.
    pub(super) fn took(&mut self, mail: &Listed, may_go: bool) {
        self.passed(mail);
        if may_go {
            self.pending.push(mail.uid);
            let beyond = self.pending.len().saturating_sub(PENDING_MAX);
            self.pending.drain(..beyond);
        }
    }

    /// The mail was looked at.
    pub(super) fn passed(&mut self, mail: &Listed) {
        self.last = self.last.max(mail.uid);
        self.keys.extend(mail.key);
        let beyond = self.keys.len().saturating_sub(KEYS_MAX);
        self.keys.drain(..beyond);
    }

    /// What waits to be marked, moved or deleted.
    pub(super) fn pending(&self) -> &[u32] {
        &self.pending
    }

    /// It is done.
    pub(super) fn finished(&mut self) {
        self.pending.clear();
    }

    /// As it is kept.
    pub(super) fn memory(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        bytes.extend(self.mailbox);
        bytes.push(u8::from(self.stage == Stage::Anew));
        bytes.push(u8::from(self.is_short));
        // Once all that was there is looked at, nothing is compared any more.
        let before = match self.next_uid() < self.until {
            true => self.counted_before(),
            false => Vec::new(),
        };
        let lengths = [self.pending.len(), before.len()];
        let lengths = lengths.map(|length| u32::try_from(length).unwrap_or(u32::MAX));
        for number in [self.validity, self.last, self.until, lengths[0], lengths[1]] {
            bytes.extend(number.to_be_bytes());
        }
        for uid in &self.pending {
            bytes.extend(uid.to_be_bytes());
        }
        for key in before.into_iter().chain(self.keys.iter()) {
            bytes.extend(key);
        }
        bytes
    }

    fn counted_before(&self) -> Vec<&Key> {
        let before = self.before.iter();
        let each = before.flat_map(|(key, count)| std::iter::repeat_n(key, *count as usize));
        each.collect()
    }
}

/// Reads a memory from its start.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn book(mut self) -> Option<Book> {
        let [form] = self.some::<1>()?;
        let mut book = Book::blank(self.some()?);
        let [is_anew, is_short] = self.some::<2>()?;
        if is_anew == 1 {
            book.stage = Stage::Anew;
        }
        book.is_short = is_short == 1;
        (book.validity, book.last, book.until) = (self.number()?, self.number()?, self.number()?);
        let (pending, before) = (self.number()?, self.number()?);
        for _ in 0..pending {
            book.pending.push(self.number()?);
        }
        for _ in 0..before {
            *book.before.entry(self.some()?).or_default() += 1;
        }
        book.keys.extend(self.0.as_chunks::<16>().0);
        (form == FORM).then_some(book)
    }

    fn number(&mut self) -> Option<u32> {
        self.some().map(u32::from_be_bytes)
    }

    fn some<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let (some, rest) = self.0.split_first_chunk::<SIZE>()?;
        self.0 = rest;
        Some(*some)
    }
}
