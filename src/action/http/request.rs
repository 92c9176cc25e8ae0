//! One request and its response, in our own words, so that nobody else needs the HTTP library.
//!
//! Invariant: a [`Request`] has no `Debug`, because it carries secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::Failure;
use crate::secret::{self, Secret};

/// Longest request body, in bytes.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest response body that is read, in bytes, after decompression.
pub const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// How long a request may take as a whole unless it says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest that it may say.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Characters of a response's body that a failure quotes.
const EXCERPT_CHARS_MAX: usize = 500;

/// What to do with a response that points elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// Refuse: a configured endpoint is either right or wrong.
    Refuse,
    /// Follow up to three, each judged like the first URL.
    Follow,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Added to the URL's query, percent-encoded.
    pub query: Vec<(String, String)>,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// Headers whose value is a secret.
    pub secret_headers: Vec<(&'static str, Secret)>,
    /// Texts that must not show in a failure even if the target echoes them.
    pub hidden: Vec<Secret>,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// How long it may take as a whole.
    pub timeout: Duration,
    /// Statuses beyond 2xx and 3xx that are no failure.
    pub accept: Accept,
    /// Redirects.
    pub redirects: Redirects,
    /// True if the URL comes from settings.toml: the address policy is for what flows make up.
    pub trusted: bool,
}

impl Request {
    /// A request with defaults; its URL is one of settings.toml.
    pub fn new(method: &str, url: impl Into<String>) -> Request {
        Request {
            method: method.to_owned(),
            url: url.into(),
            query: Vec::new(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            hidden: Vec::new(),
            body: None,
            timeout: TIMEOUT_DEFAULT,
            accept: Accept::default(),
            redirects: Redirects::Refuse,
            trusted: true,
        }
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(mut self, body: &serde_json::Value) -> Request {
        self.header("content-type", "application/json");
        self.body = Some(body.to_string().into_bytes());
        self
    }

    /// Sets a header unless the caller has.
    pub fn header(&mut self, name: &str, value: &str) {
        let given = |(known, _): &(String, String)| known.eq_ignore_ascii_case(name);
        if !self.headers.iter().any(given) {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    /// True if doing it twice may not be the same as once and never asking changes nothing.
    pub fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// `text` without the secrets that this request carries.
    pub fn scrub(&self, text: String) -> String {
        secret::cover(&secret::forms(self.secrets()), &text)
    }

    /// [`Response::excerpt`] without the secrets that this request carries.
    pub fn excerpt(&self, response: &Response) -> String {
        response.excerpt(self.secrets())
    }

    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let headers = self.secret_headers.iter().map(|(_, secret)| secret);
        self.hidden.iter().chain(headers)
    }
}

/// Statuses that are no failure: `409`, `"409"` or a whole class as `"4xx"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    single: Vec<u16>,
    hundreds: Vec<u16>,
}

impl Accept {
    /// Exactly these statuses.
    pub fn only(statuses: &[u16]) -> Accept {
        Accept {
            single: statuses.to_vec(),
            hundreds: Vec::new(),
        }
    }

    /// Adds one entry as people write it.
    ///
    /// # Errors
    /// Refuses what is neither a status from 100 to 599 nor a class such as `"4xx"`.
    pub fn add(&mut self, entry: &str) -> Result<(), Failure> {
        let wrong = || Failure::refused(format!("`accept` has \"{entry}\", which is no status"));
        if let Some(class) = entry.strip_suffix("xx") {
            let class: u16 = class.parse().map_err(|_| wrong())?;
            self.hundreds.push(class);
            return if (1..=5).contains(&class) {
                Ok(())
            } else {
                Err(wrong())
            };
        }
        let status: u16 = entry.parse().map_err(|_| wrong())?;
        self.single.push(status);
        if (100..600).contains(&status) {
            Ok(())
        } else {
            Err(wrong())
        }
    }

    /// True if `status` is among them.
    pub fn has(&self, status: u16) -> bool {
        self.single.contains(&status) || self.hundreds.contains(&(status / 100))
    }
}

/// A response that is no failure.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case; several of one name joined with `, `.
    pub headers: BTreeMap<String, String>,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON, `None` if it is none.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text if its bytes are text in the charset that the response names (else UTF-8).
    pub fn text(&self) -> Option<String> {
        let kind = self.headers.get("content-type").map_or("", String::as_str);
        let label = kind
            .split(';')
            .filter_map(|part| part.trim().strip_prefix("charset="))
            .next()
            .unwrap_or("utf-8");
        let encoding = encoding_rs::Encoding::for_label(label.trim_matches('"').as_bytes())
            .unwrap_or(encoding_rs::UTF_8);
        encoding
            .decode_without_bom_handling_and_without_replacement(&self.body)
            .map(std::borrow::Cow::into_owned)
    }

    /// The beginning of the body on one line, for a failure's message. The secrets are covered before
    /// it is cut: half of one would not be known any more.
    pub fn excerpt<'a>(&self, hidden: impl Iterator<Item = &'a Secret>) -> String {
        let text = secret::cover(&secret::forms(hidden), &String::from_utf8_lossy(&self.body));
        let flat: String = text
            .trim()
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char })
            .collect();
        crate::action::arguments::shorten(&flat, EXCERPT_CHARS_MAX)
    }
}
