//! The words that an engine has without a module: registered, part of the language, or taken away.

use std::collections::{BTreeMap, BTreeSet};

/// Words that are part of the language rather than registered.
const LANGUAGE: &[&str] = &[
    "print",
    "debug",
    "type_of",
    "call",
    "curry",
    "Fn",
    "is_def_var",
    "is_def_fn",
    "is_shared",
];

/// Rhai's own words that a flow must not have: they hold a thread, differ in a replay, or leave a
/// step in a way that a journal cannot follow. `check` does not know them; here they are overridden
/// for whoever reaches them through a function pointer. As symbols they stay free, because events
/// have fields like `timestamp`.
pub(crate) const FORBIDDEN: &[&str] = &["timestamp", "exit"];

/// With how many arguments a word can be called; none listed means any number.
pub(crate) type Counts = BTreeSet<usize>;

/// Every plain word that an engine knows, registered or part of the language.
pub(crate) fn plain_words(rhai: &rhai::Engine) -> BTreeMap<String, Counts> {
    let word = |info: rhai::FuncInfo| {
        let plain = info.namespace.is_empty();
        plain.then(|| (info.metadata.name.to_string(), info.metadata.num_params))
    };
    let mut words: BTreeMap<String, Counts> = BTreeMap::new();
    for (name, count) in rhai.collect_fn_metadata(None, word, true) {
        words.entry(name).or_default().insert(count);
    }
    words.retain(|name, _| !FORBIDDEN.contains(&name.as_str()));
    words.extend(
        LANGUAGE
            .iter()
            .map(|word| ((*word).to_owned(), Counts::new())),
    );
    words
}
