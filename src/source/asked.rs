//! What a request asks for in its path and its query.
//!
//! Invariant: what cannot be read there is refused in the same form as everything else.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::http::Refusal;

/// The parts of a path that a route names, percent-decoded.
#[derive(Debug)]
pub struct Named<T>(pub T);

/// The pairs of a query.
#[derive(Debug)]
pub struct Wished<T>(pub T);

impl<T: DeserializeOwned> Wished<T> {
    /// The pairs of an address, if they can be read.
    pub(crate) fn of(address: &Uri) -> Option<Wished<T>> {
        let Query(pairs) = Query::try_from_uri(address).ok()?;
        Some(Wished(pairs))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named<T>, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Named(names)),
            Err(why) => Err(bad("bad_path", why.body_text())),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Wished<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Wished<T>, Refusal> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Wished(pairs)),
            Err(why) => Err(bad("bad_query", why.body_text())),
        }
    }
}

fn bad(code: &'static str, why: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, why)
}
