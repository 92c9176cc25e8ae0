//! `vigie test`: flows that wait are tried in virtual time, and the first thing that is otherwise is
//! named.

use crate::house::{House, stderr, stdout};

fn house(script: &str, cases: &str) -> House {
    let house = House::new();
    house
        .channel("alert", "")
        .channel("ack", "alias = [\"/old/Ack\"]")
        .channel("other", "");
    house
        .flow("alert/wait", script)
        .flow("other/look", "print(1);");
    house.file("flows/alert/wait.cases.toml", cases);
    house
}

/// What `vigie test` says about one flow.
fn tried(script: &str, cases: &str) -> (bool, String) {
    let house = house(script, cases);
    let output = house.run(&["test", "alert/wait"]);
    let said = format!("{}{}", stdout(&output), stderr(&output));
    (output.status.success(), said)
}

fn passes(script: &str, cases: &str) {
    let (passed, said) = tried(script, cases);
    assert!(passed, "{said}");
}

fn fails(script: &str, cases: &str, words: &str) {
    let (passed, said) = tried(script, cases);
    assert!(!passed && said.contains(words), "{said}");
}

const BEGIN: &str = "[[case]]\nname = \"a\"\nevent = { host = \"web01\" }\n";

fn case(rest: &str) -> String {
    format!("{BEGIN}{rest}")
}

#[test]
fn time_passes_by_itself_and_now_moves_with_it() {
    let script = r#"let a = now(); sleep("90m"); let b = now(); sleep_until("2026-01-03T00:00:00Z");
        sleep_until(0); print(`${b - a} ${now() - a}`); file::append("log", "x");"#;
    passes(
        script,
        &case("prints = [\"5400 172800\"]\n[[case.asks]]\nword = \"file::append\"\nat = \"2d\""),
    );
    fails(
        script,
        &case("[[case.asks]]\nword = \"file::append\"\nat = \"90m\""),
        "command 0 is otherwise: it was asked for after 2d, not after 1h30m",
    );
}

#[test]
fn a_watch_sees_what_comes_and_gives_nothing_when_its_time_is_over() {
    let script = r#"
        let first = watch("alert", #{ host: event.host, ok: true }, "1h");
        let second = watch("alert", #{ host: event.host, ok: true }, "1h");
        print(`${first.n} ${second == ()} ${now() % 86400}`);"#;
    let later = r#"prints = ["2 true 5400"]
        [[case.later]]
        after = "31m"
        event = { host = "web01", ok = true, n = 3, odd = "seen only by the second" }
        [[case.later]]
        after = "30m"
        event = { host = "web01", ok = true, n = 2 }
        [[case.later]]
        after = "10m"
        event = { host = "web02", ok = true, n = 1 }"#;
    // Each event is seen once by the same look-out, in the order in which they come.
    passes(script, &case(&later.replace("2 true 5400", "2 false 1860")));
    let one = later.replace("after = \"31m\"", "after = \"90m\"");
    passes(script, &case(&one));
}

#[test]
fn receive_takes_what_waits_oldest_first_but_not_what_is_the_flows() {
    let waiting = r#"
        [[case.waiting]]
        channel = "CHANNEL"
        event = { n = 1, k = "y" }
        [[case.waiting]]
        channel = "CHANNEL"
        event = { n = 2, k = "x" }
        [[case.later]]
        after = "5m"
        channel = "CHANNEL"
        event = { n = 3, k = "x" }"#;
    let script = r#"let a = receive("CHANNEL", #{ k: "x" }); let b = receive("CHANNEL", #{ k: "x" }, "1h");
        print(`${a.n} ${if b == () { 0 } else { b.n }}`);"#;
    let of = |channel: &str, prints: &str| {
        let cases = case(&format!("prints = [\"{prints}\"]{waiting}"));
        passes(
            &script.replace("CHANNEL", channel),
            &cases.replace("CHANNEL", channel),
        );
    };
    of("ack", "2 3");
    of("/old/Ack", "2 3");
    of("other", "3 0");
    fails(
        r#"receive("akc");"#,
        &case(""),
        "there is no channel `akc`; did you mean `ack`?",
    );
}

#[test]
fn any_is_won_by_what_comes_first_and_an_event_at_the_deadline_comes_too_late() {
    let script = r#"let first = any([on("ack", #{ key: 1 }), on(["other"]), after("10m")]);
        print(`${first.which} ${first.event} ${now() % 3600}`);"#;
    let of = |later: &str, prints: &str| {
        let later = later.replace(';', "\n");
        passes(script, &case(&format!("prints = ['{prints}']\n{later}")));
    };
    of("", "2  600");
    of(
        "[[case.later]];after='10m';channel='ack';event={key=1}",
        "2  600",
    );
    of(
        "[[case.later]];after='9m';channel='ack';event={key=1.0}",
        "0 #{\"key\": 1.0} 540",
    );
    of(
        "[[case.later]];after='9m';channel='ack';event={key=1};[[case.later]];after='8m';channel='other';event=7",
        "1 #{\"channel\": \"other\", \"event\": 7} 480",
    );
}

#[test]
fn a_condition_is_asked_with_what_the_script_knows() {
    let script = r#"let limit = 3;
        let big = watch("ack", "1h", |event| event.n > limit);
        let odd = any([on("ack", #{ k: 1 }, |event| event.n % 2 == 1), after("1h")]);
        print(`${big.n} ${odd.event.n}`);"#;
    let later = |n: i64| {
        format!(
            "[[case.later]]\nafter = \"{n}m\"\nchannel = \"ack\"\nevent = {{ n = {n}, k = 1 }}\n"
        )
    };
    let cases = case(&format!(
        "prints = [\"4 1\"]\n{}{}{}",
        later(1),
        later(2),
        later(4)
    ));
    passes(script, &cases);
    let raises =
        r#"try { watch("ack", "1h", |event| event.no.such); } catch (why) { print(why.verb); }"#;
    passes(
        raises,
        &case(&format!("prints = [\"condition\"]\n{}", later(1))),
    );
}

#[test]
fn a_run_begins_anew_with_what_it_carries() {
    let script = r#"let round = (carried() ?? #{ round: 0 }).round;
        file::append("log", `${round}`);
        if round < 3 { sleep("1d"); continue_as(#{ round: round + 1 }); }"#;
    let ask = |round: i64| {
        format!(
            "[[case.asks]]\nword = \"file::append\"\nat = \"{round}d\"\narguments = [\"log\", \"{round}\"]\n"
        )
    };
    let all: String = (0..4).map(ask).collect();
    passes(script, &case(&all));
    let last = ask(3).replace("3d", "0s");
    passes(script, &case(&format!("carried = {{ round = 3 }}\n{last}")));
    fails("continue_as(1);", &case(""), "at most 2000 steps");
}

#[test]
fn what_never_comes_is_told_and_can_be_expected() {
    let script = r#"watch("ack", #{ key: event.host });"#;
    fails(
        script,
        &case(""),
        "it waits for what does not come: watch ack {\"key\":\"web01\"}",
    );
    passes(script, &case("waits = \"watch ack\""));
    passes(
        "sleep(\"1d\");",
        &case("waits = \"until\"\nuntil = \"23h\""),
    );
    fails(
        "sleep(\"1d\");",
        &case("waits = \"until\"\nuntil = \"25h\""),
        "it should wait",
    );
    fails(
        "print(1);",
        &case("waits = \"watch ack\""),
        "it should wait for \"watch ack\"",
    );
}

#[test]
fn chance_time_and_memory_can_be_given_an_answer_where_it_matters() {
    let script = r#"file::append(uuid(), `${random(6)} ${now()} ${state::get("seen")}`);"#;
    let cases = r#"
        [[case.asks]]
        word = "uuid"
        gives = "abc"
        [[case.asks]]
        word = "random"
        arguments = [6]
        gives = 4
        [[case.asks]]
        word = "now"
        gives = 7
        [[case.asks]]
        word = "file::append"
        arguments = ["abc", "4 7 3"]
        [case.state]
        seen = 3"#;
    passes(script, &case(cases));
    fails(
        script,
        &case(&cases.replace("[6]", "[7]")),
        "command 1 is otherwise: expected random(7)\n  asked: random(6)"
            .replace('\n', "\n  ")
            .as_str(),
    );
    fails(
        script,
        &case(
            "[[case.asks]]\nword = \"uuid\"\n[[case.asks]]\nword = \"file::append\"\n[[case.asks]]\nword = \"uuid\"",
        ),
        "command 2 was not asked for: uuid",
    );
}

#[test]
fn values_that_toml_cannot_say_have_an_honest_form() {
    let script = r#"print(`${type_of(event.b)} ${event.b.len()} ${type_of(event.c)} ${type_of(event.n)} ${event.m["$x"]}`);
        file::append("log", event.n);"#;
    let head = "[[case]]\nname = \"a\"\n";
    let event = r#"event = { b = { "$bytes" = "aGk=" }, c = { "$char" = "é" }, n = { "$nothing" = true }, m = { "$map" = { "$x" = 1 } } }"#;
    let asks =
        "\n[[case.asks]]\nword = \"file::append\"\narguments = [\"log\", { \"$nothing\" = true }]";
    passes(
        script,
        &format!("{head}{event}\nprints = [\"blob 2 char () 1\"]{asks}"),
    );
    for (wrong, told) in [
        (r#"{ "$bytes" = "é" }"#, "`$bytes` takes base64 text"),
        (
            r#"{ "$char" = "ab" }"#,
            "`$char` takes text of one character",
        ),
        (r#"{ "$byte" = "" }"#, "`$byte` is no kind of value"),
    ] {
        fails(script, &format!("{head}event = {{ b = {wrong} }}"), told);
    }
}

#[test]
fn an_unknown_key_is_told_with_its_place() {
    fails(
        "print(1);",
        &case("[[case.later]]\nafer = \"1m\"\nevent = 1"),
        "did you mean `after`?",
    );
    fails(
        "print(1);",
        &case("[[case.later]]\nafter = \"1\"\nevent = 1"),
        "`1` is no duration",
    );
    fails(
        "print(1);",
        &case("[[case.later]]\nafter = \"1m\"\nchannel = \"no\"\nevent = 1"),
        "there is no such channel",
    );
    fails(
        "print(1);",
        &case("[[case.waiting]]\nchannel = \"alert\"\nevent = 1"),
        "the flow's own channel",
    );
}
