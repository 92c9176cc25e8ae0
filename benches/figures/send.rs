//! Sending one event from a shell, as an MTA or snmptrapd does for each: our small sender beside a
//! Python script with pika.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::Plan;
use super::house::{House, Running, SENDEVT, VIGIE, scratch};
use super::peers::rabbit::{self, QUEUE};
use super::report::{Figure, Report, Table};
use super::statistics::{median, milliseconds, quantile};

/// How many times as much the script may take at least.
const RATIO_MIN: f64 = 10.0;

/// Publishes one persistent message and waits for its confirm.
const SCRIPT: &str = r#"
import json, sys
import pika
port, queue = int(sys.argv[1]), sys.argv[2]
body = dict(pair.split("=", 1) for pair in sys.argv[3:])
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_publish("", queue, json.dumps(body).encode(),
                      pika.BasicProperties(delivery_mode=2, content_type="application/json"))
connection.close()
"#;

const PAIRS: &[&str] = &[
    "hostname=web01",
    "status=PROBLEM",
    "severity=4",
    "detail=load is 5.21",
];

/// One way to send, with how long each call took in milliseconds.
struct Way {
    name: &'static str,
    command: Command,
    times: Vec<f64>,
}

impl Way {
    fn new(name: &'static str, mut command: Command) -> Way {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Way {
            name,
            command,
            times: Vec::new(),
        }
    }

    fn call(&mut self) {
        let began = Instant::now();
        let status = self.command.status().unwrap();
        self.times.push(milliseconds(began.elapsed()));
        assert!(status.success(), "{}: {status}", self.name);
    }
}

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = super::runtime();
    let house = House::new();
    house.file("channels/alert.toml", "");
    let server = house.serve();
    let folder = scratch();
    let script = folder.path().join("send.py");
    std::fs::write(&script, SCRIPT).unwrap();
    let mut ways = vec![
        Way::new("vigie send", ours(VIGIE, &["send"], &server, &house)),
        Way::new("sendevt", ours(SENDEVT, &[], &server, &house)),
    ];
    let peer = python().and_then(|python| Ok((python, rabbit::start(&runtime)?)));
    if let Ok((python, rabbit)) = &peer {
        let mut command = Command::new(python);
        command
            .arg(&script)
            .args([&rabbit.address.port().to_string(), QUEUE])
            .args(PAIRS);
        ways.push(Way::new("Python 3 with pika, to RabbitMQ", command));
        let mut command = Command::new(python);
        command.args(["-c", "pass"]);
        ways.push(Way::new("Python 3 alone, doing nothing", command));
    }
    for _ in 0..plan.pick(100, 15) {
        ways.iter_mut().for_each(Way::call);
    }
    tell(report, &ways, peer.as_ref().err());
}

fn ours(binary: &str, verb: &[&str], server: &Running, house: &House) -> Command {
    let mut command = Command::new(binary);
    command
        .args(verb)
        .args(["--channel", "alert", "--server", &server.url()])
        .arg("--logdir")
        .arg(house.path("log"))
        .args(PAIRS)
        .current_dir(house.path(""))
        .env_remove("VIGIE_TOKEN_FILE");
    command
}

/// A Python that has pika.
fn python() -> Result<&'static str, String> {
    let has_pika = |python: &&str| {
        let asked = Command::new(python)
            .args(["-c", "import pika"])
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    };
    ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(has_pika)
        .ok_or_else(|| "not installed: there is no Python 3 with pika".to_owned())
}

fn tell(report: &mut Report, ways: &[Way], missing: Option<&String>) {
    let p50 = |way: &Way| median(&way.times);
    let peer = ways.get(2);
    for way in &ways[..2] {
        let ratio = peer.map(|peer| p50(peer) / p50(way));
        let beside = peer.map(|peer| format!("{}: {:.1} ms", peer.name, p50(peer)));
        report.add(Figure {
            what: format!(
                "`{}`: one event from a shell to its confirmation, p50",
                way.name
            ),
            ours: format!("{:.1} ms", p50(way)),
            peer: beside.or(missing.cloned()).unwrap_or_default(),
            ratio: ratio.map_or_else(String::new, |ratio| format!("{ratio:.0}× cheaper")),
            factor: ratio,
            aim: format!("≥ {RATIO_MIN}× cheaper"),
            met: ratio.map(|ratio| ratio >= RATIO_MIN),
        });
    }
    let row = |way: &Way| {
        let shown = |share| format!("{:.1} ms", quantile(&way.times, share));
        vec![
            way.name.to_owned(),
            shown(0.5),
            shown(0.9),
            shown(0.0),
            way.times.len().to_string(),
        ]
    };
    report.tables.push(Table {
        title: "**One event from a shell, wall time**".to_owned(),
        columns: vec!["way", "p50", "p90", "least", "calls"],
        rows: ways.iter().map(row).collect(),
    });
}
