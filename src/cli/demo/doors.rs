//! Events through the real doors: this program called as a monitor, a mail server and snmptrapd
//! would call it, and a webhook by HTTP.

use std::io::Write;
use std::process::{Output, Stdio};

use super::daemon::command;
use super::house::House;
use crate::cli::client::Client;

/// A mail with a Japanese subject and an attachment, as Postfix hands it over.
const MAIL: &str = include_str!("house/mail.eml");
/// Traps as snmptrapd hands them over.
pub(super) const LINK_DOWN: &str = include_str!("house/link_down.txt");
pub(super) const LINK_UP: &str = include_str!("house/link_up.txt");
/// What Alertmanager posts.
const ALERT: &str = include_str!("house/alert.json");

/// The doors of a server, which may be away.
pub(super) struct Doors<'a> {
    house: &'a House,
    url: String,
}

impl<'a> Doors<'a> {
    pub(super) fn new(house: &'a House, url: &str) -> Doors<'a> {
        Doors {
            house,
            url: url.to_owned(),
        }
    }

    /// `vigie send` with these pairs; gives what it said.
    pub(super) fn send(&self, pairs: &[&str]) -> Result<String, String> {
        let options = ["--config", "kompira.conf"];
        self.call("send", &[&options, pairs].concat(), "")
    }

    /// `vigie mail` as Postfix calls it.
    pub(super) fn mail(&self) -> Result<String, String> {
        self.call("mail", &["--channel", "mail"], MAIL)
    }

    /// `vigie trap` as snmptrapd calls it.
    pub(super) fn trap(&self, text: &str) -> Result<String, String> {
        self.call("trap", &["--channel", "snmptrap"], text)
    }

    /// The webhook as Alertmanager posts it.
    pub(super) fn webhook(&self) -> Result<(), String> {
        let client = Client::at(&self.url)?;
        let posted = client.hand_in("/hooks/alertmanager/prometheus", ALERT);
        posted.map(drop).map_err(|trouble| trouble.message)
    }

    fn call(&self, verb: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let called = || -> std::io::Result<Output> {
            let mut child = command(self.house)?
                .arg(verb)
                .args(arguments)
                .env("VIGIE_SERVER", &self.url)
                .env("SENDER", "renee@example.com")
                .env("RECIPIENT", "support@example.org")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        };
        let output = called().map_err(|why| format!("cannot run `vigie {verb}`: {why}"))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!(
                "`vigie {verb}` ended with {}: {said}",
                output.status
            )),
        }
    }
}
