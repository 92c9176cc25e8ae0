//! A secret: read from a file or the environment, used, and never printed.
//!
//! Invariant: the text leaves this type only through [`Secret::expose`], and nothing that is
//! logged, journalled or shown calls it. `Debug` and `Display` give three stars.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

/// The shortest piece of base64 that is taken for the secret's inside: a shorter one may be anything.
const ENCODED_CHARS_LEAST: usize = 4;
/// Largest file that is read as a secret.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// A key, token or password.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes over `text` as a secret.
    pub fn new(text: String) -> Secret {
        Secret(SecretString::from(text))
    }

    /// Reads a secret from a file, without the newline that editors leave at the end.
    ///
    /// # Errors
    /// A sentence that names the file: missing, unreadable, larger than 16 KiB, empty, not UTF-8.
    pub fn read(file: &Path) -> Result<Secret, String> {
        let name = file.display();
        let size = std::fs::metadata(file).map_err(|why| format!("cannot read {name}: {why}"))?;
        if size.len() > SECRET_BYTES_MAX {
            return Err(format!("{name} is larger than {SECRET_BYTES_MAX} bytes"));
        }
        let text =
            std::fs::read_to_string(file).map_err(|why| format!("cannot read {name}: {why}"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(format!("{name} is empty"));
        }
        Ok(Secret::new(text.to_owned()))
    }

    /// Reads the secret that a settings section names by `X_file` or `X_env`; `None` if neither
    /// is set (an empty path counts as unset).
    ///
    /// # Errors
    /// As [`Secret::read`]; also if both are set, or the variable is missing or empty.
    pub fn from_settings(
        key: &str,
        file: &Option<PathBuf>,
        env: &Option<String>,
    ) -> Result<Option<Secret>, String> {
        let file = file.as_ref().filter(|file| !file.as_os_str().is_empty());
        let env = env.as_ref().filter(|env| !env.is_empty());
        match (file, env) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(format!("set {key}_file or {key}_env, not both")),
            (Some(file), None) => Secret::read(file).map(Some),
            (None, Some(env)) => match std::env::var(env) {
                Ok(text) if !text.is_empty() => Ok(Some(Secret::new(text))),
                _ => Err(format!("the environment variable {env} is not set")),
            },
        }
    }

    /// `text` with the secret covered, in every one of its [`Secret::forms`]: what a target says may
    /// quote it.
    pub fn cover(&self, text: &str) -> String {
        cover(&self.forms(), text)
    }

    /// The secret as it may travel: as it is, in a URL, in JSON, and in base64, also inside of more
    /// (`user:password` of HTTP Basic, the logins of mail servers). None of an empty one.
    fn forms(&self) -> Vec<String> {
        let plain = self.expose();
        if plain.is_empty() {
            return Vec::new();
        }
        let encoded = utf8_percent_encode(plain, NON_ALPHANUMERIC).to_string();
        let quoted = serde_json::Value::from(plain).to_string();
        let mut forms = vec![STANDARD_NO_PAD.encode(plain), URL_SAFE_NO_PAD.encode(plain)];
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.extend((0..3).filter_map(|before| inside(&engine, plain, before)));
        }
        forms.extend([encoded.replace("%20", "+"), encoded]);
        forms.extend([quoted.trim_matches('"').to_owned(), plain.to_owned()]);
        forms
    }

    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// All [`Secret::forms`] of these secrets, to be looked for in one text or in many.
pub(crate) fn forms<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Vec<String> {
    secrets.into_iter().flat_map(Secret::forms).collect()
}

/// `text` with all of these forms covered.
pub(crate) fn cover(forms: &[String], text: &str) -> String {
    let cover = |text: String, form: &String| text.replace(form, "***");
    forms.iter().fold(text.to_owned(), cover)
}

/// What base64 makes of `plain` with `before` bytes (of three) in front of it, whatever these are and
/// whatever follows: the characters in which nothing else has a part.
fn inside(engine: &GeneralPurpose, plain: &str, before: usize) -> Option<String> {
    let padded = [&b"\0\0"[..before], plain.as_bytes()].concat();
    let encoded = engine.encode(padded.as_slice());
    let (first, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    let inside = encoded.get(first..end)?;
    (inside.len() >= ENCODED_CHARS_LEAST).then(|| inside.to_owned())
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl PartialEq for Secret {
    /// Compares without telling by its duration how much was right.
    fn eq(&self, other: &Secret) -> bool {
        use subtle::ConstantTimeEq;
        self.expose()
            .as_bytes()
            .ct_eq(other.expose().as_bytes())
            .into()
    }
}
