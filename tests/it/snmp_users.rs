//! SNMP version 3 with Net-SNMP's own senders: users, discovery, informs, restarts.

use serde_json::{Value as Json, json};

use crate::house::{House, Running, stderr, wait_for};
use crate::peers::netsnmp::{Sender, udp_port};
use crate::snmp::{ENTERPRISE, FIRST};
use crate::sources::{events, row};

/// Who there is, by the options that Net-SNMP's programs take: hash, cipher.
const USERS: &[(&str, &str)] = &[
    ("MD5", "DES"),
    ("SHA", "AES"),
    ("SHA-224", "AES"),
    ("SHA-256", "AES-192"),
    ("SHA-384", "DES"),
    ("SHA-512", "AES-256"),
    // a key that has to be made longer
    ("MD5", "AES-256"),
    ("SHA", "AES-192"),
    ("SHA-256", ""),
    ("", ""),
];

fn name(hash: &str, cipher: &str) -> String {
    format!("u{hash}{cipher}").to_lowercase()
}

fn house(port: u16) -> House {
    let house = House::new();
    let mut block =
        format!("[[source]]\nkind = \"snmp\"\nlisten = \"127.0.0.1:{port}\"\ncommunities = []\n");
    for (hash, cipher) in USERS {
        block.push_str(&format!(
            "[[source.user]]\nname = \"{}\"\n",
            name(hash, cipher)
        ));
        let word = |way: &str| way.to_lowercase().replace('-', "");
        if !hash.is_empty() {
            let hash = word(hash);
            block.push_str(&format!(
                "auth = \"{hash}\"\nauth_password_file = \"auth\"\n"
            ));
        }
        if !cipher.is_empty() {
            let cipher = word(cipher);
            block.push_str(&format!(
                "privacy = \"{cipher}\"\nprivacy_password_file = \"privacy\"\n"
            ));
        }
    }
    house
        .file("auth", "the first password\n")
        .file("privacy", "the second password\n");
    house.channel("snmptrap", &block);
    house
}

fn up(server: &Running) {
    wait_for("the door", || {
        row(server, "snmptrap/snmp").filter(|row| row["state"] == "up")
    });
}

/// Runs one of Net-SNMP's senders as a user; whether it was content.
fn send(sender: &Sender, program: &str, user: (&str, &str), options: &str, text: &str) -> bool {
    let (hash, cipher) = user;
    let (mut words, mut secrets) = (format!("-v3 -u {}", name(hash, cipher)), Vec::new());
    words.push_str(match (hash, cipher) {
        ("", _) => " -l noAuthNoPriv",
        (_, "") => " -l authNoPriv",
        _ => " -l authPriv",
    });
    if !hash.is_empty() {
        secrets.extend(["-a", hash, "-A", "the first password"]);
    }
    if !cipher.is_empty() {
        secrets.extend(["-x", cipher, "-X", "the second password"]);
    }
    let target: Vec<&str> = options.split_whitespace().collect();
    let trap = [&secrets[..], &target, &["7", ENTERPRISE, FIRST, "s", text]].concat();
    let output = sender.run(program, &words, &trap);
    if !output.status.success() {
        println!("{program} {words}: {}", stderr(&output));
    }
    output.status.success()
}

fn received(server: &Running, count: usize) -> Vec<Json> {
    wait_for("the events", || {
        let row = row(server, "snmptrap/snmp")?;
        (row["events"].as_u64() >= Some(count as u64)).then_some(())
    });
    let all = events(server, "snmptrap");
    assert_eq!(all.len(), count);
    all
}

#[test]
fn every_hash_and_cipher_of_net_snmp_brings_traps_and_answers_informs() {
    let (port, sender) = (udp_port(), Sender::new());
    let house = house(port);
    let server = house.serve();
    up(&server);
    let at = format!("udp:127.0.0.1:{port}");
    for user in USERS {
        let engine = format!("-e 0x8000000001020304 {at}");
        assert!(
            send(&sender, "snmptrap", *user, &engine, "a trap"),
            "{user:?}"
        );
        let patient = format!("-r5 -t2 {at}");
        assert!(
            send(&sender, "snmpinform", *user, &patient, "an inform"),
            "{user:?}"
        );
    }
    let all = received(&server, 2 * USERS.len());
    for (pair, (hash, cipher)) in all.chunks(2).zip(USERS) {
        for event in pair {
            let who = (&event["version"], &event["user"]);
            assert_eq!(who, (&json!("3"), &json!(name(hash, cipher))));
        }
        let mut texts = [&pair[0]["values"][FIRST], &pair[1]["values"][FIRST]];
        texts.sort_by_key(|text| text.to_string());
        assert_eq!(texts, [&json!("a trap"), &json!("an inform")]);
    }
    assert_eq!(row(&server, "snmptrap/snmp").unwrap()["refused"], 0);
}

#[test]
fn strangers_and_wrong_passwords_are_counted_and_an_old_community_is_no_way_in() {
    let (port, sender) = (udp_port(), Sender::new());
    let house = house(port);
    let server = house.serve();
    up(&server);
    let at = format!("udp:127.0.0.1:{port}");
    let engine = format!("-e 0x8000000001020304 {at}");
    let trap = |user: &str, options: &str, password: &str| {
        let words = format!("-v3 -e 0x8000000001020304 -u {user} {options}");
        let secrets = ["-A", password, &at, "7", ENTERPRISE, FIRST, "s", "no"];
        let output = sender.run("snmptrap", &words, &secrets);
        assert!(output.status.success(), "{}", stderr(&output));
    };
    trap("nobody", "-l authNoPriv -a SHA", "the first password");
    trap("usha-256", "-l authNoPriv -a SHA-256", "another password");
    trap("ushaaes", "-l authNoPriv -a SHA", "the first password");
    sender.trap(
        &format!("-v2c -c public {at} 7 {ENTERPRISE} {FIRST} s no"),
        &[],
    );
    assert!(send(&sender, "snmptrap", USERS[1], &engine, "yes"));
    assert_eq!(received(&server, 1)[0]["values"][FIRST], "yes");
    // an inform is told what is wrong with it
    let words = "-v3 -u usha-256 -l authNoPriv -a SHA-256 -r0 -t2";
    let rest = [
        "-A",
        "another password",
        &at,
        "7",
        ENTERPRISE,
        FIRST,
        "s",
        "no",
    ];
    let told = sender.run("snmpinform", words, &rest);
    assert!(!told.status.success());
    assert!(
        stderr(&told).contains("Authentication failure"),
        "{}",
        stderr(&told)
    );
    let expected = json!({ "user": 1, "digest": 2, "security level": 1, "community": 1 });
    assert_eq!(
        row(&server, "snmptrap/snmp").unwrap()["refused_for"],
        expected
    );
    let log = server.log();
    assert!(!log.contains("the first password"), "{log}");
}

#[test]
fn our_engine_keeps_its_id_and_counts_its_starts_so_that_informs_go_on_after_kill_9() {
    let (port, sender) = (udp_port(), Sender::new());
    let house = house(port);
    let options = format!("-r5 -t2 udp:127.0.0.1:{port}");
    let mut engines = Vec::new();
    for round in 1..=3 {
        let server = house.serve();
        up(&server);
        assert!(send(&sender, "snmpinform", USERS[1], &options, "again"));
        let meta = server.get(&format!("events/snmptrap%2F{round}"))["meta"].clone();
        engines.push(meta["engine_id"].as_str().unwrap().to_owned());
        server.kill();
    }
    assert!(engines[0].starts_with("8000000005"), "{engines:?}");
    assert!(
        engines.iter().all(|engine| *engine == engines[0]),
        "{engines:?}"
    );
}

#[test]
fn mistakes_in_users_are_told() {
    for (user, why) in [
        ("name = \"\"", "needs a name of 1 to 32 bytes"),
        (
            "name = \"a\"\nauth = \"sha\"",
            "user `a` has `auth` but no `auth_password_file`",
        ),
        ("name = \"a\"\nauth = \"shaa\"", "did you mean `sha`?"),
        (
            "name = \"a\"\nauth_password_file = \"long\"",
            "has a password but no `auth`",
        ),
        (
            "name = \"a\"\nauth = \"md5\"\nauth_password_file = \"short\"",
            "a password for `auth` of less than 8 bytes",
        ),
        (
            "name = \"a\"\nauth = \"md5\"\nauth_password_file = \"gone\"",
            "`auth_password_file`",
        ),
        (
            "name = \"a\"\nprivacy = \"aes\"\nprivacy_password_file = \"long\"",
            "needs `auth` for its `privacy`",
        ),
        (
            "name = \"a\"\n[[source.user]]\nname = \"a\"",
            "there are two users `a`",
        ),
        (
            "name = \"a\"\npassword = \"inline\"",
            "unknown field `password`",
        ),
    ] {
        let house = House::new();
        house.file("long", "a long password").file("short", "short");
        let block =
            format!("[[source]]\nkind = \"snmp\"\nlisten = \"::1\"\n[[source.user]]\n{user}\n");
        house.channel("snmptrap", &block);
        let output = house.run(&["check"]);
        assert_eq!(output.status.code(), Some(78), "{user}");
        let said = stderr(&output);
        assert!(
            said.contains(why) && said.contains("snmptrap.toml:"),
            "{user}: {said}"
        );
    }
}
