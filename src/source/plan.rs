//! A door as a `[[source]]` block wants it: read and checked, not yet open.
//!
//! Two plans are equal if nothing that a person can change is different, secrets included; that is
//! how a reload knows which doors to leave alone.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::block::{Block, Page, Word};
use super::door::{Door, Source};
use crate::error::{Diagnostic, did_you_mean};
use crate::event::is_name;
use crate::secret::Secret;

/// Sources that one house may have.
pub const SOURCES_MAX: usize = 1_000;

/// One source, ready to be opened.
#[derive(Clone)]
pub struct Plan {
    /// The channel in whose file it stands.
    pub channel: String,
    /// What `kind` says.
    pub kind: &'static str,
    /// What `name` says, else the kind; one name stands once in a channel.
    pub name: String,
    /// Events a second that it may bring; absent means no limit.
    pub events_per_second_max: Option<NonZeroU32>,
    /// The door.
    pub door: Arc<dyn Door>,
    keys: toml::Table,
    secrets: Vec<Secret>,
}

impl Plan {
    /// A door that stands in no file, for tests.
    pub fn new(channel: &str, kind: &'static str, door: Arc<dyn Door>) -> Plan {
        Plan {
            channel: channel.to_owned(),
            kind,
            name: kind.to_owned(),
            events_per_second_max: None,
            door,
            keys: toml::Table::new(),
            secrets: Vec::new(),
        }
    }

    /// `channel/name`, for people.
    pub fn id(&self) -> String {
        format!("{}/{}", self.channel, self.name)
    }

    /// Under what name the store keeps what the source remembers.
    pub fn memory_name(&self) -> String {
        format!("source/{}/{}/{}", self.channel, self.kind, self.name)
    }

    /// What begins the names under which the store keeps what it remembers in pieces.
    pub fn pieces_name(&self) -> String {
        format!("pieces/{}/{}/{}/", self.channel, self.kind, self.name)
    }
}

impl PartialEq for Plan {
    fn eq(&self, other: &Plan) -> bool {
        self.channel == other.channel
            && self.name == other.name
            && self.keys == other.keys
            && self.secrets == other.secrets
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.id())
    }
}

/// Reads all blocks of a channel's file; `tables` are the same blocks without their places.
///
/// # Errors
/// One mistake per block.
pub fn read(page: Page<'_>, tables: &[toml::Table]) -> Result<Vec<Plan>, Vec<Diagnostic>> {
    let blocks = page.blocks().map_err(|mistake| vec![mistake])?;
    let mut plans: Vec<Plan> = Vec::new();
    let mut mistakes = Vec::new();
    for (block, keys) in blocks.into_iter().zip(tables) {
        match plan(block, keys, &plans) {
            Ok(plan) => plans.push(plan),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    match mistakes.is_empty() {
        true => Ok(plans),
        false => Err(mistakes),
    }
}

fn plan(mut block: Block<'_>, keys: &toml::Table, others: &[Plan]) -> Result<Plan, Diagnostic> {
    let source = source(&mut block)?;
    let given = block.take("name")?;
    let name = given
        .as_ref()
        .map_or(source.name(), |word| word.text.as_str());
    let wrong = |why: String| match &given {
        Some(word) => block.wrong_word(word, why),
        None => block.wrong("", why),
    };
    if !is_name(name) {
        return Err(wrong(
            "a source's name has only letters, digits, _ and -".to_owned(),
        ));
    }
    if others.iter().any(|other| other.name == name) {
        let why = format!("channel `{}` has another source `{name}`", block.channel());
        return Err(wrong(why).help("give each a `name` of its own; what it remembers goes by it"));
    }
    let (channel, name) = (block.channel().to_owned(), name.to_owned());
    let events_per_second_max = block.take_count("events_per_second_max")?;
    let door = source.read(&block)?;
    Ok(Plan {
        channel,
        kind: source.name(),
        name,
        events_per_second_max,
        door,
        keys: keys.clone(),
        secrets: block.into_secrets(),
    })
}

fn source(block: &mut Block<'_>) -> Result<&'static dyn Source, Diagnostic> {
    let kinds = || super::ALL.iter().map(|source| source.name());
    let known = || {
        format!(
            "`kind` is one of {}",
            kinds().collect::<Vec<_>>().join(", ")
        )
    };
    let Some(kind) = block.take("kind")? else {
        let missing = block.wrong("", "this source has no `kind`");
        return Err(missing.help(known()));
    };
    let found = super::ALL.iter().find(|source| source.name() == kind.text);
    found.copied().ok_or_else(|| unknown(block, &kind, known()))
}

fn unknown(block: &Block<'_>, kind: &Word, known: String) -> Diagnostic {
    let kinds = super::ALL.iter().map(|source| source.name());
    let why = format!("there is no source of kind `{}`", kind.text);
    let help = did_you_mean(&kind.text, kinds).map(|right| format!("did you mean `{right}`?"));
    block.wrong_word(kind, why).help(help.unwrap_or(known))
}
