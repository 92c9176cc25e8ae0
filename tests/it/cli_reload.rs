//! A running server takes up what its owner changes, whole or not at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::json;
use vigie::sender::{Patience, Security, Server, agent};

use crate::house::{House, PATIENCE, Running, wait_for};

fn house() -> House {
    let house = House::new();
    house
        .channel("alert", "")
        .flow("alert/note", "print(\"old\");");
    house
}

fn says(server: &Running, what: &str, count: usize) {
    wait_for(&format!("{count} times: {what}"), || {
        (server.log().matches(what).count() >= count).then_some(())
    });
}

fn hang_up(server: &Running, count: usize) {
    server.signal(rustix::process::Signal::HUP);
    says(server, "took up the changed house", count);
}

/// What a flow prints for a new event.
fn printed(server: &Running, flow: &str) -> String {
    let id = server.push("alert", &json!({}));
    let run = server.ended(&format!("{id}/{flow}"));
    run["console"][0].as_str().unwrap_or_default().to_owned()
}

#[test]
fn changed_new_and_removed_flows_are_taken_up_by_watching() {
    let house = house();
    let server = house.serve();
    assert_eq!(printed(&server, "note"), "old");
    house.flow("alert/note", "import \"_words\" as w; print(w::word());");
    house.file("flows/_words.rhai", "fn word() { \"imported\" }");
    house.flow("alert/second", "print(\"second\");");
    let printed_now = |flow: &str, wanted: &str| {
        wait_for(wanted, || (printed(&server, flow) == wanted).then_some(()));
    };
    printed_now("note", "imported");
    assert_eq!(printed(&server, "second"), "second");
    house.file("flows/_words.rhai", "fn word() { \"changed\" }");
    printed_now("note", "changed");
    std::fs::remove_file(house.path("flows/alert/second.rhai")).unwrap();
    wait_for("it to be gone", || {
        (server.get("flows")["flows"].as_array().unwrap().len() == 1).then_some(())
    });
    house
        .channel("fresh", "")
        .flow("fresh/note", "print(\"fresh\");");
    wait_for("the new channel", || {
        let id = server.push("fresh", &json!({}));
        id.starts_with("fresh/").then_some(())
    });
}

#[test]
fn a_broken_version_is_refused_with_its_place_and_the_old_one_stays() {
    let house = house();
    let server = house.serve();
    let broken = [
        (
            "flows/alert/note.rhai",
            "print(\"new\";",
            "flows/alert/note.rhai:1:",
        ),
        (
            "flows/alert/note.rhai",
            "redmine::opne(#{});",
            "did you mean `open`?",
        ),
        ("flows/alrt/note.rhai", "print(1);", "did you mean `alert`?"),
        (
            "channels/alert.toml",
            "abuot = \"x\"",
            "did you mean `about`?",
        ),
        (
            "flows/alert/note.toml",
            "atempts_max = 1",
            "did you mean `attempts_max`?",
        ),
    ];
    for (index, (file, text, told)) in broken.into_iter().enumerate() {
        let before = std::fs::read_to_string(house.path(file)).ok();
        house.file(file, text);
        server.signal(rustix::process::Signal::HUP);
        says(
            &server,
            "the changed files are refused; what ran before goes on",
            index + 1,
        );
        says(&server, told, 1);
        assert_eq!(printed(&server, "note"), "old", "{file}");
        match before {
            Some(text) => drop(house.file(file, &text)),
            None => std::fs::remove_file(house.path(file)).unwrap(),
        }
        let _ = std::fs::remove_dir(house.path("flows/alrt"));
        let taken = server.log().matches("took up the changed house").count();
        hang_up(&server, taken + 1);
    }
    house.flow("alert/note", "print(\"new\");");
    wait_for("the mended version", || {
        (printed(&server, "note") == "new").then_some(())
    });
}

#[test]
fn a_hang_up_takes_up_settings_too() {
    let house = house();
    house.file("team", "first\n");
    let house = house.settings("[secret]\nteam_file = \"team\"");
    let server = house.serve();
    let hash = |text: &str| {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(text.as_bytes());
        hash.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let house_settings = std::fs::read_to_string(house.path("settings.toml")).unwrap();
    let token = format!(
        "{house_settings}\n[[token]]\nname = \"a\"\nhash = \"sha256:{}\"\nrights = [\"send\", \"read\"]\n",
        hash("secret")
    );
    house.file("settings.toml", &token);
    hang_up(&server, 1);
    assert_eq!(server.ask("/api/v1/channels", &[], None).status, 401);
    let headers = [("authorization", "Bearer secret")];
    assert_eq!(server.ask("/api/v1/channels", &headers, None).status, 200);
    // broken settings change nothing
    house.file("settings.toml", &token.replace("[[token]]", "[[tokn]]"));
    server.signal(rustix::process::Signal::HUP);
    says(&server, "did you mean `token`?", 1);
    assert_eq!(server.ask("/api/v1/channels", &[], None).status, 401);
    house.file(
        "settings.toml",
        &token.replace("team_file = \"team\"", "team_file = \"none\""),
    );
    server.signal(rustix::process::Signal::HUP);
    says(&server, "[secret] team_file", 1);
    assert_eq!(server.ask("/api/v1/channels", &headers, None).status, 200);
}

/// Changes settings.toml and waits until it is taken up for the `count`th time.
fn settle(server: &Running, house: &House, (old, new): (&str, &str), count: usize) {
    let text = std::fs::read_to_string(house.path("settings.toml")).unwrap();
    assert!(text.contains(old), "{text}");
    house.file("settings.toml", &text.replace(old, new));
    hang_up(server, count);
}

#[test]
fn another_address_is_taken_up_and_what_the_old_one_was_at_is_finished() {
    let house = house();
    let server = house.serve();
    let old = server.url.trim_start_matches("http://").to_owned();
    let connect = || {
        let stream = TcpStream::connect(&old).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let mut idle = connect();
    let mut busy = connect();
    let head = "POST /api/v1/channels/alert/events HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    assert_ne!(idle.read(&mut [0; 1024]).unwrap(), 0);
    busy.write_all(head.as_bytes()).unwrap();
    // A settings file that was not changed in this leaves the door as it is.
    hang_up(&server, 1);
    settle(&server, &house, ("127.0.0.1:0", "127.0.0.2:0"), 2);
    let address = wait_for("the new address", || {
        let log = server.log();
        let (_, rest) = log.split_once("listens on another address address=")?;
        Some(rest.split_whitespace().next()?.to_owned())
    });
    assert!(address.starts_with("127.0.0.2:"), "{address}");
    // A connection that waits for nothing is closed; one at work gets its answer first.
    while idle.read(&mut [0; 1024]).unwrap() > 0 {}
    busy.write_all(b"}").unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(TcpStream::connect(&old).is_err(), "the old address is left");
    let asked = ureq::get(format!("http://{address}/healthz")).call();
    assert_eq!(asked.unwrap().status(), 200);
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let house = house();
    let server = house.serve();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wanted = taken.local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(house.path("settings.toml")).unwrap();
    let text = text.replace("127.0.0.1:0", &wanted);
    house.flow("alert/note", "print(\"new\");");
    house.file("settings.toml", &text);
    server.signal(rustix::process::Signal::HUP);
    says(&server, &format!("cannot listen on {wanted}"), 1);
    says(
        &server,
        "if this server holds the port by another address, restart it",
        1,
    );
    assert_eq!(printed(&server, "note"), "old");
}

#[test]
fn a_renewed_certificate_is_taken_up() {
    let data = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls"));
    let house = house();
    let install = |name: &str| {
        for end in ["pem", "key"] {
            let to = house.path(&format!("server.{end}"));
            std::fs::copy(data.join(format!("{name}.{end}")), to).unwrap();
        }
    };
    install("server");
    let house = house.http("tls_cert = \"server.pem\"\ntls_key = \"server.key\"");
    let server = house.serve();
    let https = server.url.replace("http://", "https://");
    let is_trusted_by = |authority: &str| {
        let security = Security {
            trusted: Some(data.join(authority)),
            ..Security::default()
        };
        let parsed = Server::parse(&https, None).unwrap();
        let agent = agent(&parsed, &security, &Patience::once()).unwrap();
        agent.get(format!("{https}/healthz")).call().is_ok()
    };
    assert!(is_trusted_by("ca.pem") && !is_trusted_by("renewed-ca.pem"));
    let install = |name: &str, end: &str| {
        let to = house.path(&format!("server.{end}"));
        std::fs::copy(data.join(format!("{name}.{end}")), to).unwrap();
    };
    // Half of it there: the old one stays.
    install("renewed", "pem");
    server.signal(rustix::process::Signal::HUP);
    says(&server, "for TLS", 1);
    assert!(is_trusted_by("ca.pem"));
    install("renewed", "key");
    hang_up(&server, 1);
    wait_for("the new certificate", || {
        is_trusted_by("renewed-ca.pem").then_some(())
    });
    assert!(!is_trusted_by("ca.pem"));
}

#[test]
fn the_log_and_the_largest_body_are_taken_up_and_what_is_not_is_said() {
    let house = house().settings("[log]\nlevel = \"info\"");
    let server = house.serve();
    let garbage = || {
        let address = server.url.trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"no HTTP at all\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let push = || {
        let path = "/api/v1/channels/alert/events";
        let json = [("content-type", "application/json")];
        server
            .ask(path, &json, Some(br#"{"a": "0123456789"}"#))
            .status
    };
    garbage();
    assert_eq!(push(), 202);
    settle(
        &server,
        &house,
        ("level = \"info\"", "level = \"debug\"\nformat = \"json\""),
        1,
    );
    wait_for("a line of debug in JSON", || {
        garbage();
        let log = server.log();
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_it = |line: &serde_json::Value| line["level"] == "DEBUG";
        lines.any(|line| is_it(&line)).then_some(())
    });
    settle(
        &server,
        &house,
        ("[http]\n", "[http]\nbody_bytes_max = 8\n"),
        2,
    );
    wait_for("the smaller limit", || (push() == 413).then_some(()));
    settle(
        &server,
        &house,
        ("[http]\n", "data = \"elsewhere\"\n[http]\n"),
        3,
    );
    says(
        &server,
        "data was changed: it is taken up at the next start",
        1,
    );
    assert!(!house.path("elsewhere").exists());
}
