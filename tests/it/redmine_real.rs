//! `redmine::*` against a real Redmine from Debian's packages, private to this test.
//!
//! Needs the packages redmine, redmine-sqlite and puma; without them the test fails and says so.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use vigie::action::Services;
use vigie::action::http::{Client, Request};
use vigie::action::redmine::{Named, Service, Settings};
use vigie::event::Value;

use crate::acting::{Try, call, refusal, secret, shown};

const SETUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/redmine/setup.sh");

/// A running Redmine; it ends with this.
struct RealRedmine {
    folder: tempfile::TempDir,
    url: String,
    key: String,
}

impl Drop for RealRedmine {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("puma.pid")).unwrap_or_default();
        let pid = pid
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

impl RealRedmine {
    fn start() -> RealRedmine {
        let there = Path::new("/usr/share/redmine/config.ru").exists();
        assert!(
            there,
            "install the packages redmine, redmine-sqlite and puma"
        );
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let output = folder.path().join("environment");
        let status = Command::new("sh")
            .args([
                SETUP,
                &folder.path().display().to_string(),
                &port.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&output).unwrap())
            .status()
            .unwrap();
        let environment = std::fs::read_to_string(&output).unwrap();
        let mut real = RealRedmine {
            folder,
            url: format!("http://127.0.0.1:{port}"),
            key: String::new(),
        };
        assert!(status.success(), "redmine did not come up: {environment}");
        let key = environment
            .lines()
            .find_map(|line| line.strip_prefix("REDMINE_API_KEY="));
        real.key = key.expect("a key").to_owned();
        real
    }

    fn services(&self, key: &str, marker: &str) -> Services {
        let (folder, file) = secret(key);
        let settings = Settings {
            endpoint: self.url.clone(),
            key_file: Some(file),
            marker_field: Some(Named(marker.to_owned())),
            project: Some(Named("test".to_owned())),
            ..Settings::default()
        };
        Services {
            redmine: Some(Service::prepare(settings, folder.path()).unwrap()),
            ..Services::default()
        }
    }

    /// How many issues carry the key, asked without our own verbs.
    async fn count(&self, dedup_key: &str) -> usize {
        let mut request = Request::new("GET", format!("{}/issues.json", self.url));
        request
            .headers
            .push(("x-redmine-api-key".to_owned(), self.key.clone()));
        request.query = vec![
            ("status_id".into(), "*".into()),
            ("limit".into(), "100".into()),
        ];
        let answer = Client::default()
            .send(request)
            .await
            .unwrap()
            .json()
            .unwrap();
        let mine = |issue: &&serde_json::Value| issue["custom_fields"][0]["value"] == dedup_key;
        answer["issues"]
            .as_array()
            .unwrap()
            .iter()
            .filter(mine)
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_redmine_opens_once_closes_and_refuses_as_the_standin_does() {
    let real = RealRedmine::start();
    let services = real.services(&real.key, "dedup_key");
    opens_once(&real, &services).await;
    odd_keys_stay_apart(&real, &services).await;
    changes_and_closes(&real, &services).await;
    refuses(&real, &services).await;
}

async fn opens_once(real: &RealRedmine, services: &Services) {
    // The very first issue of a fresh Redmine: nothing shows the marker field's number yet.
    let issue = json!([{"subject": "web01 is DOWN", "tracker": "Bug", "priority": "Urgent",
        "category": "network", "assignee": "Flow Robot", "dedup_key": "host/web01"}]);
    let first = call(services, "redmine::open", issue.clone())
        .await
        .unwrap();
    assert_eq!(first.get("created"), Some(&Value::Bool(true)));
    let again = call(services, "redmine::open", issue.clone())
        .await
        .unwrap();
    assert_eq!(
        (again.get("created"), again.get("id")),
        (Some(&Value::Bool(false)), first.get("id"))
    );
    // A server that was started anew remembers nothing.
    let fresh = real.services(&real.key, "dedup_key");
    let (one, two) = tokio::join!(
        call(&fresh, "redmine::open", issue.clone()),
        call(&fresh, "redmine::open", issue.clone()),
    );
    assert_eq!(
        (one.unwrap().get("id"), two.unwrap().get("id")),
        (first.get("id"), first.get("id"))
    );
    assert_eq!(real.count("host/web01").await, 1);
    let new = json!([{"subject": "b", "dedup_key": "host/web02"}]);
    let (one, two) = tokio::join!(
        call(&fresh, "redmine::open", new.clone()),
        call(&fresh, "redmine::open", new.clone()),
    );
    assert_eq!(one.unwrap().get("id"), two.unwrap().get("id"));
    assert_eq!(real.count("host/web02").await, 1);
    let unnamed = json!([{"subject": "without a key"}]);
    let opened = call(services, "redmine::open", unnamed.clone())
        .await
        .unwrap();
    let found = Try::again(services)
        .call("redmine::open", unnamed)
        .await
        .unwrap();
    assert_eq!(opened.get("id"), found.get("id"));
}

async fn odd_keys_stay_apart(real: &RealRedmine, services: &Services) {
    for key in [
        "host|web01",
        "~web",
        "!web",
        "*",
        ">=5",
        "a&b=c%",
        "日本/ü",
        "web",
    ] {
        for _ in 0..2 {
            let issue = json!([{"subject": "odd key", "dedup_key": key}]);
            call(services, "redmine::open", issue).await.unwrap();
        }
        assert_eq!(real.count(key).await, 1, "{key}");
    }
    let long = json!([{"subject": "ü".repeat(300), "description": "more"}]);
    let opened = shown(&call(services, "redmine::open", long).await.unwrap());
    assert_eq!(opened["subject"].as_str().unwrap().chars().count(), 255);
}

async fn changes_and_closes(real: &RealRedmine, services: &Services) {
    let issue = json!([{"subject": "to close", "dedup_key": "close/me"}]);
    let id = call(services, "redmine::open", issue.clone())
        .await
        .unwrap();
    let id = id.get("id").unwrap().to_json();
    let change = json!([id, {"status": "In Progress", "note": "seen", "priority": "High"}]);
    let changed = call(services, "redmine::update", change.clone())
        .await
        .unwrap();
    assert_eq!(shown(&changed)["status"], "In Progress");
    Try::again(services)
        .call("redmine::update", change)
        .await
        .unwrap();
    call(
        services,
        "redmine::comment",
        json!([id, "still down\nat 12"]),
    )
    .await
    .unwrap();
    Try::again(services)
        .call("redmine::comment", json!([id, "still down\nat 12"]))
        .await
        .unwrap();
    for services in [Try::first(services), Try::again(services)] {
        let file = json!([id, "report.txt", "hello", {"content_type": "text/plain"}]);
        services.call("redmine::attach", file).await.unwrap();
    }
    let path = format!("{}/issues/{id}.json", real.url);
    let mut request = Request::new("GET", path);
    request
        .headers
        .push(("x-redmine-api-key".to_owned(), real.key.clone()));
    request.query = vec![("include".into(), "journals,attachments".into())];
    let answer = Client::default()
        .send(request)
        .await
        .unwrap()
        .json()
        .unwrap();
    let notes: Vec<&str> = answer["issue"]["journals"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["notes"].as_str())
        .filter(|note| !note.is_empty())
        .collect();
    assert_eq!(notes, ["seen", "still down\nat 12"]);
    assert_eq!(answer["issue"]["attachments"].as_array().unwrap().len(), 1);
    closes(services, issue, id).await;
}

async fn closes(services: &Services, issue: serde_json::Value, id: serde_json::Value) {
    let found = shown(
        &call(services, "redmine::find", json!(["close/me"]))
            .await
            .unwrap(),
    );
    assert_eq!(found[0]["id"], id);
    let closed = call(services, "redmine::close", json!([id, "recovered"]))
        .await
        .unwrap();
    assert_eq!(shown(&closed)["closed"], true);
    call(services, "redmine::close", json!([id, "recovered"]))
        .await
        .unwrap();
    let found = shown(
        &call(services, "redmine::find", json!(["close/me"]))
            .await
            .unwrap(),
    );
    assert_eq!(found, json!([]));
    let reopened = call(services, "redmine::open", issue).await.unwrap();
    assert_eq!(
        reopened.get("created"),
        Some(&Value::Bool(true)),
        "a closed one does not count"
    );
}

async fn refuses(real: &RealRedmine, services: &Services) {
    let said = refusal(
        call(
            services,
            "redmine::open",
            json!([{"project": "tset", "subject": "a"}]),
        )
        .await,
    );
    assert_eq!(
        said,
        "project \"tset\" does not exist or is not visible to this key"
    );
    let said = refusal(
        call(
            services,
            "redmine::open",
            json!([{"subject": "a", "priority": 99}]),
        )
        .await,
    );
    assert_eq!(said, "Priority cannot be blank");
    let said = refusal(
        call(
            services,
            "redmine::open",
            json!([{"subject": "a", "dedup_key": "k".repeat(256)}]),
        )
        .await,
    );
    assert_eq!(said, "Dedup key is too long (maximum is 255 characters)");
    assert_eq!(
        refusal(call(services, "redmine::close", json!([99_999])).await),
        "issue 99999 does not exist"
    );
    refuses_other_keys(real).await;
}

async fn refuses_other_keys(real: &RealRedmine) {
    let wrong = real.services(&"d".repeat(40), "1");
    for (verb, arguments) in [
        ("redmine::find", json!(["host/web01"])),
        ("redmine::open", json!([{"subject": "a", "dedup_key": "x"}])),
    ] {
        let said = refusal(call(&wrong, verb, arguments).await);
        assert_eq!(
            said,
            "Redmine does not know this API key; check key_file under [redmine]"
        );
    }
    let outsider = real.services(&"c".repeat(40), "1");
    let said = refusal(
        call(
            &outsider,
            "redmine::open",
            json!([{"subject": "a", "dedup_key": "x"}]),
        )
        .await,
    );
    assert_eq!(
        said,
        "project \"test\" does not exist or is not visible to this key"
    );
    let said = refusal(call(&outsider, "redmine::close", json!([1])).await);
    assert_eq!(said, "Redmine does not allow this to the key's user");
}
