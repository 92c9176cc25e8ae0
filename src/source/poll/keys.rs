//! The keys of a `poll` block, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;

use crate::action::http::{self, request};
use crate::duration::Lasting;
use crate::error::Diagnostic;
use crate::secret::Secret;
use crate::source::Block;

/// The shortest period.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// Fields that may make up a key.
const FIELDS_MAX: usize = 16;
/// Headers that carry secrets, which never stand in a channel's file.
const SECRET_HEADERS: &[&str] = &["authorization", "proxy-authorization", "cookie"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    url: String,
    every: Lasting,
    #[serde(default)]
    timeout: Option<Lasting>,
    #[serde(default)]
    items: String,
    #[serde(default)]
    key: Vec<String>,
    #[serde(default)]
    first: First,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    token_header: Option<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

/// What becomes of the items of the first answer ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum First {
    /// They are events.
    #[default]
    All,
    /// They are known; what comes after them is an event.
    Skip,
}

/// What a block asks for. No `Debug`: its headers may carry a secret.
pub(super) struct Wish {
    pub(super) url: String,
    /// The URL without its query, which may hold a key.
    pub(super) shown: String,
    /// Its host and port.
    pub(super) peer: String,
    pub(super) every: Lasting,
    pub(super) timeout: Lasting,
    /// Where the items are, as a JSON pointer.
    pub(super) items: String,
    /// The fields that make an item new.
    pub(super) key: Vec<String>,
    pub(super) first: First,
    pub(super) headers: Vec<(String, String)>,
    /// What must not show in a message.
    pub(super) hidden: Vec<Secret>,
}

/// Reads and checks a block.
pub(super) fn read(block: &Block<'_>) -> Result<Wish, Diagnostic> {
    let keys: Keys = block.keys()?;
    let peer = http::peer(&keys.url).map_err(|why| block.wrong("url", why))?;
    let timeout = keys.timeout.unwrap_or(Lasting(request::TIMEOUT_DEFAULT));
    if keys.every.0 < EVERY_MIN {
        return Err(block.wrong("every", "`every` must be at least 1s"));
    }
    if timeout.0.is_zero() || timeout.0 > request::TIMEOUT_MAX {
        return Err(block.wrong("timeout", "`timeout` must be more than 0 and at most 5m"));
    }
    check_fields(block, &keys)?;
    let (headers, hidden) = headers(block, &keys)?;
    http::check_headers(&headers).map_err(|why| block.wrong("headers", why.message))?;
    let shown = keys.url.split(['?', '#']).next().unwrap_or("").to_owned();
    Ok(Wish {
        url: keys.url,
        shown,
        peer,
        every: keys.every,
        timeout,
        items: keys.items,
        key: keys.key,
        first: keys.first,
        headers,
        hidden,
    })
}

fn check_fields(block: &Block<'_>, keys: &Keys) -> Result<(), Diagnostic> {
    if !keys.items.is_empty() && !keys.items.starts_with('/') {
        let why = format!("`items` is \"{}\", which is no JSON pointer", keys.items);
        let wrong = block.wrong("items", why);
        return Err(wrong.help(format!("did you mean `/{}`?", keys.items)));
    }
    if keys.key.len() > FIELDS_MAX || keys.key.iter().any(String::is_empty) {
        let why = format!("`key` is a list of at most {FIELDS_MAX} names of fields");
        return Err(block.wrong("key", why));
    }
    Ok(())
}

type Headers = (Vec<(String, String)>, Vec<Secret>);

fn headers(block: &Block<'_>, keys: &Keys) -> Result<Headers, Diagnostic> {
    let open = |name: &&String| SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str());
    if let Some(name) = keys.headers.keys().find(open) {
        let wrong = block.wrong("headers", format!("the header `{name}` carries a secret"));
        return Err(wrong.help("name a file: token_file, or user and password_file"));
    }
    let mut headers: Vec<(String, String)> = keys.headers.clone().into_iter().collect();
    let token = block.secret("token", &keys.token_file, &keys.token_env)?;
    let password = block.secret("password", &keys.password_file, &keys.password_env)?;
    let mut hidden = Vec::new();
    if let Some(token) = &token {
        headers.push(of_token(token, keys.token_header.as_deref()));
        hidden.push(token.clone());
    }
    match (&keys.user, &password) {
        (None, None) => {}
        (Some(user), Some(password)) if token.is_none() => {
            let basic = basic(user, password);
            headers.push(("authorization".to_owned(), format!("Basic {basic}")));
            hidden.extend([Secret::new(basic), password.clone()]);
        }
        (Some(_), Some(_)) => {
            return Err(block.wrong("user", "give a token, or a user with a password"));
        }
        _ => return Err(block.wrong("user", "`user` and `password_file` go together")),
    }
    if keys.token_header.is_some() && token.is_none() {
        return Err(block.wrong("token_header", "`token_header` needs `token_file`"));
    }
    Ok((headers, hidden))
}

fn of_token(token: &Secret, header: Option<&str>) -> (String, String) {
    match header {
        Some(header) => (header.to_owned(), token.expose().to_owned()),
        None => (
            "authorization".to_owned(),
            format!("Bearer {}", token.expose()),
        ),
    }
}

fn basic(user: &str, password: &Secret) -> String {
    let pair = format!("{user}:{}", password.expose());
    base64::engine::general_purpose::STANDARD.encode(pair)
}
