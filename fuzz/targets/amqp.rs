//! AMQP: a client's bytes at our door, and a broker's bytes in front of our sender.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use vigie::amqp::{Frames, encode};
use vigie::source::amqp::decode::{Seen, decode};
use vigie::source::amqp_listen::{Effect, House, Peer, Session, Users};

/// A whole conversation of whoever connects, from the first byte.
pub fn door(bytes: &[u8]) {
    let house = Arc::new(House {
        users: Users::default(),
        virtual_hosts: vec!["/".to_owned()],
        declared: Mutex::default(),
    });
    let peer = Peer {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: None,
    };
    let mut session = Session::new(house, peer);
    let mut frames = Frames::default();
    frames.feed(bytes);
    loop {
        let (effects, is_over) = match frames.next_frame() {
            Ok(Some(frame)) => (session.take(frame), false),
            Ok(None) => return,
            Err(why) => (session.broken(why), true),
        };
        let has_ended = effects
            .into_iter()
            .fold(is_over, |ended, effect| ended | done(effect));
        if has_ended {
            return;
        }
    }
}

/// What the server would do; true if that was the last.
fn done(effect: Effect) -> bool {
    match effect {
        Effect::Send(frame) => drop(encode(&frame)),
        Effect::Push(publication) => {
            let seen = Seen {
                peer: "fuzz".to_owned(),
                received_at: jiff::Timestamp::UNIX_EPOCH,
                is_json: false,
            };
            drop(decode(publication.message, &seen));
        }
        Effect::Limit(_) | Effect::Header => {}
        Effect::End => return true,
    }
    false
}

/// What a broker says, however it is cut: the frames are the same, and each can be said again.
pub fn peer(bytes: &[u8]) {
    let whole = frames(&[bytes]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(
        whole,
        frames(&[first, second]),
        "cut in two it is something else"
    );
}

fn frames(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut frames, mut said) = (Frames::default(), Vec::new());
    for piece in pieces {
        frames.feed(piece);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => said.push(encode(&frame)),
                Ok(None) => break,
                Err(_) => return said,
            }
        }
    }
    said
}
