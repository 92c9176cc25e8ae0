//! From text to a script: imports resolved and pinned, every word known, every mistake placed.

use std::sync::Arc;
use std::time::Duration;

use rhai::{EvalAltResult, Position, Scope};

use crate::bundle::{Bundle, SOURCE_BYTES_MAX, Script};
use crate::engine::Engine;
use crate::error::Diagnostic;
use crate::leak::Leaked;
use crate::template::{ENDING, Template, Templates};
use crate::{resolver, step, vocabulary};

/// How long the constants of modules may be thought about.
const MODULES_THINKING: Duration = Duration::from_secs(2);

impl Engine {
    /// Compiles a bundle. Must be called on a thread with a large stack.
    ///
    /// # Errors
    /// Every mistake that can be found without running: syntax, unknown variables, unknown words,
    /// wrong numbers of arguments, imports that are missing or go in a circle.
    pub fn compile(&self, bundle: Bundle) -> Result<Script, Vec<Diagnostic>> {
        if bundle.source.len() > SOURCE_BYTES_MAX {
            let message = format!("{} is larger than {SOURCE_BYTES_MAX} bytes", bundle.name);
            return Err(vec![Diagnostic::new(message)]);
        }
        // A module's constants are computed here, within the limits of a step without host words.
        step::begin(None, MODULES_THINKING);
        let compiled = resolver::within(&bundle, || {
            self.rhai
                .compile_into_self_contained(&bound_names(&bundle), &bundle.source)
        });
        let stop = step::end().stop;
        let compiled = compiled.map_err(|error| misspelled(&bundle, &error));
        let mut ast = match (compiled, stop) {
            (Ok(ast), None) => ast,
            (Err(mistake), None) => return Err(vec![mistake]),
            (compiled, Some(stop)) => {
                let message = format!("a module goes too far: {}", stop.sentence());
                let place = compiled.err().and_then(|mistake| mistake.place);
                return Err(vec![Diagnostic {
                    place,
                    ..Diagnostic::new(message)
                }]);
            }
        };
        ast.set_source(bundle.name.as_str());
        let mistakes = vocabulary::check(self, &bundle, &ast);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let templates = templates(&bundle)?;
        let has_filter = ast
            .iter_functions()
            .any(|function| function.name == "filter" && function.params.len() == 1);
        Ok(Script {
            version: bundle.version(),
            templates: Arc::new(templates),
            leaked: Leaked::default(),
            has_filter,
            ast,
            bundle,
        })
    }

    /// The paths that a script imports and the templates that it names, with their positions. Text that
    /// does not parse has none; compiling it tells why.
    pub fn imports(&self, source: &str) -> Vec<(String, Position)> {
        let mut scope = Scope::new();
        for name in ["event", "meta", "events"] {
            scope.push(name, ());
        }
        self.rhai
            .compile_with_scope(&scope, source)
            .map(|ast| vocabulary::imports(&ast))
            .unwrap_or_default()
    }
}

/// The bundle's templates, read.
fn templates(bundle: &Bundle) -> Result<Templates, Vec<Diagnostic>> {
    let mut templates = Templates::new();
    let mut mistakes = Vec::new();
    for (path, text) in bundle
        .modules
        .iter()
        .filter(|(path, _)| path.ends_with(ENDING))
    {
        match Template::parse(text) {
            Ok(template) => drop(templates.insert(path.clone(), Arc::new(template))),
            Err(why) => {
                let place = bundle.place(Some(path), Position::new(1, 1));
                let mistake = Diagnostic::new(why);
                mistakes.push(Diagnostic { place, ..mistake });
            }
        }
    }
    match mistakes.is_empty() {
        true => Ok(templates),
        false => Err(mistakes),
    }
}

fn bound_names(bundle: &Bundle) -> Scope<'static> {
    let mut scope = Scope::new();
    let names: &[&str] = if bundle.is_batch {
        &["events"]
    } else {
        &["event", "meta"]
    };
    for name in names {
        scope.push_constant(*name, ());
    }
    scope
}

fn misspelled(bundle: &Bundle, error: &EvalAltResult) -> Diagnostic {
    let mut error = error;
    let mut source = None;
    while let EvalAltResult::ErrorInModule(path, inner, _) = error {
        source = Some(path.clone());
        error = inner;
    }
    let mut message = error.to_string();
    if let Some(at) = message.rfind(" (line ") {
        message.truncate(at);
    }
    let message = message.trim_start_matches("Syntax error: ").to_owned();
    let place = bundle.place(source.as_deref(), error.position());
    let text = source.and_then(|path| bundle.modules.get(&path));
    let help = vocabulary::hint(&message, text.unwrap_or(&bundle.source));
    Diagnostic {
        message: lowercase_first(&message),
        place,
        help,
    }
}

fn lowercase_first(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}
