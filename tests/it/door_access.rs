//! Who is let in by the real server, to what, and what a token never shows.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use vigie::sender::{Patience, Security, Server, agent};

use crate::house::{Answered, House, Running, stderr, stdout, wait_for};
use crate::wire::say;

const JSON: (&str, &str) = ("content-type", "application/json");
const ALERT: &str = "/api/v1/channels/alert/events";
const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

/// The block that settings.toml keeps of the token `secret-NAME`.
fn block(name: &str, more: &str) -> String {
    let hash = Sha256::digest(format!("secret-{name}").as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[token]]\nname = \"{name}\"\nhash = \"sha256:{hex}\"\n{more}\n")
}

fn bearer(name: &str) -> String {
    format!("Bearer secret-{name}")
}

/// A request with the token `secret-NAME`; with a body if it is one that changes something.
fn ask(server: &Running, token: &str, method: &str, path: &str) -> Answered {
    let authorization = bearer(token);
    let headers = [JSON, ("authorization", authorization.as_str())];
    server.ask(path, &headers, (method == "POST").then_some(b"{}"))
}

fn message(answered: &Answered) -> String {
    answered.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn without_tokens_programs_on_this_host_may_do_everything_and_web_pages_nothing() {
    let house = House::new();
    house
        .channel("alert", ALIAS)
        .flow("alert/note", "print(1);");
    let server = house.serve();
    server.push("alert", &json!({}));
    server.ended("alert/1/note");
    for (method, path, _) in ROUTES {
        let request = |lines: &str| {
            let length = if *method == "POST" {
                "content-length: 2\r\n"
            } else {
                ""
            };
            let kind = "content-type: application/json\r\n";
            let body = if *method == "POST" { "{}" } else { "" };
            let text = format!("{method} {path} HTTP/1.1\r\n{lines}{kind}{length}\r\n{body}");
            say(&server, text.as_bytes()).unwrap()
        };
        for good in [
            "localhost",
            "LocalHost:8780",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:80",
            "127.9.9.9",
        ] {
            let heard = request(&format!("host: {good}\r\n"));
            assert!(
                ![401, 403].contains(&heard.status),
                "{path} {good}: {heard:?}"
            );
        }
        for evil in [
            "host: localhost\r\norigin: https://evil.example\r\n",
            "host: localhost\r\norigin: null\r\n",
            "host: localhost\r\norigin: http://localhost\r\n",
            "host: evil.example\r\n",
            "host: localhost.evil.example:80\r\n",
            "host: 127.0.0.1.evil.example\r\n",
            "host: 192.0.2.1\r\n",
            "host: 2130706433\r\n",
            "host: \r\n",
            "",
        ] {
            let heard = request(evil);
            assert_eq!(heard.status, 403, "{path} {evil}: {heard:?}");
            let head = heard.head.to_lowercase();
            assert!(!head.contains("access-control-allow"), "{head}");
        }
    }
    let alone = say(
        &server,
        b"GET /healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    )
    .unwrap();
    assert_eq!(alone.status, 200, "health says nothing to anybody");
}

/// Every route that is not open to everybody, with the right that it needs.
pub const ROUTES: &[(&str, &str, &str)] = &[
    ("POST", ALERT, "send"),
    ("POST", "/hooks/generic/alert", "send"),
    ("POST", "/hooks/unknown/alert", "send"),
    ("POST", "/alert.send", "send"),
    ("POST", "/system/channels/Alert.recv", "receive"),
    ("GET", "/system/channels/Alert", "read"),
    ("POST", "/api/v1/channels/alert/receive", "receive"),
    ("POST", "/api/v1/events/alert%2F1/take", "receive"),
    ("POST", "/api/v1/events/alert%2F1/put_back", "receive"),
    ("GET", "/api/v1/channels/alert/peek", "read"),
    ("GET", "/api/v1/channels/alert/count", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/api/v1/channels", "read"),
    ("GET", "/api/v1/channels/alert/record", "read"),
    ("GET", "/api/v1/flows", "read"),
    ("GET", "/api/v1/flows/alert%2Fnote/record", "read"),
    ("GET", "/api/v1/sources", "read"),
    ("GET", "/api/v1/actions", "read"),
    ("GET", "/api/v1/runs", "read"),
    ("GET", "/api/v1/dead", "read"),
    ("GET", "/api/v1/events/alert%2F1", "read"),
    ("GET", "/api/v1/events/alert%2F1/explain", "read"),
    ("GET", "/api/v1/runs/alert%2F1%2Fnote", "read"),
    ("GET", "/api/v1/runs/alert%2F1%2Fnote/record", "read"),
    ("POST", "/api/v1/runs/alert%2F1%2Fnote/cancel", "operate"),
    ("POST", "/api/v1/runs/alert%2F1%2Fnote/kill", "operate"),
    ("POST", "/api/v1/runs/alert%2F1%2Fnote/fork", "operate"),
    ("POST", "/api/v1/dead/alert%2F1%2Fnote/retry", "operate"),
    ("POST", "/api/v1/channels/alert/pause", "operate"),
    ("POST", "/api/v1/channels/alert/resume", "operate"),
    ("POST", "/api/v1/flows/alert%2Fnote/pause", "operate"),
    ("POST", "/api/v1/flows/alert%2Fnote/resume", "operate"),
    ("POST", "/api/v1/flows/alert%2Fnote/upgrade", "operate"),
    ("POST", "/api/v1/backup", "operate"),
    ("GET", "/api/v1/audit", "operate"),
];

/// What the channel is called by Kompira's senders.
const ALIAS: &str = "alias = [\"/system/channels/Alert\"]";

/// Routes that are about the whole server, not about one channel.
const WHOLE: &[&str] = &[
    "/metrics",
    "/api/v1/channels",
    "/api/v1/flows",
    "/api/v1/sources",
    "/api/v1/actions",
    "/api/v1/runs",
    "/api/v1/dead",
    "/api/v1/backup",
    "/api/v1/audit",
];

#[test]
fn each_route_needs_its_right_and_its_channel() {
    let mut house = House::new();
    house
        .channel("alert", ALIAS)
        .channel("mail", "")
        .flow("alert/note", "print(1);");
    let rights = ["send", "receive", "read", "operate"];
    for right in rights {
        house = house.settings(&block(right, &format!("rights = [\"{right}\"]")));
    }
    let all = "rights = [\"send\", \"receive\", \"read\", \"operate\"]\n";
    house = house.settings(&block("alert", &format!("{all}channels = [\"alert\"]")));
    house = house.settings(&block("mail", &format!("{all}channels = [\"mail\"]")));
    house = house.settings(&block("nothing", "rights = []"));
    let server = house.serve();
    assert_eq!(ask(&server, "send", "POST", ALERT).status, 202);
    for (method, path, needed) in ROUTES {
        for right in rights {
            let status = ask(&server, right, method, path).status;
            let is_in = ![401, 403].contains(&status);
            assert_eq!(
                is_in,
                right == *needed,
                "{right} for {method} {path}: {status}"
            );
        }
        let whole = WHOLE.contains(path);
        let own = ask(&server, "alert", method, path);
        assert_eq!(own.status == 403, whole, "{method} {path}: {own:?}");
        let other = ask(&server, "mail", method, path);
        assert_eq!(other.status, 403, "{method} {path}: {other:?}");
        assert_eq!(
            ask(&server, "nothing", method, path).status,
            403,
            "{method} {path}"
        );
    }
    let said = message(&ask(&server, "read", "POST", ALERT));
    assert_eq!(said, "the token `read` has no right to send");
    let said = message(&ask(&server, "mail", "POST", ALERT));
    assert_eq!(said, "the token `mail` is not for channel `alert`");
    let said = message(&ask(&server, "mail", "GET", "/api/v1/runs"));
    assert_eq!(
        said,
        "the token `mail` is for some channels only, and this is about all"
    );
}

#[test]
fn no_token_and_a_wrong_one_get_the_same_answer() {
    let house = House::new().settings(&block("zabbix", "rights = [\"send\", \"read\"]"));
    house.channel("alert", ALIAS);
    let server = house.serve();
    let hash = block("zabbix", "");
    let hash = hash.split('"').nth(3).unwrap();
    let wrong = [
        "Bearer secret-other".to_owned(),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        "Basic c2VjcmV0LXphYmJpeA==".to_owned(),
        "secret-zabbix".to_owned(),
        "Bearer secret-zabbi".to_owned(),
        "Bearer SECRET-ZABBIX".to_owned(),
        format!("Bearer {hash}"),
        format!("Bearer {}", hash.trim_start_matches("sha256:")),
    ];
    for (method, path, _) in ROUTES {
        let without = server.ask(path, &[JSON], (*method == "POST").then_some(b"{}"));
        assert_eq!(without.status, 401, "{method} {path}: {without:?}");
        assert_eq!(without.headers["www-authenticate"], "Bearer");
        // Kompira's own paths say it in Kompira's words.
        let said = match without.json()["detail"].clone() {
            Json::String(detail) if !path.starts_with("/api") => detail,
            _ => without.json()["error"]["message"]
                .as_str()
                .unwrap()
                .to_owned(),
        };
        assert!(said.starts_with("a token is needed"), "{path}: {said}");
        for wrong in &wrong {
            let headers = [JSON, ("authorization", wrong.as_str())];
            let refused = server.ask(path, &headers, (*method == "POST").then_some(b"{}"));
            assert_eq!(
                (refused.status, &refused.text),
                (401, &without.text),
                "{path} {wrong}"
            );
        }
    }
    assert_eq!(
        ask(&server, "zabbix", "GET", "/api/v1/channels").json()["channels"][0]["kept"],
        0
    );
    assert_eq!(server.ask("/readyz", &[], None).status, 200);
}

#[test]
fn a_token_may_make_so_many_requests_a_second() {
    let slow = block("slow", "rights = [\"send\"]\nrequests_per_second_max = 1");
    let quick = block("quick", "rights = [\"send\"]");
    let house = House::new().settings(&slow).settings(&quick);
    house.channel("alert", "");
    let server = house.serve();
    let refused = wait_for("a refusal", || {
        let answered = ask(&server, "slow", "POST", ALERT);
        (answered.status != 202).then_some(answered)
    });
    assert_eq!(refused.status, 429, "{refused:?}");
    let after: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=2).contains(&after), "{after}");
    assert_eq!(refused.json()["error"]["code"], "too_many");
    assert_eq!(
        ask(&server, "quick", "POST", ALERT).status,
        202,
        "others are not held"
    );
    wait_for("its turn", || {
        (ask(&server, "slow", "POST", ALERT).status == 202).then_some(())
    });
}

/// A house with a token for one of its two channels.
fn alert_house() -> House {
    let alert = "rights = [\"send\", \"read\", \"operate\"]\nchannels = [\"alert\"]";
    let house = House::new().settings(&block("alert", alert));
    house
        .channel("alert", "alias = [\"/system/channels/Alert\"]")
        .channel("mail", "");
    house
}

#[test]
fn encoded_paths_lead_to_no_other_channel() {
    let house = alert_house();
    let server = house.serve();
    let status = |asked: &str| {
        ask(
            &server,
            "alert",
            "POST",
            &format!("/api/v1/channels/{asked}/events"),
        )
        .status
    };
    for own in [
        "alert",
        "ALERT",
        "mail%2Falert",
        "mail%2F..%2Falert",
        "%2Fsystem%2Fchannels%2FAlert",
    ] {
        assert_eq!(status(own), 202, "{own}");
    }
    for other in [
        "mail",
        "%6dail",
        "MAIL",
        "alert%2Fmail",
        "alert%2F..%2Fmail",
        "..%2Fmail",
        "%2e%2e%2fmail",
        "alert%00",
        "alert%00%2Fmail",
        "mail%00alert",
        "%2e%2e",
        "alert%2F",
        "unrouted",
        "alert%20",
        "mail%23alert",
        "mail%3Falert",
        "alert%252Fmail",
    ] {
        assert_eq!(status(other), 403, "{other}");
    }
    let came = [5, 6].map(|n| {
        let path = format!("/api/v1/events/alert%2F{n}");
        ask(&server, "alert", "GET", &path).status
    });
    assert_eq!(came, [200, 404], "five are in the own channel");
}

#[test]
fn encoded_ids_lead_to_no_other_channel() {
    let house = alert_house();
    let server = house.serve();
    for path in [
        "/api/v1/events/mail%2F1",
        "/api/v1/events/alert%2F..%2Fmail%2F1",
        "/api/v1/runs/mail%2F1%2Falert",
        "/api/v1/runs/mail%2F1%2F%2e%2e%2Falert%2F1%2Fnote",
    ] {
        let status = ask(&server, "alert", "GET", path).status;
        assert!([400, 403].contains(&status), "{path}: {status}");
    }
    for path in [
        "/api/v1/channels/mail/pause",
        "/api/v1/flows/mail%2Fx/pause",
    ] {
        assert_eq!(ask(&server, "alert", "POST", path).status, 403, "{path}");
    }
    for path in [
        "/api/v1/flows/alert%2F..%2Fmail%2Fx/pause",
        "/api/v1/channels/alert%2Fmail/pause",
        "/api/v1/others/alert/pause",
    ] {
        assert_eq!(ask(&server, "alert", "POST", path).status, 404, "{path}");
    }
}

#[test]
fn beyond_loopback_without_tls_and_tokens_is_refused_with_what_to_do() {
    let house = House::new().http("listen = \"0.0.0.0:0\"");
    let said = house.try_serve().err().unwrap();
    assert!(said.starts_with("exit status: 78\n"), "{said}");
    for part in [
        "[http] listen = \"0.0.0.0:0\" is beyond loopback without TLS",
        "set tls_cert and tls_key, or plaintext = true",
        "is beyond loopback without a token",
        "vigie token new --name NAME",
        "2 mistakes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!house.path("data").exists(), "nothing was begun");
    let checked = |house: House| (house.run(&["check"]).status.code(), house);
    let (code, house) = checked(house.http("plaintext = true"));
    assert_eq!(code, Some(78), "still no token");
    let (code, _) = checked(house.settings(&block("a", "rights = [\"send\"]")));
    assert_eq!(code, Some(0));
    let ipv6 = House::new().http("listen = \"[::]:0\"");
    assert_eq!(ipv6.run(&["check"]).status.code(), Some(78));
}

#[test]
fn wrong_token_settings_are_mistakes() {
    let cases = [
        (
            "[[token]]\nname = \"a\"\nhash = \"secret\"\nrights = [\"send\"]",
            "has no hash of the form",
        ),
        (
            "[[token]]\nname = \"a\"\nhash = \"sha256:12\"\nrights = [\"send\"]",
            "has no hash of the form",
        ),
        (
            "[[token]]\nname = \"a\"\ntoken = \"secret\"\nrights = [\"send\"]",
            "unknown field `token`",
        ),
        (&block("a", "rights = [\"sent\"]"), "unknown variant `sent`"),
        (
            &block("a", "rights = [\"send\"]\nrequests_per_second_max = 0"),
            "nonzero",
        ),
        (&block("a", ""), "missing field `rights`"),
    ];
    for (settings, told) in cases {
        let house = House::new().settings(settings);
        let said = house.try_serve().err().unwrap();
        assert!(
            said.starts_with("exit status: 78\n") && said.contains(told),
            "{told}: {said}"
        );
    }
}

fn tls_house() -> House {
    let house = House::new();
    let copy = |name: &str| {
        let to = house.path(name);
        std::fs::copy(format!("{TLS}/{name}"), to).unwrap();
    };
    copy("server.pem");
    copy("server.key");
    house.channel("alert", "");
    house.http("tls_cert = \"server.pem\"\ntls_key = \"server.key\"")
}

#[test]
fn with_a_certificate_the_door_speaks_tls_and_nothing_else() {
    let house = tls_house();
    let server = house.serve();
    let https = server.url.replace("http://", "https://");
    let trusted = PathBuf::from(format!("{TLS}/ca.pem"));
    let security = Security {
        trusted: Some(trusted.clone()),
        ..Security::default()
    };
    let parsed = Server::parse(&https, None).unwrap();
    let trusting = agent(&parsed, &security, &Patience::once()).unwrap();
    let answered = trusting
        .post(format!("{https}{ALERT}"))
        .header(JSON.0, JSON.1)
        .send("{}")
        .unwrap();
    assert_eq!(answered.status(), 202);
    let doubting = agent(&parsed, &Security::default(), &Patience::once()).unwrap();
    assert!(doubting.get(format!("{https}/healthz")).call().is_err());
    let plain = say(&server, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(plain.is_none(), "{plain:?}");
    let verb = |arguments: &[&str], trust: bool| -> Output {
        let mut command = house.command(arguments);
        command.args(["--server", &https]);
        if trust {
            command.env("SSL_CERT_FILE", &trusted);
        }
        command.output().unwrap()
    };
    let listed = verb(&["list", "channels"], true);
    assert!(stdout(&listed).contains("alert"), "{listed:?}");
    assert_eq!(verb(&["list", "channels"], false).status.code(), Some(69));
    let sent = verb(
        &[
            "send",
            "--channel",
            "alert",
            "--ssl-cacertfile",
            trusted.to_str().unwrap(),
            "a=1",
        ],
        false,
    );
    assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");
    let listed = stdout(&verb(&["list", "channels", "--json"], true));
    assert_eq!(
        serde_json::from_str::<Json>(&listed).unwrap()["channels"][0]["kept"],
        2
    );
}

#[test]
fn a_certificate_that_cannot_be_used_is_a_mistake_in_the_settings() {
    let house = tls_house();
    for (name, text) in [("server.key", ""), ("server.pem", "nonsense")] {
        let good = std::fs::read(house.path(name)).unwrap();
        house.file(name, text);
        let said = house.try_serve().err().unwrap();
        assert!(said.starts_with("exit status: 78\n"), "{said}");
        assert!(said.contains(name) && said.contains("for TLS"), "{said}");
        let checked = house.run(&["check"]);
        assert_eq!(checked.status.code(), Some(78), "{checked:?}");
        std::fs::write(house.path(name), good).unwrap();
    }
    let half = House::new().http("tls_cert = \"server.pem\"");
    let checked = half.run(&["check"]);
    assert_eq!(checked.status.code(), Some(78));
    assert!(
        stderr(&checked).contains("tls_cert and tls_key go together"),
        "{checked:?}"
    );
}

/// A new token, and a house that knows it and logs all it can.
fn house_with_new_token() -> (String, House) {
    let house = House::new();
    let made = house.run(&[
        "token",
        "new",
        "--name",
        "za\"bbix",
        "--channel",
        "alert",
        "--right",
        "send",
        "--right",
        "read",
    ]);
    let text = stdout(&made);
    let (token, pasted) = text.split_once('\n').unwrap();
    assert!(token.starts_with("vigie_") && token.len() > 40, "{text}");
    assert!(!pasted.contains(token) && !stderr(&made).contains(token));
    let other = stdout(&house.run(&["token", "new", "--name", "b"]));
    assert_ne!(other.lines().next().unwrap(), token);
    assert!(
        other.contains("rights = [\"send\"]") && !other.contains("channels"),
        "{other}"
    );
    let house = house
        .settings("[log]\nlevel = \"trace\"\n")
        .settings(pasted);
    house
        .channel("alert", "")
        .flow("alert/note", "print(meta);")
        .file("token", &format!("{token}\n"));
    (token.to_owned(), house)
}

#[test]
fn a_new_token_works_when_its_block_is_pasted() {
    let (_, house) = house_with_new_token();
    let server = house.serve();
    let file = house.path("token");
    let file = file.to_str().unwrap();
    let sent = server.verb(&["send", "--channel", "alert", "--token-file", file, "a=1"]);
    assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");
    let shown = server.verb(&["show", "alert/1", "--token-file", file]);
    assert!(stdout(&shown).contains("received"), "{shown:?}");
    let mut command = house.command(&["show", "alert/1", "--server", &server.url]);
    assert!(
        command
            .env("VIGIE_TOKEN_FILE", file)
            .output()
            .unwrap()
            .status
            .success()
    );
    let refused = server.verb(&["show", "alert/1"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(
        stderr(&refused).contains("a token is needed"),
        "{refused:?}"
    );
    let paused = server.verb(&["pause", "alert", "--token-file", file]);
    assert_eq!(paused.status.code(), Some(78), "{paused:?}");
    assert!(
        stderr(&paused).contains("no right to operate"),
        "{paused:?}"
    );
}

#[test]
fn a_token_is_in_no_log_no_answer_and_not_in_the_store() {
    let (token, house) = house_with_new_token();
    let server = house.serve();
    let authorization = format!("Bearer {token}");
    let headers = [JSON, ("authorization", authorization.as_str())];
    assert_eq!(server.ask(ALERT, &headers, Some(b"{}")).status, 202);
    let file = house.path("token");
    let file = file.to_str().unwrap();
    let sent = server.verb(&["send", "--channel", "alert", "--token-file", file, "a=1"]);
    let shown = server.verb(&["show", "alert/1", "--token-file", file]);
    for output in [&sent, &shown] {
        assert!(!format!("{}{}", stdout(output), stderr(output)).contains(&token));
    }
    wait_for("the run", || {
        let run = server
            .ask("/api/v1/runs/alert%2F2%2Fnote", &headers, None)
            .json();
        (run["state"] == "done").then_some(())
    });
    server.signal(rustix::process::Signal::TERM);
    wait_for("the end", || server.log().contains("stopped").then_some(()));
    assert!(!server.log().contains(&token), "{}", server.log());
    drop(server);
    let mut all = Vec::new();
    everything(&house.path("data"), &mut all);
    let found = all
        .windows(token.len())
        .any(|window| window == token.as_bytes());
    assert!(!found, "the store holds the token");
}

fn everything(folder: &std::path::Path, all: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path().is_dir() {
            true => everything(&entry.path(), all),
            false => all.extend(std::fs::read(entry.path()).unwrap_or_default()),
        }
    }
}
