//! Does a script use only words that exist? Rhai itself finds out when the line runs, which for a
//! branch that handles a disaster is too late.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};

use crate::compile::Bundle;
use crate::engine::Engine;
use crate::error::{Diagnostic, did_you_mean};

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

/// Every plain word that an engine knows, registered or part of the language.
pub(crate) fn plain_words(rhai: &rhai::Engine) -> BTreeSet<String> {
    let name = |info: rhai::FuncInfo| {
        info.namespace
            .is_empty()
            .then(|| info.metadata.name.to_string())
    };
    let registered = rhai.collect_fn_metadata(None, name, true);
    registered
        .into_iter()
        .chain(LANGUAGE.iter().map(|word| (*word).to_owned()))
        .collect()
}

/// Every call of a word that does not exist, or with the wrong number of arguments.
pub(crate) fn check(engine: &Engine, bundle: &Bundle, ast: &AST) -> Vec<Diagnostic> {
    let known = Known::of(engine, ast);
    let mut mistakes = Vec::new();
    walk(ast, &mut |call, position| {
        if let Some(mistake) = known.mistake(call) {
            mistakes.push(match bundle.place(None, position) {
                Some(place) => mistake.at(place),
                None => mistake,
            });
        }
    });
    mistakes
}

/// The paths of the `import` lines with text that is written out.
pub(crate) fn imports(ast: &AST) -> Vec<(String, Position)> {
    let mut paths = Vec::new();
    ast.walk(&mut |nodes: &[ASTNode]| {
        if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = nodes.last()
            && let Expr::StringConstant(path, position) = &import.0
        {
            paths.push((path.to_string(), *position));
        }
        true
    });
    paths
}

/// What a frequent syntax error usually means.
pub(crate) fn hint(message: &str) -> Option<String> {
    let text = if message.contains("invalid character") || message.contains("Invalid character") {
        "text stands in double quotes or back-ticks; single quotes are for one character"
    } else if message.contains("eval") && message.contains("reserved") {
        "`eval` does not exist here: text never becomes code"
    } else if message.starts_with("Variable not found: event") {
        "`event` exists at the top level only; hand it to a function as an argument"
    } else {
        return None;
    };
    Some(text.to_owned())
}

fn walk(ast: &AST, found: &mut dyn FnMut(&FnCallExpr, Position)) {
    ast.walk(&mut |nodes: &[ASTNode]| {
        match nodes.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, position))) => found(call, *position),
            Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => found(call, *position),
            _ => {}
        }
        true
    });
}

struct Known<'a> {
    engine: &'a Engine,
    own: BTreeSet<String>,
    imported: BTreeSet<String>,
}

impl<'a> Known<'a> {
    fn of(engine: &'a Engine, ast: &AST) -> Known<'a> {
        let own = ast
            .iter_functions()
            .map(|function| function.name.to_owned())
            .collect();
        let mut imported = BTreeSet::new();
        ast.walk(&mut |nodes: &[ASTNode]| {
            if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = nodes.last() {
                imported.insert(import.1.as_str().to_owned());
            }
            true
        });
        Known {
            engine,
            own,
            imported,
        }
    }

    fn mistake(&self, call: &FnCallExpr) -> Option<Diagnostic> {
        if call.is_operator_call() {
            return None;
        }
        let module = call
            .namespace
            .path
            .first()
            .map_or("", |ident| ident.as_str());
        match module {
            "" => self.plain_mistake(&call.name, call.args.len()),
            module if self.imported.contains(module) => None,
            module => self.module_mistake(module, &call.name, call.args.len()),
        }
    }

    fn plain_mistake(&self, name: &str, arguments: usize) -> Option<Diagnostic> {
        if name.starts_with("anon$") {
            return None;
        }
        let known = self.own.contains(name) || self.engine.plain.contains(name);
        if !known {
            let diagnostic = Diagnostic::new(format!("there is no word `{name}`"));
            let words = self
                .own
                .iter()
                .chain(&self.engine.plain)
                .map(String::as_str);
            return Some(with_suggestion(diagnostic, name, words));
        }
        let host = self
            .engine
            .hosts
            .iter()
            .find(|host| host.module.is_empty() && host.name == name)?;
        wrong_count(host, arguments)
    }

    fn module_mistake(&self, module: &str, name: &str, arguments: usize) -> Option<Diagnostic> {
        let mut hosts = self
            .engine
            .hosts
            .iter()
            .filter(|host| host.module == module)
            .peekable();
        if hosts.peek().is_none() {
            let diagnostic = Diagnostic::new(format!("there is no module `{module}`"));
            let modules = self.engine.hosts.iter().map(|host| host.module);
            return Some(with_suggestion(diagnostic, module, modules));
        }
        let names: Vec<&str> = hosts.clone().map(|host| host.name).collect();
        match hosts.find(|host| host.name == name) {
            Some(host) => wrong_count(host, arguments),
            None => {
                let diagnostic = Diagnostic::new(format!("`{module}` has no verb `{name}`"));
                let listed = diagnostic.help(format!("it has {}", names.join(", ")));
                Some(with_suggestion(listed, name, names))
            }
        }
    }
}

fn wrong_count(host: &crate::gate::HostWord, arguments: usize) -> Option<Diagnostic> {
    let range = host.arguments_min()..=host.arguments.len();
    (!range.contains(&arguments)).then(|| {
        let word = host.full_name();
        Diagnostic::new(format!("`{word}` does not take {arguments} arguments"))
            .help(format!("it is called as {}", host.signature()))
    })
}

fn with_suggestion<'a>(
    diagnostic: Diagnostic,
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    match did_you_mean(wrong, known) {
        Some(right) => diagnostic.help(format!("did you mean `{right}`?")),
        None => diagnostic,
    }
}
