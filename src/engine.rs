//! Rhai: one shared engine, its limits, and one step of a script through the gate.
//!
//! Invariants: a script reaches the world only through host words; whatever it does, the process
//! lives (every limit here was chosen against scripts that abort one without it); the same script
//! with the same answers asks the same questions, in this process and the next.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use rhai::packages::{Package, StandardPackage};
use rhai::{CallFnOptions, Dynamic, EvalAltResult, NativeCallContext, OptimizationLevel, Scope};

use crate::broker::{Answers, Brokers, Looking, Origin};
use crate::bundle::Script;
use crate::calls;
use crate::event::{Event, Value};
use crate::fault::ScriptError;
use crate::gate::{Gate, HostWord};
use crate::leak::{self, Scale};
use crate::lexicon;
use crate::resolver::ScriptResolver;
use crate::script::convert::{from_dynamic, to_dynamic};
use crate::script::events::Events;
use crate::script::{self, complain};
use crate::step::{self, Ended, Stop};

/// Nested function calls.
pub const CALL_LEVELS_MAX: usize = 32;
/// Nested expressions, outside and inside functions.
pub const EXPRESSION_DEPTH_MAX: (usize, usize) = (48, 32);
/// Bytes in one text.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Elements in one array or map, counting nested ones.
pub const ELEMENTS_MAX: usize = 4_096;
/// Variables in scope, and functions in one script.
pub const NAMES_MAX: usize = 256;
/// Modules that one script may import, directly or not.
pub const MODULES_MAX: usize = 32;
/// Recorded with every run, so that a later engine knows how to keep it going: hashing seed,
/// optimisation level and word versions as they are today.
pub const ENGINE_FLAGS: i64 = 1;

/// What an error takes at most beside what was thrown: the script's text, and words.
const FAULT_BYTES: isize = 512 * 1024;

/// Makes closure names the same in every process; they would be random otherwise.
const HASHING_SEED: [u64; 4] = [0x7669_6769, 0x6576_656e, 0x7466_6c6f, 0x7772_756e];

/// The engine: shared by all threads that think, never changed after it was made.
pub struct Engine {
    pub(crate) rhai: rhai::Engine,
    pub(crate) hosts: Vec<HostWord>,
    /// Every word that is called without a module.
    pub(crate) plain: BTreeMap<String, lexicon::Counts>,
    /// What the server's sources know by name; none elsewhere.
    pub brokers: Arc<Brokers>,
}

/// How a step ended.
#[derive(Debug)]
pub enum StepEnd {
    /// The script came to its end with this value.
    Done(Value),
    /// It asked for something; the gate knows what.
    Stopped,
    /// It failed: an error it did not catch, or a limit.
    Failed(ScriptError),
}

impl StepEnd {
    /// More than what it carries takes, in bytes.
    fn allowance(&self) -> isize {
        match self {
            StepEnd::Done(value) => leak::generous(value),
            StepEnd::Stopped => 0,
            StepEnd::Failed(error) => fault_allowance(error),
        }
    }
}

/// An error carries what was thrown, and the text that it stands in.
fn fault_allowance(error: &ScriptError) -> isize {
    leak::generous(&error.thrown).saturating_add(FAULT_BYTES)
}

/// What a step begins with.
pub struct Input {
    /// The event, or those of a batch.
    pub events: Arc<Vec<Event>>,
    /// How long it may think, from the flow's `run_seconds_max`.
    pub thinking: Duration,
}

impl Engine {
    /// An engine with all pure words and these host words.
    pub fn new(hosts: Vec<HostWord>) -> Engine {
        static SEED: Once = Once::new();
        // Fails only if it was set before, and nobody else sets it.
        SEED.call_once(|| {
            let _ = rhai::config::hashing::set_hashing_seed(Some(HASHING_SEED));
        });
        let mut rhai = rhai::Engine::new_raw();
        StandardPackage::new().register_into_engine(&mut rhai);
        limit(&mut rhai);
        for words in script::ALL {
            words.register(&mut rhai);
        }
        crate::script::events::register(&mut rhai);
        calls::register(&mut rhai, &hosts);
        rhai.on_print(step::print);
        rhai.on_debug(|line, _, _| step::print(line));
        rhai.on_progress(|_| step::progress().map(|_| Dynamic::UNIT));
        rhai.set_module_resolver(ScriptResolver);
        let plain = lexicon::plain_words(&rhai);
        Engine {
            rhai,
            hosts,
            plain,
            brokers: Arc::default(),
        }
    }

    /// Runs a script from the top. Must be called on a thread with a large stack.
    pub fn step<G: Gate>(&self, script: &Script, input: Input, gate: G) -> (StepEnd, Option<G>) {
        if let Some(why) = script.leaked.refusal() {
            return (StepEnd::Failed(ScriptError::sentence(why)), Some(gate));
        }
        let scale = Scale::begin();
        let mut scope = Scope::new();
        for (name, value) in bind(script, input.events) {
            scope.push_constant_dynamic(name, value);
        }
        step::begin(Some(Box::new(gate)), input.thinking);
        step::lend(&script.templates);
        let evaluated = self
            .rhai
            .eval_ast_with_scope::<Dynamic>(&mut scope, &script.ast);
        drop(scope);
        let end = match evaluated {
            Ok(value) => {
                from_dynamic(&value).map_or_else(|_| StepEnd::Done(Value::Null), StepEnd::Done)
            }
            Err(error) => self.failed(script, &error),
        };
        let Ended {
            gate,
            stop,
            outside,
        } = step::end();
        let end = match stop {
            None => end,
            Some(Stop::Asked) => StepEnd::Stopped,
            Some(limit) => StepEnd::Failed(stopped(limit, end)),
        };
        let gate = gate.and_then(|gate| (gate as Box<dyn Any>).downcast::<G>().ok());
        let gate = gate.map(|gate| *gate);
        let allowed = outside.saturating_add(end.allowance());
        scale.end(allowed, (&script.bundle.name, &script.leaked));
        (end, gate)
    }

    /// Calls the script's `fn filter(event)`, without running its top level; true if it has none.
    ///
    /// # Errors
    /// What the filter raised; a filter that raises is not a "no".
    pub fn filter(
        &self,
        script: &Script,
        event: &Event,
        thinking: Duration,
    ) -> Result<bool, ScriptError> {
        self.filter_with(script, &event.body, thinking, self.names(event))
    }

    /// What a filter may ask about this event.
    pub(crate) fn names(&self, event: &Event) -> Box<Answers> {
        let brokers = Arc::clone(&self.brokers);
        let origin = Origin::of(std::slice::from_ref(event));
        Box::new(move |question| brokers.answer(question, &origin))
    }

    /// The same, with somebody else who knows names.
    pub(crate) fn filter_with(
        &self,
        script: &Script,
        event: &Value,
        thinking: Duration,
        names: Box<Answers>,
    ) -> Result<bool, ScriptError> {
        if !script.has_filter {
            return Ok(true);
        }
        if let Some(why) = script.leaked.refusal() {
            return Err(ScriptError::sentence(why));
        }
        let scale = Scale::begin();
        // What comes in is not the script's doing: its limit counts from here.
        let event = to_dynamic(event);
        step::begin(Some(Box::new(Looking(names))), thinking);
        step::lend(&script.templates);
        let options = CallFnOptions::new().eval_ast(false);
        let verdict = self.rhai.call_fn_with_options::<Dynamic>(
            options,
            &mut Scope::new(),
            &script.ast,
            "filter",
            (event,),
        );
        let stop = step::end().stop;
        let verdict = match (verdict, stop) {
            (_, Some(limit)) => Err(ScriptError::sentence(limit.sentence())),
            (Err(error), None) => Err(ScriptError::from_rhai(&script.bundle, &error)),
            (Ok(verdict), None) => verdict.as_bool().map_err(|found| {
                ScriptError::sentence(format!("`filter` must give true or false, not {found}"))
            }),
        };
        let allowed = verdict.as_ref().map_or_else(fault_allowance, |_| 0);
        scale.end(allowed, (&script.bundle.name, &script.leaked));
        verdict
    }

    fn failed(&self, script: &Script, error: &EvalAltResult) -> StepEnd {
        StepEnd::Failed(ScriptError::from_rhai(&script.bundle, error))
    }
}

/// A limit, standing where the script was when it was stopped.
fn stopped(limit: Stop, end: StepEnd) -> ScriptError {
    let place = match end {
        StepEnd::Failed(error) => error.place,
        _ => None,
    };
    ScriptError {
        place,
        ..ScriptError::sentence(limit.sentence())
    }
}

/// `event` and `meta`, or `events` for a batch.
fn bind(script: &Script, events: Arc<Vec<Event>>) -> Vec<(&'static str, Dynamic)> {
    if script.bundle.is_batch {
        return vec![("events", Dynamic::from(Events(events)))];
    }
    let first = events.first();
    let event = first.map_or(Dynamic::UNIT, |event| to_dynamic(&event.body));
    let meta = first.map_or(Dynamic::UNIT, |event| to_dynamic(&event.meta_value()));
    vec![("event", event), ("meta", meta)]
}

fn limit(rhai: &mut rhai::Engine) {
    let (outside, inside) = EXPRESSION_DEPTH_MAX;
    // `None`: the default level needs exponential time on nested `switch`, `Full` calls host
    // words while compiling.
    rhai.set_optimization_level(OptimizationLevel::None);
    // Our own count comes first: the language's would be swallowed by `sort` without a trace.
    rhai.set_max_operations(2 * step::OPERATIONS_MAX);
    rhai.set_max_call_levels(CALL_LEVELS_MAX);
    rhai.set_max_expr_depths(outside, inside);
    rhai.set_max_string_size(TEXT_BYTES_MAX);
    rhai.set_max_array_size(ELEMENTS_MAX);
    rhai.set_max_map_size(ELEMENTS_MAX);
    rhai.set_max_variables(NAMES_MAX);
    rhai.set_max_functions(NAMES_MAX);
    rhai.set_max_modules(MODULES_MAX);
    rhai.set_strict_variables(true);
    // A text that becomes code would not be part of the version that a run is pinned to.
    rhai.disable_symbol("eval");
    forbid(rhai);
}

fn forbid(rhai: &mut rhai::Engine) {
    fn refuse(at: &NativeCallContext) -> script::Result {
        let word = at.fn_name();
        Err(complain(at, format!("there is no word `{word}`")))
    }
    fn wants_a_unit(at: &NativeCallContext) -> script::Result {
        let message = "a duration is text with a unit, as in sleep(\"10m\")";
        Err(complain(at, message))
    }
    // The language's own would hold the thread.
    rhai.register_fn("sleep", |at: NativeCallContext, _: i64| wants_a_unit(&at))
        .register_fn("sleep", |at: NativeCallContext, _: f64| wants_a_unit(&at))
        .register_fn("timestamp", |at: NativeCallContext| refuse(&at))
        .register_fn("exit", |at: NativeCallContext| refuse(&at))
        .register_fn("exit", |at: NativeCallContext, _: Dynamic| refuse(&at));
}
