//! Mailboxes without a mail server: names of folders, and servers that mean harm.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use vigie::source::imap::{LINE_BYTES_MAX, folder_name};

use crate::house::{House, wait_for};
use crate::sources::row;

#[test]
fn names_of_folders_travel_as_modified_utf_7() {
    for (name, encoded) in [
        ("INBOX", "INBOX"),
        ("A & B", "A &- B"),
        ("台北", "&U,BTFw-"),
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("Éléments envoyés", "&AMk-l&AOk-ments envoy&AOk-s"),
        ("𝄞", "&2DTdHg-"),
        ("a\tb", "a&AAk-b"),
    ] {
        assert_eq!(folder_name(name), encoded);
    }
}

/// A server that says this to whoever comes, whatever he asks; its port, and what it was asked.
fn server_that_says(script: &str) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = script.to_owned();
    let heard = Arc::new(Mutex::new(String::new()));
    let hearing = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let script = script.clone();
            let mut writer = stream.try_clone().unwrap();
            std::thread::spawn(move || writer.write_all(script.as_bytes()));
            let hearing = Arc::clone(&hearing);
            std::thread::spawn(move || {
                let mut asked = [0; 4096];
                while let Ok(size @ 1..) = stream.read(&mut asked) {
                    let asked = String::from_utf8_lossy(&asked[..size]);
                    hearing.lock().unwrap().push_str(&asked);
                }
            });
        }
    });
    (port, heard)
}

#[test]
fn a_token_logs_in_by_xoauth2_and_a_refused_one_is_told() {
    let said = "* OK hello\r\nv1 OK\r\n+ \r\n+ e30=\r\nv2 NO expired\r\n";
    let (port, heard) = server_that_says(said);
    let house = House::new();
    house.file("token", "t0ken\n");
    let keys = "tls = \"none\"\nuser = \"a@b\"\ntoken_file = \"token\"";
    house.channel(
        "mail",
        &format!("[[source]]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {port}\n{keys}\n"),
    );
    let server = house.serve();
    wait_for("the refusal", || {
        let row = row(&server, "mail/imap")?;
        let said = row["last_error"].as_str()?;
        said.contains("refuses the login of a@b: expired")
            .then_some(())
    });
    let proof = "dXNlcj1hQGIBYXV0aD1CZWFyZXIgdDBrZW4BAQ==";
    let wanted = format!("v2 AUTHENTICATE XOAUTH2\r\n{proof}\r\n\r\n");
    // the answer was there before the question, so it may be told before that is heard
    wait_for(&wanted, || {
        heard.lock().unwrap().contains(&wanted).then_some(())
    });
}

#[test]
fn a_server_that_means_harm_is_told_off_and_harms_nothing() {
    let login = "* OK hello\r\nv1 OK\r\nv2 OK\r\n* CAPABILITY IMAP4rev1 IDLE\r\nv3 OK\r\n";
    let folder = format!("{login}* OK [UIDVALIDITY 1]\r\n* OK [UIDNEXT 9]\r\nv4 OK\r\n");
    let nested = "(".repeat(20_000);
    let flood = "* 1 FETCH (UID 1)\r\n".repeat(10_001);
    let scripts = [
        (
            format!("* OK {}", "x".repeat(LINE_BYTES_MAX)),
            "a line of more than",
        ),
        ("HTTP/1.1 400 Bad Request\r\n".to_owned(), "greeted with"),
        ("* BYE too busy\r\n".to_owned(), "too busy"),
        (
            "* OK hello\r\nv1 OK\r\nv2 NO s3cret is wrong\r\n".to_owned(),
            "*** is wrong",
        ),
        (
            format!("{login}v4 NO no such folder\r\n"),
            "does not open the folder `INBOX`",
        ),
        (format!("{login}v4 OK\r\n"), "UIDVALIDITY"),
        (
            format!("{folder}* 1 FETCH (UID 1 BODY[] {{99999999999}}\r\n"),
            "more than was asked for",
        ),
        (
            format!("{folder}* 1 FETCH (UID 1 BODY[] {{1}}\r\na BODYSTRUCTURE {nested}\r\n"),
            "cannot be understood",
        ),
        (format!("{folder}{flood}v5 OK\r\n"), "lists more mails"),
        (
            format!("{folder}v5 NO not today\r\n"),
            "does not give its mails: not today",
        ),
    ];
    let house = House::new();
    house.file("password", "s3cret");
    let mut blocks = String::new();
    for (number, (script, _)) in scripts.iter().enumerate() {
        let (port, _) = server_that_says(script);
        blocks.push_str(&format!(
            "[[source]]\nkind = \"imap\"\nname = \"n{number}\"\nhost = \"127.0.0.1\"\n\
             port = {port}\ntls = \"none\"\nuser = \"a\"\npassword_file = \"password\"\n"
        ));
    }
    house.channel("mail", &blocks);
    let server = house.serve();
    for (number, (_, wanted)) in scripts.iter().enumerate() {
        wait_for(&format!("{number}: {wanted}: {}", server.log()), || {
            let row = row(&server, &format!("mail/n{number}"))?;
            let said = row["last_error"].as_str()?;
            said.contains(wanted).then_some(())
        });
    }
    assert_eq!(server.ask("/readyz", &[], None).status, 200);
    assert!(!server.log().contains("s3cret"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn what_a_server_says_before_tls_counts_for_nothing() {
    let said = "* OK hello\r\nv1 OK go ahead\r\nv2 OK you are in\r\n";
    let (port, _) = server_that_says(said);
    let house = House::new();
    house.file("password", "s3cret");
    house.channel(
        "mail",
        &format!(
            "[[source]]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {port}\n\
             tls = \"starttls\"\nuser = \"a\"\npassword_file = \"password\"\n"
        ),
    );
    let server = house.serve();
    wait_for("the trouble", || {
        let row = row(&server, "mail/imap")?;
        let said = row["last_error"].as_str()?;
        said.contains("spoke on after STARTTLS").then_some(())
    });
}
