//! The resolver: imports come from the bundle that the thread compiles; there is no other way to a
//! module, so no script reads a file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use rhai::{AST, EvalAltResult, Module, ModuleResolver, ParseError, Position, Scope, Shared};

use crate::bundle::Bundle;

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

/// Does `compile` while this thread's imports come from `bundle`.
pub(crate) fn within<R>(bundle: &Bundle, compile: impl FnOnce() -> R) -> R {
    let compiling = Compiling {
        bundle: Arc::new(bundle.clone()),
        inside: Vec::new(),
        modules: BTreeMap::new(),
    };
    COMPILING.with_borrow_mut(|slot| *slot = Some(compiling));
    let compiled = compile();
    COMPILING.with_borrow_mut(Option::take);
    compiled
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
