//! The keys of an `imap` block, checked.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::book::Key;
use crate::duration::Lasting;
use crate::error::Diagnostic;
use crate::secret::Secret;
use crate::source::Block;

/// How often a server without IDLE is asked.
const EVERY_DEFAULT: Duration = Duration::from_secs(60);
/// The shortest period.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// Longest name of a host, a user or a folder, in bytes.
const TEXT_BYTES_MAX: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: Tls,
    tls_ca: Option<PathBuf>,
    user: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    #[serde(default = "inbox")]
    folder: String,
    #[serde(default)]
    first: First,
    #[serde(default)]
    after: After,
    move_to: Option<String>,
    every: Option<Lasting>,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tls {
    /// From the first byte.
    #[default]
    Wrapped,
    /// By STARTTLS, or not at all.
    Starttls,
    /// Not; on loopback only.
    None,
}

/// What becomes of the mails that lie there when the mailbox is seen for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum First {
    /// Those that nobody has seen are events.
    #[default]
    Unseen,
    /// All are events.
    All,
    /// None is; what comes after them is.
    Skip,
}

/// What becomes of a mail that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum After {
    /// It is marked as seen.
    #[default]
    Seen,
    /// It goes to another folder.
    Move,
    /// It is deleted.
    Delete,
}

/// What proves who we are.
#[derive(Clone)]
pub(super) enum Proof {
    Password(Secret),
    /// An OAuth 2 token, for XOAUTH2.
    Token(Secret),
}

impl Proof {
    pub(super) fn secret(&self) -> &Secret {
        match self {
            Proof::Password(secret) | Proof::Token(secret) => secret,
        }
    }
}

/// What a block asks for.
pub(super) struct Wish {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
    /// Trust these authorities, in PEM, instead of the system's.
    pub(super) tls_ca: Option<PathBuf>,
    /// Host and port.
    pub(super) peer: String,
    pub(super) user: String,
    pub(super) proof: Proof,
    pub(super) folder: String,
    pub(super) first: First,
    pub(super) after: After,
    pub(super) move_to: Option<String>,
    /// How often to look if the server cannot say.
    pub(super) every: Duration,
}

impl Wish {
    /// Which mailbox it is, so that another one is met anew.
    pub(super) fn mailbox(&self) -> Key {
        let named = [&self.peer, &self.user, &self.folder].map(String::as_str);
        let hash: [u8; 32] = Sha256::digest(named.join("\n")).into();
        let mut key = Key::default();
        key.copy_from_slice(&hash[..16]);
        key
    }
}

/// Reads and checks a block.
pub(super) fn read(block: &Block<'_>) -> Result<Wish, Diagnostic> {
    let keys: Keys = block.keys()?;
    let proof = proof(block, &keys)?;
    check_texts(block, &keys)?;
    check_tls(block, &keys)?;
    let every = keys.every.map_or(EVERY_DEFAULT, |every| every.0);
    if every < EVERY_MIN {
        return Err(block.wrong("every", "`every` must be at least 1s"));
    }
    if (keys.after == After::Move) != keys.move_to.is_some() {
        let why = "`after = \"move\"` and `move_to` go together";
        return Err(block.wrong("after", why));
    }
    if keys.move_to.as_ref() == Some(&keys.folder) {
        let why = "`move_to` is the folder that is read";
        return Err(block.wrong("move_to", why));
    }
    let usual = match keys.tls {
        Tls::Wrapped => 993,
        Tls::Starttls | Tls::None => 143,
    };
    let port = keys.port.unwrap_or(usual);
    let host = keys.host.trim_matches(['[', ']']).to_owned();
    Ok(Wish {
        peer: match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        },
        host,
        port,
        tls: keys.tls,
        tls_ca: keys.tls_ca.map(|file| block.path(&file)),
        user: keys.user,
        proof,
        folder: keys.folder,
        first: keys.first,
        after: keys.after,
        move_to: keys.move_to,
        every,
    })
}

fn proof(block: &Block<'_>, keys: &Keys) -> Result<Proof, Diagnostic> {
    let password = block.secret("password", &keys.password_file, &keys.password_env)?;
    let token = block.secret("token", &keys.token_file, &keys.token_env)?;
    let proof = match (password, token) {
        (Some(password), None) => Proof::Password(password),
        (None, Some(token)) => Proof::Token(token),
        _ => {
            let why = "`user` needs a `password_file` or, for XOAUTH2, a `token_file`";
            return Err(block.wrong("user", why));
        }
    };
    match proof.secret().expose().contains(char::is_control) {
        true => Err(block.wrong("user", "the password or token has a control character")),
        false => Ok(proof),
    }
}

/// What stands in a command must not end it.
fn check_texts(block: &Block<'_>, keys: &Keys) -> Result<(), Diagnostic> {
    let texts = [
        ("host", Some(&keys.host)),
        ("user", Some(&keys.user)),
        ("folder", Some(&keys.folder)),
        ("move_to", keys.move_to.as_ref()),
    ];
    for (key, text) in texts {
        let is_bad = |text: &&String| {
            text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains(char::is_control)
        };
        if text.filter(is_bad).is_some() {
            let why = format!(
                "`{key}` is 1 to {TEXT_BYTES_MAX} bytes of text without control characters"
            );
            return Err(block.wrong(key, why));
        }
    }
    Ok(())
}

fn check_tls(block: &Block<'_>, keys: &Keys) -> Result<(), Diagnostic> {
    if keys.tls == Tls::None && !is_loopback(&keys.host) {
        let wrong = block.wrong("tls", "a password for another host needs TLS");
        return Err(wrong.help("leave `tls` out, or set `tls = \"starttls\"`"));
    }
    match (&keys.tls_ca, keys.tls) {
        (Some(_), Tls::None) => Err(block.wrong("tls_ca", "`tls_ca` needs TLS")),
        (Some(file), _) if !block.path(file).is_file() => {
            let file = block.path(file);
            Err(block.wrong("tls_ca", format!("there is no file {}", file.display())))
        }
        _ => Ok(()),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn inbox() -> String {
    "INBOX".to_owned()
}
