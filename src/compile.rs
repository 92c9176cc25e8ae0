//! From text to a script: imports resolved and pinned, every word known, every mistake placed.
//!
//! A [`Bundle`] holds a script's source and the source of all that it imports, so that a run which
//! wakes next month is run by the very text it began with, whatever the folder holds by then.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rhai::{AST, EvalAltResult, Module, ModuleResolver, ParseError, Position, Scope, Shared};
use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::error::{Diagnostic, Place};
use crate::step;
use crate::vocabulary;

/// Largest source of one script or module, in bytes.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;

/// A script's source with the sources of its imports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// How the user names the script: `flows/alert/open_ticket.rhai`.
    pub name: String,
    /// Its text.
    pub source: String,
    /// Import path to text, imports of imports included.
    pub modules: BTreeMap<String, String>,
    /// True if the script gets `events` instead of `event` and `meta`.
    pub is_batch: bool,
}

impl Bundle {
    /// A script that imports nothing.
    pub fn of(name: &str, source: &str) -> Bundle {
        Bundle {
            name: name.to_owned(),
            source: source.to_owned(),
            ..Bundle::default()
        }
    }

    /// SHA-256 over all of it, in hex: the flow's version.
    pub fn version(&self) -> String {
        let mut hasher = Sha256::new();
        let mut add = |text: &str| {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        };
        add(if self.is_batch { "batch" } else { "event" });
        add(&self.source);
        for (path, text) in &self.modules {
            add(path);
            add(text);
        }
        hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The place of a position in the script, or in the module that `source` names.
    pub(crate) fn place(&self, source: Option<&str>, position: Position) -> Option<Place> {
        let (line, column) = (position.line()?, position.position().unwrap_or(1));
        let module = source.and_then(|path| self.modules.get_key_value(path));
        let (file, text) = match module {
            Some((path, text)) => (self.module_file(path), text),
            None => (PathBuf::from(&self.name), &self.source),
        };
        Some(Place::at(file, text.clone(), line, column))
    }

    fn module_file(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(&self.name);
        let flows = root
            .ancestors()
            .nth(2)
            .map(PathBuf::from)
            .unwrap_or_default();
        flows.join(format!("{path}.rhai"))
    }
}

/// A compiled script.
#[derive(Debug)]
pub struct Script {
    pub(crate) ast: AST,
    pub(crate) bundle: Bundle,
    /// True if it has a `fn filter(event)`.
    pub has_filter: bool,
    /// [`Bundle::version`].
    pub version: String,
}

impl Script {
    /// The sources it was compiled from.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }
}

/// How long the constants of modules may be thought about.
const MODULES_THINKING: Duration = Duration::from_secs(2);

/// What a thread is compiling.
struct Compiling {
    bundle: Arc<Bundle>,
    /// The import paths that it is in the middle of.
    inside: Vec<String>,
    /// Modules that are there: each is compiled once, however often it is imported.
    modules: BTreeMap<String, Shared<Module>>,
}

thread_local! {
    static COMPILING: RefCell<Option<Compiling>> = const { RefCell::new(None) };
}

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
        let compiling = Compiling {
            bundle: Arc::new(bundle.clone()),
            inside: Vec::new(),
            modules: BTreeMap::new(),
        };
        COMPILING.with_borrow_mut(|slot| *slot = Some(compiling));
        // A module's constants are computed here, within the limits of a step without host words.
        step::begin(None, MODULES_THINKING);
        let compiled = self
            .rhai
            .compile_into_self_contained(&bound_names(&bundle), &bundle.source);
        let (_, stop) = step::end();
        COMPILING.with_borrow_mut(Option::take);
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
        let has_filter = ast
            .iter_functions()
            .any(|function| function.name == "filter" && function.params.len() == 1);
        Ok(Script {
            version: bundle.version(),
            has_filter,
            ast,
            bundle,
        })
    }

    /// The paths that a script imports, with their positions. Text that does not parse imports
    /// nothing; compiling it tells why.
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

/// Serves imports from the bundle that the thread compiles; there is no other way to a module.
pub(crate) struct ScriptResolver;

impl ModuleResolver for ScriptResolver {
    fn resolve(
        &self,
        engine: &rhai::Engine,
        _: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let text = match enter(path).map_err(|why| mistake(why, position))? {
            Entered::Known(module) => return Ok(module),
            Entered::Text(text) => text,
        };
        let module = module_of(engine, path, &text);
        leave(path, module.as_ref().ok());
        module.map_err(|error| {
            Box::new(EvalAltResult::ErrorInModule(
                path.to_owned(),
                error,
                position,
            ))
        })
    }

    fn resolve_ast(
        &self,
        engine: &rhai::Engine,
        _: Option<&str>,
        path: &str,
        position: Position,
    ) -> Option<Result<AST, Box<EvalAltResult>>> {
        let text = source_of(path)?;
        let failed = |error: ParseError| {
            let inner = Box::new(EvalAltResult::ErrorParsing(*error.0, error.1));
            Box::new(EvalAltResult::ErrorInModule(
                path.to_owned(),
                inner,
                position,
            ))
        };
        Some(engine.compile(text).map_err(failed))
    }
}

fn module_of(
    engine: &rhai::Engine,
    path: &str,
    text: &str,
) -> Result<Shared<Module>, Box<EvalAltResult>> {
    let mut ast = engine.compile(text)?;
    ast.set_source(path);
    Module::eval_ast_as_new(Scope::new(), &ast, engine).map(Into::into)
}

/// Without a module around it the place is the importing script's own.
fn mistake(why: String, position: Position) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(why.into(), position))
}

fn source_of(path: &str) -> Option<String> {
    COMPILING.with_borrow(|slot| slot.as_ref()?.bundle.modules.get(path).cloned())
}

enum Entered {
    Known(Shared<Module>),
    Text(String),
}

fn enter(path: &str) -> Result<Entered, String> {
    COMPILING.with_borrow_mut(|slot| {
        let compiling = slot
            .as_mut()
            .ok_or("imports are resolved when a flow is compiled")?;
        if let Some(module) = compiling.modules.get(path) {
            return Ok(Entered::Known(Shared::clone(module)));
        }
        if compiling.inside.iter().any(|outer| outer == path) {
            return Err(format!("import of `{path}` goes in a circle"));
        }
        let text = compiling.bundle.modules.get(path).cloned();
        let text = text
            .ok_or_else(|| format!("module `{path}` not found; it would be flows/{path}.rhai"))?;
        compiling.inside.push(path.to_owned());
        Ok(Entered::Text(text))
    })
}

fn leave(path: &str, module: Option<&Shared<Module>>) {
    COMPILING.with_borrow_mut(|slot| {
        let Some(compiling) = slot.as_mut() else {
            return;
        };
        compiling.inside.pop();
        if let Some(module) = module {
            let module = Shared::clone(module);
            compiling.modules.insert(path.to_owned(), module);
        }
    });
}
