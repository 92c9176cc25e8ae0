//! Scripts of versions that runs are pinned to, compiled once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::bundle::Script;
use crate::claim::lock;

/// Versions that are kept compiled; more are compiled again when they are needed.
const VERSIONS_MAX: usize = 256;

/// Compiled scripts by version.
#[derive(Debug, Default)]
pub struct Versions(Mutex<HashMap<String, Arc<Script>>>);

impl Versions {
    /// Keeps a script at hand.
    pub fn keep(&self, script: &Arc<Script>) {
        let mut kept = lock(&self.0);
        if kept.len() >= VERSIONS_MAX {
            kept.clear();
        }
        kept.insert(script.version.clone(), Arc::clone(script));
    }

    /// The script of a version, if it is at hand.
    pub fn get(&self, version: &str) -> Option<Arc<Script>> {
        lock(&self.0).get(version).cloned()
    }
}
