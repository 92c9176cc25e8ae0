//! Decoders of single events: what cannot be read is kept, byte for byte, or refused.

use std::net::SocketAddr;

use vigie::event::Value;
use vigie::sender::spool;
use vigie::source::snmp::access::{Access, Datagram, Reading};
use vigie::source::snmp::engine::Engine;
use vigie::source::webhook::{CONTENT_TYPE_KEY, HOOKS};
use vigie::source::{json as json_source, mail as mail_source, snmp};

use super::meta;

/// JSON: refused or read, and otherwise kept.
pub fn json(bytes: &[u8]) {
    let read = json_source::decode(bytes, meta());
    let kept = json_source::decode_or_keep(bytes, meta());
    match read {
        Ok(events) => assert_eq!(events.len(), kept.len()),
        Err(_) => assert_eq!(kept.len(), 1, "what is no JSON is one event"),
    }
}

/// A mail keeps its bytes.
pub fn mail(bytes: &[u8]) {
    let event = mail_source::decode(bytes, meta());
    assert_eq!(event.body.get("raw"), Some(&Value::from(bytes.to_vec())));
}

/// A datagram, without users and their keys.
pub fn snmp_datagram(bytes: &[u8]) {
    let datagram = Datagram {
        bytes,
        from: SocketAddr::from(([192, 0, 2, 1], 1024)),
        at: jiff::Timestamp::UNIX_EPOCH,
        names: None,
    };
    if let Reading::Event(event, _) = Access::default().read(&Engine::start(None), datagram) {
        let is_raw = event.meta.extra.contains_key("decode_error");
        assert_eq!(event.body == Value::from(bytes.to_vec()), is_raw);
    }
}

/// What snmptrapd writes: never more varbinds than lines, or kept as it is.
pub fn trap_text(bytes: &[u8]) {
    let event = snmp::decode(bytes, meta());
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    match event.body.get("varbinds") {
        Some(Value::List(varbinds)) => assert!(varbinds.len() <= lines),
        _ => assert_eq!(event.body, Value::from(bytes.to_vec())),
    }
}

/// A body at each hook, with and without a media type.
pub fn webhook(bytes: &[u8]) {
    for hook in HOOKS {
        for kind in ["", "application/json", "application/x-www-form-urlencoded"] {
            let mut meta = meta();
            meta.extra
                .insert(CONTENT_TYPE_KEY.to_owned(), Value::from(kind));
            drop(hook.decode(bytes, meta));
        }
    }
}

/// A file that anybody on this host may have left in the spool.
pub fn spool_file(bytes: &[u8]) {
    let name = format!(
        "1700000000000-00000000-0000-4000-8000-{:012}.event",
        std::process::id()
    );
    let path = std::env::temp_dir().join(name);
    if std::fs::write(&path, bytes).is_ok() {
        drop(spool::read(&path));
        drop(std::fs::remove_file(&path));
    }
}
