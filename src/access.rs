//! Who may do what over HTTP.
//!
//! Invariant: without a `[[token]]` only callers on loopback are let in, and never a web page in an
//! operator's browser (no `Origin` header, a loopback `Host`); as soon as one token exists, every
//! request needs one.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::hex;
use crate::settings::{Right, TokenSettings};

/// Bytes of a fresh token before encoding.
const TOKEN_BYTES: usize = 32;

/// The tokens of settings.toml.
pub struct Access {
    tokens: Vec<Token>,
}

struct Token {
    settings: TokenSettings,
    hash: [u8; 32],
    limiter: Option<DefaultDirectRateLimiter>,
}

/// Who a request comes from, as far as its connection and headers tell.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The other end's address.
    pub address: Option<IpAddr>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// True if there is an `Origin` header: a web page sent it.
    pub has_origin: bool,
    /// The `Host` header.
    pub host: String,
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The token's name, or `loopback`; stands in audit lines.
    pub name: Arc<str>,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// 401: no token, or a wrong one.
    #[error("a token is needed: Authorization: Bearer …")]
    Unknown,
    /// 403: a good token without this right, or a caller that may not come without one.
    #[error("{0}")]
    Forbidden(String),
    /// 429: too many requests with this token.
    #[error("too many requests with this token")]
    TooMany(Duration),
}

impl Access {
    /// From the settings; hashes were checked when the settings were.
    pub fn new(tokens: &[TokenSettings]) -> Access {
        let tokens = tokens.iter().map(|settings| Token {
            hash: settings.hash_bytes().unwrap_or_default(),
            limiter: settings.requests_per_second_max.map(limiter),
            settings: settings.clone(),
        });
        Access {
            tokens: tokens.collect(),
        }
    }

    /// Lets a caller in who has `right`, for `channel`; `None` means the whole server.
    ///
    /// # Errors
    /// Who is not let in, and why.
    pub fn admit(
        &self,
        caller: &Caller,
        right: Right,
        channel: Option<&str>,
    ) -> Result<Person, Denied> {
        if self.tokens.is_empty() {
            return admit_loopback(caller);
        }
        let given = caller
            .authorization
            .as_deref()
            .and_then(|value| value.strip_prefix("Bearer "));
        let token = given
            .and_then(|given| self.find(given.trim()))
            .ok_or(Denied::Unknown)?;
        token.admit(right, channel)?;
        Ok(Person {
            name: token.settings.name.as_str().into(),
        })
    }

    /// Looks at every token, so that the time it takes tells nothing.
    fn find(&self, given: &str) -> Option<&Token> {
        let hash: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.hash.ct_eq(&hash)) {
                found = Some(token);
            }
        }
        found
    }
}

impl Token {
    /// A token for some channels is for nothing that tells of all of them.
    fn reaches(&self, channel: Option<&str>) -> Result<(), Denied> {
        let name = &self.settings.name;
        let why = match (self.settings.channels.as_ref(), channel) {
            (None, _) => return Ok(()),
            (Some(listed), Some(channel)) if listed.iter().any(|known| known == channel) => {
                return Ok(());
            }
            (Some(_), Some(channel)) => format!("is not for channel `{channel}`"),
            (Some(_), None) => "is for some channels only, and this is about all".to_owned(),
        };
        Err(Denied::Forbidden(format!("the token `{name}` {why}")))
    }

    fn admit(&self, right: Right, channel: Option<&str>) -> Result<(), Denied> {
        let name = &self.settings.name;
        if !self.settings.rights.contains(&right) {
            let right = format!("{right:?}").to_lowercase();
            return Err(Denied::Forbidden(format!(
                "the token `{name}` has no right to {right}"
            )));
        }
        self.reaches(channel)?;
        match self.limiter.as_ref().map(|limiter| limiter.check()) {
            Some(Err(until)) => Err(Denied::TooMany(
                until.wait_time_from(DefaultClock::default().now()),
            )),
            _ => Ok(()),
        }
    }
}

fn admit_loopback(caller: &Caller) -> Result<Person, Denied> {
    let local = caller
        .address
        .is_some_and(|address| address.to_canonical().is_loopback());
    if !local {
        return Err(Denied::Unknown);
    }
    if caller.has_origin || !is_loopback_name(&caller.host) {
        let why = "without tokens only programs on this host may call, not web pages";
        return Err(Denied::Forbidden(why.to_owned()));
    }
    Ok(Person {
        name: "loopback".into(),
    })
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn limiter(per_second: NonZeroU32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(per_second))
}

/// A new random token and the hash that settings.toml keeps of it.
pub fn new_token() -> (String, String) {
    use base64::Engine as _;
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    let token = format!(
        "vigie_{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    );
    let hash = Sha256::digest(token.as_bytes());
    (token, format!("sha256:{}", hex::encode(&hash)))
}
