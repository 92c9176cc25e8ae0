//! The parts of a mail: multiparts and enclosed mails taken apart, within limits.
//!
//! Beyond a limit the rest is kept as bytes of the part that holds it, with a note; the recursion
//! is bounded, so that no mail can overflow a stack.

use bytes::Bytes;

use super::body;
use super::field::{self, Field};
use super::header::{self, Headers};

/// How deep multiparts and enclosed mails may stand inside one another.
pub const DEPTH_MAX: usize = 20;
/// Most parts of one mail that are taken apart.
pub const PARTS_MAX: usize = 200;

/// A mail, or a part of one.
#[derive(Debug)]
pub struct Part {
    /// Its headers.
    pub headers: Headers,
    /// Its media type in lower case, `text/plain` if it names none.
    pub kind: String,
    /// The name that its sender gave it.
    pub filename: Option<String>,
    /// True if it asks to be shown as an attachment.
    pub is_attachment: bool,
    /// What it holds.
    pub content: Content,
}

/// What a part holds.
#[derive(Debug)]
pub enum Content {
    /// Text, with the bytes before the character set was decoded.
    Text(String, Bytes),
    /// Anything else.
    Bytes(Bytes),
    /// Further parts; for an enclosed mail one, with the bytes it was read from.
    Parts(Vec<Part>, Option<Bytes>),
}

/// Takes a mail apart.
#[derive(Debug, Default)]
pub struct Walk {
    is_decoded: bool,
    /// What was cut off or could not be decoded, in words.
    pub notes: Vec<String>,
    parts: usize,
}

impl Walk {
    /// A walk that has not begun. `is_decoded` says that the bytes are text that somebody has
    /// decoded already, so that a declared character set tells nothing about characters beyond
    /// ASCII.
    pub fn new(is_decoded: bool) -> Walk {
        Walk {
            is_decoded,
            ..Walk::default()
        }
    }

    /// The part in `bytes`, standing `depth` deep; `default` is its type if it names none.
    pub fn part(&mut self, bytes: &Bytes, depth: usize, default: &str) -> Part {
        self.parts += 1;
        let split = header::split(bytes);
        if split.is_cut {
            self.note(format!(
                "a part has more than {} headers; the others are in `raw` alone",
                header::HEADERS_MAX
            ));
        }
        let headers = split.headers;
        let kind = kind(&headers, default);
        let disposition = field::parse(headers.get("content-disposition").unwrap_or(""));
        let filename = disposition.get("filename").or_else(|| kind.get("name"));
        let content = self.content(&headers, &kind, (&bytes.slice_ref(split.body), depth));
        Part {
            kind: kind.value,
            filename: filename.filter(|name| !name.is_empty()),
            is_attachment: disposition.value == "attachment",
            headers,
            content,
        }
    }

    fn content(&mut self, headers: &Headers, kind: &Field, at: (&Bytes, usize)) -> Content {
        let (bytes, depth) = at;
        let is_nest = kind.value.starts_with("multipart/") || kind.value.starts_with("message/");
        if !is_nest {
            return self.leaf(headers, kind, bytes);
        }
        if depth >= DEPTH_MAX {
            self.note(format!(
                "parts stand more than {DEPTH_MAX} deep; the deeper ones are kept as bytes"
            ));
            return Content::Bytes(bytes.clone());
        }
        match kind.value.as_str() {
            "message/delivery-status" => self.blocks(bytes, depth),
            message if message.starts_with("message/") => self.enclosed(headers, bytes, depth),
            _ => self.multipart(headers, kind, at),
        }
    }

    fn multipart(&mut self, headers: &Headers, kind: &Field, at: (&Bytes, usize)) -> Content {
        let (bytes, depth) = at;
        let boundary = kind.get("boundary").unwrap_or_default();
        let mut ranges = Boundaries::new(bytes, boundary.as_bytes());
        let default = match kind.value.as_str() {
            "multipart/digest" => "message/rfc822",
            _ => "text/plain",
        };
        let mut parts = Vec::new();
        while let Some((start, end)) = ranges.next() {
            if self.parts >= PARTS_MAX {
                parts.push(self.rest(bytes.slice(start..)));
                break;
            }
            parts.push(self.part(&bytes.slice(start..end), depth + 1, default));
        }
        if parts.is_empty() {
            self.note("a multipart has no parts; it is given as one text".to_owned());
            return self.leaf(headers, &kind.renamed("text/plain"), bytes);
        }
        Content::Parts(parts, None)
    }

    fn enclosed(&mut self, headers: &Headers, bytes: &Bytes, depth: usize) -> Content {
        if self.parts >= PARTS_MAX {
            let rest = self.rest(bytes.clone());
            return Content::Parts(vec![rest], Some(bytes.clone()));
        }
        let inner = self.decoded(headers, bytes);
        let mail = inner.slice_ref(without_mbox_line(&inner));
        let part = self.part(&mail, depth + 1, "text/plain");
        Content::Parts(vec![part], Some(inner))
    }

    /// RFC 3464: groups of header lines with empty lines between them.
    fn blocks(&mut self, bytes: &Bytes, depth: usize) -> Content {
        let mut parts = Vec::new();
        let mut rest = bytes.trim_ascii_start();
        while !rest.is_empty() {
            if self.parts >= PARTS_MAX {
                parts.push(self.rest(bytes.slice_ref(rest)));
                break;
            }
            let after = header::split(rest).body;
            let block = &rest[..rest.len() - after.len()];
            if block.is_empty() {
                parts.push(self.rest(bytes.slice_ref(rest)));
                break;
            }
            parts.push(self.part(&bytes.slice_ref(block), depth + 1, "text/plain"));
            rest = after.trim_ascii_start();
        }
        Content::Parts(parts, Some(bytes.clone()))
    }

    fn leaf(&mut self, headers: &Headers, kind: &Field, bytes: &Bytes) -> Content {
        let bytes = self.decoded(headers, bytes);
        if !kind.value.starts_with("text/") {
            return Content::Bytes(bytes);
        }
        let is_read = self.is_decoded && !bytes.is_ascii() && !is_transferred(headers);
        let charset = kind.get("charset").filter(|_| !is_read);
        Content::Text(body::text(&bytes, charset.as_deref()), bytes)
    }

    fn decoded(&mut self, headers: &Headers, bytes: &Bytes) -> Bytes {
        let encoding = transfer_encoding(headers);
        body::transfer(bytes, &encoding).unwrap_or_else(|| {
            self.note(format!(
                "a part says `{encoding}` and is not; it is kept as it came"
            ));
            bytes.clone()
        })
    }

    fn rest(&mut self, bytes: Bytes) -> Part {
        self.note(format!(
            "there are more than {PARTS_MAX} parts; the others are kept as bytes"
        ));
        Part {
            headers: Headers::default(),
            kind: "application/octet-stream".to_owned(),
            filename: None,
            is_attachment: false,
            content: Content::Bytes(bytes),
        }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// The mail without the `From ` line that mbox files and delivery pipes put before it.
pub fn without_mbox_line(bytes: &[u8]) -> &[u8] {
    let is_mark = |line: &[u8]| line.starts_with(b"From ") || line.starts_with(b">From ");
    match header::next_line(bytes) {
        Some((line, rest)) if is_mark(line) && !header::is_header(line) => rest,
        _ => bytes,
    }
}

/// RFC 2045 §5.2: a type that is missing or makes no sense is `text/plain`.
fn kind(headers: &Headers, default: &str) -> Field {
    let named = headers.get("content-type").map(field::parse);
    let is_type = |field: &Field| {
        let (kind, subtype) = field.value.split_once('/').unwrap_or_default();
        !kind.is_empty() && !subtype.is_empty()
    };
    let has_type = named.as_ref().is_some_and(is_type);
    let fallback = if named.is_some() {
        "text/plain"
    } else {
        default
    };
    let mut field = named.unwrap_or_default();
    if !has_type {
        field.value = fallback.to_owned();
    }
    field
}

fn transfer_encoding(headers: &Headers) -> String {
    let named = headers.get("content-transfer-encoding").unwrap_or("");
    let word = named.split([' ', '\t', ';']).next().unwrap_or("");
    word.to_ascii_lowercase()
}

fn is_transferred(headers: &Headers) -> bool {
    body::is_transfer(&transfer_encoding(headers))
}

/// The ranges between the boundary lines of a multipart (RFC 2046 §5.1.1), found one after
/// another, so that a mail of a million parts costs no more than those that are read.
struct Boundaries<'a> {
    bytes: &'a [u8],
    mark: Vec<u8>,
    /// Where the next part begins; `None` before the first boundary and behind the last.
    start: Option<usize>,
}

impl<'a> Boundaries<'a> {
    fn new(bytes: &'a [u8], boundary: &[u8]) -> Boundaries<'a> {
        let mut all = Boundaries {
            bytes,
            mark: [b"--", boundary].concat(),
            start: None,
        };
        if !boundary.is_empty() {
            let first = all.find(0);
            all.start = first.and_then(|line| line.next);
        }
        all
    }

    fn next(&mut self) -> Option<(usize, usize)> {
        let start = self.start?;
        let found = self.find(start);
        self.start = found.as_ref().and_then(|line| line.next);
        let end = found.map_or(self.bytes.len(), |line| line.at);
        let inside = &self.bytes[start..end];
        let inside = inside.strip_suffix(b"\n").unwrap_or(inside);
        let inside = inside.strip_suffix(b"\r").unwrap_or(inside);
        Some((start, start + inside.len()))
    }

    fn find(&self, from: usize) -> Option<BoundaryLine> {
        let mut at = from;
        for line in self.bytes[from..].split_inclusive(|byte| *byte == b'\n') {
            let next = at + line.len();
            if let Some(tail) = line.strip_prefix(self.mark.as_slice()) {
                let (tail, is_last) = match tail.strip_prefix(b"--") {
                    Some(tail) => (tail, true),
                    None => (tail, false),
                };
                if tail.trim_ascii().is_empty() {
                    let next = Some(next).filter(|_| !is_last);
                    return Some(BoundaryLine { at, next });
                }
            }
            at = next;
        }
        None
    }
}

struct BoundaryLine {
    at: usize,
    /// Where the part behind it begins; `None` if it closes the multipart.
    next: Option<usize>,
}
