//! The AMQP door: recordings of Kompira's senders, pika, lapin, our own sender, and bad clients.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use serde_json::{Value as Json, json};
use vigie::amqp::{Frame, Frames, Method, encode, queue};
use vigie::event::Value;
use vigie::secret::Secret;
use vigie::source::amqp::decode::{Seen, asked_channel, decode};
use vigie::source::amqp_listen::{
    DECLARED_MAX, Effect, House as Behind, Peer, Publication, Session, User, Users,
};

use crate::broker_stand_in::frames;
use crate::house::{House, PATIENCE, Running, wait_for};
use crate::mutate::each_mutation;
use crate::peers;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

fn recording(name: &str) -> Vec<u8> {
    std::fs::read(format!("{DATA}/kompira/{name}.c2s.bin")).unwrap()
}

fn all_recordings() -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(format!("{DATA}/kompira"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.strip_suffix(".c2s.bin")?.to_owned();
            let bytes = recording(&name);
            Some((name, bytes))
        })
        .collect();
    found.sort();
    assert!(found.len() >= 14, "{}", found.len());
    found
}

fn behind(users: &[(&str, &str)]) -> Arc<Behind> {
    let user = |(name, password): &(&str, &str)| User {
        name: (*name).to_owned(),
        password: Some(Secret::new((*password).to_owned())),
    };
    Arc::new(Behind {
        users: Users::new(users.iter().map(user).collect()),
        virtual_hosts: vec!["/".to_owned()],
        declared: std::sync::Mutex::default(),
    })
}

fn peer(certificate: Option<&str>) -> Peer {
    Peer {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: certificate.map(str::to_owned),
    }
}

/// What a session made of bytes: methods said, by class and method, and messages, in order.
#[derive(Default, Debug)]
struct Talk {
    said: Vec<(u16, u16)>,
    codes: Vec<u16>,
    messages: Vec<Publication>,
    /// How many things were said before the last message.
    before_message: usize,
    has_ended: bool,
}

fn talk(session: &mut Session, bytes: &[u8]) -> Talk {
    let (mut frames, mut talk) = (Frames::default(), Talk::default());
    frames.feed(bytes);
    loop {
        let (effects, is_broken) = match frames.next_frame() {
            Ok(Some(frame)) => (session.take(frame), false),
            Ok(None) => return talk,
            Err(why) => (session.broken(why), true),
        };
        for effect in effects {
            note(effect, &mut talk);
        }
        if talk.has_ended || is_broken {
            return talk;
        }
    }
}

fn note(effect: Effect, talk: &mut Talk) {
    match effect {
        Effect::Send(frame) => {
            let raw = frames(&encode(&frame)).remove(0);
            let method = raw.method().unwrap();
            if matches!(method, (10, 50) | (20, 40)) {
                talk.codes
                    .push(u16::from_be_bytes([raw.payload[4], raw.payload[5]]));
            }
            talk.said.push(method);
        }
        Effect::Push(publication) => {
            talk.before_message = talk.said.len();
            talk.messages.push(publication);
        }
        Effect::Limit(_) | Effect::Header => {}
        Effect::End => talk.has_ended = true,
    }
}

fn seen() -> Seen {
    Seen {
        peer: "test".to_owned(),
        received_at: "2026-11-21T00:00:00Z".parse().unwrap(),
        is_json: false,
    }
}

/// The answers to a send, to a test of the connection, and to a wrong password.
const SENT: &[(u16, u16)] = &[
    (10, 10),
    (10, 30),
    (10, 41),
    (20, 11),
    (50, 11),
    (20, 41),
    (10, 51),
];
const TESTED: &[(u16, u16)] = &[(10, 10), (10, 30), (10, 41), (10, 51)];
const REFUSED: &[(u16, u16)] = &[(10, 10), (10, 50)];

#[test]
fn every_recording_is_answered_as_a_broker_would() {
    let house = behind(&[("guest", "guest"), ("kompira", "kompira"), ("same", "same")]);
    for (name, bytes) in all_recordings() {
        let mut session = Session::new(Arc::clone(&house), peer(None));
        let talk = talk(&mut session, &bytes);
        let (said, messages) = match name.as_str() {
            name if name.starts_with("testconn") => (TESTED, 0),
            name if name.starts_with("authfail") => (REFUSED, 0),
            "tls_verify_external_startok" => (REFUSED, 0),
            _ => (SENT, 1),
        };
        assert_eq!(talk.said, said, "{name}");
        assert_eq!(talk.messages.len(), messages, "{name}");
        // the channel is said to be closed behind the message, so only once that is on disk
        assert!(messages == 0 || talk.before_message == 5, "{name}");
        assert!(talk.codes.iter().all(|code| *code == 403), "{name}");
        // the one that was cut off did not answer the close
        assert!(talk.has_ended || name.starts_with("tls_verify"), "{name}");
    }
}

#[test]
fn a_recorded_certificate_login_is_taken_for_a_known_name_only() {
    let bytes = recording("tls_verify_external_startok");
    for (users, certificate, is_taken) in [
        (&[("kompira", "x")][..], Some("kompira"), true),
        (&[("kompira", "x")], Some("other"), false),
        (&[("kompira", "x")], None, false),
        (&[], Some("anybody"), true),
    ] {
        let mut session = Session::new(behind(users), peer(certificate));
        let said = talk(&mut session, &bytes).said;
        assert_eq!(said.last() == Some(&(10, 30)), is_taken, "{certificate:?}");
    }
}

#[test]
fn recorded_events_are_what_the_senders_meant() {
    let house = behind(&[("guest", "guest"), ("kompira", "kompira"), ("same", "same")]);
    let event = |name: &str| {
        let mut session = Session::new(Arc::clone(&house), peer(None));
        let message = talk(&mut session, &recording(name))
            .messages
            .remove(0)
            .message;
        let channel = asked_channel(&message).unwrap().to_owned();
        let mut events = decode(message, &seen());
        assert_eq!(events.len(), 1, "{name}");
        (channel, events.remove(0))
    };
    let (channel, basic) = event("kv_basic");
    assert_eq!(channel, "/system/channels/Alert");
    assert_eq!(
        basic.body.to_json(),
        json!({"test": "hello", "status": "PROBLEM"})
    );
    assert_eq!(basic.meta.source, "amqp");
    assert_eq!(
        basic.meta.message_id.as_deref(),
        Some("b75b63c3-d116-4e34-b138-85f640a9c3fa")
    );
    assert_eq!(basic.meta.extra["site_id"], Value::from("1"));
    assert_eq!(
        basic.meta.extra["sent_at"],
        Value::from("2026-11-21 00:50:03.244680")
    );
    assert_eq!(basic.meta.extra["routing_key"], Value::from("io_queue"));
    let (_, binary) = event("stdin_binary");
    assert_eq!(binary.body, Value::from(b"\xff\xfe\0raw\x80".to_vec()));
    assert_eq!(
        event("stdin_text").1.body,
        Value::from(b"hello\nworld\n".to_vec())
    );
    assert_eq!(
        event("stdin_text_decode").1.body,
        Value::from("hello\nworld\n")
    );
    assert_eq!(event("stdin_empty").1.body, Value::from(Vec::<u8>::new()));
    let (channel, japanese) = event("user_nonlocal");
    assert_eq!(channel, "/home/guest/テスト");
    assert_eq!(japanese.body.get("msg"), Some(&Value::from("日本語 障害")));
    assert_eq!(japanese.meta.extra["site_id"], Value::from("7"));
    let headers = &event("tls_noverify_kv").1.meta.extra["headers"];
    assert_eq!(headers.get("ssl"), Some(&Value::from("TLSv1.3")));
}

#[test]
fn json_that_is_none_is_kept_raw_and_lone_surrogates_are_kept() {
    let message = |body: &[u8]| vigie::amqp::Message {
        content_type: Some("application/json".to_owned()),
        correlation_id: Some("id".to_owned()),
        body: body.to_vec(),
        ..vigie::amqp::Message::default()
    };
    let broken = decode(message(b"{broken"), &seen()).remove(0);
    assert_eq!(broken.body, Value::from(b"{broken".to_vec()));
    assert!(broken.meta.extra.contains_key("decode_error"));
    assert_eq!(broken.meta.message_id.as_deref(), Some("id"));
    let lone = decode(message(br#"{"m": "\udcff"}"#), &seen()).remove(0);
    assert_eq!(lone.body.get("m"), Some(&Value::from("\u{fffd}")));
    assert!(lone.meta.extra.contains_key("decode_note"));
    let several = decode(message(b"[1,2]"), &seen());
    let ids: Vec<_> = several
        .iter()
        .map(|event| event.meta.message_id.as_deref())
        .collect();
    assert_eq!(ids, [Some("id#0"), Some("id#1")]);
}

/// A session in which work may be done on channel 1.
fn ready(house: &Arc<Behind>) -> Session {
    let mut session = Session::new(Arc::clone(house), peer(None));
    let mut bytes = b"AMQP\0\0\x09\x01".to_vec();
    // start-ok, tune-ok, open, channel.open
    let begun = frames(&recording("kv_basic"));
    begun[..4]
        .iter()
        .for_each(|frame| bytes.extend(frame.bytes()));
    assert_eq!(talk(&mut session, &bytes).said.len(), 4);
    session
}

fn method(class: u16, method: u16, rest: &[u8]) -> Vec<u8> {
    let payload = [&class.to_be_bytes(), &method.to_be_bytes(), rest].concat();
    let kind = 1;
    let raw = crate::broker_stand_in::Raw {
        kind,
        channel: 1,
        payload,
    };
    raw.bytes()
}

#[test]
fn what_the_door_does_not_offer_is_refused_with_the_protocols_code() {
    let house = behind(&[]);
    let consume = method(60, 20, b"\0\0\x01q\x01t\0\0\0\0\0");
    let get = method(60, 70, b"\0\0\x01q\0");
    let select_tx = method(90, 10, b"");
    let delete = method(50, 40, b"\0\0\x01q\0");
    let exchange_delete = method(40, 20, b"\0\0\x01q\0");
    for bytes in [consume, get, select_tx, delete, exchange_delete] {
        let talk = talk(&mut ready(&house), &bytes);
        assert_eq!((talk.said, talk.codes), (vec![(10, 50)], vec![540]));
    }
    // passive, of what nobody declared; the queue of Kompira's senders is always there
    let passive = |name: &str| {
        let declare = queue::Declare {
            queue: name.into(),
            passive: true,
            ..queue::Declare::default()
        };
        let declare = Method::Queue(queue::AMQPMethod::Declare(declare));
        talk(&mut ready(&house), &encode(&Frame::Method(1, declare)))
    };
    assert_eq!(passive("nobody").codes, [404]);
    assert_eq!(passive("io_queue").said, [(50, 11)]);
    // publish to an exchange that is not there closes the channel alone, and its content is skipped
    let mut session = ready(&house);
    let mut bytes = method(60, 40, b"\0\0\x01x\x01k\0");
    for frame in frames(&recording("kv_basic"))
        .iter()
        .filter(|frame| frame.kind > 1)
    {
        bytes.extend(frame.bytes());
    }
    let refused = talk(&mut session, &bytes);
    assert_eq!((refused.said, refused.codes), (vec![(20, 40)], vec![404]));
    assert!(refused.messages.is_empty() && session.is_ready());
    // content nobody announced, a method on a channel that is not open, no frame at all
    let header = frames(&recording("kv_basic"))
        .into_iter()
        .find(|frame| frame.kind == 2);
    assert_eq!(
        talk(&mut ready(&house), &header.unwrap().bytes()).codes,
        [505]
    );
    let mut elsewhere = method(20, 40, b"\0\0\0\0\0\0\0");
    elsewhere[2] = 9;
    assert_eq!(talk(&mut ready(&house), &elsewhere).codes, [504]);
    assert_eq!(
        talk(&mut ready(&house), b"\x01\0\x01\0\0\0\x04\0\x32\0\x63\xce").codes,
        [502]
    );
    assert_eq!(
        talk(&mut ready(&house), b"\x01\0\x01\xff\xff\xff\xff").codes,
        [501]
    );
    assert!(talk(&mut Session::new(house, peer(None)), b"GET / HTTP/1.1\r\n").has_ended);
}

#[test]
fn limits_are_kept() {
    let house = behind(&[]);
    // a body of 33 MiB is refused by its header
    let mut bytes = method(60, 40, b"\0\0\0\x01k\0");
    let mut payload = vec![0, 60, 0, 0];
    payload.extend((33_u64 * 1024 * 1024).to_be_bytes());
    payload.extend([0, 0]);
    let raw = crate::broker_stand_in::Raw {
        kind: 2,
        channel: 1,
        payload,
    };
    bytes.extend(raw.bytes());
    assert_eq!(talk(&mut ready(&house), &bytes).codes, [311]);
    // tables nested beyond all measure are refused before anybody recurses into them
    let mut table: Vec<u8> = Vec::new();
    for _ in 0..10_000 {
        let mut outer = vec![1, b'k', b'F'];
        outer.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        outer.extend(&table);
        table = outer;
    }
    let mut rest = b"\0\0\x01q\0".to_vec();
    rest.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
    rest.extend(&table);
    assert_eq!(
        talk(&mut ready(&house), &method(50, 10, &rest)).codes,
        [502]
    );
    // queues by the thousand
    let mut session = ready(&house);
    let mut last = Talk::default();
    for number in 0..=DECLARED_MAX {
        let name = format!("q{number}");
        let mut rest = vec![0, 0, u8::try_from(name.len()).unwrap()];
        rest.extend(name.as_bytes());
        rest.extend([0, 0, 0, 0, 0]);
        last = talk(&mut session, &method(50, 10, &rest));
    }
    assert_eq!(last.codes, [506]);
}

#[test]
fn guest_comes_from_loopback_only_and_users_need_their_own_password() {
    let away = Peer {
        address: "192.0.2.1".parse().unwrap(),
        certificate: None,
    };
    let nobody = Users::default();
    assert!(
        nobody
            .log_in("PLAIN", b"\0guest\0guest", &peer(None))
            .is_some()
    );
    assert!(nobody.log_in("PLAIN", b"\0guest\0guest", &away).is_none());
    assert!(
        nobody
            .log_in("PLAIN", b"\0kompira\0kompira", &peer(None))
            .is_none()
    );
    let users = Users::new(vec![
        User {
            name: "a".to_owned(),
            password: Some(Secret::new("pw".to_owned())),
        },
        User {
            name: "only_certificate".to_owned(),
            password: None,
        },
    ]);
    assert_eq!(
        users.log_in("PLAIN", b"\0a\0pw", &away).as_deref(),
        Some("a")
    );
    for wrong in [
        &b"\0a\0"[..],
        b"\0a\0p",
        b"\0only_certificate\0",
        b"\0guest\0guest",
        b"a\0pw",
    ] {
        assert!(users.log_in("PLAIN", wrong, &peer(None)).is_none());
    }
    assert!(users.log_in("AMQPLAIN", b"\0a\0pw", &peer(None)).is_none());
}

#[test]
fn broken_conversations_never_panic() {
    let house = behind(&[]);
    let mut seeds: Vec<Vec<u8>> = all_recordings()
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    seeds.push(std::fs::read(format!("{DATA}/kompira/kv_basic.s2c.bin")).unwrap());
    each_mutation(&seeds, |bytes| {
        let mut session = Session::new(Arc::clone(&house), peer(Some("kompira")));
        for publication in talk(&mut session, bytes).messages {
            decode(publication.message, &seen());
        }
        // once more behind a good beginning, so that deeper places are reached
        let mut session = ready(&house);
        for publication in talk(&mut session, bytes).messages {
            decode(publication.message, &seen());
        }
    });
}

// the door itself, in a real server

fn house(port: u16, block: &str, channel: &str) -> House {
    let house = House::new();
    let toml = format!(
        "alias = [\"/system/channels/Alert\"]\n{channel}\n\n[[source]]\nkind = \"amqp_listen\"\n\
         listen = \"127.0.0.1:{port}\"\n{block}\n"
    );
    house.channel("alert", &toml);
    house.channel("Mail", "");
    house
}

/// A server whose door stands.
fn serve<'a>(house: &'a House, port: u16) -> Running<'a> {
    let server = house.serve();
    wait_for("the door", || TcpStream::connect(("127.0.0.1", port)).ok());
    server
}

fn events(server: &Running, channel: &str) -> Vec<Json> {
    let read = |number: usize| {
        let path = format!("/api/v1/events/{channel}%2F{number}");
        let answered = server.ask(&path, &[], None);
        (answered.status == 200).then(|| answered.json())
    };
    (1..).map_while(read).collect()
}

fn sendevt(house: &House, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sendevt"))
        .env_clear()
        .current_dir(house.path("channels"))
        .args(["--spool", house.path("away").to_str().unwrap()])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

#[test]
fn recordings_replayed_at_the_door_become_events_and_survive_a_kill() {
    let port = peers::free_port();
    let accounts = "[[source.user]]\nname = \"guest\"\npassword_file = \"guest\"\n\
        [[source.user]]\nname = \"kompira\"\npassword_file = \"kompira\"\n";
    let house = house(port, accounts, "");
    house.file("guest", "guest").file("kompira", "kompira");
    let mut sent = 0;
    {
        let server = serve(&house, port);
        for (name, bytes) in all_recordings() {
            if name == "user_only" {
                continue; // as `same`, whom nobody knows here
            }
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(&bytes).unwrap();
            let mut answers = Vec::new();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let is_unfinished = name.starts_with("tls_verify");
            if is_unfinished {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
            stream.read_to_end(&mut answers).unwrap();
            let last = frames(&answers).last().unwrap().method();
            let is_kept = last == Some((10, 51)) && !name.starts_with("testconn");
            sent += usize::from(is_kept);
        }
        // killed without a warning as `server` goes
        drop(server);
    }
    let server = serve(&house, port);
    let (alert, mail) = (events(&server, "alert"), events(&server, "Mail"));
    let unrouted = events(&server, "unrouted");
    assert_eq!(alert.len() + mail.len() + unrouted.len(), sent);
    assert_eq!((sent, mail.len(), unrouted.len()), (11, 2, 1));
    assert_eq!(unrouted[0]["meta"]["asked_channel"], "/home/guest/テスト");
    assert!(
        alert
            .iter()
            .any(|event| event["body"] == json!({"test": "hello"}))
    );
    // the same again is known by its id
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&recording("kv_basic")).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(events(&server, "alert").len(), alert.len());
}

#[test]
fn our_own_sender_is_served_in_the_clear_and_over_tls_with_a_certificate() {
    let port = peers::free_port();
    let clear = house(port, "", "");
    let server = serve(&clear, port);
    let at = format!("127.0.0.1:{port}");
    let said = sendevt(&clear, &["-s", &at, "--test-connection"]);
    assert_eq!(said, (0, "Connection OK: AMQP\n".to_owned()));
    assert_eq!(sendevt(&clear, &["-s", &at, "k=日本"]), (0, String::new()));
    assert_eq!(events(&server, "alert")[0]["body"], json!({"k": "日本"}));
    let (code, said) = sendevt(&clear, &["-s", &at, "--user", "u", "k=v"]);
    assert!(code == 1 && said.contains("ACCESS_REFUSED"), "{said}");
    drop(server);

    let port = peers::free_port();
    let pem = |name: &str| format!("{DATA}/amqps/{name}");
    let block = format!(
        "tls_cert = \"{}\"\ntls_key = \"{}\"\ntls_client_ca = \"{}\"\n\
         [[source.user]]\nname = \"kompira\"\n",
        pem("server.pem"),
        pem("server.key"),
        pem("ca.pem")
    );
    let secure = house(port, &block, "");
    let server = serve(&secure, port);
    let at = format!("localhost:{port}");
    let (ca, certificate, key) = (pem("ca.pem"), pem("client.pem"), pem("client.key"));
    let args = ["-s", &at, "--ssl", "--ssl-verify", "--ssl-cacertfile", &ca];
    let own = ["--ssl-certfile", &certificate, "--ssl-keyfile", &key, "k=v"];
    assert_eq!(
        sendevt(&secure, &[&args[..], &own].concat()),
        (0, String::new())
    );
    let event = &events(&server, "alert")[0];
    assert_eq!(event["meta"]["peer"], "kompira@127.0.0.1");
    assert_eq!(event["meta"]["headers"]["ssl"], "TLSv1.3");
    // without a certificate there is no password that would do
    let (code, said) = sendevt(&secure, &[&args[..], &["k=v"]].concat());
    assert!(code == 1 && said.contains("ACCESS_REFUSED"), "{said}");
}

#[test]
fn a_full_channel_is_told_and_nothing_is_lost() {
    let port = peers::free_port();
    let house = house(port, "", "depth_max = 1");
    let server = serve(&house, port);
    let at = format!("127.0.0.1:{port}");
    let args = ["-s", &at, "--max-retry", "0"];
    assert_eq!(sendevt(&house, &[&args[..], &["k=1"]].concat()).0, 0);
    let (code, said) = sendevt(&house, &[&args[..], &["k=2"]].concat());
    assert!(
        code == 0 && said.contains("could not keep") && said.contains("kept in"),
        "{said}"
    );
    // a sender without confirms is cut off instead of being told that all is well
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&recording("kv_basic")).unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    let methods: Vec<_> = frames(&answers)
        .iter()
        .filter_map(|frame| frame.method())
        .collect();
    assert!(methods.contains(&(10, 50)), "{methods:?}");
    assert!(!methods.contains(&(20, 41)), "{methods:?}");
    assert_eq!(events(&server, "alert").len(), 1);
}

#[test]
fn whoever_brings_more_than_the_pace_of_a_source_is_told_and_may_come_again() {
    let port = peers::free_port();
    let house = house(port, "events_per_second_max = 1", "");
    let server = serve(&house, port);
    // They come at the same time, so most of them come too early; without confirms that is a cut.
    let senders: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&recording("kv_basic")).unwrap();
            stream
        })
        .collect();
    let mut cut = 0;
    for mut stream in senders {
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        let said = String::from_utf8_lossy(&answers);
        let why = "source `alert/amqp_listen` brings more than 1 events a second";
        cut += usize::from(said.contains(why));
    }
    assert!(cut >= 10, "only {cut} of 20 came too early");
    assert_eq!(events(&server, "alert").len(), 20 - cut);
    let at = format!("127.0.0.1:{port}");
    let args = ["-s", &at, "--max-retry", "0", "k=1"];
    wait_for("a turn", || {
        let (code, said) = sendevt(&house, &args);
        (code == 0 && !said.contains("could not keep")).then_some(())
    });
    assert_eq!(events(&server, "alert").len(), 21 - cut);
}

const PIKA: &str = r#"
import json, sys, pika
port = int(sys.argv[1])
parameters = pika.ConnectionParameters("127.0.0.1", port, "canopsis", pika.PlainCredentials("guest", "guest"))
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
channel.confirm_delivery()
channel.exchange_declare(exchange="canopsis.events", exchange_type="topic", durable=True, auto_delete=False)
event = {"connector": "c", "connector_name": "n", "event_type": "check", "source_type": "resource",
         "component": "web01", "resource": "cpu", "state": 2, "output": "日本"}
key = "c.n.check.resource.web01.cpu"
channel.basic_publish("canopsis.events", key, json.dumps(event),
    pika.BasicProperties(content_type="application/json", delivery_mode=2, headers={"x": [1, {"y": None}]}))
channel.queue_declare("task_queue", durable=True)
for number in range(100):
    channel.basic_publish("", "task_queue", b"%d" % number, pika.BasicProperties(headers={"channel": "Mail"}), mandatory=True)
try:
    channel.basic_consume("task_queue", lambda *_: None)
    channel.start_consuming()
    print("consumed")
except pika.exceptions.ConnectionClosedByBroker as closed:
    print(closed.reply_code)
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
try:
    channel.tx_select()
    print("began")
except pika.exceptions.ConnectionClosedByBroker as closed:
    print(closed.reply_code)
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
try:
    channel.queue_declare("nobody", passive=True)
except pika.exceptions.ChannelClosedByBroker as closed:
    print(closed.reply_code)
channel = connection.channel()
channel.basic_publish("", "x", b"last")
connection.close()
"#;

#[test]
fn pika_publishes_as_canopsis_send_event_does() {
    peers::need("pika");
    let port = peers::free_port();
    let house = house(port, "virtual_hosts = [\"/\", \"canopsis\"]", "");
    let server = serve(&house, port);
    let script = house.path("publish.py");
    std::fs::write(&script, PIKA).unwrap();
    let mut command = Command::new("/usr/bin/python3");
    let said = peers::run(command.arg(&script).arg(port.to_string()));
    assert_eq!(said, "540\n540\n404\n");
    let alert = events(&server, "alert");
    assert_eq!(alert[0]["body"]["output"], "日本");
    assert_eq!(
        alert[0]["meta"]["routing_key"],
        "c.n.check.resource.web01.cpu"
    );
    assert_eq!(alert[0]["meta"]["exchange"], "canopsis.events");
    assert_eq!(alert[0]["meta"]["headers"], json!({"x": [1, {"y": null}]}));
    assert_eq!(alert.len(), 2);
    assert_eq!(events(&server, "Mail").len(), 100);
}

#[test]
fn lapin_publishes_and_hears_of_every_message() {
    let port = peers::free_port();
    let house = house(port, "", "");
    let server = serve(&house, port);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = async {
        let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let connection = Connection::connect(&url, ConnectionProperties::default());
        let connection = connection.await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare("q".into(), durable, FieldTable::default())
            .await
            .unwrap();
        let mut confirms = Vec::new();
        for number in 0..1_000 {
            let body = format!("{{\"n\":{number}}}");
            let properties =
                BasicProperties::default().with_content_type("application/json".into());
            let options = BasicPublishOptions::default();
            let published =
                channel.basic_publish("".into(), "q".into(), options, body.as_bytes(), properties);
            confirms.push(published.await.unwrap());
        }
        for confirm in confirms {
            assert!(matches!(confirm.await.unwrap(), Confirmation::Ack(_)));
        }
        let consume = BasicConsumeOptions::default();
        let refused = channel.basic_consume("q".into(), "t".into(), consume, FieldTable::default());
        assert!(
            refused
                .await
                .unwrap_err()
                .to_string()
                .contains("NOT_IMPLEMENTED")
        );
    };
    let served = runtime.block_on(async { tokio::time::timeout(PATIENCE, client).await });
    served.expect("the client waits for an answer");
    let numbers: Vec<i64> = events(&server, "alert")
        .iter()
        .map(|event| event["body"]["n"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, (0..1_000).collect::<Vec<i64>>());
}

#[test]
fn the_door_closes_politely_and_bad_clients_hold_nobody() {
    let port = peers::free_port();
    let house = house(port, "", "");
    let server = serve(&house, port);
    let mut garbage = TcpStream::connect(("127.0.0.1", port)).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    garbage.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"AMQP\0\0\x09\x01");
    // one that is in the middle of something when the server stops
    let mut idle = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let recorded = recording("kv_basic");
    idle.write_all(&recorded[..recorded.len() - 60]).unwrap();
    // The door has met it, and owes it a goodbye.
    let mut answers = vec![0; 1];
    idle.read_exact(&mut answers).unwrap();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(20));
    let _ = idle.read_to_end(&mut answers);
    assert_eq!(frames(&answers).last().unwrap().method(), Some((10, 50)));
}

#[test]
fn mistakes_in_the_block_are_told() {
    for (block, told) in [
        ("listen = \"0.0.0.0:5672\"", "without an account"),
        (
            "listen = \"0.0.0.0:5672\"\n[[source.user]]\nname = \"a\"\npassword_env = \"HOME\"",
            "in the clear",
        ),
        ("listen = \"127.0.0.1:1\"\ntls_cert = \"x\"", "go together"),
        (
            "listen = \"127.0.0.1:1\"\ntls_client_ca = \"x\"",
            "needs `tls_cert`",
        ),
        ("listen = \"nowhere\"", "listen"),
        ("listn = \"127.0.0.1:1\"", "did you mean `listen`?"),
    ] {
        let house = House::new();
        house.channel(
            "alert",
            &format!("[[source]]\nkind = \"amqp_listen\"\n{block}\n"),
        );
        let output = house.run(&["check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{block}");
        assert!(said.contains(told), "{block}: {said}");
    }
}
