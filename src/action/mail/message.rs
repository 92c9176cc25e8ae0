//! A mail as a flow describes it, checked and put together.
//!
//! Control characters are refused everywhere but in the texts: lettre 0.11 panics on a line break
//! in a display name, and a line break elsewhere would be another header.

use std::collections::BTreeMap;

use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Mailboxes, MultiPart, SinglePart};

use crate::action::arguments::{Options, wrong};
use crate::action::{Call, Failure};
use crate::event::Value;

/// Largest mail, in bytes.
pub const MAIL_BYTES_MAX: usize = 25 * 1024 * 1024;
/// Recipients of one mail at most.
const RECIPIENTS_MAX: usize = 100;
/// The options of `send`.
const SEND: &[&str] = &[
    "to",
    "cc",
    "bcc",
    "subject",
    "text",
    "html",
    "from",
    "reply_to",
    "in_reply_to",
    "headers",
    "attachments",
];
/// Headers that have an option of their own or are ours.
const OWN_HEADERS: &[&str] = &[
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "in-reply-to",
    "references",
    "sender",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "return-path",
    "received",
];

/// A checked mail.
pub(super) struct Mail {
    from: Mailbox,
    to: Mailboxes,
    cc: Mailboxes,
    bcc: Mailboxes,
    reply_to: Mailboxes,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    in_reply_to: Option<String>,
    message_id: String,
    headers: Vec<HeaderValue>,
    files: Vec<Part>,
}

struct Part {
    filename: String,
    kind: ContentType,
    bytes: Vec<u8>,
}

/// A mail ready to be handed over.
pub(super) struct Letter {
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
    message_id: String,
}

impl Letter {
    /// What a flow gets: `#{ message_id, accepted }`.
    pub(super) fn outcome(self) -> Value {
        let text = |address: &lettre::Address| Value::from(address.to_string());
        let accepted = self.envelope.to().iter().map(text).collect();
        Value::from([
            ("message_id", Value::from(self.message_id)),
            ("accepted", Value::List(accepted)),
        ])
    }
}

/// The mail that a call asks for.
///
/// # Errors
/// Refuses what is no address, no header, too many or holds control characters, by name.
pub(super) fn read(call: &Call<'_>, from: &Mailbox) -> Result<Mail, Failure> {
    let options = Options::new(call.argument(0), SEND)?;
    let from = match options.text("from")? {
        Some(text) => mailbox("from", &text)?,
        None => from.clone(),
    };
    let domain = from.email.domain();
    let mail = Mail {
        to: mailboxes(&options, "to")?,
        cc: mailboxes(&options, "cc")?,
        bcc: mailboxes(&options, "bcc")?,
        reply_to: mailboxes(&options, "reply_to")?,
        subject: clean("subject", options.text("subject")?.unwrap_or_default())?,
        text: options.text("text")?,
        html: options.text("html")?,
        in_reply_to: in_reply_to(&options)?,
        message_id: format!("<{}@{domain}>", call.key),
        headers: headers(options.map("headers")?)?,
        files: files(&options)?,
        from,
    };
    let count = [&mail.to, &mail.cc, &mail.bcc]
        .map(|list| list.iter().count())
        .iter()
        .sum();
    match count {
        0 => Err(Failure::refused("`to` is missing or blank")),
        1..=RECIPIENTS_MAX => Ok(mail),
        _ => Err(Failure::refused(format!(
            "more than {RECIPIENTS_MAX} recipients"
        ))),
    }
}

/// One address, with or without a name.
pub(super) fn mailbox(name: &str, text: &str) -> Result<Mailbox, Failure> {
    let text = clean(name, text.to_owned())?;
    text.parse()
        .map_err(|_| Failure::refused(format!("`{name}` has {text:?}, which is no mail address")))
}

fn mailboxes(options: &Options<'_>, name: &str) -> Result<Mailboxes, Failure> {
    let mut all = Mailboxes::new();
    for text in options.texts(name)? {
        let text = clean(name, text.to_owned())?;
        if text.trim().is_empty() {
            continue;
        }
        let wrong =
            |_| Failure::refused(format!("`{name}` has {text:?}, which is no mail address"));
        let some: Mailboxes = text.parse().map_err(wrong)?;
        all.extend(some);
    }
    Ok(all)
}

fn in_reply_to(options: &Options<'_>) -> Result<Option<String>, Failure> {
    let Some(id) = options.text("in_reply_to")? else {
        return Ok(None);
    };
    let id = clean("in_reply_to", id)?;
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    let good = !id.is_empty() && id.is_ascii() && !id.contains([' ', '<', '>']);
    match good {
        true => Ok(Some(format!("<{id}>"))),
        false => Err(Failure::refused("`in_reply_to` is no message id")),
    }
}

fn headers(map: Option<&BTreeMap<String, Value>>) -> Result<Vec<HeaderValue>, Failure> {
    let mut headers = Vec::new();
    for (name, value) in map.into_iter().flatten() {
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(Failure::refused(format!(
                "the header `{name}` is set by us or an option"
            )));
        }
        // The library lets line breaks in a name pass, so the name is checked here.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let header = Some(name.clone()).filter(|name| name.bytes().all(plain));
        let header = header.and_then(|name| HeaderName::new_from_ascii(name).ok());
        let no_name = || Failure::refused(format!("{name:?} is no header name"));
        let header = header.ok_or_else(no_name)?;
        let Some(text) = value.as_text() else {
            return Err(wrong(&format!("headers.{name}"), "text", value));
        };
        headers.push(HeaderValue::new(header, clean(name, text.to_owned())?));
    }
    Ok(headers)
}

fn files(options: &Options<'_>) -> Result<Vec<Part>, Failure> {
    let mut files = Vec::new();
    for item in options.list("attachments") {
        let file = Options::new(item, &["filename", "type", "bytes"])?;
        let kind = file.text("type")?;
        let kind = kind.unwrap_or_else(|| "application/octet-stream".to_owned());
        let wrong_kind =
            |_| Failure::refused(format!("`type` is {kind:?}, which is no media type"));
        files.push(Part {
            filename: clean("filename", file.required_text("filename")?)?,
            kind: ContentType::parse(&clean("type", kind.clone())?).map_err(wrong_kind)?,
            bytes: match file.value("bytes") {
                Some(Value::Bytes(bytes)) => bytes.to_vec(),
                Some(Value::Text(text)) => text.clone().into_bytes(),
                other => {
                    return Err(wrong(
                        "bytes",
                        "bytes or text",
                        other.unwrap_or(&Value::Null),
                    ));
                }
            },
        });
    }
    Ok(files)
}

/// Refuses control characters (C0, DEL, C1) and Unicode's own line separators.
fn clean(name: &str, text: String) -> Result<String, Failure> {
    let bad = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
    match text.chars().any(bad) {
        true => Err(Failure::refused(format!(
            "`{name}` has a control character"
        ))),
        false => Ok(text),
    }
}

impl Mail {
    /// Puts the mail together.
    ///
    /// # Errors
    /// Refuses a mail that is too large or that the library cannot write.
    pub(super) fn build(self) -> Result<Letter, Failure> {
        let mut builder = Message::builder()
            .from(self.from)
            .subject(self.subject)
            .message_id(Some(self.message_id.clone()));
        for to in self.to {
            builder = builder.to(to);
        }
        for cc in self.cc {
            builder = builder.cc(cc);
        }
        for bcc in self.bcc {
            builder = builder.bcc(bcc);
        }
        for reply_to in self.reply_to {
            builder = builder.reply_to(reply_to);
        }
        if let Some(id) = self.in_reply_to {
            builder = builder.in_reply_to(id.clone()).references(id);
        }
        for header in self.headers {
            builder = builder.raw_header(header);
        }
        let content = content(self.text, self.html);
        let built = match (content, self.files.is_empty()) {
            (Content::Single(part), true) => builder.singlepart(part),
            (Content::Multi(parts), true) => builder.multipart(parts),
            (content, false) => builder.multipart(mixed(content, self.files)),
        };
        let message =
            built.map_err(|why| Failure::refused(format!("the mail cannot be built: {why}")))?;
        let bytes = message.formatted();
        match bytes.len() > MAIL_BYTES_MAX {
            true => Err(Failure::refused(format!(
                "the mail is larger than {MAIL_BYTES_MAX} bytes"
            ))),
            false => Ok(Letter {
                envelope: message.envelope().clone(),
                bytes,
                message_id: self.message_id,
            }),
        }
    }
}

enum Content {
    Single(SinglePart),
    Multi(MultiPart),
}

fn content(text: Option<String>, html: Option<String>) -> Content {
    match (text, html) {
        (Some(text), Some(html)) => Content::Multi(MultiPart::alternative_plain_html(text, html)),
        (None, Some(html)) => Content::Single(SinglePart::html(html)),
        (text, None) => Content::Single(SinglePart::plain(text.unwrap_or_default())),
    }
}

fn mixed(content: Content, files: Vec<Part>) -> MultiPart {
    let mixed = match content {
        Content::Single(part) => MultiPart::mixed().singlepart(part),
        Content::Multi(parts) => MultiPart::mixed().multipart(parts),
    };
    files.into_iter().fold(mixed, |mixed, file| {
        mixed.singlepart(Attachment::new(file.filename).body(file.bytes, file.kind))
    })
}
