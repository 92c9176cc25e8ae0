//! A message of version 3: its security examined and made (RFC 3412 §6, RFC 3414 §3).
//!
//! Invariant: nothing of a message is believed before its user, its level, its digest and its time
//! were found right, in this order; what is answered in clear text is what RFC 3414 wants so.

use snmp_parser::asn1_rs::FromBer;
use snmp_parser::{
    HeaderData, SecurityModel, UsmSecurityParameters, parse_usm_security_parameters,
};

use super::ber::{self, Broken, Element, INTEGER, OCTETS, Reader, SEQUENCE};
use super::cipher::Occasion;
use super::engine::Engine;
use super::pdu;
use super::socket::DATAGRAM_BYTES_MAX;
use super::user::User;
use super::wire::{Envelope, WireError};

/// usmStats (RFC 3414 §5), without the number of the counter and its instance.
const STATISTICS: [u8; 8] = [0x2b, 6, 1, 6, 3, 15, 1, 1];
const AUTHENTICATED: u8 = 1;
const ENCRYPTED: u8 = 2;

/// What is wrong with a message; the number is that of its counter under usmStats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is less secured, or more, than its user's messages are.
    Level = 1,
    /// It is of the past.
    Time = 2,
    /// Nobody here is called so.
    User = 3,
    /// It is for another engine than ours; so asks whoever does not know ours yet.
    Engine = 4,
    /// Another password, or somebody changed it on its way.
    Digest = 5,
    /// It cannot be decrypted.
    Decryption = 6,
}

/// A message, its security not yet examined.
#[derive(Debug)]
pub struct Message<'a> {
    header: HeaderData,
    usm: UsmSecurityParameters<'a>,
    body: Element<'a>,
    /// The whole message, for its digest.
    bytes: &'a [u8],
}

/// What is inside, once the security was found right.
#[derive(Debug)]
pub struct Opened<'u> {
    /// Who sent it.
    pub user: &'u User,
    /// The scoped PDU.
    pub scoped: Vec<u8>,
}

/// A scoped PDU (RFC 3412 §6).
#[derive(Debug, Clone, Copy)]
pub struct Scoped<'a> {
    engine: &'a [u8],
    /// The name of the context.
    pub context: &'a [u8],
    /// The PDU.
    pub pdu: &'a [u8],
}

impl<'a> Scoped<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`Broken`], also if another password encrypted it.
    pub fn read(bytes: &'a [u8]) -> Result<Scoped<'a>, Broken> {
        let mut inside = Reader::new(Reader::new(bytes).expect(SEQUENCE, "scoped PDU")?);
        Ok(Scoped {
            engine: inside.expect(OCTETS, "context engine id")?,
            context: inside.expect(OCTETS, "context name")?,
            pdu: inside.rest,
        })
    }

    fn with(&self, pdu: &[u8]) -> Vec<u8> {
        let engine = ber::element(OCTETS, &[self.engine]);
        let context = ber::element(OCTETS, &[self.context]);
        ber::element(SEQUENCE, &[&engine, &context, pdu])
    }
}

impl<'a> Message<'a> {
    /// What stands in an envelope of `datagram`.
    ///
    /// # Errors
    /// [`Broken`]; also for another security model than the user-based one.
    pub fn read(envelope: &Envelope<'a>, datagram: &'a [u8]) -> Result<Message<'a>, WireError> {
        let header = HeaderData::from_ber(envelope.inside.rest);
        let (rest, header) = header.map_err(|_| Broken::Cut("header"))?;
        let mut inside = Reader::new(rest);
        let parameters = inside.expect(OCTETS, "security parameters")?;
        let (_, usm) = parse_usm_security_parameters(parameters)
            .ok()
            .filter(|_| header.msg_security_model == SecurityModel::USM)
            .ok_or(Broken::Cut("user-based security"))?;
        Ok(Message {
            header,
            usm,
            body: inside.any("scoped PDU")?,
            bytes: &datagram[..datagram.len() - envelope.behind],
        })
    }

    /// The engine that the message is secured by.
    pub fn engine(&self) -> &'a [u8] {
        self.usm.msg_authoritative_engine_id
    }

    /// Examines the security.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub fn open<'u>(&self, users: &'u [User], engine: &Engine) -> Result<Opened<'u>, Fault> {
        // Whoever wants an answer secures by the engine of the one who answers.
        if self.header.is_reportable() && self.engine() != engine.id {
            return Err(Fault::Engine);
        }
        let user = self.user(users).ok_or(Fault::User)?;
        let level = (self.header.is_authenticated(), self.header.is_encrypted());
        if user.level() != level {
            return Err(Fault::Level);
        }
        if let Some((hash, key)) = user.proof(self.engine()) {
            let (before, digest, after) = self.around_digest().ok_or(Fault::Digest)?;
            let zeros = vec![0; digest.len()];
            if !hash.is_right(&key, &[before, &zeros, after], digest) {
                return Err(Fault::Digest);
            }
            let (boots, time) = self.moment();
            if !engine.is_timely(self.engine(), boots, time) {
                return Err(Fault::Time);
            }
        }
        let scoped = self.decrypt(user).ok_or(Fault::Decryption)?;
        Ok(Opened { user, scoped })
    }

    fn user<'u>(&self, users: &'u [User]) -> Option<&'u User> {
        let name = &self.usm.msg_user_name;
        users.iter().find(|user| user.name == *name)
    }

    fn moment(&self) -> (u32, u32) {
        let usm = &self.usm;
        (
            usm.msg_authoritative_engine_boots,
            usm.msg_authoritative_engine_time,
        )
    }

    /// The message before its digest, the digest, and what follows.
    fn around_digest(&self) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        let digest = self.usm.msg_authentication_parameters;
        let begin = (digest.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        let before = self.bytes.get(..begin)?;
        Some((before, digest, self.bytes.get(begin + digest.len()..)?))
    }

    fn decrypt(&self, user: &User) -> Option<Vec<u8>> {
        let data = self.body.data;
        let Some((cipher, key)) = user.secrecy(self.engine()) else {
            return Some(ber::element(self.body.tag, &[data]));
        };
        let (boots, time) = self.moment();
        let salt = self.usm.msg_privacy_parameters;
        let mut clear = data.to_vec();
        cipher.decrypt(&key, Occasion { boots, time, salt }, &mut clear)?;
        (self.body.tag == OCTETS).then_some(clear)
    }

    /// The report of a fault, if the sender wants one. One about the time is authenticated, since
    /// the sender sets a clock by it.
    pub fn report(&self, fault: Fault, users: &[User], engine: &Engine) -> Option<Vec<u8>> {
        if !self.header.is_reportable() {
            return None;
        }
        let counter = [&STATISTICS[..], &[fault as u8, 0]].concat();
        let clear = ber::element(self.body.tag, &[self.body.data]);
        let id = match Scoped::read(&clear) {
            Ok(scoped) => pdu::request_id(scoped.pdu).to_vec(),
            Err(_) => Vec::new(),
        };
        let report = pdu::report(&id, &counter, engine.count_report());
        let scope = Scoped {
            engine: &engine.id,
            context: b"",
            pdu: b"",
        };
        let user = self.user(users).filter(|_| fault == Fault::Time);
        let seal = Seal {
            id: self.header.msg_id,
            user,
            is_private: false,
        };
        seal.close(engine, scope.with(&report))
    }

    /// The answer to an inform whose response is `pdu`; `None` if our engine is not the one that
    /// it was secured by.
    pub fn answer(&self, opened: &Opened<'_>, pdu: &[u8], engine: &Engine) -> Option<Vec<u8>> {
        let scope = Scoped::read(&opened.scoped).ok()?;
        let seal = Seal {
            id: self.header.msg_id,
            user: Some(opened.user),
            is_private: self.header.is_encrypted(),
        };
        let is_ours = self.engine() == engine.id;
        is_ours.then(|| seal.close(engine, scope.with(pdu)))?
    }
}

/// How a message of ours is secured.
struct Seal<'u> {
    id: u32,
    user: Option<&'u User>,
    is_private: bool,
}

impl Seal<'_> {
    /// The message around a scoped PDU; `None` if it cannot be encrypted.
    fn close(&self, engine: &Engine, scoped: Vec<u8>) -> Option<Vec<u8>> {
        let (boots, time, salt) = (engine.boots, engine.time(), engine.salt());
        let secrecy = self.user.filter(|_| self.is_private);
        let secrecy = secrecy.and_then(|user| user.secrecy(&engine.id));
        let salt: &[u8] = if secrecy.is_some() { &salt } else { b"" };
        let body = match &secrecy {
            Some((cipher, key)) => {
                let hidden = cipher.encrypt(key, Occasion { boots, time, salt }, scoped)?;
                ber::element(OCTETS, &[&hidden])
            }
            None => scoped,
        };
        let proof = self.user.and_then(|user| user.proof(&engine.id));
        let flags =
            u8::from(proof.is_some()) * AUTHENTICATED + u8::from(secrecy.is_some()) * ENCRYPTED;
        let whole = |digest: &[u8]| {
            let moment = (boots, time);
            let parameters = self.parameters(&engine.id, moment, [digest, salt]);
            ber::element(
                SEQUENCE,
                &[
                    &ber::number(INTEGER, 3),
                    &self.header(flags),
                    &parameters,
                    &body,
                ],
            )
        };
        let Some((hash, key)) = proof else {
            return Some(whole(b""));
        };
        let unsigned = whole(&vec![0; hash.digest_bytes()]);
        Some(whole(&hash.digest(&key, &[&unsigned])))
    }

    fn header(&self, flags: u8) -> Vec<u8> {
        // A datagram that can be read is smaller than 4 GiB.
        let size = ber::number(INTEGER, DATAGRAM_BYTES_MAX as u32 - 1);
        let (id, flags) = (
            ber::number(INTEGER, self.id),
            ber::element(OCTETS, &[&[flags]]),
        );
        let model = ber::number(INTEGER, SecurityModel::USM.0);
        ber::element(SEQUENCE, &[&id, &size, &flags, &model])
    }

    fn parameters(&self, engine: &[u8], moment: (u32, u32), [digest, salt]: [&[u8]; 2]) -> Vec<u8> {
        let name = self.user.map_or("", |user| &user.name);
        let inside = ber::element(
            SEQUENCE,
            &[
                &ber::element(OCTETS, &[engine]),
                &ber::number(INTEGER, moment.0),
                &ber::number(INTEGER, moment.1),
                &ber::element(OCTETS, &[name.as_bytes()]),
                &ber::element(OCTETS, &[digest]),
                &ber::element(OCTETS, &[salt]),
            ],
        );
        ber::element(OCTETS, &[&inside])
    }
}
