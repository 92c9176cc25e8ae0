//! What a large mail costs: its attachment is held once in memory and once on disk, beside the
//! exact bytes of the mail.

use jiff::Timestamp;
use vigie::event::{Incoming, Meta, Value};
use vigie::memory::live_bytes;
use vigie::script::convert::to_dynamic;
use vigie::source::mail;

use crate::store::{body_files, open, push};

const MIB: usize = 1024 * 1024;
/// A mail of 30 MiB has an attachment of 22 MiB in base64.
const ATTACHED_BYTES: usize = 22 * MIB;

fn content() -> Vec<u8> {
    let byte = |number: usize| (number.wrapping_mul(2_654_435_761) >> 13) as u8;
    (0..ATTACHED_BYTES).map(byte).collect()
}

fn letter() -> Vec<u8> {
    use base64::Engine as _;
    let mut letter = b"From: a@example.org\r\nSubject: report\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\
        see the report\r\n--b\r\nContent-Type: application/pdf\r\n\
        Content-Disposition: attachment; filename=report.pdf\r\n\
        Content-Transfer-Encoding: base64\r\n\r\n"
        .to_vec();
    let coded = base64::engine::general_purpose::STANDARD.encode(content());
    for line in coded.as_bytes().chunks(76) {
        letter.extend_from_slice(line);
        letter.extend_from_slice(b"\r\n");
    }
    letter.extend_from_slice(b"--b--\r\n");
    letter
}

/// What `make` gives, and how much more memory is in use for it.
fn weighed<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = live_bytes();
    let made = make();
    (made, usize::try_from(live_bytes() - before).unwrap_or(0))
}

fn decoded(letter: &[u8]) -> Incoming {
    mail::decode(letter, Meta::new("mail", Timestamp::UNIX_EPOCH))
}

#[test]
fn a_large_mail_is_held_once_beside_its_raw_bytes() {
    let letter = letter();
    let once = letter.len() + ATTACHED_BYTES + MIB;
    let (event, held) = weighed(|| decoded(&letter));
    let (seen, for_script) = weighed(|| to_dynamic(&event.body));
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let id = push(&store, "mail", &event);
    let files = body_files(folder.path());
    let on_disk: u64 = files
        .iter()
        .map(|file| std::fs::metadata(file).unwrap().len())
        .sum();
    let (read, after) = weighed(|| store.event(&id).unwrap().unwrap());
    println!(
        "a mail of {} MiB: {} MiB held, {} MiB more for a script, {} MiB on disk, {} MiB when read back",
        letter.len() / MIB,
        held / MIB,
        for_script / MIB,
        on_disk as usize / MIB,
        after / MIB
    );
    assert_eq!(read.body, event.body);
    assert_eq!(read.body.get("raw"), Some(&Value::from(letter)));
    drop(seen);
    assert!(held <= once, "{held} bytes are held");
    assert!(for_script <= MIB, "{for_script} bytes more for a script");
    assert!(on_disk as usize <= once, "{on_disk} bytes on disk");
    assert!(after <= once, "{after} bytes held when read back");
}

#[test]
fn what_stands_twice_in_an_event_reads_back_as_it_was() {
    let text = "障害".repeat(2_000);
    let bytes = text.clone().into_bytes();
    let long_meta = Value::from("m".repeat(5_000));
    let body = Value::from([
        ("a", Value::from(text.as_str())),
        ("b", Value::from(bytes.clone())),
        ("c", Value::from(text.as_str())),
        ("d", Value::from(bytes)),
        ("e", Value::from("short")),
        ("f", Value::from("short")),
        ("g", long_meta.clone()),
    ]);
    let mut event = Incoming {
        body,
        meta: Meta::new("http", Timestamp::UNIX_EPOCH),
    };
    event.meta.extra.insert("note".to_owned(), long_meta);
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let id = push(&store, "mail", &event);
    let read = store.event(&id).unwrap().unwrap();
    assert_eq!((read.body, read.meta), (event.body, event.meta));
    let kept = &body_files(folder.path())[0];
    let on_disk = std::fs::metadata(kept).unwrap().len() as usize;
    assert!(
        on_disk < text.len() + 2 * 5_000 + 200,
        "{on_disk} bytes on disk"
    );
    drop(store);
    assert_eq!(
        vigie::store::check(folder.path()).unwrap().problems,
        Vec::<String>::new()
    );
}
