//! A copy of a journal up to a command: what a fork begins with.
//!
//! Invariant: what was done is not done again. A copied command has its outcome, and keeps the key
//! that it was done with; only what comes after it has keys of the fork's own.

use jiff::Timestamp;

use crate::attempt;
use crate::event::RunId;
use crate::journal::{Entry, Forked, Journal, Start};

/// Where a fork begins, and with what.
#[derive(Debug, Clone)]
pub struct Cut {
    /// The fork's id.
    pub run: RunId,
    /// Commands below this are taken over.
    pub commands: usize,
    /// The version of the script that the fork is pinned to.
    pub version: String,
    /// When.
    pub at: Timestamp,
}

impl RunId {
    /// Which copy of a run this is: 1 for the run that its event began, 2 for `…~2`.
    pub fn copy_number(&self) -> u32 {
        let copy = self.as_str().rsplit_once('~');
        copy.and_then(|(_, number)| number.parse().ok())
            .unwrap_or(1)
    }

    /// The copy with this number of the run that the same event began.
    #[must_use]
    pub fn copy(&self, number: u32) -> RunId {
        RunId::new(&self.event(), &format!("{}~{number}", self.flow()))
    }
}

impl Journal {
    /// The journal of a fork, with everything before the command at which it is cut.
    ///
    /// # Errors
    /// A sentence: there are not so many commands, or one of them has no outcome yet.
    pub fn forked(&self, cut: &Cut) -> Result<Journal, String> {
        self.has_outcomes(cut.commands)?;
        let start = self.start().ok_or("its beginning is not kept any more")?;
        let mut copy = Journal::addition_to(cut.run.clone());
        copy.add(Entry::Start(Start {
            at: cut.at,
            version: cut.version.clone(),
            ..start.clone()
        }));
        // Before everything else, so that a fork that begins earlier still has them.
        self.origins(cut)
            .for_each(|forked| copy.add(Entry::Forked(forked)));
        for entry in self.entries() {
            if matches!(entry, Entry::Command(_)) && copy.command_count() == cut.commands {
                break;
            }
            if is_taken_over(entry) {
                copy.add(entry.clone());
            }
        }
        Ok(copy)
    }

    /// From whom commands were taken over, the first run first.
    fn origins(&self, cut: &Cut) -> impl Iterator<Item = Forked> {
        let commands = cut.commands as u64;
        let earlier = self.entries().iter().filter_map(move |entry| match entry {
            Entry::Forked(forked) => Some(Forked {
                commands: forked.commands.min(commands),
                ..forked.clone()
            }),
            _ => None,
        });
        earlier.chain([Forked {
            at: cut.at,
            from: self.run.clone(),
            commands,
        }])
    }

    fn has_outcomes(&self, commands: usize) -> Result<(), String> {
        let count = self.command_count();
        if commands > count {
            return Err(format!(
                "{} has {count} commands; a fork begins at 0 to {count}",
                self.run
            ));
        }
        let is_known = |index: usize| {
            let answer = self.command(index).map(|command| command.answer.is_some());
            answer == Some(true) || self.outcome(index).is_some()
        };
        match (0..commands).find(|index| !is_known(*index)) {
            None => Ok(()),
            Some(index) => Err(format!(
                "nothing has come of command {index} of {} yet; a fork begins at 0 to {index}",
                self.run
            )),
        }
    }

    /// The key with which the command at `index` is done: the run's own, or that of the run from
    /// which the command was taken over.
    pub fn key(&self, index: usize) -> String {
        let index = index as u64;
        // The first that holds it: a fork of a fork keeps what that one took over.
        let owner = self.entries().iter().find_map(|entry| match entry {
            Entry::Forked(forked) if index < forked.commands => Some(&forked.from),
            _ => None,
        });
        attempt::key(owner.unwrap_or(&self.run), self.commands_before() + index)
    }
}

/// The copy has its own beginning and its own end; how the other run went on is not its story.
fn is_taken_over(entry: &Entry) -> bool {
    matches!(
        entry,
        Entry::Command(_)
            | Entry::Outcome(_)
            | Entry::Console(_)
            | Entry::Note(..)
            | Entry::Seen(_)
            | Entry::Continued(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Value;
    use crate::gate::Question;
    use crate::journal::{Command, Outcome};

    fn journal(outcomes: usize, commands: usize) -> Journal {
        let start = Start {
            at: Timestamp::UNIX_EPOCH,
            flow: "alert/page".to_owned(),
            version: "one".to_owned(),
            engine_flags: 1,
            events: vec![1],
            trouble: Some("web01".to_owned()),
            told: Default::default(),
        };
        let mut journal = Journal::begin("alert/1/page".parse().unwrap(), start);
        for of in 0..commands {
            journal.add(Entry::Command(Command {
                at: Timestamp::UNIX_EPOCH,
                question: Question {
                    word: "http::post".to_owned(),
                    arguments: vec![Value::Int(of as i64)],
                },
                answer: None,
            }));
            if of < outcomes {
                journal.add(Entry::Outcome(Outcome {
                    at: Timestamp::UNIX_EPOCH,
                    of: of as u64,
                    attempts: 1,
                    result: Ok(Value::Null),
                }));
            }
        }
        journal
    }

    fn cut(copy: u32, commands: usize) -> Cut {
        let run: RunId = "alert/1/page".parse().unwrap();
        Cut {
            run: run.copy(copy),
            commands,
            version: "two".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_fork_takes_over_what_came_before_the_command() {
        let fork = journal(4, 5).forked(&cut(2, 3)).unwrap();
        assert_eq!(fork.run.as_str(), "alert/1/page~2");
        assert_eq!((fork.command_count(), fork.version()), (3, Some("two")));
        assert!(fork.outcome(2).is_some());
        assert_eq!(fork.start().unwrap().trouble.as_deref(), Some("web01"));
    }

    #[test]
    fn a_fork_cannot_begin_after_a_command_without_an_outcome() {
        let why = journal(4, 5).forked(&cut(2, 5)).unwrap_err();
        assert!(why.contains("nothing has come of command 4"), "{why}");
        let why = journal(4, 5).forked(&cut(2, 6)).unwrap_err();
        assert!(why.contains("has 5 commands"), "{why}");
    }

    #[test]
    fn a_command_keeps_its_key_through_forks_of_forks() {
        let first = journal(9, 9);
        let second = first.forked(&cut(2, 3)).unwrap();
        let key = |index| second.key(index);
        assert_eq!([key(0), key(2)], [first.key(0), first.key(2)]);
        assert_ne!(key(3), first.key(3));
        // The second goes on by itself, and is forked before and after where it began.
        let mut second = second;
        for entry in journal(2, 2).entries() {
            let mut entry = entry.clone();
            if let Entry::Outcome(outcome) = &mut entry {
                outcome.of += 3;
            }
            if !matches!(entry, Entry::Start(_)) {
                second.add(entry);
            }
        }
        let late = second.forked(&cut(3, 5)).unwrap();
        assert_eq!(late.key(2), first.key(2));
        assert_eq!(late.key(4), second.key(4));
        assert_ne!(late.key(5), second.key(5));
        let early = second.forked(&cut(4, 2)).unwrap();
        assert_eq!(early.key(1), first.key(1));
        assert_ne!(early.key(2), first.key(2));
    }

    #[test]
    fn a_fork_is_read_back_as_it_was_written() {
        let mut fork = journal(4, 4).forked(&cut(2, 4)).unwrap();
        let record = fork.take_pending().unwrap();
        let read = Journal::read(fork.run.clone(), &[record]).unwrap();
        assert_eq!(read.entries(), fork.entries());
        assert_eq!(read.run.copy_number(), 2);
    }
}
