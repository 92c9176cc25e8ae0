//! The doors that Kompira's REST API has at a channel, under its own paths: `POST
//! /system/channels/Alert.send` and `.recv`, and `GET /system/channels/Alert`.
//!
//! Whoever sends there today needs another host name only: the same token headers, the same status
//! codes, errors as `{"detail": …}`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};

use super::held::answer;
use super::receive::{admit, by, nothing};
use super::{ORDER_BYTES_MAX, Peer, Server, unknown};
use crate::receive::{Order, RECEIVE_WAIT_MAX};
use crate::settings::Right;
use crate::source::asked::Wished;
use crate::source::http::{self, Refusal};
use crate::state::State;

/// Every path that is none of ours.
pub(super) async fn door(state: Server, peer: Peer, request: Request) -> Response {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    let path = path.into_owned();
    let knocked = match (request.method(), path.rsplit_once('.')) {
        (&Method::POST, Some((channel, "send"))) => send(&state, peer, channel, request).await,
        (&Method::POST, Some((channel, "recv"))) => recv(&state, peer, channel, request).await,
        (&Method::GET, _) if is_alias(&state, &path) => shown(&state, peer, &path, &request),
        _ => return unknown().await.into_response(),
    };
    knocked.unwrap_or_else(Refusal::detailed)
}

/// Any JSON is one event.
async fn send(
    state: &State,
    peer: Peer,
    channel: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let (door, ConnectInfo(address)) = (&state.door, peer);
    let name = door.channel_name(channel);
    door.admit(address, &headers(&request), Right::Send, Some(&name))?;
    let parcel = http::parcel(door, address, request).await?;
    let event = parcel.open_as_one()?;
    let mut answer = door.take(channel, vec![event]).await?;
    *answer.status_mut() = StatusCode::OK;
    Ok(answer)
}

/// The message alone, or 408.
async fn recv(
    state: &State,
    peer: Peer,
    channel: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let headers = headers(&request);
    let (person, channel) = admit(state, peer, &headers, (Right::Receive, channel))?;
    let body = http::whole(request.into_body(), ORDER_BYTES_MAX).await?;
    let order = Order {
        by: by(&person, &headers, &channel)?,
        only: None,
        channel,
        fields: BTreeMap::new(),
        wait: timeout(&body)?,
    };
    let taken = state.received(order).await?;
    let taken = taken.ok_or_else(|| nothing("nothing came in time"))?;
    let message = taken.event().body.to_json().to_string();
    Ok(answer(taken, message))
}

/// What the object's page shows in numbers.
fn shown(state: &State, peer: Peer, path: &str, request: &Request) -> Result<Response, Refusal> {
    let (_, channel) = admit(state, peer, &headers(request), (Right::Read, path))?;
    let takers = state.conductor.waits.count_at(&channel.name);
    let numbers = json!({ "message_count": channel.depth(), "event_count": takers });
    let object = json!({ "abspath": path, "extra_properties": numbers });
    Ok(axum::Json(object).into_response())
}

fn is_alias(state: &State, path: &str) -> bool {
    let mut all = state.conductor.channels.all().into_iter();
    all.any(|channel| channel.settings().alias.iter().any(|alias| alias == path))
}

/// The headers, with the token in our form that Kompira wants as `Authorization: Token …` or `?token=…`.
fn headers(request: &Request) -> HeaderMap {
    let mut headers = request.headers().clone();
    if let Some(token) = token(request) {
        headers.insert(header::AUTHORIZATION, token);
    }
    headers
}

fn token(request: &Request) -> Option<HeaderValue> {
    let given = request.headers().get(header::AUTHORIZATION);
    let token = match given.and_then(|value| value.to_str().ok()) {
        Some(value) => value.strip_prefix("Token ")?.to_owned(),
        None => {
            let pairs: Wished<BTreeMap<String, String>> = Wished::of(request.uri())?;
            pairs.0.get("token")?.clone()
        }
    };
    HeaderValue::from_str(&format!("Bearer {}", token.trim())).ok()
}

/// `{"timeout": seconds}`; nothing is no time at all.
fn timeout(body: &[u8]) -> Result<Duration, Refusal> {
    let wrong = |message: &str| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message);
    let body: Json = match body.trim_ascii() {
        b"" => Json::Null,
        text => serde_json::from_slice(text).map_err(|_| wrong("the body is no JSON"))?,
    };
    match &body["timeout"] {
        Json::Null => Ok(Duration::ZERO),
        Json::Number(seconds) => {
            let seconds = seconds.as_f64().unwrap_or(0.0).max(0.0);
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(RECEIVE_WAIT_MAX);
            Ok(wait.min(RECEIVE_WAIT_MAX))
        }
        _ => Err(wrong("`timeout` must be a number of seconds")),
    }
}
