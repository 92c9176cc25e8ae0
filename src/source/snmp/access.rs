//! Who may send, and what a datagram of theirs becomes: an event, an answer, or a count.
//!
//! Invariant: what somebody who may send has sent is kept, as its bytes if it cannot be read;
//! what anybody else sends is counted under the reason for which it was turned away.

use std::net::SocketAddr;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::pdu::{self, Notification};
use super::wire::{self, Envelope, Message, Version, WireError};
use super::{Peer, TRANSPORT, TRANSPORT_V6};
use crate::event::{Incoming, Meta, Value};
use crate::hex;
use crate::source::keep_raw;

/// Bytes of the hash that tells an inform from others.
const INFORM_HASH_BYTES: usize = 16;

/// Why something was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A community that is not among the source's.
    Community,
    /// A user that is not among the source's.
    User,
    /// Nobody can say who sent it.
    Unreadable,
    /// A request or an answer: neither a trap nor an inform.
    Unasked,
}

impl Refusal {
    /// As metrics and listings have it.
    pub fn word(self) -> &'static str {
        match self {
            Refusal::Community => "community",
            Refusal::User => "user",
            Refusal::Unreadable => "unreadable",
            Refusal::Unasked => "unasked",
        }
    }
}

/// What a datagram became.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// To be kept; then an inform's answer is sent.
    Event(Box<Incoming>, Option<Vec<u8>>),
    /// Turned away.
    Refused(Refusal),
}

/// A datagram as it came.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// When.
    pub at: Timestamp,
}

impl Datagram<'_> {
    fn address(&self) -> String {
        self.from.ip().to_canonical().to_string()
    }

    fn peer(&self) -> Peer {
        let transport = match self.from.ip().to_canonical().is_ipv4() {
            true => TRANSPORT,
            false => TRANSPORT_V6,
        };
        Peer {
            host: self.address(),
            transport: transport.to_owned(),
            address: self.address(),
            port: Some(self.from.port()),
        }
    }

    fn meta(&self) -> Meta {
        let mut meta = Meta::new("snmp", self.at);
        meta.peer = self.address();
        meta
    }

    /// An inform that is sent again, because its answer was late or lost, is the same event.
    fn inform_id(&self, pdu: &[u8]) -> String {
        let hash = Sha256::digest(pdu);
        let (from, hash) = (self.from, hex::encode(&hash[..INFORM_HASH_BYTES]));
        format!("inform {from} {hash}")
    }

    fn raw(&self, why: &WireError) -> Reading {
        let incoming = Incoming {
            body: Value::Null,
            meta: self.meta(),
        };
        let kept = keep_raw(incoming, self.bytes, why.to_string());
        Reading::Event(Box::new(kept), None)
    }
}

/// Who may send.
#[derive(Debug, Default)]
pub struct Access {
    /// The communities of versions 1 and 2c; `None` means any.
    pub communities: Option<Vec<String>>,
}

impl Access {
    /// What a datagram becomes.
    pub fn read(&self, datagram: Datagram<'_>) -> Reading {
        let opened = wire::open(datagram.bytes);
        let message = opened.and_then(|envelope| match envelope.version {
            Version::V3 => Ok(None),
            _ => Message::read(&envelope).map(|message| Some((envelope, message))),
        });
        match message {
            Ok(Some((envelope, message))) => self.community(datagram, &envelope, &message),
            Ok(None) => Reading::Refused(Refusal::User),
            Err(_) if self.communities.is_some() => Reading::Refused(Refusal::Unreadable),
            Err(why) => datagram.raw(&why),
        }
    }

    fn community(
        &self,
        datagram: Datagram<'_>,
        envelope: &Envelope<'_>,
        message: &Message<'_>,
    ) -> Reading {
        if !self.admits(message.community) {
            return Reading::Refused(Refusal::Community);
        }
        let Notification {
            mut trap,
            mut notes,
            response,
        } = match pdu::read(message.pdu, datagram.peer(), message.community) {
            Ok(notification) => notification,
            Err(WireError::Unasked(_)) => return Reading::Refused(Refusal::Unasked),
            Err(why) => return datagram.raw(&why),
        };
        if envelope.behind > 0 {
            notes.push(format!("{} bytes follow the message", envelope.behind));
        }
        trap.version = Some(message.version.word().to_owned());
        trap.community = Some(String::from_utf8_lossy(message.community).into_owned());
        let mut meta = datagram.meta();
        if response.is_some() {
            meta.message_id = Some(datagram.inform_id(message.pdu));
        }
        if !notes.is_empty() {
            let raw = Value::from(datagram.bytes.to_vec());
            meta.extra.insert("raw".to_owned(), raw);
            meta.extra
                .insert("decode_note".to_owned(), Value::Text(notes.join("; ")));
        }
        let body = trap.into_value();
        let answer = response.map(|response| message.answer(&response));
        Reading::Event(Box::new(Incoming { body, meta }), answer)
    }

    /// In a time that tells nothing about how much of it was right.
    fn admits(&self, community: &[u8]) -> bool {
        let Some(known) = &self.communities else {
            return true;
        };
        let matching = known
            .iter()
            .map(|known| known.as_bytes().ct_eq(community).unwrap_u8())
            .fold(0, |any, one| any | one);
        matching == 1
    }
}
