//! Mailboxes of a real Dovecot: each mail is one event, whatever ends, restarts or is numbered anew.
//!
//! Needs root, because the mailboxes do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::house::{House, Running, wait_for};
use crate::peers::dovecot::{Dovecot, PASSWORD, USER};
use crate::sources::{events, row};

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

/// A house whose channel `mail` has a source at this Dovecot, with more keys.
fn house(dovecot: &Dovecot, keys: &str) -> House {
    let house = House::new();
    house.file("password", &format!("{PASSWORD}\n"));
    house.channel("mail", &block(dovecot, keys));
    house
}

fn block(dovecot: &Dovecot, keys: &str) -> String {
    let place = match keys.contains("tls = ") {
        true => String::new(),
        false => format!("port = {}\ntls = \"none\"\n", dovecot.port),
    };
    format!(
        "[[source]]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nuser = \"{USER}\"\n\
         password_file = \"password\"\n{place}{keys}\n"
    )
}

fn mail(number: usize) -> Vec<u8> {
    let text = format!(
        "From: Zabbix <zabbix@example.test>\r\nTo: {USER}\r\nSubject: mail {number}\r\n\
         Message-ID: <{number}@example.test>\r\nDate: Fri, 20 Nov 2026 16:22:18 +0900\r\n\r\n\
         body {number}\r\n"
    );
    text.into_bytes()
}

fn subjects(server: &Running) -> Vec<String> {
    let text = |body: &Json| body["Subject"].as_str().unwrap().to_owned();
    events(server, "mail").iter().map(text).collect()
}

fn wait_for_mails(server: &Running, count: usize) -> Vec<String> {
    wait_for(&format!("{count} mails: {}", server.log()), || {
        Some(subjects(server)).filter(|found| found.len() >= count)
    })
}

/// That nothing comes twice is shown by the number of what comes next.
fn assert_next(server: &Running, count: usize) {
    let id = server.push("mail", &serde_json::json!({ "Subject": "last" }));
    assert_eq!(id, format!("mail/{}", count + 1), "{:?}", subjects(server));
}

fn trouble(server: &Running) -> String {
    wait_for("a trouble", || {
        let row = row(server, "mail/imap")?;
        (row["state"] == "waiting").then(|| row["last_error"].as_str().unwrap().to_owned())
    })
}

#[test]
fn a_mail_comes_within_seconds_as_it_was_sent_and_is_marked_as_seen() {
    let dovecot = Dovecot::with("");
    let house = house(&dovecot, "every = \"1h\"");
    let server = house.serve();
    dovecot.deliver(&mail(1));
    wait_for_mails(&server, 1);
    wait_for("the mark", || (dovecot.seen() == 1).then_some(()));
    // now it idles
    let japanese = b"From: a@example.test\r\nSubject: =?ISO-2022-JP?B?GyRCPmMzMhsoQg==?=\r\n\
        Content-Type: text/plain; charset=ISO-2022-JP\r\n\r\n\x1b$B>c32\x1b(B\r\n";
    let begun = Instant::now();
    dovecot.deliver(japanese);
    wait_for_mails(&server, 2);
    assert!(begun.elapsed() < Duration::from_secs(20), "it did not idle");
    let event = server.get("events/mail%2F2");
    assert_eq!(event["body"]["Subject"], "障害");
    assert_eq!(event["body"]["text"].as_str().unwrap().trim_end(), "障害");
    let meta = &event["meta"];
    assert_eq!(meta["source"], "imap", "{meta}");
    assert_eq!(meta["peer"], format!("127.0.0.1:{}", dovecot.port));
    assert_eq!(
        (&meta["folder"], &meta["uid"]),
        (&"INBOX".into(), &2.into())
    );
    wait_for("both marks", || (dovecot.seen() == 2).then_some(()));
    let row = row(&server, "mail/imap").unwrap();
    assert_eq!(
        (&row["state"], &row["last_error"]),
        (&"up".into(), &Json::Null)
    );
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn hundreds_of_mails_at_once_are_one_event_each_through_kill_9_and_all_deleted() {
    let dovecot = Dovecot::with("");
    let house = house(&dovecot, "after = \"delete\"\nfirst = \"all\"");
    let (rounds, each) = (4, 150);
    for round in 0..rounds {
        (0..each).for_each(|number| dovecot.deliver(&mail(round * each + number)));
        let server = house.serve();
        // somewhere between the first batch of this round and the last deletion
        wait_for("some of them", || {
            let path = format!("/api/v1/events/mail%2F{}", round * each + 1);
            (server.ask(&path, &[], None).status == 200).then_some(())
        });
        server.kill();
    }
    let server = house.serve();
    let found = wait_for_mails(&server, rounds * each);
    let distinct: BTreeSet<&String> = found.iter().collect();
    assert_eq!(
        (found.len(), distinct.len()),
        (rounds * each, rounds * each)
    );
    wait_for("an empty mailbox", || {
        dovecot.mails("").is_empty().then_some(())
    });
    assert_next(&server, rounds * each);
}

#[test]
fn a_restart_and_new_numbers_bring_no_mail_twice() {
    let mut dovecot = Dovecot::with("");
    let house = house(&dovecot, "first = \"all\"");
    dovecot.deliver(&mail(1));
    // two that are alike, but for what nobody remembers
    dovecot.deliver(&mail(2));
    dovecot.deliver(&mail(2));
    let server = house.serve();
    wait_for_mails(&server, 3);
    wait_for("the marks", || (dovecot.seen() == 3).then_some(()));
    dovecot.stop();
    let said = trouble(&server);
    let place = format!("127.0.0.1:{}", dovecot.port);
    assert!(said.contains(&place), "{said}");
    dovecot.deliver(&mail(3));
    dovecot.start().unwrap();
    wait_for_mails(&server, 4);
    wait_for("the marks", || (dovecot.seen() == 4).then_some(()));
    // numbered anew, with two more: one of them a third of those that are alike
    dovecot.stop();
    dovecot.number_anew();
    dovecot.deliver(&mail(2));
    dovecot.deliver(&mail(4));
    dovecot.start().unwrap();
    let mut found = wait_for_mails(&server, 6);
    found.sort();
    let wanted = ["mail 1", "mail 2", "mail 2", "mail 2", "mail 3", "mail 4"];
    assert_eq!(found, wanted);
    wait_for("the marks", || (dovecot.seen() == 6).then_some(()));
    server.kill();
    let server = house.serve();
    dovecot.deliver(&mail(5));
    wait_for_mails(&server, 7);
    assert_next(&server, 7);
}

#[test]
fn taken_mails_move_to_a_folder_that_is_made_also_by_servers_that_only_copy() {
    let without_move = "imap_capability = IMAP4rev1 UIDPLUS IDLE";
    for more in ["", without_move] {
        let dovecot = Dovecot::with(more);
        let house = house(&dovecot, "after = \"move\"\nmove_to = \"処理済み & more\"");
        (1..=3).for_each(|number| dovecot.deliver(&mail(number)));
        let server = house.serve();
        wait_for_mails(&server, 3);
        wait_for("the mails in their folder", || {
            let moved = dovecot.mails(".&UeZ0Bm4IMH8- &- more").len();
            (moved == 3 && dovecot.mails("").is_empty()).then_some(())
        });
        assert_next(&server, 3);
    }
}

#[test]
fn what_the_server_refuses_to_move_is_told_keeps_nothing_out_and_moves_after_a_kill() {
    let dovecot = Dovecot::with("");
    let house = house(&dovecot, "after = \"move\"\nmove_to = \"a..b\"");
    dovecot.deliver(&mail(1));
    let server = house.serve();
    let row = wait_for("the refusal", || {
        row(&server, "mail/imap").filter(|row| row["state"] == "failing")
    });
    let said = row["last_error"].as_str().unwrap();
    assert!(said.contains("refuses UID MOVE"), "{said}");
    dovecot.deliver(&mail(2));
    wait_for_mails(&server, 2);
    assert_eq!(dovecot.mails("").len(), 2);
    server.kill();
    let keys = "after = \"move\"\nmove_to = \"Done\"";
    house.channel("mail", &block(&dovecot, keys));
    let server = house.serve();
    wait_for("both in their folder", || {
        (dovecot.mails(".Done").len() == 2).then_some(())
    });
    assert_next(&server, 2);
}

#[test]
fn a_server_without_idle_is_asked_on_a_period() {
    let dovecot = Dovecot::with("imap_capability = IMAP4rev1 UIDPLUS MOVE");
    let house = house(&dovecot, "every = \"1s\"");
    let server = house.serve();
    for number in 1..=3 {
        dovecot.deliver(&mail(number));
        wait_for_mails(&server, number);
    }
    assert_next(&server, 3);
}

#[test]
fn what_lies_there_at_first_is_taken_as_it_is_wished() {
    for (first, wanted) in [
        ("unseen", vec!["mail 2"]),
        ("all", vec!["mail 1", "mail 2"]),
        ("skip", vec![]),
    ] {
        let dovecot = Dovecot::with("");
        dovecot.deliver_seen(&mail(1));
        dovecot.deliver(&mail(2));
        let house = house(&dovecot, &format!("first = \"{first}\""));
        let server = house.serve();
        let mut number = 2;
        // nobody sees when the first look is over, but that of what comes after it all is taken
        wait_for("a mail that came later", || {
            number += 1;
            dovecot.deliver_seen(&mail(number));
            let is_later = |found: &String| !["mail 1", "mail 2"].contains(&found.as_str());
            subjects(&server).iter().any(is_later).then_some(())
        });
        server.kill();
        let server = house.serve();
        dovecot.deliver_seen(&mail(0));
        let found = wait_for("the last one", || {
            Some(subjects(&server)).filter(|found| found.iter().any(|one| one == "mail 0"))
        });
        let mut distinct: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(distinct.len(), found.len(), "{first}: {found:?}");
        distinct.retain(|one| ["mail 1", "mail 2"].contains(one));
        assert_eq!(Vec::from_iter(distinct), wanted, "{first}: {found:?}");
        assert_next(&server, found.len());
    }
}

#[test]
fn a_mail_that_is_too_large_comes_with_its_headers_and_is_not_deleted() {
    let dovecot = Dovecot::with("");
    let house = house(&dovecot, "after = \"delete\"");
    let mut large = mail(1);
    large.resize(33 * 1024 * 1024, b'x');
    dovecot.deliver(&large);
    dovecot.deliver(&mail(2));
    let server = house.serve();
    wait_for_mails(&server, 2);
    wait_for("the deletion", || {
        (dovecot.mails("").len() == 1).then_some(())
    });
    let event = server.get("events/mail%2F1");
    assert_eq!(event["body"]["Subject"], "mail 1");
    let why = event["meta"]["decode_error"].as_str().unwrap();
    assert!(why.contains("was not read whole"), "{why}");
    assert!(server.get("events/mail%2F2")["meta"]["decode_error"].is_null());
}

#[test]
fn tls_and_starttls_are_for_the_server_that_the_authority_names() {
    let dovecot = Dovecot::with("disable_plaintext_auth = yes\nssl = required");
    let (port, tls_port) = (dovecot.port, dovecot.tls_port);
    for (tls, port) in [("starttls", port), ("wrapped", tls_port)] {
        let keys = |authority: &str| {
            format!("tls = \"{tls}\"\nport = {port}\ntls_ca = \"{TLS}/{authority}\"")
        };
        let wrong = house(&dovecot, &keys("renewed-ca.pem"));
        let server = wrong.serve();
        let said = trouble(&server);
        assert!(said.contains("no TLS with 127.0.0.1"), "{tls}: {said}");
        assert!(said.contains("UnknownIssuer"), "{tls}: {said}");
        server.kill();
        let right = house(&dovecot, &format!("{}\nfirst = \"all\"", keys("ca.pem")));
        let server = right.serve();
        let before = dovecot.mails("").len();
        dovecot.deliver(&mail(before));
        wait_for_mails(&server, before + 1);
    }
}

#[test]
fn a_wrong_password_is_told_and_shown_nowhere() {
    let dovecot = Dovecot::with("");
    let house = house(&dovecot, "");
    house.file("password", "wrong-s3cret");
    let server = house.serve();
    let said = trouble(&server);
    assert!(
        said.contains("refuses the login of alerts@example.test"),
        "{said}"
    );
    assert!(said.contains("[AUTHENTICATIONFAILED]"), "{said}");
    let listing = server.verb(&["list", "sources"]);
    assert!(crate::house::stdout(&listing).contains("refuses the login"));
    assert!(!server.log().contains("wrong-s3cret"), "{}", server.log());
    assert_eq!(server.ask("/readyz", &[], None).status, 200);
    // put right, it goes on
    dovecot.deliver(&mail(1));
    house.file("password", PASSWORD);
    house.channel("mail", &block(&dovecot, "every = \"2m\""));
    wait_for_mails(&server, 1);
}
