//! A Centreon Broker, played: what it says of a plant of hosts and services, as bytes of BBDO 3.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use vigie::source::bbdo::frame::{Deframer, Frame, Label};
use vigie::source::bbdo::handshake::{Greeting, Layers, PROTOCOL, Version};

use super::house::PATIENCE;

/// Services of each host.
pub(crate) const SERVICES: u64 = 10;
/// Where statuses begin, in seconds since 1970.
const TIME: u64 = 1_796_000_000;
const OUTPUT: &str = "CRITICAL: load average is 5.21, 4.93, 4.02";
const PERFDATA: &str = "load1=5.21;4;5 load5=4.93;3;4";

/// Fields of a protobuf message, written one after the other.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(0x80 | (number & 0x7F) as u8);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Fields {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn text(mut self, field: u64, value: &str) -> Fields {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value.as_bytes());
        self
    }

    fn packets(self, element: u16) -> Vec<u8> {
        let label = Label::new(1, element);
        let payload = self.0;
        Frame { label, payload }.packets()
    }
}

/// Definitions of so many hosts, [`SERVICES`] services each, and how many events that is.
pub(crate) fn definitions(hosts: u64) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    for host in 1..=hosts {
        let about = Fields::default().number(1, host).number(5, 1);
        let about = about.text(44, "192.0.2.17").text(45, "A host of the plant");
        bytes.extend(about.text(59, &format!("host{host}")).packets(30));
        for service in 1..=SERVICES {
            let about = Fields::default().number(1, host).number(2, service);
            let about = about.number(6, 1).text(43, &format!("host{host}"));
            bytes.extend(about.text(44, &format!("service{service}")).packets(27));
        }
    }
    (bytes, (hosts * (1 + SERVICES)) as usize)
}

/// The status of a service of one of `hosts`; `share` of a hundred are hard and critical, the
/// others are well.
pub(crate) fn status(number: u64, (hosts, share): (u64, u64)) -> Vec<u8> {
    let state = if number % 100 < share { 2 } else { 0 };
    Fields::default()
        .number(1, number % hosts + 1)
        .number(2, number % SERVICES + 1)
        .number(3, 1)
        .number(5, state)
        .number(6, 1)
        .number(9, TIME + number)
        .text(14, OUTPUT)
        .text(16, PERFDATA)
        .number(21, TIME + number)
        .number(22, TIME + number + 60)
        .packets(29)
}

/// Connects, says everything and then that it stops; seconds until all `events` were acknowledged.
pub(crate) fn say(address: SocketAddr, bytes: Vec<u8>, events: usize) -> f64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let greeting = Greeting::frame(Version::YOUNGEST, Layers::default());
    stream.write_all(&greeting.packets()).unwrap();
    let mut hearing = Hearing {
        stream: stream.try_clone().unwrap(),
        deframer: Deframer::default(),
    };
    let answer = hearing.frame();
    assert_eq!(answer.label.category, PROTOCOL);
    let stop = Frame {
        label: Label::new(PROTOCOL, 9),
        payload: Vec::new(),
    };
    let began = Instant::now();
    let writer = std::thread::spawn(move || {
        stream.write_all(&bytes).unwrap();
        stream.write_all(&stop.packets()).unwrap();
        stream
    });
    let mut acknowledged = 0;
    while acknowledged < events {
        let answer = hearing.frame();
        acknowledged += u32::from_be_bytes(answer.payload[..].try_into().unwrap()) as usize;
        assert!(began.elapsed() < PATIENCE, "{acknowledged} of {events}");
    }
    let took = began.elapsed();
    drop(writer.join().unwrap());
    took.max(Duration::from_micros(1)).as_secs_f64()
}

struct Hearing {
    stream: TcpStream,
    deframer: Deframer,
}

impl Hearing {
    fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.deframer.take().unwrap() {
                return frame;
            }
            let mut bytes = [0; 4_096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the door closed");
            self.deframer.push(&bytes[..count]);
        }
    }
}
