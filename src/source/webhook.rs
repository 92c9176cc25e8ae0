//! Bodies that other products post to `/hooks/{kind}/{channel}`. One file per kind, one line in
//! [`HOOKS`].
//!
//! A hook turns one body into events, all or none; what it cannot read is an error for the door
//! to answer, except for the generic hook, which keeps whatever comes.

mod alertmanager;
mod generic;
mod icinga;
mod known;
mod nagios;
mod zabbix;

use std::collections::BTreeMap;

use super::json::JsonError;
use crate::error::did_you_mean;
use crate::event::{Incoming, Meta, Value};

pub use generic::CONTENT_TYPE_KEY;

/// Every kind of hook.
pub const HOOKS: &[&dyn Hook] = &[
    &alertmanager::Alertmanager,
    &zabbix::Zabbix,
    &nagios::Nagios,
    &icinga::Icinga,
    &generic::Generic,
];

/// A kind of hook.
pub trait Hook: Sync {
    /// Its name in the URL.
    fn kind(&self) -> &'static str;

    /// One sentence on who posts to it and what comes out.
    fn about(&self) -> &'static str;

    /// The events in one body.
    ///
    /// # Errors
    /// [`HookError`]; no event of the body is taken then.
    fn decode(&self, bytes: &[u8], meta: Meta) -> Result<Vec<Incoming>, HookError>;
}

/// Why a body is refused; the HTTP door answers 404 for an unknown kind, else 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// No hook has that name.
    #[error("there is no hook `{kind}`{hint}")]
    Unknown {
        /// What was asked for.
        kind: String,
        /// Which one may have been meant, as the end of the sentence.
        hint: String,
    },
    /// The body is no JSON, or more of it than is taken.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The body is JSON, but not what this product sends.
    #[error("the body is not what {product} sends: {why}")]
    Shape {
        /// The product.
        product: &'static str,
        /// What is missing.
        why: &'static str,
    },
}

/// The events in a body posted to the hook `kind`.
///
/// # Errors
/// [`HookError`].
pub fn decode(kind: &str, bytes: &[u8], meta: Meta) -> Result<Vec<Incoming>, HookError> {
    let hook = HOOKS.iter().find(|hook| hook.kind() == kind);
    let unknown = || {
        let meant = did_you_mean(kind, HOOKS.iter().map(|hook| hook.kind()));
        HookError::Unknown {
            kind: kind.to_owned(),
            hint: meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?")),
        }
    };
    hook.ok_or_else(unknown)?.decode(bytes, meta)
}

/// One event of a body that may carry several.
fn event(meta: &Meta, body: BTreeMap<String, Value>) -> Incoming {
    Incoming {
        body: Value::Map(body),
        meta: meta.clone(),
    }
}
