//! The store as an operator meets it: backup and restore, damage and repair, and who holds it.

use std::path::Path;
use std::process::Output;

use serde_json::{Value as Json, json};

use crate::house::{House, Running, stderr, stdout, wait_for};
use crate::store_damage::{engine, event_key};
use crate::store_upkeep::furnish_much;

const EVENTS: u64 = 6;
/// Larger than what is kept inside the database.
const LARGE: usize = 20_000;

fn house() -> House {
    let house = House::new();
    house.channel("alert", "").channel("other", "");
    house.flow(
        "alert/count",
        "let n = (state::get(\"n\") ?? 0) + 1;\nstate::set(\"n\", n);\nprint(`counted ${n}`);",
    );
    house.flow("alert/odd", "if event.n == 3 { throw \"three\" }");
    house
}

/// Some of everything that a store keeps.
fn furnish(server: &Running) {
    for n in 1..=EVENTS {
        let body = if n == 2 {
            "x".repeat(LARGE)
        } else {
            format!("needle {n}")
        };
        server.push("alert", &json!({ "n": n, "body": body }));
        server.ended(&format!("alert/{n}/count"));
        server.ended(&format!("alert/{n}/odd"));
    }
    assert!(server.verb(&["pause", "other"]).status.success());
}

/// What the server tells about everything in it.
fn all_of(server: &Running) -> Json {
    let events: Vec<Json> = (1..=EVENTS)
        .map(|n| server.get(&format!("events/alert%2F{n}")))
        .collect();
    let channels = server.get("channels")["channels"].clone();
    let channels: Vec<[&Json; 3]> = channels
        .as_array()
        .unwrap()
        .iter()
        .map(|row| [&row["name"], &row["kept"], &row["paused"]])
        .collect();
    json!({
        "events": events, "channels": channels, "runs": server.get("runs"), "dead": server.get("dead"),
        "audit": server.get("audit"),
    })
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_backup_restored_into_an_empty_folder_is_everything() {
    let house = house();
    let server = house.serve();
    furnish(&server);
    let file = house.path("monday.backup");
    let made = server.verb(&["backup", text(&file)]);
    assert_eq!(code(&made), 0, "{made:?}");
    assert!(stdout(&made).contains("rows, 1 bodies"), "{made:?}");
    let again = server.verb(&["backup", text(&file)]);
    assert_eq!(code(&again), 1, "{again:?}");
    assert!(stderr(&again).contains("already"), "{again:?}");
    let nowhere = server.verb(&["backup", "no/such/folder/x.backup"]);
    assert_ne!(code(&nowhere), 0);
    let relative = server.ask(
        "/api/v1/backup",
        &[("content-type", "application/json")],
        Some(b"{\"file\":\"x.backup\"}"),
    );
    assert_eq!(relative.status, 400, "{relative:?}");
    let mut before = all_of(&server);
    assert_eq!(server.stop(), Some(0));

    let other = house_at(&file);
    let restored = other.run(&["restore", text(&other.path("monday.backup"))]);
    assert_eq!(code(&restored), 0, "{restored:?}");
    let checked = other.run(&["check", "--store"]);
    assert_eq!(code(&checked), 0, "{checked:?}");
    let server = other.serve();
    let mut after = all_of(&server);
    // what was done after the backup: nothing but asking for further ones
    let backups = before["audit"]["audit"].as_array_mut().unwrap();
    backups.retain(|line| !line["line"].as_str().unwrap().contains("backup to"));
    let backups = after["audit"]["audit"].as_array_mut().unwrap();
    backups.retain(|line| !line["line"].as_str().unwrap().contains("backup to"));
    assert_eq!(before, after);
    let body = after["events"][1]["body"]["body"].as_str().unwrap().len();
    assert_eq!(body, LARGE);
    let id = server.push("alert", &json!({ "n": 7 }));
    assert_eq!(id, format!("alert/{}", EVENTS + 1), "numbers go on");
    let run = server.ended(&format!("{id}/count"));
    assert_eq!(
        run["console"],
        json!([format!("counted {}", EVENTS + 1)]),
        "{run}"
    );
}

/// A house like [`house`] with a copy of the backup and nothing else.
fn house_at(backup: &Path) -> House {
    let other = house();
    std::fs::copy(backup, other.path("monday.backup")).unwrap();
    other
}

#[test]
fn a_backup_is_not_restored_over_anything_nor_from_half_a_file() {
    let house = house();
    let server = house.serve();
    furnish(&server);
    let file = house.path("monday.backup");
    assert_eq!(code(&server.verb(&["backup", text(&file)])), 0);
    let running = house.run(&["restore", text(&file)]);
    assert_eq!(code(&running), 69, "{running:?}");
    assert!(
        stderr(&running).contains(&format!("held by process {}", server.pid())),
        "{running:?}"
    );
    server.kill();
    let over = house.run(&["restore", text(&file)]);
    assert_eq!(code(&over), 69, "{over:?}");
    assert!(
        stderr(&over).contains("there is a store in it already"),
        "{over:?}"
    );

    let other = house_at(&file);
    other.file("data/precious.txt", "mine");
    let over = other.run(&["restore", "monday.backup"]);
    assert_eq!(code(&over), 69, "{over:?}");
    assert!(
        stderr(&over).contains("there is `precious.txt` in it"),
        "{over:?}"
    );
    assert_eq!(
        std::fs::read_dir(other.path("data")).unwrap().count(),
        1,
        "nothing was added"
    );
    let whole = std::fs::read(&file).unwrap();
    let into = other.path("elsewhere");
    for broken in [
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 1],
        b"",
        b"no backup at all",
    ] {
        std::fs::write(other.path("half.backup"), broken).unwrap();
        let half = other.run(&["restore", "half.backup", "--into", text(&into)]);
        assert_eq!(code(&half), 69, "{half:?}");
        assert!(stderr(&half).contains("half.backup is damaged"), "{half:?}");
    }
    let missing = other.run(&["restore", "none.backup", "--into", text(&into)]);
    assert_ne!(code(&missing), 0);
    assert!(stderr(&missing).contains("none.backup"), "{missing:?}");
    // what was begun is no store, and is no hindrance
    let good = other.run(&["restore", "monday.backup", "--into", text(&into)]);
    assert_eq!(code(&good), 0, "{good:?}");
    // a spool that waits beside is no hindrance either
    std::fs::create_dir(house.path("fresh")).unwrap();
    std::fs::create_dir(house.path("fresh/spool")).unwrap();
    let fresh = house.path("fresh");
    let good = house.run(&["restore", text(&file), "--into", text(&fresh)]);
    assert_eq!(code(&good), 0, "{good:?}");
}

/// A stopped house with a store, and the path of its database.
fn stopped() -> (House, std::path::PathBuf) {
    let house = house();
    let server = house.serve();
    furnish(&server);
    assert_eq!(server.stop(), Some(0));
    let database = house.path("data/tree/db");
    (house, database)
}

#[test]
fn a_good_store_passes_its_check_and_changes_nothing_by_it() {
    let (house, database) = stopped();
    let before = std::fs::read(&database).unwrap();
    for _ in 0..2 {
        let checked = house.run(&["check", "--store"]);
        assert_eq!(code(&checked), 0, "{checked:?}");
        assert!(stdout(&checked).contains("is whole: "), "{checked:?}");
    }
    assert_eq!(std::fs::read(&database).unwrap(), before);
    let none = House::new().run(&["check", "--store"]);
    assert_eq!(code(&none), 69, "{none:?}");
    assert!(stderr(&none).contains("there is none"), "{none:?}");
}

#[test]
fn a_flipped_bit_is_loud_and_repair_keeps_what_can_be_read() {
    let (house, database) = stopped();
    let mut bytes = std::fs::read(&database).unwrap();
    let places: Vec<usize> = bytes
        .windows(8)
        .enumerate()
        .filter(|(_, window)| *window == b"needle 5")
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty());
    places.iter().for_each(|place| bytes[*place] ^= 1);
    std::fs::write(&database, bytes).unwrap();
    let checked = house.run(&["check", "--store"]);
    assert_eq!(code(&checked), 1, "{checked:?}");
    assert!(
        stderr(&checked).contains("check --store --repair"),
        "{checked:?}"
    );
    let said = house.try_serve().err().unwrap();
    assert!(said.starts_with("exit status: 69\n"), "{said}");
    assert!(said.contains("damaged"), "{said}");
    let repaired = house.run(&["check", "--store", "--repair"]);
    assert_eq!(code(&repaired), 0, "{repaired:?}");
    assert!(stdout(&repaired).contains("quarantine"), "{repaired:?}");
    let checked = house.run(&["check", "--store"]);
    assert_eq!(code(&checked), 0, "{checked:?}");
    let server = house.serve();
    for n in [1, 2, 3, 4, 6] {
        let event = server.get(&format!("events/alert%2F{n}"));
        assert_eq!(event["body"]["n"], n, "{event}");
    }
    let run = server.run("alert/6/count");
    assert_eq!(run["console"], json!(["counted 6"]), "{run}");
    let id = server.push("alert", &json!({ "n": 7 }));
    assert_eq!(id, format!("alert/{}", EVENTS + 1));
    assert_eq!(
        server.ended(&format!("{id}/count"))["console"],
        json!(["counted 7"])
    );
}

#[test]
fn a_cut_tail_or_a_missing_file_is_loud_and_repair_keeps_what_can_be_read() {
    let (house, database) = stopped();
    let whole = std::fs::read(&database).unwrap();
    let ledger = house.path("data/ledger");
    // the file is longer than what is written in it
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let half = used / 2;
    let (said, checked) = look_at_damage(&house, || {
        std::fs::write(&database, &whole[..half]).unwrap()
    });
    assert!(said.contains("the database is damaged"), "{said}");
    assert_eq!(code(&checked), 1, "{checked:?}");
    let (said, checked) =
        look_at_damage(&house, || std::fs::write(&database, &whole[..0]).unwrap());
    assert!(
        said.contains("the database is damaged"),
        "an empty queue is no answer: {said}"
    );
    assert_eq!(code(&checked), 1, "{checked:?}");
    let (said, _) = look_at_damage(&house, || std::fs::remove_file(&database).unwrap());
    assert!(
        said.contains("the database is damaged: it is missing"),
        "{said}"
    );
    std::fs::write(&database, &whole).unwrap();
    let kept = std::fs::read(&ledger).unwrap();
    let (said, checked) = look_at_damage(&house, || std::fs::remove_file(&ledger).unwrap());
    assert!(
        said.contains("ledger") && said.contains("is missing"),
        "{said}"
    );
    assert_eq!(code(&checked), 1, "{checked:?}");
    std::fs::write(&ledger, kept).unwrap();

    // the tail that is cut off here is what was committed last
    let cut = used - used / 8;
    std::fs::write(&database, &whole[..cut]).unwrap();
    let (said, _) = look_at_damage(&house, || ());
    assert!(said.contains("damaged"), "{said}");
    let left = std::fs::read(&database).unwrap();
    assert!(left == whole[..cut], "a refused start changes nothing");
    let repaired = house.run(&["check", "--store", "--repair"]);
    assert_eq!(code(&repaired), 0, "{repaired:?}");
    assert_eq!(code(&house.run(&["check", "--store"])), 0);
    let server = house.serve();
    let found = (1..=EVENTS).filter(|n| {
        let path = format!("/api/v1/events/alert%2F{n}");
        server.ask(&path, &[], None).status == 200
    });
    let found = found.count();
    let kept = server.get("channels")["channels"][0]["kept"]
        .as_u64()
        .unwrap();
    assert_eq!(found as u64, kept, "what is listed is what is there");
    server.push("alert", &json!({ "n": 0 }));
}

/// Does the damage; what the server says when it refuses to start, and what a check says.
fn look_at_damage(house: &House, damage: impl FnOnce()) -> (String, Output) {
    damage();
    let said = house.try_serve().err().unwrap();
    assert!(said.starts_with("exit status: 69\n"), "{said}");
    (said, house.run(&["check", "--store"]))
}

#[test]
fn a_missing_body_is_named() {
    let (house, _) = stopped();
    let bodies = house.path("data/bodies");
    let mut files = Vec::new();
    collect(&bodies, &mut files);
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::remove_file(&files[0]).unwrap();
    let checked = house.run(&["check", "--store"]);
    assert_eq!(code(&checked), 1, "{checked:?}");
    assert!(stderr(&checked).contains("event alert/2"), "{checked:?}");
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path().is_dir() {
            true => collect(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}

#[test]
fn a_store_of_another_format_is_refused_with_both_versions() {
    let (house, _) = stopped();
    let path = house.path("data/ledger");
    let mut ledger = std::fs::read(&path).unwrap();
    // two slots of 64 bytes: the version after the magic, the checksum at the end
    for slot in [0, 4096] {
        ledger[slot + 8..slot + 12].copy_from_slice(&77_u32.to_le_bytes());
        let sum = crc32c::crc32c(&ledger[slot..slot + 60]);
        ledger[slot + 60..slot + 64].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(&path, ledger).unwrap();
    let ours = vigie::store::FORMAT_VERSION;
    let both = format!("has format 77; this program reads and writes format {ours}");
    let said = house.try_serve().err().unwrap();
    assert!(
        said.starts_with("exit status: 78\n") && said.contains(&both),
        "{said}"
    );
    for verb in [&["check", "--store"][..], &["check", "--store", "--repair"]] {
        let output = house.run(verb);
        assert_eq!(code(&output), 78, "{output:?}");
        assert!(stderr(&output).contains(&both), "{output:?}");
    }
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_with_both_processes() {
    let house = house();
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    let said = house.try_serve().err().unwrap();
    assert!(said.starts_with("exit status: 69\n"), "{said}");
    assert!(
        said.contains(&format!(
            "is held by process {}; this is process ",
            server.pid()
        )),
        "{said}"
    );
    for verb in [&["check", "--store"][..], &["check", "--store", "--repair"]] {
        let output = house.run(verb);
        assert_eq!(code(&output), 69, "{output:?}");
        assert!(
            stderr(&output).contains(&server.pid().to_string()),
            "{output:?}"
        );
    }
    assert_eq!(
        server.push("alert", &json!({ "n": 2 })),
        "alert/2",
        "the first goes on"
    );
}

#[test]
fn a_stop_in_order_leaves_a_note_and_a_kill_leaves_none() {
    let house = house();
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    server.ended("alert/1/count");
    assert_eq!(server.stop(), Some(0));
    assert!(house.path("data/stopped").exists());
    let server = house.serve();
    assert!(!house.path("data/stopped").exists());
    let metrics = server.ask("/metrics", &[], None).text;
    assert!(metrics.contains("vigie_store_verified 1"), "{metrics}");
    server.kill();
    assert!(!house.path("data/stopped").exists());
}

#[test]
fn damage_deep_in_a_large_store_is_found_while_the_server_works() {
    let house = House::new();
    house.channel("alert", "");
    furnish_much(&house.path("data"));
    let tree = engine(&house.path("data"));
    tree.remove(event_key(12_345)).unwrap().unwrap();
    tree.flush().unwrap();
    drop(tree);
    for start in 1..=2 {
        let server = house.serve();
        let refused = wait_for("the damage to be found", || {
            let answered = server.ask("/readyz", &[], None);
            (answered.status != 200).then_some(answered)
        });
        assert_eq!(refused.status, 503);
        assert!(refused.text.contains("the store is damaged"), "{refused:?}");
        let metrics = server.ask("/metrics", &[], None).text;
        assert!(metrics.contains("vigie_store_damage 1"), "{metrics}");
        let log = server.log();
        assert!(
            log.contains("there should be") && log.contains("ERROR"),
            "{log}"
        );
        // What comes in is kept all the same.
        server.push("alert", &json!({ "n": start }));
        assert_eq!(server.ask("/healthz", &[], None).status, 200);
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn a_large_store_is_read_whole_after_a_kill() {
    let house = House::new();
    house.channel("alert", "");
    furnish_much(&house.path("data"));
    std::fs::remove_file(house.path("data/stopped")).unwrap();
    let server = house.serve();
    wait_for("the store to be verified", || {
        let metrics = server.ask("/metrics", &[], None).text;
        metrics.contains("vigie_store_verified 1").then_some(())
    });
    assert_eq!(server.ask("/readyz", &[], None).status, 200);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn compacting_from_the_command_line_says_what_it_gave_back() {
    let house = house();
    let server = house.serve();
    furnish(&server);
    let before = all_of(&server);
    assert_eq!(server.stop(), Some(0));
    let both = house.run(&["check", "--store", "--compact", "--repair"]);
    assert_eq!(code(&both), 64, "{both:?}");
    let done = house.run(&["check", "--store", "--compact"]);
    assert_eq!(code(&done), 0, "{done:?}");
    assert!(stdout(&done).contains("MiB, before in "), "{done:?}");
    let server = house.serve();
    assert_eq!(all_of(&server), before);
    let held = house.run(&["check", "--store", "--compact"]);
    assert_eq!(code(&held), 69, "{held:?}");
}
