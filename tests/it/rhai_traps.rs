//! Traps of the language that a durable flow must not fall into: errors that its words swallow, names
//! of closures, types that JSON would lose, conditions that do what they may not.

use serde_json::json;

use crate::house::{House, Running, lines, wait_for};

fn house() -> House {
    let house = House::new().settings("[file]\nfolder = \"out\"");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house.channel("alert", "").channel("ack", "");
    house
}

fn asleep(server: &Running<'_>, run: &str) {
    wait_for("a run that waits", || {
        let waiting = server.get("runs?state=waiting");
        let rows = waiting["runs"].as_array()?.clone();
        rows.iter().any(|row| row["run"] == run).then_some(())
    });
}

/// Runs a flow to its end, killing the server once it waits, `kills` times; what its run gave.
fn ends_with(script: &str, kills: usize) -> serde_json::Value {
    let house = house();
    house.flow("alert/trap", script);
    let mut server = house.serve();
    server.push("alert", &json!({ "n": 3 }));
    for n in 0..kills {
        asleep(&server, "alert/1/trap");
        server.kill();
        server = house.serve();
        // Each wait sees an event once.
        for _ in 0..10 {
            server.push("ack", &json!({ "n": n, "c": "x" }));
        }
    }
    server.ended("alert/1/trap")
}

#[test]
fn a_wait_inside_a_word_that_swallows_errors_is_a_wait_all_the_same() {
    let inside = [
        r#"[1].map(|x| watch("ack").n)[0]"#,
        r#"[1].filter(|x| watch("ack").n == 0).len() - 1"#,
        r#"[0, 1].reduce(|a, b| watch("ack", #{ n: 0 }).n)"#,
        r#"{ let l = [2, 1]; l.sort(|a, b| { watch("ack", #{ n: 0 }); a - b }); l[0] - 1 }"#,
        r#"{ let l = [1, 1]; l.dedup(|a, b| watch("ack", #{ n: 0 }).n == 0); l.len() - 1 }"#,
        r#"[1].some(|x| watch("ack").n == 0).to_string().len() - 4"#,
        r#"[1].find_map(|x| watch("ack").n)"#,
        r#"{ let n = 7; [1].for_each(|| n = watch("ack").n); n }"#,
        r#"any([1].map(|x| on("ack"))).event.n"#,
        r#"(|| watch("ack").n).call()"#,
    ];
    for wrapped in inside {
        let script = format!(
            "print(\"before\"); let got = 9; try {{ got = {wrapped}; }} catch (err) {{ got = `${{err}}`; }} \
             print(`after ${{got}}`); got"
        );
        let run = ends_with(&script, 1);
        assert_eq!(run["state"], "done", "{wrapped}: {run:#}");
        assert_eq!(
            run["console"],
            json!(["before", "after 0"]),
            "{wrapped}: {run:#}"
        );
    }
}

#[test]
fn a_sleep_inside_a_sort_that_is_the_last_word_is_slept() {
    let script = r#"let l = [3, 1, 2];
        l.sort(|a, b| { sleep("5ms"); watch("ack", #{ n: 0 }); a - b })"#;
    let run = ends_with(script, 1);
    assert_eq!(run["state"], "done", "{run:#}");
}

#[test]
fn a_char_and_bytes_keep_their_type_through_a_wait_and_a_restart() {
    let script = r#"
        if carried() == () {
            continue_as(#{ c: "xyz"[1], bytes: "raw".to_blob(), i: 1, f: 1.0, none: () });
        }
        let carried = carried();
        emit("ack", carried + #{ n: -1 });
        let seen = watch("ack", #{ n: -1 });
        state::set("kept", seen);
        watch("ack", #{ n: 0 });
        let kept = state::get("kept");
        let told = "";
        for one in [carried, seen, kept] {
            told += `${type_of(one.c)} ${one.c == 'y'} ${type_of(one.bytes)} ${one.bytes.text()} `
                + `${type_of(one.i)} ${type_of(one.f)} ${type_of(one.none)}, `;
        }
        print(told);
    "#;
    let run = ends_with(script, 1);
    assert_eq!(run["state"], "done", "{run:#}");
    let each = "char true blob raw i64 f64 (), ";
    assert_eq!(run["console"], json!([each.repeat(3)]), "{run:#}");
}

#[test]
fn a_closure_is_found_again_by_another_process_and_another_kill() {
    let script = r#"
        let limit = event.n - 2;
        let late = |x| x.n >= limit;
        let first = watch("ack", late);
        let second = any([on("ack", |x| x.n > first.n), after("1h")]);
        `${first.n} ${second.event.n} ${type_of(late)}`
    "#;
    let run = ends_with(script, 3);
    assert_eq!(run["state"], "done", "{run:#}");
    assert!(run.to_string().contains("1 2 Fn"), "{run:#}");
}

#[test]
fn a_condition_that_may_not_go_on_is_an_error_that_can_be_caught() {
    let conditions = [
        ("|x| now() > 0", "cannot be used in a condition"),
        (
            "|x| { emit(\"ack\", #{}); true }",
            "cannot be used in a condition",
        ),
        ("|x| watch(\"ack\") == ()", "cannot be used in a condition"),
        ("|x| throw \"no\"", "raised"),
        ("|x| x.n.nowhere.deeper", "raised"),
        ("|x| 7", "true or false"),
        ("|x| { loop {} }", "1,000,000 operations"),
        (
            "|x| { [2, 1].sort(|a, b| { loop {} }); true }",
            "1,000,000 operations",
        ),
        (
            "|x| { let l = []; for i in 0..4000 { let s = \"x\"; s.pad(60000 + i, \"y\"); l.push(s); } true }",
            "",
        ),
    ];
    for (condition, said) in conditions {
        let script = format!(
            "let told = \"nothing\"; try {{ watch(\"ack\", #{{ n: 0 }}, {condition}); }} \
             catch (err) {{ told = err.message; }} file::append(\"log\", told);"
        );
        let house = house();
        house.flow("alert/trap", &script);
        let server = house.serve();
        server.push("alert", &json!({ "n": 3 }));
        asleep(&server, "alert/1/trap");
        server.push("ack", &json!({ "n": 0 }));
        assert_eq!(server.ended("alert/1/trap")["state"], "done", "{condition}");
        let log = lines(&house.path("out/log"));
        assert!(
            log[0].contains(said) && log[0] != "nothing",
            "{condition}: {log:?}"
        );
        let acks = server.get("channels");
        assert!(
            !acks.to_string().contains("\"depth\":2"),
            "{condition}: {acks}"
        );
    }
}
