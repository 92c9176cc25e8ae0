//! `vigie token new`

use clap::{Args, Subcommand, ValueEnum};

use super::report;
use crate::access::new_token;
use crate::error::Exit;

/// Make a token for a caller.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vigie token new --name zabbix --channel alert --right send")]
pub(super) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a new token once, and the block for settings.toml that knows only its hash
    New(New),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vigie token new --name zabbix --channel alert --right send")]
struct New {
    /// Who it is for; stands in audit lines
    #[arg(long)]
    name: String,
    /// A channel it is good for; may be repeated; without any it is good for all
    #[arg(long)]
    channel: Vec<String>,
    /// What its owner may do; may be repeated
    #[arg(long, default_values_t = [Right::Send])]
    right: Vec<Right>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Right {
    /// Put events into channels
    Send,
    /// Take events out of channels
    Receive,
    /// Look at events, runs and listings
    Read,
    /// Retry, pause and the like
    Operate,
}

impl std::fmt::Display for Right {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl Token {
    pub(super) fn run(self) -> Exit {
        let Verb::New(new) = self.verb;
        let (token, hash) = new_token();
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let list = |items: Vec<String>| {
            items
                .iter()
                .map(|item| quote(item))
                .collect::<Vec<_>>()
                .join(", ")
        };
        report::sentence(
            "the token stands on the first line and is shown this once; the block is for settings.toml",
        );
        report::line(&token);
        report::line("");
        report::line("[[token]]");
        report::line(&format!("name = {}", quote(&new.name)));
        report::line(&format!("hash = {}", quote(&hash)));
        if !new.channel.is_empty() {
            report::line(&format!("channels = [{}]", list(new.channel)));
        }
        report::line(&format!(
            "rights = [{}]",
            list(new.right.iter().map(Right::to_string).collect())
        ));
        Exit::Ok
    }
}
