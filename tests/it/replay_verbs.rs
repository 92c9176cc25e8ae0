//! `vigie record` and `vigie replay`, against the real server: a real run becomes a case, and a new
//! version of a flow is compared with what the real runs did.

use std::process::Output;

use serde_json::{Value as Json, json};

use crate::escalation::{Targets, alert, waits_for};
use crate::house::{House, Running, lines, stderr, stdout, wait_for};

fn house() -> House {
    let house = House::new().settings("[file]\nfolder = \"out\"\n[secret]\nteam_file = \"team\"");
    std::fs::create_dir_all(house.path("out")).unwrap();
    house.file("team", "hush-hush");
    house
        .channel("alert", "")
        .channel("ack", "")
        .channel("note", "");
    house
}

fn recorded(server: &Running<'_>, run: &str) -> String {
    let output = server.verb(&["record", run, "--as-test"]);
    assert!(
        output.status.success(),
        "{}\n{}",
        stderr(&output),
        server.run(run)
    );
    stdout(&output)
}

/// What `vigie test` says with this text as the flow's cases.
fn tried(house: &House, flow: &str, cases: &str) -> String {
    house.file(&format!("flows/{flow}.cases.toml"), cases);
    let output = house.run(&["test", flow]);
    format!("{}{}", stdout(&output), stderr(&output))
}

fn is_well(house: &House, flow: &str, cases: &str) {
    let said = tried(house, flow, cases);
    assert!(said.contains("1 passed, 0 failed"), "{said}\n{cases}");
}

/// One change in a case, and what `vigie test` must say to it.
fn notices(house: &House, case: &str, (from, to): (&str, &str), told: &str) {
    let changed = case.replacen(from, to, 1);
    assert_ne!(changed, case, "{from}");
    let said = tried(house, "alert/open_ticket", &changed);
    assert!(
        said.contains("0 passed, 1 failed") && said.contains(told),
        "{said}\n{changed}"
    );
}

#[test]
fn a_real_run_becomes_a_case_that_passes_and_names_what_is_changed() {
    let targets = Targets::start();
    let house = targets.house("10m");
    let server = house.serve();
    server.push("alert", &alert("web01", "PROBLEM"));
    waits_for(&server, "alert/1/open_ticket", "watch ack");
    server.push("ack", &json!({ "key": "web01/disk", "by": "日本" }));
    wait_for("the second wait", || {
        let waits = server.run("alert/1/open_ticket")["waits_for"]
            .as_str()?
            .to_owned();
        (!waits.contains("ack")).then_some(())
    });
    let waiting = recorded(&server, "alert/1/open_ticket");
    assert!(waiting.contains("waits = \"watch alert"), "{waiting}");
    is_well(&house, "alert/open_ticket", &waiting);
    server.push("alert", &alert("web01", "OK"));
    server.ended("alert/1/open_ticket");
    let case = recorded(&server, "alert/1/open_ticket");
    is_well(&house, "alert/open_ticket", &case);
    for part in [
        "name = \"as it went for alert/1/open_ticket\"",
        "hostname = \"web01\"",
        "[[case.later]]\nafter = \"",
        "channel = \"ack\"\nevent = { by = \"日本\", key = \"web01/disk\" }",
        "word = \"redmine::open\"\nat = \"",
        "arguments = [1, \"recovered\"]",
        "word = \"pagerduty::resolve\"\narguments = [\"web01/disk\"]",
    ] {
        assert!(case.contains(part), "{part}\n{case}");
    }
    let second = "command 1 is otherwise";
    notices(&house, &case, ("id = 1,", "id = 2,"), second);
    notices(
        &house,
        &case,
        ("[1, \"recovered\"]", "[1, \"over\"]"),
        second,
    );
    notices(
        &house,
        &case,
        ("dedup_key = \"web01/disk\"", "dedup_key = \"web01\""),
        "command 0 is otherwise",
    );
    let recovery = ("{ hostname = \"web01\"", "{ hostname = \"web02\"");
    notices(&house, &case, recovery, "asked for after 30d");
    notices(
        &house,
        &case,
        (
            "word = \"pagerduty::resolve\"",
            "word = \"pagerduty::trigger\"",
        ),
        "command 2 is otherwise",
    );
}

/// Runs `script` for one event until its end, and writes it down.
fn recorded_once(house: &House, script: &str, event: &Json) -> String {
    house.flow("alert/odd", script);
    let server = house.serve();
    server.push("alert", event);
    server.ended("alert/1/odd");
    let case = recorded(&server, "alert/1/odd");
    is_well(house, "alert/odd", &case);
    case
}

#[test]
fn chance_time_state_secrets_and_values_that_toml_lacks_are_recorded() {
    let house = house();
    let script = r#"
        state::set("seen", (state::get("seen") ?? 0) + 1);
        let odd = #{ c: 'é', n: (), t: "a\"b\n\\", f: 1.0, d: `${now()}`, u: uuid(), r: random(1000000) };
        emit("note", odd);
        print(`${odd.u} ${state::get("seen")}`);
        try { http::get("http://127.0.0.1:9/" + secret("team")); } catch (why) { print(why.kind); }
        file::append("log", meta.id + meta.source + meta.received_at + meta.peer);
        throw "enough";"#;
    let settings = ["attempts_max = 1\ngive_up_after = \"0s\""];
    house.file("flows/alert/odd.toml", settings[0]);
    let case = recorded_once(&house, script, &json!({ "a-b": null, "$x": [1.5, {}] }));
    for part in [
        "{ \"$char\" = \"é\" }",
        "n = { \"$nothing\" = true }",
        "f = 1.0",
        "word = \"uuid\"",
        "fails = \"enough\"",
        "name = \"team\"",
    ] {
        assert!(case.contains(part), "{part}\n{case}");
    }
    assert!(!case.contains("hush-hush"), "{case}");
}

#[test]
fn runs_that_sleep_begin_anew_or_take_what_waits_are_recorded() {
    let house = house();
    let script = r#"let round = carried() ?? 0;
        let note = receive("note", #{ n: round }, "1h");
        sleep("30ms");
        if any([on("ack", #{ n: 9 }, |event| event.n > 8), after("10ms")]).which != 1 { throw "?"; }
        file::append("log", `${round} ${note.text}`);
        if round < 1 { continue_as(round + 1); }"#;
    house.flow("alert/odd", script);
    let server = house.serve();
    server.push("note", &json!({ "n": 1, "text": "waited" }));
    server.push("note", &json!({ "n": 0, "text": "first" }));
    server.push("alert", &json!({}));
    server.ended("alert/1/odd");
    let case = recorded(&server, "alert/1/odd");
    is_well(&house, "alert/odd", &case);
    assert!(
        case.contains("carried = 1") && case.contains("[[case.waiting]]"),
        "{case}"
    );
    assert!(case.contains("at = \"40ms\""), "{case}");
}

#[test]
fn what_a_case_cannot_say_is_refused_with_a_sentence() {
    let house = house();
    house.flow("alert/odd", "sleep(\"1h\");");
    let server = house.serve();
    server.push("alert", &json!({}));
    waits_for(&server, "alert/1/odd", "until");
    is_well(&house, "alert/odd", &recorded(&server, "alert/1/odd"));
    assert!(server.verb(&["cancel", "alert/1/odd"]).status.success());
    server.ended("alert/1/odd");
    let said = |run: &str| {
        let output = server.verb(&["record", run, "--as-test"]);
        (output.status.code(), stderr(&output))
    };
    let (code, told) = said("alert/1/odd");
    assert!(
        code == Some(1) && told.contains("a person cancelled alert/1/odd"),
        "{told}"
    );
    assert_eq!(said("alert/7/odd").0, Some(1));
    assert_eq!(said("alert").0, Some(64));
}

// replay

const FLOW: &str = r#"fn filter(event) { event.level >= 4 }
let n = state::get("n") ?? 0;
state::set("n", n + 1);
file::append("log", `open ${event.host} ${n} ${uuid()}`);
let ack = watch("ack", #{ host: event.host }, "1h");
if ack == () { file::append("log", `page ${event.host}`); }
file::append("log", `close ${event.host} ${now()}`);
"#;

/// A house in which the flow has dealt with some events: two runs ended, one waits.
fn lived(house: &House) -> Running<'_> {
    house.flow("alert/ticket", FLOW);
    let server = house.serve();
    for (host, level) in [("a", 5), ("b", 4), ("c", 3), ("d", 5)] {
        server.push("alert", &json!({ "host": host, "level": level }));
    }
    for run in ["alert/1/ticket", "alert/2/ticket", "alert/4/ticket"] {
        waits_for(&server, run, "watch ack");
    }
    server.push("ack", &json!({ "host": "a", "by": "marie" }));
    server.push("ack", &json!({ "host": "b", "by": "jean" }));
    server.ended("alert/1/ticket");
    server.ended("alert/2/ticket");
    server
}

fn replayed(house: &House, server: &Running<'_>, script: &str) -> Output {
    house.file("new.rhai", script);
    server.verb(&[
        "replay",
        "--flow",
        "new.rhai",
        "--flow-name",
        "alert/ticket",
    ])
}

/// The listing for a changed script.
fn differs(house: &House, server: &Running<'_>, (from, to): (&str, &str)) -> String {
    let script = FLOW.replace(from, to);
    assert_ne!(script, FLOW, "{from}");
    let output = replayed(house, server, &script);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

#[test]
fn an_unchanged_script_differs_in_nothing_and_nothing_is_done() {
    let house = house();
    let server = lived(&house);
    let before = lines(&house.path("out/log"));
    let output = replayed(&house, &server, FLOW);
    assert_eq!(
        stdout(&output),
        "0 of 4 events differ\n",
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(0));
    let own = server.verb(&[
        "replay",
        "--flow",
        "flows/alert/ticket.rhai",
        "--since",
        "1h",
    ]);
    assert_eq!(own.status.code(), Some(0), "{}", stderr(&own));
    let rewritten = format!("// the same in other words\n{FLOW}print(\"done\");");
    assert_eq!(replayed(&house, &server, &rewritten).status.code(), Some(0));
    let none = server.verb(&[
        "replay",
        "--flow",
        "flows/alert/ticket.rhai",
        "--since",
        "0s",
    ]);
    assert_eq!(stdout(&none), "0 of 0 events differ\n");
    assert_eq!(
        lines(&house.path("out/log")),
        before,
        "nothing is performed"
    );
}

#[test]
fn changed_added_and_removed_actions_are_told_event_by_event() {
    let house = house();
    let server = lived(&house);
    let changed = differs(
        &house,
        &server,
        ("`open ${event.host}", "`OPEN ${event.host}"),
    );
    assert!(
        changed.contains("alert/1\n  ~ file::append(\"log\", \"open a 0 "),
        "{changed}"
    );
    assert!(
        changed.contains("→ file::append(\"log\", \"OPEN a 0 "),
        "{changed}"
    );
    assert!(changed.contains("3 of 4 events differ"), "{changed}");
    assert!(
        !changed.contains("close"),
        "the rest is as it was: {changed}"
    );
    let added = differs(
        &house,
        &server,
        ("let ack =", "file::append(\"audit\", \"x\");\nlet ack ="),
    );
    assert!(
        added.contains("+ file::append(\"audit\", \"x\")"),
        "{added}"
    );
    assert!(
        added.contains("nothing is recorded for file::append(\"audit\", \"x\")")
            || !added.contains("nothing is recorded"),
        "{added}"
    );
    let removed = differs(&house, &server, ("state::set(\"n\", n + 1);", ""));
    assert!(removed.contains("- state::set(\"n\", 1)"), "{removed}");
    let fails = differs(
        &house,
        &server,
        ("if ack == ()", "throw \"no\";\nif ack == ()"),
    );
    assert!(
        fails.contains("alert/2\n  - file::append(\"log\", \"close b "),
        "{fails}"
    );
    assert!(fails.contains("ends: done → failed: no"), "{fails}");
    assert!(
        fails.contains("2 of 4 events differ"),
        "the third waits on: {fails}"
    );
}

#[test]
fn waits_go_by_the_recorded_events_in_virtual_time() {
    let house = house();
    let server = lived(&house);
    // `a` was acknowledged by marie, `b` by jean, `d` by nobody yet.
    let fields = "#{ host: event.host }, \"1h\"";
    let marie = "#{ host: event.host, by: \"marie\" }, \"1h\"";
    let other = differs(&house, &server, (fields, marie));
    assert!(
        other.starts_with("alert/2\n  - file::append(\"log\", \"close b "),
        "{other}"
    );
    assert!(
        other.ends_with("  ends: done → live\n1 of 4 events differ\n"),
        "{other}"
    );
    let short = differs(&house, &server, (fields, "#{ host: event.host }, \"0s\""));
    for host in ["a", "b", "d"] {
        assert!(
            short.contains(&format!("+ file::append(\"log\", \"page {host}\")")),
            "{short}"
        );
    }
    assert!(
        short.contains("+ file::append(\"log\", \"close d "),
        "{short}"
    );
    assert!(short.contains("  ends: live → done"), "{short}");
    let closure = "#{ host: event.host }, \"1h\", |ack| ack.by == \"jean\"";
    let judged = differs(&house, &server, (fields, closure));
    assert!(
        judged.starts_with("alert/1\n  - file::append(\"log\", \"close a "),
        "{judged}"
    );
    assert!(judged.ends_with("1 of 4 events differ\n"), "{judged}");
}

#[test]
fn what_the_filter_decides_otherwise_is_told() {
    let house = house();
    let server = lived(&house);
    let more = differs(&house, &server, ("level >= 4", "level >= 3"));
    assert!(
        more.contains("alert/3\n  filter: did not match → matched\n  + state::set(\"n\", 1)"),
        "{more}"
    );
    assert!(
        more.contains("(nothing is recorded for state::get(\"n\"); taken as ())"),
        "{more}"
    );
    assert!(more.contains("1 of 4 events differ"), "{more}");
    let fewer = differs(&house, &server, ("level >= 4", "level >= 5"));
    assert!(
        fewer.contains("alert/2\n  filter: matched → did not match\n"),
        "{fewer}"
    );
    assert!(
        fewer.contains("- file::append(\"log\", \"close b "),
        "{fewer}"
    );
    let raises = differs(&house, &server, ("event.level >= 4", "event.level.nothing"));
    assert!(raises.contains("filter: matched → raised: "), "{raises}");
    assert!(raises.contains("4 of 4 events differ"), "{raises}");
}

#[test]
fn json_is_for_programs_and_mistakes_are_told_before_anything_is_read() {
    let house = house();
    let server = lived(&house);
    house.file(
        "new.rhai",
        &FLOW
            .replace("`page", "`PAGE")
            .replace("level >= 4", "level > 4"),
    );
    let arguments = [
        "replay",
        "--flow",
        "new.rhai",
        "--flow-name",
        "alert/ticket",
        "--json",
    ];
    let output = server.verb(&arguments);
    let told: Json = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (output.status.code(), &told["events"]),
        (Some(1), &json!(4))
    );
    let only = &told["differences"][0];
    assert_eq!(
        (&only["event"], &only["filter"]["before"]),
        (&json!("alert/2"), &json!("matched"))
    );
    assert_eq!(only["changes"][0]["what"], "removed");
    let wrong = replayed(&house, &server, "file::apend(\"log\", \"x\");");
    assert_eq!(wrong.status.code(), Some(78));
    assert!(
        stderr(&wrong).contains("new.rhai:1:1"),
        "{}",
        stderr(&wrong)
    );
    let nameless = server.verb(&["replay", "--flow", "new.rhai"]);
    assert_eq!(nameless.status.code(), Some(64));
    let unknown = server.verb(&["replay", "--flow", "new.rhai", "--flow-name", "alert/none"]);
    assert_eq!(unknown.status.code(), Some(1));
}

/// A channel's events through an unchanged and a changed version of `alert/odd`.
fn unchanged_and(server: &Running<'_>, house: &House, changed: &str) -> String {
    let own = server.verb(&["replay", "--flow", "flows/alert/odd.rhai"]);
    assert_eq!(
        own.status.code(),
        Some(0),
        "{}{}",
        stdout(&own),
        stderr(&own)
    );
    house.file("new.rhai", changed);
    let new = server.verb(&["replay", "--flow", "new.rhai", "--flow-name", "alert/odd"]);
    assert_eq!(
        new.status.code(),
        Some(1),
        "{}{}",
        stdout(&new),
        stderr(&new)
    );
    stdout(&new)
}

#[test]
fn a_batch_is_recorded_and_replayed_as_one_run() {
    let house = house();
    house.file(
        "flows/alert/odd.toml",
        "[batch]\nsize_max = 3\nage_max = \"20s\"",
    );
    let script = r#"let all = ""; for event in events { all += event.n; }
        file::append("log", `${all} ${events.meta(1).id}`);"#;
    house.flow("alert/odd", script);
    let server = house.serve();
    for n in 1..=3 {
        server.push("alert", &json!({ "n": n }));
    }
    server.ended("alert/1/odd");
    let case = recorded(&server, "alert/1/odd");
    assert!(
        case.contains("events = [\n    { n = 1 },\n    { n = 2 },\n    { n = 3 },\n]"),
        "{case}"
    );
    is_well(&house, "alert/odd", &case);
    let told = unchanged_and(&server, &house, &script.replace("${all}", "all ${all}"));
    assert!(
        told.contains("\"123 alert/2\")\n    → file::append(\"log\", \"all 123 alert/2\")"),
        "{told}"
    );
    assert!(told.contains("1 of 3 events differ"), "{told}");
}

#[test]
fn a_run_that_failed_was_retried_or_began_anew_is_replayed_as_it_went() {
    let house = house();
    let script = r#"let round = carried() ?? 0;
        if event.n == 1 { file::append("no/such/../log", "x"); }
        if event.n == 2 { throw "two"; }
        file::append("log", `${event.n} ${round}`);
        if round == 0 { sleep("1ms"); continue_as(1); }
        sleep("1ms");"#;
    house.flow("alert/odd", script);
    let server = house.serve();
    for n in 1..=3 {
        server.push("alert", &json!({ "n": n }));
        server.ended(&format!("alert/{n}/odd"));
    }
    assert!(server.verb(&["retry", "alert/1/odd"]).status.success());
    wait_for("the second try", || {
        let run = server.run("alert/1/odd");
        let retried = run["journal"].to_string().contains("retried");
        (retried && run["state"] == "failed").then_some(())
    });
    let case = recorded(&server, "alert/1/odd");
    is_well(&house, "alert/odd", &case);
    assert!(
        case.contains("fails = \"`file::append` was refused: "),
        "{case}"
    );
    let told = unchanged_and(
        &server,
        &house,
        &script.replace("throw \"two\"", "print(2)"),
    );
    assert!(
        told.contains("alert/2\n  + file::append(\"log\", \"2 0\")"),
        "{told}"
    );
    assert!(
        told.contains("(nothing is recorded for file::append(\"log\", \"2 0\"); taken as ())"),
        "{told}"
    );
    assert!(told.contains("ends: failed: two → done"), "{told}");
    assert!(told.contains("1 of 3 events differ"), "{told}");
}

#[test]
fn runs_that_people_cancelled_killed_moved_and_forked_differ_in_nothing() {
    let house = house();
    let script = r#"file::append("log", `first ${event.n}`);
        try { watch("ack", #{ n: event.n }, "1h"); } catch (err) { file::append("log", err.kind); }
        file::append("log", `last ${event.n}`);"#;
    house.flow("alert/odd", script);
    let server = house.serve();
    for n in 1..=4 {
        server.push("alert", &json!({ "n": n }));
        waits_for(&server, &format!("alert/{n}/odd"), "watch ack");
    }
    house.file("new.rhai", &script.replace("1h", "2h"));
    let verbs: [&[&str]; 4] = [
        &["cancel", "alert/1/odd"],
        &["kill", "alert/2/odd"],
        &["upgrade", "new.rhai", "--flow", "alert/odd"],
        &["fork", "alert/4/odd", "--at", "1"],
    ];
    for verb in verbs {
        let said = server.verb(verb);
        assert!(said.status.success(), "{}", stderr(&said));
    }
    for n in 3..=4 {
        server.push("ack", &json!({ "n": n }));
    }
    for run in ["alert/1/odd", "alert/2/odd", "alert/3/odd", "alert/4/odd~2"] {
        server.ended(run);
    }
    let own = ["replay", "--flow", "flows/alert/odd.rhai"];
    let said = server.verb(&own);
    assert_eq!(stdout(&said), "0 of 4 events differ\n", "{}", stderr(&said));
}

#[test]
fn where_nobody_knows_what_comes_of_an_action_the_comparison_ends_and_says_so() {
    let house = house();
    let script = r#"file::append("log", "first"); sleep("1ms"); file::append("log", "last");"#;
    house.flow("alert/odd", script);
    let server = house.serve();
    server.push("alert", &json!({}));
    server.ended("alert/1/odd");
    let asks = r#"let made = redmine::open(#{ subject: "new" }); print(made.id + 1); file::append("log", "last");"#;
    let told = unchanged_and(
        &server,
        &house,
        &script.replace("file::append(\"log\", \"last\");", asks),
    );
    assert!(
        told.contains("+ redmine::open({\"subject\":\"new\"})"),
        "{told}"
    );
    assert!(
        !told.contains("- file::append"),
        "nobody knows that: {told}"
    );
    assert!(
        told.contains("(compared as far as here, because then: "),
        "{told}"
    );
    assert!(
        told.contains("(nothing is recorded for redmine::open("),
        "{told}"
    );
    assert!(!told.contains("ends:"), "{told}");
}

#[test]
fn records_are_paged_and_only_for_those_who_may_read() {
    let house = House::new().settings(&format!(
        "[[token]]\nname = \"reader\"\nhash = \"{}\"\nchannels = [\"alert\"]\nrights = [\"read\"]\n",
        "sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
    ));
    house
        .channel("alert", "")
        .channel("ack", "")
        .flow("alert/odd", "print(1);");
    let server = house.serve();
    let as_reader = [("authorization", "Bearer password")];
    for (path, with, without) in [
        ("channels/alert/record", 200, 401),
        ("channels/ack/record", 403, 401),
        ("flows/alert%2Fodd/record", 200, 401),
        ("runs/alert%2F1%2Fodd/record", 404, 401),
        ("channels/alert/record?since=monday", 400, 401),
        ("channels/alert/record?from=x", 400, 401),
    ] {
        let path = format!("/api/v1/{path}");
        assert_eq!(server.ask(&path, &as_reader, None).status, with, "{path}");
        assert_eq!(server.ask(&path, &[], None).status, without, "{path}");
    }
}

#[test]
fn more_events_than_a_page_has_are_all_compared() {
    let house = house();
    let script = r#"fn filter(event) { event.n % 2 == 0 }
        if event.n > 1100 { file::append("log", `${event.n}`); }"#;
    house.flow("alert/odd", script);
    let server = house.serve();
    let events: Vec<Json> = (1..=1_000).map(|n| json!({ "n": n })).collect();
    server.ask(
        "/api/v1/channels/alert/events",
        &[("content-type", "application/json")],
        Some(json!(events).to_string().as_bytes()),
    );
    for n in 1_001..=1_200 {
        server.push("alert", &json!({ "n": n }));
    }
    server.ended("alert/1200/odd");
    let told = unchanged_and(&server, &house, &script.replace("> 1100", "> 1190"));
    assert!(told.contains("45 of 1200 events differ"), "{told}");
}

#[test]
fn what_a_comparison_leaves_out_is_said() {
    let house = house();
    house.file(
        "flows/alert/ticket.toml",
        "[storm]\ndedup = { by = [\"host\"], within = \"1h\" }\nthrottle = { most = 5, within = \"1h\" }",
    );
    let server = lived(&house);
    let output = replayed(&house, &server, FLOW);
    let storm = "[storm] (dedup, throttle) is left out";
    assert!(stderr(&output).contains(storm), "{}", stderr(&output));
    assert!(!stderr(&output).contains("broker::"), "{}", stderr(&output));
    let asks = format!("{FLOW}print(broker::host_name(1));");
    let output = replayed(&house, &server, &asks);
    let names = "only the server knows the names of broker::";
    assert!(stderr(&output).contains(names), "{}", stderr(&output));
    let arguments = [
        "replay",
        "--json",
        "--flow",
        "new.rhai",
        "--flow-name",
        "alert/ticket",
    ];
    let told: Json = serde_json::from_str(&stdout(&server.verb(&arguments))).unwrap();
    let left_out = told["left_out"].as_array().unwrap();
    assert_eq!(left_out.len(), 2, "{told}");
    assert!(left_out[0].as_str().unwrap().starts_with(storm), "{told}");
    let help = stdout(&house.run(&["replay", "--help"]));
    assert!(
        help.contains("Left out: [storm]") && help.contains("broker::"),
        "{help}"
    );
}
