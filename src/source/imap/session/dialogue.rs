//! Commands and what comes of them, and waiting for what the server says by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::dial::Link;
use super::super::keys::Wish;
use super::super::wire::{COMMAND_MAX, QUIET_MAX, Wire};
use super::answer::{self, Answer, Code, Verdict};
use crate::secret::Secret;
use crate::source::Trouble;

/// How long a server that says when mails come is believed without looking.
pub const IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// What the server refused, in words; the connection stands.
pub(in super::super) type Done = Result<(), String>;

/// A connection that is spoken on, one command after another.
pub(super) struct Dialogue {
    wire: Wire,
    /// What must not show in a message.
    secret: Secret,
    abilities: BTreeSet<String>,
    /// Mails came since this was last set to false.
    pub(super) is_news: bool,
    commands: u32,
}

impl Dialogue {
    pub(super) fn new(link: Box<dyn Link>, wish: &Wish) -> Dialogue {
        Dialogue {
            wire: Wire::new(link, &wish.peer),
            secret: wish.proof.secret().clone(),
            abilities: BTreeSet::new(),
            is_news: false,
            commands: 0,
        }
    }

    /// The connection, to put TLS around it.
    ///
    /// # Errors
    /// As [`Wire::into_link`].
    pub(super) fn into_link(self) -> Result<Box<dyn Link>, Trouble> {
        self.wire.into_link()
    }

    /// Hears that the server is there for us.
    pub(super) async fn greeting(&mut self) -> Result<(), Trouble> {
        let heard = self.wire.hear().await?;
        match Answer::read(&heard) {
            Answer::State(Verdict::Ok, ..) => Ok(()),
            _ => Err(self.refusal("greeted with", &answer::words(&heard))),
        }
    }

    /// Asks what the server can do, and forgets what it could.
    pub(super) async fn learn_abilities(&mut self) -> Result<(), Trouble> {
        self.abilities.clear();
        self.order("CAPABILITY").await
    }

    /// True if the server has said that it can do this.
    pub(super) fn can(&self, ability: &str) -> bool {
        self.abilities.contains(ability)
    }

    /// Waits until mails come, or for [`IDLE_MAX`] (RFC 2177).
    pub(super) async fn idle(&mut self) -> Result<(), Trouble> {
        match timeout(IDLE_MAX + QUIET_MAX, self.wait()).await {
            Ok(waited) => waited,
            Err(_) => Err(self.trouble("does not end what it was asked to end")),
        }
    }

    async fn wait(&mut self) -> Result<(), Trouble> {
        let tag = self.tag();
        self.wire.send(&format!("{tag} IDLE")).await?;
        let until = Instant::now() + IDLE_MAX;
        let (mut may_end, mut is_done) = (false, false);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let is_over = self.is_news || left.is_zero();
            if is_over && may_end && !is_done {
                self.wire.send("DONE").await?;
                is_done = true;
            }
            if !is_over && !self.wire.speaks(left).await? {
                continue;
            }
            let heard = self.wire.hear().await?;
            match self.noted(Answer::read(&heard)) {
                Answer::Continue => may_end = true,
                Answer::Done(said_tag, Verdict::Ok, _) if said_tag == tag => return Ok(()),
                Answer::Done(..) => {
                    return Err(self.refusal("does not wait:", &answer::words(&heard)));
                }
                _ => {}
            }
        }
    }

    /// A command that must be obeyed.
    pub(super) async fn order(&mut self, command: &str) -> Result<(), Trouble> {
        let done = self.ask(command, None, |_| ()).await?;
        done.map_err(|words| self.refusal(&format!("refuses {command}:"), &words))
    }

    /// A command that may be refused; what was refused is then a whole sentence.
    pub(super) async fn request(&mut self, command: &str) -> Result<Done, Trouble> {
        let done = self.ask(command, None, |_| ()).await?;
        let word: Vec<&str> = command.split(' ').take(2).collect();
        let refuses = format!("refuses {}:", word.join(" "));
        Ok(done.map_err(|words| self.refusal(&refuses, &words).to_string()))
    }

    /// Sends a command, and `reply` when the server asks on; hands each answer to `take`. What the
    /// server refuses comes back in its own words.
    pub(super) async fn ask(
        &mut self,
        command: &str,
        reply: Option<&str>,
        take: impl FnMut(Answer),
    ) -> Result<Done, Trouble> {
        match timeout(COMMAND_MAX, self.talk(command, reply, take)).await {
            Ok(done) => done,
            Err(_) => Err(self.trouble("takes too long for an answer")),
        }
    }

    async fn talk(
        &mut self,
        command: &str,
        mut reply: Option<&str>,
        mut take: impl FnMut(Answer),
    ) -> Result<Done, Trouble> {
        let tag = self.tag();
        self.wire.send(&format!("{tag} {command}")).await?;
        loop {
            let heard = self.wire.hear().await?;
            match self.noted(Answer::read(&heard)) {
                Answer::Continue => {
                    // An empty line takes back what would go on for ever.
                    self.wire.send(reply.take().unwrap_or_default()).await?;
                }
                Answer::Done(said_tag, verdict, _) if said_tag == tag => {
                    return Ok(match verdict {
                        Verdict::Ok => Ok(()),
                        Verdict::No => Err(answer::words(&heard)),
                    });
                }
                Answer::State(Verdict::No, None, true) => {
                    return Err(self.refusal("says goodbye:", &answer::words(&heard)));
                }
                Answer::Broken => {
                    return Err(self.refusal("cannot be understood:", &answer::words(&heard)));
                }
                answer => take(answer),
            }
        }
    }

    /// Notes what an answer tells beside what was asked.
    fn noted(&mut self, answer: Answer) -> Answer {
        match &answer {
            Answer::Exists => self.is_news = true,
            Answer::Abilities(list)
            | Answer::State(_, Some(Code::Abilities(list)), _)
            | Answer::Done(_, _, Some(Code::Abilities(list))) => {
                self.abilities.extend(list.iter().cloned());
            }
            _ => {}
        }
        answer
    }

    fn tag(&mut self) -> String {
        self.commands = self.commands.wrapping_add(1);
        format!("v{}", self.commands)
    }

    /// Something that the server did.
    pub(super) fn trouble(&self, what: &str) -> Trouble {
        self.wire.trouble(what)
    }

    /// What the server said, without what nobody may see.
    pub(super) fn refusal(&self, what: &str, words: &str) -> Trouble {
        let words = self.secret.cover(words);
        self.wire.trouble(&format!("{what} {words}"))
    }
}
