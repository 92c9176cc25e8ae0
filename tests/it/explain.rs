//! Why a filter said no: the first part that was false, with its values.

use vigie::bundle::Bundle;
use vigie::engine::Engine;
use vigie::event::Value;
use vigie::explain::Explanation;
use vigie::host;
use vigie::thinkers::Thinkers;

fn explained(source: &str, event: &str) -> Option<Explanation> {
    let thinkers = Thinkers::start(Engine::new(host::words())).unwrap();
    let bundle = Bundle::of("flows/alert/x.rhai", source);
    let event = crate::engine::came(Value::from_json(serde_json::from_str(event).unwrap()));
    let explain = move |engine: &Engine| {
        let script = engine.compile(bundle).unwrap();
        engine.explain(&script, &event)
    };
    thinkers.call(explain).unwrap()
}

/// `part is false: value is 1, value is 2`.
fn said(source: &str, event: &str) -> String {
    let Some(found) = explained(source, event) else {
        return "nothing".to_owned();
    };
    let values = found.values.iter();
    let values: Vec<String> = values
        .map(|(part, value)| format!("{part} is {value}"))
        .collect();
    format!("{} is {}: {}", found.part, found.was, values.join(", "))
}

#[test]
fn the_first_part_that_was_false_is_named_with_its_values() {
    let cases = [
        (
            r#"event.a == 1 && event.b == 2 && event.c == 3"#,
            "event.b == 2 is false: event.b is 5",
        ),
        (
            r#"event.a == 1 && !(event.b == 5 || event.c == 3)"#,
            "event.b == 5 is true: event.b is 5",
        ),
        (
            r#"event.b == 2 || event.c == 3"#,
            "(event.b == 2) || (event.c == 3) is false: event.b is 5, event.c is 6",
        ),
        (
            r#"event.s.contains("y")"#,
            r#"event.s.contains("y") is false: event.s is "x""#,
        ),
        (
            r#"event.s in ["a", "b"]"#,
            r#"event.s in ["a", "b"] is false: event.s is "x""#,
        ),
        (
            r#"event.none != ()"#,
            "event.none != () is false: event.none is null",
        ),
        (
            r#"(event.m.deep[0] ?? 9) > event.b"#,
            "event.m.deep[0] ?? 9) > event.b",
        ),
        (
            r#"let limit = 4; event.b < limit"#,
            "event.b < limit is false: event.b is 5, limit is 4",
        ),
        (
            r#"if event.b == 5 { return false; } true"#,
            "event.b == 5 is true: event.b is 5",
        ),
        (
            r#"if event.a == 1 { event.c == 1 } else { false }"#,
            "event.c == 1 is false: event.c is 6",
        ),
        (r#"small(event.b)"#, "small(event.b) is false: event.b is 5"),
        (
            r#"event.list.some(|one| one > 9)"#,
            "event.list.some(…) is false: event.list is [1,2]",
        ),
        (
            r#"`${event.s}z` == "y""#,
            r#"`${event.s}z` == "y" is false: `${event.s}z` is "xz""#,
        ),
    ];
    let event = r#"{"a":1,"b":5,"c":6,"s":"x","m":{"deep":[1]},"list":[1,2]}"#;
    for (filter, expected) in cases {
        let source = format!("fn small(n) {{ n < 3 }}\nfn filter(event) {{ {filter} }}\nprint(1);");
        let said = said(&source, event);
        assert!(
            said.contains(expected),
            "{filter}\n  said     {said}\n  expected {expected}"
        );
    }
}

#[test]
fn the_place_is_that_of_the_part() {
    let source = "fn filter(e) {\n    // é 漢字\n    e.a == 1\n        && e.b == 2\n}\nprint(1);";
    let found = explained(source, r#"{"a":1,"b":5}"#).unwrap();
    assert_eq!(found.place.unwrap().short(), "flows/alert/x.rhai:4:12");
}

#[test]
fn no_reason_is_given_where_none_can_be_told() {
    for filter in [
        "for one in event.list { if one > 9 { return true; } } false",
        "event.a == 1",
        "loop { }",
        "throw \"no\"",
    ] {
        let source = format!("fn filter(event) {{ {filter} }}\nprint(1);");
        let event = r#"{"a":1,"list":[1]}"#;
        let said = said(&source, event);
        assert!(
            ["nothing", "false is false: "].contains(&said.as_str()),
            "{filter}: {said}"
        );
    }
    assert_eq!(said("print(1);", "{}"), "nothing");
}
