//! `http::get post put patch delete request`: any HTTP service, and the one client that all
//! other services go through.
//!
//! Invariant: reqwest is named nowhere but here; see [`client`] for what every request is bound to.

pub mod client;
pub mod failure;
pub mod policy;
pub mod request;
pub mod settings;

use std::collections::BTreeMap;

pub use client::Client;
pub use request::{Accept, Redirects, Request, Response};
pub use settings::{Proxy, Settings};

use super::arguments::{Options, wrong};
use super::{Action, Argument, Call, Failure, Performing, Repeat, Verb};
use crate::event::{VALUE_DEPTH_MAX, Value};

/// The options of every verb.
const OPTIONS: &[&str] = &[
    "json", "form", "body", "headers", "query", "timeout", "accept",
];

/// Headers that belong to the connection, not to a flow.
const OWN_HEADERS: &[&str] = &["host", "content-length", "transfer-encoding", "connection"];

/// `http::*`
pub struct Http;

impl Action for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn about(&self) -> &'static str {
        "asks any HTTP service; 4xx and 5xx are failures unless `accept` lists them"
    }

    fn verbs(&self) -> &'static [Verb] {
        VERBS
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a> {
        Box::pin(async move {
            let request = request(&call)?;
            let response = call.services.http.send(request).await?;
            Ok(outcome(response))
        })
    }
}

const URL: Argument = Argument::required("url", "text");
const MORE: Argument = Argument::optional("options", "map");

const VERBS: &[Verb] = &[
    Verb {
        name: "get",
        arguments: &[URL, MORE],
        about: "reads a URL; options: query, headers, timeout, accept; gives #{ status, headers, body, json }",
        example: r#"let host = http::get("http://cmdb.example/hosts/web01", #{ accept: [404] }).json;"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "post",
        arguments: &[URL, MORE],
        about: "posts json, form or body to a URL; every try carries the same Idempotency-Key",
        example: r#"http::post("https://chat.example/hook", #{ json: #{ text: event.summary } });"#,
        repeat: Repeat::InDoubt,
    },
    Verb {
        name: "put",
        arguments: &[URL, MORE],
        about: "puts json, form or body to a URL",
        example: r#"http::put("http://cmdb.example/hosts/web01", #{ json: #{ state: "down" } });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "patch",
        arguments: &[URL, MORE],
        about: "patches a URL with json, form or body; every try carries the same Idempotency-Key",
        example: r#"http::patch("http://cmdb.example/hosts/web01", #{ json: #{ note: "seen" } });"#,
        repeat: Repeat::InDoubt,
    },
    Verb {
        name: "delete",
        arguments: &[URL, MORE],
        about: "deletes a URL; with accept: [404] something already gone is fine",
        example: r#"http::delete("http://cmdb.example/silences/42", #{ accept: [404] });"#,
        repeat: Repeat::Safe,
    },
    Verb {
        name: "request",
        arguments: &[Argument::required("method", "text"), URL, MORE],
        about: "asks with any other method",
        example: r#"http::request("HEAD", "http://cmdb.example/hosts/web01", #{ accept: [404] });"#,
        repeat: Repeat::InDoubt,
    },
];

/// The request that a call stands for.
fn request(call: &Call<'_>) -> Result<Request, Failure> {
    let (method, at) = match call.verb {
        "request" => (method(call.text(0, "method")?)?, 1),
        verb => (verb.to_ascii_uppercase(), 0),
    };
    let options = Options::new(call.argument(at + 1), OPTIONS)?;
    let mut request = Request::new(&method, call.text(at, "url")?);
    request.trusted = false;
    request.redirects = Redirects::Follow;
    request.hidden = call.hidden.iter().copied().cloned().collect();
    request.headers = pairs(&options, "headers")?;
    request.query = pairs(&options, "query")?;
    request.accept = accept(&options)?;
    check_headers(&request.headers)?;
    bound_time(&mut request, &options)?;
    fill_body(&mut request, &options)?;
    if request.is_write() {
        request.header("idempotency-key", call.key);
    }
    Ok(request)
}

/// `host:port` of a URL that settings name.
///
/// # Errors
/// A sentence about what is no such URL; also one with a password in it.
pub fn peer(url: &str) -> Result<String, String> {
    let wrong = "this is no URL; one begins with http:// or https:// and holds no password";
    client::peer(url).ok_or_else(|| wrong.to_owned())
}

fn method(text: &str) -> Result<String, Failure> {
    let good =
        (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    match good && !text.eq_ignore_ascii_case("CONNECT") {
        true => Ok(text.to_ascii_uppercase()),
        false => Err(Failure::refused(format!("{text:?} is no method"))),
    }
}

/// Looks whether headers can be sent.
///
/// # Errors
/// Refuses the headers of the connection, what is no name, and control characters in a value.
pub fn check_headers(headers: &[(String, String)]) -> Result<(), Failure> {
    for (name, value) in headers {
        client::header_name(name)?;
        client::header_value(name, value)?;
    }
    let own = |name: &str| OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name));
    match headers.iter().find(|(name, _)| own(name)) {
        Some((name, _)) => Err(Failure::refused(format!(
            "the header `{name}` is set by us"
        ))),
        None => Ok(()),
    }
}

fn bound_time(request: &mut Request, options: &Options<'_>) -> Result<(), Failure> {
    let Some(timeout) = options.duration("timeout")? else {
        return Ok(());
    };
    request.timeout = timeout;
    match timeout > request::TIMEOUT_MAX || timeout.is_zero() {
        true => Err(Failure::refused(
            "`timeout` must be more than 0 and at most 5m",
        )),
        false => Ok(()),
    }
}

fn fill_body(request: &mut Request, options: &Options<'_>) -> Result<(), Failure> {
    let given = |name: &&str| options.value(name).is_some();
    if ["json", "form", "body"]
        .iter()
        .filter(|name| given(name))
        .count()
        > 1
    {
        return Err(Failure::refused("give one of `json`, `form` and `body`"));
    }
    if let Some(json) = options.value("json") {
        request.header("content-type", "application/json");
        request.body = Some(json.to_json().to_string().into_bytes());
    }
    if options.value("form").is_some() {
        let pairs = pairs(options, "form")?;
        request.header("content-type", "application/x-www-form-urlencoded");
        request.body = Some(form(&pairs).into_bytes());
    }
    match options.value("body") {
        None => Ok(()),
        Some(Value::Bytes(bytes)) => {
            request.header("content-type", "application/octet-stream");
            request.body = Some(bytes.to_vec());
            Ok(())
        }
        Some(Value::Text(text)) => {
            request.header("content-type", "text/plain; charset=utf-8");
            request.body = Some(text.clone().into_bytes());
            Ok(())
        }
        Some(other) => Err(wrong("body", "text or bytes (or use `json`)", other)),
    }
}

fn form(pairs: &[(String, String)]) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pair = |(name, value): &(String, String)| format!("{}={}", encode(name), encode(value));
    pairs.iter().map(pair).collect::<Vec<String>>().join("&")
}

fn pairs(options: &Options<'_>, name: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    for (key, value) in options.map(name)?.into_iter().flatten() {
        match value {
            Value::List(items) => {
                pairs.extend(items.iter().map(|one| (key.clone(), one.to_plain())))
            }
            Value::Map(_) | Value::Bytes(_) => {
                return Err(wrong(&format!("{name}.{key}"), "text", value));
            }
            plain => pairs.push((key.clone(), plain.to_plain())),
        }
    }
    Ok(pairs)
}

fn accept(options: &Options<'_>) -> Result<Accept, Failure> {
    let mut accept = Accept::default();
    for entry in options.list("accept") {
        match entry {
            Value::Int(_) | Value::Text(_) => accept.add(&entry.to_plain())?,
            other => return Err(wrong("accept", "a list of statuses", other)),
        }
    }
    Ok(accept)
}

/// What a flow gets: `#{ status, headers, body, json }`. The body is text where it is text.
fn outcome(response: Response) -> Value {
    let json = response.json().map(Value::from_json);
    let json = json.filter(|json| json.depth() <= VALUE_DEPTH_MAX);
    let body = match response.text() {
        Some(text) => Value::Text(text),
        None => Value::from(response.body),
    };
    let headers: BTreeMap<String, Value> = response
        .headers
        .into_iter()
        .map(|(name, value)| (name, Value::Text(value)))
        .collect();
    Value::from([
        ("status", Value::Int(i64::from(response.status))),
        ("headers", Value::Map(headers)),
        ("body", body),
        ("json", json.unwrap_or_default()),
    ])
}
