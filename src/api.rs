//! The management API: what the command line and operators use. All of it under `/api/v1`, paged,
//! JSON; every change leaves an audit line.

mod amend;
mod explain;
mod held;
mod kompira;
mod receive;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State as Extracted};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value as Json_, json};

use crate::access::Person;
use crate::archive;
use crate::event::{EventId, RunId};
use crate::health;
use crate::run::Interrupted;
use crate::settings::Right;
use crate::source::asked::{Named, Wished};
use crate::source::http::{self, Refusal};
use crate::state::State;
use crate::store::{Store, StoreError};
use crate::story::{self, Listed, Page};

/// Rows that one page has at most.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Rows that one page has if nothing is said.
const PAGE_ROWS: usize = 100;
/// Largest body of a management request, in bytes.
const ORDER_BYTES_MAX: usize = 64 * 1024;

type Answer = Result<Json<Json_>, Refusal>;
pub(crate) type Server = Extracted<Arc<State>>;
pub(crate) type Peer = ConnectInfo<SocketAddr>;
type Query = Wished<BTreeMap<String, String>>;

/// Every route of the server: health, the doors, the management.
pub fn router(state: Arc<State>) -> Router {
    let doors = http::router(Arc::clone(&state.door));
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/api/v1/channels", get(channels))
        .route("/api/v1/flows", get(flows))
        .route("/api/v1/sources", get(sources))
        .route("/api/v1/actions", get(actions))
        .route("/api/v1/events/{id}", get(event))
        .route("/api/v1/runs", get(runs))
        .route("/api/v1/runs/{id}", get(run))
        .route("/api/v1/runs/{id}/{verb}", post(change_run))
        .route("/api/v1/dead", get(dead))
        .route("/api/v1/dead/{id}/retry", post(retry))
        .route("/api/v1/{kind}/{name}/pause", post(pause))
        .route("/api/v1/{kind}/{name}/resume", post(resume))
        .route("/api/v1/backup", post(backup))
        .route("/api/v1/audit", get(audit))
        .merge(archive::router())
        .merge(amend::router())
        .merge(explain::router())
        .merge(receive::router())
        .fallback(kompira::door)
        .with_state(state)
        .merge(doors)
        .method_not_allowed_fallback(not_allowed)
}

async fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

async fn not_allowed() -> Refusal {
    let message = "this path does not take this method";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "not_allowed", message)
}

async fn sources(state: Server, peer: Peer, headers: HeaderMap) -> Answer {
    state.admit(peer, &headers, Right::Read, None)?;
    Ok(Json(json!({ "sources": state.doors.lines() })))
}

async fn channels(state: Server, peer: Peer, headers: HeaderMap) -> Answer {
    state.admit(peer, &headers, Right::Read, None)?;
    let flows = state.attendance.lines();
    let rows: Vec<Json_> = state
        .conductor
        .channels
        .all()
        .iter()
        .map(|channel| {
            let settings = channel.settings();
            let counts = state.conductor.store.channel_counts(&channel.name);
            let count = flows
                .iter()
                .filter(|line| line.flow.channel == channel.name)
                .count();
            json!({
                "name": channel.name, "about": settings.about, "alias": settings.alias,
                "waiting": channel.depth(), "kept": counts.kept, "flows": count,
                "dropped": channel.dropped(), "paused": channel.is_paused(),
            })
        })
        .collect();
    Ok(Json(json!({ "channels": rows })))
}

async fn flows(state: Server, peer: Peer, headers: HeaderMap) -> Answer {
    state.admit(peer, &headers, Right::Read, None)?;
    let rows: Vec<Json_> = state
        .attendance
        .lines()
        .iter()
        .map(|line| {
            let tail = state
                .conductor
                .channels
                .get(&line.flow.channel)
                .map_or(0, |channel| channel.tail());
            json!({
                "name": line.flow.path(), "version": line.flow.script.version,
                "behind": tail.saturating_sub(line.next), "paused": line.paused,
                "held": line.weather.held(),
            })
        })
        .collect();
    Ok(Json(json!({ "flows": rows })))
}

async fn actions(state: Server, peer: Peer, headers: HeaderMap) -> Answer {
    state.admit(peer, &headers, Right::Read, None)?;
    Ok(Json(json!({ "actions": story::actions() })))
}

async fn event(state: Server, peer: Peer, headers: HeaderMap, Named(id): Named<String>) -> Answer {
    let id: EventId = id.parse().map_err(bad_id)?;
    state.admit(peer, &headers, Right::Read, Some(&id.channel))?;
    let (name, shared) = (id.to_string(), Arc::clone(&state));
    let story = aside(move || story::of_event(&shared, &id)).await?;
    story.map(Json).ok_or_else(|| gone(&name))
}

async fn run(state: Server, peer: Peer, headers: HeaderMap, Named(id): Named<String>) -> Answer {
    let id: RunId = id.parse().map_err(bad_id)?;
    state.admit(peer, &headers, Right::Read, Some(&id.event().channel))?;
    let (name, shared) = (id.to_string(), Arc::clone(&state.conductor));
    let read = move || {
        let journal = shared.journal(&id)?;
        Ok::<_, Interrupted>(journal.map(|journal| story::of_run(&shared, &journal)))
    };
    aside(read).await?.map(Json).ok_or_else(|| gone(&name))
}

async fn runs(state: Server, peer: Peer, headers: HeaderMap, query: Query) -> Answer {
    state.admit(peer, &headers, Right::Read, None)?;
    let page = page(&query.0)?;
    if page.state.as_deref() == Some("waiting") {
        let listed = story::waiting(&state.conductor, &page);
        return Ok(shown("runs", listed));
    }
    listing(&state, page, ("runs", story::runs)).await
}

async fn dead(state: Server, peer: Peer, headers: HeaderMap, query: Query) -> Answer {
    state.admit(peer, &headers, Right::Read, None)?;
    listing(&state, page(&query.0)?, ("dead", story::dead)).await
}

/// A listing of runs in one order or another.
type List = fn(&Store, &Page) -> Result<Option<Listed>, StoreError>;

/// One page of a listing, under its name.
async fn listing(state: &State, page: Page, (name, list): (&'static str, List)) -> Answer {
    let begin = page.after.clone();
    let store = state.conductor.store.clone();
    let listed = aside(move || list(&store, &page)).await?;
    let listed = listed.ok_or_else(|| gone(begin.as_ref().map_or("", RunId::as_str)))?;
    Ok(shown(name, listed))
}

fn page(query: &BTreeMap<String, String>) -> Result<Page, Refusal> {
    let after = query.get("after").map(|id| id.parse::<RunId>());
    Ok(Page {
        limit: page_rows(query)?,
        after: after.transpose().map_err(bad_id)?,
        state: query.get("state").cloned(),
    })
}

fn shown(name: &str, listed: Listed) -> Json<Json_> {
    let next = listed.next.map(|run| run.as_str().to_owned());
    Json(json!({ name: listed.rows, "next": next }))
}

/// Runs what waits for the disk or for a thinking thread aside, so that no other caller waits.
async fn aside<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Refusal>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let worked = tokio::task::spawn_blocking(work).await;
    worked
        .map_err(|why| store_failed(&why))?
        .map_err(|why| store_failed(&why))
}

async fn retry(state: Server, peer: Peer, headers: HeaderMap, Named(id): Named<String>) -> Answer {
    let id: RunId = id.parse().map_err(bad_id)?;
    let person = state.admit(peer, &headers, Right::Operate, Some(&id.event().channel))?;
    state.retry(&id, &person).await?;
    Ok(Json(json!({ "run": id.as_str() })))
}

async fn change_run(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
    Named((id, verb)): Named<(String, String)>,
) -> Answer {
    let id: RunId = id.parse().map_err(bad_id)?;
    let person = state.admit(peer, &headers, Right::Operate, Some(&id.event().channel))?;
    match verb.as_str() {
        "cancel" => state.cancel(&id, &person).await?,
        "kill" => state.kill(&id, &person).await?,
        _ => {
            let message = format!("`{verb}` is nothing that can be done with a run");
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message));
        }
    }
    Ok(Json(json!({ "run": id.as_str() })))
}

async fn pause(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
    Named((kind, name)): Named<(String, String)>,
) -> Answer {
    set_paused(&state, peer, &headers, (&kind, &name), true).await
}

async fn resume(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
    Named((kind, name)): Named<(String, String)>,
) -> Answer {
    set_paused(&state, peer, &headers, (&kind, &name), false).await
}

async fn set_paused(
    state: &State,
    peer: Peer,
    headers: &HeaderMap,
    (kind, name): (&str, &str),
    paused: bool,
) -> Answer {
    let channel = name.split('/').next().unwrap_or(name);
    let person = state.admit(peer, headers, Right::Operate, Some(channel))?;
    let known = match kind {
        "flows" => state.attendance.flow(name).is_some(),
        "channels" => state.conductor.channels.get(name).is_some(),
        _ => false,
    };
    if !known {
        return Err(gone(name));
    }
    state.pause(kind, name, paused, &person).await?;
    Ok(Json(json!({ "name": name, "paused": paused })))
}

async fn backup(state: Server, peer: Peer, request: Request) -> Answer {
    let person = state.admit(peer, request.headers(), Right::Operate, None)?;
    let body = http::whole(request.into_body(), ORDER_BYTES_MAX).await?;
    let body: Json_ = serde_json::from_slice(&body).unwrap_or_default();
    let file = body["file"].as_str().unwrap_or("");
    let path = std::path::PathBuf::from(file);
    if !path.is_absolute() {
        let message = "give the `file` as an absolute path on the server's host";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_path", message));
    }
    if path.exists() {
        let message = format!("there is a {file} already");
        return Err(Refusal::new(StatusCode::CONFLICT, "exists", message));
    }
    state.note(&person, &format!("backup to {file}")).await?;
    let store = state.conductor.store.clone();
    let summary = aside(move || store.backup(&path)).await?;
    Ok(Json(json!({
        "file": file, "rows": summary.rows, "bodies": summary.bodies, "commit": summary.sequence,
    })))
}

async fn audit(state: Server, peer: Peer, headers: HeaderMap, Wished(query): Query) -> Answer {
    state.admit(peer, &headers, Right::Operate, None)?;
    let limit = page_rows(&query)?;
    let before = query.get("before").and_then(|number| number.parse().ok());
    let store = state.conductor.store.clone();
    let lines = aside(move || store.audit(before, limit)).await?;
    let rows: Vec<Json_> = lines
        .iter()
        .map(|(number, line)| json!({ "number": number, "line": String::from_utf8_lossy(line) }))
        .collect();
    Ok(Json(json!({ "audit": rows })))
}

impl State {
    /// Who asks, if they may.
    pub(crate) fn admit(
        &self,
        ConnectInfo(peer): Peer,
        headers: &HeaderMap,
        right: Right,
        channel: Option<&str>,
    ) -> Result<Person, Refusal> {
        self.door.admit(peer, headers, right, channel)
    }
}

fn page_rows(query: &BTreeMap<String, String>) -> Result<usize, Refusal> {
    let Some(limit) = query.get("limit") else {
        return Ok(PAGE_ROWS);
    };
    match limit.parse() {
        Ok(limit) if (1..=PAGE_ROWS_MAX).contains(&limit) => Ok(limit),
        _ => {
            let message = format!("`limit` must be 1 to {PAGE_ROWS_MAX}");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_query", message))
        }
    }
}

pub(crate) fn bad_id(message: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_id", message)
}

/// Nothing goes by that name.
pub(crate) fn gone(name: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is no `{name}`"),
    )
}

/// The store or the engine did not do it; try again.
pub(crate) fn store_failed(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "store_unavailable",
        why.to_string(),
    )
}
