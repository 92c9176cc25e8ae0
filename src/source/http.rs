//! The HTTP door: events and webhooks in, answered only when they are on disk.
//!
//! Invariants: nobody is let in without the right to send; a body is read only up to its limit and
//! for a limited time; a full channel is told as 503, never as 429, because senders such as
//! Alertmanager lose what is answered 4xx.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde_json::json;

use super::asked::Named;
use super::json::JsonError;
use super::parcel::{Parcel, Returned, sender_meta};
use super::webhook::HookError;
use crate::access::{Access, Caller, Denied, Person};
use crate::channel::{Channels, PushError};
use crate::clock::Clock;
use crate::event::{Incoming, Value};
use crate::metrics::{Metrics, in_channel};
use crate::sender::{IDEMPOTENCY_HEADER, META_HEADER, SENT_AT_HEADER};
use crate::sender::{MAIL_BYTES_MAX, SITE_ID_HEADER, SOURCE_HEADER};
use crate::settings::Right;

/// Time in which a whole body must have come.
pub const BODY_SECONDS_MAX: Duration = Duration::from_secs(30);
/// Longest id that a sender may give an event, in bytes.
pub const MESSAGE_ID_BYTES_MAX: usize = 512;
/// What a sender is told to wait when a channel or the store is full, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 5;

/// What the door needs from the server.
pub trait Behind: Send + Sync + 'static {
    /// Where events go.
    fn channels(&self) -> &Channels;
    /// What is counted.
    fn metrics(&self) -> &Metrics;
    /// The time.
    fn clock(&self) -> &Clock;
}

/// The door.
pub struct Door {
    /// The server behind it.
    pub behind: Arc<dyn Behind>,
    /// Who may come in; replaced on reload.
    pub access: RwLock<Arc<Access>>,
    /// Largest event body, in bytes; replaced on reload.
    pub body_bytes_max: AtomicUsize,
}

/// An answer that is not a yes: `{"error":{"code","message"}}`.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal with a word for programs and a sentence for people.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    fn retry_after(mut self, seconds: u64) -> Refusal {
        self.retry_after = Some(seconds);
        self
    }

    /// The same as `{"detail": message}`, for callers that know other servers.
    pub(crate) fn detailed(self) -> Response {
        let detail = axum::Json(json!({ "detail": self.message }));
        let (parts, _) = self.into_response().into_parts();
        let (_, body) = detail.into_response().into_parts();
        let mut response = Response::from_parts(parts, body);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let message = denied.to_string();
        match denied {
            Denied::Unknown => Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message),
            Denied::Forbidden(_) => Refusal::new(StatusCode::FORBIDDEN, "forbidden", message),
            Denied::TooMany(wait) => {
                Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many", message)
                    .retry_after(wait.as_secs() + 1)
            }
        }
    }
}

impl From<PushError> for Refusal {
    fn from(error: PushError) -> Refusal {
        let code = match &error {
            PushError::Full { .. } => "channel_full",
            PushError::Store(crate::store::StoreError::TooLarge { .. }) => {
                return Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    error.to_string(),
                );
            }
            PushError::Store(_) => "store_unavailable",
        };
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string())
            .retry_after(RETRY_AFTER_SECONDS)
    }
}

impl From<Returned> for Refusal {
    fn from(returned: Returned) -> Refusal {
        let (status, code) = match &returned {
            Returned::Hook(HookError::Unknown { .. }) => (StatusCode::NOT_FOUND, "not_found"),
            Returned::Json(JsonError::TooManyEvents | JsonError::TooManyValues) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            _ => (StatusCode::BAD_REQUEST, "bad_event"),
        };
        Refusal::new(status, code, returned.to_string())
    }
}

/// What became of the events of a request.
#[derive(serde::Serialize)]
struct Kept {
    ids: Vec<String>,
}

/// The routes by which events come in.
pub fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/api/v1/channels/{channel}/events", post(events))
        .route("/hooks/{kind}/{channel}", post(hook))
        // The limit depends on the media type, so each handler reads its body itself.
        .layer(DefaultBodyLimit::disable())
        .with_state(door)
}

impl Door {
    /// Lets the sender of a request in.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn admit(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        right: Right,
        channel: Option<&str>,
    ) -> Result<Person, Refusal> {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &header::HeaderValue| value.to_str().ok())
        };
        let caller = Caller {
            address: Some(peer.ip()),
            authorization: text(header::AUTHORIZATION).map(str::to_owned),
            has_origin: headers.contains_key(header::ORIGIN),
            host: text(header::HOST).unwrap_or("").to_owned(),
        };
        let access = Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner));
        Ok(access.admit(&caller, right, channel)?)
    }

    /// Has events kept in the channel that `asked` means.
    ///
    /// # Errors
    /// The refusal to answer with; nothing is kept then.
    pub(crate) async fn take(
        &self,
        asked: &str,
        events: Vec<Incoming>,
    ) -> Result<Response, Refusal> {
        let name = self.behind.channels().find(asked);
        let name = name.map_or(crate::config::UNROUTED.to_owned(), |channel| {
            channel.name.clone()
        });
        let metrics = self.behind.metrics();
        let pushed = self
            .behind
            .channels()
            .push(asked, events)
            .await
            .inspect_err(|_| {
                metrics.refused.get_or_create(&in_channel(&name)).inc();
            })?;
        let new = pushed.iter().filter(|event| !event.duplicate).count() as u64;
        metrics.events.get_or_create(&in_channel(&name)).inc_by(new);
        metrics
            .duplicates
            .get_or_create(&in_channel(&name))
            .inc_by(pushed.len() as u64 - new);
        let ids = pushed.iter().map(|event| event.id.to_string()).collect();
        Ok((StatusCode::ACCEPTED, axum::Json(Kept { ids })).into_response())
    }

    /// The name that a channel's tokens are for: that of the channel that will be used.
    pub(crate) fn channel_name(&self, asked: &str) -> String {
        let channel = self.behind.channels().find(asked);
        channel.map_or_else(
            || crate::config::UNROUTED.to_owned(),
            |channel| channel.name.clone(),
        )
    }
}

async fn events(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Named(asked): Named<String>,
    request: Request,
) -> Result<Response, Refusal> {
    door.admit(
        peer,
        request.headers(),
        Right::Send,
        Some(&door.channel_name(&asked)),
    )?;
    let parcel = parcel(&door, peer, request).await?;
    let events = parcel.open()?;
    door.take(&asked, events).await
}

async fn hook(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Named((kind, asked)): Named<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    door.admit(
        peer,
        request.headers(),
        Right::Send,
        Some(&door.channel_name(&asked)),
    )?;
    let parcel = parcel(&door, peer, request).await?;
    let events = parcel.open_hook(&kind)?;
    door.take(&asked, events).await
}

/// What a request brings.
pub(crate) async fn parcel(
    door: &Door,
    peer: SocketAddr,
    request: Request,
) -> Result<Parcel, Refusal> {
    let (parts, body) = request.into_parts();
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let content_type = text("content-type").unwrap_or_default();
    // A mail carries attachments; its own limit is that of the pipe that reads it.
    let bytes_max = door.body_bytes_max.load(Ordering::Relaxed);
    let limit = match content_type.starts_with("message/rfc822") {
        true => MAIL_BYTES_MAX.max(bytes_max),
        false => bytes_max,
    };
    let body = whole(body, limit).await?;
    let message_id = text(IDEMPOTENCY_HEADER).filter(|id| !id.is_empty());
    if message_id
        .as_ref()
        .is_some_and(|id| id.len() > MESSAGE_ID_BYTES_MAX)
    {
        let message = format!("the Idempotency-Key is longer than {MESSAGE_ID_BYTES_MAX} bytes");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_header", message));
    }
    let mut extra = text(META_HEADER)
        .map(|header| sender_meta(&header))
        .unwrap_or_default();
    for (header, key) in [(SITE_ID_HEADER, "site_id"), (SENT_AT_HEADER, "sent_at")] {
        if let Some(value) = text(header) {
            extra.insert(key.to_owned(), Value::Text(value));
        }
    }
    Ok(Parcel {
        content_type,
        source: text(SOURCE_HEADER).unwrap_or_default(),
        peer: peer.ip().to_canonical().to_string(),
        message_id,
        received_at: door.behind.clock().now(),
        extra,
        body: body.to_vec(),
    })
}

/// The whole body, if it is small enough and comes in time.
pub(crate) async fn whole(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message = format!("the body is larger than {limit} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    // Who says beforehand how much there is hears it beforehand too (`Expect: 100-continue`).
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collected =
        tokio::time::timeout(BODY_SECONDS_MAX, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(why)) if why.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(why)) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad_body",
            format!("the body broke off: {why}"),
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "the body took too long",
        )),
    }
}
