//! A real Alertmanager tells the webhook door.

use serde_json::{Value as Json, json};

use crate::house::{House, Running, wait_for};
use crate::peers::alertmanager::Alertmanager;

/// The event, once it is there.
fn event(server: &Running, number: usize) -> Json {
    let path = format!("/api/v1/events/alert%2F{number}");
    wait_for(&format!("event {number}"), || {
        let answered = server.ask(&path, &[], None);
        (answered.status == 200).then(|| answered.json())
    })
}

#[test]
fn each_alert_of_a_real_alertmanager_is_one_event_when_it_fires_and_when_it_is_resolved() {
    let house = House::new();
    house.channel("alert", "");
    let server = house.serve();
    let alertmanager = Alertmanager::telling(&format!("{}/hooks/alertmanager/alert", server.url));
    let alert = |instance: &str, ends: Option<&str>| {
        let labels = json!({
            "alertname": "HighLatency", "instance": instance, "severity": "critical", "cluster": "eu",
        });
        let mut alert = json!({
            "labels": labels, "annotations": { "summary": "p99 \u{fc}ber 2 s" },
            "generatorURL": "http://prometheus.example/graph",
        });
        if let Some(ends) = ends {
            alert["endsAt"] = Json::from(ends);
        }
        alert
    };
    alertmanager.push(&json!([alert("web01", None), alert("web02", None)]));
    let firing = [event(&server, 1), event(&server, 2)];
    let mut instances: Vec<&Json> = firing
        .iter()
        .map(|event| &event["body"]["instance"])
        .collect();
    instances.sort_by_key(|instance| instance.to_string());
    assert_eq!(instances, ["web01", "web02"]);
    for event in &firing {
        let body = &event["body"];
        assert_eq!(
            (&body["status"], &body["alertname"]),
            (&json!("firing"), &json!("HighLatency"))
        );
        assert_eq!(
            (&body["severity"], &body["endsAt"]),
            (&json!("critical"), &Json::Null)
        );
        assert_eq!(body["annotations"]["summary"], "p99 \u{fc}ber 2 s");
        assert_eq!(
            (&body["receiver"], &body["version"]),
            (&json!("hook"), &json!("4"))
        );
        assert_eq!(event["meta"]["source"], "alertmanager");
    }
    alertmanager.push(&json!([
        alert("web01", Some("2020-01-01T00:00:00Z")),
        alert("web02", None)
    ]));
    let told = [event(&server, 3), event(&server, 4)];
    let resolved = told
        .iter()
        .find(|event| event["body"]["instance"] == "web01")
        .unwrap();
    assert_eq!(resolved["body"]["status"], "resolved");
    assert_eq!(
        resolved["body"]["group_status"], "firing",
        "the other one still fires"
    );
    assert!(resolved["body"]["endsAt"].is_string());
    let fired = firing
        .iter()
        .find(|event| event["body"]["instance"] == "web01")
        .unwrap();
    assert_eq!(
        resolved["body"]["fingerprint"],
        fired["body"]["fingerprint"]
    );
}
