//! sendevt towards a message broker: the bytes, the confirmation, and every way that it can fail.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::types::{AMQPValue, FieldTable};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use vigie::amqp::{Frame, Frames, Message};
use vigie::event::Value;
use vigie::sender::spool;

use crate::broker_stand_in::{Broker, Manner, Raw, frames};
use crate::peers::rabbit::rabbit;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

struct Host {
    folder: TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
    took: Duration,
}

impl Host {
    fn new() -> Host {
        Host {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn spooled(&self) -> usize {
        spool::list(&self.spool()).map_or(0, |listing| listing.events.len())
    }

    fn sendevt(&self, args: &[&str], stdin: &[u8]) -> Said {
        let begun = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sendevt"))
            .current_dir(self.folder.path())
            .env_clear()
            .env("TZ", "Asia/Tokyo")
            .arg("--spool")
            .arg(self.spool())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin);
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            took: begun.elapsed(),
        }
    }
}

fn pem(name: &str) -> String {
    format!("{DATA}/amqps/{name}")
}

fn recording(name: &str) -> Vec<Raw> {
    frames(&std::fs::read(format!("{DATA}/kompira/{name}.c2s.bin")).unwrap())
}

/// The properties in a header frame.
fn properties(header: &Raw) -> Message {
    let mut frames = Frames::default();
    frames.feed(&header.bytes());
    match frames.next_frame() {
        Ok(Some(Frame::Header(_, header))) => Message::arriving("", "", &header.properties),
        other => panic!("{other:?}"),
    }
}

fn of_method(frames: &[Raw], method: (u16, u16)) -> &Raw {
    let fits = |frame: &&Raw| frame.method() == Some(method);
    frames.iter().find(fits).unwrap()
}

const MAIL: &str = "--channel=/system/channels/Mail";
/// The same command lines as the recordings', towards a broker that keeps every byte.
const RECORDED: &[(&str, &[&str], &[u8])] = &[
    ("kv_basic", &["test=hello", "status=PROBLEM"], b""),
    ("amqp53_kv", &["test=hello"], b""),
    ("stdin_text", &[MAIL], b"hello\nworld\n"),
    ("stdin_binary", &[], b"\xff\xfe\0raw\x80"),
    ("stdin_empty", &[], b""),
    ("stdin_text_decode", &["--decode-stdin"], b"hello\nworld\n"),
    (
        "user_nonlocal",
        &[
            "--site-id",
            "7",
            "--channel",
            "/home/guest/テスト",
            "msg=日本語 障害",
            "n=1",
        ],
        b"",
    ),
    (
        "mail_stdin_kv",
        &[MAIL],
        include_bytes!("../data/kompira/mail_stdin.eml"),
    ),
];

#[test]
fn declare_and_publish_and_body_are_byte_for_byte_kompiras() {
    for (name, args, stdin) in RECORDED {
        let broker = Broker::start(&[]);
        let server = broker.server();
        let args = [&["-s", &server], *args].concat();
        let said = Host::new().sendevt(&args, stdin);
        assert_eq!(
            (said.code, said.out.as_str()),
            (0, ""),
            "{name}: {}",
            said.err
        );
        let (ours, theirs) = (&broker.said()[0], recording(name));
        // channel.open, queue.declare, basic.publish
        for method in [(20, 10), (50, 10), (60, 40)] {
            assert_eq!(
                of_method(ours, method),
                of_method(&theirs, method),
                "{name}"
            );
        }
        let bodies = |frames: &[Raw]| -> Vec<Raw> {
            frames
                .iter()
                .filter(|frame| frame.kind == 3)
                .cloned()
                .collect()
        };
        assert_eq!(bodies(ours), bodies(&theirs), "{name}");
        let header = |frames: &[Raw]| frames.iter().find(|frame| frame.kind == 2).unwrap().clone();
        let (ours, theirs) = (header(ours), header(&theirs));
        // class, weight, size, and which properties there are
        assert_eq!(ours.payload[..14], theirs.payload[..14], "{name}");
        let (mut ours, mut theirs) = (properties(&ours), properties(&theirs));
        for message in [&mut ours, &mut theirs] {
            let id = message.correlation_id.take().unwrap();
            assert!(uuid::Uuid::parse_str(&id).is_ok(), "{name}: {id}");
            let stamp = message.headers.remove("timestamp").unwrap();
            let stamp = stamp.as_text().unwrap().to_owned();
            let read = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S.%f", &stamp);
            assert!(read.is_ok() && stamp.len() == 26, "{name}: {stamp}");
        }
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn a_large_body_travels_in_frames_of_the_size_agreed_on() {
    let broker = Broker::start(&[]);
    let body = vec![b'x'; 300_000];
    let said = Host::new().sendevt(&["-s", &broker.server()], &body);
    assert_eq!(said.code, 0, "{}", said.err);
    let sizes: Vec<usize> = broker.said()[0]
        .iter()
        .filter(|frame| frame.kind == 3)
        .map(|frame| frame.payload.len())
        .collect();
    assert_eq!(sizes, [131_064, 131_064, 37_872]);
    assert_eq!(broker.message(0).1, body);
}

#[test]
fn who_we_are_follows_the_server_and_the_options() {
    let login = |args: &[&str]| {
        let broker = Broker::start(&[]);
        let port = broker.port.to_string();
        let said = Host::new().sendevt(&[args, &["--port", &port, "k=v"]].concat(), b"");
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        let start_ok = of_method(&broker.said()[0], (10, 11)).payload.clone();
        String::from_utf8_lossy(&start_ok).into_owned()
    };
    assert!(login(&["-s", "127.0.0.1"]).contains("PLAIN\0\0\0\x0c\0guest\0guest"));
    assert!(login(&["-s", "localhost"]).contains("\0guest\0guest"));
    let same = ["-s", "localhost", "--user", "same"];
    assert!(login(&same).contains("\0same\0same"));
    let both = ["-s", "localhost", "--user", "u", "--password", "p"];
    assert!(login(&both).contains("\0u\0p"));
}

#[test]
fn an_accepted_event_is_in_rabbitmq() {
    let rabbit = rabbit();
    let said = Host::new().sendevt(&["-s", &rabbit.server(), "test=hello"], b"");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let taken = rabbit.take("io_queue").unwrap();
    assert_eq!(taken.body, br#"{"test": "hello"}"#);
    assert_eq!(taken.routing_key, "io_queue");
    assert_eq!(taken.properties.delivery_mode(), &Some(2));
    assert_eq!(taken.header("channel"), "/system/channels/Alert");
    assert_eq!(taken.header("ssl"), "Some(Void)");
    assert!(rabbit.take("io_queue").is_none());
}

#[test]
fn test_connection_logs_in_and_leaves_nothing() {
    let rabbit = rabbit();
    let test = |args: &[&str]| {
        let server = rabbit.server();
        Host::new().sendevt(&[&["--test-connection", "-s", &server], args].concat(), b"")
    };
    let said = test(&["ignored"]);
    assert_eq!((said.code, said.out.as_str()), (0, "Connection OK: AMQP\n"));
    let said = test(&["--user", "nobody", "--password", "canary"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(
        said.err.contains("ACCESS_REFUSED") && !said.err.contains("canary"),
        "{}",
        said.err
    );
}

#[test]
fn certificates_good_wrong_and_missing() {
    let rabbit = rabbit();
    let at = |host: &str| format!("{host}:{}", rabbit.tls_port);
    let (ca, other) = (pem("ca.pem"), pem("other_ca.pem"));
    let (certificate, key) = (pem("client.pem"), pem("client.key"));
    let own = ["--ssl-certfile", &certificate, "--ssl-keyfile", &key];
    let send = |host: &str, args: &[&str]| {
        let server = at(host);
        let one = Host::new();
        let said = one.sendevt(
            &[
                &["--ssl", "-s", &server, "--retry-interval", "30"],
                args,
                &["k=v"],
            ]
            .concat(),
            b"",
        );
        assert!(
            said.took < Duration::from_secs(20),
            "tried again: {}",
            said.err
        );
        (said, one.spooled())
    };
    // as the account that the certificate names; the version is told as Python tells it
    let verify = [&["--ssl-verify", "--ssl-cacertfile", &ca][..], &own].concat();
    for host in ["localhost", "127.0.0.1"] {
        let (said, spooled) = send(host, &verify);
        assert_eq!((said.code, said.err.as_str(), spooled), (0, "", 0));
        assert_eq!(rabbit.take("io_queue").unwrap().header("ssl"), "TLSv1.3");
    }
    // a certificate is shown also if the broker's is not verified
    let (said, _) = send("localhost", &own);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(rabbit.take("io_queue").is_some());
    // signed by somebody else
    let wrong_ca = [&["--ssl-verify", "--ssl-cacertfile", &other][..], &own].concat();
    let (said, spooled) = send("localhost", &wrong_ca);
    assert!(said.err.contains("UnknownIssuer"), "{}", said.err);
    assert_eq!((said.code, spooled), (0, 1));
    // none, where the broker asks for one
    let (said, spooled) = send(
        "localhost",
        &["--ssl-verify", "--ssl-cacertfile", &ca, "--max-retry", "0"],
    );
    assert_eq!((said.code, spooled), (0, 1));
    // what it says to that may get lost when it hangs up
    let told = ["ertificate", "ipe", "reset"]
        .iter()
        .any(|word| said.err.contains(word));
    assert!(told, "{}", said.err);
    // a file that is not there
    let missing = ["--ssl-verify", "--ssl-cacertfile", "/nowhere.pem"];
    let (said, _) = send("localhost", &missing);
    assert!(
        said.code == 1 && said.err.contains("/nowhere.pem"),
        "{}",
        said.err
    );
    assert!(rabbit.take("io_queue").is_none());
}

#[test]
fn the_name_in_a_verified_certificate_is_checked() {
    // the certificate is for localhost and 127.0.0.1
    for (address, is_right) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let server = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || shake_hands(&listener));
        let ca = pem("ca.pem");
        let args = [
            "--ssl",
            "--ssl-verify",
            "--ssl-cacertfile",
            &ca,
            "-s",
            &server,
        ];
        let said = Host::new().sendevt(&[&args[..], &["--test-connection"]].concat(), b"");
        assert_eq!(said.code, 1);
        let told = said.err.contains("certificate not valid for name");
        assert_eq!(told, !is_right, "{}", said.err);
    }
}

/// Finishes one TLS handshake, then goes.
fn shake_hands(listener: &TcpListener) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(pem("server.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(pem("server.key")).unwrap(),
        )
        .unwrap();
    let mut connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let _ = connection.complete_io(&mut stream);
}

#[test]
fn a_queue_that_is_another_and_rights_that_are_missing_are_not_tried_again() {
    let host = Host::new();
    let broker = Broker::start(&[Manner::RefuseQueue]);
    let said = host.sendevt(&["-s", &broker.server(), "k=v"], b"");
    assert_eq!((said.code, host.spooled()), (0, 1), "{}", said.err);
    assert!(said.err.contains("PRECONDITION_FAILED"), "{}", said.err);
    assert_eq!(broker.said().len(), 1);

    let host = Host::new();
    let broker = Broker::start(&[Manner::RefuseLogin]);
    let said = host.sendevt(&["-s", &broker.server(), "k=v"], b"");
    assert_eq!((said.code, host.spooled()), (1, 0), "{}", said.err);
    assert!(said.err.contains("ACCESS_REFUSED"), "{}", said.err);
    assert_eq!(broker.said().len(), 1);
}

#[test]
fn a_real_queue_with_other_arguments_keeps_the_event_in_the_spool() {
    let rabbit = rabbit();
    let limited = FieldTable::from(std::collections::BTreeMap::from([(
        "x-max-length".into(),
        AMQPValue::LongInt(5),
    )]));
    rabbit.delete("io_queue");
    rabbit.declare("io_queue", limited);
    let host = Host::new();
    let said = host.sendevt(&["-s", &rabbit.server(), "k=1"], b"");
    assert_eq!((said.code, host.spooled()), (0, 1), "{}", said.err);
    assert!(said.err.contains("code 406"), "{}", said.err);
    // an account that may read only
    let said = host.sendevt(&["-s", &rabbit.server(), "--user", "reader", "k=2"], b"");
    assert_eq!((said.code, host.spooled()), (1, 1), "{}", said.err);
    // once the queue is right, the next event takes the kept one along
    rabbit.delete("io_queue");
    let said = host.sendevt(&["-s", &rabbit.server(), "k=3"], b"");
    assert_eq!((said.code, host.spooled()), (0, 0), "{}", said.err);
    let mut bodies = vec![rabbit.take("io_queue").unwrap().body];
    bodies.push(rabbit.take("io_queue").unwrap().body);
    assert_eq!(bodies, [&br#"{"k": "3"}"#[..], br#"{"k": "1"}"#]);
}

#[test]
fn a_broker_that_is_away_is_tried_again_and_the_event_kept() {
    let host = Host::new();
    let args = [
        "-s",
        "127.0.0.1:1",
        "--max-retry",
        "2",
        "--retry-interval",
        "1",
        "k=v",
    ];
    let said = host.sendevt(&args, b"");
    assert_eq!((said.code, host.spooled()), (0, 1), "{}", said.err);
    assert_eq!(
        said.err.matches("Failed to connect: ").count(),
        3,
        "{}",
        said.err
    );
    assert!(said.err.contains("kept in"), "{}", said.err);
    assert!(said.took >= Duration::from_secs(2));
    // the spool goes to the broker as soon as somebody gets through
    let broker = Broker::start(&[]);
    let said = host.sendevt(&["-s", &broker.server(), "--flush-spool"], b"");
    assert_eq!((said.code, said.out.as_str()), (0, "forwarded 1, left 0\n"));
    assert_eq!(broker.message(0).1, br#"{"k": "v"}"#);
}

#[test]
fn a_connection_cut_in_the_middle_publishes_again_with_the_same_id() {
    let broker = Broker::start(&[Manner::HangUp, Manner::Nack, Manner::ShutDown]);
    let host = Host::new();
    let said = host.sendevt(
        &["-s", &broker.server(), "--retry-interval", "1", "k=v"],
        b"",
    );
    assert_eq!((said.code, host.spooled()), (0, 0), "{}", said.err);
    assert_eq!(
        said.err.matches("Failed to send event: ").count(),
        3,
        "{}",
        said.err
    );
    let messages: Vec<Message> = (0..4).map(|at| properties(&broker.message(at).0)).collect();
    assert!(messages.iter().all(|message| message == &messages[0]));
}

#[test]
fn a_broker_that_says_nothing_holds_nobody() {
    for (manner, told) in [
        (Manner::Silent, "no answer"),
        (Manner::Blocked, "blocked: low on memory"),
        (Manner::Garbage, "does not speak AMQP"),
    ] {
        let (broker, host) = (Broker::start(&[manner]), Host::new());
        let args = [
            "-s",
            &broker.server(),
            "--timeout",
            "1",
            "--max-retry",
            "0",
            "k=v",
        ];
        let said = host.sendevt(&args, b"");
        assert_eq!(
            (said.code, host.spooled()),
            (0, 1),
            "{manner:?}: {}",
            said.err
        );
        assert!(said.err.contains(told), "{manner:?}: {}", said.err);
        assert!(said.took < Duration::from_secs(15), "{manner:?}");
    }
}

#[test]
fn a_broker_without_confirms_is_asked_to_close_the_channel() {
    let (broker, host) = (Broker::start(&[Manner::WithoutConfirms]), Host::new());
    let said = host.sendevt(&["-s", &broker.server(), "k=v"], b"");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let said = broker.said();
    let methods: Vec<(u16, u16)> = said[0].iter().filter_map(Raw::method).collect();
    let expected = [
        (10, 11),
        (10, 31),
        (10, 40),
        (20, 10),
        (50, 10),
        (60, 40),
        (20, 40),
        (10, 50),
    ];
    assert_eq!(methods, expected);
}

#[test]
fn a_client_that_must_show_a_certificate_says_so_to_a_broker_that_wants_passwords() {
    // the recorded broker offers AMQPLAIN and PLAIN only, and in the clear
    let login = vigie::amqp::Login::External;
    let mut opening = vigie::amqp::Opening::new(login, "/", 0);
    let mut frames = Frames::default();
    frames.feed(include_bytes!("../data/kompira/kv_basic.s2c.bin"));
    let start = frames.next_frame().unwrap().unwrap();
    let why = opening.take(start).unwrap_err().to_string();
    assert_eq!(
        why,
        "the broker takes AMQPLAIN PLAIN to log in, not EXTERNAL"
    );
}

#[test]
fn tables_come_back_as_they_went() {
    let inner = Value::from([("text", Value::from("日本")), ("none", Value::Null)]);
    let table = std::collections::BTreeMap::from([
        ("int".to_owned(), Value::Int(-5)),
        ("long".to_owned(), Value::Int(i64::MAX)),
        ("float".to_owned(), Value::Float(0.5)),
        ("yes".to_owned(), Value::Bool(true)),
        ("bytes".to_owned(), Value::from(vec![0xff_u8, 0])),
        (
            "list".to_owned(),
            Value::List(vec![inner.clone(), Value::Int(1)]),
        ),
        ("map".to_owned(), inner),
    ]);
    let there = vigie::amqp::table::to_table(&table);
    assert_eq!(vigie::amqp::table::from_table(&there), table);
}
