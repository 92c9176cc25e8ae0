//! What a server says, as far as it matters here.

use std::borrow::Cow;

use imap_proto::{AttributeValue, Capability, MailboxDatum, Response, ResponseCode, Status};

use super::super::wire;

/// Deepest nesting of parentheses that is read; the parser goes as deep as a server wants.
const NEST_MAX: usize = 8;
/// Most of a server's words that are repeated, in characters.
const WORDS_CHARS_MAX: usize = 200;

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    /// NO, BAD or BYE.
    No,
}

/// A code in brackets.
#[derive(Debug)]
pub(super) enum Code {
    Abilities(Vec<String>),
    UidValidity(u32),
    UidNext(u32),
}

/// What is told of a mail.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) uid: Option<u32>,
    pub(super) size: Option<u32>,
    pub(super) is_seen: bool,
    pub(super) bytes: Option<Vec<u8>>,
}

/// One answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// The command with this tag is over.
    Done(String, Verdict, Option<Code>),
    /// By itself; true if it is the last word.
    State(Verdict, Option<Code>, bool),
    /// The server waits for more.
    Continue,
    Abilities(Vec<String>),
    /// Mails are there.
    Exists,
    Fetch(Fetched),
    /// Nothing that matters.
    Other,
    /// It matters, and cannot be read.
    Broken,
}

impl Answer {
    /// Reads one whole answer.
    pub(super) fn read(heard: &[u8]) -> Answer {
        if is_fetch(heard) && nesting(heard) > NEST_MAX {
            return Answer::Broken;
        }
        match Response::parse(&set_off(heard)) {
            Ok((_, response)) => of_response(response),
            Err(_) if heard.starts_with(b"* ") && !is_fetch(heard) => Answer::Other,
            Err(_) if heard.starts_with(b"+") => Answer::Continue,
            Err(_) => Answer::Broken,
        }
    }
}

/// With a blank behind each bracket that a character beyond ASCII follows: imap-proto 0.17 cuts one
/// byte off the text behind a code, and panics if there is none of its own.
fn set_off(heard: &[u8]) -> Cow<'_, [u8]> {
    let sticks = |pair: &[u8]| pair[0] == b']' && !pair[1].is_ascii();
    if is_fetch(heard) || !heard.windows(2).any(sticks) {
        return Cow::Borrowed(heard);
    }
    let mut apart = Vec::with_capacity(heard.len() + 16);
    for (at, byte) in heard.iter().enumerate() {
        apart.push(*byte);
        if *byte == b']' && heard.get(at + 1).is_some_and(|next| !next.is_ascii()) {
            apart.push(b' ');
        }
    }
    Cow::Owned(apart)
}

fn of_response(response: Response<'_>) -> Answer {
    match response {
        Response::Done {
            tag,
            status,
            outcome,
        } => Answer::Done(tag.0, verdict(&status), code(outcome.code)),
        Response::Data { status, outcome } => {
            let is_last = status == Status::Bye;
            Answer::State(verdict(&status), code(outcome.code), is_last)
        }
        Response::Continue(_) => Answer::Continue,
        Response::Capabilities(list) => Answer::Abilities(abilities(&list)),
        Response::MailboxData(MailboxDatum::Exists(_)) => Answer::Exists,
        Response::Fetch(_, attributes) => Answer::Fetch(fetched(attributes)),
        _ => Answer::Other,
    }
}

fn verdict(status: &Status) -> Verdict {
    match status {
        Status::Ok | Status::PreAuth => Verdict::Ok,
        Status::No | Status::Bad | Status::Bye => Verdict::No,
    }
}

fn code(code: Option<ResponseCode<'_>>) -> Option<Code> {
    match code? {
        ResponseCode::Capabilities(list) => Some(Code::Abilities(abilities(&list))),
        ResponseCode::UidValidity(number) => Some(Code::UidValidity(number)),
        ResponseCode::UidNext(number) => Some(Code::UidNext(number)),
        _ => None,
    }
}

fn abilities(list: &[Capability<'_>]) -> Vec<String> {
    let name = |ability: &Capability<'_>| match ability {
        Capability::Imap4rev1 => "IMAP4REV1".to_owned(),
        Capability::Auth(kind) => format!("AUTH={}", kind.to_ascii_uppercase()),
        Capability::Atom(name) => name.to_ascii_uppercase(),
    };
    list.iter().map(name).collect()
}

fn fetched(attributes: Vec<AttributeValue<'_>>) -> Fetched {
    let mut mail = Fetched::default();
    for attribute in attributes {
        match attribute {
            AttributeValue::Uid(uid) => mail.uid = Some(uid),
            AttributeValue::Rfc822Size(size) => mail.size = Some(size),
            AttributeValue::Flags(flags) => {
                mail.is_seen = flags.iter().any(|flag| flag.eq_ignore_ascii_case("\\Seen"));
            }
            AttributeValue::BodySection { data, .. } => {
                // NIL is a mail, or a header, without a byte.
                mail.bytes = Some(data.unwrap_or_default().into_owned());
            }
            _ => {}
        }
    }
    mail
}

fn is_fetch(heard: &[u8]) -> bool {
    let line = heard.split(|byte| *byte == b'\r').next();
    let mut words = line.unwrap_or_default().split(|byte| *byte == b' ');
    words
        .nth(2)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"FETCH"))
}

/// How deep the parentheses go that stand neither in quotes nor in literals.
fn nesting(heard: &[u8]) -> usize {
    let mut nest = Nest::default();
    let mut rest = heard;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        line.iter().for_each(|byte| nest.meet(*byte));
        let literal = wire::announced(line).unwrap_or(0);
        rest = &after[literal.min(after.len())..];
    }
    nest.deepest
}

#[derive(Default)]
struct Nest {
    depth: usize,
    deepest: usize,
    is_quoted: bool,
    is_escaped: bool,
}

impl Nest {
    fn meet(&mut self, byte: u8) {
        let is_escaped = std::mem::take(&mut self.is_escaped);
        match byte {
            b'\\' if self.is_quoted && !is_escaped => self.is_escaped = true,
            b'"' if !is_escaped => self.is_quoted = !self.is_quoted,
            b'(' if !self.is_quoted => self.depth += 1,
            b')' if !self.is_quoted => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.deepest = self.deepest.max(self.depth);
    }
}

/// What a server says after `tag OK`, fit to be shown.
pub(super) fn words(heard: &[u8]) -> String {
    let text = String::from_utf8_lossy(heard);
    let words = text.trim().splitn(3, ' ').nth(2).unwrap_or(text.trim());
    let plain = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    words.chars().take(WORDS_CHARS_MAX).map(plain).collect()
}
