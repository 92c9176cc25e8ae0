//! Centreon Broker: the stream, and one event of either generation.

use vigie::source::bbdo::decode::decode;
use vigie::source::bbdo::frame::{Frame, Label};
use vigie::source::bbdo::handshake::Layers;
use vigie::source::bbdo::session::Session;

/// A connection from its first byte; every event is decoded and acknowledged.
pub fn stream(bytes: &[u8]) {
    let mut session = Session::answering(Layers {
        tls: false,
        compression: true,
    });
    if session.push(bytes).is_err() {
        return;
    }
    while let Ok(Some(_)) = session.take() {
        session.kept(session.taken());
        session.acknowledge();
    }
}

/// Category and element, two bytes each, then the payload.
pub fn event(bytes: &[u8]) {
    let Some((label, payload)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let [a, b, c, d] = *label;
    let decoded = decode(&Frame {
        label: Label::new(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        payload: payload.to_vec(),
    });
    assert!(decoded.fields.contains_key("kind"));
}
