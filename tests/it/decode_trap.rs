//! What snmptrapd hands to a trap handler, as events.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use vigie::event::{Incoming, Meta, Value};
use vigie::source::snmp::decode;
use vigie::source::snmp::text::{TEXT_BYTES_MAX, VARBINDS_MAX};

const WEST: &str = "1.3.6.1.4.1.8072.9999.9999";
const HEAD: &str = "web01\nUDP: [192.0.2.1]:1024->[192.0.2.9]:162\n";

fn meta() -> Meta {
    Meta::new("snmp", Timestamp::UNIX_EPOCH)
}

fn event(text: &str) -> Incoming {
    decode(text.as_bytes(), meta())
}

fn trap(text: &str) -> Value {
    let event = event(text);
    assert!(
        !event.meta.extra.contains_key("decode_error"),
        "{text}: {event:?}"
    );
    event.body
}

/// The one varbind behind the usual head.
fn varbind(line: &str) -> Json {
    let trap = trap(&format!("{HEAD}{line}\n")).to_json();
    let varbinds = trap["varbinds"].as_array().unwrap();
    assert_eq!(varbinds.len(), 1, "{line}: {trap}");
    varbinds[0].clone()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// What the handler read for each trap sent, with snmptrapd's options of that file.
fn recorded(option: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(file(&format!("snmptrapd/{option}.json"))).unwrap();
    let json: Json = serde_json::from_slice(&bytes).unwrap();
    let record = |record: &Json| {
        let latin1 = record["stdin"].as_str().unwrap().chars();
        let stdin = latin1
            .map(|char| u8::try_from(char as u32).unwrap())
            .collect();
        (record["trap"].as_str().unwrap().to_owned(), stdin)
    };
    json["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(record)
        .collect()
}

fn named(option: &str, name: &str) -> Json {
    let all = recorded(option);
    let (_, stdin) = all.iter().find(|(trap, _)| trap == name).unwrap();
    decode(stdin, meta()).body.to_json()
}

/// `oid: value` of the varbinds that the sender chose, without the enterprise's number.
fn own_values(trap: &Json) -> Json {
    let values = trap["values"].as_object().unwrap();
    let own = values.iter().filter_map(|(oid, value)| {
        let short = oid.strip_prefix(WEST)?.strip_prefix('.')?;
        Some((short.to_owned(), value.clone()))
    });
    Json::Object(own.collect())
}

// recordings

#[test]
fn every_recording_is_a_trap_in_every_option() {
    for option in ["default", "On", "OnQ", "OT", "Ox", "Ot", "n", "Os"] {
        for (name, stdin) in recorded(option) {
            let event = decode(&stdin, meta());
            let trap = event.body.to_json();
            assert!(
                event.meta.extra.is_empty(),
                "{option} {name}: {:?}",
                event.meta
            );
            assert!(
                trap["oid"].as_str().unwrap().starts_with("1.3.6.1."),
                "{option} {name}"
            );
            assert!(trap["uptime"].is_i64(), "{option} {name}");
            assert_eq!(trap["varbinds"][0]["name"], "sysUpTime", "{option} {name}");
            assert_eq!(
                trap["varbinds"][1]["name"], "snmpTrapOID",
                "{option} {name}"
            );
            let address = if name.ends_with("ipv6") {
                "::1"
            } else {
                "127.0.0.1"
            };
            assert_eq!(trap["address"], address, "{option} {name}");
            assert_eq!(event.meta.peer, address);
            assert!(trap["port"].is_i64());
        }
    }
}

#[test]
fn options_do_not_change_what_a_trap_says() {
    let base = recorded("default");
    for option in ["On", "OnQ", "OT", "Ox", "Ot", "n", "Os"] {
        for (name, stdin) in recorded(option) {
            let (_, plain) = base.iter().find(|(other, _)| *other == name).unwrap();
            let clean = |stdin: &[u8]| {
                let mut trap = decode(stdin, meta()).body.to_json();
                // the uptime counts on, and -Ot tells a time apart from a number no more
                for key in ["port", "uptime", "varbinds", "host"] {
                    trap.as_object_mut().unwrap().remove(key);
                }
                trap["values"]
                    .as_object_mut()
                    .unwrap()
                    .remove("1.3.6.1.2.1.1.3.0");
                trap
            };
            assert_eq!(clean(&stdin), clean(plain), "{option} {name}");
        }
    }
}

#[test]
#[allow(clippy::approx_constant)] // the recording's own figures
fn recorded_types_are_told_apart() {
    let trap = named("default", "v2c-alltypes");
    let expected = json!({
        "1": -42, "2": 4_000_000_000_i64, "3": 4_294_967_295_i64, "4": "text",
        "5": "AP8Q3q2+7w==", "6": "AQL/AAo=", "7": null, "8": "1.3.6.1.4.1.99999.1",
        "9": 8_640_000, "10": "198.51.100.23", "11": "kEA=", "12": 123, "13": -5,
        "14": 3.25, "15": 2.718282,
    });
    assert_eq!(own_values(&trap), expected);
    let types: Vec<&str> = trap["varbinds"].as_array().unwrap()[2..]
        .iter()
        .map(|varbind| varbind["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "integer",
            "integer",
            "integer",
            "text",
            "hex-string",
            "hex-string",
            "null",
            "oid",
            "timeticks",
            "ipaddress",
            "hex-string",
            "integer",
            "integer",
            "float",
            "float"
        ]
    );
    assert_eq!(
        own_values(&named("default", "v2c-counter64")),
        json!({"1": "18446744073709551615"})
    );
}

#[test]
fn recorded_strings_are_exact() {
    let cases = [
        (
            "v2c-multiline",
            json!({"1": "line one\nline two\n\nline four", "2": "after"}),
        ),
        (
            "v2c-quotes",
            json!({"1": "say \"hi\" \\ back$slash `tick` $(x) ;|&", "2": "it's"}),
        ),
        (
            "v2c-tabs-cr",
            json!({"1": "tab\there\r\ncr", "2": "   lead and trail   "}),
        ),
        ("v2c-utf8", json!({"1": "ünïcödé 障害"})),
        ("v2c-latin1", json!({"1": "Y2Fm6Q=="})),
        (
            "v2c-binary",
            json!({"1": "AP8Q3q2+7w==", "2": "Hello", "3": "\n\r\t"}),
        ),
        ("v2c-empty", json!({"1": "", "2": 0})),
    ];
    for (name, expected) in cases {
        assert_eq!(own_values(&named("default", name)), expected, "{name}");
    }
    for name in ["v2c-utf8", "v2c-binary"] {
        let (plain, shown) = (named("default", name), named("OT", name));
        assert_eq!(own_values(&plain), own_values(&shown), "{name} with -OT");
    }
    let varbind = &named("default", "v2c-utf8")["varbinds"][2];
    assert_eq!(varbind["type"], "hex-string");
    assert_eq!(
        varbind["raw"],
        "C3 BC 6E C3 AF 63 C3 B6 64 C3 A9 20 E9 9A 9C E5 \nAE B3 "
    );
}

#[test]
fn string_that_looks_like_a_varbind_forges_none() {
    let trap = named("default", "v2c-fakeoid");
    assert_eq!(trap["oid"], WEST);
    assert_eq!(trap["varbinds"].as_array().unwrap().len(), 3);
    let expected = json!({"1": "x\n.1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.6.3.1.1.5.1"});
    assert_eq!(own_values(&trap), expected);
}

#[test]
fn characters_beside_a_hexadecimal_dump_forge_no_varbind() {
    // the bytes 00 22 0A ".1.3.6.1.9 1" 0A, as -OT shows them: quote and line end unescaped
    let text = format!(
        "{HEAD}.1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.6.3.1.1.5.3\n\
         .{WEST}.1 \"00 22 0A 2E 31 2E 33 2E 36 2E 31 2E 39 20 31 0A   [.\"\n.1.3.6.1.9 1\n]\"\n.{WEST}.2 5\n"
    );
    let trap = trap(&text).to_json();
    assert_eq!(trap["varbinds"].as_array().unwrap().len(), 3, "{trap}");
    assert_eq!(own_values(&trap)["2"], 5);
}

#[test]
fn version_1_trap_has_its_agent_community_and_enterprise() {
    let trap = named("default", "v1-enterprise");
    assert_eq!(trap["oid"], format!("{WEST}.0.17"));
    assert_eq!(trap["agent"], "192.0.2.7");
    assert_eq!(trap["community"], "public");
    assert_eq!(trap["enterprise"], WEST);
    assert_eq!(trap["uptime"], 12_345);
    assert_eq!(trap["version"], Json::Null);
    assert_eq!(named("default", "v1-linkdown")["name"], "linkDown");
    assert_eq!(named("default", "v2c-hello")["agent"], Json::Null);
    let kompira = fs::read_to_string(file("kompira/snmptrap.2.txt")).unwrap();
    assert_eq!(trap_of(&kompira)["community"], "default");
}

fn trap_of(text: &str) -> Json {
    trap(text).to_json()
}

// transport

#[test]
fn transport_lines_are_read() {
    let rest = ".1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.6.3.1.1.5.1\n";
    let cases = [
        (
            "UDP: [192.0.2.1]:1024->[192.0.2.9]:162",
            json!(["UDP", "192.0.2.1", 1024]),
        ),
        ("UDP/IPv6: [::1]:39872", json!(["UDP/IPv6", "::1", 39872])),
        (
            "UDP/IPv6: [fe80::1%eth0]:99->[::1]:162",
            json!(["UDP/IPv6", "fe80::1%eth0", 99]),
        ),
        (
            "TCP: [192.0.2.1]:1->[192.0.2.9]:162",
            json!(["TCP", "192.0.2.1", 1]),
        ),
        (
            "UDP: [192.0.2.1]->[192.0.2.9]",
            json!(["UDP", "192.0.2.1", null]),
        ),
        (
            "Local Unix socket: /x",
            json!(["Local Unix socket: /x", "", null]),
        ),
    ];
    for (line, expected) in cases {
        let trap = trap_of(&format!("h\n{line}\n{rest}"));
        assert_eq!(
            json!([trap["transport"], trap["address"], trap["port"]]),
            expected,
            "{line}"
        );
        assert_eq!(trap["host"], "h");
    }
}

#[test]
fn host_without_a_name_is_its_address() {
    let trap = named("default", "v2c-ipv6");
    assert_eq!(
        (&trap["host"], &trap["transport"]),
        (&json!("::1"), &json!("UDP/IPv6"))
    );
    assert_eq!(named("n", "v1-enterprise")["host"], "127.0.0.1");
}

#[test]
fn head_may_be_missing() {
    let rest = ".1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.6.3.1.1.5.1\n.1.3.6.1.2.1.1.5.0 \"n\"\n";
    let trap = trap_of(rest);
    assert_eq!(
        (&trap["name"], &trap["host"]),
        (&json!("coldStart"), &json!(""))
    );
    let trap = trap_of(&format!("web01\n{rest}"));
    assert_eq!(
        (&trap["name"], &trap["host"]),
        (&json!("coldStart"), &json!("web01"))
    );
    assert_eq!(
        trap_of(&format!("{HEAD}{rest}").replace('\n', "\r\n"))["host"],
        "web01"
    );
}

// identifiers

#[test]
fn identifiers_are_numbers_however_they_are_written() {
    let cases = [
        (
            "iso.3.6.1.2.1.2.2.1.1.2",
            "1.3.6.1.2.1.2.2.1.1.2",
            json!("ifIndex"),
        ),
        (
            ".iso.3.6.1.2.1.1.5.0",
            "1.3.6.1.2.1.1.5.0",
            json!("sysName"),
        ),
        (".1.3.6.1.4.1.9.1", "1.3.6.1.4.1.9.1", Json::Null),
        (
            "IF-MIB::ifDescr.2",
            "1.3.6.1.2.1.2.2.1.2.2",
            json!("ifDescr"),
        ),
        (
            "DISMAN-EVENT-MIB::sysUpTimeInstance",
            "1.3.6.1.2.1.1.3.0",
            json!("sysUpTime"),
        ),
        ("SNMPv2-SMI::enterprises.9.1", "1.3.6.1.4.1.9.1", Json::Null),
        (
            ".iso.org.dod.internet.mgmt.mib-2.system.sysName.0",
            "1.3.6.1.2.1.1.5.0",
            json!("sysName"),
        ),
        (
            "ifOperStatus.7",
            "1.3.6.1.2.1.2.2.1.8.7",
            json!("ifOperStatus"),
        ),
        (
            "ACME-MIB::acmeFan.3",
            "ACME-MIB::acmeFan.3",
            json!("acmeFan"),
        ),
        (
            "ACME-MIB::acmeRow.\"my key\".3",
            "ACME-MIB::acmeRow.\"my key\".3",
            json!("acmeRow.\"my key\""),
        ),
    ];
    for (written, number, name) in cases {
        let varbind = varbind(&format!("{written} 5"));
        assert_eq!(
            (&varbind["oid"], varbind["value"].as_i64()),
            (&json!(number), Some(5)),
            "{written}"
        );
        if !written.contains('"') {
            assert_eq!(varbind["name"], name, "{written}");
        }
    }
}

#[test]
fn standard_traps_have_names() {
    for (number, name) in [
        "coldStart",
        "warmStart",
        "linkDown",
        "linkUp",
        "authenticationFailure",
        "egpNeighborLoss",
    ]
    .iter()
    .enumerate()
    {
        let line = format!(
            "{HEAD}SNMPv2-MIB::snmpTrapOID.0 iso.3.6.1.6.3.1.1.5.{}\n",
            number + 1
        );
        assert_eq!(trap_of(&line)["name"], *name);
        assert_eq!(
            trap_of(&format!("{HEAD}SNMPv2-MIB::snmpTrapOID.0 IF-MIB::{name}\n"))["name"],
            *name
        );
    }
}

// values

#[test]
fn values_with_their_type_are_read() {
    let cases = [
        ("INTEGER: up(1)", json!(["integer", 1])),
        ("INTEGER: -3", json!(["integer", -3])),
        ("Gauge32: 4000000000", json!(["gauge", 4_000_000_000_i64])),
        (
            "Counter64: 18446744073709551615",
            json!(["counter", "18446744073709551615"]),
        ),
        ("Timeticks: (4242) 0:00:42.42", json!(["timeticks", 4242])),
        ("STRING: \"a \\\"b\\\"\"", json!(["text", "a \"b\""])),
        ("STRING: plain words", json!(["text", "plain words"])),
        ("Hex-STRING: C3 BC 6E ", json!(["hex-string", "ün"])),
        ("Hex-STRING: 00 FF \nFE", json!(["hex-string", "AP/+"])),
        (
            "OID: IF-MIB::linkDown",
            json!(["oid", "1.3.6.1.6.3.1.1.5.3"]),
        ),
        ("IpAddress: 192.0.2.1", json!(["ipaddress", "192.0.2.1"])),
        ("Opaque: Float: 3.25", json!(["text", "Float: 3.25"])),
        ("NULL", json!(["null", null])),
    ];
    for (written, expected) in cases {
        let varbind = varbind(&format!(".1.3.6.1.4.1.9.1 = {written}"));
        assert_eq!(
            json!([varbind["type"], varbind["value"]]),
            expected,
            "{written}"
        );
    }
}

#[test]
fn text_that_only_looks_like_hexadecimal_stays() {
    // snmptrapd writes printable text as it is, unless all strings are hexadecimal
    let text = format!("{HEAD}.{WEST}.1 \"42 \"\n.{WEST}.2 \"plain\"\n");
    assert_eq!(
        own_values(&trap_of(&text)),
        json!({"1": "42 ", "2": "plain"})
    );
    assert_eq!(
        varbind(".1.3.6.1.4.1.9.1 \"C3 BC6E \"")["value"],
        "C3 BC6E "
    );
    assert_eq!(varbind(".1.3.6.1.4.1.9.1 \"c3 bc \"")["value"], "c3 bc ");
}

#[test]
fn times_are_hundredths_of_a_second() {
    for (written, ticks) in [
        ("0:0:00:42.42", 4242),
        ("10:2:03:04.05", 87_138_405),
        ("12345", 12_345),
    ] {
        assert_eq!(
            trap_of(&format!("{HEAD}.1.3.6.1.2.1.1.3.0 {written}\n"))["uptime"],
            ticks,
            "{written}"
        );
    }
    assert_eq!(
        trap_of(&format!("{HEAD}.1.3.6.1.2.1.1.3.0 99999999999:0:0:0.0\n"))["uptime"],
        863_999_999_991_360_000_i64
    );
    assert_eq!(
        trap_of(&format!(
            "{HEAD}.1.3.6.1.2.1.1.3.0 9999999999999999:0:0:0.0\n"
        ))["uptime"],
        Json::Null
    );
}

#[test]
fn bare_text_over_several_lines_is_one_value() {
    let text = format!("{HEAD}.{WEST}.1 first line\nsecond line\n.{WEST}.2 7\n");
    assert_eq!(
        own_values(&trap_of(&text)),
        json!({"1": "first line\nsecond line", "2": 7})
    );
}

#[test]
fn first_of_repeated_objects_counts_and_all_are_listed() {
    let text =
        format!("{HEAD}.1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.9.1\n.1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.9.2\n");
    let trap = trap_of(&text);
    assert_eq!(
        (&trap["oid"], trap["varbinds"].as_array().unwrap().len()),
        (&json!("1.3.6.1.9.1"), 2)
    );
    assert_eq!(trap["values"]["1.3.6.1.6.3.1.1.4.1.0"], "1.3.6.1.9.1");
}

// what is no trap

#[test]
fn what_is_no_trap_is_kept_raw() {
    let open = format!("{HEAD}.1.3.6.1.9.1 \"never closed\n.1.3.6.1.9.2 5\n");
    let long = format!("{HEAD}.1.3.6.1.9.1 \"{}\"\n", "x".repeat(TEXT_BYTES_MAX));
    let many = format!("{HEAD}{}", ".1.3.6.1.9.1 5\n".repeat(VARBINDS_MAX + 1));
    for text in [
        "",
        "\n\n",
        HEAD,
        "web01",
        "hello world, this is no trap",
        "\0\0\0",
        &open,
        &long,
        &many,
    ] {
        let event = event(text);
        assert_eq!(
            event.body,
            Value::from(text.as_bytes().to_vec()),
            "{:.80}",
            text
        );
        assert!(event.meta.extra.contains_key("decode_error"));
    }
    let many = format!("{HEAD}{}", ".1.3.6.1.9.1 5\n".repeat(VARBINDS_MAX));
    assert_eq!(
        trap_of(&many)["varbinds"].as_array().unwrap().len(),
        VARBINDS_MAX
    );
}

#[test]
fn hostile_texts_take_bounded_time() {
    let fill = |piece: &str| piece.repeat((TEXT_BYTES_MAX - 200) / piece.len());
    let shapes = [
        format!("{HEAD}.1.3.6.1.9.1 {}", fill("x\n")),
        format!("{HEAD}.1.3.6.1.9.1 \"{}", fill("\\\"")),
        format!("{HEAD}.1.3.6.1.9.1 \"{}", fill("AB ")),
        format!("{HEAD}{}", fill("\"")),
        format!("{HEAD}.1{} 5", fill(".1")),
        format!("{HEAD}{} 5", fill("a::")),
        "x".repeat(10_000_000),
        "\"\n".repeat(5_000_000),
    ];
    for text in shapes {
        let begin = Instant::now();
        event(&text);
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:.100}: {:?}",
            text,
            begin.elapsed()
        );
    }
}

#[test]
fn mutated_traps_never_panic_and_have_no_more_varbinds_than_lines() {
    let all = ["default", "OnQ", "OT", "Ox", "Ot"]
        .iter()
        .flat_map(|option| recorded(option));
    let seeds: Vec<Vec<u8>> = all
        .map(|(_, stdin)| stdin)
        .filter(|stdin| stdin.len() < 3_000)
        .collect();
    super::mutate::each_mutation(&seeds, |bytes| {
        let event = decode(bytes, meta());
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
        match event.body.get("varbinds") {
            Some(Value::List(varbinds)) => assert!(varbinds.len() <= lines),
            _ => assert_eq!(event.body, Value::from(bytes.to_vec())),
        }
    });
}
