//! Does a script use only words that exist? Rhai itself finds out when the line runs, which for a
//! branch that handles a disaster is too late.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};

use crate::bundle::Bundle;
use crate::engine::Engine;
use crate::error::{Diagnostic, did_you_mean};
use crate::host;
use crate::lexicon::Counts;
use crate::template;

/// What a script finds bound at its top level.
const BOUND: &[&str] = &["event", "meta", "events"];
const HINT_FOR_BOUND: &str = "`event` and `meta` exist at the top level only, or `events` in a flow \
    with [batch]; hand them to functions as arguments";

/// Every call of a word that does not exist, or with the wrong number of arguments, in the script
/// and in its modules, and what a module must not hold.
pub(crate) fn check(engine: &Engine, bundle: &Bundle, ast: &AST) -> Vec<Diagnostic> {
    let compiled = |(path, text): (&String, &String)| {
        if path.ends_with(template::ENDING) {
            return None;
        }
        let ast = engine.rhai.compile(text).ok()?;
        Some((path.clone(), ast))
    };
    let modules: BTreeMap<String, AST> = bundle.modules.iter().filter_map(compiled).collect();
    let mut mistakes = check_one(engine, bundle, (None, ast), &modules);
    mistakes.extend(out_of_reach(bundle, ast));
    for (path, ast) in &modules {
        mistakes.extend(check_one(engine, bundle, (Some(path), ast), &modules));
        let actions = ast
            .statements()
            .iter()
            .filter(|statement| is_action(statement));
        mistakes.extend(actions.map(|statement| {
            let message = "a module has only functions, constants and imports at its top level";
            let place = bundle.place(Some(path), statement.position());
            Diagnostic {
                place,
                ..Diagnostic::new(message)
            }
        }));
    }
    mistakes
}

/// `event` and its like inside functions, which do not see the top level. The language takes them for
/// bound while it compiles and misses them when the line runs.
fn out_of_reach(bundle: &Bundle, ast: &AST) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    // A walk begins at each statement of the top level and of each function. What a closure
    // captures is one of its parameters; where any does, no other use can be told from that.
    let top = ast.statements().as_ptr_range();
    let closures = ast
        .iter_functions()
        .filter(|function| function.name.starts_with("anon$"));
    let captured: BTreeSet<&str> = closures.flat_map(|closure| closure.params).collect();
    let mut look = |nodes: &[ASTNode]| {
        let is_top = matches!(nodes.first(), Some(ASTNode::Stmt(first)) if top.contains(&std::ptr::from_ref(*first)));
        if !is_top
            && let Some(ASTNode::Expr(Expr::Variable(variable, None, position))) = nodes.last()
            && variable.0.is_none()
            && variable.2.is_empty()
            && BOUND.contains(&variable.1.as_str())
            && !captured.contains(variable.1.as_str())
        {
            let mistake = Diagnostic::new(format!("undefined variable: {}", variable.1));
            let place = bundle.place(None, *position);
            found.push(Diagnostic { place, ..mistake }.help(HINT_FOR_BOUND));
        }
        true
    };
    ast.walk(&mut look);
    found
}

fn is_action(statement: &Stmt) -> bool {
    !matches!(
        statement,
        Stmt::Noop(_) | Stmt::Var(..) | Stmt::Import(..) | Stmt::Export(..)
    )
}

fn check_one(
    engine: &Engine,
    bundle: &Bundle,
    (source, ast): (Option<&String>, &AST),
    modules: &BTreeMap<String, AST>,
) -> Vec<Diagnostic> {
    let known = Known::of(engine, ast, modules);
    let mut mistakes = Vec::new();
    let mut note = |mistake: Diagnostic, position| {
        let place = bundle.place(source.map(String::as_str), position);
        mistakes.push(Diagnostic { place, ..mistake });
    };
    ast.walk(&mut |nodes: &[ASTNode]| {
        match nodes.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at))) => {
                known
                    .mistake(call, false)
                    .into_iter()
                    .for_each(|mistake| note(mistake, *at));
            }
            Some(ASTNode::Expr(Expr::MethodCall(call, at))) => {
                known
                    .mistake(call, true)
                    .into_iter()
                    .for_each(|mistake| note(mistake, *at));
            }
            Some(ASTNode::Stmt(Stmt::Import(import, _)))
                if import.0.get_literal_value(None).is_none() =>
            {
                note(
                    Diagnostic::new("the path of an import is written out as text"),
                    import.0.position(),
                );
            }
            _ => {}
        }
        true
    });
    mistakes
}

/// The paths of the `import` lines, and of templates, with text that is written out.
pub(crate) fn imports(ast: &AST) -> Vec<(String, Position)> {
    let mut paths = Vec::new();
    ast.walk(&mut |nodes: &[ASTNode]| {
        if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = nodes.last()
            && let Expr::StringConstant(path, position) = &import.0
        {
            paths.push((path.to_string(), *position));
        }
        if let Some(ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _))) =
            nodes.last()
        {
            paths.extend(template_of(call));
        }
        true
    });
    paths
}

/// The file that a call of `template::render` names.
fn template_of(call: &FnCallExpr) -> Option<(String, Position)> {
    let is_render = call.name == "render" && call.namespace.root() == template::MODULE;
    match call.args.first() {
        Some(Expr::StringConstant(named, position)) if is_render && !template::is_text(named) => {
            Some((named.to_string(), *position))
        }
        _ => None,
    }
}

/// What a frequent syntax error in `source` usually means.
pub(crate) fn hint(message: &str, source: &str) -> Option<String> {
    let text = if message.contains("invalid character") || message.contains("Invalid character") {
        "text stands in double quotes or back-ticks; single quotes are for one character"
    } else if message.contains("eval") && message.contains("reserved") {
        "`eval` does not exist here: text never becomes code"
    } else if let Some(name) = message.strip_prefix("Undefined variable: ") {
        return hint_for_variable(name, source);
    } else if let Some(name) = message.strip_prefix("Undefined module: ") {
        let modules = host::words().into_iter().map(|word| word.module);
        return did_you_mean(name, modules).map(|right| format!("did you mean `{right}`?"));
    } else {
        return None;
    };
    Some(text.to_owned())
}

fn hint_for_variable(name: &str, source: &str) -> Option<String> {
    if BOUND.contains(&name) {
        return Some(HINT_FOR_BOUND.to_owned());
    }
    let words: Vec<&str> = source
        .split(|char: char| !char.is_alphanumeric() && char != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let declared = words
        .windows(2)
        .filter(|pair| ["let", "const"].contains(&pair[0]))
        .map(|pair| pair[1]);
    let known = declared.chain(["event", "meta", "true", "false"]);
    did_you_mean(name, known).map(|right| format!("did you mean `{right}`?"))
}

struct Known<'a> {
    engine: &'a Engine,
    /// The script's own functions.
    own: BTreeMap<String, Counts>,
    /// What its imports are called here, with their functions.
    imported: BTreeMap<String, BTreeMap<String, Counts>>,
    /// Names of properties, which may hold a closure that is called like a word.
    properties: BTreeSet<String>,
}

impl<'a> Known<'a> {
    fn of(engine: &'a Engine, ast: &AST, modules: &BTreeMap<String, AST>) -> Known<'a> {
        let mut imported = BTreeMap::new();
        let mut properties = BTreeSet::new();
        ast.walk(&mut |nodes: &[ASTNode]| {
            match nodes.last() {
                Some(ASTNode::Stmt(Stmt::Import(import, _))) => {
                    let path = match &import.0 {
                        Expr::StringConstant(path, _) => path.as_str(),
                        _ => "",
                    };
                    let functions = modules.get(path).map(functions).unwrap_or_default();
                    imported.insert(import.1.as_str().to_owned(), functions);
                }
                Some(ASTNode::Expr(Expr::Property(property, _))) => {
                    properties.insert(property.2.to_string());
                }
                Some(ASTNode::Expr(Expr::Map(map, _))) => {
                    properties.extend(map.0.iter().map(|(name, _)| name.as_str().to_owned()));
                }
                _ => {}
            }
            true
        });
        Known {
            engine,
            own: functions(ast),
            imported,
            properties,
        }
    }

    fn mistake(&self, call: &FnCallExpr, is_method: bool) -> Option<Diagnostic> {
        if call.is_operator_call() || call.name.starts_with("anon$") {
            return None;
        }
        let mut path = call.namespace.path.iter().map(|ident| ident.as_str());
        match (path.next(), path.next()) {
            (None, _) if is_method => self.method_mistake(&call.name, call.args.len()),
            (None, _) => self.plain_mistake(&call.name, call.args.len()),
            // What a module itself imports is not looked into.
            (Some(_), Some(_)) => None,
            (Some(module), None) => match self.imported.get(module) {
                Some(functions) => imported_mistake(functions, module, call),
                None => self.module_mistake(module, &call.name, call.args.len()),
            },
        }
    }

    /// `value.word(…)`: the value is the first argument of a word, and `this` of an own function.
    fn method_mistake(&self, name: &str, arguments: usize) -> Option<Diagnostic> {
        let is_own = self
            .own
            .get(name)
            .is_some_and(|counts| counts.contains(&arguments));
        if is_own || self.properties.contains(name) {
            return None;
        }
        self.plain_mistake(name, arguments + 1)
    }

    fn plain_mistake(&self, name: &str, arguments: usize) -> Option<Diagnostic> {
        let hosts = self.engine.hosts.iter();
        let mut host = hosts.filter(|host| host.module.is_empty() && host.name == name);
        if let Some(host) = host.next() {
            return wrong_count(host, arguments);
        }
        let counts = [self.own.get(name), self.engine.plain.get(name)];
        let counts: Vec<&Counts> = counts.into_iter().flatten().collect();
        if counts.is_empty() {
            let diagnostic = Diagnostic::new(format!("there is no word `{name}`"));
            let words = self.own.keys().chain(self.engine.plain.keys());
            return Some(with_suggestion(diagnostic, name, words.map(String::as_str)));
        }
        let fits = |counts: &&Counts| counts.is_empty() || counts.contains(&arguments);
        let fitting = counts.iter().any(fits);
        (!fitting).then(|| unfitting(name, arguments, counts.into_iter().flatten().copied()))
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

/// Public functions with the numbers of their arguments.
fn functions(ast: &AST) -> BTreeMap<String, Counts> {
    let mut functions: BTreeMap<String, Counts> = BTreeMap::new();
    for function in ast.iter_functions() {
        let counts = functions.entry(function.name.to_owned()).or_default();
        counts.insert(function.params.len());
    }
    functions
}

fn imported_mistake(
    functions: &BTreeMap<String, Counts>,
    module: &str,
    call: &FnCallExpr,
) -> Option<Diagnostic> {
    let (name, arguments) = (call.name.as_str(), call.args.len());
    match functions.get(name) {
        Some(counts) if counts.contains(&arguments) => None,
        Some(counts) => {
            let name = format!("{module}::{name}");
            Some(unfitting(&name, arguments, counts.iter().copied()))
        }
        None => {
            let diagnostic = Diagnostic::new(format!("`{module}` has no function `{name}`"));
            let names: Vec<&str> = functions.keys().map(String::as_str).collect();
            let listed = diagnostic.help(format!("it has {}", names.join(", ")));
            Some(with_suggestion(listed, name, names))
        }
    }
}

fn unfitting(name: &str, arguments: usize, counts: impl Iterator<Item = usize>) -> Diagnostic {
    let counts: BTreeSet<String> = counts.map(|count| count.to_string()).collect();
    let counts: Vec<String> = counts.into_iter().collect();
    Diagnostic::new(format!("`{name}` does not take {arguments} arguments"))
        .help(format!("it takes {}", counts.join(" or ")))
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
