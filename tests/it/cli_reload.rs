//! A running server takes up what its owner changes, whole or not at all.

use serde_json::json;

use crate::house::{House, Running, wait_for};

fn house() -> House {
    let house = House::new();
    house
        .channel("alert", "")
        .flow("alert/note", "print(\"old\");");
    house
}

fn says(server: &Running, what: &str, count: usize) {
    wait_for(&format!("{count} times: {what}"), || {
        (server.log().matches(what).count() >= count).then_some(())
    });
}

fn hang_up(server: &Running, count: usize) {
    server.signal(rustix::process::Signal::HUP);
    says(server, "took up the changed house", count);
}

/// What a flow prints for a new event.
fn printed(server: &Running, flow: &str) -> String {
    let id = server.push("alert", &json!({}));
    let run = server.ended(&format!("{id}/{flow}"));
    run["console"][0].as_str().unwrap_or_default().to_owned()
}

#[test]
fn changed_new_and_removed_flows_are_taken_up_by_watching() {
    let house = house();
    let server = house.serve();
    assert_eq!(printed(&server, "note"), "old");
    house.flow("alert/note", "import \"_words\" as w; print(w::word());");
    house.file("flows/_words.rhai", "fn word() { \"imported\" }");
    house.flow("alert/second", "print(\"second\");");
    let printed_now = |flow: &str, wanted: &str| {
        wait_for(wanted, || (printed(&server, flow) == wanted).then_some(()));
    };
    printed_now("note", "imported");
    assert_eq!(printed(&server, "second"), "second");
    house.file("flows/_words.rhai", "fn word() { \"changed\" }");
    printed_now("note", "changed");
    std::fs::remove_file(house.path("flows/alert/second.rhai")).unwrap();
    wait_for("it to be gone", || {
        (server.get("flows")["flows"].as_array().unwrap().len() == 1).then_some(())
    });
    house
        .channel("fresh", "")
        .flow("fresh/note", "print(\"fresh\");");
    wait_for("the new channel", || {
        let id = server.push("fresh", &json!({}));
        id.starts_with("fresh/").then_some(())
    });
}

#[test]
fn a_broken_version_is_refused_with_its_place_and_the_old_one_stays() {
    let house = house();
    let server = house.serve();
    let broken = [
        (
            "flows/alert/note.rhai",
            "print(\"new\";",
            "flows/alert/note.rhai:1:",
        ),
        (
            "flows/alert/note.rhai",
            "redmine::opne(#{});",
            "did you mean `open`?",
        ),
        ("flows/alrt/note.rhai", "print(1);", "did you mean `alert`?"),
        (
            "channels/alert.toml",
            "abuot = \"x\"",
            "did you mean `about`?",
        ),
        (
            "flows/alert/note.toml",
            "atempts_max = 1",
            "did you mean `attempts_max`?",
        ),
    ];
    for (index, (file, text, told)) in broken.into_iter().enumerate() {
        let before = std::fs::read_to_string(house.path(file)).ok();
        house.file(file, text);
        server.signal(rustix::process::Signal::HUP);
        says(
            &server,
            "the changed files are refused; what ran before goes on",
            index + 1,
        );
        says(&server, told, 1);
        assert_eq!(printed(&server, "note"), "old", "{file}");
        match before {
            Some(text) => drop(house.file(file, &text)),
            None => std::fs::remove_file(house.path(file)).unwrap(),
        }
        let _ = std::fs::remove_dir(house.path("flows/alrt"));
        let taken = server.log().matches("took up the changed house").count();
        hang_up(&server, taken + 1);
    }
    house.flow("alert/note", "print(\"new\");");
    wait_for("the mended version", || {
        (printed(&server, "note") == "new").then_some(())
    });
}

#[test]
fn a_hang_up_takes_up_settings_too() {
    let house = house();
    house.file("team", "first\n");
    let house = house.settings("[secret]\nteam_file = \"team\"");
    let server = house.serve();
    let hash = |text: &str| {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(text.as_bytes());
        hash.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let house_settings = std::fs::read_to_string(house.path("settings.toml")).unwrap();
    let token = format!(
        "{house_settings}\n[[token]]\nname = \"a\"\nhash = \"sha256:{}\"\nrights = [\"send\", \"read\"]\n",
        hash("secret")
    );
    house.file("settings.toml", &token);
    hang_up(&server, 1);
    assert_eq!(server.ask("/api/v1/channels", &[], None).status, 401);
    let headers = [("authorization", "Bearer secret")];
    assert_eq!(server.ask("/api/v1/channels", &headers, None).status, 200);
    // broken settings change nothing
    house.file("settings.toml", &token.replace("[[token]]", "[[tokn]]"));
    server.signal(rustix::process::Signal::HUP);
    says(&server, "did you mean `token`?", 1);
    assert_eq!(server.ask("/api/v1/channels", &[], None).status, 401);
    house.file(
        "settings.toml",
        &token.replace("team_file = \"team\"", "team_file = \"none\""),
    );
    server.signal(rustix::process::Signal::HUP);
    says(&server, "[secret] team_file", 1);
    assert_eq!(server.ask("/api/v1/channels", &headers, None).status, 200);
}
