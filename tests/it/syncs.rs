//! How often the real server makes its files durable, seen in the system's own calls.

use std::time::Instant;

use vigie::store::LEDGER_LAG_MAX;

use crate::faults::disk::Fault;
use crate::house::{House, wait_for};
use crate::peers::need;

const ALERT: &str = "/api/v1/channels/alert/events";
const JSON: (&str, &str) = ("content-type", "application/json");
const EVENTS: usize = 50;

#[test]
fn each_event_is_synced_before_its_answer_and_the_ledger_a_while_after_the_first() {
    need("faults");
    let house = House::new();
    house.channel("alert", "");
    let server = house.serve();
    let calls = house.path("calls");
    let began = Instant::now();
    let options = ["-y", "-e", "trace=fdatasync", "-o", calls.to_str().unwrap()];
    let watching = Fault::at(server.pid(), &options);
    let of = |file: &str| {
        let calls = std::fs::read_to_string(&calls).unwrap_or_default();
        // One that another thread's call cut in two is told twice.
        let synced = |line: &&str| line.contains(file) && line.contains("fdatasync(");
        calls.lines().filter(synced).count()
    };
    for number in 1..=EVENTS {
        let before = of("data/tree/log>");
        let body = format!("{{\"n\":{number}}}");
        let answer = server.ask(ALERT, &[JSON], Some(body.as_bytes()));
        assert_eq!(answer.status, 202, "{answer:?}");
        // strace writes its file before the process goes on.
        assert!(of("data/tree/log>") > before, "event {number}");
    }
    wait_for("the ledger's last sync", || {
        let seen = of("data/ledger>");
        let at_most = began.elapsed().as_millis() / LEDGER_LAG_MAX.as_millis() + 1;
        assert!(seen as u128 <= at_most, "{seen} syncs of the ledger");
        (seen > 0).then_some(())
    });
    drop(watching);
    assert_eq!(server.stop(), Some(0));
}
