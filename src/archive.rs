//! The archive: hands out exact records of runs and events, paged, for `vigie record` and
//! `vigie replay`. All thinking about them is done by whoever asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State as Extracted};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value as Json_, json};

use crate::api::{bad_id, gone, store_failed};
use crate::event::{Event, EventId, RunId};
use crate::recall::decode_bundle;
use crate::settings::Right;
use crate::source::asked::{Named, Wished};
use crate::source::http::Refusal;
use crate::state::State;
use crate::store::Store;
use crate::storm::StormSettings;
use crate::transcript::{bundle_to_json, event_to_json, records_to_json, seen_in};

/// Events that one page looks at.
const PAGE_EVENTS_MAX: usize = 500;
/// Bytes of a page, about; it ends with the event that goes beyond.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

type Answer = Result<Json<Json_>, Refusal>;
type Server = Extracted<Arc<State>>;
type Peer = ConnectInfo<SocketAddr>;

/// The archive's routes.
pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/api/v1/runs/{id}/record", get(run))
        .route("/api/v1/channels/{name}/record", get(channel))
        .route("/api/v1/flows/{name}/record", get(flow))
}

/// A run: its journal, its events, and those that woke it.
async fn run(state: Server, peer: Peer, headers: HeaderMap, Named(id): Named<String>) -> Answer {
    let id: RunId = id.parse().map_err(bad_id)?;
    state.admit(peer, &headers, Right::Read, Some(&id.event().channel))?;
    let conductor = &state.conductor;
    let journal = conductor.journal(&id).map_err(|why| store_failed(&why))?;
    let journal = journal.ok_or_else(|| gone(id.as_str()))?;
    let numbers = journal.start().map(|start| start.events.clone());
    let channel = id.event().channel;
    let own = |number| EventId {
        channel: channel.clone(),
        number,
    };
    let began: Vec<EventId> = numbers.unwrap_or_default().into_iter().map(own).collect();
    let seen: Vec<EventId> = seen_in(&journal).cloned().collect();
    let version = journal.version().unwrap_or_default();
    let bundle = conductor
        .store
        .version(version)
        .map_err(|why| store_failed(&why))?;
    let bundle = bundle.and_then(|bytes| decode_bundle(&bytes).ok());
    Ok(Json(json!({
        "run": id.as_str(),
        "journal": records(&conductor.store, &id)?,
        "events": kept(&conductor.store, &began)?,
        "seen": kept(&conductor.store, &seen)?,
        "script": bundle.map(|bundle| bundle_to_json(&bundle)),
        "now": conductor.clock.now().to_string(),
    })))
}

fn records(store: &Store, run: &RunId) -> Result<Json_, Refusal> {
    let records = store.journal(run).map_err(|why| store_failed(&why))?;
    Ok(records_to_json(&records))
}

fn kept(store: &Store, ids: &[EventId]) -> Result<Vec<Json_>, Refusal> {
    let mut events = Vec::new();
    for id in ids {
        let event = store.event(id).map_err(|why| store_failed(&why))?;
        let event = event.ok_or_else(|| gone(&id.to_string()))?;
        events.push(event_to_json(&event).map_err(|why| store_failed(&why))?);
    }
    Ok(events)
}

/// A page of a channel's events since a time, with the runs of one flow if it is named.
async fn channel(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
    Named(name): Named<String>,
    Wished(query): Wished<BTreeMap<String, String>>,
) -> Answer {
    state.admit(peer, &headers, Right::Read, Some(&name))?;
    let channel = state
        .conductor
        .channels
        .get(&name)
        .ok_or_else(|| gone(&name))?;
    let asked = |key: &str| query.get(key).map(String::as_str);
    let since: Timestamp = match asked("since").map(str::parse).transpose() {
        Ok(since) => since.unwrap_or(Timestamp::MIN),
        Err(_) => return Err(bad_query("`since` must be an RFC 3339 time")),
    };
    let from: u64 = match asked("from").unwrap_or("0").parse() {
        Ok(from) => from,
        Err(_) => return Err(bad_query("`from` must be the number of an event")),
    };
    let store = &state.conductor.store;
    let failed = |why: &dyn std::fmt::Display| store_failed(why);
    let events = store
        .events(&channel.name, from, PAGE_EVENTS_MAX)
        .map_err(|why| failed(&why))?;
    let (mut rows, mut size, mut next) = (Vec::new(), 0, None);
    for event in events {
        next = Some(event.id.number + 1);
        if event.meta.received_at < since {
            continue;
        }
        let row = row(store, &event, asked("flow"))?;
        size += row.to_string().len();
        rows.push(row);
        if size > PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(Json(json!({ "events": rows, "next": next })))
}

fn row(store: &Store, event: &Event, flow: Option<&str>) -> Result<Json_, Refusal> {
    let failed = |why: &dyn std::fmt::Display| store_failed(why);
    let taken = store.taken_by(&event.id).map_err(|why| failed(&why))?;
    let mut row = json!({
        "event": event_to_json(event).map_err(|why| failed(&why))?, "taken_by": taken,
    });
    let Some(flow) = flow else { return Ok(row) };
    let run = RunId::new(&event.id, flow);
    if store.run(&run).map_err(|why| failed(&why))?.is_some() {
        row["run"] = Json_::from(run.as_str());
        row["journal"] = records(store, &run)?;
    }
    Ok(row)
}

/// A flow as it is now: its sources, and which storm control it has.
async fn flow(state: Server, peer: Peer, headers: HeaderMap, Named(name): Named<String>) -> Answer {
    let channel = name.split('/').next().unwrap_or(&name);
    state.admit(peer, &headers, Right::Read, Some(channel))?;
    let flow = state.attendance.flow(&name).ok_or_else(|| gone(&name))?;
    let storm = flow.settings.storm.as_ref();
    Ok(Json(json!({
        "flow": flow.path(),
        "storm": storm.map(StormSettings::kinds).unwrap_or_default(),
        "script": bundle_to_json(flow.script.bundle()),
        "run_seconds_max": flow.settings.run_seconds_max,
        "now": state.conductor.clock.now().to_string(),
    })))
}

fn bad_query(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_query", message)
}
