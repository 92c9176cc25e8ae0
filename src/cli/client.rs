//! Talks to the running server's management API.

use std::time::Duration;

use serde_json::Value as Json;
use ureq::Agent;

use super::{Common, report};
use crate::config::House;
use crate::error::Exit;
use crate::secret::Secret;
use crate::sender::{IDEMPOTENCY_HEADER, Patience, Security, Server, agent};

/// How long a listing may take; a backup of a large store takes long.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(600);

/// Bytes of one answer; a run's whole journal is the largest.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A server to ask.
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: Option<Secret>,
}

/// Why there is no answer to use.
pub(super) struct Trouble {
    exit: Exit,
    /// A sentence.
    pub(super) message: String,
    is_broken_off: bool,
}

impl Trouble {
    /// Tells the user.
    pub(super) fn say(self) -> Exit {
        report::sentence(&self.message);
        self.exit
    }

    /// How the verb ends because of it.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// True if nobody knows whether the server did what was asked.
    pub(super) fn is_broken_off(&self) -> bool {
        self.is_broken_off
    }
}

impl Client {
    /// The server that options, environment and settings name.
    ///
    /// # Errors
    /// The exit to end with; the sentence has been printed.
    pub(super) fn find(common: &Common) -> Result<Client, Exit> {
        Client::look(common).map_err(|why| {
            report::sentence(&why);
            Exit::Configuration
        })
    }

    fn look(common: &Common) -> Result<Client, String> {
        let named = common
            .server
            .clone()
            .or_else(|| std::env::var("VIGIE_SERVER").ok());
        let url = match named.filter(|url| !url.is_empty()) {
            Some(url) => url,
            None => own_url(common)?,
        };
        let file = common
            .token_file
            .clone()
            .or_else(|| std::env::var_os("VIGIE_TOKEN_FILE").map(Into::into));
        let token = file.map(|file| Secret::read(&file)).transpose()?;
        let mut client = Client::at(&url)?;
        client.authorization = token.map(|token| Secret::new(format!("Bearer {}", token.expose())));
        Ok(client)
    }

    /// The server at `url`, asked without a token.
    ///
    /// # Errors
    /// A sentence: the URL cannot be used.
    pub(super) fn at(url: &str) -> Result<Client, String> {
        let server = Server::parse(url, None)?;
        let patience = Patience {
            answer: ANSWER_SECONDS_MAX,
            ..Patience::once()
        };
        Ok(Client {
            agent: agent(&server, &Security::default(), &patience)?,
            base: server.base().to_owned(),
            authorization: None,
        })
    }

    /// GET `path` under `/api/v1`.
    ///
    /// # Errors
    /// The exit to end with; the sentence has been printed.
    pub(super) fn get(&self, path: &str) -> Result<Json, Exit> {
        self.look_up(path).map_err(Trouble::say)
    }

    /// The same without a word to the user.
    pub(super) fn look_up(&self, path: &str) -> Result<Json, Trouble> {
        let mut request = self.agent.get(format!("{}/api/v1/{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.expose());
        }
        self.answer(request.call())
    }

    /// POST `body` to `path` under `/api/v1`.
    ///
    /// # Errors
    /// The exit to end with; the sentence has been printed.
    pub(super) fn post(&self, path: &str, body: &Json) -> Result<Json, Exit> {
        self.hand_in(&format!("/api/v1/{path}"), &body.to_string())
            .map_err(Trouble::say)
    }

    /// POST JSON to any path of the server, without a word to the user.
    pub(super) fn hand_in(&self, path: &str, json: &str) -> Result<Json, Trouble> {
        let url = format!("{}{path}", self.base);
        let mut request = self
            .agent
            .post(url)
            .header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.expose());
        }
        self.answer(request.send(json.as_bytes()))
    }

    /// POST an order that takes something: with the same `key` it takes the same thing.
    pub(super) fn take(&self, path: &str, body: &Json, key: &str) -> Result<Json, Trouble> {
        let url = format!("{}/api/v1/{path}", self.base);
        let request = self.agent.post(url);
        let request = request.header("content-type", "application/json");
        let mut request = request.header(IDEMPOTENCY_HEADER, key);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.expose());
        }
        self.answer(request.send(body.to_string().as_bytes()))
    }

    fn answer(
        &self,
        answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Json, Trouble> {
        let mut response = answered.map_err(|why| Trouble {
            exit: Exit::Unavailable,
            is_broken_off: !was_never_there(&why),
            message: format!("no server at {}: {why}", self.base),
        })?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(|why| Trouble {
            exit: Exit::TryAgain,
            is_broken_off: true,
            message: format!("the answer of {} cannot be read: {why}", self.base),
        })?;
        let json: Json = serde_json::from_str(&text).unwrap_or(Json::Null);
        if (200..300).contains(&status) {
            return Ok(json);
        }
        let message = json["error"]["message"]
            .as_str()
            .map_or_else(|| format!("status {status}"), str::to_owned);
        let exit = match status {
            400 | 404 | 408 | 409 => Exit::Failed,
            401 | 403 => Exit::Configuration,
            _ => Exit::TryAgain,
        };
        Err(Trouble {
            exit,
            message,
            is_broken_off: false,
        })
    }
}

/// True if the server cannot have heard anything.
fn was_never_there(why: &ureq::Error) -> bool {
    match why {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(why) => why.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

/// One path segment, with everything that is not plain percent-encoded.
pub(super) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn own_url(common: &Common) -> Result<String, String> {
    let (settings, _) = House::settings(common.settings.as_deref()).map_err(|mistakes| {
        mistakes
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    })?;
    let scheme = if settings.http.has_tls() {
        "https"
    } else {
        "http"
    };
    let mut listen = settings.http.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.is_ipv4() {
            true => std::net::Ipv4Addr::LOCALHOST.into(),
            false => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("{scheme}://{listen}"))
}
