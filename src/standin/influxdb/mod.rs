//! A stand-in for InfluxDB's way in: `/write` of version 1.6, `/api/v2/write` of version 2. Not
//! InfluxDB.
//!
//! Follows the recorded 1.6.7 word by word: what is refused, what is stored beside it, which
//! complaint hides which. A point with the same series and time replaces the older one.

mod line;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

pub use self::line::Field;
use self::line::{Found, parse, split};
use super::server::{Reply, Seen, Server, lock};

/// The database, and the bucket, that there is.
pub const DATABASE: &str = "monitoring";
/// The organisation of version 2.
pub const ORG: &str = "ops";
/// The token of version 2.
pub const TOKEN: &str = "t0k3n-0f-influx-2==";
/// The user of version 1, if it wants one.
pub const USER: &str = "vigie";
/// The user's password.
pub const PASSWORD: &str = "pass:word";
/// The retention policy that every database has.
const POLICY: &str = "autogen";
/// `max-body-size` as it is shipped, in bytes.
const BODY_BYTES_MAX: usize = 25_000_000;

/// A stored point.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its measurement.
    pub measurement: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Its fields.
    pub fields: BTreeMap<String, Field>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One { wants_login: bool },
    Two,
}

/// Measurement, tags and time: points that share them are one.
type Place = (String, BTreeMap<String, String>, i64);

struct State {
    version: Version,
    body_bytes_max: usize,
    points: BTreeMap<Place, BTreeMap<String, Field>>,
    kinds: BTreeMap<(String, String), &'static str>,
}

/// The stand-in; it ends when this is dropped.
pub struct InfluxDb {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl std::ops::Deref for InfluxDb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl InfluxDb {
    /// Starts version 1, which may want [`USER`] and [`PASSWORD`].
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(wants_login: bool) -> io::Result<InfluxDb> {
        InfluxDb::of(Version::One { wants_login }).await
    }

    /// Starts version 2.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start_two() -> io::Result<InfluxDb> {
        InfluxDb::of(Version::Two).await
    }

    async fn of(version: Version) -> io::Result<InfluxDb> {
        let state = Arc::new(Mutex::new(State {
            version,
            body_bytes_max: BODY_BYTES_MAX,
            points: BTreeMap::new(),
            kinds: BTreeMap::new(),
        }));
        let own = Arc::clone(&state);
        let server = Server::start(move |seen| lock(&own).answer(seen)).await?;
        Ok(InfluxDb { server, state })
    }

    /// Takes no larger bodies from now on, in bytes as they are sent.
    pub fn limit(&self, body_bytes_max: usize) {
        lock(&self.state).body_bytes_max = body_bytes_max;
    }

    /// Every point, by series and time.
    pub fn points(&self) -> Vec<Stored> {
        let state = lock(&self.state);
        let stored =
            |((measurement, tags, time), fields): (&Place, &BTreeMap<String, Field>)| Stored {
                measurement: measurement.clone(),
                tags: tags.clone(),
                time: *time,
                fields: fields.clone(),
            };
        state.points.iter().map(stored).collect()
    }
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Reply {
        match (self.version, seen.method.as_str(), seen.path.as_str()) {
            (Version::One { .. }, "POST", "/write") => self.write_one(seen),
            (Version::Two, "POST", "/api/v2/write") => self.write_two(seen),
            (_, _, "/ping") => Reply::empty(204),
            (Version::One { .. }, _, "/write") => plain(405, "Method Not Allowed\n"),
            _ => plain(404, "404 page not found\n"),
        }
    }

    fn write_one(&mut self, seen: &Seen) -> Reply {
        if let Some(complaint) = self.login_complaint(seen) {
            return error(401, complaint);
        }
        if seen.body.len() > self.body_bytes_max {
            return error(413, "Request Entity Too Large");
        }
        match seen.asked("db") {
            None | Some("") => return error(400, "database is required"),
            Some(DATABASE) => {}
            Some(other) => return error(404, &format!("database not found: \"{other}\"")),
        }
        let policy = seen.asked("rp").unwrap_or(POLICY);
        if policy != POLICY {
            return error(500, &format!("retention policy not found: {policy}"));
        }
        if !matches!(
            seen.asked("consistency"),
            None | Some("any" | "one" | "quorum" | "all")
        ) {
            return error(400, "invalid consistency level");
        }
        let Some(text) = text(seen) else {
            return error(400, "unexpected EOF");
        };
        let factor = match seen.asked("precision") {
            Some("u") => 1_000,
            Some("ms") => 1_000_000,
            Some("s") => 1_000_000_000,
            Some("m") => 60_000_000_000,
            Some("h") => 3_600_000_000_000,
            // whatever else it may be counts as nanoseconds
            _ => 1,
        };
        let (good, bad) = sort(&text, factor);
        if good.is_empty() && !bad.is_empty() {
            return error(400, &bad.join("\n"));
        }
        match (self.store(good), bad.is_empty()) {
            (Some(why), _) => error(400, &why),
            (None, false) => error(400, &format!("partial write: {} dropped=0", bad.join("\n"))),
            (None, true) => Reply::empty(204),
        }
    }

    fn write_two(&mut self, seen: &Seen) -> Reply {
        let coded = |status, code: &str, message: &str| {
            Reply::json(status, &json!({ "code": code, "message": message }))
        };
        if seen.header("authorization") != Some(&format!("Token {TOKEN}")) {
            return coded(401, "unauthorized", "unauthorized access");
        }
        if seen.asked("org") != Some(ORG) {
            return coded(404, "not found", "organization name not found");
        }
        if seen.asked("bucket") != Some(DATABASE) {
            let bucket = seen.asked("bucket").unwrap_or("");
            return coded(404, "not found", &format!("bucket \"{bucket}\" not found"));
        }
        if seen.body.len() > self.body_bytes_max {
            return coded(
                413,
                "request too large",
                "unable to read data: points batch is too large",
            );
        }
        let factor = match seen.asked("precision") {
            None | Some("ns") => 1,
            Some("us") => 1_000,
            Some("ms") => 1_000_000,
            Some("s") => 1_000_000_000,
            _ => {
                return coded(
                    400,
                    "invalid",
                    "invalid precision; valid precision units are ns, us, ms, and s",
                );
            }
        };
        let Some(text) = text(seen) else {
            return coded(400, "invalid", "gzip: invalid header");
        };
        let (good, bad) = sort(&text, factor);
        if !bad.is_empty() {
            return coded(400, "invalid", &bad.join("\n"));
        }
        match self.store(good) {
            Some(why) => {
                let why = format!("failure writing points to database: {why}");
                coded(422, "unprocessable entity", &why)
            }
            None => Reply::empty(204),
        }
    }

    fn login_complaint(&self, seen: &Seen) -> Option<&'static str> {
        if self.version != (Version::One { wants_login: true }) {
            return None;
        }
        let pair = match (seen.asked("u"), seen.asked("p")) {
            (Some(user), Some(password)) => Some(format!("{user}:{password}")),
            _ => seen
                .header("authorization")
                .and_then(|header| header.strip_prefix("Basic "))
                .and_then(|pair| base64::engine::general_purpose::STANDARD.decode(pair).ok())
                .and_then(|pair| String::from_utf8(pair).ok()),
        };
        match pair {
            None => Some("unable to parse authentication credentials"),
            Some(pair) if pair == format!("{USER}:{PASSWORD}") => None,
            Some(_) => Some("authorization failed"),
        }
    }

    /// Stores what can be; the complaint of a partial write, which tells of one reason only.
    fn store(&mut self, found: Vec<Found>) -> Option<String> {
        let (mut dropped, mut reason) = (0, String::new());
        for point in found {
            match self.clash(&point) {
                Some(why) => {
                    dropped += 1;
                    reason = why;
                }
                None => self.keep(point),
            }
        }
        (dropped > 0).then(|| format!("partial write: {reason} dropped={dropped}"))
    }

    fn keep(&mut self, point: Found) {
        for (name, field) in &point.fields {
            let key = (point.measurement.clone(), name.clone());
            self.kinds.entry(key).or_insert(field.kind());
        }
        let tags = point.tags.into_iter().collect();
        let place = (point.measurement, tags, point.time);
        self.points.entry(place).or_default().extend(point.fields);
    }

    fn clash(&self, point: &Found) -> Option<String> {
        let measurement = &point.measurement;
        if point.tags.iter().any(|(key, _)| key == "time") {
            return Some(format!(
                "invalid tag key: input tag \"time\" on measurement {measurement:?} is invalid"
            ));
        }
        if point.fields.contains_key("time") {
            return Some(format!(
                "invalid field name: input field \"time\" on measurement {measurement:?} is invalid"
            ));
        }
        point.fields.iter().find_map(|(name, field)| {
            let known = self.kinds.get(&(measurement.clone(), name.clone()))?;
            let kind = field.kind();
            (*known != kind).then(|| {
                format!("field type conflict: input field {name:?} on measurement {measurement:?} is type {kind}, already exists as type {known}")
            })
        })
    }
}

/// The body as text, unpacked.
fn text(seen: &Seen) -> Option<String> {
    let mut body = seen.body.clone();
    if seen.header("content-encoding") == Some("gzip") {
        body.clear();
        GzDecoder::new(seen.body.as_slice())
            .read_to_end(&mut body)
            .ok()?;
    }
    String::from_utf8(body).ok()
}

/// The points that can be read, and a complaint for each line that cannot.
fn sort(text: &str, factor: i64) -> (Vec<Found>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for line in split(text) {
        match parse(line, factor) {
            Ok(point) => good.push(point),
            Err(why) => bad.push(format!("unable to parse '{line}': {why}")),
        }
    }
    (good, bad)
}

/// As version 1 complains: in the body, and in a header on one line.
fn error(status: u16, why: &str) -> Reply {
    let shown = |char: char| if matches!(char, ' '..='~') { char } else { ' ' };
    let header: String = why.chars().map(shown).collect();
    let mut reply = Reply::json(status, &Value::Null).with("x-influxdb-error", &header);
    reply.body = format!("{}\n", json!({ "error": why })).into_bytes();
    reply
}

fn plain(status: u16, text: &str) -> Reply {
    let mut reply = Reply::empty(status).with("content-type", "text/plain; charset=utf-8");
    reply.body = text.as_bytes().to_vec();
    reply
}
