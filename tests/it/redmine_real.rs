//! `redmine::*` against a real Redmine from Debian's packages.

use serde_json::json;
use vigie::action::Services;
use vigie::action::redmine::{Named, Service, Settings};
use vigie::event::Value;

use crate::acting::{Try, call, refusal, secret, shown};
use crate::peers::redmine::{self, FLOWBOT_KEY, OUTSIDER_KEY, Redmine, UNKNOWN_KEY};

impl Redmine {
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_redmine_opens_once_closes_and_refuses_as_the_standin_does() {
    let real = redmine::shared();
    let services = real.services(FLOWBOT_KEY, "dedup_key");
    opens_once(real, &services).await;
    odd_keys_stay_apart(real, &services).await;
    changes_and_closes(real, &services).await;
    refuses(real, &services).await;
}

async fn opens_once(real: &Redmine, services: &Services) {
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
    let fresh = real.services(FLOWBOT_KEY, "dedup_key");
    let (one, two) = tokio::join!(
        call(&fresh, "redmine::open", issue.clone()),
        call(&fresh, "redmine::open", issue.clone()),
    );
    assert_eq!(
        (one.unwrap().get("id"), two.unwrap().get("id")),
        (first.get("id"), first.get("id"))
    );
    assert_eq!(real.issues("host/web01").len(), 1);
    let new = json!([{"subject": "b", "dedup_key": "host/web02"}]);
    let (one, two) = tokio::join!(
        call(&fresh, "redmine::open", new.clone()),
        call(&fresh, "redmine::open", new.clone()),
    );
    assert_eq!(one.unwrap().get("id"), two.unwrap().get("id"));
    assert_eq!(real.issues("host/web02").len(), 1);
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

async fn odd_keys_stay_apart(real: &Redmine, services: &Services) {
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
        assert_eq!(real.issues(key).len(), 1, "{key}");
    }
    let long = json!([{"subject": "ü".repeat(300), "description": "more"}]);
    let opened = shown(&call(services, "redmine::open", long).await.unwrap());
    assert_eq!(opened["subject"].as_str().unwrap().chars().count(), 255);
}

async fn changes_and_closes(real: &Redmine, services: &Services) {
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
    let answer = real.get(&format!("/issues/{id}.json?include=journals,attachments"));
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

async fn refuses(real: &Redmine, services: &Services) {
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
    finds_a_spelled_mark(real).await;
}

/// No issue shows a field of that name, as none does before the first one.
async fn finds_a_spelled_mark(real: &Redmine) {
    let services = real.services(FLOWBOT_KEY, "no such field");
    let opened = async |key: &str| {
        let issue = json!([{"subject": "a", "description": "100 %", "dedup_key": key}]);
        let said = refusal(call(&services, "redmine::open", issue).await);
        said.split(" was opened").next().unwrap().to_owned()
    };
    let first = opened("spelled/日本 50%_\\").await;
    let other = opened("spelled/日本 50%").await;
    assert_ne!(first, other);
    assert_eq!(opened("spelled/日本 50%_\\").await, first);
    assert_eq!(opened("spelled/日本 50%").await, other);
}

async fn refuses_other_keys(real: &Redmine) {
    let wrong = real.services(UNKNOWN_KEY, "1");
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
    let outsider = real.services(OUTSIDER_KEY, "1");
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
