//! An answer that is an event, which is not to be lost if nobody is there to hear it.
//!
//! Invariant: an event whose answer was not handed to its connection is put back.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use hyper::body::{Body as Streamed, Frame, SizeHint};
use serde_json::{Value as Json_, json};

use crate::event::Event;
use crate::receive::Taken;

/// Where an answer that is the event's body alone says which event it is.
const EVENT_HEADER: HeaderName = HeaderName::from_static("x-vigie-event");

/// An event as callers see it.
pub(super) fn told(event: &Event) -> Json_ {
    json!({
        "id": event.id.to_string(), "body": event.body.to_json(),
        "meta": event.meta_value().to_json(),
    })
}

/// A JSON answer that holds an event until it is handed to the connection.
pub(super) fn answer(taken: Taken, text: String) -> Response {
    let id = taken.event().id.to_string();
    let id: String =
        percent_encoding::utf8_percent_encode(&id, percent_encoding::CONTROLS).to_string();
    let body = Body::new(Held {
        bytes: Some(text.into()),
        taken,
    });
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(EVENT_HEADER, id);
    }
    response
}

/// A body that keeps its event from being put back once it is read.
struct Held {
    bytes: Option<Bytes>,
    taken: Taken,
}

impl Streamed for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.taken.handed_over();
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}
