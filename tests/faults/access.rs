//! Nobody unknown comes in from beyond this host, by whatever door, and nobody learns from the time
//! that an answer takes.
//!
//! Rounds: every kind of door, once.

use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use vigie::access::{Access, Caller, Denied};
use vigie::settings::Right;

use crate::door_access::ROUTES;
use crate::house::{House, stderr};

#[test]
fn no_kind_of_door_opens_beyond_this_host_to_everybody() {
    let listens = |kind: &&&dyn vigie::source::Source| kind.example().contains("listen");
    let kinds: Vec<&str> = vigie::source::ALL
        .iter()
        .filter(listens)
        .map(|kind| kind.name())
        .collect();
    assert!(kinds.len() >= 3, "{kinds:?}");
    for kind in kinds {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            let house = House::new();
            let block = format!("[[source]]\nkind = \"{kind}\"\nlisten = \"{address}\"");
            house.channel("alert", &block);
            let checked = house.run(&["check"]);
            assert_eq!(checked.status.code(), Some(78), "{kind} {address}");
            let said = stderr(&checked);
            assert!(said.contains("alert.toml:3:10"), "{kind} {address}: {said}");
            assert!(said.contains(" help: "), "{kind} {address}: {said}");
        }
    }
}

#[test]
fn without_tokens_only_this_host_is_let_in() {
    let access = Access::new(&[]);
    let caller = |address: &str| Caller {
        address: Some(address.parse::<IpAddr>().unwrap()),
        host: "localhost".to_owned(),
        ..Caller::default()
    };
    for here in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(
            access.admit(&caller(here), Right::Send, None).is_ok(),
            "{here}"
        );
    }
    for away in [
        "192.0.2.1",
        "10.0.0.1",
        "::ffff:192.0.2.1",
        "2001:db8::1",
        "fe80::1",
        "0.0.0.0",
    ] {
        let denied = access.admit(&caller(away), Right::Send, None);
        assert_eq!(denied.err(), Some(Denied::Unknown), "{away}");
    }
    let nobody = Caller {
        address: None,
        ..caller("::1")
    };
    assert_eq!(
        access.admit(&nobody, Right::Read, None).err(),
        Some(Denied::Unknown)
    );
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push((
                path.display().to_string(),
                std::fs::read_to_string(&path).unwrap(),
            )),
        }
    }
}

#[test]
fn check_tells_what_everybody_on_this_host_could_change() {
    let house = House::new();
    house
        .channel("alert", "")
        .flow("alert/open", "print(1);")
        .flow("alert/shut", "print(1);");
    let mode = |path: &str, mode| {
        std::fs::set_permissions(house.path(path), Permissions::from_mode(mode)).unwrap();
    };
    let shut = ["channels", "flows", "flows/alert"].map(|folder| (folder, 0o755));
    let files = ["channels/alert.toml", "flows/alert/shut.rhai"].map(|file| (file, 0o664));
    for (path, bits) in shut.into_iter().chain(files) {
        mode(path, bits);
    }
    for (open, bits, usual) in [
        ("flows/alert/open.rhai", 0o666, 0o644),
        ("flows/alert", 0o777, 0o755),
        ("channels", 0o1777, 0o755),
    ] {
        mode("flows/alert/open.rhai", 0o644);
        mode(open, bits);
        let checked = house.run(&["check"]);
        mode(open, usual);
        let said = stderr(&checked);
        let notes: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("may change"))
            .collect();
        assert_eq!(notes.len(), 1, "{said}");
        assert!(notes[0].ends_with(open), "{said}");
        assert_eq!(checked.status.code(), Some(0), "it is no mistake: {said}");
    }
}

/// True if a path asks for a route, whose parts in braces stand for anything.
fn leads_to(path: &str, route: &str) -> bool {
    let (path, route) = (path.split('/'), route.split('/'));
    path.clone().count() == route.clone().count()
        && path
            .zip(route)
            .all(|(part, wanted)| part == wanted || wanted.starts_with('{'))
}

/// The tests of rights and tokens ask every route of their list; this sees to it that none is missing.
#[test]
fn every_route_is_asked_with_the_wrong_token_and_the_wrong_right() {
    let open = ["/healthz", "/readyz"];
    let mut all = Vec::new();
    sources(Path::new("src"), &mut all);
    let mut count = 0;
    let server = all.iter().filter(|(file, _)| !file.contains("standin"));
    for route in server.flat_map(|(_, text)| text.split(".route(").skip(1)) {
        let mut words = route.split('"');
        let (path, rest) = (words.nth(1).unwrap(), words.next().unwrap());
        let method = match rest.trim_start_matches([',', ' ', '\n']) {
            rest if rest.starts_with("get(") => "GET",
            rest if rest.starts_with("post(") => "POST",
            rest => panic!("{path} {rest}"),
        };
        let is_asked = |(how, asked, _): &(&str, &str, &str)| {
            *how == method && leads_to(asked.split('?').next().unwrap(), path)
        };
        let is_known = open.contains(&path) || ROUTES.iter().any(is_asked);
        assert!(is_known, "{method} {path}");
        count += 1;
    }
    assert!(count >= 29, "{count}");
}

/// An ordinary comparison ends at the first byte that differs, and with that tells how many were
/// right. So what is secret meets `==` nowhere: `Secret` compares in constant time, and its text is
/// taken out only to be used.
#[test]
fn secrets_are_compared_in_constant_time() {
    let mut all = Vec::new();
    sources(Path::new("src"), &mut all);
    for (file, text) in &all {
        for (number, line) in text.lines().enumerate() {
            let compares = ["==", "!=", ".eq(", ".cmp(", "starts_with("];
            let bad = line.contains("expose()") && compares.iter().any(|word| line.contains(word));
            assert!(!bad, "{file}:{}: {line}", number + 1);
        }
    }
    // every place where a stranger's word meets ours
    for file in [
        "src/access.rs",
        "src/secret.rs",
        "src/source/snmp/access.rs",
        "src/source/snmp/keys.rs",
    ] {
        let (_, text) = all.iter().find(|(name, _)| name == file).unwrap();
        assert!(text.contains(".ct_eq("), "{file} compares otherwise");
    }
    let (_, users) = all
        .iter()
        .find(|(name, _)| name == "src/source/amqp_listen/users.rs")
        .unwrap();
    assert!(
        users.contains("Secret"),
        "an account's password is compared as text"
    );
}
