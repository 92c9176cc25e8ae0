//! What a response's status or a broken connection means for the next attempt.
//!
//! The rule of the design: a refusal (4xx but 408 and 429) ends at once; connection, TLS, timeout,
//! 408, 429 and 5xx mean that the target is away.

use std::error::Error as _;
use std::time::Duration;

use jiff::Timestamp;

use super::policy::Forbidden;
use super::request::{Request, Response};
use crate::action::{Failure, FailureKind};
use crate::clock::Clock;

/// Longest time that a target can ask us to stay away.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The failure of a response whose status is one.
pub fn of_status(request: &Request, response: &Response) -> Failure {
    let status = response.status;
    let place = place(request);
    let excerpt = request.excerpt(response);
    let message = match excerpt.is_empty() {
        true => format!("{place} answered {status}"),
        false => format!("{place} answered {status}: {excerpt}"),
    };
    if !matches!(status, 408 | 429 | 500..) {
        return Failure::refused(message).status(status);
    }
    let retry_after = response
        .headers
        .get("retry-after")
        .and_then(|text| retry_after(text, Clock::system().now()));
    let mut failure = Failure::away(message).status(status);
    failure.kind = FailureKind::Away { retry_after };
    failure.in_doubt = request.is_write() && status >= 500;
    failure
}

/// `Retry-After` as seconds or as an HTTP date (RFC 9110 §10.2.3); a date that is past means now.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new()
                .parse_timestamp(text)
                .ok()?;
            let milliseconds = date.as_millisecond() - now.as_millisecond();
            Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The failure of a request that got no whole response.
pub fn of_error(request: &Request, error: &reqwest::Error) -> Failure {
    if let Some(forbidden) = cause::<Forbidden>(error) {
        return Failure::refused(forbidden.to_string());
    }
    let place = place(request);
    if error.is_builder() {
        return Failure::refused(format!("{place} cannot be asked: {}", reason(error)));
    }
    if error.is_connect() {
        let what = if error.is_dns() {
            "the name cannot be resolved"
        } else {
            "no connection"
        };
        return Failure::away(format!("{place}: {what}: {}", reason(error)));
    }
    let why = match error.is_timeout() {
        true => format!("no answer within {} ms", request.timeout.as_millis()),
        false => format!("the connection broke: {}", reason(error)),
    };
    let failure = Failure::away(request.scrub(format!("{place}: {why}")));
    match request.is_write() {
        true => failure.in_doubt(),
        false => failure,
    }
}

/// The method and the URL without its query, which may hold a key.
pub fn place(request: &Request) -> String {
    let url = request.url.split(['?', '#']).next().unwrap_or("");
    request.scrub(format!("{} {url}", request.method))
}

/// The innermost cause's own words: the outer ones only say "error sending request for url".
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn cause<T: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(found) = source.downcast_ref::<T>() {
            return Some(found);
        }
        next = source.source();
    }
    None
}
