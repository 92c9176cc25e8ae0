//! What monitors ask this server: whether it lives, whether it is ready, what it counted.

use std::sync::atomic::Ordering;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::{Peer, Server};
use crate::metrics::in_channel;
use crate::settings::Right;
use crate::source::http::Refusal;

/// The process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 once the store, the flows and all doors are up; this answers only when the first two are. 503
/// also once damage was found in the store.
pub(crate) async fn ready(state: Server) -> (StatusCode, String) {
    let mut reasons = Vec::new();
    let missing = state.doors.not_up();
    if !missing.is_empty() {
        reasons.push(format!("these sources are not up: {}", missing.join(", ")));
    }
    if let Some(problems) = state.damage.get() {
        let text = format!("the store is damaged ({problems} problems), see the log");
        reasons.push(text);
    }
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let text = format!("not ready: {}\n", reasons.join("; "));
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Everything that is counted, for a scraper.
pub(crate) async fn metrics(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    state.admit(peer, &headers, Right::Read, None)?;
    let metrics = &state.conductor.metrics;
    for channel in state.conductor.channels.all() {
        let label = in_channel(&channel.name);
        metrics
            .depth
            .get_or_create(&label)
            .set(i64::try_from(channel.depth()).unwrap_or(i64::MAX));
        metrics
            .dropped
            .get_or_create(&label)
            .set(i64::try_from(channel.dropped()).unwrap_or(i64::MAX));
    }
    let leaked = i64::try_from(crate::leak::total()).unwrap_or(i64::MAX);
    metrics.leaked.set(leaked);
    let counters = state.conductor.store.counters();
    metrics.store_shrank(
        counters.compactions.load(Ordering::Relaxed),
        counters.bytes_given_back.load(Ordering::Relaxed),
    );
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let flows = state.attendance.lines();
    let flows = flows
        .iter()
        .map(|line| (line.flow.path(), line.weather.counts()));
    Ok(([(header::CONTENT_TYPE, kind)], metrics.text(flows)).into_response())
}
