//! Traps and informs on the wire, sent by Net-SNMP's own programs and by bursts.

use std::net::UdpSocket;
use std::time::Instant;

use serde_json::{Value as Json, json};
use vigie::standin::pagerduty::PagerDuty;

use crate::house::{House, Running, stdout, wait_for};
use crate::peers::netsnmp::{Sender, udp_port};
use crate::peers::snmptrapd::has_ipv6;
use crate::sources::{events, row};

pub const ENTERPRISE: &str = "1.3.6.1.4.1.8072.9999.9999";
pub const FIRST: &str = "1.3.6.1.4.1.8072.9999.9999.1";

/// A house whose channel `snmptrap` takes traps at this port, and a server in it.
fn listening(port: u16, more: &str) -> House {
    let house = House::new();
    let listen = match has_ipv6() {
        true => format!("[\"127.0.0.1:{port}\", \"[::1]:{port}\"]"),
        false => format!("\"127.0.0.1:{port}\""),
    };
    let block = format!("{more}\n[[source]]\nkind = \"snmp\"\nlisten = {listen}\n");
    house.channel("snmptrap", &block);
    house
}

fn up(server: &Running) {
    wait_for("the door", || {
        row(server, "snmptrap/snmp").filter(|row| row["state"] == "up")
    });
}

/// Waits for so many events; all bodies.
fn received(server: &Running, count: usize) -> Vec<Json> {
    wait_for("the events", || {
        let row = row(server, "snmptrap/snmp")?;
        (row["events"].as_u64() >= Some(count as u64)).then_some(())
    });
    let all = events(server, "snmptrap");
    assert_eq!(all.len(), count);
    all
}

fn refused(server: &Running) -> Json {
    row(server, "snmptrap/snmp").unwrap()["refused_for"].clone()
}

#[test]
fn traps_of_versions_1_and_2c_come_over_ipv4_and_ipv6() {
    let (port, sender) = (udp_port(), Sender::new());
    let house = listening(port, "");
    let server = house.serve();
    up(&server);
    let at = format!("udp:127.0.0.1:{port}");
    let rest = format!("{at} {ENTERPRISE} 192.0.2.7 6 17 12345 {FIRST} s");
    sender.trap(&format!("-v1 -c public {rest}"), &["disk full"]);
    let linkdown = "1.3.6.1.6.3.1.1.5.3 1.3.6.1.2.1.2.2.1.1.2 i 2";
    sender.trap(
        &format!("-v2c -c \u{969c}\u{5bb3} {at} 4242 {linkdown}"),
        &[],
    );
    let mut count = 2;
    if has_ipv6() {
        let arguments = format!("-v2c -c public udp6:[::1]:{port} 1 {ENTERPRISE} {FIRST} s");
        sender.trap(&arguments, &["line \"one\"\n\u{969c}\u{5bb3}"]);
        count = 3;
    }
    let all = received(&server, count);
    let expected = json!({
        "version": "1", "community": "public", "agent": "192.0.2.7", "enterprise": ENTERPRISE,
        "host": "127.0.0.1", "address": "127.0.0.1", "transport": "UDP", "uptime": 12345,
        "oid": format!("{ENTERPRISE}.0.17"),
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&all[0][key], value, "{key}");
    }
    assert_eq!(all[0]["values"][FIRST], "disk full");
    let (name, community) = (&all[1]["name"], &all[1]["community"]);
    assert_eq!(
        (name, community),
        (&json!("linkDown"), &json!("\u{969c}\u{5bb3}"))
    );
    assert_eq!(
        (&all[1]["uptime"], &all[1]["version"]),
        (&json!(4242), &json!("2c"))
    );
    assert_eq!(all[1]["varbinds"][2]["name"], "ifIndex");
    if has_ipv6() {
        let (transport, address) = (&all[2]["transport"], &all[2]["address"]);
        assert_eq!((transport, address), (&json!("UDP/IPv6"), &json!("::1")));
        assert_eq!(all[2]["values"][FIRST], "line \"one\"\n\u{969c}\u{5bb3}");
    }
    let meta = server.get("events/snmptrap%2F1")["meta"].clone();
    assert_eq!(
        (&meta["source"], &meta["peer"]),
        (&json!("snmp"), &json!("127.0.0.1"))
    );
    let log = server.log();
    assert!(log.contains("with a receive buffer of "), "{log}");
    assert!(!log.contains("of every community"), "only loopback: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_flow_for_snmptrapd_pages_for_traps_from_the_wire_unchanged() {
    let pagerduty = PagerDuty::start().await.unwrap();
    let (port, sender) = (udp_port(), Sender::new());
    let house = listening(port, "").settings(&format!(
        "[pagerduty]\nendpoint = \"{}\"\nrouting_key_file = \"pagerduty.key\"",
        pagerduty.url()
    ));
    house.file("pagerduty.key", &"a".repeat(32));
    house.flow(
        "snmptrap/page",
        include_str!("../../flows/snmptrap/page.rhai"),
    );
    let server = house.serve();
    up(&server);
    let at = format!("udp:127.0.0.1:{port}");
    let varbinds =
        "1.3.6.1.2.1.2.2.1.1.2 i 2 1.3.6.1.2.1.2.2.1.2.2 s eth1 1.3.6.1.2.1.2.2.1.8.2 i 2";
    let down = format!("-v2c -c public {at} 4242 1.3.6.1.6.3.1.1.5.3 {varbinds}");
    sender.trap(&down, &[]);
    let enterprise = "1.3.6.1.4.1.8072.3.2.10";
    let index = "1.3.6.1.2.1.2.2.1.1.3 i 3";
    sender.trap(
        &format!("-v1 -c public {at} {enterprise} 192.0.2.7 2 0 222 {index}"),
        &[],
    );
    sender.trap(
        &format!("-v2c -c public {at} 1 1.3.6.1.6.3.1.1.5.4 {varbinds}"),
        &[],
    );
    sender.trap(&format!("-v2c -c public {at} 1 1.3.6.1.6.3.1.1.5.1"), &[]);
    for number in 1..=3 {
        let run = server.ended(&format!("snmptrap/{number}/page"));
        assert_eq!(run["state"], "done", "{run:#}");
    }
    let alerts = pagerduty.alerts();
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    assert_eq!(alerts[0].payload["summary"], "127.0.0.1: eth1 is down");
    assert_eq!(alerts[0].dedup_key, "127.0.0.1/ifIndex.2");
    assert_eq!(alerts[0].payload["custom_details"]["oper_status"], 2);
    assert_eq!(alerts[1].dedup_key, "192.0.2.7/ifIndex.3");
    // the same trap as snmptrapd hands it over makes the same page
    let handled = "127.0.0.1\nUDP: [127.0.0.1]:1->[127.0.0.1]:162\n.1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.6.3.1.1.5.3\n.1.3.6.1.2.1.2.2.1.1.2 2\n";
    let media = [("content-type", "application/x-snmptrapd")];
    let path = "/api/v1/channels/snmptrap/events";
    let answered = server.ask(path, &media, Some(handled.as_bytes()));
    assert_eq!(answered.status, 202, "{answered:?}");
    server.ended("snmptrap/5/page");
    assert_eq!(pagerduty.alerts()[2].dedup_key, alerts[0].dedup_key);
}

#[test]
fn an_inform_is_answered_once_it_is_on_disk_and_not_when_it_is_not() {
    let (port, sender) = (udp_port(), Sender::new());
    let house = listening(port, "depth_max = 2\non_full = \"refuse\"");
    let server = house.serve();
    up(&server);
    let inform = |retries: u8, text: &str| {
        let at = format!("udp:127.0.0.1:{port}");
        let options = format!("-v2c -c public -r{retries} -t1 {at} 7 {ENTERPRISE} {FIRST} s");
        sender.inform(&options, &[text])
    };
    assert!(inform(5, "one") && inform(5, "two"));
    assert_eq!(received(&server, 2)[1]["values"][FIRST], "two");
    assert!(!inform(0, "three"), "there is no room for it");
    let row = row(&server, "snmptrap/snmp").unwrap();
    assert_eq!(row["state"], "failing", "{row}");
    assert!(
        row["last_error"].as_str().unwrap().contains("full"),
        "{row}"
    );
    assert_eq!(events(&server, "snmptrap").len(), 2);
}

#[test]
fn what_was_answered_is_there_after_kill_9() {
    let (port, sender) = (udp_port(), Sender::new());
    let house = listening(port, "");
    let mut answered: Vec<String> = Vec::new();
    for round in 0..4 {
        let server = house.serve();
        up(&server);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let sends = (0..200).map(|number| format!("{round}/{number}"));
                let at = format!("udp:127.0.0.1:{port}");
                let options = format!("-v2c -c public -r0 -t1 {at} 7 {ENTERPRISE} {FIRST} s");
                let sent = sends.take_while(|text| sender.inform(&options, &[text]));
                sent.collect::<Vec<String>>()
            });
            wait_for("some informs", || {
                let row = row(&server, "snmptrap/snmp")?;
                (row["events"].as_u64() > Some(10)).then_some(())
            });
            server.kill();
            answered.extend(sending.join().unwrap());
        });
    }
    assert!(answered.len() >= 40, "{answered:?}");
    let server = house.serve();
    let all = events(&server, "snmptrap");
    let kept: Vec<&str> = all
        .iter()
        .map(|event| event["values"][FIRST].as_str().unwrap())
        .collect();
    for text in &answered {
        let count = kept.iter().filter(|kept| *kept == text).count();
        assert_eq!(count, 1, "{text}");
    }
}

#[test]
fn other_communities_are_turned_away_and_counted_and_a_reload_opens_anew() {
    let (port, sender) = (udp_port(), Sender::new());
    let house = listening(port, "");
    let block = |communities: &str| {
        format!(
            "[[source]]\nkind = \"snmp\"\nlisten = \"0.0.0.0:{port}\"\ncommunities = [{communities}]\n"
        )
    };
    house.channel("snmptrap", &block("\"caf\u{e9}\", \"ops\""));
    let server = house.serve();
    up(&server);
    let at = format!("udp:127.0.0.1:{port}");
    let send = |community: &str, text: &str| {
        let arguments = format!("-v2c -c {community} {at} 7 {ENTERPRISE} {FIRST} s {text}");
        sender.trap(&arguments, &[]);
    };
    send("public", "stranger");
    send("op", "stranger");
    send("ops", "friend");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for junk in [&b"junk"[..], b"", b"\x30"] {
        socket.send_to(junk, ("127.0.0.1", port)).unwrap();
    }
    send("caf\u{e9}", "friend");
    let all = received(&server, 2);
    assert!(all.iter().all(|event| event["values"][FIRST] == "friend"));
    assert_eq!(refused(&server), json!({ "community": 2, "unreadable": 3 }));
    let metrics = server.ask("/metrics", &[], None).text;
    let counted = "vigie_source_refused_total{source=\"snmptrap/snmp\",reason=\"community\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
    let listing = stdout(&server.verb(&["list", "sources"]));
    assert!(
        listing.contains(&format!("5        udp 0.0.0.0:{port}")),
        "{listing}"
    );
    assert!(server.log().contains("turned away: community"));
    house.channel("snmptrap", &block("\"public\""));
    wait_for("the reload", || {
        let row = row(&server, "snmptrap/snmp")?;
        (row["state"] == "up" && row["events"] == 0).then_some(())
    });
    send("public", "friend");
    wait_for("the third", || {
        let row = row(&server, "snmptrap/snmp")?;
        (row["events"] == 1).then_some(())
    });
    // that everybody may send is for this host alone: the change is refused, and what was goes on
    let all = block("").replace("communities = []\n", "");
    house.channel("snmptrap", &all);
    wait_for("the refusal", || {
        let log = server.log();
        log.contains("anybody could send traps of any community")
            .then_some(())
    });
    send("public", "friend");
    wait_for("the fourth", || {
        let row = row(&server, "snmptrap/snmp")?;
        (row["events"] == 2).then_some(())
    });
    assert_eq!(server.stop(), Some(0));
}

/// A trap with this text, as `snmptrap` writes it.
fn datagram(text: &str) -> Vec<u8> {
    let recorded = &crate::decode_snmp::recorded()["v2c-hello.1"];
    let at = recorded.len() - "hello world".len();
    assert_eq!(text.len(), "hello world".len());
    [&recorded[..at], text.as_bytes()].concat()
}

#[test]
fn a_burst_of_2000_traps_loses_none_and_mixes_up_none() {
    const BURST: usize = 2_000;
    let port = udp_port();
    let house = listening(port, "");
    let server = house.serve();
    up(&server);
    let burst: Vec<Vec<u8>> = (0..BURST)
        .map(|number| datagram(&format!("trap {number:06}")))
        .collect();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    for round in 1..=3 {
        let began = Instant::now();
        for datagram in &burst {
            socket.send(datagram).unwrap();
        }
        let took = began.elapsed();
        wait_for("all of them", || {
            let row = row(&server, "snmptrap/snmp")?;
            assert_eq!(row["refused"], 0, "{row}");
            (row["events"] == BURST * round).then_some(())
        });
        println!(
            "{BURST} traps were sent in {took:?} and kept in {:?}",
            began.elapsed()
        );
    }
    for number in [0, 1, 777, BURST - 1] {
        let id = 2 * BURST + number + 1;
        let event = server.get(&format!("events/snmptrap%2F{id}"));
        assert_eq!(event["body"]["values"][FIRST], format!("trap {number:06}"));
    }
}

#[test]
fn what_the_system_had_no_room_for_is_counted_to_the_last_datagram() {
    const SENT: u64 = 60_000;
    let port = udp_port();
    let house = listening(port, "");
    let server = house.serve();
    up(&server);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    server.signal(rustix::process::Signal::STOP);
    // A trap of a community that is not taken would do, but these are kept.
    let datagram = datagram("a long wait");
    for _ in 0..SENT {
        socket.send(&datagram).unwrap();
    }
    server.signal(rustix::process::Signal::CONT);
    let row = wait_for("all to be accounted for", || {
        let row = row(&server, "snmptrap/snmp")?;
        let lost = row["refused_for"]["overflow"].as_u64()?;
        (row["events"].as_u64()? + lost == SENT).then_some(row)
    });
    let why = row["last_error"].as_str().unwrap();
    assert!(why.contains("raise net.core.rmem_max"), "{row}");
}

#[test]
fn an_address_that_is_taken_is_said_and_tried_again() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let house = House::new();
    let block = format!("[[source]]\nkind = \"snmp\"\nlisten = \"127.0.0.1:{port}\"\n");
    house.channel("snmptrap", &block);
    let server = house.serve();
    let row = wait_for("its failure", || {
        row(&server, "snmptrap/snmp").filter(|row| row["state"] == "waiting")
    });
    let why = row["last_error"].as_str().unwrap();
    assert!(
        why.starts_with(&format!("cannot listen on udp 127.0.0.1:{port}: ")),
        "{why}"
    );
    drop(taken);
    up(&server);
}

/// A vendor's MIB, as vendors write them.
const VENDOR: &str = r#"VIGIE-TEST-MIB DEFINITIONS ::= BEGIN
IMPORTS MODULE-IDENTITY, OBJECT-TYPE, NOTIFICATION-TYPE, Integer32, enterprises FROM SNMPv2-SMI
        DisplayString FROM SNMPv2-TC;
vigieTest MODULE-IDENTITY
    LAST-UPDATED "202601010000Z" ORGANIZATION "x" CONTACT-INFO "x" DESCRIPTION "x"
    ::= { enterprises 99999 }
fanNumber OBJECT-TYPE SYNTAX Integer32 MAX-ACCESS read-only STATUS current DESCRIPTION "x" ::= { vigieTest 1 }
-- a comment -- fanFailed NOTIFICATION-TYPE -- ::= { vigieTest 0 8 }
fanFailed NOTIFICATION-TYPE OBJECTS { fanNumber } STATUS current DESCRIPTION "fan OBJECT-TYPE ::= { a 1 }" ::= { vigieTest 0 7 }
END
"#;

#[test]
fn names_come_from_a_folder_of_mibs_and_traps_come_without_it_too() {
    let (port, sender) = (udp_port(), Sender::new());
    let house = listening(port, "");
    let block = |folder: &str| {
        format!("[[source]]\nkind = \"snmp\"\nlisten = \"127.0.0.1:{port}\"\nmibs = \"{folder}\"\n")
    };
    house.file("mibs/VIGIE-TEST-MIB.txt", VENDOR);
    house.file(
        "mibs/BROKEN-MIB.txt",
        "BROKEN-MIB DEFINITIONS ::= BEGIN {{{ \u{969c} END",
    );
    house.channel("snmptrap", &block("mibs"));
    let server = house.serve();
    up(&server);
    let vendor = "1.3.6.1.4.1.99999";
    let at = format!("udp:127.0.0.1:{port}");
    let fan = format!("-v2c -c public {at} 7 {vendor}.0.7 {vendor}.1.0 i 3 {vendor}.2.0 i 4");
    sender.trap(&fan, &[]);
    let event = received(&server, 1).remove(0);
    assert_eq!(event["name"], "fanFailed", "{}", server.log());
    let names: Vec<&Json> = (0..4).map(|at| &event["varbinds"][at]["name"]).collect();
    assert_eq!(
        names[..3],
        [
            &json!("sysUpTime"),
            &json!("snmpTrapOID"),
            &json!("fanNumber")
        ]
    );
    assert_eq!(names[3], &Json::Null);
    house.channel("snmptrap", &block("gone"));
    wait_for("the reload", || {
        let row = row(&server, "snmptrap/snmp")?;
        let why = row["last_error"].as_str()?;
        (row["state"] == "up" && why.contains("the MIB folder ")).then_some(())
    });
    sender.trap(&fan, &[]);
    assert_eq!(received_at(&server, 2)["oid"], format!("{vendor}.0.7"));
}

fn received_at(server: &Running, number: usize) -> Json {
    let path = format!("/api/v1/events/snmptrap%2F{number}");
    wait_for("the event", || {
        let answered = server.ask(&path, &[], None);
        (answered.status == 200).then(|| answered.json()["body"].clone())
    })
}
