//! Where each thing lies: one tree, a letter for the kind, then parts that sort as they are read.
//!
//! Invariant: names hold no NUL byte, so a NUL ends a name and no key is the beginning of another
//! name's keys. Numbers and times are big-endian, so a scan meets them in order.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::event::{EventId, RunId};

/// A place in the tree.
pub(super) type Key = Vec<u8>;

pub(super) const SUMMARY: u8 = b'S';
pub(super) const HEAD: u8 = b'H';
pub(super) const EVENT: u8 = b'E';
pub(super) const MESSAGE: u8 = b'M';
pub(super) const TAKEN: u8 = b'K';
pub(super) const CURSOR: u8 = b'C';
pub(super) const RUN: u8 = b'R';
pub(super) const ORDER: u8 = b'O';
pub(super) const JOURNAL: u8 = b'J';
pub(super) const LIVE: u8 = b'L';
pub(super) const BLOCKED: u8 = b'B';
pub(super) const ENDED: u8 = b'F';
pub(super) const DEAD: u8 = b'D';
pub(super) const DEAD_OF: u8 = b'd';
pub(super) const ATTEMPTS: u8 = b'A';
pub(super) const TIMER: u8 = b't';
pub(super) const WAIT: u8 = b'w';
pub(super) const VERSION: u8 = b'V';
pub(super) const STATE: u8 = b's';
pub(super) const MARK: u8 = b'k';
pub(super) const PAUSE: u8 = b'P';
pub(super) const AUDIT: u8 = b'a';
pub(super) const BODY: u8 = b'b';

/// Every kind that is counted, with its word in the plural. The order is part of the format.
pub(super) const KINDS: [(u8, &str); 22] = [
    (HEAD, "channels"),
    (EVENT, "events"),
    (MESSAGE, "message ids"),
    (TAKEN, "taken marks"),
    (CURSOR, "flow cursors"),
    (RUN, "runs"),
    (ORDER, "run order entries"),
    (JOURNAL, "journal entries"),
    (LIVE, "live runs"),
    (BLOCKED, "blocked runs"),
    (ENDED, "finished runs"),
    (DEAD, "dead letters"),
    (DEAD_OF, "dead letter references"),
    (ATTEMPTS, "attempt records"),
    (TIMER, "timers"),
    (VERSION, "flow versions"),
    (STATE, "state values"),
    (MARK, "marks"),
    (PAUSE, "pause marks"),
    (AUDIT, "audit lines"),
    (BODY, "body references"),
    (WAIT, "waits"),
];

/// Where `kind` stands in [`KINDS`].
pub(super) fn index_of(kind: u8) -> Option<usize> {
    KINDS.iter().position(|(known, _)| *known == kind)
}

pub(super) fn plain(kind: u8, name: &str) -> Key {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(kind);
    key.extend_from_slice(name.as_bytes());
    key
}

/// Everything of `kind` that belongs to `name`.
pub(super) fn under(kind: u8, name: &str) -> Key {
    let mut key = plain(kind, name);
    key.push(0);
    key
}

pub(super) fn numbered(kind: u8, channel: &str, number: u64) -> Key {
    let mut key = under(kind, channel);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn event(id: &EventId) -> Key {
    numbered(EVENT, &id.channel, id.number)
}

/// Where the number of an event with this sender's message id is noted.
pub(super) fn message(channel: &str, source: &str, message_id: &str) -> Key {
    let mut hash = Sha256::new();
    hash.update((source.len() as u64).to_be_bytes());
    hash.update(source.as_bytes());
    hash.update(message_id.as_bytes());
    let mut key = under(MESSAGE, channel);
    key.extend_from_slice(&hash.finalize());
    key
}

/// The key of `kind` that belongs to a run; runs of one event stand together.
pub(super) fn run(kind: u8, run: &RunId) -> Key {
    let event = run.event();
    let mut key = numbered(kind, &event.channel, event.number);
    let flow = run.as_str().rsplit('/').next().unwrap_or_default();
    key.extend_from_slice(flow.as_bytes());
    key
}

pub(super) fn journal(run_id: &RunId, entry: u32) -> Key {
    let mut key = journals(run_id);
    key.extend_from_slice(&entry.to_be_bytes());
    key
}

/// Everything in the journal of one run.
pub(super) fn journals(run_id: &RunId) -> Key {
    let mut key = run(JOURNAL, run_id);
    key.push(0);
    key
}

pub(super) fn counted(kind: u8, number: u64) -> Key {
    let mut key = vec![kind];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// A key that sorts by time, then by run.
pub(super) fn timed(kind: u8, at: Timestamp, run_id: &RunId) -> Key {
    let mut key = time(kind, at);
    key.extend_from_slice(&run(kind, run_id)[1..]);
    key
}

pub(super) fn time(kind: u8, at: Timestamp) -> Key {
    counted(kind, (at.as_millisecond() as u64) ^ (1 << 63))
}

pub(super) fn timer(due: Timestamp, run_id: &RunId, seq: u32) -> Key {
    let mut key = timed(TIMER, due, run_id);
    key.push(0);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

pub(super) fn state(flow: &str, name: &str) -> Key {
    let mut key = under(STATE, flow);
    key.extend_from_slice(name.as_bytes());
    key
}

/// Where the references to a body are counted.
pub(super) fn body(hash: &[u8; 32]) -> Key {
    let mut key = vec![BODY];
    key.extend_from_slice(hash);
    key
}

/// Where a scan of everything that begins with `prefix` ends.
pub(super) fn after(prefix: &[u8]) -> Key {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX]
}

/// The channel and number in `key`, whatever its kind, and what stands after them.
pub(super) fn split_number(key: &[u8]) -> Option<(EventId, &[u8])> {
    let rest = key.get(1..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let channel = std::str::from_utf8(&rest[..end]).ok()?.to_owned();
    let (number, rest) = rest[end + 1..].split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*number);
    Some((EventId { channel, number }, rest))
}

/// The run in a key of [`run`]'s form.
pub(super) fn split_run(key: &[u8]) -> Option<RunId> {
    let (event, flow) = split_number(key)?;
    format!("{event}/{}", std::str::from_utf8(flow).ok()?)
        .parse()
        .ok()
}

/// The time and the run in a key of [`timed`]'s form.
pub(super) fn split_timed(key: &[u8]) -> Option<(Timestamp, RunId)> {
    let at = split_time(key)?;
    let mut rest = vec![key[0]];
    rest.extend_from_slice(key.get(9..)?);
    Some((at, split_run(&rest)?))
}

/// The due time, run and sequence number in a key of [`timer`]'s form.
pub(super) fn split_timer(key: &[u8]) -> Option<(Timestamp, RunId, u32)> {
    let (rest, seq) = key.split_last_chunk::<4>()?;
    let (due, run) = split_timed(rest.strip_suffix(&[0])?)?;
    Some((due, run, u32::from_be_bytes(*seq)))
}

pub(super) fn split_counted(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.get(1..)?.first_chunk()?))
}

fn split_time(key: &[u8]) -> Option<Timestamp> {
    let bits = split_counted(key)? ^ (1 << 63);
    Timestamp::from_millisecond(bits as i64).ok()
}

/// `key` as a person would name it: `event alert/1042`.
pub(super) fn words(key: &[u8]) -> String {
    let text = |from: usize| String::from_utf8_lossy(key.get(from..).unwrap_or_default());
    let event = || split_number(key).map(|(event, _)| event.to_string());
    let run = || split_run(key).map(|run| run.to_string());
    let named = |word: &str, name: Option<String>| {
        let name = name.unwrap_or_else(|| text(1).replace('\0', "/"));
        format!("{word} {name}")
    };
    match key.first().copied().unwrap_or_default() {
        SUMMARY => "the summary of the store".to_owned(),
        HEAD => named("channel", None),
        EVENT => named("event", event()),
        MESSAGE => "a message id".to_owned(),
        TAKEN => named("the taken mark of event", event()),
        CURSOR => named("the cursor of flow", None),
        RUN => named("run", run()),
        ORDER => "an entry of the run order".to_owned(),
        JOURNAL => journal_words(key),
        LIVE => named("the live mark of run", run()),
        BLOCKED => named("the blocked mark of run", run()),
        ENDED => named(
            "the end mark of run",
            split_timed(key).map(|(_, run)| run.to_string()),
        ),
        DEAD => named(
            "dead letter",
            split_timed(key).map(|(_, run)| run.to_string()),
        ),
        DEAD_OF => named("the dead letter reference of run", run()),
        ATTEMPTS => named("the attempts of run", run()),
        TIMER => named(
            "a timer of run",
            split_timer(key).map(|(_, run, _)| run.to_string()),
        ),
        WAIT => named("the wait of run", run()),
        VERSION => "a flow version".to_owned(),
        STATE => named("state", None),
        MARK => named("mark", None),
        PAUSE => named("pause mark", None),
        AUDIT => "an audit line".to_owned(),
        BODY => "a body reference".to_owned(),
        _ => "an unknown entry".to_owned(),
    }
}

fn journal_words(key: &[u8]) -> String {
    let found = key.split_last_chunk::<4>().and_then(|(rest, entry)| {
        let run = split_run(rest.strip_suffix(&[0])?)?;
        Some((run, u32::from_be_bytes(*entry)))
    });
    match found {
        Some((run, entry)) => format!("journal of run {run}, entry {}", entry + 1),
        None => "a journal entry".to_owned(),
    }
}
