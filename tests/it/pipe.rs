//! `vigie mail` and `vigie trap`: exact bytes, the envelope, one id per delivery, exit 0 or 75.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use tempfile::TempDir;
use vigie::error::Exit;
use vigie::sender::{Caller, MAIL_BYTES_MAX, mail, spool, trap};

use crate::post_stand_in::{Reply, StandIn};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kompira");
const AWAY: &str = "http://127.0.0.1:1";

type Run = fn(Vec<OsString>, &mut Caller) -> Exit;

/// A mail server's host with a spool.
struct Host {
    folder: TempDir,
    env: BTreeMap<OsString, OsString>,
}

impl Host {
    fn new(env: &[(&str, &str)]) -> Host {
        let own = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        Host {
            folder: tempfile::tempdir().unwrap(),
            env: env.iter().map(own).collect(),
        }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn spooled(&self) -> Vec<spool::Spooled> {
        let events = spool::list(&self.spool()).unwrap().events;
        events
            .iter()
            .map(|path| spool::read(path).unwrap())
            .collect()
    }

    fn run(&self, verb: Run, args: &[&str], stdin: &mut dyn Read) -> (Exit, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut line: Vec<OsString> = args.iter().map(OsString::from).collect();
        line.push("--spool".into());
        line.push(self.spool().into());
        let mut caller = Caller {
            name: "vigie mail".to_owned(),
            stdin,
            out: &mut out,
            err: &mut err,
            env: self.env.clone(),
        };
        let exit = verb(line, &mut caller);
        assert!(out.is_empty(), "a mail server would show it to the sender");
        (exit, String::from_utf8(err).unwrap())
    }
}

fn decoded(header: &str) -> BTreeMap<String, String> {
    let json = base64::engine::general_purpose::STANDARD
        .decode(header)
        .unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn recorded(name: &str) -> Vec<u8> {
    fs::read(Path::new(DATA).join(name)).unwrap()
}

#[test]
fn a_mail_travels_byte_for_byte_with_its_envelope() {
    let server = StandIn::start(&[]);
    let envelope = [
        ("SENDER", ""),
        ("RECIPIENT", "kompira+db@kompira.example.com"),
        ("ORIGINAL_RECIPIENT", "kompira+db@kompira.example.com"),
        ("EXTENSION", "db"),
        ("CLIENT_HELO", "h\u{e9}lo \"x\""),
        ("LOCAL_PART_PREFIX", "p-"),
        ("MESSAGE_ID", "1abcd-0005-X"),
        ("CLIENT_HOSTNAME", &"h".repeat(5000)),
        ("PATH", "/usr/bin"),
        ("SECRET", "canary"),
    ];
    let host = Host::new(&envelope);
    let mail = recorded("mail.01.body.bin");
    let (exit, err) = host.run(
        mail::run,
        &["--server", &server.url()],
        &mut mail.as_slice(),
    );
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    let request = server.only();
    assert_eq!(request.body, mail);
    assert_eq!(request.line, "POST /api/v1/channels/mail/events HTTP/1.1");
    assert_eq!(request.header("content-type"), "message/rfc822");
    assert_eq!(request.header("x-vigie-source"), "mail");
    let meta = decoded(request.header("x-vigie-meta"));
    assert_eq!(meta["SENDER"], "");
    assert_eq!(meta["EXTENSION"], "db");
    assert_eq!(meta["CLIENT_HELO"], "h\u{e9}lo \"x\"");
    assert_eq!(meta["MESSAGE_ID"], "1abcd-0005-X");
    assert_eq!(meta["CLIENT_HOSTNAME"].len(), 512);
    assert!(!meta.contains_key("PATH") && !meta.contains_key("SECRET"));
    assert_eq!(meta.len(), 8);
}

type Envelope = &'static [(&'static str, &'static str)];

const BOTH: Envelope = &[("RECIPIENT", "a@b"), ("ORIGINAL_RECIPIENT", "o@b")];
const ORIGINAL: Envelope = &[("RECIPIENT", ""), ("ORIGINAL_RECIPIENT", "o@b")];
const EXIM: Envelope = &[("LOCAL_PART", "l"), ("DOMAIN", "d")];

/// The ids of the same mail delivered twice.
fn ids_of(env: &[(&str, &str)], mail: &[u8]) -> [String; 2] {
    let (host, server) = (Host::new(env), StandIn::start(&[]));
    let url = server.url();
    for _ in 0..2 {
        let (exit, err) = host.run(mail::run, &["--server", &url], &mut { mail });
        assert_eq!(exit, Exit::Ok, "{err}");
    }
    let id = |place: usize| {
        server.requests()[place]
            .header("idempotency-key")
            .to_owned()
    };
    [id(0), id(1)]
}

#[test]
fn the_id_is_message_id_and_recipient() {
    let rows: &[(Envelope, &[u8], &str)] = &[
        (BOTH, b"Message-ID: <1@x>\n\nbody", "<1@x> a@b"),
        (ORIGINAL, b"Message-ID: <1@x>\n\n", "<1@x> o@b"),
        (EXIM, b"Message-ID: <1@x>\n\n", "<1@x> l@d"),
        (&[], b"Message-ID: <1@x>\n\n", "<1@x>"),
        (
            BOTH,
            b"From a@b Fri\r\nTo: x\r\nMESSAGE-id:<1@x>\r\n\r\n",
            "<1@x> a@b",
        ),
        (BOTH, b"Message-ID:\n <1@x>\nTo: y\n\n", "<1@x> a@b"),
        (BOTH, b"Message-ID: <1\n @x>  \nTo: y\n\n", "<1 @x> a@b"),
        (
            BOTH,
            b"Message-ID: <1@x>\nMessage-ID: <2@x>\n\n",
            "<1@x> a@b",
        ),
        (BOTH, b"Message-ID: <1@x>", "<1@x> a@b"),
        (
            BOTH,
            b"Message-ID: <1@x>\nTo: y,\n z\nX: <2@x>\n 3\n\n",
            "<1@x> a@b",
        ),
    ];
    for (env, mail, expected) in rows {
        let shown = String::from_utf8_lossy(mail);
        assert_eq!(ids_of(env, mail), [*expected, *expected], "{shown}");
    }
}

#[test]
fn a_message_id_that_cannot_be_a_header_is_hashed() {
    let long = format!("Message-ID: <{}@x>\n\n", "i".repeat(600));
    let mails = [
        long.as_str(),
        "Message-ID: <\u{e9}@x>\n\n",
        "Message-ID: <1\n\t@x>\n\n",
    ];
    for mail in mails {
        let [first, second] = ids_of(BOTH, mail.as_bytes());
        assert_eq!(first, second);
        assert!(first.starts_with("sha256:") && first.len() == 71, "{first}");
    }
}

#[test]
fn a_mail_without_message_id_gets_an_id_of_its_own() {
    let mails: [&[u8]; 5] = [
        b"X: y\n\nMessage-ID: <in.the.body@x>\n",
        b"X-Message-ID: <1@x>\n\n",
        b"Message-ID:   \n\n",
        b"",
        b"Subject: =?x?=\n Message-ID: <folded@x>\n\n",
    ];
    for mail in mails {
        let [first, second] = ids_of(BOTH, mail);
        assert_ne!(first, second);
        assert!(uuid::Uuid::try_parse(&first).is_ok(), "{first}");
    }
}

/// Fails, or panics, after some bytes.
struct Broken(usize, bool);

impl Read for Broken {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            assert!(!self.1, "a reader that panics");
            return Err(io::Error::other("broken pipe"));
        }
        self.0 -= 1;
        into[0] = b'x';
        Ok(1)
    }
}

#[test]
fn only_0_and_75_ever_leave_and_0_means_kept() {
    let nested = format!(
        "{}\n\nx",
        "Content-Type: multipart/mixed; boundary=a\n\n--a\n".repeat(10_000)
    );
    let inputs: Vec<Vec<u8>> = vec![
        b"".into(),
        b"\n".into(),
        b"\0".into(),
        vec![0; 100_000],
        b"\xff\xfe".into(),
        b"From ".into(),
        b"From nobody\n".into(),
        b"From a b\n\nbody\nFrom c\n".into(),
        b":\n".into(),
        b": \n:\n\n".into(),
        b"Message-ID".into(),
        b"Message-ID:".into(),
        b"Message-ID:\n".into(),
        b"Message-ID: \xff\n".into(),
        b"Message-ID: a\r\nX-Evil: b\r\n\r\n".into(),
        b"Message-ID: a\rX: b\n\n".into(),
        b"Message-ID: \0\n\n".into(),
        b" folded first\n\n".into(),
        b"\t\n\n".into(),
        vec![b'\n'; 10_000],
        vec![b':'; 10_000],
        b"Message-ID: ".repeat(50_000),
        b"a: b\n".repeat(100_000),
        vec![b' '; 300_000],
        nested.into_bytes(),
        b"Subject: \x1b[31m\n\n".into(),
        vec![0xff; 1_000_000],
        b"\r\n\r\n".into(),
        b"<html>".into(),
        b"{\"a\":1}".into(),
        b"Message-ID: <x>\n y\n z\n\n".into(),
    ];
    assert!(inputs.len() > 30);
    for input in &inputs {
        let (host, server) = (Host::new(&[("RECIPIENT", "a@b")]), StandIn::start(&[]));
        let (exit, err) = host.run(
            mail::run,
            &["--server", &server.url()],
            &mut input.as_slice(),
        );
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
        assert_eq!(&server.only().body, input);
        let (exit, _) = host.run(mail::run, &["--server", AWAY], &mut input.as_slice());
        assert_eq!(exit, Exit::Ok);
        assert_eq!(&host.spooled()[0].post.body, input);
    }
}

#[test]
fn whatever_is_wrong_with_the_call_exits_75_or_keeps_the_mail() {
    let rows: &[(&[&str], Exit)] = &[
        (&["--no-such-option"], Exit::TryAgain),
        (&["stray"], Exit::TryAgain),
        (&["--timeout", "soon"], Exit::TryAgain),
        (&["--channel"], Exit::TryAgain),
        (&["--server", "not a url"], Exit::Ok),
        (&["--server", "localhost"], Exit::Ok),
        (&["--server", "http://u:canary@h"], Exit::Ok),
        (&["--server", AWAY, "--token-file", "/nowhere"], Exit::Ok),
        (&["--server", AWAY, "--settings", "/nowhere"], Exit::Ok),
    ];
    for verb in [mail::run as Run, trap::run as Run] {
        for (args, expected) in rows {
            let host = Host::new(&[]);
            let (exit, err) = host.run(verb, args, &mut b"mail".as_slice());
            assert_eq!(exit, *expected, "{args:?}: {err}");
            assert_eq!(host.spool().exists(), *expected == Exit::Ok, "{args:?}");
            assert!(!err.contains("canary"), "{err}");
        }
        for broken in [
            Broken(0, false),
            Broken(3, false),
            Broken(0, true),
            Broken(3, true),
        ] {
            let host = Host::new(&[]);
            let mut broken = broken;
            let (exit, _) = host.run(verb, &["--server", AWAY], &mut broken);
            assert_eq!(exit, Exit::TryAgain);
            assert!(!host.spool().exists(), "half a mail is no mail");
        }
        let host = Host::new(&[]);
        fs::write(host.spool(), "a file, not a folder").unwrap();
        let (exit, err) = host.run(verb, &["--server", AWAY], &mut b"mail".as_slice());
        assert_eq!(exit, Exit::TryAgain, "{err}");
    }
}

#[test]
fn a_mail_up_to_the_limit_is_kept_and_a_larger_one_is_not() {
    let host = Host::new(&[]);
    let mut whole = io::repeat(b'x').take(MAIL_BYTES_MAX as u64);
    let (exit, err) = host.run(mail::run, &["--server", AWAY], &mut whole);
    assert_eq!(exit, Exit::Ok, "{err}");
    assert_eq!(host.spooled()[0].post.body.len(), MAIL_BYTES_MAX);
    let (exit, err) = host.run(mail::run, &["--server", AWAY], &mut io::repeat(b'x'));
    assert_eq!(exit, Exit::TryAgain);
    assert!(err.contains("larger"), "{err}");
    assert_eq!(host.spooled().len(), 1);
}

#[test]
fn what_the_server_refuses_or_cannot_take_is_kept() {
    let replies = [
        Reply::Status(401, ""),
        Reply::Status(413, "too large"),
        Reply::Status(503, ""),
        Reply::HangUp,
    ];
    for verb in [mail::run as Run, trap::run as Run] {
        for reply in &replies {
            for remote in [false, true] {
                let (host, server) = (Host::new(&[]), StandIn::start(std::slice::from_ref(reply)));
                let url = if remote {
                    server.remote_url()
                } else {
                    server.url()
                };
                let (exit, err) = host.run(verb, &["--server", &url], &mut b"x".as_slice());
                assert_eq!(exit, Exit::Ok, "{err}");
                assert_eq!(err.lines().count(), 1, "{err}");
                let id = server.only().header("idempotency-key").to_owned();
                assert_eq!(host.spooled()[0].post.correlation_id, id);
            }
        }
    }
}

#[test]
fn the_envelope_is_kept_in_the_spool() {
    let host = Host::new(&[
        ("SENDER", "a@b"),
        ("RECIPIENT", "c@d"),
        ("VIGIE_SERVER", AWAY),
    ]);
    let mail = b"Message-ID: <1@x>\n\nhello".as_slice();
    let (exit, err) = host.run(mail::run, &["--channel", "inbox"], &mut { mail });
    assert_eq!(exit, Exit::Ok);
    assert!(
        err.starts_with("vigie mail: "),
        "no digits first, which Postfix would take for a code: {err}"
    );
    let post = &host.spooled()[0].post;
    assert_eq!(
        (post.channel.as_str(), post.source.as_str()),
        ("inbox", "mail")
    );
    assert_eq!(post.correlation_id, "<1@x> c@d");
    assert_eq!(post.meta["SENDER"], "a@b");
    let server = StandIn::start(&[]);
    let (exit, _) = host.run(
        mail::run,
        &["--server", &server.remote_url()],
        &mut b"next".as_slice(),
    );
    assert_eq!(exit, Exit::Ok);
    let forwarded = &server.requests()[1];
    assert_eq!(forwarded.body, mail);
    assert_eq!(forwarded.header("idempotency-key"), "<1@x> c@d");
    assert_eq!(decoded(forwarded.header("x-vigie-meta"))["SENDER"], "a@b");
    assert!(host.spooled().is_empty());
}

#[test]
fn a_trap_travels_as_snmptrapd_wrote_it() {
    for name in ["snmptrap.01.body.bin", "snmptrap.02.body.bin"] {
        let (host, server) = (Host::new(&[("SENDER", "x")]), StandIn::start(&[]));
        let text = recorded(name);
        let (exit, err) = host.run(
            trap::run,
            &["--server", &server.url()],
            &mut text.as_slice(),
        );
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
        let request = server.only();
        assert_eq!(request.body, text);
        assert_eq!(
            request.line,
            "POST /api/v1/channels/snmptrap/events HTTP/1.1"
        );
        assert_eq!(request.header("content-type"), "application/x-snmptrapd");
        assert_eq!(request.header("x-vigie-source"), "snmp");
        assert_eq!(request.header("x-vigie-meta"), "");
    }
}

#[test]
fn a_large_mail_is_offered_before_it_is_sent() {
    let (host, server) = (Host::new(&[]), StandIn::start(&[]));
    let mail = vec![b'm'; 2_000_000];
    let (exit, err) = host.run(
        mail::run,
        &["--server", &server.url()],
        &mut mail.as_slice(),
    );
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    assert_eq!(server.only().header("expect"), "100-continue");
    assert_eq!(server.only().body, mail);
}
