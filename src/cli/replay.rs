//! `vigie replay`: recorded events through a new version of a flow.
//!
//! The server only hands out records, page by page; all thinking is done here, so that a script
//! under work costs the running flows nothing. Nothing is performed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::client::{Client, segment};
use super::{Common, record, report};
use crate::bundle::Script;
use crate::compare::{Case, Compared, Comparison, Difference, RealRun, left_out};
use crate::config::House;
use crate::difference::Change;
use crate::duration::Lasting;
use crate::error::{Diagnostic, Exit};
use crate::event::{Event, EventId};
use crate::flow;
use crate::replay::show;
use crate::thinkers::Thinkers;
use crate::transcript;
use crate::world::{Arrival, World};

/// Events that one comparison holds, in all channels together.
const REPLAYED_EVENTS_MAX: usize = 200_000;
/// Bytes of answers that one comparison reads.
const REPLAYED_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Compare a new version of a flow with what the real runs did.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie replay --since 7d --flow flows/alert/open_ticket.rhai\n  \
    vigie replay --since 1d --flow new.rhai --flow-name alert/open_ticket --json\n\n\
    Each recorded event goes through the new version, in virtual time and with the outcomes that the\n\
    real run had; nothing is performed. What nobody recorded is taken as () and said to be so.\n\
    Left out: [storm], every event that the filter lets through is taken to act; and in a filter the\n\
    names of broker::, which only the server knows. If the flow has them, it is said on stderr.\n\
    Imports are read from the `flows` folder of the settings.\n\n\
    Exit: 0 no difference, 1 there are differences, 69 the server is away, 78 the script has mistakes."
)]
pub(super) struct Replay {
    /// How far back: events received since then
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    since: Lasting,
    /// The new version's script
    #[arg(long, value_name = "FILE")]
    flow: PathBuf,
    /// Which flow it is a version of; told by a path that ends with channel/name.rhai
    #[arg(long, value_name = "CHANNEL/NAME")]
    flow_name: Option<String>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(super) fn run(self, common: &Common) -> Exit {
        self.compare(common).unwrap_or_else(|exit| exit)
    }

    fn compare(&self, common: &Common) -> Result<Exit, Exit> {
        let name = self.name()?;
        let client = Client::find(common)?;
        let flow = client.get(&format!("flows/{}/record", segment(&name)))?;
        let thinkers = Common::thinkers()?;
        let versions = self.versions(common, &thinkers, &flow)?;
        let left_out = left_out(&kinds(&flow), [&versions.old, &versions.new]);
        let now: Timestamp = flow["now"]
            .as_str()
            .and_then(|now| now.parse().ok())
            .ok_or(Exit::Bug)?;
        let (channel, own) = name.split_once('/').unwrap_or((&name, ""));
        let mut world = record::channels(&client.get("channels")?);
        world.until = Some(now);
        let mut reader = Reader {
            client,
            since: now.checked_sub(self.since.0).unwrap_or(Timestamp::MIN),
            events: 0,
            bytes: 0,
        };
        let cases = reader.cases(channel, own)?;
        world.fill(
            channel,
            cases.iter().map(|(_, arrival)| arrival.clone()).collect(),
        );
        let mut bench = Bench {
            thinkers,
            versions: Arc::new(versions),
            world: Arc::new(world),
            flow: own.to_owned(),
            reader,
        };
        let mut found = Vec::new();
        let count = cases.len();
        for (case, _) in cases {
            let id = case.event.id.clone();
            let difference = bench.compare(case)?;
            if !difference.is_empty() {
                found.push((id, difference));
            }
        }
        self.tell((&name, &left_out), count, &found);
        Ok(if found.is_empty() {
            Exit::Ok
        } else {
            Exit::Failed
        })
    }

    /// `alert/open_ticket`, as it was named or as the path has it.
    fn name(&self) -> Result<String, Exit> {
        if let Some(name) = &self.flow_name {
            return Ok(name.clone());
        }
        let part = |path: Option<&Path>| {
            let name = path?.file_stem()?.to_str()?;
            Some(name.to_owned())
        };
        match (part(self.flow.parent()), part(Some(&self.flow))) {
            (Some(channel), Some(name)) => Ok(format!("{channel}/{name}")),
            _ => {
                report::sentence(
                    "say which flow it is a version of: --flow-name alert/open_ticket",
                );
                Err(Exit::Usage)
            }
        }
    }

    fn versions(
        &self,
        common: &Common,
        thinkers: &Thinkers,
        flow: &Json,
    ) -> Result<Versions, Exit> {
        let (settings, _) = House::settings(common.settings.as_deref()).map_err(mistaken)?;
        let old = transcript::bundle_from_json(&flow["script"]).map_err(|why| failed(&why))?;
        let (file, root) = (self.flow.clone(), settings.flows);
        let compiled = thinkers.call(move |engine| {
            let is_batch = old.is_batch;
            let new = flow::script(engine, &root, (&file, &file), is_batch)?;
            Ok((engine.compile(old)?, new))
        });
        let (old, new) = compiled.ok_or(Exit::Bug)?.map_err(mistaken)?;
        let thinking = Duration::from_secs(flow["run_seconds_max"].as_u64().unwrap_or(10));
        Ok(Versions { old, new, thinking })
    }

    fn tell(
        &self,
        (name, left_out): (&str, &[String]),
        count: usize,
        found: &[(EventId, Difference)],
    ) {
        for what in left_out {
            report::sentence(what);
        }
        if self.json {
            let rows: Vec<Json> = found
                .iter()
                .map(|(id, difference)| row(id, difference))
                .collect();
            let whole =
                json!({ "flow": name, "events": count, "differences": rows, "left_out": left_out });
            return report::line(&format!("{whole:#}"));
        }
        for (id, difference) in found {
            report::line(&id.to_string());
            for line in lines(difference) {
                report::line(&format!("  {}", line.replace('\n', "\n  ")));
            }
        }
        report::line(&format!("{} of {count} events differ", found.len()));
    }
}

/// The kinds of storm control that the flow has.
fn kinds(flow: &Json) -> Vec<&str> {
    let kinds = flow["storm"].as_array().into_iter().flatten();
    kinds.filter_map(Json::as_str).collect()
}

fn mistaken(mistakes: Vec<Diagnostic>) -> Exit {
    report::mistakes(&mistakes);
    Exit::Configuration
}

fn failed(why: &str) -> Exit {
    report::sentence(why);
    Exit::Failed
}

fn lines(difference: &Difference) -> Vec<String> {
    let arrow = |what: &str, pair: &Option<(String, String)>| {
        let (before, now) = pair.as_ref()?;
        Some(format!("{what}: {before} → {now}"))
    };
    let changes = difference.changes.iter().map(Change::to_string);
    let notes = difference.notes.iter().map(|note| format!("({note})"));
    let filter = arrow("filter", &difference.filter).into_iter();
    let end = arrow("ends", &difference.end).into_iter();
    filter.chain(changes).chain(end).chain(notes).collect()
}

fn row(id: &EventId, difference: &Difference) -> Json {
    let change = |change: &Change| match change {
        Change::Added(now) => json!({ "what": "added", "now": show(now) }),
        Change::Removed(before) => json!({ "what": "removed", "before": show(before) }),
        Change::Changed(before, now) => {
            json!({ "what": "changed", "before": show(before), "now": show(now) })
        }
    };
    let pair = |pair: &Option<(String, String)>| {
        pair.as_ref()
            .map(|(before, now)| json!({ "before": before, "now": now }))
    };
    let changes: Vec<Json> = difference.changes.iter().map(change).collect();
    json!({
        "event": id.to_string(), "filter": pair(&difference.filter), "changes": changes,
        "end": pair(&difference.end), "notes": difference.notes,
    })
}

/// Both versions.
struct Versions {
    old: Script,
    new: Script,
    thinking: Duration,
}

/// Where events are compared.
struct Bench {
    thinkers: Thinkers,
    versions: Arc<Versions>,
    world: Arc<World>,
    flow: String,
    reader: Reader,
}

impl Bench {
    fn compare(&mut self, case: Case) -> Result<Difference, Exit> {
        let case = Arc::new(case);
        loop {
            let (versions, world) = (Arc::clone(&self.versions), Arc::clone(&self.world));
            let (flow, case) = (self.flow.clone(), Arc::clone(&case));
            let compared = self.thinkers.call(move |engine| {
                let comparison = Comparison {
                    engine,
                    flow: &flow,
                    old: &versions.old,
                    new: &versions.new,
                    world: &world,
                    thinking: versions.thinking,
                };
                comparison.of(&case)
            });
            match compared.ok_or(Exit::Bug)? {
                Compared::To(difference) => return Ok(difference),
                Compared::Needs(channel) => self.look_at(&channel)?,
            }
        }
    }

    /// Reads what came into a channel that the script waits for.
    fn look_at(&mut self, channel: &str) -> Result<(), Exit> {
        // What nobody reacts to waits until it is taken, however old it is.
        let since = match self.world.has_flows(channel) {
            true => self.reader.since,
            false => Timestamp::MIN,
        };
        let rows = self.reader.rows(channel, (since, None))?;
        let arrivals = rows.iter().map(arrival).collect::<Result<Vec<_>, _>>();
        let arrivals = arrivals.map_err(|why| failed(&why))?;
        Arc::make_mut(&mut self.world).fill(channel, arrivals);
        Ok(())
    }
}

fn arrival(row: &Json) -> Result<Arrival, String> {
    let event = transcript::event_from_json(&row["event"])?;
    Ok(Arrival {
        at: event.meta.received_at,
        event: Arc::new(event),
        taken: row["taken_by"].as_str().map(str::to_owned),
    })
}

/// Reads records, up to its limits.
struct Reader {
    client: Client,
    since: Timestamp,
    events: usize,
    bytes: usize,
}

impl Reader {
    /// The channel's events with their runs.
    fn cases(&mut self, channel: &str, flow: &str) -> Result<Vec<(Case, Arrival)>, Exit> {
        let rows = self.rows(channel, (self.since, Some(flow)))?;
        let arrivals = rows.iter().map(arrival).collect::<Result<Vec<_>, _>>();
        let arrivals = arrivals.map_err(|why| failed(&why))?;
        let by_number = arrivals
            .iter()
            .map(|arrival| (arrival.event.id.number, &arrival.event));
        let by_number: BTreeMap<u64, &Arc<Event>> = by_number.collect();
        let mut cases = Vec::new();
        for (row, arrival) in rows.iter().zip(&arrivals) {
            let case = Case {
                event: Event::clone(&arrival.event),
                run: self.run(row, &by_number)?,
            };
            cases.push((case, arrival.clone()));
        }
        Ok(cases)
    }

    fn run(
        &self,
        row: &Json,
        events: &BTreeMap<u64, &Arc<Event>>,
    ) -> Result<Option<RealRun>, Exit> {
        let Some(run) = row["run"].as_str() else {
            return Ok(None);
        };
        let journal = transcript::journal_from_json(&row["run"], &row["journal"]);
        let journal = journal.map_err(|why| failed(&why))?;
        let numbers = journal.start().map(|start| start.events.as_slice());
        let own = |number| events.get(number).map(|event| Event::clone(event));
        let began: Option<Vec<Event>> = numbers.unwrap_or_default().iter().map(own).collect();
        let began = match began {
            Some(mut began) => {
                if let Some(start) = journal.start() {
                    start.tell(&mut began);
                }
                began
            }
            // A batch that began before.
            None => {
                let whole = self.client.get(&format!("runs/{}/record", segment(run)))?;
                transcript::from_json(&whole)
                    .map_err(|why| failed(&why))?
                    .events
            }
        };
        Ok(Some((journal, Arc::new(began))))
    }

    /// All rows of a channel since a time, page by page.
    fn rows(
        &mut self,
        channel: &str,
        (since, flow): (Timestamp, Option<&str>),
    ) -> Result<Vec<Json>, Exit> {
        let flow = flow.map_or(String::new(), |flow| format!("&flow={}", segment(flow)));
        let mut rows = Vec::new();
        let mut from = 0;
        loop {
            let path = format!(
                "channels/{}/record?since={}&from={from}{flow}",
                segment(channel),
                segment(&since.to_string())
            );
            let page = self.client.get(&path)?;
            let Some(events) = page["events"].as_array().cloned() else {
                return Err(failed(
                    "the server's answer cannot be read; is it of another version?",
                ));
            };
            self.events += events.len();
            self.bytes += events
                .iter()
                .map(|row| row.to_string().len())
                .sum::<usize>();
            if self.events > REPLAYED_EVENTS_MAX || self.bytes > REPLAYED_BYTES_MAX {
                return Err(failed(&format!(
                    "more than {REPLAYED_EVENTS_MAX} events or 1 GiB to compare; choose a shorter --since"
                )));
            }
            rows.extend(events);
            match page["next"].as_u64() {
                Some(next) => from = next,
                None => return Ok(rows),
            }
        }
    }
}
