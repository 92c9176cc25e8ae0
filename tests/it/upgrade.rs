//! Other versions for runs on the real server: forks that go on by themselves, runs that are moved
//! because the new script asks for the same things, and events that say why they did what they did.

use serde_json::{Value as Json, json};
use vigie::event::RunId;
use vigie::store::{Batch, StoreError, check};

use crate::house::{House, Running, lines, stderr, stdout, wait_for};
use crate::store::open;
use crate::wait::{asleep, house, written};

fn story(run: &Json) -> String {
    format!("{run:#}")
}

/// Waits until the server has taken up changed files so many times.
fn took_up(server: &Running<'_>, count: usize) {
    wait_for("the new version", || {
        (server.log().matches("took up the changed house").count() >= count).then_some(())
    });
}

/// Waits for a run in a state.
fn in_state(server: &Running<'_>, id: &str, state: &str) -> Json {
    wait_for(&format!("{id} in the state {state}"), || {
        Some(server.run(id)).filter(|run| run["state"] == state)
    })
}

const TWO_NOTES: &str = r#"
    file::append("log", `first ${event.n}`);
    watch("ack", #{ n: event.n }, "1h");
    file::append("log", `second ${event.n}`);
"#;

#[test]
fn a_fork_goes_on_where_its_run_was_cut_and_does_nothing_twice() {
    let house = house();
    house.flow("alert/two", TWO_NOTES);
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    asleep(&server, "alert/1/two");
    let other = TWO_NOTES.replace("second", "other second");
    house.file("new.rhai", &other);
    let forked = server.verb(&["fork", "alert/1/two", "--at", "1", "--flow", "new.rhai"]);
    assert!(forked.status.success(), "{}", stderr(&forked));
    assert!(
        stdout(&forked).contains("alert/1/two~2"),
        "{}",
        stdout(&forked)
    );
    asleep(&server, "alert/1/two~2");
    let old = server.run("alert/1/two");
    assert_eq!(old["state"], "cancelled");
    assert!(
        story(&old).contains("alert/1/two~2 goes on in its place"),
        "{old:#}"
    );
    let waiting = server.get("runs?state=waiting")["runs"].to_string();
    assert!(!waiting.contains("alert/1/two\""), "{waiting}");
    server.push("ack", &json!({ "n": 1 }));
    assert_eq!(server.ended("alert/1/two~2")["state"], "done");
    assert_eq!(written(&house, 2), ["first 1", "other second 1"]);
    // One that is done stays as it is.
    let again = server.verb(&["fork", "alert/1/two~2", "--at", "2"]);
    assert!(again.status.success(), "{}", stderr(&again));
    server.ended("alert/1/two~3");
    assert_eq!(server.run("alert/1/two~2")["state"], "done");
    assert_eq!(written(&house, 3)[2], "other second 1");
    let audit = server.get("audit").to_string();
    assert!(
        audit.contains("fork alert/1/two at 1 as alert/1/two~2"),
        "{audit}"
    );
}

#[test]
fn a_fork_has_the_chance_and_the_time_of_the_run_that_it_goes_on_from() {
    let house = house();
    house.flow(
        "alert/chance",
        r#"let chance = `${uuid()} ${random(1000000)} ${now()}`;
           file::append("log", chance);
           watch("ack");
           file::append("log", chance);"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    asleep(&server, "alert/1/chance");
    let forked = server.verb(&["fork", "alert/1/chance", "--at", "4"]);
    assert!(forked.status.success(), "{}", stderr(&forked));
    asleep(&server, "alert/1/chance~2");
    server.push("ack", &json!({}));
    assert_eq!(server.ended("alert/1/chance~2")["state"], "done");
    let said = written(&house, 2);
    assert_eq!(said[0], said[1]);
}

#[test]
fn nothing_that_waits_is_left_of_a_run_that_was_forked() {
    let house = house();
    house.flow("alert/two", TWO_NOTES);
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    asleep(&server, "alert/1/two");
    let forked = server.verb(&["fork", "alert/1/two", "--at", "1"]);
    assert!(forked.status.success(), "{}", stderr(&forked));
    asleep(&server, "alert/1/two~2");
    server.stop();
    let found = check(&house.path("data")).unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
}

#[test]
fn a_fork_that_would_do_something_else_is_refused_and_nothing_changes() {
    let house = house();
    house.flow("alert/two", TWO_NOTES);
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    asleep(&server, "alert/1/two");
    house.file("wrong.rhai", &TWO_NOTES.replace("first", "another"));
    house.file("broken.rhai", "let a = ;");
    let cases: [(&[&str], &str); 5] = [
        (&["--at", "1", "--flow", "wrong.rhai"], "another 1"),
        (&["--at", "1", "--flow", "broken.rhai"], "broken.rhai:1:9"),
        (&["--at", "2"], "nothing has come of command 1"),
        (&["--at", "9"], "has 2 commands"),
        (
            &["--at", "1", "--flow", "missing.rhai"],
            "cannot read missing.rhai",
        ),
    ];
    for (options, why) in cases {
        let mut arguments = vec!["fork", "alert/1/two"];
        arguments.extend(options);
        let said = server.verb(&arguments);
        assert!(!said.status.success());
        assert!(stderr(&said).contains(why), "{}", stderr(&said));
    }
    let said = server.verb(&["fork", "alert/7/two", "--at", "0"]);
    assert!(
        stderr(&said).contains("there is no `alert/7/two`"),
        "{}",
        stderr(&said)
    );
    assert_eq!(server.run("alert/1/two~2")["state"], Json::Null);
    server.push("ack", &json!({ "n": 1 }));
    assert_eq!(server.ended("alert/1/two")["state"], "done");
    assert_eq!(written(&house, 2), ["first 1", "second 1"]);
}

#[test]
fn a_refused_fork_names_both_sides_and_what_differs() {
    let house = house();
    house.flow("alert/two", TWO_NOTES);
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    asleep(&server, "alert/1/two");
    house.file("wrong.rhai", &TWO_NOTES.replace("first", "another"));
    let said = server.verb(&["fork", "alert/1/two", "--at", "1", "--flow", "wrong.rhai"]);
    let said = stderr(&said);
    for part in [
        r#"the journal recorded: file::append("log", "first 1")"#,
        r#"the script asked now: file::append("log", "another 1")"#,
        r#"recorded "first 1", asked now "another 1""#,
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_run_at_work_is_halted_for_its_fork() {
    let house = house();
    // Nobody listens there: the run tries again and again.
    house.flow(
        "alert/away",
        r#"file::append("log", "before"); http::put("http://127.0.0.1:9/x", #{ json: 1 });"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    wait_for("a try", || {
        server.run("alert/1/away")["tries"]
            .is_object()
            .then_some(())
    });
    house.file(
        "new.rhai",
        r#"file::append("log", "before"); file::append("log", "after");"#,
    );
    let said = server.verb(&["fork", "alert/1/away", "--at", "1", "--flow", "new.rhai"]);
    assert!(said.status.success(), "{}", stderr(&said));
    assert_eq!(server.ended("alert/1/away~2")["state"], "done");
    assert_eq!(server.run("alert/1/away")["state"], "cancelled");
    assert_eq!(written(&house, 2), ["before", "after"]);
}

#[test]
fn a_run_at_work_goes_on_when_its_fork_is_refused() {
    let house = house();
    house.flow(
        "alert/away",
        r#"file::append("log", "before"); http::put("http://127.0.0.1:9/x", #{ json: 1 });"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    let tries = |server: &Running<'_>| server.run("alert/1/away")["tries"]["count"].as_u64();
    let before = wait_for("a try", || tries(&server));
    assert!(
        !server
            .verb(&["fork", "alert/1/away", "--at", "5"])
            .status
            .success()
    );
    wait_for("another try", || {
        tries(&server).filter(|count| *count > before)
    });
}

#[test]
fn the_trouble_of_a_run_moves_along_with_its_fork() {
    let house = house();
    house.flow(
        "alert/one",
        r#"watch("ack"); file::append("log", event.n.to_string());"#,
    );
    house.file("flows/alert/one.toml", "one_run_per = [\"host\"]");
    let server = house.serve();
    server.push("alert", &json!({ "host": "a", "n": 1 }));
    asleep(&server, "alert/1/one");
    assert!(
        server
            .verb(&["fork", "alert/1/one", "--at", "0"])
            .status
            .success()
    );
    server.push("alert", &json!({ "host": "a", "n": 2 }));
    let noted = |server: &Running<'_>, event: &str| {
        wait_for("a note", || {
            let run = server.run("alert/1/one~2").to_string();
            run.contains(&format!("event {event} is for the same trouble"))
                .then_some(())
        });
    };
    noted(&server, "alert/2");
    asleep(&server, "alert/1/one~2");
    server.kill();
    let server = house.serve();
    server.push("alert", &json!({ "host": "a", "n": 3 }));
    noted(&server, "alert/3");
    let explained = server.verb(&["explain", "alert/3"]);
    assert!(
        stdout(&explained).contains("noted on alert/1/one~2"),
        "{}",
        stdout(&explained)
    );
    server.push("ack", &json!({}));
    assert_eq!(server.ended("alert/1/one~2")["state"], "done");
    server.push("alert", &json!({ "host": "a", "n": 4 }));
    asleep(&server, "alert/4/one");
}

#[test]
fn an_upgrade_says_for_each_run_whether_it_is_safe_and_moves_those_that_are() {
    let house = house();
    house.flow(
        "alert/two",
        r#"if event.n == 1 { file::append("log", "odd"); }
           watch("ack", #{ n: event.n }, "1h");
           file::append("log", `second ${event.n}`);"#,
    );
    let server = house.serve();
    for n in 1..=3 {
        server.push("alert", &json!({ "n": n }));
        asleep(&server, &format!("alert/{n}/two"));
    }
    // Another time is the same wait; the first run asked for something that is no more.
    house.file(
        "two/two.rhai",
        r#"watch("ack", #{ n: event.n }, "2h");
           file::append("log", `new ${event.n}`);"#,
    );
    let upgrade = |options: &[&str]| {
        let mut arguments = vec!["upgrade", "two/two.rhai", "--flow", "alert/two"];
        arguments.extend(options);
        server.verb(&arguments)
    };
    let before = server.run("alert/2/two");
    let dry = upgrade(&["--dry-run"]);
    let said = stdout(&dry);
    assert_eq!(dry.status.code(), Some(1), "{said} {}", stderr(&dry));
    for part in [
        "alert/1/two (waiting): diverges at command 0",
        r#"the journal recorded: file::append("log", "odd")"#,
        r#"the script would ask: watch("ack", {"n":1}, "2h")"#,
        "alert/2/two (waiting): safe",
        "2 of 3 runs are safe",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(
        server.run("alert/2/two"),
        before,
        "a dry run changed something"
    );
    let said = stdout(&upgrade(&[]));
    assert!(said.contains("alert/3/two (waiting): moved"), "{said}");
    assert!(stdout(&upgrade(&[])).contains("alert/3/two (waiting): has this version already"));
    for n in 1..=3 {
        server.push("ack", &json!({ "n": n }));
        assert_eq!(server.ended(&format!("alert/{n}/two"))["state"], "done");
    }
    assert_eq!(written(&house, 4), ["odd", "second 1", "new 2", "new 3"]);
    // A new event has the flow as it is in the folder.
    assert_eq!(
        server.verb(&["upgrade", "two/two.rhai"]).status.code(),
        Some(1)
    );
}

#[test]
fn a_moved_run_keeps_its_version_through_a_kill() {
    let house = house();
    house.flow("alert/two", TWO_NOTES);
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    asleep(&server, "alert/1/two");
    house.file("new.rhai", &TWO_NOTES.replace("second", "moved"));
    let moved = server.verb(&["upgrade", "new.rhai", "--flow", "alert/two"]);
    assert!(moved.status.success(), "{}", stderr(&moved));
    server.kill();
    let server = house.serve();
    server.push("ack", &json!({ "n": 1 }));
    let run = server.ended("alert/1/two");
    assert!(story(&run).contains("moved"), "{run:#}");
    assert_eq!(written(&house, 2), ["first 1", "moved 1"]);
}

fn blocked(house: &House) -> Running<'_> {
    house.flow("alert/note", r#"file::append("log", "a"); throw "no";"#);
    let server = house.serve();
    server.push("alert", &json!({}));
    server.ended("alert/1/note");
    house.flow("alert/note", r#"file::append("log", "b");"#);
    took_up(&server, 1);
    assert!(server.verb(&["retry", "alert/1/note"]).status.success());
    in_state(&server, "alert/1/note", "blocked");
    server
}

#[test]
fn a_blocked_run_becomes_live_again_with_a_version_that_is_safe_for_it() {
    let house = house();
    let server = blocked(&house);
    let said = server.verb(&["upgrade", "--dry-run", "flows/alert/note.rhai"]);
    assert!(
        stdout(&said).contains("alert/1/note (blocked): diverges"),
        "{}",
        stdout(&said)
    );
    house.file(
        "new.rhai",
        r#"file::append("log", "a"); file::append("log", "mended");"#,
    );
    let said = server.verb(&["upgrade", "new.rhai", "--flow", "alert/note"]);
    assert!(
        stdout(&said).contains("alert/1/note (blocked): moved"),
        "{}",
        stdout(&said)
    );
    in_state(&server, "alert/1/note", "done");
    assert_eq!(written(&house, 2), ["a", "mended"]);
}

#[test]
fn a_blocked_run_is_left_by_a_fork() {
    let house = house();
    let server = blocked(&house);
    let said = server.verb(&["fork", "alert/1/note", "--at", "0"]);
    assert!(said.status.success(), "{}", stderr(&said));
    assert_eq!(server.ended("alert/1/note~2")["state"], "done");
    assert_eq!(server.run("alert/1/note")["state"], "cancelled");
    assert_eq!(written(&house, 2), ["a", "b"]);
}

#[test]
fn runs_that_are_woken_while_others_are_moved_go_on() {
    let house = house();
    house.flow("alert/two", TWO_NOTES);
    house.file("new.rhai", &TWO_NOTES.replace("second", "moved"));
    let server = house.serve();
    for n in 1..=20 {
        server.push("alert", &json!({ "n": n }));
    }
    asleep(&server, "alert/20/two");
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| server.verb(&["upgrade", "new.rhai", "--flow", "alert/two"]));
        for n in 1..=20 {
            server.push("ack", &json!({ "n": n }));
        }
        assert!(moving.join().unwrap().status.code().is_some());
    });
    for n in 1..=20 {
        let run = server.ended(&format!("alert/{n}/two"));
        assert_eq!(run["state"], "done", "{run:#}");
    }
    assert_eq!(lines(&house.path("out/log")).len(), 40);
}

#[test]
fn a_run_that_went_on_while_it_was_tried_keeps_its_version() {
    const RUNS: i64 = 24;
    let house = house();
    let flow = r#"watch("ack", #{ n: event.n }, "1h"); watch("other", #{ n: event.n }, "1h");"#;
    house.flow("alert/two", flow);
    // It asks for the same first, after much thought, and then for something else.
    let slow = format!("for i in 0..100000 {{}} {}", flow.replace("other", "alert"));
    house.file("new.rhai", &slow);
    let server = house.serve();
    for n in 1..=RUNS {
        server.push("alert", &json!({ "n": n }));
    }
    asleep(&server, &format!("alert/{RUNS}/two"));
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| server.verb(&["upgrade", "new.rhai", "--flow", "alert/two"]));
        for n in 1..=RUNS {
            server.push("ack", &json!({ "n": n }));
            wait_for("the second wait", || {
                let waits_for = server.run(&format!("alert/{n}/two"))["waits_for"].to_string();
                (!waits_for.contains("ack")).then_some(())
            });
        }
        assert!(moving.join().unwrap().status.code().is_some());
    });
    for n in 1..=RUNS {
        server.push("other", &json!({ "n": n }));
        server.push("alert", &json!({ "n": n }));
        let run = server.ended(&format!("alert/{n}/two"));
        assert_eq!(run["state"], "done", "{run:#}");
    }
}

#[test]
fn an_event_explains_what_each_flow_made_of_it() {
    let house = house();
    house.flow(
        "alert/serious",
        r#"fn filter(event) { event.status == "PROBLEM" && (event.severity.to_int() ?? 0) >= 4 }
           file::append("log", "never");"#,
    );
    house.flow("alert/all", r#"file::append("log", event.status);"#);
    house.flow(
        "alert/raises",
        r#"fn filter(event) { throw "odd" } print("x");"#,
    );
    house.flow(
        "other/wait",
        r#"watch("alert", #{ status: "PROBLEM" }, "1h");"#,
    );
    let server = house.serve();
    server.push("other", &json!({}));
    asleep(&server, "other/1/wait");
    let id = server.push("alert", &json!({ "status": "PROBLEM", "severity": "3" }));
    for run in ["alert/1/all", "other/1/wait", "alert/1/raises"] {
        server.ended(run);
    }
    let said = server.verb(&["explain", &id]);
    let said = stdout(&said);
    for part in [
        "flow serious: did not match",
        "(event.severity.to_int() ?? 0) >= 4 is false: event.severity.to_int() ?? 0 is 3",
        "serious.rhai:1:",
        "flow all: matched",
        r#"#0 file::append("log", "PROBLEM") → "#,
        "flow raises: the filter raised",
        "odd",
        r#"woke other/1/wait at "#,
        r#"#0 watch("alert", {"status":"PROBLEM"}, "1h")"#,
    ] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    let json = server.get("events/alert%2F1/explain");
    let because = &json["flows"][2]["because"];
    assert_eq!(because["was"], false, "{json:#}");
    assert_eq!(because["values"][0]["value"], 3, "{json:#}");
    assert_eq!(json["complete"], true);
    assert!(!server.verb(&["explain", "alert/9"]).status.success());
}

#[test]
fn a_batch_for_a_run_that_waits_is_refused_when_it_waits_for_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let run: RunId = "alert/1/page".parse().unwrap();
    for size in [10, 20_000] {
        let mut batch = Batch::new();
        batch.append(&run, vec![1]);
        batch.put_wait(&run, vec![7; size]);
        store.commit_blocking(batch).unwrap();
        let moved = |record: Vec<u8>| {
            let mut batch = Batch::new();
            batch.if_waits(&run, record);
            batch.note(&run, vec![2]);
            store.commit_blocking(batch)
        };
        let records = store.journal(&run).unwrap().len();
        let mut other = vec![7; size];
        other[size / 2] = 8;
        assert!(matches!(moved(other), Err(StoreError::Lost { .. })));
        assert_eq!(store.journal(&run).unwrap().len(), records);
        assert!(moved(vec![7; size]).is_ok());
        let mut batch = Batch::new();
        batch.wake(&run);
        store.commit_blocking(batch).unwrap();
        assert!(matches!(moved(vec![7; size]), Err(StoreError::Lost { .. })));
    }
}

#[test]
fn a_token_for_one_channel_hands_in_no_script_and_sees_no_other_channel() {
    let token = |house: &House, options: &[&str]| {
        let mut arguments = vec!["token", "new", "--name", "x"];
        arguments.extend(options);
        arguments.extend(["--right", "send", "--right", "read", "--right", "operate"]);
        let said = stdout(&house.run(&arguments));
        let (token, block) = said.split_once("\n\n").unwrap();
        (token.to_owned(), block.to_owned())
    };
    let maker = House::new();
    let (all, all_block) = token(&maker, &[]);
    let (one, one_block) = token(&maker, &["--channel", "alert"]);
    let house = house().settings(&format!("{all_block}\n{one_block}"));
    house.flow("alert/two", TWO_NOTES);
    house.flow("other/wait", r#"watch("alert"); sleep("1h");"#);
    let server = house.serve();
    let ask = |token: &str, path: &str, body: Option<&Json>| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let body = body.map(ToString::to_string);
        server.ask(path, &headers, body.as_ref().map(String::as_bytes))
    };
    let get = |path: &str| ask(&all, path, None).json();
    let push = |channel: &str, event: &Json| {
        let path = format!("/api/v1/channels/{channel}/events");
        assert_eq!(ask(&all, &path, Some(event)).status, 202);
    };
    let waits = |run: &str| {
        wait_for("a run that waits", || {
            let waiting = get("/api/v1/runs?state=waiting").to_string();
            waiting.contains(run).then_some(())
        });
    };
    push("other", &json!({}));
    waits("other/1/wait");
    push("alert", &json!({ "n": 1 }));
    waits("alert/1/two");
    waits("other/1/wait");
    wait_for("what woke", || {
        let seen = get("/api/v1/events/alert%2F1/explain")["woke"].to_string();
        seen.contains("other/1/wait").then_some(())
    });
    let seen = ask(&one, "/api/v1/events/alert%2F1/explain", None).json();
    assert_eq!(seen["woke"], json!([]), "{seen:#}");
    let path = "/api/v1/runs/alert%2F1%2Ftwo/fork";
    let script = json!({ "name": "x.rhai", "source": TWO_NOTES });
    let with_script = json!({ "at": 0, "script": script });
    assert_eq!(ask(&one, path, Some(&with_script)).status, 403);
    assert_eq!(ask(&one, path, Some(&json!({ "at": "x" }))).status, 400);
    let upgrade = "/api/v1/flows/alert%2Ftwo/upgrade";
    assert_eq!(
        ask(&one, upgrade, Some(&json!({ "script": script }))).status,
        403
    );
    assert_eq!(
        ask(&one, upgrade, Some(&json!({ "dry_run": true }))).status,
        200
    );
    assert_eq!(ask(&one, path, Some(&json!({ "at": 0 }))).status, 200);
}
