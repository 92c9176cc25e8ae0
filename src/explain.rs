//! Why a filter said no: the first part of it that was false, with the values that it looked at.
//!
//! A filter is pure, so its parts can be asked one by one, each within the limits of a step. What
//! this cannot take apart (a loop, a `switch`) it leaves alone: no reason is better than a wrong one.

use std::cell::Cell;
use std::time::Duration;

use rhai::{AST, Dynamic, Expr, FlowControl, Position, Scope, Shared, Stmt, StmtBlock};

use crate::broker::Looking;
use crate::bundle::Script;
use crate::engine::Engine;
use crate::error::Place;
use crate::event::{Event, Value};
use crate::expression::{subjects, text};
use crate::script::convert::{from_dynamic, to_dynamic};
use crate::step;

/// Parts of one filter that are asked.
pub const PARTS_ASKED_MAX: usize = 200;
/// Values that one explanation shows.
const VALUES_MAX: usize = 8;
/// How long one part may think.
const PART_THINKING: Duration = Duration::from_secs(1);

/// The part of a filter that decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The part, as text.
    pub part: String,
    /// What it was: false, or true where the filter wants it false.
    pub was: bool,
    /// What it looked at, each as text with its value.
    pub values: Vec<(String, Value)>,
    /// Where it stands.
    pub place: Option<Place>,
}

/// A filter in its parts.
struct Parts<'a> {
    engine: &'a Engine,
    /// What its event is called.
    parameter: String,
    event: Dynamic,
    /// The same, with where it came from.
    came: &'a Event,
    statements: Vec<Stmt>,
    functions: Shared<rhai::Module>,
    left: Cell<usize>,
}

impl Engine {
    /// Why the filter of `script` says no to an event; `None` if it does not, or if that cannot be told.
    /// Must be called on a thread with a large stack.
    pub fn explain(&self, script: &Script, event: &Event) -> Option<Explanation> {
        let parts = Parts::of(self, script, event)?;
        let (expression, was) = parts.decisive()?;
        let shown = |subject: Expr| {
            let value = from_dynamic(&parts.value(&subject)?).ok()?;
            Some((text(&subject), value))
        };
        let part = text(&expression);
        let mut values: Vec<(String, Value)> = subjects(&expression)
            .into_iter()
            .take(VALUES_MAX)
            .filter_map(shown)
            .filter(|(subject, _)| *subject != part)
            .collect();
        values.dedup();
        Some(Explanation {
            was,
            values,
            place: script.bundle.place(None, start(&expression)),
            part,
        })
    }
}

impl Parts<'_> {
    fn of<'a>(engine: &'a Engine, script: &Script, event: &'a Event) -> Option<Parts<'a>> {
        let functions = script.ast.shared_lib();
        let filter = functions.get_script_fn("filter", 1)?;
        let parameter = filter.params.first()?.to_string();
        let inside = (filter.body.start_position(), filter.body.end_position());
        let mut scope = Scope::new();
        scope.push(parameter.as_str(), ());
        // The body alone, at its own place, so that what is found has the author's positions.
        let body = masked(&script.bundle.source, inside)?;
        let body = engine.rhai.compile_with_scope(&scope, body).ok()?;
        let all = script.ast.clone_functions_only().merge(&body);
        let mut parts = Parts {
            engine,
            parameter,
            event: to_dynamic(&event.body),
            came: event,
            statements: body.statements().to_vec(),
            functions: all.shared_lib().clone(),
            left: Cell::new(PARTS_ASKED_MAX),
        };
        parts.end_where_it_returns();
        Some(parts)
    }

    /// Leaves away what stands after the statement that gives the answer.
    fn end_where_it_returns(&mut self) {
        let unit = Expr::Unit(Position::NONE);
        let returns = |end: &usize| {
            let value = self.ask(&self.statements[..*end], &unit);
            value.is_some_and(|value| !value.is_unit())
        };
        let end = (1..self.statements.len()).find(returns);
        self.statements.truncate(end.unwrap_or(usize::MAX));
    }

    /// The expression that decided, and what it was.
    fn decisive(&self) -> Option<(Expr, bool)> {
        self.of_statement(self.statements.last()?)
    }

    fn of_statement(&self, statement: &Stmt) -> Option<(Expr, bool)> {
        match statement {
            Stmt::Expr(expression) | Stmt::Return(Some(expression), ..) => {
                self.first(expression, false)
            }
            Stmt::FnCall(call, position) => {
                self.first(&Expr::FnCall(call.clone(), *position), false)
            }
            Stmt::Block(block) => self.of_statement(only(block)?),
            Stmt::If(flow, _) => self.of_branch(flow),
            _ => None,
        }
    }

    /// `if condition { … } else { … }`: where the branch says a plain no, the condition decided.
    fn of_branch(&self, flow: &FlowControl) -> Option<(Expr, bool)> {
        let met = self.value(&flow.expr)?.as_bool().ok()?;
        let branch = if met { &flow.body } else { &flow.branch };
        match only(branch)? {
            Stmt::Expr(expression) | Stmt::Return(Some(expression), ..)
                if expression.is_constant() =>
            {
                self.first(&flow.expr, met)
            }
            statement => self.of_statement(statement),
        }
    }

    /// The first part of `expression` that makes it what it `was`.
    fn first(&self, expression: &Expr, was: bool) -> Option<(Expr, bool)> {
        let parts = match expression {
            Expr::And(parts, _) if !was => parts,
            Expr::Or(parts, _) if was => parts,
            Expr::FnCall(call, _) if call.name == "!" && call.args.len() == 1 => {
                return self.first(&call.args[0], !was);
            }
            expression => {
                let value = self.value(expression)?.as_bool().ok()?;
                return (value == was).then(|| (expression.clone(), was));
            }
        };
        let decides = |part: &&Expr| {
            let value = self.value(part).and_then(|value| value.as_bool().ok());
            value == Some(was)
        };
        self.first(parts.iter().find(decides)?, was)
    }

    /// What `expression` is where the filter decides.
    fn value(&self, expression: &Expr) -> Option<Dynamic> {
        let (_, before) = self.statements.split_last()?;
        self.ask(before, expression)
    }

    /// Runs statements, and says what an expression is after them.
    fn ask(&self, statements: &[Stmt], expression: &Expr) -> Option<Dynamic> {
        self.left.set(self.left.get().checked_sub(1)?);
        let last = Stmt::Expr(Box::new(expression.clone()));
        let statements = statements.iter().cloned().chain([last]);
        let ast = AST::new(statements, self.functions.clone());
        let mut scope = Scope::new();
        scope.push_dynamic(self.parameter.as_str(), self.event.clone());
        let names = Looking(self.engine.names(self.came));
        step::begin(Some(Box::new(names)), PART_THINKING);
        let value = self
            .engine
            .rhai
            .eval_ast_with_scope::<Dynamic>(&mut scope, &ast);
        let stopped = step::end().stop.is_some();
        value.ok().filter(|_| !stopped)
    }
}

fn only(block: &StmtBlock) -> Option<&Stmt> {
    match block.statements() {
        [statement] => Some(statement),
        _ => None,
    }
}

/// Where an expression begins; an operator stands after its first operand.
fn start(expression: &Expr) -> Position {
    match expression {
        Expr::FnCall(call, position) if call.is_operator_call() && call.args.len() > 1 => {
            let starts = call.args.iter().map(start);
            starts
                .chain([*position])
                .filter(|at| !at.is_none())
                .min()
                .unwrap_or(*position)
        }
        Expr::And(parts, position)
        | Expr::Or(parts, position)
        | Expr::Coalesce(parts, position) => parts.first().map_or(*position, start),
        Expr::Dot(both, ..) | Expr::Index(both, ..) => start(&both.lhs),
        expression => expression.position(),
    }
}

/// The text between two positions, everything else blank, so that lines and columns stay as they are.
fn masked(source: &str, (from, to): (Position, Position)) -> Option<String> {
    let place = |at: Position| Some((at.line()?, at.position()?));
    let (from, to) = (place(from)?, place(to)?);
    let mut at = (1, 1);
    let blank = |char: char| {
        let here = at;
        at = match char {
            '\n' => (at.0 + 1, 1),
            _ => (at.0, at.1 + 1),
        };
        let inside = here > from && here < to;
        if inside || char == '\n' { char } else { ' ' }
    };
    Some(source.chars().map(blank).collect())
}
