//! A real snmptrapd hands traps to `vigie trap`, and a flow pages with them.

use serde_json::{Value as Json, json};
use vigie::standin::pagerduty::PagerDuty;

use crate::house::{House, VIGIE, wait_for};
use crate::peers::snmptrapd::{Snmptrapd, has_ipv6};

const ENTERPRISE: &str = "1.3.6.1.4.1.8072.9999.9999";
const FIRST: &str = "1.3.6.1.4.1.8072.9999.9999.1";
const PAGE: &str = r#"
let text = event.values["1.3.6.1.4.1.8072.9999.9999.1"] ?? "";
pagerduty::trigger(#{
    summary: `${event.name ?? event.oid}: ${text}`, source: event.address, severity: "critical",
    dedup_key: event.oid, custom_details: #{ uptime: event.uptime },
});
"#;

/// A house that pages the stand-in for every trap.
fn house(pagerduty: &PagerDuty) -> House {
    let house = House::new().settings(&format!(
        "[pagerduty]\nendpoint = \"{}\"\nrouting_key_file = \"pagerduty.key\"",
        pagerduty.url()
    ));
    house
        .channel("snmptrapd", "")
        .file("pagerduty.key", &"a".repeat(32));
    house.flow("snmptrapd/page", PAGE);
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_of_every_kind_reach_pagerduty_through_a_real_snmptrapd() {
    let pagerduty = PagerDuty::start().await.unwrap();
    let house = house(&pagerduty);
    let server = house.serve();
    let spool = house.path("spool");
    let handler = format!(
        "{VIGIE} trap --channel snmptrapd --server {} --spool {}",
        server.url,
        spool.display()
    );
    let snmptrapd = Snmptrapd::handing_to(&handler);
    let event = |number: usize| -> Json {
        let run = server.ended(&format!("snmptrapd/{number}/page"));
        assert_eq!(run["state"], "done", "{run:#}\n{}", snmptrapd.log());
        server.get(&format!("events/snmptrapd%2F{number}"))["body"].clone()
    };

    snmptrapd.send(
        "2c",
        &["", ".1.3.6.1.6.3.1.1.5.3", FIRST, "s", "eth1 is down"],
    );
    let v2 = event(1);
    assert_eq!(
        (&v2["name"], &v2["address"]),
        (&json!("linkDown"), &json!("127.0.0.1"))
    );

    snmptrapd.send(
        "1",
        &[
            ENTERPRISE,
            "192.0.2.7",
            "6",
            "17",
            "12345",
            FIRST,
            "s",
            "disk full",
        ],
    );
    let v1 = event(2);
    assert_eq!(v1["oid"], format!("{ENTERPRISE}.0.17"));
    assert_eq!(
        (&v1["agent"], &v1["uptime"]),
        (&json!("192.0.2.7"), &json!(12345))
    );
    assert_eq!(v1["enterprise"], ENTERPRISE);

    let forged = "line one\n.1.3.6.1.6.3.1.1.4.1.0 .1.3.6.1.6.3.1.1.5.1\n\nline \"four\" \\";
    snmptrapd.send("2c", &["", ENTERPRISE, FIRST, "s", forged]);
    let lines = event(3);
    assert_eq!(lines["values"][FIRST], forged);
    assert_eq!(
        lines["oid"], ENTERPRISE,
        "the line in the string is no varbind"
    );

    let mut alerts = 3;
    if has_ipv6() {
        snmptrapd.send_over_ipv6(
            "2c",
            &[
                "",
                &format!("{ENTERPRISE}.6"),
                FIRST,
                "s",
                "over IPv6 \u{969c}\u{5bb3}",
            ],
        );
        let v6 = event(4);
        assert_eq!(
            (&v6["address"], &v6["values"][FIRST]),
            (&json!("::1"), &json!("over IPv6 \u{969c}\u{5bb3}"))
        );
        alerts += 1;
    }

    let paged = pagerduty.alerts();
    assert_eq!(paged.len(), alerts, "{paged:#?}");
    assert_eq!(paged[0].payload["summary"], "linkDown: eth1 is down");
    assert_eq!(paged[1].payload["custom_details"]["uptime"], 12345);
    assert_eq!(paged[2].payload["source"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_wait_in_the_spool_while_the_server_is_away_and_page_once() {
    let pagerduty = PagerDuty::start().await.unwrap();
    let house = house(&pagerduty);
    // its address is gone when it starts again, so the handler only ever finds the spool
    let server = house.serve();
    let url = server.url.clone();
    server.kill();
    let spool = house.path("spool");
    let handler = format!(
        "{VIGIE} trap --channel snmptrapd --server {url} --spool {}",
        spool.display()
    );
    let snmptrapd = Snmptrapd::handing_to(&handler);
    for number in 1..=3 {
        let oid = format!("{ENTERPRISE}.{number}");
        snmptrapd.send("2c", &["", &oid, FIRST, "s", "kept"]);
    }
    wait_for("three spooled traps", || {
        (vigie::sender::spool::list(&spool).unwrap().events.len() == 3).then_some(())
    });
    let server = house.serve();
    for number in 1..=3 {
        assert_eq!(
            server.ended(&format!("snmptrapd/{number}/page"))["state"],
            "done"
        );
    }
    wait_for("an empty spool", || {
        vigie::sender::spool::list(&spool)
            .unwrap()
            .events
            .is_empty()
            .then_some(())
    });
    assert_eq!(
        server.push(
            "snmptrapd",
            &json!({ "oid": "last", "values": {}, "address": "x", "uptime": 0 })
        ),
        "snmptrapd/4"
    );
    let mut keys: Vec<String> = pagerduty
        .alerts()
        .into_iter()
        .map(|alert| alert.dedup_key)
        .collect();
    keys.retain(|key| key != "last");
    keys.sort();
    assert_eq!(
        keys,
        [1, 2, 3].map(|number| format!("{ENTERPRISE}.{number}"))
    );
    assert!(pagerduty.alerts().iter().all(|alert| alert.triggers == 1));
}
