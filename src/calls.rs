//! How a script's calls of host words come to the gate, and those that need no answer from it: the log,
//! and templates.

use std::sync::Arc;

use rhai::{Dynamic, EvalAltResult, FuncRegistration, Module, NativeCallContext, Position};

use crate::event::Value;
use crate::gate::{Answer, CONDITION, HostWord, Question};
use crate::logging::{self, LogLine};
use crate::script::convert::{from_dynamic, to_dynamic};
use crate::script::{self, complain, handle};
use crate::step;
use crate::template::{self, Filling, Template};

/// Adds these words to an engine, those of a module under its name.
pub(crate) fn register(rhai: &mut rhai::Engine, hosts: &[HostWord]) {
    let mut modules: Vec<&str> = hosts.iter().map(|host| host.module).collect();
    modules.sort_unstable();
    modules.dedup();
    for name in modules {
        let mut module = Module::new();
        for host in hosts.iter().filter(|host| host.module == name) {
            register_host(&mut module, *host);
        }
        match name {
            "" => drop(rhai.register_global_module(module.into())),
            name => drop(rhai.register_static_module(name, module.into())),
        }
    }
}

/// Rhai knows functions by their number of arguments: one registration for each that fits.
fn register_host(module: &mut Module, host: HostWord) {
    for count in host.arguments_min()..=host.arguments.len() {
        let word = host.full_name();
        let named = FuncRegistration::new(host.name).with_volatility(true);
        match count {
            0 => drop(
                named.set_into_module(module, move |at: NativeCallContext| call(&at, &word, [])),
            ),
            1 => drop(
                named.set_into_module(module, move |at: NativeCallContext, a: Dynamic| {
                    call(&at, &word, [a])
                }),
            ),
            2 => drop(named.set_into_module(
                module,
                move |at: NativeCallContext, a: Dynamic, b: Dynamic| call(&at, &word, [a, b]),
            )),
            3 => drop(named.set_into_module(
                module,
                move |at: NativeCallContext, a: Dynamic, b: Dynamic, c: Dynamic| {
                    call(&at, &word, [a, b, c])
                },
            )),
            _ => drop(named.set_into_module(
                module,
                move |at: NativeCallContext, a: Dynamic, b: Dynamic, c: Dynamic, d: Dynamic| {
                    call(&at, &word, [a, b, c, d])
                },
            )),
        }
    }
}

fn call<const N: usize>(
    at: &NativeCallContext,
    word: &str,
    arguments: [Dynamic; N],
) -> script::Result {
    match word.split_once("::") {
        Some((logging::MODULE, severity)) => log(at, severity, &arguments),
        Some((template::MODULE, _)) => render(at, &arguments),
        _ => ask(at, word, arguments),
    }
}

/// A line for the log: it is asked of nobody, so it may change between two versions of a script.
fn log(at: &NativeCallContext, severity: &str, arguments: &[Dynamic]) -> script::Result {
    let values: Result<Vec<Value>, String> = arguments.iter().map(from_dynamic).collect();
    let line = values.and_then(|values| LogLine::read(severity, &values));
    let line = line.map_err(|why| complain(at, format!("`log::{severity}`: {why}")))?;
    match step::log(&line) {
        Some(true) => Ok(Dynamic::UNIT),
        Some(false) => Err(stop()),
        None => Err(nowhere(at, &format!("log::{severity}"))),
    }
}

/// A template with an event put into it.
fn render(at: &NativeCallContext, arguments: &[Dynamic]) -> script::Result {
    let values: Result<Vec<Value>, String> = arguments.iter().map(from_dynamic).collect();
    let complaint = |why: String| complain(at, format!("`template::render`: {why}"));
    let values = values.map_err(complaint)?;
    let [Value::Text(named), event, options @ ..] = values.as_slice() else {
        return Err(complaint(
            "a template is text, or the name of a file".to_owned(),
        ));
    };
    let template = match template::is_text(named) {
        true => Template::parse(named).map(Arc::new),
        false => step::template(named).ok_or_else(|| {
            format!("there is no template `{named}`; its name under flows/ is written out, and ends in .json")
        }),
    };
    let filling = Filling::new(event, options.first()).map_err(complaint)?;
    let mut is_stopped = false;
    let mut look = |question: Question| match step::ask(question) {
        Some(Answer::Value(value)) => Some(value),
        Some(Answer::Stop) => {
            is_stopped = true;
            None
        }
        _ => None,
    };
    let rendered = template.map_err(complaint)?.render(&filling, &mut look);
    match is_stopped {
        true => Err(stop()),
        false => Ok(to_dynamic(&rendered)),
    }
}

fn nowhere(at: &NativeCallContext, word: &str) -> Box<EvalAltResult> {
    let why = format!("`{word}` cannot be used here: a filter only looks at the event");
    complain(at, why)
}

fn ask<const N: usize>(
    at: &NativeCallContext,
    word: &str,
    arguments: [Dynamic; N],
) -> script::Result {
    let argument = |argument| self::argument(word, argument);
    let converted: Result<Vec<Value>, String> = arguments.iter().map(argument).collect();
    let converted = converted.map_err(|why| complain(at, format!("`{word}`: {why}")))?;
    let question = Question {
        word: word.to_owned(),
        arguments: converted,
    };
    match step::ask(question) {
        Some(Answer::Value(value)) => Ok(to_dynamic(&value)),
        Some(Answer::Error(error)) => {
            Err(EvalAltResult::ErrorRuntime(to_dynamic(&error), at.call_position()).into())
        }
        Some(Answer::Judge(which, value)) => {
            step::judged(handle::judge(
                at,
                handle::condition(&arguments, which),
                &value,
            ));
            Err(stop())
        }
        Some(Answer::Stop) => Err(stop()),
        None | Some(Answer::NotHere) => Err(nowhere(at, word)),
    }
}

fn stop() -> Box<EvalAltResult> {
    EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE).into()
}

/// The closure of a wait stays where it is; the question only says that there is one.
fn argument(word: &str, argument: &Dynamic) -> Result<Value, String> {
    match matches!(word, "receive" | "watch") && argument.is_fnptr() {
        true => Ok(Value::from(CONDITION)),
        false => from_dynamic(argument),
    }
}
