//! The management API's answer to "why": what each flow made of an event.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value as Json_;

use super::{Answer, Peer, Server, aside, bad_id, gone};
use crate::event::{EventId, RunId};
use crate::reason;
use crate::settings::Right;
use crate::source::asked::Named;
use crate::state::State;

/// The route.
pub(super) fn router() -> Router<Arc<State>> {
    Router::new().route("/api/v1/events/{id}/explain", get(explain))
}

async fn explain(state: Server, peer: Peer, headers: HeaderMap, id: Named<String>) -> Answer {
    let id: EventId = id.0.parse().map_err(bad_id)?;
    let sees_all = state.admit(peer, &headers, Right::Read, None).is_ok();
    if !sees_all {
        state.admit(peer, &headers, Right::Read, Some(&id.channel))?;
    }
    let (asked, shared) = (id.clone(), Arc::clone(&state));
    let reasons = aside(move || reason::of_event(&shared, &asked)).await?;
    let mut reasons = reasons.ok_or_else(|| gone(&id.to_string()))?;
    // An event may wake runs of other channels, which are not everybody's business.
    if let Some(woke) = reasons["woke"].as_array_mut().filter(|_| !sees_all) {
        woke.retain(|row| is_of(row, &id.channel));
    }
    Ok(Json(reasons))
}

fn is_of(row: &Json_, channel: &str) -> bool {
    let run = row["run"]
        .as_str()
        .and_then(|run| run.parse::<RunId>().ok());
    run.is_some_and(|run| run.event().channel == channel)
}
