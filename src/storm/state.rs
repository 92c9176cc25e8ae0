//! State: a storm as bytes and back, under settings that may have changed meanwhile.
//!
//! Invariant: nothing that was held is lost. A kind that still looks at the same fields keeps what it
//! knows, under its new numbers; of any other what it held goes on to the kinds behind it.

use super::stage::{Item, Stage};
use super::{Bodies, Decision, Kind, Storm, StormSettings, build, by};
use crate::duration::Lasting;
use crate::store::codec::{CodecError, Reader, Writer};

/// The version of the form.
const STATE_VERSION: u8 = 1;

/// A storm as it was kept.
pub struct Loaded {
    /// The storm, under the settings of now.
    pub storm: Storm,
    /// What kinds held that are no more, or look at something else now.
    orphans: Vec<(Kind, Item)>,
}

impl Loaded {
    /// The numbers of events that are to go on.
    pub fn orphans(&self) -> impl Iterator<Item = u64> {
        self.orphans.iter().map(|(_, item)| item.number)
    }

    /// True if nothing changed.
    pub fn is_same(&self) -> bool {
        self.orphans.is_empty()
    }

    /// An orphan acted already.
    pub fn remove(&mut self, number: u64) {
        self.orphans.retain(|(_, item)| item.number != number);
        self.storm.remove(number);
    }

    /// Lets what is left go on.
    pub fn settle(mut self, bodies: Bodies<'_>) -> (Storm, Vec<Decision>) {
        let mut decided = Vec::new();
        let mut orphans = std::mem::take(&mut self.orphans);
        orphans.sort_by_key(|(_, item)| item.number);
        for (kind, item) in orphans {
            let before = |(stage, _): &&(Kind, Box<dyn Stage>)| *stage <= kind;
            let from = self.storm.stages.iter().take_while(before).count();
            let body = bodies(item.number);
            let met = (from, &body);
            self.storm.pass(met, item, (&mut *bodies, &mut decided));
        }
        (self.storm, decided)
    }
}

impl Storm {
    /// Everything that has to survive.
    ///
    /// # Errors
    /// A value nested too deep, which none is.
    pub fn write(&self, out: &mut Writer) -> Result<(), CodecError> {
        out.byte(STATE_VERSION)
            .number(self.as_of)
            .signed(self.time)
            .signed(self.ahead)
            .number(self.stages.len() as u64);
        for (kind, stage) in &self.stages {
            let mut inside = Writer::new();
            stage.write(&mut inside)?;
            out.byte(*kind as u8)
                .text(&looks_at(&self.settings, *kind))
                .bytes(&inside.into_bytes());
        }
        Ok(())
    }

    /// A storm from what [`Storm::write`] wrote, under other settings perhaps.
    ///
    /// # Errors
    /// Bytes that are none, or of a newer version.
    pub fn load(settings: &StormSettings, input: &mut Reader<'_>) -> Result<Loaded, CodecError> {
        if input.byte()? != STATE_VERSION {
            return Err(CodecError::Wrong("a storm of a newer version"));
        }
        let mut storm = Storm::new(settings, input.number()?);
        storm.time = input.signed()?;
        storm.ahead = input.signed()?;
        let mut orphans = Vec::new();
        for _ in 0..input.number()? {
            let kind = usize::from(input.byte()?);
            let kind = *Kind::ALL
                .get(kind)
                .ok_or(CodecError::Wrong("an unknown kind of storm control"))?;
            let (looked_at, inside) = (input.text()?, input.bytes()?);
            let mut inside = Reader::new(inside);
            let mut stages = storm.stages.iter_mut();
            let is_it = |(stage, _): &&mut (Kind, Box<dyn Stage>)| *stage == kind;
            match stages.find(is_it) {
                Some((_, stage)) if looks_at(settings, kind) == looked_at => {
                    stage.read(&mut inside)?;
                }
                _ => {
                    let mut stage = any(kind)?;
                    stage.read(&mut inside)?;
                    orphans.extend(stage.drain().into_iter().map(|item| (kind, item)));
                }
            }
        }
        Ok(Loaded { storm, orphans })
    }

    /// The same under other settings.
    ///
    /// # Errors
    /// As [`Storm::write`].
    pub fn change(&self, settings: &StormSettings) -> Result<Loaded, CodecError> {
        let mut out = Writer::new();
        self.write(&mut out)?;
        Storm::load(settings, &mut Reader::new(&out.into_bytes()))
    }
}

/// The fields that a kind looks at: what it remembers is about these.
fn looks_at(settings: &StormSettings, kind: Kind) -> String {
    let field = match kind {
        Kind::Flap => settings.flap.as_ref().map(|flap| flap.field.as_str()),
        Kind::Quorum => settings.quorum.as_ref().map(|quorum| &*quorum.distinct),
        _ => None,
    };
    let by = by(settings, kind).unwrap_or_default();
    let mut parts: Vec<&str> = by.iter().map(String::as_str).collect();
    parts.extend(["\u{1f}", field.unwrap_or_default()]);
    parts.join("\u{1e}")
}

/// A stage of a kind with any numbers, to read what one held.
fn any(kind: Kind) -> Result<Box<dyn Stage>, CodecError> {
    let long = Lasting(super::WINDOW_MAX);
    let settings = StormSettings {
        flap: Some(super::settings::Flap {
            by: Vec::new(),
            field: String::new(),
            changes: super::LEAST_MAX,
            within: long,
            calm: long,
        }),
        dedup: Some(super::settings::Dedup {
            by: Vec::new(),
            within: long,
        }),
        quorum: Some(super::settings::Quorum {
            by: Vec::new(),
            distinct: String::new(),
            least: super::LEAST_MAX,
            within: long,
        }),
        debounce: Some(super::settings::Debounce {
            by: Vec::new(),
            quiet: long,
            longest: long,
        }),
        throttle: Some(super::settings::Throttle {
            by: Vec::new(),
            most: 1,
            within: long,
        }),
        digest: Some(super::settings::Digest {
            by: Vec::new(),
            every: long,
            most: usize::MAX,
        }),
    };
    build(kind, &settings).ok_or(CodecError::Wrong("an unknown kind of storm control"))
}
