//! Scripts that try to bring the process down, each with the way in which it must end.
//!
//! Written from what is known about the language: what its own limits miss, what can be caught
//! that should not be, what grows outside every count.

use std::time::Duration;

/// Bytes that may be left behind: what the allocator's users keep warm.
const LEFT_BYTES_MAX: isize = 256 * 1024;

/// How an attack must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Stopped at a limit, ours or the language's.
    Limit,
    /// An ordinary error.
    Error,
    /// It comes to its end; there is nothing wrong with it after all.
    Fine,
    /// It does not compile.
    Refused,
}

/// One attack.
pub struct Attack {
    pub name: &'static str,
    /// Bytes that it may leave behind.
    pub leaves: isize,
    /// How long it may think.
    pub thinking: Duration,
    pub script: String,
    pub end: End,
}

fn attack(name: &'static str, end: End, script: impl Into<String>) -> Attack {
    // What must be stopped is stopped soon; what must come to its end may take long on a busy machine.
    let thinking = match end {
        End::Limit => Duration::from_millis(700),
        _ => Duration::from_secs(15),
    };
    Attack {
        name,
        leaves: LEFT_BYTES_MAX,
        thinking,
        script: script.into(),
        end,
    }
}

/// All groups by name; each is run in a process of its own.
pub fn group(name: &str) -> Vec<Attack> {
    match name {
        "loops" => loops(),
        "closures" => closures(),
        "swallowed" => swallowed(),
        "recursion" => recursion(),
        "texts" => texts(),
        "values" => values(),
        "cycles" => cycles(),
        "source" => source(),
        "forbidden" => forbidden(),
        "floods" => floods(),
        other => panic!("there is no group {other}"),
    }
}

fn loops() -> Vec<Attack> {
    use End::Limit;
    vec![
        attack("loop", Limit, "loop {}"),
        attack("while", Limit, "while true {}"),
        attack("do while", Limit, "do {} while true"),
        attack("do until", Limit, "do {} until false"),
        attack("huge range", Limit, "for i in 0..9223372036854775807 {}"),
        attack(
            "huge inclusive range",
            Limit,
            "for i in 0..=9223372036854775806 {}",
        ),
        attack(
            "range() with a step",
            Limit,
            "for i in range(0, 9223372036854775807, 1) {}",
        ),
        attack("bits of a loop", Limit, "loop { for b in bits(255) {} }"),
        attack("loop that continues", Limit, "loop { continue; }"),
        attack("loop in a loop", Limit, "loop { loop { break; } }"),
        attack("loop with try", Limit, "loop { try { throw 1; } catch {} }"),
        attack("loop in try", Limit, "try { loop {} } catch {} loop {}"),
        attack("loop in catch", Limit, "try { throw 1; } catch { loop {} }"),
        attack("loop in a function", Limit, "fn spin() { loop {} } spin();"),
        attack(
            "loop in an interpolation",
            Limit,
            "let a = `${{ loop {} }}`;",
        ),
        attack(
            "loop in a switch guard",
            Limit,
            "fn spin() { loop {} } switch 1 { 1 if spin() => 2, _ => 3 }",
        ),
        attack(
            "loop in a condition",
            Limit,
            "fn spin() { loop {} } if spin() { }",
        ),
        attack(
            "loop in an argument",
            Limit,
            "fn spin() { loop {} } print(spin());",
        ),
        attack(
            "loop in a map literal",
            Limit,
            "fn spin() { loop {} } let m = #{ a: spin() };",
        ),
        attack(
            "filter of a growing walk",
            Limit,
            "let n = 0; while n >= 0 { n += 1; if n > 1000 { n = 0; } }",
        ),
    ]
}

fn closures() -> Vec<Attack> {
    use End::Limit;
    let inside = |outer: &str| format!("loop {{ try {{ {outer} }} catch {{}} }}");
    vec![
        attack("map", Limit, "[1].map(|x| { loop {} })"),
        attack(
            "map caught for ever",
            Limit,
            inside("[1].map(|x| { loop {} })"),
        ),
        attack(
            "filter caught for ever",
            Limit,
            inside("[1].filter(|x| { loop {} })"),
        ),
        attack(
            "for_each caught for ever",
            Limit,
            inside("[1].for_each(|| { loop {} })"),
        ),
        attack(
            "reduce caught for ever",
            Limit,
            inside("[1, 2].reduce(|a, b| { loop {} })"),
        ),
        attack(
            "some caught for ever",
            Limit,
            inside("[1].some(|x| { loop {} })"),
        ),
        attack(
            "all caught for ever",
            Limit,
            inside("[1].all(|x| { loop {} })"),
        ),
        attack(
            "find caught for ever",
            Limit,
            inside("[1].find(|x| { loop {} })"),
        ),
        attack(
            "find_map caught for ever",
            Limit,
            inside("[1].find_map(|x| { loop {} })"),
        ),
        attack(
            "index_of caught for ever",
            Limit,
            inside("[1].index_of(|x| { loop {} })"),
        ),
        attack(
            "retain caught for ever",
            Limit,
            inside("[1].retain(|x| { loop {} })"),
        ),
        attack(
            "drain caught for ever",
            Limit,
            inside("[1].drain(|x| { loop {} })"),
        ),
        attack(
            "sort caught for ever",
            Limit,
            inside("[2, 1].sort(|a, b| { loop {} })"),
        ),
        attack(
            "dedup caught for ever",
            Limit,
            inside("[1, 1].dedup(|a, b| { loop {} })"),
        ),
        attack(
            "map filter caught for ever",
            Limit,
            inside("#{ a: 1 }.filter(|k, v| { loop {} })"),
        ),
        attack(
            "call caught for ever",
            Limit,
            inside("let f = || { loop {} }; f.call()"),
        ),
        attack(
            "curried call caught for ever",
            Limit,
            inside("let f = |a| { loop {} }; f.curry(1).call()"),
        ),
        attack(
            "nested closures",
            Limit,
            inside("[1].map(|x| [1].map(|y| [1].map(|z| { loop {} })))"),
        ),
        attack(
            "many cheap closures",
            Limit,
            "let a = []; a.pad(4000, 1); loop { a.map(|x| x + 1); }",
        ),
        attack(
            "sort of many with an expensive comparer",
            Limit,
            "let a = []; a.pad(4000, 1); a.sort(|a, b| { let n = 0; while n < 1000 { n += 1; } a - b });",
        ),
    ]
}

/// A sort or a try hides the error of the limit: the script must not come to a good end.
fn swallowed() -> Vec<Attack> {
    use End::Limit;
    vec![
        attack(
            "sort is the last word",
            Limit,
            "[2, 1].sort(|a, b| { loop {} })",
        ),
        attack(
            "dedup is the last word",
            Limit,
            "[1, 1].dedup(|a, b| { loop {} })",
        ),
        attack(
            "try around map is the last word",
            Limit,
            "try { [1].map(|x| { loop {} }) } catch { 5 }",
        ),
        attack(
            "try around filter then print",
            Limit,
            "try { [1].filter(|x| { loop {} }) } catch {} print(\"alive\");",
        ),
        attack(
            "catch with more work",
            Limit,
            "try { [1].map(|x| { loop {} }) } catch (err) { let a = err.message; }",
        ),
        attack(
            "rethrown",
            Limit,
            "try { [1].map(|x| { loop {} }) } catch (err) { throw err; }",
        ),
        attack(
            "memory behind sort",
            Limit,
            "let l = [1, 2]; l.sort(|a, b| { let f = (|x| x).curry(\"\".to_string()); let s = \"x\"; s.pad(200000, 'x'); loop { f = f.curry(s + 1); } });",
        ),
        attack(
            "sort in sort",
            Limit,
            "[2, 1].sort(|a, b| { [2, 1].sort(|c, d| { loop {} }); loop {} })",
        ),
        attack(
            "try in try",
            Limit,
            "try { try { [1].map(|x| { loop {} }) } catch { [1].map(|x| { loop {} }) } } catch {}",
        ),
    ]
}

fn recursion() -> Vec<Attack> {
    use End::{Fine, Limit};
    vec![
        attack("recursion", Limit, "fn f(n) { f(n + 1) } f(0)"),
        attack(
            "recursion with try",
            Limit,
            "fn f(n) { try { f(n + 1) } catch { f(n + 1) } } f(0)",
        ),
        attack(
            "mutual recursion",
            Limit,
            "fn a(n) { b(n) } fn b(n) { a(n) } a(0)",
        ),
        attack(
            "three in a ring",
            Limit,
            "fn a() { b() } fn b() { c() } fn c() { a() } a()",
        ),
        attack(
            "recursion through call",
            Limit,
            "fn f(n) { Fn(\"f\").call(n + 1) } f(0)",
        ),
        attack(
            "recursion through map",
            Limit,
            "fn f(n) { [n].map(|x| f(x + 1)) } f(0)",
        ),
        attack(
            "recursion through sort",
            Fine,
            "fn f(n) { [n, n].sort(|a, b| f(a + 1)) } f(0)",
        ),
        attack(
            "recursion through a method",
            Limit,
            "fn f() { this.f() } let n = 1; n.f()",
        ),
        attack(
            "recursion of a closure in a map",
            Limit,
            "let m = #{}; m.f = |m| m.f.call(m); m.f.call(m)",
        ),
        attack(
            "recursion in arguments",
            Limit,
            "fn f(a, b, c) { f(f(a, b, c), f(a, b, c), f(a, b, c)) } f(1, 2, 3)",
        ),
        attack(
            "recursion in a switch",
            Limit,
            "fn f(n) { switch n { 0 => f(0), 1 => f(1), _ => f(n - 1) } } f(9)",
        ),
        attack(
            "recursion in an interpolation",
            Limit,
            "fn f(n) { `${`${`${f(n)}`}`}` } f(0)",
        ),
        attack(
            "recursion in a filter of a map",
            Limit,
            "fn f(n) { #{ a: n }.filter(|k, v| f(v)) } f(0)",
        ),
        attack(
            "fibonacci",
            Limit,
            "fn fib(n) { if n < 2 { n } else { fib(n - 1) + fib(n - 2) } } fib(31)",
        ),
        attack(
            "ackermann",
            Limit,
            "fn a(m, n) { if m == 0 { n + 1 } else if n == 0 { a(m - 1, 1) } else { a(m - 1, a(m, n - 1)) } } a(4, 2)",
        ),
    ]
}

fn texts() -> Vec<Attack> {
    use End::{Error, Fine, Limit};
    let big = "let s = \"x\"; s.pad(200000, 'x'); ";
    vec![
        attack("doubling", Limit, "let s = \"x\"; loop { s += s; }"),
        attack(
            "doubling by interpolation",
            Limit,
            "let s = \"x\"; loop { s = `${s}${s}`; }",
        ),
        attack("pad", Limit, "let s = \"x\"; s.pad(1000000000000, 'x');"),
        attack(
            "pad with a text",
            Limit,
            "let s = \"x\"; s.pad(1000000000000, \"xyz\");",
        ),
        attack(
            "replace with a text",
            Limit,
            format!("{big} let t = s; s.replace(\"x\", t);"),
        ),
        attack(
            "replace a character",
            Limit,
            format!("{big} let t = s; s.replace('x', t);"),
        ),
        attack(
            "replace nothing",
            Limit,
            format!("{big} let t = s; s.replace(\"\", t);"),
        ),
        attack(
            "replace in a loop",
            Limit,
            "let s = \"ab\"; loop { s.replace(\"a\", \"aa\"); }",
        ),
        attack(
            "append in a loop",
            Limit,
            "let s = \"\"; loop { s.append(\"0123456789\"); }",
        ),
        attack(
            "append a number",
            Limit,
            "let s = \"\"; loop { s += 1234567890; }",
        ),
        attack(
            "join",
            Limit,
            "let a = []; a.pad(4000, \"0123456789012345678901234567890123456789012345678901234567890123456789\"); let s = \"\"; for x in a { s += x; }",
        ),
        attack(
            "split into too many",
            Limit,
            format!("{big} s.split(\"x\")"),
        ),
        attack("split into characters", Fine, format!("{big} s.split()")),
        attack("to_chars", Limit, format!("{big} s.to_chars()")),
        attack(
            "many big texts",
            Limit,
            format!("{big} let a = []; loop {{ a.push(s + 1); }}"),
        ),
        attack(
            "index of a huge text",
            Fine,
            format!("{big} let t = s.sub_string(0, 100000); s.index_of(t + \"y\")"),
        ),
        attack(
            "pattern of a huge text",
            Fine,
            format!("{big} matches(s, \"(x+x+)+y\")"),
        ),
        attack(
            "pattern that grows",
            Error,
            "matches(\"x\", \"(((x{1,100}){1,100}){1,100}){1,100}\")",
        ),
        attack(
            "base64 of a huge text in a loop",
            Limit,
            format!("{big} loop {{ s = base64(s); }}"),
        ),
        attack(
            "sha256 in a loop",
            Limit,
            format!("{big} loop {{ sha256(s); }}"),
        ),
        attack(
            "contains in a loop",
            Limit,
            format!("{big} loop {{ s.contains(\"y\"); }}"),
        ),
        attack(
            "json of a huge text",
            Limit,
            format!("{big} let a = []; loop {{ a.push(json_dump(s)); }}"),
        ),
        attack(
            "deep json",
            Error,
            "let s = \"[\"; s.pad(200000, '['); json_parse(s)",
        ),
        attack(
            "deep json of the language",
            Error,
            "let s = \"[\"; s.pad(200000, '['); parse_json(s)",
        ),
        attack(
            "deep json in a map",
            Error,
            "let s = \"\"; while s.len < 200000 { s += `{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":`; } s.parse_json()",
        ),
    ]
}

fn values() -> Vec<Attack> {
    use End::{Error, Fine, Limit};
    let deep = "let a = []; let n = 0; while n < 5000 { a = [a]; n += 1; }";
    let deep_map = "let a = #{}; let n = 0; while n < 5000 { a = #{ a: a }; n += 1; }";
    let under = "let a = []; let n = 0; while n < 1000 { a = [a]; n += 1; }";
    vec![
        attack("push", Limit, "let a = []; loop { a.push(1); }"),
        attack("pad", Limit, "let a = []; a.pad(1000000000000, 1);"),
        attack("insert", Limit, "let a = []; loop { a.insert(0, 1); }"),
        attack("doubling", Limit, "let a = [1]; loop { a += a; }"),
        attack("self in self", Limit, "let a = [1]; loop { a = [a, a]; }"),
        attack("push self", Limit, "let a = [1]; loop { a.push(a); }"),
        attack("map that grows", Limit, "let m = #{}; let n = 0; loop { m[`k${n}`] = n; n += 1; }"),
        attack("map by mixin", Limit, "let m = #{}; let n = 0; loop { let o = #{}; o[`k${n}`] = n; m.mixin(o); n += 1; }"),
        attack("map of maps", Limit, "let m = #{ a: 1 }; loop { m = #{ a: m, b: m }; }"),
        attack("index assignment past the limit", Limit, "let m = #{}; for i in 0..1000000 { m[`${i}`] = \"a long text that takes its room in memory\"; } m.len()"),
        attack("index assignment of arrays", Limit, "let a = []; a.pad(4000, 0); for i in 0..4000 { let b = []; b.pad(4000, i); a[i] = b; }"),
        attack("nested too deep", Limit, deep),
        attack("nested and printed", Fine, format!("{under} print(a);")),
        attack("nested and compared", Fine, format!("{under} let b = a; a == b")),
        attack("nested and copied", Fine, format!("{under} let b = a; b.push(1); a.len()")),
        attack("nested and made text", Fine, format!("{under} a.to_string().len() + a.to_debug().len()")),
        attack("nested and dumped", Error, format!("{under} json_dump(a)")),
        attack("nested and asked", Error, format!("{under} emit(\"a\", a)")),
        attack("nested and given back", Fine, format!("{under} a")),
        attack("nested and thrown", Error, format!("{under} throw a;")),
        attack("nested and switched on", Fine, format!("{under} switch a {{ 1 => 2, _ => 3 }}")),
        attack("nested to the limit and everything", Fine, format!(
            "{} print(a); let b = a; let c = a == b; a.to_debug(); switch a {{ 1 => 2, _ => 3 }}",
            under.replace("1000", "4000"),
        )).patient(),
        attack("nested maps", Limit, deep_map),
        attack("nested maps and compared", Fine, format!("{} a == a", deep_map.replace("5000", "500"))),
        attack("nested maps and printed", Fine, format!("{} print(a);", deep_map.replace("5000", "500"))),
        attack("nested maps to json", Error, format!("{} a.to_json().len()", deep_map.replace("5000", "500"))),
        attack("contains of nested", Fine, format!("{under} [a].contains(a)")),
        attack("nested maps to the limit and everything", Fine, format!(
            "{} print(a); let b = a; let c = a == b; a.to_debug();",
            deep_map.replace("5000", "2000"),
        )).patient(),
        attack("blob", Limit, "blob(1000000000000, 0)"),
        attack("blobs that grow", Limit, "let b = blob(4000, 1); loop { b += b; }"),
        attack("many blobs", Limit, "let a = []; loop { a.push(blob(4000, 1)); if a.len() > 4000 { a = [a]; } }"),
        attack("our blobs", Limit, "let s = \"eA\"; s.pad(200000, 'A'); let f = |x| x; loop { f = f.curry(base64_decode(s)); }"),
        attack("collect of a range", Error, "let a = (0..1000000000).to_array();"),
        attack("variables", Limit, (0..300).map(|n| format!("let v{n} = {n};")).collect::<String>()),
        attack("overflow", Error, "let n = 9223372036854775807; n + 1"),
        attack("division by zero", Error, "1 / 0"),
        attack("smallest modulo minus one", Error, "let n = -9223372036854775807 - 1; n % -1"),
        attack("power", Error, "2 ** 1000"),
        attack("shift", Fine, "1 << 1000; 1 >> -1000; -1 << 63"),
        attack("index far out", Error, "[1][9223372036854775807]"),
        attack("smallest negative index", Error, "let n = -9223372036854775807 - 1; [1][n]"),
        attack("sub_string far out", Fine, "let n = -9223372036854775807 - 1; \"日本\".sub_string(n, 9223372036854775807)"),
        attack("splice far out", Fine, "let a = [1]; a.splice(-9223372036854775807, 9223372036854775807, [2]); a.extract(5, -3)"),
        attack("chop and truncate far out", Fine, "let a = [1]; a.chop(-1); a.truncate(-5); a.remove(-9); a.drain(9223372036854775807, 9223372036854775807)"),
        attack("bit far out", Error, "let n = 1; n.get_bit(1000)"),
        attack("range that overflows", Fine, "for i in range(9223372036854775800, 9223372036854775807, 5) {}"),
        attack("step of zero", Error, "for i in range(0, 10, 0) {}"),
        attack("parse of a huge number", Error, "parse_int(\"99999999999999999999999999\")"),
        attack("radix far out", Error, "parse_int(\"10\", 1000)"),
        attack("events of nothing", Error, "events.len()").refused(),
    ]
}

fn cycles() -> Vec<Attack> {
    use End::{Error, Fine, Limit};
    vec![
        attack("a chain of closures", Limit, "let f = |x| x; loop { f = f.curry(f); }"),
        attack("a long chain of closures", Limit, "fn wrap(g) { || g.call() } let g = || 1; loop { g = wrap(g); }"),
        attack("a chain that is called", Limit, "fn wrap(g) { || g.call() } let g = || 1; for i in 0..1000 { g = wrap(g); } g.call()"),
        attack("captured texts", Limit, "let s = \"x\"; s.pad(200000, 'x'); let f = || 1; loop { let t = s + 1; f = f.curry(t); }"),
        attack("captured arrays", Limit, "let all = || 1; loop { let a = []; a.pad(4000, 1.5); all = all.curry(a); }"),
        attack("a closure that holds itself", Fine, "let x = #{}; let f = || x; x.me = f;"),
        attack("a closure that holds itself and is printed", Fine, "let x = #{}; let f = || x; x.me = f; print(x);"),
        attack("a closure that holds itself as debug text", Fine, "let x = #{}; let f = || x; x.me = f; x.to_debug()"),
        attack("a closure that holds itself as text", Fine, "let x = #{}; let f = || x; x.me = f; x.to_string()"),
        attack("a closure that holds itself compared", Error, "let x = #{}; let f = || x; x.me = f; x == x"),
        attack("a closure that holds itself as json", Error, "let x = #{}; let f = || x; x.me = f; x.to_json()"),
        attack("a closure that holds itself interpolated", Fine, "let x = #{}; let f = || x; x.me = f; `${x}`"),
        attack("a closure that holds itself thrown", Error, "let x = #{}; let f = || x; x.me = f; throw x;"),
        attack("a closure that holds itself given back", Fine, "let x = #{}; let f = || x; x.me = f; x"),
        attack("a closure that holds itself asked", Error, "let x = #{}; let f = || x; x.me = f; emit(\"a\", x)"),
        attack("an array that holds itself", Error, "let a = [1]; let f = || a; a.push(f); a.len()"),
        attack("an array that holds itself printed", Error, "let a = [1]; let f = || a; a.push(f); print(a)"),
        attack("a closure that holds itself in a list", Error, "let x = #{}; let f = || x; x.me = f; [x].contains(x)"),
        attack("a closure that holds itself sorted", Error, "let x = #{}; let f = || x; x.me = f; let l = [x, x, f, f]; l.sort(); l.dedup(); l.len()"),
        attack("closures that change what they are called on", Error, "let a = [1, 2]; a.map(|x| { a.push(x); x })"),
        attack("sort that changes what it sorts", Error, "let a = [2, 1]; a.sort(|x, y| { a.push(x); x - y });"),
        attack("cycles in a loop", Limit, "loop { let x = #{ t: \"\" }; let s = \"x\"; s.pad(100000, 'x'); x.t = s; let f = || x; x.me = f; }").leaky(),
        attack("cycles in a function", Limit, "fn leak() { let x = #{ l: [] }; x.l.pad(4000, 1); let f = || x; x.me = f; } loop { leak(); }").leaky(),
    ]
}

fn source() -> Vec<Attack> {
    use End::{Error, Fine, Refused};
    let nest = |open: &str, close: &str, count: usize| {
        format!("let a = {}1{};", open.repeat(count), close.repeat(count))
    };
    let switches = (0..30).fold("1".to_owned(), |inner, _| {
        format!(
            "switch 1 {{ 1 => {inner}, _ => {inner_else} }}",
            inner_else = "2"
        )
    });
    let doubled = (0..12).fold("1".to_owned(), |inner, _| {
        format!("switch x {{ 1 => {inner}, _ => 2 }}")
    });
    vec![
        attack("brackets", Refused, nest("[", "]", 20_000)),
        attack("parentheses", Refused, nest("(", ")", 20_000)),
        attack("maps", Refused, nest("#{a:", "}", 10_000)),
        attack(
            "blocks",
            Refused,
            format!("{}{}", "{".repeat(20_000), "}".repeat(20_000)),
        ),
        attack(
            "ifs",
            Refused,
            format!("{}{}", "if true {".repeat(5_000), "}".repeat(5_000)),
        ),
        attack(
            "else ifs",
            Refused,
            format!("if true {{}} {}", "else if true {} ".repeat(3_000)),
        ),
        attack(
            "not",
            Refused,
            format!("let a = {}true;", "!".repeat(30_000)),
        ),
        attack(
            "minus",
            Refused,
            format!("let a = {}1;", "- ".repeat(30_000)),
        ),
        attack("calls", Refused, nest("abs(", ")", 5_000)),
        attack("closures", Refused, nest("|x| ", "", 10_000)),
        attack("switches", Refused, format!("let a = {switches};")),
        attack(
            "twelve switches",
            Fine,
            format!("let x = 1; let a = {doubled};"),
        ),
        attack("interpolations", Refused, nest("`${", "}`", 5_000)),
        attack(
            "indexes",
            Refused,
            format!("let a = [1]; a{}", "[0]".repeat(10_000)),
        ),
        attack(
            "dots",
            Refused,
            format!("let a = #{{}}; a{}", ".b".repeat(20_000)),
        ),
        attack(
            "plus",
            Refused,
            format!("let a = 1{};", " + 1".repeat(10_000)),
        ),
        attack(
            "coalescing",
            Refused,
            format!("let a = (){};", " ?? ()".repeat(8_000)),
        ),
        attack(
            "assignments",
            Refused,
            format!("let a = 1; {}1;", "a = ".repeat(10_000)),
        ),
        attack(
            "tries",
            Refused,
            format!("{}{}", "try {".repeat(5_000), "} catch {}".repeat(5_000)),
        ),
        attack(
            "loops",
            Refused,
            format!("{}{}", "loop {".repeat(8_000), "}".repeat(8_000)),
        ),
        attack(
            "functions in functions",
            Refused,
            "fn a() { fn b() { 1 } } a()",
        ),
        attack("comments", Fine, format!("{}1", "/*".repeat(30_000))),
        attack(
            "closed comments",
            Fine,
            format!("{}{}1", "/*".repeat(15_000), "*/".repeat(15_000)),
        ),
        attack(
            "too long",
            Refused,
            format!("let a = \"{}\";", "x".repeat(70_000)),
        ),
        attack(
            "just short enough",
            Fine,
            format!("let a = \"{}\"; a.len()", "x".repeat(65_000)),
        ),
        attack("many statements", Fine, "1;".repeat(32_000)),
        attack(
            "many parameters",
            Fine,
            format!(
                "fn f({}) {{}}",
                (0..10_000).map(|n| format!("a{n},")).collect::<String>()
            ),
        ),
        attack(
            "many arguments",
            Refused,
            format!("nosuch({})", "1,".repeat(30_000)),
        ),
        attack(
            "many functions",
            Refused,
            (0..1_000)
                .map(|n| format!("fn f{n}() {{}}"))
                .collect::<String>(),
        ),
        attack(
            "many switch cases",
            Fine,
            format!(
                "switch 1 {{ {} _ => 0 }}",
                (0..4_000).map(|n| format!("{n}=>{n},")).collect::<String>()
            ),
        ),
        attack(
            "a range of switch cases",
            Fine,
            "switch 5 { 0..9223372036854775807 => 1, _ => 2 }",
        ),
        attack(
            "an open text",
            Refused,
            format!("let a = \"{}", "x".repeat(60_000)),
        ),
        attack("an open interpolation", Refused, "let a = `${`${`${"),
        attack("nul bytes", Refused, "let a = 1;\0\0\0"),
        attack("a big number", Fine, "9999999999999999999999999999999999"),
        attack("a long number", Fine, format!("1.{}", "0".repeat(60_000))),
        attack("strange letters", Refused, "let \u{202e}a = 1;"),
        attack(
            "japanese and french names",
            Fine,
            "let 警報 = 1; let état = 2; 警報 + état",
        ),
        attack("a missing variable", Refused, "nosuch + 1"),
        attack(
            "a closure calls a missing variable",
            Refused,
            "let f = || nosuch; 1",
        ),
        attack("code after throw", Error, "throw 1; loop {}"),
    ]
}

fn forbidden() -> Vec<Attack> {
    use End::{Error, Fine, Refused};
    vec![
        attack("eval", Refused, "eval(\"1\")"),
        attack("eval as a method", Refused, "\"1\".eval()"),
        attack(
            "eval as a function pointer",
            Error,
            "Fn(\"eval\").call(\"1 + 1\")",
        ),
        attack(
            "eval through call",
            Error,
            "call(Fn(\"ev\" + \"al\"), \"1 + 1\")",
        ),
        attack(
            "eval through curry",
            Error,
            "Fn(\"eval\").curry(\"1\").call()",
        ),
        attack("eval in map", Error, "[\"1\"].map(Fn(\"eval\"))"),
        attack("sleep", Error, "sleep(3600)"),
        attack("sleep for a fraction", Error, "sleep(3600.0)"),
        attack("sleep as a method", Error, "let n = 3600; n.sleep()"),
        attack(
            "sleep as a function pointer",
            Error,
            "Fn(\"sleep\").call(3600)",
        ),
        attack("sleep in map", Error, "[3600].map(Fn(\"sleep\"))"),
        attack("sleep by name in map", Error, "[3600].map(\"sleep\")"),
        attack(
            "sleep in sort",
            Fine,
            "let a = [3600, 3600]; a.sort(|a, b| { Fn(\"sleep\").call(3600); a - b });",
        ),
        attack("timestamp", Refused, "timestamp()"),
        attack(
            "timestamp as a function pointer",
            Error,
            "Fn(\"timestamp\").call()",
        ),
        attack("exit", Refused, "exit(1)"),
        attack("exit as a function pointer", Error, "Fn(\"exit\").call(1)"),
        attack("exit without a value", Error, "Fn(\"exit\").call()"),
        attack(
            "import by absolute path",
            Refused,
            "import \"/etc/passwd\" as p;",
        ),
        attack(
            "import by traversal",
            Refused,
            "import \"../../etc/passwd\" as p;",
        ),
        attack("import of nothing", Refused, "import \"\" as p;"),
        attack("import with nul", Refused, "import \"a\\0b\" as p;"),
        attack(
            "import of a computed path",
            Refused,
            "let p = \"/etc/\"; import p + \"passwd\" as q;",
        ),
        attack(
            "import in a function",
            Refused,
            "fn f() { import \"/etc/passwd\" as p; } f()",
        ),
        attack("metadata", Fine, "get_fn_metadata_list().len()"),
        attack("this at the top", Refused, "this + 1"),
        attack("global secrets", Error, "global::PASSWORD"),
        attack("private words", Refused, "anon$0000000000000000()"),
        attack("a custom operator", Refused, "1 |> 2"),
        attack(
            "fields with forbidden names",
            Fine,
            "let m = #{ timestamp: 1, exit: 2, sleep: 3 }; m.timestamp + m.exit + m.sleep",
        ),
        attack(
            "variables with forbidden names",
            Fine,
            "let timestamp = 1; timestamp",
        ),
        attack("debug", Fine, "debug(\"a\");"),
        attack("is_def_fn", Fine, "is_def_fn(\"sleep\", 1)"),
    ]
}

fn floods() -> Vec<Attack> {
    use End::Limit;
    vec![
        attack("print", Limit, "loop { print(\"flood\"); }"),
        attack(
            "print of long lines",
            Limit,
            "let s = \"x\"; s.pad(200000, 'x'); loop { print(s); }",
        ),
        attack("debug", Limit, "loop { debug(\"flood\"); }"),
        attack(
            "print in sort",
            Limit,
            "let a = []; a.pad(4000, 1); loop { a.sort(|a, b| { print(\"flood\"); a - b }); }",
        ),
        attack("now", Limit, "loop { now(); }"),
        attack(
            "emit",
            Limit,
            "let s = \"x\"; s.pad(200000, 'x'); loop { emit(\"a\", s); }",
        ),
        attack(
            "state",
            Limit,
            "let n = 0; loop { state::set(`k${n}`, \"x\"); n += 1; }",
        ),
        attack(
            "uuid caught",
            Limit,
            "loop { try { [1].map(|x| uuid()) } catch {} }",
        ),
    ]
}

impl Attack {
    /// Memory in a ring of closures is never freed; it is bounded by what a step may hold.
    fn leaky(mut self) -> Attack {
        self.leaves = 72 * 1024 * 1024;
        self
    }

    /// Gets time enough to come to where it hurts.
    fn patient(mut self) -> Attack {
        self.thinking = Duration::from_secs(15);
        self
    }

    fn refused(mut self) -> Attack {
        self.end = End::Refused;
        self
    }
}
