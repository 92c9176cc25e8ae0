//! The corpus of the fuzz targets, and broken copies of it, through the very functions that cargo-fuzz
//! calls: what once broke a decoder stays mended.
//!
//! Rounds: every file of fuzz/corpus, and 2,000 broken copies for each target whose decoder has no test
//! of its own with more of them (`mutate`), 1,000,000 long; 100 and 20,000 for scripts, which are run.

use std::path::Path;

use super::rounds;
use crate::mutate::break_copies;

#[path = "../../fuzz/targets/mod.rs"]
pub mod targets;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
/// Largest file of the corpus.
const SEED_BYTES_MAX: u64 = 6_000;

/// The files of a target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(FUZZ).join("corpus").join(target);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let size = entry.metadata().unwrap().len();
            assert!(
                size <= SEED_BYTES_MAX,
                "{:?} has {size} bytes",
                entry.path()
            );
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no corpus");
    seeds
}

#[test]
fn every_file_of_the_corpus_goes_through_its_target() {
    for (name, target) in targets::ALL {
        for (file, bytes) in seeds(name) {
            let whole = std::panic::catch_unwind(|| target(&bytes));
            assert!(whole.is_ok(), "fuzz/corpus/{name}/{file}");
        }
    }
}

#[test]
fn broken_copies_of_the_corpus_go_through_their_targets() {
    let few = [
        "amqp_peer",
        "imap_answer",
        "settings",
        "spool_file",
        "store_value",
    ];
    let copies = few.map(|name| (name, rounds(2_000, 1_000_000)));
    for (name, count) in copies.into_iter().chain([("script", rounds(100, 20_000))]) {
        let seeds: Vec<Vec<u8>> = seeds(name).into_iter().map(|(_, bytes)| bytes).collect();
        break_copies(count, &seeds, |bytes| targets::run(name, bytes));
    }
}

#[test]
fn every_target_is_built_and_no_folder_is_left_over() {
    let manifest = std::fs::read_to_string(format!("{FUZZ}/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut built: Vec<&str> = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| bin["name"].as_str().unwrap())
        .collect();
    let mut known: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    let mut folders: Vec<String> = std::fs::read_dir(format!("{FUZZ}/corpus"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    built.sort_unstable();
    known.sort_unstable();
    folders.sort();
    assert_eq!(built, known);
    assert_eq!(folders, known);
    for name in known {
        let text = std::fs::read_to_string(format!("{FUZZ}/fuzz_targets/{name}.rs")).unwrap();
        assert!(
            text.contains(&format!("targets::run(\"{name}\", bytes)")),
            "{name}"
        );
    }
}
