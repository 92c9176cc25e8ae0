//! Which events there are, so that a misspelled one is a mistake and not silence.

use serde::Deserialize;

use super::super::{message, table};
use crate::error::did_you_mean;

/// The categories, by the names that a Broker's own filters have.
const CATEGORIES: &[(u16, &str)] = &[(1, "neb"), (3, "storage"), (6, "bam"), (0xFFFF, "internal")];
/// What has no row in a table.
const UNKNOWN: &str = "unknown";

/// A category that passes; `None` is all.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Category(Option<u16>);

impl TryFrom<String> for Category {
    type Error = String;

    fn try_from(word: String) -> Result<Category, String> {
        if word == "*" {
            return Ok(Category(None));
        }
        let known = CATEGORIES.iter().find(|(_, name)| *name == word);
        let names = || CATEGORIES.iter().map(|(_, name)| *name);
        let known = known.ok_or_else(|| {
            let names: Vec<&str> = names().collect();
            format!(
                "`{word}` is no category; they are {} and *",
                names.join(", ")
            )
        });
        known.map(|(number, _)| Category(Some(*number)))
    }
}

impl Category {
    pub(super) fn is(&self, category: u16) -> bool {
        self.0.is_none_or(|own| own == category)
    }
}

/// A kind of event that passes; `*` is all.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Element(String);

impl TryFrom<String> for Element {
    type Error = String;

    fn try_from(word: String) -> Result<Element, String> {
        if word == "*" || known_elements().any(|known| known == word) {
            return Ok(Element(word));
        }
        let near = did_you_mean(&word, known_elements());
        let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        Err(format!("`{word}` is no kind of event{hint}"))
    }
}

impl Element {
    pub(super) fn is(&self, kind: &str) -> bool {
        self.0 == kind || self.0 == "*"
    }
}

/// Every kind of event that can be accepted.
pub(in super::super) fn known_elements() -> impl Iterator<Item = &'static str> {
    table::names().chain(message::names()).chain([UNKNOWN])
}
