//! The house's own rules, held by a test: arrows point down, each package has one home, files stay
//! small and say what they are for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms from the bottom up. A file may use its own room and those below it.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "what everything speaks of",
        &[
            "error",
            "event",
            "secret",
            "clock",
            "duration",
            "memory",
            "encoding",
            "document",
            "hex",
            "stop",
            "tls",
            "lua_pattern",
            "printable",
        ],
    ),
    ("the wire of a broker", &["amqp"]),
    ("the store", &["store"]),
    ("doors out", &["action"]),
    ("the sender", &["sender"]),
    ("decoding", &["source"]),
    ("pure words", &["script"]),
    (
        "thinking",
        &[
            "gate",
            "broker",
            "calls",
            "logging",
            "template",
            "host",
            "leak",
            "step",
            "fault",
            "compile",
            "vocabulary",
            "bundle",
            "resolver",
            "lexicon",
            "expression",
            "explain",
            "engine",
            "thinkers",
        ],
    ),
    (
        "what people write",
        &["settings", "storm", "flow", "config", "connect"],
    ),
    (
        "what a run did",
        &[
            "entry",
            "journal",
            "copy",
            "divergence",
            "want",
            "wait",
            "replay",
            "attempt",
            "tries",
            "blackbox",
            "vault",
        ],
    ),
    (
        "the path of an event",
        &[
            "metrics", "waits", "channel", "claim", "locals", "keep", "perform", "recall",
            "versions", "act", "wake", "usher", "settle", "judge", "backlog", "cease", "timer",
            "rewait", "run", "mind", "collect", "dispatch", "trial", "receive", "put_back",
            "rewait", "run", "mind", "collect", "dispatch", "trial", "abate", "trace", "weather",
        ],
    ),
    (
        "trying without acting",
        &[
            "exact",
            "world",
            "actor",
            "recorded",
            "rehearsal",
            "expect",
            "forecast",
            "cases",
            "transcript",
            "record",
            "difference",
            "compare",
        ],
    ),
    ("who may call", &["access", "listener"]),
    (
        "the event doors",
        &[
            "source/http",
            "source/asked",
            "intake",
            "doors",
            "pace",
            "post",
        ],
    ),
    (
        "the server",
        &[
            "attendance",
            "state",
            "patrol",
            "api",
            "archive",
            "health",
            "story",
            "operate",
            "server",
            "amend",
            "fork",
            "upgrade",
            "reason",
        ],
    ),
    ("stand-ins", &["standin"]),
    ("the command line", &["cli", "main", "bin", "lib"]),
];

/// Packages and the only places that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("sled", &["src/store/"]),
    (
        "rhai",
        &[
            "src/engine.rs",
            "src/calls.rs",
            "src/bundle.rs",
            "src/resolver.rs",
            "src/lexicon.rs",
            "src/compile.rs",
            "src/vocabulary.rs",
            "src/fault.rs",
            "src/explain.rs",
            "src/expression.rs",
            "src/flow.rs",
            "src/script/",
        ],
    ),
    ("reqwest", &["src/action/http/"]),
    ("lettre", &["src/action/mail/"]),
    ("mail_parser", &["src/source/mail"]),
    ("snmp_parser", &["src/source/snmp"]),
    ("hmac", &["src/source/snmp"]),
    ("aes", &["src/source/snmp"]),
    ("amq_protocol", &["src/amqp/"]),
    ("ureq", &["src/sender/", "src/cli/client.rs"]),
    ("clap", &["src/cli/", "src/sender/"]),
    (
        "axum",
        &[
            "src/source/http.rs",
            "src/source/asked.rs",
            "src/api.rs",
            "src/archive.rs",
            "src/api/",
            "src/health.rs",
            "src/operate.rs",
            "src/listener.rs",
            "src/standin/",
        ],
    ),
    ("prometheus_client", &["src/metrics.rs"]),
    ("notify", &["src/cli/serve.rs"]),
    ("croner", &["src/source/cron"]),
    ("imap_proto", &["src/source/imap/"]),
    ("prost", &["src/source/bbdo"]),
];

/// Lines that one file may have.
const FILE_LINES_MAX: usize = 400;
/// Lines of a header.
const HEADER_LINES_MAX: usize = 12;

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
                false => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    found.sort();
    assert!(
        found.len() > 100,
        "the sources are not where they should be"
    );
    found
}

/// The module path of a file, such as `source/http` or `store`.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix("src").unwrap().with_extension("");
    let text = inside.to_str().unwrap().replace('\\', "/");
    text.strip_suffix("/mod").unwrap_or(&text).to_owned()
}

/// How high a module stands; the longest name that fits counts.
fn height(module: &str) -> Option<usize> {
    let fits = |name: &&&str| module == **name || module.starts_with(&format!("{name}/"));
    let found = ROOMS.iter().enumerate().flat_map(|(height, (_, names))| {
        names
            .iter()
            .filter(fits)
            .map(move |name| (name.len(), height))
    });
    found.max().map(|(_, height)| height)
}

/// What a file uses of the crate: `source/http` of `use crate::source::http::Door`.
fn uses(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let path: String = text[at + 7..]
            .chars()
            .take_while(|char| char.is_alphanumeric() || matches!(char, '_' | ':'))
            .collect();
        let parts: Vec<&str> = path
            .split("::")
            .filter(|part| !part.is_empty())
            .take(2)
            .collect();
        found.insert(parts.join("/"));
        // `use crate::{document, event}`
        if let Some(list) = text[at + 7..].strip_prefix('{') {
            let list = list.split('}').next().unwrap();
            found.extend(list.split(',').map(|name| name.trim().replace("::", "/")));
        }
    }
    found
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for path in sources() {
        let module = module_of(&path);
        let Some(own) = height(&module) else {
            wrong.push(format!("{module} stands in no room"));
            continue;
        };
        for used in uses(&std::fs::read_to_string(&path).unwrap()) {
            if let Some(other) = height(&used).filter(|other| *other > own) {
                let (from, to) = (ROOMS[own].0, ROOMS[other].0);
                wrong.push(format!("{module} ({from}) uses {used} ({to})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_package_has_one_home() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.to_str().unwrap();
        for (package, homes) in HOMES {
            let named = text.lines().any(|line| {
                let code = line.split("//").next().unwrap();
                code.contains(&format!("{package}::"))
                    && !code.contains(&format!("_{package}::"))
                    && !code.contains(&format!("::{package}::"))
            });
            if named && !homes.iter().any(|home| name.starts_with(home)) {
                wrong.push(format!("{name} names {package}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_small_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let header = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .count();
        if !(1..=HEADER_LINES_MAX).contains(&header) {
            wrong.push(format!("{}: a header of {header} lines", path.display()));
        }
        if text.lines().count() > FILE_LINES_MAX {
            wrong.push(format!(
                "{}: {} lines",
                path.display(),
                text.lines().count()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_one_module_holds_unsafe_and_only_verbs_print() {
    let mut wrong = Vec::new();
    for path in sources() {
        let name = path.to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("unsafe {") && name != "src/memory.rs" {
            wrong.push(format!("{name} holds unsafe"));
        }
        let prints = ["println!", "print!(", "dbg!(", "todo!("]
            .iter()
            .any(|word| text.contains(word));
        if prints && !name.starts_with("src/cli/") {
            wrong.push(format!("{name} prints or is unfinished"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_action_and_theme_of_words_is_in_its_list() {
    let list = |folder: &str| std::fs::read_to_string(format!("src/{folder}/mod.rs")).unwrap();
    let (actions, words) = (list("action"), list("script"));
    let helpers = ["arguments", "turns", "blob", "convert", "events", "pattern"];
    for (folder, list) in [("action", &actions), ("script", &words)] {
        for entry in std::fs::read_dir(format!("src/{folder}")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if name == "mod" || helpers.contains(&name.as_str()) {
                continue;
            }
            assert!(
                list.contains(&format!("&{name}::")),
                "{folder}/{name} is not in ALL"
            );
        }
    }
}

#[test]
fn the_documents_stay_short_and_every_limit_is_listed() {
    for (file, lines_max) in [("README.md", 150), ("ARCHITECTURE.md", 200)] {
        let lines = std::fs::read_to_string(file).unwrap().lines().count();
        assert!(lines <= lines_max, "{file} has {lines} lines");
    }
    let architecture = std::fs::read_to_string("ARCHITECTURE.md").unwrap();
    let mut missing = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.starts_with("pub const ")) {
            let name = line["pub const ".len()..].split(':').next().unwrap();
            if name.ends_with("_MAX") && !architecture.contains(name) {
                missing.push(format!("{name} of {}", path.display()));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "limits that ARCHITECTURE.md does not list:\n{}",
        missing.join("\n")
    );
}

/// The file of a test module, as documents name it.
fn is_a_test(name: &str) -> bool {
    let file = match name.strip_prefix("faults::") {
        Some(fault) => format!("tests/faults/{fault}.rs"),
        None => format!("tests/it/{name}.rs"),
    };
    Path::new(&file).exists()
}

/// What stands in the last cell of a row, word by word.
fn named_by(row: &str) -> impl Iterator<Item = &str> {
    let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.flat_map(str::split_whitespace)
}

#[test]
fn every_invariant_and_every_fault_names_tests_that_exist() {
    let architecture = std::fs::read_to_string("ARCHITECTURE.md").unwrap();
    let rows = architecture.lines().filter(|line| line.starts_with("| I"));
    let mut named = 0;
    for row in rows {
        for module in named_by(row) {
            assert!(is_a_test(module), "{module}: {row}");
            named += 1;
        }
    }
    assert!(named >= 11, "only {named} tests are named");
    let faults = std::fs::read_to_string("tests/faults/README.md").unwrap();
    let rows = faults.lines().filter(|line| line.starts_with("| ")).skip(1);
    for row in rows {
        for name in named_by(row) {
            let is_there = is_a_test(name) || is_a_test(&format!("faults::{name}"));
            assert!(is_there || Path::new(name).exists(), "{name}: {row}");
        }
    }
}
