//! A real Postfix pipes mail for an alias into `vigie mail`: nothing lost, nothing twice.
//!
//! Needs root, because Postfix does.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value as Json, json};
use vigie::sender::spool;

use crate::house::{House, Running, VIGIE, wait_for};
use crate::peers::free_port;
use crate::peers::postfix::Postfix;

/// A house that Postfix's `nobody` can reach, with a copy of the binary, at an address that stays.
struct Post {
    house: House,
    url: String,
}

impl Post {
    fn office() -> Post {
        let address = format!("127.0.0.1:{}", free_port());
        let house = House::new().http(&format!("listen = \"{address}\""));
        house.channel("mail", "");
        std::fs::copy(VIGIE, house.path("vigie")).unwrap();
        open(&house.path("."), 0o755);
        Post {
            house,
            url: format!("http://{address}"),
        }
    }

    /// The alias's command, with a spool inside the house.
    fn command(&self, spool: &str) -> String {
        let path = |inside: &str| self.house.path(inside).display().to_string();
        let (program, spool) = (path("vigie"), path(spool));
        format!(
            "{program} mail --channel mail --server {} --spool {spool}",
            self.url
        )
    }

    fn spooled(&self) -> usize {
        spool::list(&self.house.path("spool")).map_or(0, |listing| listing.events.len())
    }
}

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mail(message_id: &str, text: &str) -> String {
    format!(
        "Message-ID: <{message_id}@example.test>\nFrom: Zabbix <zabbix@example.test>\n\
         To: ops@example.test\nSubject: =?UTF-8?B?6Zqc5a6z?= web01\n\
         Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n{text}\n"
    )
}

fn event(server: &Running, number: usize) -> Json {
    let path = format!("/api/v1/events/mail%2F{number}");
    wait_for(&format!("mail {number}"), || {
        let answered = server.ask(&path, &[], None);
        (answered.status == 200).then(|| answered.json())
    })
}

/// That no other mail came is shown by the number that the next event gets.
fn assert_count(server: &Running, count: usize) {
    assert_eq!(
        server.push("mail", &json!({ "last": true })),
        format!("mail/{}", count + 1)
    );
}

fn sent(postfix: &Postfix, count: usize) {
    wait_for(&format!("{count} deliveries:\n{}", postfix.log()), || {
        (postfix.deliveries("sent") >= count).then_some(())
    });
}

#[test]
fn a_mail_is_one_event_per_recipient_with_its_text_and_envelope() {
    let post = Post::office();
    let server = post.house.serve();
    let command = post.command("spool");
    let postfix = Postfix::with_aliases(&[("ops", &command), ("night", &command)]);
    let text = "障害 on web01\n.\nFrom the rack";
    postfix.mail(
        &["ops+db@example.test"],
        &mail("1", &text.replace("\n.\n", "\n..\n")),
    );
    let first = event(&server, 1);
    assert_eq!(first["meta"]["source"], "mail");
    assert_eq!(
        first["meta"]["RECIPIENT"], "ops+db@example.test",
        "{first:#}"
    );
    assert_eq!(first["meta"]["SENDER"], "zabbix@example.test");
    assert_eq!(first["meta"]["EXTENSION"], "db");
    assert_eq!(first["body"]["Subject"], "障害 web01", "{first:#}");
    assert_eq!(first["body"]["Body"].as_str().unwrap().trim_end(), text);
    // the same mail again, and one mail for two
    postfix.mail(&["ops+db@example.test"], &mail("1", "again"));
    postfix.mail(
        &["ops@example.test", "night@example.test"],
        &mail("2", "for both"),
    );
    sent(&postfix, 4);
    let mut recipients: Vec<Json> = [2, 3]
        .map(|number| event(&server, number)["meta"]["RECIPIENT"].clone())
        .into();
    recipients.sort_by_key(Json::to_string);
    assert_eq!(recipients, ["night@example.test", "ops@example.test"]);
    assert_count(&server, 3);
    assert_eq!(
        (
            postfix.deliveries("deferred"),
            postfix.deliveries("bounced")
        ),
        (0, 0)
    );
}

#[test]
fn a_mail_waits_in_the_spool_while_the_server_is_down_and_is_taken_in_once() {
    let post = Post::office();
    post.house.serve().kill();
    let postfix = Postfix::with_aliases(&[("ops", &post.command("spool"))]);
    postfix.mail(&["ops@example.test"], &mail("down", "while away"));
    sent(&postfix, 1);
    assert_eq!(post.spooled(), 1);
    let server = post.house.serve();
    let taken = event(&server, 1);
    assert_eq!(
        taken["body"]["Body"].as_str().unwrap().trim_end(),
        "while away"
    );
    assert_eq!(taken["meta"]["RECIPIENT"], "ops@example.test");
    wait_for("an empty spool", || (post.spooled() == 0).then_some(()));
    // once more, now by the door
    postfix.mail(&["ops@example.test"], &mail("down", "while away"));
    sent(&postfix, 2);
    assert_count(&server, 1);
    server.kill();
    assert_count(&post.house.serve(), 2);
}

#[test]
fn a_mail_that_nobody_can_keep_stays_with_postfix_and_comes_when_the_server_is_back() {
    let post = Post::office();
    post.house.serve().kill();
    std::fs::create_dir(post.house.path("locked")).unwrap();
    open(&post.house.path("locked"), 0o755);
    let postfix = Postfix::with_aliases(&[("ops", &post.command("locked"))]);
    postfix.mail(&["ops@example.test"], &mail("kept", "be patient"));
    wait_for("a deferral", || {
        (postfix.deliveries("deferred") >= 1).then_some(())
    });
    assert!(
        postfix.log().contains("nothing was kept, try again"),
        "{}",
        postfix.log()
    );
    assert_eq!(
        (postfix.deliveries("sent"), postfix.deliveries("bounced")),
        (0, 0)
    );
    let server = post.house.serve();
    postfix.flush();
    sent(&postfix, 1);
    let taken = event(&server, 1);
    assert_eq!(
        taken["body"]["Body"].as_str().unwrap().trim_end(),
        "be patient"
    );
    assert_count(&server, 1);
    assert_eq!(postfix.deliveries("bounced"), 0);
}
