//! A broker that answers as RabbitMQ did in a recording, keeps every byte that it is told, and
//! misbehaves on request. It knows nothing of our codec.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What RabbitMQ 3.10.8 said to kompira_sendevt.
const ANSWERS: &[u8] = include_bytes!("../data/kompira/kv_basic.s2c.bin");

/// What the stand-in does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Confirms what is published.
    Keep,
    /// Knows no confirms, as brokers of old.
    WithoutConfirms,
    /// Cuts the connection when it has the whole message.
    HangUp,
    /// Says nothing more when it has the whole message.
    Silent,
    /// Says why it takes nothing, then nothing more.
    Blocked,
    /// Takes the message back.
    Nack,
    /// Knows nobody.
    RefuseLogin,
    /// Has the queue with other arguments.
    RefuseQueue,
    /// Closes the connection, as a broker that shuts down.
    ShutDown,
    /// Is no broker.
    Garbage,
}

/// A frame as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    pub kind: u8,
    pub channel: u16,
    pub payload: Vec<u8>,
}

impl Raw {
    /// Class and method, if this is a method.
    pub fn method(&self) -> Option<(u16, u16)> {
        let number = |at: usize| u16::from_be_bytes([self.payload[at], self.payload[at + 1]]);
        (self.kind == 1).then(|| (number(0), number(2)))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind];
        bytes.extend(self.channel.to_be_bytes());
        bytes.extend(u32::try_from(self.payload.len()).unwrap().to_be_bytes());
        bytes.extend(&self.payload);
        bytes.push(0xce);
        bytes
    }
}

/// The frames of a recording, without the protocol's header.
pub fn frames(mut bytes: &[u8]) -> Vec<Raw> {
    bytes = bytes.strip_prefix(b"AMQP\0\0\x09\x01").unwrap_or(bytes);
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(read(&mut bytes).unwrap());
    }
    found
}

fn read(from: &mut impl Read) -> Option<Raw> {
    let mut head = [0; 7];
    from.read_exact(&mut head).ok()?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let mut payload = vec![0; size as usize + 1];
    from.read_exact(&mut payload).ok()?;
    assert_eq!(payload.pop(), Some(0xce), "a frame without its end");
    Some(Raw {
        kind: head[0],
        channel: u16::from_be_bytes([head[1], head[2]]),
        payload,
    })
}

/// What one connection said, frame by frame.
type Said = Arc<Mutex<Vec<Vec<Raw>>>>;

pub struct Broker {
    pub port: u16,
    said: Said,
}

impl Broker {
    /// Treats connections in these manners, later ones as [`Manner::Keep`].
    pub fn start(manners: &[Manner]) -> Broker {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Said::default();
        let mut manners = VecDeque::from(manners.to_vec());
        let kept = Arc::clone(&said);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manner = manners.pop_front().unwrap_or(Manner::Keep);
                let mut talk = Talk {
                    stream,
                    manner,
                    place: kept.lock().unwrap().len(),
                    said: Arc::clone(&kept),
                };
                kept.lock().unwrap().push(Vec::new());
                std::thread::spawn(move || talk.run());
            }
        });
        Broker { port, said }
    }

    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What each connection said so far.
    pub fn said(&self) -> Vec<Vec<Raw>> {
        self.said.lock().unwrap().clone()
    }

    /// The message that a connection published: its header frame and its body.
    pub fn message(&self, connection: usize) -> (Raw, Vec<u8>) {
        let said = self.said();
        let header = said[connection].iter().find(|frame| frame.kind == 2);
        let body = said[connection].iter().filter(|frame| frame.kind == 3);
        let body = body.flat_map(|frame| frame.payload.clone()).collect();
        (header.unwrap().clone(), body)
    }
}

struct Talk {
    stream: TcpStream,
    manner: Manner,
    place: usize,
    said: Said,
}

impl Talk {
    fn run(&mut self) -> Option<()> {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).ok()?;
        assert_eq!(&header, b"AMQP\0\0\x09\x01");
        match self.manner {
            Manner::Garbage => return self.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Manner::WithoutConfirms => {
                let start = [&[0, 9, 0, 0, 0, 0, 0, 0, 0, 5][..], b"PLAIN\0\0\0\x05en_US"].concat();
                self.method(0, (10, 10), &start)?;
            }
            _ => self.recorded((10, 10))?,
        }
        let mut body_left = 0;
        loop {
            let frame = read(&mut self.stream)?;
            self.said.lock().unwrap()[self.place].push(frame.clone());
            match frame.kind {
                1 => self.answer(frame.method().unwrap())?,
                2 => body_left = u64::from_be_bytes(frame.payload[4..12].try_into().unwrap()),
                _ => body_left -= frame.payload.len() as u64,
            }
            if matches!(frame.kind, 2 | 3) && body_left == 0 {
                self.published()?;
            }
        }
    }

    fn answer(&mut self, method: (u16, u16)) -> Option<()> {
        let refusal = |code: u16, text: &[u8]| {
            let mut close = code.to_be_bytes().to_vec();
            close.push(u8::try_from(text.len()).unwrap());
            [&close[..], text, &[0; 4]].concat()
        };
        match (method, self.manner) {
            ((10, 11), Manner::RefuseLogin) => {
                let close = refusal(403, b"ACCESS_REFUSED - Login was refused");
                self.method(0, (10, 50), &close)
            }
            ((10, 11), _) => self.recorded((10, 30)),
            ((10, 40), _) => self.recorded((10, 41)),
            ((20, 10), _) => self.recorded((20, 11)),
            ((50, 10), Manner::RefuseQueue) => {
                let close = refusal(
                    406,
                    b"PRECONDITION_FAILED - inequivalent arg 'x-max-length'",
                );
                self.method(1, (20, 40), &close)
            }
            ((50, 10), _) => self.recorded((50, 11)),
            ((85, 10), Manner::WithoutConfirms) => panic!("asked for confirms"),
            ((85, 10), _) => self.method(1, (85, 11), &[]),
            ((20, 40), _) => self.recorded((20, 41)),
            ((10, 50), _) => self.recorded((10, 51)),
            ((10, 31) | (60, 40) | (20, 41), _) => Some(()),
            ((10, 51), _) => None,
            (other, _) => panic!("a sender said {other:?}"),
        }
    }

    fn published(&mut self) -> Option<()> {
        let tag = [0, 0, 0, 0, 0, 0, 0, 1, 0];
        match self.manner {
            Manner::WithoutConfirms | Manner::Silent => Some(()),
            Manner::HangUp => None,
            Manner::Nack => self.method(1, (60, 120), &tag),
            Manner::Blocked => self.method(0, (10, 60), b"\x0elow on memory!"),
            Manner::ShutDown => {
                let close = b"\x01\x40\x12CONNECTION_FORCED!\0\0\0\0";
                self.method(0, (10, 50), close)
            }
            _ => self.method(1, (60, 80), &tag),
        }
    }

    /// What RabbitMQ answered.
    fn recorded(&mut self, method: (u16, u16)) -> Option<()> {
        let answers = frames(ANSWERS);
        let answer = answers.iter().find(|frame| frame.method() == Some(method));
        self.write(&answer.unwrap().bytes())
    }

    fn method(&mut self, channel: u16, (class, method): (u16, u16), rest: &[u8]) -> Option<()> {
        let payload = [&class.to_be_bytes(), &method.to_be_bytes(), rest].concat();
        let frame = Raw {
            kind: 1,
            channel,
            payload,
        };
        self.write(&frame.bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }
}
