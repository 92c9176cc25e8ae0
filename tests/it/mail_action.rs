//! `mail::send` against a relay that keeps what it gets.

use serde_json::json;
use vigie::action::mail::{Service, Settings};
use vigie::action::{FailureKind, Services};
use vigie::event::Value;
use vigie::standin::Smtp;
use vigie::standin::smtp::Mischief;

use crate::acting::{KEY, Try, away, call, refusal, secret, shown};

fn services(standin: &Smtp) -> Services {
    let settings = Settings {
        endpoint: standin.url(),
        from: "Vigie <vigie@flow.example>".to_owned(),
        timeout: "2s".to_owned(),
        ..Settings::default()
    };
    Services {
        smtp: Some(Service::prepare(settings, "/".as_ref()).unwrap()),
        ..Services::default()
    }
}

async fn start() -> (Smtp, Services) {
    let standin = Smtp::start().await.unwrap();
    let services = services(&standin);
    (standin, services)
}

#[tokio::test]
async fn a_mail_reaches_everybody_and_the_blind_copy_stays_blind() {
    let (standin, services) = start().await;
    let mail = json!([{"to": ["Ops <ops@example.org>", "b@example.org"], "cc": "c@example.org, d@example.org",
        "bcc": "secret@example.org", "subject": "web01 is down – 監視", "text": "grüße\n.\n..dot",
        "html": "<b>grüße</b>", "reply_to": "desk@example.org", "in_reply_to": "<first@example.org>",
        "headers": {"X-Ticket": "42 ü"}}]);
    let outcome = shown(&call(&services, "mail::send", mail).await.unwrap());
    assert_eq!(outcome["message_id"], format!("<{KEY}@flow.example>"));
    assert_eq!(outcome["accepted"].as_array().unwrap().len(), 5);
    let mail = standin.mails().pop().unwrap();
    assert_eq!(mail.from, "vigie@flow.example");
    assert_eq!(
        mail.to,
        [
            "ops@example.org",
            "b@example.org",
            "c@example.org",
            "d@example.org",
            "secret@example.org"
        ]
    );
    let parsed = mail_parser::MessageParser::default()
        .parse(&mail.bytes)
        .unwrap();
    assert_eq!(parsed.subject(), Some("web01 is down – 監視"));
    assert_eq!(
        parsed.message_id(),
        Some(format!("{KEY}@flow.example").as_str())
    );
    assert_eq!(
        parsed
            .body_text(0)
            .unwrap()
            .replace("\r\n", "\n")
            .trim_end(),
        "grüße\n.\n..dot"
    );
    assert_eq!(parsed.body_html(0).unwrap().trim_end(), "<b>grüße</b>");
    assert_eq!(parsed.in_reply_to().as_text(), Some("first@example.org"));
    assert!(mail.text().contains("X-Ticket: 42 =?utf-8?b?w7w=?="));
    assert!(parsed.date().is_some());
    assert!(!mail.text().contains("secret@example.org"));
}

#[tokio::test]
async fn attachments_arrive_byte_for_byte() {
    let (standin, services) = start().await;
    let file = Value::from([
        ("filename", Value::from("日本 report.bin")),
        ("type", Value::from("application/x-thing")),
        ("bytes", Value::from((0..=255).collect::<Vec<u8>>())),
    ]);
    let mail = Value::from([
        ("to", Value::from("a@example.org")),
        ("text", Value::from("see file")),
        ("attachments", Value::List(vec![file])),
    ]);
    Try::first(&services)
        .with("mail::send", &[mail])
        .await
        .unwrap();
    let mail = standin.mails().pop().unwrap();
    let parsed = mail_parser::MessageParser::default()
        .parse(&mail.bytes)
        .unwrap();
    use mail_parser::MimeHeaders as _;
    let part = parsed.attachment(0).unwrap();
    assert_eq!(part.attachment_name(), Some("日本 report.bin"));
    assert_eq!(part.contents(), (0..=255).collect::<Vec<u8>>());
    assert_eq!(parsed.body_text(0).unwrap().trim_end(), "see file");
}

#[tokio::test]
async fn control_characters_are_refused_in_every_field_and_nothing_panics() {
    let (standin, services) = start().await;
    let evil = "a\r\nBcc: evil@example.org";
    let attempts = [
        json!({"to": format!("{evil} <a@example.org>")}),
        json!({"to": "\"x\r\n\" <a@example.org>"}),
        json!({"to": "a@example.org\r\nRCPT TO:<b@example.org>"}),
        json!({"to": "a@example.org", "cc": format!("{evil} <c@example.org>")}),
        json!({"to": "a@example.org", "subject": evil}),
        json!({"to": "a@example.org", "from": "x\n <a@example.org>"}),
        json!({"to": "a@example.org", "reply_to": "x\u{0}y <a@example.org>"}),
        json!({"to": "a@example.org", "in_reply_to": "<a@b>\r\nX: 1"}),
        json!({"to": "a@example.org", "headers": {"X-A": evil}}),
        json!({"to": "a@example.org", "headers": {"X-A\r\nBcc": "b@example.org"}}),
        json!({"to": "a@example.org", "headers": {"Bcc": "b@example.org"}}),
        json!({"to": "a@example.org", "attachments": [{"filename": evil, "bytes": "x"}]}),
        json!({"to": "a@example.org", "attachments": [{"filename": "x", "type": "text/plain\r\nX: 1", "bytes": "x"}]}),
        json!({"to": "a\u{7f}b <a@example.org>"}),
        json!({"to": "a\u{85}b <a@example.org>"}),
        json!({"to": "a\u{2028}b <a@example.org>"}),
    ];
    for mail in attempts {
        let outcome = call(&services, "mail::send", json!([mail])).await;
        assert!(outcome.is_err(), "{mail}");
        refusal(outcome);
    }
    assert!(standin.mails().is_empty());
    // Odd but harmless names do not panic either.
    for name in [
        "\"",
        "\\",
        "a\"b\\c",
        "é\"<>,",
        "<",
        "🦀, 🦀",
        &"x".repeat(3_000),
        "\u{202e}",
    ] {
        let mail =
            json!([{"to": format!("\"{}\" <a@example.org>", name.replace(['"', '\\'], ""))  }]);
        call(&services, "mail::send", mail).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_mail_is_refused_by_field() {
    let (_standin, services) = start().await;
    for (mail, complaint) in [
        (json!({}), "`to` is missing or blank"),
        (json!({"to": ""}), "`to` is missing or blank"),
        (
            json!({"to": "nobody"}),
            "`to` has \"nobody\", which is no mail address",
        ),
        (
            json!({"to": 7}),
            "`to` must be text or a list of texts, not an integer",
        ),
        (
            json!({"to": "a@example.org", "body": "x"}),
            "there is no option `body`",
        ),
        (
            json!({"to": vec!["a@example.org"; 101]}),
            "more than 100 recipients",
        ),
        (
            json!({"to": "a@example.org", "attachments": [{"filename": "x", "type": "no type", "bytes": ""}]}),
            "no media type",
        ),
        (
            json!({"to": "a@example.org", "attachments": [{"filename": "x"}]}),
            "`bytes` must be",
        ),
    ] {
        let said = refusal(call(&services, "mail::send", json!([mail])).await);
        assert!(said.contains(complaint), "{said}");
    }
}

#[tokio::test]
async fn a_second_try_is_the_same_mail() {
    let (standin, services) = start().await;
    standin.fail_next(Mischief::LoseAnswer);
    let mail = json!([{"to": "a@example.org", "subject": "x"}]);
    let failure = away(call(&services, "mail::send", mail.clone()).await);
    assert!(failure.in_doubt, "{failure}");
    Try::again(&services)
        .call("mail::send", mail)
        .await
        .unwrap();
    let ids: Vec<_> = standin
        .mails()
        .iter()
        .map(|mail| {
            let parsed = mail_parser::MessageParser::default()
                .parse(&mail.bytes)
                .unwrap();
            parsed.message_id().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "mailboxes can tell");
}

#[tokio::test]
async fn a_4xx_is_an_absence_and_a_5xx_a_refusal() {
    let (standin, services) = start().await;
    let mail = json!([{"to": "a@example.org"}]);
    standin.fail_next(Mischief::RefuseMail(
        "452 4.3.1 insufficient system storage".to_owned(),
    ));
    let failure = away(call(&services, "mail::send", mail.clone()).await);
    assert_eq!((failure.status, failure.in_doubt), (Some(452), false));
    assert!(
        failure.message.contains("insufficient system storage"),
        "{failure}"
    );
    standin.fail_next(Mischief::RefuseRecipient(
        "550 5.1.1 no such user".to_owned(),
    ));
    let failure = call(&services, "mail::send", mail.clone())
        .await
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.status),
        (FailureKind::Refused, Some(550))
    );
    assert!(failure.message.contains("no such user"), "{failure}");
    standin.fail_next(Mischief::RefuseRecipient("450 4.2.0 greylisted".to_owned()));
    away(call(&services, "mail::send", mail.clone()).await);
    call(&services, "mail::send", mail).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_is_away_or_silent_leaves_nothing_in_doubt() {
    let (standin, services) = start().await;
    standin.fail_next(Mischief::Silence);
    let failure = away(call(&services, "mail::send", json!([{"to": "a@example.org"}])).await);
    assert!(!failure.in_doubt, "{failure}");
    drop(standin);
    let failure = away(call(&services, "mail::send", json!([{"to": "a@example.org"}])).await);
    assert!(!failure.in_doubt, "{failure}");
}

#[test]
fn a_password_travels_protected_or_not_at_all_and_is_never_shown() {
    let (folder, _) = secret("hunter2-hunter2");
    let prepare = |text: &str| {
        let settings: Settings = toml::from_str(text).map_err(|why| why.to_string())?;
        Service::prepare(settings, folder.path())
    };
    let login = "user = \"u\"\npassword_file = \"secret\"\n";
    for fine in [
        "smtps://mail.example",
        "smtp://mail.example:587?tls=required",
        "smtp://127.0.0.1:25",
        "smtp://mail.example",
        "smtp://[::1]:25",
    ] {
        let service = prepare(&format!("{login}endpoint = \"{fine}\"")).unwrap();
        assert!(!format!("{service:?}").contains("hunter2"), "{service:?}");
    }
    for bare in [
        "smtp://mail.example?tls=none",
        "smtp://mail.example?tls=opportunistic",
    ] {
        let said = prepare(&format!("{login}endpoint = \"{bare}\""))
            .map(drop)
            .unwrap_err();
        assert!(said.contains("a password needs"), "{said}");
    }
    for (text, complaint) in [
        ("endpoint = \"mail.example:25\"", "one looks like"),
        ("endpoint = \"smtp://u:p@mail.example\"", "one looks like"),
        (
            "endpoint = \"smtp://mail.example?tls=maybe\"",
            "one looks like",
        ),
        ("endpoint = \"smtp://mail.example:x\"", "one looks like"),
        ("from = \"nobody\"", "`from` has"),
        ("user = \"u\"", "set both"),
        ("password = \"x\"", "unknown field"),
    ] {
        let said = prepare(text).map(drop).unwrap_err();
        assert!(said.contains(complaint), "{said}");
    }
}
