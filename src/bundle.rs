//! A bundle: a script's source and the source of all that it imports, so that a run which wakes next
//! month is run by the very text it began with, whatever the folder holds by then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rhai::{AST, Position};
use sha2::{Digest, Sha256};

use crate::error::Place;
use crate::hex;
use crate::leak::Leaked;
use crate::template::{ENDING, Templates};

/// Largest source of one script or module, in bytes.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;

/// A script's source with the sources of its imports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// How the user names the script: `flows/alert/open_ticket.rhai`.
    pub name: String,
    /// Its text.
    pub source: String,
    /// Import path to text, imports of imports included; templates by their names, which end in `.json`.
    pub modules: BTreeMap<String, String>,
    /// True if the script gets `events` instead of `event` and `meta`.
    pub is_batch: bool,
}

impl Bundle {
    /// A script that imports nothing.
    pub fn of(name: &str, source: &str) -> Bundle {
        Bundle {
            name: name.to_owned(),
            source: source.to_owned(),
            ..Bundle::default()
        }
    }

    /// SHA-256 over all of it, in hex: the flow's version.
    pub fn version(&self) -> String {
        let mut hasher = Sha256::new();
        let mut add = |text: &str| {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        };
        add(if self.is_batch { "batch" } else { "event" });
        add(&self.source);
        for (path, text) in &self.modules {
            add(path);
            add(text);
        }
        hex::encode(&hasher.finalize())
    }

    /// True if the script, or what it imports, speaks of `words` anywhere.
    pub fn says(&self, words: &str) -> bool {
        let mut texts = std::iter::once(&self.source).chain(self.modules.values());
        texts.any(|text| text.contains(words))
    }

    /// The place of a position in the script, or in the module that `source` names.
    pub(crate) fn place(&self, source: Option<&str>, position: Position) -> Option<Place> {
        let (line, column) = (position.line()?, position.position().unwrap_or(1));
        let module = source.and_then(|path| self.modules.get_key_value(path));
        let (file, text) = match module {
            Some((path, text)) => (self.module_file(path), text),
            None => (PathBuf::from(&self.name), &self.source),
        };
        Some(Place::at(file, text.clone(), line, column))
    }

    fn module_file(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(&self.name);
        let flows = root
            .ancestors()
            .nth(2)
            .map(PathBuf::from)
            .unwrap_or_default();
        match path.ends_with(ENDING) {
            true => flows.join(path),
            false => flows.join(format!("{path}.rhai")),
        }
    }
}

/// A compiled script.
#[derive(Debug)]
pub struct Script {
    pub(crate) ast: AST,
    pub(crate) bundle: Bundle,
    /// True if it has a `fn filter(event)`.
    pub has_filter: bool,
    /// [`Bundle::version`].
    pub version: String,
    /// What `template::render` finds by name.
    pub(crate) templates: Arc<Templates>,
    /// What its steps left behind.
    pub leaked: Leaked,
}

impl Script {
    /// The sources it was compiled from.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }
}
