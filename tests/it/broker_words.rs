//! `broker::…`: what stream connectors ask their cache, asked by flows and by filters.

use serde_json::json;
use vigie::event::Value;
use vigie::memory::live_bytes;
use vigie::source::bbdo::decode::decode;
use vigie::source::bbdo::field::Fields;
use vigie::source::bbdo::frame::{Frame, Label};
use vigie::source::bbdo::names::Names;

use crate::bbdo::{ALL, Broker, greeting, house, packets};
use crate::bbdo_frames::{frames, recording};
use crate::house::{House, wait_for};
use crate::peers::free_port;

/// What a recording tells, and the pieces that are remembered of it.
fn learnt(name: &str) -> (Names, Vec<(String, Vec<u8>)>) {
    let mut names = Names::default();
    let mut pieces = std::collections::BTreeMap::new();
    for frame in frames(&recording(name)) {
        let decoded = decode(&frame);
        for (key, piece) in names.learn(decoded.kind, &decoded.fields) {
            match piece {
                Some(piece) => drop(pieces.insert(key, piece)),
                None => drop(pieces.remove(&key)),
            }
        }
    }
    (names, pieces.into_iter().collect())
}

#[test]
fn every_getter_gives_what_a_stream_connector_gets() {
    let groups = json!([
        { "group_id": 5, "group_name": "Linux-Servers" },
        { "group_id": 6, "group_name": "Europe" },
    ]);
    // From the cache of the real Broker, printed by a script that it ran.
    let expected = [
        ("host_name", vec![101], json!("srv-web-01")),
        ("service_description", vec![101, 201], json!("Disk-/var")),
        ("severity", vec![101], json!(3)),
        ("severity", vec![101, 201], json!(2)),
        ("host_groups", vec![101], groups),
        (
            "service_groups",
            vec![101, 201],
            json!([{ "group_id": 7, "group_name": "Disks" }]),
        ),
        ("notes", vec![101], json!("note \"q\" \\ back")),
        ("notes_url", vec![101, 201], json!("http://wiki/s201")),
        ("action_url", vec![101], json!("http://act/h101")),
        ("action_url", vec![101, 201], json!("")),
        ("check_command", vec![101, 201], json!("check_disk")),
        ("check_command", vec![101], json!("check_icmp!1")),
        ("instance_name", vec![1], json!("Central")),
        (
            "index_mapping",
            vec![77],
            json!({ "index_id": 77, "host_id": 101, "service_id": 201 }),
        ),
        (
            "metric_mapping",
            vec![88],
            json!({ "metric_id": 88, "index_id": 77 }),
        ),
        (
            "ba",
            vec![11],
            json!({ "ba_id": 11, "ba_name": "Webshop", "ba_description": "web shop" }),
        ),
        ("bvs", vec![11], json!([2])),
        (
            "bv",
            vec![2],
            json!({ "bv_id": 2, "bv_name": "Sales", "bv_description": "sales view" }),
        ),
        ("host_group_name", vec![5], json!("Linux-Servers")),
        ("service_group_name", vec![7], json!("Disks")),
    ];
    for recording in ["A200.c1", "A301.c1"] {
        let (names, pieces) = learnt(recording);
        for names in [names, Names::recall(pieces)] {
            // What the older recording does not tell, or tells otherwise.
            let is_told = |word: &str| {
                let only_younger = ["notes", "metric_mapping", "ba", "bvs", "bv"];
                recording == "A301.c1" || !only_younger.contains(&word)
            };
            let told = expected.iter().filter(|(word, ..)| is_told(word));
            for (word, ids, value) in told {
                let found = names.look_up(word, ids);
                assert_eq!(found.value.to_json(), *value, "{recording} {word} {ids:?}");
                assert!(found.is_known, "{recording} {word}");
            }
            let host = names.look_up("host", &[101]).value.to_json();
            assert_eq!(host["alias"], "Serveur Web n°1", "{host}");
            assert_eq!(host["address"], "192.0.2.10");
            assert_eq!(host["instance_id"], 1);
            assert_eq!(host["max_check_attempts"], 3);
            assert_eq!(host["check_interval"], 5.0);
            assert_eq!(host["timezone"], "Europe/Paris");
            let service = names.look_up("service", &[101, 201]).value.to_json();
            assert_eq!(service["description"], "Disk-/var", "{service}");
            assert_eq!(
                (&service["host_id"], &service["service_id"]),
                (&json!(101), &json!(201))
            );
        }
    }
}

#[test]
fn what_is_not_known_is_unknown_nothing_or_an_empty_list() {
    let (names, _) = learnt("A301.c1");
    let missing = [
        ("host_name", json!("unknown")),
        ("service_description", json!("unknown")),
        ("notes_url", json!("unknown")),
        ("host", json!(null)),
        ("ba", json!(null)),
        ("severity", json!(null)),
        ("metric_mapping", json!(null)),
        ("host_groups", json!([])),
        ("bvs", json!([])),
    ];
    for (word, value) in missing {
        for ids in [[999_999, 5], [-1, -1], [i64::MAX, i64::MAX]] {
            let found = names.look_up(word, &ids);
            assert_eq!(found.value.to_json(), value, "{word} {ids:?}");
            assert!(!found.is_known, "{word}");
        }
        let said = vigie::broker::missing(&format!("broker::{word}"));
        assert_eq!(said.map(|said| said.to_json()), Some(value));
    }
    // A host without a severity is no miss.
    let mut names = Names::default();
    names.learn(
        "host",
        &Fields::from([("host_id".to_owned(), Value::Int(1))]),
    );
    assert!(names.look_up("severity", &[1]).is_known);
    assert!(names.look_up("host_groups", &[1]).is_known);
}

#[test]
fn a_change_of_a_definition_is_learnt_and_remembered() {
    let (mut names, _) = learnt("A301.c1");
    let change = Fields::from([
        ("host_id".to_owned(), Value::Int(101)),
        ("service_id".to_owned(), Value::Int(201)),
        ("check_command".to_owned(), Value::from("check_other")),
    ]);
    assert_eq!(names.learn("adaptive_service", &change).len(), 1);
    assert!(names.learn("adaptive_service", &change).is_empty());
    let said = names.look_up("check_command", &[101, 201]).value;
    assert_eq!(said, Value::from("check_other"));
    let said = names.look_up("service_description", &[101, 201]).value;
    assert_eq!(said, Value::from("Disk-/var"));
}

#[test]
fn a_hundred_thousand_services_take_some_tens_of_mebibytes() {
    let before = live_bytes();
    let mut names = Names::default();
    let text = |text: String| Value::Text(text);
    for host in 1..=5_000 {
        let id = ("host_id".to_owned(), Value::Int(host));
        names.learn(
            "host",
            &Fields::from([
                id.clone(),
                (
                    "name".to_owned(),
                    text(format!("srv-customer-{host:05}.example.net")),
                ),
                ("alias".to_owned(), text(format!("Customer server {host}"))),
                (
                    "address".to_owned(),
                    text(format!("192.0.2.{}", host % 250)),
                ),
                (
                    "check_command".to_owned(),
                    text("base_host_alive".to_owned()),
                ),
                ("check_period".to_owned(), text("24x7".to_owned())),
            ]),
        );
        for service in 1..=20 {
            let service = host * 20 + service;
            let ids = Fields::from([id.clone(), ("service_id".to_owned(), Value::Int(service))]);
            let mut fields = ids.clone();
            fields.extend([
                (
                    "description".to_owned(),
                    text(format!("Disk-/var/lib/data-{}", service % 20)),
                ),
                (
                    "check_command".to_owned(),
                    text("OS-Linux-SNMP-Disk-Global!80!90".to_owned()),
                ),
                ("check_period".to_owned(), text("24x7".to_owned())),
                (
                    "notes_url".to_owned(),
                    text(format!("https://wiki.example.net/s/{service}")),
                ),
            ]);
            names.learn("service", &fields);
            let mut severity = ids.clone();
            severity.extend([
                ("name".to_owned(), text("CRITICALITY_LEVEL".to_owned())),
                ("value".to_owned(), text("3".to_owned())),
            ]);
            names.learn("custom_variable", &severity);
            let mut member = ids;
            member.extend([
                ("servicegroup_id".to_owned(), Value::Int(service % 50)),
                ("name".to_owned(), text("Disks".to_owned())),
            ]);
            names.learn("service_group_member", &member);
        }
    }
    let held = (live_bytes() - before) / 1024 / 1024;
    assert_eq!(names.len(), 305_000);
    assert!(held < 48, "{held} MiB");
}

/// A host of the younger generation.
fn host(id: u8, name: &str) -> Frame {
    let mut payload = vec![0x08, id, 0x28, 1, 0xDA, 0x03, name.len() as u8];
    payload.extend(name.as_bytes());
    Frame {
        label: Label::new(1, 30),
        payload,
    }
}

#[test]
fn names_are_asked_for_in_a_flow_and_its_filter_also_after_kill_9() {
    let (house, port) = house("");
    house.channel("ask", "");
    house.flow(
        "ask/name",
        r#"
        fn filter(event) { broker::host_name(event.host_id) == "srv-web-01" }
        let before = broker::service_description(event.host_id, event.service_id);
        sleep("100ms");
        let groups = broker::host_groups(event.host_id);
        print(`${before} ${groups[0].group_name} ${broker::host(event.host_id).address} ${broker::host_name(5)}`);
        "#,
    );
    let server = house.serve();
    let sent = frames(&recording("A301.c1"));
    let said = sent.iter().filter(|one| one.label.category != 2).count();
    let mut broker = Broker::greet(port, &sent[0]);
    broker.send(&packets(&sent[1..]));
    broker.is_acknowledged(said);
    server.kill();
    let server = house.serve();
    let asked = server.push("ask", &json!({ "host_id": 101, "service_id": 201 }));
    let run = server.ended(&format!("{asked}/name"));
    assert_eq!(run["state"], "done", "{run}");
    let line = "Disk-/var Linux-Servers 192.0.2.10 unknown";
    assert_eq!(run["console"], json!([line]), "{run}");
    let metrics = server.ask("/metrics", &[], None).text;
    let counted = "vigie_source_unknown_names_total{source=\"centreon/bbdo\",kind=\"bbdo\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    // A comparison knows no names: it says so, and takes an unchanged filter to say what it said.
    let output = server.verb(&["replay", "--flow", "flows/ask/name.rhai"]);
    let said = format!("{output:?}");
    assert!(said.contains("0 of 1 events differ"), "{said}");
    assert!(said.contains("only the server knows the names"), "{said}");
    // Another host is not for this flow, and `explain` says by which name.
    let other = server.push("ask", &json!({ "host_id": 5 }));
    let said = wait_for("the explanation", || {
        let output = server.verb(&["explain", &other]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.contains("did not match").then_some(said)
    });
    assert!(said.contains("unknown"), "{said}");
}

#[test]
fn what_came_while_the_server_was_away_is_filtered_by_the_names_of_before() {
    let (house, port) = house("");
    house.channel("ask", "");
    house.flow(
        "ask/name",
        "fn filter(event) { broker::host_name(event.id.to_int()) == \"srv-web-01\" }",
    );
    let server = house.serve();
    let sent = frames(&recording("A301.c1"));
    let said = sent.iter().filter(|one| one.label.category != 2).count();
    let mut broker = Broker::greet(port, &sent[0]);
    broker.send(&packets(&sent[1..]));
    broker.is_acknowledged(said);
    server.kill();
    // Into the spool, which is looked at as soon as flows have begun.
    for _ in 0..5 {
        let output = house.run(&["send", "--channel", "ask", "id=101"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let server = house.serve();
    for number in 1..=5 {
        let run = server.ended(&format!("ask/{number}/name"));
        assert_eq!(run["state"], "done", "{run}");
    }
}

#[test]
fn of_several_brokers_the_events_own_is_asked_or_the_one_that_is_named() {
    let house = House::new();
    let ports = [free_port(), free_port()];
    for (channel, port) in ["paris", "lyon"].iter().zip(ports) {
        let block = format!("[[source]]\nkind = \"bbdo\"\nlisten = \"127.0.0.1:{port}\"\n{ALL}");
        house.channel(channel, &block);
    }
    house.channel("ask", "");
    let own = "fn filter(event) { event.kind == \"host_status\" } print(broker::host_name(event.host_id));";
    house.flow("paris/tell", own).flow("lyon/tell", own);
    house.flow(
        "ask/tell",
        r#"
        print(broker::host_name(1, "lyon"));
        print(broker::host_name(1, "paris/bbdo"));
        try { broker::host_name(1, "nice") } catch (why) { print(why.message); }
        broker::host_name(1)
        "#,
    );
    let server = house.serve();
    for (name, port) in ["here", "there"].iter().zip(ports) {
        let status = Frame {
            label: Label::new(1, 32),
            payload: vec![0x08, 1, 0x20, 1, 0x28, 1, 0x98, 1, 7],
        };
        let mut broker = Broker::greet(port, &greeting("A301.c1"));
        broker.send(&packets(&[host(1, name), status]));
        broker.is_acknowledged(2);
    }
    for (channel, name) in [("paris", "here"), ("lyon", "there")] {
        let run = server.ended(&format!("{channel}/2/tell"));
        assert_eq!(run["console"], json!([name]), "{run}");
    }
    let asked = server.push("ask", &json!({}));
    let run = server.ended(&format!("{asked}/tell"));
    let none = "there is no Broker `nice`; there are: lyon/bbdo, paris/bbdo";
    assert_eq!(run["console"], json!(["there", "here", none]), "{run}");
    assert_eq!(run["state"], "failed", "{run}");
    assert!(
        run["message"].as_str().unwrap().contains("which Broker?"),
        "{run}"
    );
}

#[test]
fn a_case_says_what_the_words_give() {
    let house = House::new();
    house.channel("centreon", "");
    house.flow(
        "centreon/tell",
        "fn filter(event) { broker::host_name(event.host_id) == \"web01\" }\nprint(broker::notes(1)); print(broker::host_groups(1).len());",
    );
    house.file(
        "flows/centreon/tell.cases.toml",
        "[[case]]\nname = \"known\"\nevent = { host_id = 1 }\nbroker = { host_name = \"web01\", notes = \"a note\" }\nprints = [\"a note\", \"0\"]\n\n\
        [[case]]\nname = \"unknown\"\nevent = { host_id = 1 }\nfiltered = true\n",
    );
    let output = house.run(&["test"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
