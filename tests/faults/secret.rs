//! Every secret that the settings can name, against targets that answer with what they were told: it
//! is in no log, journal, listing, metric or file, nor in a form in which it travels.
//!
//! Rounds: one. A target that quotes a request, as proxies' error pages do, is the hostile one here.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::runtime::Runtime;
use vigie::standin::{Reply, Seen, Server};

use crate::house::{House, Running, stderr, stdout, wait_for};
use crate::peers::free_port;
use crate::peers::netsnmp::udp_port;
use crate::sources::row;

/// What is secret, by the file that holds it.
const CANARIES: [(&str, &str); 13] = [
    ("redmine", "canary/redmine+5f2b=8c1d"),
    ("pagerduty", "c0ffee00canary00pagerduty0000001"),
    ("canopsis", "canary/canopsis+1b9d=77aa"),
    ("influxdb", "canary/influxdb+6a6a=3c3c"),
    ("smtp", "canary/smtp+90be=4411"),
    ("team", "canary/team+31ce=0f0f"),
    ("poll", "canary/poll+77d1=beef"),
    ("imap", "canary/imap+5511=aa00"),
    ("bus", "canary/bus+2c2c=9e9e"),
    ("consumer", "canary/consumer+4d4d=1f1f"),
    ("client", "canary/client+e0e0=1212"),
    ("auth", "canary/auth+8877=6655"),
    ("privacy", "canary/privacy+4433=2211"),
];

/// Every form in which a secret may show up.
fn forms(secret: &str) -> Vec<String> {
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    vec![secret.to_owned(), encoded, STANDARD_NO_PAD.encode(secret)]
}

/// The first secret that a text shows.
fn shown(text: &str) -> Option<&'static str> {
    let decoded = decoded(text);
    let has = |form: String| text.contains(&form) || decoded.contains(&form);
    let is_shown = |(_, secret): &&(&str, &'static str)| forms(secret).into_iter().any(has);
    CANARIES.iter().find(is_shown).map(|(_, secret)| *secret)
}

/// What stands in a text as base64, as text: `user:password` of a login travels so.
fn decoded(text: &str) -> String {
    let is_inside = |char: char| char.is_ascii_alphanumeric() || "+/".contains(char);
    let words = text
        .split(|char| !is_inside(char))
        .filter(|word| word.len() >= 16);
    let decode = |word: &str| STANDARD_NO_PAD.decode(word).ok();
    let bytes: Vec<Vec<u8>> = words.filter_map(decode).collect();
    String::from_utf8_lossy(&bytes.join(&b'\n')).into_owned()
}

/// All that was said, back again, in every form.
fn quote(seen: &Seen) -> Reply {
    let mut text = format!("{} {:?}\n", seen.path, seen.query);
    let headers = seen.headers.iter().map(|(_, value)| value.as_str());
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    for value in headers.chain([body.as_str()]) {
        let words = value.split(|char: char| char.is_whitespace() || char == '"');
        for word in words.filter(|word| word.len() > 8) {
            text.push_str(&forms(word).join(" "));
            text.push('\n');
        }
    }
    let status = if seen.path.ends_with("/fine") {
        200
    } else {
        400
    };
    Reply {
        status,
        headers: Vec::new(),
        body: text.into_bytes(),
    }
}

fn settings(url: &str) -> String {
    format!(
        "[log]\nlevel = \"trace\"\n\
         [redmine]\nendpoint = \"{url}\"\nkey_file = \"redmine\"\nproject = \"ops\"\n\
         [pagerduty]\nendpoint = \"{url}\"\nrouting_key_file = \"pagerduty\"\n\
         [canopsis]\nendpoint = \"{url}\"\nauthkey_file = \"canopsis\"\n\
         [influxdb]\nendpoint = \"{url}\"\norg = \"o\"\nbucket = \"b\"\ntoken_file = \"influxdb\"\n\
         [smtp]\nendpoint = \"smtps://127.0.0.1:1\"\nfrom = \"vigie@example.org\"\nuser = \"vigie\"\n\
         password_file = \"smtp\"\n\
         [amqp]\nserver = \"127.0.0.1:1\"\nuser = \"vigie\"\npassword_file = \"bus\"\n\
         [secret]\nteam_file = \"team\"\n"
    )
}

/// The doors that have a secret.
fn doors(url: &str, snmp: u16) -> String {
    format!(
        "[[source]]\nkind = \"poll\"\nurl = \"{url}/poll\"\nevery = \"1s\"\ntoken_file = \"poll\"\n\
         [[source]]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\n\
         user = \"vigie\"\npassword_file = \"imap\"\n\
         [[source]]\nkind = \"amqp\"\nserver = \"127.0.0.1:1\"\nqueue = \"q\"\n\
         user = \"vigie\"\npassword_file = \"consumer\"\n\
         [[source]]\nkind = \"amqp_listen\"\nlisten = \"127.0.0.1:{}\"\n\
         [[source.user]]\nname = \"client\"\npassword_file = \"client\"\n\
         [[source]]\nkind = \"snmp\"\nlisten = \"127.0.0.1:{snmp}\"\n\
         [[source.user]]\nname = \"noc\"\nauth = \"sha256\"\nauth_password_file = \"auth\"\n\
         privacy = \"aes\"\nprivacy_password_file = \"privacy\"\n",
        free_port()
    )
}

/// A flow for each verb that carries a secret.
const FLOWS: [(&str, &str); 9] = [
    ("redmine", "redmine::open(#{ subject: \"s\" });"),
    (
        "pagerduty",
        "pagerduty::trigger(#{ summary: \"s\", source: \"s\", severity: \"info\" });",
    ),
    (
        "canopsis",
        "canopsis::check(#{ component: \"c\", state: 2, output: \"o\" });",
    ),
    ("influxdb", "influxdb::write(\"m,h=a v=1 1\");"),
    (
        "mail",
        "mail::send(#{ to: \"a@example.org\", subject: \"s\", text: \"t\" });",
    ),
    ("bus", "amqp::publish(#{ exchange: \"e\", body: \"b\" });"),
    (
        "refused",
        "http::post(\"URL/x\", #{ headers: #{ authorization: \"Bearer \" + secret(\"team\") } });",
    ),
    (
        "fine",
        "let got = http::post(\"URL/fine\", #{ json: #{ key: secret(\"team\") } });\n\
         print(got.body); emit(\"audit\", got); state::set(\"got\", got); throw got.body;",
    ),
    (
        "query",
        "http::get(\"URL/fine?key=\" + secret(\"team\")); throw \"end\";",
    ),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// All that the server shows about it.
fn everything(server: &Running) -> Vec<(String, String)> {
    let mut all = vec![("the log".to_owned(), server.log())];
    for path in [
        "/metrics",
        "/readyz",
        "/api/v1/channels",
        "/api/v1/flows",
        "/api/v1/sources",
        "/api/v1/runs",
        "/api/v1/dead",
        "/api/v1/audit",
        "/api/v1/actions",
        "/api/v1/events/alert%2F1",
        "/api/v1/events/alert%2F1/explain",
        "/api/v1/events/audit%2F1",
        "/api/v1/channels/alert/record",
    ] {
        all.push((path.to_owned(), server.ask(path, &[], None).text));
    }
    for (flow, _) in FLOWS {
        let run = format!("alert/1/{flow}");
        all.push((run.clone(), server.run(&run).to_string()));
        for verb in [["show", &run], ["record", &run]] {
            let said = server.verb(&verb);
            all.push((
                verb.join(" "),
                format!("{}{}", stdout(&said), stderr(&said)),
            ));
        }
    }
    for verb in [
        &["list", "sources"][..],
        &["list", "dead"],
        &["show", "alert/1"],
        &["check"],
    ] {
        let said = server.verb(verb);
        all.push((
            verb.join(" "),
            format!("{}{}", stdout(&said), stderr(&said)),
        ));
    }
    all
}

#[test]
fn no_secret_of_the_settings_shows_up_anywhere_though_targets_quote_it() {
    let outside = Runtime::new().unwrap();
    let target = outside.block_on(Server::start(quote)).unwrap();
    let url = target.url();
    let house = House::new().settings(&settings(&url));
    for (file, secret) in CANARIES {
        house.file(file, secret);
    }
    house.channel("alert", "").channel("audit", "");
    house.channel("doors", &doors(&url, udp_port()));
    for (flow, script) in FLOWS {
        house.flow(&format!("alert/{flow}"), &script.replace("URL", &url));
        house.file(
            &format!("flows/alert/{flow}.toml"),
            "give_up_after = \"1ms\"",
        );
    }
    let server = house.serve();
    server.push("alert", &json!({}));
    for (flow, _) in FLOWS {
        let run = server.ended(&format!("alert/1/{flow}"));
        assert_eq!(run["state"], "failed", "{flow}: {run}");
    }
    for door in ["doors/poll", "doors/imap", "doors/amqp"] {
        let failed = || {
            row(&server, door)?["last_error"]
                .as_str()
                .map(str::to_owned)
        };
        wait_for("its trouble", failed);
    }
    // each secret that goes out by HTTP did arrive, so the target had it to quote
    let heard = format!(
        "{:?}",
        target
            .requests()
            .iter()
            .map(|seen| (
                &seen.headers,
                &seen.query,
                String::from_utf8_lossy(&seen.body).into_owned()
            ))
            .collect::<Vec<_>>()
    );
    for (file, secret) in CANARIES {
        let goes_out = [
            "redmine",
            "pagerduty",
            "canopsis",
            "influxdb",
            "team",
            "poll",
        ]
        .contains(&file);
        assert_eq!(heard.contains(secret), goes_out, "{file}");
    }
    // a URL stands in the logs of proxies and targets: only what a flow puts there itself is in one
    for seen in target.requests() {
        // a plus in a query is read as a blank
        let address = format!("{} {:?}", seen.path, seen.query).replace(' ', "+");
        let own = shown(&address).filter(|secret| !secret.contains("team"));
        assert_eq!(own, None, "{address}");
    }
    for (what, text) in everything(&server) {
        assert_eq!(shown(&text), None, "{what}: {text}");
    }
    assert_eq!(server.stop(), Some(0));
    for file in files(&house.path("data")) {
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(
            shown(&String::from_utf8_lossy(&bytes)),
            None,
            "{}",
            file.display()
        );
    }
}

#[test]
fn a_login_is_covered_where_a_target_quotes_it_as_it_travelled() {
    let outside = Runtime::new().unwrap();
    let target = outside.block_on(Server::start(quote)).unwrap();
    let url = target.url();
    for user in ["v", "vi", "vigie"] {
        let house = House::new().settings(&format!(
            "[log]\nlevel = \"trace\"\n[influxdb]\nendpoint = \"{url}\"\ndatabase = \"m\"\n\
             user = \"{user}\"\npassword_file = \"influxdb\"\n"
        ));
        house.file("influxdb", CANARIES[3].1).channel("alert", "");
        house.flow("alert/influxdb", "influxdb::write(\"m,h=a v=1 1\");");
        let server = house.serve();
        server.push("alert", &json!({}));
        let run = server.ended("alert/1/influxdb");
        assert_eq!(run["state"], "failed", "{run}");
        let told = format!("{run}{}", server.log());
        assert!(told.contains("***"), "nothing was quoted: {told}");
        assert_eq!(shown(&told), None, "{user}: {told}");
        assert_eq!(server.stop(), Some(0));
    }
    let pair = |seen: &Seen| decoded(seen.header("authorization").unwrap()).contains(CANARIES[3].1);
    assert!(target.requests().iter().all(pair), "it did not arrive");
}

/// Where an excerpt of an answer is cut no half of a secret is left.
#[test]
fn no_beginning_of_a_secret_is_left_where_an_answer_is_cut() {
    let outside = Runtime::new().unwrap();
    let long = |seen: &Seen| {
        let said = String::from_utf8_lossy(&seen.body).into_owned();
        Reply {
            status: 400,
            headers: Vec::new(),
            body: format!("{}{said}", "x".repeat(485)).into_bytes(),
        }
    };
    let target = outside.block_on(Server::start(long)).unwrap();
    let house = House::new().settings("[secret]\nteam_file = \"team\"");
    house.file("team", CANARIES[5].1).channel("alert", "");
    let script = "http::post(\"URL/x\", #{ body: \"\" + secret(\"team\") });";
    house.flow("alert/post", &script.replace("URL", &target.url()));
    let server = house.serve();
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/post");
    assert!(run.to_string().contains("***"), "{run}");
    assert!(!run.to_string().contains("canary"), "{run}");
    assert_eq!(server.stop(), Some(0));
}

/// Says again what the headers were, and nothing else.
fn echo(seen: &Seen) -> Reply {
    let said = |(name, value): &(String, String)| format!("{name}: {value}\n");
    let body: String = seen.headers.iter().map(said).collect();
    Reply {
        status: 407,
        headers: Vec::new(),
        body: body.into_bytes(),
    }
}

#[test]
fn the_password_of_a_proxy_is_covered_where_it_quotes_the_login() {
    let outside = Runtime::new().unwrap();
    let proxy = outside.block_on(Server::start(echo)).unwrap();
    let password = utf8_percent_encode(CANARIES[5].1, NON_ALPHANUMERIC);
    for user in ["v", "vi", "vig"] {
        let place = proxy.address();
        let house = House::new().settings(&format!(
            "[log]\nlevel = \"trace\"\n[proxy]\nhttp = \"http://{user}:{password}@{place}\""
        ));
        house.channel("alert", "");
        house.flow("alert/ask", "http::get(\"http://192.0.2.1/x\");");
        let server = house.serve();
        server.push("alert", &json!({}));
        let run = server.ended("alert/1/ask");
        let told = format!("{run}{}", server.log());
        assert!(told.contains("***"), "nothing was quoted: {told}");
        assert_eq!(shown(&told), None, "{user}: {told}");
        assert_eq!(server.stop(), Some(0));
    }
    let login = |seen: &Seen| seen.header("proxy-authorization").map(str::to_owned);
    let came = proxy
        .requests()
        .iter()
        .filter_map(login)
        .collect::<Vec<_>>();
    assert_eq!(came.len(), 3, "{came:?}");
    assert!(
        decoded(&came.join(" ")).contains(CANARIES[5].1),
        "it did not arrive"
    );
}
