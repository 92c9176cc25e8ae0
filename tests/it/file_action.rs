//! `file::append`: what is written, and that nothing else can be.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;
use vigie::action::Services;
use vigie::action::file::{Service, Settings};

use crate::acting::{call, refusal, shown};

fn services(folder: &Path, rotate_bytes_max: u64, rotate_keep: u32) -> Services {
    let settings = Settings {
        folder: folder.to_owned(),
        rotate_bytes_max,
        rotate_keep,
    };
    Services {
        file: Some(Service::prepare(settings, Path::new("/")).unwrap()),
        ..Services::default()
    }
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

#[tokio::test]
async fn text_and_maps_become_one_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(folder.path(), 1 << 20, 3);
    let outcome = call(&services, "file::append", json!(["a.log", "first\n"]))
        .await
        .unwrap();
    assert_eq!(shown(&outcome), json!({"name": "a.log", "size": 6}));
    call(
        &services,
        "file::append",
        json!(["a.log", {"b": "x\ny", "a": [1, null]}]),
    )
    .await
    .unwrap();
    call(
        &services,
        "file::append",
        json!(["a.log", "forged\n2026 level=ERROR\r\n\u{1b}[2J\ttab ü"]),
    )
    .await
    .unwrap();
    let expected = "first\n{\"a\":[1,null],\"b\":\"x\\ny\"}\nforged\\n2026 level=ERROR\\r\\n\\u{1b}[2J\ttab ü\n";
    assert_eq!(read(folder.path(), "a.log"), expected);
    let mode = std::fs::metadata(folder.path().join("a.log"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[tokio::test]
async fn a_name_cannot_leave_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("inside");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(outer.path().join("target"), "untouched").unwrap();
    symlink(outer.path().join("target"), folder.join("link")).unwrap();
    symlink(outer.path().join("new"), folder.join("dangling")).unwrap();
    std::fs::create_dir(folder.join("directory")).unwrap();
    let services = services(&folder, 1 << 20, 3);
    let names = [
        "../target",
        "..",
        ".",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "",
        ".hidden",
        "a\0b",
        "a\nb",
        "link",
        "dangling",
        "directory",
        "a b",
        &"x".repeat(201),
    ];
    for name in names {
        let outcome = call(&services, "file::append", json!([name, "evil"])).await;
        assert!(outcome.is_err(), "{name:?}");
    }
    let said = refusal(call(&services, "file::append", json!(["link", "evil"])).await);
    assert!(said.starts_with("cannot append to link"), "{said}");
    assert_eq!(read(outer.path(), "target"), "untouched");
    assert!(!outer.path().join("new").exists());
}

#[tokio::test]
async fn a_file_that_would_grow_too_large_is_rotated_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(folder.path(), 10, 2);
    for number in 1..=5 {
        call(
            &services,
            "file::append",
            json!(["a.log", format!("line{number}")]),
        )
        .await
        .unwrap();
    }
    // 6 bytes each: one line per file.
    assert_eq!(read(folder.path(), "a.log"), "line5\n");
    assert_eq!(read(folder.path(), "a.log.1"), "line4\n");
    assert_eq!(read(folder.path(), "a.log.2"), "line3\n");
    assert!(!folder.path().join("a.log.3").exists());
    call(
        &services,
        "file::append",
        json!(["b.log", "a line longer than the limit"]),
    )
    .await
    .unwrap();
    assert_eq!(
        read(folder.path(), "b.log"),
        "a line longer than the limit\n"
    );
}

#[tokio::test]
async fn lines_of_many_runs_never_mix() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(folder.path(), 1 << 20, 3);
    let lines = (0..40).map(|number| {
        call(
            &services,
            "file::append",
            json!(["a.log", format!("{number:-<500}")]),
        )
    });
    let done = futures_util::future::join_all(lines).await;
    assert!(done.into_iter().all(|one| one.is_ok()));
    let text = read(folder.path(), "a.log");
    assert_eq!(text.lines().count(), 40);
    assert!(text.lines().all(|line| line.len() == 500));
}

#[tokio::test]
async fn what_is_no_line_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let services = services(folder.path(), 1 << 30, 3);
    refusal(call(&services, "file::append", json!(["a.log", null])).await);
    let said = refusal(
        call(
            &services,
            "file::append",
            json!(["a.log", "x".repeat(1024 * 1024)]),
        )
        .await,
    );
    assert!(said.contains("longer than 1048576 bytes"), "{said}");
    assert!(!folder.path().join("a.log").exists());
}

#[test]
fn the_folder_must_be_named_and_be_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    let prepare = |text: &str| {
        let settings: Settings = toml::from_str(text).map_err(|why| why.to_string())?;
        Service::prepare(settings, folder.path()).map(drop)
    };
    assert!(
        prepare("folder = \"logs\"").is_ok(),
        "counted from the settings file's folder"
    );
    assert!(prepare("").unwrap_err().contains("set `folder`"));
    assert!(prepare("folder = \"gone\"").unwrap_err().contains("gone"));
    assert!(
        prepare("folder = \"logs\"\nrotate_bytes_max = 0")
            .unwrap_err()
            .contains("rotate_bytes_max")
    );
    assert!(
        prepare("folder = \"logs\"\nkeep = 1")
            .unwrap_err()
            .contains("unknown field")
    );
}
