//! `log::…`: on the run's console and in the server's log, once, on one line, at its level.

use serde_json::json;
use vigie::event::Value;
use vigie::logging::{LOG_LINE_BYTES_MAX, LogLine};

use crate::house::House;

#[test]
fn a_line_is_written_once_and_the_level_keeps_the_servers_log_short() {
    let house = House::new();
    house.channel("alert", "").flow(
        "alert/say",
        r#"
        log::info(1, "first\nERROR: a false line \x1b[31m");
        log::warning(2, "second");
        log::error(3, "third");
        sleep("100ms");
        log::error(0, #{ fourth: [1] });
        "#,
    );
    house.file("flows/alert/say.toml", "log_level = 2\n");
    let server = house.serve();
    let pushed = server.push("alert", &json!({}));
    let run = server.ended(&format!("{pushed}/say"));
    assert_eq!(run["state"], "done", "{run}");
    let lines = [
        r"INFO: first\nERROR: a false line \u{1b}[31m",
        "WARNING: second",
        "ERROR: third",
        r#"ERROR: {"fourth":[1]}"#,
    ];
    assert_eq!(run["console"], json!(lines), "{run}");
    let log = server.log();
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(
        (
            count("first"),
            count("second"),
            count("third"),
            count("fourth")
        ),
        (1, 1, 0, 1),
        "{log}"
    );
    let first = log.lines().find(|line| line.contains("first")).unwrap();
    assert!(
        first.contains(r"a false line \u{1b}[31m") && first.contains(&pushed),
        "{first}"
    );
}

#[test]
fn a_filter_writes_nothing_and_a_level_is_a_number_up_to_3() {
    let house = House::new();
    house.channel("alert", "").flow(
        "alert/filter",
        "fn filter(event) { log::info(1, \"x\"); true }",
    );
    house.flow("alert/level", "log::info(4, \"x\");");
    let server = house.serve();
    let pushed = server.push("alert", &json!({}));
    for (flow, why) in [
        ("filter", "`log::info` cannot be used here"),
        ("level", "a number from 0 to 3"),
    ] {
        let run = server.ended(&format!("{pushed}/{flow}"));
        assert_eq!(run["state"], "failed", "{run}");
        assert!(run["message"].as_str().unwrap().contains(why), "{run}");
    }
}

#[test]
fn no_character_breaks_a_line_or_turns_it_and_it_has_an_end() {
    let line = |text: &str| {
        LogLine::read("info", &[Value::Int(1), Value::from(text)])
            .unwrap()
            .text
    };
    let said = line("a\r\n\tb\u{0}\u{85}\u{2028}\u{202E}c é 障");
    assert_eq!(said, r"a\r\n\tb\u{0}\u{85}\u{2028}\u{202e}c é 障");
    assert!(line(&"é\n".repeat(100_000)).len() < LOG_LINE_BYTES_MAX + 20);
}
