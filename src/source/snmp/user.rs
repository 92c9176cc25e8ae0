//! A user of version 3: how they prove who they are, and how they keep things private.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize;

use super::cipher::Cipher;
use super::keys::Hash;
use crate::error::Diagnostic;
use crate::secret::Secret;
use crate::source::Block;

/// Longest name of a user (RFC 3414 §5, SnmpAdminString of 1 to 32 bytes).
pub const USER_BYTES_MAX: usize = 32;
/// Users that one source may have.
pub const USERS_MAX: usize = 1_000;
/// Shortest password (RFC 3414 §11.2).
const PASSWORD_BYTES_MIN: usize = 8;

/// `[[source.user]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserKeys {
    name: String,
    #[serde(default)]
    auth: Option<Hash>,
    #[serde(default)]
    auth_password_file: Option<PathBuf>,
    #[serde(default)]
    auth_password_env: Option<String>,
    #[serde(default)]
    privacy: Option<Cipher>,
    #[serde(default)]
    privacy_password_file: Option<PathBuf>,
    #[serde(default)]
    privacy_password_env: Option<String>,
}

impl UserKeys {
    /// The user, with the passwords that are named.
    ///
    /// # Errors
    /// What is missing or cannot be.
    pub fn read(self, block: &Block<'_>) -> Result<User, Diagnostic> {
        let wrong = |why: String| block.wrong("user", format!("user `{}` {why}", self.name));
        if !(1..=USER_BYTES_MAX).contains(&self.name.len()) {
            return Err(wrong("needs a name of 1 to 32 bytes".to_owned()));
        }
        let auth = block.secret(
            "auth_password",
            &self.auth_password_file,
            &self.auth_password_env,
        )?;
        let privacy = block.secret(
            "privacy_password",
            &self.privacy_password_file,
            &self.privacy_password_env,
        )?;
        let proof = both("auth", self.auth, auth).map_err(wrong)?;
        let secrecy = both("privacy", self.privacy, privacy).map_err(wrong)?;
        if secrecy.is_some() && proof.is_none() {
            return Err(wrong("needs `auth` for its `privacy`".to_owned()));
        }
        Ok(User::new(&self.name, proof, secrecy))
    }
}

/// A way needs its password, and a password its way.
fn both<T>(
    key: &str,
    way: Option<T>,
    password: Option<Secret>,
) -> Result<Option<(T, Secret)>, String> {
    match (way, password) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("has `{key}` but no `{key}_password_file`")),
        (None, Some(_)) => Err(format!("has a password but no `{key}`")),
        (Some(_), Some(password)) if password.expose().len() < PASSWORD_BYTES_MIN => Err(format!(
            "has a password for `{key}` of less than {PASSWORD_BYTES_MIN} bytes"
        )),
        (Some(way), Some(password)) => Ok(Some((way, password))),
    }
}

/// A user.
#[derive(Debug)]
pub struct User {
    /// As messages name them.
    pub name: String,
    proof: Option<Keyed<Hash>>,
    secrecy: Option<Keyed<Cipher>>,
}

/// A way with its password, and the key that is made of the password once, which takes a while.
struct Keyed<T> {
    way: T,
    password: Secret,
    key: OnceLock<Vec<u8>>,
}

impl<T: fmt::Debug> fmt::Debug for Keyed<T> {
    /// Without password and key.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.way.fmt(out)
    }
}

impl<T: Copy> Keyed<T> {
    fn new((way, password): (T, Secret)) -> Keyed<T> {
        Keyed {
            way,
            password,
            key: OnceLock::new(),
        }
    }

    /// The key for one engine.
    fn local(&self, hash: Hash, engine: &[u8]) -> Vec<u8> {
        let key = self
            .key
            .get_or_init(|| hash.stretch(self.password.expose()));
        hash.localize(key, engine)
    }
}

impl User {
    /// A user who proves by a hash and a password, and encrypts by a cipher and a password.
    pub fn new(
        name: &str,
        proof: Option<(Hash, Secret)>,
        secrecy: Option<(Cipher, Secret)>,
    ) -> User {
        User {
            name: name.to_owned(),
            proof: proof.map(Keyed::new),
            secrecy: secrecy.map(Keyed::new),
        }
    }

    /// Whether their messages carry a digest, and whether they are encrypted.
    pub fn level(&self) -> (bool, bool) {
        (self.proof.is_some(), self.secrecy.is_some())
    }

    /// The hash, and the key for one engine.
    pub fn proof(&self, engine: &[u8]) -> Option<(Hash, Vec<u8>)> {
        let proof = self.proof.as_ref()?;
        Some((proof.way, proof.local(proof.way, engine)))
    }

    /// The cipher, and the key for one engine.
    pub fn secrecy(&self, engine: &[u8]) -> Option<(Cipher, Vec<u8>)> {
        let (proof, secrecy) = (self.proof.as_ref()?, self.secrecy.as_ref()?);
        let local = secrecy.local(proof.way, engine);
        Some((secrecy.way, secrecy.way.key(proof.way, local)))
    }
}
