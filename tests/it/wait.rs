//! Runs that wait on the real server: they hold nothing while they do, wake for what they asked for,
//! and survive that the process is killed meanwhile.

use serde_json::{Value as Json, json};

use crate::house::{House, Running, lines, wait_for};

pub fn house() -> House {
    let house = House::new().settings("[file]\nfolder = \"out\"");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house
        .channel("alert", "")
        .channel("ack", "")
        .channel("other", "");
    house
}

/// Waits until a run waits.
pub fn asleep(server: &Running<'_>, run: &str) -> Json {
    wait_for("a run that waits", || {
        let waiting = server.get("runs?state=waiting");
        let rows = waiting["runs"].as_array()?.clone();
        rows.into_iter().find(|row| row["run"] == run)
    })
}

pub fn written(house: &House, count: usize) -> Vec<String> {
    wait_for("lines", || {
        let lines = lines(&house.path("out/log"));
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn a_run_sleeps_and_goes_on() {
    let house = house();
    house.flow(
        "alert/nap",
        r#"sleep("50ms"); file::append("log", "rested");"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    assert_eq!(written(&house, 1), ["rested"]);
}

#[test]
fn a_run_that_waits_survives_a_kill_and_sees_what_comes_after() {
    let house = house();
    house.flow(
        "alert/page",
        r#"let ack = watch("ack", #{ key: event.key }, "1h");
           file::append("log", `${event.key} ${ack.by}`);"#,
    );
    let server = house.serve();
    server.push("alert", &json!({ "key": "a" }));
    server.push("alert", &json!({ "key": "b" }));
    asleep(&server, "alert/1/page");
    asleep(&server, "alert/2/page");
    server.kill();
    let server = house.serve();
    server.push("ack", &json!({ "key": "b", "by": "marie" }));
    assert_eq!(written(&house, 1), ["b marie"]);
    server.push("ack", &json!({ "key": "a", "by": "jean" }));
    assert_eq!(written(&house, 2), ["b marie", "a jean"]);
}

#[test]
fn a_timeout_gives_nothing_and_a_list_says_which_channel() {
    let house = house();
    house.flow(
        "alert/wait",
        r#"let none = watch("ack", "20ms");
           let some = watch(["other", "ack"], #{ n: 1 });
           file::append("log", `${none == ()} ${some.channel} ${some.event.text}`);"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    wait_for("the second wait", || {
        let waits = asleep(&server, "alert/1/wait")["waits_for"].to_string();
        waits.contains("other").then_some(())
    });
    server.push("ack", &json!({ "n": 2, "text": "no" }));
    server.push("ack", &json!({ "n": 1.0, "text": "yes" }));
    assert_eq!(written(&house, 1), ["true ack yes"]);
}

#[test]
fn a_recovery_that_came_meanwhile_is_not_missed_and_is_seen_once() {
    let house = house();
    house.flow(
        "alert/recovery",
        r#"fn filter(event) { event.status == "PROBLEM" }
           sleep("300ms");
           let ok = #{ host: event.host, status: "OK" };
           let first = watch("alert", ok, "30s");
           let second = watch("alert", ok, "50ms");
           file::append("log", `${first.n} ${second == ()}`);"#,
    );
    let server = house.serve();
    server.push("alert", &json!({ "host": "a", "status": "OK", "n": 1 }));
    server.push("alert", &json!({ "host": "a", "status": "PROBLEM" }));
    server.push("alert", &json!({ "host": "b", "status": "OK", "n": 2 }));
    server.push("alert", &json!({ "host": "a", "status": "OK", "n": 3 }));
    assert_eq!(written(&house, 1), ["3 true"]);
}

#[test]
fn an_event_is_taken_by_the_longest_waiting_run_and_no_flow_sees_it() {
    let house = house();
    house.flow(
        "alert/take",
        r#"let got = receive("other"); file::append("log", `${event.n} got ${got.n}`);"#,
    );
    house.flow(
        "other/see",
        r#"file::append("log", `flow saw ${event.n}`);"#,
    );
    let server = house.serve();
    for n in 1..=2 {
        server.push("alert", &json!({ "n": n }));
        asleep(&server, &format!("alert/{n}/take"));
    }
    for n in 1..=3 {
        server.push("other", &json!({ "n": n }));
    }
    let mut seen = written(&house, 3);
    seen.sort();
    assert_eq!(seen, ["1 got 1", "2 got 2", "flow saw 3"]);
}

#[test]
fn what_waits_in_a_channel_is_taken_oldest_first() {
    let house = house();
    house.flow(
        "alert/take",
        r#"let got = receive("ack", #{ k: "x" }); file::append("log", `got ${got.n}`);"#,
    );
    let server = house.serve();
    for (n, k) in [(1, "y"), (2, "x"), (3, "x")] {
        server.push("ack", &json!({ "n": n, "k": k }));
    }
    server.push("alert", &json!({}));
    written(&house, 1);
    server.push("alert", &json!({}));
    assert_eq!(written(&house, 2), ["got 2", "got 3"]);
}

#[test]
fn a_closure_narrows_a_wait_further_and_sees_the_script() {
    let house = house();
    house.flow(
        "alert/wait",
        r#"let limit = event.limit;
           let big = watch("ack", #{ k: "x" }, "1h", |ack| ack.n > limit);
           let any_big = any([after("1h"), on("other", |other| other.n > limit)]);
           file::append("log", `${big.n} ${any_big.which} ${any_big.event.n}`);"#,
    );
    let server = house.serve();
    server.push("alert", &json!({ "limit": 5 }));
    asleep(&server, "alert/1/wait");
    for n in [3, 7] {
        server.push("ack", &json!({ "k": "x", "n": n }));
        server.push("other", &json!({ "n": n + 1 }));
    }
    assert_eq!(written(&house, 1), ["7 1 8"]);
}

#[test]
fn the_first_of_several_wins_and_the_others_are_gone() {
    let house = house();
    house.flow(
        "alert/first",
        r#"let first = any([on("ack", #{ k: event.k }), on("other"), after(event.limit)]);
           file::append("log", `${event.k} ${first.which} ${first.event == ()}`);
           sleep("1h");"#,
    );
    let server = house.serve();
    server.push("alert", &json!({ "k": "a", "limit": "80ms" }));
    asleep(&server, "alert/1/first");
    assert_eq!(written(&house, 1), ["a 2 true"]);
    server.push("alert", &json!({ "k": "b", "limit": "1h" }));
    server.push("ack", &json!({ "k": "b", "limit": "1h" }));
    assert_eq!(written(&house, 2)[1], "b 0 false");
    server.push("other", &json!({}));
    asleep(&server, "alert/2/first");
    let run = server.run("alert/2/first");
    assert!(
        run["waits_for"].as_str().unwrap().starts_with("until "),
        "{run}"
    );
}

#[test]
fn a_cancelled_run_tidies_up_once() {
    let house = house();
    house.flow(
        "alert/long",
        r#"try { sleep("30d"); } catch (err) { file::append("log", `${err.verb} ${err.kind}`); sleep("20ms"); }
           file::append("log", "tidy");"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    asleep(&server, "alert/1/long");
    let said = server.verb(&["cancel", "alert/1/long"]);
    assert!(said.status.success(), "{said:?}");
    assert_eq!(server.ended("alert/1/long")["state"], "cancelled");
    assert_eq!(written(&house, 2), ["sleep cancelled", "tidy"]);
    assert!(!server.verb(&["cancel", "alert/1/long"]).status.success());
}

#[test]
fn a_killed_run_ends_at_once() {
    let house = house();
    house.flow(
        "alert/long",
        r#"try { sleep("30d"); } catch { file::append("log", "told"); }"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    asleep(&server, "alert/1/long");
    assert!(server.verb(&["kill", "alert/1/long"]).status.success());
    let run = server.ended("alert/1/long");
    assert_eq!(
        (&run["state"], &run["message"]),
        (&json!("cancelled"), &json!("killed by a person"))
    );
    server.kill();
    let server = house.serve();
    assert_eq!(server.run("alert/1/long")["state"], "cancelled");
    assert!(lines(&house.path("out/log")).is_empty());
}

#[test]
fn a_run_begins_anew_with_what_it_carries_over() {
    let house = house();
    house.flow(
        "alert/rounds",
        r#"let state = carried() ?? #{ round: 1 };
           let tick = watch("ack");
           file::append("log", `${state.round} ${tick.n}`);
           if state.round < 3 { continue_as(#{ round: state.round + 1 }); }"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    for n in 1..=3 {
        server.push("ack", &json!({ "n": n }));
    }
    let run = server.ended("alert/1/rounds");
    assert_eq!(run["state"], "done", "{run:#}");
    assert_eq!(written(&house, 3), ["1 1", "2 2", "3 3"]);
}

#[test]
fn a_wait_that_makes_no_sense_is_an_error_that_can_be_caught() {
    let house = house();
    house.flow(
        "alert/wrong",
        r#"for what in [|| sleep("soon"), || watch("nowhere"), || any([]), || receive(7)] {
               try { what.call(); } catch (err) { file::append("log", err.message); }
           }"#,
    );
    let server = house.serve();
    server.push("alert", &json!({}));
    let said = written(&house, 4);
    assert!(said[0].contains("`soon` is no duration"), "{said:?}");
    assert!(said[1].contains("no channel `nowhere`"), "{said:?}");
    assert!(said[2].contains("for ever"), "{said:?}");
    assert!(said[3].contains("named by text"), "{said:?}");
}

#[test]
fn a_further_event_is_noted_on_a_run_that_waits_also_after_a_kill() {
    let house = house();
    house.flow(
        "alert/one",
        r#"watch("ack"); file::append("log", event.n.to_string());"#,
    );
    house.file("flows/alert/one.toml", "one_run_per = [\"host\"]");
    let server = house.serve();
    server.push("alert", &json!({ "host": "a", "n": 1 }));
    asleep(&server, "alert/1/one");
    server.push("alert", &json!({ "host": "a", "n": 2 }));
    let noted = |server: &Running<'_>, count: usize| {
        wait_for("a note", || {
            let run = server.run("alert/1/one");
            let notes = run["journal"]
                .as_array()?
                .iter()
                .filter(|entry| entry["what"] == "note")
                .count();
            (notes == count).then_some(())
        });
    };
    noted(&server, 1);
    server.kill();
    let server = house.serve();
    server.push("alert", &json!({ "host": "a", "n": 3 }));
    noted(&server, 2);
    server.push("ack", &json!({}));
    server.ended("alert/1/one");
    server.push("alert", &json!({ "host": "a", "n": 4 }));
    asleep(&server, "alert/4/one");
    assert_eq!(lines(&house.path("out/log")), ["1"]);
}

#[test]
fn runs_that_wait_hold_neither_place_nor_turn() {
    let house = house();
    house.flow(
        "alert/line",
        r#"watch("ack", #{ n: event.n }); file::append("log", `${event.n}`);"#,
    );
    house.file(
        "flows/alert/line.toml",
        "runs_at_once_max = 1\norder_by = \"host\"",
    );
    let server = house.serve();
    for n in 1..=3 {
        server.push("alert", &json!({ "host": "a", "n": n }));
    }
    asleep(&server, "alert/3/line");
    for n in [3, 1, 2] {
        server.push("ack", &json!({ "n": n }));
        server.ended(&format!("alert/{n}/line"));
    }
    assert_eq!(written(&house, 3), ["3", "1", "2"]);
}
