//! A Broker, played back, at the door of the real server: cut, killed, silent, packed and encrypted.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value as Json, json};
use vigie::source::bbdo::frame::{Deframer, Frame, Label};
use vigie::source::bbdo::handshake::{Greeting, Layers, Version};
use vigie::source::bbdo::squeeze::{Unpacker, pack};

use crate::bbdo_frames::{frames, recording};
use crate::house::{House, Running, stderr, wait_for};
use crate::peers::free_port;
use crate::sources::{events, row};

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// One connection of a Broker.
pub struct Broker {
    stream: Box<dyn Stream>,
    deframer: Deframer,
    unpacker: Option<Unpacker>,
    /// Events that were acknowledged on it.
    acknowledged: u32,
}

fn connect(port: u16) -> TcpStream {
    let stream = wait_for("the door", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

impl Broker {
    fn new(stream: impl Stream + 'static) -> Broker {
        Broker {
            stream: Box::new(stream),
            deframer: Deframer::default(),
            unpacker: None,
            acknowledged: 0,
        }
    }

    /// Connects and says `greeting`.
    pub fn greet(port: u16, greeting: &Frame) -> Broker {
        Broker::greet_over(connect(port), greeting)
    }

    /// The same on a connection that is there.
    pub fn greet_over(stream: TcpStream, greeting: &Frame) -> Broker {
        let mut broker = Broker::new(stream);
        broker.send(&greeting.packets());
        let answer = broker.hear().unwrap();
        let (ours, theirs) = (Greeting::read(greeting), Greeting::read(&answer));
        assert_eq!(ours.unwrap().version, theirs.unwrap().version);
        broker
    }

    pub fn send(&mut self, bytes: &[u8]) {
        match self.unpacker {
            Some(_) => self.stream.write_all(&pack(bytes)).unwrap(),
            None => self.stream.write_all(bytes).unwrap(),
        }
    }

    /// The next frame; `None` once the other end has closed.
    fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.deframer.take().unwrap() {
                return Some(frame);
            }
            let mut bytes = [0; 4_096];
            let count = self
                .stream
                .read(&mut bytes)
                .ok()
                .filter(|count| *count > 0)?;
            match &mut self.unpacker {
                None => self.deframer.push(&bytes[..count]),
                Some(unpacker) => {
                    unpacker.push(&bytes[..count]);
                    while let Some(plain) = unpacker.take().unwrap() {
                        self.deframer.push(&plain);
                    }
                }
            }
        }
    }

    /// Hears one acknowledgement; false if there is none any more.
    fn hear_acknowledgement(&mut self) -> bool {
        let Some(frame) = self.hear() else {
            return false;
        };
        assert_eq!((frame.label.category, frame.label.element), (2, 2));
        self.acknowledged += u32::from_be_bytes(frame.payload[..].try_into().unwrap());
        true
    }

    /// Events that were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged as usize
    }

    /// Hears acknowledgements until there are so many, or until the other end closes.
    pub fn hear_until(&mut self, events: usize) {
        while self.acknowledged() < events && self.hear_acknowledgement() {}
    }

    pub fn is_acknowledged(&mut self, events: usize) {
        while (self.acknowledged as usize) < events {
            assert!(
                self.hear_acknowledgement(),
                "closed at {}",
                self.acknowledged
            );
        }
        assert_eq!(self.acknowledged as usize, events);
    }
}

/// Everything that a Broker says.
pub const ALL: &str = "[source.filter]\naccepted_elements = [\"*\"]\n";

/// What stream connectors do unless they are told otherwise.
const AS_CONNECTORS: &[(&str, &str)] = &[
    ("accepted_categories", "[\"neb\", \"bam\"]"),
    (
        "accepted_elements",
        "[\"host_status\", \"service_status\", \"ba_status\"]",
    ),
    ("host_status", "[0, 1, 2]"),
    ("service_status", "[0, 1, 2, 3]"),
    ("hard_only", "true"),
    ("acknowledged", "false"),
    ("in_downtime", "false"),
    ("flapping", "false"),
    ("skip_anon_events", "true"),
    ("skip_nil_id", "true"),
    ("skip_downtime_progress", "true"),
    ("enable_bam_host", "false"),
    ("enable_host_status_dedup", "true"),
    ("enable_service_status_dedup", "true"),
];

pub fn house(keys: &str) -> (House, u16) {
    house_with(&format!("{keys}{ALL}"))
}

pub fn house_with(keys: &str) -> (House, u16) {
    let port = free_port();
    let house = House::new();
    let block = format!("[[source]]\nkind = \"bbdo\"\nlisten = \"127.0.0.1:{port}\"\n{keys}");
    house.channel("centreon", &block);
    (house, port)
}

pub fn greeting(recorded: &str) -> Frame {
    frames(&recording(recorded)).remove(0)
}

/// A status of the younger generation, checked at `last_check`.
pub fn status(last_check: u64) -> Frame {
    let mut payload = vec![0x08, 101, 0x10, 100, 0x28, 2, 0x30, 1, 0xA8, 1];
    let mut rest = last_check;
    while rest >= 0x80 {
        payload.push(0x80 | (rest & 0x7F) as u8);
        rest >>= 7;
    }
    payload.push(rest as u8);
    payload.extend([0x72, 9]);
    payload.extend("障害 €".as_bytes()[..9].iter());
    Frame {
        label: Label::new(1, 29),
        payload,
    }
}

pub fn packets(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::packets).collect()
}

pub fn kept(server: &Running, wanted: usize) -> Vec<Json> {
    wait_for(&format!("{wanted} events"), || {
        let channels = server.get("channels");
        (channels["channels"][0]["kept"] == json!(wanted)).then_some(())
    });
    events(server, "centreon")
}

fn last_error(server: &Running) -> String {
    let row = row(server, "centreon/bbdo").unwrap();
    row["last_error"].as_str().unwrap_or("").to_owned()
}

#[test]
fn recordings_of_both_generations_become_events_and_are_acknowledged() {
    for name in ["A200.c1", "A301.c1", "E200.c1", "E301.c1"] {
        let (house, port) = house("");
        let server = house.serve();
        let sent = frames(&recording(name));
        let said = sent.iter().filter(|one| one.label.category != 2).count();
        let mut broker = Broker::greet(port, &sent[0]);
        for frame in &sent[1..] {
            broker.send(&frame.packets());
        }
        broker.is_acknowledged(said);
        let is_stopped = matches!(
            sent.last().unwrap().label,
            Label {
                category: 2,
                element: 3 | 9,
                ..
            }
        );
        if is_stopped {
            // The stop is answered even if there is nothing left to acknowledge.
            let row = row(&server, "centreon/bbdo").unwrap();
            assert_eq!(row["state"], "up", "{row}");
        }
        let row = row(&server, "centreon/bbdo").unwrap();
        assert_eq!(
            row["events"].as_u64(),
            Some(events(&server, "centreon").len() as u64)
        );
        let first = server.get("events/centreon%2F1");
        assert_eq!(first["body"]["kind"], "instance_broadcast", "{first}");
        assert_eq!(first["meta"]["source"], "bbdo");
        assert_eq!(first["meta"]["source_id"], 1);
        let all = events(&server, "centreon");
        let kinds = ["service_status", "host", "service", "instance"];
        for kind in kinds {
            assert!(
                all.iter().any(|body| body["kind"] == kind),
                "{name}: {kind}"
            );
        }
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn a_stop_is_answered_even_if_nothing_is_left_to_acknowledge() {
    for element in [3, 9] {
        let (house, port) = house("");
        let server = house.serve();
        let mut broker = Broker::greet(port, &greeting("A301.c1"));
        let stop = Frame {
            label: Label::new(2, element),
            payload: Vec::new(),
        };
        broker.send(&stop.packets());
        assert!(broker.hear_acknowledgement());
        assert_eq!(broker.acknowledged, 0);
        broker.send(&packets(&[status(1), stop]));
        broker.is_acknowledged(1);
        drop(server);
    }
}

#[test]
fn what_is_sent_again_after_a_cut_is_one_event() {
    let (house, port) = house("");
    let server = house.serve();
    let all: Vec<Frame> = (1..=40).map(status).collect();
    let mut broker = Broker::greet(port, &greeting("A301.c1"));
    let bytes = packets(&all[..20]);
    // In the middle of the last one, which is therefore not acknowledged.
    broker.send(&bytes[..bytes.len() - 5]);
    broker.is_acknowledged(19);
    drop(broker);
    // A Broker that lost all acknowledgements.
    let mut broker = Broker::greet(port, &greeting("A301.c1"));
    broker.send(&packets(&all));
    broker.is_acknowledged(40);
    let bodies = kept(&server, 40);
    let times: Vec<i64> = bodies
        .iter()
        .map(|body| body["last_check"].as_i64().unwrap())
        .collect();
    assert_eq!(times, (1..=40).collect::<Vec<i64>>());
    // The same bytes twice in one conversation are two events: a downtime that came and went.
    broker.send(&packets(&[status(41), status(42), status(41)]));
    broker.is_acknowledged(43);
    kept(&server, 43);
    let mut broker = Broker::greet(port, &greeting("A301.c1"));
    broker.send(&packets(&[status(41), status(42), status(41)]));
    broker.is_acknowledged(3);
    kept(&server, 43);
}

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kill_9() {
    const ALL: usize = 1_500;
    let (house, port) = house("");
    let all: Vec<Frame> = (1..=ALL as u64).map(status).collect();
    let mut safe = 0;
    for round in 1.. {
        let server = house.serve();
        let mut broker = Broker::greet(port, &greeting("A301.c1"));
        let rest = packets(&all[safe..]);
        let pause = (round * 7_919) % rest.len().max(1);
        let early = round < 6;
        broker.send(&rest[..if early { pause } else { rest.len() }]);
        match early {
            // After the first word or two of it, the rest being on its way.
            true => {
                while broker.acknowledged == 0 && pause > 3_000 && broker.hear_acknowledgement() {}
            }
            false => broker.is_acknowledged(ALL - safe),
        }
        safe += broker.acknowledged as usize;
        if early {
            server.kill();
            continue;
        }
        let bodies = kept(&server, ALL);
        let times: Vec<u64> = bodies
            .iter()
            .map(|body| body["last_check"].as_u64().unwrap())
            .collect();
        assert_eq!(times, (1..=ALL as u64).collect::<Vec<u64>>());
        break;
    }
}

#[test]
fn a_full_channel_withholds_acknowledgements_and_loses_nothing() {
    let (house, port) = house("");
    let text = std::fs::read_to_string(house.path("channels/centreon.toml")).unwrap();
    house.channel("centreon", &format!("depth_max = 30\n{text}"));
    house.flow("centreon/look", "print(event.last_check);");
    let server = house.serve();
    assert!(server.verb(&["pause", "centreon"]).status.success());
    let all: Vec<Frame> = (1..=70).map(status).collect();
    let socket = connect(port);
    let probe = socket.try_clone().unwrap();
    let mut broker = Broker::new(socket);
    broker.send(&greeting("A301.c1").packets());
    broker.hear().unwrap();
    broker.send(&packets(&all));
    wait_for("the channel to be full", || {
        last_error(&server).contains("full").then_some(())
    });
    kept(&server, 30);
    probe.set_nonblocking(true).unwrap();
    let early = probe.peek(&mut [0]).map_err(|why| why.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
    probe.set_nonblocking(false).unwrap();
    assert!(server.verb(&["resume", "centreon"]).status.success());
    broker.is_acknowledged(70);
    kept(&server, 70);
}

#[test]
fn who_is_no_broker_is_sent_away() {
    let (house, port) = house("");
    let server = house.serve();
    let began = Instant::now();
    let mut silent = Broker::new(connect(port));
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &packets(&[status(1)]),
    ] {
        let mut foreign = Broker::new(connect(port));
        foreign.send(bytes);
        assert_eq!(foreign.hear(), None);
        wait_for("the complaint", || {
            last_error(&server)
                .contains("did not begin with its BBDO version")
                .then_some(())
        });
    }
    assert_eq!(silent.hear(), None);
    assert!(
        began.elapsed() >= Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    wait_for("the complaint", || {
        last_error(&server)
            .contains("did not say its version in 3 s")
            .then_some(())
    });
    // The door stands, and a Broker gets in.
    let mut broker = Broker::greet(port, &greeting("A200.c1"));
    broker.send(&status(1).packets());
    broker.is_acknowledged(1);
}

#[test]
fn garbage_in_the_stream_is_passed_over_and_told() {
    let (house, port) = house("");
    let server = house.serve();
    let mut broker = Broker::greet(port, &greeting("A301.c1"));
    let mut broken = status(2).packets();
    broken[1] ^= 1;
    broker.send(&[status(1).packets(), broken, status(3).packets()].concat());
    broker.is_acknowledged(2);
    wait_for("the complaint", || {
        last_error(&server)
            .contains("bytes that are no BBDO")
            .then_some(())
    });
    assert_eq!(kept(&server, 2)[1]["last_check"], 3);
    // What came before it is kept, however much of it there is.
    broker.send(&[status(4).packets(), vec![0x55; 400_000]].concat());
    broker.is_acknowledged(3);
    assert_eq!(broker.hear(), None);
}

#[test]
fn a_broker_that_waits_to_be_called_is_called_again_and_again() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let house = House::new();
    house.channel(
        "centreon",
        &format!("[[source]]\nkind = \"bbdo\"\nconnect = \"{address}\"\n{ALL}"),
    );
    let server = house.serve();
    assert_eq!(server.ask("/readyz", &[], None).text, "ready\n");
    for round in 1..=2 {
        let (stream, _) = socket.accept().unwrap();
        let mut broker = Broker::new(stream);
        let offer = Greeting::read(&broker.hear().unwrap()).unwrap();
        assert_eq!(offer.version, Version::YOUNGEST);
        broker.send(&greeting("A301.c1").packets());
        broker.send(&packets(&[status(1), status(2), status(2 + round)]));
        broker.is_acknowledged(3);
    }
    kept(&server, 4);
    // One that speaks another generation: what to do is said.
    let (stream, _) = socket.accept().unwrap();
    let mut broker = Broker::new(stream);
    broker.hear().unwrap();
    broker.send(&greeting("A200.c1").packets());
    assert_eq!(broker.hear(), None);
    wait_for("the advice", || {
        last_error(&server)
            .contains("set `version` to the peer's")
            .then_some(())
    });
}

#[test]
fn tls_lies_beneath_compression() {
    let keys = format!("tls_cert = \"{TLS}/server.pem\"\ntls_key = \"{TLS}/server.key\"\n");
    let (house, port) = house(&keys);
    let server = house.serve();
    let layers = Layers {
        tls: true,
        compression: true,
    };
    let greeting = Greeting::frame(Version::YOUNGEST, layers);
    let mut stream = connect(port);
    stream.write_all(&greeting.packets()).unwrap();
    // Not a byte of what comes after the greeting may be read without TLS.
    let mut answer = vec![0; greeting.packets().len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, greeting.packets());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(format!("{TLS}/ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut broker = Broker::new(StreamOwned::new(client, stream));
    broker.unpacker = Some(Unpacker::default());
    let all: Vec<Frame> = (1..=9).map(status).collect();
    broker.send(&packets(&all));
    broker.is_acknowledged(9);
    kept(&server, 9);
    // Who does not offer it is told what to set.
    let mut clear = Broker::new(connect(port));
    clear.send(&self::greeting("A301.c1").packets());
    assert_eq!(clear.hear(), None);
    wait_for("the advice", || {
        last_error(&server)
            .contains("does not offer TLS")
            .then_some(())
    });
}

#[test]
fn names_are_joined_and_known_after_kill_9() {
    let (house, port) = house("");
    let server = house.serve();
    let sent = frames(&recording("E301.c1"));
    let is_status = |frame: &&Frame| matches!(frame.label.element, 29 | 32);
    let (status, rest): (Vec<&Frame>, Vec<&Frame>) = sent[1..]
        .iter()
        .filter(|frame| frame.label.category != 2)
        .partition(is_status);
    let mut broker = Broker::greet(port, &sent[0]);
    for frame in &rest {
        broker.send(&frame.packets());
    }
    broker.is_acknowledged(rest.len());
    server.kill();
    let server = house.serve();
    let mut broker = Broker::greet(port, &sent[0]);
    for frame in &status {
        broker.send(&frame.packets());
    }
    broker.is_acknowledged(status.len());
    let all = events(&server, "centreon");
    let of = |kind: &str| {
        all.iter()
            .filter(|body| body["kind"] == kind)
            .collect::<Vec<_>>()
    };
    let (hosts, services) = (of("host_status"), of("service_status"));
    assert_eq!(hosts.len() + services.len(), status.len());
    for body in hosts.iter().chain(&services) {
        let name = body["host_name"].as_str().unwrap();
        assert!(["srv-web-01", "sw-core-02"].contains(&name), "{body}");
        assert_eq!(body["poller"], "Central", "{body}");
    }
    for body in &services {
        assert_ne!(body["service_description"], "unknown", "{body}");
    }
    let web = hosts
        .iter()
        .find(|body| body["host_name"] == "srv-web-01")
        .unwrap();
    assert_eq!(
        web["host_groups"],
        json!(["Europe", "Linux-Servers"]),
        "{web}"
    );
    assert_eq!(web["host_severity"], 3, "{web}");
    let disk = services
        .iter()
        .find(|body| body["service_description"] == "Disk-/var");
    assert_eq!(disk.unwrap()["service_groups"], json!(["Disks"]));
    // Changed while the Engine ran.
    assert_eq!(disk.unwrap()["service_severity"], 4);
    // What has no definition is said to be unknown, and is an event all the same.
    let mut broker = Broker::greet(port, &sent[0]);
    broker.send(&self::status(1).packets());
    broker.is_acknowledged(1);
    let last = events(&server, "centreon").pop().unwrap();
    assert_eq!(last["service_description"], "unknown", "{last}");
    let metrics = server.ask("/metrics", &[], None).text;
    let counted = "vigie_source_unknown_names_total{source=\"centreon/bbdo\",kind=\"bbdo\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn what_a_filter_does_not_want_is_acknowledged_and_not_kept() {
    let hard = |keys: &str| filtered("E301.c1", &as_connectors(keys));
    let all = hard("");
    assert!(!all.is_empty());
    for body in &all {
        assert!(["host_status", "service_status"].contains(&body["kind"].as_str().unwrap()));
        assert_eq!(body["state_type"], 1, "{body}");
        assert_eq!(body["acknowledged"], false, "{body}");
        assert_eq!(body["scheduled_downtime_depth"], 0, "{body}");
        let changed = body["last_hard_state_change"].as_i64().unwrap();
        let late = (changed - body["last_check"].as_i64().unwrap()).abs();
        assert!(late <= 20, "{body}");
    }
    let count = |keys: &str| hard(keys).len();
    let web = |body: &&Json| body["host_name"] == "srv-web-01";
    assert_eq!(
        count("accepted_hosts = [\"^srv-\"]"),
        all.iter().filter(web).count()
    );
    let linux = count("accepted_hostgroups = [\"Linux-Servers\"]");
    let others = count("rejected_hostgroups = [\"Linux-Servers\"]");
    assert_eq!(linux + others, all.len());
    assert_eq!(count("accepted_pollers = [\"Nowhere\"]"), 0);
    assert_eq!(count("accepted_pollers = [\"*\"]"), all.len());
    assert_eq!(count("host_severity_threshold = 0"), 0);
    let soft = count(
        "hard_only = false\nenable_service_status_dedup = false\nenable_host_status_dedup = false",
    );
    assert!(soft > all.len(), "{soft} {}", all.len());
    let elements = "accepted_elements = [\"acknowledgement\", \"downtime\"]\n";
    let told = hard(elements);
    assert!(told.iter().any(|body| body["kind"] == "downtime"));
    let author = told[0]["author"].as_str().unwrap();
    let mine = told.iter().filter(|body| body["author"] == author).count();
    assert_eq!(
        count(&format!("{elements}accepted_authors = [\"{author}\"]")),
        mine
    );
}

#[test]
fn every_mistake_in_a_block_is_told_with_its_place_and_advice() {
    let wrong = [
        ("listn = \"[::]:5669\"", "3:1", "did you mean `listen`?"),
        ("listen = \"5669\"", "3:10", "for example [::]:5669"),
        ("listen = \"[::]:1\"\nconnect = \"a:1\"", "4:11", "not both"),
        ("connect = \"central\"", "3:11", "no host and port"),
        (
            "connect = \"a:1\"\nversion = \"4.0.0\"",
            "4:11",
            "2.0.0, 3.0.0 or 3.0.1",
        ),
        ("version = \"3.0.0\"", "3:11", "goes with `connect`"),
        ("tls_cert = \"a.pem\"", "3:12", "`tls_cert` needs `tls_key`"),
        ("tls_ca = \"a.pem\"", "3:10", "goes with `connect`"),
        (
            "tls_client_ca = \"a.pem\"",
            "3:17",
            "needs `tls_cert` and `tls_key`",
        ),
        ("listen = \"[::]:5669\"", "3:10", "`plaintext = true`"),
        (
            "[source.filter]\naccepted_elements = [\"host_statsu\"]",
            "4:",
            "did you mean `host_status`?",
        ),
        (
            "[source.filter]\naccepted_categories = [\"nebb\"]",
            "4:",
            "they are neb, storage, bam",
        ),
        (
            "[source.filter]\nhost_status = [\"down\"]",
            "4:",
            "a state is a number",
        ),
        (
            "listen = \"[::]:5669\"\ntls_cert = \"a.pem\"\ntls_key = \"a.key\"",
            "3:10",
            "set `tls_client_ca`",
        ),
        (
            "tls_cert = \"a.pem\"\ntls_key = \"a.key\"",
            "",
            "a.pem for TLS",
        ),
    ];
    for (block, place, message) in wrong {
        let house = House::new();
        house.channel(
            "centreon",
            &format!("[[source]]\nkind = \"bbdo\"\n{block}\n"),
        );
        let output = house.run(&["check"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{block}: {said}");
        assert!(said.contains(message), "{block}: {said}");
        assert!(
            place.is_empty() || said.contains(&format!("centreon.toml:{place}")),
            "{block}: {said}"
        );
    }
}

#[test]
fn a_broker_that_comes_back_sends_again_what_is_one_event_also_after_kill_9() {
    let (house, port) = house("");
    let server = house.serve();
    let (first, second) = (
        frames(&recording("RECON.c1")),
        frames(&recording("RECON.c2")),
    );
    let events_of = |frames: &[Frame]| {
        let is_event = |frame: &&Frame| frame.label.category != 2;
        frames
            .iter()
            .filter(is_event)
            .cloned()
            .collect::<Vec<Frame>>()
    };
    let (early, again) = (events_of(&first), events_of(&second));
    assert!(early.iter().any(|frame| again.contains(frame)));
    let mut broker = Broker::greet(port, &first[0]);
    broker.send(&packets(&early));
    broker.is_acknowledged(early.len());
    server.kill();
    let server = house.serve();
    let mut broker = Broker::greet(port, &second[0]);
    broker.send(&packets(&again));
    broker.is_acknowledged(again.len());
    let news = again.iter().filter(|frame| !early.contains(frame));
    let twice = |kind: &str| {
        let all = events(&server, "centreon");
        all.into_iter().filter(|body| body["kind"] == kind).count()
    };
    let is_status = |frame: &&Frame| frame.label.category == 1 && frame.label.element == 29;
    let sent = early.iter().filter(is_status).count() + news.filter(is_status).count();
    assert!(sent > 0);
    assert_eq!(twice("service_status"), sent);
}

#[test]
fn an_acknowledgement_is_known_again_by_its_objects_and_its_entry_time() {
    let (house, port) = house("");
    let server = house.serve();
    let acknowledgement = |entry: u8| Frame {
        label: Label::new(1, 45),
        payload: vec![0x08, 101, 0x10, 100, 0x20, 1, 0x48, entry],
    };
    for _ in 0..2 {
        let mut broker = Broker::greet(port, &greeting("A301.c1"));
        broker.send(&packets(&[acknowledgement(7), acknowledgement(8)]));
        broker.is_acknowledged(2);
    }
    let bodies = kept(&server, 2);
    let times: Vec<&Json> = bodies.iter().map(|body| &body["entry_time"]).collect();
    assert_eq!(times, [&json!(7), &json!(8)]);
}

/// The keys of a stream connector, but for those that are given otherwise.
fn as_connectors(keys: &str) -> String {
    let mut all: toml::Table = keys.parse().unwrap();
    for (name, value) in AS_CONNECTORS {
        let usual: toml::Table = format!("{name} = {value}").parse().unwrap();
        all.entry(*name).or_insert(usual[*name].clone());
    }
    all.to_string()
}

/// What is kept of a recording under these keys of a filter.
fn filtered(name: &str, keys: &str) -> Vec<Json> {
    let (house, port) = house_with(&format!("[source.filter]\n{keys}"));
    let server = house.serve();
    let sent = frames(&recording(name));
    let said = sent.iter().filter(|one| one.label.category != 2).count();
    let mut broker = Broker::greet(port, &sent[0]);
    broker.send(&packets(&sent[1..]));
    broker.is_acknowledged(said);
    events(&server, "centreon")
}

#[test]
fn of_a_downtime_its_start_and_its_end_pass_if_its_object_has_such_a_state() {
    let only = "accepted_elements = [\"downtime\"]\n";
    let filtered = |name: &str, keys: &str| filtered(name, &as_connectors(keys));
    let told = filtered("E301.c1", only);
    assert!(!told.is_empty());
    for body in &told {
        let has_ended = !body["deletion_time"].is_null();
        let starts = !body["actual_start_time"].is_null() && body["actual_end_time"].is_null();
        assert!(has_ended || starts, "{body}");
    }
    let every = filtered(
        "E301.c1",
        &format!("{only}skip_downtime_progress = false\n"),
    );
    assert!(every.len() > told.len());
    // A start counts only in such a state; the end of what started before is never held back.
    let nothing = "dt_host_status = [9]\ndt_service_status = [9]\n";
    let none = filtered("E301.c1", &format!("{only}{nothing}"));
    assert!(none.len() < told.len());
    assert!(none.iter().all(|body| !body["deletion_time"].is_null()));
    let all = filtered("E301.c1", &format!("{only}dt_host_status = [\"*\"]\n"));
    assert_eq!(all.len(), told.len());
}

#[test]
fn metrics_pass_by_their_names_and_states_may_be_all() {
    let metric = "accepted_categories = [\"storage\"]\naccepted_elements = [\"metric\"]\n";
    let all = filtered("A301.c1", metric);
    assert!(!all.is_empty());
    let named = |pattern: &str| {
        filtered(
            "A301.c1",
            &format!("{metric}accepted_metrics = [{pattern}]\n"),
        )
        .len()
    };
    assert_eq!(named("\"^used\""), all.len());
    assert_eq!(named("\"^nothing\""), 0);
    let some = filtered("A301.c1", "service_status = [0]\n");
    let all = filtered("A301.c1", "service_status = [\"*\"]\n");
    assert!(all.len() > some.len());
    assert_eq!(all, filtered("A301.c1", ""));
}

/// An event without its names, to compare what is kept of it.
type Shown = Vec<(String, Json, Json)>;

fn shown(bodies: &[Json]) -> Shown {
    let one = |body: &Json| {
        let kind = body["kind"].as_str().unwrap().to_owned();
        (kind, body["host_id"].clone(), body["last_check"].clone())
    };
    bodies.iter().map(one).collect()
}

#[test]
fn a_key_that_is_absent_filters_nothing() {
    for name in ["E301.c1", "A301.c1", "A200.c1"] {
        let sent = frames(&recording(name));
        let said = sent.iter().filter(|one| one.label.category != 2).count();
        let all = filtered(name, "");
        assert_eq!(all.len(), said, "{name}");
        let every: String = AS_CONNECTORS
            .iter()
            .map(|(key, _)| wide_open(key))
            .collect();
        assert_eq!(shown(&filtered(name, &every)), shown(&all), "{name}");
    }
}

/// A key with the value that lets everything pass.
fn wide_open(key: &str) -> String {
    let value = match key {
        _ if key.starts_with("accepted_") || key.ends_with("_status") => "[\"*\"]",
        "acknowledged" | "in_downtime" | "flapping" | "enable_bam_host" => "true",
        _ => "false",
    };
    format!("{key} = {value}\n")
}

#[test]
fn states_of_acknowledgements_and_downtimes_are_those_of_their_own_keys() {
    let count = |keys: &str| filtered("E301.c1", keys).len();
    // One of a host that is down, given and taken back.
    let only = "accepted_elements = [\"acknowledgement\"]\nhost_status = [0]\n";
    for (keys, wanted) in [
        ("", 2),
        ("ack_host_status = []", 0),
        ("ack_host_status = [0]", 0),
        ("ack_host_status = [1]", 2),
        ("ack_service_status = [0]", 2),
    ] {
        assert_eq!(count(&format!("{only}{keys}\n")), wanted, "{keys}");
    }
    let only = "accepted_elements = [\"downtime\"]\nhost_status = [9]\nservice_status = [9]\n";
    let all = count(only);
    assert_eq!(all, count("accepted_elements = [\"downtime\"]\n"));
    let usual = "dt_host_status = []\ndt_service_status = []\n";
    assert!(count(&format!("{only}{usual}")) < all);
}

#[test]
fn a_host_of_a_business_activity_passes_unless_it_is_told_not_to() {
    let name = b"_Module_BAM_1";
    let mut host = vec![0x08, 101, 0x28, 1, 0xDA, 0x03, name.len() as u8];
    host.extend(name);
    let definition = Frame {
        label: Label::new(1, 30),
        payload: host,
    };
    let names = |keys: &str| {
        let elements = "accepted_elements = [\"service_status\"]";
        let (house, port) = house_with(&format!("[source.filter]\n{elements}\n{keys}\n"));
        let server = house.serve();
        let mut broker = Broker::greet(port, &greeting("A301.c1"));
        broker.send(&packets(&[definition.clone(), status(1)]));
        broker.is_acknowledged(2);
        let all = events(&server, "centreon");
        all.iter()
            .map(|body| body["host_name"].as_str().unwrap().to_owned())
            .collect::<Vec<String>>()
    };
    assert_eq!(names(""), ["_Module_BAM_1"]);
    assert_eq!(names("enable_bam_host = true"), ["_Module_BAM_1"]);
    assert!(names("enable_bam_host = false").is_empty());
}

#[test]
fn check_tells_of_a_source_that_keeps_everything() {
    for (keys, is_told) in [
        ("", true),
        ("[source.filter]\nhard_only = true\n", true),
        (ALL, false),
        (
            "[source.filter]\naccepted_elements = [\"downtime\"]\n",
            false,
        ),
    ] {
        let (house, _) = house_with(keys);
        let output = house.run(&["check"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{keys}: {said}");
        let notice = "note: source `centreon/bbdo`: it keeps everything";
        assert_eq!(said.contains(notice), is_told, "{keys}: {said}");
    }
}
