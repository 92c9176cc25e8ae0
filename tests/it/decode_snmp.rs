//! SNMP datagrams from the wire, as events: recordings of Net-SNMP, odd ones made by hand, broken ones.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use vigie::event::{Incoming, Meta, Value};
use vigie::secret::Secret;
use vigie::source::snmp::access::{Access, Datagram, Reading, Refusal};
use vigie::source::snmp::cipher::Cipher;
use vigie::source::snmp::decode;
use vigie::source::snmp::engine::Engine;
use vigie::source::snmp::keys::Hash;
use vigie::source::snmp::user::User;

use crate::mutate::each_mutation;

const WEST: &str = "1.3.6.1.4.1.8072.9999.9999";
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";

fn file(name: &str) -> Json {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    serde_json::from_slice(&fs::read(path.join(name)).unwrap()).unwrap()
}

fn bytes(hex: &Json) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Recorded datagrams, as `v2c-hello.1` by what was sent and the order within it.
pub fn recorded() -> BTreeMap<String, Vec<u8>> {
    let packets = file("snmp-packets/packets.json");
    let packets = packets["packets"].as_array().unwrap().iter();
    packets
        .map(|packet| {
            let (trap, number) = (packet["trap"].as_str().unwrap(), &packet["seq"]);
            (format!("{trap}.{number}"), bytes(&packet["hex"]))
        })
        .collect()
}

fn from() -> SocketAddr {
    "192.0.2.1:1024".parse().unwrap()
}

fn read_by(access: &Access, bytes: &[u8]) -> Reading {
    read_for(&Engine::start(None), access, bytes)
}

fn read_for(engine: &Engine, access: &Access, bytes: &[u8]) -> Reading {
    let datagram = Datagram {
        bytes,
        from: from(),
        at: Timestamp::UNIX_EPOCH,
        names: None,
    };
    access.read(engine, datagram)
}

fn read(bytes: &[u8]) -> Reading {
    read_by(&Access::default(), bytes)
}

fn event(bytes: &[u8]) -> Incoming {
    match read(bytes) {
        Reading::Event(event, _) => *event,
        other => panic!("{other:?}"),
    }
}

fn trap(name: &str) -> Json {
    let event = event(&recorded()[name]);
    let extra = &event.meta.extra;
    assert!(!extra.contains_key("decode_error"), "{name}: {extra:?}");
    event.body.to_json()
}

#[test]
fn every_type_of_value_comes_as_what_it_is() {
    let trap = trap("v2c-alltypes.1");
    let rows = [
        ("integer", json!(-42)),
        ("gauge", json!(4_000_000_000_u32)),
        ("counter", json!(4_294_967_295_u32)),
        ("text", json!("text")),
        ("hex-string", json!("AP8Q3q2+7w==")),
        ("hex-string", json!("AQL/AAo=")),
        ("null", Json::Null),
        ("oid", json!("1.3.6.1.4.1.99999.1")),
        ("timeticks", json!(8_640_000)),
        ("ipaddress", json!("198.51.100.23")),
        ("hex-string", json!("kEA=")),
        ("gauge", json!(123)),
        ("integer", json!(-5)),
        ("float", json!(3.25)),
        ("float", "2.718281828".parse().unwrap()),
    ];
    let varbinds = trap["varbinds"].as_array().unwrap();
    assert_eq!(varbinds.len(), 2 + rows.len());
    for (number, (kind, value)) in (1..).zip(rows) {
        let varbind = &varbinds[number + 1];
        assert_eq!(varbind["oid"], format!("{WEST}.{number}"));
        assert_eq!(
            (&varbind["type"], &varbind["value"]),
            (&json!(kind), &value)
        );
        assert_eq!(trap["values"][format!("{WEST}.{number}")], value);
    }
    assert_eq!(varbinds[6]["raw"], "00 FF 10 DE AD BE EF ");
    assert_eq!((&trap["uptime"], &trap["oid"]), (&json!(99), &json!(WEST)));
    let large = trap_value("v2c-counter64.1");
    assert_eq!(
        large,
        json!("18446744073709551615"),
        "beyond 63 bits it is text"
    );
}

fn trap_value(name: &str) -> Json {
    trap(name)["values"][format!("{WEST}.1")].clone()
}

#[test]
fn text_is_text_in_any_script_and_nothing_in_it_is_mistaken_for_a_varbind() {
    assert_eq!(trap_value("v2c-utf8.1"), "ünïcödé 障害");
    assert_eq!(
        trap_value("v2c-multiline.1"),
        "line one\nline two\n\nline four"
    );
    assert_eq!(trap_value("v2c-empty.1"), "");
    assert_eq!(
        trap_value("v2c-latin1.1"),
        "Y2Fm6Q==",
        "bytes, for `text()` to guess"
    );
    assert_eq!(trap_value("v2c-huge.1").as_str().unwrap().len(), 20_000);
    let forged = trap("v2c-fakeoid.1");
    assert_eq!(forged["oid"], WEST);
    assert_eq!(forged["values"].as_object().unwrap().len(), 3);
}

#[test]
fn a_version_1_trap_speaks_as_one_of_version_2() {
    let trap = trap("v1-enterprise.1");
    let expected = json!({
        "host": "192.0.2.1", "transport": "UDP", "address": "192.0.2.1", "port": 1024,
        "version": "1", "community": "public", "agent": "192.0.2.7", "enterprise": WEST,
        "uptime": 12345, "oid": format!("{WEST}.0.17"), "name": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&trap[key], value, "{key}");
    }
    assert_eq!(trap["values"][format!("{WEST}.1")], "disk full");
    let link = self::trap("v1-linkdown.1");
    assert_eq!(
        (&link["name"], &link["uptime"]),
        (&json!("linkDown"), &json!(222))
    );
    assert_eq!(link["varbinds"][2]["name"], "ifIndex");
}

/// What snmptrapd handed on of the same traps, if nothing but the way it writes is different.
#[test]
fn the_same_trap_through_snmptrapd_is_the_same_event() {
    let handled = file("snmptrapd/On.json");
    let packets = recorded();
    let mut compared = 0;
    for record in handled["records"].as_array().unwrap() {
        let name = record["trap"].as_str().unwrap();
        // Digits after the point, and bytes that are really text, are lost on the way.
        let is_exact = !["v2c-alltypes", "v2c-binary", "v2c-huge"].contains(&name);
        let Some(packet) = packets.get(&format!("{name}.1")).filter(|_| is_exact) else {
            continue;
        };
        if name.starts_with("v3") {
            continue;
        }
        let latin1 = record["stdin"].as_str().unwrap().chars();
        let stdin: Vec<u8> = latin1.map(|char| char as u8).collect();
        let text = decode(&stdin, Meta::new("snmp", Timestamp::UNIX_EPOCH)).body;
        let wire = event(packet).body;
        for key in ["oid", "name", "agent", "enterprise"] {
            assert_eq!(wire.get(key), text.get(key), "{name}: {key}");
        }
        assert_eq!(values(&wire), values(&text), "{name}");
        let names = |trap: &Value| -> Vec<Json> {
            let trap = trap.to_json();
            let varbinds = trap["varbinds"].as_array().unwrap().iter();
            varbinds.map(|varbind| varbind["name"].clone()).collect()
        };
        assert_eq!(names(&wire), names(&text), "{name}");
        compared += 1;
    }
    assert!(compared >= 15, "only {compared}");
}

/// All values but the uptime, which goes on.
fn values(trap: &Value) -> BTreeMap<String, Value> {
    let mut values = trap.get("values").unwrap().as_map().unwrap().clone();
    values.remove(UPTIME);
    values
}

#[test]
fn an_inform_has_the_answer_that_net_snmp_gives_and_one_id_however_often_it_comes() {
    let packets = recorded();
    let ids: Vec<Option<String>> = (0..2)
        .map(|_| match read(&packets["v2c-inform.1"]) {
            Reading::Event(event, answer) => {
                assert_eq!(answer.as_ref(), Some(&packets["v2c-inform.2"]));
                event.meta.message_id
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(
        ids[0]
            .as_ref()
            .unwrap()
            .starts_with("inform 192.0.2.1:1024 ")
    );
    assert_eq!(ids[0], ids[1]);
    match read(&packets["v2c-hello.1"]) {
        Reading::Event(event, answer) => {
            assert_eq!(answer, None);
            assert_eq!(
                event.meta.message_id, None,
                "two equal traps are two events"
            );
            assert_eq!(
                (event.meta.source.as_str(), event.meta.peer.as_str()),
                ("snmp", "192.0.2.1")
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_known_communities_are_taken_and_what_nobody_can_tell_is_not() {
    let packets = recorded();
    let access = Access {
        communities: Some(vec!["secret".to_owned(), "public".to_owned()]),
        ..Access::default()
    };
    let refused = |name: &str| match read_by(&access, &packets[name]) {
        Reading::Refused(why) => Some(why),
        _ => None,
    };
    assert_eq!(refused("v2c-hello.1"), None);
    assert_eq!(refused("v1-coldstart.1"), None);
    assert_eq!(refused("v2c-badcomm.1"), Some(Refusal::Community));
    assert_eq!(refused("v2c-inform-bad.1"), Some(Refusal::Community));
    assert_eq!(refused("v3-unknownuser.1"), Some(Refusal::User));
    let cut = &packets["v2c-hello.1"][..5];
    assert_eq!(read_by(&access, cut), Reading::Refused(Refusal::Unreadable));
    // The community is there, so what somebody known has sent is kept.
    let mut broken = packets["v2c-hello.1"].clone();
    broken[40] ^= 0x55;
    assert!(matches!(read_by(&access, &broken), Reading::Event(..)));
    let nobody = Access {
        communities: Some(Vec::new()),
        ..Access::default()
    };
    let reading = read_by(&nobody, &packets["v2c-hello.1"]);
    assert_eq!(reading, Reading::Refused(Refusal::Community));
}

/// What becomes of an odd packet: read, read with a note, or kept raw; and why, or the last varbind.
fn verdict(bytes: &[u8]) -> String {
    let event = match read(bytes) {
        Reading::Event(event, _) => event,
        other => panic!("{other:?}"),
    };
    let extra = &event.meta.extra;
    if let Some(why) = extra.get("decode_error") {
        assert_eq!(event.body, Value::from(bytes.to_vec()));
        return format!("raw: {}", why.to_plain());
    }
    if let Some(note) = extra.get("decode_note") {
        assert_eq!(extra["raw"], Value::from(bytes.to_vec()));
        return format!("noted: {}", note.to_plain());
    }
    let last = event.body.to_json()["varbinds"]
        .as_array()
        .unwrap()
        .last()
        .cloned();
    let last = last.unwrap_or_default();
    let word = |key: &str| last[key].as_str().unwrap_or("-").to_owned();
    format!("read: {} {} {}", word("oid"), word("type"), last["value"])
}

#[test]
fn every_odd_packet_is_read_or_kept_as_it_is() {
    let cases = file("snmp-packets/quirks.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 49);
    let wrong: Vec<Json> = cases
        .iter()
        .map(|case| (case, verdict(&bytes(&case["hex"]))))
        .filter(|(case, verdict)| case["becomes"] != *verdict)
        .map(|(case, verdict)| json!([case["case"], verdict]))
        .collect();
    assert!(wrong.is_empty(), "{}", Json::from(wrong));
}

/// The users of the recordings.
fn users() -> Vec<User> {
    let user = |name, proof: Option<(Hash, &str)>, secrecy: Option<(Cipher, &str)>| {
        let proof = proof.map(|(hash, password)| (hash, Secret::new(password.to_owned())));
        let secrecy = secrecy.map(|(cipher, password)| (cipher, Secret::new(password.to_owned())));
        User::new(name, proof, secrecy)
    };
    let (sha, aes) = ((Hash::Sha, "authpass-sha1"), (Cipher::Aes, "privpass-aes"));
    let (md5, des) = ((Hash::Md5, "authpass-md5"), (Cipher::Des, "privpass-des"));
    let sha256 = (Hash::Sha256, "authpass-sha256");
    vec![
        user("noauthu", None, None),
        user("md5desu", Some(md5), Some(des)),
        user("shau", Some(sha), None),
        user("shaaesu", Some(sha), Some(aes)),
        user(
            "sha256aes256u",
            Some(sha256),
            Some((Cipher::Aes256, "privpass-aes256")),
        ),
        user(
            "sha512aesu",
            Some((Hash::Sha512, "authpass-sha512")),
            Some(aes),
        ),
        user("informu", Some(sha), Some(aes)),
    ]
}

fn of_users() -> Access {
    Access {
        communities: Some(Vec::new()),
        users: users(),
    }
}

#[test]
fn traps_of_version_3_are_opened_with_every_hash_and_cipher_recorded() {
    let (packets, access) = (recorded(), of_users());
    let read = |name: &str| read_by(&access, &packets[name]);
    for (name, user, text) in [
        ("v3-noauth.1", "noauthu", "v3 noauth"),
        ("v3-md5-des.1", "md5desu", "v3 md5 des"),
        ("v3-sha-auth.1", "shau", "v3 sha auth"),
        ("v3-sha-aes.1", "shaaesu", "v3 sha aes"),
        ("v3-sha256-aes256.1", "sha256aes256u", "v3 sha256 aes256"),
        ("v3-sha512-aes.1", "sha512aesu", "v3 sha512 aes"),
        ("v3-context.1", "shaaesu", "v3 with context"),
        ("v3-unknownengine.1", "shaaesu", "v3 unknown engine"),
    ] {
        let Reading::Event(event, None) = read(name) else {
            panic!("{name}: {:?}", read(name));
        };
        let body = event.body.to_json();
        assert_eq!(body["values"][format!("{WEST}.1")], text, "{name}");
        let said = (&body["version"], &body["user"], &body["community"]);
        assert_eq!(said, (&json!("3"), &json!(user), &Json::Null));
        let context = if name == "v3-context.1" { "ctx1" } else { "" };
        assert_eq!(event.meta.extra["context"], Value::from(context));
        let is_known = name != "v3-unknownengine.1";
        let engine = event.meta.extra["engine_id"].to_plain();
        assert_eq!(engine == "8000000001020304", is_known, "{engine}");
    }
    assert_eq!(read("v3-badpass.1"), Reading::Refused(Refusal::Digest));
    assert_eq!(read("v3-unknownuser.1"), Reading::Refused(Refusal::User));
    // one bit anywhere, and nothing of it is believed
    let packet = &packets["v3-sha-aes.1"];
    for at in 0..packet.len() {
        let mut changed = packet.clone();
        changed[at] ^= 1;
        assert!(
            !matches!(read_by(&access, &changed), Reading::Event(..)),
            "{at}"
        );
    }
}

#[test]
fn a_level_that_is_not_the_users_is_refused() {
    let packets = recorded();
    let access = |name: &str, has_proof: bool| {
        let password = |text: &str| Secret::new(text.to_owned());
        let proof = has_proof.then(|| (Hash::Sha, password("authpass-sha1")));
        Access {
            communities: None,
            users: vec![User::new(name, proof, None)],
        }
    };
    let encrypted = read_by(&access("shaaesu", true), &packets["v3-sha-aes.1"]);
    assert_eq!(encrypted, Reading::Refused(Refusal::Level));
    let clear = read_by(&access("noauthu", true), &packets["v3-noauth.1"]);
    assert_eq!(clear, Reading::Refused(Refusal::Level));
}

/// The engine that snmptrapd had for the recordings.
fn recorded_engine() -> Engine {
    let id = "80001f8880e0bc230be86f006b00000000";
    Engine::new(bytes(&json!(id)), 1)
}

#[test]
fn whoever_asks_for_our_engine_is_told_as_net_snmp_tells_it() {
    let packets = recorded();
    let Reading::Reported(None, report) =
        read_for(&recorded_engine(), &of_users(), &packets["v3-inform.1"])
    else {
        panic!("no report");
    };
    // The time is another, and the largest message.
    let (mut ours, mut theirs) = (report, packets["v3-inform.2"].clone());
    let time = theirs.iter().rposition(|byte| *byte == 0x0c).unwrap();
    for report in [&mut ours, &mut theirs] {
        let size = report
            .windows(2)
            .position(|pair| pair == [0x02, 0x03])
            .unwrap();
        report[size..size + 5].fill(0);
        report[time] = 0;
    }
    assert_eq!(ours, theirs);
}

#[test]
fn an_inform_of_version_3_is_answered_under_the_same_seal_and_not_out_of_its_time() {
    let (packets, access, engine) = (recorded(), of_users(), recorded_engine());
    let inform = &packets["v3-inform.3"];
    let Reading::Event(event, Some(answer)) = read_for(&engine, &access, inform) else {
        panic!("no answer");
    };
    assert_eq!(
        event.body.to_json()["values"][format!("{WEST}.1")],
        "v3 inform"
    );
    assert_eq!(answer.len(), packets["v3-inform.4"].len());
    // Our own answer opens with the same keys: its digest is right, and what is inside is a response.
    let opened = read_for(&engine, &access, &answer);
    assert_eq!(opened, Reading::Refused(Refusal::Unasked));
    let later = Engine::new(engine.id.clone(), 2);
    let Reading::Reported(Some(Refusal::Time), report) = read_for(&later, &access, inform) else {
        panic!("an inform of the time before the restart was taken");
    };
    // The report is authenticated, or the sender would not set its clock by it.
    assert!(report.windows(2).any(|pair| pair == [0x04, 0x0c]));
}

#[test]
fn traps_of_the_past_of_an_engine_are_refused() {
    let engine = Engine::start(None);
    assert!(engine.is_timely(b"other", 3, 1_000));
    assert!(
        engine.is_timely(b"other", 3, 860),
        "150 seconds may be late"
    );
    assert!(!engine.is_timely(b"other", 3, 849));
    assert!(!engine.is_timely(b"other", 2, 5_000), "before its restart");
    assert!(engine.is_timely(b"other", 4, 0));
    assert!(!engine.is_timely(b"other", 3, 1_001));
    assert!(!engine.is_timely(b"third", i32::MAX as u32, 0));
    assert!(!engine.is_timely(&engine.id, 0, 0) && engine.is_timely(&engine.id, 1, 149));
    assert!(!engine.is_timely(&engine.id, 1, 152));
    let again = Engine::start(Some(&engine.memory()));
    assert_eq!((&again.id, again.boots), (&engine.id, 2));
    assert_ne!(Engine::start(None).id, engine.id);
}

#[test]
fn keys_are_those_of_the_rfc() {
    // RFC 3414 §A.3.1 and §A.3.2
    let engine = bytes(&json!("000000000000000000000002"));
    for (hash, stretched, local) in [
        (
            Hash::Md5,
            "9faf3283884e92834ebc9847d8edd963",
            "526f5eed9fcce26f8964c2930787d82b",
        ),
        (
            Hash::Sha,
            "9fb5cc0381497b3793528939ff788d5d79145211",
            "6695febc9288e36282235fc7151f128497b38f3f",
        ),
    ] {
        let key = hash.stretch("maplesyrup");
        assert_eq!(key, bytes(&json!(stretched)));
        assert_eq!(hash.localize(&key, &engine), bytes(&json!(local)));
    }
}

#[test]
fn too_many_varbinds_and_deep_nesting_are_kept_raw_and_soon() {
    let varbind = [0x30, 0x06, 0x06, 0x02, 0x2b, 0x06, 0x05, 0x00];
    let began = Instant::now();
    for (count, is_raw) in [(1_000, false), (1_001, true), (7_000, true)] {
        let list = varbind.repeat(count);
        let long = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82], &length[..], content].concat()
        };
        let zero = [0x02, 0x01, 0x00];
        let pdu = [&zero[..], &zero, &zero, &long(0x30, &list)].concat();
        let message = [&[0x02, 0x01, 0x01, 0x04, 0x00][..], &long(0xa7, &pdu)].concat();
        let event = event(&long(0x30, &message));
        assert_eq!(
            event.meta.extra.contains_key("decode_error"),
            is_raw,
            "{count}"
        );
    }
    let deep = [0x30, 0x80].repeat(20_000);
    assert!(event(&deep).meta.extra.contains_key("decode_error"));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn broken_datagrams_never_panic_and_never_vanish() {
    let mut seeds: Vec<Vec<u8>> = recorded().into_values().collect();
    let quirks = file("snmp-packets/quirks.json");
    seeds.extend(
        quirks
            .as_array()
            .unwrap()
            .iter()
            .map(|case| bytes(&case["hex"])),
    );
    let (engine, of_users) = (recorded_engine(), of_users());
    each_mutation(&seeds, |bytes| {
        // Behind users and their keys nothing may panic either.
        read_for(&engine, &of_users, bytes);
        match read(bytes) {
            Reading::Event(event, _) => {
                let is_raw = event.meta.extra.contains_key("decode_error");
                assert_eq!(event.body == Value::from(bytes.to_vec()), is_raw);
            }
            Reading::Reported(..) => {}
            Reading::Refused(why) => {
                let is_known = matches!(why, Refusal::User | Refusal::Unasked);
                assert!(is_known, "{why:?}: {bytes:02x?}");
            }
        }
    });
}
