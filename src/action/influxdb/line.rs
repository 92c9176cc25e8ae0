//! Lines of line protocol: cut out of a text as InfluxDB cuts them, and looked at just enough to
//! know their time and their names.
//!
//! What else may be wrong with a line is InfluxDB's to say: versions differ in it.

/// Why a line without a time is not written.
pub(super) const NO_TIME: &str =
    "it has no `time`; without one, writing it again would make a second point";

/// A line that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its place in what the script handed over, counted from 1.
    pub(super) number: usize,
    /// Without a newline at its end.
    pub(super) text: String,
}

/// A line that is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) line: Line,
    pub(super) why: String,
}

/// Cuts `text` into lines; their numbers count the lines of the text from 1. Empty lines and
/// comments are none.
pub(super) fn split(text: &str) -> Vec<Result<Line, Dropped>> {
    let mut found = Vec::new();
    let (mut at, mut number) = (0, 1);
    while at < text.len() {
        let rest = &text[at..];
        let scan = Scan::of(rest);
        let whole = &rest[..scan.end];
        let line = Line {
            number,
            text: whole.trim_end_matches('\r').to_owned(),
        };
        number += 1 + whole.matches('\n').count();
        at += scan.end + 1;
        if whole.trim().is_empty() || whole.trim_start().starts_with('#') {
            continue;
        }
        found.push(match scan.complaint() {
            None => Ok(line),
            Some(why) => {
                let why = why.to_owned();
                Err(Dropped { line, why })
            }
        });
    }
    found
}

/// What one line is made of.
#[derive(Debug, Default)]
struct Scan {
    /// Where the line ends: at its newline, or with the text.
    end: usize,
    /// Where the fields begin, once they do.
    fields: Option<usize>,
    /// Where the time begins, once it does.
    time: Option<usize>,
    /// Equals signs and commas among the fields, outside of texts.
    equals: usize,
    commas: usize,
    is_quoted: bool,
    is_spaced: bool,
}

impl Scan {
    /// The first line of `text`. A newline inside a quoted field belongs to the line; a quote that
    /// is never closed ends with its own line, so that it does not swallow those behind it.
    fn of(text: &str) -> Scan {
        let mut scan = Scan::default();
        let bytes = text.as_bytes();
        while let Some(byte) = bytes.get(scan.end) {
            match byte {
                b'\\' if scan.end + 2 < bytes.len() => scan.end += 1,
                b'\n' if !scan.is_quoted => return scan,
                byte => scan.see(*byte),
            }
            scan.end += 1;
        }
        scan.end = bytes.len();
        if scan.is_quoted {
            scan.end = text.find('\n').unwrap_or(bytes.len());
        }
        scan
    }

    fn see(&mut self, byte: u8) {
        match byte {
            _ if self.is_quoted => self.is_quoted = byte != b'"',
            b' ' => self.is_spaced = true,
            _ if self.is_spaced && self.fields.is_none() => self.begin_fields(byte),
            _ if self.is_spaced && self.time.is_none() => self.time = Some(self.end),
            _ if self.fields.is_some() => self.see_field(byte),
            _ => {}
        }
    }

    fn begin_fields(&mut self, byte: u8) {
        self.fields = Some(self.end);
        self.is_spaced = false;
        self.see_field(byte);
    }

    fn see_field(&mut self, byte: u8) {
        match byte {
            b'=' => self.equals += 1,
            b',' => self.commas += 1,
            // a quote opens a text only where a value stands
            b'"' if self.equals > self.commas => self.is_quoted = true,
            _ => {}
        }
    }

    /// Why the line must not be sent.
    fn complaint(&self) -> Option<&'static str> {
        match (self.fields, self.time) {
            _ if self.is_quoted => Some("unbalanced quotes"),
            (None, _) => Some("missing fields"),
            (_, None) => Some(NO_TIME),
            _ => None,
        }
    }
}

/// The names that stand in a line, as people would write them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) measurement: String,
    pub(super) tags: Vec<String>,
    /// With the type that InfluxDB would give each: `float`, `integer`, `string` …
    pub(super) fields: Vec<(String, &'static str)>,
}

/// The names in a line that can be sent.
pub(super) fn names(line: &str) -> Names {
    let scan = Scan::of(line);
    let fields = scan.fields.unwrap_or(line.len());
    let mut head = cut(line[..fields].trim_end(), false).into_iter();
    let body = line[fields..scan.time.unwrap_or(line.len())].trim_end();
    Names {
        measurement: plain(head.next().unwrap_or("")),
        tags: head.map(|pair| plain(key_of(pair).0)).collect(),
        fields: cut(body, true)
            .into_iter()
            .map(key_of)
            .map(|(key, value)| (plain(key), kind(value)))
            .collect(),
    }
}

/// Cuts at commas that are neither escaped nor, where `has_texts`, inside a quoted text.
fn cut(text: &str, has_texts: bool) -> Vec<&str> {
    let (mut parts, mut from, mut at) = (Vec::new(), 0, 0);
    let mut is_quoted = false;
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' if has_texts => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(&text[from..]);
    parts
}

/// The key and the value of a pair, cut at the first equals sign that is not escaped.
fn key_of(pair: &str) -> (&str, &str) {
    let equals = pair
        .match_indices('=')
        .find(|(at, _)| !pair[..*at].ends_with('\\'));
    equals.map_or((pair, ""), |(at, _)| (&pair[..at], &pair[at + 1..]))
}

fn plain(name: &str) -> String {
    name.replace("\\,", ",")
        .replace("\\=", "=")
        .replace("\\ ", " ")
}

fn kind(value: &str) -> &'static str {
    match value.as_bytes() {
        [b'"', ..] => "string",
        [b't' | b'T' | b'f' | b'F', ..] => "boolean",
        [.., b'i'] => "integer",
        [.., b'u'] => "unsigned",
        _ => "float",
    }
}
