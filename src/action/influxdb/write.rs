//! Sends lines in pieces, in order, and finds out which of them InfluxDB does not want.
//!
//! What it does not name is looked for by halves: writing a line again changes nothing, so the
//! good lines may be sent as often as it takes.

use std::collections::BTreeSet;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::answer::{Verdict, judge};
use super::line::{Dropped, Line, split};
use super::point::{Odd, Precision, encode};
use super::{Api, Service};
use crate::action::arguments::{Options, shorten, wrong};
use crate::action::http::{Accept, Client, Request};
use crate::action::{Call, Failure};
use crate::event::Value;

/// Lines in one request; what InfluxDB's own advice comes to.
pub const PIECE_LINES_MAX: usize = 5_000;
/// Bytes in one request before compression, far below InfluxDB's own 25,000,000.
pub const PIECE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers that were no plain yes, after which one call looks no further for bad lines.
pub const LOOKS_MAX: usize = 200;
/// Dropped lines that an outcome names; it counts the others.
pub const DROPPED_NAMED_MAX: usize = 300;
/// A smaller body is not worth compressing, in bytes.
const GZIP_BYTES_MIN: usize = 1_024;
/// Characters of a dropped line, and of the reason, that an outcome shows.
const SHOWN_CHARS_MAX: usize = 200;

/// `influxdb::write`
pub(super) async fn write(call: Call<'_>) -> Result<Value, Failure> {
    let service = call.services.influxdb.as_ref();
    let service = service.ok_or_else(|| Failure::not_configured("influxdb"))?;
    let (request, precision) = request(service, call.argument(1))?;
    let mut work = Work {
        http: &call.services.http,
        request,
        written: 0,
        looks: 0,
        dropped: Vec::new(),
    };
    let lines = work.gather(call.argument(0), precision)?;
    for piece in pieces(&lines) {
        work.settle(piece).await?;
    }
    work.outcome()
}

/// The request without its body, from the settings and what this call wants otherwise.
fn request(service: &Service, options: &Value) -> Result<(Request, Precision), Failure> {
    let (path, known): (&str, [(&str, &str, &str); 2]) = match &service.api {
        Api::One {
            database,
            retention_policy,
        } => (
            "/write",
            [
                ("database", "db", database),
                ("retention_policy", "rp", retention_policy),
            ],
        ),
        Api::Two { org, bucket } => (
            "/api/v2/write",
            [("org", "org", org), ("bucket", "bucket", bucket)],
        ),
    };
    let options = Options::new(options, &[known[0].0, known[1].0, "precision"])?;
    let precision = match options.text("precision")? {
        Some(text) => text.parse().map_err(Failure::refused)?,
        None => service.precision,
    };
    let mut request = Request::new("POST", format!("{}{path}", service.endpoint));
    for (name, parameter, default) in known {
        let value = options.text(name)?.unwrap_or_else(|| default.to_owned());
        if !value.is_empty() {
            request.query.push((parameter.to_owned(), value));
        }
    }
    let is_version_one = matches!(service.api, Api::One { .. });
    let word = precision.word(is_version_one).to_owned();
    request.query.push(("precision".to_owned(), word));
    request.header("content-type", "text/plain; charset=utf-8");
    request.header("accept", "application/json");
    request.timeout = service.timeout;
    request.accept = Accept::only(&[400, 401, 403, 404, 413, 422, 500]);
    request.hidden = service.hidden.clone();
    let authorization = service.authorization.iter().cloned();
    request.secret_headers = authorization.map(|it| ("authorization", it)).collect();
    Ok((request, precision))
}

/// Lines in pieces that InfluxDB likes.
fn pieces(lines: &[Line]) -> Vec<Vec<&Line>> {
    let mut pieces: Vec<Vec<&Line>> = Vec::new();
    let mut bytes = 0;
    for line in lines {
        bytes += line.text.len() + 1;
        match pieces.last_mut() {
            Some(piece) if piece.len() < PIECE_LINES_MAX && bytes <= PIECE_BYTES_MAX => {
                piece.push(line);
            }
            _ => {
                bytes = line.text.len() + 1;
                pieces.push(vec![line]);
            }
        }
    }
    pieces
}

/// One call on its way.
struct Work<'a> {
    http: &'a Client,
    request: Request,
    written: usize,
    looks: usize,
    dropped: Vec<Dropped>,
}

impl Work<'_> {
    /// The lines of what the script handed over; those that cannot be written are dropped at once.
    fn gather(&mut self, points: &Value, precision: Precision) -> Result<Vec<Line>, Failure> {
        let mut lines = Vec::new();
        match points {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let number = index + 1;
                    self.take(item, (number, precision), &mut lines)
                        .map_err(|failure| named(number, failure))?;
                }
            }
            Value::Text(text) => self.take_text(text, None, &mut lines),
            one => self.take(one, (1, precision), &mut lines)?,
        }
        Ok(lines)
    }

    fn take(
        &mut self,
        item: &Value,
        (number, precision): (usize, Precision),
        lines: &mut Vec<Line>,
    ) -> Result<(), Failure> {
        match item {
            Value::Text(text) => self.take_text(text, Some(number), lines),
            Value::Map(_) => match encode(item, precision) {
                Ok(text) => lines.push(Line { number, text }),
                Err(Odd::Script(failure)) => return Err(failure),
                Err(Odd::Point(why)) => {
                    let text = item.to_json().to_string();
                    let line = Line { number, text };
                    self.dropped.push(Dropped { line, why });
                }
            },
            other => return Err(wrong("a point", "a map or a line as text", other)),
        }
        Ok(())
    }

    /// Lines of a text; all have the text's own `number` if it is one of several.
    fn take_text(&mut self, text: &str, number: Option<usize>, lines: &mut Vec<Line>) {
        for found in split(text) {
            match found {
                Ok(mut line) => {
                    line.number = number.unwrap_or(line.number);
                    lines.push(line);
                }
                Err(mut dropped) => {
                    dropped.line.number = number.unwrap_or(dropped.line.number);
                    self.dropped.push(dropped);
                }
            }
        }
    }

    /// Writes the good ones of `lines` and drops the others.
    async fn settle(&mut self, lines: Vec<&Line>) -> Result<(), Failure> {
        let mut waiting = vec![lines];
        while let Some(lines) = waiting.pop() {
            match self.send(&lines).await? {
                Verdict::Written => self.written += lines.len(),
                Verdict::Bad(bad) => waiting.extend(self.without(lines, bad)),
                Verdict::Unclear(why) if lines.len() == 1 => self.drop_all(&lines, &why),
                Verdict::Unclear(why) => {
                    self.look(&why)?;
                    let (first, second) = lines.split_at(lines.len() / 2);
                    waiting.push(second.to_vec());
                    waiting.push(first.to_vec());
                }
            }
        }
        Ok(())
    }

    /// Drops the `bad` ones; the others, if there are any. They are sent again even where InfluxDB
    /// has them by now: it says only one thing at a time.
    fn without<'a>(
        &mut self,
        lines: Vec<&'a Line>,
        bad: Vec<(usize, String)>,
    ) -> Option<Vec<&'a Line>> {
        let places: BTreeSet<usize> = bad.iter().map(|(at, _)| *at).collect();
        for (at, why) in bad {
            self.drop_all(&lines[at..=at], &why);
        }
        let rest = lines.into_iter().enumerate();
        let rest: Vec<&Line> = rest
            .filter(|(at, _)| !places.contains(at))
            .map(|(_, line)| line)
            .collect();
        (!rest.is_empty()).then_some(rest)
    }

    fn drop_all(&mut self, lines: &[&Line], why: &str) {
        let dropped = lines.iter().map(|line| Dropped {
            line: (*line).clone(),
            why: why.to_owned(),
        });
        self.dropped.extend(dropped);
    }

    fn look(&mut self, why: &str) -> Result<(), Failure> {
        self.looks += 1;
        match self.looks > LOOKS_MAX {
            false => Ok(()),
            true => Err(Failure::refused(format!(
                "InfluxDB does not want some of the points and does not say which; after {LOOKS_MAX} more requests some were still unknown: {why}"
            ))),
        }
    }

    async fn send(&self, lines: &[&Line]) -> Result<Verdict, Failure> {
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let mut request = self.request.clone();
        let body = texts.join("\n").into_bytes();
        request.body = Some(match body.len() < GZIP_BYTES_MIN {
            true => body,
            false => {
                request.header("content-encoding", "gzip");
                squeezed(&body).map_err(|why| Failure::other(format!("cannot compress: {why}")))?
            }
        });
        let asked = request.clone();
        match self.http.send(request).await {
            Ok(response) => judge(&asked, &response, lines),
            Err(failure) if is_endless(&failure) => Ok(Verdict::Unclear(failure.message)),
            Err(failure) => Err(failure),
        }
    }

    fn outcome(mut self) -> Result<Value, Failure> {
        self.dropped.sort_by_key(|dropped| dropped.line.number);
        if let (0, Some(first)) = (self.written, self.dropped.first()) {
            let (count, number, why) = (self.dropped.len(), first.line.number, &first.why);
            return Err(Failure::refused(format!(
                "none of the {count} points could be written; point {number}: {why}"
            )));
        }
        let short = |text: &str| Value::from(shorten(text, SHOWN_CHARS_MAX));
        let named = self.dropped.iter().take(DROPPED_NAMED_MAX).map(|dropped| {
            Value::from([
                ("line", count(dropped.line.number)),
                ("text", short(&dropped.line.text)),
                ("why", short(&dropped.why)),
            ])
        });
        Ok(Value::from([
            ("written", count(self.written)),
            ("dropped", Value::List(named.collect())),
            ("dropped_count", count(self.dropped.len())),
        ]))
    }
}

fn count(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn named(number: usize, failure: Failure) -> Failure {
    Failure::refused(format!("point {number}: {}", failure.message))
}

fn squeezed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// True for an answer that was too long to be read: InfluxDB 1 quotes every bad line, in the body
/// and once more in a header.
fn is_endless(failure: &Failure) -> bool {
    failure.status == Some(400) || failure.message.ends_with("message head is too large")
}
