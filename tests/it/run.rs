//! Runs on the real server: what is tried again and what is not, what survives a restart, what one
//! flow cannot do to another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::blackbox::STRUCK_REST;
use vigie::standin::{Mischief, Reply, Seen, Server};

use crate::house::{House, PATIENCE, Running, lines, wait_for, wait_longer_for};

/// Something on the network that flows act on.
struct Target {
    runtime: Runtime,
    server: Server,
}

impl Target {
    fn new() -> Target {
        Target::answering(|_| Reply::json(200, &json!({ "ok": true })))
    }

    fn answering(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Target {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(8).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(answer)).unwrap();
        Target { runtime, server }
    }

    fn seen(&self) -> Vec<Seen> {
        self.server.requests()
    }

    fn wait(&self, count: usize) {
        wait_for("requests", || (self.seen().len() >= count).then_some(()));
        let _ = &self.runtime;
    }

    /// The script with the target's address in it.
    fn script(&self, script: &str) -> String {
        script.replace("TARGET", &self.server.url())
    }
}

fn house() -> House {
    let house = House::new().settings("[file]\nfolder = \"out\"");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house.channel("alert", "");
    house
}

fn texts(run: &Json, what: &str) -> Vec<String> {
    let entries = run["journal"].as_array().unwrap().iter();
    let fitting = entries.filter(|entry| entry["what"] == what);
    fitting
        .map(|entry| entry["text"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn retry(server: &Running<'_>, run: &str) {
    let output = server.verb(&["retry", run]);
    assert!(output.status.success(), "{output:?}");
}

fn took_up(server: &Running<'_>, count: usize) {
    wait_for("the new version", || {
        (server.log().matches("took up the changed house").count() >= count).then_some(())
    });
}

fn away(seconds: u64) -> Mischief {
    Mischief::Answer(Reply::empty(503).with("retry-after", &seconds.to_string()))
}

// divergence and versions

#[test]
fn a_script_that_asks_something_else_blocks_its_run_with_both_texts() {
    let house = house();
    house.flow(
        "alert/note",
        r#"file::append("note", "first"); file::append("note", "second"); throw "no";"#,
    );
    let server = house.serve();
    for _ in 0..3 {
        server.push("alert", &json!({}));
    }
    for n in 1..=3 {
        assert_eq!(server.ended(&format!("alert/{n}/note"))["state"], "failed");
    }
    let changed = [
        r#"file::append("note", "first"); file::append("note", "other");"#,
        r#"file::append("note", "first");"#,
        r#"file::append("note", "first"); now();"#,
    ];
    let asked = [
        r#"script asked now: file::append("note", "other")"#,
        "script asked now: nothing, the script ends here",
        "script asked now: now()",
    ];
    for (index, script) in changed.iter().enumerate() {
        house.flow("alert/note", script);
        took_up(&server, index + 1);
        let id = format!("alert/{}/note", index + 1);
        retry(&server, &id);
        let run = wait_for("the block", || {
            Some(server.run(&id)).filter(|run| run["state"] == "blocked")
        });
        let message = run["message"].as_str().unwrap();
        assert!(
            message.contains("diverged from its journal at command 1"),
            "{message}"
        );
        assert!(
            message.contains(r#"journal recorded: file::append("note", "second")"#),
            "{message}"
        );
        assert!(message.contains(asked[index]), "{message}");
    }
    assert_eq!(lines(&house.path("out/note")).len(), 6);
    // It is blocked, not tried again, also after a restart.
    assert_eq!(server.stop(), Some(0));
    let server = house.serve();
    assert_eq!(server.run("alert/1/note")["state"], "blocked");
    assert_eq!(lines(&house.path("out/note")).len(), 6);
}

#[test]
fn a_run_ends_with_the_text_it_began_with() {
    let (house, target) = (house(), Target::new());
    house.flow("_words", "fn word() { \"old\" }");
    let script = r#"import "_words" as w; http::get("TARGET/a"); file::append("note", `${event.n} ${w::word()}`);"#;
    house.flow("alert/note", &target.script(script));
    let server = house.serve();
    target.server.fail_next(1, away(1));
    server.push("alert", &json!({ "n": 1 }));
    target.wait(1);
    house.flow("_words", "fn word() { \"new\" }");
    took_up(&server, 1);
    assert_eq!(server.push("alert", &json!({ "n": 2 })), "alert/2");
    server.ended("alert/2/note");
    assert_eq!(server.ended("alert/1/note")["state"], "done");
    assert_eq!(lines(&house.path("out/note")), ["2 new", "1 old"]);
}

#[test]
fn a_run_ends_with_the_text_it_began_with_after_a_kill_and_without_its_file() {
    let (house, target) = (house(), Target::new());
    let script = r#"http::get("TARGET/a"); file::append("note", "old");"#;
    house.flow("alert/note", &target.script(script));
    house.flow("alert/gone", &target.script(&script.replace("old", "gone")));
    let server = house.serve();
    target.server.fail_next(6, away(1));
    server.push("alert", &json!({}));
    target.wait(2);
    wait_for("the tries", || {
        let both = ["note", "gone"]
            .map(|flow| server.run(&format!("alert/1/{flow}"))["tries"]["count"] == 1);
        (both == [true, true]).then_some(())
    });
    server.kill();
    house.flow("alert/note", r#"file::append("note", "new");"#);
    std::fs::remove_file(house.path("flows/alert/gone.rhai")).unwrap();
    let server = house.serve();
    assert_eq!(server.ended("alert/1/note")["state"], "done");
    assert_eq!(server.ended("alert/1/gone")["state"], "done");
    let mut said = lines(&house.path("out/note"));
    said.sort();
    assert_eq!(said, ["gone", "old"]);
}

#[test]
fn runs_without_their_files_wait_each_for_itself() {
    let (house, target) = (
        house(),
        Target::answering(|seen| match seen.path.as_str() {
            "/1" => Reply::empty(503).with("retry-after", "600"),
            _ => Reply::json(200, &json!({})),
        }),
    );
    house.flow(
        "alert/note",
        &target.script(r#"http::get(`TARGET/${event.n}`); file::append("note", `${event.n}`);"#),
    );
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    target.wait(1);
    target.server.fail_next(1, away(1));
    server.push("alert", &json!({ "n": 2 }));
    wait_for("the tries", || {
        (server.run("alert/2/note")["tries"]["count"] == 1).then_some(())
    });
    server.kill();
    std::fs::remove_file(house.path("flows/alert/note.rhai")).unwrap();
    let server = house.serve();
    assert_eq!(server.ended("alert/2/note")["state"], "done");
    assert_eq!(server.run("alert/1/note")["state"], "live");
}

#[test]
fn a_flow_that_goes_and_comes_back_does_nothing_twice() {
    let (house, target) = (house(), Target::new());
    let script = target.script(r#"http::put("TARGET/a"); http::put("TARGET/b");"#);
    house.flow("alert/note", &script);
    let server = house.serve();
    target
        .server
        .fail_next(1, Mischief::Delay(Duration::from_secs(2)));
    server.push("alert", &json!({}));
    target.wait(1);
    std::fs::remove_file(house.path("flows/alert/note.rhai")).unwrap();
    took_up(&server, 1);
    house.flow("alert/note", &script);
    took_up(&server, 2);
    assert_eq!(server.ended("alert/1/note")["state"], "done");
    server.push("alert", &json!({}));
    assert_eq!(server.ended("alert/2/note")["state"], "done");
    assert_eq!(target.seen().len(), 4);
}

// retries

#[test]
fn a_target_that_names_a_time_is_left_alone_so_long() {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target.script(r#"http::post("TARGET/a", #{ json: 1 });"#),
    );
    let server = house.serve();
    target.server.fail_next(2, away(1));
    let began = Instant::now();
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "done", "{run}");
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let seen = target.seen();
    assert_eq!(seen.len(), 3);
    let keys: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("idempotency-key"))
        .collect();
    assert!(
        keys[0].is_some() && keys.iter().all(|key| *key == keys[0]),
        "{keys:?}"
    );
}

#[test]
fn a_target_that_stays_away_is_given_up_and_retry_begins_anew() {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target.script(r#"http::get("TARGET/a"); file::append("note", "done");"#),
    );
    house.file("flows/alert/note.toml", "give_up_after = \"1s\"");
    let server = house.serve();
    target.server.fail_next(3, away(1));
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "failed", "{run}");
    assert!(
        run["message"]
            .as_str()
            .unwrap()
            .contains("`http::get` failed"),
        "{run}"
    );
    assert_eq!(target.seen().len(), 2);
    assert_eq!(server.get("dead")["dead"][0]["run"], "alert/1/note");
    // One more refusal of the target is no reason to give up at once.
    retry(&server, "alert/1/note");
    wait_for("the end", || {
        (server.run("alert/1/note")["state"] == "done").then_some(())
    });
    assert_eq!(target.seen().len(), 4);
    assert_eq!(lines(&house.path("out/note")), ["done"]);
    assert!(server.get("dead")["dead"].as_array().unwrap().is_empty());
}

#[test]
fn other_failures_count_towards_attempts_max_and_retry_finishes_the_run() {
    let house = house();
    house.flow(
        "alert/note",
        r#"file::append("first", "a"); file::append("note", "b"); file::append("last", "c");"#,
    );
    house.file("flows/alert/note.toml", "attempts_max = 2");
    std::fs::create_dir(house.path("out/note")).unwrap();
    let server = house.serve();
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "failed", "{run}");
    let outcome = run["journal"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .find(|entry| entry["what"] == "outcome")
        .unwrap();
    assert!(
        [1, 2].contains(&outcome["attempts"].as_i64().unwrap()),
        "{run}"
    );
    std::fs::remove_dir(house.path("out/note")).unwrap();
    retry(&server, "alert/1/note");
    wait_for("the end", || {
        (server.run("alert/1/note")["state"] == "done").then_some(())
    });
    for file in ["first", "note", "last"] {
        assert_eq!(
            lines(&house.path(&format!("out/{file}"))).len(),
            1,
            "{file}"
        );
    }
}

#[test]
fn a_refusal_ends_at_once_and_a_person_may_have_it_tried_again() {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target.script(r#"http::post("TARGET/a", #{ json: 1 });"#),
    );
    house.file("flows/alert/note.toml", "in_doubt = \"dead_letter\"");
    let server = house.serve();
    target.server.answer_next(1, 422);
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "failed", "{run}");
    let message = run["message"].as_str().unwrap();
    assert!(
        message.contains("`http::post` was refused")
            && message.contains("flows/alert/note.rhai:1:1"),
        "{message}"
    );
    assert_eq!(target.seen().len(), 1);
    retry(&server, "alert/1/note");
    wait_for("the end", || {
        (server.run("alert/1/note")["state"] == "done").then_some(())
    });
    assert_eq!(target.seen().len(), 2);
}

#[test]
fn two_people_who_retry_at_once_do_it_once() {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target.script(r#"http::post("TARGET/a", #{ json: 1 });"#),
    );
    let server = house.serve();
    target.server.answer_next(1, 422);
    server.push("alert", &json!({}));
    server.ended("alert/1/note");
    target
        .server
        .fail_next(4, Mischief::Delay(Duration::from_millis(200)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| server.ask("/api/v1/dead/alert%2F1%2Fnote/retry", &[], Some(b"")));
        }
    });
    wait_for("the end", || {
        (server.run("alert/1/note")["state"] == "done").then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(target.seen().len(), 2);
}

#[test]
fn a_failure_can_be_caught_with_all_that_is_known() {
    let (house, target) = (house(), Target::new());
    house.flow("alert/note", &target.script(
        r#"try { http::post("TARGET/a", #{ json: 1 }); } catch (err) {
            file::append("note", `${err.verb} ${err.kind} ${err.status} ${err.message.contains("409")}`);
        }"#,
    ));
    let server = house.serve();
    target.server.answer_next(1, 409);
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "done", "{run}");
    assert_eq!(
        lines(&house.path("out/note")),
        ["http::post refused 409 true"]
    );
}

// doubt

/// Kills the server while a POST is under way; how the run goes on.
fn killed_in_the_middle(policy: &str) -> (House, Target, Json) {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target.script(r#"http::post("TARGET/a", #{ json: 1 }); file::append("note", "done");"#),
    );
    house.file("flows/alert/note.toml", policy);
    let server = house.serve();
    target
        .server
        .fail_next(1, Mischief::Delay(Duration::from_secs(30)));
    server.push("alert", &json!({}));
    target.wait(1);
    server.kill();
    let server = house.serve();
    let run = server.ended("alert/1/note");
    if run["state"] == "failed" {
        assert_eq!(target.seen().len(), 1, "{run}");
        retry(&server, "alert/1/note");
        wait_for("the end", || {
            (server.run("alert/1/note")["state"] == "done").then_some(())
        });
    }
    drop(server);
    (house, target, run)
}

#[test]
fn what_is_in_doubt_is_repeated_with_the_same_key_and_says_so() {
    let (house, target, run) = killed_in_the_middle("");
    assert_eq!(run["state"], "done", "{run}");
    let seen = target.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[0].header("idempotency-key"),
        seen[1].header("idempotency-key")
    );
    assert_eq!(
        texts(&run, "note")
            .iter()
            .filter(|note| note.contains("may have been done already"))
            .count(),
        1,
        "{run}"
    );
    assert_eq!(lines(&house.path("out/note")), ["done"]);
}

#[test]
fn what_is_in_doubt_is_left_to_a_person_if_the_flow_says_so() {
    let (house, target, run) = killed_in_the_middle("in_doubt = \"dead_letter\"");
    assert_eq!(run["state"], "failed", "{run}");
    assert!(
        run["message"]
            .as_str()
            .unwrap()
            .contains("it may have been done already"),
        "{run}"
    );
    assert_eq!(target.seen().len(), 2);
    assert_eq!(lines(&house.path("out/note")), ["done"]);
}

// how many, in which order

/// A target that takes its time and writes down who was there together.
fn slow_target(each: Duration) -> (Target, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) {
    let (most, diary) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let (inside, seen_most, log) = (AtomicUsize::new(0), Arc::clone(&most), Arc::clone(&diary));
    let target = Target::answering(move |seen| {
        let count = inside.fetch_add(1, Ordering::SeqCst) + 1;
        seen_most.fetch_max(count, Ordering::SeqCst);
        log.lock().unwrap().push(format!("in {}", seen.path));
        std::thread::sleep(each);
        log.lock().unwrap().push(format!("out {}", seen.path));
        inside.fetch_sub(1, Ordering::SeqCst);
        Reply::json(200, &json!({}))
    });
    (target, most, diary)
}

#[test]
fn no_more_runs_act_at_once_than_the_flow_allows() {
    for limit in [1, 3] {
        let (target, most, _) = slow_target(Duration::from_millis(60));
        let house = house();
        house.flow(
            "alert/note",
            &target.script(r#"http::get(`TARGET/${event.n}`);"#),
        );
        house.file(
            "flows/alert/note.toml",
            &format!("runs_at_once_max = {limit}"),
        );
        let server = house.serve();
        for n in 0..9 {
            server.push("alert", &json!({ "n": n }));
        }
        for n in 1..=9 {
            server.ended(&format!("alert/{n}/note"));
        }
        let most = most.load(Ordering::SeqCst);
        assert!(most <= limit && most > limit / 2, "{most} of {limit}");
    }
}

#[test]
fn events_of_one_key_run_in_order_and_keys_beside_each_other() {
    let (target, most, diary) = slow_target(Duration::from_millis(30));
    let house = house();
    house.flow("alert/note", &target.script(r#"http::get(`TARGET/${event.host}/${event.n}/a`); http::get(`TARGET/${event.host}/${event.n}/b`);"#));
    house.file("flows/alert/note.toml", "order_by = \"host\"");
    let server = house.serve();
    let events: Vec<Json> = (0..15)
        .map(|n| json!({ "n": n, "host": format!("h{}", n % 3) }))
        .collect();
    server.push("alert", &Json::Array(events));
    for n in 1..=15 {
        assert_eq!(server.ended(&format!("alert/{n}/note"))["state"], "done");
    }
    let mut by_host: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in diary.lock().unwrap().iter() {
        let host = line.split('/').nth(1).unwrap().to_owned();
        by_host.entry(host).or_default().push(line.clone());
    }
    for (key, (host, lines)) in by_host.iter().enumerate() {
        let expected: Vec<String> = (0..5)
            .map(|round| round * 3 + key)
            .flat_map(|n| ["a", "b"].map(|part| format!("/{host}/{n}/{part}")))
            .flat_map(|path| [format!("in {path}"), format!("out {path}")])
            .collect();
        assert_eq!(lines, &expected);
    }
    assert!(
        most.load(Ordering::SeqCst) >= 2,
        "the keys waited for each other"
    );
}

#[test]
fn a_further_event_for_a_live_run_is_noted_on_it() {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target
            .script(r#"http::get("TARGET/a"); file::append("note", `${event.host} ${event.n}`);"#),
    );
    house.file("flows/alert/note.toml", "one_run_per = [\"host\"]");
    let server = house.serve();
    target.server.fail_next(1, away(2));
    server.push("alert", &json!({ "host": "a", "n": 1 }));
    target.wait(1);
    server.push("alert", &json!({ "host": "a", "n": 2 }));
    server.push("alert", &json!({ "host": "b", "n": 3 }));
    server.ended("alert/3/note");
    let run = wait_for("the note", || {
        Some(server.run("alert/1/note")).filter(|run| !texts(run, "note").is_empty())
    });
    assert!(texts(&run, "note")[0].contains("alert/2"), "{run}");
    // The note is on disk: the event is not taken for a new one after a kill, nor after the end.
    server.kill();
    let server = house.serve();
    server.ended("alert/1/note");
    server.push("alert", &json!({ "host": "a", "n": 4 }));
    assert_eq!(server.ended("alert/4/note")["state"], "done");
    assert_eq!(lines(&house.path("out/note")), ["b 3", "a 1", "a 4"]);
    assert!(server.run("alert/2/note")["state"].is_null());
}

#[test]
fn a_batch_is_full_or_old_enough() {
    let house = house();
    house.flow(
        "alert/all",
        r#"let all = ""; for event in events { all += `${event.n} `; } file::append("note", all);"#,
    );
    house.file(
        "flows/alert/all.toml",
        "[batch]\nsize_max = 3\nage_max = \"300ms\"",
    );
    let server = house.serve();
    let events: Vec<Json> = (0..7).map(|n| json!({ "n": n })).collect();
    server.push("alert", &Json::Array(events));
    wait_for("three batches", || {
        (lines(&house.path("out/note")).len() == 3).then_some(())
    });
    let mut batches = lines(&house.path("out/note"));
    batches.sort();
    assert_eq!(batches, ["0 1 2 ", "3 4 5 ", "6 "]);
}

// one flow and the others

#[test]
fn a_filter_that_raises_is_a_dead_letter_and_others_go_on() {
    let house = house();
    house.flow("alert/bad", "fn filter(event) {\n  event.severity.nothing.here > 3\n}\nfile::append(\"note\", \"bad\");");
    house.flow(
        "alert/loop",
        "fn filter(event) { [2, 1].sort(|a, b| { loop {} }); true }\n1",
    );
    house.flow(
        "alert/good",
        "fn filter(event) { event.n == 1 }\nfile::append(\"note\", \"good\");",
    );
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    let run = server.ended("alert/1/bad");
    assert_eq!(run["state"], "failed");
    let message = run["message"].as_str().unwrap();
    assert!(
        message.contains("the filter raised") && message.contains("flows/alert/bad.rhai:2:"),
        "{message}"
    );
    let run = server.ended("alert/1/loop");
    assert!(
        run["message"]
            .as_str()
            .unwrap()
            .contains("1,000,000 operations"),
        "{run}"
    );
    assert_eq!(server.ended("alert/1/good")["state"], "done");
    assert_eq!(lines(&house.path("out/note")), ["good"]);
    assert_eq!(server.get("dead")["dead"].as_array().unwrap().len(), 2);
}

#[test]
fn an_endless_flow_is_a_dead_letter_and_others_go_on() {
    let house = house();
    house.flow(
        "alert/loop",
        "print(\"begun\"); loop { try { [1].map(|x| { loop {} }) } catch {} }",
    );
    house.flow(
        "alert/eater",
        "let s = \"x\"; s.pad(200000, 'x'); let f = || 1; loop { f = f.curry(s + 1); }",
    );
    house.flow("alert/deep", "fn f(n) { f(n + 1) } f(0)");
    house.flow("alert/good", "file::append(\"note\", `${event.n}`);");
    let server = house.serve();
    for n in 0..3 {
        server.push("alert", &json!({ "n": n }));
    }
    for n in 1..=3 {
        for (flow, why) in [
            ("loop", "operations"),
            ("eater", "64 MiB"),
            ("deep", "tack overflow"),
        ] {
            let run = server.ended(&format!("alert/{n}/{flow}"));
            assert_eq!(run["state"], "failed");
            assert!(run["message"].as_str().unwrap().contains(why), "{run}");
        }
        assert_eq!(server.ended(&format!("alert/{n}/good"))["state"], "done");
    }
    assert_eq!(server.run("alert/1/loop")["console"], json!(["begun"]));
    assert_eq!(server.ask("/readyz", &[], None).status, 200);
}

/// For a thought that may take long on a busy machine.
const PATIENT: &str = "run_seconds_max = 300\n";
/// About a second of thinking, once the run has come where it hurts.
const HARD: &str = "let s = \"x\"; s.pad(20000, \'x\'); for i in 0..400 { sha256(s); } file::append(\"note\", `${event.n}`);";

/// Waits until some thread thinks about the first event, having come `position` commands far.
fn until_it_thinks(house: &House, position: u8) {
    wait_for("the thought", || {
        let slots = std::fs::read(house.path("data/blackbox")).unwrap_or_default();
        // What stands behind the first line of a slot is left over from an earlier thought.
        let thinks = |slot: &[u8]| {
            let line = slot.split(|byte| *byte == b'\n').next().unwrap();
            line.first() == Some(&(b'0' + position))
                && line.windows(8).any(|found| found == b" alert/1")
        };
        slots.chunks(1024).any(thinks).then_some(())
    });
}

fn struck_twice(prelude: &str, position: u8, toml: &str) {
    let (house, target) = (house(), Target::new());
    let prelude = target.script(prelude);
    house.flow(
        "alert/hard",
        &format!("{prelude} if event.n == 1 {{ {HARD} }} file::append(\"easy\", `${{event.n}}`);"),
    );
    house.file("flows/alert/hard.toml", &format!("{PATIENT}{toml}"));
    if !toml.is_empty() {
        let script = format!(
            "{prelude} for event in events {{ if event.n == 1 {{ {HARD} }} file::append(\"easy\", `${{event.n}}`); }}"
        );
        house.flow("alert/hard", &script);
    }
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    until_it_thinks(&house, position);
    server.kill();
    let server = house.serve();
    until_it_thinks(&house, position);
    server.kill();
    let server = house.serve();
    let run = server.ended("alert/1/hard");
    assert_eq!(run["state"], "failed", "{run}");
    assert!(
        run["message"]
            .as_str()
            .unwrap()
            .contains("the process died twice"),
        "{run}"
    );
    assert!(lines(&house.path("out/note")).is_empty());
    server.push("alert", &json!({ "n": 2 }));
    assert_eq!(server.ended("alert/2/hard")["state"], "done");
    assert_eq!(lines(&house.path("out/easy")), ["2"]);
    // A person may have it tried once more.
    retry(&server, "alert/1/hard");
    wait_for("the end", || {
        (server.run("alert/1/hard")["state"] == "done").then_some(())
    });
    assert_eq!(lines(&house.path("out/note")), ["1"]);
}

#[test]
fn a_run_that_kills_the_process_twice_is_a_dead_letter() {
    struck_twice("", 0, "");
}

#[test]
fn a_run_that_kills_the_process_after_an_action_that_is_not_on_disk_is_a_dead_letter() {
    struck_twice("http::put(\"TARGET/a\");", 1, "");
}

#[test]
fn a_batch_that_kills_the_process_twice_is_a_dead_letter() {
    struck_twice("", 0, "[batch]\nsize_max = 1\nage_max = \"10ms\"");
}

#[test]
fn a_run_that_was_struck_once_is_done() {
    let house = house();
    house.flow("alert/hard", HARD);
    house.file("flows/alert/hard.toml", PATIENT);
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    until_it_thinks(&house, 0);
    server.kill();
    let server = house.serve();
    assert_eq!(server.ended("alert/1/hard")["state"], "done");
    assert_eq!(lines(&house.path("out/note")), ["1"]);
}

/// A process that died while this run thought, whose `position` commands were on disk; then it goes
/// on, and how long that took.
fn time_after_a_strike(house: &House, position: usize, go_on: impl Fn(&Running<'_>)) -> Duration {
    let slot = format!("{position} alert/1/light\n");
    house.file("data/blackbox", &slot);
    let server = house.serve();
    let began = Instant::now();
    go_on(&server);
    let run = server.ended("alert/1/light");
    assert_eq!(run["state"], "done", "{run}");
    assert!(run.to_string().contains("the process died"), "{run}");
    began.elapsed()
}

#[test]
fn a_run_that_was_struck_rests_before_it_thinks_again() {
    let house = house();
    house.channel("ack", "");
    house.flow("alert/light", "watch(\"ack\");");
    let server = house.serve();
    server.push("alert", &json!({}));
    wait_for("the wait", || {
        server.run("alert/1/light")["waits_for"]
            .is_string()
            .then_some(())
    });
    server.kill();
    let took = time_after_a_strike(&house, 1, |server| {
        server.push("ack", &json!({}));
    });
    assert!(took >= STRUCK_REST, "{took:?}");
}

#[test]
fn a_run_that_rests_takes_nobodys_place() {
    let house = house();
    house.channel("ack", "");
    house.flow(
        "alert/light",
        r#"if event.n == 1 { watch("ack"); } file::append("note", `${event.n}`);"#,
    );
    house.file("flows/alert/light.toml", "runs_at_once_max = 1");
    let server = house.serve();
    server.push("alert", &json!({ "n": 1 }));
    wait_for("the wait", || {
        let run = server.run("alert/1/light");
        run["waits_for"].is_string().then_some(())
    });
    server.kill();
    time_after_a_strike(&house, 1, |server| {
        server.push("ack", &json!({}));
        server.push("alert", &json!({ "n": 2 }));
    });
    assert_eq!(lines(&house.path("out/note")), ["2", "1"]);
}

#[test]
fn a_run_that_was_struck_before_it_was_on_disk_rests_too() {
    let house = house();
    house.flow("alert/light", "1");
    let server = house.serve();
    assert!(server.verb(&["pause", "alert/light"]).status.success());
    server.push("alert", &json!({}));
    server.kill();
    let took = time_after_a_strike(&house, 0, |server| {
        assert!(server.verb(&["resume", "alert/light"]).status.success());
    });
    assert!(took >= STRUCK_REST, "{took:?}");
}

// runs that are at work for long

/// A target that is away, and is well where something is undone.
fn well_where_undone() -> Target {
    Target::answering(|seen| match seen.path.as_str() {
        "/away" => Reply::empty(503),
        _ => Reply::json(200, &json!({})),
    })
}

#[test]
fn a_run_whose_action_is_tried_again_and_again_can_be_killed_for_good() {
    let (house, target) = (house(), well_where_undone());
    let script = r#"try { http::put("TARGET/away", #{ json: 1 }); } catch { http::put("TARGET/undo", #{ json: 1 }); }"#;
    house.flow("alert/away", &target.script(script));
    let server = house.serve();
    server.push("alert", &json!({}));
    target.wait(2);
    let killed = server.verb(&["kill", "alert/1/away"]);
    assert!(killed.status.success(), "{killed:?}");
    let run = server.ended("alert/1/away");
    let end = (&run["state"], &run["message"]);
    assert_eq!(end, (&json!("cancelled"), &json!("killed by a person")));
    assert_eq!(run["tries"], Json::Null);
    let key = |seen: &Seen| seen.header("idempotency-key").unwrap().to_owned();
    let first = key(&target.seen()[0]);
    let tries = || {
        target
            .seen()
            .iter()
            .filter(|seen| key(seen) == first)
            .count()
    };
    let before = tries();
    server.kill();
    let server = house.serve();
    server.push("alert", &json!({}));
    target.wait(before + 3);
    assert_eq!(tries(), before, "somebody still tries");
    assert!(target.seen().iter().all(|seen| seen.path == "/away"));
}

#[test]
fn a_run_whose_action_is_tried_again_and_again_can_be_cancelled_and_tidies_up() {
    let (house, target) = (house(), well_where_undone());
    let script = r#"try { http::put("TARGET/away", #{ json: 1 }); } catch (err) {
            file::append("note", `${err.kind} ${err.verb}`);
            http::put("TARGET/undo", #{ json: 1 });
        }
        sleep("1ms");
        file::append("note", "undone");"#;
    house.flow("alert/away", &target.script(script));
    let server = house.serve();
    server.push("alert", &json!({}));
    target.wait(2);
    assert!(server.verb(&["cancel", "alert/1/away"]).status.success());
    assert_eq!(server.ended("alert/1/away")["state"], "cancelled");
    assert_eq!(
        lines(&house.path("out/note")),
        ["cancelled http::put", "undone"]
    );
    let undone = target
        .seen()
        .iter()
        .filter(|seen| seen.path == "/undo")
        .count();
    assert_eq!(undone, 1);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn a_run_without_end_is_stopped_and_was_told_the_way_out() {
    let house = house();
    house.flow("alert/busy", "loop { now(); }");
    house.file("flows/alert/busy.toml", PATIENT);
    let server = house.serve();
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/busy");
    let message = "the journal has 20,000 commands; use `continue_as`";
    assert_eq!(
        (&run["state"], &run["message"]),
        (&json!("failed"), &json!(message))
    );
    assert!(
        run.to_string()
            .contains("`continue_as(state)` begins it anew")
    );
}

#[test]
fn a_run_whose_journal_would_fill_the_memory_is_stopped_also_after_a_kill() {
    let body = "x".repeat(1_000_000);
    let target = Target::answering(move |_| Reply::json(200, &json!({ "text": body })));
    let house = house();
    house.flow(
        "alert/hoard",
        &target.script("loop { http::get(\"TARGET\"); }"),
    );
    house.file("flows/alert/hoard.toml", PATIENT);
    let server = house.serve();
    server.push("alert", &json!({}));
    target.wait(20);
    server.kill();
    let server = house.serve();
    let why = wait_longer_for("the end", 3 * PATIENCE, || {
        let dead = server.get("dead");
        dead["dead"][0]["why"].as_str().map(str::to_owned)
    });
    assert_eq!(why, "the journal has more than 64 MiB; use `continue_as`");
    // Each answer is there twice, as text and as what it says: about 2 MB, before the kill and after it.
    assert!(
        (30..=40).contains(&target.seen().len()),
        "{}",
        target.seen().len()
    );
}

#[test]
fn a_long_journal_says_so_once() {
    let house = house();
    house.channel("ack", "");
    let script = "for i in 0..1999 { now(); } watch(\"ack\"); watch(\"ack\"); for i in 0..1998 { now(); } watch(\"ack\");";
    house.flow("alert/long", script);
    house.file("flows/alert/long.toml", PATIENT);
    let server = house.serve();
    server.push("alert", &json!({}));
    let notes = |server: &Running<'_>, commands: usize| {
        wait_for("the next wait", || {
            let run = server.run("alert/1/long");
            let journal = run["journal"].as_array()?;
            let asked = journal
                .iter()
                .filter(|entry| entry["what"] == "command")
                .count();
            let notes = journal.iter().filter(|entry| entry["what"] == "note");
            let notes: Vec<String> = notes
                .map(|note| note["text"].as_str().unwrap().to_owned())
                .collect();
            let lies = asked == commands && run["waits_for"].is_string();
            lies.then_some((run["long"] == true, notes))
        })
    };
    let long = "2000 commands are in the journal, and each step goes through them";
    assert_eq!(notes(&server, 2_000), (true, vec![long.to_owned()]));
    server.kill();
    let server = house.serve();
    server.push("ack", &json!({}));
    assert_eq!(notes(&server, 2_001).1.len(), 1);
    server.push("ack", &json!({}));
    let longer = "4000 commands are in the journal, and each step goes through them; `continue_as(state)` begins it anew";
    assert_eq!(notes(&server, 4_000).1, [long, longer]);
}

// secrets

#[test]
fn a_secret_reaches_the_target_and_nothing_else() {
    const CANARY: &str = "canary-5f2b8c1d";
    let target = Target::answering(|seen| match seen.path.as_str() {
        "/refused" => Reply::empty(403),
        _ => Reply::json(200, &json!({})),
    });
    let house = House::new().settings("[secret]\nkey_file = \"key\"\n[log]\nlevel = \"debug\"");
    house.channel("alert", "").channel("audit", "");
    house.file("key", CANARY);
    let script = r#"
        let key = secret("key");
        print(key); print(`${key}`); print("Bearer " + key); debug(#{ key: key });
        http::post("TARGET/ok", #{ headers: #{ authorization: "Bearer " + key }, json: #{ token: key } });
        state::set("key", key);
        emit("audit", #{ key: key });
        try { http::get("TARGET/refused?key=" + key); } catch (err) { print(err.message); }
        try { http::get("http://127.0.0.1:1/away?key=" + key); } catch (err) { print(err.message); }
        throw #{ message: `with ${key}`, key: key };
    "#;
    house.flow("alert/note", &target.script(script));
    house.file("flows/alert/note.toml", "give_up_after = \"1ms\"");
    let server = house.serve();
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "failed", "{run}");
    let seen = target.seen();
    assert_eq!(
        seen[0].header("authorization"),
        Some(format!("Bearer {CANARY}").as_str())
    );
    assert_eq!(seen[0].json()["token"], CANARY);
    assert!(
        seen[1].query.iter().any(|(_, value)| value == CANARY),
        "{seen:?}"
    );
    let shown = server.verb(&["show", "alert/1"]);
    let audit = server.get("events/audit%2F1");
    for (what, text) in [
        ("the run", run.to_string()),
        ("show", format!("{shown:?}")),
        ("the log", server.log()),
        ("what was emitted", audit.to_string()),
        ("metrics", server.ask("/metrics", &[], None).text),
    ] {
        assert!(!text.contains(CANARY), "{what}: {text}");
    }
    assert_eq!(server.stop(), Some(0));
    for entry in walk(&house.path("data")) {
        let bytes = std::fs::read(&entry).unwrap();
        let found = bytes
            .windows(CANARY.len())
            .any(|part| part == CANARY.as_bytes());
        assert!(!found, "{}", entry.display());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

// pausing, stopping, reloading

#[test]
fn what_is_paused_stays_paused_through_a_restart() {
    for (name, other) in [("alert/note", "alert/other"), ("alert", "mail/other")] {
        let house = house();
        house.channel("mail", "");
        house.flow("alert/note", "file::append(\"note\", `${event.n}`);");
        house.flow(other, "file::append(\"other\", `${event.n}`);");
        let server = house.serve();
        let paused = server.verb(&["pause", name]);
        assert!(paused.status.success(), "{paused:?}");
        let push = |server: &Running<'_>, n: i64| {
            server.push("alert", &json!({ "n": n }));
            server.push("mail", &json!({ "n": n }));
            wait_for("the other flow", || {
                lines(&house.path("out/other"))
                    .contains(&n.to_string())
                    .then_some(())
            });
        };
        push(&server, 1);
        server.kill();
        let server = house.serve();
        push(&server, 2);
        assert!(lines(&house.path("out/note")).is_empty(), "{name}");
        assert!(server.verb(&["resume", name]).status.success());
        server.ended("alert/2/note");
        let mut said = lines(&house.path("out/note"));
        said.sort();
        assert_eq!(said, ["1", "2"], "{name}");
    }
}

#[test]
fn a_stop_lets_what_is_under_way_come_to_its_place() {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target.script(r#"http::post("TARGET/a", #{ json: 1 }); file::append("note", "done");"#),
    );
    let server = house.serve();
    target
        .server
        .fail_next(1, Mischief::Delay(Duration::from_millis(500)));
    server.push("alert", &json!({}));
    target.wait(1);
    assert_eq!(server.stop(), Some(0));
    let server = house.serve();
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "done");
    assert_eq!(
        target.seen().len(),
        1,
        "the action under way was waited for: {run}"
    );
    assert_eq!(lines(&house.path("out/note")), ["done"]);
}

#[test]
fn a_stop_does_not_wait_for_a_target_that_is_away() {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target.script(r#"http::get("TARGET/a"); file::append("note", "done");"#),
    );
    let server = house.serve();
    target.server.fail_next(1, away(2));
    server.push("alert", &json!({}));
    target.wait(1);
    let began = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
    let server = house.serve();
    assert_eq!(server.ended("alert/1/note")["state"], "done");
    assert!(
        began.elapsed() > Duration::from_millis(1500),
        "the wait was forgotten"
    );
}

#[test]
fn reloading_under_load_loses_nothing() {
    let house = house();
    house.flow("alert/note", "file::append(\"note\", `${event.n}`);");
    let server = house.serve();
    let count = 120;
    std::thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|n| drop(server.push("alert", &json!({ "n": n })))));
        for version in 0..6 {
            house.flow(
                "alert/note",
                &format!("let version = {version}; file::append(\"note\", `${{event.n}}`);"),
            );
            house.file(
                "flows/alert/note.toml",
                &format!("runs_at_once_max = {}", 1 + version % 3),
            );
            if version == 3 {
                house.flow("alert/note", "this is no script");
            }
            server.signal(rustix::process::Signal::HUP);
            std::thread::sleep(Duration::from_millis(40));
        }
    });
    for n in 1..=count {
        assert_eq!(server.ended(&format!("alert/{n}/note"))["state"], "done");
    }
    let mut said: Vec<i64> = lines(&house.path("out/note"))
        .iter()
        .map(|line| line.parse().unwrap())
        .collect();
    said.sort_unstable();
    assert_eq!(said, (0..count).collect::<Vec<_>>());
}

// corners

#[test]
fn answers_that_are_too_deep_or_too_large_do_not_hold_a_run_for_ever() {
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let large = format!("\"{}\"", "x".repeat(3_000_000));
    let target = Target::answering(move |seen| Reply {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: if seen.path == "/deep" {
            deep.clone()
        } else {
            large.clone()
        }
        .into_bytes(),
    });
    let house = house();
    house.channel("audit", "");
    house.flow(
        "alert/deep",
        &target.script(
            "let a = http::get(\"TARGET/deep\"); emit(\"audit\", a); state::set(\"a\", a); a",
        ),
    );
    house.flow(
        "alert/large",
        &target.script(
            "let a = http::get(\"TARGET/large\"); emit(\"audit\", a); state::set(\"a\", a); a",
        ),
    );
    house.flow(
        "alert/thrown",
        "let a = []; for i in 0..300 { a = [a]; } throw a;",
    );
    house.flow("alert/given", "let a = []; for i in 0..300 { a = [a]; } a");
    let server = house.serve();
    server.push("alert", &json!({}));
    for flow in ["deep", "large", "thrown", "given"] {
        let run = server.ended(&format!("alert/1/{flow}"));
        assert!(run["state"] == "done" || run["state"] == "failed", "{flow}");
    }
}

#[test]
fn a_complaint_that_a_script_caught_is_the_same_in_every_replay() {
    let target = Target::new();
    let house = house();
    let script = r#"
        try { emit(7, "no channel has a number for a name"); } catch (err) { print(err.message); }
        let late = try_after();
        http::put("TARGET/one", #{ json: late });
        http::put("TARGET/two", #{ json: late });
        fn try_after() { let said = (); try { said = after("soon"); } catch (err) { said = err.verb; } said }
    "#;
    house.flow("alert/stubborn", &target.script(script));
    let server = house.serve();
    server.push("alert", &json!({}));
    let run = server.ended("alert/1/stubborn");
    assert_eq!(run["state"], "done", "{run:#}");
    assert_eq!(run["console"].as_array().unwrap().len(), 1);
    target.wait(2);
}

#[test]
fn a_run_keeps_its_settings_when_its_files_are_gone() {
    let (house, target) = (house(), Target::new());
    house.flow(
        "alert/note",
        &target.script(r#"http::post("TARGET/a", #{ json: 1 });"#),
    );
    house.file("flows/alert/note.toml", "in_doubt = \"dead_letter\"");
    let server = house.serve();
    let slow = Mischief::Delay(Duration::from_secs(30));
    target.server.fail_next(1, slow);
    server.push("alert", &json!({}));
    target.wait(1);
    server.kill();
    std::fs::remove_file(house.path("flows/alert/note.rhai")).unwrap();
    std::fs::remove_file(house.path("flows/alert/note.toml")).unwrap();
    let server = house.serve();
    let run = server.ended("alert/1/note");
    assert_eq!(run["state"], "failed", "left to a person: {run:#}");
    assert_eq!(target.seen().len(), 1);
}
