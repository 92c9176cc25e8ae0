//! `vigie completions`, `vigie man`

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use super::{command, report};
use crate::error::Exit;

/// Print the completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vigie completions bash > /etc/bash_completion.d/vigie")]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Exit {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "vigie", &mut text);
        print(&text)
    }
}

/// Print the manual page.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vigie man | man -l -\n  vigie man list | man -l -")]
pub(super) struct Man {
    /// The page of one verb
    verb: Option<String>,
}

impl Man {
    pub(super) fn run(self) -> Exit {
        let mut page = command();
        page.build();
        if let Some(verb) = &self.verb {
            let Some(found) = page.find_subcommand(verb) else {
                report::sentence(&format!("there is no verb `{verb}`"));
                return Exit::Usage;
            };
            page = found.clone();
        }
        let mut text = Vec::new();
        match clap_mangen::Man::new(page).render(&mut text) {
            Ok(()) => print(&text),
            Err(_) => Exit::Bug,
        }
    }
}

fn print(text: &[u8]) -> Exit {
    // A closed pipe is the reader's choice.
    let _ = std::io::stdout().write_all(text);
    Exit::Ok
}
