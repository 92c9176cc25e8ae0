//! `examples/centreon` beside Centreon's own connectors: a real Broker's bytes in, and what stand-ins
//! for Canopsis, PagerDuty and InfluxDB received compared with what the real connectors sent for the
//! same events. Every difference is meant, and told in the example's README.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::source::bbdo::frame::Frame;
use vigie::standin::canopsis::AUTHKEY;
use vigie::standin::influxdb::{DATABASE, Field, ORG, TOKEN};
use vigie::standin::{Canopsis, InfluxDb, Mischief, PagerDuty, Reply, Seen};

use crate::bbdo::{Broker, packets};
use crate::bbdo_frames::{frames, recording};
use crate::connectors_compare::{Asked, differences, joined, recorded};
use crate::house::{House, Running, lines, wait_for};
use crate::peers::free_port;

/// The moment that a recording's times count from.
const SENT_AT: i64 = 1_795_191_633;
/// The same in what connectors sent.
const ASKED_AT: i64 = 1_795_192_006;
/// And in what the one for Canopsis sent while it was answered 500.
const FAILED_AT: i64 = 1_795_192_104;

/// What README tells, and the differences that it stands for.
const DIFFERENCES: &[(&str, &[&str])] = &[
    (
        "An event is an object",
        &[
            "check: body missing",
            "ack: body missing",
            "ackremove: body missing",
        ],
    ),
    (
        "Groups are in the order of their names",
        &[
            "check: body.hostgroups sorted",
            "trigger: body.payload.group sorted",
            "trigger: body.payload.custom_details.Hostgroups sorted",
        ],
    ),
    ("An acknowledgement of a host", &["ack: besides"]),
    (
        "An acknowledgement that is removed",
        &["ackremove: body.timestamp"],
    ),
    (
        "A downtime is set before it is taken back",
        &["order: POST pbehaviors, POST pbehavior-comments, DELETE pbehaviors"],
    ),
    (
        "A flexible downtime",
        &[
            "POST pbehaviors: body.tstart",
            "POST pbehaviors: body.tstop",
        ],
    ),
    (
        "The field of the entity pattern",
        &["POST pbehaviors: body.entity_pattern[0][0].field"],
    ),
    (
        "Reasons, types and the version",
        &[
            "GET pbehavior-reasons: besides",
            "GET pbehavior-reasons: query.limit besides",
            "GET pbehavior-reasons: query.page besides",
            "GET pbehavior-types: besides",
            "GET pbehavior-types: query.limit besides",
            "GET pbehavior-types: query.page besides",
            "GET app-info: besides",
        ],
    ),
    (
        "A reason that Canopsis does not have",
        &[
            "POST pbehavior-reasons: body.description",
            "POST pbehaviors: body.reason besides",
        ],
    ),
    (
        "PagerDuty's timestamp",
        &["trigger: body.payload.timestamp"],
    ),
    (
        "A resolve",
        &[
            "resolve: body.client missing",
            "resolve: body.links[0] missing",
            "resolve: body.payload missing",
        ],
    ),
    ("Tags of a line for InfluxDB", &["line: tags sorted"]),
    (
        "Values of what is acknowledged, in downtime or flapping",
        &[
            "line besides: idle,host.name=srv-web-01,poller=Central,service.name=Disk-/var,type=service value=1.0 T+600",
        ],
    ),
];

fn root(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

fn http(name: &str) -> String {
    std::fs::read_to_string(root("tests/data/bbdo/connectors-http").join(name)).unwrap()
}

/// The example with stand-ins in the place of its targets.
struct Example {
    house: House,
    /// Of the channels centreon, perfdata and bbdo.
    ports: [u16; 3],
    canopsis: Canopsis,
    pagerduty: PagerDuty,
    influxdb: InfluxDb,
    runtime: Runtime,
}

impl Example {
    fn new() -> Example {
        Example::with(Runtime::new().unwrap(), |runtime| {
            runtime.block_on(InfluxDb::start_two()).unwrap()
        })
    }

    fn with(runtime: Runtime, influxdb: impl Fn(&Runtime) -> InfluxDb) -> Example {
        let mut example = Example {
            house: House::new(),
            ports: [free_port(), free_port(), free_port()],
            canopsis: runtime.block_on(Canopsis::start()).unwrap(),
            pagerduty: runtime.block_on(PagerDuty::start()).unwrap(),
            influxdb: influxdb(&runtime),
            runtime,
        };
        let settings = format!(
            "[canopsis]\nendpoint = \"{}\"\nauthkey_file = \"secrets/canopsis\"\n\
            [pagerduty]\nendpoint = \"{}\"\nrouting_key_file = \"secrets/pagerduty\"\n\
            [influxdb]\nendpoint = \"{}\"\norg = \"{ORG}\"\nbucket = \"{DATABASE}\"\ntoken_file = \"secrets/influxdb\"\n\
            [file]\nfolder = \"log\"\n",
            example.canopsis.url(),
            example.pagerduty.url(),
            example.influxdb.url(),
        );
        example.house = House::new().settings(&settings);
        copy(&root("examples/centreon"), "", &example.house);
        for (secret, text) in [("canopsis", AUTHKEY), ("influxdb", TOKEN)] {
            example.house.file(&format!("secrets/{secret}"), text);
        }
        for ((channel, port), own) in ["centreon", "perfdata", "bbdo"]
            .iter()
            .zip([5669, 5670, 5671])
            .zip(example.ports)
        {
            example.edit(
                &format!("channels/{channel}.toml"),
                &format!(":{port}"),
                &format!(":{own}"),
            );
        }
        example.edit("flows/perfdata/influxdb.toml", "5s", "2s");
        example
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.house.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        self.house.file(file, &text.replace(from, to));
    }

    /// A Broker says all this at one door; returns once it is acknowledged.
    fn hear(&self, door: usize, all: &[Frame]) {
        let said = all
            .iter()
            .skip(1)
            .filter(|one| one.label.category != 2)
            .count();
        let mut broker = Broker::greet(self.ports[door], &all[0]);
        broker.send(&packets(&all[1..]));
        broker.is_acknowledged(said);
    }

    fn pagerduty_asked(&self) -> Vec<Asked> {
        asked(self.pagerduty.requests(), SENT_AT)
    }

    /// Waits until InfluxDB was sent that many lines.
    fn has_written(&self, count: usize) {
        wait_for("the values", || {
            let all = self.influxdb.requests();
            let lines: usize = all
                .iter()
                .map(|seen| Asked::seen(seen, 0).lines.len())
                .sum();
            (lines >= count).then_some(())
        });
    }

    fn influxdb_asked(&self) -> Vec<Asked> {
        joined(&asked(self.influxdb.requests(), SENT_AT))
    }
}

fn asked(requests: Vec<Seen>, base: i64) -> Vec<Asked> {
    requests
        .iter()
        .map(|seen| Asked::seen(seen, base))
        .collect()
}

fn copy(folder: &Path, inside: &str, house: &House) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{inside}{}", path.file_name().unwrap().to_str().unwrap());
        match path.is_dir() {
            true => copy(&path, &format!("{name}/"), house),
            false if name == "settings.toml" => {}
            false => drop(house.file(&name, &std::fs::read_to_string(&path).unwrap())),
        }
    }
}

/// Waits until the last of the runs that come one after another has ended.
fn has_done(server: &Running, last: &str) {
    let run = server.ended(last);
    assert_eq!(run["state"], "done", "{run}");
}

/// Nothing was given up on.
fn is_well(server: &Running) {
    let dead = server.get("dead");
    assert_eq!(dead["dead"].as_array().map(Vec::len), Some(0), "{dead}");
}

fn of(target: &str, all: &[Asked]) -> Vec<Asked> {
    let is_mine = |one: &&Asked| {
        let is_pagerduty = matches!(one.kind.as_str(), "trigger" | "resolve");
        let is_influxdb = !one.lines.is_empty();
        match target {
            "pagerduty" => is_pagerduty,
            "influxdb" => is_influxdb,
            _ => !is_pagerduty && !is_influxdb,
        }
    };
    all.iter().filter(is_mine).cloned().collect()
}

/// A reason that Canopsis has already.
fn make_reason(canopsis: &Canopsis) {
    let reason = json!({"name": "Centreon_downtime", "description": "x"});
    let answer = ureq::post(format!("{}/api/v4/pbehavior-reasons", canopsis.url()))
        .header("x-canopsis-authkey", AUTHKEY)
        .send(reason.to_string());
    assert_eq!(answer.unwrap().status(), 201);
}

/// Once more the last check of a service, now in a downtime and with another value.
fn with_a_check_in_downtime(sent: &[Frame]) -> Vec<Frame> {
    let is_check = |frame: &&Frame| (frame.label.category, frame.label.element) == (1, 29);
    let mut check = sent.iter().rfind(is_check).unwrap().clone();
    check.payload.extend(b"\xF0\x01\x01\x82\x01\x06idle=1");
    sent.iter().cloned().chain([check]).collect()
}

/// What differs when the Broker of the first recording is heard.
fn with_everything_well() -> BTreeSet<String> {
    let example = Example::new();
    make_reason(&example.canopsis);
    let server = example.house.serve();
    let sent = frames(&recording("A301.c1"));
    example.hear(0, &sent);
    example.hear(1, &with_a_check_in_downtime(&sent));
    has_done(&server, "centreon/11/canopsis");
    has_done(&server, "centreon/11/pagerduty");
    example.has_written(6);
    is_well(&server);
    let theirs = recorded(&http("bbdo3-canopsis_pagerduty_influx2.http.txt"), ASKED_AT);
    assert_eq!(theirs.len(), 20, "{theirs:#?}");
    let mut found = differences(
        &of("canopsis", &theirs),
        &asked(example.canopsis.requests(), SENT_AT)[1..],
    );
    found.extend(differences(
        &of("pagerduty", &theirs),
        &example.pagerduty_asked(),
    ));
    found.extend(differences(
        &of("influxdb", &theirs),
        &example.influxdb_asked(),
    ));
    found
}

/// The same while Canopsis has no reason, is of the version that wants a colour, and fails.
fn with_canopsis_failing() -> BTreeSet<String> {
    let example = Example::new();
    example.canopsis.pretend("22.10.4");
    let server = example.house.serve();
    let sent = frames(&recording("A301.c1"));
    let is_last = |frame: &Frame| frame.label.category == 6;
    let cut = sent.iter().rposition(is_last).unwrap() + 1;
    let mut broker = Broker::greet(example.ports[0], &sent[0]);
    broker.send(&packets(&sent[1..cut]));
    wait_for("the events before it", || {
        let deleted = example
            .canopsis
            .requests()
            .into_iter()
            .filter(|seen| seen.method == "DELETE")
            .count();
        (deleted == 2).then_some(())
    });
    let boom = Reply::json(500, &json!({"error": "boom"}));
    example.canopsis.fail_next(4, Mischief::Answer(boom));
    broker.send(&packets(&sent[cut..]));
    has_done(&server, "centreon/11/canopsis");
    is_well(&server);
    let theirs = recorded(&http("bbdo3-canopsis-with-500s.http.txt"), FAILED_AT);
    let mut ours = asked(example.canopsis.requests(), SENT_AT);
    // That connector was not told to send acknowledgements.
    ours.retain(|one| !one.kind.starts_with("ack"));
    differences(&theirs, &ours)
}

/// The requests on the documentation's pages, and the events that they are said to stand for.
fn with_the_pages() -> BTreeSet<String> {
    let example = Example::new();
    let server = example.house.serve();
    let pages: Json = serde_json::from_str(&http("pages.json")).unwrap();
    let mut found = BTreeSet::new();
    for page in pages.as_array().unwrap() {
        let before = example.canopsis.requests().len();
        let id = server.push("centreon", &page["event"]);
        has_done(&server, &format!("{id}/canopsis"));
        let headers = [
            ("x-canopsis-authkey".to_owned(), "x".to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let line = (
            page["method"].as_str().unwrap(),
            page["path"].as_str().unwrap(),
        );
        let theirs = Asked::new(line, &headers, &page["body"].to_string(), 1_700_000_000);
        let ours = asked(
            example.canopsis.requests()[before..].to_vec(),
            1_700_000_000,
        );
        let ours: Vec<Asked> = ours
            .into_iter()
            .filter(|one| one.kind == theirs.kind)
            .collect();
        assert_eq!(ours.len(), 1, "{}", page["page"]);
        found.extend(differences(&[theirs], &ours));
    }
    is_well(&server);
    found
}

#[test]
fn what_differs_from_the_connectors_is_what_readme_tells() {
    let mut found = with_everything_well();
    found.extend(with_canopsis_failing());
    found.extend(with_the_pages());
    let told: BTreeSet<String> = DIFFERENCES
        .iter()
        .flat_map(|(_, all)| all.iter().map(|one| (*one).to_owned()))
        .collect();
    let new: Vec<&String> = found.difference(&told).collect();
    let gone: Vec<&String> = told.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "not told: {new:#?}\ntold, but not so: {gone:#?}"
    );
    let readme = std::fs::read_to_string(root("examples/centreon/README.md")).unwrap();
    let table = readme.split("## What is otherwise").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    let rows: Vec<&str> = rows
        .iter()
        .map(|row| row.split('|').nth(1).unwrap().trim())
        .collect();
    let names: Vec<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    assert_eq!(rows, names);
}

/// Of the elder Broker less was recorded: not the end of a host's downtime nor its recovery. It sends
/// line breaks as such, the younger one as Engine escapes them.
#[test]
fn both_generations_of_brokers_come_out_alike() {
    let mut said = Vec::new();
    for (name, base, last) in [("A200.c1", 1_795_191_697, 9), ("A301.c1", SENT_AT, 11)] {
        let example = Example::new();
        let server = example.house.serve();
        example.hear(0, &frames(&recording(name)));
        has_done(&server, &format!("centreon/{last}/canopsis"));
        has_done(&server, &format!("centreon/{last}/pagerduty"));
        is_well(&server);
        said.push([
            asked(example.canopsis.requests(), base),
            asked(example.pagerduty.requests(), base),
        ]);
    }
    let [elder, younger] = said.try_into().unwrap();
    let acknowledged = elder[0].iter().filter(|one| one.kind == "ack").count();
    assert_eq!(acknowledged, 2);
    let mut found = BTreeSet::new();
    for (elder, younger) in elder.iter().zip(&younger) {
        found.extend(differences(younger, elder));
    }
    let wanted = [
        "DELETE pbehaviors: not sent",
        "check: body.long_output",
        "check: not sent",
        "order: check, ack",
        "resolve: not sent",
    ];
    assert_eq!(found, wanted.map(str::to_owned).into());
}

#[test]
fn a_downtime_that_ends_at_once_is_set_before_it_is_taken_back() {
    let example = Example::new();
    let server = example.house.serve();
    // Canopsis is slow to answer, and away for a while, when the downtime is to be set.
    example.canopsis.answer_next(2, 503);
    let downtime = |id: i64, ended: Json| {
        json!({"kind": "downtime", "id": id, "host_id": 101, "host_name": "srv-web-01", "author": "admin",
            "comment_data": "reboot", "entry_time": SENT_AT, "start_time": SENT_AT, "end_time": SENT_AT + 3600,
            "actual_start_time": SENT_AT, "duration": 3600, "fixed": true, "deletion_time": ended})
    };
    for id in 1..=5 {
        server.push("centreon", &downtime(id, Json::Null));
        server.push("centreon", &downtime(id, json!(SENT_AT)));
    }
    has_done(&server, "centreon/10/canopsis");
    is_well(&server);
    assert_eq!(example.canopsis.pbehaviors(), Vec::<Json>::new());
    let mut said: Vec<String> = example
        .canopsis
        .requests()
        .iter()
        .filter(|seen| seen.path.ends_with("/pbehaviors"))
        .map(|seen| format!("{} {}", seen.method, seen.json()["name"]))
        .collect();
    said.dedup();
    let wanted = (1..=5).flat_map(|id| {
        ["POST", "DELETE"].map(|method| format!("{method} \"centreon-downtime-{id}-{SENT_AT}\""))
    });
    assert_eq!(said, wanted.collect::<Vec<String>>());
}

#[test]
fn an_influxdb_that_is_away_delays_nobody_and_loses_nothing() {
    let example = Example::new();
    let server = example.house.serve();
    example.influxdb.answer_next(100_000, 503);
    let sent = frames(&recording("A301.c1"));
    example.hear(1, &sent);
    wait_for("a write that fails", || {
        (!example.influxdb.requests().is_empty()).then_some(())
    });
    example.hear(0, &sent);
    // Every other target has everything while InfluxDB has nothing.
    wait_for("the last check", || {
        let events = example.canopsis.events();
        events
            .iter()
            .any(|event| event["output"] == "OK - 192.0.2.10: rta 0.1ms")
            .then_some(())
    });
    wait_for("the last resolve", || {
        let alerts = example.pagerduty.alerts();
        (alerts.len() == 2 && alerts.iter().all(|alert| alert.state == "resolved")).then_some(())
    });
    assert!(example.influxdb.points().is_empty());
    example.influxdb.behave();
    has_done(&server, "perfdata/1/influxdb");
    wait_for("the values", || {
        (example.influxdb.points().len() == 5).then_some(())
    });
    is_well(&server);
}

#[test]
fn a_partial_write_drops_the_bad_lines_and_names_them() {
    let example = Example::new();
    let server = example.house.serve();
    let known = ureq::post(format!(
        "{}/api/v2/write?org={ORG}&bucket={DATABASE}",
        example.influxdb.url()
    ))
    .header("authorization", format!("Token {TOKEN}"))
    .send("inode value=\"many\" 1");
    assert_eq!(known.unwrap().status(), 204);
    example.hear(1, &frames(&recording("A301.c1")));
    has_done(&server, "perfdata/1/influxdb");
    is_well(&server);
    // the other four, and the one that was there
    assert_eq!(example.influxdb.points().len(), 5);
    let runs = server.get("runs?state=done");
    let runs: Vec<Json> = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| server.run(run["run"].as_str().unwrap()))
        .collect();
    let console: String = runs.iter().map(|run| run["console"].to_string()).collect();
    assert!(console.contains("inode,host.name=srv-web-01"), "{console}");
    assert!(console.contains("field type conflict"), "{console}");
    assert_eq!(
        console.matches("field type conflict").count(),
        1,
        "{console}"
    );
}

#[test]
fn the_script_of_the_page_for_influxdb_1_is_a_function_too() {
    let example = Example::with(Runtime::new().unwrap(), |runtime| {
        runtime.block_on(InfluxDb::start(false)).unwrap()
    });
    example.edit(
        "flows/perfdata/influxdb.rhai",
        "points = perfdata_points(events)",
        "points = perfdata_points(events, \"service\")",
    );
    example.edit(
        "channels/perfdata.toml",
        "accepted_elements = [\"host_status\", \"service_status\"]",
        "accepted_elements = [\"metric\"]",
    );
    let house = example.house;
    let url = example.influxdb.url();
    let settings = format!(
        "[influxdb]\nendpoint = \"{url}\"\ndatabase = \"{DATABASE}\"\n[file]\nfolder = \"log\"\n\
        [canopsis]\nendpoint = \"{url}\"\nauthkey_file = \"secrets/canopsis\"\n[pagerduty]\nrouting_key_file = \"secrets/pagerduty\"\n"
    );
    let one = House::new().settings(&settings);
    copy(&house.path(""), "", &one);
    let server = one.serve();
    let example = Example {
        house: House::new(),
        ..example
    };
    example.hear(1, &frames(&recording("A301.c1")));
    has_done(&server, "perfdata/1/influxdb");
    is_well(&server);
    let request = example.influxdb.requests().pop().unwrap();
    let asked = Asked::seen(&request, 0);
    // On the page: `<service>,host=<host> <metric>=<value> <seconds>000000000`.
    assert_eq!(
        asked.lines,
        [format!("Disk-/var,host=srv-web-01 used=95.5 T+{SENT_AT}")]
    );
    assert_eq!(
        (
            request.path.as_str(),
            request.asked("db"),
            request.asked("precision")
        ),
        ("/write", Some(DATABASE), Some("s"))
    );
    let points = example.influxdb.points();
    assert_eq!(points[0].time, SENT_AT * 1_000_000_000);
    assert_eq!(points[0].fields["used"], Field::Float(95.5));
    // Blanks are underlines there, and `time` cannot be a name.
    let metric = json!({"kind": "metric", "name": "time", "value": 1.5, "time": SENT_AT, "host_name": "web 1", "service_description": "Free space", "host_id": 1, "service_id": 2});
    let id = server.push("perfdata", &metric);
    has_done(&server, &format!("{id}/influxdb"));
    let asked = Asked::seen(&example.influxdb.requests().pop().unwrap(), 0);
    assert_eq!(
        asked.lines,
        [format!("Free_space,host=web\\ 1 _time=1.5 T+{SENT_AT}")]
    );
    drop(example.runtime);
}

#[test]
fn everything_a_broker_says_is_a_line_of_the_file() {
    let example = Example::new();
    let server = example.house.serve();
    let sent = frames(&recording("A301.c1"));
    example.hear(2, &sent);
    let said = sent.iter().filter(|one| one.label.category != 2).count();
    has_done(&server, &format!("bbdo/{said}/bbdo2file"));
    is_well(&server);
    let written: Vec<Json> = lines(&example.house.path("log/bbdo2file.log"))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let labels = |frame: &Frame| {
        (
            u64::from(frame.label.category),
            u64::from(frame.label.element),
        )
    };
    let wanted: Vec<(u64, u64)> = sent
        .iter()
        .map(labels)
        .filter(|(category, _)| *category != 2)
        .collect();
    let found: Vec<(u64, u64)> = written
        .iter()
        .map(|line| {
            (
                line["category"].as_u64().unwrap(),
                line["element"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, wanted);
    // The page's example is the status of an instance; all its fields are here, but for the type that
    // joins category and element.
    let status = written
        .iter()
        .find(|line| line["kind"] == "instance_status")
        .unwrap();
    for name in [
        "check_hosts_freshness",
        "active_host_checks",
        "category",
        "event_handlers",
        "instance_id",
        "last_command_check",
        "global_service_event_handler",
        "obsess_over_services",
        "passive_service_checks",
        "last_alive",
        "element",
    ] {
        assert!(status.get(name).is_some(), "{name}: {status}");
    }
}

#[test]
fn a_business_activity_goes_out_by_its_format_file() {
    let example = Example::new();
    let server = example.house.serve();
    server.push("centreon", &json!({"kind": "ba_status", "category": 6, "element": 19, "ba_id": 11, "ba_name": "Webshop", "state": 2, "last_state_change": SENT_AT}));
    has_done(&server, "centreon/1/business");
    is_well(&server);
    let wanted = json!({"event_type": "check", "source_type": "resource", "component": "business activities", "resource": "Webshop",
        "state": 2, "timestamp": SENT_AT, "output": "Webshop is CRITICAL", "connector": "centreon-stream", "connector_name": "bam",
        "business_activity_id": 11});
    assert_eq!(example.canopsis.requests()[0].json(), wanted);
}
