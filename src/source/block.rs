//! One `[[source]]` block of a channel's file while its kind reads it: typed keys, carets, secrets.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::document;
use crate::error::{Diagnostic, Place};
use crate::secret::Secret;

/// A channel's file with blocks in it.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The file's text.
    pub text: &'a str,
    /// How messages name the file.
    pub shown: &'a Path,
    /// Files that a block names count from here: the folder of settings.toml.
    pub base: &'a Path,
}

impl<'a> Page<'a> {
    /// The blocks of the page, in order.
    ///
    /// # Errors
    /// What is not TOML.
    pub(super) fn blocks(self) -> Result<Vec<Block<'a>>, Diagnostic> {
        let mistake = |error| document::mistake(&error, self.text, self.shown);
        let mut page = DeTable::parse(self.text).map_err(mistake)?.into_inner();
        let Some(DeValue::Array(blocks)) = page.remove("source").map(Spanned::into_inner) else {
            return Ok(Vec::new());
        };
        let block = |value: Spanned<DeValue<'a>>| {
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(table) => Some(Block {
                    page: self,
                    span,
                    table,
                    secrets: RefCell::default(),
                }),
                _ => None,
            }
        };
        Ok(blocks.into_iter().filter_map(block).collect())
    }

    fn mistake(self, span: Range<usize>, why: String) -> Diagnostic {
        Diagnostic::new(why).at(Place {
            file: self.shown.to_owned(),
            text: self.text.to_owned(),
            span,
        })
    }
}

/// One block.
pub struct Block<'a> {
    page: Page<'a>,
    span: Range<usize>,
    table: DeTable<'a>,
    secrets: RefCell<Vec<Secret>>,
}

impl<'a> Block<'a> {
    /// The keys of the kind as `T`, which denies unknown fields; those that all kinds have are not
    /// among them.
    ///
    /// # Errors
    /// A key that `T` does not know, with a suggestion, or a value of the wrong kind.
    pub fn keys<T: DeserializeOwned>(&self) -> Result<T, Diagnostic> {
        let whole = Spanned::new(self.span.clone(), self.table.clone());
        T::deserialize(Deserializer::from(whole))
            .map_err(|error| document::mistake(&error, self.page.text, self.page.shown))
    }

    /// A mistake in the value of `key`; if the key is not there, of the block.
    pub fn wrong(&self, key: &str, why: impl Into<String>) -> Diagnostic {
        let value = self.table.get(key).map(Spanned::span);
        let span = value.unwrap_or_else(|| self.span.clone());
        self.page.mistake(span, why.into())
    }

    /// The secret that `X_file` or `X_env` names; `None` if neither is set. A changed secret makes
    /// the door open anew at the next reload.
    ///
    /// # Errors
    /// As [`Secret::from_settings`].
    pub fn secret(
        &self,
        key: &str,
        file: &Option<PathBuf>,
        env: &Option<String>,
    ) -> Result<Option<Secret>, Diagnostic> {
        let file = file.as_ref().filter(|file| !file.as_os_str().is_empty());
        let file = file.map(|file| self.page.base.join(file));
        let named = match file.is_some() {
            true => format!("{key}_file"),
            false => format!("{key}_env"),
        };
        let secret = Secret::from_settings(key, &file, env).map_err(|why| {
            let why = format!("the source's `{named}`: {why}");
            self.wrong(&named, why)
        })?;
        self.secrets.borrow_mut().extend(secret.clone());
        Ok(secret)
    }

    /// The channel in whose file it stands.
    pub fn channel(&self) -> &'a str {
        self.page.channel
    }

    /// A path that the block names, counted from the folder of settings.toml.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.page.base.join(path)
    }

    /// Takes a text key out, so that the kind need not know it.
    ///
    /// # Errors
    /// The value is no text.
    pub(super) fn take(&mut self, key: &str) -> Result<Option<Word>, Diagnostic> {
        let Some(value) = self.table.remove(key) else {
            return Ok(None);
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::String(text) => Ok(Some(Word {
                text: text.into_owned(),
                span,
            })),
            _ => Err(self.page.mistake(span, format!("`{key}` must be text"))),
        }
    }

    /// Takes a count from 1 out, so that the kind need not know it.
    ///
    /// # Errors
    /// The value is no such number.
    pub(super) fn take_count(&mut self, key: &str) -> Result<Option<NonZeroU32>, Diagnostic> {
        let Some(value) = self.table.remove(key) else {
            return Ok(None);
        };
        let span = value.span();
        let count = match value.into_inner() {
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let wrong = || {
            let why = format!("`{key}` must be a whole number from 1");
            self.page.mistake(span, why)
        };
        count.and_then(NonZeroU32::new).map(Some).ok_or_else(wrong)
    }

    /// A mistake in a word that was taken out.
    pub(super) fn wrong_word(&self, word: &Word, why: impl Into<String>) -> Diagnostic {
        self.page.mistake(word.span.clone(), why.into())
    }

    /// The secrets that were read, to see later whether they changed.
    pub(super) fn into_secrets(self) -> Vec<Secret> {
        self.secrets.into_inner()
    }
}

/// A text value with its place.
pub(super) struct Word {
    pub(super) text: String,
    span: Range<usize>,
}
