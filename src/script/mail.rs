//! Mails in scripts: the same parts whether a mail came by the mail door or as plain bytes.

use rhai::{Dynamic, Engine, ImmutableString, Map, NativeCallContext};

use super::blob::Blob;
use super::convert::to_dynamic;
use super::text::with_bytes;
use super::{Result, Word, Words};
use crate::event::Value;
use crate::source::mail;

/// The key that every mail event has and hardly anything else.
const MAIL_KEY: &str = "Is-Multipart";

/// The theme.
pub struct Mail;

impl Words for Mail {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[
            Word {
                name: "mail_parse",
                arguments: "text, blob or mail event",
                about: "a mail as a map: each header by its name, Body, Is-Multipart, Filename, text, html, attachments, raw; decode_note if something could not be read; a mail event is given back as it is",
                example: r#"mail_parse("Subject: =?UTF-8?B?6Zqc5a6z?=\n\nhello").Subject == "障害""#,
            },
            Word {
                name: "header",
                arguments: "mail, name",
                about: "a header of a mail or of one of its parts, whatever case its sender used; () if it has none",
                example: r#"header(mail_parse("SUBJECT: disk\n\nfull"), "Subject") == "disk""#,
            },
        ];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_fn("mail_parse", parse)
            .register_fn("header", header);
    }
}

fn parse(context: NativeCallContext, value: Dynamic) -> Result {
    let is_mail = |map: &Map| map.contains_key(MAIL_KEY);
    if value.read_lock::<Map>().is_some_and(|map| is_mail(&map)) {
        return Ok(value);
    }
    let is_long_text = value.read_lock::<Blob>().is_some_and(|blob| blob.is_text());
    let is_text = is_long_text || value.read_lock::<ImmutableString>().is_some();
    let mail = with_bytes(&context, &value, |bytes| match std::str::from_utf8(bytes) {
        Ok(text) if is_text => mail::parse_text(text),
        _ => mail::parse(bytes),
    })?;
    let mut body = mail.body;
    if let (Value::Map(map), false) = (&mut body, mail.notes.is_empty()) {
        let note = Value::Text(mail.notes.join("; "));
        map.insert("decode_note".to_owned(), note);
    }
    Ok(to_dynamic(&body))
}

fn header(mail: &mut Map, name: &str) -> Dynamic {
    let same = |key: &str| key.eq_ignore_ascii_case(name);
    let exact = mail.get(name);
    let found = exact.or_else(|| {
        mail.iter()
            .find(|(key, _)| same(key))
            .map(|(_, value)| value)
    });
    found.cloned().unwrap_or(Dynamic::UNIT)
}
