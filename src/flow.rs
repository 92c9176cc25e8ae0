//! Flow: a script under a channel, with its settings and its version.
//!
//! `flows/alert/open_ticket.rhai`: the path is the binding. Files whose name starts with `_` are
//! modules that flows import.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::bundle::{Bundle, Script};
use crate::duration::Lasting;
use crate::engine::{Engine, MODULES_MAX};
use crate::error::{Diagnostic, Place};
use crate::logging::LEVEL_MAX;
use crate::storm::StormSettings;
use crate::template::ENDING;
use crate::{document, event};

/// Events that a batch may hold at most, whatever the settings say.
pub const BATCH_EVENTS_MAX: usize = 100_000;

/// A flow that can be run.
#[derive(Debug)]
pub struct Flow {
    /// `open_ticket` of `flows/alert/open_ticket.rhai`.
    pub name: String,
    /// `alert` of `flows/alert/open_ticket.rhai`.
    pub channel: String,
    /// `open_ticket.toml`, or the defaults.
    pub settings: FlowSettings,
    /// The text of `open_ticket.toml`, kept for runs that outlive the file.
    pub settings_text: String,
    /// The compiled script.
    pub script: Arc<Script>,
}

impl Flow {
    /// `alert/open_ticket`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.channel, self.name)
    }
}

/// `flows/<channel>/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowSettings {
    /// Runs of this flow that think or act at the same time.
    pub runs_at_once_max: usize,
    /// Events with the same value in this field run one after another.
    pub order_by: Option<String>,
    /// Tries of one action, apart from those while the target is away.
    pub attempts_max: u32,
    /// How long a target may be away before an action fails.
    pub give_up_after: Lasting,
    /// Fields that make two events the same trouble: a further event for a live run is noted on it.
    pub one_run_per: Vec<String>,
    /// Seconds that one step may think.
    pub run_seconds_max: u64,
    /// What happens to an action that a crash left in doubt.
    pub in_doubt: InDoubt,
    /// How long a target may still be at work on a request that was cut off; only then it is asked
    /// whether it was done.
    pub in_doubt_wait: Lasting,
    /// `log::…` lines above this level stay out of the server's log; 0 to 3, as of connectors.
    pub log_level: u8,
    /// Collects events and runs once for all of them.
    pub batch: Option<BatchSettings>,
    /// What is done with masses of events.
    pub storm: Option<StormSettings>,
}

impl FlowSettings {
    /// True if the script gets `events` instead of `event` and `meta`.
    pub fn is_batch(&self) -> bool {
        let storm = self.storm.as_ref();
        self.batch.is_some() || storm.is_some_and(|storm| storm.digest.is_some())
    }
}

impl Default for FlowSettings {
    fn default() -> FlowSettings {
        FlowSettings {
            runs_at_once_max: 16,
            order_by: None,
            attempts_max: 10,
            give_up_after: Lasting(Duration::from_secs(3 * 86_400)),
            one_run_per: Vec::new(),
            run_seconds_max: 10,
            in_doubt: InDoubt::Repeat,
            in_doubt_wait: Lasting(Duration::from_secs(10)),
            log_level: 1,
            batch: None,
            storm: None,
        }
    }
}

/// The policy for an action of which nobody can tell whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InDoubt {
    /// Do it again with the same key, and say so in the journal.
    Repeat,
    /// Leave it to a person.
    DeadLetter,
}

/// `[batch]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSettings {
    /// Events in one batch.
    pub size_max: usize,
    /// How long the oldest event of a batch may wait for company.
    pub age_max: Lasting,
}

/// Reads a flow and all that it imports, and compiles it.
///
/// `root` is the folder of all flows, `shown` how messages name it.
///
/// # Errors
/// Every mistake in the script, in its modules and in its settings.
pub fn load(
    engine: &Engine,
    root: &Path,
    shown: &Path,
    path: &str,
) -> Result<Flow, Vec<Diagnostic>> {
    let (channel, name) = path.split_once('/').unwrap_or(("", path));
    let file = root.join(format!("{path}.rhai"));
    let shown_file = shown.join(format!("{path}.rhai"));
    let (settings, settings_text) = settings(root, shown, path)?;
    let is_batch = settings.is_batch();
    let script = script(engine, root, (&file, &shown_file), is_batch)?;
    Ok(Flow {
        name: name.to_owned(),
        channel: channel.to_owned(),
        settings,
        settings_text,
        script: Arc::new(script),
    })
}

/// Compiles the script in `file`, which need not stand under the folder of all flows, `root`, where
/// its imports come from; `shown` is how messages name it.
///
/// # Errors
/// Every mistake in it and in its modules.
pub fn script(
    engine: &Engine,
    root: &Path,
    (file, shown): (&Path, &Path),
    is_batch: bool,
) -> Result<Script, Vec<Diagnostic>> {
    let source = document::text(file, shown).map_err(|mistake| vec![mistake])?;
    let mut bundle = Bundle::of(&shown.display().to_string(), &source);
    bundle.is_batch = is_batch;
    adopt(engine, root, bundle)
}

/// Compiles a script with the modules under `root` that it imports. Must be called on a thread with a
/// large stack.
///
/// # Errors
/// Every mistake in the script and in its modules.
pub fn adopt(engine: &Engine, root: &Path, mut bundle: Bundle) -> Result<Script, Vec<Diagnostic>> {
    gather(engine, root, &mut bundle)?;
    engine.compile(bundle)
}

fn settings(
    root: &Path,
    shown: &Path,
    path: &str,
) -> Result<(FlowSettings, String), Vec<Diagnostic>> {
    let file = root.join(format!("{path}.toml"));
    let shown = shown.join(format!("{path}.toml"));
    if !file.exists() {
        return Ok((FlowSettings::default(), String::new()));
    }
    let text = document::text(&file, &shown).map_err(|mistake| vec![mistake])?;
    let settings = document::parse(&text, &shown).map_err(|mistake| vec![mistake])?;
    sensible(&settings, &shown)?;
    Ok((settings, text))
}

/// What the type of a setting does not say.
fn sensible(settings: &FlowSettings, shown: &Path) -> Result<(), Vec<Diagnostic>> {
    let wrong = |message: &str| {
        Err(vec![Diagnostic::new(format!(
            "{}: {message}",
            shown.display()
        ))])
    };
    match settings {
        FlowSettings {
            runs_at_once_max: 0,
            ..
        } => wrong("runs_at_once_max must be at least 1"),
        FlowSettings {
            attempts_max: 0, ..
        } => wrong("attempts_max must be at least 1"),
        FlowSettings {
            run_seconds_max: 0 | 3601..,
            ..
        } => wrong("run_seconds_max must be 1 to 3600"),
        FlowSettings { log_level, .. } if *log_level > LEVEL_MAX => {
            wrong("log_level must be 0 to 3")
        }
        FlowSettings {
            batch: Some(batch), ..
        } if !(1..=BATCH_EVENTS_MAX).contains(&batch.size_max) => {
            wrong("[batch] size_max must be 1 to 100000")
        }
        FlowSettings {
            batch: Some(_),
            storm: Some(_),
            ..
        } => wrong("[batch] and [storm] exclude each other; `digest` does what [batch] does"),
        FlowSettings {
            storm: Some(storm), ..
        } if storm.digest.is_some() && !settings.one_run_per.is_empty() => {
            wrong("[storm] `digest` and `one_run_per` exclude each other")
        }
        FlowSettings {
            storm: Some(storm), ..
        } => storm
            .sensible()
            .or_else(|why| wrong(&format!("[storm] {why}"))),
        _ => Ok(()),
    }
}

/// Puts the sources of all imports into the bundle, imports of imports included.
fn gather(engine: &Engine, root: &Path, bundle: &mut Bundle) -> Result<(), Vec<Diagnostic>> {
    let mut waiting = engine.imports(&bundle.source);
    let mut from_script = waiting.len();
    while let Some((path, position)) = (!waiting.is_empty()).then(|| waiting.remove(0)) {
        let direct = from_script > 0;
        from_script = from_script.saturating_sub(1);
        if bundle.modules.contains_key(&path) {
            continue;
        }
        let place = direct.then(|| bundle.place(None, position)).flatten();
        if bundle.modules.len() >= MODULES_MAX {
            let why = format!("a flow imports at most {MODULES_MAX} modules");
            return Err(vec![placed(why, place)]);
        }
        let text = module_text(root, &path).map_err(|why| vec![placed(why, place)])?;
        if !path.ends_with(ENDING) {
            waiting.extend(engine.imports(&text));
        }
        bundle.modules.insert(path, text);
    }
    Ok(())
}

fn placed(why: String, place: Option<Place>) -> Diagnostic {
    Diagnostic {
        message: why,
        place,
        help: None,
    }
}

/// The text of a module. Its path has only plain names, and where it leads after all links is
/// inside the folder of flows: a script is no way to other files.
fn module_text(root: &Path, path: &str) -> Result<String, String> {
    let plain = |part: &str| event::is_name(part.strip_prefix('_').unwrap_or(part));
    let template = path.strip_suffix(ENDING);
    if !template.unwrap_or(path).split('/').all(plain) {
        return Err(format!(
            "import of `{path}`: a path under flows/ has only names of letters, digits, _ and -"
        ));
    }
    let (what, name) = match template {
        Some(_) => ("template", path.to_owned()),
        None => ("module", format!("{path}.rhai")),
    };
    let file = root.join(&name);
    let missing = |_| format!("{what} `{path}` not found; it would be flows/{name}");
    let real = file.canonicalize().map_err(missing)?;
    let home = root.canonicalize().map_err(missing)?;
    if !real.starts_with(home) {
        return Err(format!("import of `{path}` leads out of flows/"));
    }
    document::text(&real, &file).map_err(|mistake| mistake.message)
}
