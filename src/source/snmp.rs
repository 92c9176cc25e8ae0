//! SNMP traps: one shape for what snmptrapd hands to a handler and for what comes over the wire.
//!
//! The handler's text ([`text`]) and the wire's datagrams ([`pdu`]) fill the same [`Trap`], both
//! without a socket; [`listen`] is the door that takes datagrams.

pub mod access;
pub mod ber;
pub mod cipher;
pub mod engine;
mod inbox;
pub mod keys;
mod listen;
pub mod mib;
pub mod oid;
pub mod pdu;
mod receive;
mod secured;
mod socket;
mod syntax;
pub mod text;
pub mod user;
pub mod value;
pub mod wire;

use std::collections::BTreeMap;

use super::keep_raw;
use crate::event::{Incoming, Meta, Value};
use oid::Oid;

pub use listen::Snmp;

/// The transport of a datagram over IPv4, as snmptrapd names it.
const TRANSPORT: &str = "UDP";
/// The same over IPv6.
const TRANSPORT_V6: &str = "UDP/IPv6";
/// sysUpTime.0: how long the sender has been running (RFC 3418).
pub const UPTIME_OID: &str = "1.3.6.1.2.1.1.3.0";
/// snmpTrapOID.0: which trap this is (RFC 3418).
pub const TRAP_OID: &str = "1.3.6.1.6.3.1.1.4.1.0";
/// snmpTrapAddress.0: the agent of a version 1 trap (RFC 3584 §3.1).
pub const AGENT_OID: &str = "1.3.6.1.6.3.18.1.3.0";
/// snmpTrapCommunity.0: the community of a version 1 trap (RFC 3584 §3.1).
pub const COMMUNITY_OID: &str = "1.3.6.1.6.3.18.1.4.0";
/// snmpTrapEnterprise.0: the enterprise of a version 1 trap (RFC 3584 §3.1).
pub const ENTERPRISE_OID: &str = "1.3.6.1.6.3.1.1.4.3.0";

/// Who sent a trap, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The sender's host name; its address if nobody knows a name.
    pub host: String,
    /// `UDP`, `UDP/IPv6`, `TCP` …; an unknown transport line as a whole.
    pub transport: String,
    /// The sender's address; empty if the transport line does not tell.
    pub address: String,
    /// The sender's port.
    pub port: Option<u16>,
}

impl Peer {
    /// Reads `UDP: [192.0.2.1]:1024->[192.0.2.9]:162`, `UDP/IPv6: [::1]:39872` and the like.
    fn read_transport(&mut self, line: &str) {
        line.clone_into(&mut self.transport);
        if let Some((transport, address, port)) = transport_parts(line) {
            transport.clone_into(&mut self.transport);
            address.clone_into(&mut self.address);
            self.port = port;
        }
        let is_nameless = self.host.is_empty() || self.host == "<UNKNOWN>" || self.host == line;
        if is_nameless && !self.address.is_empty() {
            self.host.clone_from(&self.address);
        }
    }
}

fn transport_parts(line: &str) -> Option<(&str, &str, Option<u16>)> {
    let (transport, rest) = line.split_once(": ")?;
    let (address, rest) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
    let port = rest.strip_prefix(':').map(|port| {
        let end = port.find(|char: char| !char.is_ascii_digit());
        &port[..end.unwrap_or(port.len())]
    });
    Some((transport, address, port.and_then(|port| port.parse().ok())))
}

/// A varbind's value with what is known about its type.
#[derive(Debug, Clone, PartialEq)]
pub struct TrapValue {
    /// `integer counter gauge float text oid ipaddress timeticks null hex-string opaque`. The
    /// handler's text does not tell types; there it is a guess by the look of the value.
    pub kind: &'static str,
    /// The value. Time ticks are hundredths of a second; an identifier is numbers as text;
    /// a string is text if it is printable UTF-8, else bytes.
    pub value: Value,
    /// How it was written, if it was written in hexadecimal.
    pub raw: Option<String>,
}

impl TrapValue {
    /// A value that was not written in hexadecimal.
    pub fn new(kind: &'static str, value: Value) -> TrapValue {
        TrapValue {
            kind,
            value,
            raw: None,
        }
    }
}

/// One varbind.
#[derive(Debug, Clone, PartialEq)]
pub struct Varbind {
    /// Which object.
    pub oid: Oid,
    /// Its value.
    pub value: TrapValue,
}

/// A trap or an inform.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trap {
    /// Who sent it.
    pub peer: Peer,
    /// How long the sender has been running, in hundredths of a second, as the wire has it.
    pub uptime: Option<i64>,
    /// Which trap it is (the value of snmpTrapOID.0).
    pub oid: Option<Oid>,
    /// All varbinds in order, those included that the other fields come from.
    pub varbinds: Vec<Varbind>,
    /// The agent's address, of a version 1 trap.
    pub agent: Option<String>,
    /// The community, of a version 1 trap, or when the wire gave it.
    pub community: Option<String>,
    /// The enterprise, of a version 1 trap.
    pub enterprise: Option<String>,
    /// The protocol's version, when the wire gave it.
    pub version: Option<String>,
    /// The user, when the wire gave it.
    pub user: Option<String>,
}

impl Trap {
    /// A trap of these varbinds; where one object comes twice, its first value counts.
    pub fn from_varbinds(peer: Peer, varbinds: Vec<Varbind>) -> Trap {
        let find = |number: &str| {
            let found = varbinds.iter().find(|varbind| varbind.oid.number == number);
            found.map(|varbind| &varbind.value.value)
        };
        let text = |number: &str| find(number).map(Value::to_plain);
        Trap {
            uptime: match find(UPTIME_OID) {
                Some(Value::Int(ticks)) => Some(*ticks),
                _ => None,
            },
            oid: text(TRAP_OID).map(|number| Oid::from_number(&number)),
            agent: text(AGENT_OID),
            community: text(COMMUNITY_OID),
            enterprise: text(ENTERPRISE_OID),
            version: None,
            user: None,
            peer,
            varbinds,
        }
    }

    /// The event's body: `host transport address port uptime oid name`, `varbinds` (a list of
    /// maps `oid name type value`, with `raw` if the value was written in hexadecimal) and
    /// `values` (a map from identifier to value, the first of repeated ones standing); `agent
    /// community enterprise version user` where they are known.
    pub fn into_value(self) -> Value {
        let mut values = BTreeMap::new();
        for varbind in &self.varbinds {
            let value = || varbind.value.value.clone();
            values
                .entry(varbind.oid.number.clone())
                .or_insert_with(value);
        }
        let (oid, name) = self.oid.map(|oid| (oid.number, oid.name)).unzip();
        let mut map = BTreeMap::from([
            ("host".to_owned(), self.peer.host.into()),
            ("transport".to_owned(), self.peer.transport.into()),
            ("address".to_owned(), self.peer.address.into()),
            ("port".to_owned(), self.peer.port.map(i64::from).into()),
            ("uptime".to_owned(), self.uptime.into()),
            ("oid".to_owned(), oid.into()),
            ("name".to_owned(), name.flatten().into()),
            ("values".to_owned(), Value::Map(values)),
        ]);
        let optional = [
            ("agent", self.agent),
            ("community", self.community),
            ("enterprise", self.enterprise),
            ("version", self.version),
            ("user", self.user),
        ];
        for (name, value) in optional {
            map.extend(value.map(|value| (name.to_owned(), Value::Text(value))));
        }
        let varbinds = self.varbinds.into_iter().map(varbind_value).collect();
        map.insert("varbinds".to_owned(), Value::List(varbinds));
        Value::Map(map)
    }
}

fn varbind_value(varbind: Varbind) -> Value {
    let mut map = BTreeMap::from([
        ("oid".to_owned(), Value::Text(varbind.oid.number)),
        ("name".to_owned(), varbind.oid.name.into()),
        ("type".to_owned(), varbind.value.kind.into()),
        ("value".to_owned(), varbind.value.value),
    ]);
    let raw = varbind.value.raw;
    map.extend(raw.map(|raw| ("raw".to_owned(), Value::Text(raw))));
    Value::Map(map)
}

/// What snmptrapd wrote to a handler as an event; see [`Trap::into_value`]. What is no trap, or
/// larger than [`text::TEXT_BYTES_MAX`], is kept raw with `meta.decode_error`. The sender's
/// address becomes `meta.peer` unless that is known already.
pub fn decode(bytes: &[u8], mut meta: Meta) -> Incoming {
    match parse(bytes) {
        Ok(trap) => {
            if meta.peer.is_empty() {
                meta.peer.clone_from(&trap.peer.address);
            }
            let body = trap.into_value();
            Incoming { body, meta }
        }
        Err(error) => {
            let body = Value::Null;
            keep_raw(Incoming { body, meta }, bytes, error.to_string())
        }
    }
}

/// The trap in a handler's text.
///
/// # Errors
/// [`text::TrapError`].
pub fn parse(bytes: &[u8]) -> Result<Trap, text::TrapError> {
    if bytes.len() > text::TEXT_BYTES_MAX {
        return Err(text::TrapError::TooLong);
    }
    text::read(&value::text(bytes))
}
