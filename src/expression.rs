//! An expression of a script as a person reads it, and what it looks at.
//!
//! The language keeps no text of an expression, so it is written anew from its parts: the spaces are
//! ours, the meaning is the author's.

use rhai::{ASTFlags, BinaryExpr, Expr, FnCallExpr, Stmt};

use crate::event::Value;
use crate::script::convert::from_dynamic;

/// What is written for something that has no short text: a closure, a block.
const LONG: &str = "…";

/// An expression as text.
pub(crate) fn text(expression: &Expr) -> String {
    match expression {
        Expr::Unit(_) => "()".to_owned(),
        Expr::CharConstant(char, _) => format!("'{char}'"),
        Expr::InterpolatedString(parts, _) => interpolated(parts),
        Expr::Array(items, _) => format!("[{}]", list(items.iter())),
        Expr::Map(map, _) => {
            let field =
                |(name, value): &(rhai::Ident, Expr)| format!("{}: {}", name.as_str(), text(value));
            let fields: Vec<String> = map.0.iter().map(field).collect();
            format!("#{{{}}}", fields.join(", "))
        }
        Expr::Variable(variable, ..) => {
            let path = variable.2.path.iter().map(|ident| ident.as_str());
            let parts: Vec<&str> = path.chain([variable.1.as_str()]).collect();
            parts.join("::")
        }
        Expr::ThisPtr(_) => "this".to_owned(),
        Expr::Property(property, _) => property.2.to_string(),
        Expr::Dot(both, ..) | Expr::Index(both, ..) => follow(operand(&both.lhs), expression),
        Expr::MethodCall(call, _) => format!("{}({})", call.name, list(call.args.iter())),
        Expr::FnCall(call, _) => called(call),
        Expr::And(parts, _) => joined(parts, " && "),
        Expr::Or(parts, _) => joined(parts, " || "),
        Expr::Coalesce(parts, _) => joined(parts, " ?? "),
        Expr::Stmt(block) => match block.statements() {
            [Stmt::Expr(inner)] => text(inner),
            _ => LONG.to_owned(),
        },
        constant => literal(constant),
    }
}

fn literal(constant: &Expr) -> String {
    let value = constant.get_literal_value(None);
    let value = value.and_then(|value| from_dynamic(&value).ok());
    value.map_or_else(|| LONG.to_owned(), |value: Value| value.to_string())
}

fn interpolated(parts: &[Expr]) -> String {
    let part = |part: &Expr| match part {
        Expr::StringConstant(text, _) => text.to_string(),
        part => format!("${{{}}}", text(part)),
    };
    let parts: String = parts.iter().map(part).collect();
    format!("`{parts}`")
}

fn list<'a>(items: impl Iterator<Item = &'a Expr>) -> String {
    items.map(text).collect::<Vec<_>>().join(", ")
}

fn joined(parts: &[Expr], with: &str) -> String {
    parts.iter().map(operand).collect::<Vec<_>>().join(with)
}

/// In brackets if it is an operation itself.
fn operand(expression: &Expr) -> String {
    let is_operation = match expression {
        Expr::And(..) | Expr::Or(..) | Expr::Coalesce(..) => true,
        Expr::FnCall(call, _) => call.is_operator_call() && call.args.len() > 1,
        _ => false,
    };
    match is_operation {
        true => format!("({})", text(expression)),
        false => text(expression),
    }
}

fn called(call: &FnCallExpr) -> String {
    let name = call.name.as_str();
    match (call.is_operator_call(), call.args.as_slice()) {
        (true, [one]) => format!("{name}{}", operand(one)),
        // `a in b` is kept as this.
        (_, [list, item]) if name == "contains" => {
            format!("{} in {}", operand(item), operand(list))
        }
        (true, [one, other]) => format!("{} {name} {}", operand(one), operand(other)),
        (_, arguments) => {
            let path = call.namespace.path.iter().map(|ident| ident.as_str());
            let parts: Vec<&str> = path.chain([name]).collect();
            format!("{}({})", parts.join("::"), list(arguments.iter()))
        }
    }
}

/// `a.b[c].d` is nested to the right: what stands before `expression`'s sign is written already.
fn follow(mut head: String, expression: &Expr) -> String {
    let (both, flags, is_dot): (&BinaryExpr, ASTFlags, bool) = match expression {
        Expr::Dot(both, flags, _) => (both, *flags, true),
        Expr::Index(both, flags, _) => (both, *flags, false),
        _ => return head,
    };
    if flags.contains(ASTFlags::NEGATED) {
        head.push('?');
    }
    let next = match &both.rhs {
        Expr::Dot(next, ..) | Expr::Index(next, ..) if !flags.contains(ASTFlags::BREAK) => {
            Some(next)
        }
        _ => None,
    };
    let step = text(next.map_or(&both.rhs, |next| &next.lhs));
    head += &match is_dot {
        true => format!(".{step}"),
        false => format!("[{step}]"),
    };
    match next {
        Some(_) => follow(head, &both.rhs),
        None => head,
    }
}

/// What decides about the expression: both sides of a comparison, what a method is called on.
pub(crate) fn subjects(expression: &Expr) -> Vec<Expr> {
    match expression {
        Expr::And(parts, _) | Expr::Or(parts, _) => parts.iter().flat_map(subjects).collect(),
        Expr::FnCall(call, _) if call.name == "!" => call.args.iter().flat_map(subjects).collect(),
        Expr::FnCall(call, _) => variable(call.args.iter()),
        Expr::Dot(..) => match receiver(expression) {
            Some((on, call)) => [on].into_iter().chain(variable(call.args.iter())).collect(),
            None => vec![expression.clone()],
        },
        expression => variable([expression].into_iter()),
    }
}

fn variable<'a>(all: impl Iterator<Item = &'a Expr>) -> Vec<Expr> {
    all.filter(|one| !one.is_constant()).cloned().collect()
}

/// What stands before the last method of `a.b.method(c)`, and the method.
fn receiver(expression: &Expr) -> Option<(Expr, &FnCallExpr)> {
    let Expr::Dot(both, flags, position) = expression else {
        return None;
    };
    match &both.rhs {
        Expr::MethodCall(call, _) => Some((both.lhs.clone(), call)),
        rhs => {
            let (on, call) = receiver(rhs)?;
            let both = BinaryExpr {
                lhs: both.lhs.clone(),
                rhs: on,
            };
            Some((Expr::Dot(Box::new(both), *flags, *position), call))
        }
    }
}
