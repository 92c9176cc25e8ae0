//! What a message carries: a trap of version 1, a trap or an inform of version 2 (RFC 1157 §4.1.6,
//! RFC 3416 §3), as the same [`Trap`] that snmptrapd's text becomes.
//!
//! A version 1 trap is told in the terms of version 2 (RFC 3584 §3.1), in the order in which
//! snmptrapd does it. One value that cannot be read does not cost the others: it stays bytes.

use super::ber::{self, Broken, Element, INTEGER, OID, Reader, SEQUENCE};
use super::oid::Oid;
use super::text::VARBINDS_MAX;
use super::wire::WireError;
use super::{
    AGENT_OID, COMMUNITY_OID, ENTERPRISE_OID, Peer, TRAP_OID, Trap, TrapValue, UPTIME_OID, Varbind,
    syntax,
};
use crate::event::Value;

const RESPONSE: u8 = 0xa2;
const TRAP_V1: u8 = 0xa4;
const INFORM: u8 = 0xa6;
const TRAP_V2: u8 = 0xa7;
/// `snmpTraps`: the six standard traps stand below it (RFC 3584 §3.1).
const STANDARD_TRAPS: &str = "1.3.6.1.6.3.1.1.5";
/// The generic type of a trap that its enterprise defines.
const ENTERPRISE_SPECIFIC: i64 = 6;

/// What was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// The trap.
    pub trap: Trap,
    /// What is odd about it, for people.
    pub notes: Vec<String>,
    /// The response that an inform waits for.
    pub response: Option<Vec<u8>>,
}

impl Notification {
    /// Notes that so many bytes stood behind the message.
    pub fn count_behind(&mut self, count: usize) {
        if count > 0 {
            self.notes.push(format!("{count} bytes follow the message"));
        }
    }
}

/// Reads the message that `peer` sent under `community`, which a version 1 trap repeats.
///
/// # Errors
/// [`WireError`].
pub fn read(pdu: &[u8], peer: Peer, community: &[u8]) -> Result<Notification, WireError> {
    let mut outside = Reader::new(pdu);
    let Element { tag, data } = outside.any("PDU")?;
    let mut notification = match tag {
        TRAP_V1 => version_1(data, peer, community)?,
        TRAP_V2 | INFORM => version_2(data, peer)?,
        other => return Err(WireError::Unasked(other)),
    };
    notification.response = notification.response.filter(|_| tag == INFORM);
    if !outside.rest.is_empty() {
        let count = outside.rest.len();
        let note = format!("{count} bytes follow the PDU inside the message");
        notification.notes.push(note);
    }
    Ok(notification)
}

fn version_2(data: &[u8], peer: Peer) -> Result<Notification, WireError> {
    let mut fields = Reader::new(data);
    let id = fields.expect(INTEGER, "request id")?;
    fields.integer("error status")?;
    fields.integer("error index")?;
    let list = fields.expect(SEQUENCE, "list of varbinds")?;
    let (varbinds, notes) = varbinds(list)?;
    let (id, list) = (
        ber::element(INTEGER, &[id]),
        ber::element(SEQUENCE, &[list]),
    );
    let none = ber::number(INTEGER, 0);
    let response = ber::element(RESPONSE, &[&id, &none, &none, &list]);
    Ok(Notification {
        trap: Trap::from_varbinds(peer, varbinds),
        notes,
        response: Some(response),
    })
}

fn version_1(data: &[u8], peer: Peer, community: &[u8]) -> Result<Notification, WireError> {
    let mut fields = Reader::new(data);
    let enterprise = fields.expect(OID, "enterprise")?;
    let enterprise = ber::oid(enterprise).ok_or(Broken::Cut("enterprise"))?;
    let agent = agent(fields.any("agent address")?)?;
    let generic = fields.integer("generic type")?;
    let specific = fields.integer("specific type")?;
    let ticks = fields.any("time stamp")?.data;
    let ticks = ber::unsigned(ticks).ok_or(Broken::Number("time stamp"))?;
    let oid = match generic {
        0..ENTERPRISE_SPECIFIC => format!("{STANDARD_TRAPS}.{}", generic + 1),
        ENTERPRISE_SPECIFIC => format!("{enterprise}.0.{specific}"),
        other => return Err(WireError::Generic(other)),
    };
    let (own, notes) = varbinds(fields.expect(SEQUENCE, "list of varbinds")?)?;
    let community = String::from_utf8_lossy(community).into_owned();
    let mut all = vec![
        varbind(UPTIME_OID, "timeticks", syntax::whole(ticks)),
        varbind(TRAP_OID, "oid", oid.into()),
    ];
    all.extend(own);
    all.extend([
        varbind(AGENT_OID, "ipaddress", agent.as_str().into()),
        varbind(COMMUNITY_OID, "text", community.into()),
        varbind(ENTERPRISE_OID, "oid", enterprise.into()),
    ]);
    let mut trap = Trap::from_varbinds(peer, all);
    // An agent that does not know its address says so with zeros (RFC 3584 §3.1).
    trap.agent = Some(agent).filter(|agent| agent != "0.0.0.0");
    Ok(Notification {
        trap,
        notes,
        response: None,
    })
}

/// Four bytes, whatever their tag: some agents write a plain string.
fn agent(element: Element<'_>) -> Result<String, Broken> {
    let bytes = <[u8; 4]>::try_from(element.data);
    let bytes = bytes.map_err(|_| Broken::Cut("agent address"))?;
    Ok(std::net::Ipv4Addr::from(bytes).to_string())
}

fn varbind(number: &str, kind: &'static str, value: Value) -> Varbind {
    Varbind {
        oid: Oid::from_number(number),
        value: TrapValue::new(kind, value),
    }
}

fn varbinds(list: &[u8]) -> Result<(Vec<Varbind>, Vec<String>), WireError> {
    let mut list = Reader::new(list);
    let (mut varbinds, mut notes) = (Vec::new(), Vec::new());
    while !list.rest.is_empty() {
        if varbinds.len() == VARBINDS_MAX {
            return Err(WireError::TooMany);
        }
        let mut pair = Reader::new(list.expect(SEQUENCE, "varbind")?);
        let number = pair.expect(OID, "varbind's name")?;
        let number = ber::oid(number).ok_or(Broken::Cut("varbind's name"))?;
        let element = pair.any("varbind's value")?;
        let value = syntax::value(element).unwrap_or_else(|| {
            let Element { tag, data } = element;
            let count = data.len();
            notes.push(format!(
                "the value of {number} is an odd element 0x{tag:02x} of {count} bytes, kept as they are"
            ));
            syntax::bytes("opaque", data)
        });
        varbinds.push(Varbind {
            oid: Oid::from_number(&number),
            value,
        });
    }
    Ok((varbinds, notes))
}

/// A report that says `counter` is at `count` (RFC 3414 §3.2), for the request with this id.
pub fn report(id: &[u8], counter: &[u8], count: u32) -> Vec<u8> {
    const REPORT: u8 = 0xa8;
    const COUNTER: u8 = 0x41;
    let id = match id.is_empty() {
        true => ber::number(INTEGER, 0),
        false => ber::element(INTEGER, &[id]),
    };
    let (name, count) = (ber::element(OID, &[counter]), ber::number(COUNTER, count));
    let list = ber::element(SEQUENCE, &[&ber::element(SEQUENCE, &[&name, &count])]);
    let none = ber::number(INTEGER, 0);
    ber::element(REPORT, &[&id, &none, &none, &list])
}

/// The request id of a PDU of version 2; empty if it cannot be read.
pub fn request_id(pdu: &[u8]) -> &[u8] {
    let pdu = Reader::new(pdu).any("PDU");
    let id = pdu.and_then(|pdu| Reader::new(pdu.data).expect(INTEGER, "request id"));
    id.unwrap_or_default()
}
