//! Every mistake that can be found without an event is found before the first one comes: with its
//! place, a caret and a hint, by `check` and by `serve` alike.

use crate::house::{House, stderr};

/// A mistake in a flow: what it says, where, and what helps.
struct Mistake {
    script: &'static str,
    says: &'static str,
    at: &'static str,
    help: &'static str,
}

const fn mistake(
    script: &'static str,
    says: &'static str,
    at: &'static str,
    help: &'static str,
) -> Mistake {
    Mistake {
        script,
        says,
        at,
        help,
    }
}

fn house() -> House {
    let house = House::new();
    house.channel("alert", "");
    house
}

/// What both verbs say about a house that is wrong; they must say the same and exit with 78.
fn refused(house: &House) -> String {
    let checked = house.run(&["check"]);
    let said = stderr(&checked);
    assert_eq!(checked.status.code(), Some(78), "{said}");
    let served = house.run(&["serve"]);
    assert_eq!(served.status.code(), Some(78), "{}", stderr(&served));
    assert_eq!(
        stderr(&served),
        said,
        "serve says something else than check"
    );
    assert!(served.stdout.is_empty(), "serve listened before it refused");
    assert!(
        !house.path("data/db").exists(),
        "serve opened a store for a house that is wrong"
    );
    said
}

/// Runs a flow's mistake through both verbs.
fn is_found(mistake: &Mistake) {
    let house = house();
    house.flow(
        "_tickets",
        "fn open(event) { event.n }\nfn close(event, note) { note }",
    );
    house.flow("alert/note", mistake.script);
    let said = refused(&house);
    let place = format!("flows/alert/note.rhai:{}", mistake.at);
    for part in [mistake.says, &place, mistake.help] {
        assert!(
            said.contains(part),
            "{}\nmisses {part:?}:\n{said}",
            mistake.script
        );
    }
    assert!(said.contains('^'), "{said}");
}

const UNKNOWN: &[Mistake] = &[
    mistake(
        "let a = 1;\nprnt(a);",
        "there is no word `prnt`",
        "2:1",
        "did you mean `print`?",
    ),
    mistake(
        "fn f(e) {\n  if e.bad { jsn_parse(e.text) }\n}\nf(event)",
        "there is no word `jsn_parse`",
        "2:14",
        "did you mean `json_parse`?",
    ),
    mistake(
        "let l = [1].map(|x| nosuchthing(x));",
        "there is no word `nosuchthing`",
        "1:21",
        "",
    ),
    mistake(
        "let a = event.name.to_uper();",
        "there is no word `to_uper`",
        "1:20",
        "did you mean `to_upper`?",
    ),
    mistake(
        "redmine::opne(#{});",
        "`redmine` has no verb `opne`",
        "1:1",
        "did you mean `open`?",
    ),
    mistake(
        "redmine::frobnicate(#{});",
        "`redmine` has no verb `frobnicate`",
        "1:1",
        "it has open",
    ),
    mistake(
        "remdine::open(#{});",
        "undefined module: remdine",
        "1:",
        "did you mean `redmine`?",
    ),
    mistake(
        "state::gte(\"a\");",
        "`state` has no verb `gte`",
        "1:1",
        "did you mean `get`?",
    ),
    mistake(
        "let n = nwo();",
        "there is no word `nwo`",
        "1:9",
        "did you mean `now`?",
    ),
    mistake(
        "let t = timestamp();",
        "there is no word `timestamp`",
        "1:9",
        "",
    ),
    mistake("eval(\"1\");", "eval", "1:1", "text never becomes code"),
    mistake(
        "helper(event);\nfn helpr(e) { e }",
        "there is no word `helper`",
        "1:1",
        "did you mean `helpr`?",
    ),
];

#[test]
fn words_that_do_not_exist_are_found_with_a_hint() {
    UNKNOWN.iter().for_each(is_found);
}

const COUNTS: &[Mistake] = &[
    mistake(
        "redmine::open();",
        "`redmine::open` does not take 0 arguments",
        "1:1",
        "redmine::open(issue)",
    ),
    mistake(
        "redmine::open(#{}, 1, 2, 3);",
        "`redmine::open` does not take 4 arguments",
        "1:1",
        "it is called as",
    ),
    mistake(
        "let n = now(1);",
        "`now` does not take 1 arguments",
        "1:9",
        "now()",
    ),
    mistake(
        "emit(\"a\");",
        "`emit` does not take 1 arguments",
        "1:1",
        "emit(channel, event)",
    ),
    mistake(
        "fn f(a, b) { a + b }\nf(1);",
        "`f` does not take 1 arguments",
        "2:1",
        "it takes 2",
    ),
    mistake(
        "json_parse(\"a\", 2);",
        "`json_parse` does not take 2 arguments",
        "1:1",
        "it takes 1",
    ),
    mistake(
        "let a = \"a\".sub_string();",
        "`sub_string` does not take 1 arguments",
        "1:13",
        "it takes 2 or 3",
    ),
    mistake(
        "import \"_tickets\" as t;\nt::close(event);",
        "`t::close` does not take 1 arguments",
        "2:1",
        "it takes 2",
    ),
];

#[test]
fn wrong_numbers_of_arguments_are_found() {
    COUNTS.iter().for_each(is_found);
}

const LANGUAGE: &[Mistake] = &[
    mistake(
        "let a = 1;\nlet b = evnt.a;",
        "undefined variable: evnt",
        "2:9",
        "did you mean `event`?",
    ),
    mistake(
        "fn f() { event.a }\nf()",
        "undefined variable: event",
        "1:10",
        "hand them to functions",
    ),
    mistake(
        "let a = 'some text';",
        "nvalid character",
        "1:9",
        "double quotes",
    ),
    mistake("let a = ;", "nexpected ';'", "1:9", ""),
    mistake("if event.a {\n  1\n", "", "", ""),
    mistake("let a = \"open;\n", "", "1:", ""),
    mistake("let events = 1; events[0", "", "1:", ""),
];

#[test]
fn mistakes_of_the_language_are_found_with_a_hint() {
    LANGUAGE.iter().for_each(is_found);
}

const IMPORTS: &[Mistake] = &[
    mistake(
        "import \"_nosuch\" as t;",
        "module `_nosuch` not found; it would be flows/_nosuch.rhai",
        "1:8",
        "",
    ),
    mistake(
        "import \"../../etc/passwd\" as t;",
        "a path under flows/ has only names",
        "1:8",
        "",
    ),
    mistake(
        "import \"/etc/passwd\" as t;",
        "a path under flows/ has only names",
        "1:8",
        "",
    ),
    mistake(
        "import \"a\\x00b\" as t;",
        "a path under flows/ has only names",
        "1:8",
        "",
    ),
    mistake(
        "import \"a\" + \"b\" as t;",
        "written out as text",
        "1:",
        "",
    ),
    mistake(
        "import \"_tickets\" as t;\nt::opn(event);",
        "`t` has no function `opn`",
        "2:1",
        "did you mean `open`?",
    ),
    mistake(
        "import \"_tickets\" as t;\nt::frobnicate(event);",
        "`t` has no function `frobnicate`",
        "2:1",
        "it has close, open",
    ),
];

#[test]
fn mistakes_with_imports_are_found() {
    IMPORTS.iter().for_each(is_found);
}

/// What is said about a house with these modules and a flow that imports the first.
fn modules(modules: &[(&str, &str)]) -> String {
    let house = house();
    for (name, text) in modules {
        house.flow(name, text);
    }
    house.flow(
        "alert/note",
        &format!("import \"{}\" as m;\nm::f(event);", modules[0].0),
    );
    refused(&house)
}

#[test]
fn imports_in_a_circle_are_refused() {
    let said = modules(&[
        ("_a", "import \"_b\" as b;\nfn f(e) { b::f(e) }"),
        ("_b", "import \"_a\" as a;\nfn f(e) { a::f(e) }"),
    ]);
    assert!(said.contains("import of `_a` goes in a circle"), "{said}");
    assert!(said.contains("flows/_b.rhai:1:"), "{said}");
    let said = modules(&[("_a", "import \"_a\" as a;\nfn f(e) { 1 }")]);
    assert!(said.contains("goes in a circle"), "{said}");
}

#[test]
fn mistakes_in_modules_stand_in_the_module() {
    let said = modules(&[("_a", "fn f(e) {\n  prnt(e)\n}")]);
    assert!(
        said.contains("there is no word `prnt`") && said.contains("flows/_a.rhai:2:3"),
        "{said}"
    );
    let said = modules(&[("_a", "fn f(e) {\n  nosuch\n}")]);
    assert!(
        said.contains("undefined variable: nosuch") && said.contains("flows/_a.rhai:2:3"),
        "{said}"
    );
    let said = modules(&[("_a", "fn f(e) {\n  e.\n}")]);
    assert!(said.contains("flows/_a.rhai:3:1"), "{said}");
    let said = modules(&[("_a", "print(\"hello\");\nfn f(e) { e }")]);
    assert!(
        said.contains("a module has only functions") && said.contains("flows/_a.rhai:1:1"),
        "{said}"
    );
    let said = modules(&[("_a", "const N = now();\nfn f(e) { e }")]);
    assert!(
        said.contains("`now` cannot be used here") && said.contains("flows/_a.rhai:1:11"),
        "{said}"
    );
}

#[test]
fn a_module_that_never_ends_does_not_hold_the_check() {
    let said = modules(&[("_a", "const N = [1].map(|x| { loop {} });\nfn f(e) { e }")]);
    assert!(said.contains("flows/_a.rhai:1:"), "{said}");
    let said = modules(&[(
        "_a",
        "const N = [2, 1].sort(|a, b| { loop {} });\nfn f(e) { e }",
    )]);
    assert!(said.contains("operations"), "{said}");
}

#[test]
fn modules_that_import_each_other_many_times_are_compiled_once() {
    let house = house();
    let text = |n: usize| {
        let import = |alias: &str| format!("import \"_m{}\" as {alias}; ", n + 1);
        format!(
            "{}{}{}fn f(e) {{ a::f(e) }}",
            import("a"),
            import("b"),
            import("c")
        )
    };
    for n in 0..4 {
        house.flow(&format!("_m{n}"), &text(n));
    }
    house.flow("_m4", "fn f(e) { e }");
    house.flow("alert/note", "import \"_m0\" as m;\nm::f(event);");
    let checked = house.run(&["check"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    // The language lists what each module has under each of its names: three times as much a level.
    for n in 4..31 {
        house.flow(&format!("_m{n}"), &text(n));
    }
    house.flow("_m31", "fn f(e) { e }");
    assert!(refused(&house).contains("a module goes too far"));
    for n in 0..40 {
        let next = n + 1;
        house.flow(
            &format!("_m{n}"),
            &format!("import \"_m{next}\" as a; fn f(e) {{ 1 }}"),
        );
    }
    house.flow("_m40", "fn f(e) { e }");
    assert!(refused(&house).contains("at most 32 modules"));
}

#[test]
fn a_symbolic_link_is_no_way_out_of_the_folder_of_flows() {
    let house = house();
    house.file("outside.rhai", "fn f(e) { e }");
    std::os::unix::fs::symlink(house.path("outside.rhai"), house.path("flows/_link.rhai")).unwrap();
    house.flow("alert/note", "import \"_link\" as m;\nm::f(event);");
    assert!(refused(&house).contains("leads out of flows/"));
}

#[test]
fn every_mistake_is_told_not_only_the_first() {
    let house = house();
    house.channel("mail", "retenton = \"7d\"");
    house.flow("alert/one", "prnt(1);\nprnt(2);");
    house.flow("alert/two", "let a = ;");
    house.file("flows/alert/three.toml", "atempts_max = 3");
    house.flow("alert/three", "1");
    house.flow("alrt/four", "1");
    let said = refused(&house);
    for part in [
        "one.rhai:1:1",
        "one.rhai:2:1",
        "two.rhai:1:9",
        "did you mean `attempts_max`?",
        "did you mean `retention`?",
        "did you mean `alert`?",
    ] {
        assert!(said.contains(part), "misses {part}:\n{said}");
    }
}

const SETTINGS: &[(&str, &str, &str, &str)] = &[
    (
        "settings",
        "[redmin]\nendpoint = \"http://127.0.0.1\"",
        "settings.toml:",
        "did you mean `redmine`?",
    ),
    (
        "settings",
        "[redmine]\nendpont = \"http://127.0.0.1\"",
        "settings.toml:",
        "did you mean `endpoint`?",
    ),
    (
        "settings",
        "[run]\nretention = \"30 parsecs\"",
        "settings.toml:",
        "30 parsecs",
    ),
    ("settings", "[store]\ndisk_max = [1]", "settings.toml:", "^"),
    (
        "settings",
        "[redmine]\nendpoint = \"ftp://a\"",
        "[redmine]",
        "http://",
    ),
    ("settings", "[log]\nlevel = \"loud\"", "level", "loud"),
    ("settings", "[log]\nformat = \"xml\"", "format", "xml"),
    (
        "settings",
        "[secret]\nkey_file = \"nosuchfile\"",
        "nosuchfile",
        "key",
    ),
    (
        "flow",
        "runs_at_once = 3",
        "flows/alert/note.toml:1:1",
        "did you mean `runs_at_once_max`?",
    ),
    (
        "flow",
        "give_up_after = \"soon\"",
        "flows/alert/note.toml:1:",
        "soon",
    ),
    (
        "flow",
        "in_doubt = \"perhaps\"",
        "flows/alert/note.toml:1:",
        "dead_letter",
    ),
    (
        "flow",
        "runs_at_once_max = 0",
        "flows/alert/note.toml",
        "at least 1",
    ),
    (
        "flow",
        "attempts_max = 0",
        "flows/alert/note.toml",
        "at least 1",
    ),
    (
        "flow",
        "run_seconds_max = 0",
        "flows/alert/note.toml",
        "1 to 3600",
    ),
    (
        "flow",
        "[batch]\nsize_max = 0\nage_max = \"1s\"",
        "flows/alert/note.toml",
        "size_max",
    ),
    (
        "flow",
        "[batch]\nsize_mx = 3\nage_max = \"1s\"",
        "flows/alert/note.toml:2:1",
        "did you mean `size_max`?",
    ),
    (
        "flow",
        "[batch]\nsize_max = 3",
        "flows/alert/note.toml:1:",
        "age_max",
    ),
    (
        "channel",
        "dept_max = 3",
        "channels/alert.toml:1:1",
        "did you mean `depth_max`?",
    ),
    (
        "channel",
        "on_full = \"explode\"",
        "channels/alert.toml:1:",
        "drop_oldest",
    ),
    ("channel", "retention = 7", "channels/alert.toml:1:", "^"),
    ("channel", "about = \"open", "channels/alert.toml:1:", "^"),
];

#[test]
fn mistakes_in_settings_have_a_place_and_a_hint() {
    for (kind, toml, place, help) in SETTINGS {
        let mut house = house();
        house.flow("alert/note", "1");
        match *kind {
            "settings" => house = house.settings(toml),
            "flow" => drop(house.file("flows/alert/note.toml", toml)),
            _ => drop(house.channel("alert", toml)),
        }
        let said = refused(&house);
        assert!(said.contains(place), "{toml}: misses {place}:\n{said}");
        assert!(said.contains(help), "{toml}: misses {help}:\n{said}");
    }
}

#[test]
fn sound_scripts_are_not_refused() {
    let house = house();
    house.flow("_tickets", "const N = 3;\nprivate fn twice(x) { x * 2 }\nfn open(event) { twice(event.n) + global::N }");
    let scripts = [
        "let m = #{ work: |x| x + 1 }; m.work(1)",
        "let m = #{}; m.later = |x| x + 1; m.later(1)",
        "fn double() { this * 2 }\nlet n = 3; n.double()",
        "import \"_tickets\" as t;\nt::open(event)",
        "let f = |a, b| a + b; f.call(1, 2) + f.curry(1).call(2)",
        "let timestamp = event.timestamp; let o = #{ exit: 1, sleep: 2 }; o.exit + o.sleep",
        "event?.a?.b ?? \"none\"",
        "fn f(event) { event.a }\nfn g(e) { let meta = e; [1].map(|x| meta) }\nfn filter(event) { event.a == 1 }\nf(event); g(event); [1].map(|x| event.a + x)",
        "let a = [3, 1, 2]; a.sort(); a.sort(|x, y| x - y); a.filter(|x| x > 1).map(|x| x * 2).len()",
        "let s = \"a\"; s.pad(3, 'x'); s.to_upper().contains(\"A\") && s.starts_with(\"a\")",
        "for (x, i) in [1, 2] { print(`${i} ${x}`); }",
        "let 警報 = event.état ?? 1; switch 警報 { 1 | 2 => \"a\", 3..5 => \"b\", _ => \"c\" }",
        "redmine::open(#{ project: \"a\" }); http::get(\"http://a\"); http::get(\"http://a\", #{}); random(); random(6)",
        "print(type_of(event)); debug(meta); is_def_fn(\"f\", 1); is_def_var(\"x\"); parse_int(\"1\"); max(1, 2); PI()",
        "try { throw #{ a: 1 } } catch (err) { print(err.a) }",
    ];
    for (n, script) in scripts.iter().enumerate() {
        house.flow(&format!("alert/sound_{n}"), script);
    }
    let checked = house.run(&["check"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
}
