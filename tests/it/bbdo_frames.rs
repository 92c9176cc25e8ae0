//! BBDO's packets: recordings of a real Broker, cut, broken and compressed in every way.

use std::io::Read;
use std::path::PathBuf;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value as Json;
use vigie::source::bbdo::frame::{Deframer, Frame, Garbage, Label, SKIPPED_BYTES_MAX};
use vigie::source::bbdo::handshake::{Layers, Version};
use vigie::source::bbdo::session::{Failed, Said, Session};
use vigie::source::bbdo::squeeze::{Unpacker, pack};

use crate::faults::corpus::targets;
use crate::mutate::each_mutation;

/// Recordings that are not compressed.
pub const PLAIN: &[&str] = &[
    "A200.c1", "A301.c1", "RECON.c1", "RECON.c2", "E200.c1", "E301.c1",
];

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bbdo")).join(name)
}

/// The bytes of a recording.
pub fn recording(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("{name}.in.bin"))).unwrap()
}

/// What is in it, packet by packet.
pub fn timeline(name: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(path(&format!("{name}.jsonl"))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn big() -> Vec<u8> {
    let packed = std::fs::File::open(path("BIG301.c1.in.bin.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// All frames of a stream, handed over whole.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut deframer = Deframer::default();
    deframer.push(bytes);
    rest(&mut deframer)
}

fn rest(deframer: &mut Deframer) -> Vec<Frame> {
    std::iter::from_fn(|| deframer.take().unwrap()).collect()
}

/// The pieces of `bytes`, cut at random.
fn pieces(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut random = SmallRng::seed_from_u64(seed);
    let longest = [1, 7, 40, 5_000, 100_000][seed as usize % 5];
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(random.random_range(1..=longest).min(rest.len()));
        pieces.push(piece);
        rest = others;
    }
    pieces
}

#[test]
fn a_recording_is_the_same_events_however_it_is_cut() {
    for name in PLAIN {
        let bytes = recording(name);
        let whole = frames(&bytes);
        let told = timeline(name);
        // That recorder hung up before it had decoded all.
        let is_all = !name.starts_with("RECON");
        assert!(
            whole.len() == told.len() || !is_all && whole.len() > told.len(),
            "{name}"
        );
        for (frame, told) in whole.iter().zip(&told) {
            let Label {
                category,
                element,
                source,
                destination,
            } = frame.label;
            let ours =
                serde_json::json!([category, element, source, destination, frame.payload.len()]);
            let theirs = ["cat", "el", "src", "dst", "size"].map(|key| told[key].clone());
            assert_eq!(ours, Json::from(theirs.to_vec()), "{name}");
        }
        for seed in 0..40 {
            let mut deframer = Deframer::default();
            let mut cut = Vec::new();
            for piece in pieces(&bytes, seed) {
                deframer.push(piece);
                cut.extend(rest(&mut deframer));
            }
            assert_eq!(cut, whole, "{name} cut by {seed}");
        }
        let written: Vec<u8> = whole.iter().flat_map(Frame::packets).collect();
        assert_eq!(written, bytes, "{name} written again");
    }
}

#[test]
fn long_events_are_joined_and_those_without_a_last_piece_end_by_themselves() {
    let bytes = big();
    let wanted = [65_534, 65_535, 65_536, 131_070, 200_000];
    for seed in [3, 4, 9] {
        let mut deframer = Deframer::default();
        let mut found = Vec::new();
        for piece in pieces(&bytes, seed) {
            deframer.push(piece);
            found.extend(rest(&mut deframer));
        }
        let status = found.iter().filter(|frame| frame.label.element == 29);
        let sizes: Vec<usize> = status.map(|frame| frame.payload.len()).collect();
        assert_eq!(sizes, wanted);
    }
    // Two of the same kind, the first of exactly one full packet and nothing behind it.
    let found = frames(&bytes);
    let full = found.iter().find(|frame| frame.payload.len() == 65_535);
    let full = full.unwrap();
    let unended = &full.packets()[..16 + 65_535];
    let twice = [unended, unended, &found[0].packets()].concat();
    let sizes: Vec<usize> = frames(&twice).iter().map(|one| one.payload.len()).collect();
    assert_eq!(sizes, [65_535, 65_535, found[0].payload.len()]);
}

#[test]
fn one_flipped_byte_costs_at_most_its_own_event() {
    let bytes = recording("A301.c1");
    let whole = frames(&bytes);
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        let found = frames(&broken);
        // A flip in the payload changes one event; one in the header loses it.
        let mut end = 0;
        let hit = whole.iter().position(|frame| {
            end += 16 + frame.payload.len();
            at < end
        });
        let hit = hit.unwrap();
        let in_header = at < end - whole[hit].payload.len();
        let mut wanted = whole.clone();
        match in_header {
            true => drop(wanted.remove(hit)),
            false => wanted[hit].payload[at - (end - whole[hit].payload.len())] ^= 1 << (at % 8),
        }
        assert_eq!(found, wanted, "byte {at}");
    }
}

#[test]
fn a_peer_that_sends_garbage_is_given_up() {
    let mut random = SmallRng::seed_from_u64(5);
    let garbage: Vec<u8> = (0..3 * SKIPPED_BYTES_MAX)
        .map(|_| random.random())
        .collect();
    let mut deframer = Deframer::default();
    let outcome = garbage.chunks(10_000).find_map(|piece| {
        deframer.push(piece);
        match deframer.take() {
            Ok(Some(_)) => panic!("garbage was taken for an event"),
            Ok(None) => None,
            Err(why) => Some(why),
        }
    });
    assert_eq!(outcome, Some(Garbage::NoPacket));
    // More than a packet of it, and then events.
    let mut deframer = Deframer::default();
    deframer.push(&[&garbage[..70_000], &recording("A301.c1")].concat());
    assert_eq!(rest(&mut deframer), frames(&recording("A301.c1")));
    assert_eq!(deframer.lost(), 70_000);
}

#[test]
fn no_event_grows_without_a_bound() {
    let piece = Frame {
        label: Label::new(1, 12),
        payload: vec![b'x'; 65_535],
    };
    let piece = &piece.packets()[..16 + 65_535];
    let mut deframer = Deframer::default();
    let outcome = (0..1_000).find_map(|_| {
        deframer.push(piece);
        deframer.take().err()
    });
    assert_eq!(outcome, Some(Garbage::TooLong));
}

/// All that a session says of a stream, cut at random, with the acknowledgement of each event.
fn heard(bytes: &[u8], seed: u64) -> (Vec<Frame>, Session) {
    let mut session = Session::answering(Layers {
        tls: false,
        compression: true,
    });
    let mut events = Vec::new();
    for piece in pieces(bytes, seed) {
        session.push(piece).unwrap();
        while let Some(said) = session.take().unwrap() {
            match said {
                Said::Event(frame) => events.push(frame),
                Said::Stop => session.answer(),
            }
            session.kept(session.taken());
        }
    }
    (events, session)
}

#[test]
fn compressed_and_plain_are_the_same_events() {
    let (plain, _) = heard(&recording("A301.c1"), 1);
    for seed in 0..20 {
        let (packed, session) = heard(&recording("C301.c1"), seed);
        assert!(session.agreed().unwrap().layers.compression);
        let kinds = |frames: &[Frame]| -> Vec<(Label, usize)> {
            let kind = |frame: &Frame| (frame.label, frame.payload.len());
            frames.iter().map(kind).collect()
        };
        assert_eq!(kinds(&packed), kinds(&plain), "cut by {seed}");
    }
    // Chunks need not begin where packets do.
    let bytes = recording("A301.c1");
    let greeting = frames(&bytes)[0].packets().len();
    let mut unpacker = Unpacker::default();
    let mut out = Vec::new();
    for piece in pieces(&bytes[greeting..], 6) {
        unpacker.push(&pack(piece));
        out.extend(unpacker.take().unwrap().unwrap());
    }
    assert_eq!(out, bytes[greeting..]);
}

#[test]
fn a_chunk_that_lies_about_its_length_is_refused() {
    let chunk = pack(&[0; 1_000]);
    for (at, byte) in [(0, 0xFF), (4, 0xFF), (7, 1), (7, 0xFF), (9, 0xFF)] {
        let mut broken = chunk.clone();
        broken[at] = byte;
        let mut unpacker = Unpacker::default();
        unpacker.push(&broken);
        assert!(unpacker.take().is_err(), "byte {at} {byte}");
    }
}

#[test]
fn what_is_acknowledged_is_what_was_kept_since_the_last_time() {
    for name in PLAIN {
        let bytes = recording(name);
        let mut session = Session::answering(Layers::default());
        session.push(&bytes).unwrap();
        let answer = frames(&session.outgoing());
        assert_eq!(answer.len(), 1, "{name}: only the greeting yet");
        let major = session.agreed().unwrap().version.major;
        assert_eq!(answer[0].payload[..2], major.to_be_bytes(), "{name}");
        assert_eq!(answer[0].label.element, 1, "{name}");
        let mut counted = 0;
        while let Some(said) = session.take().unwrap() {
            session.acknowledge();
            let early = session.outgoing();
            assert!(early.is_empty(), "{name}: acknowledged before it was kept");
            session.kept(session.taken());
            match said {
                Said::Event(_) => session.acknowledge(),
                Said::Stop => session.answer(),
            }
            let ack = &frames(&session.outgoing())[0];
            assert_eq!((ack.label.category, ack.label.element), (2, 2));
            counted += u32::from_be_bytes(ack.payload[..].try_into().unwrap());
        }
        let events = frames(&bytes)
            .iter()
            .filter(|one| one.label.category != 2)
            .count();
        assert_eq!(counted as usize, events, "{name}");
    }
}

#[test]
fn only_a_broker_of_a_known_generation_is_answered() {
    let mut foreign = Session::answering(Layers::default());
    let http = foreign.push(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(matches!(http, Err(Failed::Refused(_))), "{http:?}");
    // An event before the greeting.
    let bytes = recording("A301.c1");
    let greeting = frames(&bytes)[0].packets().len();
    let mut early = Session::answering(Layers::default());
    assert!(early.push(&bytes[greeting..]).is_err());
    let mut unknown = Session::answering(Layers::default());
    let four = Frame {
        label: Label::new(2, 1),
        payload: vec![0, 4, 0, 0, 0, 0, 0],
    };
    let refused = unknown.push(&four.packets()).unwrap_err().to_string();
    assert!(refused.contains("BBDO 4"), "{refused}");
    // TLS is insisted on, and nothing may come between the greeting and it.
    let tls = Layers {
        tls: true,
        compression: false,
    };
    let mut clear = Session::answering(tls);
    let refused = clear.push(&bytes).unwrap_err().to_string();
    assert!(refused.contains("does not offer TLS"), "{refused}");
    let mut offering = Session::beginning(tls, Version::YOUNGEST);
    let offer = offering.outgoing();
    let mut injected = Session::answering(tls);
    let refused = injected.push(&[offer, bytes].concat()).unwrap_err();
    assert!(refused.to_string().contains("in clear"), "{refused}");
}

#[test]
fn broken_recordings_never_bring_it_down() {
    let seeds: Vec<Vec<u8>> = ["A200.c1", "A301.c1", "C301.c1", "RECON.c2"]
        .iter()
        .map(|name| recording(name))
        .collect();
    each_mutation(&seeds, |bytes| targets::run("bbdo_stream", bytes));
}
