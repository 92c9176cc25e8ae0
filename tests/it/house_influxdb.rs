//! A real InfluxDB 1.6 is written to.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::action::Services;
use vigie::event::Value;

use crate::acting::{Try, call, refusal, shown};
use crate::house::{House, wait_for};
use crate::influxdb::{
    CONFLICT, field_said, handed, is_sayable, named, point, prepared, said, services, with, written,
};
use crate::peers::influxdb::{ADMIN, InfluxDb};

fn write(services: &Services, points: Json) -> Json {
    Runtime::new().unwrap().block_on(written(services, points))
}

fn refused(services: &Services, arguments: Json) -> String {
    let runtime = Runtime::new().unwrap();
    refusal(runtime.block_on(call(services, "influxdb::write", arguments)))
}

fn plain(influxdb: &InfluxDb) -> Services {
    services(&influxdb.url(), "database = \"m\"")
}

#[test]
fn a_real_influxdb_reads_what_we_write() {
    let influxdb = InfluxDb::start();
    let services = plain(&influxdb);
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::collection::vec(point().prop_filter("sayable", is_sayable), 400);
    let mut points = strategy.new_tree(&mut runner).unwrap().current();
    // A question about all measurements gives a field the widest of its types and leaves out the
    // others, so no name stands for two types here.
    for (_, _, fields) in &mut points {
        *fields = std::mem::take(fields)
            .into_iter()
            .map(|(key, value)| (format!("{}{key}", value.kind()), value))
            .collect();
    }
    let all: Vec<Value> = points
        .iter()
        .enumerate()
        .map(|(number, point)| handed(point, number))
        .collect();
    let runtime = Runtime::new().unwrap();
    let all = [Value::List(all)];
    let first = Try::first(&services);
    let outcome = first.with("influxdb::write", &all);
    let outcome = shown(&runtime.block_on(outcome).unwrap());
    assert_eq!(
        outcome,
        json!({"written": 400, "dropped": [], "dropped_count": 0})
    );
    let found = influxdb.ask("select * from /.*/ group by *");
    let mut by_name: BTreeMap<String, &Json> = BTreeMap::new();
    for series in &found {
        by_name.insert(series["name"].as_str().unwrap().to_owned(), series);
    }
    let missing =
        |number: &usize| !by_name.contains_key(&said(&format!("m{number}{}", points[*number].0)));
    let missing: Vec<_> = (0..400)
        .filter(missing)
        .map(|number| &points[number])
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for (number, (measurement, tags, fields)) in points.iter().enumerate() {
        let name = said(&format!("m{number}{measurement}"));
        let series = by_name
            .get(&name)
            .unwrap_or_else(|| panic!("{name:?} is missing"));
        for (key, value) in tags {
            let value = said(value);
            let found = series["tags"][said(key)].as_str().unwrap_or("");
            assert_eq!(found, value, "{name:?} {key:?}");
        }
        let columns = series["columns"].as_array().unwrap();
        for (key, value) in fields {
            let key = field_said(key);
            // a field beside a tag of the same name is shown as `name_1`
            let at = columns.iter().position(|column| *column == key.as_str());
            let Some(at) = at else {
                let twin = format!("{key}_1");
                assert!(
                    columns.iter().any(|column| *column == twin.as_str()),
                    "{name:?} lacks {key:?}: {series}"
                );
                continue;
            };
            let found = &series["values"][0][at];
            match value {
                Value::Int(number) => assert_eq!(found.to_string(), number.to_string()),
                Value::Float(number) => {
                    assert_eq!(found.to_string().parse::<f64>().unwrap(), *number)
                }
                Value::Bool(yes) => assert_eq!(found, yes),
                other => assert_eq!(found, &Json::from(other.to_plain()), "{name:?} {key:?}"),
            }
        }
    }
}

#[test]
fn a_real_influxdb_keeps_the_good_lines_and_the_bad_ones_are_named() {
    let influxdb = InfluxDb::start();
    let services = plain(&influxdb);
    write(&services, json!("conf f=1i 1"));
    let lines = [
        "cpu,host=a value=1 1",
        "cpu,host=b value= 1",
        "conf,host=b f=\"text\" 1",
        "cpu,host=c value=nonsense 1",
        "cpu,host=d value=2 1",
        "conf,host=c f=\"text\",g=1 1",
        "cpu,time=x value=1 1",
        "cpu,host=e value=1u 1",
        "cpu,host=f value=3 1",
        "cpu,host=g value=3 noon",
    ];
    let outcome = write(&services, json!(lines));
    assert_eq!(
        named(&outcome),
        [
            (2, "missing field value"),
            (3, CONFLICT),
            (4, "invalid number"),
            (6, CONFLICT),
            (
                7,
                "invalid tag key: input tag \"time\" on measurement \"cpu\" is invalid"
            ),
            (8, "invalid number"),
            (10, "bad timestamp"),
        ]
    );
    assert_eq!(outcome["written"], 3);
    assert_eq!(influxdb.count("cpu", "value"), 3);
    // a re-sent write makes no second point
    write(&services, json!(lines));
    assert_eq!(influxdb.count("cpu", "value"), 3);
}

#[test]
fn thousands_of_bad_lines_overwhelm_nobody() {
    let influxdb = InfluxDb::start();
    let services = plain(&influxdb);
    let line = |n: usize| {
        let value = if n.is_multiple_of(2) { "nonsense" } else { "1" };
        format!(
            "m,host=web{n:05}.some.where.example.org,service=Ping\\ of\\ the\\ host,poller=Central f={value} 1"
        )
    };
    let lines: Vec<String> = (0..10_000).map(line).collect();
    let outcome = write(&services, json!(lines));
    assert_eq!(
        (&outcome["written"], &outcome["dropped_count"]),
        (&json!(5_000), &json!(5_000))
    );
    assert_eq!(outcome["dropped"].as_array().unwrap().len(), 300);
    assert_eq!(outcome["dropped"][0]["why"], "invalid number");
    assert_eq!(influxdb.count("m", "f"), 5_000);
}

#[test]
fn a_real_influxdb_that_takes_little_at_once_gets_all_the_same() {
    let influxdb = InfluxDb::of(false, "max-body-size = 600");
    let services = plain(&influxdb);
    let lines: Vec<String> = (0..500)
        .map(|n| format!("m,host=h{} f={n} {n}", n * 7_919 % 10_007))
        .collect();
    assert_eq!(write(&services, json!(lines))["written"], 500);
    assert_eq!(influxdb.count("m", "f"), 500);
}

#[test]
fn a_real_influxdb_says_who_may_write_and_where() {
    let influxdb = InfluxDb::with_login();
    influxdb.tell("CREATE USER bob WITH PASSWORD 'pw'");
    let login = |user: &str, password: &str| {
        let toml = format!(
            "endpoint = \"{}\"\ndatabase = \"m\"\nuser = \"{user}\"\npassword_file = \"secret\"",
            influxdb.url()
        );
        with(prepared(&toml, password).unwrap())
    };
    let admin = login(ADMIN.0, ADMIN.1);
    assert_eq!(write(&admin, json!("m f=1 1"))["written"], 1);
    let line = || json!(["m f=1 1"]);
    for (services, words) in [
        (
            plain(&influxdb),
            "InfluxDB does not know this user or token: unable to parse authentication credentials",
        ),
        (
            login(ADMIN.0, "wrong"),
            "InfluxDB does not know this user or token: authorization failed",
        ),
        (
            login("bob", "pw"),
            "InfluxDB does not allow this: \"bob\" user is not authorized to write to database \"m\"",
        ),
    ] {
        assert_eq!(refused(&services, line()), words);
    }
    for (options, words) in [
        (
            json!({"database": "nope"}),
            "InfluxDB refused the points: database not found: \"nope\"",
        ),
        (
            json!({"retention_policy": "nope"}),
            "InfluxDB refused the points: retention policy not found: nope",
        ),
    ] {
        assert_eq!(refused(&admin, json!(["m f=1 1", options])), words);
    }
}

#[test]
fn nothing_is_lost_while_a_real_influxdb_is_killed_and_started_again() {
    let mut influxdb = InfluxDb::start();
    let house = House::new().settings(&format!(
        "[influxdb]\nendpoint = \"{}\"\ndatabase = \"m\"",
        influxdb.url()
    ));
    house.channel("metrics", "");
    house.flow(
        "metrics/influx",
        r#"influxdb::write(#{ measurement: "rta", tags: #{ host: event.host }, fields: #{ value: event.value }, time: now() });"#,
    );
    let server = house.serve();
    let push = |n: i64| server.push("metrics", &json!({"host": format!("web{n}"), "value": 0.5}));
    for n in 0..20 {
        push(n);
    }
    influxdb.kill();
    for n in 20..40 {
        push(n);
    }
    wait_for("a run that tries again", || {
        let run = server.run("metrics/21/influx");
        (run["state"] == "live").then_some(())
    });
    influxdb.again();
    for number in 1..=40 {
        let run = server.ended(&format!("metrics/{number}/influx"));
        assert_eq!(run["state"], "done", "{run}");
    }
    assert_eq!(influxdb.count("rta", "value"), 40);
}

/// Events of a full batch of `examples/centreon`.
const BATCH: i64 = 5_000;

/// A check of the example's perfdata channel; each has four values.
fn check(number: i64) -> Json {
    let last = match number {
        17 => "odd=1",
        18 => "swap=inf",
        _ => "swap=12%;80;90;0;100",
    };
    let perfdata = format!(
        "'used /var'={number}MB;1000;2000;0;4000 load1=0.5;4;5;0; eth0~in#net.bps=7b/s;;;0; {last}"
    );
    json!({"kind": "service_status", "host_id": 100 + number / 10, "service_id": number,
        "host_name": format!("server-{:04}.department.example.org", number / 10),
        "service_description": format!("Service number {number} of many"), "poller": "Central",
        "last_check": 1_795_192_006, "state": 0, "output": "OK", "perfdata": perfdata})
}

#[test]
fn a_full_batch_of_the_example_is_written_in_one_run_and_its_bad_values_are_named() {
    let influxdb = InfluxDb::start();
    influxdb.tell("CREATE DATABASE m");
    // What is text already takes no number.
    let known = ureq::post(format!("{}/write?db=m&precision=s", influxdb.url()))
        .send("odd value=\"many\" 1795192000");
    assert_eq!(known.unwrap().status(), 204);
    let house = House::new().settings(&format!(
        "[influxdb]\nendpoint = \"{}\"\ndatabase = \"m\"",
        influxdb.url()
    ));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/centreon/flows/perfdata");
    let shipped = |name: &str| std::fs::read_to_string(example.join(name)).unwrap();
    let batch = shipped("influxdb.toml");
    assert!(batch.contains("size_max = 5000") && batch.contains("age_max = \"5s\""));
    house.channel("perfdata", "");
    house.file("flows/perfdata/influxdb.rhai", &shipped("influxdb.rhai"));
    // However slow this machine is, the batch is full before it is old.
    let batch = batch.replace("\"5s\"", "\"10m\"");
    house.file("flows/perfdata/influxdb.toml", &batch);
    let server = house.serve();
    for first in (0..BATCH).step_by(1_000) {
        server.push("perfdata", &(first..first + 1_000).map(check).collect());
    }
    let run = server.ended("perfdata/1/influxdb");
    assert_eq!(run["state"], "done", "{}", run["message"]);
    for (measurement, wanted) in [
        ("used /var", BATCH),
        ("load1", BATCH),
        ("net.bps", BATCH),
        ("swap", BATCH - 2),
    ] {
        assert_eq!(
            influxdb.count(measurement, "value"),
            wanted,
            "{measurement}"
        );
    }
    let console = run["console"].as_array().unwrap();
    assert_eq!(console.len(), 2, "{console:?}");
    let is_named = |measurement: &str, number: i64, why: &str| {
        let service = format!("Service number {number} ");
        console.iter().any(|line| {
            let line = line.as_str().unwrap().replace('\\', "");
            line.contains(measurement) && line.contains(&service) && line.contains(why)
        })
    };
    assert!(is_named("odd,", 17, "field type conflict"), "{console:?}");
    assert!(
        is_named("swap", 18, "InfluxDB has no such number"),
        "{console:?}"
    );
}
