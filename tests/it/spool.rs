//! The spool: what is kept is kept whole, with the right modes, and nothing foreign is touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;
use vigie::sender::spool::{self, SpoolError};
use vigie::sender::{MAIL_BYTES_MAX, Post};

fn post(body: &[u8]) -> Post {
    let mut post = Post::new("Alert", "sendevt", "application/json", body.to_vec());
    post.note("site_id", "1");
    post
}

fn house() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("data/spool");
    (folder, spool)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_kept_event_comes_back_whole() {
    let (_folder, spool) = house();
    let mut first = post(b"line\nline\0\xff");
    first.note("SENDER", "a\nb");
    let path = spool::write(&spool, &first).unwrap();
    let spooled = spool::read(&path).unwrap();
    assert_eq!(spooled.post, first);
    let age = jiff::Timestamp::now().duration_since(spooled.received_at());
    assert!(age.abs() < jiff::SignedDuration::from_mins(1));
    assert_eq!(
        spool::list(&spool).unwrap().events,
        std::slice::from_ref(&path)
    );
    spool::remove(&path).unwrap();
    spool::remove(&path).unwrap();
    assert!(spool::list(&spool).unwrap().events.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_body_and_envelope_come_back(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        channel in ".{1,40}",
        meta in proptest::collection::btree_map("[A-Z_]{1,10}", ".{0,40}", 0..5),
    ) {
        let (_folder, spool) = house();
        let mut kept = Post::new(&channel, "mail", "message/rfc822", body);
        kept.meta = meta;
        let path = spool::write(&spool, &kept).unwrap();
        prop_assert_eq!(spool::read(&path).unwrap().post, kept);
    }
}

#[test]
fn modes_are_set_explicitly_and_nothing_unfinished_is_left() {
    let (_folder, spool) = house();
    let path = spool::write(&spool, &post(b"x")).unwrap();
    assert_eq!(mode(&spool), 0o3733);
    assert_eq!(mode(&path), 0o640);
    let name = path.file_name().unwrap().to_str().unwrap();
    let (millisecond, id) = name
        .strip_suffix(".event")
        .unwrap()
        .split_once('-')
        .unwrap();
    assert!(millisecond.parse::<u64>().unwrap() > 1_700_000_000_000);
    assert!(uuid::Uuid::try_parse(id).is_ok());
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 1);
}

#[test]
fn a_folder_that_exists_keeps_its_mode() {
    let (_folder, spool) = house();
    fs::create_dir_all(&spool).unwrap();
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o750)).unwrap();
    spool::write(&spool, &post(b"x")).unwrap();
    assert_eq!(mode(&spool), 0o750);
}

#[test]
fn events_are_listed_oldest_first() {
    let (_folder, spool) = house();
    let one = spool::write(&spool, &post(b"x")).unwrap();
    let id = "b1c1d1e1-0000-4000-8000-000000000000";
    for millisecond in ["20", "3", "100"] {
        fs::copy(&one, spool.join(format!("{millisecond}-{id}.event"))).unwrap();
    }
    let events = spool::list(&spool).unwrap().events;
    let names: Vec<_> = events
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert!(
        names[0].starts_with("3-") && names[1].starts_with("20-") && names[2].starts_with("100-")
    );
    assert_eq!(events[3], one);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_nothing_is_left() {
    let (folder, _) = house();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for spool in [
        file.clone(),
        file.join("below"),
        PathBuf::from("/proc/spool"),
    ] {
        let why = spool::write(&spool, &post(b"x")).unwrap_err();
        assert!(matches!(why, SpoolError::Folder { .. }), "{why}");
        assert!(why.to_string().contains(&spool.display().to_string()));
    }
}

#[test]
fn what_could_never_be_forwarded_is_not_kept() {
    let (_folder, spool) = house();
    let mut long = post(b"x");
    long.channel = "c".repeat(2000);
    let why = spool::write(&spool, &long).unwrap_err();
    assert!(why.to_string().contains("channel"), "{why}");
    assert!(!spool.exists());
}

#[test]
fn a_full_spool_keeps_no_more() {
    let (_folder, spool) = house();
    spool::write(&spool, &post(b"x")).unwrap();
    let big = fs::File::create(spool.join("1-big.event")).unwrap();
    big.set_len(spool::SPOOL_BYTES_MAX).unwrap();
    let why = spool::write(&spool, &post(b"x")).unwrap_err();
    assert!(matches!(why, SpoolError::Full { files: 2, .. }), "{why}");
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 2);
}

#[test]
fn foreign_files_are_left_alone_and_named() {
    let (folder, spool) = house();
    let good = spool::write(&spool, &post(b"x")).unwrap();
    let outside = folder.path().join("outside");
    fs::copy(&good, &outside).unwrap();
    let name = |number: u32| {
        spool.join(format!(
            "{number}-b1c1d1e1-0000-4000-8000-{number:012}.event"
        ))
    };
    symlink(&outside, name(1)).unwrap();
    fs::create_dir(name(2)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        name(3),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::write(spool.join("notes.txt"), "x").unwrap();
    fs::write(spool.join("12-not-a-uuid.event"), "x").unwrap();
    fs::write(spool.join(".tmp-unfinished"), "x").unwrap();
    fs::write(spool.join("1-x.event.refused"), "x").unwrap();
    let listing = spool::list(&spool).unwrap();
    assert_eq!(listing.events, [good]);
    assert_eq!(listing.odd.len(), 5, "{:?}", listing.odd);
    // Handed to `read` all the same (a race), they are refused there too.
    for number in 1..=3 {
        let why = spool::read(&name(number)).unwrap_err();
        assert!(why.to_string().contains("left alone"), "{why}");
    }
    assert!(outside.exists() && name(1).is_symlink());
}

#[test]
fn unreadable_events_are_refused_with_the_reason() {
    let (folder, spool) = house();
    let good = spool::write(&spool, &post(b"x")).unwrap();
    let header = String::from_utf8(fs::read(&good).unwrap()).unwrap();
    let path = spool.join("1-b1c1d1e1-0000-4000-8000-000000000001.event");
    let long_line = format!("{{\"channel\":\"{}", "x".repeat(spool::HEADER_BYTES_MAX));
    let id = spool::read(&good).unwrap().post.correlation_id;
    let at = spool::read(&good).unwrap().post.received_at;
    let rows = [
        (String::new(), "no header line"),
        ("{}".to_owned(), "no header line"),
        ("\n".to_owned(), "header is wrong"),
        ("{}\nbody".to_owned(), "header is wrong"),
        ("[1]\n".to_owned(), "header is wrong"),
        (long_line, "no header line"),
        (header.replace(&id, ""), "correlation id"),
        (header.replace(&id, "a\\r\\nx: y"), "correlation id"),
        (header.replace(&id, &"i".repeat(5000)), "correlation id"),
        (header.replace(&at, "yesterday"), "time"),
        (header.replace("Alert", ""), "channel"),
        (header.replace("Alert", &"c".repeat(2000)), "channel"),
        (header.replace("sendevt", "a\\nb"), "source"),
        (header.replace("application/json", "\u{e9}"), "media type"),
        (
            header.replace("\"site_id\":\"1\"", "\"site_id\":\"1\\r\\nx: y\""),
            "site id",
        ),
    ];
    for (text, expected) in rows {
        fs::write(&path, &text).unwrap();
        let why = spool::read(&path).unwrap_err().to_string();
        assert!(
            why.contains(expected) && why.contains("left alone"),
            "{why}"
        );
        assert!(path.exists());
    }
    fs::File::create(&path)
        .unwrap()
        .set_len(MAIL_BYTES_MAX as u64 * 2)
        .unwrap();
    assert!(
        spool::read(&path)
            .unwrap_err()
            .to_string()
            .contains("larger")
    );
    fs::remove_file(&path).unwrap();
    fs::hard_link(&good, folder.path().join("second name")).unwrap();
    assert!(
        spool::read(&good)
            .unwrap_err()
            .to_string()
            .contains("one name")
    );
}

#[test]
fn only_one_sender_forwards_an_event_at_a_time() {
    let (_folder, spool) = house();
    let path = spool::write(&spool, &post(b"x")).unwrap();
    let first = spool::read(&path).unwrap();
    let second = spool::read(&path).unwrap();
    assert!(first.lock());
    assert!(!second.lock());
    spool::remove(&path).unwrap();
    drop(first);
    assert!(!second.lock(), "it is gone: the first has sent it");
}

#[test]
fn a_stranger_with_a_strict_umask_may_add_but_not_list() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can become somebody else
    }
    let (folder, spool) = house();
    spool::write(&spool, &post(b"x")).unwrap();
    for open in [folder.path(), spool.parent().unwrap()] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let sendevt = folder.path().join("sendevt");
    fs::copy(env!("CARGO_BIN_EXE_sendevt"), &sendevt).unwrap();
    let nobody = 65534;
    let output = Command::new("/bin/sh")
        .args(["-c", "umask 0077; exec \"$@\"", "sh"])
        .arg(&sendevt)
        .args(["-s", "http://127.0.0.1:1", "k=v", "--spool"])
        .arg(&spool)
        .current_dir("/")
        .env_clear()
        .uid(nobody)
        .gid(nobody)
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let events = spool::list(&spool).unwrap().events;
    assert_eq!(events.len(), 2);
    let metadata = fs::metadata(&events[1]).unwrap();
    assert_eq!(metadata.uid(), nobody);
    assert_eq!(metadata.gid(), fs::metadata(&spool).unwrap().gid());
    assert_eq!(mode(&events[1]), 0o640);
}
