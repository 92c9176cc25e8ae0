//! Channels as queues for programs: look at what waits, count it, take it, put it back.
//!
//! Invariant: an event is taken on disk before the answer begins, and put back if the connection is
//! gone before the answer is handed to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value as Json_, json};

use super::held::{answer, told};
use super::{Answer, ORDER_BYTES_MAX, PAGE_ROWS_MAX, Peer, Server, aside, bad_id, gone};
use crate::access::Person;
use crate::channel::Channel;
use crate::duration::Lasting;
use crate::event::{EventId, Value};
use crate::receive::{Order, RECEIVE_WAIT_MAX, Received, Taken, caller, is_caller};
use crate::sender::IDEMPOTENCY_HEADER;
use crate::settings::Right;
use crate::source::asked::{Named, Wished};
use crate::source::http::{self, MESSAGE_ID_BYTES_MAX, Refusal};
use crate::state::State;
use crate::store::{Store, StoreError};
use crate::wait::MATCH_FIELDS_MAX;
use crate::want::Want;

/// Events that one look at a channel compares.
const LOOKED_AT_MAX: usize = 10_000;
/// Bytes of what it shows, about; it ends with the event that goes beyond.
const LOOK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What begins the name of a field in a query.
const MATCH: &str = "match.";

type Query = Wished<BTreeMap<String, String>>;

/// The routes.
pub(super) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/api/v1/channels/{name}/receive", post(receive))
        .route("/api/v1/channels/{name}/peek", get(peek))
        .route("/api/v1/channels/{name}/count", get(count))
        .route("/api/v1/events/{id}/take", post(take))
        .route("/api/v1/events/{id}/put_back", post(put_back))
}

async fn receive(
    state: Server,
    peer: Peer,
    Named(name): Named<String>,
    Wished(query): Query,
    request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let (person, channel) = admit(&state, peer, &headers, (Right::Receive, &name))?;
    let body = http::whole(request.into_body(), ORDER_BYTES_MAX).await?;
    let (wait, fields) = wishes(&query, &body)?;
    let order = Order {
        by: by(&person, &headers, &channel)?,
        only: None,
        channel,
        fields,
        wait,
    };
    let channel = Arc::clone(&order.channel);
    let Some(taken) = state.received(order).await? else {
        return Err(match wait.is_zero() {
            true if channel.has_flows() => of_flows(&channel),
            true => nothing(&format!("nothing that fits waits in `{}`", channel.name)),
            false => {
                let (name, wait) = (&channel.name, Lasting(wait).spelled());
                nothing(&format!("nothing that fits came to `{name}` within {wait}"))
            }
        });
    };
    let told = told(taken.event()).to_string();
    Ok(answer(taken, told))
}

async fn take(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
    Named(id): Named<String>,
) -> Result<Response, Refusal> {
    let id: EventId = id.parse().map_err(bad_id)?;
    let (person, channel) = admit(&state, peer, &headers, (Right::Receive, &id.channel))?;
    if channel.has_flows() {
        return Err(of_flows(&channel));
    }
    let order = Order {
        by: by(&person, &headers, &channel)?,
        only: Some(id.clone()),
        channel,
        fields: BTreeMap::new(),
        wait: Duration::ZERO,
    };
    if let Some(taken) = state.received(order).await? {
        let told = told(taken.event()).to_string();
        return Ok(answer(taken, told));
    }
    let store = &state.conductor.store;
    match store.taken_by(&id).map_err(|why| failed(&why))? {
        Some(by) => Err(conflict(
            "taken",
            format!("{id} was taken already, by {by}"),
        )),
        None => Err(gone(&id.to_string())),
    }
}

async fn put_back(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
    Named(id): Named<String>,
) -> Answer {
    let id: EventId = id.parse().map_err(bad_id)?;
    let person = state.admit(peer, &headers, Right::Receive, Some(&id.channel))?;
    let (conductor, store) = (&state.conductor, &state.conductor.store);
    let event = store.event(&id).map_err(|why| failed(&why))?;
    let event = event.ok_or_else(|| gone(&id.to_string()))?;
    let by = store.taken_by(&id).map_err(|why| failed(&why))?;
    let not_taken = || conflict("not_taken", format!("nobody has taken {id}"));
    let by = by.ok_or_else(not_taken)?;
    if !is_caller(&by) {
        let message = format!("{id} is not a caller's to put back: it was taken by {by}");
        return Err(conflict("not_a_callers", message));
    }
    let mut batch = crate::store::Batch::new();
    batch.audit(state.audit_line(&person, &format!("put back {id}, taken by {by}")));
    match conductor.put_back(&event, &by, batch).await {
        Ok(now) => Ok(Json(
            json!({ "event": id.to_string(), "id": now.to_string() }),
        )),
        Err(StoreError::Lost { .. }) => Err(not_taken()),
        Err(why) => Err(failed(&why)),
    }
}

async fn count(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
    Named(name): Named<String>,
) -> Answer {
    let (_, channel) = admit(&state, peer, &headers, (Right::Read, &name))?;
    let counts = state.conductor.store.channel_counts(&channel.name);
    Ok(Json(json!({
        "channel": channel.name, "waiting": channel.depth(), "kept": counts.kept,
        "takers": state.conductor.waits.count_at(&channel.name),
    })))
}

async fn peek(
    state: Server,
    peer: Peer,
    headers: HeaderMap,
    Named(name): Named<String>,
    Wished(query): Query,
) -> Answer {
    let (_, channel) = admit(&state, peer, &headers, (Right::Read, &name))?;
    let limit = number(&query, "limit")?.unwrap_or(1);
    if !(1..=PAGE_ROWS_MAX as u64).contains(&limit) {
        return Err(bad(format!("`limit` must be 1 to {PAGE_ROWS_MAX}")));
    }
    let after = number(&query, "after")?;
    let from = after.map_or(0, |after| after.saturating_add(1));
    let look = Look {
        want: want(&channel.name, fields(&query)?),
        from: from.max(channel.first_waiting()),
        end: channel.tail(),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let store = state.conductor.store.clone();
    let (events, next) = aside(move || look.events(&store)).await?;
    Ok(Json(
        json!({ "channel": channel.name, "events": events, "next": next }),
    ))
}

/// A look at what waits.
struct Look {
    want: Want,
    from: u64,
    end: u64,
    limit: usize,
}

impl Look {
    /// Events, and the number behind which there may be more.
    fn events(&self, store: &Store) -> Result<(Vec<Json_>, Option<u64>), StoreError> {
        let (mut rows, mut size, mut next) = (Vec::new(), 0, self.from);
        for _ in 0..LOOKED_AT_MAX {
            next = store.next_free(&self.want.channel, next)?;
            if next >= self.end {
                return Ok((rows, None));
            }
            let id = EventId {
                channel: self.want.channel.clone(),
                number: next,
            };
            let event = store.event(&id)?;
            if let Some(event) = event.filter(|event| self.want.fits(event)) {
                let row = told(&event);
                size += row.to_string().len();
                rows.push(row);
            }
            if rows.len() >= self.limit || size > LOOK_BYTES_MAX {
                break;
            }
            next += 1;
        }
        Ok((rows, Some(next)))
    }
}

fn want(channel: &str, fields: BTreeMap<String, Value>) -> Want {
    Want {
        which: 0,
        channel: channel.to_owned(),
        fields,
        condition: false,
        listed: false,
        from: 0,
    }
}

/// How long and what for, from the query or a JSON body.
fn wishes(
    query: &BTreeMap<String, String>,
    body: &[u8],
) -> Result<(Duration, BTreeMap<String, Value>), Refusal> {
    let body: Json_ = match body.trim_ascii() {
        b"" => json!({}),
        text => serde_json::from_slice(text)
            .map_err(|why| bad(format!("the body is no JSON: {why}")))?,
    };
    let known = |name: &String| name == "wait" || name == "match";
    let body = body
        .as_object()
        .ok_or_else(|| bad("the body must be an object"))?;
    if let Some(unknown) = body.keys().find(|name| !known(name)) {
        return Err(bad(format!(
            "`{unknown}` is not known; there are `wait` and `match`"
        )));
    }
    let mut fields = fields(query)?;
    match body.get("match").cloned().map(Value::from_json) {
        Some(Value::Map(more)) => fields.extend(more),
        Some(_) => return Err(bad("`match` must be an object of fields")),
        None => {}
    }
    if fields.len() > MATCH_FIELDS_MAX {
        return Err(bad(format!(
            "a match has at most {MATCH_FIELDS_MAX} fields"
        )));
    }
    let wait = match (body.get("wait"), query.get("wait")) {
        (Some(Json_::String(wait)), _) | (None, Some(wait)) => wait.parse().map_err(bad)?,
        (None, None) => Lasting(Duration::ZERO),
        _ => return Err(bad("`wait` must be a duration, as in \"10s\"")),
    };
    if wait.0 > RECEIVE_WAIT_MAX {
        let most = Lasting(RECEIVE_WAIT_MAX).spelled();
        return Err(bad(format!("`wait` is at most {most}; ask again then")));
    }
    Ok((wait.0, fields))
}

/// `match.hostname=web01` of a query; every value is text.
fn fields(query: &BTreeMap<String, String>) -> Result<BTreeMap<String, Value>, Refusal> {
    let own = ["wait", "limit", "after"];
    let mut fields = BTreeMap::new();
    for (name, value) in query {
        match name.strip_prefix(MATCH) {
            Some(field) => drop(fields.insert(field.to_owned(), Value::from(value.as_str()))),
            None if own.contains(&name.as_str()) => {}
            None => return Err(bad(format!("`{name}` is not known; write `{MATCH}{name}`"))),
        }
    }
    Ok(fields)
}

fn number(query: &BTreeMap<String, String>, name: &str) -> Result<Option<u64>, Refusal> {
    let number = query.get(name).map(|number| number.parse());
    let number = number.transpose();
    number.map_err(|_| bad(format!("`{name}` must be a number")))
}

/// Who takes it: with an `Idempotency-Key` the same request is given the same event again.
pub(super) fn by(
    person: &Person,
    headers: &HeaderMap,
    channel: &Channel,
) -> Result<String, Refusal> {
    let key = headers
        .get(IDEMPOTENCY_HEADER)
        .map(HeaderValue::to_str)
        .transpose();
    let key = key.map_err(|_| bad("the Idempotency-Key is not plain text"))?;
    let key = key.filter(|key| !key.is_empty());
    if key.is_some_and(|key| key.len() > MESSAGE_ID_BYTES_MAX) {
        let message = format!("the Idempotency-Key is longer than {MESSAGE_ID_BYTES_MAX} bytes");
        return Err(bad(message));
    }
    Ok(caller(&person.name, &channel.name, key))
}

impl State {
    /// What comes of an order: an event or nothing.
    pub(super) async fn received(&self, order: Order) -> Result<Option<Taken>, Refusal> {
        match self.conductor.receive(order).await {
            Ok(Received::Event(taken)) => Ok(Some(taken)),
            Ok(Received::Nothing) if *self.conductor.stop.borrow() => {
                Err(unavailable("stopping", "the server is stopping"))
            }
            Ok(Received::Nothing) => Ok(None),
            Ok(Received::TooMany) => Err(unavailable(
                "too_many_receivers",
                "too many callers wait already",
            )),
            Err(why) => Err(failed(&why)),
        }
    }
}

/// Who asks, if they may, and the channel that they mean. Who may not is not told whether it is there.
pub(super) fn admit(
    state: &State,
    ConnectInfo(peer): Peer,
    headers: &HeaderMap,
    (right, asked): (Right, &str),
) -> Result<(Person, Arc<Channel>), Refusal> {
    let name = state.door.channel_name(asked);
    let person = state.door.admit(peer, headers, right, Some(&name))?;
    let channel = state.conductor.channels.find(asked);
    Ok((person, channel.ok_or_else(|| gone(asked))?))
}

/// Nothing came in time.
pub(super) fn nothing(message: &str) -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "nothing_came", message)
}

fn of_flows(channel: &Channel) -> Refusal {
    let name = &channel.name;
    let message = format!(
        "flows look at `{name}`: what is there is theirs, and only who waits takes what comes"
    );
    conflict("of_flows", message)
}

fn conflict(code: &'static str, message: String) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, code, message)
}

fn unavailable(code: &'static str, message: &str) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
}

fn failed(why: &StoreError) -> Refusal {
    super::store_failed(why)
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
}
