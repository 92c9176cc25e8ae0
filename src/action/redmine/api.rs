//! One exchange with Redmine, its refusals turned into sentences.
//!
//! The key travels in a header, never in a URL.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::Service;
use crate::action::http::{Accept, Client, Request, Response};
use crate::action::{Failure, Services};
use crate::secret::Secret;

/// How long a key that was right is believed to be right still.
const KEY_TRUSTED_FOR: Duration = Duration::from_secs(300);

/// The service with the connection to it.
#[derive(Clone, Copy)]
pub(super) struct Api<'a> {
    pub(super) service: &'a Service,
    http: &'a Client,
}

impl<'a> Api<'a> {
    pub(super) fn new(services: &'a Services) -> Result<Api<'a>, Failure> {
        let service = services.redmine.as_ref();
        Ok(Api {
            service: service.ok_or_else(|| Failure::not_configured("redmine"))?,
            http: &services.http,
        })
    }

    /// Reads; gives nothing for 404.
    pub(super) async fn look(
        &self,
        path: &str,
        query: &[(String, String)],
    ) -> Result<Option<Json>, Failure> {
        let mut request = self.request("GET", path);
        request.query = query.to_vec();
        let response = self.send(request).await?;
        match response.status {
            404 => Ok(None),
            _ => read(path, &response).map(Some),
        }
    }

    /// Reads what must be there.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(String, String)],
    ) -> Result<Json, Failure> {
        self.look(path, query).await?.ok_or_else(|| missing(path))
    }

    /// Writes; gives the answer's JSON, null if it has none.
    pub(super) async fn write(
        &self,
        method: &str,
        path: &str,
        body: &Json,
    ) -> Result<Json, Failure> {
        let request = self.request(method, path).json(body);
        self.settle(path, request).await
    }

    /// Uploads a file and gives its token.
    pub(super) async fn upload(&self, filename: &str, bytes: Vec<u8>) -> Result<Json, Failure> {
        let path = "/uploads.json";
        let mut request = self.request("POST", path);
        request.query = vec![("filename".to_owned(), filename.to_owned())];
        // Any other type is 406 (seen).
        request.header("content-type", "application/octet-stream");
        request.body = Some(bytes);
        self.settle(path, request).await
    }

    /// The number of the key's user. Asked at most every five minutes, because a list asked with a
    /// wrong key is an empty one with status 200 (seen).
    pub(super) async fn user(&self) -> Result<i64, Failure> {
        let lock = &self.service.memory.user;
        let known = *lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, user)) = known.filter(|(when, _)| when.elapsed() < KEY_TRUSTED_FOR) {
            return Ok(user);
        }
        let answer = match self.get("/users/current.json", &[]).await {
            Err(failure) if failure.status == Some(403) => {
                let off = "Redmine's REST API is switched off (Administration, Settings, API)";
                return Err(Failure::refused(off).status(403));
            }
            answer => answer?,
        };
        let user = answer["user"]["id"].as_i64().unwrap_or(0);
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), user));
        Ok(user)
    }

    fn request(&self, method: &str, path: &str) -> Request {
        let mut request = Request::new(method, format!("{}{path}", self.service.endpoint));
        request.timeout = self.service.timeout;
        request.secret_headers = vec![("x-redmine-api-key", self.service.key.clone())];
        request.header("accept", "application/json");
        request.accept = Accept::only(&[401, 403, 404, 422]);
        request
    }

    async fn settle(&self, path: &str, request: Request) -> Result<Json, Failure> {
        let response = self.send(request).await?;
        match response.status {
            404 => Err(missing(path)),
            _ if response.body.is_empty() => Ok(Json::Null),
            _ => read(path, &response),
        }
    }

    async fn send(&self, request: Request) -> Result<Response, Failure> {
        let response = self.http.send(request).await?;
        let why = match response.status {
            401 => {
                // Whoever it was, it is no longer.
                let lock = &self.service.memory.user;
                *lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
                "Redmine does not know this API key; check key_file under [redmine]".to_owned()
            }
            403 => "Redmine does not allow this to the key's user".to_owned(),
            422 => sentences(&response, &self.service.key),
            _ => return Ok(response),
        };
        Err(Failure::refused(why).status(response.status))
    }
}

/// Redmine's own words.
fn sentences(response: &Response, key: &Secret) -> String {
    let body = response.json().unwrap_or_default();
    let errors = body["errors"].as_array();
    let errors: Vec<&str> = errors
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    match errors.is_empty() {
        true => format!(
            "Redmine refused it without a reason: {}",
            response.excerpt(std::iter::once(key))
        ),
        false => errors.join("; "),
    }
}

fn missing(path: &str) -> Failure {
    let name = path.trim_start_matches('/').trim_end_matches(".json");
    let what = match name.strip_prefix("issues/") {
        Some(id) => format!("issue {id} does not exist"),
        None => format!("Redmine has no {name}; is `endpoint` right?"),
    };
    Failure::refused(what).status(404)
}

fn read(path: &str, response: &Response) -> Result<Json, Failure> {
    response.json().ok_or_else(|| {
        let odd = format!("{path} answered no JSON; is `endpoint` a Redmine?");
        Failure::other(odd).status(response.status)
    })
}
