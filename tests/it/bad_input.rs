//! Nothing that arrives can stop the server or lose another event.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value as Json, json};
use vigie::sender::{Post, spool};
use vigie::standin::redmine::KEY;
use vigie::standin::{Mischief, Redmine, Smtp};

use crate::house::{House, Running, lines, wait_for};
use crate::wire::{Wire, post_head};

const JSON: (&str, &str) = ("content-type", "application/json");
const ALERT: &str = "/api/v1/channels/alert/events";
/// How deep the mail is nested.
const PARTS: usize = 10_000;

/// Flows that would stop a server that let them.
const HOSTILE: &[(&str, &str)] = &[
    ("endless", "loop {}"),
    ("caught", "loop { try { loop {} } catch {} }"),
    ("recursion", "fn deeper(n) { deeper(n + 1) }\ndeeper(0);"),
    ("text", "let text = \"x\"; loop { text += text; }"),
    ("list", "let list = []; loop { list.push(list); }"),
    (
        "map",
        "let map = #{}; let n = 0; loop { map[`k${n}`] = map; n += 1; }",
    ),
    ("bytes", "let all = []; loop { all.push(blob(1000000)); }"),
    (
        "replace",
        "let text = \"a\"; text.pad(60000, \"a\"); text.replace(\"a\", text);",
    ),
    (
        "chain",
        "let f = || 0; loop { let g = f; f = || g.call(); }",
    ),
    ("sorting", "[3, 2, 1].sort(|a, b| { loop {} });"),
    ("inside", "[1, 2, 3].map(|n| { loop {} });"),
    ("printing", "loop { print(\"x\".to_upper()); }"),
    ("filter", "fn filter(event) { loop {} }\nprint(1);"),
    (
        "deep_filter",
        "fn deeper(n) { deeper(n) }\nfn filter(event) { deeper(1) }\nprint(1);",
    ),
];

fn house() -> House {
    let house = House::new().settings("[file]\nfolder = \"out\"");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house
        .channel("alert", "")
        .channel("mail", "")
        .channel("snmptrap", "")
        .channel("hostile", "");
    house.flow("alert/note", "file::append(\"note\", `${event.n}`);");
    for (name, script) in HOSTILE {
        house.flow(&format!("hostile/{name}"), script);
        house.file(&format!("flows/hostile/{name}.toml"), "run_seconds_max = 1");
    }
    house
}

/// A good event and the reaction to it.
fn good(server: &Running, n: u64) {
    let id = server.push("alert", &json!({ "n": n }));
    let run = server.ended(&format!("{id}/note"));
    assert_eq!(run["state"], "done", "{run}");
}

fn pipe(house: &House, server: &Running, verb: &str, input: &[u8]) {
    let mut command = house.command(&[verb, "--server", &server.url]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

fn nested_mail() -> Vec<u8> {
    let mut mail = String::from("Subject: nested\r\nMIME-Version: 1.0\r\n");
    for part in 0..PARTS {
        mail.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{part}\r\n\r\n--b{part}\r\n"
        ));
    }
    mail.push_str("Content-Type: text/plain\r\n\r\nat the bottom\r\n");
    mail.into_bytes()
}

/// Bodies that are broken, too large, or end too early.
fn break_off(server: &Running) {
    let refused: [(&[u8], u16); 6] = [
        (b"{\"n\": ", 400),
        (b"\x00", 400),
        (b"{\"n\": \"\xff\xfe\"}", 400),
        (b"", 400),
        (&[b'['; 100_000], 400),
        (&[b' '; 2_000_000], 413),
    ];
    for (body, status) in refused {
        let lines = format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        let mut wire = Wire::to(server);
        wire.send(post_head(ALERT, &lines).as_bytes());
        wire.send(body);
        assert_eq!(wire.hear().unwrap().status, status);
    }
    let mut wire = Wire::to(server);
    wire.send(post_head(ALERT, "content-length: 10485760\r\n").as_bytes());
    wire.send(&vec![b'x'; 10 * 1024 * 1024]);
    // cut off in the middle of a body
    let mut wire = Wire::to(server);
    wire.send(post_head(ALERT, "content-length: 100\r\n").as_bytes());
    wire.send(b"half");
    drop(wire);
}

/// Requests that are odd and right in form.
fn be_odd(server: &Running) {
    let odd: [&[u8]; 3] = [
        br#"{"n":"\udc00\ud800"}"#,
        br#"{"n":"\u0000"}"#,
        br#"{"":{"":[[]]}}"#,
    ];
    for body in odd {
        assert_eq!(
            server
                .ask("/api/v1/channels/unseen/events", &[JSON], Some(body))
                .status,
            202
        );
    }
    let hooks: [(&str, &[u8]); 3] = [
        ("alertmanager", b"[]"),
        ("zabbix", b"\xff"),
        ("generic", b"\xff\x00"),
    ];
    for (hook, body) in hooks {
        let status = server
            .ask(&format!("/hooks/{hook}/mail"), &[JSON], Some(body))
            .status;
        assert!([202, 400].contains(&status), "{hook}: {status}");
    }
}

/// What mail servers, snmptrapd and anybody on the host may leave.
fn pipe_and_spool(house: &House, server: &Running) {
    pipe(house, server, "mail", &nested_mail());
    pipe(house, server, "mail", b"\xff\x00\xfe not a mail at all");
    pipe(house, server, "mail", b"");
    pipe(house, server, "trap", b"\x00\xff\n\n\"");
    pipe(house, server, "trap", b"");
    std::fs::write(
        house.path("spool/1700000000000-00000000-0000-4000-8000-000000000000.event"),
        b"\xff",
    )
    .unwrap();
    spool::write(
        &house.path("spool"),
        &Post::new("mail", "mail", "message/rfc822", nested_mail()),
    )
    .unwrap();
}

#[test]
fn bad_input_neither_stops_the_server_nor_loses_another_event() {
    let house = house();
    let server = house.serve();
    let pid = server.pid();
    good(&server, 1);

    break_off(&server);
    be_odd(&server);
    pipe_and_spool(&house, &server);
    good(&server, 2);

    server.push("hostile", &json!({ "n": 1 }));
    for (name, _) in HOSTILE {
        let run = server.ended(&format!("hostile/1/{name}"));
        assert_eq!(run["state"], "failed", "{name}: {run}");
        assert!(
            !run["message"].as_str().unwrap().is_empty(),
            "{name}: {run}"
        );
    }
    let dead = server.get("dead")["dead"].as_array().unwrap().len();
    assert_eq!(dead, HOSTILE.len());
    good(&server, 3);

    let mails = wait_for("the mail from the spool", || {
        let rows = server.get("channels")["channels"].clone();
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == "mail")
            .unwrap()
            .clone();
        row["kept"].as_u64().filter(|kept| *kept >= 5)
    });
    let nested = (1..=mails).map(|n| server.get(&format!("events/mail%2F{n}")));
    let nested: Vec<Json> = nested
        .filter(|event| event["body"]["Subject"] == "nested")
        .collect();
    assert_eq!(nested.len(), 2, "the nested mails are kept");
    assert_eq!(lines(&house.path("out/note")), ["1", "2", "3"]);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn events_for_a_hostile_flow_do_not_hold_up_those_of_others() {
    let house = house();
    let server = house.serve();
    for n in 1..=3 {
        server.push("hostile", &json!({ "n": n }));
    }
    good(&server, 1);
    // What was seen may still be on its way to the disk; what is answered after it is behind it. Only
    // what is on disk is never done again.
    server.push("mail", &json!({}));
    server.kill();
    // the runs that were thinking at the end have a strike; nothing else is different
    let server = house.serve();
    good(&server, 2);
    assert_eq!(lines(&house.path("out/note")), ["1", "2"]);
}

#[test]
fn a_line_break_in_a_mail_address_fails_its_run_and_nothing_else() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let relay = runtime.block_on(Smtp::start()).unwrap();
    let smtp = format!(
        "[smtp]\nendpoint = \"{}\"\nfrom = \"vigie@example.org\"",
        relay.url()
    );
    let house = House::new().settings(&smtp);
    house.channel("alert", "");
    house.flow(
        "alert/tell",
        "mail::send(#{ to: event.to, subject: event.subject, text: \"t\" });",
    );
    let server = house.serve();
    let evil = "Eve\r\nBcc: victim@example.org";
    let bad = [
        json!({"to": format!("{evil} <a@example.org>"), "subject": "s"}),
        json!({"to": format!("\"{evil}\" <a@example.org>"), "subject": "s"}),
        json!({"to": "a@example.org\r\nRCPT TO:<victim@example.org>", "subject": "s"}),
        json!({"to": "a@example.org", "subject": evil}),
    ];
    for event in &bad {
        let id = server.push("alert", event);
        let run = server.ended(&format!("{id}/tell"));
        assert_eq!(run["state"], "failed", "{run}");
        assert!(
            run["message"].as_str().unwrap().contains("mail::send"),
            "{run}"
        );
    }
    let id = server.push(
        "alert",
        &json!({"to": "Eve <a@example.org>", "subject": "s"}),
    );
    assert_eq!(server.ended(&format!("{id}/tell"))["state"], "done");
    let mails = relay.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["a@example.org"]);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// A house with a stand-in for Redmine; the flow that opens tickets and one that does not.
fn ticket_house(redmine: &Redmine) -> House {
    let settings = format!(
        "[redmine]\nendpoint = \"{}\"\nkey_file = \"key\"\nproject = \"ops\"\ntimeout = \"1s\"",
        redmine.url()
    );
    let house = House::new().settings(&settings);
    house.file("key", KEY).channel("alert", "");
    house.flow(
        "alert/ticket",
        "redmine::open(#{ subject: `problem ${event.n}` });",
    );
    house.flow("alert/note", "print(event.n);");
    house
}

/// The run that waits for the target, once it was tried.
fn tried(server: &Running, id: &str) -> Json {
    wait_for("a try", || {
        let run = server.run(id);
        assert!(run["state"] == "live" || run["state"].is_null(), "{run}");
        run["tries"]["count"]
            .as_u64()
            .filter(|count| *count > 0)
            .map(|_| run)
    })
}

#[test]
fn a_run_waits_for_a_redmine_that_never_answers_and_others_go_on() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redmine = runtime.block_on(Redmine::start()).unwrap();
    redmine.fail_next(1_000, Mischief::Silence);
    let house = ticket_house(&redmine);
    let server = house.serve();
    for n in 1..=5 {
        let id = server.push("alert", &json!({ "n": n }));
        assert_eq!(server.ended(&format!("{id}/note"))["state"], "done");
    }
    let run = tried(&server, "alert/1/ticket");
    let why = run["tries"]["error"].as_str().unwrap();
    assert!(
        why.contains("redmine::open") || why.contains(&redmine.url()) || why.contains("time"),
        "{run}"
    );
    assert!(
        run["tries"]["next_at"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
    assert_eq!(server.run("alert/5/ticket")["state"], "live");
    // it goes on waiting over a restart
    server.kill();
    let server = house.serve();
    assert_eq!(server.run("alert/1/ticket")["state"], "live");
    let id = server.push("alert", &json!({ "n": 6 }));
    assert_eq!(server.ended(&format!("{id}/note"))["state"], "done");
    assert!(server.get("dead")["dead"].as_array().unwrap().is_empty());
}

#[test]
fn a_run_waits_for_a_redmine_that_fails_and_ends_well_when_it_is_back() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redmine = runtime.block_on(Redmine::start()).unwrap();
    redmine.answer_next(2, 500);
    let house = ticket_house(&redmine);
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    assert_eq!(server.ended("alert/1/note")["state"], "done");
    let run = server.ended("alert/1/ticket");
    assert_eq!(run["state"], "done", "{run}");
    let journal = run["journal"].as_array().unwrap();
    let outcome = journal
        .iter()
        .find(|entry| entry["what"] == "outcome")
        .unwrap();
    assert_eq!(outcome["attempts"], 3, "{run}");
    assert_eq!(redmine.issues().len(), 1);
}
