//! What is asked of an IMAP server, in its order: greeting, TLS, login, then the words for one folder.
//!
//! A command counts as done only when the server says OK to it: a refusal or a lost connection is
//! never an empty answer.

mod answer;
mod dialogue;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::book::Key;
use super::keys::{Proof, Tls, Wish};
use super::{dial, folder};
use crate::source::Trouble;
use crate::source::mail::MAIL_BYTES_MAX;
use answer::{Answer, Code, Fetched};
pub(super) use dialogue::Done;
pub use dialogue::IDLE_MAX;

use dialogue::Dialogue;

/// False if this answer of a server, with its literals, matters and cannot be read.
pub fn understands(heard: &[u8]) -> bool {
    !matches!(Answer::read(heard), Answer::Broken)
}

/// Most mails that one answer may list.
pub const LISTED_MAX: usize = 10_000;
/// Of a mail's own marks, and of the headers of one that is too large, this much is read.
const MARKS_BYTES_MAX: usize = 4 * 1024;
const HEADERS_BYTES_MAX: usize = 256 * 1024;
/// UIDs that stand in one command.
const UIDS_MAX: usize = 200;

/// A folder as it is now.
pub(super) struct Found {
    pub(super) validity: u32,
    pub(super) uid_next: u32,
}

/// A mail that is there.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) uid: u32,
    /// In bytes.
    pub(super) size: u32,
    pub(super) is_seen: bool,
    /// Tells it from others; none if it has nothing that would.
    pub(super) key: Option<Key>,
}

/// A login.
pub(super) struct Session {
    talk: Dialogue,
}

impl Session {
    /// Connects, protects the connection as it is wished, and logs in.
    ///
    /// # Errors
    /// The server is away, not who it should be, or refuses the login.
    pub(super) async fn open(wish: &Wish) -> Result<Session, Trouble> {
        let mut link = dial::connect(wish).await?;
        if wish.tls == Tls::Wrapped {
            link = dial::secure(link, wish).await?;
        }
        let mut talk = Dialogue::new(link, wish);
        talk.greeting().await?;
        if wish.tls == Tls::Starttls {
            talk.order("STARTTLS").await?;
            let link = dial::secure(talk.into_link()?, wish).await?;
            // What it said in the clear, somebody else may have said: it starts anew.
            talk = Dialogue::new(link, wish);
        }
        talk.learn_abilities().await?;
        let mut session = Session { talk };
        session.log_in(wish).await?;
        // What it can do now is another list.
        session.talk.learn_abilities().await?;
        Ok(session)
    }

    async fn log_in(&mut self, wish: &Wish) -> Result<(), Trouble> {
        let (user, secret) = (&wish.user, wish.proof.secret().expose());
        let (command, reply) = match &wish.proof {
            Proof::Token(_) => {
                let bearer = format!("user={user}\u{1}auth=Bearer {secret}\u{1}\u{1}");
                ("AUTHENTICATE XOAUTH2".to_owned(), Some(bearer))
            }
            Proof::Password(_) if self.talk.can("AUTH=PLAIN") => {
                let pair = format!("\0{user}\0{secret}");
                ("AUTHENTICATE PLAIN".to_owned(), Some(pair))
            }
            Proof::Password(_) => {
                let command = format!("LOGIN {} {}", quoted(user), quoted(secret));
                (command, None)
            }
        };
        let reply = reply.map(|reply| STANDARD.encode(reply));
        let done = self.talk.ask(&command, reply.as_deref(), |_| ()).await?;
        let refused = format!("refuses the login of {user}:");
        done.map_err(|words| self.talk.refusal(&refused, &words))
    }

    /// Opens the folder for reading and marking.
    pub(super) async fn select(&mut self, name: &str) -> Result<Found, Trouble> {
        let (mut validity, mut uid_next) = (None, None);
        let command = format!("SELECT {}", quoted(&folder::encode(name)));
        let done = self
            .talk
            .ask(&command, None, |answer| match answer {
                Answer::State(_, Some(Code::UidValidity(number)), _) => validity = Some(number),
                Answer::State(_, Some(Code::UidNext(number)), _) => uid_next = Some(number),
                _ => {}
            })
            .await?;
        let cannot = format!("does not open the folder `{name}`:");
        done.map_err(|words| self.talk.refusal(&cannot, &words))?;
        self.talk.is_news = false;
        let Some(validity) = validity.filter(|number| *number > 0) else {
            return Err(self.talk.trouble("does not number its mails (UIDVALIDITY)"));
        };
        let uid_next = match uid_next {
            Some(uid_next) => uid_next,
            None => self.last_uid().await?.saturating_add(1),
        };
        Ok(Found { validity, uid_next })
    }

    async fn last_uid(&mut self) -> Result<u32, Trouble> {
        let last = self.fetch("UID FETCH * (UID)").await?;
        Ok(last.iter().filter_map(|mail| mail.uid).max().unwrap_or(0))
    }

    /// The mails with UIDs in `from..=to`, in their order.
    pub(super) async fn list(&mut self, from: u32, to: u32) -> Result<Vec<Listed>, Trouble> {
        let marks = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]";
        let command =
            format!("UID FETCH {from}:{to} (UID FLAGS RFC822.SIZE {marks}<0.{MARKS_BYTES_MAX}>)");
        let fetched = self.fetch(&command).await?;
        let mut listed: Vec<Listed> = fetched.into_iter().filter_map(listed).collect();
        listed.retain(|mail| (from..=to).contains(&mail.uid));
        // What a server adds by itself tells less of a mail than what was asked for.
        listed.sort_by_key(|mail| (mail.uid, mail.key.is_none()));
        listed.dedup_by_key(|mail| mail.uid);
        Ok(listed)
    }

    /// The bytes of a mail, or of its headers only; `None` if it is gone.
    pub(super) async fn read(
        &mut self,
        uid: u32,
        only_headers: bool,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        let what = match only_headers {
            true => format!("BODY.PEEK[HEADER]<0.{HEADERS_BYTES_MAX}>"),
            false => format!("BODY.PEEK[]<0.{MAIL_BYTES_MAX}>"),
        };
        let fetched = self.fetch(&format!("UID FETCH {uid} (UID {what})")).await?;
        let mut mine = fetched.into_iter().filter(|mail| mail.uid == Some(uid));
        Ok(mine.find_map(|mail| mail.bytes))
    }

    async fn fetch(&mut self, command: &str) -> Result<Vec<Fetched>, Trouble> {
        let mut fetched = Vec::new();
        let mut is_too_much = false;
        let take = |answer| match answer {
            Answer::Fetch(_) if fetched.len() >= LISTED_MAX => is_too_much = true,
            Answer::Fetch(mail) => fetched.push(mail),
            _ => {}
        };
        let done = self.talk.ask(command, None, take).await?;
        done.map_err(|words| self.talk.refusal("does not give its mails:", &words))?;
        match is_too_much {
            true => Err(self.talk.trouble("lists more mails than were asked for")),
            false => Ok(fetched),
        }
    }

    /// Marks mails as seen.
    pub(super) async fn mark_seen(&mut self, uids: &[u32]) -> Result<Done, Trouble> {
        self.each(uids, |set| {
            format!("UID STORE {set} +FLAGS.SILENT (\\Seen)")
        })
        .await
    }

    /// Deletes mails: for good if the server can do that for these alone (UIDPLUS), else they are
    /// marked as deleted, because others may be marked too that are not ours.
    pub(super) async fn delete(&mut self, uids: &[u32]) -> Result<Done, Trouble> {
        let marked = self
            .each(uids, |set| {
                format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)")
            })
            .await?;
        match (marked, self.talk.can("UIDPLUS")) {
            (Ok(()), true) => self.each(uids, |set| format!("UID EXPUNGE {set}")).await,
            (marked, _) => Ok(marked),
        }
    }

    /// Moves mails to another folder, which is made if it is not there.
    pub(super) async fn move_to(&mut self, uids: &[u32], name: &str) -> Result<Done, Trouble> {
        let name = quoted(&folder::encode(name));
        let can_move = self.talk.can("MOVE");
        let word = if can_move { "MOVE" } else { "COPY" };
        let put = |set: &str| format!("UID {word} {set} {name}");
        let mut moved = self.each(uids, put).await?;
        let is_missing = moved.as_ref().is_err_and(|why| why.contains("[TRYCREATE]"));
        if is_missing && self.talk.request(&format!("CREATE {name}")).await?.is_ok() {
            moved = self.each(uids, put).await?;
        }
        match (moved, can_move) {
            (Ok(()), false) => self.delete(uids).await,
            (moved, _) => Ok(moved),
        }
    }

    /// The same command for some mails at a time, until one is refused.
    async fn each(
        &mut self,
        uids: &[u32],
        command: impl Fn(&str) -> String,
    ) -> Result<Done, Trouble> {
        for some in uids.chunks(UIDS_MAX) {
            let set: Vec<String> = some.iter().map(u32::to_string).collect();
            let done = self.talk.request(&command(&set.join(","))).await?;
            if done.is_err() {
                return Ok(done);
            }
        }
        Ok(Ok(()))
    }

    /// True if the server says by itself when mails come.
    pub(super) fn can_idle(&self) -> bool {
        self.talk.can("IDLE")
    }

    /// Waits until mails come, or for [`IDLE_MAX`].
    pub(super) async fn idle(&mut self) -> Result<(), Trouble> {
        match self.talk.is_news {
            true => Ok(()),
            false => self.talk.idle().await,
        }
    }
}

/// `[HEADER.FIELDS]` in whatever order, and the size, tell a mail from others.
fn listed(mail: Fetched) -> Option<Listed> {
    let (uid, size) = (mail.uid?, mail.size.unwrap_or(0));
    let marks = mail.bytes.unwrap_or_default();
    let mut lines: Vec<&[u8]> = marks.split(|byte| *byte == b'\n').collect();
    lines.iter_mut().for_each(|line| *line = line.trim_ascii());
    lines.retain(|line| !line.is_empty());
    lines.sort_unstable();
    let hash: [u8; 32] = Sha256::new()
        .chain_update(lines.join(&b'\n'))
        .chain_update(size.to_be_bytes())
        .finalize()
        .into();
    let key = hash.first_chunk().copied();
    Some(Listed {
        uid,
        size,
        is_seen: mail.is_seen,
        key: key.filter(|_| !lines.is_empty()),
    })
}

/// Text as a command holds it (RFC 3501 §4.3).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
