//! What the server counts about itself, for `/metrics` in Prometheus' text form.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::claim::lock;
use crate::journal::EndState;
use crate::weather::Counts;

/// A label that names a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct InChannel {
    /// The channel.
    pub channel: String,
}

/// A label that names a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfSource {
    /// `channel/name`.
    pub source: String,
    /// Its kind.
    pub kind: String,
}

/// A label that names a source and why it turned something away.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TurnedAway {
    /// `channel/name`.
    pub source: String,
    /// One or two words.
    pub reason: String,
}

/// A label that names a flow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFlow {
    flow: String,
}

/// A label that names a flow and what became of its events.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    flow: String,
    outcome: String,
}

/// What flows made of their events, as it was at one moment.
#[derive(Debug, Default)]
struct Flows {
    /// One scrape at a time.
    scraping: Mutex<()>,
    came: Family<OfFlow, Counter>,
    became: Family<Became, Counter>,
    waiting: Family<OfFlow, Gauge>,
    forgotten: Family<OfFlow, Counter>,
}

/// A label that names an end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    state: String,
}

/// A label that names a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: String,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Events that became durable.
    pub events: Family<InChannel, Counter>,
    /// Events that were there already.
    pub duplicates: Family<InChannel, Counter>,
    /// Events that a door turned away.
    pub refused: Family<InChannel, Counter>,
    /// Events that wait.
    pub depth: Family<InChannel, Gauge>,
    /// Events that a full channel let go.
    pub dropped: Family<InChannel, Gauge>,
    /// 1 while a source's door stands, 0 while it is closed.
    pub sources_up: Family<OfSource, Gauge>,
    /// What went wrong at sources.
    pub source_failures: Family<OfSource, Counter>,
    /// What sources turned away.
    pub source_refused: Family<TurnedAway, Counter>,
    /// Events about something whose name a source does not know.
    pub source_unknown: Family<OfSource, Counter>,
    /// Steps of scripts.
    pub steps: Counter,
    /// Memory that scripts left behind.
    pub leaked: Gauge,
    /// Tries of actions that failed.
    pub failures: Counter,
    /// Things found wrong in the store.
    pub store_damage: Gauge,
    /// 1 once everything in the store was read and is whole.
    pub store_verified: Gauge,
    store_compactions: Counter,
    store_given_back: Counter,
    actions: Histogram,
    ended: Family<Ended, Counter>,
    flows: Flows,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("vigie"),
            events: Family::default(),
            duplicates: Family::default(),
            refused: Family::default(),
            depth: Family::default(),
            dropped: Family::default(),
            sources_up: Family::default(),
            source_failures: Family::default(),
            source_refused: Family::default(),
            source_unknown: Family::default(),
            steps: Counter::default(),
            leaked: Gauge::default(),
            failures: Counter::default(),
            store_damage: Gauge::default(),
            store_verified: Gauge::default(),
            store_compactions: Counter::default(),
            store_given_back: Counter::default(),
            actions: Histogram::new(exponential_buckets(0.001, 4.0, 10)),
            ended: Family::default(),
            flows: Flows::default(),
        };
        metrics.register();
        metrics.register_sources();
        metrics.register_store();
        metrics.register_flows();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let build: Family<Build, Gauge> = Family::default();
        build
            .get_or_create(&Build {
                version: env!("CARGO_PKG_VERSION").to_owned(),
            })
            .set(1);
        let registry = &mut self.registry;
        registry.register("build_info", "The version that runs", build);
        registry.register("events", "Events that became durable", self.events.clone());
        registry.register(
            "duplicates",
            "Events that were there already",
            self.duplicates.clone(),
        );
        registry.register(
            "refused",
            "Requests that a door turned away",
            self.refused.clone(),
        );
        registry.register("channel_depth", "Events that wait", self.depth.clone());
        registry.register(
            "channel_dropped",
            "Events that a full channel let go",
            self.dropped.clone(),
        );
        registry.register("steps", "Steps of scripts", self.steps.clone());
        registry.register(
            "leaked_bytes",
            "Memory that scripts left behind in closures that hold themselves",
            self.leaked.clone(),
        );
        registry.register(
            "action_failures",
            "Tries of actions that failed",
            self.failures.clone(),
        );
        registry.register(
            "action_seconds",
            "How long tries of actions took",
            self.actions.clone(),
        );
        registry.register("runs_ended", "Runs by how they ended", self.ended.clone());
    }

    fn register_sources(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "source_up",
            "1 while a source's door stands",
            self.sources_up.clone(),
        );
        registry.register(
            "source_unknown_names",
            "Events about something whose name a source does not know",
            self.source_unknown.clone(),
        );
        registry.register(
            "source_failures",
            "What went wrong at sources",
            self.source_failures.clone(),
        );
        registry.register(
            "source_refused",
            "What sources turned away",
            self.source_refused.clone(),
        );
    }

    fn register_store(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "store_damage",
            "Things found wrong in the store",
            self.store_damage.clone(),
        );
        registry.register(
            "store_verified",
            "1 once everything in the store was read and is whole",
            self.store_verified.clone(),
        );
        registry.register(
            "store_compactions",
            "Times the store's file was mostly air and was written anew",
            self.store_compactions.clone(),
        );
        registry.register(
            "store_given_back_bytes",
            "Bytes of disk that were given back by it",
            self.store_given_back.clone(),
        );
    }

    fn register_flows(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "flow_in",
            "Events that the filter let through, and those that waited at the start",
            self.flows.came.clone(),
        );
        registry.register(
            "flow_events",
            "Events by what the flow made of them; flow_in is acted, suppressed, dead and flow_waiting",
            self.flows.became.clone(),
        );
        registry.register(
            "flow_waiting",
            "Events that the flow holds until they act or are suppressed",
            self.flows.waiting.clone(),
        );
        registry.register(
            "flow_keys_forgotten",
            "Keys of the storm control that were forgotten because there were too many",
            self.flows.forgotten.clone(),
        );
    }

    /// A try of an action took this long.
    pub fn performed(&self, took: Duration) {
        self.actions.observe(took.as_secs_f64());
    }

    /// The store's file was written anew so many times by now, which gave back so many bytes.
    pub fn store_shrank(&self, times: u64, bytes: u64) {
        let (compactions, given_back) = (&self.store_compactions, &self.store_given_back);
        compactions.inner().store(times, Ordering::Relaxed);
        given_back.inner().store(bytes, Ordering::Relaxed);
    }

    /// A run ended.
    pub fn ended(&self, state: EndState) {
        self.ended
            .get_or_create(&Ended {
                state: state.word().to_owned(),
            })
            .inc();
    }

    /// The text for a scraper, with what each flow counted.
    pub fn text(&self, flows: impl Iterator<Item = (String, Counts)>) -> String {
        let _alone = lock(&self.flows.scraping);
        self.flows.take_up(flows);
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Flows {
    fn take_up(&self, flows: impl Iterator<Item = (String, Counts)>) {
        self.came.clear();
        self.became.clear();
        self.waiting.clear();
        self.forgotten.clear();
        for (flow, counts) in flows {
            let label = OfFlow { flow: flow.clone() };
            set(&self.came, &label, counts.came);
            set(&self.forgotten, &label, counts.forgotten);
            let waiting = i64::try_from(counts.waiting).unwrap_or(i64::MAX);
            self.waiting.get_or_create(&label).set(waiting);
            let outcomes = [
                ("acted", counts.acted),
                ("suppressed", counts.suppressed),
                ("dead", counts.dead),
                ("filtered", counts.filtered),
            ];
            for (outcome, count) in outcomes {
                let label = Became {
                    flow: flow.clone(),
                    outcome: outcome.to_owned(),
                };
                set(&self.became, &label, count);
            }
        }
    }
}

fn set<L>(family: &Family<L, Counter>, label: &L, count: u64)
where
    L: Clone + std::hash::Hash + Eq,
{
    let counter = family.get_or_create(label);
    counter.inner().store(count, Ordering::Relaxed);
}

/// The label of a channel.
pub fn in_channel(name: &str) -> InChannel {
    InChannel {
        channel: name.to_owned(),
    }
}
