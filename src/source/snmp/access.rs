//! Who may send, and what a datagram of theirs becomes: an event, an answer, or a count.
//!
//! Invariant: what somebody who may send has sent is kept, as its bytes if it cannot be read;
//! what anybody else sends is counted under the reason for which it was turned away.

use std::net::SocketAddr;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::engine::Engine;
use super::mib::Names;
use super::pdu::{self, Notification};
use super::secured::{self, Fault, Scoped};
use super::user::User;
use super::wire::{self, Envelope, Message, Version, WireError};
use super::{Peer, TRANSPORT, TRANSPORT_V6, Trap};
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
    /// A user's message that is secured otherwise than the source says.
    Level,
    /// A wrong password, or a message that was changed on its way.
    Digest,
    /// A message of the past, sent again by whoever recorded it, or by a clock that was set back.
    Time,
    /// What cannot be decrypted.
    Decryption,
}

impl Refusal {
    /// As metrics and listings have it.
    pub fn word(self) -> &'static str {
        match self {
            Refusal::Community => "community",
            Refusal::User => "user",
            Refusal::Unreadable => "unreadable",
            Refusal::Unasked => "unasked",
            Refusal::Level => "security level",
            Refusal::Digest => "digest",
            Refusal::Time => "time",
            Refusal::Decryption => "decryption",
        }
    }
}

impl Refusal {
    /// The refusal of a message with this fault; asking for our engine is none.
    fn of(fault: Fault) -> Option<Refusal> {
        match fault {
            Fault::Engine => None,
            Fault::User => Some(Refusal::User),
            Fault::Level => Some(Refusal::Level),
            Fault::Digest => Some(Refusal::Digest),
            Fault::Time => Some(Refusal::Time),
            Fault::Decryption => Some(Refusal::Decryption),
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
    /// A message of version 3 that is answered by a report; turned away, or a question about us.
    Reported(Option<Refusal>, Vec<u8>),
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
    /// Names beyond the built-in ones.
    pub names: Option<&'a Names>,
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

    fn event(&self, mut trap: Trap, notes: &[String], mut meta: Meta) -> Box<Incoming> {
        if !notes.is_empty() {
            let raw = Value::from(self.bytes.to_vec());
            meta.extra.insert("raw".to_owned(), raw);
            let note = Value::Text(notes.join("; "));
            meta.extra.insert("decode_note".to_owned(), note);
        }
        self.names
            .iter()
            .for_each(|names| names.complete(&mut trap));
        let body = trap.into_value();
        Box::new(Incoming { body, meta })
    }
}

/// Who may send.
#[derive(Debug, Default)]
pub struct Access {
    /// The communities of versions 1 and 2c; `None` means any.
    pub communities: Option<Vec<String>>,
    /// The users of version 3; without any that version is not spoken.
    pub users: Vec<User>,
}

impl Access {
    /// What a datagram becomes; messages of version 3 are for `engine`.
    pub fn read(&self, engine: &Engine, datagram: Datagram<'_>) -> Reading {
        let read = wire::open(datagram.bytes).and_then(|envelope| match envelope.version {
            Version::V3 if self.users.is_empty() => Ok(Reading::Refused(Refusal::User)),
            Version::V3 => self.secured(engine, datagram, &envelope),
            _ => self.community(datagram, &envelope),
        });
        match read {
            Ok(reading) => reading,
            Err(_) if self.communities.is_some() => Reading::Refused(Refusal::Unreadable),
            Err(why) => datagram.raw(&why),
        }
    }

    /// A message of version 1 or 2c; an error says that nobody can tell who sent it.
    fn community(
        &self,
        datagram: Datagram<'_>,
        envelope: &Envelope<'_>,
    ) -> Result<Reading, WireError> {
        let message = Message::read(envelope)?;
        if !self.admits(message.community) {
            return Ok(Reading::Refused(Refusal::Community));
        }
        let read = pdu::read(message.pdu, datagram.peer(), message.community);
        let mut notification = match read {
            Ok(notification) => notification,
            Err(WireError::Unasked(_)) => return Ok(Reading::Refused(Refusal::Unasked)),
            Err(why) => return Ok(datagram.raw(&why)),
        };
        notification.count_behind(envelope.behind);
        let Notification {
            mut trap,
            notes,
            response,
        } = notification;
        trap.version = Some(message.version.word().to_owned());
        trap.community = Some(String::from_utf8_lossy(message.community).into_owned());
        let mut meta = datagram.meta();
        meta.message_id = response.is_some().then(|| datagram.inform_id(message.pdu));
        let answer = response.map(|response| message.answer(&response));
        Ok(Reading::Event(datagram.event(trap, &notes, meta), answer))
    }

    /// A message of version 3; an error says that nobody can tell who sent it.
    fn secured(
        &self,
        engine: &Engine,
        datagram: Datagram<'_>,
        envelope: &Envelope<'_>,
    ) -> Result<Reading, WireError> {
        let message = secured::Message::read(envelope, datagram.bytes)?;
        let opened = match message.open(&self.users, engine) {
            Ok(opened) => opened,
            Err(fault) => return Ok(self.fault(engine, &message, fault)),
        };
        let scoped = Scoped::read(&opened.scoped).map_err(WireError::from);
        let read = scoped.and_then(|scoped| {
            let notification = pdu::read(scoped.pdu, datagram.peer(), b"")?;
            Ok((scoped, notification))
        });
        let (scoped, mut notification) = match read {
            Ok(read) => read,
            Err(WireError::Unasked(_)) => return Ok(Reading::Refused(Refusal::Unasked)),
            Err(why) => return Ok(datagram.raw(&why)),
        };
        notification.count_behind(envelope.behind);
        let Notification {
            mut trap,
            notes,
            response,
        } = notification;
        trap.version = Some(Version::V3.word().to_owned());
        trap.user = Some(opened.user.name.clone());
        let mut meta = datagram.meta();
        let context = String::from_utf8_lossy(scoped.context).into_owned();
        let known = [
            ("engine_id", hex::encode(message.engine())),
            ("context", context),
        ];
        let known = known.map(|(name, value)| (name.to_owned(), Value::Text(value)));
        meta.extra.extend(known);
        meta.message_id = response.is_some().then(|| datagram.inform_id(scoped.pdu));
        let answer = response.and_then(|response| message.answer(&opened, &response, engine));
        Ok(Reading::Event(datagram.event(trap, &notes, meta), answer))
    }

    fn fault(&self, engine: &Engine, message: &secured::Message<'_>, fault: Fault) -> Reading {
        let refusal = Refusal::of(fault);
        match message.report(fault, &self.users, engine) {
            Some(report) => Reading::Reported(refusal, report),
            None => Reading::Refused(refusal.unwrap_or(Refusal::Unasked)),
        }
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
