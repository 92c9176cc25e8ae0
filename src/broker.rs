//! `broker::…`: Centreon's names from its numbers, out of what the `bbdo` sources have learnt.
//!
//! Numbers are those of one Centreon, and a house may receive from several. So a word asks the source
//! that the event came by; for another event the only one there is; or the one that it names. It
//! never tries one after another: the same number is another host elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::action::Argument;
use crate::event::{Event, Value};
use crate::gate::{Answer, Gate, HostWord, Question};
use crate::source::directory::Directory;

/// What the words begin with.
const MODULE: &str = "broker::";
/// What a text is that nobody knows.
const UNKNOWN: &str = "unknown";

const HOST: Argument = Argument::required("host_id", "integer");
const SERVICE: Argument = Argument::required("service_id", "integer");
const OF_SERVICE: Argument = Argument::optional("service_id", "integer");
const SOURCE: Argument = Argument::optional("source", "text");
const OF_HOST: &[Argument] = &[HOST, SOURCE];
const OF_BOTH: &[Argument] = &[HOST, SERVICE, SOURCE];
const OF_EITHER: &[Argument] = &[HOST, OF_SERVICE, SOURCE];
const OF_ID: &[Argument] = &[Argument::required("id", "integer"), SOURCE];

const fn word(
    name: &'static str,
    arguments: &'static [Argument],
    about: &'static str,
    example: &'static str,
) -> HostWord {
    HostWord {
        module: "broker",
        name,
        arguments,
        about,
        example,
    }
}

/// All of them, by the names that stream connectors know without their `get_`.
#[rustfmt::skip]
pub const WORDS: &[HostWord] = &[
    word("host_name", OF_HOST, "what a host is called", "broker::host_name(event.host_id)"),
    word("service_description", OF_BOTH, "what a service is called", "broker::service_description(event.host_id, event.service_id)"),
    word("host", OF_HOST, "what is configured of a host: name alias address instance_id notes check_command display_name …; () if it is unknown", "broker::host(event.host_id)?.address"),
    word("service", OF_BOTH, "what is configured of a service: description notes check_command display_name …; () if it is unknown", "broker::service(event.host_id, event.service_id)?.check_command"),
    word("host_groups", OF_HOST, "the groups of a host, each #{ group_id, group_name }", "broker::host_groups(event.host_id)"),
    word("service_groups", OF_BOTH, "the groups of a service, each #{ group_id, group_name }", "broker::service_groups(event.host_id, event.service_id)"),
    word("host_group_name", OF_ID, "what a host group is called", "broker::host_group_name(5)"),
    word("host_group_alias", OF_ID, "the alias of a host group; younger Brokers tell it", "broker::host_group_alias(5)"),
    word("service_group_name", OF_ID, "what a service group is called", "broker::service_group_name(7)"),
    word("instance_name", OF_ID, "what a poller is called", "broker::instance_name(event.instance_id)"),
    word("severity", OF_EITHER, "the CRITICALITY_LEVEL of a host or a service; () if it has none", "broker::severity(event.host_id, event.service_id)"),
    word("check_command", OF_EITHER, "the check command of a host or a service", "broker::check_command(event.host_id)"),
    word("notes", OF_EITHER, "the notes of a host or a service", "broker::notes(event.host_id)"),
    word("notes_url", OF_EITHER, "the notes' address of a host or a service", "broker::notes_url(event.host_id, event.service_id)"),
    word("action_url", OF_EITHER, "the action's address of a host or a service", "broker::action_url(event.host_id)"),
    word("index_mapping", OF_ID, "#{ index_id, host_id, service_id }, or ()", "broker::index_mapping(event.index_id)"),
    word("metric_mapping", OF_ID, "#{ metric_id, index_id }, or ()", "broker::metric_mapping(event.metric_id)"),
    word("ba", OF_ID, "#{ ba_id, ba_name, ba_description } of a business activity, or ()", "broker::ba(event.ba_id)?.ba_name"),
    word("bv", OF_ID, "#{ bv_id, bv_name, bv_description } of a business view, or ()", "broker::bv(2)?.bv_name"),
    word("bvs", OF_ID, "the ids of the business views that show an activity", "broker::bvs(event.ba_id)"),
];

/// What a word gives about something that nobody knows; `None` if it is none of these words.
pub fn missing(word: &str) -> Option<Value> {
    Some(match word.strip_prefix(MODULE)? {
        "host" | "service" | "severity" | "index_mapping" | "metric_mapping" | "ba" | "bv" => {
            Value::Null
        }
        "host_groups" | "service_groups" | "bvs" => Value::List(Vec::new()),
        _ => Value::from(UNKNOWN),
    })
}

/// Where an event came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    channel: String,
    /// The source, if it is a Broker's.
    source: Option<String>,
}

impl Origin {
    /// Of the first of these events; a batch is of one channel.
    pub fn of(events: &[Event]) -> Origin {
        let Some(event) = events.first() else {
            return Origin::default();
        };
        let named = event.meta.extra.get("source_name").and_then(Value::as_text);
        let is_broker = event.meta.source == "bbdo";
        Origin {
            channel: event.id.channel.clone(),
            source: named.filter(|_| is_broker).map(str::to_owned),
        }
    }
}

/// What one source knows.
struct Known {
    directory: Arc<dyn Directory>,
    /// Counts questions about what it does not know.
    missed: Box<dyn Fn() + Send + Sync>,
}

/// All sources that know names, by `channel/name`.
#[derive(Default)]
pub struct Brokers {
    known: RwLock<BTreeMap<String, Known>>,
}

impl Brokers {
    /// From now on scripts may ask `directory`; `missed` counts what it does not know.
    pub fn register(
        &self,
        id: String,
        directory: Arc<dyn Directory>,
        missed: impl Fn() + Send + Sync + 'static,
    ) {
        let missed = Box::new(missed);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, Known { directory, missed });
    }

    /// The source is gone.
    pub fn forget(&self, id: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(id);
    }

    /// The answer to a word about an event from `origin`; `None` if it is none of these words.
    pub fn answer(&self, question: &Question, origin: &Origin) -> Option<Result<Value, String>> {
        let word = question.word.strip_prefix(MODULE)?;
        Some(self.look_up(word, &question.arguments, origin))
    }

    fn look_up(&self, word: &str, arguments: &[Value], origin: &Origin) -> Result<Value, String> {
        let (ids, named) = match arguments.split_last() {
            Some((Value::Text(named), ids)) => (ids, Some(named.as_str())),
            _ => (arguments, None),
        };
        let ids: Vec<i64> = ids.iter().map(id).collect::<Result<_, _>>()?;
        let needed = WORDS.iter().find(|known| known.name == word);
        if needed.is_some_and(|needed| ids.len() < needed.arguments_min()) {
            return Err("a number is missing before the source's name".to_owned());
        }
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = &all[choose(&all, named, origin)?];
        let found = known.directory.look_up(word, &ids);
        if !found.is_known {
            (known.missed)();
        }
        Ok(found.value)
    }
}

/// A number; nothing is the number of nothing, as in an event about a host.
fn id(argument: &Value) -> Result<i64, String> {
    match argument {
        Value::Int(id) => Ok(*id),
        Value::Null => Ok(0),
        other => Err(format!("a number is wanted, not {}", other.kind())),
    }
}

/// Which source is asked.
fn choose<'a>(
    all: &'a BTreeMap<String, Known>,
    named: Option<&str>,
    origin: &Origin,
) -> Result<&'a str, String> {
    let ids = || all.keys().map(String::as_str);
    let find = |id: &str| ids().find(|known| *known == id);
    let of = |channel: &str| {
        let begin = format!("{channel}/");
        only(ids().filter(move |id| id.starts_with(&begin)))
    };
    let own = |name: &str| find(&format!("{}/{name}", origin.channel));
    let chosen = match (named, &origin.source) {
        (Some(named), _) => find(named).or_else(|| own(named)).or_else(|| of(named)),
        (None, Some(source)) => own(source).or_else(|| of(&origin.channel)),
        (None, None) => of(&origin.channel).or_else(|| only(ids())),
    };
    let known = || ids().collect::<Vec<_>>().join(", ");
    chosen.ok_or_else(|| match named {
        _ if all.is_empty() => "there is no `bbdo` source here that would know names".to_owned(),
        Some(named) => format!("there is no Broker `{named}`; there are: {}", known()),
        None => format!("which Broker? Name one of these at the end: {}", known()),
    })
}

fn only<'a>(mut ids: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = ids.next();
    first.filter(|_| ids.next().is_none())
}

/// Answers a filter: it may look names up, and ask for nothing else.
pub(crate) struct Looking(pub(crate) Box<Answers>);

/// Answers these words, and no others.
pub(crate) type Answers = dyn Fn(&Question) -> Option<Result<Value, String>> + Send;

impl Gate for Looking {
    fn ask(&mut self, question: Question) -> Answer {
        match (self.0)(&question) {
            Some(Ok(value)) => Answer::Value(value),
            Some(Err(why)) => Answer::Error(complaint(&question.word, &why)),
            None => Answer::NotHere,
        }
    }

    fn print(&mut self, _: &str) {}
}

/// What a script sees of a word that could not be answered.
pub(crate) fn complaint(word: &str, why: &str) -> Value {
    Value::from([("message", Value::from(why)), ("verb", Value::from(word))])
}
