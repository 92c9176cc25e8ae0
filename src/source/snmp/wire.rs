//! A datagram of version 1 or 2c from the wire: its envelope, and how an inform is answered.
//!
//! Pure. The envelope is read by itself, so that who sent something is known even if what was
//! sent cannot be read.

use super::ber::{self, Broken, INTEGER, OCTETS, Reader, SEQUENCE};

/// Why a datagram is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are not what they should be.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Another version of the protocol.
    #[error("the message has version number {0}, which is none of 0 (v1), 1 (v2c) and 3")]
    Version(i64),
    /// It asks or answers something: no trap and no inform.
    #[error("the message is neither a trap nor an inform, but an element 0x{0:02x}")]
    Unasked(u8),
    /// A version 1 trap that is none of the seven kinds (RFC 1157 §4.1.6).
    #[error("the trap's generic type {0} is not one of 0 to 6")]
    Generic(i64),
    /// It has too many varbinds.
    #[error("the trap has more than {} varbinds", super::text::VARBINDS_MAX)]
    TooMany,
}

/// The protocol's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RFC 1157.
    V1,
    /// RFC 1901.
    V2c,
    /// RFC 3412.
    V3,
}

impl Version {
    /// As events have it.
    pub fn word(self) -> &'static str {
        match self {
            Version::V1 => "1",
            Version::V2c => "2c",
            Version::V3 => "3",
        }
    }
}

/// What stands around the message of any version.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The version.
    pub version: Version,
    /// What follows the version.
    pub inside: Reader<'a>,
    /// Bytes behind the message.
    pub behind: usize,
}

/// Opens a datagram.
///
/// # Errors
/// [`WireError::Broken`], [`WireError::Version`].
pub fn open(datagram: &[u8]) -> Result<Envelope<'_>, WireError> {
    let mut outside = Reader::new(datagram);
    let mut inside = Reader::new(outside.expect(SEQUENCE, "message")?);
    let version = match inside.integer("version")? {
        0 => Version::V1,
        1 => Version::V2c,
        3 => Version::V3,
        other => return Err(WireError::Version(other)),
    };
    Ok(Envelope {
        version,
        inside,
        behind: outside.rest.len(),
    })
}

/// A message of version 1 or 2c.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The version.
    pub version: Version,
    /// The community, which need not be text.
    pub community: &'a [u8],
    /// What was sent, still to be read by [`super::pdu::read`].
    pub pdu: &'a [u8],
}

impl<'a> Message<'a> {
    /// What stands in an envelope.
    ///
    /// # Errors
    /// [`WireError::Broken`] if there is no community.
    pub fn read(envelope: &Envelope<'a>) -> Result<Message<'a>, WireError> {
        let mut inside = envelope.inside;
        Ok(Message {
            version: envelope.version,
            community: inside.expect(OCTETS, "community")?,
            pdu: inside.rest,
        })
    }

    /// The answer to an inform whose response is `pdu`.
    pub fn answer(&self, pdu: &[u8]) -> Vec<u8> {
        let version = u32::from(self.version != Version::V1);
        let version = ber::number(INTEGER, version);
        let community = ber::element(OCTETS, &[self.community]);
        ber::element(SEQUENCE, &[&version, &community, pdu])
    }
}
