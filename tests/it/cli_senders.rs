//! The senders and the spool with the real server: right source, right meta, each event once.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value as Json, json};
use vigie::sender::{Post, spool};

use crate::house::{House, Running, VIGIE, lines, stderr, stdout, wait_for};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

fn house() -> House {
    let house = House::new().settings("[file]\nfolder = \"out\"");
    house.channel("alert", "alias = [\"/system/channels/Alert\"]");
    house.channel("mail", "").channel("snmptrap", "");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house
}

fn give(mut command: Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn event(server: &Running, id: &str) -> Json {
    server.get(&format!("events/{}", id.replace('/', "%2F")))
}

fn kept(server: &Running, channel: &str) -> u64 {
    let rows = server.get("channels")["channels"].clone();
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == channel)
        .unwrap()
        .clone();
    row["kept"].as_u64().unwrap()
}

fn waiting(house: &House) -> Vec<PathBuf> {
    spool::list(&house.path("spool")).unwrap().events
}

/// Leaves an event in the spool as a sender does whose server is away.
fn leave(house: &House, post: &Post) -> PathBuf {
    spool::write(&house.path("spool"), post).unwrap()
}

fn post(channel: &str, json: &Json) -> Post {
    Post::new(
        channel,
        "sendevt",
        "application/json",
        json.to_string().into_bytes(),
    )
}

#[test]
fn every_sender_s_event_arrives_with_its_source_and_what_it_knows() {
    let house = house();
    let server = house.serve();
    let with = |arguments: &[&str]| {
        let mut command = house.command(arguments);
        command.args(["--server", &server.url]);
        command
    };
    let sent = give(
        with(&["send", "--site-id", "7", "hostname=web01", "n=5"]),
        b"",
    );
    assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");
    let found = event(&server, "alert/1");
    assert_eq!(found["body"], json!({"hostname": "web01", "n": "5"}));
    let meta = &found["meta"];
    assert_eq!(
        (&meta["source"], &meta["site_id"]),
        (&json!("sendevt"), &json!("7"))
    );
    assert!(
        meta["message_id"].as_str().is_some_and(|id| id.len() == 36),
        "{meta}"
    );
    assert!(meta["sent_at"].is_string());
    let sent = give(with(&["send", "--channel", "alert"]), b"raw \xff bytes");
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(event(&server, "alert/2")["body"], "cmF3IP8gYnl0ZXM=");

    let mail = std::fs::read(format!("{DATA}/mail/postfix-pipe.eml")).unwrap();
    let mut command = with(&["mail", "--channel", "mail"]);
    command
        .env("SENDER", "a@example.org")
        .env("RECIPIENT", "alert@example.org")
        .env("EXTENSION", "x");
    let sent = give(command, &mail);
    assert!(
        sent.status.success() && stderr(&sent).is_empty(),
        "{sent:?}"
    );
    let found = event(&server, "mail/1");
    assert_eq!(found["meta"]["source"], "mail");
    assert_eq!(found["meta"]["RECIPIENT"], "alert@example.org");
    assert!(found["body"]["Subject"].is_string(), "{found}");

    let trap = std::fs::read(format!("{DATA}/kompira/snmptrap.1.txt")).unwrap();
    let sent = give(with(&["trap"]), &trap);
    assert!(
        sent.status.success() && stderr(&sent).is_empty(),
        "{sent:?}"
    );
    let found = event(&server, "snmptrap/1");
    assert_eq!(found["meta"]["source"], "snmp");
    assert!(
        !found["body"]["varbinds"].as_array().unwrap().is_empty(),
        "{found}"
    );
}

#[test]
fn called_by_its_old_name_the_binary_is_the_sender() {
    let house = house();
    let server = house.serve();
    for (index, name) in ["kompira_sendevt", "sendevt"].iter().enumerate() {
        let path = house.path(name);
        symlink(VIGIE, &path).unwrap();
        let mut command = Command::new(&path);
        command
            .current_dir(house.path("."))
            .args(["--server", &server.url, "a=1"]);
        let sent = give(command, b"");
        assert!(sent.status.success(), "{sent:?}");
        assert_eq!(kept(&server, "alert"), index as u64 + 1);
        let wrong = Command::new(&path)
            .args(["--no-such-option"])
            .output()
            .unwrap();
        assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
        let version = Command::new(&path).arg("--help").output().unwrap();
        assert!(
            stdout(&version).contains(&format!("Usage: {name}")),
            "{version:?}"
        );
    }
}

#[test]
fn events_left_while_the_server_was_away_are_taken_in_before_the_doors_open() {
    let house = house();
    house.flow("alert/note", "file::append(\"note\", `${event.n}`);");
    for n in 1..=3 {
        let n = format!("n={n}");
        let spool = house.path("spool");
        let spool = spool.to_str().unwrap();
        let sent = house.run(&[
            "send",
            "--server",
            "http://127.0.0.1:1",
            "--spool",
            spool,
            &n,
        ]);
        assert!(sent.status.success(), "{sent:?}");
        assert_eq!(stderr(&sent).lines().count(), 1, "{sent:?}");
    }
    let mail = house.command(&["mail", "--server", "http://127.0.0.1:1"]);
    let sent = give(mail, b"Subject: x\r\nMessage-ID: <1@x>\r\n\r\nhello");
    assert!(
        sent.status.success() && stderr(&sent).contains("kept in"),
        "{sent:?}"
    );
    assert_eq!(waiting(&house).len(), 4);
    let server = house.serve();
    assert!(waiting(&house).is_empty(), "{:?}", waiting(&house));
    assert_eq!((kept(&server, "alert"), kept(&server, "mail")), (3, 1));
    let found = event(&server, "alert/1");
    assert_eq!(
        (&found["body"]["n"], &found["meta"]["source"]),
        (&json!("1"), &json!("sendevt"))
    );
    assert_eq!(found["meta"]["peer"], "spool");
    (1..=3).for_each(|n| drop(server.ended(&format!("alert/{n}/note"))));
    let mut noted = lines(&house.path("out/note"));
    noted.sort();
    assert_eq!(noted, ["1", "2", "3"]);
}

#[test]
fn an_event_taken_in_and_not_yet_removed_at_a_crash_is_kept_once() {
    let house = house();
    let mut old = post("/system/channels/Alert", &json!({ "n": 1 }));
    // it waited for a day, much longer than the window in which copies are looked for
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    old.received_at = yesterday.to_string();
    let server = house.serve();
    let path = leave(&house, &old);
    let bytes = std::fs::read(&path).unwrap();
    wait_for("the spool to be empty", || {
        waiting(&house).is_empty().then_some(())
    });
    assert_eq!(kept(&server, "alert"), 1);
    server.kill();
    // as if it had died before it removed the file
    std::fs::write(&path, &bytes).unwrap();
    let server = house.serve();
    assert!(waiting(&house).is_empty());
    assert_eq!(kept(&server, "alert"), 1);
    // as if the answer had been lost, and the sender had kept it
    let fresh = post("alert", &json!({ "n": 2 }));
    let headers = [
        ("content-type", "application/json"),
        ("x-vigie-source", "sendevt"),
        ("idempotency-key", fresh.correlation_id.as_str()),
    ];
    let answered = server.ask("/api/v1/channels/alert/events", &headers, Some(&fresh.body));
    assert_eq!(answered.json()["ids"][0], "alert/2");
    leave(&house, &fresh);
    wait_for("the spool to be empty", || {
        waiting(&house).is_empty().then_some(())
    });
    assert_eq!(kept(&server, "alert"), 2);
}

#[test]
fn what_is_no_event_in_the_spool_is_left_alone_and_told_once() {
    let house = house();
    let spool = house.path("spool");
    let odd_name = spool.join("README");
    let odd = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).unwrap();
    let server = house.serve();
    let uuid = |n: u8| format!("1700000000000-00000000-0000-4000-8000-0000000000{n:02}.event");
    odd(&odd_name, b"hello");
    odd(&spool.join(uuid(1)), b"no header");
    odd(&spool.join(uuid(2)), b"{\"channel\":\"alert\"}\n{}");
    odd(&spool.join(uuid(3)), b"");
    symlink("/etc/hostname", spool.join(uuid(4))).unwrap();
    std::fs::create_dir(spool.join(uuid(5))).unwrap();
    odd(&spool.join(".tmp-half"), b"{");
    // right in form, but not what it says it is, or more than is taken at once
    let mut broken = post("alert", &json!({}));
    broken.body = b"{oops".to_vec();
    let broken = leave(&house, &broken);
    let many: Vec<u32> = (0..5_000).collect();
    let many = leave(&house, &post("alert", &json!(many)));
    for n in 1..=3 {
        leave(&house, &post("alert", &json!({ "n": n })));
        wait_for("the good one", || {
            (kept(&server, "alert") == n).then_some(())
        });
    }
    for path in [
        &odd_name,
        &spool.join(uuid(1)),
        &spool.join(uuid(4)),
        &spool.join(".tmp-half"),
    ] {
        assert!(
            path.symlink_metadata().is_ok(),
            "{} is left alone",
            path.display()
        );
    }
    let log = server.log();
    let told = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        log.lines()
            .filter(|line| line.contains("the spool: ") && line.contains(name))
            .count()
    };
    for n in 1..=5 {
        assert_eq!(told(&spool.join(uuid(n))), 1, "{n}: {log}");
    }
    assert_eq!(
        (told(&odd_name), told(&broken), told(&many)),
        (1, 1, 1),
        "{log}"
    );
    assert_eq!(told(&spool.join(".tmp-half")), 0, "somebody is writing it");
    for path in [&broken, &many] {
        let aside = format!("{}.refused", path.display());
        assert!(!path.exists() && Path::new(&aside).exists(), "{aside}");
    }
    assert_eq!(kept(&server, "alert"), 3);
}

#[test]
fn a_full_channel_in_the_spool_holds_back_no_other() {
    let house = house();
    house.channel("small", "depth_max = 1");
    let server = house.serve();
    let small = [1, 2, 3].map(|n| leave(&house, &post("small", &json!({ "n": n }))));
    leave(&house, &post("alert", &json!({})));
    wait_for("the other", || (kept(&server, "alert") == 1).then_some(()));
    assert_eq!(kept(&server, "small"), 1);
    assert!(small[1].exists() && small[2].exists());
    house.channel("small", "");
    server.signal(rustix::process::Signal::HUP);
    wait_for("all of them", || {
        (kept(&server, "small") == 3).then_some(())
    });
    let order: Vec<Json> = (1..=3)
        .map(|n| event(&server, &format!("small/{n}"))["body"]["n"].clone())
        .collect();
    assert_eq!(order, [1, 2, 3]);
}
