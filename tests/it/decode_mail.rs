//! Mails as events: what Kompira's `mail_parse` gave, its faults mended, and mails made to hurt.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use vigie::event::{Incoming, Meta, Value};
use vigie::source::mail::header::HEADERS_MAX;
use vigie::source::mail::tree::{DEPTH_MAX, PARTS_MAX};
use vigie::source::mail::{self, Mail, decode, parse, parse_text};

fn meta() -> Meta {
    Meta::new("mail", Timestamp::UNIX_EPOCH)
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn recording(name: &str) -> Vec<u8> {
    fs::read(folder(name)).unwrap()
}

fn get<'a>(mail: &'a Mail, key: &str) -> &'a Value {
    mail.body.get(key).unwrap_or_else(|| panic!("no {key}"))
}

fn text<'a>(mail: &'a Mail, key: &str) -> &'a str {
    let value = get(mail, key);
    value
        .as_text()
        .unwrap_or_else(|| panic!("{key} is {}", value.kind()))
}

fn subject(line: &[u8]) -> String {
    let mail = parse(&[b"Subject: ", line, b"\n\nx\n"].concat());
    text(&mail, "Subject").to_owned()
}

// what Kompira gave, and where we give something else

/// Mail, key, our value, and why it is not what Kompira gave.
type Difference = (&'static str, &'static str, Json, &'static str);

fn differences() -> Vec<Difference> {
    [unfolded(), mended(), read_where_kompira_raised()].concat()
}

fn unfolded() -> Vec<Difference> {
    let why = "a folded header is one line, joined by a single space";
    let received = "from mon.example.com (mon.example.com [192.0.2.9]) by kompira.example.com \
        (Postfix) with ESMTP id ABCDEF for <kompira@kompira.example.com>; \
        Fri, 20 Nov 2026 16:20:00 +0900 (JST)";
    let kind = "multipart/alternative; boundary=\"===============1111697159559800769==\"";
    vec![
        (
            "folded.eml",
            "Subject",
            json!("line one line two line three"),
            why,
        ),
        ("mbox_postfix_alias.eml", "Received", json!(received), why),
        ("alternative.eml", "Content-Type", json!(kind), why),
    ]
}

fn mended() -> Vec<Difference> {
    let cp932 = "the extension characters of CP932 are known";
    let multipart = "a multipart without a boundary is readable text, not bytes";
    let base64 = "what is no base64 is kept exactly, its line end included";
    let word = "an encoded word that cannot be decoded stays as written instead of vanishing";
    vec![
        ("nec_special.eml", "Subject", json!("①"), cp932),
        ("nec_special.eml", "Body", json!("①\n"), cp932),
        ("sjis_nec.eml", "Body", json!("①\n"), cp932),
        (
            "multipart_noboundary.eml",
            "Body",
            json!("blah\n"),
            multipart,
        ),
        ("bad_base64.eml", "Body", json!("!!!!notbase64\n"), base64),
        ("hdr_bad_b64.eml", "Subject", json!("=?UTF-8?B?%%%?="), word),
    ]
}

fn read_where_kompira_raised() -> Vec<Difference> {
    let why = "an unknown character set does not raise; a guess is taken";
    let raised = [
        (
            "bad_charset.eml",
            "\0\0\0 tail",
            "text/plain; charset=x-nonexistent",
        ),
        ("charset_empty.eml", "x", "text/plain; charset="),
    ];
    let keys = |(file, subject, kind)| {
        [
            (file, "Subject", json!(subject), why),
            (file, "From", json!("a@b"), why),
            (file, "Content-Type", json!(kind), why),
            (file, "Body", json!("body\n"), why),
            (file, "Filename", Json::Null, why),
            (file, "Is-Multipart", json!(false), why),
        ]
    };
    raised.into_iter().flat_map(keys).collect()
}

/// A mail event with Kompira's keys alone, bytes written as the recordings write them.
fn as_kompira(value: &Value) -> Json {
    match value {
        Value::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "$bytes_hex": hex })
        }
        Value::List(items) => items.iter().map(as_kompira).collect(),
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), as_kompira(value)))
            .collect(),
        other => other.to_json(),
    }
}

#[test]
fn every_recorded_mail_gives_what_kompira_gave_but_for_the_listed_differences() {
    let recorded: BTreeMap<String, BTreeMap<String, Json>> =
        serde_json::from_slice(&recording("kompira/mail_parse/results.json")).unwrap();
    assert_eq!(recorded.len(), 41);
    for (file, mut expected) in recorded {
        expected.remove("$exception");
        let listed = differences().into_iter().filter(|(name, ..)| *name == file);
        for (_, key, ours, why) in listed {
            let before = expected.insert(key.to_owned(), ours.clone());
            assert_ne!(before, Some(ours), "{file} {key} does not differ: {why}");
        }
        let mail = parse(&recording(&format!("kompira/mail_parse/{file}")));
        let mut map = mail.body.as_map().unwrap().clone();
        for key in ["text", "html", "attachments", "raw"] {
            assert!(map.remove(key).is_some(), "{file} has no {key}");
        }
        assert_eq!(as_kompira(&Value::Map(map)), json!(expected), "{file}");
    }
}

// pipes

#[test]
fn mail_from_an_alias_pipe_is_read_without_its_mbox_line() {
    for (file, id) in [
        ("mail/postfix-pipe.eml", "<1.ok@localhost>"),
        ("mail/exim-pipe.eml", "<E1xURYD-0005zm-2n@mx.example.test>"),
    ] {
        let bytes = recording(file);
        let mail = parse(&bytes);
        let map = mail.body.as_map().unwrap();
        assert_eq!(mail::header(map, "message-ID").unwrap().as_text(), Some(id));
        assert!(text(&mail, "Received").contains(" by mx.example.test"));
        assert!(text(&mail, "text").contains("\nFrom "), "{file}");
        assert_eq!(get(&mail, "raw"), &Value::from(bytes));
        assert_eq!(mail.notes, [""; 0]);
    }
}

#[test]
fn message_id_and_recipient_together_are_the_message_id() {
    let bytes = recording("mail/postfix-pipe.eml");
    assert_eq!(decode(&bytes, meta()).meta.message_id, None);
    let mut meta = meta();
    meta.extra
        .insert("recipient".to_owned(), "ok@localhost".into());
    let event = decode(&bytes, meta.clone());
    assert_eq!(
        event.meta.message_id.as_deref(),
        Some("<1.ok@localhost> ok@localhost")
    );
    assert_eq!(
        decode(b"Subject: x\n\n", meta.clone()).meta.message_id,
        None
    );
    meta.message_id = Some("own".to_owned());
    assert_eq!(decode(&bytes, meta).meta.message_id.as_deref(), Some("own"));
}

#[test]
fn header_called_from_is_no_mbox_line() {
    let mail = parse(b"From : a@b\nSubject: x\n\ny\n");
    assert_eq!(text(&mail, "From"), "a@b");
    let mail = parse(b">From root@host Fri Nov 20 16:20:00 2026\nSubject: x\n\ny\n");
    assert_eq!((text(&mail, "Subject"), text(&mail, "Body")), ("x", "y\n"));
}

// headers

#[test]
fn character_split_over_adjacent_encoded_words_is_whole_again() {
    // 障害 in UTF-8, cut after the fourth byte
    assert_eq!(subject(b"=?UTF-8?B?6Zqc5Q==?=\n =?UTF-8?B?rrM=?="), "障害");
    assert_eq!(
        subject(b"=?utf-8?Q?=E9=9A=9C=E5?= =?UTF-8?q?=AE=B3?= x"),
        "障害 x"
    );
    assert_eq!(
        subject(b"=?utf-8?Q?=E9=9A=9C=E5?= =?UTF-8?B?rrM=?="),
        "障害"
    );
}

#[test]
fn base64_cut_inside_a_group_is_joined() {
    assert_eq!(subject(b"=?UTF-8?B?6Zqc5a?=\n\t=?UTF-8?B?6z?="), "障害");
}

#[test]
fn encoded_words_of_different_character_sets_are_decoded_each() {
    assert_eq!(
        subject(b"=?iso-8859-1?Q?=E9?= =?Shift_JIS?B?k/qWew==?= =?utf-8*ja?Q?=E9=9A=9C?="),
        "é日本障"
    );
    assert_eq!(
        subject(b"=?ISO-2022-JP?B?GyRCLSEbKEI=?= =?ISO-2022-JP?B?GyRCRnxLXBsoQg==?="),
        "①日本"
    );
}

#[test]
fn text_around_encoded_words_and_blanks_are_kept() {
    assert_eq!(
        subject(b"[x] =?utf-8?Q?a_b?= (c)=?utf-8?Q?d?="),
        "[x] a b (c)d"
    );
    assert_eq!(subject(b"=?utf-8?Q?what??= no"), "what? no");
}

#[test]
fn what_is_no_encoded_word_stays() {
    for plain in [
        "=?utf-8?X?abc?=",
        "=?utf-8?Q?never closed",
        "=? =?=",
        "a =?b",
        "?=",
        "=?a?b?",
    ] {
        assert_eq!(subject(plain.as_bytes()), plain);
    }
}

#[test]
fn raw_bytes_in_a_header_are_decoded_by_declaration_or_guess() {
    let sjis = |text: &str| encoding_rs::SHIFT_JIS.encode(text).0.into_owned();
    let latin = |text: &str| encoding_rs::WINDOWS_1252.encode(text).0.into_owned();
    assert_eq!(subject("障害".as_bytes()), "障害");
    assert_eq!(subject(&sjis("障害通知 host1")), "障害通知 host1");
    assert_eq!(subject(&sjis("復旧")), "復旧");
    assert_eq!(subject(&encoding_rs::EUC_JP.encode("障害").0), "障害");
    assert_eq!(subject(&encoding_rs::ISO_2022_JP.encode("障害").0), "障害");
    assert_eq!(subject(b"\x1b$BF|\x1b(B\x1b$BK\\\x1b(B"), "日本");
    assert_eq!(subject(b"\x1b[31mred\x1b[0m"), "\x1b[31mred\x1b[0m");
    for french in [
        "Problème réseau",
        "état",
        "Défaut détecté sur l'hôte",
        "Gerät größer",
    ] {
        assert_eq!(subject(&latin(french)), french);
    }
    let head = b"Content-Type: text/plain; charset=windows-1251\nSubject: ".to_vec();
    let bytes = [
        head,
        encoding_rs::WINDOWS_1251.encode("да").0.into_owned(),
        b"\n\n".to_vec(),
    ];
    assert_eq!(text(&parse(&bytes.concat()), "Subject"), "да");
}

#[test]
fn first_of_repeated_headers_stands_whatever_its_case() {
    let mail = parse(b"SUBJECT: one\nSubject: two\nsubject: three\n\n");
    for key in ["SUBJECT", "Subject", "subject"] {
        assert_eq!(text(&mail, key), "one");
    }
}

#[test]
fn header_cannot_take_the_place_of_our_keys() {
    let mail = parse(b"raw: forged\nattachments: forged\ntext: forged\nBody: forged\n\nreal\n");
    assert_eq!(text(&mail, "text"), "real\n");
    assert_eq!(text(&mail, "Body"), "real\n");
    assert!(matches!(get(&mail, "raw"), Value::Bytes(_)));
    assert_eq!(get(&mail, "attachments"), &Value::List(vec![]));
}

#[test]
fn header_without_newline_or_body_is_kept() {
    let mail = parse(b"Subject: only headers");
    assert_eq!(
        (text(&mail, "Subject"), text(&mail, "Body")),
        ("only headers", "")
    );
    assert_eq!(text(&parse(b""), "Body"), "");
}

// character sets of bodies

fn body_in(declared: &str, bytes: &[u8]) -> String {
    let head = format!("Content-Type: text/plain; charset={declared}\n\n");
    text(&parse(&[head.as_bytes(), bytes].concat()), "Body").to_owned()
}

#[test]
fn declared_character_set_is_used() {
    assert_eq!(body_in("windows-1252", b"caf\xe9 \x80"), "café €");
    assert_eq!(body_in("\"cp932\"", b"\x87\x40\x8a\x87\xca\xdf"), "①括ﾊﾟ");
    assert_eq!(
        body_in("ISO-2022-JP-MS", b"\x1b$B-!\x1b(B \x1b(I6\x1b(B"),
        "① ｶ"
    );
    assert_eq!(body_in("eucJP-ms", b"\xad\xa1"), "①");
    assert_eq!(body_in("ibm850", b"\x82"), "é");
    assert_eq!(body_in("utf-16be", b"\0a\0b"), "ab");
    assert_eq!(body_in("utf-16", b"a\0b\0"), "ab");
    assert_eq!(body_in("utf-7", b"+ZeVnLA-"), "日本");
}

#[test]
fn false_character_set_is_overruled() {
    let utf8 = "障害 é".as_bytes();
    assert_eq!(body_in("us-ascii", utf8), "障害 é");
    assert_eq!(body_in("iso-8859-1", utf8), "障害 é");
    assert_eq!(
        body_in("shift_jis", "障害発生しました".as_bytes()),
        "障害発生しました"
    );
    assert_eq!(
        body_in("utf-8", &encoding_rs::SHIFT_JIS.encode("障害が発生").0),
        "障害が発生"
    );
    assert_eq!(
        body_in("us-ascii", &encoding_rs::ISO_2022_JP.encode("障害").0),
        "障害"
    );
    assert_eq!(
        body_in("utf-8", &encoding_rs::ISO_2022_JP.encode("障害").0),
        "障害"
    );
    assert_eq!(body_in("utf-8", b"caf\xe9"), "café");
    assert_eq!(body_in("x-unknown", utf8), "障害 é");
    assert_eq!(body_in("hz-gb-2312", b"plain"), "plain");
}

#[test]
fn mostly_right_utf8_keeps_its_characters() {
    assert_eq!(
        body_in("utf-8", "日本語\u{fffd}".as_bytes()),
        "日本語\u{fffd}"
    );
    assert_eq!(
        body_in("utf-8", b"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa"),
        "日本\u{fffd}"
    );
}

#[test]
fn mail_that_is_text_already_is_not_decoded_twice() {
    let mail = parse_text("Subject: 障害\nContent-Type: text/plain; charset=Shift_JIS\n\n復旧 é\n");
    assert_eq!(
        (text(&mail, "Subject"), text(&mail, "Body")),
        ("障害", "復旧 é\n")
    );
    let mail = parse_text("Content-Type: text/plain; charset=ISO-2022-JP\n\n\u{1b}$BF|K\\\u{1b}(B");
    assert_eq!(text(&mail, "Body"), "日本");
}

// bodies and parts

#[test]
fn base64_with_a_list_footer_is_decoded() {
    let mail = parse(b"Content-Transfer-Encoding: base64\n\naGVs\nbG8=\n____\nlist footer\n");
    assert_eq!(text(&mail, "Body"), "hello");
    let mail = parse(b"Content-Transfer-Encoding: BASE64 \n\naGVs!bG8=\n");
    assert_eq!(text(&mail, "Body"), "hello");
}

#[test]
fn broken_quoted_printable_keeps_what_it_does_not_understand() {
    let mail = parse(b"Content-Transfer-Encoding: quoted-printable\n\na=ZZ=E9=9A=9C=\nb=\n");
    assert!(
        text(&mail, "Body").starts_with("a=ZZ障b"),
        "{}",
        text(&mail, "Body")
    );
}

#[test]
fn filename_is_found_however_it_is_written() {
    let names = [
        ("attachment; filename=\"r.pdf\"", "r.pdf"),
        ("attachment; filename=r 2.pdf", "r 2.pdf"),
        (
            "attachment; filename*=utf-8''%E5%A0%B1%E5%91%8A.csv",
            "報告.csv",
        ),
        (
            "attachment; filename*=iso-2022-jp''%1B$BJs9p%1B%28B.csv",
            "報告.csv",
        ),
        // one character over two segments, as long Japanese names are cut
        (
            "attachment; filename*1*=%B1%E5%91%8A; filename*0*=utf-8''%E5%A0; filename*2=.csv",
            "報告.csv",
        ),
        (
            "attachment; filename=\"=?utf-8?B?5aCx5Q==?= =?utf-8?B?kYo=?=.txt\"",
            "報告.txt",
        ),
        (
            "attachment; filename=\"a\\\"b;c.txt\"; size=1",
            "a\"b;c.txt",
        ),
        ("attachment; filename=\"never closed", "never closed"),
    ];
    for (disposition, name) in names {
        let bytes = format!("Content-Type: application/x\nContent-Disposition: {disposition}\n\nx");
        assert_eq!(
            text(&parse(bytes.as_bytes()), "Filename"),
            name,
            "{disposition}"
        );
    }
}

#[test]
fn text_html_and_attachments_are_gathered() {
    let mail = parse(&recording("kompira/mail_parse/mixed.eml"));
    assert_eq!(text(&mail, "text"), "see attachment");
    assert_eq!(get(&mail, "html"), &Value::Null);
    let expected = json!([
        {"filename": "r.pdf", "type": "application/pdf", "size": 6, "bytes": {"$bytes_hex": "000102504446"}},
        {"filename": "報告.csv", "type": "text/csv", "size": 5, "bytes": {"$bytes_hex": "6373762c31"}},
        {"filename": "log.txt", "type": "text/plain", "size": 8, "bytes": {"$bytes_hex": "6c6f672074657874"}},
    ]);
    assert_eq!(as_kompira(get(&mail, "attachments")), expected);
    let mail = parse(&recording("kompira/mail_parse/alternative.eml"));
    assert_eq!(
        (text(&mail, "text"), text(&mail, "html")),
        ("text part", "<p>html</p>")
    );
    let mail = parse(&recording("kompira/mail_parse/html_only.eml"));
    assert_eq!(
        (text(&mail, "text").trim(), text(&mail, "html")),
        ("x", "<b>x</b>\n")
    );
    let mail = parse(&recording("kompira/mail_parse/rfc822.eml"));
    assert_eq!(text(&mail, "text"), "outer");
    let Value::List(attachments) = get(&mail, "attachments") else {
        panic!()
    };
    assert_eq!(attachments[0].get("type"), Some(&"message/rfc822".into()));
}

#[test]
fn multipart_without_parts_falls_back_to_text() {
    let mail = parse(b"Content-Type: multipart/mixed; boundary=b\n\nno such line\n");
    assert_eq!(
        (text(&mail, "text"), get(&mail, "Is-Multipart")),
        ("no such line\n", &false.into())
    );
    assert_eq!(mail.notes.len(), 1);
}

#[test]
fn bounce_shows_its_delivery_status() {
    let bounce = b"Content-Type: multipart/report; boundary=b\n\n--b\n\nfailed\n--b\n\
        Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n\
        Final-Recipient: rfc822; x@y\nAction: failed\n\n--b--\n";
    let mail = parse(bounce);
    let Value::List(parts) = get(&mail, "Body") else {
        panic!()
    };
    let Some(Value::List(blocks)) = parts[1].get("Body") else {
        panic!()
    };
    assert_eq!(blocks[0].get("Reporting-MTA"), Some(&"dns; mx".into()));
    assert_eq!(blocks[1].get("Action"), Some(&"failed".into()));
}

#[test]
fn outer_boundary_ends_an_inner_multipart_that_is_never_closed() {
    let mail = parse(
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n\
        --i\n\ninner\n--o\n\nouter\n--o--\n",
    );
    assert_eq!(text(&mail, "text"), "inner\nouter");
}

#[test]
fn line_that_only_begins_like_a_boundary_is_content() {
    let mail = parse(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n--bx\r\n--b--x\r\n\r\n--b-- \r\nepilogue");
    assert_eq!(text(&mail, "text"), "--bx\r\n--b--x\r\n");
}

// limits

fn note(mail: &Mail) -> String {
    mail.notes.join("; ")
}

fn depth_of(value: &Value) -> usize {
    match value.get("Body") {
        Some(Value::List(parts)) => 1 + parts.first().map_or(0, depth_of),
        _ => 0,
    }
}

#[test]
fn nested_mails_of_any_depth_are_cut_and_nothing_is_lost() {
    let mut multiparts = Vec::new();
    for number in 0..10_000 {
        let part = format!("Content-Type: multipart/mixed; boundary=b{number}\n\n--b{number}\n");
        multiparts.extend_from_slice(part.as_bytes());
    }
    let enclosed = b"Content-Type: message/rfc822\n\n".repeat(10_000);
    let same = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(10_000);
    for bytes in [multiparts, enclosed, same] {
        let begin = Instant::now();
        let event = std::thread::Builder::new()
            .stack_size(512 * 1024)
            .spawn(move || (decode(&bytes, meta()), bytes))
            .unwrap();
        let (event, bytes) = event.join().unwrap();
        assert!(depth_of(&event.body) <= DEPTH_MAX);
        assert!(event.body.depth() <= vigie::event::VALUE_DEPTH_MAX);
        assert_eq!(event.body.get("raw"), Some(&Value::from(bytes)));
        assert!(event.meta.extra.contains_key("decode_note"));
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{:?}",
            begin.elapsed()
        );
    }
}

#[test]
fn parts_up_to_the_deepest_are_read() {
    let nest = |levels: usize| {
        let wrap = |inner: Vec<u8>, level: usize| {
            let head = format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n");
            [head.into_bytes(), inner].concat()
        };
        (0..levels).fold(b"\ndeep".to_vec(), wrap)
    };
    let mail = parse(&nest(DEPTH_MAX));
    assert_eq!((text(&mail, "text"), mail.notes.len()), ("deep", 0));
    let mail = parse(&nest(DEPTH_MAX + 1));
    assert_eq!((text(&mail, "text"), mail.notes.len()), ("", 1));
}

#[test]
fn rest_of_a_hundred_thousand_parts_is_kept_as_bytes() {
    let begin = Instant::now();
    let mut bytes = b"Content-Type: multipart/mixed; boundary=b\n\n".to_vec();
    bytes.extend(b"--b\n\npart\n".repeat(100_000));
    let mail = parse(&bytes);
    let Value::List(parts) = get(&mail, "Body") else {
        panic!()
    };
    assert_eq!(parts.len(), PARTS_MAX);
    let Some(Value::Bytes(rest)) = parts[PARTS_MAX - 1].get("Body") else {
        panic!()
    };
    assert_eq!(
        rest.len(),
        b"--b\n\npart\n".len() * (100_000 - (PARTS_MAX - 1)) - b"--b\n".len()
    );
    assert!(note(&mail).contains("more than 200 parts"));
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn headers_beyond_the_limit_are_in_raw_alone() {
    let begin = Instant::now();
    let lines: String = (0..200_000)
        .map(|number| format!("X-{number}: v\n folded\n"))
        .collect();
    let mail = parse(format!("{lines}\nbody\n").as_bytes());
    assert_eq!(text(&mail, "X-999"), "v folded");
    assert!(mail.body.get("X-1000").is_none());
    assert_eq!(text(&mail, "Body"), "body\n");
    assert_eq!(mail.body.as_map().unwrap().len(), HEADERS_MAX + 7);
    assert!(note(&mail).contains("headers"));
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn mail_beyond_the_largest_size_keeps_its_headers_and_bytes() {
    let mut bytes = b"Subject: big\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n".to_vec();
    bytes.resize(mail::MAIL_BYTES_MAX + 1, b'x');
    let mail = parse(&bytes);
    assert_eq!(text(&mail, "Subject"), "big");
    assert!(matches!(get(&mail, "Body"), Value::Bytes(_)));
    assert_eq!(mail.notes.len(), 1);
}

/// A beginning, and what follows it again and again until the mail is five megabytes long.
const HOSTILE: &[(&[u8], &[u8])] = &[
    (b"", b"a"),
    (b"", b"\0"),
    (b"", b"a:\n"),
    (b"Subject: ", b"=?a?b?"),
    (b"Subject: ", b"=?"),
    (b"Subject: ", b"=?utf-8?B?6Zqc?= "),
    (b"Subject: ", b"\x1b$B"),
    (b"Subject: a\n", b" \n"),
    (b"Content-Type: ", b"a;=\"\\"),
    (b"Content-Type: a/b", b";n*0*=''%41"),
    (b"Content-Type: multipart/mixed; boundary=b\n\n", b"--b\n"),
    (
        b"Content-Type: multipart/mixed; boundary=bbbbbbbb\n\n",
        b"--bbbbbbbc\n",
    ),
    (b"Content-Type: message/delivery-status\n\n", b"a: b\n\n"),
    (b"Content-Type: text/html\n\n", b"<a <!--&"),
    (b"Content-Type: text/plain\n\n", b"\xe9\x81 "),
    (b"Content-Transfer-Encoding: base64\n\n", b"QUJD\n"),
    (b"Content-Transfer-Encoding: base64\n\n", b"!"),
    (b"Content-Transfer-Encoding: quoted-printable\n\n", b"=Z"),
    (b"Content-Transfer-Encoding: uuencode\n\nbegin 1\n", b"~\n"),
];

#[test]
fn hostile_shapes_take_bounded_time() {
    for (begin, piece) in HOSTILE {
        let bytes = [begin, piece.repeat(5_000_000 / piece.len()).as_slice()].concat();
        let start = Instant::now();
        parse(&bytes);
        let name = String::from_utf8_lossy(piece);
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{name}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn mutated_mails_never_panic_and_keep_their_bytes() {
    let folder = folder("kompira/mail_parse");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "eml"));
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    super::mutate::each_mutation(&seeds, |bytes| {
        let Incoming { body, .. } = decode(bytes, meta());
        assert_eq!(body.get("raw"), Some(&Value::from(bytes.to_vec())));
        let text = String::from_utf8_lossy(bytes);
        assert!(parse_text(&text).body.get("Body").is_some());
    });
}
