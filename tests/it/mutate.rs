//! Recordings broken at random, the same way every time: no decoder may ever panic on them.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How many broken recordings one decoder gets; `VIGIE_LONG=1` asks for a million.
fn count() -> usize {
    match std::env::var("VIGIE_LONG").as_deref() {
        Ok("1") => 1_000_000,
        _ => 20_000,
    }
}

/// Gives `check` broken copies of the recordings `seeds`, each made from a counted seed, so that
/// a failure can be repeated.
pub fn each_mutation(seeds: &[Vec<u8>], check: impl FnMut(&[u8])) {
    break_copies(count(), seeds, check);
}

/// The same with a number of its own.
pub fn break_copies(count: usize, seeds: &[Vec<u8>], mut check: impl FnMut(&[u8])) {
    for number in 0..count {
        let mut random = SmallRng::seed_from_u64(number as u64);
        let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(1..8) {
            break_once(&mut bytes, seeds, &mut random);
        }
        bytes.truncate(20_000);
        check(&bytes);
    }
}

fn break_once(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut SmallRng) {
    const SPECIAL: &[&[u8]] = &[
        b"\0",
        b"\"",
        b"\\",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"=?",
        b"?=",
        b"--",
        b";",
        b"=",
        b"{",
        b"[",
        b"\\ud800",
        b"\x1b$B",
        b"\xff",
        b"\xef\xbb\xbf",
        b"{MACRO}",
        b"..",
        b"::",
        b"*0*=",
        b"  [",
    ];
    let at = random.random_range(0..=bytes.len());
    let to = random.random_range(at..=bytes.len());
    match random.random_range(0..7) {
        0 => bytes.insert(at, random.random()),
        1 if at < bytes.len() => bytes[at] = random.random(),
        2 => drop(bytes.drain(at..to.min(at + 40))),
        3 => bytes.truncate(at),
        4 => {
            let piece = SPECIAL[random.random_range(0..SPECIAL.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
        5 => {
            let copy = bytes[at..to].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => {
            let other = &seeds[random.random_range(0..seeds.len())];
            let from = random.random_range(0..=other.len());
            let piece = other[from..].iter().take(200).copied();
            bytes.splice(at..at, piece.collect::<Vec<u8>>());
        }
    }
}
