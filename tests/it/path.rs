//! The path of an event, through the real server: in by HTTP, on disk, a flow reacts, done once.

use serde_json::json;

use crate::house::{House, lines, wait_for};

const FILES: &str = "[file]\nfolder = \"out\"";

fn house() -> House {
    let house = House::new().settings(FILES);
    house.channel("alert", "");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house
}

#[test]
fn an_event_is_done_once_also_when_the_server_is_killed_after_it() {
    let house = house();
    house.flow("alert/note", r#"file::append("note", `${event.n}`);"#);
    let server = house.serve();
    let id = server.push("alert", &json!({ "n": 7 }));
    assert_eq!(id, "alert/1");
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "done", "{run}");
    server.kill();
    let server = house.serve();
    assert_eq!(server.push("alert", &json!({ "n": 8 })), "alert/2");
    assert_eq!(server.ended("alert/2/note")["state"], "done");
    assert_eq!(lines(&house.path("out/note")), ["7", "8"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_script_error_makes_a_dead_letter_that_a_mended_script_finishes() {
    let house = house();
    house.flow(
        "alert/note",
        r#"file::append("note", "first"); throw "not yet";"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "failed");
    assert!(
        run["message"]
            .as_str()
            .unwrap()
            .contains("flows/alert/note.rhai:1:"),
        "{run}"
    );
    house.flow(
        "alert/note",
        r#"file::append("note", "first"); file::append("note", "second");"#,
    );
    wait_for("the new version", || {
        server
            .log()
            .contains("took up the changed house")
            .then_some(())
    });
    let retried = house
        .command(&["retry", "alert/1/note", "--server", &server.url])
        .output()
        .unwrap();
    assert!(retried.status.success(), "{retried:?}");
    wait_for("the second end", || {
        (server.run("alert/1/note")["state"] == "done").then_some(())
    });
    assert_eq!(lines(&house.path("out/note")), ["first", "second"]);
    assert!(server.get("dead")["dead"].as_array().unwrap().is_empty());
}

#[test]
fn an_event_for_an_unknown_channel_is_visible_in_unrouted() {
    let house = house();
    let server = house.serve();
    assert_eq!(server.push("alrt", &json!({ "a": 1 })), "unrouted/1");
    let event = server.get("events/unrouted%2F1");
    assert_eq!(event["meta"]["asked_channel"], "alrt");
    assert_eq!(event["body"]["a"], 1);
}
