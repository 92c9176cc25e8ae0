//! Every crate of the tree may be used as deny.toml says.

use std::process::Command;

use serde_json::Value as Json;
use toml::Value as Toml;

fn rules() -> Toml {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The crates that are compiled on this platform; those of others need not be downloaded.
fn crates() -> Vec<Json> {
    let version = cargo(&["-vV"]);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let wanted = ["metadata", "--locked", "--offline", "--format-version", "1"];
    let wanted = [&wanted[..], &["--filter-platform", host]].concat();
    let tree: Json = serde_json::from_str(&cargo(&wanted)).unwrap();
    tree["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression can be met with these licences; `MIT/Apache-2.0` is an old way to
/// write OR, AND binds closer than OR, and `X WITH exception` gives more than `X`.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = either(&mut words, allowed);
    assert_eq!(words.next(), None, "cannot read the licence {expression}");
    met
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words, allowed: &[&str]) -> bool {
    let mut met = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= both(words, allowed);
    }
    met
}

fn both(words: &mut Words, allowed: &[&str]) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words, allowed: &[&str]) -> bool {
    let word = words.next().unwrap_or("");
    if word == "(" {
        let met = either(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return met;
    }
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    allowed.contains(&word.trim_end_matches('+'))
}

#[test]
fn licence_of_every_crate_is_allowed() {
    let rules = rules();
    let allowed = rules["licenses"]["allow"].as_array().unwrap();
    let allowed: Vec<&str> = allowed.iter().map(|name| name.as_str().unwrap()).collect();
    let crates = crates();
    assert!(crates.len() > 100, "the whole tree is looked at");
    for package in &crates {
        let licence = package["license"].as_str().unwrap_or("");
        let (name, version) = (&package["name"], &package["version"]);
        assert!(
            is_allowed(licence, &allowed),
            "{name} {version} is under {licence:?}"
        );
        let source = package["source"].as_str().unwrap_or("registry+");
        assert!(
            source.starts_with("registry+"),
            "{name} comes from {source}"
        );
    }
}

#[test]
fn every_exception_is_dated_and_still_needed() {
    let (rules, crates) = (rules(), crates());
    let ignored = rules["advisories"]["ignore"].as_array().unwrap();
    assert!(!ignored.is_empty());
    for exception in ignored {
        let reason = exception["reason"].as_str().unwrap();
        let (name, _) = reason
            .split_once(": ")
            .expect("the crate's name, then the reason");
        assert!(
            crates.iter().any(|package| package["name"] == name),
            "{name} is gone"
        );
        let (_, date) = reason.split_once("; review by ").expect("a date of review");
        date.parse::<jiff::civil::Date>().expect("a date");
    }
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = ["MIT", "Apache-2.0", "MPL-2.0"];
    let rows = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("MIT/GPL-3.0", true),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND GPL-3.0 OR Apache-2.0", true),
        ("MIT AND (GPL-3.0 OR Apache-2.0)", true),
        ("(MIT OR GPL-3.0) AND GPL-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MPL-2.0+", true),
    ];
    for (expression, met) in rows {
        assert_eq!(is_allowed(expression, &allowed), met, "{expression}");
    }
}
