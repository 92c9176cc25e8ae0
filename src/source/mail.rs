//! Mail as an event: RFC 5322 bytes to the keys that Kompira's `mail_parse` gives, and some more.
//!
//! Pure and total: any bytes give an event, and whatever a limit cuts off is still in `raw`.

pub mod body;
pub mod field;
pub mod header;
pub mod tree;
pub mod word;

use std::collections::BTreeMap;

use bytes::Bytes;
use mail_parser::decoders::html::html_to_text;

use crate::event::{Incoming, Meta, Value};
use header::Headers;
use tree::{Content, Part, Walk};

/// Largest mail that is taken apart; of a larger one only the headers are read.
pub const MAIL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Largest HTML, in bytes, that is turned into text when a mail has no plain text.
pub const HTML_BYTES_MAX: usize = 1024 * 1024;

/// A mail taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    /// The event's body; see [`decode`].
    pub body: Value,
    /// What a limit cut off or what could not be decoded, in words; empty if all went well.
    pub notes: Vec<String>,
}

/// A mail as an event. An mbox `From ` line before it is skipped.
///
/// The body is a map: every header by its name in the sender's case (the first of repeated ones
/// stands), encoded words decoded, folded lines joined by a single space; `Is-Multipart`; `Body`
/// (text for `text/*`, bytes for anything else, for a multipart the list of its parts as maps of
/// the same shape, for an enclosed mail a list of one); `Filename` unless it is a multipart.
/// These are the keys of Kompira's `mail_parse`. Besides, on the mail itself: `text` (all plain
/// text that is no attachment, or the HTML turned into text), `html` (nothing if there is none),
/// `attachments` (a list of maps: `filename type size bytes`) and `raw` (the exact bytes).
///
/// Limits: [`MAIL_BYTES_MAX`], [`tree::DEPTH_MAX`], [`tree::PARTS_MAX`], [`header::HEADERS_MAX`];
/// beyond one the rest is kept as bytes, and `meta.decode_note` says so. With `recipient` in
/// `meta.extra`, the Message-ID and it together become the message id.
pub fn decode(bytes: &[u8], mut meta: Meta) -> Incoming {
    let mail = parse(bytes);
    if !mail.notes.is_empty() {
        let note = Value::Text(mail.notes.join("; "));
        meta.extra.insert("decode_note".to_owned(), note);
    }
    if meta.message_id.is_none() {
        meta.message_id = message_id(&mail.body, &meta);
    }
    Incoming {
        body: mail.body,
        meta,
    }
}

/// The same for bytes alone.
pub fn parse(bytes: &[u8]) -> Mail {
    read(bytes, false)
}

/// The same for a mail that somebody has decoded to text already: characters beyond ASCII mean
/// themselves, whatever the mail declares.
pub fn parse_text(text: &str) -> Mail {
    read(text.as_bytes(), true)
}

/// The header `name` of a mail event, or of one of its parts, whatever case its sender used.
pub fn header<'a>(mail: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a Value> {
    mail.get(name).or_else(|| {
        let same = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
        mail.iter().find(same).map(|(_, value)| value)
    })
}

fn read(bytes: &[u8], is_decoded: bool) -> Mail {
    // Parts that stand in it as they are share its bytes.
    let raw = Bytes::copy_from_slice(bytes);
    let mut walk = Walk::new(is_decoded);
    let mail = &raw.slice_ref(tree::without_mbox_line(&raw));
    let part = match mail.len() > MAIL_BYTES_MAX {
        true => unread(mail, &mut walk),
        false => walk.part(mail, 0, "text/plain"),
    };
    let shown = Shown::of(&part);
    let mut map = fields(part);
    map.insert("text".to_owned(), Value::Text(shown.text));
    map.insert("html".to_owned(), shown.html.into());
    map.insert("attachments".to_owned(), Value::List(shown.attachments));
    map.insert("raw".to_owned(), Value::from(raw));
    Mail {
        body: Value::Map(map),
        notes: walk.notes,
    }
}

/// A mail too large to take apart: its headers, and its body as bytes.
fn unread(bytes: &Bytes, walk: &mut Walk) -> Part {
    walk.notes.push(format!(
        "the mail is larger than {MAIL_BYTES_MAX} bytes; its body is kept as bytes"
    ));
    let split = header::split(bytes);
    Part {
        headers: split.headers,
        kind: String::new(),
        filename: None,
        is_attachment: false,
        content: Content::Bytes(bytes.slice_ref(split.body)),
    }
}

fn message_id(mail: &Value, meta: &Meta) -> Option<String> {
    let find = |name: &str| meta.extra.get(name)?.as_text();
    let recipient = find("recipient").filter(|text| !text.is_empty())?;
    let id = header(mail.as_map()?, "message-id")?.as_text()?.trim();
    (!id.is_empty()).then(|| format!("{id} {recipient}"))
}

/// A part as a map with Kompira's keys. A header that has one of their names loses to them.
fn fields(part: Part) -> BTreeMap<String, Value> {
    let mut map = header_values(&part.headers);
    let is_multipart = matches!(part.content, Content::Parts(..));
    map.insert("Is-Multipart".to_owned(), is_multipart.into());
    map.remove("Filename");
    if !is_multipart {
        map.insert("Filename".to_owned(), part.filename.into());
    }
    let body = match part.content {
        Content::Text(text, _) => Value::Text(text),
        Content::Bytes(bytes) => Value::from(bytes),
        Content::Parts(parts, _) => Value::List(
            parts
                .into_iter()
                .map(|part| Value::Map(fields(part)))
                .collect(),
        ),
    };
    map.insert("Body".to_owned(), body);
    map
}

fn header_values(headers: &Headers) -> BTreeMap<String, Value> {
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    let mut map = BTreeMap::new();
    for header in &headers.0 {
        let value = *first
            .entry(header.name.to_ascii_lowercase())
            .or_insert(&header.value);
        map.insert(header.name.clone(), value.into());
    }
    map
}

/// What a mail program would show.
#[derive(Default)]
struct Shown {
    text: String,
    html: Option<String>,
    attachments: Vec<Value>,
}

impl Shown {
    fn of(part: &Part) -> Shown {
        let mut shown = Shown::default();
        let mut texts = Vec::new();
        shown.collect(part, &mut texts);
        shown.text = texts.join("\n");
        if let (true, Some(html)) = (texts.is_empty(), &shown.html) {
            let end = html.len().min(HTML_BYTES_MAX);
            let end = (0..=end).rev().find(|end| html.is_char_boundary(*end));
            shown.text = html_to_text(&html[..end.unwrap_or(0)]);
        }
        shown
    }

    fn collect<'a>(&mut self, part: &'a Part, texts: &mut Vec<&'a str>) {
        let is_inline = !part.is_attachment && part.filename.is_none();
        match &part.content {
            Content::Parts(_, Some(bytes)) => self.attach(part, bytes),
            Content::Parts(parts, None) => {
                parts.iter().for_each(|part| self.collect(part, texts));
            }
            Content::Text(text, _) if is_inline && part.kind == "text/html" => {
                self.html.get_or_insert_with(|| text.clone());
            }
            Content::Text(text, _) if is_inline && is_plain(&part.kind) => texts.push(text),
            Content::Text(_, bytes) => self.attach(part, bytes),
            // of a mail too large to take apart nobody knows what it holds
            Content::Bytes(_) if part.kind.is_empty() => {}
            Content::Bytes(bytes) => self.attach(part, bytes),
        }
    }

    fn attach(&mut self, part: &Part, bytes: &Bytes) {
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.attachments.push(Value::from([
            ("filename", part.filename.clone().into()),
            ("type", part.kind.as_str().into()),
            ("size", size.into()),
            ("bytes", Value::from(bytes.clone())),
        ]));
    }
}

/// A multipart without parts is shown as text too.
fn is_plain(kind: &str) -> bool {
    kind == "text/plain" || kind.starts_with("multipart/")
}
