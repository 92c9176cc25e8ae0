//! The first words: which version both speak, and which layers they put beneath it.
//!
//! Whoever connects speaks first. Only the major must be the same, so the peer's whole version is
//! given back to it. Every Broker takes the elder answer, whichever generation it is of itself.

use super::field::Fields;
use super::frame::{Frame, Label};
use super::{legacy, table};
use crate::event::Value;

/// The category of the protocol itself, which is never acknowledged.
pub const PROTOCOL: u16 = 2;

/// BBDO's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// 2 or 3.
    pub major: u16,
    /// Told, not compared.
    pub minor: u16,
    /// Told, not compared.
    pub patch: u16,
}

impl Version {
    /// What is offered to a peer that waits for the first word.
    pub const YOUNGEST: Version = Version {
        major: 3,
        minor: 0,
        patch: 1,
    };
}

/// Layers beneath BBDO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layers {
    /// `TLS`
    pub tls: bool,
    /// `COMPRESSION`, upon TLS.
    pub compression: bool,
}

impl Layers {
    fn from_words(words: &str) -> Layers {
        let has = |name: &str| words.split_whitespace().any(|word| word == name);
        Layers {
            tls: has("TLS"),
            compression: has("COMPRESSION"),
        }
    }

    fn words(self) -> &'static str {
        match (self.tls, self.compression) {
            (true, true) => "TLS COMPRESSION",
            (true, false) => "TLS",
            (false, true) => "COMPRESSION",
            (false, false) => "",
        }
    }

    /// Those that both want.
    pub fn and(self, other: Layers) -> Layers {
        Layers {
            tls: self.tls && other.tls,
            compression: self.compression && other.compression,
        }
    }
}

/// What a peer said first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Its version.
    pub version: Version,
    /// What it offers.
    pub layers: Layers,
    /// The name of its poller, if it told.
    pub poller_name: String,
}

/// Why the first words did not lead to a conversation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Something else came first.
    #[error("the peer did not begin with its BBDO version")]
    NoVersion,
    /// Of a generation that is not known.
    #[error("the peer speaks BBDO {0}, and BBDO 2 and 3 are known")]
    Major(u16),
    /// It wants another generation than the one that was offered.
    #[error("the peer speaks BBDO {0}, and {1} was offered; set `version` to the peer's")]
    Other(u16, u16),
    /// This side wants TLS.
    #[error("the peer does not offer TLS; set `tls` and `negotiation` to yes in its output")]
    NoTls,
    /// Bytes that TLS should have covered.
    #[error("the peer went on in clear after it agreed on TLS")]
    TooEarly,
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct Welcome {
    #[prost(message, tag = 1)]
    version: Option<Numbers>,
    #[prost(string, tag = 2)]
    extensions: String,
    #[prost(string, tag = 4)]
    poller_name: String,
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct Numbers {
    #[prost(uint32, tag = 1)]
    major: u32,
    #[prost(uint32, tag = 2)]
    minor: u32,
    #[prost(uint32, tag = 3)]
    patch: u32,
}

impl Greeting {
    /// Reads the first frame of a peer, in either of its two forms.
    ///
    /// # Errors
    /// [`Refused::NoVersion`], [`Refused::Major`].
    pub fn read(frame: &Frame) -> Result<Greeting, Refused> {
        let greeting = match (frame.label.category, frame.label.element) {
            (PROTOCOL, 1) => elder(&frame.payload),
            (PROTOCOL, 7) => younger(&frame.payload),
            _ => None,
        };
        let greeting = greeting.ok_or(Refused::NoVersion)?;
        match greeting.version.major {
            2 | 3 => Ok(greeting),
            other => Err(Refused::Major(other)),
        }
    }

    /// As the elder form, which every Broker reads, and which never asks for more.
    pub fn frame(version: Version, layers: Layers) -> Frame {
        let numbers = [version.major, version.minor, version.patch];
        let mut payload: Vec<u8> = numbers.into_iter().flat_map(u16::to_be_bytes).collect();
        payload.extend(layers.words().as_bytes());
        payload.push(0);
        Frame {
            label: Label::new(PROTOCOL, 1),
            payload,
        }
    }
}

fn elder(payload: &[u8]) -> Option<Greeting> {
    let fields = legacy::read(table::find(PROTOCOL, 1)?, payload).ok()?;
    let number = |name: &str| match fields.get(name) {
        Some(Value::Int(number)) => u16::try_from(*number).ok(),
        _ => None,
    };
    Some(Greeting {
        version: Version {
            major: number("major")?,
            minor: number("minor")?,
            patch: number("patch")?,
        },
        layers: Layers::from_words(text(&fields, "extensions")),
        poller_name: String::new(),
    })
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_text).unwrap_or("")
}

fn younger(payload: &[u8]) -> Option<Greeting> {
    let welcome = <Welcome as prost::Message>::decode(payload).ok()?;
    let version = welcome.version?;
    Some(Greeting {
        version: Version {
            major: u16::try_from(version.major).ok()?,
            minor: u16::try_from(version.minor).ok()?,
            patch: u16::try_from(version.patch).ok()?,
        },
        layers: Layers::from_words(&welcome.extensions),
        poller_name: welcome.poller_name,
    })
}
