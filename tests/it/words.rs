//! Pure words, called by scripts as flows call them.

use rhai::packages::{Package, StandardPackage};
use rhai::{Dynamic, Engine, EvalAltResult, Map, OptimizationLevel, Scope};
use vigie::event::Value;
use vigie::script::blob::{Blob, TEXT_BYTES_MAX};
use vigie::script::convert::{from_dynamic, to_dynamic};
use vigie::script::pattern::PATTERN_BYTES_MAX;
use vigie::script::{ALL, Word};

/// An engine with every pure word and the limits that flows run under.
fn engine() -> Engine {
    let mut engine = Engine::new_raw();
    engine.register_global_module(StandardPackage::new().as_shared_module());
    engine.set_optimization_level(OptimizationLevel::None);
    engine
        .set_max_operations(1_000_000)
        .set_max_string_size(TEXT_BYTES_MAX)
        .set_max_array_size(4_096)
        .set_max_map_size(4_096)
        .set_max_expr_depths(48, 32);
    ALL.iter().for_each(|words| words.register(&mut engine));
    engine
}

fn words() -> impl Iterator<Item = &'static Word> {
    ALL.iter().flat_map(|words| words.words())
}

fn eval(script: &str) -> Dynamic {
    engine()
        .eval(script)
        .unwrap_or_else(|error| panic!("{script}: {error}"))
}

fn is_true(script: &str) {
    assert!(eval(script).as_bool().unwrap_or(false), "{script}");
}

fn error(script: &str) -> Box<EvalAltResult> {
    engine().eval::<Dynamic>(script).expect_err(script)
}

/// The complaint says `part` and stands at `line:column`.
fn complains(script: &str, part: &str, place: (usize, usize)) {
    let error = error(script);
    let position = error.position();
    assert!(error.to_string().contains(part), "{script}: {error}");
    assert_eq!(
        (position.line(), position.position()),
        (Some(place.0), Some(place.1)),
        "{error}"
    );
}

// documentation

#[test]
fn every_example_is_true() {
    for word in words() {
        is_true(word.example);
        assert!(word.example.contains(word.name), "{}", word.name);
    }
}

#[test]
fn every_word_is_documented_once() {
    let mut names: Vec<&str> = words().map(|word| word.name).collect();
    assert!(words().all(|word| !word.about.is_empty() && !word.arguments.is_empty()));
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    for name in [
        "mail_parse",
        "trap_parse",
        "json_parse",
        "json_dump",
        "matches",
        "glob",
        "url_encode",
        "base64",
        "sha256",
        "md5",
        "date_parse",
        "date_format",
    ] {
        assert!(names.contains(&name), "{name}");
    }
}

// text

#[test]
fn patterns_are_found_anywhere_unless_anchored() {
    is_true(r#"matches("host web01 down", "web\\d+")"#);
    is_true(r#"!matches("host web01", "^web")"#);
    is_true(r#"matches("障害発生", "^障害")"#);
    is_true(r#"captures("a=1", "(\\w)=(\\d)(x)?") == ["a=1", "a", "1", ()]"#);
    is_true(r#"captures("none", "x") == ()"#);
}

#[test]
fn wrong_or_huge_pattern_is_a_complaint_at_its_call() {
    complains(
        "let x = 1;\nmatches(\"a\", \"(\")",
        "`(` is no pattern",
        (2, 1),
    );
    complains(r#"matches("a", "(\\w{1000}){1000}")"#, "no pattern", (1, 1));
    let long = format!(
        "  matches(\"a\", \"{}\")",
        "a".repeat(PATTERN_BYTES_MAX + 1)
    );
    complains(&long, "longer than 4096 bytes", (1, 3));
    let deep = format!(
        "captures(\"a\", \"{}a{}\")",
        "(".repeat(100),
        ")".repeat(100)
    );
    complains(&deep, "no pattern", (1, 1));
}

#[test]
fn pattern_that_makes_others_backtrack_is_quick() {
    let begin = std::time::Instant::now();
    is_true(&format!(
        "!matches(\"{}!\", \"^(a+)+$\")",
        "a".repeat(10_000)
    ));
    is_true(&format!(
        "!glob(\"{}\", \"{}b\")",
        "a".repeat(10_000),
        "*a".repeat(500)
    ));
    assert!(
        begin.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn glob_matches_whole_texts() {
    for (text, pattern, expected) in [
        ("web01", "web*", true),
        ("xweb01", "web*", false),
        ("a\nb", "a*b", true),
        ("a.b", "a?b", true),
        ("axb", "a.b", false),
        ("b", "[!a]", true),
        ("a", "[!a]", false),
        ("c", "[a-c]", true),
        ("]", "[]]", true),
        ("^", "[\\^]", true),
        ("[x", "[x", true),
        ("*", "\\*", true),
        ("x", "\\*", false),
        ("障害", "障?", true),
        ("", "*", true),
        ("", "", true),
    ] {
        let script = format!("glob({text:?}, {pattern:?}) == {expected}");
        is_true(&script);
    }
}

#[test]
fn numbers_come_out_of_text_and_nothing_out_of_the_rest() {
    for (text, number) in [
        ("42", "42"),
        (" -7\n", "-7"),
        ("+3", "3"),
        ("4.99", "4"),
        ("-4.99", "-4"),
        ("1e3", "1000"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "()"),
        ("-9223372036854775809", "()"),
        ("1e300", "()"),
        ("", "()"),
        ("0x10", "()"),
        ("inf", "()"),
        ("NaN", "()"),
        ("4 GB", "()"),
        (".", "()"),
    ] {
        is_true(&format!("{text:?}.to_int() == {number}"));
    }
    is_true(
        "\"1e3\".to_float() == 1000.0 && \"infinity\".to_float() == () && \"1e999\".to_float() == ()",
    );
    is_true("7.to_int() == 7 && 7.9.to_int() == 7 && 7.to_float() == 7.0 && 7.5.to_float() == 7.5");
    is_true("let m = #{}; (m.severity.to_int() ?? 0) == 0 && m.severity.to_float() == ()");
}

#[test]
fn encodings_go_there_and_back() {
    is_true(r#"url_decode(url_encode("a&b=c d/é?#+障")) == "a&b=c d/é?#+障""#);
    is_true(r#"url_decode("a+b%2") == "a+b%2""#);
    is_true(r#"base64_decode(base64("é障")).text() == "é障""#);
    is_true(r#"base64_encode(base64_decode("/+8=")) == "/+8=""#);
    is_true(r#"base64_decode("_-8").base64() == "/+8=""#);
    is_true("base64_decode(\"aGVs\\nbG8=\").text() == \"hello\"");
    complains(r#"base64_decode("a*b")"#, "this is no base64", (1, 1));
}

#[test]
fn digests_take_text_and_blobs_alike() {
    is_true(
        r#"sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#,
    );
    is_true(
        r#"sha256(base64_decode("YWJj")) == sha256("abc") && md5(base64_decode("YWJj")) == md5("abc")"#,
    );
    complains(
        "1 + sha256(5)",
        "`sha256` takes text or a blob, not i64",
        (1, 5),
    );
}

#[test]
fn short_text_is_cut_at_characters() {
    is_true(r#"shorten("障害通知", 3) == "障害…" && shorten("障害", 2) == "障害""#);
    is_true(r#"shorten("abc", 1) == "…" && shorten("abc", 0) == "" && shorten("abc", -1) == """#);
    is_true(r#"let text = "abcdef"; text.truncate(3); text == "abc""#);
}

#[test]
fn lines_have_no_line_ends() {
    is_true(r#"lines("") == [] && lines("a") == ["a"] && lines("a\n\nb\r\n") == ["a", "", "b"]"#);
}

// results over the limits

#[test]
fn replace_knows_the_size_of_its_result_before_it_builds_it() {
    is_true(
        r#"let t = "aXbX"; t.replace("X", "yy"); t.replace('a', "1"); t.replace("b", '2'); t.replace('y', 'z'); t == "1zz2zz""#,
    );
    is_true(r#"let t = "ab"; t.replace("", "-"); t == "-a-b-""#);
    is_true(r#"let t = "ab"; t.replace("b", ""); t == "a""#);
    let begin = std::time::Instant::now();
    for (from, to) in [("\"a\"", "t"), ("'a'", "t"), ("\"\"", "t")] {
        let script = format!("let t = \"a\"; t.pad(60000, 'a'); t.replace({from}, {to})");
        let error = error(&script);
        assert!(
            matches!(*error, EvalAltResult::ErrorDataTooLarge(..)),
            "{error}"
        );
        assert_eq!(error.position().line(), Some(1));
    }
    let script = "let t = \"a\"; t.pad(200000, 'a'); t.replace('a', '障')";
    assert!(matches!(
        *error(script),
        EvalAltResult::ErrorDataTooLarge(..)
    ));
    assert!(begin.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn result_over_a_limit_is_an_error_at_its_call() {
    let fill =
        |size: usize, call: &str| format!("let t = \"\";\nt.pad({size}, 'é');\nlet x = {call};");
    for script in [
        fill(130_000, "base64(t)"),
        fill(100_000, "url_encode(t)"),
        fill(131_070, "json_dump([t, 1])"),
        "let t = \"\";\nt.pad(5000, '\\n');\nlet x = lines(t);".to_owned(),
        "let t = \"[0\";\nfor i in 0..5000 { t += \",0\"; }\nlet x = json_parse(t + \"]\");"
            .to_owned(),
    ] {
        let error = error(&script);
        assert!(
            matches!(*error, EvalAltResult::ErrorDataTooLarge(..)),
            "{script}: {error}"
        );
        assert_eq!(error.position().line(), Some(3), "{script}: {error}");
    }
}

// json

#[test]
fn json_goes_in_and_out() {
    is_true(
        r#"json_parse("{\"a\":[1,2.5,true,null,\"é\"],\"big\":18446744073709551615}").big == "18446744073709551615""#,
    );
    is_true(r#"json_dump(json_parse(`[{"b":1,"a":[]}]`)) == `[{"a":[],"b":1}]`"#);
    is_true(r#"json_dump(base64_decode("AP8=")) == "\"AP8=\"" && json_dump(()) == "null""#);
    is_true(r#"json_parse(base64_decode("WzFd")) == [1]"#);
    is_true(r#"json_parse(`"\ud800"`) == "\u{fffd}""#.replace("\\u{fffd}", "\u{fffd}").as_str());
    complains("json_parse(\"{\")", "the body is no JSON", (1, 1));
    complains(
        "json_dump(|x| x)",
        "a function cannot leave a script",
        (1, 1),
    );
}

// time

#[test]
fn dates_in_the_usual_forms_are_seconds() {
    for (text, seconds) in [
        ("2026-11-20T16:22:18.930970914Z", "1795191738"),
        ("2026-11-21T01:22:18+09:00", "1795191738"),
        ("2026-11-20 16:22:18", "1795191738"),
        ("2026-11-20T16:22:18", "1795191738"),
        ("2026-11-20", "1795132800"),
        ("Fri, 20 Nov 2026 16:22:18 +0000", "1795191738"),
        ("20 Nov 2026 17:22:18 +0100 (CET)", "1795191738"),
        ("Mon, 20 Nov 2026 16:22:18 GMT", "1795191738"),
        ("1795191738", "1795191738"),
        (" 1795191738.99 ", "1795191738"),
        ("-1", "-1"),
        ("0001-01-01T00:00:00Z", "-62135596800"),
        ("", "()"),
        ("soon", "()"),
        ("2026-13-01", "()"),
        ("99999999999999999", "()"),
    ] {
        is_true(&format!("date_parse({text:?}) == {seconds}"));
    }
}

#[test]
fn dates_follow_a_format_and_a_zone() {
    is_true(r#"date_parse("20/11/2026 16:22:18", "%d/%m/%Y %H:%M:%S") == 1795191738"#);
    is_true(
        r#"date_parse("20/11/2026 17:22:18", "%d/%m/%Y %H:%M:%S", "Europe/Paris") == 1795191738"#,
    );
    is_true(
        r#"date_parse("2026-11-20 17:22:18 +0100", "%Y-%m-%d %H:%M:%S %z", "Asia/Tokyo") == 1795191738"#,
    );
    is_true(r#"date_parse("20.11.2026", "%d.%m.%Y", "+09:00") == 1795132800 - 9 * 3600"#);
    is_true(r#"date_parse("nonsense", "%Y") == ()"#);
    is_true(r#"date_format(1795191738, "%Y-%m-%dT%H:%M:%SZ") == "2026-11-20T16:22:18Z""#);
    is_true(r#"date_format(0, "%F %T %Z", "Asia/Tokyo") == "1970-01-01 09:00:00 JST""#);
    is_true(r#"date_format(1795191738, "%H:%M %z", "+0530") == "21:52 +0530""#);
    complains(
        r#"date_format(0, "%Y", "Mars/Olympus")"#,
        "there is no time zone `Mars/Olympus`",
        (1, 1),
    );
    complains(
        r#"date_parse("x", "%Y", "Nowhere")"#,
        "no time zone",
        (1, 1),
    );
    complains(r#"date_format(0, "%!")"#, "`%!` is no date format", (1, 1));
    complains(r#"date_parse("x", "%!")"#, "`%!` is no date format", (1, 1));
    complains(
        "date_format(999999999999999, \"%Y\")",
        "outside the calendar",
        (1, 1),
    );
}

// mails and traps

const MAIL: &str =
    r#"let raw = "From: a@b\nsubject: =?UTF-8?B?6Zqc5a6z?=\nX-Multi: one\n two\n\nhello\n"; "#;

#[test]
fn mail_is_parsed_from_text_bytes_or_given_back() {
    is_true(&format!(
        "{MAIL} let m = mail_parse(raw); m.subject == \"障害\" && m.text == \"hello\\n\""
    ));
    is_true(&format!(
        "{MAIL} mail_parse(base64_decode(base64(raw)))[\"X-Multi\"] == \"one two\""
    ));
    is_true(&format!(
        "{MAIL} let m = mail_parse(raw); mail_parse(m) == m && m[\"Is-Multipart\"] == false"
    ));
    is_true(&format!(
        "{MAIL} type_of(mail_parse(raw).raw) == \"blob\" && mail_parse(raw).raw.text() == raw"
    ));
    complains(
        "mail_parse(5)",
        "`mail_parse` takes text or a blob, not i64",
        (1, 1),
    );
    complains(
        "mail_parse(#{a: 1})",
        "`mail_parse` takes text or a blob, not map",
        (1, 1),
    );
}

#[test]
fn header_is_found_whatever_its_case() {
    is_true(&format!(
        "{MAIL} let m = mail_parse(raw); header(m, \"Subject\") == \"障害\" && header(m, \"FROM\") == \"a@b\""
    ));
    is_true(&format!("{MAIL} header(mail_parse(raw), \"Cc\") == ()"));
    is_true(&format!(
        "{MAIL} let m = mail_parse(raw); m.header(\"x-multi\") == \"one two\""
    ));
}

#[test]
fn mail_with_a_note_tells_it() {
    is_true(
        "mail_parse(\"Content-Type: multipart/mixed\\n\\nx\").decode_note.contains(\"no parts\")",
    );
    is_true("mail_parse(\"Subject: x\\n\\n\").decode_note == ()");
}

#[test]
fn large_mail_fits_into_a_script() {
    let html = format!("<p>{}</p>", "x".repeat(150_000));
    let raw = format!("Subject: big\nContent-Type: text/html\n\n{html}");
    let mut scope = Scope::new();
    scope.push("raw", raw);
    let mail: Map = engine()
        .eval_with_scope(&mut scope, "let m = mail_parse(raw); let n = m; n")
        .unwrap();
    assert!(mail["Body"].is::<Blob>() && mail["html"].is::<Blob>());
    assert_eq!(mail["Subject"].clone().into_string().unwrap(), "big");
}

const TRAP: &str = r#"let text = "web01\nUDP: [192.0.2.1]:1024->[192.0.2.9]:162\niso.3.6.1.2.1.1.3.0 0:0:00:01.00\niso.3.6.1.6.3.1.1.4.1.0 iso.3.6.1.6.3.1.1.5.3\niso.3.6.1.2.1.2.2.1.2.2 \"eth1\"\n"; "#;

#[test]
fn trap_is_parsed_from_text_bytes_or_given_back() {
    is_true(&format!(
        "{TRAP} let t = trap_parse(text); t.name == \"linkDown\" && t.uptime == 100 && t.port == 1024"
    ));
    is_true(&format!(
        "{TRAP} trap_parse(base64_decode(base64(text))).values[\"1.3.6.1.2.1.2.2.1.2.2\"] == \"eth1\""
    ));
    is_true(&format!(
        "{TRAP} let t = trap_parse(text); trap_parse(t) == t"
    ));
    is_true(&format!(
        "{TRAP} trap_parse(text).varbinds.find(|v| v.name == \"ifDescr\").value == \"eth1\""
    ));
    complains("trap_parse(\"hello\")", "no varbind", (1, 1));
}

// between scripts and values

#[test]
fn value_comes_back_from_a_script_as_it_went_in() {
    let value = Value::from([
        ("null", Value::Null),
        ("int", Value::Int(i64::MIN)),
        ("float", Value::Float(1.0)),
        ("char", Value::Char('障')),
        ("bytes", Value::from(vec![0, 255])),
        ("long", Value::Text("é".repeat(TEXT_BYTES_MAX))),
        ("list", Value::List(vec![true.into(), "text".into()])),
    ]);
    assert_eq!(from_dynamic(&to_dynamic(&value)), Ok(value));
}

#[test]
fn text_stays_text_while_all_of_it_fits() {
    let text = |size: usize| Value::Text("x".repeat(size));
    let is_blob = |value: &Dynamic| value.is::<Blob>();
    let convert = |sizes: &[usize]| {
        let list = Value::List(sizes.iter().map(|size| text(*size)).collect());
        to_dynamic(&list)
            .into_array()
            .unwrap()
            .iter()
            .map(is_blob)
            .collect::<Vec<bool>>()
    };
    assert_eq!(convert(&[TEXT_BYTES_MAX]), [false]);
    assert_eq!(convert(&[TEXT_BYTES_MAX + 1]), [true]);
    assert_eq!(convert(&[200_000, 10, 100_000]), [true, false, false]);
    assert_eq!(convert(&[150_000, 150_000, 5]), [true, true, false]);
    assert_eq!(convert(&[100_000, 100_000]), [false, false]);
}
